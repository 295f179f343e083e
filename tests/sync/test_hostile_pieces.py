"""Peers that lie about pieces or send bombs: closed with a code, or a second request; never a wrong file."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from zstandard import ZstdCompressor

from leafsync.engine.core.merkle import CHUNK_SIZE, chunk_length
from leafsync.engine.core.messages import (
    LENGTH_SIZE,
    MAX_BUNDLE,
    MAX_CUT_CHUNKS,
    MAX_PIECES_PAGE,
    MIN_SCALE,
    Abort,
    AbortReason,
    Bundle,
    Chunk,
    CloseCode,
    Cut,
    Encoding,
    End,
    Fetch,
    FetchItem,
    FetchParts,
    Leaves,
    Message,
    Pieces,
    frame,
)
from leafsync.engine.core.pieces import encode_pieces
from leafsync.engine.net.identity import Identity
from leafsync.errors import LeafSyncError, PeerClosed, ProtocolViolated, RootMismatch
from tests.support.devices import Device, Pair
from tests.support.engines import MakeHostile
from tests.support.hostile import (
    HostileClient,
    HostileServer,
    Talk,
    file_entry,
    leaves_of,
    pieces_of,
    pull_from,
    root_of,
)

OLD = random.Random(0).randbytes(3 * CHUNK_SIZE + 500_000)
NEW = b"0123456789" + OLD
TEXT = b"".join(b"line %d of a text\n" % number for number in range(120_000))
PACKED = ZstdCompressor().compress(TEXT[:CHUNK_SIZE])


@pytest.fixture
async def server(client: Device, hostile: MakeHostile) -> HostileServer:
    """A server that has a new version of a file of the client."""
    client.write("big", OLD)
    made = await hostile({"big": NEW})
    made.offers("pieces", "zstd")
    return made


async def refused(client: Device, server: HostileServer, error: type[LeafSyncError], code: CloseCode) -> None:
    """Mirror, and expect this error, this code on the other side, and the folder as it was."""
    before = client.tree()
    with pytest.raises(error):
        await pull_from(client, server, mirror=True)
    async with asyncio.timeout(5):
        await server.connections[0].wait_closed()
    ended = server.connections[0].error
    assert isinstance(ended, PeerClosed)
    assert ended.fields["code"] == code
    assert client.tree() == before


async def test_an_honest_one(client: Device, server: HostileServer) -> None:
    summary = await pull_from(client, server, mirror=True)
    assert client.read("big") == NEW
    assert summary.totals.fetched < CHUNK_SIZE // 8
    asked = [type(request) for request in server.asked if isinstance(request, FetchItem | Cut | FetchParts)]
    assert asked == [FetchItem, Cut, FetchParts]


# Lists of pieces


def replaced(place: int, length: int) -> Callable[[list[tuple[int, int]]], list[tuple[int, int]]]:
    def change(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
        pieces[place] = (pieces[place][0], length)
        return pieces

    return change


LISTS: dict[str, Callable[[list[tuple[int, int]]], Sequence[tuple[int, int]]]] = {
    "no pieces": lambda _pieces: [],
    "the last is missing": lambda pieces: pieces[:-1],
    "one too many": lambda pieces: [*pieces, (1, 5000)],
    "too long": replaced(0, 1 << 31),
    "too short": replaced(0, 1),
    "of no length": replaced(0, 0),
    "other lengths": replaced(5, 2048),
    "a million of one byte": lambda _pieces: [(1, 1)] * 1_000_000,
    "more than there can be": lambda _pieces: [(1, 5000)] * 1_000_000,
}


@pytest.mark.parametrize("change", LISTS)
async def test_lists_that_cannot_be(client: Device, server: HostileServer, change: str) -> None:
    async def lying(talk: Talk, request: Cut) -> None:
        pieces = LISTS[change](pieces_of(NEW, request))
        for page in range(0, len(pieces), MAX_PIECES_PAGE):
            await talk.say(Pieces(*encode_pieces(pieces[page : page + MAX_PIECES_PAGE])))
        await talk.say(End())

    server.cut = lying
    await refused(client, server, ProtocolViolated, CloseCode.PROTOCOL)


@pytest.mark.parametrize(
    "messages",
    [
        [Leaves(bytes(32))],
        [Chunk(0, 5, Encoding.ZERO)],
        [Pieces(bytes(16), bytes(4))],
        [Pieces(bytes(9), bytes(4))],
    ],
    ids=["leaves", "a chunk", "more names", "half a name"],
)
async def test_answers_that_are_none(client: Device, server: HostileServer, messages: list[Message]) -> None:
    async def lying(talk: Talk, _request: Cut) -> None:
        await talk.say(*messages)

    server.cut = lying
    await refused(client, server, ProtocolViolated, CloseCode.PROTOCOL)


async def test_names_that_lead_astray(client: Device, server: HostileServer) -> None:
    """Pieces of the right lengths with names of other pieces: the chunks do not match, and are fetched whole, once."""

    async def lying(talk: Talk, request: Cut) -> None:
        pieces = pieces_of(NEW, request)
        names = [name for name, _length in pieces_of(OLD, request)]
        wrong = [(names[number % len(names)], length) for number, (_name, length) in enumerate(pieces)]
        await talk.say(Pieces(*encode_pieces(wrong)), End())

    server.cut = lying
    summary = await pull_from(client, server, mirror=True)
    assert client.read("big") == NEW
    assert not summary.problems
    assert len([request for request in server.asked if isinstance(request, Cut)]) == 1
    assert len(server.indexes()) <= 4


async def test_the_same_name_for_everything(client: Device, server: HostileServer) -> None:
    async def lying(talk: Talk, request: Cut) -> None:
        await talk.say(Pieces(*encode_pieces([(7, length) for _name, length in pieces_of(NEW, request)])), End())

    server.cut = lying
    await pull_from(client, server, mirror=True)
    assert client.read("big") == NEW


@pytest.mark.parametrize("step", ["cut", "parts"])
async def test_it_changes_its_mind(client: Device, server: HostileServer, step: str) -> None:
    async def gone(talk: Talk, _request: Message) -> None:
        await talk.say(Abort(AbortReason.CHANGED))

    setattr(server, step, gone)
    summary = await pull_from(client, server, mirror=True)
    assert [path for path, _reason in summary.problems] == ["big"]
    assert client.read("big") == OLD


# Parts


async def test_parts_that_are_wrong_are_fetched_whole(client: Device, server: HostileServer) -> None:
    async def lying(talk: Talk, request: FetchParts) -> None:
        await talk.chunk(0, bytes(sum(length for _offset, length in request.parts)))
        await talk.say(End())

    server.cut = only_the_first_piece_is_new
    server.parts = lying
    summary = await pull_from(client, server, mirror=True)
    assert client.read("big") == NEW
    assert server.indexes() == [0]
    assert not summary.problems


async def only_the_first_piece_is_new(talk: Talk, request: Cut) -> None:
    pieces = pieces_of(NEW, request)
    known = {name for name, _length in pieces_of(OLD, request)}
    assert [name in known for name, _length in pieces] == [False] + [True] * (len(pieces) - 1)
    await talk.say(Pieces(*encode_pieces(pieces)), End())


async def test_wrong_parts_and_wrong_chunks_end_it(client: Device, server: HostileServer) -> None:
    """Parts may be wrong without fault; the chunks after them have two tries like any others."""

    async def wrong_parts(talk: Talk, request: FetchParts) -> None:
        await talk.chunk(0, b"x" * sum(length for _offset, length in request.parts))
        await talk.say(End())

    async def wrong_chunks(talk: Talk, item: FetchItem) -> None:
        for first, count in item.ranges:
            for index in range(first, first + count):
                await talk.chunk(index, b"x" * CHUNK_SIZE)
        await talk.say(End())

    server.cut = only_the_first_piece_is_new
    server.parts = wrong_parts
    server.chunks(wrong_chunks)
    await refused(client, server, RootMismatch, CloseCode.INTEGRITY)
    assert server.indexes() == [0, 0]


@pytest.mark.parametrize(
    "header", [Chunk(1, 5000, Encoding.RAW), Chunk(0, 1, Encoding.RAW), Chunk(0, CHUNK_SIZE, Encoding.ZERO), End()]
)
async def test_parts_that_were_not_asked_for(client: Device, server: HostileServer, header: Message) -> None:
    async def lying(talk: Talk, _request: FetchParts) -> None:
        await talk.say(header)

    server.parts = lying
    await refused(client, server, ProtocolViolated, CloseCode.PROTOCOL)


# What was packed


def packed_chunk(index: int, length: int, stored: bytes, claimed: int | None = None) -> bytes:
    header = frame(Chunk(index, length, Encoding.ZSTD))
    return header + (len(stored) if claimed is None else claimed).to_bytes(LENGTH_SIZE, "big") + stored


@pytest.fixture
async def texts(client: Device, hostile: MakeHostile) -> HostileServer:
    """A server with a large and a small text."""
    made = await hostile({"large": TEXT, "small": TEXT[:5000]})
    made.offers("pieces", "zstd")
    return made


async def test_a_packed_chunk(client: Device, texts: HostileServer) -> None:
    async def packed(talk: Talk, item: FetchItem) -> None:
        if item.leaves:
            await talk.say(Leaves(leaves_of(TEXT)))
        for first, count in item.ranges:
            for index in range(first, first + count):
                data = texts.folder.contents[item.path][index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]
                await talk.raw(packed_chunk(index, len(data), ZstdCompressor().compress(data)))
        await talk.say(End())

    texts.item = packed
    await pull_from(client, texts)
    assert client.read("large") == TEXT
    assert client.read("small") == TEXT[:5000]


@pytest.mark.parametrize(
    "stored",
    [b"nonsense", PACKED[:-1], ZstdCompressor().compress(bytes(512 << 20)), ZstdCompressor().compress(b"other")],
    ids=["no frame", "cut short", "a bomb", "another length"],
)
async def test_packed_chunks_that_are_wrong(client: Device, texts: HostileServer, stored: bytes) -> None:
    """As wrong as other bytes would be: asked for twice, and not a byte is believed."""

    async def lying(talk: Talk, item: FetchItem) -> None:
        for first, count in item.ranges:
            for index in range(first, first + count):
                await talk.raw(packed_chunk(index, chunk_length(item.size, index), stored))
        await talk.say(End())

    del texts.folder.contents["small"]
    texts.folder.listings[""] = [file_entry("large", TEXT)]
    texts.chunks(lying)
    await refused(client, texts, RootMismatch, CloseCode.INTEGRITY)


@pytest.mark.parametrize("stored", [b"nonsense", ZstdCompressor().compress(bytes(512 << 20))], ids=["no frame", "bomb"])
async def test_a_small_file_that_is_wrong(client: Device, hostile: MakeHostile, stored: bytes) -> None:
    server = await hostile({"small": TEXT[:300_000]})
    server.offers("zstd")

    async def lying(talk: Talk, item: FetchItem) -> None:
        await talk.raw(packed_chunk(0, item.size, stored) + frame(End()))

    server.item = lying
    await refused(client, server, RootMismatch, CloseCode.INTEGRITY)


@pytest.mark.parametrize("claimed", [0, CHUNK_SIZE, (1 << 32) - 1])
async def test_packed_chunks_of_no_or_more_length(client: Device, texts: HostileServer, claimed: int) -> None:
    async def lying(talk: Talk, _item: FetchItem) -> None:
        await talk.raw(packed_chunk(0, CHUNK_SIZE, PACKED, claimed))

    texts.chunks(lying)
    await refused(client, texts, ProtocolViolated, CloseCode.PROTOCOL)


def bundle_of(content: bytes, length: int | None = None) -> bytes:
    stored = ZstdCompressor().compress(content)
    return frame(Bundle(len(content) if length is None else length, len(stored))) + stored


SMALL = frame(Chunk(0, 5000, Encoding.RAW)) + TEXT[:5000] + frame(End())

BUNDLES: dict[str, bytes] = {
    "ends in a frame": bundle_of(SMALL[:-1]),
    "ends in a chunk": bundle_of(SMALL[:3000]),
    "a frame of no length": bundle_of(bytes(100)),
    "a frame that is too long": bundle_of(b"\xff" * 4 + bytes(500)),
    "nonsense": bundle_of(b"\0\0\0\2\xc1\xc1" * 50),
    "a bundle in a bundle": bundle_of(bundle_of(SMALL) + bytes(500)),
    "another length": bundle_of(SMALL, len(SMALL) + 1),
    "a bomb": bundle_of(bytes(512 << 20), MAX_BUNDLE),
    "no frame": frame(Bundle(5000, 8)) + b"nonsense",
    "no gain": frame(Bundle(8, 8)) + b"nonsense",
}


@pytest.mark.parametrize("bundle", BUNDLES)
async def test_bundles_that_cannot_be(client: Device, hostile: MakeHostile, bundle: str) -> None:
    server = await hostile({"small": TEXT[:5000]})
    server.offers("zstd")

    async def lying(talk: Talk, _item: FetchItem) -> None:
        await talk.raw(BUNDLES[bundle])

    server.item = lying
    await refused(client, server, ProtocolViolated, CloseCode.PROTOCOL)


async def test_an_unknown_optional_message_in_a_bundle(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"small": TEXT[:5000]})
    server.offers("zstd")

    async def newer(talk: Talk, _item: FetchItem) -> None:
        unknown = b"\0\0\0\x04\x92\xcc\xc8\x01"
        await talk.raw(bundle_of(unknown + SMALL + unknown))

    server.item = newer
    await pull_from(client, server)
    assert client.read("small") == TEXT[:5000]


@pytest.mark.parametrize("sent", [packed_chunk(0, 5000, PACKED[:300]), bundle_of(SMALL)], ids=["chunk", "bundle"])
async def test_packing_that_was_not_agreed_on(client: Device, hostile: MakeHostile, sent: bytes) -> None:
    server = await hostile({"small": TEXT[:5000]})

    async def lying(talk: Talk, _item: FetchItem) -> None:
        await talk.raw(sent)

    server.item = lying
    await refused(client, server, ProtocolViolated, CloseCode.PROTOCOL)


async def test_features_that_nobody_offered(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"small": TEXT[:5000]})
    server.offers("pieces", "zstd", "teleportation")
    await pull_from(client, server)
    assert client.read("small") == TEXT[:5000]


# A client

Attack = Callable[[HostileClient], Awaitable[object]]


async def attack(pair: Pair, act: Attack) -> None:
    """Let a client do something to a server, and expect that it is closed for it."""
    pair.server.write("big", NEW, mtime=1_700_000_000.0)
    job = await pair.server.serve()
    identity = Identity.generate()
    pair.server.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    async with HostileClient.connected(identity, job) as attacker:
        with pytest.raises(LeafSyncError):
            await act(attacker)
        ended = await attacker.closed()
    assert isinstance(ended, PeerClosed)
    assert ended.fields["code"] == CloseCode.PROTOCOL


ROOT = root_of(NEW)

REQUESTS: dict[str, Message] = {
    "chunks that are not there": Cut("big", len(NEW), ROOT, [(0, 5)], MIN_SCALE),
    "chunks in disorder": Cut("big", len(NEW), ROOT, [(2, 1), (0, 1)], MIN_SCALE),
    "the same chunks twice": Cut("big", len(NEW), ROOT, [(0, 2), (1, 1)], MIN_SCALE),
    "too many chunks": Cut("big", 1 << 43, ROOT, [(0, MAX_CUT_CHUNKS + 1)], MIN_SCALE),
    "parts over a chunk": FetchParts("big", len(NEW), ROOT, [(CHUNK_SIZE - 1, 2)]),
    "parts behind the end": FetchParts("big", len(NEW), ROOT, [(len(NEW) - 1, 2)]),
    "parts in disorder": FetchParts("big", len(NEW), ROOT, [(10, 1), (5, 1)]),
    "parts that overlap": FetchParts("big", len(NEW), ROOT, [(10, 5), (14, 5)]),
}


@pytest.mark.parametrize("request_", REQUESTS)
async def test_requests_that_cannot_be(pair: Pair, request_: str) -> None:
    async def act(attacker: HostileClient) -> None:
        await attacker.shown("pieces")
        await attacker.request(REQUESTS[request_])

    await attack(pair, act)


@pytest.mark.parametrize(
    "message",
    [Cut("big", len(NEW), ROOT, [(0, 1)], MIN_SCALE), FetchParts("big", len(NEW), ROOT, [(0, 1)])],
    ids=["cut", "parts"],
)
async def test_requests_that_were_not_agreed_on(pair: Pair, message: Message) -> None:
    async def act(attacker: HostileClient) -> None:
        await attacker.shown("zstd")
        await attacker.request(message)

    await attack(pair, act)


async def served(pair: Pair, *requests: Message, features: Sequence[str] = ("pieces",)) -> list[list[object]]:
    """Return what a server answers."""
    pair.server.write("big", NEW, mtime=1_700_000_000.0)
    pair.server.write("text", TEXT, mtime=1_700_000_000.0)
    job = await pair.server.serve()
    identity = Identity.generate()
    pair.server.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    async with HostileClient.connected(identity, job) as attacker:
        await attacker.shown(*features)
        return [list(await attacker.request(request)) for request in requests]


async def test_what_a_server_answers(pair: Pair) -> None:
    cut = Cut("big", len(NEW), ROOT, [(0, 1), (2, 2)], 14)
    pieces, parts = await served(pair, cut, FetchParts("big", len(NEW), ROOT, [(5, 3), (9, 1), (CHUNK_SIZE, 2)]))
    alone = [pieces_of(NEW, Cut("big", len(NEW), ROOT, [each], 14)) for each in cut.ranges]
    assert pieces == [*(Pieces(*encode_pieces(run)) for run in alone), End()]
    assert parts == [
        Chunk(0, 4, Encoding.RAW),
        NEW[5:8] + NEW[9:10],
        Chunk(1, 2, Encoding.RAW),
        NEW[CHUNK_SIZE : CHUNK_SIZE + 2],
        End(),
    ]


@pytest.mark.parametrize(
    ("path", "size", "root", "reason"),
    [
        ("nowhere", len(NEW), ROOT, AbortReason.GONE),
        ("big", len(NEW), bytes(32), AbortReason.CHANGED),
        ("big", len(NEW) - 1, ROOT, AbortReason.CHANGED),
    ],
)
async def test_what_is_not_on_offer(pair: Pair, path: str, size: int, root: bytes, reason: AbortReason) -> None:
    requests = Cut(path, size, root, [(0, 1)], MIN_SCALE), FetchParts(path, size, root, [(0, 1)])
    assert await served(pair, *requests) == [[Abort(reason)], [Abort(reason)]]


async def test_a_client_without_compression_gets_none(pair: Pair) -> None:
    item = FetchItem("text", len(TEXT), root_of(TEXT), [(0, 1)])
    (answer,) = await served(pair, Fetch([item]))
    assert answer == [Chunk(0, CHUNK_SIZE, Encoding.RAW), TEXT[:CHUNK_SIZE], End()]
