"""The palette of commands: what is typed ahead of it does no harm."""

import asyncio
from pathlib import Path

import pytest
from textual.command import CommandList, CommandPalette
from textual.widgets import HelpPanel, Input

from leafsync.bridge import Direction, TrustQuestion
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.fingerprint import FingerprintModal
from tests.support import cast
from tests.support.scenes import played
from tests.support.stage import Stage, fingerprint_of

BESIDE = (1, 0)
"""A place beside the palette."""


def palettes(stage: Stage) -> int:
    return sum(isinstance(screen, CommandPalette) for screen in stage.app.screen_stack)


@pytest.mark.parametrize("key", ["pagedown", "pageup"])
async def test_no_page_is_turned_before_there_is_one(key: str, tmp_path: Path) -> None:
    async with played("serve", tmp_path) as stage:
        await stage.burst("ctrl+p", key)
        await stage.until(lambda: palettes(stage) and stage.app.screen.query_one(CommandList).option_count)


async def test_pages_are_turned(tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        commands = stage.app.screen.query_one(CommandList)
        await stage.press("pagedown")
        assert commands.highlighted
        await stage.press("pageup")
        assert commands.highlighted == 0


@pytest.mark.parametrize("twice", ["escape", BESIDE, "enter"])
async def test_it_closes_once(twice: str | tuple[int, int], tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        below = stage.app.screen_stack[:-1]
        await stage.burst(twice, twice)
        await stage.until(lambda: stage.app.screen_stack == below)
        await stage.until(lambda: len(stage.app.screen.query(HelpPanel)) == (twice == "enter"))


@pytest.mark.parametrize("turns", range(5))
async def test_a_double_click_chooses_once(turns: int, tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        below, commands = stage.app.screen_stack[:-1], stage.app.screen.query_one(CommandList)
        first = commands.region.x + 3, commands.content_region.y + 1
        stage.do_ahead(first)
        for _turn in range(turns):  # of the loop, between the clicks
            await asyncio.sleep(0)
        stage.do_ahead(first)
        await stage.until(lambda: stage.app.screen_stack == below)
        await stage.until(lambda: len(stage.app.screen.query(HelpPanel)) == 1)


async def test_what_is_chosen_is_done_once(tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        await stage.burst("down", "enter", "enter")
        await stage.sees("Search for themes")
        assert palettes(stage) == 1


async def test_a_theme_is_chosen_once(tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        await stage.press("down", "enter")
        await stage.until(lambda: palettes(stage) and stage.app.screen.query_one(CommandList).option_count > 8)
        await stage.burst("pagedown", "enter", "enter")
        await stage.until(lambda: not palettes(stage))


async def test_there_is_one_at_a_time(tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        stage.ask(TrustQuestion(1, fingerprint_of("nas"), "192.168.1.10:4455", cast.PICTURES, Direction.OUT))
        await stage.until(lambda: isinstance(stage.app.screen, FingerprintModal))
        await stage.burst("ctrl+p", "ctrl+p")
        assert palettes(stage) == 1
        assert isinstance(stage.app.screen, FingerprintModal)


async def test_it_can_be_opened_again_at_once(tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        await stage.burst("escape", "ctrl+p", "escape", "ctrl+p", "x", "escape")
        await stage.until(lambda: not palettes(stage))


async def test_what_was_typed_before_it_closed_looks_for_nothing(tmp_path: Path) -> None:
    async with played("palette", tmp_path) as stage:
        palette = stage.app.screen
        line = palette.query_one(Input)
        await stage.app.push_screen(ConfirmModal("On top", "", yes="Yes"))  # it is there to be told, as if it closed
        await palette.remove_children()
        palette.post_message(Input.Changed(line, "g"))
        await stage.pilot.pause()
        assert not [worker for worker in stage.app.workers if worker.node is palette]
