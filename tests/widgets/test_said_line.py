"""One line of text, as it is on the screen."""

import pytest
from textual.app import App, ComposeResult

from leafsync.widgets.said_line import SaidLine
from tests.support.ui import screen_text


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield SaidLine(id="line")


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ((), ""),
        (("all 42", " ▸ 3 "), "all 42 ▸ 3"),
        (("[bold]nothing[/] is markup",), "[bold]nothing[/] is mar…"),
        (("24 cells are all of them",), "24 cells are all of them"),
        (("24 cells are all of them!",), "24 cells are all of the…"),
        (("a" * 23, "b" * 9), "a" * 23 + "…"),
        (("日本" * 8,), "日本" * 5 + "日 …"),
    ],
)
async def test_it_shows_what_there_is_room_for(parts: tuple[str, ...], shown: str) -> None:
    app = Shown()
    async with app.run_test(size=(24, 2)) as pilot:
        app.query_one(SaidLine).say(*((part, False) for part in parts))
        await pilot.pause()
        assert screen_text(app).splitlines()[0].rstrip() == shown


async def test_what_is_marked_stands_out() -> None:
    app = Shown()
    async with app.run_test(size=(24, 2)) as pilot:
        line = app.query_one(SaidLine)
        line.say(("one ", False), ("two", True))
        await pilot.pause()
        one, two, *_rest = line.render_line(0)
        assert one.style is not None
        assert two.style is not None
        assert not one.style.reverse
        assert (two.text, two.style.reverse, two.style.bold) == ("two", True, True)


async def test_the_same_again_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Shown()
    async with app.run_test(size=(24, 2)) as pilot:
        line = app.query_one(SaidLine)
        line.say(("as before", False))
        await pilot.pause()
        monkeypatch.setattr(line, "refresh", lambda: pytest.fail("it was drawn again"))
        line.say(("as before", False))
