"""Fault cases 42 to 47: lists, frames and messages that cannot be, from a server and from a client."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from zstandard import ZstdCompressor

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import HASH_SIZE
from leafsync.engine.core.messages import (
    MAX_BUNDLE,
    MAX_FRAME,
    Bundle,
    Change,
    Changed,
    ChangeKind,
    ChangeRequest,
    CloseCode,
    Digest,
    DigestRequest,
    End,
    FetchItem,
    Hint,
    Listing,
    ListRequest,
    Message,
    Pending,
    Refusal,
    RefusalKind,
    Welcome,
    control_replies,
    frame,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.sync import changes as changes_module, channel, connect
from tests.faults.cases import Case
from tests.support.attacks import both_ways, put, put_out, served, unharmed, victim
from tests.support.devices import Device
from tests.support.engines import MakeDevice, MakeHostile
from tests.support.hostile import (
    FakeFolder,
    HostileClient,
    Talk,
    directory_entry,
    file_entry,
    length_prefix,
    pull_from,
    says,
)

TITLE = "Lists and messages"

CASES = (
    Case(
        42,
        "listings, changes or refusals without end",
        "caps on their number and on the characters of their paths, counted while they arrive; the connection ends and "
        "nothing is deleted",
    ),
    Case(
        43,
        "directories nested without end, or that list the same ones many times over",
        "what is deeper than 64 is a problem, the rest goes on; a change of such a path ends the connection",
    ),
    Case(
        44,
        "names twice or out of order",
        "the connection ends before anything is planned; so it does for two changes of one path",
    ),
    Case(
        45,
        "frames of no length, longer than 1 MiB, cut short",
        "the length is checked before anything is taken; the connection ends",
    ),
    Case(
        46,
        "unknown messages and fields",
        "optional messages and further fields are skipped, but no more than 1024 messages in a row; others end the "
        "connection",
    ),
    Case(
        47,
        "numbers, texts and nesting beyond the schema",
        "refused while decoding; the connection ends",
    ),
)

PUSHES = {"mirror": False, "mode": Mode.PUSH}


@pytest.fixture(autouse=True)
def _unharmed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    unharmed(tmp_path, caplog)


# 42: lists without end


@pytest.mark.parametrize("endless", ["entries", "text", "pages"])
async def test_case_42_a_listing_without_end(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, endless: str
) -> None:
    monkeypatch.setattr(connect, "MAX_ENTRIES", 50)
    monkeypatch.setattr(connect, "MAX_LISTED_TEXT", 5000)
    server = await hostile({"a": b"x"})
    client.write("mine", "must not be deleted")

    async def pages(talk: Talk, _request: ListRequest) -> None:
        for number in range(1_000_000):
            names = {"entries": [f"{number:09}"], "text": [f"{number:0200}"], "pages": []}[endless]
            await talk.say(*[Listing([Entry(name, Kind.WITHHELD) for name in names], False)] * 10)
            await asyncio.sleep(0)

    server.list = pages
    async with asyncio.timeout(20):
        await put_out(client, server, allow_deletes=True)


async def test_case_42_short_names_far_down_are_long_paths(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes on the wire for each entry would be kilobytes of memory for its path here."""
    monkeypatch.setattr(connect, "MAX_LISTED_TEXT", 50_000)
    server = await hostile({f"{'d' * 250}/{'e' * 250}/{number}": b"x" for number in range(150)})
    assert sum(len(entry.name) for entries in server.folder.listings.values() for entry in entries) < 1000
    await put_out(client, server)
    assert not server.paths()


async def test_case_42_what_may_be_listed_is_taken(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"dir/a": b"x", "dir/b": b"y", "c": b"z"}
    monkeypatch.setattr(connect, "MAX_ENTRIES", 4)
    monkeypatch.setattr(connect, "MAX_LISTED_TEXT", len("dir") + len("dira") + len("dirb") + len("c"))
    server = await hostile(contents)
    await pull_from(client, server)
    assert {path: client.read(path) for path in contents} == contents


async def test_case_42_refusals_without_end(client: Device, hostile: MakeHostile) -> None:
    """There cannot be more than there were changes, and one of everything."""
    server = await hostile({})
    client.write("mine", "x")
    said = 0

    async def endless(talk: Talk, _request: ChangeRequest) -> None:
        nonlocal said
        while True:
            said += 1
            await talk.say(Changed([Refusal("mine", RefusalKind.FAILED, "r" * 200)], False))
            await asyncio.sleep(0)

    server.change = endless
    async with asyncio.timeout(20):
        await put_out(client, server, **PUSHES)
    assert said < 10_000


@pytest.mark.parametrize(("limit", "most"), [("MAX_CHANGES", 50), ("MAX_CHANGE_TEXT", 500)])
async def test_case_42_changes_without_end(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(changes_module, limit, most)
    async with served(make_device, {"a": b"x"}) as under:

        async def endless(attacker: HostileClient) -> None:
            talk = await attacker.shown()
            for number in range(100_000):
                page = [Change(ChangeKind.MAKE_DIRECTORY, f"new-{number}-{each}") for each in range(10)]
                await talk.say(ChangeRequest(page, False))
                await asyncio.sleep(0)

        assert "more changes" in await under.refused(endless)


async def test_case_42_changes_that_say_nothing(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:

        async def nothing(attacker: HostileClient) -> None:
            await (await attacker.shown()).say(ChangeRequest([], False))

        await under.refused(nothing)


# 43: nesting


async def test_case_43_what_is_too_deep_is_a_problem_and_the_rest_arrives(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"/".join("d" * 80) + "/file": b"x", "good": b"good"})
    summary = await pull_from(client, server)
    assert client.read("good") == b"good"
    ((path, reason),) = summary.problems
    assert path.startswith("d/d/d/")
    assert "deep" in reason
    assert server.paths() == ["good"]
    assert summary.round_trips <= 67


async def test_case_43_directories_that_double_on_each_level(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """63 small listings of two directories each would be 2^63 paths; all digests are right."""
    monkeypatch.setattr(connect, "MAX_ENTRIES", 500)
    server = await hostile({})
    levels: list[list[Entry]] = [[]]
    for _level in range(63):
        levels.append([directory_entry(name, levels[-1]) for name in "ab"])
    server.folder = FakeFolder({"": levels[63]})
    asked = 0

    async def listing(talk: Talk, request: ListRequest) -> None:
        nonlocal asked
        for path in request.paths:
            asked += 1
            await talk.say(Listing(levels[63 - (path.count("/") + bool(path))], True))

    server.list = listing
    await put_out(client, server)
    assert asked < 1000


async def test_case_43_a_directory_that_lists_itself(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    itself = [Entry("d", Kind.DIRECTORY, hash=bytes(HASH_SIZE))]
    server.folder = FakeFolder({"": itself})
    server.list = says(Listing(itself, True))
    await put_out(client, server)


async def test_case_43_changes_that_are_too_deep(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:
        for path in ("/".join("d" * 65), "/".join(["d" * 250] * 17)):

            async def change(attacker: HostileClient, path: str = path) -> None:
                talk = await attacker.shown()
                await talk.say(ChangeRequest([Change(ChangeKind.MAKE_DIRECTORY, path)], True))

            await under.refused(change)


# 44: order


async def test_case_44_names_twice_or_out_of_order(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    client.write("a", "mine")
    for entries in (
        [file_entry("b", b"x"), file_entry("a", b"x")],
        [file_entry("a", b"x"), file_entry("a", b"x")],
        [file_entry("a", b"x"), file_entry("a", b"y")],
        [file_entry("a", b"x"), directory_entry("a", [])],
        [Entry("a", Kind.WITHHELD), file_entry("a", b"x")],
    ):
        server.folder = FakeFolder({"": entries, "a": []})
        assert "out of order" in await put_out(client, server, allow_deletes=True)
    assert not server.paths()


async def test_case_44_names_twice_on_two_pages(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    twice = [file_entry("a", b"x"), file_entry("a", b"x")]
    server.folder = FakeFolder({"": twice})
    server.list = says(*(Listing([entry], last) for entry, last in zip(twice, (False, True), strict=True)))
    assert "out of order" in await put_out(client, server)


async def test_case_44_two_changes_of_one_path(make_device: MakeDevice) -> None:
    delete = Change(ChangeKind.DELETE, "a", expected=bytes(HASH_SIZE))
    async with served(make_device, {"a": b"x"}) as under:
        for first, second in (
            (put("new", b"x"), put("new", b"y")),
            (put("new", b"x"), Change(ChangeKind.MAKE_DIRECTORY, "new")),
            (delete, delete),
        ):

            async def change(attacker: HostileClient, first: Change = first, second: Change = second) -> None:
                talk = await attacker.shown()
                await talk.say(ChangeRequest([first], False), ChangeRequest([second], True))

            assert "two changes" in await under.refused(change)


# 45: frames

FRAMES = {
    "empty": length_prefix(0),
    "just too long": length_prefix(MAX_FRAME + 1),
    "2 GiB": length_prefix(1 << 31) + bytes(1000),
    "4 GiB": length_prefix((1 << 32) - 1) + bytes(1000),
    "minus one": (-1).to_bytes(4, "big", signed=True),
    "cut short": length_prefix(MAX_FRAME) + b"\x92",
}


async def say_and_end(talk: Talk, data: bytes) -> None:
    """Send bytes, and nothing more if they are the beginning of a frame."""
    await talk.raw(data)
    if data == FRAMES["cut short"]:
        talk.stream.finish()


@pytest.mark.parametrize("where", ["hello", "digest", "list", "change", "item"])
async def test_case_45_frames_of_a_server(client: Device, hostile: MakeHostile, where: str) -> None:
    server = await hostile({} if where == "change" else {"a": b"x"})
    client.write("a", "mine")
    for data in FRAMES.values():

        async def answer(talk: Talk, _request: Message, data: bytes = data) -> None:
            await say_and_end(talk, data)

        setattr(server, where, answer)
        await put_out(client, server, **(PUSHES if where == "change" else {}))


@pytest.mark.parametrize("where", ["hello", "control", "data"])
async def test_case_45_frames_of_a_client(make_device: MakeDevice, where: str) -> None:
    async with served(make_device, {"a": b"x"}) as under:
        for data in FRAMES.values():

            async def say(attacker: HostileClient, data: bytes = data) -> None:
                talk = await (attacker.open() if where == "hello" else attacker.shown())
                await say_and_end(await attacker.open() if where == "data" else talk, data)

            await under.refused(say)


# 46: what this version does not know

OPTIONAL = length_prefix(4) + b"\x92\xcc\xc8\x01"
"""A frame with the tag 200."""

ENDLESS = OPTIONAL * (MAX_BUNDLE // len(OPTIONAL))


@both_ways
async def test_case_46_optional_messages_are_skipped(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"a": b"good"}) as under:

        async def item(talk: Talk, item: FetchItem) -> None:
            await talk.raw(OPTIONAL * channel.MAX_SKIPPED)
            await under.source.leaves_and_chunks(talk, item, b"good")
            await talk.raw(OPTIONAL * channel.MAX_SKIPPED)
            await talk.say(End())

        under.source.item = item
        assert (await under.take()).code is None
        assert under.device.read("a") == b"good"


async def test_case_46_further_fields_are_ignored(make_device: MakeDevice) -> None:
    hello, digest_request = b"\x96\x01\x91\x01\x90\xa3new\xa1s\xc3", b"\x93\x03\xa0\x07"
    async with served(make_device, {"a": b"x"}) as under, under.attacker() as attacker:
        talk = await attacker.open()
        await talk.raw(length_prefix(len(hello)) + hello + length_prefix(len(digest_request)) + digest_request)
        welcome, digest = await talk.hear(control_replies), await talk.hear(control_replies)
        assert isinstance(welcome, Welcome)
        assert isinstance(digest, Digest)


async def test_case_46_unknown_requests(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:
        for tag in (0, 2, 63, 127):

            async def say(attacker: HostileClient, tag: int = tag) -> None:
                await (await attacker.shown()).raw(length_prefix(2) + bytes([0x91, tag]))

            await under.refused(say)


@both_ways
async def test_case_46_unknown_messages_among_content(make_device: MakeDevice, way: str) -> None:
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}) as under:
        for tag in (0, 7, 63, 127):

            async def item(talk: Talk, _item: FetchItem, tag: int = tag) -> None:
                await talk.raw(length_prefix(2) + bytes([0x91, tag]))

            under.source.item = item
            await under.refused(CloseCode.PROTOCOL)
        await under.mended()


@both_ways
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
async def test_case_46_optional_messages_without_end(make_device: MakeDevice, way: str, packed: bool) -> None:
    """Packed, 200 bytes are 300,000 of them, which would keep a device busy for seconds."""
    stored = ZstdCompressor().compress(ENDLESS)
    assert len(stored) < 300
    sent = frame(Bundle(len(ENDLESS), len(stored))) + stored if packed else OPTIONAL * (channel.MAX_SKIPPED + 1)
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}, features=("zstd",)) as under:

        async def item(talk: Talk, _item: FetchItem) -> None:
            await talk.raw(sent)

        under.source.item = item
        async with asyncio.timeout(20):
            assert "say nothing" in await under.refused(CloseCode.PROTOCOL)
        await under.mended()


async def test_case_46_optional_requests_without_end(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:

        async def say(attacker: HostileClient) -> None:
            await (await attacker.shown()).raw(OPTIONAL * (channel.MAX_SKIPPED + 1))

        await under.refused(say)


async def test_case_46_hints_without_end(client: Device, hostile: MakeHostile) -> None:
    """They would keep a server that owes an answer from ever being late."""
    server = await hostile({"a": b"x"})
    server.digest = says(*[Hint()] * (connect.MAX_HINTS + 1))
    async with asyncio.timeout(20):
        assert "hinted more than" in await put_out(client, server)


async def test_case_46_pending_without_end(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no answer, however often it is said."""
    monkeypatch.setattr(connect, "MAX_PENDING", 100)
    server = await hostile({})
    client.write("mine", "content")
    server.change = says(*[Pending()] * 101, Changed([], True))
    async with asyncio.timeout(20):
        assert "pending more than" in await put_out(client, server, **PUSHES)


# 47: beyond the schema

DEEP = 1_000_000

REQUESTS: dict[str, bytes] = {
    "arrays in arrays": b"\x92\x05" + b"\x91" * DEEP,
    "maps in maps": b"\x92\x05" + b"\x81\xa1a" * (DEEP // 3),
    "a number beyond 64 bits": b"\x92\x05\xc7\x09\x01" + b"\xff" * 9,
    "an array of 4 billion": b"\x92\x05\xdd\xff\xff\xff\xff",
    "a text of 4 GiB": b"\x92\x03\xdb\xff\xff\xff\xff",
    "a text of a megabyte": b"\x92\x03\xdb\x00\x0f\x00\x00" + b"a" * 0xF0000,
    "no UTF-8": b"\x92\x03\xa2\xff\xfe",
    "half of a surrogate": b"\x92\x03\xa3\xed\xa0\x80",
    "a number for a text": b"\x92\x03\x07",
    "bytes for a text": b"\x92\x03\xc4\x01a",
    "a fraction for a tag": b"\x92\xcb@\x08\x00\x00\x00\x00\x00\x00\xa0",
    "a map for an array": b"\x81\xa4type\x03",
    "nothing for a text": b"\x92\x03\xc0",
    "bytes behind the message": b"\x92\x03\xa0\xa0",
    "too many paths": b"\x92\x05\xdc\x10\x01" + b"\xa0" * 4097,
    "no paths": b"\x92\x05\x90",
}


async def test_case_47_requests_beyond_the_schema(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:
        for body in REQUESTS.values():

            async def say(attacker: HostileClient, body: bytes = body) -> None:
                await (await attacker.shown()).raw(length_prefix(len(body)) + body)

            await under.refused(say)


LISTINGS: dict[str, bytes] = {
    "arrays in arrays": b"\x93\x06" + b"\x91" * DEEP,
    "a size beyond 64 bits": b"\x93\x06\x91\x93\xa1a\x01\xc7\x09\x01" + b"\xff" * 9 + b"\xc3",
    "a negative size": b"\x93\x06\x91\x93\xa1a\x01\xff\xc3",
    "a size that is a fraction": b"\x93\x06\x91\x93\xa1a\x01\xca\x3f\x8c\xcc\xcd\xc3",
    "a size that is no number": b"\x93\x06\x91\x93\xa1a\x01\xca\x7f\xc0\x00\x00\xc3",
    "a kind that is none": b"\x93\x06\x91\x93\xa1a\x09\x01\xc3",
    "a name of 256 characters": b"\x93\x06\x91\x92\xda\x01\x00" + b"a" * 256 + b"\x04\xc3",
    "a number for yes": b"\x93\x06\x90\x01",
    "an array of 4 billion": b"\x93\x06\xdd\xff\xff\xff\xff",
    "too many entries": b"\x93\x06\xdc\x10\x01" + b"\x92\xa1a\x04" * 4097 + b"\xc3",
}


async def test_case_47_listings_beyond_the_schema(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    client.write("a", "mine")
    for body in LISTINGS.values():

        async def answer(talk: Talk, _request: ListRequest, body: bytes = body) -> None:
            await talk.raw(length_prefix(len(body)) + body)

        server.list = answer
        await put_out(client, server)


async def test_case_47_an_optional_message_may_hold_anything(make_device: MakeDevice) -> None:
    """It is skipped, not decoded."""
    async with served(make_device, {"a": b"x"}) as under, under.attacker() as attacker:
        talk = await attacker.shown()
        await talk.raw(length_prefix(3 + DEEP) + b"\x92\xcc\xc8" + b"\x91" * DEEP)
        assert isinstance(await attacker.ask(talk, DigestRequest()), Digest)
