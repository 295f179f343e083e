"""The list of transfers: one widget that draws the lines in view, and of them only those that look different now."""

from itertools import zip_longest
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from leafsync.progress import truncate_middle
from leafsync.widgets.kept import Kept
from leafsync.widgets.line_list import CURSOR_KEYS
from leafsync.widgets.transfer_line import KINDS, Part, line, titles
from leafsync.widgets.transfer_model import TransferModel
from leafsync.widgets.transfer_rows import Row, Sort

MAX_STRIPS = 512
"""Drawn lines that are kept: some screens full, so that scrolling to and fro draws nothing anew."""

STEPS = {"up": -1, "down": 1}
"""Keys that are held down, and how many rows each moves the cursor by."""

Look = tuple[int, int, bool, bool, bool]
"""What a line shows: number and version of its row, whether its job is paused or has ended, and the cursor."""


class TransferTitles(Kept):
    """The line above the list: what its columns are, and what it is sorted by."""

    DEFAULT_CSS: ClassVar[str] = """
    TransferTitles {
        height: 1;
        color: $text-muted;
        & > .titles--active { color: $foreground; text-style: bold underline; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"titles--active"}

    def __init__(self, below: "TransferList") -> None:
        """Be of the list that comes below."""
        super().__init__()
        self._list = below
        self._sort = Sort.STATE

    def show(self, sort: Sort) -> None:
        """Mark what the rows are sorted by."""
        if sort is not self._sort:
            self._sort = sort
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        base = self.rich_style
        marked = self.get_component_rich_style("titles--active")
        parts = titles(self._list.line_width, self._sort) if y == 0 else []
        segments = [Segment(text, marked if kind == "active" else base) for text, kind in parts]
        return Strip(segments).adjust_cell_length(self.size.width, base)


class TransferList(ScrollView, can_focus=True):
    """Shows a `TransferModel`. Who changes the model calls `renew` after it, a few times a second at most."""

    ALLOW_SELECT = False
    DEFAULT_CSS: ClassVar[str] = """
    TransferList {
        height: 1fr;
        background: transparent;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;

        & > .transfers--quiet { color: $text-muted; }
        & > .transfers--bar { color: $primary; }
        & > .transfers--track { color: $text-muted 40%; }
        & > .transfers--active { color: $text-primary; text-style: bold; }
        & > .transfers--failed { color: $text-error; }
        & > .transfers--paused { color: $text-warning; }
        & > .transfers--waiting { color: $text-muted; }
        & > .transfers--done { color: $text-success; }
        & > .transfers--cursor {
            color: $block-cursor-blurred-foreground;
            background: $block-cursor-blurred-background;
        }
        &:focus > .transfers--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: bold;
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"transfers--cursor", *(f"transfers--{kind}" for kind in KINDS)}
    BINDINGS: ClassVar[list[BindingType]] = CURSOR_KEYS

    class Moved(Message):
        """The cursor was moved to another row."""

    class Chosen(Message):
        """The row with the cursor was clicked twice."""

    def __init__(self, model: TransferModel, *, id: str | None = None) -> None:  # noqa: A002  as textual
        """Show `model`."""
        super().__init__(id=id)
        self.model = model
        self._sentences: tuple[str, ...] = ()
        self._strips: LRUCache[tuple[Look, int, int], Strip] = LRUCache(MAX_STRIPS)
        self._styles: dict[str, Style] = {}
        self._drawn: list[Look] = []
        """What the lines in view show."""
        self._cursor_index = 0
        """Where the cursor was when the lines were drawn."""

    @property
    def line_width(self) -> int:
        """Cells of a line."""
        return self.scrollable_content_region.width

    def say(self, *sentences: str) -> None:
        """Show these escaped sentences, a line each, where there are no rows."""
        if sentences != self._sentences:
            self._sentences = sentences
            if not len(self.model.view.order):
                self.refresh()

    def renew(self) -> None:
        """Draw what looks different now. Costs by the lines in view, not by the rows there are."""
        count = len(self.model.view.order)
        if count != self.virtual_size.height:
            if not count or not self.virtual_size.height:
                self.refresh()
            self.virtual_size = Size(0, count)
        self._keep_cursor()
        self._draw()

    def _keep_cursor(self) -> None:
        """Have the row with the cursor on the line of the screen where it was, while rows come and go above it."""
        before, now = self._cursor_index, self.model.cursor_index
        self._cursor_index = now
        line_ = before - self.scroll_offset.y
        if before != now and not self.model.following and 0 <= line_ < self._height:
            self.scroll_to(y=now - line_, animate=False, force=True)

    def _draw(self) -> None:
        top = self.scroll_offset.y
        cursor = self.model.cursor_index
        rows = self.model.view.order.slice(top, top + self._height)
        looks = [_look(row, here=at == cursor) for at, row in enumerate(rows, top)]
        changed = [y for y, (now, before) in enumerate(zip_longest(looks, self._drawn)) if now != before]
        self._drawn = looks
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height

    # Cursor

    def on_key(self, event: events.Key) -> None:
        """Take a step at once: as a binding it would go to the screen and the app first, two turns of a busy loop."""
        by = STEPS.get(event.key)
        if by is not None:
            event.stop()
            event.prevent_default()
            self.action_move(by)

    def action_move(self, by: int) -> None:
        """Move the cursor by rows."""
        self._go(self.model.cursor_index + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self._go(self.model.cursor_index + by * max(1, self._height - 1))

    def action_first(self) -> None:
        """Have the cursor on the first row, whichever that is from now on."""
        self.model.follow()
        self._reveal()

    def action_last(self) -> None:
        """Move the cursor to the last row."""
        self._go(len(self.model.view.order) - 1)

    def _go(self, index: int) -> None:
        self.model.point(index)
        self._reveal()

    def _reveal(self) -> None:
        self._cursor_index = self.model.cursor_index
        self.scroll_to_region(Region(0, self._cursor_index, 1, 1), animate=False, force=True, x_axis=False)
        self._draw()
        self.post_message(self.Moved())

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        self.scroll_to_region(Region(0, self.model.cursor_index, 1, 1), animate=False, force=True, x_axis=False)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there; a second click chooses."""
        index = event.y + self.scroll_offset.y
        if index < len(self.model.view.order):
            self._go(index)
            if event.chain == 2:
                self.post_message(self.Chosen())

    # Drawing

    def notify_style_update(self) -> None:
        """Forget what was drawn in other colours."""
        super().notify_style_update()
        self._strips.clear()
        self._styles.clear()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw lines. Textual's own way looks at all styles for each of them, which costs more than to draw it."""
        background = self.background_colors[1]
        strips = self._lines(crop)
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        if crop.column_span != (0, self.outer_size.width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def _lines(self, crop: Region) -> list[Strip]:
        """Draw lines as wide as the widget is, which the scrollbar is a part of."""
        width, outer = self.line_width, self.outer_size.width
        cursor, start = self.model.cursor_index, crop.y + self.scroll_offset.y
        rows = self.model.view.order.slice(start, start + crop.height)
        strips = [self._row(row, width, outer, here=at == cursor) for at, row in enumerate(rows, start)]
        below = range(crop.y + len(strips), crop.bottom)
        strips += [self._sentence(y, width).adjust_cell_length(outer, self._style("")) for y in below]
        return strips

    def _row(self, row: Row, width: int, outer: int, *, here: bool) -> Strip:
        key = (_look(row, here=here), width, outer)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strip(line(row, width, here=here), width, here=here)
            strip = self._strips[key] = strip.adjust_cell_length(outer, self._style(""))
        return strip

    def _strip(self, parts: list[Part], width: int, *, here: bool) -> Strip:
        base = self._style("cursor" if here else "")
        segments = [Segment(text, base if here else self._style(kind)) for text, kind in parts]
        return Strip(segments).adjust_cell_length(width, base)

    def _sentence(self, y: int, width: int) -> Strip:
        """Draw a line where there is no row: the sentences are in the middle when there are no rows at all."""
        at = y - max(0, (self._height - len(self._sentences)) // 3)
        base = self._style("")
        if len(self.model.view.order) or not 0 <= at < len(self._sentences):
            return Strip.blank(width, base)
        text = truncate_middle(self._sentences[at], width).center(width)
        return Strip([Segment(text, base if at == 0 else self._style("quiet"))]).adjust_cell_length(width, base)

    def _style(self, kind: str) -> Style:
        """Return the style of a kind of part; looked up once, as that costs more than to draw the part."""
        style = self._styles.get(kind)
        if style is None:
            style = self.get_component_rich_style(f"transfers--{kind}") if kind else self.rich_style
            self._styles[kind] = style
        return style


def _look(row: Row, *, here: bool) -> Look:
    standing = row.job.standing
    return (row.number, row.version, standing.paused, standing.ended, here)
