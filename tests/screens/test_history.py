"""The history of a folder, and taking passes and paths back."""

import threading
from pathlib import Path

import pytest

from leafsync.bridge import ActionKind, ActionRecord
from leafsync.engine.sync.records import Records
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.history import HistoryModal
from leafsync.screens.outcome import OutcomeModal
from leafsync.screens.pass_actions import KINDS, PassActionsModal
from leafsync.tables import local_time
from tests.support.folders import COPY, RecordedFolder
from tests.support.looking import SIZES, says, shows, toasted, toasts, until, words
from tests.support.ui import Desk, hosted, screen_text

ACTIONS = (
    ActionRecord(ActionKind.CREATED, "new.txt"),
    ActionRecord(ActionKind.CREATED, "d/new.txt"),
    ActionRecord(ActionKind.REPLACED, "a.txt", kept=".leafsync_trash/p/a.txt"),
    ActionRecord(ActionKind.MOVED, "to.txt", "from.txt"),
    ActionRecord(ActionKind.CONFLICT, "b.txt", "b.conflict-20260102-030405-nas.txt"),
)


@pytest.fixture
def folder(tmp_path: Path) -> RecordedFolder:
    return RecordedFolder(tmp_path)


async def ready(desk: Desk) -> None:
    """Wait until the rows are there."""
    screen = desk.app.screen
    await until(desk, lambda: isinstance(screen, HistoryModal | PassActionsModal) and screen.selected is not None)


# The list


async def test_passes_with_time_device_and_counts(folder: RecordedFolder) -> None:
    folder.put_pass("pass-01", ACTIONS)
    folder.put_pass("pass-02", ACTIONS[:1], peer="")
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        rows = [line.strip("│ ") for line in screen_text(desk.app).split("\n") if "03:04" in line or ":04:0" in line]
        assert rows[0] == f"› {local_time('2026-01-02T03:04:02+00:00')}  by you    1 created"
        second = f"{local_time('2026-01-02T03:04:01+00:00')}  with nas  2 created, 1 replaced, 1 moved, 1 conflict"
        assert rows[1] == second
        assert "pass pass-02" in screen_text(desk.app)
        await desk.pilot.press("down")
        await shows(desk, "pass pass-01")


async def test_nothing_yet(folder: RecordedFolder) -> None:
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await shows(desk, "No pass has changed anything in this folder yet.")
        await desk.pilot.press("u", "enter")
        await desk.pilot.pause()
        assert isinstance(desk.app.screen, HistoryModal)
        await desk.pilot.press("escape")
        await until(desk, lambda: desk.app.results == [None])


async def test_why_it_cannot_be_shown(folder: RecordedFolder) -> None:
    async with hosted(folder.home, HistoryModal(f"{folder.name}/gone")) as desk:
        await says(desk, "does not exist")
        await desk.pilot.press("u")
        await desk.pilot.pause()
        assert isinstance(desk.app.screen, HistoryModal)


async def test_records_that_cannot_be_used(folder: RecordedFolder) -> None:
    folder.store.parent.mkdir(parents=True)
    folder.store.write_bytes(b"no database" * 1000)
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await until(desk, lambda: "records" in words(desk.app) and "cannot be used" in words(desk.app))


async def test_names_are_escaped_and_no_markup(folder: RecordedFolder) -> None:
    folder.put_pass("pass-01", (ActionRecord(ActionKind.CREATED, "[b]x\x1b[31m\u202e"),), peer="[red]\x1b[2Jnas")
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await shows(desk, r"with [red]\x1b[2Jnas")
        await desk.pilot.press("enter")
        await shows(desk, r"[b]x\x1b[31m\u202e")
        assert "\x1b" not in screen_text(desk.app)
        assert r"Pass " in screen_text(desk.app)


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(folder: RecordedFolder, size: tuple[int, int]) -> None:
    for number in range(40):
        folder.put_pass(f"pass-{number:02}", ACTIONS)
    async with hosted(folder.home, HistoryModal(folder.name), size) as desk:
        await ready(desk)
        await shows(desk, "with nas")
        assert "History of" in screen_text(desk.app)
        await shows(desk, "u Undo")
        await desk.pilot.press("end", "enter")
        await shows(desk, "+ created")
        await desk.pilot.press("escape", "u")
        await shows(desk, "Take back this pass?")


async def test_it_grows_and_shrinks(folder: RecordedFolder) -> None:
    folder.put_pass("pass-01", ACTIONS)
    async with hosted(folder.home, HistoryModal(folder.name), (120, 36)) as desk:
        await ready(desk)
        for size in reversed(SIZES):
            await desk.pilot.resize_terminal(*size)
            await shows(desk, "with nas")


# What a pass did


async def test_the_actions_of_a_pass(folder: RecordedFolder) -> None:
    folder.put_pass("pass-01", ACTIONS)
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("enter")
        await shows(desk, "+ created   new.txt")
        text = screen_text(desk.app)
        for row in (
            "~ replaced  a.txt",
            "> moved     from.txt -> to.txt",
            "! conflict  b.conflict-20260102-030405-nas.txt",
        ):
            assert row in text
        await desk.pilot.press("down", "down")
        await shows(desk, "kept as .leafsync_trash/p/a.txt")
        await desk.pilot.press("down")
        await shows(desk, "was from.txt")
        await desk.pilot.press("escape")
        await until(desk, lambda: isinstance(desk.app.screen, HistoryModal))
        assert desk.app.results == []


def test_every_kind_has_a_mark() -> None:
    assert set(KINDS) == set(ActionKind)


async def test_what_came_cannot_be_brought_back(folder: RecordedFolder) -> None:
    folder.put_pass("pass-01", ACTIONS)
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("enter")
        await shows(desk, "+ created   new.txt")
        await desk.pilot.press("u", "enter")
        await desk.pilot.pause()
        assert isinstance(desk.app.screen, PassActionsModal)
        await desk.pilot.press("down", "down", "u")
        await shows(desk, "Bring this back?")


@pytest.mark.parametrize("key", ["u", "enter"])
async def test_one_path_is_brought_back(folder: RecordedFolder, key: str) -> None:
    folder.decided()
    assert folder.tree() == {"a.txt": "other"}
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("enter")
        await shows(desk, "- trashed")
        await desk.pilot.press("end", key)  # the copy took the name: bringing the copy back moves it away again
        await says(desk, f"{COPY} becomes what it was before the pass")
        await desk.pilot.press("y")
        await toasted(desk, "1 path is as before the pass.")
        assert folder.tree() == {COPY: "other"}
        await desk.pilot.press("escape")
        await until(desk, lambda: "by you" in screen_text(desk.app) and "2 moved" not in screen_text(desk.app))


async def test_a_path_of_which_nothing_is_left(folder: RecordedFolder) -> None:
    folder.put_pass("pass-01", (ActionRecord(ActionKind.TRASHED, "gone.txt"),))
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("enter")
        await shows(desk, "- trashed")
        await desk.pilot.press("u")
        await shows(desk, "Bring this back?")
        await desk.pilot.press("y")
        await says(desk, "gone.txt is not in the trash any more, so it cannot come back.")


# Taking a pass back


async def test_a_pass_is_taken_back_after_a_yes(folder: RecordedFolder) -> None:
    folder.decided()
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        assert isinstance(desk.app.screen, HistoryModal)
        before = desk.app.screen.selected
        await desk.pilot.press("u")
        await shows(desk, "Take back this pass?")
        assert "Nothing newer is overwritten" in words(desk.app)
        assert folder.tree() == {"a.txt": "other"}
        await desk.pilot.press("y")
        await toasted(desk, "2 paths are as before the pass.")
        assert folder.tree() == {"a.txt": "this", COPY: "other"}
        screen = desk.app.screen
        assert isinstance(screen, HistoryModal)
        await until(desk, lambda: len(screen.lines.rows) == 2)
        assert before is not None
        assert screen.selected is not None
        assert screen.selected.id == before.id  # the new one is on top, the cursor stays
        assert screen.lines.cursor == 1


@pytest.mark.parametrize("key", ["n", "escape", "enter"])
async def test_a_no_changes_nothing(folder: RecordedFolder, key: str) -> None:
    folder.decided()
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("u")
        await until(desk, lambda: isinstance(desk.app.screen, ConfirmModal))
        await desk.pilot.press(key)
        await until(desk, lambda: isinstance(desk.app.screen, HistoryModal))
        await desk.pilot.pause()
        assert folder.tree() == {"a.txt": "other"}
        assert toasts(desk.app) == []
        await desk.pilot.press("u")  # and one may change one's mind
        await shows(desk, "Take back this pass?")


async def test_what_is_newer_stays_and_is_listed(folder: RecordedFolder) -> None:
    folder.decided()
    folder.write("a.txt", "newer")
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("u")
        await shows(desk, "Take back this pass?")
        await desk.pilot.press("y")
        await until(desk, lambda: isinstance(desk.app.screen, OutcomeModal))
        await shows(desk, "stay")
        assert "a.txt is newer than what would come back, so it was left as it is." in words(desk.app)
        assert folder.tree()["a.txt"] == "newer"
        await desk.pilot.press("escape")
        await until(desk, lambda: isinstance(desk.app.screen, HistoryModal))


async def test_an_undo_goes_on_when_the_window_is_closed(
    folder: RecordedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.decided()
    go = threading.Event()
    undo = Records.undo

    def slow(records: Records, pass_id: str) -> object:
        assert go.wait(10)
        return undo(records, pass_id)

    monkeypatch.setattr(Records, "undo", slow)
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("u")
        await shows(desk, "Take back this pass?")
        await desk.pilot.press("y")
        history = desk.app.screen_stack[1]
        assert isinstance(history, HistoryModal)
        await until(desk, lambda: desk.app.screen is history)
        await desk.pilot.press("u")  # nothing while it goes on
        await desk.pilot.pause()
        assert desk.app.screen is history
        await desk.pilot.press("escape")
        await until(desk, lambda: desk.app.results == [None])
        go.set()
        await toasted(desk, "2 paths are as before the pass.")
        assert folder.tree() == {"a.txt": "this", COPY: "other"}


async def test_a_pass_that_is_gone_meanwhile_is_said(folder: RecordedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.decided()
    async with hosted(folder.home, HistoryModal(folder.name)) as desk:
        await ready(desk)
        folder.store.unlink()
        await desk.pilot.press("u")
        await shows(desk, "Take back this pass?")
        await desk.pilot.press("y")
        await toasted(desk, "No pass is called")
        await shows(desk, "No pass has changed anything in this folder yet.")
