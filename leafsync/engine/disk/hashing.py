"""Reading and hashing files, on as many threads as there are cores.

Small files are hashed many to a task, one big file by all threads at once. What is hashed is only trusted when the
file's stat was the same before and after (fault case 31 of SECURITY.md).
"""

import collections
import concurrent.futures
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from leafsync.engine.core.merkle import (
    CHUNK_SIZE,
    HASH_SIZE,
    chunk_count,
    chunk_length,
    file_root,
    leaf_hash,
)
from leafsync.engine.disk.buffers import read_chunk
from leafsync.engine.disk.closing import Closing
from leafsync.engine.disk.folder import Folder
from leafsync.errors import EntryRefused

BIG_FILE = 8 * CHUNK_SIZE
"""Bytes beyond which a file is hashed by all threads: below, the tasks would cost more than they win."""

BATCH_FILES = 64
"""Small files in one task: enough to hide what a task costs, few enough that all threads end together."""

BATCH_BYTES = 16 * CHUNK_SIZE
"""Bytes in one task of small files."""

RUN = 4
"""Chunks that a thread takes of a big file at a time: reads in a row are what disks are fast at."""

TRIES = 3
"""How often a file that changes meanwhile is read before it counts as busy (fault case 31)."""

MAX_THREADS = 8
"""More threads only wait for the disk."""

BUSY = "busy"
GONE = "gone"
IRREGULAR = "not a regular file any more"

Progress = Callable[[int], None]
"""Told how many more bytes were hashed; called from several threads, never twice at once."""


class Cancelled(Exception):
    """The caller gave up waiting (`cancelled` was set)."""


class Hashed(msgspec.Struct, frozen=True):
    """What hashing a file gave."""

    path: str
    stat: os.stat_result
    """The file's stat right after it was read; with an error, the last one known."""
    root: bytes
    leaves: bytes
    error: str | None = None
    """Why the file could not be hashed (then root and leaves are empty); BUSY and GONE are two such reasons."""


class Hasher(Closing):
    """A pool of hashing threads. Thread-safe."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or min(os.cpu_count() or 1, MAX_THREADS)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="hash")

    def close(self) -> None:
        """Wait for the files in work and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def hash_many(
        self,
        folder: Folder,
        files: Sequence[tuple[str, os.stat_result]],
        *,
        progress: Progress | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Hashed]:
        """Yield the result of each file (path and what lstat said), in order. Raises Cancelled."""
        job = _Job(folder, progress, cancelled or threading.Event())
        waiting: collections.deque[Future[list[Hashed]]] = collections.deque()
        try:
            for batch in _batches(files):
                if batch[0][1].st_size > BIG_FILE:
                    yield from _drain(waiting)
                    yield self._big(job, *batch[0])
                    continue
                waiting.append(self._pool.submit(self._small, job, batch))
                if len(waiting) > 2 * self.threads:
                    yield from waiting.popleft().result()
            yield from _drain(waiting)
        finally:
            job.cancelled_here.set()
            for future in waiting:
                future.cancel()
            concurrent.futures.wait(waiting)

    def hash_file(self, folder: Folder, path: str) -> Hashed:
        """Hash one file. Raises OSError or EntryRefused when it cannot be opened at first."""
        fd = folder.open_file(path)
        try:
            stat = os.fstat(fd)
        finally:
            os.close(fd)
        return next(self.hash_many(folder, [(path, stat)]))

    def hash_chunks(self, fd: int, size: int, indexes: Sequence[int]) -> dict[int, bytes]:
        """Return the leaves of these chunks of an open file of `size` bytes, by index; those that cannot be read
        whole are left out. Raises OSError."""
        found: dict[int, bytes] = {}
        self._each_chunk(fd, size, indexes, found.__setitem__)
        return found

    def _each_chunk(
        self,
        fd: int,
        size: int,
        indexes: Sequence[int],
        found: Callable[[int, bytes], None],
        job: "_Job | None" = None,
    ) -> int:
        """Let all threads hash these chunks, tell `found` each leaf (index, leaf), and return how many there were."""
        starts = iter(range(0, len(indexes), RUN))
        lock = threading.Lock()

        def work() -> int:
            count = 0
            while True:
                with lock:
                    start = next(starts, None)
                if start is None:
                    return count
                for index in indexes[start : start + RUN]:
                    length = chunk_length(size, index)
                    chunk = read_chunk(fd, length, index * CHUNK_SIZE)
                    if len(chunk) == length:
                        found(index, leaf_hash(chunk))
                        count += 1
                    if job is not None:
                        job.advance(len(chunk))

        futures = [self._pool.submit(work) for _ in range(min(self.threads, -(-len(indexes) // RUN)))]
        concurrent.futures.wait(futures)  # the descriptor stays the caller's: nobody may use it after this
        return sum(future.result() for future in futures)

    def _small(self, job: "_Job", batch: Sequence[tuple[str, os.stat_result]]) -> list[Hashed]:
        with job.folder.handles():
            return [_careful(job, path, stat, self._leaves_here) for path, stat in batch]

    def _big(self, job: "_Job", path: str, stat: os.stat_result) -> Hashed:
        return _careful(job, path, stat, self._leaves_of_all)

    def _leaves_here(self, job: "_Job", fd: int, size: int) -> bytes:
        if size <= CHUNK_SIZE:
            chunk = read_chunk(fd, size, 0)
            job.advance(len(chunk))
            return leaf_hash(chunk) if size and len(chunk) == size else b""
        leaves = bytearray()
        for index in range(chunk_count(size)):
            chunk = read_chunk(fd, chunk_length(size, index), index * CHUNK_SIZE)
            leaves += leaf_hash(chunk)
            job.advance(len(chunk))
        return bytes(leaves)

    def _leaves_of_all(self, job: "_Job", fd: int, size: int) -> bytes:
        count = chunk_count(size)
        leaves = bytearray(count * HASH_SIZE)

        def found(index: int, leaf: bytes) -> None:
            leaves[index * HASH_SIZE : (index + 1) * HASH_SIZE] = leaf

        hashed = self._each_chunk(fd, size, range(count), found, job)
        return bytes(leaves) if hashed == count else b""


class _Job:
    """What the files of one call share."""

    def __init__(self, folder: Folder, progress: Progress | None, cancelled: threading.Event) -> None:
        self.folder = folder
        self.cancelled_here = threading.Event()
        self._progress = progress
        self._cancelled = cancelled
        self._lock = threading.Lock()

    def check(self) -> None:
        if self._cancelled.is_set() or self.cancelled_here.is_set():
            raise Cancelled

    def advance(self, count: int) -> None:
        self.check()
        if self._progress is not None and count:
            with self._lock:
                self._progress(count)


def _drain(waiting: collections.deque[Future[list[Hashed]]]) -> Iterator[Hashed]:
    while waiting:
        yield from waiting.popleft().result()


def _batches(files: Iterable[tuple[str, os.stat_result]]) -> Iterator[list[tuple[str, os.stat_result]]]:
    batch: list[tuple[str, os.stat_result]] = []
    size = 0
    for file in files:
        big = file[1].st_size > BIG_FILE
        if batch and (big or len(batch) >= BATCH_FILES or size + file[1].st_size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        if big:
            yield [file]
        else:
            batch.append(file)
            size += file[1].st_size
    if batch:
        yield batch


def _careful(job: _Job, path: str, stat: os.stat_result, leaves_of: Callable[[_Job, int, int], bytes]) -> Hashed:
    """Hash a file until its stat stays the same."""
    for _ in range(TRIES):
        job.check()
        try:
            fd = job.folder.open_file(path)
            try:
                before = os.fstat(fd)
                leaves = leaves_of(job, fd, before.st_size)
                stat = os.fstat(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return Hashed(path, stat, b"", b"", GONE)
        except EntryRefused:
            return Hashed(path, stat, b"", b"", IRREGULAR)
        except OSError as error:
            return Hashed(path, stat, b"", b"", error.strerror or str(error))
        if _moment(before) == _moment(stat) and len(leaves) == chunk_count(stat.st_size) * HASH_SIZE:
            return Hashed(path, stat, file_root(stat.st_size, leaves), leaves)
    return Hashed(path, stat, b"", b"", BUSY)


def _moment(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
