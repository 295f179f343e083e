"""What scrolls because there is more than fits."""

from textual.app import App, ComposeResult
from textual.widgets import Button, HelpPanel, Static

from leafsync.widgets.pane import Pane
from tests.support.ui import screen_text


class Page(App[None]):
    """More lines than fit, with a button among them."""

    def compose(self) -> ComposeResult:
        with Pane():
            yield Button("Here", compact=True)
            yield Static("\n".join(f"line {at}" for at in range(100)))


async def test_the_usual_keys_scroll_it() -> None:
    app = Page()
    async with app.run_test(size=(40, 10)) as pilot:
        app.animation_level = "none"
        pane = app.query_one(Pane)
        await pilot.pause()
        assert isinstance(app.focused, Button)
        went = []
        for key in ("down", "up", "pagedown", "pageup", "end", "home"):
            await pilot.press(key)
            await pilot.pause()
            went.append(pane.scroll_y)
        assert went == [1, 0, 10, 0, 101 - 10, 0]


async def test_it_is_passed_by_tab_and_its_keys_are_not_in_the_help() -> None:
    app = Page()
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("tab")
        assert isinstance(app.focused, Button)
        await app.mount(HelpPanel())
        await pilot.pause()
        await pilot.pause()
        shown = screen_text(app).lower()
        assert "press button" in shown
        assert "scroll" not in shown
        assert "pgup" not in shown
