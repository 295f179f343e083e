"""Has where a run stands written down for `leafsync status` in another process, when something has changed."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from leafsync.engine.core.status import PassSummary, Snapshot
from leafsync.instances import Instance
from leafsync.progress import Progress
from leafsync.standing import Standing

PERIOD = 1.0
"""Seconds between two states that are written: nobody asks more often."""


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


class Keeper:
    """Never blocks, but for `flush`."""

    def __init__(
        self, instance: Instance | None, clock: Callable[[], float], now: Callable[[], datetime] = utc_now
    ) -> None:
        """Write to `instance`, None for nowhere; `clock` gives seconds, `now` the time of day."""
        self._instance = instance
        self._clock = clock
        self._now = now
        self._standing = Standing(_moment(now()))
        self._state: dict[str, Any] | None = None
        self._kept: dict[str, Any] | None = None
        self._next = clock()

    @property
    def pending(self) -> bool:
        """Whether `flush` has something to do."""
        return self._state is not None

    def finished(self, job: int, summary: PassSummary) -> None:
        """Take in what a pass did."""
        self._standing.finished(job, summary, _moment(self._now()))

    def take(self, snapshot: Snapshot, progress: Progress) -> None:
        """Take in where the jobs stand, if it is time to."""
        now = self._clock()
        if self._instance is None or now < self._next:
            return
        state = self._standing.state(snapshot, progress)
        if state["jobs"] or self._kept is not None:  # a run without any job so far has nothing to tell
            self._next = now + PERIOD
            if state != self._kept:
                self._kept = self._state = state

    def flush(self) -> None:
        """Write the state down (blocking)."""
        state, self._state = self._state, None
        if state is not None and self._instance is not None:
            self._instance.write(state)


def _moment(now: datetime) -> str:
    return now.isoformat(timespec="seconds").replace("+00:00", "Z")
