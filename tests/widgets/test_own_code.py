"""This device's own fingerprint on the screen."""

import re

import pytest
from hypothesis import given, strategies as st
from textual.app import App, ComposeResult
from textual.widgets import Button

from leafsync.bridge import parse_fingerprint
from leafsync.progress import cell_width
from leafsync.widgets.own_code import OwnCode, group_lines
from tests.support.ui import screen_text

FINGERPRINT = "0123456789abcdef" * 4


class Shown(App[None]):
    """The code, and something else to go to."""

    def compose(self) -> ComposeResult:
        yield Button("other")
        yield OwnCode("[b]desk\x1b", FINGERPRINT)


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(4, 200))
def test_lines_are_the_whole_fingerprint_and_fit(fingerprint: str, width: int) -> None:
    lines = group_lines(fingerprint, width)
    assert parse_fingerprint(" ".join(lines)) == fingerprint
    assert all(cell_width(line) <= max(width, 10) for line in lines)
    assert len({len(line) for line in lines}) == 1  # equally long: two people compare them line by line


@pytest.mark.parametrize("width", [20, 40, 60, 120])
async def test_the_whole_code_at_every_width(width: int) -> None:
    app = Shown()
    async with app.run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        text = screen_text(app)
        groups = [group for line in text.split("\n") for group in re.findall(r"\b[0-9a-f]{4}\b", line)]
        assert "".join(groups[-16:]) == FINGERPRINT
        assert "This device" in text
        assert "\x1b" not in text


async def test_the_name_is_escaped_and_no_markup() -> None:
    app = Shown()
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        assert r"This device: [b]desk\x1b" in screen_text(app)


async def test_it_says_which_key_copies_it_from_where_one_is() -> None:
    app = Shown()
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        assert "tab, then y copies it." in screen_text(app)
        await pilot.press("tab")
        await pilot.pause()
        assert "person. y copies it." in screen_text(app)
        await pilot.press("shift+tab")
        await pilot.pause()
        assert "tab, then y copies it." in screen_text(app)
