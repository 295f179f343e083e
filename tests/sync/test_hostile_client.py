"""A client that breaks the protocol, against our server: it is closed with a code, and nobody else notices."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from leafsync.engine.core.events import PeerConnected, PeerLeft
from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import (
    Abort,
    AbortReason,
    Chunk,
    CloseCode,
    Digest,
    DigestRequest,
    End,
    Fetch,
    FetchItem,
    Hello,
    Leaves,
    LeftOut,
    LeftOutRequest,
    Listing,
    ListRequest,
    Undone,
    UndoneRequest,
    control_replies,
    data_replies,
)
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import MIB, Limits
from leafsync.engine.sync import serve, serving
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import PeerClosed, RefusedByPeer
from tests.support.devices import Device, Pair, until
from tests.support.hostile import HostileClient, Talk, leaves_of, length_prefix, root_of

OLD = 1_700_000_000.0
BIG = random.Random(0).randbytes(2 * CHUNK_SIZE + 7)
SECRET = b"of no concern to anybody"


@dataclass
class Attacked:
    """A served folder, with a trusted device that means no good."""

    device: Device
    job: ServeJob
    attacker: HostileClient


@pytest.fixture
async def attacked(pair: Pair, request: pytest.FixtureRequest) -> AsyncIterator[Attacked]:
    """Serve a folder; the parameter, if there is one, is passed to `serve`."""
    device = pair.server
    device.write("big", BIG, mtime=OLD)
    device.write("dir/small", b"small", mtime=OLD)
    device.write("secret.log", SECRET, mtime=OLD)
    device.write(".leafsyncignore", "*.log\n", mtime=OLD)
    identity = Identity.generate()
    device.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    job = await device.serve(**getattr(request, "param", {}))
    async with HostileClient.connected(identity, job) as attacker:
        yield Attacked(device, job, attacker)


async def refused(pair: Pair, attacked: Attacked, code: CloseCode = CloseCode.PROTOCOL) -> None:
    """Expect the attacker to be put out with this code, and a good client to be served all the same."""
    error = await attacked.attacker.closed()
    assert isinstance(error, PeerClosed)
    assert error.fields["code"] == code
    await until(lambda: not attacked.job.status().peers)
    left = attacked.device.seen(PeerLeft)
    assert len(left) == 1
    assert left[0].reason
    await still_served(pair, attacked)


async def still_served(pair: Pair, attacked: Attacked) -> None:
    summary = await pair.client.pull(attacked.job, file="dir/small")
    assert pair.client.read("dir/small") == b"small"
    assert not summary.problems


def item(path: str, data: bytes, *ranges: tuple[int, int], leaves: bool = False) -> FetchItem:
    return FetchItem(path, len(data), root_of(data), list(ranges), leaves)


SMALL = item("dir/small", b"small", (0, 1))


# HELLO


@pytest.mark.parametrize("first", [Fetch([SMALL]), DigestRequest(), ListRequest([""])])
async def test_anything_before_hello(pair: Pair, attacked: Attacked, first: Fetch | DigestRequest) -> None:
    talk = await attacked.attacker.open()
    await talk.say(first)
    await refused(pair, attacked)
    assert len(attacked.device.seen(PeerConnected)) == 1, "the good one alone"


async def test_a_data_stream_before_hello(pair: Pair, attacked: Attacked) -> None:
    await attacked.attacker.open()
    data = await attacked.attacker.open()
    await data.say(Fetch([SMALL]))
    await refused(pair, attacked)


async def test_hello_twice(pair: Pair, attacked: Attacked) -> None:
    talk = await attacked.attacker.greeted()
    await talk.say(Hello([1], [], "again", "test"))
    await refused(pair, attacked)


async def test_no_version_in_common(pair: Pair, attacked: Attacked) -> None:
    talk = await attacked.attacker.open()
    await talk.say(Hello([7, 8], [], "from the future", "test"))
    await refused(pair, attacked, CloseCode.VERSION)


@pytest.mark.parametrize("says", [b"", b"\x00\x00", length_prefix(100) + b"\x93", length_prefix(3) + b"\x91\xcc\x80"])
async def test_no_hello_in_time(pair: Pair, attacked: Attacked, monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    monkeypatch.setattr(serve, "HELLO_DEADLINE", 0.1)
    # The session of the fixture's connection began with the usual deadline.
    identity = Identity.generate()
    pair.server.engine.trust.add(identity.fingerprint, name="late", confirmed="test")
    async with HostileClient.connected(identity, attacked.job) as late:
        talk = await late.open()
        await talk.raw(says)
        error = await late.closed()
    assert isinstance(error, PeerClosed)
    assert error.fields["code"] == CloseCode.STALLED


async def test_an_untrusted_device_sees_nothing(attacked: Attacked) -> None:
    with pytest.raises(RefusedByPeer):
        async with HostileClient.connected(Identity.generate(), attacked.job):
            pytest.fail("it was let in")
    assert len(attacked.job.status().peers) == 1
    assert attacked.device.engine.snapshot().serving[0].files is None, "nothing was even scanned for it"


# Listings


@pytest.mark.parametrize(
    "path", ["..", "../..", "/etc", "dir/..", "dir/small", "nowhere", ".leafsync_tmp", "dir/", "./dir", "secret.log"]
)
async def test_directories_that_were_not_listed(pair: Pair, attacked: Attacked, path: str) -> None:
    talk = await attacked.attacker.shown()
    await talk.say(ListRequest([path]))
    await refused(pair, attacked)


@pytest.mark.parametrize("path", ["..", "../secret", "/etc/passwd", "a//b", ".leafsync_trash", "a\x00b"])
async def test_digests_of_paths_that_cannot_be(pair: Pair, attacked: Attacked, path: str) -> None:
    talk = await attacked.attacker.greeted()
    await talk.say(DigestRequest(path))
    await refused(pair, attacked)


@pytest.mark.parametrize("path", ["", "..", "../secret", "/etc/passwd", "a//b", ".leafsync_trash", "a\x00b"])
async def test_questions_about_paths_that_cannot_be(pair: Pair, attacked: Attacked, path: str) -> None:
    talk = await attacked.attacker.shown()
    await talk.say(LeftOutRequest([("dir", True), (path, False)]))
    await refused(pair, attacked)


async def test_what_is_left_out_is_told_of_what_is_not_there_too(attacked: Attacked) -> None:
    asked = [("dir/small", False), ("secret.log", False), ("no.log", False), ("nowhere", False), ("x.log/below", True)]
    talk = await attacked.attacker.greeted()
    assert await attacked.attacker.ask(talk, LeftOutRequest(asked)) == LeftOut([]), "before there is an offer"
    await attacked.attacker.ask(talk, DigestRequest())
    assert await attacked.attacker.ask(talk, LeftOutRequest(asked)) == LeftOut([1, 2, 4])


async def test_what_was_undone_is_told_of_what_is_so_still(attacked: Attacked) -> None:
    def undo(*paths: str) -> PassRecord:
        actions = [ActionRecord(ActionKind.MADE, path, mark=index.state(path)) for path in paths]
        return PassRecord(f"undo of {paths}", "2026-11-22T13:45:01+00:00", "", tuple(actions))

    talk = await attacked.attacker.greeted()
    assert await attacked.attacker.ask(talk, UndoneRequest(0)) == Undone([], True), "before there is an offer"
    digest = await attacked.attacker.ask(talk, DigestRequest("dir/small"))
    assert isinstance(digest, Digest)
    assert digest.undo == 0
    share = attacked.job._context.share
    assert share.latest is not None
    index = share.latest.index
    for paths in (("dir",), ("dir/small", "secret.log", "gone")):
        await share.workers.run(share.store.put_pass, undo(*paths))
    digest = await attacked.attacker.ask(talk, DigestRequest("dir/small"))
    assert isinstance(digest, Digest)
    answers = [await attacked.attacker.ask(talk, UndoneRequest(number)) for number in range(4)]
    told = [[path for path, _entry in answer.entries] for answer in answers if isinstance(answer, Undone)]
    assert told == [["dir", "dir/small"], ["dir/small"], [], []]


async def test_a_listing_names_what_is_ignored_as_withheld_alone(attacked: Attacked) -> None:
    listing = await attacked.attacker.ask(await attacked.attacker.shown(), ListRequest([""]))
    assert isinstance(listing, Listing)
    secret = next(entry for entry in listing.entries if entry.name == "secret.log")
    assert (secret.size, secret.hash, secret.mtime_ns) == (0, b"", 0)


# Content


@pytest.mark.parametrize(
    "wanted",
    [
        item("nowhere", b"small", (0, 1)),
        item("secret.log", SECRET, (0, 1)),
        item("../server-home/identity.pem", b"small", (0, 1)),
        item("/etc/passwd", b"small", (0, 1)),
        item(".leafsync_tmp/lock", b"small", (0, 1)),
        item("dir", b"small", (0, 1)),
        item("dir/../big", BIG, (0, 1)),
        item("nowhere", BIG, leaves=True),
    ],
    ids=lambda wanted: wanted.path,
)
async def test_files_that_are_not_on_offer_are_gone(attacked: Attacked, wanted: FetchItem) -> None:
    """A file that is there but was never listed gets the same answer as one that does not exist (fault case 52)."""
    await attacked.attacker.shown()
    assert await attacked.attacker.fetch(wanted) == [Abort(AbortReason.GONE)]


@pytest.mark.parametrize("attacked", [{"file": "dir/small"}], indirect=True)
async def test_files_outside_of_the_filter_are_gone(attacked: Attacked) -> None:
    await attacked.attacker.shown()
    answers = await attacked.attacker.fetch(item("big", BIG, (0, 1)), SMALL)
    assert answers == [Abort(AbortReason.GONE), Chunk(0, 5, answers[1].encoding), b"small", End()]  # type: ignore[union-attr]


async def test_fetch_before_digest_finds_nothing(attacked: Attacked) -> None:
    await attacked.attacker.greeted()
    assert await attacked.attacker.fetch(SMALL) == [Abort(AbortReason.GONE)]


async def test_another_root_or_size_is_a_change(attacked: Attacked) -> None:
    await attacked.attacker.shown()
    answers = await attacked.attacker.fetch(
        item("dir/small", b"other", (0, 1)),
        FetchItem("dir/small", 4, root_of(b"small"), [(0, 1)]),
        FetchItem("big", 1 << 43, root_of(BIG), [(0, 1 << 20)]),
    )
    assert answers == [Abort(AbortReason.CHANGED)] * 3


@pytest.mark.parametrize(
    "ranges",
    [[(1, 1), (0, 1)], [(0, 2), (1, 1)], [(0, 1), (0, 1)], [(3, 1)], [(0, 4)], [(0, 8 << 20)], [(8_000_000, 1)]],
)
async def test_ranges_that_cannot_be(pair: Pair, attacked: Attacked, ranges: list[tuple[int, int]]) -> None:
    await attacked.attacker.shown()
    data = await attacked.attacker.open()
    await data.say(Fetch([item("big", BIG, *ranges)]))
    await refused(pair, attacked)


async def test_ranges_beyond_a_small_file(pair: Pair, attacked: Attacked) -> None:
    await attacked.attacker.shown()
    data = await attacked.attacker.open()
    await data.say(Fetch([item("dir/small", b"small", (0, 2))]))
    await refused(pair, attacked)


async def test_as_many_ranges_as_a_request_may_name(attacked: Attacked) -> None:
    await attacked.attacker.shown()
    ranges = [(2 * number, 1) for number in range(4096)]
    wanted = FetchItem("big", 8192 * CHUNK_SIZE, root_of(BIG), ranges)
    assert await attacked.attacker.fetch(wanted) == [Abort(AbortReason.CHANGED)]


async def test_more_ranges_than_a_request_may_name(pair: Pair, attacked: Attacked) -> None:
    await attacked.attacker.shown()
    data = await attacked.attacker.open()
    await data.say(Fetch([FetchItem("big", 1 << 43, bytes(32), [(2 * n, 1) for n in range(4097)])]))
    await refused(pair, attacked)


async def test_leaves_and_chunks_in_one_request(attacked: Attacked) -> None:
    await attacked.attacker.shown()
    leaves, chunk, data, end = await attacked.attacker.fetch(item("big", BIG, (1, 1), leaves=True))
    assert isinstance(leaves, Leaves)
    assert leaves.leaves == leaves_of(BIG)
    assert isinstance(chunk, Chunk)
    assert (chunk.index, data, end) == (1, BIG[CHUNK_SIZE : 2 * CHUNK_SIZE], End())


@pytest.mark.parametrize(
    "data",
    [
        length_prefix(0),
        length_prefix((1 << 32) - 1),
        length_prefix(4) + b"\xff\xfe\x00\x01",
        length_prefix(2) + b"\x91\x63",
    ],
    ids=["empty", "huge", "garbage", "unknown tag"],
)
@pytest.mark.parametrize("where", ["hello", "control", "data"])
async def test_garbage_frames(pair: Pair, attacked: Attacked, where: str, data: bytes) -> None:
    talk = await (attacked.attacker.open() if where == "hello" else attacked.attacker.shown())
    if where == "data":
        talk = await attacked.attacker.open()
    await talk.raw(data)
    await refused(pair, attacked)


async def test_a_frame_cut_short(pair: Pair, attacked: Attacked) -> None:
    await attacked.attacker.shown()
    data = await attacked.attacker.open()
    await data.raw(length_prefix(100) + b"\x92")
    data.stream.finish()
    await refused(pair, attacked)


# What it holds and how long it waits


async def never_read_content(attacker: HostileClient, talks: list[Talk]) -> None:
    data = await attacker.open()
    talks.append(data)
    await data.say(Fetch([item("big", BIG, (0, 3))] * 100))


async def never_read_listings(attacker: HostileClient, talks: list[Talk]) -> None:
    for _time in range(400):
        await talks[0].say(ListRequest(["wide"] * 400))


@pytest.mark.parametrize("attack", [never_read_content, never_read_listings])
async def test_answers_that_are_never_read(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    attack: Callable[[HostileClient, list[Talk]], Coroutine[Any, Any, None]],
) -> None:
    """What waits for the attacker is bounded, and so is the time."""
    limits = Limits(stall_deadline=0.2)
    monkeypatch.setattr(serving, "limits_for", lambda _rate: limits)
    device = pair.server
    device.write("big", BIG, mtime=OLD)
    for number in range(100):
        device.write(f"wide/{number:0200}", b"", mtime=OLD)
    identity = Identity.generate()
    device.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    job = await device.serve()
    async with HostileClient.connected(identity, job) as attacker:
        talks = [await attacker.shown()]
        asking = asyncio.create_task(attack(attacker, talks))
        error = await attacker.closed()
        await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(error, PeerClosed)
        assert error.fields["code"] == CloseCode.STALLED
        assert attacker.connection.bytes_received < 12 * MIB, "a window and what was under way"
    await pair.client.pull(job)
    assert pair.client.read("big") == BIG


async def test_streams_beyond_the_cap_wait(pair: Pair, attacked: Attacked) -> None:
    attacker = attacked.attacker
    await attacker.shown()
    idle = [await attacker.open() for _number in range(15)]
    for talk in idle:
        await talk.raw(b"\x00")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await attacker.open()
    await still_served(pair, attacked)
    assert not attacker.connection.closed


async def give_up_asking(talk: Talk) -> None:
    talk.stream.reset(CloseCode.DONE)


async def give_up_reading(talk: Talk) -> None:
    await talk.hear(data_replies)
    talk.stream.stop(CloseCode.DONE)


async def give_up(talk: Talk) -> None:
    talk.stream.reset(CloseCode.DONE)
    talk.stream.stop(CloseCode.DONE)


@pytest.mark.parametrize("abandon", [give_up_asking, give_up_reading, give_up])
async def test_streams_given_up_leave_room_for_others(
    attacked: Attacked, abandon: Callable[[Talk], Awaitable[None]]
) -> None:
    attacker = attacked.attacker
    await attacker.shown()
    async with asyncio.timeout(3):
        for _number in range(20):
            talk = await attacker.open()
            await talk.say(Fetch([item("big", BIG, (0, 1))]))
            await abandon(talk)
            if abandon is give_up_reading:
                talk.stream.finish()
        assert (await attacker.fetch(SMALL))[-1] == End()


async def test_a_device_that_leaves_in_the_middle(pair: Pair, attacked: Attacked) -> None:
    await attacked.attacker.shown()
    data = await attacked.attacker.open()
    await data.say(Fetch([item("big", BIG, (0, 3))] * 10))
    await data.hear(data_replies)
    attacked.attacker.connection.close(CloseCode.DONE)
    await until(lambda: not attacked.job.status().peers)
    assert [left.reason for left in attacked.device.seen(PeerLeft)] == [""]
    await still_served(pair, attacked)


async def test_requests_ahead_of_answers_are_answered_in_order(attacked: Attacked) -> None:
    talk = await attacked.attacker.greeted()
    await talk.say(DigestRequest(), ListRequest(["", "dir"]), DigestRequest("dir"), ListRequest([""]))
    lengths = []
    for _number in range(5):
        answer = await talk.hear(control_replies)
        if isinstance(answer, Listing):
            lengths.append(len(answer.entries))
    assert lengths == [4, 1, 1], "the last one speaks of the second digest"
