"""Log lines a stranger can cause: escaped, and not more often than a person can read."""

import logging
import time
from collections.abc import Callable

from leafsync.text import printable

RARE_PERIOD = 10.0
"""Seconds between two lines of one kind: a scan of the port must not fill the disk (fault case 57)."""


class RareLog:
    """A logger for one kind of line: at most one in RARE_PERIOD seconds, which counts those left out."""

    def __init__(self, logger: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._next = float("-inf")
        self._left_out = 0

    def warning(self, template: str, *arguments: object) -> None:
        """Log a line, or count it."""
        now = self._clock()
        if now < self._next:
            self._left_out += 1
            return
        more = f" (and {self._left_out} more like it)" if self._left_out else ""
        self._left_out = 0
        self._next = now + RARE_PERIOD
        self._logger.warning("%s%s", printable(template % arguments), more)


class EscapingFilter(logging.Filter):
    """Makes records printable where they are born: aioquic logs a peer's close reason as it came."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the record's message and let it pass."""
        record.msg = printable(record.getMessage())
        record.args = None
        return True


_ESCAPING = EscapingFilter()


def quiet_quic_log() -> None:
    """Keep aioquic's logger to warnings, or to what somebody has set, and what it logs printable. Calling it again
    changes nothing.
    """
    quic = logging.getLogger("quic")
    if quic.level == logging.NOTSET:
        quic.setLevel(logging.WARNING)
    quic.addFilter(_ESCAPING)
