"""A connection over a link in memory: streams, back-pressure, limits, ends, and the time it all takes."""

import asyncio
import functools
import gc
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aioquic.quic.packet import QuicStreamFrame

from leafsync.engine.net.connection import Connection
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.streams import Stream
from leafsync.engine.sync.channel import REPLY_DEADLINE, patiently
from leafsync.errors import (
    ConnectionLost,
    LeafSyncError,
    PeerClosed,
    PeerStalled,
    PeerUnknown,
    ProtocolViolated,
    RefusedByPeer,
    StreamReset,
    StreamStopped,
)

MIB = 1024 * 1024
MakePair = Callable[..., Any]
SMALL = Limits(
    stream_window=64 * 1024, connection_window=128 * 1024, stream_high_water=64 * 1024, send_high_water=96 * 1024
)


async def streams_of(client: Connection, server: Connection) -> tuple[Stream, Stream]:
    """Open a stream and return its two ends; one byte was read from it."""
    near = await client.open_stream()
    await near.write(b"!")
    far = await server.accept_stream()
    assert await far.read(1) == b"!"
    return near, far


def buffered(connection: Any) -> int:
    """Bytes a connection holds for readers that have not come."""
    return sum(len(stream._buffer) for stream in connection._streams.values())


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


# Streams


async def test_bytes_arrive_in_both_directions(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, far = await streams_of(client, server)
    await near.write(frame(b"question"))
    assert await far.read_frame(cap=100) == b"question"
    await far.write(frame(b"answer"))
    far.finish()
    assert await near.read_frame(cap=100) == b"answer"
    assert await near.read_frame(cap=100) is None


async def test_the_server_opens_streams_too(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    far, near = await streams_of(server, client)
    assert far.id % 4 == 1
    await near.write(b"back")
    assert await far.read(10) == b"back"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_eight_mebibytes_survive_a_bad_link(make_pair: MakePair, make_link: MakePair, seed: int) -> None:
    link = make_link(seed=seed, loss=0.02, reorder=0.05, duplicate=0.02)
    client, server = await make_pair(link=link).handshake()
    size = (8 if seed == 1 else 1) * MIB
    data = random.Random(seed).randbytes(size)
    near = await client.open_stream()

    async def send() -> None:
        await near.write(data)
        near.finish()

    async def receive() -> str:
        far = await server.accept_stream()
        digest = hashlib.sha256()
        while piece := await far.read(256 * 1024, deadline=60):
            digest.update(piece)
        return digest.hexdigest()

    _, received = await asyncio.gather(send(), receive())
    assert received == hashlib.sha256(data).hexdigest()
    assert link.dropped > link.carried / 200


async def test_read_exactly_may_ask_for_more_than_the_windows(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=SMALL).handshake()
    near, far = await streams_of(client, server)
    data = bytes(range(256)) * 4096
    _, received = await asyncio.gather(near.write(data), far.read_exactly(len(data), deadline=60))
    assert received == data


async def test_eight_streams_share_small_windows_without_a_standstill(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=SMALL).handshake()
    pairs = [await streams_of(client, server) for _ in range(8)]
    data = bytes(100_000)
    async with asyncio.TaskGroup() as group:
        for near, far in pairs:
            group.create_task(near.write(data))
            group.create_task(far.read_exactly(len(data), deadline=60))


async def test_small_writes_of_one_turn_leave_together(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, _ = await streams_of(client, server)
    await asyncio.sleep(1)
    before = client.datagrams_sent
    for _ in range(50):
        await near.write(b"0123456789")
    await asyncio.sleep(0)
    assert client.datagrams_sent == before + 1


# Back-pressure


async def test_a_peer_that_never_reads_stops_the_writer_and_holds_little(make_pair: MakePair) -> None:
    limits = Limits(stall_deadline=5)
    client, server = await make_pair(limits=limits).handshake()
    near, _ = await streams_of(client, server)
    loop = asyncio.get_running_loop()
    written = 0

    async def write_for_ever() -> None:
        nonlocal written
        while True:
            await near.write(bytes(MIB))
            written += MIB

    with pytest.raises(PeerStalled) as raised:
        await write_for_ever()
    assert "5 s" in str(raised.value)
    assert written <= limits.stream_window + limits.stream_high_water
    assert buffered(server) <= limits.stream_window
    assert client._quic.unacked_total() <= limits.stream_high_water + 64 * 1024
    assert loop.time() < 1100


async def test_the_high_water_mark_of_the_connection_counts_all_streams(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=Limits(stall_deadline=5)).handshake()
    nears = [(await streams_of(client, server))[0] for _ in range(6)]
    results = await asyncio.gather(*(near.write(bytes(8 * MIB)) for near in nears), return_exceptions=True)
    assert all(isinstance(result, PeerStalled) for result in results)
    limits = Limits()
    assert client._quic.unacked_total() <= limits.send_high_water + 6 * 64 * 1024
    assert buffered(server) <= limits.connection_window


async def test_a_slow_reader_is_not_a_stalled_one(make_pair: MakePair) -> None:
    limits = Limits(stream_window=64 * 1024, stream_high_water=64 * 1024, stall_deadline=3)
    client, server = await make_pair(limits=limits).handshake()
    near, far = await streams_of(client, server)
    writing = asyncio.create_task(near.write(bytes(400_000)))
    got = 0
    while got < 400_000:
        await asyncio.sleep(1)
        got += len(await far.read(40_000, deadline=10))
    await writing


FLUSH = 280.0
"""Seconds in which a slow disk flushes gigabytes, those of other programs too."""


async def test_a_peer_that_waits_for_its_disk_is_waited_for(make_pair: MakePair) -> None:
    """It reads nothing meanwhile, but it is there: its transport answers."""
    client, server = await make_pair().handshake()
    near, far = await streams_of(client, server)
    writing = asyncio.create_task(near.write(bytes(16 * MIB)))
    await asyncio.sleep(FLUSH)
    assert not writing.done()
    assert len(await far.read_exactly(16 * MIB, deadline=10)) == 16 * MIB
    await writing


async def test_a_peer_that_is_gone_is_not_waited_for(make_pair: MakePair) -> None:
    """However long one that is there would be."""
    pair = make_pair()
    client, server = await pair.handshake()
    near, _ = await streams_of(client, server)
    pair.link.cut = True
    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectionLost):
        await near.write(bytes(16 * MIB))
    assert asyncio.get_running_loop().time() - began < Limits().idle_timeout + 10


async def read_patiently(connection: Connection, stream: Stream, count: int) -> bytes:
    """Wait for content as the receiver of files does."""
    read = functools.partial(stream.read_exactly, count, deadline=REPLY_DEADLINE)
    return bytes(await patiently(connection, read))


async def test_content_that_a_full_window_keeps_away_is_waited_for(make_pair: MakePair) -> None:
    """A receiver that waits for its disk reads nothing of other streams: nothing more may come then."""
    client, server = await make_pair().handshake()
    full = [await streams_of(client, server) for _ in range(2)]
    writing = [asyncio.create_task(near.write(bytes(6 * MIB))) for near, _far in full]
    near, far = await streams_of(client, server)
    await asyncio.sleep(1)
    assert buffered(server) + 3 == Limits().connection_window, "three bytes were read"
    writing.append(asyncio.create_task(near.write(b"content")))
    reading = asyncio.create_task(read_patiently(server, far, 7))
    await asyncio.sleep(FLUSH)
    assert not reading.done()
    for _near, unread in full:
        await unread.read_exactly(6 * MIB, deadline=10)
    assert await reading == b"content"
    await asyncio.gather(*writing)


async def test_content_that_never_comes_is_given_up(make_pair: MakePair) -> None:
    """What keeps the connection alive is no progress."""
    client, server = await make_pair().handshake()
    _near, far = await streams_of(client, server)
    began = asyncio.get_running_loop().time()
    with pytest.raises(PeerStalled):
        await read_patiently(server, far, 7)
    assert asyncio.get_running_loop().time() - began < REPLY_DEADLINE + 1


async def test_sparse_offsets_cannot_take_more_than_the_window(make_pair: MakePair) -> None:
    """Upstream would double the window for each: ten bytes cost half a gigabyte."""
    limits = Limits(stream_window=256 * 1024, connection_window=512 * 1024)
    pair = make_pair(limits=limits)
    client, server = await pair.handshake()
    near, _ = await streams_of(client, server)
    quic = pair.client_quic
    sender = quic._streams[near.id].sender
    for _ in range(10):
        offset = min(quic._streams[near.id].max_stream_data_remote, quic._remote_max_data) - 1
        frames = [QuicStreamFrame(data=b"z", offset=offset)]

        def get_frame(size: int, limit: int | None = None, frames: Any = frames) -> QuicStreamFrame | None:
            sender.buffer_is_empty = True
            return frames.pop() if frames else None

        sender.get_frame, sender.buffer_is_empty = get_frame, False
        client._transmit()
        await asyncio.sleep(0.1)
    stream = server._quic._streams[near.id]
    assert len(stream.receiver._buffer) <= limits.stream_window
    assert stream.max_stream_data_local <= limits.stream_window + 1
    assert server._quic._local_max_data.value <= limits.connection_window + 1


async def test_a_peer_that_ignores_the_window_is_closed(make_pair: MakePair) -> None:
    pair = make_pair(limits=SMALL)
    client, server = await pair.handshake()
    near, _ = await streams_of(client, server)
    pair.client_quic._streams[near.id].max_stream_data_remote = 1 << 30
    pair.client_quic._remote_max_data = 1 << 30
    for _ in range(20):
        client.send_stream(near.id, bytes(64 * 1024))
    await server.wait_closed()
    assert isinstance(server.error, ProtocolViolated)
    assert buffered(server) <= SMALL.connection_window


async def test_many_tiny_writes_cost_the_reader_no_more_than_their_bytes(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, _ = await streams_of(client, server)
    for _ in range(200):
        await near.write(b"x")
        client._transmit()
    await asyncio.sleep(1)
    (stream,) = server._streams.values()
    assert len(stream._buffer._segments) == 1
    assert len(stream._buffer) == 200


# Limits on what a peer opens and resets


async def test_the_seventeenth_stream_waits_for_one_to_finish(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    pairs = [await streams_of(client, server) for _ in range(16)]
    opening = asyncio.create_task(client.open_stream())
    await asyncio.sleep(1)
    assert not opening.done()
    near, far = pairs[0]
    near.finish()
    far.finish()
    assert await far.read(1) == b""
    assert await near.read(1) == b""
    assert (await opening).id == 64


async def test_opening_gives_up_when_the_peer_never_allows_it(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=Limits(peer_streams=1, stall_deadline=2)).handshake()
    await streams_of(client, server)
    with pytest.raises(PeerStalled):
        await client.open_stream()


async def test_a_peer_that_opens_more_streams_than_allowed_is_closed(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    pair.client_quic._remote_max_streams_bidi = 1000
    for _ in range(17):
        await (await client.open_stream()).write(b"x")
    await server.wait_closed()
    assert isinstance(server.error, ProtocolViolated)


@pytest.mark.parametrize("by", ["reset", "stop"])
async def test_a_peer_that_keeps_resetting_is_closed(make_pair: MakePair, by: str) -> None:
    limits = Limits(max_resets=20, reset_period=10)
    client, server = await make_pair(limits=limits).handshake()
    count = 0
    while not server.closed and count < 40:
        near, far = await streams_of(client, server)
        if by == "reset":
            near.reset(1)
            far.finish()
        else:
            near.stop(1)
            near.finish()
        await asyncio.sleep(0.1)
        count += 1
    assert 10 <= count <= 21
    await server.wait_closed()
    assert isinstance(server.error, ProtocolViolated)
    assert "resets" in str(server.error)


async def test_a_few_resets_now_and_then_are_ordinary(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=Limits(max_resets=5, reset_period=10)).handshake()
    for _ in range(20):
        near, far = await streams_of(client, server)
        near.reset(1)
        far.finish()
        await asyncio.sleep(3)
    assert not server.closed


async def test_finished_streams_leave_nothing_behind(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    for _ in range(20):
        near, far = await streams_of(client, server)
        near.finish()
        far.finish()
        assert await far.read(1) == b""
        assert await near.read(1) == b""
        del near, far

    async def serve() -> None:
        while True:
            far = await server.accept_stream()
            await far.read(10)
            far.finish()

    serving = asyncio.create_task(serve())
    count = 1000
    for number in range(count):
        near = await client.open_stream()
        assert near.id == 4 * (20 + number)
        await near.write(b"x")
        near.finish()
        assert await near.read(1) == b""
        del near
    await asyncio.sleep(1)
    for connection in (client, server):
        assert not connection._streams
        assert not connection._finishing
        assert not connection._quic._streams
        assert not connection._quic._stream_credit
        assert not connection._quic._streams_queue
        assert not connection._waiting
    serving.cancel()
    gc.collect()
    assert sum(isinstance(thing, Stream) for thing in gc.get_objects()) < 10


# Ends


async def test_a_reset_is_told_to_the_reader(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, far = await streams_of(client, server)
    reading = asyncio.create_task(far.read(1))
    await asyncio.sleep(0.1)
    near.reset(7)
    with pytest.raises(StreamReset) as raised:
        await reading
    assert raised.value.fields["code"] == 7
    with pytest.raises(StreamReset):
        await far.read_frame(cap=10)


async def test_a_stop_is_told_to_the_writer(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, far = await streams_of(client, server)
    writing = asyncio.create_task(near.write(bytes(20 * MIB)))
    await asyncio.sleep(0.1)
    far.stop(9)
    with pytest.raises(StreamStopped) as raised:
        await writing
    assert raised.value.fields["code"] == 9


async def test_what_nobody_read_of_a_reset_stream_is_credited_back(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=SMALL).handshake()
    for _ in range(10):
        near, far = await streams_of(client, server)
        await near.write(bytes(50_000))
        await asyncio.sleep(0.5)
        near.reset(1)
        far.finish()
        await asyncio.sleep(0.5)
    near, far = await streams_of(client, server)
    _, data = await asyncio.gather(near.write(bytes(100_000)), far.read_exactly(100_000, deadline=10))
    assert len(data) == 100_000


async def test_what_arrives_after_a_stop_is_dropped_and_credited(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=SMALL).handshake()
    for _ in range(10):
        near, far = await streams_of(client, server)
        far.stop(1)
        with pytest.raises(StreamStopped):
            await near.write(bytes(200_000))
        far.finish()
        await asyncio.sleep(0.2)
    near, far = await streams_of(client, server)
    _, data = await asyncio.gather(near.write(bytes(100_000)), far.read_exactly(100_000, deadline=10))
    assert len(data) == 100_000
    assert buffered(server) == 0


Pending = Callable[[Connection, Stream], Awaitable[object]]
PENDING: dict[str, Pending] = {
    "read": lambda connection, stream: stream.read(1),
    "read_exactly": lambda connection, stream: stream.read_exactly(100),
    "read_frame": lambda connection, stream: stream.read_frame(cap=100),
    "write": lambda connection, stream: stream.write(bytes(20 * MIB)),
    "accept": lambda connection, stream: connection.accept_stream(),
    "open": lambda connection, stream: open_many(connection),
}


async def open_many(connection: Connection) -> None:
    """Open streams until the peer allows no more, and wait."""
    while True:
        await connection.open_stream()


@pytest.mark.parametrize("pending", PENDING)
@pytest.mark.parametrize("end", ["closed by peer", "closed here", "closed here for a reason", "lost", "refused"])
async def test_every_wait_is_told_how_the_connection_ended(make_pair: MakePair, pending: str, end: str) -> None:
    pair = make_pair(limits=Limits(stall_deadline=100))
    client, server = await pair.handshake()
    near, _ = await streams_of(client, server)
    waiting = asyncio.ensure_future(PENDING[pending](client, near))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    expected: type[LeafSyncError]
    if end == "closed by peer":
        server.close(3, "enough")
        expected = PeerClosed
    elif end == "closed here":
        client.close(3, "enough")
        expected = ConnectionLost
    elif end == "closed here for a reason":
        client.close(3, "enough", error=ProtocolViolated(peer="peer", reason="enough"))
        expected = ProtocolViolated
    elif end == "lost":
        pair.link.cut = True
        expected = ConnectionLost
    else:
        # TLS 1.3 lets a client finish before the server judged its key: the alert comes on a working connection.
        server._quic.close(error_code=0x100 + 42, frame_type=6)
        server._transmit()
        expected = RefusedByPeer
    with pytest.raises(expected) as raised:
        await waiting
    assert client.closed
    await client.wait_closed()
    for later in PENDING.values():
        with pytest.raises(expected):
            await later(client, near)
    if end == "closed by peer":
        assert raised.value.fields["code"] == 3
        assert "enough" in str(raised.value)
    if end == "closed here":
        assert client.error is None
    else:
        assert client.error is raised.value
    if end == "refused":
        assert pair.client_quic.own_fingerprint in str(raised.value)


async def test_what_came_whole_before_the_end_can_still_be_read(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, far = await streams_of(client, server)
    await near.write(frame(b"last words"))
    near.finish()
    await asyncio.sleep(0.1)
    client.close()
    await server.wait_closed()
    assert await far.read_frame(cap=100) == b"last words"
    assert await far.read_frame(cap=100) is None


async def test_loss_is_never_a_clean_end(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    near, far = await streams_of(client, server)
    await near.write(b"half a mess")
    await asyncio.sleep(0.1)
    pair.link.cut = True
    assert await far.read(100) == b"half a mess"
    with pytest.raises(ConnectionLost) as raised:
        await far.read(100)
    assert "30 s" in str(raised.value)


async def test_calls_on_streams_of_a_connection_that_is_over_do_no_harm(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    near, _ = await streams_of(client, server)
    client.close()
    near.finish()
    near.stop(1)
    near.reset(1)
    client.close()
    assert client.closed


async def test_a_lost_close_is_repeated_to_a_peer_that_goes_on(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    near, _ = await streams_of(client, server)
    await asyncio.sleep(0.5)
    pair.link.cut = True
    server.close(5, "bye")
    pair.link.cut = False
    await near.write(b"are you there?")
    await client.wait_closed()
    assert isinstance(client.error, PeerClosed)
    assert asyncio.get_running_loop().time() < 1010


async def test_a_closed_connection_is_released_after_its_closing_period(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    client.close()
    await asyncio.sleep(5)
    assert pair.client_end.events == ["established", "ended", "released"]
    assert pair.server_end.events == ["established", "ended", "released"]
    assert repr(server).endswith("(over)>")


async def test_the_close_reason_is_short(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    client.close(1, "x" * 5000)
    await server.wait_closed()
    assert server.error is not None
    assert server.error.fields["reason"] == "x" * 120


async def test_a_hostile_close_reason_is_shown_escaped(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    client.close(1, "\x1b[2J\nyou won")
    await server.wait_closed()
    assert "\x1b" not in str(server.error)
    assert "\\x1b" in str(server.error)


# Time


async def test_the_handshake_fails_when_nobody_answers(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.link.cut = True
    with pytest.raises(ConnectionLost):
        await pair.handshake()


async def test_a_keepalive_keeps_an_idle_connection(make_pair: MakePair) -> None:
    client, server = await make_pair().handshake()
    await asyncio.sleep(300)
    assert not client.closed
    assert not server.closed
    assert client.datagrams_sent < 100
    near, _ = await streams_of(client, server)
    assert near.id == 0


async def test_without_keepalive_an_idle_connection_is_lost(make_pair: MakePair) -> None:
    client, server = await make_pair(limits=Limits(keepalive=1000)).handshake()
    await asyncio.sleep(60)
    assert isinstance(client.error, ConnectionLost)
    assert isinstance(server.error, ConnectionLost)


async def test_a_busy_connection_sends_no_pings(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    near, far = await streams_of(client, server)
    pings: list[int] = []
    pair.client_quic.send_ping = pings.append
    for _ in range(30):
        await near.write(b"x")
        await far.read(1)
        await asyncio.sleep(2)
    assert not pings


# The rest of the face


async def test_counters_and_addresses(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    await streams_of(client, server)
    await asyncio.sleep(1)
    assert client.datagrams_sent == server.datagrams_received > 3
    assert client.bytes_sent == server.bytes_received == sum(map(len, pair.client_end.sent))
    assert client.peer_address == ("192.0.2.2", 4455)
    assert server.peer_address == ("192.0.2.1", 50000)
    assert client.address == "server.example:4455"
    assert 0.009 < client.rtt < 0.03
    assert client.ready
    assert client.refusal is None
    assert "server.example" in repr(client)


async def test_all_connection_ids_are_routed(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    await asyncio.sleep(1)
    assert {cid.cid for cid in server._quic._host_cids} - {server._quic.host_cid} <= pair.server_end.routes
    assert len(pair.server_end.routes) >= 7
    before = set(pair.server_end.routes)
    client._quic.change_connection_id()
    client._transmit()
    await asyncio.sleep(1)
    assert pair.server_end.routes != before


async def test_a_peer_may_change_its_address(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    near, far = await streams_of(client, server)
    pair.client_end.address = ("198.51.100.7", 1234)
    await near.write(b"moved")
    assert await far.read(10) == b"moved"
    await asyncio.sleep(1)
    assert server.peer_address == ("198.51.100.7", 1234)
    await far.write(b"welcome")
    assert await near.read(10) == b"welcome"


async def test_garbage_for_a_connection_changes_nothing(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    near, far = await streams_of(client, server)
    dice = random.Random(5)
    host_cid = server._quic.host_cid
    for size in (0, 1, 8, 9, 20, 100, 1452):
        for first in (0x40, 0x43, 0x7F, 0xC0, 0xFF):
            server.receive([bytes([first]) + host_cid + dice.randbytes(size)], ("192.0.2.1", 50000))
    server.receive([b""], ("192.0.2.1", 50000))
    await near.write(b"still here")
    assert await far.read(10) == b"still here"
    assert not client.closed


async def test_an_internal_error_closes_one_connection_and_is_logged(
    make_pair: MakePair, caplog: pytest.LogCaptureFixture
) -> None:
    client, server = await make_pair().handshake()
    near, _ = await streams_of(client, server)

    def broken(datagrams: list[bytes], address: object, now: float) -> None:
        raise IndexError("a bug")

    server._quic.receive_batch = broken
    await near.write(b"boom")
    await server.wait_closed()
    assert "a datagram could not be handled" in caplog.text
    await client.wait_closed()
    assert isinstance(client.error, PeerClosed)


async def test_an_error_while_building_datagrams_abandons_the_connection(
    make_pair: MakePair, caplog: pytest.LogCaptureFixture
) -> None:
    client, server = await make_pair().handshake()
    near, _ = await streams_of(client, server)

    def broken(now: float) -> list[tuple[bytes, object]]:
        raise IndexError("a bug")

    client._quic.datagrams_to_send = broken
    await near.write(b"boom")
    await client.wait_closed()
    assert "datagrams could not be built" in caplog.text
    assert isinstance(client.error, ConnectionLost)


async def test_no_stream_reaches_a_server_before_its_client_was_judged(make_pair: MakePair) -> None:
    def refuse(fingerprint: str) -> None:
        raise PeerUnknown(address="there", fingerprint=fingerprint)

    pair = make_pair(server_authorize=refuse)
    with pytest.raises(RefusedByPeer):
        await pair.handshake()
    with pytest.raises(PeerUnknown):
        await pair.server.accept_stream()
