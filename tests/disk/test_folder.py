"""The folder and its directory descriptors: nothing is followed, nothing outside is reached, nothing leaks."""

import errno
import os
import re
import signal
import socket
import stat as modes
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from leafsync.engine.core.names import STAGING, TRASH
from leafsync.engine.disk import folder as folder_module, system
from leafsync.engine.disk.folder import Folder, disk_error, disk_errors, state_mark
from leafsync.engine.disk.handles import MAX_HANDLES, Handles
from leafsync.errors import (
    DiskFailed,
    DiskFull,
    EntryChanged,
    EntryRefused,
    FolderInUse,
    FolderMissing,
    FolderNotDirectory,
    FolderRefused,
    FolderUnreadable,
)
from tests.disk.faults import TIME, FaultyFolder, write


class TestOpening:
    def test_the_path_is_absolute_and_without_links(self, tmp_path: Path, root: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        with Folder.open(str(tmp_path / "link")) as folder:
            assert folder.path == os.path.realpath(root)
            (tmp_path / "link").unlink()
            write(root, "a")
            assert folder.stat("a") is not None
            assert folder.same_root()

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FolderMissing, match="nowhere"):
            Folder.open(str(tmp_path / "nowhere"))

    def test_a_nul_in_the_path(self) -> None:
        with pytest.raises(FolderMissing):
            Folder.open("a\0b")

    def test_a_file(self, root: Path) -> None:
        with pytest.raises(FolderNotDirectory):
            Folder.open(str(write(root, "a")))

    def test_a_fifo_does_not_block(self, root: Path) -> None:
        os.mkfifo(root / "fifo")
        with pytest.raises(FolderNotDirectory):
            Folder.open(str(root / "fifo"))

    def test_unreadable(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_arguments: object, **_options: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(FolderUnreadable, match="Permission denied"):
            Folder.open(str(root))

    def test_a_loop_of_links(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises((FolderUnreadable, FolderNotDirectory)):
            Folder.open(str(tmp_path / "loop"))

    def test_the_home_directory_needs_force(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(root))
        with pytest.raises(FolderRefused, match="your home directory"):
            Folder.open(str(root))
        Folder.open(str(root), force=True).close()

    def test_the_filesystem_root_needs_force(self) -> None:
        with pytest.raises(FolderRefused, match="root of the filesystem"):
            Folder.open("/")

    def test_a_link_to_the_home_directory_needs_force(
        self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(root))
        (tmp_path / "link").symlink_to(root)
        with pytest.raises(FolderRefused):
            Folder.open(str(tmp_path / "link"))


class TestClosing:
    CALLS: tuple[Callable[[Folder], object], ...] = (
        lambda folder: folder.list_directory(""),
        lambda folder: folder.stat("a"),
        lambda folder: folder.open_file("a"),
        lambda folder: folder.make_directory("b"),
        lambda folder: folder.rename("a", "b"),
        lambda folder: folder.create_staged("a"),
        lambda folder: folder.sync_directory(""),
        lambda folder: folder.free_space(),
    )

    @pytest.mark.parametrize("call", CALLS)
    def test_every_call_fails_cleanly_afterwards(self, root: Path, call: Callable[[Folder], object]) -> None:
        write(root, "a")
        folder = Folder.open(str(root))
        folder.stat("a")
        folder.close()
        folder.close()
        with pytest.raises(OSError, match="closed") as caught:
            call(folder)
        assert caught.value.errno == errno.EBADF

    def test_it_is_not_the_same_root_then(self, root: Path) -> None:
        folder = Folder.open(str(root))
        assert folder.same_root()
        folder.close()
        assert not folder.same_root()


class TestSameRoot:
    def test_renamed(self, folder: Folder, root: Path) -> None:
        root.rename(root.with_name("elsewhere"))
        assert not folder.same_root()

    def test_another_directory_in_its_place(self, folder: Folder, root: Path) -> None:
        root.rename(root.with_name("elsewhere"))
        root.mkdir()
        assert not folder.same_root()

    def test_a_link_to_it_in_its_place(self, folder: Folder, root: Path) -> None:
        root.rename(root.with_name("elsewhere"))
        root.symlink_to("elsewhere")
        assert not folder.same_root()


class TestLock:
    def test_the_second_is_told_who_has_it(self, root: Path) -> None:
        with Folder.open(str(root)) as one, Folder.open(str(root)) as other:
            one.lock()
            one.lock()
            with pytest.raises(FolderInUse, match=rf"\(process {os.getpid()}\)"):
                other.lock()
        with Folder.open(str(root)) as third:
            third.lock()

    def test_an_error_names_the_folder(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_arguments: object, **_options: object) -> None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        with Folder.open(str(root)) as folder:
            monkeypatch.setattr(os, "mkdir", refused)
            with pytest.raises(DiskFailed, match=re.escape(f"{root}/.leafsync_tmp/lock: No such file")):
                folder.lock()

    def test_the_kernel_lets_go_of_a_dead_process(self, root: Path) -> None:
        program = (
            "import sys\nfrom leafsync.engine.disk.folder import Folder\n"
            "folder = Folder.open(sys.argv[1]); folder.lock(); sys.stdout.write('locked'); sys.stdout.flush()\n"
            "sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with process, Folder.open(str(root)) as folder:
            assert process.stdout is not None
            assert process.stdout.read(6) == b"locked"
            with pytest.raises(FolderInUse, match=rf"\(process {process.pid}\)"):
                folder.lock()
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            folder.lock()

    def test_a_strange_pid_is_not_shown(self, root: Path) -> None:
        with Folder.open(str(root)) as one, Folder.open(str(root)) as other:
            one.lock()
            (root / STAGING / "lock").write_bytes(b"\x1b[2J")
            with pytest.raises(FolderInUse, match=r"another LeafSync\."):
                other.lock()

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
    def test_a_folder_that_cannot_be_written_to(self, root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        def refuse(_folder: Folder, _own: str) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Folder, "prepare", refuse)
        with Folder.open(str(root)) as one, Folder.open(str(root)) as other:
            one.lock()
            with pytest.raises(FolderInUse):
                other.lock()
        assert list(root.iterdir()) == []

    def test_a_full_disk(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_folder: Folder, _own: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Folder, "prepare", refuse)
        with Folder.open(str(root)) as folder, pytest.raises(DiskFull):
            folder.lock()

    def test_a_disk_too_full_for_the_pid(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_fd: int, _data: bytes, _at: int) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", refuse)
        with Folder.open(str(root)) as one, Folder.open(str(root)) as other:
            one.lock()
            with pytest.raises(FolderInUse, match=r"another LeafSync\."):
                other.lock()

    def test_a_planted_link_is_not_followed(self, folder: Folder, root: Path, tmp_path: Path) -> None:
        outside = write(tmp_path, "outside", b"precious")
        folder.prepare(STAGING)
        (root / STAGING / "lock").symlink_to(outside)
        with pytest.raises(DiskFailed):
            folder.lock()
        assert outside.read_bytes() == b"precious"


class TestOwnDirectories:
    @pytest.mark.parametrize("own", [STAGING, TRASH])
    def test_for_this_user_alone(self, folder: Folder, root: Path, own: str) -> None:
        folder.prepare(own)
        assert modes.S_IMODE((root / own).stat().st_mode) == 0o700

    def test_a_looser_one_is_closed(self, folder: Folder, root: Path) -> None:
        (root / STAGING).mkdir(0o777)
        folder.prepare(STAGING)
        assert modes.S_IMODE((root / STAGING).stat().st_mode) == 0o700

    @pytest.mark.parametrize("own", [STAGING, TRASH])
    def test_a_link_is_refused(self, folder: Folder, root: Path, tmp_path: Path, own: str) -> None:
        (tmp_path / "outside").mkdir()
        (root / own).symlink_to(tmp_path / "outside")
        with pytest.raises(EntryRefused, match=own):
            folder.prepare(own)
        assert list((tmp_path / "outside").iterdir()) == []

    def test_a_file_is_refused(self, folder: Folder, root: Path) -> None:
        write(root, STAGING)
        with pytest.raises(EntryRefused):
            folder.prepare(STAGING)

    def test_another_filesystem_is_refused(self, root: Path) -> None:
        with Folder.open(str(root)) as folder:
            folder.device += 1
            with pytest.raises(EntryRefused):
                folder.prepare(STAGING)

    def test_another_users_is_refused(self, folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / STAGING).mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(EntryRefused):
            folder.prepare(STAGING)


class TestPaths:
    BAD = ("../x", "a/../../x", "/etc/passwd", "//x", "a//b", ".", "./a", "..", "a/", "a\0b", "")

    @pytest.mark.parametrize("path", BAD)
    def test_nothing_outside_is_reached(self, folder: Folder, root: Path, tmp_path: Path, path: str) -> None:
        write(tmp_path, "x", b"outside")
        (root / "a").mkdir()
        for call in (folder.open_file, folder.unlink, folder.make_directory, folder.remove_directory, folder.read_link):
            with pytest.raises((OSError, EntryRefused)):
                call(path)
        with pytest.raises(OSError, match=r"."):
            folder.create_file(path)
        with pytest.raises(OSError, match=r"."):
            folder.rename("a", path)
        assert (tmp_path / "x").read_bytes() == b"outside"
        assert sorted(entry.name for entry in root.iterdir()) == ["a"]

    def test_a_linked_parent_is_not_followed(self, folder: Folder, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        write(outside, "inner/f", b"outside")
        (root / "link").symlink_to(outside)
        write(root, "g")
        for path in ("link/inner/f", "link/new"):
            for call in (folder.open_file, folder.unlink, folder.make_directory, folder.create_file):
                with pytest.raises(OSError, match=r"."):
                    call(path)
            with pytest.raises(OSError, match=r"."):
                folder.rename("g", path)
            with pytest.raises(OSError, match=r"."):
                folder.link("g", path)
            assert folder.stat(path) is None
        with pytest.raises(OSError, match=r"."):
            folder.list_directory("link")
        with pytest.raises(NotADirectoryError):
            folder.make_directory("link")
        assert (outside / "inner/f").read_bytes() == b"outside"
        assert sorted(entry.name for entry in outside.iterdir()) == ["inner"]

    def test_a_parent_swapped_for_a_link_is_noticed(self, folder: Folder, root: Path, tmp_path: Path) -> None:
        write(root, "a/f")
        write(tmp_path, "outside/f", b"outside")
        os.close(folder.open_file("a/f"))
        (root / "a").rename(root / "b")
        (root / "a").symlink_to(tmp_path / "outside")
        with pytest.raises(OSError, match=r"."):
            folder.open_file("a/f")

    def test_another_filesystem_is_not_entered(self, root: Path) -> None:
        write(root, "a/f")
        with Folder.open(str(root)) as folder:
            folder.device += 1
            with pytest.raises(OSError, match="another filesystem") as caught:
                folder.open_file("a/f")
            assert caught.value.errno == errno.EXDEV

    def test_names_as_they_are(self, folder: Folder, root: Path) -> None:
        for name in ("-rf", "a b", "$(x)", "\x1b[2J", "n\nl", "bad\udcff", "e\u0301", "é", "con"):
            write(root, name, name.encode("utf-8", "surrogateescape"))
        for name, _stat in folder.list_directory(""):
            fd = folder.open_file(name)
            assert os.read(fd, 99) == os.fsencode(name)
            os.close(fd)
        assert len(folder.list_directory("")) == 9


class TestLooking:
    def test_listing(self, folder: Folder, root: Path) -> None:
        write(root, "d/a", b"123")
        (root / "d/l").symlink_to("/nowhere")
        (root / "d/e").mkdir()
        found = dict(folder.list_directory("d"))
        assert found["a"].st_size == 3
        assert modes.S_ISLNK(found["l"].st_mode)
        assert modes.S_ISDIR(found["e"].st_mode)

    def test_two_listings_at_once(self, folder: Folder, root: Path) -> None:
        for number in range(300):
            write(root, f"f{number}")
        counts: list[int] = []
        threads = [
            threading.Thread(target=lambda: counts.extend(len(folder.list_directory("")) for _ in range(10)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert counts == [300] * 30

    def test_an_entry_that_vanishes_is_left_out(
        self, folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, "a")
        write(root, "b")
        scandir = os.scandir

        class Vanishing:
            def __init__(self, fd: int) -> None:
                self.entries = scandir(fd)

            def __enter__(self) -> list[os.DirEntry[str]]:
                found = list(self.entries)
                (root / "a").unlink(missing_ok=True)
                return found

            def __exit__(self, *_error: object) -> None:
                self.entries.close()

        monkeypatch.setattr(os, "scandir", Vanishing)
        assert [name for name, _stat in folder.list_directory("")] == ["b"]

    def test_stat_of_what_is_not_there(self, folder: Folder, root: Path) -> None:
        write(root, "f")
        (root / "l").symlink_to("f")
        for path in ("x", "x/y", "f/y", "l/y"):
            assert folder.stat(path) is None
        link = folder.stat("l")
        assert link is not None
        assert modes.S_ISLNK(link.st_mode)
        top = folder.stat("")
        assert top is not None
        assert top.st_ino == root.stat().st_ino

    def test_only_regular_files_are_opened(self, folder: Folder, root: Path) -> None:
        os.mkfifo(root / "fifo")
        (root / "link").symlink_to("/etc/passwd")
        (root / "directory").mkdir()
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(root)
            server.bind("socket")
            os.chdir(here)
        for name in ("fifo", "link", "directory", "socket"):
            with pytest.raises(EntryRefused, match=name):
                folder.open_file(name)
        with pytest.raises(FileNotFoundError):
            folder.open_file("nothing")

    def test_a_device_is_refused(self) -> None:
        with Folder.open("/dev") as devices, pytest.raises(EntryRefused):
            devices.open_file("null")

    def test_read_link(self, folder: Folder, root: Path) -> None:
        (root / "l").symlink_to("bad\udcff/x")
        assert folder.read_link("l") == "bad\udcff/x"


class TestChanging:
    def test_make_directory_may_exist(self, folder: Folder, root: Path) -> None:
        folder.make_directory("a")
        folder.make_directory("a")
        folder.make_directory("a/b")
        assert (root / "a/b").is_dir()
        write(root, "f")
        with pytest.raises(NotADirectoryError):
            folder.make_directory("f")

    def test_a_directory_made_again_is_the_new_one(self, folder: Folder, root: Path) -> None:
        with folder.handles():
            folder.make_directory("a")
            folder.make_directory("a/b")
            folder.remove_directory("a/b")
            folder.remove_directory("a")
            folder.make_directory("a")
            os.close(folder.create_file("a/f"))
        assert (root / "a/f").exists()

    def test_a_renamed_directory_is_found_at_its_new_place(self, folder: Folder, root: Path) -> None:
        write(root, "a/b/f")
        with folder.handles():
            assert folder.stat("a/b/f") is not None
            folder.rename("a", "c")
            assert folder.stat("a/b/f") is None
            assert folder.stat("c/b/f") is not None

    def test_rename_replaces_and_rename_new_does_not(self, folder: Folder, root: Path) -> None:
        write(root, "a", b"a")
        write(root, "b", b"b")
        with pytest.raises(FileExistsError):
            folder.rename_new("a", "b")
        folder.rename_new("a", "c")
        folder.rename("c", "b")
        assert (root / "b").read_bytes() == b"a"

    def test_rename_new_where_the_system_cannot(
        self, folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_module, "rename_exclusive", lambda *_arguments: False)
        write(root, "a", b"a")
        write(root, "b", b"b")
        with pytest.raises(FileExistsError):
            folder.rename_new("a", "b")
        folder.rename_new("a", "c")
        assert (root / "c").read_bytes() == b"a"

    def test_link_takes_no_name_twice(self, folder: Folder, root: Path) -> None:
        write(root, "a", b"a")
        folder.link("a", "b")
        assert (root / "b").stat().st_nlink == 2
        with pytest.raises(FileExistsError):
            folder.link("a", "b")

    @pytest.mark.parametrize(
        ("before", "executable", "after"),
        [
            (0o644, True, 0o755),
            (0o600, True, 0o700),
            (0o755, False, 0o644),
            (0o4755, False, 0o644),
            (0o4644, True, 0o755),
        ],
    )
    def test_executable(self, folder: Folder, root: Path, before: int, executable: bool, after: int) -> None:
        file = write(root, "a")
        file.chmod(before)
        stat = folder.touch("a", state_mark(file.stat()), executable=executable, mtime_ns=TIME + 1)
        assert (modes.S_IMODE(stat.st_mode), stat.st_mtime_ns) == (after, TIME + 1)
        assert state_mark(stat) == state_mark(file.stat())

    def test_what_is_not_as_it_was_seen_is_not_touched(self, folder: Folder, root: Path) -> None:
        file = write(root, "a")
        seen = state_mark(file.stat())
        file.write_bytes(b"edited")
        before = file.stat()
        with pytest.raises(EntryChanged):
            folder.touch("a", seen, executable=True, mtime_ns=TIME)
        assert file.stat() == before
        file.unlink()
        with pytest.raises(EntryChanged):
            folder.touch("a", seen, executable=True, mtime_ns=TIME)

    def test_a_link_is_not_touched(self, folder: Folder, root: Path) -> None:
        file = write(root, "a")
        folder.make_link("l", "a")
        before = file.stat()
        with pytest.raises(EntryRefused):
            folder.touch("l", state_mark((root / "l").lstat()), executable=True, mtime_ns=TIME - 1)
        assert file.stat() == before

    def test_executable_keeps_to_the_umask(self, root: Path) -> None:
        os.umask(0o077)
        with Folder.open(str(root)) as folder:
            file = write(root, "a")
            file.chmod(0o644)
            folder.touch("a", state_mark(file.stat()), executable=True, mtime_ns=TIME)
            assert modes.S_IMODE(file.stat().st_mode) == 0o744
            assert folder.file_mode(False) == 0o600
            assert folder.file_mode(True) == 0o700

    def test_the_umask_is_left_as_it_was(self, root: Path) -> None:
        os.umask(0o027)
        Folder.open(str(root)).close()
        assert os.umask(0o022) == 0o027

    def test_files_are_created_for_this_user_alone_and_never_over_another(
        self, folder: Folder, root: Path, tmp_path: Path
    ) -> None:
        os.umask(0)
        os.close(folder.create_file("a"))
        assert modes.S_IMODE((root / "a").stat().st_mode) == 0o600
        (root / "l").symlink_to(tmp_path / "outside")
        for name in ("a", "l"):
            with pytest.raises(FileExistsError):
                folder.create_file(name)
        assert not (tmp_path / "outside").exists()

    def test_short_writes_go_on(self, folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:3], at))
        fd = folder.create_file("a")
        folder.write_at(fd, b"0123456789", 2)
        os.close(fd)
        assert (root / "a").read_bytes() == b"\0\x000123456789"

    def test_a_staging_file_that_is_none(self, folder: Folder, root: Path) -> None:
        folder.prepare(STAGING)
        (root / STAGING / "l").symlink_to("/etc/passwd")
        (root / STAGING / "d").mkdir()
        for name in ("l", "d"):
            with pytest.raises(EntryRefused):
                folder.open_staged(name)

    def test_free_space(self, folder: Folder, root: Path) -> None:
        room = os.statvfs(root)
        assert 0 < folder.free_space() <= room.f_blocks * room.f_frsize

    def test_syncing_without_syncfs(self, folder: FaultyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.prepare(STAGING)
        for name in ("a", "b"):
            os.close(folder.create_staged(name))
        monkeypatch.setattr(system, "_syncfs", None)
        folder.sync_all(["a", "b"])
        assert folder.steps().count("sync_file") == 2

    def test_syncing_at_once(self, folder: FaultyFolder) -> None:
        folder.prepare(STAGING)
        os.close(folder.create_staged("a"))
        folder.sync_all(["a"])
        folder.sync_directory("")
        assert folder.steps().count("sync_file") == (0 if sys.platform == "linux" else 1)


class TestFoldsNames:
    def test_agrees_with_the_filesystem(self, folder: Folder, root: Path) -> None:
        write(root, "Aa")
        assert folder.folds_names == (root / "aA").exists()
        assert list((root / STAGING).iterdir()) == []

    def test_is_asked_once(self, folder: FaultyFolder) -> None:
        assert folder.folds_names == folder.folds_names
        assert folder.steps().count("create_file") == 1

    def test_a_filesystem_that_folds(self, folder: FaultyFolder, root: Path) -> None:
        def fold() -> None:
            (made,) = (root / STAGING).iterdir()
            made.with_name(made.name.replace("Probe", "pROBE")).touch()

        folder.at("stat", fold, about="pROBE")
        assert folder.folds_names

    def test_a_folder_that_cannot_be_written_to(self, folder: FaultyFolder) -> None:
        folder.fail("create_file", errno.EROFS)
        assert not folder.folds_names


class TestHandles:
    def test_nothing_stays_open(self, folder: Folder, root: Path) -> None:
        write(root, "a/b/c/f")
        before = len(os.listdir("/dev/fd"))  # noqa: PTH208
        folder.stat("a/b/c/f")
        with folder.handles() as handles:
            handles.directory("a/b/c")
            assert len(os.listdir("/dev/fd")) == before + 1  # noqa: PTH208
        assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208

    def test_the_least_recently_used_goes_first(self, folder: Folder, root: Path) -> None:
        for number in range(MAX_HANDLES + 10):
            (root / f"d{number}").mkdir()
        before = len(os.listdir("/dev/fd"))  # noqa: PTH208
        with folder.handles() as handles:
            first = handles.directory("d0")
            for number in range(MAX_HANDLES + 10):
                assert os.fstat(handles.directory(f"d{number}")).st_ino == (root / f"d{number}").stat().st_ino
                assert handles.directory("d0") == first
            assert len(os.listdir("/dev/fd")) == before + MAX_HANDLES  # noqa: PTH208

    def test_deep_trees_rename_between_their_ends(self, folder: Folder, root: Path) -> None:
        one, other = "/".join(["a"] * 63), "/".join(["b"] * 63)
        write(root, f"{one}/f")
        (root / other).mkdir(parents=True)
        folder.rename(f"{one}/f", f"{other}/f")
        assert (root / other / "f").exists()

    def test_each_thread_has_its_own(self, folder: Folder) -> None:
        found: list[Handles] = []
        thread = threading.Thread(target=lambda: found.append(folder.handles()))
        thread.start()
        thread.join(10)
        assert found[0] is not folder.handles()
        assert folder.handles() is folder.handles()


class TestErrors:
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_full(self, code: int) -> None:
        assert isinstance(disk_error(OSError(code, "full"), "a"), DiskFull)

    def test_others_say_why(self) -> None:
        error = disk_error(OSError(errno.EIO, "Input/output error"), "a\x1b")
        assert str(error) == "a\\x1b: Input/output error."

    def test_in_a_block(self) -> None:
        with pytest.raises(DiskFull, match="b"), disk_errors("b"):
            raise OSError(errno.ENOSPC, "full")


class TestStateMark:
    def test_changes_with_the_file_and_only_then(self, folder: Folder, root: Path) -> None:
        file = write(root, "a", b"one")

        def mark() -> int:
            stat = folder.stat("a")
            assert stat is not None
            return state_mark(stat)

        first = mark()
        assert mark() == first
        assert 0 <= first < 1 << 64
        os.utime(file, ns=(TIME, TIME + 1))
        second = mark()
        file.write_bytes(b"four")
        os.utime(file, ns=(TIME, TIME + 1))
        third = mark()
        file.unlink()
        write(root, "b")
        write(root, "a", b"four", TIME + 1)
        assert len({first, second, third, mark()}) == 4

    def test_times_beyond_64_bits(self, folder: Folder, root: Path) -> None:
        write(root, "a")
        stat = folder.stat("a")
        assert stat is not None

        class Strange:
            st_dev = st_ino = st_size = 1
            st_mtime_ns = -(1 << 80)
            st_ctime_ns = 1 << 80

        assert state_mark(Strange()) >= 0  # type: ignore[arg-type]
