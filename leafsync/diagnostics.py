"""The only writer of stderr: narration, warnings, errors, the log and the live area; and of exit codes.

Like `output`, it collects lines without blocking, and `flush` writes them off the event loop. On a terminal the live
area stays below what was said; anywhere else there is never an escape sequence.
"""

import contextlib
import logging
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from leafsync.engine.core.address import Address, parse_address
from leafsync.engine.core.events import (
    DeviceTrusted,
    Event,
    PeerConnected,
    PeerLeft,
    PeerRefused,
    Reconnecting,
    ServeStarted,
    Warned,
)
from leafsync.engine.core.status import PassSummary
from leafsync.errors import AddressMalformed, ExitCode, LeafSyncError
from leafsync.progress import Screen, cell_width
from leafsync.summary import NO_HINTS, Hints, attention_lines, summary_lines
from leafsync.text import printable

SIGNAL_BASE = 128
"""A process that a signal ended is known by 128 and the signal's number, as shells have it."""

MAX_PENDING = 10_000
"""Messages kept for a terminal that does not take them; beyond that the oldest are dropped."""

MAX_REFUSALS = 10
"""Refused devices told of in `REFUSAL_PERIOD`: strangers must not be able to fill a log (fault case 57)."""

REFUSAL_PERIOD = 60.0
"""Seconds."""

DEFAULT_SIZE = os.terminal_size((80, 24))
"""Of a terminal that does not tell its size: what terminals have had since the VT100."""

_RED, _YELLOW, _PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"


class Diagnostics:
    """Standard error."""

    def __init__(self, stream: TextIO | None, environ: Mapping[str, str]) -> None:
        """Write to `stream`; None (a closed stderr) swallows everything. `environ` has TERM and NO_COLOR."""
        self.narrating = True
        """Whether there is anything but warnings and errors."""
        self.verbose = 0
        """How often -v was given."""
        self._stream = stream
        self._pending: deque[str] = deque(maxlen=MAX_PENDING)
        self._area: list[str] = []
        self._drawn: list[str] = []
        terminal = stream is not None and stream.isatty() and can_redraw(environ)
        self.live = terminal
        """Whether there is a terminal that can redraw."""
        self._coloured = terminal and not environ.get("NO_COLOR")

    @property
    def pending(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._pending) or self._area != self._drawn

    def say(self, *lines: str) -> None:
        """Narrate, in lines that are escaped already."""
        if self.narrating and lines:
            self._pending.append("\n".join(lines))

    def warn(self, *lines: str) -> None:
        """Say what the user must not miss; further lines belong to the first."""
        first = self._colour(_YELLOW, f"leafsync: warning: {lines[0]}")
        self._pending.append("\n".join([first, *lines[1:]]))

    def error(self, sentence: str) -> None:
        """Say why the command failed."""
        self._pending.append(self._colour(_RED, f"leafsync: {sentence}"))

    def log(self, *lines: str) -> None:
        """Put a log record: a line stays one, whatever it holds, so that no name can look like another record."""
        self._pending.append("\n".join(map(printable, lines)))

    def report(self, error: BaseException) -> ExitCode:
        """Say in a sentence what went wrong (with -v also where) and return the exit code."""
        error = root_cause(error)
        self.error(sentence_of(error))
        if self.verbose:
            self.log(*_trace(error))
        return error.exit_code if isinstance(error, LeafSyncError) else ExitCode.FAILED

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines as the live area from the next `flush` on; none removes it."""
        self._area = list(lines) if self.live else []

    def screen(self) -> Screen:
        """Measure the terminal."""
        size = DEFAULT_SIZE
        with contextlib.suppress(OSError, ValueError, AttributeError):
            size = os.get_terminal_size(self._stream.fileno() if self._stream else -1)
        encoding = (getattr(self._stream, "encoding", None) or "").lower().replace("-", "")
        return Screen(size.columns or DEFAULT_SIZE.columns, size.lines or DEFAULT_SIZE.lines, encoding == "utf8")

    def flush(self) -> None:
        """Write what was put. Blocks as long as the terminal does; when it is gone, all is swallowed."""
        if not self.pending:
            return
        lines = [self._pending.popleft() for _ in range(len(self._pending))]
        text = self._erasure() + "".join(f"{line}\n" for line in [*lines, *self._area])
        self._drawn = self._area
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._stream = None

    def _erasure(self) -> str:
        """Go to the area's first row and clear from there; a terminal made narrower has wrapped its lines."""
        if not self._drawn:
            return ""
        width = self.screen().width
        rows = sum(max(1, -(-cell_width(line) // width)) for line in self._drawn)
        return f"\x1b[{rows}A\r\x1b[J"

    def _colour(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text


def can_redraw(environ: Mapping[str, str]) -> bool:
    """Whether the terminal that TERM names understands more than lines of text."""
    return environ.get("TERM", "") not in ("", "dumb")


def root_cause(error: BaseException) -> BaseException:
    """Return the error a group of errors is about: our own first, since it has the sentence."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [root_cause(inner) for inner in error.exceptions]
    return next((cause for cause in causes if isinstance(cause, LeafSyncError)), causes[0])


def sentence_of(error: BaseException) -> str:
    """Return what the user reads of an error, in one line."""
    if isinstance(error, LeafSyncError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{printable(str(error.filename))}: " if error.filename else ""
        return f"{place}{printable(error.strerror)}."
    detail = printable(f"{type(error).__name__}: {error}")
    return f"an unexpected error, which is a fault of LeafSync ({detail}). Run again with -v to see where."


def exit_code_of_signal(number: int) -> int:
    """Return what a process ends with that a signal ended: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
    return SIGNAL_BASE + number


BROKEN_PIPE = exit_code_of_signal(signal.SIGPIPE)
"""The reader of stdout went away: what a program ends with that knows nothing better (`leafsync ... | head`)."""


# Events


class Narrator:
    """Tells what happens in a run, for people. Times are in seconds from any start."""

    def __init__(self, diagnostics: Diagnostics, *, hints: Hints = NO_HINTS) -> None:
        """`hints` are what the user would run next."""
        self._diagnostics = diagnostics
        self._hints = hints
        self._summary: PassSummary | None = None
        self._progress: list[str] = []
        self._names: dict[tuple[str, str], str] = {}
        self._refusals: deque[float] = deque()
        self._untold = 0

    def tell(self, event: Event, now: float) -> None:
        """Say what happened. A finished pass is told by `finished`."""
        say = self._diagnostics.say
        match event:
            case ServeStarted():
                say(*serving_lines(event))
            case PeerConnected(fingerprint=fingerprint, name=name, address=address, only=only):
                self._names[fingerprint, address] = name
                alone = f", which offers {printable(only)} alone" if only else ""
                say(f"connected: {printable(name)} ({printable(address)}){alone}")
            case PeerLeft(fingerprint=fingerprint, address=address, reason=reason):
                name = self._names.pop((fingerprint, address), "a device")
                why = f": {printable(reason)}" if reason else ""
                say(f"disconnected: {printable(name)} ({printable(address)}){why}")
            case PeerRefused():
                self._refused(event, now)
            case DeviceTrusted():
                name, how = printable(event.name), printable(event.confirmed)
                say(
                    f"trusted from now on ({how}): {name} at {printable(event.address)}, which must show in its "
                    f"`leafsync id`: {printable(event.fingerprint)}"
                )
            case Reconnecting(delay=delay, reason=reason):
                say(f"not connected: {printable(reason.rstrip('.'))}; next attempt in {delay:.0f} s")
            case Warned(message=message):
                self._diagnostics.warn(printable(message))

    def finished(self, summary: PassSummary) -> None:
        """Say what a pass did; nothing if it is a repeated one that found nothing new."""
        before, self._summary = self._summary, summary
        if before is not None and not summary.changed and _attention(summary) == _attention(before):
            return
        verbose = self._diagnostics.verbose > 0
        if self._diagnostics.narrating:
            self._diagnostics.say(*summary_lines(summary, verbose=verbose, hints=self._hints))
        elif summary.partial:
            lines = attention_lines(summary, verbose=verbose, hints=self._hints)
            self._diagnostics.warn("the folders need a look:", *lines)

    def progress(self, lines: list[str]) -> None:
        """Say where the run stands, unless that was said last."""
        before, self._progress = self._progress, lines
        if lines != before:
            self._diagnostics.say(*lines)

    def _refused(self, event: PeerRefused, now: float) -> None:
        while self._refusals and self._refusals[0] <= now - REFUSAL_PERIOD:
            self._refusals.popleft()
        if len(self._refusals) >= MAX_REFUSALS:
            self._untold += 1
            return
        self._refusals.append(now)
        lines = refused_lines(event)
        if self._untold:
            lines.insert(0, f"refused: {self._untold} more, not listed")
            self._untold = 0
        self._diagnostics.say(*lines)


def serving_lines(event: ServeStarted) -> list[str]:
    """Return what a user needs to connect: where, with which command, and the fingerprint to compare."""
    from leafsync.engine.net.identity import format_groups

    groups = format_groups(event.fingerprint).split(" ")
    half = len(groups) // 2
    return [
        f"serving {printable(event.folder)} on UDP port {event.port}",
        "this device's fingerprint:",
        f"  {' '.join(groups[:half])}",
        f"  {' '.join(groups[half:])}",
        "on the other device, run:",
        *(f"  leafsync connect {_typed(address, event.port)} FOLDER" for address in event.addresses),
    ]


def refused_lines(event: PeerRefused) -> list[str]:
    """Return who was turned away, and the command that would let it in."""
    if not event.fingerprint or event.fingerprint in event.reason:
        return [f"refused: {printable(event.address)}: {printable(event.reason)}"]
    return [
        f"refused: {printable(event.address)}: {printable(event.reason)}",
        f"  if `leafsync id` there shows this fingerprint, let it in with: leafsync trust add {event.fingerprint}",
    ]


def _attention(summary: PassSummary) -> tuple[object, ...]:
    return summary.held, summary.remote_held, summary.problems, summary.remote_problems


def _typed(address: str, port: int) -> str:
    """Return an address as `leafsync connect` takes it, always with its port."""
    try:
        return str(parse_address(address, port))
    except AddressMalformed:
        return printable(str(Address(address, port)))


# The log


def _trace(error: BaseException) -> list[str]:
    """Return a traceback in lines that begin with a blank: what an error says may be of several lines."""
    return [f"  {line}" for line in "".join(traceback.format_exception(error)).splitlines()]


class _Handler(logging.Handler):
    def __init__(self, diagnostics: Diagnostics) -> None:
        super().__init__()
        self._diagnostics = diagnostics

    def emit(self, record: logging.LogRecord) -> None:
        try:
            failed = record.exc_info[1] if record.exc_info and self._diagnostics.verbose else None
            self._diagnostics.log(self._text(record), *(_trace(failed) if failed is not None else []))
        except Exception:
            self.handleError(record)

    def _text(self, record: logging.LogRecord) -> str:
        if not self._diagnostics.verbose:
            return f"leafsync: {record.levelname.lower()}: {record.getMessage()}"
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{moment} {record.levelname.lower()} {record.name}: {record.getMessage()}"


@contextlib.contextmanager
def logging_to(diagnostics: Diagnostics) -> Iterator[None]:
    """Send the log to `diagnostics`: warnings always (errors alone when it is quiet), more with each -v.

    aioquic's `quic` logger warns of every stranger, in words that help nobody: errors alone, warnings with -v.
    """
    root, ours, quic = (logging.getLogger(name) for name in (None, "leafsync", "quic"))
    before = [(logger, logger.level) for logger in (root, ours, quic)]
    floor = logging.WARNING if diagnostics.narrating or diagnostics.verbose else logging.ERROR
    handler = _Handler(diagnostics)
    root.addHandler(handler)
    root.setLevel(floor)
    quic.setLevel(logging.WARNING if diagnostics.verbose else logging.ERROR)
    ours.setLevel({0: floor, 1: logging.INFO}.get(diagnostics.verbose, logging.DEBUG))
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.removeHandler(handler)
        for logger, level in before:
            logger.setLevel(level)
