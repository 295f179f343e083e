"""Asks for content and takes it in: the side that pulls. Every byte is verified before it counts.

Workers, one for each data stream, share one queue of files. Each keeps requests of `WINDOW` bytes ahead of what it has
received, so there is no round trip per file. A file of several chunks is asked for its leaves first; then what is
here already (staged by an earlier run, in the old version, holes) is taken from here, and only the rest is fetched.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Collection, Iterable, Sequence

import msgspec

from leafsync.engine.core.index import Entry, Index, Kind, Problem
from leafsync.engine.core.merkle import (
    CHUNK_SIZE,
    EMPTY_ROOT,
    HASH_SIZE,
    chunk_count,
    chunk_length,
    file_root,
    leaf_hash,
)
from leafsync.engine.core.messages import (
    PIECES,
    Abort,
    AbortReason,
    Chunk,
    CloseCode,
    Cut,
    DataReply,
    DataRequest,
    End,
    Fetch as FetchMessage,
    FetchItem,
    FetchParts,
    Leaves,
    Pieces,
    frame,
)
from leafsync.engine.core.pieces import MIN_WANTED, PiecesMalformed, parts_by_chunk
from leafsync.engine.core.steps import Fetch
from leafsync.engine.disk.reuse import KnownChunks, find_files
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.channel import REPLY_DEADLINE, Throttle, close_after, violated
from leafsync.engine.sync.committer import Committer
from leafsync.engine.sync.large import LargeFile
from leafsync.engine.sync.packing import Packed, PackingMalformed
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.replies import Content, Replies
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import DiskFailed, DiskFull, LeafSyncError, RootMismatch

WINDOW = 8 << 20
"""Bytes asked for and not yet received, for each stream: more than a gigabit link holds in 50 ms."""

MAX_ASKED = 512
"""Files asked for and not yet received, for each stream: empty answers are small, but not free."""

ITEMS_PER_REQUEST = 128
"""Files in one FETCH, so that the answer to the first begins while the next ones are still being asked for."""

MAX_LARGE = 32
"""Files of several chunks under way, for each stream: each has its staging file open, and its old version while pieces
are looked for. Eight streams so stay below the usual limit of 1024 descriptors."""

MANY_LEAVES = 1024 * HASH_SIZE
"""Bytes of leaves whose root is computed off the loop: it takes a millisecond and more."""

ABORTED = {
    AbortReason.GONE: "it is gone on the other side",
    AbortReason.CHANGED: "it was changed on the other side meanwhile",
    AbortReason.UNREADABLE: "the other side cannot read it",
}


class _Asked(msgspec.Struct):
    """One request, or one item of a FETCH, whose answer has not come yet."""

    fetch: Fetch
    item: FetchItem | Cut | FetchParts
    size: int
    """Bytes that the answer will have, roughly."""
    large: LargeFile | None = None
    again: bool = False
    """Whether this was asked before, and the answer did not match its hash."""


class Receiver:
    """Brings files here over the data streams of one connection."""

    def __init__(
        self,
        connection: Connection,
        share: Share,
        local: Index,
        committer: Committer,
        progress: Progress,
        throttle: Throttle,
        features: Collection[str] = (),
    ) -> None:
        """Fetch into `share`, whose index was `local`, and hand finished files to `committer`; `features` are those
        of both sides.
        """
        self.problems: list[Problem] = []
        self.queue: deque[Fetch] = deque()
        self.again = False
        """Whether the small files of the queue were fetched before, and did not match their hash."""
        self.connection = connection
        self.share = share
        self.local = local
        self.known = KnownChunks(share.store, local)
        self.committer = committer
        self.progress = progress
        self.throttle = throttle
        self.features = features

    async def fetch(self, fetches: Sequence[Fetch], streams: int) -> None:
        """Bring all of `fetches` here over at most `streams` streams.

        Files that cannot be had become problems, the rest goes on. Raises ConnectionLost, PeerStalled,
        ProtocolViolated, RootMismatch or DiskFull; what was verified until then is kept.
        """
        await self._begin(fetches)
        await self._bring(streams)
        if wrong := await self.committer.settle():
            self.again = True
            self.queue.extend(wrong)
            await self._bring(streams)
            if wrong := await self.committer.settle():  # twice wrong is no accident (fault case 39)
                raise self.mismatch(wrong[0])

    async def _begin(self, fetches: Sequence[Fetch]) -> None:
        """Take what is here already, and queue the rest."""
        twins = await self.share.workers.run(find_files, self.local, {fetch.entry.hash for fetch in fetches})
        for fetch in fetches:
            if fetch.entry.hash == EMPTY_ROOT:
                await self._take_empty(fetch)
            elif not await self._copied(fetch, twins.get(fetch.entry.hash)):
                self.queue.append(fetch)

    async def _bring(self, streams: int) -> None:
        async with task_group() as workers:
            for _number in range(min(streams, len(self.queue))):
                workers.create_task(_Worker(self).run())

    async def _take_empty(self, fetch: Fetch) -> None:
        if fetch.entry.size:
            self.failed(fetch, "it was announced with bytes, and with the hash of a file that has none")
        else:
            await self.committer.add_small(fetch, b"")

    async def _copied(self, fetch: Fetch, twin: str | None) -> bool:
        """Take a file of one chunk from a file of this folder that has the same content, if it still has."""
        if twin is None or chunk_count(fetch.entry.size) != 1:
            return False
        try:
            data = await self.share.workers.run(_read_small, self.share, twin, fetch.entry)
        except (OSError, LeafSyncError):
            return False
        if data is None:
            return False
        self.progress.whole(fetch.path, len(data), fetched=False)
        await self.committer.add_small(fetch, data)
        return True

    def mismatch(self, fetch: Fetch) -> RootMismatch:
        """Close the connection because the content of `fetch` is not what was announced; return the error to raise."""
        error = RootMismatch(path=fetch.path, peer=self.connection.address)
        close_after(self.connection, error)
        return error

    def failed(self, fetch: Fetch, reason: str) -> None:
        """Note that `fetch` could not be had."""
        self.problems.append(Problem(fetch.path, reason))
        self.progress.finish(fetch.path, reason)


class _Worker:
    """One data stream: asks ahead, and receives in the order asked."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._connection = receiver.connection
        self._asked: deque[_Asked] = deque()
        self._outstanding = 0
        self._large = 0
        """Requests for files of several chunks among those whose answer has not come."""

    async def run(self) -> None:
        stream = await self._connection.open_stream()
        self._stream = stream
        receiver = self._receiver
        self._replies = Replies(self._connection, stream, receiver.throttle, receiver.share.workers, receiver.features)
        try:
            await self._top_up()
            while self._asked:
                await self._receive(self._asked[0])
                self._counted(self._asked.popleft(), -1)
                await self._top_up()
            stream.finish()
        except BaseException:
            stream.reset(CloseCode.DONE)
            stream.stop(CloseCode.DONE)
            raise
        finally:
            for large in {id(asked.large): asked.large for asked in self._asked if asked.large}.values():
                with contextlib.suppress(asyncio.CancelledError):  # what is being raised already says why it ends
                    await large.close()

    async def _top_up(self) -> None:
        """Ask for more files while the window allows."""
        queue = self._receiver.queue
        while queue and self._has_room and len(self._asked) < MAX_ASKED:
            asked: list[_Asked] = []
            while queue and self._has_room and len(asked) < ITEMS_PER_REQUEST:
                asked.append(self._first_request(queue.popleft()))
                self._counted(asked[-1], 1)
            await self._send(asked)

    @property
    def _has_room(self) -> bool:
        return self._outstanding < WINDOW and self._large < MAX_LARGE

    def _counted(self, asked: _Asked, sign: int) -> None:
        """Count what was asked for, or what has come."""
        self._outstanding += sign * asked.size
        if asked.large is not None:
            self._large += sign

    async def _send(self, asked: list[_Asked]) -> None:
        self._asked.extend(asked)
        items = [each.item for each in asked if isinstance(each.item, FetchItem)]
        others: list[DataRequest] = [each.item for each in asked if not isinstance(each.item, FetchItem)]
        for request in [FetchMessage(items), *others] if items else others:
            await self._stream.write(frame(request))

    def _first_request(self, fetch: Fetch) -> _Asked:
        entry, receiver = fetch.entry, self._receiver
        chunks = chunk_count(entry.size)
        pieces = PIECES in receiver.features
        if chunks == 1 and not (pieces and _may_share(fetch)):
            item = FetchItem(_source(fetch), entry.size, entry.hash, [(0, 1)], leaves=receiver.again)
            return _Asked(fetch, item, entry.size, again=receiver.again)
        item = FetchItem(_source(fetch), entry.size, entry.hash, [], leaves=True)
        large = LargeFile(fetch, receiver.share, receiver.local, receiver.known, receiver.progress, pieces=pieces)
        return _Asked(fetch, item, chunks * HASH_SIZE, large)

    async def _receive(self, asked: _Asked) -> None:
        if asked.large is None:
            await self._receive_small(asked)
            return
        self._receiver.progress.start(asked.fetch.path, asked.fetch.entry.size)
        if isinstance(asked.item, Cut):
            await self._receive_pieces(asked, asked.large)
        elif isinstance(asked.item, FetchParts):
            await self._receive_parts(asked, asked.large, asked.item)
        elif not asked.item.ranges:
            await self._receive_leaves(asked, asked.large)
        else:
            await self._receive_chunks(asked, asked.large, asked.item)

    async def _receive_small(self, asked: _Asked) -> None:
        """Take a whole file, which is verified when it is staged: off the loop, many at a time."""
        fetch, size = asked.fetch, asked.item.size
        reply = await (self._proven_reply(asked) if asked.again else self._reply())
        if isinstance(reply, Chunk):
            data = await self._small_content(reply, size)
            reply = await self._reply()
            if isinstance(reply, End):
                self._receiver.progress.whole(fetch.path, size, fetched=True)
                await self._receiver.committer.add_small(fetch, data)
                return
        self._aborted(fetch, reply)

    async def _ask_more(self, asked: _Asked) -> None:
        self._counted(asked, 1)
        await self._send([asked])

    async def _receive_leaves(self, asked: _Asked, large: LargeFile) -> None:
        leaves, reply = await self._leaves(asked)
        if not isinstance(reply, End):
            self._aborted(asked.fetch, reply)
            return
        await self._check_leaves(asked, leaves)
        try:
            await large.prepare(leaves)
        except DiskFailed as error:
            await self._disk_failed(asked.fetch, large, error)
        else:
            await self._next_part(asked, large)

    async def _leaves(self, asked: _Asked) -> tuple[bytes, DataReply]:
        """Return the leaves that come, and what comes after them."""
        leaves = bytearray()
        expected = chunk_count(asked.item.size) * HASH_SIZE
        while isinstance(reply := await self._reply(), Leaves):
            leaves += reply.leaves
            if len(leaves) > expected:
                raise violated(self._connection, "it sent more leaves than the file has chunks")
        return bytes(leaves), reply

    async def _check_leaves(self, asked: _Asked, leaves: bytes) -> None:
        """Raise RootMismatch for leaves that are not those of the root."""
        item = asked.item
        whole = len(leaves) == chunk_count(item.size) * HASH_SIZE
        off_loop = len(leaves) > MANY_LEAVES
        run = self._receiver.share.workers.run
        if not whole or item.root != (
            await run(file_root, item.size, leaves) if off_loop else file_root(item.size, leaves)
        ):
            raise self._receiver.mismatch(asked.fetch)

    async def _proven_reply(self, asked: _Asked) -> DataReply:
        """Return the reply behind the leaves of what was asked for again: with them in its hands the other side holds
        what it sends against them, and says that the file has changed instead of sending something else once more."""
        leaves, reply = await self._leaves(asked)
        if not isinstance(reply, Abort):
            await self._check_leaves(asked, leaves)
        return reply

    async def _next_part(self, asked: _Asked, large: LargeFile) -> None:
        """Ask for what is still missing, pieces before chunks, or hand the file over when nothing is."""
        if (finer := await large.finer()) is not None:
            await self._ask_more(_Asked(asked.fetch, *finer, large, asked.again))
            return
        wanted = large.wanted()
        if not wanted:
            await self._receiver.committer.add_large(asked.fetch, large.take())
            return
        entry = asked.fetch.entry
        size = sum(count for _first, count in wanted) * CHUNK_SIZE
        item = FetchItem(_source(asked.fetch), entry.size, entry.hash, wanted, leaves=asked.again)
        await self._ask_more(_Asked(asked.fetch, item, size, large, asked.again))

    async def _receive_chunks(self, asked: _Asked, large: LargeFile, item: FetchItem) -> None:
        expected = (
            (index, chunk_length(item.size, index))
            for first, count in item.ranges
            for index in range(first, first + count)
        )
        first = await self._proven_reply(asked) if item.leaves else None
        if not await self._receive_each(asked, large, expected, first):
            return
        matched = await large.settle()
        if large.failure is not None:
            await self._disk_failed(asked.fetch, large, large.failure)
        elif matched:
            await self._next_part(asked, large)
        elif asked.again:  # twice wrong is no accident (fault case 39)
            raise self._receiver.mismatch(asked.fetch)
        else:
            await self._next_part(msgspec.structs.replace(asked, again=True), large)

    async def _receive_pieces(self, asked: _Asked, large: LargeFile) -> None:
        try:
            while isinstance(reply := await self._reply(), Pieces):
                large.delta.add(reply)
        except PiecesMalformed as error:
            raise violated(self._connection, f"it sent {error}") from error
        if not isinstance(reply, End):
            await large.close()
            self._aborted(asked.fetch, reply)
            return
        if not large.delta.complete:
            raise violated(self._connection, "it sent fewer pieces than it was asked for")
        try:
            await large.take_pieces()
        except DiskFailed as error:
            await self._disk_failed(asked.fetch, large, error)
        else:
            await self._next_part(asked, large)

    async def _receive_parts(self, asked: _Asked, large: LargeFile, item: FetchParts) -> None:
        """Take the missing parts of chunks. One that does not match then is nobody's fault: names of pieces are no
        proof, and the old version may have changed. It stays missing, and is asked for as a whole.
        """
        expected = (
            (index, sum(length for _offset, length in parts))
            for index, parts in parts_by_chunk(item.size, item.parts).items()
        )
        if not await self._receive_each(asked, large, expected):
            return
        await large.settle()
        if large.failure is not None:
            await self._disk_failed(asked.fetch, large, large.failure)
        else:
            await self._next_part(asked, large)

    async def _receive_each(
        self, asked: _Asked, large: LargeFile, expected: Iterable[tuple[int, int]], first: DataReply | None = None
    ) -> bool:
        """Have each expected chunk (index, length) written as it comes; return whether all came. `first` is the reply
        that has come already."""
        for index, length in expected:
            reply, first = first or await self._reply(), None
            if not isinstance(reply, Chunk):
                await large.close()
                self._aborted(asked.fetch, reply)
                return False
            await large.write(index, await self._content(reply, index, length))
        reply = await self._reply()
        if not isinstance(reply, End):
            await large.close()
            self._aborted(asked.fetch, reply)
            return False
        return True

    async def _disk_failed(self, fetch: Fetch, large: LargeFile, error: DiskFailed) -> None:
        """Give up one file because of the disk; a full one is not the trouble of one file alone."""
        if isinstance(error, DiskFull):
            raise error
        await large.close()
        self._receiver.failed(fetch, error.behind(fetch.path))

    async def _content(self, chunk: Chunk, index: int, length: int) -> Content:
        """Return the bytes of the chunk that has to come now."""
        if (chunk.index, chunk.length) != (index, length):
            raise violated(self._connection, "it sent a chunk that was not asked for")
        return await self._replies.content(chunk, REPLY_DEADLINE)

    async def _small_content(self, chunk: Chunk, size: int) -> bytes | bytearray | None:
        """Return the bytes of a file of one chunk; what cannot be unpacked is as wrong as other bytes would be."""
        content = await self._content(chunk, 0, size)
        if not isinstance(content, Packed):
            return content
        try:
            return await self._receiver.share.workers.run(content.unpack)
        except PackingMalformed:
            return b""

    async def _reply(self) -> DataReply:
        return await self._replies.next(REPLY_DEADLINE)

    def _aborted(self, fetch: Fetch, reply: DataReply) -> None:
        if not isinstance(reply, Abort):
            raise violated(self._connection, "it answered a request with something else")
        self._receiver.failed(fetch, ABORTED[reply.reason])


def _source(fetch: Fetch) -> str:
    """Return where the content is on the other side."""
    return fetch.source or fetch.path


def _may_share(fetch: Fetch) -> bool:
    """Whether a file of one chunk may be worth the pieces of its old version."""
    local = fetch.local
    return local is not None and local.kind is Kind.FILE and min(local.size, fetch.entry.size) >= MIN_WANTED


def _read_small(share: Share, path: str, entry: Entry) -> bytes | None:
    """Return the content of the file at `path` if it is that of `entry` (blocking)."""
    descriptor = share.folder.open_file(path)
    try:
        data = os.pread(descriptor, entry.size + 1, 0)
    finally:
        os.close(descriptor)
    matches = len(data) == entry.size and file_root(entry.size, leaf_hash(data)) == entry.hash
    return data if matches else None
