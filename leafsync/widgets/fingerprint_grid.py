"""A fingerprint in rows of groups, for two people who compare it."""

from typing import ClassVar

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from leafsync.bridge import format_groups
from leafsync.text import printable

COLUMNS = (8, 4, 2)
"""Groups in a row, whichever fits: all of them divide the 16 groups."""

GAP = 2
"""Blanks between two groups."""


def grid(fingerprint: str, width: int) -> list[list[str]]:
    """Return the groups of a fingerprint, escaped, in the longest rows that fit into `width` cells."""
    groups = printable(format_groups(fingerprint)).split(" ")
    cells = max(len(group) for group in groups)
    columns = next((count for count in COLUMNS if count * (cells + GAP) - GAP <= width), 1)
    return [groups[at : at + columns] for at in range(0, len(groups), columns)]


class FingerprintGrid(Widget):
    """Shows a fingerprint. Every second group looks different, so that the eye finds its place again."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"fingerprint-grid--even", "fingerprint-grid--odd"}
    DEFAULT_CSS: ClassVar[str] = """
    FingerprintGrid {
        height: auto;
        padding-left: 2;

        & > .fingerprint-grid--even { color: $primary; text-style: bold; }
        & > .fingerprint-grid--odd { color: $foreground; }
        &.good > .fingerprint-grid--even { color: $success; }
        &.bad > .fingerprint-grid--even { color: $error; }
        &.quiet > .fingerprint-grid--even { color: $text-muted; }
        &.quiet > .fingerprint-grid--odd { color: $text-muted; text-style: none; }
    }
    """

    def __init__(self, fingerprint: str, *, classes: str = "") -> None:
        """Show `fingerprint`; the classes `good`, `bad` and `quiet` colour it."""
        super().__init__(classes=classes)
        self._fingerprint = fingerprint

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the number of rows in `width` cells."""
        return len(grid(self._fingerprint, width))

    def render(self) -> Text:
        """Return the rows."""
        even, odd = (self.get_component_rich_style(f"fingerprint-grid--{name}") for name in ("even", "odd"))
        rows = grid(self._fingerprint, self.content_size.width)
        lines = []
        for row in rows:
            pieces = [(group, odd if at % 2 else even) for at, group in enumerate(row)]
            lines.append(Text(" " * GAP).join(Text(group, style) for group, style in pieces))
        return Text("\n").join(lines)
