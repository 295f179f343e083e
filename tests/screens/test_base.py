"""What all screens and windows do: they follow the size of the terminal, also below one another."""

from pathlib import Path

import pytest
from textual.screen import Screen
from textual.widgets import HelpPanel, Input, Static

from tests.support.scenes import played
from tests.support.stage import Stage
from tests.support.ui import screen_text

SIZES = [(60, 20), (200, 60), (40, 12), (80, 24), (120, 36)]


def fits(screen: Screen[object]) -> bool:
    """Say whether a screen has exactly the classes for the size of the terminal."""
    width, height = screen.app.size
    for room, points in ((width, screen.HORIZONTAL_BREAKPOINTS), (height, screen.VERTICAL_BREAKPOINTS)):
        names = [name for least, name in points or [] if room >= least]
        if screen.classes & {name for _least, name in points or []} != set(names[-1:]):
            return False
    return True


def all_fit(stage: Stage) -> bool:
    """Say whether the screens below fit as well as the one on top."""
    return all(fits(screen) for screen in stage.app.screen_stack)


@pytest.mark.parametrize(
    ("scene", "keys"),
    [("confirm", ["n"]), ("palette", ["escape"]), ("pass-actions", ["escape", "escape"]), ("recent", ["escape"])],
)
async def test_a_screen_below_a_window_follows_the_size(scene: str, keys: list[str], tmp_path: Path) -> None:
    async with played(scene, tmp_path) as stage:
        for size in SIZES:
            await stage.pilot.resize_terminal(*size)
            await stage.until(lambda: all_fit(stage))
        await stage.pilot.resize_terminal(60, 20)
        for key in keys:
            await stage.pilot.press(key)
            await stage.until(lambda: all_fit(stage))
        assert stage.app.screen.has_class("-narrow")


async def test_a_screen_that_is_not_there_follows_the_size_when_it_comes_back(tmp_path: Path) -> None:
    async with played("connect", tmp_path) as stage:
        await stage.press("f5")
        await stage.pilot.resize_terminal(200, 60)
        await stage.press("f3")
        await stage.until(lambda: all_fit(stage))
        assert stage.app.screen.has_class("-wide")


@pytest.mark.parametrize("scene", ["transfer-details", "recent"])
async def test_a_window_on_a_low_screen_has_all_of_it(scene: str, tmp_path: Path) -> None:
    async with played(scene, tmp_path, size=(40, 12)) as stage:
        window = stage.app.screen.query_one(".dialog")
        assert window.outer_size.width == 40
        assert window.content_size.height >= min(10, window.virtual_size.height)
        assert "/home/ana/Pictures" in screen_text(stage.app)  # it was cut, or in two lines


@pytest.mark.parametrize(("scene", "key"), [("recent", "enter"), ("recent", "escape"), ("confirm", "n")])
async def test_a_window_that_is_told_twice_to_close_closes_once(scene: str, key: str, tmp_path: Path) -> None:
    async with played(scene, tmp_path) as stage:
        below = stage.app.screen_stack[:-1]
        await stage.burst(key, key)
        await stage.until(lambda: stage.app.screen_stack == below)


@pytest.mark.parametrize("theme", ["ansi-dark", "ansi-light"])
async def test_in_the_colours_of_the_terminal_a_line_to_type_into_is_underlined(theme: str, tmp_path: Path) -> None:
    async with played("device-form", tmp_path, theme=theme) as stage:
        fields = list(stage.app.screen.query(Input))
        assert len(fields) == 3
        for line in fields:
            assert line.rich_style.underline
            end = list(line.render_line(0))[-1]
            assert end.style is not None
            assert end.style.underline


@pytest.mark.parametrize(
    ("scene", "whole"),
    [
        ("trust", ["5eec  0dc4  19aa  8337", "bf72  5f02  6fda  9c78", "192.168.1.31:51820"]),
        ("transfers", ["all 38", "✓ 12"]),
        ("serve", ["● laptop  receiving, 23.0 MB/s", "● studio  connected"]),
        ("connect", ["71 %  41.7 MB/s"]),
    ],
)
async def test_what_is_beside_the_help_panel_is_not_cut(scene: str, whole: list[str], tmp_path: Path) -> None:
    async with played(scene, tmp_path) as stage:
        await stage.press("f1")
        panel = stage.app.screen.query_one(HelpPanel)
        await stage.until(lambda: panel.size.width)
        await stage.tick()
        await stage.pilot.pause()
        left = "\n".join(line[: panel.region.x] for line in screen_text(stage.app).split("\n"))
        assert all(text in left for text in whole), left


@pytest.mark.parametrize("scene", ["help-panel", "recent"])
async def test_a_click_at_what_is_not_there_any_more_does_no_harm(scene: str, tmp_path: Path) -> None:
    async with played(scene, tmp_path) as stage:
        gone = stage.app.screen.query("MarkdownH2, .title").first(Static)
        place = gone.region.x + 1, gone.region.y
        await (
            gone.remove()
        )  # as the text of the help panel when the focus moves; the layout has it until the next frame
        assert stage.app.get_widget_at(*place)[0] is gone
        await stage.burst(place, place)
