"""What one transfer looks like in a line: pure; columns for a width, and the parts of a row in them.

Everything is in terminal cells. Columns go one after the other when there is less room, the path and the state never.
"""

from functools import lru_cache

import msgspec
from rich.cells import set_cell_size

from leafsync.bridge import Direction
from leafsync.progress import format_bytes, format_eta, format_rate, percent, truncate_middle
from leafsync.text import printable
from leafsync.widgets.transfer_rows import Row, RowState, Sort

Part = tuple[str, str]
"""A text, escaped, and what it is: "" or one of `KINDS`."""

KINDS = ("quiet", "bar", "track", "active", "failed", "paused", "waiting", "done")
"""What a part of a line can be. A colour repeats only what glyphs and words say."""

STATES = {
    RowState.ACTIVE: ("▸", "active"),
    RowState.FAILED: ("×", "failed"),
    RowState.PAUSED: ("‖", "paused"),
    RowState.WAITING: ("·", "waiting"),
    RowState.DONE: ("✓", "done"),
}
"""Glyph and word of each state."""

ARROWS = {Direction.IN: "↓", Direction.OUT: "↑"}
"""Which way content goes, seen from here."""

MARK = "› "
"""Before the line with the cursor, so that it can be told without colours."""

GAP = 2
"""Cells between two columns."""

HEAD = len(MARK) + 2
"""Cells before the path: the mark, the arrow and a space."""

PERCENT, SIZE, RATE, ETA, STATE, PEER = 5, 8, 10, 8, 9, 16
"""Cells of the columns of one width: `100 %`, `999.9 MB`, `999.9 MB/s`, `99:59:59`, `· waiting`, a device's name."""

BARS = ((160, 24), (120, 18), (100, 12), (90, 10), (58, 8))
"""From which width on the bar has how many cells."""

FROM = {"size": 66, "rate": 78, "eta": 91, "peer": 136}
"""From which width on a column is there: the path always keeps at least 24 cells."""


class Columns(msgspec.Struct, frozen=True):
    """The cells of each column for a width, 0 of those that are left out."""

    path: int
    bar: int
    percent: int
    size: int
    rate: int
    eta: int
    peer: int
    state: int

    @property
    def after_path(self) -> int:
        """Cells from the bar to before the state: the room for the reason of a failure."""
        cells = [cells for cells in (self.bar, self.percent, self.size, self.rate, self.eta, self.peer) if cells]
        return sum(cells) + GAP * (len(cells) - 1)


@lru_cache(maxsize=16)
def columns(width: int) -> Columns:
    """Return what fits in `width` cells."""
    bar = next((cells for least, cells in BARS if width >= least), 0)
    share = PERCENT if width >= 36 else 0
    size, rate, eta, peer = (
        cells if width >= FROM[name] else 0
        for name, cells in (("size", SIZE), ("rate", RATE), ("eta", ETA), ("peer", PEER))
    )
    taken = sum(cells + GAP for cells in (bar, share, size, rate, eta, peer, STATE) if cells)
    return Columns(max(4, width - HEAD - taken), bar, share, size, rate, eta, peer, STATE)


def titles(width: int, sort: Sort) -> list[Part]:
    """Return the line above the rows; what they are sorted by is marked."""
    shape = columns(width)
    cells = [
        ("File", shape.path, "<", Sort.PATH),
        ("Progress", shape.bar + GAP + shape.percent, "<", None) if shape.bar else ("Done", shape.percent, ">", None),
        ("Size", shape.size, ">", Sort.SIZE),
        ("Rate", shape.rate, ">", Sort.RATE),
        ("Left", shape.eta, ">", None),
        ("Device", shape.peer, "<", None),
        ("State", shape.state, "<", Sort.STATE),
    ]
    parts: list[Part] = [(" " * (HEAD - GAP), "")]
    for name, width_, side, by in cells:
        if width_ > 0:
            here = by is sort
            text = f"{name}▾" if here else name
            parts.append((" " * GAP, ""))
            parts.append((f"{text[:width_]:{side}{width_}}", "active" if here else "quiet"))
    return parts


def line(row: Row, width: int, *, here: bool) -> list[Part]:
    """Return the parts of a row; `here` says that the cursor is on it."""
    shape = columns(width)
    state = row.shown_state
    kind = state.name.lower()
    glyph, word = STATES[state]
    parts: list[Part] = [
        (f"{MARK if here else '  '}{ARROWS[row.direction]} ", "quiet" if state is RowState.DONE else ""),
        (fit(printable(row.path), shape.path), "quiet" if state is RowState.DONE else ""),
    ]
    if state is RowState.FAILED and shape.bar:
        reason = printable(row.error.removeprefix(f"{row.path}: "))  # the path is here already
        parts.append(("  " + fit(reason, shape.after_path), "failed"))
    else:
        parts += _figures(row, shape, state)
    parts.append((f"  {glyph} {word:<{STATE - 2}}", kind))
    return parts


def _figures(row: Row, shape: Columns, state: RowState) -> list[Part]:
    share = percent(row.done, row.size) if row.size or state is RowState.DONE else 0
    parts: list[Part] = []
    if shape.bar:
        full = shape.bar * share // 100
        kind = "quiet" if state is RowState.DONE else "bar"
        parts += [("  ", ""), ("━" * full, kind), ("─" * (shape.bar - full), "track")]
    figures = [
        (f"{share:>3} %", shape.percent),
        (format_bytes(row.size), shape.size),
        (format_rate(row.rate) if state is RowState.ACTIVE else "", shape.rate),
        (format_eta(row.eta) if state is RowState.ACTIVE else "", shape.eta),
    ]
    text = "".join(f"  {figure:>{cells}}" for figure, cells in figures if cells)
    if shape.peer:
        text += "  " + fit(printable(row.peer), shape.peer)
    parts.append((text, "" if state is RowState.ACTIVE else "quiet"))
    return parts


def fit(text: str, width: int) -> str:
    """Return an escaped text in exactly `width` cells: cut by the measure that never takes a text for too narrow,
    filled up by textual's, which places what comes after it.
    """
    text = truncate_middle(text, width)
    return text + " " * (width - len(text)) if text.isascii() else set_cell_size(text, width)
