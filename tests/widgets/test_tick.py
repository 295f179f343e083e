"""A box whose state can be told without colours."""

from typing import Any

import pytest
from textual.app import App, ComposeResult

from leafsync.widgets.tick import Tick
from tests.support.ui import screen_text


class Form(App[None]):
    """Two boxes."""

    def compose(self) -> ComposeResult:
        yield Tick("Read [b]only[/b]", id="one", help_text="Take **nothing**.")
        yield Tick("Other", id="two")


def lines(app: App[Any]) -> list[str]:
    return [line.strip() for line in screen_text(app).split("\n")]


@pytest.mark.parametrize("key", ["space", "enter"])
async def test_a_key_ticks_it_and_takes_the_tick_away(key: str) -> None:
    app = Form()
    async with app.run_test(size=(40, 4)) as pilot:
        await pilot.pause()
        assert app.focused is app.query_one("#one")
        assert lines(app)[:2] == ["[ ] Read [b]only[/b]", "[ ] Other"]
        await pilot.press(key)
        assert lines(app)[:2] == ["[x] Read [b]only[/b]", "[ ] Other"]
        assert app.query_one("#one", Tick).value
        await pilot.press(key)
        assert lines(app)[:2] == ["[ ] Read [b]only[/b]", "[ ] Other"]


async def test_it_is_one_line_high_and_cut_where_it_does_not_fit() -> None:
    app = Form()
    async with app.run_test(size=(12, 4)) as pilot:
        await pilot.pause()
        assert lines(app)[0].startswith("[ ] Read")
        assert lines(app)[1] == "[ ] Other"


async def test_help_is_about_it() -> None:
    app = Form()
    async with app.run_test(size=(40, 4)):
        assert app.query_one("#one", Tick).HELP == "## Read [b]only[/b]\nTake **nothing**."
        assert app.query_one("#two", Tick).HELP is None


async def test_it_is_told_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Form()
    async with app.run_test(size=(40, 4)) as pilot:
        await pilot.press("space")
        assert lines(app)[0].startswith("[x]")
