"""A file of several chunks on its way here: what is here already, what is missing, what has been written."""

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from functools import partial

from leafsync.engine.core.bitmap import ranges
from leafsync.engine.core.index import Index, Kind
from leafsync.engine.core.merkle import chunk_length, chunk_sources, leaf_at, zero_leaf
from leafsync.engine.core.messages import MAX_ITEMS, ChunkRange
from leafsync.engine.core.steps import Fetch
from leafsync.engine.disk.reuse import find_chunks
from leafsync.engine.disk.staging import ChunkMismatch, StagedFile
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import DiskFailed, DiskFull, LeafSyncError

WRITES_AT_ONCE = 4
"""Chunks that are being verified and written while more arrive: one for each thread, a few MiB of memory."""

COPY_BATCH = 32
"""Chunks copied from the old version in one call of a worker thread, so that progress shows and threads share it."""


class LargeFile:
    """One staged file, filled from here and from the wire."""

    def __init__(self, fetch: Fetch, share: Share, local: Index, progress: Progress) -> None:
        """Nothing is opened before `prepare`; `local` is the index that the plan was made from."""
        self._fetch = fetch
        self._share = share
        self._local = local
        self._progress = progress
        self._leaves = b""
        self._staged: StagedFile | None = None
        self._writing: deque[asyncio.Task[bool]] = deque()
        self._mismatched = False
        self.failure: DiskFailed | None = None
        """Why nothing more of this file can be written."""

    async def prepare(self, leaves: bytes) -> None:
        """Open the staging file and take what is here already: staged before, holes, chunks of the old version.

        `leaves` have been proven against the root. Raises DiskFull or DiskFailed.
        """
        self._leaves = leaves
        run = self._share.workers.run
        entry = self._fetch.entry
        self._staged = await self._share.workers.obtain(
            lambda: self._share.staging.open(self._fetch.path, entry.size, entry.hash), StagedFile.close
        )
        self._count(await run(self._staged.recheck, leaves, self._share.workers.hasher))
        self._count(await run(self._fill_holes, self._staged))
        await self._copy_old_version(self._staged)
        await self._copy_known_chunks(self._staged)

    def _count(self, size: int) -> None:
        if size:
            self._progress.add(self._fetch.path, size, fetched=False)

    def _fill_holes(self, staged: StagedFile) -> int:
        size, filled = self._fetch.entry.size, 0
        for index in list(staged.bitmap.missing()):
            length = chunk_length(size, index)
            if leaf_at(self._leaves, index) == zero_leaf(length):
                staged.write_hole(index, self._leaves)
                filled += length
        return filled

    async def _copy_old_version(self, staged: StagedFile) -> None:
        local = self._fetch.local
        if local is None or local.kind is not Kind.FILE or not local.size:
            return
        run = self._share.workers.run
        try:
            old_leaves = await run(self._old_leaves)
            descriptor = await self._share.workers.obtain(
                lambda: self._share.folder.open_file(self._fetch.path), os.close
            )
        except (OSError, LeafSyncError):
            return  # what cannot be taken from here is fetched
        try:
            sources = chunk_sources(old_leaves, self._leaves)
            useful = {index: sources[index] for index in staged.bitmap.missing() if index in sources}
            await self._copy_all(staged, descriptor, useful)
        finally:
            await run(os.close, descriptor)

    async def _copy_known_chunks(self, staged: StagedFile) -> None:
        """Take chunks that any other file of the folder has."""
        run = self._share.workers.run
        missing = {leaf_at(self._leaves, index): index for index in staged.bitmap.missing()}
        if not missing:
            return
        found = await run(find_chunks, self._share.store, self._local, missing)
        by_path: dict[str, dict[int, int]] = {}
        for leaf, (path, number) in found.items():
            by_path.setdefault(path, {})[missing[leaf]] = number
        for path, sources in by_path.items():
            try:
                descriptor = await self._share.workers.obtain(partial(self._share.folder.open_file, path), os.close)
            except (OSError, LeafSyncError):
                continue  # it was removed meanwhile; what it had is fetched
            try:
                await self._copy_all(staged, descriptor, sources)
            finally:
                await run(os.close, descriptor)

    async def _copy_all(self, staged: StagedFile, descriptor: int, sources: Mapping[int, int]) -> None:
        wanted = list(sources)
        async with task_group() as copies:
            for start in range(0, len(wanted), COPY_BATCH):
                batch = {index: sources[index] for index in wanted[start : start + COPY_BATCH]}
                copies.create_task(self._copy(staged, descriptor, batch))

    async def _copy(self, staged: StagedFile, descriptor: int, sources: Mapping[int, int]) -> None:
        copied = await self._share.workers.run(staged.copy_chunks, descriptor, sources, self._leaves)
        self._count(sum(chunk_length(self._fetch.entry.size, index) for index in copied))

    def _old_leaves(self) -> bytes:
        """Return the leaves of the version that is here (blocking)."""
        mark = self._local.state(self._fetch.path)
        known = self._share.store.leaves(mark) if mark is not None else None
        return known or self._share.workers.hasher.hash_file(self._share.folder, self._fetch.path).leaves

    def wanted(self) -> list[ChunkRange]:
        """Return the ranges that are still missing, at most as many as one request may name."""
        return ranges(self._open_file().bitmap.missing())[:MAX_ITEMS]

    async def write(self, index: int, data: bytes | bytearray | None) -> None:
        """Verify and write chunk `index` in the background; `data` None is a hole. Waits when several are under way.

        After a `failure` it is dropped: the rest of the answer has to be read all the same. Raises DiskFull of an
        earlier write.
        """
        while len(self._writing) >= WRITES_AT_ONCE:
            await self._settle_one()
        if self.failure is None:
            self._writing.append(asyncio.create_task(self._write(self._open_file(), index, data)))

    async def _write(self, staged: StagedFile, index: int, data: bytes | bytearray | None) -> bool:
        length = chunk_length(self._fetch.entry.size, index)
        if data is None:
            if leaf_at(self._leaves, index) != zero_leaf(length):
                return False
            await self._share.workers.run(staged.write_hole, index, self._leaves)
        else:
            try:
                await self._share.workers.run(staged.write_chunk, index, data, self._leaves)
            except ChunkMismatch:
                return False
        self._progress.add(self._fetch.path, length, fetched=True)
        return True

    async def _settle_one(self) -> None:
        try:
            written = await self._writing[0]
            self._mismatched = self._mismatched or not written
        except DiskFull:
            raise
        except DiskFailed as error:
            self.failure = self.failure or error
        self._writing.popleft()

    async def settle(self) -> bool:
        """Wait for all writes; return whether every chunk since the last call matched its leaf."""
        while self._writing:
            await self._settle_one()
        matched, self._mismatched = not self._mismatched, False
        return matched

    async def close(self) -> None:
        """Close the staging file; what is verified stays there for the next time."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        self._writing.clear()
        if self._staged is not None:
            staged, self._staged = self._staged, None
            await self._share.workers.run(staged.close)

    def take(self) -> StagedFile:
        """Hand over the complete staging file."""
        staged, self._staged = self._open_file(), None
        return staged

    def _open_file(self) -> StagedFile:
        if self._staged is None:
            raise RuntimeError("the staging file is not open")
        return self._staged
