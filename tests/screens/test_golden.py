"""Golden screens: every scene looks as it did when somebody last looked at it and found it good.

`LEAFSYNC_GOLDEN=write` takes what there is now for good; look at what changed before it is committed. A scene that
differs is written to a temporary directory, and its error says which lines of text are others.
"""

import difflib
import gc
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pictures import svg, text_of
from tests.support.scenes import SCENES, played
from tests.support.stage import Stage
from tests.support.ui import screen_text

GOLDEN = Path(__file__).with_name("golden")

WRITE = os.environ.get("LEAFSYNC_GOLDEN") == "write"

USUAL = (80, 24)
"""The size that scenes are played at, and looked at in the colours of a terminal and in none."""

OTHER_SIZES = ((60, 20), (120, 36), (200, 60))
"""Sizes that the window has then, one after the other."""

ANSI = "ansi-dark"
"""The theme of a terminal that brings its own colours."""

DEADLINE = 5.0
"""Seconds that a screen has to become what it was: far more than any machine takes."""

QUIET = 0.4
"""Seconds without a change after which a screen is taken for good: many times the longest timer that redraws."""

MAX_GOLDEN = 6_000_000
"""Bytes of all golden screens together: a clone of the repository carries them."""


def golden(scene: str, view: str) -> Path:
    return GOLDEN / f"{scene}.{view}.svg"


def view(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


VIEWS = (*map(view, (USUAL, *OTHER_SIZES)), "ansi", "nocolor")
"""What is looked at of each scene."""


def golden_of(scene: str, name: str) -> str:
    path = golden(scene, name)
    return path.read_text(encoding="utf-8") if path.exists() else ""


async def looked_at(stage: Stage, scene: str, name: str, found: Path) -> str:
    """Compare what is seen with its golden screen, once it had time to become it; return what differs."""
    if WRITE:
        keep(golden(scene, name), await at_rest(stage))
        return ""
    expected = golden_of(scene, name)
    await stage.tick()  # so that nothing is compared that the next look at the engine would change
    deadline = time.monotonic() + DEADLINE
    while (seen := svg(stage.app)) != expected:
        if time.monotonic() > deadline:
            new = keep(found / golden(scene, name).name, seen)
            return difference(f"{scene}, {name}", text_of(expected), text_of(seen), new)
        await stage.pilot.pause(0.01)
        await stage.tick()
    return ""


def keep(path: Path, picture: str) -> Path:
    path.write_text(picture, encoding="utf-8")
    return path


async def at_rest(stage: Stage) -> str:
    """Return what is seen once it does not change any more."""
    seen, since = svg(stage.app), time.monotonic()
    while time.monotonic() - since < QUIET:
        await stage.pilot.pause(0.01)
        await stage.tick()
        now = svg(stage.app)
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def difference(name: str, expected: list[str], seen: list[str], new: Path) -> str:
    """Return which lines of text are others; where none is, colours or styles are."""
    lines = list(difflib.unified_diff(expected, seen, "golden", "seen", n=0, lineterm=""))
    said = "\n".join(lines) if lines else "the text is the same, colours or styles differ"
    return f"{name}\n{said}\nseen now: {new}"


@pytest.fixture(autouse=True)
def _without_collections() -> Iterator[None]:
    """Spare what is drawn many times a fifth of its time: what a scene leaves behind is collected after it."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("scene", SCENES)
async def test_it_looks_as_it_did(scene: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    wrong = []
    async with played(scene, home, size=USUAL) as stage:
        wrong.append(await looked_at(stage, scene, view(USUAL), tmp_path))
        ours, stage.app.theme = stage.app.theme, ANSI
        wrong.append(await looked_at(stage, scene, "ansi", tmp_path))
        stage.app.theme = ours
        async with stage.without_colours():
            wrong.append(await looked_at(stage, scene, "nocolor", tmp_path))
        for size in OTHER_SIZES:
            await stage.pilot.resize_terminal(*size)
            wrong.append(await looked_at(stage, scene, view(size), tmp_path))
    assert not any(wrong), "\n\n".join(filter(None, wrong))


@pytest.mark.skipif(WRITE, reason="the same screens are written by the other test")
@pytest.mark.parametrize("scene", ["serve", "connect", "trust", "transfers", "fingerprint"])
async def test_no_color_in_the_environment_looks_the_same(scene: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    async with played(scene, home, size=USUAL, no_color=True) as stage:
        wrong = await looked_at(stage, scene, "nocolor", tmp_path)
    assert not wrong, wrong


def test_every_golden_screen_is_one_of_a_scene() -> None:
    wanted = {golden(scene, name).name for scene in SCENES for name in VIEWS}
    if WRITE:
        for path in GOLDEN.glob("*.svg"):
            if path.name not in wanted:
                path.unlink()
    assert {path.name for path in GOLDEN.iterdir()} == wanted


def test_golden_screens_are_small_and_load_nothing() -> None:
    contents = [path.read_text(encoding="utf-8") for path in GOLDEN.iterdir()]
    assert sum(map(len, contents)) < MAX_GOLDEN
    for content in contents:
        assert not re.search(r"@font-face|url\(|href=|src=", re.sub(r"<text.*?</text>", "", content))


def test_a_difference_says_which_lines_are_others(tmp_path: Path) -> None:
    said = difference("a.svg", ["one", "two"], ["one", "three"], tmp_path / "a.svg")
    assert "-two" in said
    assert "+three" in said
    assert "one" not in said
    assert "colours" in difference("a.svg", ["one"], ["one"], tmp_path / "a.svg")


async def test_a_picture_has_the_text_of_the_screen(tmp_path: Path) -> None:
    async with played("trust", tmp_path) as stage:
        picture = svg(stage.app)
        shown = [line.rstrip() for line in screen_text(stage.app).split("\n")]
        assert [line.rstrip() for line in text_of(picture)] == shown
        assert svg(stage.app) == picture
        framed = svg(stage.app, title="<leafsync> & more")
        assert "&lt;leafsync&gt; &amp; more</text>" in framed
        assert [line.rstrip() for line in text_of(framed)] == shown
