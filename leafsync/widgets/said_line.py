"""A line of text that changes a few times a second."""

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from leafsync.widgets.kept import Kept

CUT = "…"
"""Ends a line that is longer than there is room."""

MARKED = Style(bold=True, reverse=True)


class SaidLine(Kept):
    """Shows one line, which nobody wraps or looks for markup in: textual's own `Static` costs several times as much."""

    ALLOW_SELECT = False
    DEFAULT_CSS: ClassVar[str] = """
    SaidLine { height: 1; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002  textual's own name
        """Say nothing yet."""
        super().__init__(id=id)
        self._parts: tuple[tuple[str, bool], ...] = ()

    def say(self, *parts: tuple[str, bool]) -> None:
        """Show these escaped texts one after the other, each with whether it is marked."""
        if parts != self._parts:
            self._parts = parts
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        width, base = self.content_size.width, self.rich_style
        if y or not width:
            return Strip.blank(width, base)
        strip = Strip([Segment(text, base + MARKED if marked else base) for text, marked in self._parts])
        if strip.cell_length > width:
            strip = Strip([*strip.crop(0, width - 1), Segment(CUT, base)])
        return strip.adjust_cell_length(width, base)
