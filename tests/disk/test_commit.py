"""The group commit: the order of its steps, what it replaces, and what is left when it fails or dies at any of them."""

import errno
import os
import random
import signal
import stat as modes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.names import STAGING, TRASH
from leafsync.engine.disk import folder as folder_module
from leafsync.engine.disk.folder import Folder, state_mark
from leafsync.engine.disk.staging import Commit, Committed, SmallFile, Staged, StagedFile, Staging
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from leafsync.errors import DiskFailed, DiskFull, EntryChanged, EntryRefused, StoreUnusable
from tests.disk.faults import (
    TIME,
    FaultyFolder,
    WatchedStore,
    below,
    content_leaves,
    file_entry,
    small,
    tree,
    write,
)

PASS = f"{TRASH}/20261122-134501-ab12"
CHECKOUT = Path(__file__).parents[2]
BIG = random.Random(1).randbytes(CHUNK_SIZE) + b"end"


def mark(folder: Folder, path: str) -> int:
    stat = folder.stat(path)
    assert stat is not None
    return state_mark(stat)


def stage(staging: Staging, *items: SmallFile) -> list[Staged]:
    staged = staging.stage_small(items)
    assert all(isinstance(one, Staged) for one in staged)
    return [one for one in staged if isinstance(one, Staged)]


def stage_big(staging: Staging, path: str = "big", data: bytes = BIG) -> StagedFile:
    staged = staging.open(path, len(data), file_entry(path, data).hash)
    for index in range(staged.bitmap.size):
        staged.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE], content_leaves(data))
    return staged


def new(staging: Staging, *paths: str, data: bytes = b"new") -> list[Commit]:
    """Stage small files that are to be new."""
    return [Commit(one.path, one.entry, one) for one in stage(staging, *(small(path, data) for path in paths))]


def over(staging: Staging, folder: Folder, path: str, data: bytes = b"new", old: bytes = b"old") -> Commit:
    """Stage a small file that replaces one of which the plan saw `old`."""
    (staged,) = stage(staging, small(path, data))
    return Commit(path, staged.entry, staged, mark(folder, path), file_entry(path, old))


def errors(results: Sequence[Committed]) -> list[type | None]:
    return [type(result.error) if result.error else None for result in results]


class TestPlacing:
    def test_new_files(self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path) -> None:
        (root / "d").mkdir()
        items = new(staging, "a", "d/b")
        results = staging.commit(items, trash)
        assert errors(results) == [None, None]
        assert [result.path for result in results] == ["a", "d/b"]
        assert tree(root) == {"a": b"new", "d": None, "d/b": b"new"}
        for result in results:
            assert result.stat is not None
            assert state_mark(result.stat) == mark(folder, result.path)
            assert result.stat.st_mtime_ns == TIME
        assert below(root, STAGING) == {}
        assert not (root / TRASH).exists()

    def test_a_replaced_file_goes_to_the_trash(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path
    ) -> None:
        inode = write(root, "d/f").stat().st_ino
        results = staging.commit([over(staging, folder, "d/f")], trash)
        assert errors(results) == [None]
        assert tree(root) == {"d": None, "d/f": b"new"}
        assert (root / PASS / "d/f").read_bytes() == b"old"
        assert (root / PASS / "d/f").stat().st_ino == inode

    def test_a_hard_link_to_outside_is_broken_not_written_through(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path, tmp_path: Path
    ) -> None:
        """Fault case 25."""
        outside = write(tmp_path, "bashrc", b"old")
        os.link(outside, root / "f")
        assert errors(staging.commit([over(staging, folder, "f")], trash)) == [None]
        assert outside.read_bytes() == b"old"
        assert (root / "f").read_bytes() == b"new"

    def test_a_big_file(self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path) -> None:
        staged = stage_big(staging)
        entry = file_entry("big", BIG, executable=True)
        (result,) = staging.commit([Commit("big", entry, staged)], trash)
        assert result.error is None
        assert staged.fd == -1
        assert (root / "big").read_bytes() == BIG
        assert modes.S_IMODE((root / "big").stat().st_mode) == 0o755
        assert store.staged_rows() == []
        assert store.load_roots() == {mark(folder, "big"): entry.hash}
        assert store.leaves(mark(folder, "big")) == content_leaves(BIG)

    def test_a_file_whose_next_change_may_leave_no_trace_is_hashed_again(
        self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash
    ) -> None:
        now = time.time_ns()
        (staged,) = stage(staging, small("late", b"new", mtime_ns=now))
        assert errors(staging.commit([Commit("late", staged.entry, staged)], trash)) == [None]
        assert store.load_racy() == {mark(folder, "late")}

    def test_a_file_that_is_written_to_before_it_is_looked_at_is_hashed_again(
        self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path
    ) -> None:
        items = new(staging, "f")
        folder.at("sync_directory", lambda: (root / "f").write_bytes(b"our"))
        assert errors(staging.commit(items, trash)) == [None]
        assert store.load_racy() == {mark(folder, "f")}

    def test_a_file_in_the_place_of_a_link(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path
    ) -> None:
        write(root, "target")
        (root / "f").symlink_to("target")
        (staged,) = stage(staging, small("f"))
        item = Commit("f", staged.entry, staged, None, Entry("f", Kind.SYMLINK, target="target"))
        assert errors(staging.commit([item], trash)) == [None]
        assert tree(root) == {"f": b"new", "target": b"old"}
        assert below(root, PASS) == {"f": "target"}

    @pytest.mark.parametrize(
        ("old", "executable", "expected"),
        [
            (None, False, 0o644),
            (None, True, 0o755),
            (0o600, False, 0o600),
            (0o600, True, 0o700),
            (0o755, False, 0o644),
            (0o4755, True, 0o755),
            (0o640, True, 0o750),
        ],
    )
    def test_permissions(
        self,
        folder: FaultyFolder,
        staging: Staging,
        trash: Trash,
        root: Path,
        old: int | None,
        executable: bool,
        expected: int,
    ) -> None:
        """A private file stays private, and nothing is ever set-id (fault case 34)."""
        for path, data in (("f", b"new"), ("big", BIG)):
            if old is not None:
                write(root, path).chmod(old)
            entry = file_entry(path, data, executable=executable)
            staged: Staged | StagedFile
            if path == "big":
                staged = stage_big(staging)
            else:
                (staged,) = stage(staging, SmallFile(path, entry, data))
            seen = mark(folder, path) if old is not None else None
            assert errors(staging.commit([Commit(path, entry, staged, seen)], trash)) == [None]
            assert modes.S_IMODE((root / path).stat().st_mode) == expected

    def test_another_time_than_staged(self, staging: Staging, trash: Trash, root: Path) -> None:
        (staged,) = stage(staging, small("f"))
        entry = file_entry("f", b"new", mtime_ns=TIME + 5)
        staging.commit([Commit("f", entry, staged)], trash)
        assert (root / "f").stat().st_mtime_ns == TIME + 5

    def test_nothing(self, folder: FaultyFolder, staging: Staging, trash: Trash) -> None:
        assert staging.commit([], trash) == []
        assert "sync_all" not in folder.steps()


class TestOrder:
    """Fault case 77: content, sync, rename, directories, store."""

    def steps(self, folder: FaultyFolder) -> list[str]:
        told = ("write_at", "sync_file", "sync_all", "link", "exchange", "rename_new", "sync_directory", "store")
        return [step for step in folder.steps() if step in told]

    def test_of_a_group(self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path) -> None:
        write(root, "d/old")
        folder.calls.clear()
        items = [*new(staging, "a", "d/b"), over(staging, folder, "d/old")]
        staging.commit(items, trash)
        assert self.steps(folder) == [
            *["write_at"] * 3,
            "sync_all",
            "rename_new",
            "rename_new",
            "link",
            "exchange",
            *["sync_directory"] * 5,
            "store",
        ]
        synced = [path for step, (path, *_rest) in ((s, a) for s, a in folder.calls if a) if step == "sync_directory"]
        assert synced == [TRASH, PASS, f"{PASS}/d", "", "d"]

    def test_of_one_big_file(self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash) -> None:
        item = Commit("big", file_entry("big", BIG), stage_big(staging))
        staging.commit([item], trash)
        assert self.steps(folder) == ["write_at", "write_at", "sync_file", "rename_new", "sync_directory", "store"]

    def test_permissions_and_time_come_before_the_sync(
        self, folder: FaultyFolder, staging: Staging, trash: Trash
    ) -> None:
        staging.commit([Commit("big", file_entry("big", BIG), stage_big(staging))], trash)
        steps = folder.steps()
        assert steps.index("dress") < steps.index("sync_file") < steps.index("rename_new")


def swap_for(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what puts something else in the place of a file."""

    def swap(file: Path) -> None:
        file.unlink()
        make(file)

    return swap


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda file: file.write_bytes(b"edit"),
    "touched": lambda file: os.utime(file),
    "gone": lambda file: file.unlink(),
    "a link": swap_for(lambda file: file.symlink_to("x")),
    "a directory": swap_for(lambda file: file.mkdir()),
    "a fifo": swap_for(os.mkfifo),
    "saved by an editor": lambda file: write(file.parent, "saved", b"edit").rename(file),
}


class TestChanged:
    """Fault cases 21, 28 and 30: what the plan did not see is not replaced, and the others go on."""

    @pytest.mark.parametrize("change", CHANGES)
    def test_after_the_plan(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path, change: str
    ) -> None:
        file = write(root, "f")
        items = [over(staging, folder, "f"), *new(staging, "g")]
        CHANGES[change](file)
        before = tree(root)
        assert errors(staging.commit(items, trash)) == [EntryChanged, None]
        assert tree(root) == {**before, "g": b"new"}
        assert below(root, STAGING) == {}

    @pytest.mark.parametrize("change", CHANGES)
    def test_during_the_sync(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path, change: str
    ) -> None:
        file = write(root, "f")
        items = [over(staging, folder, "f"), *new(staging, "g")]
        folder.at("sync_all", lambda: CHANGES[change](file))
        assert errors(staging.commit(items, trash)) == [EntryChanged, None]
        assert tree(root).get("f") != b"new"

    @pytest.mark.parametrize("exchanges", [True, False])
    @pytest.mark.parametrize("step", ["link", "exchange"])
    @pytest.mark.parametrize("change", CHANGES)
    def test_just_before_the_rename(
        self,
        folder: FaultyFolder,
        staging: Staging,
        trash: Trash,
        root: Path,
        change: str,
        step: str,
        exchanges: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An editor saves in the last instant: its version stays, also where two names cannot be exchanged."""
        if not exchanges:
            monkeypatch.setattr(folder_module, "rename_exchange", lambda *_arguments: False)
        file = write(root, "f")
        items = [over(staging, folder, "f"), *new(staging, "g")]
        folder.at(step, lambda: CHANGES[change](file))
        results = errors(staging.commit(items, trash))
        assert results[0] in (EntryChanged, EntryRefused, DiskFailed)
        assert results[1] is None
        assert tree(root).get("f") != b"new"
        if change in ("edited", "saved by an editor"):
            assert file.read_bytes() == b"edit"
        assert below(root, STAGING) == {}

    def test_where_names_cannot_be_exchanged(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_module, "rename_exchange", lambda *_arguments: False)
        write(root, "f")
        assert errors(staging.commit([over(staging, folder, "f")], trash)) == [None]
        assert tree(root) == {"f": b"new"}
        assert below(root, PASS) == {"f": b"old"}

    @pytest.mark.parametrize("there", ["a file", "a link", "a directory"])
    def test_something_where_nothing_should_be(self, staging: Staging, trash: Trash, root: Path, there: str) -> None:
        items = new(staging, "f", "g")
        if there == "a file":
            write(root, "f")
        elif there == "a link":
            (root / "f").symlink_to("g")
        else:
            (root / "f").mkdir()
        assert errors(staging.commit(items, trash)) == [EntryChanged, None]
        assert tree(root)["f"] != b"new"
        assert below(root, STAGING) == {}

    def test_without_a_mark_size_and_time_decide(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path
    ) -> None:
        for name, mtime_ns in (("f", TIME), ("g", TIME + 1)):
            write(root, name, mtime_ns=mtime_ns)
        items = [
            Commit(one.path, one.entry, one, None, file_entry(one.path, b"old"))
            for one in stage(staging, small("f"), small("g"))
        ]
        assert errors(staging.commit(items, trash)) == [None, EntryChanged]

    def test_a_big_file_can_be_tried_again(
        self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path
    ) -> None:
        staged = stage_big(staging)
        write(root, "big", b"came up meanwhile")
        assert errors(staging.commit([Commit("big", file_entry("big", BIG), staged)], trash)) == [EntryChanged]
        assert staged.fd == -1
        again = staging.open("big", len(BIG), staged.root)
        assert again.name == staged.name
        assert again.recheck(content_leaves(BIG)) == len(BIG)
        item = Commit("big", file_entry("big", BIG), again, mark(folder, "big"))
        assert errors(staging.commit([item], trash)) == [None]
        assert (root / "big").read_bytes() == BIG


class TestConfinement:
    @pytest.mark.parametrize("when", ["before", "during the sync"])
    def test_a_parent_that_becomes_a_link(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path, tmp_path: Path, when: str
    ) -> None:
        """Fault case 22."""
        outside = tmp_path / "outside"
        write(outside, "f", b"precious")
        write(root, "d/f")
        items = [over(staging, folder, "d/f"), *new(staging, "d/g", "h")]

        def swap() -> None:
            (root / "d").rename(tmp_path / "moved")
            (root / "d").symlink_to(outside)

        if when == "before":
            swap()
        else:
            folder.at("sync_all", swap)
        results = errors(staging.commit(items, trash))
        assert results[2] is None
        if when == "before":
            assert results[0] is EntryChanged
            assert results[1] is EntryRefused
        assert tree(outside) == {"f": b"precious"}

    def test_a_parent_that_is_not_there(self, staging: Staging, trash: Trash, root: Path) -> None:
        write(root, "file")
        results = staging.commit(new(staging, "missing/f", "file/f", "g"), trash)
        assert errors(results) == [EntryChanged, EntryRefused, None]

    @pytest.mark.parametrize("path", ["../x", "/x", "", f"{STAGING}/x", f"{TRASH}/x", ".LEAFSYNC_tmp/x", "a\0b"])
    def test_paths_that_are_refused(self, staging: Staging, trash: Trash, root: Path, path: str) -> None:
        (staged,) = stage(staging, small("f"))
        assert errors(staging.commit([Commit(path, staged.entry, staged)], trash)) == [EntryRefused]
        assert tree(root) == {}
        assert below(root, STAGING) == {}

    def test_a_staged_file_that_does_not_belong_there(self, staging: Staging, trash: Trash, root: Path) -> None:
        one, other = stage(staging, small("a", b"1"), small("b", b"2"))
        unfinished = staging.open("big", len(BIG), file_entry("big", BIG).hash)
        items = [Commit("a", other.entry, one), Commit("big", file_entry("big", BIG), unfinished)]
        assert errors(staging.commit(items, trash)) == [DiskFailed, DiskFailed]
        assert tree(root) == {}
        staging.discard([other])


class TestDiskTrouble:
    def test_a_failed_sync_discards_the_group(
        self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path
    ) -> None:
        """Fault case 71: after a failed sync the content is unknown, and trying again would claim that it is there."""
        write(root, "f")
        items = [over(staging, folder, "f"), *new(staging, "g")]
        items.append(Commit("big", file_entry("big", BIG), stage_big(staging)))
        folder.fail("sync_all", errno.EIO)
        assert errors(staging.commit(items, trash)) == [DiskFailed] * 3
        assert tree(root) == {"f": b"old"}
        assert below(root, STAGING) == {}
        assert store.staged_rows() == []

    def test_a_failed_sync_of_one(self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash) -> None:
        folder.fail("sync_file", errno.EIO)
        item = Commit("big", file_entry("big", BIG), stage_big(staging))
        assert errors(staging.commit([item], trash)) == [DiskFailed]
        assert store.staged_rows() == []

    @pytest.mark.parametrize("step", ["link", "exchange", "rename_new", "make_directory"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk(
        self,
        folder: FaultyFolder,
        store: Store,
        staging: Staging,
        trash: Trash,
        root: Path,
        step: str,
        code: int,
    ) -> None:
        write(root, "f")
        items = [over(staging, folder, "f"), Commit("big", file_entry("big", BIG), stage_big(staging))]
        folder.fail(step, code)
        full = [DiskFull if step != "rename_new" else None, DiskFull if step == "rename_new" else None]
        assert errors(staging.commit(items, trash)) == full
        assert (root / "f").read_bytes() == (b"new" if step == "rename_new" else b"old")
        assert [row.path for row in store.staged_rows()] == (["big"] if step == "rename_new" else [])

    def test_a_read_only_disk(self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path) -> None:
        items = new(staging, "f")
        folder.fail("rename_new", errno.EROFS)
        (result,) = staging.commit(items, trash)
        assert str(result.error) == "f: Read-only file system."

    def test_a_directory_that_cannot_be_synced(
        self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path
    ) -> None:
        (root / "d").mkdir()
        folder.fail("sync_directory", about="'d'")
        assert errors(staging.commit(new(staging, "d/a", "b"), trash)) == [DiskFailed, None]
        assert store.load_roots().keys() == {mark(folder, "b")}

    def test_a_trash_that_cannot_be_synced(
        self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path
    ) -> None:
        write(root, "f")
        folder.fail("sync_directory", about=TRASH)
        assert errors(staging.commit([over(staging, folder, "f")], trash)) == [DiskFailed]

    def test_a_store_that_fails_does_not_undo_what_is_done(
        self, folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path
    ) -> None:
        def fail() -> None:
            raise StoreUnusable(path="store", reason="broken")

        folder.at("store", fail)
        assert errors(staging.commit(new(staging, "f"), trash)) == [None]
        assert (root / "f").read_bytes() == b"new"

    def test_a_trash_without_hard_links(self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path) -> None:
        write(root, "f")
        folder.fail("link", errno.EPERM)
        assert errors(staging.commit([over(staging, folder, "f")], trash)) == [None]
        assert below(root, PASS) == {"f": b"old"}

    def test_a_really_full_disk(self, tmp_path: Path) -> None:
        """On a filesystem of its own where that may be mounted, else with a limit on the size of files."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "tmpfs", str(disk)], capture_output=True
        )
        try:
            limit = [] if mounted.returncode == 0 else [str(64 * 1024)]
            done = subprocess.run(
                [sys.executable, "-c", FULL_DISK, str(disk), str(tmp_path / "db"), *limit],
                capture_output=True,
                text=True,
                timeout=30,
                cwd=CHECKOUT,
            )
            assert done.returncode == 0, done.stderr
            assert "DiskF" in done.stdout
            assert (disk / "f").read_bytes() == b"o" * 1000
            assert len((disk / "g").read_bytes()) == 1000
        finally:
            if mounted.returncode == 0:
                subprocess.run(["umount", str(disk)], check=True)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.staging import Commit, Staged, Staging
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from tests.disk.faults import small, write
root = Path(sys.argv[1])
write(root, "f", b"o" * 1000)
with Folder.open(str(root)) as folder, Store.open(Path(sys.argv[2])) as store:
    if len(sys.argv) > 3:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    staging, trash = Staging(folder, store, reserve=0), Trash(folder, "pass")
    staged = staging.stage_small([small("f", b"x" * 300_000), small("g", b"g" * 1000)])
    sys.stdout.write(" ".join(type(one).__name__ for one in staged))
    (result,) = staging.commit([Commit("g", staged[1].entry, staged[1])], trash)
    assert result.error is None, result.error
    many = staging.stage_small([small(f"n{number}") for number in range(80)])
    staging.discard([one for one in many if isinstance(one, Staged)])
    sys.stdout.write(" ".join(sorted({type(one).__name__ for one in many})))
assert [file.name for file in (root / ".leafsync_tmp").iterdir()] == []
"""


class TestLinks:
    def test_new(self, staging: Staging, trash: Trash, root: Path) -> None:
        (root / "d").mkdir()
        stat = staging.replace_link("d/l", "../x", None, trash)
        assert tree(root) == {"d": None, "d/l": "../x"}
        assert stat is not None
        assert modes.S_ISLNK(stat.st_mode)
        assert below(root, STAGING) == {}

    def test_over_a_link(self, staging: Staging, trash: Trash, root: Path) -> None:
        (root / "l").symlink_to("old")
        staging.replace_link("l", "new", Entry("l", Kind.SYMLINK, target="old"), trash)
        assert tree(root) == {"l": "new"}
        assert below(root, PASS) == {"l": "old"}

    def test_over_a_file(self, folder: FaultyFolder, staging: Staging, trash: Trash, root: Path) -> None:
        write(root, "l")
        staging.replace_link("l", "new", file_entry("l", b"old"), trash, expected=mark(folder, "l"))
        assert tree(root) == {"l": "new"}
        assert below(root, PASS) == {"l": b"old"}

    @pytest.mark.parametrize("there", [None, "other", b"file"])
    def test_what_changed_stays(self, staging: Staging, trash: Trash, root: Path, there: str | bytes | None) -> None:
        if isinstance(there, str):
            (root / "l").symlink_to(there)
        elif there:
            write(root, "l", there)
        before = tree(root)
        with pytest.raises(EntryChanged):
            staging.replace_link("l", "new", Entry("l", Kind.SYMLINK, target="old"), trash)
        assert tree(root) == before
        assert below(root, STAGING) == {}

    def test_where_nothing_should_be(self, staging: Staging, trash: Trash, root: Path) -> None:
        write(root, "l")
        with pytest.raises(EntryChanged):
            staging.replace_link("l", "new", None, trash)
        assert tree(root) == {"l": b"old"}

    @pytest.mark.parametrize("target", ["/etc", "../up", "", f"{STAGING}/x", "a\0b"])
    def test_targets_that_are_refused(self, staging: Staging, trash: Trash, root: Path, target: str) -> None:
        with pytest.raises(EntryRefused):
            staging.replace_link("l", target, None, trash)
        assert tree(root) == {}

    def test_a_full_disk(self, folder: FaultyFolder, staging: Staging, trash: Trash) -> None:
        folder.fail("make_link", errno.ENOSPC)
        with pytest.raises(DiskFull):
            staging.replace_link("l", "x", None, trash)


KILLED = """
import sys
import threading
from pathlib import Path
from leafsync.engine.disk.staging import Commit, Staging
from leafsync.engine.disk.trash import Trash
from tests.disk.faults import FaultyFolder, WatchedStore
from tests.disk.test_commit import new, over, stage_big, BIG
from tests.disk.faults import file_entry
step, skip = sys.argv[3], int(sys.argv[4])
folder = FaultyFolder.open(sys.argv[1])
store = WatchedStore.open(Path(sys.argv[2]))
store.watched = folder
folder.lock()
staging = Staging(folder, store, reserve=0)
trash = Trash(folder, "20261122-134501-ab12")
folder.kill_at(step, skip=skip)
items = [over(staging, folder, "d/f"), *new(staging, "d/g")]
items.append(Commit("big", file_entry("big", BIG), stage_big(staging)))
staging.commit(items, trash)
raise SystemExit("it was not killed")
"""


@pytest.mark.parametrize(
    ("step", "skip"),
    [
        ("write_at", 3),
        ("sync_all", 0),
        ("link", 0),
        ("exchange", 0),
        ("rename_new", 1),
        ("sync_directory", 0),
        ("store", 0),
    ],
)
def test_killed_at(root: Path, tmp_path: Path, step: str, skip: int) -> None:
    """Fault case 76: every path is old or new, the old version is somewhere, and the next run goes on."""
    write(root, "d/f")
    database = tmp_path / "folder.db"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(database), step, str(skip)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=CHECKOUT,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    after = tree(root)
    assert after["d/f"] in (b"old", b"new")
    assert after.get("d/g", b"new") == b"new"
    if after["d/f"] == b"new":
        assert below(root, PASS)["d/f"] == b"old"
    with FaultyFolder.open(str(root)) as folder, WatchedStore.open(database) as store:
        store.watched = folder
        folder.lock()
        staging, trash = Staging(folder, store, reserve=0), Trash(folder, "next")
        staging.clean(1e12 if "big" in after else 0)
        if "big" not in after:
            staged = staging.open("big", len(BIG), file_entry("big", BIG).hash)
            counted = staged.recheck(content_leaves(BIG))
            assert counted == (CHUNK_SIZE if step == "write_at" else len(BIG))
            for index in list(staged.bitmap.missing()):
                staged.write_chunk(index, BIG[index * CHUNK_SIZE :], content_leaves(BIG))
            assert errors(staging.commit([Commit("big", file_entry("big", BIG), staged)], trash)) == [None]
        staging.clean(1e12)
        assert store.staged_rows() == []
    assert (root / "big").read_bytes() == BIG
    assert below(root, STAGING) == {}


def test_many_threads(folder: FaultyFolder, store: Store, staging: Staging, trash: Trash, root: Path) -> None:
    """Several groups at once, in the same directories and with one trash."""
    failures: list[type | None] = []
    for number in range(40):
        write(root, f"d{number % 3}/old{number}")

    def work(first: int) -> None:
        for number in range(first, 40, 4):
            items = [
                over(staging, folder, f"d{number % 3}/old{number}"),
                *new(staging, f"d{number % 3}/new{number}", f"d{(number + 1) % 3}/more{number}"),
            ]
            failures.extend(error for error in errors(staging.commit(items, trash)) if error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    files = {path: data for path, data in tree(root).items() if data is not None}
    assert len(files) == 120
    assert set(files.values()) == {b"new"}
    assert sum(data == b"old" for data in below(root, PASS).values()) == 40
    assert below(root, STAGING) == {}
