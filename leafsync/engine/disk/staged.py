"""A file being fetched: written chunk by chunk, each one proven, ready to go on after an interruption."""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping

from leafsync.engine.core.bitmap import Bitmap
from leafsync.engine.core.merkle import (
    CHUNK_SIZE,
    Buffer,
    chunk_count,
    chunk_length,
    file_root,
    leaf_at,
    leaf_hash,
    zero_leaf,
)
from leafsync.engine.core.names import STAGING, join
from leafsync.engine.disk.buffers import read_chunk
from leafsync.engine.disk.folder import Folder, disk_errors
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.store import StagedRow, Store

FLUSH_CHUNKS = 32
"""Chunks after which the file begins to go to the disk: a third of a second for a commit to wait for at 100 MB/s, and
few enough times that a file whose chunks come in any order lies there in large parts."""


class ChunkMismatch(ValueError):
    """Bytes or leaves from a peer are not what they have to be. Nothing of them was written."""


class StagedFile:
    """A file in the staging directory, as long as it will be, holes where chunks are missing.

    Thread-safe; close it in any case (a commit does). Writing raises DiskFull and DiskFailed.
    """

    def __init__(self, folder: Folder, store: Store, row: StagedRow, fd: int, *, resumed: bool) -> None:
        """Take over the descriptor; see `Staging.open`."""
        self.path = row.path
        self.root = row.root
        self.size = row.size
        self.name = row.name
        self.fd = fd
        self.bitmap = Bitmap(chunk_count(row.size), row.bitmap)
        self.leaves: bytes | None = None
        """The file's leaves, once somebody gave them and they were checked against the root."""
        self._folder = folder
        self._store = store
        self._dirty = resumed
        """Whether something may be where no chunk is proven yet."""
        self._clones = True
        """Whether the filesystem may be able to clone: it is asked until it says no."""
        self._unflushed = 0
        """Chunks that have come since the file last began to go to the disk."""
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return self.bitmap.complete

    def recheck(self, leaves: bytes, hasher: Hasher | None = None) -> int:
        """Hash what an earlier run wrote, and forget what is not right; return the bytes that count."""
        self._learn(leaves)
        claimed = list(self.bitmap)
        with disk_errors(self.path):
            if hasher is not None:
                found = hasher.hash_chunks(self.fd, self.size, claimed)
            else:
                found = {index: self._hash(index) for index in claimed}
        good = Bitmap(self.bitmap.size)
        for index in claimed:
            if found.get(index) == leaf_at(leaves, index):
                good.add(index)
        with self._lock:
            self.bitmap = good
            self._store.mark_chunks(self.name, good.to_bytes())
        return sum(chunk_length(self.size, index) for index in good)

    def write_chunk(self, index: int, data: Buffer, leaves: bytes) -> None:
        """Write chunk `index` if it is the one that `leaves` name. Raises ChunkMismatch."""
        self._learn(leaves)
        leaf = self._leaf(index)
        if len(data) != chunk_length(self.size, index) or leaf_hash(data) != leaf:
            raise ChunkMismatch(f"chunk {index} does not match its leaf")
        with disk_errors(self.path):
            self._put(index, data, leaf)
        self._mark((index,))

    def write_hole(self, index: int, leaves: bytes | None = None) -> None:
        """Take chunk `index` for zeros, if `leaves` (or those of an earlier call) say so. Raises ChunkMismatch."""
        if leaves is not None:
            self._learn(leaves)
        leaf = self._leaf(index)
        length = chunk_length(self.size, index)
        if leaf != zero_leaf(length):
            raise ChunkMismatch(f"chunk {index} is no hole")
        with disk_errors(self.path):
            self._put(index, bytes(length), leaf)
        self._mark((index,))

    def copy_chunks(self, source_fd: int, sources: Mapping[int, int], leaves: bytes) -> set[int]:
        """Take chunks out of a file of this device (new index -> index there); return those that were right.

        Neighbours are cloned in one go where the filesystem can, which copies nothing; each chunk is proven after that.
        """
        self._learn(leaves)
        taken: set[int] = set()
        for index, source, count in _runs(sources):
            cloned = self._cloned(source_fd, index, source, count)
            taken |= cloned
            rest = [(each, source + each - index) for each in range(index, index + count) if each not in cloned]
            taken |= self._write_proven((each, self._read(source_fd, each, there)) for each, there in rest)
        self._mark(taken)
        return taken

    def fill(self, contents: Iterable[tuple[int, Buffer | None]], leaves: bytes) -> set[int]:
        """Write chunks of this device's making (None: there is none); return those that were right."""
        self._learn(leaves)
        taken = self._write_proven(contents)
        self._mark(taken)
        return taken

    def _write_proven(self, contents: Iterable[tuple[int, Buffer | None]]) -> set[int]:
        taken = set()
        for index, data in contents:
            leaf = self._leaf(index)
            if data is not None and len(data) == chunk_length(self.size, index) and leaf_hash(data) == leaf:
                with disk_errors(self.path):
                    self._put(index, data, leaf)
                taken.add(index)
        return taken

    def _cloned(self, source_fd: int, index: int, source: int, count: int) -> set[int]:
        """Clone chunks that follow each other; return those that were right, none where nothing can be cloned."""
        whole = min(count, self.size // CHUNK_SIZE - index)  # a last chunk may end within a block
        if not self._clones or whole <= 0:
            return set()
        self._dirty = True  # what is cloned is there before it is proven
        length = whole * CHUNK_SIZE
        with disk_errors(self.path):
            self._clones = self._folder.clone(source_fd, source * CHUNK_SIZE, length, self.fd, index * CHUNK_SIZE)
        if not self._clones:
            return set()
        here = ((each, self._read(self.fd, each, each)) for each in range(index, index + whole))
        return {each for each, data in here if data is not None and leaf_hash(data) == self._leaf(each)}

    def close(self) -> None:
        """Close the file; what is there stays for the next run."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def discard(self) -> None:
        """Close and remove the file, and forget it."""
        self.close()
        with disk_errors(self.path), contextlib.suppress(FileNotFoundError):
            self._folder.unlink(join(STAGING, self.name))
        self._store.drop_staged(self.name)

    def _learn(self, leaves: bytes) -> None:
        if leaves is self.leaves:
            return
        try:
            root = file_root(self.size, leaves)
        except ValueError as error:
            raise ChunkMismatch(str(error)) from error
        if root != self.root:
            raise ChunkMismatch("the leaves do not match the root")
        self.leaves = leaves

    def _leaf(self, index: int) -> bytes:
        if self.leaves is None or not 0 <= index < self.bitmap.size:
            raise ChunkMismatch(f"nothing is known of a chunk {index}")
        return leaf_at(self.leaves, index)

    def _put(self, index: int, data: Buffer, leaf: bytes) -> None:
        """Write a proven chunk. Zeros stay a hole, unless something else may be there already."""
        if leaf == zero_leaf(len(data)) and not (self._dirty and self._differs(index, data)):
            return
        self._folder.write_at(self.fd, data, index * CHUNK_SIZE)

    def _hash(self, index: int) -> bytes:
        return leaf_hash(read_chunk(self.fd, chunk_length(self.size, index), index * CHUNK_SIZE))

    def _differs(self, index: int, data: Buffer) -> bool:
        return os.pread(self.fd, len(data), index * CHUNK_SIZE) != data

    def _read(self, fd: int, index: int, source: int) -> memoryview | None:
        """Read what would be chunk `index` here out of chunk `source` of a file, into this thread's buffer; shorter
        at its end, None when the disk cannot: a bad sector of an old file is no failure, the peer has the chunk.
        """
        try:
            return read_chunk(fd, chunk_length(self.size, index), source * CHUNK_SIZE)
        except OSError:
            return None

    def _mark(self, indexes: Iterable[int]) -> None:
        with self._lock:
            for index in indexes:
                self.bitmap.add(index)
                self._unflushed += 1
            self._store.mark_chunks(self.name, self.bitmap.to_bytes())
            due = self._unflushed >= FLUSH_CHUNKS
            if due:
                self._unflushed = 0
        if due:
            self._folder.begin_sync(self.fd)


def _runs(sources: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield chunks that follow each other here and there: new index, index there, and how many."""
    run: tuple[int, int, int] | None = None
    for index, source in sorted(sources.items()):
        if run is not None and (index, source) == (run[0] + run[2], run[1] + run[2]):
            run = (run[0], run[1], run[2] + 1)
        else:
            if run is not None:
                yield run
            run = (index, source, 1)
    if run is not None:
        yield run
