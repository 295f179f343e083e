"""What a file was given that its filesystem does not keep."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from leafsync.engine.core.index import NANOSECONDS, Entry, Kind
from leafsync.engine.disk.folder import Folder, Keeps
from leafsync.engine.disk.given import COARSEST, Given, given
from leafsync.engine.disk.store import Store
from tests.disk.faults import FaultyFolder, write

ENTRY = Entry("f", Kind.FILE, 3, 5 * NANOSECONDS, True, b"r" * 32)
ONE, OTHER = Given(5, True, 4), Given(-7, False, -8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def stat_at(root: Path, mtime_ns: int) -> os.stat_result:
    path = write(root, "f")
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path.stat()


@pytest.mark.parametrize("off", [-COARSEST * NANOSECONDS, -1, 0, COARSEST * NANOSECONDS])
def test_what_the_filesystem_made_of_a_time(root: Path, off: int) -> None:
    stat = stat_at(root, ENTRY.mtime_ns + off)
    one = given(ENTRY, stat)
    assert one == Given(ENTRY.mtime_ns, True, stat.st_mtime_ns)
    seen = Entry("f", Kind.FILE, 3, stat.st_mtime_ns, False, b"r" * 32)
    assert one.of(seen, keeps_modes=False) == ENTRY


def test_a_time_that_is_far_off_is_of_somebody_else(root: Path) -> None:
    later = ENTRY.mtime_ns + (COARSEST + 1) * NANOSECONDS
    seen = Entry("f", Kind.FILE, 3, later, False, b"r" * 32)
    assert given(ENTRY, stat_at(root, later)).of(seen, keeps_modes=False).mtime_ns == later


def test_what_was_written_to_since_has_its_own_time_and_the_old_permission() -> None:
    seen = Entry("f", Kind.FILE, 4, 9 * NANOSECONDS, False, b"n" * 32)
    edited = Given(5, executable=True, stored_ns=4).of(seen, keeps_modes=False)
    assert (edited.mtime_ns, edited.executable, edited.size) == (9 * NANOSECONDS, True, 4)


def test_where_permissions_are_kept_the_filesystem_says_them() -> None:
    for executable in (True, False):
        seen = Entry("f", Kind.FILE, 3, 4, executable)
        assert ONE.of(seen, keeps_modes=True) == Entry("f", Kind.FILE, 3, 5, executable)


class TestStore:
    def test_it_is_remembered_by_path(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "store.sqlite") as store:
            assert store.load_given() == {}
            store.put_given({"a": ONE, "d/b": OTHER})
            store.put_given({"a": OTHER})
        with Store.open(tmp_path / "store.sqlite") as store:
            assert store.load_given() == {"a": OTHER, "d/b": OTHER}

    def test_it_follows_renames(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "store.sqlite") as store:
            store.put_given({"d/a": ONE, "d/e/b": OTHER, "dd": ONE, "f": ONE, "taken": ONE})
            store.move_given([("d", "new/d"), ("f", "g"), ("dd", "taken"), ("nothing", "x")])
            assert store.load_given() == {"new/d/a": ONE, "new/d/e/b": OTHER, "taken": ONE, "g": ONE}

    def test_damaged_rows_are_left_out(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "store.sqlite") as store:
            store.put_given({"a": ONE, "b": ONE})
            connection = sqlite3.connect(tmp_path / "store.sqlite")
            connection.execute("UPDATE given SET mtime = 6 WHERE path = 'a'")
            connection.commit()
            connection.close()
            assert store.load_given() == {"b": ONE}


class TestProbe:
    def test_this_filesystem_keeps_all(self, folder: FaultyFolder, root: Path) -> None:
        assert folder.keeps == Keeps(modes=True, times=True)
        assert not [path for path in (root / ".leafsync_tmp").iterdir() if path.name.startswith("probe")]

    @pytest.mark.parametrize("refused", [True, False])
    def test_a_filesystem_without_permissions(
        self, folder: FaultyFolder, root: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
    ) -> None:
        """Some refuse to change them, others do as if."""

        def chmod(_fd: int, _mode: int) -> None:
            if refused:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        path = write(root, "f")
        path.chmod(0o755)
        monkeypatch.setattr(os, "fchmod", chmod)
        fd = os.open(path, os.O_RDWR)
        try:
            folder.dress(fd, 0o644, ENTRY.mtime_ns)
        finally:
            os.close(fd)
        assert folder.keeps == Keeps(modes=False, times=True)
        assert (path.stat().st_mode & 0o777, path.stat().st_mtime_ns) == (0o755, ENTRY.mtime_ns)

    def test_a_filesystem_that_rounds(self, folder: FaultyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        utime, even = os.utime, 2 * NANOSECONDS
        monkeypatch.setattr(os, "utime", lambda fd, ns: utime(fd, ns=(ns[0], ns[1] // even * even)))
        assert folder.keeps == Keeps(modes=True, times=False)

    def test_an_error_counts_where_permissions_are_kept(
        self, folder: FaultyFolder, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert all(folder.keeps)
        path = write(root, "f")
        fd = os.open(path, os.O_RDWR)
        try:
            monkeypatch.setattr(os, "fchmod", failing)
            with pytest.raises(PermissionError):
                folder.dress(fd, 0o644, ENTRY.mtime_ns)
        finally:
            os.close(fd)

    def test_where_nothing_can_be_written_nothing_has_to_be_kept(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Folder.open(str(root)) as folder:
            monkeypatch.setattr(Folder, "create_file", failing)
            assert folder.keeps == Keeps(modes=True, times=True)
            monkeypatch.undo()
            monkeypatch.setattr(os, "fchmod", failing)
            assert folder.keeps == Keeps(modes=False, times=True), "it can be told by now"


def failing(*_arguments: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
