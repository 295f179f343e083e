"""A file of several chunks on its way here: what is here already, what is missing, what has been written."""

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from functools import partial

from leafsync.engine.core.bitmap import ranges
from leafsync.engine.core.index import Index, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, chunk_length, chunk_sources, leaf_at, zero_leaf
from leafsync.engine.core.messages import MAX_ITEMS, ChunkRange, Cut, FetchParts
from leafsync.engine.core.steps import Fetch
from leafsync.engine.disk.buffers import forget
from leafsync.engine.disk.reuse import KnownChunks
from leafsync.engine.disk.staging import ChunkMismatch, StagedFile
from leafsync.engine.sync.delta import Delta
from leafsync.engine.sync.packing import Packed, PackingMalformed
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.replies import Content
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import outlast, task_group
from leafsync.errors import DiskFailed, DiskFull, LeafSyncError

WRITES_AT_ONCE = 4
"""Chunks that are being verified and written while more arrive: one for each thread, a few MiB of memory."""

COPY_BATCH = 8
"""Chunks copied in one call of a worker thread, so that progress shows, threads share it, and of the old version hardly
more is in memory than is being read."""


class LargeFile:
    """One staged file, filled from here and from the wire."""

    def __init__(
        self,
        fetch: Fetch,
        share: Share,
        local: Index,
        known: KnownChunks,
        progress: Progress,
        *,
        pieces: bool = False,
    ) -> None:
        """Nothing is opened before `prepare`; `local` is the index that the plan was made from, `known` has its chunks.
        With `pieces` the other side can be asked for less than chunks.
        """
        self._fetch = fetch
        self._share = share
        self._local = local
        self._known = known
        self._progress = progress
        self._pieces = pieces
        self._leaves = b""
        self._old_leaves = b""
        self._delta: Delta | None = None
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
        if self._pieces and self._old_leaves:
            missing = ranges(self._staged.bitmap.missing())
            self._delta = await Delta.begin(self._fetch, self._share, self._old_leaves, leaves, missing)

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
            self._old_leaves = await run(self._hash_old_version)
            descriptor = await self._share.workers.obtain(
                lambda: self._share.folder.open_file(self._fetch.path), os.close
            )
        except (OSError, LeafSyncError):
            return  # what cannot be taken from here is fetched
        try:
            sources = chunk_sources(self._old_leaves, self._leaves)
            useful = {index: sources[index] for index in staged.bitmap.missing() if index in sources}
            await self._copy_all(staged, descriptor, useful, outgoing=True)
        finally:
            await run(os.close, descriptor)

    async def _copy_known_chunks(self, staged: StagedFile) -> None:
        """Take chunks that any other file of the folder has."""
        run = self._share.workers.run
        missing = {leaf_at(self._leaves, index): index for index in staged.bitmap.missing()}
        if not missing:
            return
        found = await run(self._known.find, missing)
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

    async def _copy_all(
        self, staged: StagedFile, descriptor: int, sources: Mapping[int, int], *, outgoing: bool = False
    ) -> None:
        """Take chunks of an open file; an `outgoing` one is read for the last time."""
        wanted = list(sources)
        async with task_group() as copies:
            for start in range(0, len(wanted), COPY_BATCH):
                batch = {index: sources[index] for index in wanted[start : start + COPY_BATCH]}
                copies.create_task(self._copy(staged, descriptor, batch, outgoing))

    async def _copy(self, staged: StagedFile, descriptor: int, sources: Mapping[int, int], outgoing: bool) -> None:
        copied = await self._share.workers.run(self._copy_here, staged, descriptor, sources, outgoing)
        self._count(sum(chunk_length(self._fetch.entry.size, index) for index in copied))

    def _copy_here(self, staged: StagedFile, descriptor: int, sources: Mapping[int, int], outgoing: bool) -> set[int]:
        """Take chunks of an open file (blocking)."""
        copied = staged.copy_chunks(descriptor, sources, self._leaves)
        if outgoing:
            forget(descriptor, ((index * CHUNK_SIZE, CHUNK_SIZE) for index in sources.values()))
        return copied

    def _hash_old_version(self) -> bytes:
        """Return the leaves of the version that is here (blocking)."""
        mark = self._local.state(self._fetch.path)
        known = self._share.store.leaves(mark) if mark is not None else None
        return known or self._share.workers.hasher.hash_file(self._share.folder, self._fetch.path).leaves

    def wanted(self) -> list[ChunkRange]:
        """Return the ranges that are still missing, at most as many as one request may name."""
        return ranges(self._open_file().bitmap.missing())[:MAX_ITEMS]

    async def finer(self) -> tuple[Cut | FetchParts, int] | None:
        """Return what to ask for before whole chunks are, and about how many bytes the answer has; None when nothing
        is: then the old version is of no more use.
        """
        if self._delta is None:
            return None
        request = self._delta.next()
        if request is None:
            await self._end_delta()
        return request

    @property
    def delta(self) -> Delta:
        """The pieces that are being asked for."""
        if self._delta is None:
            raise RuntimeError("no pieces were asked for")
        return self._delta

    async def _end_delta(self) -> None:
        delta, self._delta = self._delta, None
        if delta is not None:
            await delta.close()

    async def take_pieces(self) -> None:
        """Take from the old version which chunks it has in full, now that all pieces are known. Raises as `prepare`."""
        staged, batches = self._open_file(), await self.delta.plan()
        async with task_group() as filling:
            for batch in batches:
                filling.create_task(self._fill(staged, batch))

    async def _fill(self, staged: StagedFile, batch: list[int]) -> None:
        filled = await self._share.workers.run(self.delta.fill, staged, batch, self._leaves)
        self._count(sum(chunk_length(self._fetch.entry.size, index) for index in filled))

    async def write(self, index: int, content: Content) -> None:
        """Verify and write chunk `index`, or what came of it, in the background. Waits when several are under way.

        After a `failure` it is dropped: the rest of the answer has to be read all the same. Raises DiskFull of an
        earlier write.
        """
        while len(self._writing) >= WRITES_AT_ONCE:
            await self._settle_one()
        if self.failure is None:
            self._writing.append(asyncio.create_task(self._write(self._open_file(), index, content)))

    async def _write(self, staged: StagedFile, index: int, content: Content) -> bool:
        try:
            await self._share.workers.run(self._put, staged, index, content)
        except (ChunkMismatch, PackingMalformed):
            return False
        length = chunk_length(self._fetch.entry.size, index)
        fetched = length if self._delta is None else self._delta.fetched(index)
        self._progress.add(self._fetch.path, fetched, fetched=True)
        self._count(length - fetched)
        return True

    def _put(self, staged: StagedFile, index: int, content: Content) -> None:
        """Write what came of chunk `index` (blocking)."""
        delta = self._delta
        if isinstance(content, Packed):
            content = content.unpack()
        if delta is not None:
            came = bytes(delta.fetched(index)) if content is None else content
            staged.write_chunk(index, delta.assemble(index, came) or b"", self._leaves)
        elif content is None:
            staged.write_hole(index, self._leaves)
        else:
            staged.write_chunk(index, content, self._leaves)

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
        """Close the staging file, also when cancelled; what is verified stays there for the next time."""
        try:
            await outlast(self._writing)
            self._writing.clear()
        finally:
            try:
                await self._end_delta()
            finally:
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
