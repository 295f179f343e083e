"""Staging: nothing is written that is not proven, nothing is made that cannot fit, and an interruption costs little."""

import errno
import os
import random
import shutil
import stat as modes
import threading
from pathlib import Path

import pytest

from leafsync.engine.core.bitmap import Bitmap
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, MAX_FILE_SIZE
from leafsync.engine.core.names import STAGING
from leafsync.engine.disk import folder as folder_module, staged as staged_module, system
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.staging import (
    MAX_ORPHAN_AGE,
    MAX_STAGED_AGE,
    RESERVE,
    ChunkMismatch,
    SmallFile,
    Staged,
    StagedFile,
    Staging,
)
from leafsync.engine.disk.store import StagedRow, Store
from leafsync.errors import DiskFailed, DiskFull, EntryRefused
from tests.disk.faults import TIME, FaultyFolder, content_leaves, content_root, file_entry, small, tree, write

DATA = random.Random(1).randbytes(2 * CHUNK_SIZE) + bytes(CHUNK_SIZE) + b"end"
LEAVES, ROOT = content_leaves(DATA), content_root(DATA)
CHUNKS = [DATA[start : start + CHUNK_SIZE] for start in range(0, len(DATA), CHUNK_SIZE)]


def begin(staging: Staging, data: bytes = DATA, path: str = "d/big") -> StagedFile:
    return staging.open(path, len(data), content_root(data))


def staged_files(root: Path) -> list[Path]:
    return [file for file in (root / STAGING).iterdir() if file.name != "lock"]


class TestOpening:
    def test_a_new_file(self, staging: Staging, store: Store, root: Path) -> None:
        staged = begin(staging)
        (file,) = staged_files(root)
        assert file.name == staged.name
        assert modes.S_IMODE(file.stat().st_mode) == 0o600
        assert store.staged("d/big", ROOT) == StagedRow("d/big", ROOT, len(DATA), b"\0", staged.name)
        assert (len(staged.bitmap), staged.bitmap.size, staged.complete) == (0, 4, False)
        staged.close()
        staged.close()

    def test_names_tell_nothing_and_never_meet(self, staging: Staging, root: Path) -> None:
        one, other = begin(staging), begin(staging, path="d/other")
        assert one.name != other.name
        assert "big" not in one.name
        one.close()
        other.close()

    def test_an_empty_file_is_complete(self, staging: Staging) -> None:
        staged = begin(staging, b"")
        assert staged.complete
        staged.close()

    @pytest.mark.parametrize("size", [-1, MAX_FILE_SIZE + 1, 1 << 60, 1 << 63])
    def test_sizes_that_cannot_be(self, staging: Staging, root: Path, size: int) -> None:
        with pytest.raises(DiskFull):
            staging.open("f", size, ROOT)
        assert staged_files(root) == []

    def test_more_than_there_is_room_for(self, folder: FaultyFolder, store: Store, root: Path) -> None:
        staging = Staging(folder, store, reserve=folder.free_space() - 1000)
        with pytest.raises(DiskFull, match="f"):
            staging.open("f", 1 << 40, ROOT)
        assert staged_files(root) == []
        assert store.staged_rows() == []
        assert "create_file" not in folder.steps()

    @pytest.mark.parametrize("path", ["", "../x", "/x", f"{STAGING}/x", "a//b"])
    def test_paths_that_are_refused(self, staging: Staging, path: str) -> None:
        with pytest.raises(EntryRefused):
            staging.open(path, 1, ROOT)

    @pytest.mark.parametrize(("step", "code"), [("create_file", errno.ENOSPC), ("resize", errno.EFBIG)])
    def test_a_disk_that_refuses(
        self, folder: FaultyFolder, staging: Staging, store: Store, root: Path, step: str, code: int
    ) -> None:
        folder.fail(step, code)
        with pytest.raises(DiskFull if code == errno.ENOSPC else DiskFailed):
            begin(staging)
        assert staged_files(root) == []
        assert store.staged_rows() == []

    def test_the_directory_was_removed(self, staging: Staging, root: Path) -> None:
        (root / STAGING).rmdir()
        begin(staging).close()
        assert len(staged_files(root)) == 1

    def test_the_directory_is_removed_between_two_files(
        self, folder: FaultyFolder, staging: Staging, root: Path
    ) -> None:
        folder.at("write_at", lambda: shutil.rmtree(root / STAGING), skip=1)
        results = staging.stage_small([small("a"), small("b"), small("c")])
        assert [isinstance(one, Staged) for one in results] == [True, True, True]
        assert len(staged_files(root)) == 1

    def test_the_directory_is_a_link(self, folder: FaultyFolder, store: Store, root: Path, tmp_path: Path) -> None:
        (root / STAGING).symlink_to(tmp_path)
        with pytest.raises(EntryRefused):
            Staging(folder, store)


class TestChunks:
    def test_any_order(self, staging: Staging, root: Path) -> None:
        staged = begin(staging)
        for index in (3, 0, 2, 1):
            assert not staged.complete
            staged.write_chunk(index, CHUNKS[index], LEAVES)
        assert staged.complete
        staged.close()
        assert (root / STAGING / staged.name).read_bytes() == DATA

    def test_twice_is_once(self, staging: Staging) -> None:
        staged = begin(staging)
        staged.write_chunk(1, CHUNKS[1], LEAVES)
        staged.write_chunk(1, CHUNKS[1], LEAVES)
        assert list(staged.bitmap) == [1]
        staged.close()

    @pytest.mark.parametrize(
        ("index", "data"),
        [(0, CHUNKS[1]), (0, CHUNKS[0][:-1]), (0, CHUNKS[0] + b"x"), (0, b""), (3, CHUNKS[0]), (4, b""), (-1, b"end")],
    )
    def test_what_does_not_match_is_not_written(self, staging: Staging, root: Path, index: int, data: bytes) -> None:
        staged = begin(staging)
        with pytest.raises(ChunkMismatch):
            staged.write_chunk(index, data, LEAVES)
        assert list(staged.bitmap) == []
        staged.close()
        assert (root / STAGING / staged.name).stat().st_blocks == 0

    @pytest.mark.parametrize("leaves", [LEAVES[:-32], LEAVES + LEAVES[:32], LEAVES[32:] + LEAVES[:32], b"", b"x"])
    def test_leaves_that_do_not_belong_to_the_root(self, staging: Staging, leaves: bytes) -> None:
        staged = begin(staging)
        with pytest.raises(ChunkMismatch):
            staged.write_chunk(0, CHUNKS[0], leaves)
        with pytest.raises(ChunkMismatch):
            staged.recheck(leaves)
        staged.close()

    def test_zeros_stay_a_hole(self, staging: Staging, root: Path) -> None:
        data = bytes(3 * CHUNK_SIZE + 1)
        staged = begin(staging, data)
        staged.write_hole(0, content_leaves(data))
        staged.write_hole(3)
        staged.write_chunk(1, data[:CHUNK_SIZE], content_leaves(data))
        staged.write_hole(2)
        assert staged.complete
        staged.close()
        file = root / STAGING / staged.name
        assert file.read_bytes() == data
        assert file.stat().st_blocks == 0

    def test_a_hole_that_is_none(self, staging: Staging) -> None:
        staged = begin(staging)
        with pytest.raises(ChunkMismatch):
            staged.write_hole(2)
        staged.write_hole(2, LEAVES)
        for index in (0, 3, 4, -1):
            with pytest.raises(ChunkMismatch):
                staged.write_hole(index)
        assert list(staged.bitmap) == [2]
        staged.close()

    def test_a_full_disk(self, folder: FaultyFolder, staging: Staging, store: Store) -> None:
        staged = begin(staging)
        staged.write_chunk(0, CHUNKS[0], LEAVES)
        folder.fail("write_at", errno.ENOSPC, times=1)
        with pytest.raises(DiskFull, match="d/big"):
            staged.write_chunk(1, CHUNKS[1], LEAVES)
        assert list(staged.bitmap) == [0]
        staged.write_chunk(1, CHUNKS[1], LEAVES)
        staged.close()
        row = store.staged("d/big", ROOT)
        assert row is not None
        assert row.bitmap == b"\x03"

    def test_many_threads(self, staging: Staging, store: Store, root: Path) -> None:
        data = os.urandom(12 * CHUNK_SIZE)
        leaves, staged = content_leaves(data), begin(staging, data)

        def work(first: int) -> None:
            for index in range(first, 12, 3):
                staged.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE], leaves)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert staged.complete
        row = store.staged("d/big", staged.root)
        assert row is not None
        assert Bitmap(12, row.bitmap).complete
        staged.close()
        assert (root / STAGING / staged.name).read_bytes() == data

    def test_the_disk_begins_before_the_end(
        self, folder: FaultyFolder, staging: Staging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each time some chunks have come, by whatever way."""
        begun: list[int] = []
        monkeypatch.setattr(staged_module, "FLUSH_CHUNKS", 2)
        monkeypatch.setattr(folder, "begin_sync", begun.append)
        staged = begin(staging)
        staged.write_chunk(3, CHUNKS[3], LEAVES)
        assert begun == []
        staged.write_hole(2)
        assert begun == [staged.fd]
        staged.fill([(0, CHUNKS[0])], LEAVES)
        assert begun == [staged.fd]
        staged.fill([(1, CHUNKS[1])], LEAVES)
        assert begun == [staged.fd, staged.fd]
        staged.close()


class TestCopying:
    def test_what_is_right_is_taken(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        write(root, "old", CHUNKS[1] + random.Random(2).randbytes(CHUNK_SIZE) + CHUNKS[0] + b"end")
        source = folder.open_file("old")
        staged = begin(staging)
        assert staged.copy_chunks(source, {0: 2, 1: 1, 2: 7, 3: 3}, LEAVES) == {0, 3}
        assert staged.copy_chunks(source, {1: 0}, LEAVES) == {1}
        assert list(staged.bitmap) == [0, 1, 3]
        staged.write_hole(2)
        os.close(source)
        staged.close()
        assert (root / STAGING / staged.name).read_bytes() == DATA

    def test_a_hole_of_the_old_file(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        write(root, "old", DATA)
        source = folder.open_file("old")
        staged = begin(staging)
        assert staged.copy_chunks(source, {2: 2}, LEAVES) == {2}
        os.close(source)
        staged.close()
        assert (root / STAGING / staged.name).stat().st_blocks == 0

    def test_a_bad_sector_of_the_old_file(self, staging: Staging, root: Path, tmp_path: Path) -> None:
        source = os.open(tmp_path, os.O_RDONLY)  # reading a directory fails
        staged = begin(staging)
        assert staged.copy_chunks(source, {0: 0}, LEAVES) == set()
        os.close(source)
        staged.close()

    def test_a_full_disk(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        write(root, "old", DATA)
        source = folder.open_file("old")
        staged = begin(staging)
        folder.fail("write_at", errno.ENOSPC)
        with pytest.raises(DiskFull):
            staged.copy_chunks(source, {0: 0}, LEAVES)
        os.close(source)
        staged.close()


class TestCloning:
    """A filesystem that can share blocks, played by one that copies them."""

    @pytest.fixture(autouse=True)
    def _cloning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def clone(source_fd: int, source: int, length: int, target_fd: int, target: int) -> bool:
            assert source % CHUNK_SIZE == length % CHUNK_SIZE == target % CHUNK_SIZE == 0
            return os.pwrite(target_fd, os.pread(source_fd, length, source), target) == length

        monkeypatch.setattr(folder_module, "clone_range", clone)

    def test_neighbours_are_cloned_in_one_go(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        write(root, "old", DATA)
        source = folder.open_file("old")
        staged = begin(staging)
        folder.calls.clear()
        assert staged.copy_chunks(source, {3: 3, 1: 1, 0: 0}, LEAVES) == {0, 1, 3}
        assert [arguments[1:3] for step, arguments in folder.calls if step == "clone"] == [(0, 2 * CHUNK_SIZE)]
        assert [arguments[2] for step, arguments in folder.calls if step == "write_at"] == [3 * CHUNK_SIZE]
        staged.write_hole(2)
        os.close(source)
        staged.close()
        assert (root / STAGING / staged.name).read_bytes() == DATA

    def test_what_is_cloned_is_proven(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        """The old file is not what it was: what came of it does not count, and does not stay in a hole."""
        write(root, "old", CHUNKS[0] + b"x" * (3 * CHUNK_SIZE))
        source = folder.open_file("old")
        staged = begin(staging)
        assert staged.copy_chunks(source, {0: 0, 1: 1, 2: 2}, LEAVES) == {0}
        assert list(staged.bitmap) == [0]
        staged.write_chunk(1, CHUNKS[1], LEAVES)
        staged.write_hole(2)
        staged.write_chunk(3, CHUNKS[3], LEAVES)
        os.close(source)
        staged.close()
        assert (root / STAGING / staged.name).read_bytes() == DATA

    def test_a_kill_after_cloning_leaves_nothing_that_counts(
        self, folder: FaultyFolder, staging: Staging, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, "old", b"x" * (3 * CHUNK_SIZE))
        source = folder.open_file("old")
        staged = begin(staging)

        def killed(*_arguments: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(staged, "_read", killed)
            with pytest.raises(KeyboardInterrupt):
                staged.copy_chunks(source, {0: 0, 1: 1, 2: 2}, LEAVES)
        os.close(source)
        staged.close()
        again = begin(staging)
        assert again.recheck(LEAVES) == 0
        again.write_hole(2)
        assert os.pread(again.fd, CHUNK_SIZE, 2 * CHUNK_SIZE) == CHUNKS[2]
        again.close()

    def test_a_filesystem_that_cannot_is_asked_once(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        write(root, "old", DATA)
        source = folder.open_file("old")
        staged = begin(staging)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(folder_module, "clone_range", lambda *_arguments: False)
            assert staged.copy_chunks(source, {0: 0}, LEAVES) == {0}
        folder.calls.clear()
        assert staged.copy_chunks(source, {1: 1}, LEAVES) == {1}
        assert "clone" not in folder.steps()
        os.close(source)
        staged.close()

    def test_a_full_disk(self, folder: FaultyFolder, staging: Staging, root: Path) -> None:
        write(root, "old", DATA)
        source = folder.open_file("old")
        staged = begin(staging)
        folder.fail("clone", errno.ENOSPC)
        with pytest.raises(DiskFull):
            staged.copy_chunks(source, {0: 0}, LEAVES)
        os.close(source)
        staged.close()


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.EIO])
def test_where_nothing_can_be_cloned(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.ioctl", refuse)
    assert not system.clone_range(3, 0, CHUNK_SIZE, 4, 0)


def test_a_clone_is_made_or_refused(root: Path) -> None:
    """By the filesystem that the tests run on, whichever it is."""
    write(root, "old", CHUNKS[0])
    old, new = os.open(root / "old", os.O_RDONLY), os.open(root / "new", os.O_RDWR | os.O_CREAT)
    if system.clone_range(old, 0, CHUNK_SIZE, new, 0):
        assert (root / "new").read_bytes() == CHUNKS[0]
    else:
        assert (root / "new").read_bytes() == b""
    os.close(old)
    os.close(new)


class TestFilling:
    def test_what_is_right_is_taken(self, staging: Staging, root: Path) -> None:
        staged = begin(staging)
        contents = [(0, CHUNKS[0]), (1, CHUNKS[0]), (2, None), (3, CHUNKS[3] + b"x")]
        assert staged.fill(contents, LEAVES) == {0}
        assert staged.fill([(1, memoryview(CHUNKS[1])), (3, CHUNKS[3])], LEAVES) == {1, 3}
        staged.write_hole(2)
        staged.close()
        assert (root / STAGING / staged.name).read_bytes() == DATA

    def test_leaves_are_proven_first(self, staging: Staging) -> None:
        staged = begin(staging)
        with pytest.raises(ChunkMismatch):
            staged.fill([(0, CHUNKS[0])], LEAVES[:-1] + b"x")
        staged.close()


class TestResuming:
    def half(self, staging: Staging) -> str:
        staged = begin(staging)
        staged.write_chunk(0, CHUNKS[0], LEAVES)
        staged.write_chunk(1, CHUNKS[1], LEAVES)
        staged.close()
        return staged.name

    def test_goes_on_where_it_was(self, folder: FaultyFolder, staging: Staging, tmp_path: Path) -> None:
        name = self.half(staging)
        with Store.open(tmp_path / "state" / "folder.db") as reopened:
            staged = Staging(folder, reopened, reserve=0).open("d/big", len(DATA), ROOT)
            assert staged.name == name
            assert list(staged.bitmap) == [0, 1]
            assert staged.recheck(LEAVES) == 2 * CHUNK_SIZE
            staged.close()

    @pytest.mark.parametrize("threads", [0, 2])
    def test_what_a_crash_tore_does_not_count(
        self, staging: Staging, store: Store, root: Path, hasher: Hasher, threads: int
    ) -> None:
        name = self.half(staging)
        with (root / STAGING / name).open("r+b") as file:
            file.seek(CHUNK_SIZE + 5)
            file.write(b"torn")
        staged = begin(staging)
        assert staged.recheck(LEAVES, hasher if threads else None) == CHUNK_SIZE
        assert list(staged.bitmap) == [0]
        row = store.staged("d/big", ROOT)
        assert row is not None
        assert row.bitmap == b"\x01"
        staged.close()

    @pytest.mark.parametrize("kept", [0, 10, CHUNK_SIZE + 10])
    def test_a_file_cut_short(self, staging: Staging, root: Path, hasher: Hasher, kept: int) -> None:
        os.truncate(root / STAGING / self.half(staging), kept)
        staged = begin(staging)
        assert staged.recheck(LEAVES, hasher) == kept // CHUNK_SIZE * CHUNK_SIZE
        staged.close()

    def test_a_hole_over_what_an_earlier_run_left(self, staging: Staging, root: Path) -> None:
        name = self.half(staging)
        with (root / STAGING / name).open("r+b") as file:
            file.seek(2 * CHUNK_SIZE)
            file.write(b"left over")
        staged = begin(staging)
        staged.recheck(LEAVES)
        staged.write_hole(2)
        staged.write_chunk(3, b"end", LEAVES)
        staged.close()
        assert (root / STAGING / name).read_bytes() == DATA

    def test_another_version_begins_anew(self, staging: Staging) -> None:
        name = self.half(staging)
        staged = begin(staging, DATA[1:])
        assert staged.name != name
        staged.close()

    @pytest.mark.parametrize("change", ["gone", "link", "directory", "longer", "hard link", "fifo"])
    def test_what_is_not_our_file_any_more(
        self, staging: Staging, store: Store, root: Path, tmp_path: Path, change: str
    ) -> None:
        name = self.half(staging)
        file = root / STAGING / name
        outside = write(tmp_path, "outside", b"precious")
        if change == "longer":
            os.truncate(file, len(DATA) + 1)
        elif change == "hard link":
            os.link(file, root / "other")
        else:
            file.unlink()
        if change == "link":
            file.symlink_to(outside)
        elif change == "directory":
            file.mkdir()
        elif change == "fifo":
            os.mkfifo(file)
        staged = begin(staging)
        assert staged.name != name
        assert len(staged.bitmap) == 0
        staged.close()
        assert [row.name for row in store.staged_rows()] == [staged.name]
        assert outside.read_bytes() == b"precious"

    def test_a_damaged_row(self, staging: Staging, store: Store) -> None:
        name = self.half(staging)
        store.mark_chunks(name, b"\xff\xff\xff")
        staged = begin(staging)
        assert staged.name != name
        assert len(staged.bitmap) == 0
        staged.close()

    def test_a_full_disk_keeps_what_there_is(self, folder: FaultyFolder, store: Store, staging: Staging) -> None:
        name = self.half(staging)
        poor = Staging(folder, store, reserve=1 << 62)
        with pytest.raises(DiskFull):
            begin(poor)
        assert [row.name for row in store.staged_rows()] == [name]

    def test_a_whole_file_needs_no_more_room(self, folder: FaultyFolder, store: Store, staging: Staging) -> None:
        data = random.Random(2).randbytes(CHUNK_SIZE)
        staged = begin(staging, data)
        staged.write_chunk(0, data, content_leaves(data))
        staged.close()
        staged = Staging(folder, store, reserve=1 << 62).open("d/big", len(data), content_root(data))
        assert staged.complete
        staged.close()

    def test_discard(self, staging: Staging, store: Store, root: Path) -> None:
        staged = begin(staging)
        staged.discard()
        assert staged_files(root) == []
        assert store.staged_rows() == []
        staged.discard()


class TestSmall:
    def test_many_in_one_call(self, staging: Staging, store: Store, root: Path) -> None:
        items = [
            small("a", b"1"),
            small("d/b", b"", executable=True),
            small("c", random.Random(2).randbytes(CHUNK_SIZE)),
        ]
        staged = staging.stage_small(items)
        assert [item.path for item in staged if isinstance(item, Staged)] == ["a", "d/b", "c"]
        for item, one in zip(items, staged, strict=True):
            assert isinstance(one, Staged)
            file = root / STAGING / one.name
            assert file.read_bytes() == item.data
            assert file.stat().st_mtime_ns == TIME
            assert modes.S_IMODE(file.stat().st_mode) == (0o755 if item.entry.executable else 0o644)
        assert store.staged_rows() == []
        staging.discard([one for one in staged if isinstance(one, Staged)])
        assert staged_files(root) == []

    def test_all_zeros(self, staging: Staging, root: Path) -> None:
        item = SmallFile("z", file_entry("z", bytes(5000)), None)
        (staged,) = staging.stage_small([item])
        assert isinstance(staged, Staged)
        file = root / STAGING / staged.name
        assert file.read_bytes() == bytes(5000)
        assert file.stat().st_blocks == 0

    @pytest.mark.parametrize(
        ("entry", "data"),
        [
            (file_entry("f", b"announced"), b"different"),
            (file_entry("f", b"announced"), b"announced!"),
            (file_entry("f", b"announced"), b""),
            (file_entry("f", b"announced"), None),
            (Entry("f", Kind.FILE, 3, TIME, False, content_root(b"")), b""),
            (file_entry("f", bytes(CHUNK_SIZE + 1)), bytes(CHUNK_SIZE + 1)),
            (file_entry("f", bytes(CHUNK_SIZE + 1)), None),
        ],
    )
    def test_what_is_not_what_was_announced(
        self, staging: Staging, root: Path, entry: Entry, data: bytes | None
    ) -> None:
        bad, good = staging.stage_small([SmallFile("f", entry, data), small("g")])
        assert isinstance(bad, ChunkMismatch)
        assert isinstance(good, Staged)
        assert len(staged_files(root)) == 1

    @pytest.mark.parametrize("step", ["create_file", "write_at", "dress"])
    def test_a_full_disk(self, folder: FaultyFolder, staging: Staging, root: Path, step: str) -> None:
        folder.fail(step, errno.ENOSPC, skip=1, times=1)
        first, second, third = staging.stage_small([small("a"), small("b"), small("c")])
        assert isinstance(first, Staged)
        assert isinstance(second, DiskFull)
        assert "b" in str(second)
        assert isinstance(third, Staged)
        assert len(staged_files(root)) == 2

    def test_the_reserve_is_left_alone(
        self, folder: FaultyFolder, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        staging = Staging(folder, store)
        items = [small("a", b"1234"), small("b", b"123456"), small("c", b"12345")]
        room = [RESERVE + 14, RESERVE + 14, RESERVE + 5, RESERVE + 5]  # for all of them, then for each
        monkeypatch.setattr(folder, "free_space", lambda: room.pop(0))
        first, second, third = staging.stage_small(items)
        assert isinstance(first, Staged)
        assert isinstance(second, DiskFull)
        assert "b" in str(second)
        assert isinstance(third, Staged)
        assert len(staged_files(root)) == 2
        assert not room

    def test_one_look_is_enough_where_there_is_room(
        self, folder: FaultyFolder, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        staging = Staging(folder, store)
        room = [RESERVE + 3]
        monkeypatch.setattr(folder, "free_space", lambda: room.pop(0))
        empty = SmallFile("z", file_entry("z", bytes(5000)), None)
        results = staging.stage_small([small("a", b"1"), empty, small("b", b"12")])
        assert [isinstance(one, Staged) for one in results] == [True, True, True]
        assert not room

    def test_the_reserve_is_all_there_is(self, folder: FaultyFolder, store: Store) -> None:
        staging = Staging(folder, store, reserve=1 << 62)
        results = staging.stage_small([small("a", b"1"), small("b", b"")])
        assert isinstance(results[0], DiskFull)
        assert isinstance(results[1], Staged)

    def test_a_disk_that_cannot_be_asked_for_its_room(self, folder: FaultyFolder, staging: Staging) -> None:
        folder.fail("free_space", errno.EIO)
        (result,) = staging.stage_small([small("a")])
        assert isinstance(result, DiskFailed)
        assert "a: " in str(result)


class TestCleaning:
    def test_orphans_go_after_a_day(self, staging: Staging, folder: FaultyFolder, root: Path) -> None:
        (staged,) = staging.stage_small([small("a")])
        assert isinstance(staged, Staged)
        folder.lock()
        made = (root / STAGING / staged.name).stat().st_ctime
        staging.clean(made + MAX_ORPHAN_AGE - 1)
        assert len(staged_files(root)) == 1
        staging.clean(made + MAX_ORPHAN_AGE + 60)
        assert staged_files(root) == []
        assert (root / STAGING / "lock").exists()

    def test_half_fetched_files_stay_a_week(self, staging: Staging, store: Store, root: Path) -> None:
        staged = begin(staging)
        staged.close()
        made = (root / STAGING / staged.name).stat().st_ctime
        staging.clean(made + MAX_STAGED_AGE - 1)
        assert len(store.staged_rows()) == len(staged_files(root)) == 1
        staging.clean(made + MAX_STAGED_AGE + 60)
        assert store.staged_rows() == []
        assert staged_files(root) == []

    def test_rows_without_a_file_go(self, staging: Staging, store: Store, root: Path) -> None:
        staged = begin(staging)
        staged.close()
        (root / STAGING / staged.name).unlink()
        staging.clean(0)
        assert store.staged_rows() == []

    def test_strange_things_do_not_stop_it(self, staging: Staging, root: Path, tmp_path: Path) -> None:
        outside = write(tmp_path, "outside")
        (root / STAGING / "l").symlink_to(outside)
        (root / STAGING / "d").mkdir()
        os.mkfifo(root / STAGING / "p")
        staging.clean(1e12)
        assert [file.name for file in staged_files(root)] == ["d"]
        assert outside.exists()

    def test_only_staging_is_touched(self, staging: Staging, root: Path) -> None:
        write(root, "a/f")
        staging.clean(1e12)
        assert tree(root) == {"a": None, "a/f": b"old"}
