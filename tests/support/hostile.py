"""Peers that break the protocol: made of our own transport and frames, with single messages replaced."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from leafsync.engine.core.address import Address
from leafsync.engine.core.index import Entry, Index, Kind, directory_digest
from leafsync.engine.core.merkle import CHUNK_SIZE, chunk_length, file_root, leaf_hash
from leafsync.engine.core.messages import (
    LENGTH_SIZE,
    MAX_FRAME,
    Abort,
    AbortReason,
    Change,
    Changed,
    ChangeRequest,
    Chunk,
    ControlReply,
    Cut,
    DataReply,
    Decoder,
    Digest,
    DigestRequest,
    Encoding,
    End,
    Fetch,
    FetchItem,
    FetchParts,
    Hello,
    Leaves,
    LeftOut,
    LeftOutRequest,
    Listing,
    ListRequest,
    Message,
    Pieces,
    Refusal,
    Undone,
    UndoneRequest,
    Welcome,
    control_replies,
    control_requests,
    data_replies,
    data_requests,
    frame,
)
from leafsync.engine.core.names import join
from leafsync.engine.core.pieces import encode_pieces, parts_by_chunk, stretches
from leafsync.engine.core.status import PassSummary
from leafsync.engine.disk.pieces import cut
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import Endpoint, connect, listen
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS, Limits
from leafsync.engine.net.streams import Stream
from leafsync.engine.sync.connecting import ConnectJob
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import LeafSyncError
from tests.support.devices import Device, connect_options

T = TypeVar("T")
R = TypeVar("R", bound=Message)

TIME = 1_700_000_000_000_000_000
"""Nanoseconds since 1970: when everything in a fake folder was written."""

HEAR_DEADLINE = 5.0
"""Seconds until a test gives up hearing something."""


def leaves_of(data: bytes) -> bytes:
    """Return the leaves of a file with this content."""
    return b"".join(leaf_hash(data[start : start + CHUNK_SIZE]) for start in range(0, len(data), CHUNK_SIZE))


def pieces_of(data: bytes, request: Cut) -> list[tuple[int, int]]:
    """Return the pieces (id, length) of what was asked for, as an honest device cuts it."""

    def read(buffer: memoryview, offset: int) -> None:
        buffer[:] = data[offset : offset + len(buffer)]

    indexes = (index for first, count in request.ranges for index in range(first, first + count))
    return [
        piece
        for start, length in stretches(indexes, len(data))
        for block in cut(read, start, length, request.scale)
        for piece in block
    ]


def root_of(data: bytes) -> bytes:
    """Return the root of a file with this content."""
    return file_root(len(data), leaves_of(data))


def file_entry(name: str, data: bytes) -> Entry:
    """Return the entry of a file with this content."""
    return Entry(name, Kind.FILE, len(data), TIME, False, root_of(data))


def directory_entry(name: str, entries: Sequence[Entry]) -> Entry:
    """Return the entry of a directory that lists `entries`, whether an honest one could or not."""
    return Entry(name, Kind.DIRECTORY, hash=directory_digest(entries))


def link_entry(name: str, target: str) -> Entry:
    """Return the entry of a symlink."""
    return Entry(name, Kind.SYMLINK, target=target)


@dataclass
class FakeFolder:
    """What a hostile server says it has: a listing for each directory, and the content of files."""

    listings: dict[str, Sequence[Entry]] = field(default_factory=lambda: {"": ()})
    contents: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, contents: Mapping[str, bytes]) -> "FakeFolder":
        """Return an honest folder of these files."""
        listings: dict[str, list[Entry]] = {"": []}
        for path, data in contents.items():
            at = ""
            *directories, name = path.split("/")
            for directory in directories:
                if join(at, directory) not in listings:
                    listings[at].append(Entry(directory, Kind.DIRECTORY))
                    listings[join(at, directory)] = []
                at = join(at, directory)
            listings[at].append(file_entry(name, data))
        return cls(dict(Index(listings).directories), dict(contents))

    @property
    def digest(self) -> bytes:
        return directory_digest(self.listings[""])


@dataclass
class Talk:
    """One stream of a hostile peer."""

    connection: Connection
    stream: Stream

    async def say(self, *messages: Message) -> None:
        """Send messages, whether they belong here or not."""
        await self.stream.write(b"".join(frame(message) for message in messages))

    async def raw(self, data: bytes) -> None:
        """Send bytes outside of any frame."""
        await self.stream.write(data)

    async def chunk(self, index: int, data: bytes) -> None:
        """Send one chunk."""
        await self.stream.write(frame(Chunk(index, len(data), Encoding.RAW)) + data)

    async def hear(self, family: Decoder[T], *, deadline: float = HEAR_DEADLINE) -> T | None:
        """Return the next message, None at the end of the stream."""
        body = await self.stream.read_frame(cap=MAX_FRAME, deadline=deadline)
        return None if body is None else family.decode(body)


Answer = Callable[[Talk, R], Awaitable[None]]
"""Answers one request."""


def says(*messages: Message) -> Answer[Any]:
    """Answer with these messages, whatever was asked."""

    async def answer(talk: Talk, _request: Message) -> None:
        await talk.say(*messages)

    return answer


def sends(data: bytes) -> Answer[Any]:
    """Answer with these bytes, whatever was asked."""

    async def answer(talk: Talk, _request: Message) -> None:
        await talk.raw(data)

    return answer


async def silence(_talk: Talk, _request: Message) -> None:
    """Do not answer at all."""


class HostileServer:
    """Serves a fake folder honestly, but for the answers that a test replaces."""

    def __init__(self, folder: FakeFolder) -> None:
        self.folder = folder
        self.identity = Identity.generate()
        self.hello: Answer[Hello] = says(Welcome(1, [], "hostile", "test", "0" * 32, True))
        self.digest: Answer[DigestRequest] = self.honest_digest
        self.list: Answer[ListRequest] = self.honest_list
        self.item: Answer[FetchItem] = self.honest_item
        self.cut: Answer[Cut] = self.honest_cut
        self.parts: Answer[FetchParts] = self.honest_parts
        self.left_out: Answer[LeftOutRequest] = says(LeftOut([]))
        self.undone: Answer[UndoneRequest] = says(Undone([], True))
        self.change: Answer[ChangeRequest] = says(Changed([], True))
        self.asked: list[Message] = []
        """Every request so far, the items of FETCH one by one."""
        self.connections: list[Connection] = []
        self.errors: list[LeafSyncError] = []
        """What ended connections, as this side saw it."""
        self._endpoint: Endpoint
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, *, port: int = 0, limits: Limits = DEFAULT_LIMITS) -> None:
        """Listen for anybody."""
        self._endpoint = await listen(
            self.identity,
            host="127.0.0.1",
            port=port,
            authorize=lambda _fingerprint: None,
            on_connection=lambda connection: self._spawn(self._serve(connection)),
            limits=limits,
        )

    async def stop(self) -> None:
        """Release the port."""
        await self._endpoint.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        return self._endpoint.port

    def vanish(self) -> None:
        """Answer no datagram of the connections there are any more, as if the cable had been cut."""
        for connection in self.connections:
            connection.abandon(None)

    def paths(self) -> list[str]:
        """Return the paths of the items asked for."""
        return [request.path for request in self.asked if isinstance(request, FetchItem)]

    def indexes(self) -> list[int]:
        """Return the numbers of the chunks asked for, in the order asked."""
        items = [request for request in self.asked if isinstance(request, FetchItem)]
        return [index for item in items for first, count in item.ranges for index in range(first, first + count)]

    # Honest answers

    async def honest_digest(self, talk: Talk, _request: DigestRequest) -> None:
        await talk.say(Digest(self.folder.digest, len(self.folder.contents), 0, 0, len(self.folder.contents)))

    async def honest_list(self, talk: Talk, request: ListRequest) -> None:
        for path in request.paths:
            await talk.say(Listing(list(self.folder.listings[path]), True))

    async def honest_item(self, talk: Talk, item: FetchItem) -> None:
        data = self.folder.contents.get(item.path)
        if data is None:
            await talk.say(Abort(AbortReason.GONE))
            return
        await self.leaves_and_chunks(talk, item, data)
        await talk.say(End())

    async def leaves(self, talk: Talk, item: FetchItem) -> None:
        """Send the honest leaves, if they were asked for: what is asked for again is asked for with them."""
        if item.leaves and self.folder.contents.get(item.path):
            await talk.say(Leaves(leaves_of(self.folder.contents[item.path])))

    async def leaves_and_chunks(self, talk: Talk, item: FetchItem, data: bytes) -> None:
        """Send what was asked for of `data`, without the END."""
        await self.leaves(talk, item)
        await self.chunks_of(talk, item, data)

    async def chunks_of(self, talk: Talk, item: FetchItem, data: bytes) -> None:
        """Send the chunks that were asked for, of `data`."""
        for first, count in item.ranges:
            for index in range(first, first + count):
                start = index * CHUNK_SIZE
                await talk.chunk(index, data[start : start + chunk_length(item.size, index)])

    async def honest_cut(self, talk: Talk, request: Cut) -> None:
        pieces = pieces_of(self.folder.contents[request.path], request)
        await talk.say(Pieces(*encode_pieces(pieces)), End())

    async def honest_parts(self, talk: Talk, request: FetchParts) -> None:
        data = self.folder.contents[request.path]
        for index, parts in parts_by_chunk(request.size, request.parts).items():
            await talk.chunk(index, b"".join(data[offset : offset + length] for offset, length in parts))
        await talk.say(End())

    def offers(self, *features: str) -> None:
        """Say in WELCOME that these features hold."""
        self.hello = says(Welcome(1, list(features), "hostile", "test", "0" * 32, True))

    def chunks(self, answer: Answer[FetchItem]) -> None:
        """Replace the answer to items that ask for chunks; leaves are still sent honestly."""

        async def item(talk: Talk, item: FetchItem) -> None:
            if not item.ranges:
                await self.honest_item(talk, item)
                return
            await self.leaves(talk, item)
            await answer(talk, item)

        self.item = item

    # Streams

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
        self.connections.append(connection)
        try:
            self._spawn(self._control(Talk(connection, await connection.accept_stream())))
            while True:
                self._spawn(self._data(Talk(connection, await connection.accept_stream())))
        except LeafSyncError as error:
            self.errors.append(error)

    async def _control(self, talk: Talk) -> None:
        with contextlib.suppress(LeafSyncError):
            while (request := await talk.hear(control_requests, deadline=60)) is not None:
                self.asked.append(request)
                match request:
                    case Hello():
                        await self.hello(talk, request)
                    case DigestRequest():
                        await self.digest(talk, request)
                    case ListRequest():
                        await self.list(talk, request)
                    case LeftOutRequest():
                        await self.left_out(talk, request)
                    case UndoneRequest():
                        await self.undone(talk, request)
                    case ChangeRequest():
                        await self.change(talk, request)

    async def _data(self, talk: Talk) -> None:
        with contextlib.suppress(LeafSyncError):
            while (request := await talk.hear(data_requests, deadline=60)) is not None:
                match request:
                    case Fetch():
                        for item in request.items:
                            self.asked.append(item)
                            await self.item(talk, item)
                    case Cut():
                        self.asked.append(request)
                        await self.cut(talk, request)
                    case FetchParts():
                        self.asked.append(request)
                        await self.parts(talk, request)
            talk.stream.finish()


def trust(device: Device, server: HostileServer) -> None:
    """Let a device trust the hostile server: only trusted peers get so far as to be hostile."""
    device.engine.trust.add(server.identity.fingerprint, name="hostile", confirmed="test")


async def connect_to(device: Device, server: HostileServer, **options: Any) -> ConnectJob:
    """Begin to pull from a hostile server."""
    address = Address("127.0.0.1", server.port)
    job = await device.engine.connect(connect_options(address, device.folder, **options))
    assert isinstance(job, ConnectJob)
    return job


async def pull_from(device: Device, server: HostileServer, **options: Any) -> PassSummary:
    """Do one pass against a hostile server."""
    job = await connect_to(device, server, once=True, **options)
    summary = await job.wait()
    assert summary is not None
    return summary


class HostileClient:
    """Speaks to a real server, frame by frame."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, identity: Identity, server: ServeJob, *, limits: Limits = DEFAULT_LIMITS
    ) -> AsyncIterator["HostileClient"]:
        """Connect to a served folder that trusts `identity`."""
        connection = await connect(
            identity, "127.0.0.1", server.status().port, authorize=lambda _fingerprint: None, limits=limits
        )
        try:
            yield cls(connection)
        finally:
            connection.close()

    async def open(self) -> Talk:
        """Open the next stream."""
        return Talk(self.connection, await self.connection.open_stream())

    async def greeted(self, *features: str) -> Talk:
        """Say HELLO as an honest client does, and return the control stream."""
        talk = await self.open()
        await talk.say(Hello([1], list(features), "hostile", "test"))
        welcome = await talk.hear(control_replies)
        assert isinstance(welcome, Welcome)
        return talk

    async def shown(self, *features: str) -> Talk:
        """As `greeted`, and ask for the digest, so that the folder is on offer."""
        talk = await self.greeted(*features)
        assert isinstance(await self.ask(talk, DigestRequest()), Digest)
        return talk

    async def ask(self, talk: Talk, message: Message) -> ControlReply | None:
        """Send one control request and return the answer."""
        await talk.say(message)
        return await talk.hear(control_replies)

    async def fetch(self, *items: FetchItem) -> list[DataReply | bytes]:
        """Send a FETCH on a stream of its own and return all that came: replies, and the bytes behind chunks."""
        return await self.request(Fetch(list(items)))

    async def request(self, request: Message) -> list[DataReply | bytes]:
        """Send any request on a stream of its own; as `fetch`."""
        talk = await self.open()
        await talk.say(request)
        talk.stream.finish()
        came: list[DataReply | bytes] = []
        while (reply := await talk.hear(data_replies)) is not None:
            came.append(reply)
            if isinstance(reply, Chunk) and reply.encoding is Encoding.RAW:
                came.append(await talk.stream.read_exactly(reply.length, deadline=HEAR_DEADLINE))
        return came

    async def change(self, talk: Talk, *changes: Change, contents: Mapping[str, bytes] | None = None) -> list[Refusal]:
        """Ask for changes, send the `contents` that the server asks for, and return what it refused."""
        await talk.say(ChangeRequest(list(changes), True))
        serving = asyncio.create_task(self._serve(contents or {}))
        try:
            answer = await talk.hear(control_replies)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert isinstance(answer, Changed)
        assert answer.last
        return answer.refusals

    async def _serve(self, contents: Mapping[str, bytes]) -> None:
        while True:
            talk = Talk(self.connection, await self.connection.accept_stream())
            while (request := await talk.hear(data_requests)) is not None:
                assert isinstance(request, Fetch)
                for item in request.items:
                    if item.path in contents:
                        await talk.chunk(0, contents[item.path])
                        await talk.say(End())
                    else:
                        await talk.say(Abort(AbortReason.GONE))
            talk.stream.finish()

    async def closed(self) -> LeafSyncError:
        """Wait until the server ends the connection and return how."""
        async with asyncio.timeout(HEAR_DEADLINE):
            await self.connection.wait_closed()
        assert self.connection.error is not None
        return self.connection.error


def length_prefix(length: int) -> bytes:
    """Return the header of a frame that claims to be this long."""
    return length.to_bytes(LENGTH_SIZE, "big")
