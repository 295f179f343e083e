"""Less than chunks of one file: what of a new version is in the old one, at any place.

The other side is asked into which pieces it cuts the chunks that are missing here, while this side cuts what the old
version had in their place. Pieces that both have are taken from here, the rest is asked for; each chunk is proven by
its leaf before it counts. What does not come out right, for whatever reason, is fetched as a whole chunk afterwards.
"""

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator, Sequence

from leafsync.engine.core.merkle import CHUNK_SIZE, chunk_length
from leafsync.engine.core.messages import ChunkRange, Cut, FetchParts, Part, Pieces
from leafsync.engine.core.pieces import (
    ABSENT,
    PIECE_COST,
    PieceIndex,
    PieceList,
    Plan,
    displaced,
    missing,
    pays,
    places,
    requests,
    round_of,
    scale_for,
    stretches,
)
from leafsync.engine.core.steps import Fetch
from leafsync.engine.disk.buffers import chunk_buffer, fill, forget
from leafsync.engine.disk.pieces import cut
from leafsync.engine.disk.staging import StagedFile
from leafsync.engine.sync.share import Share
from leafsync.errors import LeafSyncError

FILL_BATCH = 16
"""Chunks put together from the old version in one call of a worker thread."""


class OldVersion:
    """The file that a new version replaces, open for reading, and where its pieces are.

    It may change meanwhile; whatever is read of it has to be proven.
    """

    def __init__(self, descriptor: int, places: Sequence[tuple[int, int]], scale: int) -> None:
        """Take over `descriptor`; `places` are the bytes (offset, length) that are not where they were."""
        self.index = PieceIndex()
        self._descriptor = descriptor
        self._places = places
        self._scale = scale
        self._stopped = threading.Event()

    def cut(self) -> None:
        """Find the pieces (blocking), until `stop` is called, as many as are remembered."""
        try:
            for start, length in self._places:
                at = start
                for pieces in cut(self.read_into, start, length, self._scale):
                    at = self.index.add(at, pieces)
                    if self._stopped.is_set() or self.index.full:
                        return
        except (OSError, EOFError):
            return  # it has become shorter, or cannot be read there: what was found so far is as good

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` (blocking). Raises OSError, or EOFError beyond the end."""
        if fill(self._descriptor, buffer, offset) != len(buffer):
            raise EOFError

    def forget(self, places: Iterable[tuple[int, int]]) -> None:
        """Give back the memory of these bytes (offset, length): their part is done."""
        forget(self._descriptor, places)

    def stop(self) -> None:
        """Let `cut` come to an end."""
        self._stopped.set()

    def close(self) -> None:
        """Close the file; nobody may read it any more."""
        os.close(self._descriptor)


class Delta:
    """The pieces of one file: what is to be asked for next, and what comes of the answers. Close it in any case."""

    def __init__(self, fetch: Fetch, share: Share, old: OldVersion, wanted: Sequence[ChunkRange], scale: int) -> None:
        """See `begin`."""
        self._fetch = fetch
        self._share = share
        self._old = old
        self._wanted = list(wanted)
        self._scale = scale
        self._pieces: PieceList | None = None
        self._plan: Plan = {}
        self._requests: Iterator[tuple[list[int], list[Part]]] = iter(())
        self._cutting: asyncio.Task[None] | None = None

    @classmethod
    async def begin(
        cls, fetch: Fetch, share: Share, old_leaves: bytes, leaves: bytes, wanted: Sequence[ChunkRange]
    ) -> "Delta | None":
        """Return how to get the `wanted` chunks in pieces, None when that does not pay: then they are fetched whole.

        The leaves are those of the version that is here and of the one that is to come.
        """
        local, size = fetch.local, fetch.entry.size
        if local is None or not local.size:
            return None
        places = stretches(displaced(old_leaves, leaves), local.size)
        gone = sum(length for _offset, length in places)
        wanted_bytes = sum(length for index, count in wanted for length in _lengths(size, index, count))
        if not pays(gone, wanted_bytes):
            return None
        scale = scale_for(wanted_bytes, len(wanted), gone)
        try:
            old = await share.workers.obtain(
                lambda: OldVersion(share.folder.open_file(fetch.path), places, scale), OldVersion.close
            )
        except (OSError, LeafSyncError):
            return None
        return cls(fetch, share, old, wanted, scale)

    async def close(self) -> None:
        """Let go of the old version, also when cancelled."""
        self._old.stop()
        try:
            if self._cutting is not None:
                await asyncio.gather(self._cutting, return_exceptions=True)
        finally:
            await self._share.workers.run(self._old.close)

    def next(self) -> tuple[Cut | FetchParts, int] | None:
        """Return what to ask for next, and about how many bytes the answer has; None when all was asked for."""
        entry, source = self._fetch.entry, self._fetch.source or self._fetch.path
        asked = next(self._requests, None)
        if asked is not None:
            _chunks, parts = asked
            return FetchParts(source, entry.size, entry.hash, parts), sum(length for _offset, length in parts)
        if not self._wanted:
            return None
        part = round_of(self._wanted, self._scale)
        self._wanted = _without(self._wanted, part)
        self._pieces = PieceList(entry.size, part, self._scale)
        if self._cutting is None:
            self._cutting = asyncio.create_task(self._share.workers.run(self._old.cut))
        cost = sum(count for _first, count in part) * CHUNK_SIZE * PIECE_COST >> self._scale
        return Cut(source, entry.size, entry.hash, part, self._scale), cost

    def add(self, pieces: Pieces) -> None:
        """Take a page of the answer to CUT. Raises PiecesMalformed."""
        if self._pieces is not None:
            self._pieces.add(pieces.ids, pieces.lengths)

    @property
    def complete(self) -> bool:
        """Whether the answer to CUT is."""
        return self._pieces is not None and self._pieces.complete

    async def plan(self) -> list[list[int]]:
        """Compare the pieces of both sides. Return batches of the chunks that are here in full."""
        pieces, self._pieces = self._pieces, None
        if pieces is None or self._cutting is None:
            raise RuntimeError("nothing was asked for")
        await self._cutting
        self._plan = await self._share.workers.run(pieces.plan, self._old.index)
        self._requests = requests(self._plan)
        here = [index for index, segments in self._plan.items() if not missing(segments)]
        return [here[start : start + FILL_BATCH] for start in range(0, len(here), FILL_BATCH)]

    def fetched(self, index: int) -> int:
        """Return how many bytes of chunk `index` come from the other side."""
        return missing(self._plan[index])

    def fill(self, staged: StagedFile, indexes: Sequence[int], leaves: bytes) -> set[int]:
        """Put chunks together that are here in full (blocking); return those that were right."""
        filled = staged.fill(((index, self.assemble(index, b"")) for index in indexes), leaves)
        self._old.forget(place for index in indexes for place in places(self._plan[index]))
        return filled

    def assemble(self, index: int, came: bytes | bytearray) -> memoryview | None:
        """Return chunk `index`, made of the old version and what came (blocking), None when the old version cannot be
        read any more. It holds until this thread makes the next one.
        """
        segments = self._plan[index]
        buffer = chunk_buffer()
        at = taken = 0
        for length, source in segments:
            if source == ABSENT:
                buffer[at : at + length] = came[taken : taken + length]
                taken += length
            else:
                try:
                    self._old.read_into(buffer[at : at + length], source)
                except (OSError, EOFError):
                    return None
            at += length
        return buffer[:at]


def _lengths(size: int, first: int, count: int) -> Iterator[int]:
    return (chunk_length(size, index) for index in range(first, first + count))


def _without(wanted: Sequence[ChunkRange], part: Sequence[ChunkRange]) -> list[ChunkRange]:
    """Return what is left of the wanted ranges after `part`, which is their beginning."""
    left = list(wanted[len(part) :])
    first, count = wanted[len(part) - 1]
    taken = part[-1][1]
    return [(first + taken, count - taken), *left] if taken < count else left
