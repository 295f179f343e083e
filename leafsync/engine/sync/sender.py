"""Answers FETCH: the side that has the content. One sender for each data stream."""

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from leafsync.engine.core.index import Index, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, chunk_count, chunk_length, file_root, leaf_at, leaf_hash
from leafsync.engine.core.messages import (
    LENGTH_SIZE,
    MAX_CUT_CHUNKS,
    MAX_LEAVES_PAGE,
    MAX_PIECES_PAGE,
    PIECES,
    ZSTD,
    Abort,
    AbortReason,
    Bundle,
    Chunk,
    ChunkRange,
    CloseCode,
    Cut,
    DataRequest,
    Encoding,
    End,
    Fetch,
    FetchItem,
    FetchParts,
    Leaves,
    Part,
    Pieces,
    data_requests,
    frame,
)
from leafsync.engine.core.names import parent
from leafsync.engine.core.pieces import PiecesMalformed, encode_pieces, parts_by_chunk, stretches
from leafsync.engine.disk.buffers import fill, read_bytes
from leafsync.engine.disk.folder import state_mark
from leafsync.engine.disk.pieces import cut
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.streams import Stream
from leafsync.engine.sync.channel import SLICE, Channel, Throttle, violated
from leafsync.engine.sync.packing import pack
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.share import Share
from leafsync.errors import LeafSyncError

T = TypeVar("T")

BATCH_FILES = 64
"""Small files read in one call of a worker thread: fewer, larger calls cost the transport less."""

BATCH_BYTES = 2 << 20
"""Bytes of small files read in one call."""

READ_AHEAD = 3
"""Chunks of a large file that are read while earlier ones are being sent."""

ABORTED_HERE = {
    AbortReason.GONE: "it is gone",
    AbortReason.CHANGED: "it was changed meanwhile",
    AbortReason.UNREADABLE: "it cannot be read",
}

_ZEROS = bytes(CHUNK_SIZE)

Reading = tuple[int, Callable[[], bytes], int]
"""A chunk: its number, what reads what is to be sent of it (blocking), and how many bytes that has."""

Wanted = FetchItem | Cut | FetchParts
"""What asks for something of one file."""


class Unavailable(Exception):
    """The content cannot be sent as asked."""

    def __init__(self, reason: AbortReason) -> None:
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    """Say of a file that cannot be opened why it is Unavailable."""
    try:
        yield
    except FileNotFoundError as error:
        raise Unavailable(AbortReason.GONE) from error
    except (OSError, LeafSyncError) as error:
        raise Unavailable(AbortReason.UNREADABLE) from error


class Offer(msgspec.Struct, frozen=True):
    """What a connection may fetch: the files of the index it was shown, and nothing else."""

    share: Share
    index: Index

    def open(self, item: Wanted) -> "Source":
        """Open the content of `item` (blocking).

        Raises Unavailable when it is not on offer (any more); a path that was never listed and one that is gone get
        the same answer (fault case 52).
        """
        entry = self.index.entry(item.path)
        mark = self.index.state(item.path)
        if entry is None or entry.kind is not Kind.FILE or mark is None:
            raise Unavailable(AbortReason.GONE)
        if (entry.hash, entry.size) != (item.root, item.size):
            raise Unavailable(AbortReason.CHANGED)
        with _unavailable():
            descriptor = self.share.folder.open_file(item.path)
        return Source(descriptor, item, mark)

    def doubt(self, path: str) -> None:
        """Have the next scan look at a file that was on offer and could not be read as it was: no watcher tells of all
        that may have changed it."""
        if self.index.entry(path) is not None:
            self.share.changed({parent(path)})


class Source:
    """An open file whose content is what was hashed; every read proves it again (fault case 32)."""

    def __init__(self, descriptor: int, item: Wanted, mark: int) -> None:
        """Take over `descriptor`; `mark` is what stat said when the file was hashed."""
        self.mark = mark
        self._descriptor = descriptor
        self._item = item
        self._lock = threading.Lock()  # a read in a worker thread must never meet a descriptor that was closed
        self._closed = False

    def read(self, index: int) -> bytes:
        """Return chunk `index` (blocking). Raises Unavailable when the file has changed or cannot be read."""
        length = chunk_length(self._item.size, index)
        data = self._proven(lambda: read_bytes(self._descriptor, length, index * CHUNK_SIZE))
        if len(data) != length:
            raise Unavailable(AbortReason.CHANGED)
        return data

    def read_proven(self, index: int, leaves: bytes) -> bytes:
        """Return chunk `index` if it still is the one with its leaf (blocking). Raises as `read`.

        What stat says does not change with every store through a mapping.
        """
        data = self.read(index)
        if leaf_hash(data) != leaf_at(leaves, index):
            raise Unavailable(AbortReason.CHANGED)
        return data

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with what is at `offset` (blocking). Raises as `read`."""
        if self._proven(lambda: fill(self._descriptor, buffer, offset)) != len(buffer):
            raise Unavailable(AbortReason.CHANGED)

    def _proven(self, read: Callable[[], T]) -> T:
        """Return what `read` reads, if the file still is the one that was hashed."""
        with self._lock:
            if self._closed:
                raise Unavailable(AbortReason.GONE)
            try:
                data = read()
                mark = state_mark(os.fstat(self._descriptor))
            except OSError as error:
                raise Unavailable(AbortReason.UNREADABLE) from error
        if mark != self.mark:
            raise Unavailable(AbortReason.CHANGED)
        return data

    def read_parts(self, index: int, parts: Sequence[Part]) -> bytes:
        """Return these parts of chunk `index`, one behind the other (blocking). Raises as `read`."""
        chunk, start = memoryview(self.read(index)), index * CHUNK_SIZE
        return b"".join(chunk[offset - start : offset - start + length] for offset, length in parts)

    def leaves(self, share: Share) -> bytes:
        """Return the file's leaves (blocking), from the records or by hashing it again. Raises Unavailable."""
        known = share.store.leaves(self.mark)
        if known is None or len(known) != chunk_count(self._item.size) * HASH_SIZE:
            with _unavailable():
                hashed = share.workers.hasher.hash_file(share.folder, self._item.path)
            known = hashed.leaves if hashed.root == self._item.root else None
        if known is None or file_root(self._item.size, known) != self._item.root:
            raise Unavailable(AbortReason.CHANGED)
        return known

    def close(self) -> None:
        """Close the file (blocking for the rest of a read)."""
        with self._lock:
            self._closed = True
            os.close(self._descriptor)


class Sender:
    """Sends what is asked for on one stream, in the order asked."""

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        throttle: Throttle,
        progress: Progress,
        features: Collection[str] = (),
    ) -> None:
        """Answer on `stream`; `progress` counts what is sent, `features` are those of both sides."""
        self._progress = progress
        self._features = features
        self._packs = ZSTD in features
        self._channel = Channel(connection, stream, data_requests)
        self._connection = connection
        self._stream = stream
        self._throttle = throttle

    async def run(self, offer: Callable[[], Offer]) -> None:
        """Answer until the other side finishes the stream. `offer` returns what is on offer at that time."""
        while (request := await self._channel.receive()) is not None:
            await self._answer(offer(), request)
        self._stream.finish()

    def give_up(self) -> None:
        """End the stream both ways: half of a stream left open would count against the other side's cap for ever."""
        self._stream.reset(CloseCode.DONE)
        self._stream.stop(CloseCode.DONE)

    async def _answer(self, offer: Offer, request: DataRequest) -> None:
        match request:
            case Fetch():
                await self._answer_items(offer, request)
            case Cut():
                await self._answer_cut(offer, request)
            case FetchParts():
                await self._answer_parts(offer, request)

    async def _answer_items(self, offer: Offer, fetch: Fetch) -> None:
        small: list[FetchItem] = []
        for item in fetch.items:
            self._check(item.ranges, item.size)
            if _is_small(item):
                small.append(item)
                continue
            await self._send_small(offer, small)
            small = []
            await self._send_large(offer, item)
        await self._send_small(offer, small)

    def _check(self, wanted: Sequence[ChunkRange], size: int) -> None:
        """Refuse ranges that are out of order or outside of the file (fault case 38)."""
        end = 0
        for first, count in wanted:
            if first < end or first + count > chunk_count(size):
                raise violated(self._connection, "it asked for chunks that are not there")
            end = first + count

    async def _answer_cut(self, offer: Offer, request: Cut) -> None:
        self._check_feature(PIECES)
        self._check(request.ranges, request.size)
        if sum(count for _first, count in request.ranges) > MAX_CUT_CHUNKS:
            raise violated(self._connection, "it asked for more pieces than one answer has")
        await self._send_of(offer, request, partial(self._send_pieces, offer.share, request))

    async def _answer_parts(self, offer: Offer, request: FetchParts) -> None:
        self._check_feature(PIECES)
        try:
            parts = parts_by_chunk(request.size, request.parts)
        except PiecesMalformed as error:
            raise violated(self._connection, f"it asked for {error}") from error
        await self._send_of(offer, request, partial(self._send_parts, offer.share, request, parts), moves=True)

    def _check_feature(self, feature: str) -> None:
        if feature not in self._features:
            raise violated(self._connection, "it asked for what was not agreed on")

    async def _send_small(self, offer: Offer, items: Sequence[FetchItem]) -> None:
        for batch in _batches(items):
            answers, refusals = await offer.share.workers.run(_small_answers, offer, batch, self._packs)
            await self._write(answers)
            for item, refusal in zip(batch, refusals, strict=True):
                self._progress.send(item.path, item.size, 0 if refusal else item.size)
                self._progress.finish_sending(item.path, refusal)
                if refusal:
                    offer.doubt(item.path)

    async def _send_large(self, offer: Offer, item: FetchItem) -> None:
        async def send(source: Source) -> None:
            leaves = await offer.share.workers.run(source.leaves, offer.share) if item.leaves else b""
            await self._send_leaves(leaves)
            read = partial(source.read_proven, leaves=leaves) if leaves else source.read
            indexes = (index for first, count in item.ranges for index in range(first, first + count))
            await self._send_chunks(
                offer.share, item, ((index, partial(read, index), chunk_length(item.size, index)) for index in indexes)
            )

        async def send_again(source: Source) -> None:
            try:
                await send(source)
            except Unavailable:
                await offer.share.doubt(item.path, source.mark, item.root)
                raise

        await self._send_of(offer, item, send_again if item.leaves and item.ranges else send, moves=bool(item.ranges))

    async def _send_of(
        self, offer: Offer, item: Wanted, send: Callable[[Source], Awaitable[None]], *, moves: bool = False
    ) -> None:
        """Open the content of `item`, `send` of it, and say how it ended; `moves` says whether that is content."""
        try:
            source = await offer.share.workers.obtain(lambda: offer.open(item), Source.close)
            try:
                await send(source)
            finally:
                await offer.share.workers.run(source.close)
        except Unavailable as unavailable:
            offer.doubt(item.path)
            await self._write(frame(Abort(unavailable.reason)))
            self._progress.finish_sending(item.path, ABORTED_HERE[unavailable.reason])
        else:
            await self._write(frame(End()))
            if moves:
                self._progress.finish_sending(item.path)

    async def _send_leaves(self, leaves: bytes) -> None:
        page = MAX_LEAVES_PAGE * HASH_SIZE
        for start in range(0, len(leaves), page):
            await self._write(frame(Leaves(leaves[start : start + page])))

    async def _send_pieces(self, share: Share, request: Cut, source: Source) -> None:
        """Cut what was asked for, a block at a time off the loop, and send what came of it meanwhile."""
        indexes = (index for first, count in request.ranges for index in range(first, first + count))
        for start, length in stretches(indexes, request.size):
            cutting = cut(source.read_into, start, length, request.scale)
            while pieces := await share.workers.run(_next_pieces, cutting):
                for page in range(0, len(pieces), MAX_PIECES_PAGE):
                    await self._write(frame(Pieces(*encode_pieces(pieces[page : page + MAX_PIECES_PAGE]))))

    async def _send_parts(
        self, share: Share, request: FetchParts, parts: dict[int, list[Part]], source: Source
    ) -> None:
        await self._send_chunks(
            share,
            request,
            (
                (index, partial(source.read_parts, index, wanted), sum(length for _offset, length in wanted))
                for index, wanted in parts.items()
            ),
        )

    async def _send_chunks(self, share: Share, item: Wanted, chunks: Iterator[Reading]) -> None:
        reading: deque[tuple[int, asyncio.Task[bytes]]] = deque()
        try:
            while True:
                while len(reading) < READ_AHEAD and (chunk := next(chunks, None)) is not None:
                    index, read, length = chunk
                    task = asyncio.create_task(share.workers.run(_read_chunk, index, read, self._packs))
                    reading.append((length, task))
                if not reading:
                    return
                length, task = reading.popleft()
                await self._write(await task)
                self._progress.send(item.path, item.size, length)
        finally:
            await asyncio.gather(*(task for _length, task in reading), return_exceptions=True)

    async def _write(self, data: bytes | bytearray) -> None:
        if not self._throttle.active:
            await self._stream.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), SLICE):
            await self._stream.write(view[start : start + SLICE])
            await self._throttle.wait()


def _is_small(item: FetchItem) -> bool:
    return not item.leaves and item.size <= CHUNK_SIZE


def _batches(items: Sequence[FetchItem]) -> Iterator[list[FetchItem]]:
    batch: list[FetchItem] = []
    size = 0
    for item in items:
        if batch and (len(batch) >= BATCH_FILES or size + item.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _small_answers(offer: Offer, items: Sequence[FetchItem], packs: bool) -> tuple[bytes, list[str]]:
    """Return the whole answer to several files of at most one chunk, and for each why it was refused, "" if it was not
    (blocking). Files like each other are packed together: each alone would hardly become smaller.
    """
    answers, refusals = [], []
    with offer.share.folder.handles():
        for item in items:
            try:
                answers.append(_small_answer(offer, item))
                refusals.append("")
            except Unavailable as unavailable:
                answers.append(frame(Abort(unavailable.reason)))
                refusals.append(ABORTED_HERE[unavailable.reason])
    answer = b"".join(answers)
    packed = pack(answer) if packs else None
    return answer if packed is None else frame(Bundle(len(answer), len(packed))) + packed, refusals


def _small_answer(offer: Offer, item: FetchItem) -> bytes:
    """Return the whole answer to one of them (blocking). Raises Unavailable."""
    source = offer.open(item)
    try:
        chunks = [_chunk(index, source.read(index)) for index, _count in item.ranges]
    finally:
        source.close()
    return b"".join([*chunks, frame(End())])


def _next_pieces(cutting: Iterator[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Return the pieces of the next block, none at the end (blocking)."""
    return next(cutting, [])


def _read_chunk(index: int, read: Callable[[], bytes], packs: bool) -> bytes:
    """Return the frame of a chunk and the bytes that follow it, packed where that pays (blocking)."""
    data = read()
    packed = pack(data) if packs and data != _ZEROS[: len(data)] else None
    if packed is None:
        return _chunk(index, data)
    return frame(Chunk(index, len(data), Encoding.ZSTD)) + len(packed).to_bytes(LENGTH_SIZE, "big") + packed


def _chunk(index: int, data: bytes) -> bytes:
    """Return the frame of a chunk and the bytes that follow it; holes never travel."""
    if data == _ZEROS[: len(data)]:
        return frame(Chunk(index, len(data), Encoding.ZERO))
    return frame(Chunk(index, len(data), Encoding.RAW)) + data
