"""The app as a whole: what belongs to none of its screens."""

from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec.structs import replace
from textual.screen import Screen
from textual.widgets import Input, OptionList

from leafsync.app import MIN_SIZE
from leafsync.bridge import PassFinished, PassSummary, Snapshot, Totals
from leafsync.progress import Progress
from leafsync.screens.transfers import TransfersScreen
from leafsync.widgets.top_bar import TopBar
from leafsync.widgets.transfer_list import TransferList
from tests.support import cast
from tests.support.looking import toasts
from tests.support.scenes import played
from tests.support.stage import staged
from tests.support.ui import screen_text


async def test_a_tick_that_comes_while_the_app_closes_does_no_harm(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.serving())
        await stage.open("serve")
        await stage.app.screen.query_one(TopBar).remove()
        stage.show(cast.serving(1))
        stage.app._running = False  # textual says so first, and then takes the widgets away one by one
        stage.app._tick()
        stage.app._running = True


async def test_a_screen_that_one_goes_to_is_shown_where_everything_stands(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.serving(), cast.transferring())
        cast.fill_photos(stage.engine.jobs[2].transfers)
        await stage.open("serve")
        await stage.pilot.press("f5")
        await stage.until(lambda: stage.app.screen.query(TransferList))
        stage.app._ticks = 0  # the next one looks only because something is new
        stage.app._tick()
        screen = stage.app.screen
        assert isinstance(screen, TransfersScreen)
        assert [job.standing.id for job in screen.model.jobs] == [1, 2]


async def test_rates_are_measured_once_a_tick_for_all_screens(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.in_sync(), cast.transferring())
        with patch.object(Progress, "observe", autospec=True, side_effect=Progress.observe) as observe:
            await stage.open("connect")
            ticks: list[Snapshot] = []
            stage.app._on_tick = lambda snapshot, _progress: ticks.append(snapshot)
            observe.reset_mock()
            await stage.forward(2.0, cast.in_sync(), cast.transferring(2.0))
            assert observe.call_count == len(ticks) > 0  # on a slow machine the app's own timer may come between
        await stage.sees("41.7 MB/s")


async def test_a_job_from_before_the_first_look_is_shown_without_a_rate(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.in_sync(), cast.transferring())
        with patch("leafsync.app.LeafSyncApp._tick"):
            await stage.open("connect")
            await stage.sees("↓ receiving")
            assert "B/s" not in screen_text(stage.app)
            assert "left" not in screen_text(stage.app)


async def test_a_keymap_changes_the_key_of_both_things_that_it_does(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.in_sync())
        await stage.open("connect")
        stage.app.set_keymap({"job.stop": "z"})
        await stage.sees("z Stop")
        await stage.end(1)
        stage.show()
        await stage.tick()
        await stage.sees("z Put away")
        await stage.press("z")
        await stage.until(lambda: not stage.bridge.ended)


@pytest.mark.parametrize(("keys", "key"), [("+", "plus"), (",", "comma"), ("f9,ctrl+?", "ctrl+question_mark")])
async def test_any_key_can_be_given_to_an_action(keys: str, key: str, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.serving())
        await stage.open("serve", keymap={"job.pause": keys})
        await stage.burst(key)
        await stage.until(lambda: stage.engine.calls[-1:] == ["pause 1"])


@pytest.mark.parametrize("size", [(1, 1), (6, 44), (80, 1), (80, 3)])
async def test_a_terminal_made_too_small_to_read_does_no_harm(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path) as stage:
        await stage.jobs(cast.serving())
        await stage.open("serve")
        before = screen_text(stage.app)
        await stage.pilot.resize_terminal(*size)
        await stage.press("ctrl+p")
        await stage.until(lambda: stage.app.screen.query_one(OptionList).option_count > 8)
        await stage.press("pagedown", "pageup", "end", "home", "escape")
        await stage.pilot.resize_terminal(80, 24)
        await stage.until(lambda: screen_text(stage.app) == before)


async def test_more_of_a_tiny_terminal_is_painted_when_it_grows(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.open("serve")
        await stage.pilot.resize_terminal(3, 2)
        with patch.object(Screen, "refresh", autospec=True, side_effect=Screen.refresh) as refresh:
            await stage.pilot.resize_terminal(5, 4)
            assert any(not call.args[1:] for call in refresh.mock_calls)
        assert stage.app.size == MIN_SIZE


@pytest.mark.parametrize(("scene", "key"), [("trust", "f1"), ("trust", "f3"), ("connect", "h")])
async def test_what_is_typed_after_quitting_does_no_harm(scene: str, key: str, tmp_path: Path) -> None:
    async with played(scene, tmp_path) as stage:
        stage.show()  # nothing moves
        stage.do_ahead("q", key)
        assert await stage.left() == 0


async def test_what_is_worth_a_look_is_told_when_it_happens(tmp_path: Path) -> None:
    """The next pass may come at once, and then the card has nothing of it any more."""
    note = ("[b]a\x1b", "edited here, deleted there: the edit came back")
    found = PassSummary(Totals(), 0.1, notes=(note,))
    async with staged(tmp_path) as stage:
        await stage.jobs(replace(cast.in_sync(), id=1))
        await stage.open("connect")
        stage.engine.tell(PassFinished(1, found))  # of what was so before, the card tells
        await stage.sees("1 entry worth a look")
        assert toasts(stage.app) == []
        stage.engine.tell(PassFinished(1, replace(found, sent=("a",))))
        said = "[b]a\\x1b: edited here, deleted there: the edit came back"
        await stage.until(lambda: toasts(stage.app) == [said])
        stage.engine.tell(PassFinished(1, replace(found, notes=(note, note), sent=("a",))))
        await stage.until(lambda: toasts(stage.app) == [said, f"{said}; and 1 more"])


WINDOWS = ("changed-key", "confirm", "device-form", "fingerprint", "history", "palette", "pass-actions", "picker")


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+q"])
@pytest.mark.parametrize("scene", WINDOWS)
async def test_the_app_is_left_from_within_a_window(scene: str, key: str, tmp_path: Path) -> None:
    async with played(scene, tmp_path) as stage:
        stage.show()  # nothing moves
        stage.do_ahead(key)
        assert await stage.left() == 0


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+q"])
async def test_leaving_from_within_a_window_asks_once_while_files_move(key: str, tmp_path: Path) -> None:
    async with played("device-form", tmp_path) as stage:
        stage.show(cast.transferring())
        window = stage.app.screen
        await stage.press(key, key, key)
        assert "? Quit?" in screen_text(stage.app)
        await stage.press("escape")
        assert stage.app.screen is window
        await stage.press(key)
        stage.do_ahead("y")
        assert await stage.left() == 0


async def test_text_that_is_selected_in_a_window_is_copied_by_ctrl_c(tmp_path: Path) -> None:
    async with played("device-form", tmp_path) as stage:
        window = stage.app.screen
        field = window.query(Input).first()
        field.focus()
        field.value = "nas"
        await stage.pilot.pause()
        field.select_all()
        await stage.press("ctrl+c")
        assert stage.app.clipboard == "nas"
        assert stage.app.screen is window


@pytest.mark.parametrize("command", ["action_show_help_panel", "action_command_palette", "action_show_screen"])
async def test_a_command_that_comes_when_the_app_has_been_left_does_nothing(command: str, tmp_path: Path) -> None:
    async with played("trust", tmp_path) as stage:
        stage.app.exit(0)
        getattr(stage.app, command)(*["connect"] * command.endswith("screen"))
        assert await stage.left() == 0
