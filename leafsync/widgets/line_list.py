"""A list with a cursor that draws only the lines that are seen: 100,000 of them cost no more than ten."""

import textwrap
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

T = TypeVar("T")

Spans = Sequence[tuple[str, str]]
"""The parts of a line, each an escaped text and what it is: "" or one of `KINDS`."""

KINDS = ("title", "quiet", "good", "warn", "bad")
"""What a part of a line can be, apart from ordinary. A colour repeats only what the words say."""

CUT = "…"
"""Ends a line that is longer than the list is wide."""

CURSOR_KEYS: list[BindingType] = [
    Binding("up", "move(-1)", "Up", show=False),
    Binding("down", "move(1)", "Down", show=False),
    Binding("pageup", "page(-1)", "Page up", show=False),
    Binding("pagedown", "page(1)", "Page down", show=False),
    Binding("home", "first", "First", show=False),
    Binding("end", "last", "Last", show=False),
]
"""Keys that move the cursor of a list."""

MARK = "› "
"""Before the line with the cursor, so that it can be told without colours."""


class LineList(ScrollView, Generic[T], can_focus=True):
    """Shows rows, a line each, drawn by a function when they come into view; or a sentence instead."""

    ALLOW_SELECT = False
    DEFAULT_CSS: ClassVar[str] = """
    LineList {
        height: 1fr;
        background: transparent;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;

        & > .line-list--title { color: $primary; text-style: bold; }
        & > .line-list--quiet { color: $text-muted; }
        & > .line-list--good { color: $text-success; }
        & > .line-list--warn { color: $text-warning; }
        & > .line-list--bad { color: $text-error; }
        & > .line-list--cursor {
            color: $block-cursor-blurred-foreground;
            background: $block-cursor-blurred-background;
        }
        &:focus > .line-list--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: bold;
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"line-list--cursor", *(f"line-list--{kind}" for kind in KINDS)}
    BINDINGS: ClassVar[list[BindingType]] = [*CURSOR_KEYS, Binding("enter", "choose", "Choose", show=False)]

    cursor: reactive[int] = reactive(0, repaint=False)
    """Index of the row the cursor is on."""

    class Moved(Message):
        """The cursor is on another row, or there are other rows."""

    class Chosen(Message):
        """Enter was pressed on the row with the cursor, or it was clicked twice."""

    def __init__(self, draw: Callable[[T, int], Spans], *, id: str | None = None) -> None:  # noqa: A002  as textual
        """`draw` returns the parts of a row's line for a width in cells; what is longer is cut."""
        super().__init__(id=id)
        self._draw = draw
        self._rows: Sequence[T] = ()
        self._sentence = ""
        self._sentence_kind = ""

    @property
    def rows(self) -> Sequence[T]:
        """The rows that are shown."""
        return self._rows

    @property
    def selected(self) -> T | None:
        """The row with the cursor, None when there is none."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def set_rows(self, rows: Sequence[T], cursor: int = 0) -> None:
        """Show these rows, which must not change any more, with the cursor on the one with this index."""
        self._rows, self._sentence = rows, ""
        self._renew(cursor)

    def say(self, sentence: str, kind: str = "quiet") -> None:
        """Show an escaped sentence, and no rows."""
        self._rows, self._sentence, self._sentence_kind = (), sentence, kind
        self._renew(0)

    def _renew(self, cursor: int) -> None:
        self.virtual_size = Size(0, len(self._rows))
        self.cursor = cursor
        self.refresh()
        self._reveal()
        self.post_message(self.Moved())

    # Cursor

    def validate_cursor(self, cursor: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(cursor, len(self._rows) - 1))

    def watch_cursor(self, before: int, now: int) -> None:
        """Draw the two lines that look different now."""
        if before == now:
            return
        self.refresh(*(Region(0, index - self.scroll_offset.y, self.size.width, 1) for index in (before, now)))
        self._reveal()
        self.post_message(self.Moved())

    def _reveal(self) -> None:
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True, x_axis=False)

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        self._reveal()

    def action_move(self, by: int) -> None:
        """Move the cursor by rows."""
        self.cursor += by

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self.cursor += by * max(1, self.scrollable_content_region.height - 1)

    def action_first(self) -> None:
        """Move the cursor to the first row."""
        self.cursor = 0

    def action_last(self) -> None:
        """Move the cursor to the last row."""
        self.cursor = len(self._rows) - 1

    def action_choose(self) -> None:
        """Choose the row with the cursor."""
        if self.selected is not None:
            self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there; a second click chooses."""
        index = event.y + self.scroll_offset.y
        if index < len(self._rows):
            self.cursor = index
            if event.chain == 2:
                self.action_choose()

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Draw the line that is `y` lines below the top."""
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        if index < len(self._rows):
            return self._row(index, width)
        return self._sentence_line(y, width)

    def _row(self, index: int, width: int) -> Strip:
        here = index == self.cursor
        base = self.get_component_rich_style("line-list--cursor") if here else self.rich_style
        segments = [Segment(MARK if here else " " * len(MARK), base)]
        for text, kind in self._draw(self._rows[index], max(1, width - len(MARK))):
            segments.append(Segment(text, base if here else self._style(kind)))
        strip = Strip(segments)
        if strip.cell_length > width:
            strip = Strip([*strip.crop(0, width - 1), Segment(CUT, base)])
        return strip.adjust_cell_length(width, base)

    def _sentence_line(self, y: int, width: int) -> Strip:
        base = self.rich_style
        lines = textwrap.wrap(self._sentence, max(1, width - len(MARK)))
        text = lines[y] if y < len(lines) else ""
        segments = [Segment(" " * len(MARK), base), Segment(text, self._style(self._sentence_kind))]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, kind: str) -> Style:
        return self.get_component_rich_style(f"line-list--{kind}") if kind else self.rich_style
