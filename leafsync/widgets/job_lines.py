"""What a card says of a job, as lines of styled text: pure, every text from outside escaped here."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

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
"""Problems shown on a card: the first ones tell what is wrong, the rest is in the history."""

MODES = {
    Mode.BOTH: "both ways",
    Mode.PULL: "only brings here",
    Mode.PUSH: "only sends",
    Mode.MIRROR: "mirror: makes this one exactly like the other",
}
"""What the modes are called on the screen."""

STATES = {
    PassState.CONNECTING: ("◌", "connecting", "$warning"),
    PassState.ASKING: ("?", "asks you about the other device", "$warning"),
    PassState.AWAITING: ("◌", "waits to be accepted on the other screen", "$warning"),
    PassState.SCANNING: ("◌", "comparing", "$primary"),
    PassState.COMPARING: ("◌", "comparing", "$primary"),
    PassState.TRANSFERRING: ("↓", "files come", "$primary"),
    PassState.SENDING: ("↑", "files go", "$primary"),
    PassState.IN_SYNC: ("✓", "in sync", "$success"),
    PassState.RECONNECTING: ("◌", "reconnecting", "$warning"),
    PassState.PAUSED: ("‖", "paused", "$warning"),
}
"""Glyph, word and colour of what a job that connects does."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What has to be measured over time to be known of a job: rates in bytes per second, seconds left."""

    rate: float | None = None
    eta: float | None = None
    peers: tuple[float | None, ...] = ()


NO_FIGURES = Figures()


def serve_lines(job: ServeStatus, figures: Figures, fingerprint: str, width: int) -> list[Content]:
    """Return what there is to say of a folder that is served."""
    glyph, word, colour = ("‖", "paused", "$warning") if job.paused else ("●", "serving", "$success")
    extras = (["read-only"] if job.read_only else []) + _only(job.file)
    lines = [_head(glyph, word, colour, job.folder, extras, width)]
    lines += _labelled("address", [printable(one) for one in job.addresses[:MAX_ADDRESSES]], width)
    lines += _labelled("fingerprint", _halves(format_groups(fingerprint), width), width)
    held = f"{format_count(job.files, 'file')}, {format_bytes(job.bytes)}" if job.files else "nothing read yet"
    lines += _labelled("holds", [held], width)
    if job.problems:
        problem = f"! {format_count(job.problems, 'entry', 'entries')} cannot be synced"
        lines.append(Content.styled(_cut(f"  {problem}", width), "$warning"))
    lines += _peers(job.peers, figures.peers, width)
    return lines


def _only(file: str) -> list[str]:
    return [f"only {printable(file)}"] if file else []


def _peers(peers: tuple[PeerStatus, ...], rates: tuple[float | None, ...], width: int) -> Iterable[Content]:
    if not peers:
        yield Content.styled(_cut("  ○ nobody is connected", width), "$text-muted")
    for peer, rate in zip(peers[:MAX_PEERS], (*rates, *([None] * len(peers))), strict=False):
        moving = f", {format_rate(rate)}" if rate else ""
        text = f"{printable(peer.name)}  {printable(peer.address)}  {printable(peer.activity)}{moving}"
        yield Content.assemble(("  ● ", "$success"), _cut(text, width - 4))
    if len(peers) > MAX_PEERS:
        yield Content(f"    and {len(peers) - MAX_PEERS:,} more")


def connect_lines(
    job: ConnectStatus,
    figures: Figures,
    summary: PassSummary | None,
    since: datetime | None,
    width: int,
) -> list[Content]:
    """Return what there is to say of a folder that is kept like another one."""
    glyph, word, colour = STATES[job.state]
    if job.state is PassState.IN_SYNC and summary is not None and summary.partial:
        glyph, word, colour = "!", "partly in sync", "$warning"
    extras = [MODES[job.mode], *_only(job.file)]
    lines = [_head(glyph, _with_time(word, job, since), colour, job.folder, extras, width)]
    name = f"{printable(job.peer.name)} at " if job.peer is not None and job.peer.name else ""
    lines += _labelled("with", [f"{name}{printable(job.address)}"], width)
    if job.state in ARROWS:
        lines.append(_bar_line(job, figures, width))
    if job.reason:
        lines += _labelled("because", _wrapped(printable(job.reason), width - 14), width)
    lines += _attention(summary, width)
    return lines


def _with_time(word: str, job: ConnectStatus, since: datetime | None) -> str:
    if job.state is PassState.RECONNECTING:
        return f"{word} in {job.retry_in:.0f} s"
    if job.state is PassState.IN_SYNC and since is not None:
        return f"{word} since {since.astimezone():%H:%M:%S}"
    return word


def _bar_line(job: ConnectStatus, figures: Figures, width: int) -> Content:
    totals = job.totals
    parts = [
        f"{percent(totals.bytes_done, totals.bytes):>3} %",
        format_rate(figures.rate),
        f"{format_eta(figures.eta)} left",
        f"{format_bytes(totals.bytes_done)} of {format_bytes(totals.bytes)}",
        f"{totals.files_done:,} of {format_count(totals.files, 'file')}",
    ]
    cells = max(6, min(30, width - 40))
    full = cells * percent(totals.bytes_done, totals.bytes) // 100
    said = ""
    for part in parts:
        if cells + cell_width(said) + cell_width(part) + 4 <= width:
            said += f"  {part}"
    return Content.assemble("  ", ("━" * full, "$primary"), ("─" * (cells - full), "$text-muted"), said)


def _attention(summary: PassSummary | None, width: int) -> list[Content]:
    """Return what waits for a decision, each with the key that leads to it."""
    if summary is None:
        return []
    held = len(summary.held) + len(summary.remote_held)
    problems = len(summary.problems) + summary.remote_problems
    said = [
        (len(summary.conflicts), format_count(len(summary.conflicts), "conflict"), "c shows and decides them"),
        (held, f"{format_count(held, 'delete')} held back", "d shows and allows them"),
        (problems, f"{format_count(problems, 'entry', 'entries')} could not be synced", "h shows the history"),
    ]
    lines = [Content.styled(_cut(f"  ! {what} ({key})", width), "$warning") for count, what, key in said if count]
    for path, reason in summary.problems[:MAX_PROBLEMS]:
        lines.append(Content.styled(_cut(f"    {printable(path)}: {printable(reason)}", width), "$text-muted"))
    return lines


def ended_lines(job: EndedJob, width: int) -> list[Content]:
    """Return why a job has ended by itself."""
    glyph, word, colour = ("×", "failed", "$error") if job.error is not None else ("✓", "done", "$success")
    lines = [_head(glyph, word, colour, job.folder, [], width)]
    if job.address:
        lines += _labelled("with", [printable(job.address)], width)
    if job.error is not None:
        lines += _labelled("because", _wrapped(str(job.error), width - 14), width)
    lines.append(Content.styled(_cut("  x puts this away", width), "$text-muted"))
    return lines


# Layout


def _head(glyph: str, word: str, colour: str, folder: str, extras: list[str], width: int) -> Content:
    state = f"{glyph} {word}  "
    tail = f"  ({', '.join(extras)})" if extras else ""
    room = width - cell_width(state)
    name = truncate_middle(printable(folder), max(8, room - cell_width(tail)))
    fits = cell_width(name) + cell_width(tail) <= room
    return Content.assemble((state, f"bold {colour}"), (name, "bold"), (tail if fits else "", "$text-muted"))


def _labelled(label: str, values: list[str], width: int) -> list[Content]:
    """Return values one below the other, the first one behind its label."""
    lines = []
    for value in values:
        lines.append(Content.assemble((f"  {pad(label, 12)}", "$text-muted"), _cut(value, width - 14)))
        label = ""
    return lines


def _halves(groups: str, width: int) -> list[str]:
    """Return a fingerprint's groups in as many lines as the width asks for."""
    words = groups.split(" ")
    a_line = 16 if width >= 94 else 8 if width >= 54 else 4
    return [" ".join(words[at : at + a_line]) for at in range(0, len(words), a_line)]


def _wrapped(text: str, width: int) -> list[str]:
    """Return a sentence in lines of at most `width` cells, broken at spaces where there are any."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and cell_width(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def _cut(text: str, width: int) -> str:
    return truncate_middle(text, max(1, width))
