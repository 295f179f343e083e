"""Conflict copies, and deciding them."""

import os
from pathlib import Path

import pytest
from textual.binding import Binding

from leafsync.bridge import Keep
from leafsync.screens.conflicts import ConflictsModal, local_mtime
from leafsync.tables import local_time
from tests.support.folders import COPY, RecordedFolder
from tests.support.looking import SIZES, says, shows, toasted, toasts, until
from tests.support.ui import Desk, hosted, screen_text

OLD = 1_700_000_000 * 10**9
"""A modification time, in nanoseconds."""


@pytest.fixture
def folder(tmp_path: Path) -> RecordedFolder:
    """A folder with two versions of a.txt, the copy the newer one."""
    folder = RecordedFolder(tmp_path)
    folder.write("a.txt", "this")
    folder.write(COPY, "the other")
    os.utime(folder.path / "a.txt", ns=(OLD, OLD))
    os.utime(folder.path / COPY, ns=(OLD, OLD + 60 * 10**9))
    return folder


def modal(desk: Desk) -> ConflictsModal:
    screen = desk.app.screen_stack[1]
    assert isinstance(screen, ConflictsModal)
    return screen


async def ready(desk: Desk) -> None:
    await until(desk, lambda: modal(desk).selected is not None)


async def test_both_versions_are_compared(folder: RecordedFolder) -> None:
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        await shows(desk, COPY)
        lines = [line.strip("│ ") for line in screen_text(desk.app).split("\n")]
        assert f"this         4 B  {local_mtime(OLD)}" in lines
        assert f"other        9 B  {local_mtime(OLD + 60 * 10**9)}  newer" in lines
        row = next(line for line in lines if line.startswith("› a.txt"))
        assert row.split() == ["›", "a.txt", "9", "B", *local_mtime(OLD + 60 * 10**9).split()]


async def test_the_one_that_has_the_name_may_be_newer(folder: RecordedFolder) -> None:
    os.utime(folder.path / "a.txt", ns=(OLD, OLD + 90 * 10**9))
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        details = [line.strip("│ ") for line in screen_text(desk.app).split("\n") if line.strip("│ ").endswith("newer")]
        assert [line.split()[0] for line in details] == ["this"]


@pytest.mark.parametrize(
    ("key", "left", "sentence"),
    [
        ("t", {"a.txt": "this"}, "a.txt stays as it is. The other version is in the trash."),
        ("o", {"a.txt": "the other"}, "a.txt is the other version now. The one before is in the trash."),
        ("b", {"a.txt": "this", "a-2.txt": "the other"}, "Both versions of a.txt stay."),
    ],
)
async def test_a_decision(folder: RecordedFolder, key: str, left: dict[str, str], sentence: str) -> None:
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press(key)
        await toasted(desk, sentence)
        assert folder.tree() == left
        await says(desk, "There are no conflict copies in this folder: nothing to decide.")
        assert len(await desk.bridge.history(folder.name)) == 1  # so it can be taken back


async def test_the_next_one_is_decided_after_the_first(folder: RecordedFolder) -> None:
    folder.write("b.conflict-20260102-030405-nas.txt", "b")
    folder.write("b.txt", "bb")
    folder.write("c.conflict-20260102-030405-nas.txt", "c")
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("down", "o")
        await toasted(desk, "b.txt is the other version now.")
        await until(desk, lambda: len(modal(desk).lines.rows) == 2)
        selected = modal(desk).selected
        assert selected is not None
        assert selected.copy.path == "c.txt"  # where the one was that is gone
        assert folder.tree()["b.txt"] == "b"
        assert COPY in folder.tree()


async def test_nothing_has_the_name_any_more(folder: RecordedFolder) -> None:
    (folder.path / "a.txt").unlink()
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        await shows(desk, "this   nothing is called so any more")
        await desk.pilot.press("t")
        await desk.pilot.pause()
        assert folder.tree() == {COPY: "the other"}
        assert toasts(desk.app) == []
        await desk.pilot.press("o")
        await toasted(desk, "a.txt is the other version now.")
        assert folder.tree() == {"a.txt": "the other"}


async def test_a_copy_that_is_gone_meanwhile_is_said(folder: RecordedFolder) -> None:
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        (folder.path / COPY).unlink()
        await desk.pilot.press("o")
        await toasted(desk, "is not a conflict copy in this folder")
        await says(desk, "There are no conflict copies in this folder")
        assert folder.tree() == {"a.txt": "this"}


async def test_a_directory_and_a_link_have_no_size(folder: RecordedFolder) -> None:
    (folder.path / "d").symlink_to("gone")
    (folder.path / "d.conflict-20260102-030405-nas").mkdir()
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        await desk.pilot.press("end")
        await shows(desk, "d.conflict-20260102-030405-nas")
        assert screen_text(desk.app).count(" 0 B ") == 3  # the row, and both versions


async def test_nothing_to_decide(tmp_path: Path) -> None:
    folder = RecordedFolder(tmp_path)
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await says(desk, "There are no conflict copies in this folder: nothing to decide.")
        await desk.pilot.press("t", "o", "b")
        await desk.pilot.pause()
        assert toasts(desk.app) == []
        await desk.pilot.press("escape")
        await until(desk, lambda: desk.app.results == [None])


async def test_a_folder_that_is_gone(folder: RecordedFolder) -> None:
    async with hosted(folder.home, ConflictsModal(f"{folder.name}/gone")) as desk:
        await says(desk, "does not exist")


async def test_names_are_escaped_and_no_markup(folder: RecordedFolder) -> None:
    folder.write("[b]x\ue000.conflict-20260102-030405-nas", "1")
    async with hosted(folder.home, ConflictsModal(folder.name)) as desk:
        await ready(desk)
        await shows(desk, r"[b]x\ue000")
        assert "\ue000" not in screen_text(desk.app)


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(folder: RecordedFolder, size: tuple[int, int]) -> None:
    async with hosted(folder.home, ConflictsModal(folder.name), size) as desk:
        await ready(desk)
        text = screen_text(desk.app)
        assert "Conflicts in" in text
        assert "› a.txt" in text
        assert "9 B" in text
        assert (local_mtime(OLD + 60 * 10**9) in text) == (size[0] >= 60)  # in the row, or in the details
        await shows(desk, "t Keep this")


def test_times_of_no_calendar() -> None:
    assert local_mtime(2**80) == "-"
    assert local_mtime(-(2**80)) == "-"
    assert local_mtime(0) == local_time("1970-01-01T00:00:00+00:00")


def test_every_way_to_decide_has_a_key() -> None:
    methods = {binding.action for binding in ConflictsModal.BINDINGS if isinstance(binding, Binding)}
    assert methods == {f"keep('{keep}')" for keep in Keep}
