"""The keys at the bottom: whole ones, the most important ones, and the way to the others."""

import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, strategies as st
from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.pilot import Pilot
from textual.widgets import Input

from leafsync.actions import bind
from leafsync.widgets.key_line import Key, KeyLine, fitting
from tests.support.looking import DEADLINE
from tests.support.scenes import SCENES, played
from tests.support.ui import screen_text


def key(letter: str, label: str, rank: int = 3, **changes: Any) -> Key:
    return Key(letter, letter, label, "", rank, **changes)


HELP = key("?", "Help", 0)
ADD, COPY, QUIT = key("a", "Add", 1), key("y", "Copy", 4), key("q", "Quit", 2)


# Which ones


def test_all_are_shown_where_there_is_room() -> None:
    keys = [ADD, COPY, QUIT, HELP]
    assert fitting(keys, sum(one.width for one in keys)) == keys


def test_the_least_important_ones_are_left_out_whole() -> None:
    keys = [ADD, COPY, QUIT, HELP]
    assert fitting(keys, sum(one.width for one in keys) - 1) == [ADD, QUIT, HELP]
    assert fitting(keys, HELP.width) == [HELP]
    assert fitting(keys, HELP.width - 1) == []
    assert fitting([key("c", "Conflicts"), COPY, HELP], COPY.width + HELP.width) == [HELP]  # nothing in its place


def test_what_does_nothing_now_is_left_out_first() -> None:
    grey = key("e", "Edit", 1, enabled=False)
    assert fitting([grey, COPY, HELP], COPY.width + HELP.width) == [COPY, HELP]


def test_help_is_there_when_something_is_left_out() -> None:
    hidden = key("?", "Help", 0, listed=False)
    assert fitting([ADD, COPY, hidden], ADD.width + COPY.width) == [ADD, COPY]
    assert fitting([ADD, COPY, hidden], ADD.width + COPY.width - 1) == [hidden]
    assert fitting([ADD, COPY, COPY, hidden], ADD.width + hidden.width) == [ADD, hidden]


KEYS = st.lists(
    st.builds(Key, st.just("x"), st.text("ab^", min_size=1, max_size=4), st.text("xy ", max_size=14), st.just(""))
    | st.builds(key, st.sampled_from("abc"), st.text("xy", max_size=9), st.integers(1, 5), enabled=st.booleans()),
    max_size=14,
    unique=True,
)


@pytest.mark.parametrize("width", [0, 5, 80])
def test_there_may_be_no_keys(width: int) -> None:
    assert fitting([], width) == []


@given(KEYS, st.integers(0, 200))
def test_what_is_shown_fits_and_is_in_order(keys: list[Key], width: int) -> None:
    chosen = fitting([*keys, HELP], width)
    assert sum(one.width for one in chosen) <= width
    assert chosen == [one for one in [*keys, HELP] if one in chosen]
    assert HELP in chosen or width < HELP.width


# The line


class Shown(App[None]):
    """A line of keys below a field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        bind("trust.add", "note('add')"),
        bind("trust.replace", "note('replace')"),
        bind("job.pause", "off"),
        bind("app.quit", "note('quit')"),
        bind("app.help", "note('help')"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.pressed: list[str] = []
        self.rung = 0

    def compose(self) -> ComposeResult:
        yield Input()
        yield KeyLine()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if action == "off" else super().check_action(action, parameters)

    def action_note(self, name: str) -> None:
        self.pressed.append(name)

    def bell(self) -> None:
        self.rung += 1

    @property
    def last_line(self) -> str:
        return screen_text(self).split("\n")[-1]


ALL = " ^q Quit  a Add  k New key  p Pause  ? Help"


async def shows(app: Shown, pilot: Pilot[None], line: str) -> None:
    """Wait until the last line is `line`."""
    deadline = time.monotonic() + DEADLINE
    while app.last_line != line:
        assert time.monotonic() < deadline, app.last_line
        await pilot.pause(0.01)


async def test_it_follows_the_focus_and_the_width() -> None:
    app = Shown()
    async with app.run_test(size=(80, 5)) as pilot:
        await shows(app, pilot, " ^q Quit  f1 Help")  # what is typed is text in a field
        app.set_focus(None)
        await shows(app, pilot, ALL)
        await pilot.resize_terminal(24, 5)
        await shows(app, pilot, " ^q Quit  a Add  ? Help")


async def test_keys_can_be_clicked_and_say_what_they_do() -> None:
    app = Shown()
    async with app.run_test(size=(80, 5), tooltips=True) as pilot:
        app.set_focus(None)
        await shows(app, pilot, ALL)
        line = app.query_one(KeyLine)
        await pilot.hover(KeyLine, offset=(ALL.index("Add"), 0))
        assert line.tooltip == "Trust a device by its fingerprint."
        await pilot.click(KeyLine, offset=(ALL.index("Add"), 0))
        assert (app.pressed, app.rung) == (["add"], 0)
        await pilot.click(KeyLine, offset=(ALL.index("Pause"), 0))
        await pilot.click(KeyLine, offset=(79, 0))
        assert (app.pressed, app.rung) == (["add"], 1)
        await pilot.hover(KeyLine, offset=(70, 0))
        assert line.tooltip is None


async def test_keys_stay_while_the_terminal_has_not_the_focus() -> None:
    app = Shown()
    async with app.run_test(size=(80, 5)) as pilot:
        app.set_focus(None)
        await shows(app, pilot, ALL)
        app.post_message(events.AppBlur())
        await pilot.pause()
        assert app.last_line == ALL


# On the screens


@pytest.mark.parametrize("scene", ["connect", "serve", "trust", "transfers", "conflicts", "picker"])
async def test_every_screen_has_whole_keys_and_the_way_to_the_others(scene: str, tmp_path: Path) -> None:
    assert scene in SCENES
    async with played(scene, tmp_path) as stage:
        line = stage.app.screen.query_one(KeyLine)
        for width in (120, 80, 60, 40):
            await stage.pilot.resize_terminal(width, 24)
            await stage.pilot.pause()
            everything = line._keys
            chosen = fitting(everything, line.content_size.width)
            shown = line.render().plain
            assert shown == "".join(f" {one.shown} {one.label} " for one in chosen)
            assert len(shown) <= line.content_size.width
            assert len(chosen) == sum(one.listed for one in everything) or any(one.rank == 0 for one in chosen)
