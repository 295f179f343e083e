"""The trash: what goes in is what was seen, nothing in it is ever overwritten, and everything can come back."""

import errno
import os
import shutil
import stat as modes
from datetime import datetime
from pathlib import Path

import pytest

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import STAGING, TRASH
from leafsync.engine.disk import trash as trash_module
from leafsync.engine.disk.folder import state_mark
from leafsync.engine.disk.trash import Trash, pass_name
from leafsync.errors import DiskFailed, DiskFull, EntryChanged, EntryRefused
from tests.disk.faults import TIME, FaultyFolder, below, file_entry, tree, write

PASS = f"{TRASH}/20261122-134501-ab12"
OLD = b"old"
DIRECTORY = Entry("d", Kind.DIRECTORY)


def mark(folder: FaultyFolder, path: str) -> int:
    stat = folder.stat(path)
    assert stat is not None
    return state_mark(stat)


def remove(folder: FaultyFolder, trash: Trash, path: str, data: bytes = OLD) -> None:
    trash.remove(path, file_entry(path, data), mark(folder, path))


def test_the_name_of_a_pass() -> None:
    now = datetime(2026, 11, 22, 13, 45, 1)  # noqa: DTZ001
    assert pass_name(now, "ab12") == "20261122-134501-ab12"


def test_nothing_is_made_before_something_comes(trash: Trash, root: Path) -> None:
    trash.sync()
    assert list(root.iterdir()) == []


class TestRemove:
    def test_a_file(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        inode = write(root, "a/b/f").stat().st_ino
        remove(folder, trash, "a/b/f")
        kept = root / PASS / "a/b/f"
        assert kept.read_bytes() == OLD
        assert (kept.stat().st_ino, kept.stat().st_mtime_ns, kept.stat().st_nlink) == (inode, TIME, 1)
        assert tree(root) == {"a": None, "a/b": None}
        assert modes.S_IMODE((root / TRASH).stat().st_mode) == 0o700

    def test_a_file_without_a_mark(self, trash: Trash, root: Path) -> None:
        write(root, "f")
        with pytest.raises(EntryChanged):
            trash.remove("f", file_entry("f", OLD, mtime_ns=TIME + 1), None)
        trash.remove("f", file_entry("f", OLD), None)
        assert not (root / "f").exists()

    def test_a_link(self, trash: Trash, root: Path) -> None:
        (root / "l").symlink_to("../anywhere")
        trash.remove("l", Entry("l", Kind.SYMLINK, target="../anywhere"), None)
        assert tree(root) == {}
        assert below(root, PASS) == {"l": "../anywhere"}

    def test_an_empty_directory(self, trash: Trash, root: Path) -> None:
        (root / "a/d").mkdir(parents=True)
        trash.remove("a/d", DIRECTORY, None)
        assert tree(root) == {"a": None}
        assert below(root, PASS) == {"a": None, "a/d": None}

    def test_a_whole_tree_contents_first(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "d/f")
        (root / "d/e").mkdir()
        remove(folder, trash, "d/f")
        trash.remove("d/e", DIRECTORY, None)
        trash.remove("d", DIRECTORY, None)
        assert tree(root) == {}
        assert below(root, PASS) == {"d": None, "d/e": None, "d/f": OLD}

    def test_a_directory_that_is_not_empty(self, trash: Trash, root: Path) -> None:
        """Fault case 29: what nobody knew of keeps its directory."""
        write(root, "d/unknown")
        with pytest.raises(EntryChanged):
            trash.remove("d", DIRECTORY, None)
        assert tree(root) == {"d": None, "d/unknown": OLD}
        assert below(root, PASS) == {}

    @pytest.mark.parametrize("change", ["content", "time", "gone", "link", "directory", "fifo", "copy"])
    def test_what_is_not_what_was_seen(self, folder: FaultyFolder, trash: Trash, root: Path, change: str) -> None:
        file = write(root, "f")
        seen = mark(folder, "f")
        if change == "content":
            file.write_bytes(b"new")
        elif change == "time":
            os.utime(file)
        elif change == "copy":
            write(root, "g").rename(file)
        else:
            file.unlink()
        if change == "link":
            file.symlink_to("f2")
        elif change == "directory":
            file.mkdir()
        elif change == "fifo":
            os.mkfifo(file)
        before = tree(root)
        with pytest.raises(EntryChanged):
            trash.remove("f", file_entry("f", OLD), seen)
        assert tree(root) == before
        assert below(root, TRASH) == {}

    @pytest.mark.parametrize(
        "seen", [Entry("l", Kind.SYMLINK, target="b"), DIRECTORY, file_entry("l", b"a"), Entry("l", Kind.WITHHELD)]
    )
    def test_a_link_that_is_not_what_was_seen(self, trash: Trash, root: Path, seen: Entry) -> None:
        (root / "l").symlink_to("a")
        with pytest.raises(EntryChanged):
            trash.remove("l", seen, None)
        assert tree(root) == {"l": "a"}

    @pytest.mark.parametrize("step", ["link", "rename_new"])
    def test_saved_in_the_last_instant(self, folder: FaultyFolder, trash: Trash, root: Path, step: str) -> None:
        """An editor saves between the look and the removal: its version stays or comes back."""
        write(root, "f")
        write(root, "saved", b"saved")
        folder.at(step, lambda: (root / "saved").rename(root / "f"))
        with pytest.raises(EntryChanged):
            remove(folder, trash, "f")
        assert tree(root) == {"f": b"saved"}
        assert below(root, PASS) == {"f": b"saved" if step == "link" else OLD}

    def test_saved_twice_in_the_last_instant(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "f")
        write(root, "second", b"second")
        folder.at("rename_new", lambda: (root / "second").rename(root / "f"))
        folder.at("rename_new", lambda: write(root, "f", b"third"), skip=1)
        with pytest.raises(EntryChanged):
            remove(folder, trash, "f")
        assert tree(root) == {"f": b"third"}
        assert sorted(str(value) for value in below(root, PASS).values()) == [str(OLD), str(b"second")]

    @pytest.mark.parametrize("path", ["", "../x", "/x", f"{STAGING}/x", f"{TRASH}/x", "a//b", "a/..", "bad\udcff"])
    def test_paths_that_are_refused(self, trash: Trash, path: str) -> None:
        with pytest.raises(EntryRefused):
            trash.remove(path, file_entry("x", OLD), None)
        with pytest.raises(EntryRefused):
            trash.keep(path)


class TestKeep:
    def test_the_file_stays_where_it_is(self, trash: Trash, root: Path) -> None:
        write(root, "f")
        assert trash.keep("f") == f"{PASS}/f"
        assert (root / "f").stat().st_ino == (root / PASS / "f").stat().st_ino

    def test_a_link(self, trash: Trash, root: Path) -> None:
        (root / "l").symlink_to("x")
        trash.keep("l")
        assert below(root, PASS) == {"l": "x"}

    def test_what_is_gone(self, trash: Trash) -> None:
        with pytest.raises(EntryChanged):
            trash.keep("f")

    @pytest.mark.parametrize("removed", [TRASH, PASS, f"{PASS}/d"])
    def test_a_trash_that_was_emptied_meanwhile(
        self, folder: FaultyFolder, trash: Trash, root: Path, removed: str
    ) -> None:
        write(root, "d/f")
        write(root, "d/g")
        with folder.handles():
            trash.keep("d/f")
            shutil.rmtree(root / removed)
            trash.keep("d/g")
        assert below(root, PASS) == {"d": None, "d/g": OLD}
        trash.sync()

    @pytest.mark.parametrize("kind", ["directory", "fifo"])
    def test_what_is_no_file(self, trash: Trash, root: Path, kind: str) -> None:
        if kind == "directory":
            (root / "f").mkdir()
        else:
            os.mkfifo(root / "f")
        with pytest.raises(EntryRefused):
            trash.keep("f")

    @pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.ENOTSUP])
    def test_a_copy_where_links_are_refused(self, folder: FaultyFolder, trash: Trash, root: Path, code: int) -> None:
        data = os.urandom(3_000_000)
        write(root, "d/f", data).chmod(0o751)
        folder.fail("link", code)
        trash.keep("d/f")
        kept = root / PASS / "d/f"
        assert kept.read_bytes() == data
        assert (modes.S_IMODE(kept.stat().st_mode), kept.stat().st_mtime_ns) == (0o751, TIME)
        assert kept.stat().st_ino != (root / "d/f").stat().st_ino
        assert "sync_file" in folder.steps()

    def test_a_copy_that_fails_leaves_nothing(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "f")
        folder.fail("link", errno.EPERM)
        folder.fail("write_at", errno.ENOSPC)
        with pytest.raises(DiskFull, match="f"):
            trash.keep("f")
        assert below(root, PASS) == {}
        assert tree(root) == {"f": OLD}

    def test_a_full_disk(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "d/f")
        folder.fail("make_directory", errno.ENOSPC)
        with pytest.raises(DiskFull):
            remove(folder, trash, "d/f")
        assert tree(root) == {"d": None, "d/f": OLD}


class TestVersions:
    def test_nothing_is_overwritten(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        for number in range(3):
            write(root, "f", b"%d" % number)
            remove(folder, trash, "f", b"%d" % number)
        (root / "f").symlink_to("x")
        trash.keep("f")
        assert below(root, PASS) == {"f": b"0", "f.1": b"1", "f.2": b"2", "f.3": "x"}

    def test_two_trashes_of_one_pass(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        for number, one in enumerate((trash, Trash(folder, trash.pass_name))):
            write(root, "d/f", b"%d" % number)
            remove(folder, one, "d/f", b"%d" % number)
        assert below(root, PASS) == {"d": None, "d/f": b"0", "d/f.1": b"1"}

    def test_a_directory_where_a_file_was(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "x")
        remove(folder, trash, "x")
        write(root, "x/f")
        remove(folder, trash, "x/f")
        trash.remove("x", DIRECTORY, None)
        assert below(root, PASS) == {"x": OLD, "x.1": None, "x.1/f": OLD}

    def test_long_names_are_cut(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        name = "é" * 127
        for _ in range(2):
            write(root, name)
            remove(folder, trash, name)
        assert sorted(below(root, PASS)) == sorted([name, "é" * 126 + ".1"])

    def test_there_is_an_end(
        self, folder: FaultyFolder, trash: Trash, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trash_module, "MAX_VERSIONS", 2)
        write(root, "f")
        trash.keep("f")
        trash.keep("f")
        with pytest.raises(EntryChanged):
            trash.keep("f")


class TestConfinement:
    """Fault case 82, and Syncthing's issue 4286: nothing is thrown away into somewhere else."""

    def outside(self, tmp_path: Path) -> Path:
        outside = tmp_path / "outside"
        outside.mkdir()
        return outside

    def test_a_linked_trash(self, folder: FaultyFolder, trash: Trash, root: Path, tmp_path: Path) -> None:
        outside = self.outside(tmp_path)
        (root / TRASH).symlink_to(outside)
        write(root, "f")
        with pytest.raises(EntryRefused, match=TRASH):
            remove(folder, trash, "f")
        assert list(outside.iterdir()) == []
        assert (root / "f").exists()

    @pytest.mark.parametrize("link", [PASS, f"{PASS}/d"])
    def test_a_link_inside_the_trash(
        self, folder: FaultyFolder, trash: Trash, root: Path, tmp_path: Path, link: str
    ) -> None:
        outside = self.outside(tmp_path)
        (root / link).parent.mkdir(parents=True)
        (root / link).symlink_to(outside)
        write(root, "d/f")
        remove(folder, trash, "d/f")
        assert list(outside.iterdir()) == []

    def test_a_linked_parent(self, folder: FaultyFolder, trash: Trash, root: Path, tmp_path: Path) -> None:
        outside = self.outside(tmp_path)
        write(outside, "f")
        (root / "d").symlink_to(outside)
        with pytest.raises(EntryChanged):
            trash.remove("d/f", file_entry("f", OLD), None)
        assert (outside / "f").exists()

    def test_a_parent_that_becomes_a_link(self, folder: FaultyFolder, trash: Trash, root: Path, tmp_path: Path) -> None:
        outside = self.outside(tmp_path)
        write(outside, "f")
        write(root, "d/f")
        seen = mark(folder, "d/f")
        (root / "d").rename(tmp_path / "moved")
        (root / "d").symlink_to(outside)
        with pytest.raises(EntryChanged):
            trash.remove("d/f", file_entry("f", OLD), seen)
        assert (outside / "f").exists()
        assert (tmp_path / "moved/f").exists()


class TestSync:
    def test_every_changed_directory_once_the_trash_first(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        for path in ("d/f", "d/g", "h"):
            write(root, path)
            remove(folder, trash, path)
        folder.calls.clear()
        trash.sync()
        synced = [path for step, (path,) in folder.calls if step == "sync_directory"]
        assert synced == [TRASH, PASS, f"{PASS}/d", "", "d"]
        folder.calls.clear()
        trash.sync()
        assert folder.calls == []

    def test_a_directory_that_was_removed_as_well(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "d/f")
        remove(folder, trash, "d/f")
        trash.remove("d", DIRECTORY, None)
        trash.sync()

    def test_a_disk_that_fails(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "f")
        remove(folder, trash, "f")
        folder.fail("sync_directory")
        with pytest.raises(DiskFailed, match="Input/output error"):
            trash.sync()


class TestKept:
    def test_says_where_everything_is(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "d/f")
        write(root, "g")
        (root / "l").symlink_to("x")
        trash.keep("g")
        remove(folder, trash, "d/f")
        trash.remove("d", DIRECTORY, None)
        trash.remove("l", Entry("l", Kind.SYMLINK, target="x"), None)
        assert trash.kept == {"g": f"{PASS}/g", "d/f": f"{PASS}/d/f", "d": f"{PASS}/d", "l": f"{PASS}/l"}

    def test_the_latest_of_a_path(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        for number in range(2):
            write(root, "f", b"%d" % number)
            remove(folder, trash, "f", b"%d" % number)
        assert trash.kept == {"f": f"{PASS}/f.1"}
        assert (root / trash.kept["f"]).read_bytes() == b"1"

    def test_what_was_refused_is_not_there(self, trash: Trash, root: Path) -> None:
        write(root, "f")
        with pytest.raises(EntryChanged):
            trash.remove("f", file_entry("f", b"other"), 7)
        assert trash.kept == {}


class TestMove:
    def move(self, folder: FaultyFolder, trash: Trash, source: str, target: str) -> os.stat_result:
        return trash.move(source, target, file_entry(source, OLD), mark(folder, source))

    def test_a_file(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        inode = write(root, "a/f").stat().st_ino
        (root / "b").mkdir()
        moved = self.move(folder, trash, "a/f", "b/g")
        assert tree(root) == {"a": None, "b": None, "b/g": OLD}
        assert (moved.st_ino, state_mark(moved)) == (inode, mark(folder, "b/g"))
        folder.calls.clear()
        trash.sync()
        assert [arguments for step, arguments in folder.calls if step == "sync_directory"] == [("a",), ("b",)]
        assert trash.kept == {}

    def test_a_link(self, trash: Trash, root: Path) -> None:
        (root / "l").symlink_to("x")
        trash.move("l", "m", Entry("l", Kind.SYMLINK, target="x"), None)
        assert tree(root) == {"m": "x"}

    def test_a_directory_with_everything_in_it(self, trash: Trash, root: Path) -> None:
        write(root, "d/e/f")
        (root / "x").mkdir()
        trash.move("d", "x/d", DIRECTORY, None)
        assert tree(root) == {"x": None, "x/d": None, "x/d/e": None, "x/d/e/f": OLD}

    @pytest.mark.parametrize("taken", ["file", "link", "directory"])
    def test_nothing_is_replaced(self, folder: FaultyFolder, trash: Trash, root: Path, taken: str) -> None:
        write(root, "f")
        if taken == "file":
            write(root, "g", b"there")
        elif taken == "link":
            (root / "g").symlink_to("nowhere")
        else:
            (root / "g").mkdir()
        before = tree(root)
        with pytest.raises(EntryChanged, match="g was changed"):
            self.move(folder, trash, "f", "g")
        assert tree(root) == before

    def test_no_parent(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "f")
        with pytest.raises(EntryChanged, match="d/f was changed"):
            self.move(folder, trash, "f", "d/f")
        assert tree(root) == {"f": OLD}

    @pytest.mark.parametrize("change", ["content", "gone", "directory"])
    def test_what_is_not_what_was_seen(self, folder: FaultyFolder, trash: Trash, root: Path, change: str) -> None:
        file = write(root, "f")
        seen = mark(folder, "f")
        if change == "content":
            file.write_bytes(b"new")
        else:
            file.unlink()
        if change == "directory":
            file.mkdir()
        before = tree(root)
        with pytest.raises(EntryChanged, match="f was changed"):
            trash.move("f", "g", file_entry("f", OLD), seen)
        assert tree(root) == before

    def test_saved_in_the_last_instant(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "f")
        write(root, "saved", b"saved")
        folder.at("rename_new", lambda: (root / "saved").rename(root / "f"))
        with pytest.raises(EntryChanged):
            self.move(folder, trash, "f", "g")
        assert tree(root) == {"f": b"saved"}

    def test_saved_twice_in_the_last_instant(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "f")
        write(root, "second", b"second")
        folder.at("rename_new", lambda: (root / "second").rename(root / "f"))
        folder.at("rename_new", lambda: write(root, "f", b"third"), skip=1)
        with pytest.raises(EntryChanged):
            self.move(folder, trash, "f", "g")
        assert tree(root) == {"f": b"third", "g": b"second"}

    def test_into_itself(self, trash: Trash, root: Path) -> None:
        (root / "d").mkdir()
        with pytest.raises(EntryRefused):
            trash.move("d", "d/e", DIRECTORY, None)
        assert tree(root) == {"d": None}

    @pytest.mark.parametrize("path", ["", "../x", f"{STAGING}/x", f"{TRASH}/x"])
    def test_paths_that_are_refused(self, folder: FaultyFolder, trash: Trash, root: Path, path: str) -> None:
        write(root, "f")
        with pytest.raises(EntryRefused):
            self.move(folder, trash, "f", path)
        with pytest.raises(EntryRefused):
            trash.move(path, "g", file_entry("f", OLD), None)

    @pytest.mark.parametrize("folds", [True, False])
    def test_case_alone(
        self, folder: FaultyFolder, trash: Trash, root: Path, folds: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where names fold, the new name seems to be taken by the entry itself."""
        write(root, "readme")
        folder._folds = folds
        look = folder.stat
        monkeypatch.setattr(folder, "stat", lambda path: look(path) or look(path.lower()))
        folder.fail("rename_new", errno.EEXIST)
        if folds:
            self.move(folder, trash, "readme", "README")
            assert tree(root) == {"README": OLD}
        else:
            with pytest.raises(EntryChanged):
                self.move(folder, trash, "readme", "README")
            assert tree(root) == {"readme": OLD}

    def test_two_names_of_one_file_are_not_case_alone(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "a")
        (root / "b").hardlink_to(root / "a")
        folder._folds = True
        with pytest.raises(EntryChanged):
            self.move(folder, trash, "a", "b")
        assert tree(root) == {"a": OLD, "b": OLD}

    def test_open_directories_follow(self, folder: FaultyFolder, trash: Trash, root: Path) -> None:
        write(root, "d/f")
        with folder.handles():
            assert folder.stat("d/f") is not None
            trash.move("d", "e", DIRECTORY, None)
            assert folder.stat("d/f") is None
            assert folder.stat("e/f") is not None


class TestTwoNames:
    """What is done to one name of a file changes what stat says of the others."""

    @pytest.fixture
    def marked(self, folder: FaultyFolder, root: Path) -> int:
        """Return the mark of a file that is called a, b, c and d."""
        first = write(root, "a")
        for name in "bcd":
            os.link(first, root / name)
        return mark(folder, "a")

    def test_all_of_them_can_go(self, trash: Trash, root: Path, marked: int) -> None:
        entry = file_entry("a", OLD)
        trash.remove("a", entry, marked)
        moved = trash.move("b", "e", entry, marked)
        trash.remove("c", entry, marked)
        trash.remove("e", entry, state_mark(moved))
        trash.remove("d", entry, marked)
        assert set(tree(root)) == set()
        assert set(trash.kept) == {"a", "c", "d", "e"}

    def test_an_edit_of_somebody_else_is_still_one(self, trash: Trash, root: Path, marked: int) -> None:
        entry = file_entry("a", OLD)
        trash.remove("a", entry, marked)
        (root / "c").write_bytes(b"new")
        for name in "bcd":
            with pytest.raises(EntryChanged):
                trash.remove(name, entry, marked)

    def test_another_file_is_still_another(self, trash: Trash, root: Path, marked: int) -> None:
        entry = file_entry("a", OLD)
        trash.remove("a", entry, marked)
        (root / "b").unlink()
        write(root, "b")
        with pytest.raises(EntryChanged):
            trash.remove("b", entry, marked)
