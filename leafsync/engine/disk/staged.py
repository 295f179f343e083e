"""A file being fetched: written chunk by chunk, each one proven, ready to go on after an interruption."""

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping

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
from leafsync.engine.disk.folder import Folder, disk_errors
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.store import StagedRow, Store


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
        self._resumed = resumed
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
                found = {index: leaf_hash(self._read(self.fd, index, index)) for index in claimed}
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
        """Copy chunks out of a file of this device (new index -> index there); return those that were right."""
        self._learn(leaves)
        taken = set()
        for index, source in sources.items():
            leaf = self._leaf(index)
            try:
                data = self._read(source_fd, index, source)
            except OSError:  # a bad sector of the old file: the peer has the chunk
                continue
            if leaf_hash(data) == leaf:
                with disk_errors(self.path):
                    self._put(index, data, leaf)
                taken.add(index)
        self._mark(taken)
        return taken

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
        """Write a proven chunk. Zeros stay a hole, unless an earlier run may have left something there."""
        if leaf == zero_leaf(len(data)) and (not self._resumed or leaf_hash(self._read(self.fd, index, index)) == leaf):
            return
        self._folder.write_at(self.fd, data, index * CHUNK_SIZE)

    def _read(self, fd: int, index: int, source: int) -> bytes:
        """Read what would be chunk `index` here out of chunk `source` of a file; shorter at its end."""
        length, offset = chunk_length(self.size, index), source * CHUNK_SIZE
        data = os.pread(fd, length, offset)
        while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
            data += more
        return data

    def _mark(self, indexes: Iterable[int]) -> None:
        with self._lock:
            for index in indexes:
                self.bitmap.add(index)
            self._store.mark_chunks(self.name, self.bitmap.to_bytes())
