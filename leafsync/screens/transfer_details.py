"""All there is to know of one transfer."""

from collections.abc import Iterator
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from leafsync.actions import bind
from leafsync.bridge import CHUNK_SIZE, Direction, chunk_count
from leafsync.progress import format_bytes, format_eta, format_rate, percent
from leafsync.screens.base import Modal
from leafsync.text import printable
from leafsync.widgets.transfer_line import STATES
from leafsync.widgets.transfer_rows import Row, RowState

REFRESH = 0.5
"""Seconds between two looks at the row: as often as its rate is measured."""

LABEL = 11
"""Cells of the longest label and a space."""


class TransferDetails(Modal[None]):
    """Shows a row, and goes on to as it changes."""

    HELP: ClassVar[str | None] = """## One transfer

A file moves in chunks of 1 MiB, each verified as it arrives. What is done stays when the connection breaks.
**escape** closes this.
"""
    BINDINGS: ClassVar[list[BindingType]] = [bind("transfers.details", "close", shown=False)]
    DEFAULT_CSS: ClassVar[str] = """
    TransferDetails #facts { margin: 1 0; }
    """

    def __init__(self, row: Row) -> None:
        """Show `row`."""
        super().__init__()
        self._row = row
        self._shown: list[tuple[str, str, str]] = []

    def compose(self) -> ComposeResult:
        """Lay out the facts; what does not fit can be scrolled to."""
        with VerticalScroll(classes="dialog"):
            yield Static("Transfer", classes="title", markup=False)
            yield Static("", id="facts", markup=False)
            yield Static("escape closes this", classes="quiet", markup=False)

    def on_mount(self) -> None:
        """Begin to follow the row."""
        self._follow()
        self.set_interval(REFRESH, self._follow)

    def _follow(self) -> None:
        shown = list(facts(self._row))
        if shown != self._shown:
            self._shown = shown
            lines = Table.grid()
            lines.add_column(width=LABEL, style="dim")
            lines.add_column(overflow="fold")
            for label, value, style in shown:
                lines.add_row(label, Text(value, style))
            self.query_one("#facts", Static).update(lines)


def facts(row: Row) -> Iterator[tuple[str, str, str]]:
    """Return label, escaped value and style of what there is to say of a row."""
    state = row.shown_state
    device = printable(row.peer) or "another device"
    yield "Path", printable(row.path), "bold"
    yield "Folder", printable(row.job.standing.folder), ""
    yield "Direction", f"↓ comes from {device}" if row.direction is Direction.IN else f"↑ goes to {device}", ""
    yield "State", " ".join(STATES[state]), "bold"
    if row.error and state in (RowState.FAILED, RowState.PAUSED):
        yield "Reason", printable(row.error), ""
    yield "Size", f"{format_bytes(row.size)} ({row.size:,} bytes)", ""
    share = percent(row.done, row.size) if row.size or state is RowState.DONE else 0
    yield "Done", f"{format_bytes(row.done)} ({share} %)", ""
    chunks = chunk_count(row.size)
    yield "Chunks", f"{chunks if row.done >= row.size else row.done // CHUNK_SIZE:,} of {chunks:,}", ""
    if state is RowState.ACTIVE:
        yield "Rate", format_rate(row.rate), ""
        yield "Left", format_eta(row.eta), ""
