"""What a run looks like in lines of text: pure rendering of snapshots and summaries, time and size injected.

Sizes are in bytes and shown in powers of 1000; rates are windowed averages in bytes per second. Every text from
outside is escaped here. Nothing in this module writes or asks for the time.
"""

import unicodedata
from collections import deque
from collections.abc import Hashable, Sequence

import msgspec

from leafsync.engine.core.status import (
    ConnectStatus,
    PassState,
    PeerStatus,
    ServeStatus,
    Snapshot,
    TransferState,
    TransferStatus,
)
from leafsync.text import printable

WINDOW = 5.0
"""Seconds a rate is averaged over: long enough to be read, short enough to follow a link that slows down."""

MIN_SPAN = 0.5
"""Seconds between the oldest and the newest sample before a rate is shown: less is the rate of one batch."""

MAX_ROWS = 8
"""Files shown at once in the live area: the most data streams there are."""

MIN_FIGURES = 16
"""Cells of a line below which a file's row is its name alone."""

MAX_LISTED = 20
"""Paths of one kind listed in a summary; `-v` lists all."""

ARROWS = {PassState.TRANSFERRING: ("↓", "<"), PassState.SENDING: ("↑", ">")}
"""Shown before a file for the way it goes, here or there; the second one where there is only ASCII."""

QUIET_STATES = (PassState.CONNECTING, PassState.SCANNING, PassState.COMPARING, PassState.WAITING)
"""Parts of a pass in which nothing moves that could be counted."""

MAX_ETA = 99 * 3600
"""Seconds beyond which the time left is not shown: it would be a guess."""

LATER_WIDE = tuple(
    range(first, last + 1)
    for first, last in (
        (0x2630, 0x2637),
        (0x268A, 0x268F),
        (0x4DC0, 0x4DFF),
        (0x1D300, 0x1D356),
        (0x1D360, 0x1D376),
        (0x1F1E6, 0x1F1FF),
    )
)
"""Two cells wide since Unicode 16, which terminals may know and this Python may not; and the halves of flags, which are
as wide as a whole one where they stand alone."""

UNKNOWN = "--"
"""Stands for a figure that cannot be known yet."""


class Screen(msgspec.Struct, frozen=True):
    """What the live area may fill, in character cells, as the caller measured it."""

    width: int
    height: int
    unicode: bool = True
    """Whether the terminal's encoding has more than ASCII."""

    @property
    def usable(self) -> int:
        """Cells of a line: the last column stays free, because terminals disagree on what happens there."""
        return max(1, self.width - 1)


# Text in cells


def cell_width(text: str) -> int:
    """Return the columns a terminal uses for `text`, already escaped; never fewer than it really uses."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if character == "\ufe0f":
        return 1  # makes the character before it wide
    if character in "\u200c\u200d" or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    wide = unicodedata.east_asian_width(character) in "WF" or any(ord(character) in later for later in LATER_WIDE)
    return 2 if wide else 1


def truncate_middle(text: str, width: int, ellipsis: str = "…") -> str:
    """Return `text` in at most `width` cells; what is left out is marked, and both ends stay readable."""
    if cell_width(text) <= width:
        return text
    room = width - 1
    if room < 2:
        return ellipsis[: max(0, width)]
    head = _take(text, room // 2).rstrip("\u200c\u200d")  # not to be one with the ellipsis
    tail = _take(text[::-1], room - room // 2)[::-1]
    while tail and _cells(tail[0]) == 0:
        tail = tail[1:]
    return head + ellipsis + tail


def _take(text: str, width: int) -> str:
    used = 0
    for at, character in enumerate(text):
        used += _cells(character)
        if used > width:
            return text[:at]
    return text


def pad(text: str, width: int) -> str:
    """Return `text` with spaces up to `width` cells."""
    return text + " " * (width - cell_width(text))


# Figures


def format_bytes(count: float) -> str:
    """Return a size for people: `999 B`, `1.0 kB`, `12.3 MB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(count, 1) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def format_rate(rate: float | None) -> str:
    """Return a rate in bytes per second for people."""
    return UNKNOWN if rate is None else f"{format_bytes(rate)}/s"


def format_eta(seconds: float | None) -> str:
    """Return the time left as `m:ss` or `h:mm:ss`."""
    if seconds is None:
        return UNKNOWN
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_duration(seconds: float) -> str:
    """Return how long something took."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute:02} min" if hours else f"{minute} min {second:02} s"


def format_count(count: int, one: str, many: str = "") -> str:
    """Return `1 file`, `1,234 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(done: int, total: int) -> int:
    """Return the share in whole percent, 100 only when all is done."""
    return 100 if total <= 0 else max(0, min(100, done * 100 // total))


class Meter:
    """The rate of a counter over the last `WINDOW` seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, value: int) -> None:
        """Note the counter's value. A value below the last one starts anew: it is another pass or file."""
        samples = self._samples
        if samples and value < samples[-1][1]:
            samples.clear()
        samples.append((now, value))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW:
            samples.popleft()

    @property
    def rate(self) -> float | None:
        """Counts per second, None while there is too little to tell."""
        if not self._samples:
            return None
        (first, before), (last, value) = self._samples[0], self._samples[-1]
        span = last - first
        return (value - before) / span if span >= MIN_SPAN else None

    def eta(self, remaining: int) -> float | None:
        """Seconds until `remaining` counts have come, None when that cannot be told."""
        if remaining <= 0:
            return 0.0
        rate = self.rate
        seconds = remaining / rate if rate else None
        return seconds if seconds is not None and seconds <= MAX_ETA else None


# A run


UNMEASURED = Meter()
"""Of what no snapshot has had yet: nothing is added to it."""


class Progress:
    """Turns snapshots into lines. `observe` is called with each snapshot and the time it was taken (seconds).

    Of what was in none of them nothing is known: its rate and the time left are None.
    """

    def __init__(self) -> None:
        self._snapshot = Snapshot(0)
        self._meters: dict[Hashable, Meter] = {}
        self._partly: set[int] = set()
        """Jobs whose last pass has left something."""

    def finished(self, job: int, *, partial: bool) -> None:
        """Take in whether a pass of a job has left something that should be the same."""
        (self._partly.add if partial else self._partly.discard)(job)

    def observe(self, snapshot: Snapshot, now: float) -> None:
        """Take in a snapshot; meters of what is gone are dropped."""
        counters: dict[Hashable, int] = {}
        for job in snapshot.connecting:
            counters[job.id, "content"] = job.totals.fetched + job.totals.sent
            counters[job.id, "done"] = job.totals.bytes_done
            counters.update({(job.id, "file", one.path): one.done for one in job.transfers})
        for serving in snapshot.serving:
            peers = serving.peers
            counters.update({(serving.id, "peer", peer.address): peer.wire_in + peer.wire_out for peer in peers})
        self._meters = {key: self._meters.get(key) or Meter() for key in counters}
        for key, value in counters.items():
            self._meters[key].add(now, value)
        self._snapshot = snapshot

    def rate(self, job: ConnectStatus) -> float | None:
        """Bytes of file content that go over the wire in a second, either way."""
        return self._meters.get((job.id, "content"), UNMEASURED).rate

    def eta(self, job: ConnectStatus) -> float | None:
        """Seconds until all bytes of the pass are where they belong."""
        remaining = job.totals.bytes - job.totals.bytes_done
        return self._meters.get((job.id, "done"), UNMEASURED).eta(remaining)

    def peer_rate(self, job: ServeStatus, peer: PeerStatus) -> float | None:
        """Bytes that go over the wire in a second between `job` and one of its devices, either way."""
        return self._meters.get((job.id, "peer", peer.address), UNMEASURED).rate

    def area(self, screen: Screen) -> list[str]:
        """Return the lines of the live area; they fit the screen, with one row left for the cursor."""
        lines: list[str] = []
        for job in self._snapshot.connecting:
            lines += self._connect_area(job, screen)
        for serving in self._snapshot.serving:
            lines += self._serve_area(serving, screen)
        return lines[: max(0, screen.height - 1)]

    def lines(self) -> list[str]:
        """Return a plain line for each job that has something to tell between its events."""
        return [line for job in self._snapshot.connecting if (line := self._line(job))]

    def _line(self, job: ConnectStatus) -> str:
        if job.state in QUIET_STATES:
            return _state_text(job)
        if job.state in ARROWS:
            return f"{job.state}: " + ", ".join(self._totals(job))
        return ""

    def _totals(self, job: ConnectStatus) -> list[str]:
        """The figures of a pass, the most important first."""
        totals = job.totals
        return [
            f"{percent(totals.bytes_done, totals.bytes)} %",
            format_rate(self.rate(job)),
            f"{format_eta(self.eta(job))} left",
            f"{format_bytes(totals.bytes_done)} of {format_bytes(totals.bytes)}",
            f"{totals.files_done:,} of {format_count(totals.files, 'file')}",
        ]

    def _connect_area(self, job: ConnectStatus, screen: Screen) -> list[str]:
        if job.state not in ARROWS:
            partly = "partly " if job.state is PassState.IN_SYNC and job.id in self._partly else ""
            return [_fit(f"{partly}{_state_text(job)}", screen)]
        room = min(MAX_ROWS, max(0, screen.height - 2))
        arrow = ARROWS[job.state][not screen.unicode]
        rows = [self._file_row(job.id, one, arrow, screen) for one in job.transfers[:room]]
        hidden = max(job.moving, len(job.transfers)) - len(rows)
        if hidden and len(rows) > 1:
            rows[-1] = _fit(f"and {format_count(hidden + 1, 'more file')}", screen)
        return [*rows, _join_fitting(self._totals(job), screen)]

    def _file_row(self, job: int, one: TransferStatus, arrow: str, screen: Screen) -> str:
        meter = self._meters[job, "file", one.path]
        if screen.usable < MIN_FIGURES:
            figures = ""
        elif one.state in (TransferState.WAITING, TransferState.FAILED):
            figures = "  " + printable(f"{one.state}: {one.error}" if one.error else one.state.value)
            figures = truncate_middle(figures, screen.usable // 2, _ellipsis(screen))
        else:
            figures = _bar(one.done, one.size, screen) + f" {percent(one.done, one.size):>3} %"
            if screen.usable >= 55:
                figures += f" {format_rate(meter.rate):>10}"
            if screen.usable >= 70:
                figures += f" {format_eta(meter.eta(one.size - one.done)):>7} {format_bytes(one.size):>8}"
        room = screen.usable - cell_width(figures)
        return pad(truncate_middle(f"{arrow} {printable(one.path)}", room, _ellipsis(screen)), room) + figures

    def _serve_area(self, job: ServeStatus, screen: Screen) -> list[str]:
        what = f"{printable(job.folder)}{' read-only' if job.read_only else ''}"
        head = f"serving {what} on UDP port {job.port}, {format_count(len(job.peers), 'device')}"
        lines = [_fit(head, screen)]
        for peer in job.peers[:MAX_ROWS]:
            rate = format_rate(self.peer_rate(job, peer))
            text = f"  {printable(peer.name)} ({printable(peer.address)}): {printable(peer.activity)}, {rate}"
            lines.append(_fit(text, screen))
        return lines


def _state_text(job: ConnectStatus) -> str:
    address, folder, reason = (printable(text) for text in (job.address, job.folder, job.reason))
    texts = {
        PassState.CONNECTING: f"connecting to {address}",
        PassState.SCANNING: f"scanning {folder}",
        PassState.COMPARING: f"comparing with {address}",
        PassState.TRANSFERRING: "transferring",
        PassState.SENDING: "sending",
        PassState.WAITING: f"waiting for {address} to write, or for its turn there",
        PassState.IN_SYNC: f"in sync with {address}",
        PassState.RECONNECTING: f"connecting to {address} again in {job.retry_in:.0f} s",
        PassState.ASKING: f"{address} shows a fingerprint that nobody has confirmed yet",
        PassState.AWAITING: f"waiting for {address} to accept this device",
        PassState.PAUSED: "paused",
    }
    text = texts[job.state]
    return f"{text}: {reason}" if reason else text


def _ellipsis(screen: Screen) -> str:
    return "…" if screen.unicode else "~"


def _fit(text: str, screen: Screen) -> str:
    return truncate_middle(text, screen.usable, _ellipsis(screen))


def _join_fitting(parts: Sequence[str], screen: Screen) -> str:
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if cell_width(longer) > screen.usable:
            break
        line = longer
    return line


def _bar(done: int, total: int, screen: Screen) -> str:
    cells = max(0, min(24, screen.usable // 5))
    filled = cells * percent(done, total) // 100
    full, empty = ("█", "░") if screen.unicode else ("#", ".")
    return f" {full * filled}{empty * (cells - filled)}"
