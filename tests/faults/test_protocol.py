"""Fault cases 36 to 41: sizes, counts and content that cannot be, from a server and from a client."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from leafsync.engine.core.index import Entry, Kind, directory_digest
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, MAX_FILE_SIZE, file_root, leaf_hash, tree_top
from leafsync.engine.core.messages import (
    MAX_PIECES_PAGE,
    Changed,
    ChangeRequest,
    Chunk,
    CloseCode,
    Cut,
    Digest,
    Encoding,
    End,
    Fetch,
    FetchItem,
    FetchParts,
    Leaves,
    Message,
    Pieces,
    data_replies,
)
from leafsync.engine.core.pieces import encode_pieces
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.disk.folder import Folder
from tests.faults.cases import Case
from tests.support.attacks import both_ways, put_out, served, unharmed, victim
from tests.support.devices import Device
from tests.support.engines import MakeDevice, MakeHostile
from tests.support.hostile import (
    FakeFolder,
    HostileClient,
    Talk,
    leaves_of,
    pieces_of,
    root_of,
    says,
)

TITLE = "Sizes, counts, content"

CASES = (
    Case(
        36,
        "a size below 0, above 8 TiB, or larger than the disk",
        "the first two end the connection while the message is read; no file is made before its leaves are proven, and "
        "none that is longer than the free space",
    ),
    Case(
        37,
        "sizes, leaves and lists of pieces that contradict each other",
        "nothing is written and the connection ends; of a list of pieces not more is taken than could be",
    ),
    Case(
        38,
        "chunks or bytes that are not there, come twice, or were not asked for",
        "the connection ends; what was verified until then is kept",
    ),
    Case(
        39,
        "content that does not match its hash",
        "asked for once more, then the connection ends; it is never written, and the chunks that were right are kept",
    ),
    Case(
        40,
        "leaves of something else: inner nodes, a doubled last leaf, another length",
        "the root binds size and count, and leaves and nodes are hashed differently: they do not match, and the "
        "connection ends",
    ),
    Case(
        41,
        "more or fewer bytes than announced",
        "more end the connection or are not read, and never are in a file; fewer are an interruption, after which only "
        "the rest is fetched",
    ),
)

BIG = b"".join(bytes([number + 1]) * CHUNK_SIZE for number in range(4)) + b"tail"
"""A file of five chunks, no two the same."""

OLD = random.Random(0).randbytes(CHUNK_SIZE + 500_000)
NEW = b"0123456789" + OLD
"""A version with an insertion, of which less than a chunk has to be fetched."""

PIECES = ("pieces", "zstd")


@pytest.fixture(autouse=True)
def _unharmed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    unharmed(tmp_path, caplog)


# 36: sizes


@both_ways
async def test_case_36_a_size_that_no_file_has(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}) as under:
        honest, digest = under.source.folder, under.source.digest
        under.source.digest = says(Digest(bytes(HASH_SIZE), 1, 0, 0, 1))
        for size in (-1, MAX_FILE_SIZE + 1, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            under.source.folder = FakeFolder({"": [Entry("a", Kind.FILE, size, hash=bytes(HASH_SIZE))]})
            assert "int" in await under.refused(CloseCode.PROTOCOL)
        assert not under.staged()
        under.source.folder, under.source.digest = honest, digest
        await under.mended()


async def test_case_36_a_request_of_such_a_size(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:

        async def ask(attacker: HostileClient) -> None:
            await attacker.shown()
            await attacker.fetch(FetchItem("a", 1 << 63, root_of(b"x"), [(0, 1)]))

        await under.refused(ask)


@both_ways
async def test_case_36_nothing_is_made_before_the_leaves_are_proven(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}) as under:
        honest = under.source.folder
        under.source.folder = FakeFolder({"": [Entry("a", Kind.FILE, MAX_FILE_SIZE, hash=bytes(HASH_SIZE))]})
        under.source.item = says(Leaves(bytes(HASH_SIZE)), End())
        await under.refused(CloseCode.INTEGRITY)
        assert not under.staged()
        under.source.folder = honest
        await under.mended()


@both_ways
async def test_case_36_a_file_that_does_not_fit(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async with victim(way, make_device, {"big": BIG, "small": b"x"}, old={"big": b"mine"}) as under:
        monkeypatch.setattr(Folder, "free_space", lambda _folder: (64 << 20) + len(BIG) - 1)
        outcome = await under.take()
        assert "no space left for big" in outcome.sentence or "no space left for big" in outcome.problems[""]
        assert under.device.read("big") == b"mine"
        assert not under.staged()
        monkeypatch.undo()
        await under.mended()


# 37: what contradicts itself


@both_ways
async def test_case_37_leaves_that_do_not_fit_the_size(make_device: MakeDevice, way: str) -> None:
    fewer, others, more = (
        leaves_of(BIG)[:-HASH_SIZE],
        leaves_of(BIG[:CHUNK_SIZE]) * 5,
        leaves_of(BIG) + bytes(HASH_SIZE),
    )
    async with victim(way, make_device, {"big": BIG}, old={"big": b"mine"}) as under:
        for leaves in (b"", fewer, others, leaves_of(BIG)[:-1], more):
            under.source.item = says(*([Leaves(leaves)] if leaves else []), End())
            await under.refused(CloseCode.PROTOCOL if leaves == more else CloseCode.INTEGRITY)
        assert not under.staged()
        await under.mended()


@both_ways
async def test_case_37_a_size_that_is_not_that_of_the_root(make_device: MakeDevice, way: str) -> None:
    """The root of four bytes; as many bytes as the size claims are sent."""
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}) as under:
        honest = under.source.folder
        for size in (1, 5, CHUNK_SIZE, CHUNK_SIZE + 1):
            lie = Entry("a", Kind.FILE, size, hash=root_of(b"good"))
            under.source.folder = FakeFolder({"": [lie]}, {"a": (b"good" + bytes(CHUNK_SIZE))[:size]})
            await under.refused(CloseCode.INTEGRITY)
        under.source.folder = honest
        await under.mended()


@both_ways
async def test_case_37_no_bytes_with_the_root_of_some(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}) as under:
        honest = under.source.folder
        under.source.folder = FakeFolder({"": [Entry("a", Kind.FILE, 0, hash=root_of(b"good"))]})
        under.source.item = says(End())
        await under.refused(CloseCode.INTEGRITY)
        under.source.folder = honest
        await under.mended()


@both_ways
async def test_case_37_some_bytes_with_the_root_of_none(make_device: MakeDevice, way: str) -> None:
    """Nothing needs to be asked for, so it is noticed here, and is the trouble of that file alone."""
    async with victim(way, make_device, {"a": b"good", "b": b"fine"}, old={"a": b"mine"}) as under:
        honest = under.source.folder
        lie = Entry("a", Kind.FILE, 4, hash=root_of(b""))
        under.source.folder = FakeFolder({"": [lie, honest.listings[""][1]]}, honest.contents)
        outcome = await under.take()
        assert set(outcome.problems) == {"a"}
        assert (under.device.read("a"), under.device.read("b")) == (b"mine", b"fine")
        under.source.folder = honest
        await under.mended()


async def test_case_37_entries_with_what_their_kind_does_not_have(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    client.write("a", "mine")
    for entry in (
        Entry("a", Kind.DIRECTORY, 5, hash=directory_digest(())),
        Entry("a", Kind.SYMLINK, 5, target="b"),
        Entry("a", Kind.SYMLINK, hash=bytes(HASH_SIZE), target="b"),
        Entry("a", Kind.FILE, 5, hash=bytes(HASH_SIZE - 1)),
        Entry("a", Kind.FILE, 5),
        Entry("a", Kind.WITHHELD, hash=bytes(HASH_SIZE)),
    ):
        server.folder = FakeFolder({"": [entry], "a": []})
        server.digest = says(Digest(directory_digest([entry]), 1, 5, 0, 1))
        assert "an entry has" in await put_out(client, server)
    assert not server.paths()


def replaced(place: int, length: int) -> Callable[[list[tuple[int, int]]], list[tuple[int, int]]]:
    """Give one piece another length."""

    def change(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [*pieces[:place], (pieces[place][0], length), *pieces[place + 1 :]]

    return change


LISTS: dict[str, Callable[[list[tuple[int, int]]], Sequence[tuple[int, int]]]] = {
    "no pieces": lambda _pieces: [],
    "the last is missing": lambda pieces: pieces[:-1],
    "one too many": lambda pieces: [*pieces, (1, 5000)],
    "of no length": replaced(0, 0),
    "of 4 GiB": replaced(0, (1 << 32) - 1),
    "a byte more": lambda pieces: replaced(0, pieces[0][1] + 1)(pieces),
    "a million of one byte": lambda _pieces: [(1, 1)] * 1_000_000,
    "a million of 5000 bytes": lambda _pieces: [(1, 5000)] * 1_000_000,
}


@both_ways
async def test_case_37_pieces_that_do_not_add_up(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"big": NEW}, old={"big": OLD}, features=PIECES) as under:
        for change in LISTS.values():

            async def lying(
                talk: Talk, request: Cut, change: Callable[..., Sequence[tuple[int, int]]] = change
            ) -> None:
                pieces = change(pieces_of(NEW, request))
                for page in range(0, min(len(pieces), 20 * MAX_PIECES_PAGE), MAX_PIECES_PAGE):
                    await talk.say(Pieces(*encode_pieces(pieces[page : page + MAX_PIECES_PAGE])))
                if len(pieces) < MAX_PIECES_PAGE:  # of a million not all can be said
                    await talk.say(End())

            under.source.cut = lying
            assert "piece" in await under.refused(CloseCode.PROTOCOL)
        for ids, lengths in ((bytes(16), bytes(4)), (bytes(9), bytes(4)), (bytes(8), bytes(8))):
            under.source.cut = says(Pieces(ids, lengths))
            await under.refused(CloseCode.PROTOCOL)
        await under.mended()


# 38: chunks and bytes that are not there


@both_ways
async def test_case_38_chunks_that_were_not_asked_for(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"big": BIG}, old={"big": b"mine"}) as under:
        for lie in (
            Chunk(5, 4, Encoding.ZERO),
            Chunk((1 << 23) - 1, CHUNK_SIZE, Encoding.ZERO),
            Chunk(3, CHUNK_SIZE, Encoding.ZERO),
            Chunk(0, CHUNK_SIZE - 1, Encoding.ZERO),
            Leaves(bytes(HASH_SIZE)),
            Pieces(bytes(8), bytes(4)),
        ):
            under.source.chunks(says(lie))
            await under.refused(CloseCode.PROTOCOL)
        await under.mended()


@both_ways
async def test_case_38_a_chunk_that_comes_twice(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"big": BIG}, old={"big": b"mine"}) as under:

        async def twice(talk: Talk, _item: FetchItem) -> None:
            await talk.chunk(0, BIG[:CHUNK_SIZE])
            await talk.chunk(0, BIG[:CHUNK_SIZE])

        under.source.chunks(twice)
        await under.refused(CloseCode.PROTOCOL)
        await under.mended()
        assert under.source.indexes() == [1, 2, 3, 4], "the first one was right, and is kept"


@both_ways
async def test_case_38_parts_that_were_not_asked_for(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"big": NEW}, old={"big": OLD}, features=PIECES) as under:
        for lie in (
            Chunk(1, 5000, Encoding.RAW),
            Chunk(0, 1, Encoding.RAW),
            Chunk(0, CHUNK_SIZE, Encoding.RAW),
            End(),
        ):
            under.source.parts = says(lie)
            await under.refused(CloseCode.PROTOCOL)
        await under.mended()


ROOT = root_of(BIG)

REQUESTS: dict[str, Message] = {
    "chunks beyond the end": Fetch([FetchItem("big", len(BIG), ROOT, [(4, 2)])]),
    "chunks out of order": Fetch([FetchItem("big", len(BIG), ROOT, [(1, 1), (0, 1)])]),
    "a chunk twice": Fetch([FetchItem("big", len(BIG), ROOT, [(0, 2), (1, 1)])]),
    "8 TiB of chunks": Fetch([FetchItem("big", len(BIG), ROOT, [(0, 1 << 23)])]),
    "pieces beyond the end": Cut("big", len(BIG), ROOT, [(0, 6)], 12),
    "pieces twice": Cut("big", len(BIG), ROOT, [(0, 2), (1, 1)], 12),
    "pieces of 8 TiB": Cut("big", MAX_FILE_SIZE, ROOT, [(0, 1 << 23)], 12),
    "bytes beyond the end": FetchParts("big", len(BIG), ROOT, [(len(BIG) - 1, 2)]),
    "bytes beyond any end": FetchParts("big", len(BIG), ROOT, [(MAX_FILE_SIZE - 1, 1)]),
    "bytes over a chunk": FetchParts("big", len(BIG), ROOT, [(CHUNK_SIZE - 1, 2)]),
    "bytes twice": FetchParts("big", len(BIG), ROOT, [(10, 5), (14, 5)]),
    "bytes out of order": FetchParts("big", len(BIG), ROOT, [(10, 1), (5, 1)]),
    "a negative offset": FetchParts("big", len(BIG), ROOT, [(-1, 1)]),
    "no bytes": FetchParts("big", len(BIG), ROOT, [(0, 0)]),
}


async def test_case_38_a_client_asks_for_what_is_not_there(make_device: MakeDevice) -> None:
    async with served(make_device, {"small": b"x", "big": BIG}) as under:
        for request in REQUESTS.values():

            async def ask(attacker: HostileClient, request: Message = request) -> None:
                await attacker.shown(*PIECES)
                await attacker.request(request)

            await under.refused(ask)


async def test_case_38_a_server_asks_for_what_is_not_there(client: Device, hostile: MakeHostile) -> None:
    """While it is to be changed, content is on offer to it."""
    server = await hostile({})
    server.offers(*PIECES)
    client.write("big", BIG)
    for request in REQUESTS.values():

        async def ask(talk: Talk, _request: ChangeRequest, request: Message = request) -> None:
            stream = Talk(talk.connection, await talk.connection.open_stream())
            await stream.say(request)
            await stream.hear(data_replies)
            await talk.say(Changed([], True))

        server.change = ask
        await put_out(client, server, mirror=False, mode=Mode.PUSH)


# 39: content that is wrong


@both_ways
@pytest.mark.parametrize("wrong", [1, 2])
async def test_case_39_wrong_content_is_asked_for_once_more(make_device: MakeDevice, way: str, wrong: int) -> None:
    """A large file and a small one; `wrong` answers to each are damaged."""
    contents = {"big": BIG, "small": b"good"}
    async with victim(way, make_device, contents, old={"big": b"mine", "small": b"mine"}) as under:
        source, lies = under.source, dict.fromkeys(contents, wrong)

        async def lie(talk: Talk, item: FetchItem) -> None:
            data = contents[item.path]
            if item.ranges and lies[item.path]:
                lies[item.path] -= 1
                data = bytes([data[0] ^ 1]) + data[1:]
            await source.leaves_and_chunks(talk, item, data)
            await talk.say(End())

        source.item = lie
        if wrong == 1:
            outcome = await under.take()
            assert (outcome.code, dict(outcome.problems)) == (None, {})
            assert {path: under.device.read(path) for path in contents} == contents
            assert sorted(source.indexes()) == [0, 0, 0, 0, 1, 2, 3, 4], "the wrong ones alone are asked for again"
        else:
            assert "does not match its hash" in await under.refused(CloseCode.INTEGRITY)
            await under.mended()


@both_ways
async def test_case_39_the_chunks_that_were_right_are_kept(make_device: MakeDevice, way: str) -> None:
    evil = BIG[: 2 * CHUNK_SIZE] + b"evil" + BIG[2 * CHUNK_SIZE + 4 :]
    async with victim(way, make_device, {"big": BIG}, old={"big": b"mine"}) as under:

        async def lie(talk: Talk, item: FetchItem) -> None:
            await under.source.chunks_of(talk, item, evil)
            await talk.say(End())

        under.source.chunks(lie)
        await under.refused(CloseCode.INTEGRITY)
        assert under.source.indexes() == [0, 1, 2, 3, 4, 2]
        assert all(b"evil" not in path.read_bytes() for path in under.device.folder.rglob("*") if path.is_file())
        await under.mended()
        assert under.source.indexes() == [2]


# 40: leaves of something else


@both_ways
async def test_case_40_an_inner_node_is_no_leaf(make_device: MakeDevice, way: str) -> None:
    """Of the two leaves that the root stands for, one is a node; what it was made of is sent as the last chunk."""
    children = leaf_hash(b"left") + leaf_hash(b"right")
    leaves = leaf_hash(BIG[:CHUNK_SIZE]) + tree_top(children)
    data = BIG[:CHUNK_SIZE] + children
    async with victim(way, make_device, {"a": data}, old={"a": b"mine"}) as under:
        honest = under.source.folder
        lie = Entry("a", Kind.FILE, len(data), hash=file_root(len(data), leaves))
        under.source.folder = FakeFolder({"": [lie]}, {"a": data})

        async def item(talk: Talk, item: FetchItem) -> None:
            if item.leaves:
                await talk.say(Leaves(leaves))
            await under.source.leaves_and_chunks(talk, FetchItem("a", item.size, item.root, item.ranges), data)
            await talk.say(End())

        under.source.item = item
        await under.refused(CloseCode.INTEGRITY)
        assert under.source.indexes() == [0, 1, 1]
        under.source.folder = honest
        await under.mended()


@both_ways
async def test_case_40_a_root_is_of_one_length_and_count(make_device: MakeDevice, way: str) -> None:
    two, three = BIG[: 2 * CHUNK_SIZE], BIG[: 3 * CHUNK_SIZE]
    async with victim(way, make_device, {"a": two}, old={"a": b"mine"}) as under:
        honest = under.source.folder
        for real, claimed in ((three, three + three[2 * CHUNK_SIZE :]), (two, two[:-1]), (two[:-1], two)):
            lie = Entry("a", Kind.FILE, len(claimed), hash=root_of(real))
            under.source.folder = FakeFolder({"": [lie]}, {"a": claimed})
            await under.refused(CloseCode.INTEGRITY)
        under.source.folder = honest
        await under.mended()


# 41: more and less than announced


@both_ways
async def test_case_41_more_bytes_after_a_chunk(make_device: MakeDevice, way: str) -> None:
    """What follows a chunk's bytes is read as a frame, and is none."""
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}) as under:

        async def item(talk: Talk, _item: FetchItem) -> None:
            await talk.chunk(0, b"good")
            await talk.raw(b"\xff" * 100)

        under.source.item = item
        await under.refused(CloseCode.PROTOCOL)
        await under.mended()


@both_ways
@pytest.mark.parametrize("files", [1, 2])
async def test_case_41_a_chunk_more_is_of_no_file(make_device: MakeDevice, way: str, files: int) -> None:
    """It is no part of the file before it nor of the next one; behind the last one it is not read."""
    contents = {"a": b"good", "b": b"better"} if files == 2 else {"a": b"good"}
    async with victim(way, make_device, contents, old={"b": b"mine"} if files == 2 else {}) as under:

        async def item(talk: Talk, item: FetchItem) -> None:
            await under.source.honest_item(talk, item)
            await talk.chunk(0, b"surplus")

        under.source.item = item
        outcome = await under.take()
        assert outcome.code == (CloseCode.PROTOCOL if files == 2 else None)
        assert under.device.tree().keys() == contents.keys()
        assert under.device.read("a") == b"good"
        assert files == 1 or under.device.read("b") == b"mine"
        await under.mended()


@both_ways
@pytest.mark.parametrize("inside", [False, True], ids=["between chunks", "inside a chunk"])
async def test_case_41_fewer_bytes_are_an_interruption(make_device: MakeDevice, way: str, inside: bool) -> None:
    async with victim(way, make_device, {"big": BIG}, old={"big": b"mine"}) as under:

        async def two_and_a_half(talk: Talk, _item: FetchItem) -> None:
            for index in range(2):
                await talk.chunk(index, BIG[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
            if inside:
                await talk.say(Chunk(2, CHUNK_SIZE, Encoding.RAW))
                await talk.raw(bytes(1000))
            talk.stream.finish()

        under.source.chunks(two_and_a_half)
        await under.refused(CloseCode.PROTOCOL)
        await under.mended()
        assert under.source.indexes() == [2, 3, 4]
