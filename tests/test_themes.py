"""Our colours: readable by computation, and there to be chosen."""

import re
from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from leafsync.app import LeafSyncApp
from leafsync.bridge import Bridge
from leafsync.config import Config
from leafsync.settings import Settings
from leafsync.themes import DARK, DEFAULT, LIGHT, OURS
from tests.support.ui import FakeEngine

READABLE = 4.5
"""The least contrast of text (WCAG 2.2, success criterion 1.4.3)."""

GROUNDS = ("background", "surface", "panel", "boost")
WORDS = ("foreground", "primary", "secondary", "accent", "success", "warning", "error", "text", "text-muted")
"""What words are written in on our screens."""


def luminance(color: Color) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    """Return the contrast of two opaque colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def painted(value: str, ground: Color) -> Color:
    """Return what a colour of a stylesheet is on an opaque ground."""
    automatic = re.fullmatch(r"auto (\d+)%", value)
    color = ground.get_contrast_text(int(automatic[1]) / 100) if automatic else Color.parse(value)
    return ground + color


def test_the_measure_is_that_of_the_guideline() -> None:
    black, white = Color(0, 0, 0), Color(255, 255, 255)
    assert contrast(black, white) == pytest.approx(21)
    assert contrast(white, white) == 1
    assert contrast(Color(118, 118, 118), white) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", GROUNDS)
def test_words_can_be_read(theme: Theme, ground: str) -> None:
    values = theme.to_color_system().generate()
    under = painted(values[ground], painted(values["surface"], Color.parse(values["background"])))
    poor = {word: round(contrast(painted(values[word], under), under), 2) for word in WORDS}
    assert {word: ratio for word, ratio in poor.items() if ratio < READABLE} == {}


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
def test_states_are_told_apart_by_their_colours_too(theme: Theme) -> None:
    assert len({theme.primary, theme.warning, theme.error}) == 3
    assert theme.success == theme.primary


def test_one_is_dark_and_one_is_light() -> None:
    assert DARK.dark
    assert not LIGHT.dark
    assert OURS == (DARK, LIGHT)
    for theme in OURS:
        assert theme.background is not None
        assert (luminance(Color.parse(theme.background)) < 0.5) is theme.dark


def test_their_names_are_our_own() -> None:
    names = {theme.name for theme in OURS}
    assert DEFAULT in names
    assert len(names) == len(OURS)
    assert not names & BUILTIN_THEMES.keys()


async def test_they_can_be_chosen_in_the_app(tmp_path: Path) -> None:
    async with Bridge(lambda tell, ask: FakeEngine(tmp_path, tell, ask), device_name="desk") as bridge:
        app = LeafSyncApp(bridge, Settings(Config("desk")))
        async with app.run_test():
            assert app.current_theme is DARK
            for theme in OURS:
                app.theme = theme.name
                assert app.current_theme is theme
            assert {"ansi-dark", "ansi-light"} <= app.available_themes.keys()
