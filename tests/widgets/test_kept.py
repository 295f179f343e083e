"""Widgets that draw their lines only when they look different."""

from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip

from leafsync.widgets.kept import Kept
from tests.support.ui import screen_text


class Counting(Kept):
    """Says how often it was drawn."""

    DEFAULT_CSS = "Counting { height: 1; } Counting.loud { color: red; }"

    def __init__(self) -> None:
        super().__init__()
        self.text = "one"
        self.drawn = 0

    def render_line(self, y: int) -> Strip:
        self.drawn += 1
        return Strip.blank(0) if y else super().render_line(y)

    def render(self) -> str:
        return self.text


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield Counting()


async def test_lines_are_drawn_once() -> None:
    app = Shown()
    async with app.run_test() as pilot:
        widget = app.query_one(Counting)
        whole = Region(0, 0, *widget.size)
        await pilot.pause()
        lines, drawn = widget.render_lines(whole), widget.drawn
        assert drawn > 0
        assert widget.render_lines(whole) is lines
        app.refresh()
        await pilot.pause()
        assert widget.drawn == drawn
        assert [line.text for line in widget.render_lines(Region(0, 0, 3, 1))] == ["one"]


async def test_they_are_drawn_anew_when_what_they_say_has_changed() -> None:
    app = Shown()
    async with app.run_test() as pilot:
        widget = app.query_one(Counting)
        widget.text = "two"
        widget.refresh()
        await pilot.pause()
        assert "two" in screen_text(app)


async def test_they_are_drawn_anew_in_other_colours() -> None:
    app = Shown()
    async with app.run_test() as pilot:
        widget = app.query_one(Counting)
        whole = Region(0, 0, *widget.size)
        before = widget.render_lines(whole)
        widget.add_class("loud")
        await pilot.pause()
        assert widget.render_lines(whole) != before


async def test_they_are_drawn_anew_in_another_size() -> None:
    app = Shown()
    async with app.run_test(size=(40, 5)) as pilot:
        widget = app.query_one(Counting)
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        assert [line.cell_length for line in widget.render_lines(Region(0, 0, 20, 1))] == [20]
