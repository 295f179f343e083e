"""Small windows: as high as what is in them, and what can be chosen is always in sight."""

from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widgets import Button, Static

from leafsync.widgets.window import Body, Choices, Window
from tests.support.ui import screen_text

LOW: list[tuple[int, str]] | None = [(0, "-low"), (16, "-high")]

SHAPES = [((80, 24), 5), ((80, 24), 40), ((40, 12), 5), ((40, 12), 40), ((60, 20), 14)]
"""Columns and rows of the terminal, and lines to read."""


class Page(Screen[None]):
    """A window with so many lines to read."""

    AUTO_FOCUS: ClassVar[str | None] = "#one"
    VERTICAL_BREAKPOINTS = LOW

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        with Window():
            with Body():
                yield Static("\n".join(f"line {at}" for at in range(self._lines)), markup=False)
            with Choices():
                yield Button("One", id="one", compact=True)
                yield Button("Two", id="two", compact=True, disabled=True)
                yield Button("Three", id="three", compact=True)


class Desk(App[None]):
    """Shows the window."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    def on_mount(self) -> None:
        self.push_screen(Page(self._lines))


@pytest.mark.parametrize(
    ("size", "lines"), [((80, 24), 5), ((80, 24), 40), ((40, 12), 5), ((40, 12), 40), ((60, 20), 14)]
)
async def test_the_choices_are_always_in_sight(size: tuple[int, int], lines: int) -> None:
    app = Desk(lines)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "line 0" in text
        assert "Three" in text
        assert app.screen.query_one(Window).outer_size.height <= size[1]


async def test_it_is_as_high_as_what_is_in_it() -> None:
    app = Desk(3)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.screen.query_one(Window).outer_size.height == 3 + 1 + 4  # text, choices, border and air


async def test_it_fits_again_after_the_terminal_changed() -> None:
    app = Desk(18)
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        assert app.screen.query_one(Body).size.height == 18
        for size in ((80, 12), (80, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert "Three" in screen_text(app)
        assert app.screen.query_one(Body).size.height == 18


async def test_the_body_can_be_reached_and_scrolled_while_it_does_not_fit() -> None:
    app = Desk(40)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.pause()
        await pilot.press("tab", "tab")
        assert isinstance(app.focused, Body)
        await pilot.press("end")
        await pilot.pause()
        assert "line 39" in screen_text(app)


async def test_the_body_scrolls_wherever_the_focus_is() -> None:
    app = Desk(40)
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        assert app.focused is app.screen.query_one("#one")
        body = app.screen.query_one(Body)
        for key, at in (("down", 1), ("pagedown", 1 + body.size.height), ("up", body.size.height), ("pageup", 0)):
            await pilot.press(key)
            await pilot.pause()
            assert body.scroll_y == at, key
        assert app.focused is app.screen.query_one("#one")


async def test_tab_passes_a_body_that_fits() -> None:
    app = Desk(4)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("tab", "tab")
        assert app.focused is app.screen.query_one("#one")


async def test_arrows_go_between_the_choices_that_are_possible() -> None:
    app = Desk(4)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        seen = []
        for key in ("right", "right", "left", "left"):
            await pilot.press(key)
            seen.append(app.focused.id if app.focused is not None else None)
        assert seen == ["three", "three", "one", "one"]


async def test_a_choice_is_one_line_high_in_the_colours_of_the_terminal() -> None:
    app = Desk(4)
    async with app.run_test(size=(80, 24)) as pilot:
        app.theme = "ansi-dark"
        await pilot.pause()
        assert {button.outer_size.height for button in app.screen.query(Button)} == {1}
