"""What a card says of a job, as lines of styled text: pure, every text from outside escaped here."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

import msgspec
from textual.content import Content

from leafsync.bridge import (
    ConnectStatus,
    EndedJob,
    Mode,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    format_groups,
)
from leafsync.progress import (
    ARROWS,
    cell_width,
    format_bytes,
    format_count,
    format_eta,
    format_rate,
    pad,
    percent,
    truncate_middle,
)
from leafsync.text import printable

MAX_PEERS = 12
"""Devices shown on a card: more would push the other cards away."""

MAX_ADDRESSES = 4
"""Addresses shown on a card: one leads there, the others are for a second try."""

MAX_PROBLEMS = 3
"""Problems shown on a card, and notes: the first ones tell what is wrong, the rest is in the history."""

QUIET = "auto 60%"
"""What is not the point of a line: what `$text-muted` is in stylesheets, where it is understood."""

LABEL = 14
"""Cells before the values of a card: a margin and the label."""

MIN_FOLDER = 16
"""Cells behind the state from which on the folder stands there too; an address is cut to no less."""

MAX_NAME = 24
"""Cells that a device's name may take from its address and from what it does."""

MIN_NAME = 8
"""Cells that a device's name is cut to, before what it does is cut."""

MIN_ADDRESS = 12
"""Cells below which a device's address tells nothing any more and is left out."""

MODES = {
    Mode.BOTH: "both ways",
    Mode.PULL: "pull only",
    Mode.PUSH: "push only",
    Mode.MIRROR: "mirror",
}
"""What the modes are called on the screen."""

STATES = {
    PassState.CONNECTING: ("◌", "connecting", "$warning"),
    PassState.ASKING: ("?", "asks you about the other device", "$warning"),
    PassState.AWAITING: ("◌", "waits to be accepted on the other screen", "$warning"),
    PassState.SCANNING: ("◌", "comparing", "$primary"),
    PassState.COMPARING: ("◌", "comparing", "$primary"),
    PassState.TRANSFERRING: ("↓", "receiving", "$primary"),
    PassState.SENDING: ("↑", "sending", "$primary"),
    PassState.WAITING: ("↑", "waits for the other device", "$warning"),
    PassState.IN_SYNC: ("✓", "in sync", "$success"),
    PassState.RECONNECTING: ("◌", "reconnecting", "$warning"),
    PassState.PAUSED: ("‖", "paused", "$warning"),
}
"""Glyph, word and colour of what a job that connects does."""


class Figures(msgspec.Struct, frozen=True):
    """What has to be measured over time to be known of a job: rates in bytes per second, seconds left."""

    rate: float | None = None
    eta: float | None = None
    peers: tuple[float | None, ...] = ()


NO_FIGURES = Figures()


def serve_lines(job: ServeStatus, figures: Figures, fingerprint: str, width: int) -> list[Content]:
    """Return what there is to say of a folder that is served."""
    glyph, word, colour = ("‖", "paused", "$warning") if job.paused else ("●", "serving", "$success")
    extras = (["read-only"] if job.read_only else []) + _only(job.file)
    lines = _head(glyph, word, colour, job.folder, extras, width)
    lines += _labelled("address", [printable(one) for one in job.addresses[:MAX_ADDRESSES]], width)
    lines += _labelled("fingerprint", _halves(format_groups(fingerprint), width), width)
    lines += _labelled("holds", [_held(job)], width)
    if job.problems:
        problem = f"! {format_count(job.problems, 'entry', 'entries')} cannot be synced"
        lines.append(Content.styled(_cut(f"  {problem}", width), "$warning"))
    lines += _peers(job.peers, figures.peers, width)
    return lines


def _held(job: ServeStatus) -> str:
    if job.files is None:
        return "not looked at yet"
    return f"{format_count(job.files, 'file')}, {format_bytes(job.bytes)}"


def _only(file: str) -> list[str]:
    return [f"only {printable(file)}"] if file else []


def _peers(peers: tuple[PeerStatus, ...], rates: tuple[float | None, ...], width: int) -> Iterable[Content]:
    """Return a line for each device, its name, its address and what it does one below the other.

    Where there is no room the address is cut, then left out, then the name is cut, and then there is no rate.
    """
    if not peers:
        yield Content.styled(_cut("  ○ nobody is connected", width), QUIET)
    shown = peers[:MAX_PEERS]
    room = width - 4  # cells from the name on
    names = [printable(peer.name) for peer in shown]
    moving = [f", {format_rate(rate)}" if rate else "" for rate in (*rates, *([None] * len(shown)))]
    doing = [printable(peer.activity) + rate for peer, rate in zip(shown, moving, strict=False)]
    if min(MIN_NAME, _widest(names)) + 2 + _widest(doing) > room:
        doing = [printable(peer.activity) for peer in shown]
    room_before = room - _widest(doing) - 2
    room_between = room_before - min(MAX_NAME, _widest(names)) - 2
    if room_between >= MIN_ADDRESS:
        columns = [_column(names, MAX_NAME), _column([printable(peer.address) for peer in shown], room_between)]
    else:
        columns = [_column(names, min(MAX_NAME, max(MIN_NAME, room_before)))]
    for texts in zip(*columns, doing, strict=True):
        yield Content.assemble(("  ● ", "$success"), _cut("  ".join(texts), room))
    if len(peers) > MAX_PEERS:
        yield Content(_cut(f"    and {len(peers) - MAX_PEERS:,} more", width))


def _column(texts: list[str], most: int) -> list[str]:
    """Return texts of one width, which is `most` cells at most."""
    width = min(most, _widest(texts))
    return [pad(_cut(text, width), width) for text in texts]


def _widest(texts: list[str]) -> int:
    return max(map(cell_width, texts), default=0)


class Known(msgspec.Struct, frozen=True):
    """What passes told of a job that connects."""

    summary: PassSummary | None = None
    """Of the last one."""
    in_sync_since: datetime | None = None
    conflicts: int = 0
    """Conflict copies that nobody has decided about."""


NOTHING_KNOWN = Known()


def connect_lines(job: ConnectStatus, figures: Figures, known: Known, today: date, width: int) -> list[Content]:
    """Return what there is to say of a folder that is kept like another one; `today` is the local date."""
    glyph, word, colour = STATES[job.state]
    if job.state is PassState.IN_SYNC and known.summary is not None and known.summary.partial:
        glyph, word, colour = "!", "partly in sync", "$warning"
    extras = [MODES[job.mode], *_only(job.file)]
    lines = _head(glyph, _with_time(word, job, known.in_sync_since, today), colour, job.folder, extras, width)
    name = f"{printable(job.peer.name)} at " if job.peer is not None and job.peer.name else ""
    lines += _labelled("with", [f"{name}{printable(job.address)}"], width)
    if job.state in ARROWS:
        lines.append(_bar_line(job, figures, width))
    if job.reason:
        lines += _labelled("because", _wrapped(printable(job.reason), width - LABEL), width)
    lines += _attention(known, width)
    return lines


def _with_time(word: str, job: ConnectStatus, since: datetime | None, today: date) -> str:
    if job.state is PassState.RECONNECTING:
        return f"{word} in {job.retry_in:.0f} s"
    if job.state is PassState.IN_SYNC and since is not None:
        since = since.astimezone()
        return f"{word} since {since:{'%H:%M:%S' if since.date() == today else '%Y-%m-%d %H:%M'}}"
    return word


def _bar_line(job: ConnectStatus, figures: Figures, width: int) -> Content:
    totals = job.totals
    parts = [
        f"{percent(totals.bytes_done, totals.bytes):>3} %",
        *([format_rate(figures.rate)] if figures.rate is not None else []),
        *([f"{format_eta(figures.eta)} left"] if figures.eta is not None else []),
        f"{format_bytes(totals.bytes_done)} of {format_bytes(totals.bytes)}",
        f"{totals.files_done:,} of {format_count(totals.files, 'file')}",
    ]
    cells = max(6, min(30, width // 3))
    full = cells * percent(totals.bytes_done, totals.bytes) // 100
    said = ""
    for part in parts:
        if cells + cell_width(said) + cell_width(part) + 4 > width:
            break
        said += f"  {part}"
    return Content.assemble("  ", ("━" * full, "$primary"), ("─" * (cells - full), QUIET), said)


def _attention(known: Known, width: int) -> list[Content]:
    """Return what waits for a decision, each with the key that leads to it."""
    summary = known.summary
    held = len(summary.held) + len(summary.remote_held) if summary is not None else 0
    problems = summary.problems if summary is not None else ()
    failed = len(problems) + summary.remote_problems if summary is not None else 0
    said = [
        (known.conflicts, f"{format_count(known.conflicts, 'conflict')}, both versions kept", "c decides"),
        (held, f"{format_count(held, 'delete')} held back", "d shows them"),
        (failed, f"{format_count(failed, 'entry', 'entries')} could not be synced", ""),
    ]
    lines = []
    for count, what, key in said:
        if count:
            lines.append(Content.styled(_cut(f"  ! {what}{f' ({key})' if key else ''}", width), "$warning"))
    lines += _remarks(problems, width)
    if summary is not None and summary.notes:
        worth = f"{format_count(len(summary.notes), 'entry', 'entries')} worth a look"
        lines.append(Content(_cut(f"  · {worth}", width)))
        lines += _remarks(summary.notes, width)
    return lines


def _remarks(about: Sequence[tuple[str, str]], width: int) -> list[Content]:
    """Return the first of these paths, each with what there is to say of it."""
    shown = about[:MAX_PROBLEMS]
    return [Content.styled(_remark(printable(path), printable(what), width), QUIET) for path, what in shown]


def _remark(path: str, what: str, width: int) -> str:
    """Return a path and what there is to say of it in one line; the path gives way first."""
    room = max(12, width - 6 - cell_width(what))
    return _cut(f"    {_cut(path, room)}: {what}", width)


def ended_lines(job: EndedJob, width: int) -> list[Content]:
    """Return why a job has ended by itself."""
    glyph, word, colour = ("×", "failed", "$error") if job.error is not None else ("✓", "done", "$success")
    lines = _head(glyph, word, colour, job.folder, [], width)
    if job.address:
        lines += _labelled("with", [printable(job.address)], width)
    if job.error is not None:
        lines += _labelled("because", _wrapped(str(job.error), width - LABEL), width)
    lines.append(Content.styled(_cut("  x puts this away", width), QUIET))
    return lines


# Layout


def _head(glyph: str, word: str, colour: str, folder: str, extras: list[str], width: int) -> list[Content]:
    """Return the state and the folder, and what is special about the job behind them or in a line of its own."""
    state = f"{glyph} {word}  "
    name, tail = printable(folder), ", ".join(extras)
    room = width - cell_width(state)
    fits = cell_width(f"{name}  ({tail})") <= room
    if room < MIN_FOLDER:
        lines = [Content.styled(_cut(state.rstrip(), width), f"bold {colour}")]
        lines += _labelled("folder", [name], width)
    else:
        behind = f"  ({tail})" if fits and tail else ""
        lines = [Content.assemble((state, f"bold {colour}"), (_cut(name, room), "bold"), (behind, QUIET))]
    if tail and (not fits or room < MIN_FOLDER):
        lines += _labelled("mode", [tail], width)
    return lines


def _labelled(label: str, values: list[str], width: int) -> list[Content]:
    """Return values one below the other, the first one behind its label."""
    lines = []
    for value in values:
        lines.append(Content.assemble((f"  {pad(label, LABEL - 2)}", QUIET), _cut(value, width - LABEL)))
        label = ""
    return lines


def _halves(groups: str, width: int) -> list[str]:
    """Return a fingerprint's groups in as many lines as the width asks for."""
    words = groups.split(" ")
    a_line = next(count for count in (16, 8, 4, 2) if count * 5 - 1 <= width - LABEL or count == 2)
    return [" ".join(words[at : at + a_line]) for at in range(0, len(words), a_line)]


def _wrapped(text: str, width: int) -> list[str]:
    """Return a sentence in lines of at most `width` cells, broken at spaces; a fingerprint that is longer is cut into
    lines, because people copy it from here.
    """
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and cell_width(longer) > width:
            lines.append(line)
            longer = word
        while cell_width(longer) > width > 1:
            taken = _fitting(longer, width)
            lines.append(longer[:taken])
            longer = longer[taken:]
        line = longer
    return [*lines, line]


def _fitting(text: str, width: int) -> int:
    """Return how many characters fit into `width` cells, one at least."""
    taken = 1
    while taken < len(text) and cell_width(text[: taken + 1]) <= width:
        taken += 1
    return taken


def _cut(text: str, width: int) -> str:
    return truncate_middle(text, max(1, width))
