"""A server that breaks the protocol, against our puller: typed errors, nothing lost, nothing outside the folder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE
from leafsync.engine.core.messages import (
    Abort,
    AbortReason,
    Changed,
    Chunk,
    CloseCode,
    Digest,
    DigestRequest,
    Encoding,
    End,
    FetchItem,
    Leaves,
    LeftOut,
    Listing,
    ListRequest,
    Message,
    Undone,
    UndoneRequest,
    Welcome,
)
from leafsync.engine.net.limits import Limits
from leafsync.engine.sync import channel, connect, connecting, receiver
from leafsync.errors import (
    ConnectionLost,
    LeafSyncError,
    PeerClosed,
    PeerStalled,
    ProtocolViolated,
    RootMismatch,
    StreamReset,
    VersionMismatch,
)
from tests.support.devices import Device, until
from tests.support.engines import MakeHostile
from tests.support.hostile import (
    FakeFolder,
    HostileServer,
    Talk,
    connect_to,
    directory_entry,
    file_entry,
    leaves_of,
    length_prefix,
    link_entry,
    pull_from,
    says,
    sends,
    silence,
)

BIG = b"".join(bytes([number + 1]) * CHUNK_SIZE for number in range(4)) + b"tail"
"""A file of five chunks, no two the same."""

FILE = file_entry("a", b"x")

HEADER = Chunk(1, CHUNK_SIZE, Encoding.RAW)


@pytest.fixture(autouse=True)
def _nothing_outside(tmp_path: Path) -> Iterator[None]:
    """Whatever a server does, only the folder and the device's home are written to."""
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"client", "client-home", "server", "server-home"}


async def refused(
    client: Device, server: HostileServer, error: type[LeafSyncError], **options: object
) -> LeafSyncError:
    """Mirror, expect this very error, and that what was in the folder is as it was."""
    before = client.tree()
    with pytest.raises(error) as raised:
        await pull_from(client, server, **{"mirror": True, **options})
    assert type(raised.value) is error
    assert client.tree() == before
    return raised.value


async def told(server: HostileServer, code: CloseCode) -> None:
    """Wait until the server has been told why it was left."""
    await until(lambda: bool(server.errors))
    assert isinstance(server.errors[0], PeerClosed)
    assert server.errors[0].fields["code"] == code


# HELLO


@pytest.mark.parametrize("offered", ["../up", "/", "a//b", ".leafsync_tmp", "a\x00b"])
async def test_an_offer_of_what_cannot_be(client: Device, hostile: MakeHostile, offered: str) -> None:
    server = await hostile({"a": b"x"})
    server.hello = says(Welcome(1, [], "hostile", "test", "0" * 32, True, False, offered))
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)


async def test_another_version(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    server.hello = says(Welcome(7, [], "hostile", "test", "0" * 32, True))
    assert "version 7" in str(await refused(client, server, VersionMismatch))
    await told(server, CloseCode.VERSION)


@pytest.mark.parametrize("instead", [Digest(bytes(32), 0, 0, 0, 0), Listing([], True)])
async def test_no_welcome(client: Device, hostile: MakeHostile, instead: Message) -> None:
    server = await hostile({"a": b"x"})
    server.hello = says(instead)
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)


async def test_a_server_that_never_answers_hello(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "HELLO_DEADLINE", 0.1)
    server = await hostile({"a": b"x"})
    server.hello = silence
    await refused(client, server, PeerStalled)
    await told(server, CloseCode.STALLED)


async def test_skipped_messages_do_not_stretch_the_deadline(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "HELLO_DEADLINE", 0.2)
    server = await hostile({"a": b"x"})

    async def chatter(talk: Talk, _request: object) -> None:
        while True:
            await talk.raw(length_prefix(3) + b"\x91\xcc\x80")
            await asyncio.sleep(0.01)

    server.hello = chatter
    async with asyncio.timeout(2):
        await refused(client, server, PeerStalled)


async def test_optional_messages_are_skipped(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})

    async def digest(talk: Talk, request: DigestRequest) -> None:
        await talk.raw(length_prefix(3) + b"\x91\xcc\x80")
        await server.honest_digest(talk, request)

    server.digest = digest
    await pull_from(client, server)
    assert client.read("a") == b"x"


async def test_the_control_stream_ends_too_early(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})

    async def end(talk: Talk, _request: object) -> None:
        talk.stream.finish()

    server.digest = end
    await refused(client, server, ProtocolViolated)


# Frames


@pytest.mark.parametrize(
    "data",
    [
        length_prefix(0),
        length_prefix((1 << 20) + 1),
        length_prefix((1 << 32) - 1),
        length_prefix(5) + b"\xff\x00\xfe\x01\x02",
        length_prefix(2) + b"\x91\x63",
        length_prefix(3) + b"\x92\x04\xc0",
        length_prefix(8) + b"\x91" * 8,
    ],
    ids=["empty", "just too long", "huge", "garbage", "unknown tag", "field missing", "nested"],
)
async def test_garbage_frames(client: Device, hostile: MakeHostile, data: bytes) -> None:
    server = await hostile({"a": b"x"})
    server.digest = sends(data)
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)


async def test_garbage_where_content_should_be(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    server.item = sends(length_prefix((1 << 32) - 1))
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)


async def test_a_reply_never_asked_for(client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 0.01)
    server = await hostile({"a": b"x"})

    async def twice(talk: Talk, request: ListRequest) -> None:
        await server.honest_list(talk, request)
        await server.honest_list(talk, request)

    server.list = twice
    job = await connect_to(client, server)
    async with asyncio.timeout(2):
        with pytest.raises(ProtocolViolated):
            await job.wait()


# Listings


def folder(entries: list[Entry], **below: list[Entry]) -> FakeFolder:
    return FakeFolder({"": entries, **below})


@pytest.mark.parametrize(
    "entries",
    [
        [file_entry("b", b"x"), file_entry("a", b"x")],
        [file_entry("a", b"x"), file_entry("a", b"x")],
        [file_entry("a", b"x"), directory_entry("a", [])],
        [Entry("a", Kind.FILE, 1, hash=b"short")],
        [Entry("a", Kind.SYMLINK, hash=bytes(HASH_SIZE), target="b")],
        [Entry(f"../{letter}", Kind.FILE, 1, hash=bytes(HASH_SIZE)) for letter in "abcdefghijk"],
    ],
    ids=["out of order", "duplicate", "file and directory", "short hash", "link with a hash", "too many bad names"],
)
async def test_listings_that_nobody_honest_sends(client: Device, hostile: MakeHostile, entries: list[Entry]) -> None:
    server = await hostile({})
    server.folder = folder(entries)
    client.write("a", "mine")
    await refused(client, server, ProtocolViolated, mirror=True)
    await told(server, CloseCode.PROTOCOL)
    assert not server.paths()


async def test_a_listing_that_does_not_match_its_digest(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    server.list = says(Listing([file_entry("a", b"another")], True))
    await refused(client, server, ProtocolViolated)


async def test_a_listing_left_out_is_not_an_empty_directory(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x", "b": b"y"})
    server.list = says(Listing([file_entry("a", b"x")], True))
    client.write("b", "mine")
    await refused(client, server, ProtocolViolated, mirror=True, allow_deletes=True)


@pytest.mark.parametrize(
    "answer", [LeftOut([1]), LeftOut([0, 0]), LeftOut([4095]), Listing([], True), Changed([], True)]
)
async def test_what_is_left_out_answered_with_something_else(
    client: Device, hostile: MakeHostile, answer: Message
) -> None:
    server = await hostile({"a": b"x"})
    server.left_out = says(answer)
    client.write("b", "mine")
    await refused(client, server, ProtocolViolated, allow_deletes=True)
    await told(server, CloseCode.PROTOCOL)


async def undone(client: Device, server: HostileServer) -> None:
    """Agree on the folder; afterwards the server says that something there was undone since."""
    await pull_from(client, server)
    await until(lambda: bool(server.errors))
    server.errors.clear()
    server.digest = says(Digest(server.folder.digest, 1, 1, 0, 1, 5))


@pytest.mark.parametrize(
    "answer",
    [
        Undone([], False),
        Undone([("../secret", FILE)], True),
        Undone([("", FILE)], True),
        Undone([("a", FILE), ("dir/.leafsync_trash/a", FILE)], True),
        LeftOut([]),
    ],
)
async def test_what_was_undone_answered_with_something_else(
    client: Device, hostile: MakeHostile, answer: Message
) -> None:
    server = await hostile({"a": b"x"})
    server.undone = says(answer)
    await undone(client, server)
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)


async def test_undone_pages_that_never_end(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "MAX_ENTRIES", 50)
    server = await hostile({"a": b"x"})

    async def endless(talk: Talk, _request: UndoneRequest) -> None:
        while True:
            await talk.say(Undone([("a", FILE)], False))

    server.undone = endless
    await undone(client, server)
    async with asyncio.timeout(2):
        await refused(client, server, ProtocolViolated)


async def test_undos_are_asked_about_once(client: Device, hostile: MakeHostile) -> None:
    """Not at first contact, when nothing was agreed on; those of new records from the start."""
    server = await hostile({"a": b"x"})
    for undo in (4, 4, 7, 7, 2, 0):
        server.digest = says(Digest(server.folder.digest, 1, 1, 0, 1, undo))
        await pull_from(client, server)
    asked = [request for request in server.asked if isinstance(request, UndoneRequest)]
    assert asked == [UndoneRequest(4), UndoneRequest(0)]


async def test_more_questions_than_a_message_holds(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is answered with numbers of its own."""
    monkeypatch.setattr(connect, "MAX_ITEMS", 2)
    server = await hostile({"a": b"x"})
    server.left_out = says(LeftOut([0]))
    for name in "bcdef":
        client.write(name, "mine")
    summary = await pull_from(client, server, mirror=True, allow_deletes=True)
    assert summary.trashed == ("c", "e")
    assert set(client.tree()) == {"a", "b", "d", "f"}


async def test_pages_that_never_end(client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "MAX_ENTRIES", 50)
    server = await hostile({"a": b"x"})
    pages = 0

    async def endless(talk: Talk, _request: ListRequest) -> None:
        nonlocal pages
        while True:
            await talk.say(Listing([Entry(f"{pages:09}", Kind.WITHHELD)] * 10, False))
            pages += 1

    server.list = endless
    async with asyncio.timeout(2):
        await refused(client, server, ProtocolViolated)


async def test_long_names_and_targets_count_too(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "MAX_LISTED_TEXT", 1000)
    server = await hostile({})
    server.folder = folder([link_entry(f"{number}", "t" * 300) for number in range(4)])
    await refused(client, server, ProtocolViolated)


async def test_an_empty_page_that_is_not_the_last(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    server.list = says(Listing([], False))
    await refused(client, server, ProtocolViolated)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../../escape", "/etc/passwd", "a\\b", "a\x00b", "\x1b[31m"])
async def test_bad_names_are_skipped_and_counted(client: Device, hostile: MakeHostile, name: str) -> None:
    server = await hostile({"zz": b"good"})
    bad = Entry(name, Kind.FILE, 4, hash=file_entry("zz", b"good").hash)
    server.folder.listings[""] = [bad, *server.folder.listings[""]]
    summary = await pull_from(client, server, mirror=True)
    assert client.read("zz") == b"good"
    assert len(summary.problems) == 1
    assert server.paths() == ["zz"]
    assert set(client.tree()) == {"zz"}


@pytest.mark.parametrize("own", [".leafsync_tmp", ".leafsync_trash", ".LeafSync_Trash"])
async def test_our_own_directories_are_never_written(client: Device, hostile: MakeHostile, own: str) -> None:
    server = await hostile({})
    inside = [file_entry("planted", b"x")]
    server.folder = folder([directory_entry(own, inside)], **{own: inside})
    summary = await pull_from(client, server)
    assert [path for path, _reason in summary.problems] == [own]
    assert not list(client.folder.rglob("planted"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside", "", "up/.leafsync_trash"])
async def test_links_that_escape_are_not_made(client: Device, hostile: MakeHostile, target: str) -> None:
    server = await hostile({})
    server.folder = folder([link_entry("link", target)])
    client.write("link", "mine")
    summary = await pull_from(client, server, mirror=True, allow_deletes=True)
    assert client.read("link") == b"mine", "it is there on the other side, so what is here stays"
    assert len(summary.problems) == 1


async def test_a_link_in_place_of_a_directory_is_not_followed(client: Device, hostile: MakeHostile) -> None:
    outside = client.home / "outside"
    outside.mkdir()
    server = await hostile({"d/planted": b"x", "e": b"y"})
    (client.folder / "d").mkdir()

    async def swap(talk: Talk, item: FetchItem) -> None:
        if item.path == "d/planted":
            (client.folder / "d").rmdir()
            (client.folder / "d").symlink_to(outside)
        await server.honest_item(talk, item)

    server.item = swap
    summary = await pull_from(client, server)
    assert not list(outside.iterdir())
    assert [path for path, _reason in summary.problems] == ["d/planted"]
    assert client.read("e") == b"y"


async def test_directories_deeper_than_the_cap(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"/".join("d" * 80) + "/file": b"x"})
    summary = await pull_from(client, server)
    assert len(summary.problems) == 1
    assert "deep" in summary.problems[0][1]
    assert max(len(path.split("/")) for path in client.tree()) == 64
    assert summary.round_trips <= 67
    assert not server.paths()


async def test_a_directory_that_lists_itself(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    itself = [Entry("d", Kind.DIRECTORY, hash=bytes(HASH_SIZE))]
    server.folder = folder(itself)
    server.list = says(Listing(itself, True))
    await refused(client, server, ProtocolViolated)


async def test_a_file_larger_than_the_disk(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"b": b"x"})
    huge = Entry("a", Kind.FILE, 1 << 43, hash=bytes(HASH_SIZE))
    server.folder.listings[""] = [huge, *server.folder.listings[""]]
    server.item = says(Leaves(bytes(HASH_SIZE)), End())
    await refused(client, server, RootMismatch)


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE + 1])
async def test_a_root_that_no_content_has(client: Device, hostile: MakeHostile, size: int) -> None:
    server = await hostile({})
    server.folder = folder([Entry("a", Kind.FILE, size, hash=bytes(HASH_SIZE))])
    server.folder.contents["a"] = bytes(size)
    await refused(client, server, RootMismatch)


async def test_an_empty_root_for_a_file_with_bytes(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    server.folder = folder([Entry("a", Kind.FILE, 5, hash=file_entry("a", b"").hash)])
    summary = await pull_from(client, server)
    assert [path for path, _reason in summary.problems] == ["a"]
    assert client.tree() == {}


# Content


@pytest.mark.parametrize(
    "answer",
    [
        says(Chunk(1, 4, Encoding.ZERO)),
        says(Chunk(0, 3, Encoding.ZERO)),
        says(Chunk(0, 5, Encoding.ZERO)),
        says(End()),
        says(Leaves(bytes(HASH_SIZE)), End()),
        says(Chunk(0, 4, Encoding.ZERO), Chunk(0, 4, Encoding.ZERO)),
    ],
    ids=["another chunk", "too short", "too long", "no chunk", "leaves", "twice"],
)
async def test_small_files_with_something_else(client: Device, hostile: MakeHostile, answer: object) -> None:
    server = await hostile({"a": b"good"})
    client.write("a", "the old one")
    server.item = answer  # type: ignore[assignment]
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)


@pytest.mark.parametrize("wrong", [Encoding.RAW, Encoding.ZERO])
async def test_wrong_content_is_asked_for_once_more(client: Device, hostile: MakeHostile, wrong: Encoding) -> None:
    server = await hostile({"a": b"good"})
    client.write("a", "the old one")

    async def lie(talk: Talk, item: FetchItem) -> None:
        await server.leaves(talk, item)
        await talk.say(Chunk(0, 4, wrong))
        if wrong is Encoding.RAW:
            await talk.raw(b"evil")
        await talk.say(End())

    server.item = lie
    await refused(client, server, RootMismatch)
    await told(server, CloseCode.INTEGRITY)
    assert server.paths() == ["a", "a"]


async def test_content_that_is_right_the_second_time(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"good", "big": BIG})
    lies = {"a", "big"}

    async def lie_once(talk: Talk, item: FetchItem) -> None:
        data = server.folder.contents[item.path]
        if item.ranges and item.path in lies:
            lies.discard(item.path)
            data = bytes([data[0] ^ 1]) + data[1:]
        await server.leaves_and_chunks(talk, item, data)
        await talk.say(End())

    server.item = lie_once
    summary = await pull_from(client, server)
    assert (client.read("a"), client.read("big")) == (b"good", BIG)
    assert not summary.problems
    assert sorted(server.indexes()) == [0, 0, 0, 0, 1, 2, 3, 4], "only the wrong chunk is asked for again"
    assert summary.totals.bytes_done == summary.totals.fetched == summary.totals.bytes


@pytest.mark.parametrize("leaves", [leaves_of(BIG)[:-HASH_SIZE], leaves_of(BIG[:-1]), leaves_of(bytes(len(BIG)))])
async def test_leaves_that_do_not_match_the_root(client: Device, hostile: MakeHostile, leaves: bytes) -> None:
    server = await hostile({"big": BIG})
    server.item = says(Leaves(leaves), End())
    await refused(client, server, RootMismatch)
    await told(server, CloseCode.INTEGRITY)


async def test_more_leaves_than_chunks(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"big": BIG})
    server.item = says(Leaves(leaves_of(BIG) + bytes(HASH_SIZE)), End())
    await refused(client, server, ProtocolViolated)


async def test_a_chunk_that_stays_wrong(client: Device, hostile: MakeHostile) -> None:
    """Asked for once more, then the connection ends; the old file stays, and so do the chunks that were right."""
    server = await hostile({"big": BIG})
    client.write("big", "the old one")
    evil = BIG[: 2 * CHUNK_SIZE] + b"evil" + BIG[2 * CHUNK_SIZE + 4 :]

    async def lie(talk: Talk, item: FetchItem) -> None:
        await server.chunks_of(talk, item, evil)
        await talk.say(End())

    server.chunks(lie)
    await refused(client, server, RootMismatch)
    await told(server, CloseCode.INTEGRITY)
    assert server.indexes() == [0, 1, 2, 3, 4, 2]
    await rest_is_fetched(client, server, [2])


async def rest_is_fetched(client: Device, server: HostileServer, indexes: list[int]) -> None:
    """Mirror a server that mended its ways, and expect it to be asked for these chunks alone."""
    server.item = server.honest_item
    server.asked.clear()
    summary = await pull_from(client, server, mirror=True)
    assert server.indexes() == indexes
    assert client.read("big") == BIG
    assert not summary.problems


@pytest.mark.parametrize("reason", AbortReason)
@pytest.mark.parametrize("after", [None, 0, 2])
async def test_aborts_are_problems_of_one_file(
    client: Device, hostile: MakeHostile, reason: AbortReason, after: int | None
) -> None:
    server = await hostile({"big": BIG, "other": b"good"})
    client.write("big", "the old one")

    async def abort(talk: Talk, item: FetchItem) -> None:
        if item.path == "other" or (after is not None and item.leaves):
            await server.honest_item(talk, item)
            return
        for index in range(after or 0):
            await talk.chunk(index, BIG[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
        await talk.say(Abort(reason))

    server.item = abort
    summary = await pull_from(client, server, mirror=True)
    assert summary.problems == (("big", receiver.ABORTED[reason]),)
    assert (client.read("big"), client.read("other")) == (b"the old one", b"good")
    await rest_is_fetched(client, server, list(range(after or 0, 5)))


@pytest.mark.parametrize(
    "answer",
    [
        says(Chunk(3, CHUNK_SIZE, Encoding.ZERO)),
        says(Chunk(1, CHUNK_SIZE - 1, Encoding.ZERO)),
        says(End()),
        says(Welcome(1, [], "", "", "", False)),
        sends(length_prefix((1 << 20) + 1)),
    ],
    ids=["wrong order", "wrong length", "END too early", "another message", "huge frame"],
)
async def test_large_files_with_something_else(client: Device, hostile: MakeHostile, answer: object) -> None:
    server = await hostile({"big": BIG})
    client.write("big", "the old one")

    async def first_then(talk: Talk, item: FetchItem) -> None:
        await talk.chunk(0, BIG[:CHUNK_SIZE])
        await answer(talk, item)  # type: ignore[operator]

    server.chunks(first_then)
    await refused(client, server, ProtocolViolated)
    await told(server, CloseCode.PROTOCOL)
    await rest_is_fetched(client, server, [1, 2, 3, 4])


async def test_zeros_that_are_none(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"big": BIG})

    async def holes(talk: Talk, item: FetchItem) -> None:
        for first, count in item.ranges:
            for index in range(first, first + count):
                await talk.say(Chunk(index, min(CHUNK_SIZE, len(BIG) - index * CHUNK_SIZE), Encoding.ZERO))
        await talk.say(End())

    server.chunks(holes)
    await refused(client, server, RootMismatch)
    await rest_is_fetched(client, server, [0, 1, 2, 3, 4])


# The connection in the middle of a file


async def finish(_server: HostileServer, talk: Talk) -> None:
    talk.stream.finish()


async def reset(_server: HostileServer, talk: Talk) -> None:
    talk.stream.reset(CloseCode.INTERNAL)


async def close(_server: HostileServer, talk: Talk) -> None:
    talk.connection.close(CloseCode.STOPPING, "it is shutting down")


async def vanish(server: HostileServer, _talk: Talk) -> None:
    server.vanish()


async def stall(_server: HostileServer, talk: Talk) -> None:
    await talk.raw(bytes(2))


ENDS = [(finish, ProtocolViolated), (reset, StreamReset), (close, PeerClosed), (stall, PeerStalled)]


@pytest.mark.parametrize(("end", "error"), [*ENDS, (vanish, PeerStalled)])
@pytest.mark.parametrize("inside", [False, True], ids=["between chunks", "inside a chunk"])
async def test_an_end_in_the_middle_of_a_file(
    client: Device,
    hostile: MakeHostile,
    monkeypatch: pytest.MonkeyPatch,
    end: object,
    error: type[LeafSyncError],
    inside: bool,
) -> None:
    if error is PeerStalled:  # the others come at once, or as late as a busy disk has them
        monkeypatch.setattr(receiver, "REPLY_DEADLINE", 1.0)
    server = await hostile({"big": BIG, "small": b"small"})
    client.write("big", "the old one")
    broken = False

    async def partly(talk: Talk, item: FetchItem) -> None:
        nonlocal broken
        await talk.chunk(0, BIG[:CHUNK_SIZE])
        await talk.chunk(1, BIG[CHUNK_SIZE : 2 * CHUNK_SIZE])
        if inside:
            await talk.say(Chunk(2, CHUNK_SIZE, Encoding.RAW))
            await talk.raw(bytes(1000))
        await until(lambda: job.status().totals.fetched >= 2 * CHUNK_SIZE)
        await end(server, talk)  # type: ignore[operator]
        broken = True

    server.chunks(partly)
    server.folder = FakeFolder.of({"big": BIG})
    job = await connect_to(client, server, once=True, mirror=True)
    with pytest.raises(error) as raised:
        await job.wait()
    assert type(raised.value) is error
    assert broken
    assert client.read("big") == b"the old one"
    await rest_is_fetched(client, server, [2, 3, 4])


async def test_a_peer_that_is_gone_is_noticed(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "limits_for", lambda _rate: Limits(idle_timeout=0.3, keepalive=0.1))
    server = await hostile({"a": b"x"})

    async def gone(_talk: Talk, _request: object) -> None:
        server.vanish()

    server.digest = gone
    await refused(client, server, ConnectionLost)


async def test_finished_files_are_kept_when_the_connection_goes(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "MAX_ASKED", 1)
    monkeypatch.setattr(receiver, "ITEMS_PER_REQUEST", 1)
    contents = {f"{number:03}": b"%d" % number for number in range(20)} | {"big": BIG, "last": b"x"}
    server = await hostile(contents)

    async def until_the_last(talk: Talk, item: FetchItem) -> None:
        if item.path == "last":
            talk.connection.close(CloseCode.STOPPING, "it is shutting down")
            return
        await server.honest_item(talk, item)

    server.item = until_the_last
    with pytest.raises(PeerClosed):
        await pull_from(client, server, streams=1)
    assert set(client.tree()) == contents.keys() - {"last"}
    server.item = server.honest_item
    server.asked.clear()
    await pull_from(client, server)
    assert server.paths() == ["last"]
    assert {path: client.read(path) for path in contents} == contents


# Deadlines


async def test_a_slow_link_is_not_a_stall(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk may take longer than the deadline, as long as its bytes keep coming."""
    monkeypatch.setattr(receiver, "REPLY_DEADLINE", 0.15)
    monkeypatch.setattr(channel, "STALL_BYTES", 10_000)
    data = BIG[:CHUNK_SIZE]
    server = await hostile({"a": data})

    async def slowly(talk: Talk, _item: FetchItem) -> None:
        await talk.say(Chunk(0, CHUNK_SIZE, Encoding.RAW))
        for start in range(0, CHUNK_SIZE, CHUNK_SIZE // 16):
            await talk.raw(data[start : start + CHUNK_SIZE // 16])
            await asyncio.sleep(0.03)
        await talk.say(End())

    server.item = slowly
    await pull_from(client, server)
    assert client.read("a") == data


@pytest.mark.parametrize("what", ["digest", "list", "item"])
async def test_silence_is_a_stall(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(connect, "SCAN_DEADLINE", 0.1)
    monkeypatch.setattr(connect, "REPLY_DEADLINE", 0.1)
    monkeypatch.setattr(receiver, "REPLY_DEADLINE", 0.1)
    server = await hostile({"a": b"x"})
    setattr(server, what, silence)
    await refused(client, server, PeerStalled)
    await told(server, CloseCode.STALLED)
