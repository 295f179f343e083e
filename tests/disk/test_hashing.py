"""Hashing: right roots whatever the size, files that change meanwhile, and no lost descriptors or threads."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.core.merkle import CHUNK_SIZE, EMPTY_ROOT
from leafsync.engine.disk import hashing
from leafsync.engine.disk.hashing import BATCH_FILES, BUSY, GONE, IRREGULAR, Cancelled, Hashed, Hasher
from leafsync.errors import EntryRefused
from tests.disk.faults import FaultyFolder, content_leaves, content_root, write


def stats(folder: FaultyFolder, *paths: str) -> list[tuple[str, os.stat_result]]:
    """Return the files as a walk would."""
    found = []
    for path in paths:
        stat = folder.stat(path)
        assert stat is not None
        found.append((path, stat))
    return found


def hash_one(folder: FaultyFolder, hasher: Hasher, path: str = "f") -> Hashed:
    (result,) = hasher.hash_many(folder, stats(folder, path))
    return result


SIZES = [0, 1, 1000, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, 8 * CHUNK_SIZE + 7]


@pytest.mark.parametrize("size", SIZES)
def test_roots(folder: FaultyFolder, root: Path, hasher: Hasher, size: int) -> None:
    data = os.urandom(size)
    file = write(root, "f", data)
    for result in (hash_one(folder, hasher), hasher.hash_file(folder, "f")):
        assert result.root == content_root(data)
        assert result.leaves == content_leaves(data)
        assert result.error is None
        assert result.stat.st_ino == file.stat().st_ino


def test_the_empty_file(folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
    write(root, "f", b"")
    assert hash_one(folder, hasher).root == EMPTY_ROOT


def test_a_sparse_file(folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
    with (root / "f").open("wb") as file:
        file.truncate(2 * CHUNK_SIZE + 5)
    assert hash_one(folder, hasher).root == content_root(bytes(2 * CHUNK_SIZE + 5))


def test_many_in_order(folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
    contents = {f"f{number}": b"%d" % number * number for number in range(2 * BATCH_FILES + 3)}
    contents["f10"] = os.urandom(9 * CHUNK_SIZE)
    for path, data in contents.items():
        write(root, path, data)
    results = list(hasher.hash_many(folder, stats(folder, *contents)))
    assert [(result.path, result.root) for result in results] == [
        (path, content_root(data)) for path, data in contents.items()
    ]


def test_nothing_to_do(folder: FaultyFolder, hasher: Hasher) -> None:
    assert list(hasher.hash_many(folder, [])) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 5), st.integers(1, 60))
def test_batches_cover_everything_in_order(sizes: list[int], most: int, room: int) -> None:
    stat = list(os.stat_result(range(10)))
    files = []
    for number, size in enumerate(sizes):
        stat[6] = size
        files.append((str(number), os.stat_result(stat)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "BATCH_FILES", most)
        patch.setattr(hashing, "BATCH_BYTES", room)
        patch.setattr(hashing, "BIG_FILE", 30)
        batches = list(hashing._batches(files))
    assert [file for batch in batches for file in batch] == files
    for batch in batches:
        assert 1 <= len(batch) <= most
        total = sum(file[1].st_size for file in batch)
        assert len(batch) == 1 or (total <= room and all(file[1].st_size <= 30 for file in batch))


class TestTrouble:
    @pytest.mark.parametrize("size", [10, 9 * CHUNK_SIZE])
    def test_a_file_that_changes_once_is_read_again(
        self, folder: FaultyFolder, root: Path, hasher: Hasher, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(root, "f", bytes(size))
        files = stats(folder, "f")
        change_while_reading(monkeypatch, lambda: file.write_bytes(b"x" * size), times=1)
        (result,) = hasher.hash_many(folder, files)
        assert result.root == content_root(b"x" * size)
        assert folder.steps().count("open_file") == 2

    def test_a_file_that_keeps_changing_is_busy(
        self, folder: FaultyFolder, root: Path, hasher: Hasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(root, "f", b"1")
        files = stats(folder, "f")
        change_while_reading(monkeypatch, lambda: file.write_bytes(file.read_bytes() + b"1"))
        (result,) = hasher.hash_many(folder, files)
        assert (result.error, result.root, result.leaves) == (BUSY, b"", b"")
        assert folder.steps().count("open_file") == hashing.TRIES

    @pytest.mark.parametrize("size", [10, CHUNK_SIZE + 10, 9 * CHUNK_SIZE])
    def test_a_file_that_shrinks(
        self, folder: FaultyFolder, root: Path, hasher: Hasher, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(root, "f", bytes(size))
        files = stats(folder, "f")
        change_while_reading(monkeypatch, lambda: os.truncate(file, 3), times=1)
        (result,) = hasher.hash_many(folder, files)
        assert result.root == content_root(bytes(3))

    def test_short_reads(
        self, folder: FaultyFolder, root: Path, hasher: Hasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = os.urandom(5000)
        write(root, "f", data)
        preadv = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: preadv(fd, [buffers[0][:1000]], at))
        assert hash_one(folder, hasher).root == content_root(data)

    @pytest.mark.parametrize("size", [10, 9 * CHUNK_SIZE])
    def test_a_bad_sector(
        self, folder: FaultyFolder, root: Path, hasher: Hasher, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, "f", bytes(size))

        def fail(_fd: int, _buffers: object, _at: int) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "preadv", fail)
        assert hash_one(folder, hasher).error == "Input/output error"

    def test_vanished(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        file = write(root, "f")
        files = stats(folder, "f")
        file.unlink()
        (result,) = hasher.hash_many(folder, files)
        assert result.error == GONE

    def test_replaced_by_a_fifo(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        file = write(root, "f")
        files = stats(folder, "f")
        file.unlink()
        os.mkfifo(file)
        (result,) = hasher.hash_many(folder, files)
        assert result.error == IRREGULAR

    def test_unreadable(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        write(root, "f")
        write(root, "g", b"good")
        folder.fail("open_file", errno.EACCES, about="'f'")
        bad, good = hasher.hash_many(folder, stats(folder, "f", "g"))
        assert bad.error == "Permission denied"
        assert good.root == content_root(b"good")

    def test_one_file_that_cannot_be_opened(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        (root / "l").symlink_to("x")
        with pytest.raises(EntryRefused):
            hasher.hash_file(folder, "l")
        with pytest.raises(FileNotFoundError):
            hasher.hash_file(folder, "nothing")


def change_while_reading(monkeypatch: pytest.MonkeyPatch, change: object, times: int = 99) -> None:
    """Let a file change just after some of it was read, so often."""
    preadv = os.preadv
    left = [times]
    lock = threading.Lock()

    def read(fd: int, buffers: list[memoryview], at: int) -> int:
        count = preadv(fd, buffers, at)
        with lock:
            if left[0]:
                left[0] -= 1
                assert callable(change)
                change()
        return count

    monkeypatch.setattr(os, "preadv", read)


class TestProgress:
    def test_adds_up(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        sizes = [0, 10, CHUNK_SIZE + 1, 9 * CHUNK_SIZE]
        for number, size in enumerate(sizes):
            write(root, f"f{number}", bytes(size))
        told: list[int] = []
        files = stats(folder, *(f"f{number}" for number in range(4)))
        assert len(list(hasher.hash_many(folder, files, progress=told.append))) == 4
        assert sum(told) == sum(sizes)
        assert 0 not in told

    def test_is_never_told_twice_at_once(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        write(root, "f", bytes(12 * CHUNK_SIZE))
        inside = threading.Lock()

        def progress(_count: int) -> None:
            assert inside.acquire(blocking=False)
            inside.release()

        list(hasher.hash_many(folder, stats(folder, "f"), progress=progress))


class TestStopping:
    @pytest.mark.parametrize("size", [10, 9 * CHUNK_SIZE])
    def test_cancelled_before(self, folder: FaultyFolder, root: Path, hasher: Hasher, size: int) -> None:
        write(root, "f", bytes(size))
        cancelled = threading.Event()
        cancelled.set()
        with pytest.raises(Cancelled):
            list(hasher.hash_many(folder, stats(folder, "f"), cancelled=cancelled))

    @pytest.mark.parametrize("size", [10, 9 * CHUNK_SIZE])
    def test_cancelled_meanwhile(self, folder: FaultyFolder, root: Path, hasher: Hasher, size: int) -> None:
        paths = [f"f{number}" for number in range(9)]
        for path in paths:
            write(root, path, bytes(size))
        cancelled = threading.Event()
        with pytest.raises(Cancelled):
            list(
                hasher.hash_many(
                    folder, stats(folder, *paths), cancelled=cancelled, progress=lambda _count: cancelled.set()
                )
            )

    def test_a_caller_that_stops_looking(self, folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
        paths = [f"f{number}" for number in range(500)]
        for path in paths:
            write(root, path, b"x")
        results = hasher.hash_many(folder, stats(folder, *paths))
        assert next(results).path == "f0"
        results.close()  # type: ignore[attr-defined]

    def test_closed(self, folder: FaultyFolder, root: Path) -> None:
        write(root, "f")
        hasher = Hasher(1)
        hasher.close()
        hasher.close()
        with pytest.raises(RuntimeError):
            list(hasher.hash_many(folder, stats(folder, "f")))

    def test_its_threads_end(self) -> None:
        before = threading.active_count()
        with Hasher(3) as hasher:
            assert hasher.threads == 3
        assert threading.active_count() == before


def test_chunks_of_a_file(folder: FaultyFolder, root: Path, hasher: Hasher) -> None:
    data = os.urandom(3 * CHUNK_SIZE + 9)
    write(root, "f", data)
    leaves = content_leaves(data)
    fd = folder.open_file("f")
    assert hasher.hash_chunks(fd, len(data), [3, 1]) == {3: leaves[96:], 1: leaves[32:64]}
    assert hasher.hash_chunks(fd, len(data), []) == {}
    assert set(hasher.hash_chunks(fd, 6 * CHUNK_SIZE, [2, 3, 5])) == {2}
    os.close(fd)


def test_one_thread_hashes_a_big_file(folder: FaultyFolder, root: Path) -> None:
    data = os.urandom(9 * CHUNK_SIZE)
    write(root, "f", data)
    with Hasher(1) as hasher:
        assert hash_one(folder, hasher).root == content_root(data)
