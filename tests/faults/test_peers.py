"""Peers that mean no good, and strangers: the folder goes on being served, and nobody gets more than is due."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicErrorCode, QuicStreamFrame

from leafsync.engine.core.events import PeerConnected, PeerLeft, PeerRefused, Reconnecting, Warned
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import (
    Change,
    ChangeKind,
    ChangeRequest,
    Chunk,
    CloseCode,
    Encoding,
    End,
    Fetch,
    FetchItem,
    Leaves,
    data_requests,
)
from leafsync.engine.net import dialing
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import Endpoint
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.quic import configuration_for
from leafsync.engine.sync import connecting, receiver, serve, serving
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import (
    PeerClosed,
    PeerUnknown,
    ProtocolViolated,
    TrustRefused,
)
from tests.faults.cases import Case
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.hostile import HostileClient, Talk, connect_to, file_entry, leaves_of, length_prefix, root_of
from tests.support.strangers import (
    TRUSTED,
    TRUSTED_SERVER,
    converse,
    no_key,
    resumed_session,
    stolen_certificate,
    wrong_key,
)

TITLE = "Network and peers"

CASES = (
    Case(55, "garbage arrives at the port, or on a live connection", "ignored; who is connected does not notice"),
    Case(
        56,
        "a flood of handshakes, from forged addresses or never finished",
        "a forged address leaves no trace; unfinished handshakes are capped for each network, and end after 10 s",
    ),
    Case(
        57,
        "a stranger: no key, another key, a stolen certificate, a session that was resumed",
        "refused inside the handshake, without one byte of application data in either direction; the user is told",
    ),
    Case(
        58,
        "a device that says nothing, or a byte now and then",
        "closed after 10 s without a handshake, and 10 s without its HELLO; the others are served meanwhile",
    ),
    Case(
        59,
        "a device that stops in the middle of a chunk",
        "given up after 5 minutes, or 30 s when it is gone; what is verified is kept, the folder is free for others",
    ),
    Case(
        60,
        "a device that sends more than it may, leaves gaps to be remembered, or never reads",
        "it is held back by windows that follow what was read; then closed",
    ),
    Case(
        61,
        "a device that opens streams and leaves them, or resets them again and again",
        "16 streams at most; closed after 100 resets in 10 s",
    ),
)

OLD = 1_700_000_000.0
BIG = random.Random(0).randbytes(3 * CHUNK_SIZE + 7)
HOST = "127.0.0.1"
SHORT = Limits(handshake_deadline=1.0, max_handshakes_per_network=2, max_resets=5)
"""Deadlines and caps for tests."""

KIB = 1024
NARROW = Limits(stream_window=64 * KIB, connection_window=128 * KIB, stall_deadline=0.2)
"""Small windows."""


@pytest.fixture
async def server(pair: Pair) -> ServeJob:
    """Serve a folder to the client."""
    pair.server.write("big", BIG, mtime=OLD)
    pair.server.write("small", b"small", mtime=OLD)
    return await pair.server.serve()


@asynccontextmanager
async def attacking(device: Device, job: ServeJob) -> AsyncIterator[HostileClient]:
    """Connect a trusted device that means no good."""
    identity = Identity.generate()
    device.engine.trust.add(identity.fingerprint, name=f"attacker-{identity.fingerprint[:8]}", confirmed="test")
    async with HostileClient.connected(identity, job) as attacker:
        yield attacker


async def still_served(pair: Pair, job: ServeJob) -> None:
    """Expect the good client to get what there is."""
    summary = await pair.client.sync(job)
    assert not summary.problems
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.read("small") == b"small"


async def put_out(attacker: HostileClient, code: CloseCode) -> None:
    """Expect the attacker to be told this code."""
    error = await attacker.closed()
    assert isinstance(error, PeerClosed)
    assert error.fields["code"] == code


def endpoint_of(job: ServeJob) -> Endpoint:
    assert job._endpoint is not None
    return job._endpoint


def initial(port: int) -> bytes:
    """Return the first datagram of a client."""
    quic = QuicConnection(configuration=QuicConfiguration(server_name="leafsync", alpn_protocols=["leafsync/1"]))
    quic.connect((HOST, port), now=0.0)
    return quic.datagrams_to_send(now=0.0)[0][0]


# Garbage


def garbage(port: int) -> list[bytes]:
    """Return datagrams that are none of ours: noise, nearly right ones, and right ones with a bit turned."""
    dice = random.Random(55)
    noise = [dice.randbytes(dice.choice([0, 1, 5, 20, 100, 1200, 1452])) for _ in range(150)]
    nearly = [bytes([0xC0 | dice.randrange(16), 0, 0, 0, 1, 8]) + dice.randbytes(1194) for _ in range(50)]
    turned = []
    for _ in range(20):
        datagram = bytearray(initial(port))
        datagram[dice.randrange(len(datagram))] ^= 1 << dice.randrange(8)
        turned += [bytes(datagram), bytes(datagram[: dice.randrange(1, 1200)])]
    return [*noise, *nearly, *turned]


async def test_case_55_garbage_at_the_port(pair: Pair, server: ServeJob, caplog: pytest.LogCaptureFixture) -> None:
    port = server.status().port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        for number, datagram in enumerate(garbage(port)):
            noise.sendto(datagram, (HOST, port))
            if number % 20 == 0:
                await asyncio.sleep(0)
        await still_served(pair, server)
    assert endpoint_of(server)._admission.half_open == 0
    assert [event.address for event in pair.server.seen(PeerConnected)] == [
        event.address for event in pair.server.seen(PeerLeft)
    ]
    assert not pair.server.seen(Warned)
    assert not pair.server.seen(PeerRefused)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def test_case_55_garbage_on_a_live_connection(pair: Pair, server: ServeJob) -> None:
    """Whoever sees the traffic knows the connection's ID, but not its keys."""
    job = await pair.client.connect(server)
    await until(lambda: bool(pair.client.passes()))
    (connection,) = endpoint_of(server).connections
    dice = random.Random(1)
    ids = [route for route, owner in endpoint_of(server)._routes.items() if owner is connection]
    before = connection.datagrams_received
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        for number in range(60):
            first = bytes([0x40 | dice.randrange(64)])
            noise.sendto(first + ids[number % len(ids)] + dice.randbytes(40), (HOST, server.status().port))
        await until(lambda: connection.datagrams_received >= before + 60)
    pair.server.write("new", "content")
    await until(lambda: "new" in pair.client.tree())
    assert endpoint_of(server).connections == (connection,)
    assert len(pair.client.seen(PeerConnected)) == 1
    await job.stop()


# Floods


async def test_case_56_forged_addresses_leave_no_trace(pair: Pair, server: ServeJob) -> None:
    """A forged address never hears the Retry, so it never comes back with the token."""
    endpoint, port = endpoint_of(server), server.status().port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.setblocking(False)
        flood.bind((HOST, 0))
        for _ in range(20):
            question = initial(port)
            flood.sendto(question, (HOST, port))
            answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(flood, 2048), 5)
            assert len(answer) < len(question), "nobody can be flooded through us"
    assert not endpoint._ids
    assert not endpoint._routes
    assert endpoint._admission.half_open == 0
    await still_served(pair, server)


@asynccontextmanager
async def half_open(job: ServeJob, monkeypatch: pytest.MonkeyPatch, count: int) -> AsyncIterator[None]:
    """Begin handshakes that stop after the Retry was answered."""
    port = job.status().port
    receive = Connection.receive
    identities = [Identity.generate() for _ in range(count)]
    fingerprints = {identity.fingerprint for identity in identities}
    stopped: set[Connection] = set()

    def stop(self: Connection, datagrams: list[bytes], address: tuple[str, int]) -> None:
        if self._quic.own_fingerprint in fingerprints and not is_retry(datagrams[0]):
            stopped.add(self)
        else:
            receive(self, datagrams, address)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "receive", stop)
        dials = [
            asyncio.create_task(dialing.connect(identity, HOST, port, authorize=lambda _: None))
            for identity in identities
        ]
        try:
            await until(lambda: len(stopped) == count)
            yield
        finally:
            for dial in dials:
                dial.cancel()
            await asyncio.gather(*dials, return_exceptions=True)


def is_retry(datagram: bytes) -> bool:
    return datagram[0] & 0xF0 == 0xF0


async def test_case_56_unfinished_handshakes_are_capped_and_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "limits_for", lambda _rate: SHORT)
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.1)
    pair.server.write("small", b"small", mtime=OLD)
    job = await pair.server.serve()
    async with attacking(pair.server, job) as connected:
        async with half_open(job, monkeypatch, 2):
            assert endpoint_of(job)._admission.half_open == 2
            client = await pair.client.connect(job)
            await until(lambda: bool(pair.client.seen(Reconnecting)))
            assert "too many connections" in pair.client.seen(Reconnecting)[0].reason
            await connected.shown()  # who was there before is served all the time
        await until(lambda: bool(pair.client.passes()))  # once the deadline of the others has passed
        assert pair.client.read("small") == b"small"
        await client.stop()
    assert not pair.server.seen(PeerRefused)


# Strangers


def only(fingerprint: str) -> Callable[[str], None]:
    def authorize(seen: str) -> None:
        if seen != fingerprint:
            raise PeerUnknown(address="there", fingerprint=seen)

    return authorize


KNOWN: dict[str, Any] = {
    "client_authorize": only(TRUSTED_SERVER.fingerprint),
    "server_authorize": only(TRUSTED.fingerprint),
}
both = pytest.mark.parametrize("retry", [False, True], ids=["plain", "retry"])
strangers = pytest.mark.parametrize("stranger", [no_key, wrong_key, stolen_certificate, resumed_session])


@both
@strangers
def test_case_57_not_one_byte_to_or_from_a_stranger(retry: bool, stranger: Callable[[QuicConfiguration], None]) -> None:
    there, here = converse(retry=retry, client=stranger, **KNOWN)
    assert there.sent > 0, "the stranger has sent all it had keys for"
    assert not here.established
    assert here.nothing
    assert (there.received, there.delivered) == (0, 0)


@both
@pytest.mark.parametrize("impostor", [wrong_key, stolen_certificate])
def test_case_57_not_one_byte_to_or_from_an_impostor_that_serves(
    retry: bool, impostor: Callable[[QuicConfiguration], None]
) -> None:
    here, there = converse(retry=retry, server=impostor, **KNOWN)
    assert not here.established
    assert here.nothing
    assert there.nothing
    assert there.quic.peer_fingerprint is None, "nor does it learn who has asked"


@both
def test_case_57_the_right_devices_hear_each_other(retry: bool) -> None:
    """And what was counted above does count."""
    for side in converse(retry=retry, **KNOWN):
        assert side.established
        assert side.sent == side.received == side.delivered > 0


@both
def test_case_57_a_ticket_is_no_reason_to_refuse_the_right_key(retry: bool) -> None:
    def with_ticket(configuration: QuicConfiguration) -> None:
        certificate, private_key = configuration.certificate, configuration.private_key
        resumed_session(configuration)
        configuration.certificate, configuration.private_key = certificate, private_key

    _there, here = converse(retry=retry, client=with_ticket, **KNOWN)
    assert here.established
    assert here.quic.peer_fingerprint == TRUSTED.fingerprint, "it had to show its key"
    assert not here.quic.tls.session_resumed
    assert here.delivered > 0
    kinds = [type(event) for event in here.seen]
    assert kinds.index(events.HandshakeCompleted) < kinds.index(events.StreamDataReceived), "none of it came early"


@strangers
async def test_case_57_a_served_folder_shows_nothing_to_a_stranger(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch, stranger: Callable[[QuicConfiguration], None]
) -> None:
    """Over the real port, with the user told, and with the next one served."""

    def pretending(*arguments: Any, **options: Any) -> QuicConfiguration:
        configuration = configuration_for(*arguments, **options)
        stranger(configuration)
        return configuration

    known = pair.client.engine.identity
    with monkeypatch.context() as patched:
        patched.setattr(dialing, "configuration_for", pretending)
        with pytest.raises((TrustRefused, ProtocolViolated)):
            await dialing.connect(known, HOST, server.status().port, authorize=lambda _fingerprint: None)
    await until(lambda: endpoint_of(server)._admission.half_open == 0)
    assert not server.status().peers
    assert not pair.server.seen(PeerConnected)
    assert server.status().files is None, "the folder was not even looked at"
    assert [event.fingerprint for event in pair.server.seen(PeerRefused) if "not trusted" in event.reason] == [
        event.fingerprint for event in pair.server.seen(PeerRefused)
    ]
    assert len(pair.server.seen(PeerRefused)) == (stranger is wrong_key), "only a key that was proven has a name"
    await still_served(pair, server)


# Silence


@pytest.mark.parametrize("says", [b"", b"\x00\x00", length_prefix(100) + b"\x93"])
async def test_case_58_no_hello(pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    monkeypatch.setattr(serve, "HELLO_DEADLINE", 0.3)
    async with attacking(pair.server, server) as attacker:
        if says:
            await (await attacker.open()).raw(says)
        await put_out(attacker, CloseCode.STALLED)
    monkeypatch.undo()
    await still_served(pair, server)


async def test_case_58_a_byte_now_and_then(pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HELLO_DEADLINE", 0.3)
    async with attacking(pair.server, server) as attacker:
        talk = await attacker.open()

        async def trickle() -> None:
            for byte in length_prefix(10_000) + bytes(10_000):
                await talk.raw(bytes([byte]))
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        await put_out(attacker, CloseCode.STALLED)
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    monkeypatch.undo()
    await still_served(pair, server)


async def test_case_58_a_handshake_that_stops_is_ended(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "limits_for", lambda _rate: SHORT)
    job = await pair.server.serve()
    async with half_open(job, monkeypatch, 1):
        assert endpoint_of(job)._admission.half_open == 1
        await until(lambda: endpoint_of(job)._admission.half_open == 0)
    await until(lambda: not endpoint_of(job)._ids)
    assert not job.status().peers


def test_case_58_the_deadlines() -> None:
    assert Limits().handshake_deadline == serve.HELLO_DEADLINE == 10


# Standstill


async def test_case_59_a_server_that_stops_in_the_middle_of_a_chunk(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "REPLY_DEADLINE", 0.3)
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.02)
    server = await hostile({"big": BIG})
    client.write("big", "the version before", mtime=OLD)

    async def stop(talk: Talk, _item: FetchItem) -> None:
        await talk.chunk(0, BIG[:CHUNK_SIZE])
        await talk.chunk(1, BIG[CHUNK_SIZE : 2 * CHUNK_SIZE])
        await talk.say(Chunk(2, CHUNK_SIZE, Encoding.RAW))
        await talk.raw(BIG[2 * CHUNK_SIZE : 2 * CHUNK_SIZE + 1000])
        server.item = server.honest_item  # the next time

    server.chunks(stop)
    job = await connect_to(client, server, mirror=True)
    await until(lambda: len(server.connections) == 2 or bool(client.passes()))
    assert client.read("big") == b"the version before"
    assert isinstance(server.errors[0], PeerClosed)
    assert server.errors[0].fields["code"] == CloseCode.STALLED
    await until(lambda: bool(client.passes()))
    await job.stop()
    assert server.indexes() == [0, 1, 2, 3, 2, 3], "the chunks that were verified are not asked for again"
    assert client.read("big") == BIG
    assert "big" in client.trash()


async def upload(attacker: HostileClient, talk: Talk, data: bytes) -> tuple[Talk, list[int]]:
    """Ask for a PUT of "new", send the leaves, and return the stream and the chunks that are wanted then."""
    await talk.say(ChangeRequest([Change(ChangeKind.PUT, "new", file_entry("new", data))], True))
    stream = Talk(attacker.connection, await attacker.connection.accept_stream())
    while True:
        request = await stream.hear(data_requests)
        assert isinstance(request, Fetch)
        (item,) = request.items
        if item.ranges:
            return stream, [index for first, count in item.ranges for index in range(first, first + count)]
        await stream.say(Leaves(leaves_of(data)), End())


async def test_case_59_a_client_that_stops_in_the_middle_of_an_upload(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is changed by one device at a time: it must not be held for ever."""
    monkeypatch.setattr(receiver, "REPLY_DEADLINE", 0.3)
    data = random.Random(59).randbytes(3 * CHUNK_SIZE)
    async with attacking(pair.server, server) as attacker:
        stream, wanted = await upload(attacker, await attacker.shown(), data)
        assert wanted == [0, 1, 2]
        await stream.chunk(0, data[:CHUNK_SIZE])
        await stream.say(Chunk(1, CHUNK_SIZE, Encoding.RAW))
        await stream.raw(data[CHUNK_SIZE : CHUNK_SIZE + 1000])
        await put_out(attacker, CloseCode.STALLED)
    assert "new" not in pair.server.tree()
    monkeypatch.undo()
    pair.client.write("mine", "content")
    await still_served(pair, server)
    assert pair.server.read("mine") == b"content"
    async with attacking(pair.server, server) as again:
        _stream, wanted = await upload(again, await again.shown(), data)
        assert wanted == [1, 2], "what was verified is kept"


# Floods of data


async def test_case_60_gaps_beyond_what_was_read_are_not_remembered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "limits_for", lambda _rate: NARROW)
    pair.server.write("small", b"small", mtime=OLD)
    job = await pair.server.serve()
    async with attacking(pair.server, job) as attacker:
        talk = await attacker.open()
        await talk.raw(length_prefix(1000))
        (connection,) = endpoint_of(job).connections
        await until(lambda: talk.stream.id in connection._quic._streams)
        receiving = connection._quic._streams[talk.stream.id].receiver
        for offset in (10_000, 30_000, NARROW.stream_window - 1):
            send_at(attacker.connection, talk.stream.id, offset)
        await until(lambda: receiving.highest_offset == NARROW.stream_window)
        assert len(receiving._buffer) <= NARROW.stream_window
        send_at(attacker.connection, talk.stream.id, 1 << 40)
        error = await attacker.closed()
        assert isinstance(error, PeerClosed)
        assert error.fields["transport_code"] == QuicErrorCode.FLOW_CONTROL_ERROR
        assert len(receiving._buffer) <= NARROW.stream_window
    await still_served(pair, job)


def send_at(connection: Connection, stream_id: int, offset: int) -> None:
    """Send a byte of a stream far behind the others."""
    sender = connection._quic._streams[stream_id].sender
    frames = [QuicStreamFrame(data=b"z", offset=offset)]
    plain = sender.get_frame

    def get_frame(*_arguments: Any, **_options: Any) -> QuicStreamFrame | None:
        sender.buffer_is_empty = True
        return frames.pop() if frames else None

    connection._quic._streams[stream_id].max_stream_data_remote = connection._quic._remote_max_data = 1 << 50
    sender.get_frame, sender.buffer_is_empty = get_frame, False  # type: ignore[method-assign]
    connection._transmit()
    sender.get_frame = plain  # type: ignore[method-assign]


async def test_case_60_content_that_is_never_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "limits_for", lambda _rate: Limits(stall_deadline=0.3, send_high_water=256 * KIB))
    pair.server.write("big", BIG, mtime=OLD)
    pair.server.write("small", b"small", mtime=OLD)
    job = await pair.server.serve()
    identity = Identity.generate()
    pair.server.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    async with HostileClient.connected(identity, job, limits=NARROW) as attacker:
        await attacker.shown()
        stream = await attacker.open()
        await stream.say(Fetch([FetchItem("big", len(BIG), root_of(BIG), [(0, 4)], False)] * 50))
        (connection,) = endpoint_of(job).connections
        await until(lambda: connection._quic.unacked_total() > 0)
        held = 0
        while not connection.closed:
            held = max(held, connection._quic.unacked_total())
            await asyncio.sleep(0.002)
        await put_out(attacker, CloseCode.STALLED)
        assert held < 256 * KIB + CHUNK_SIZE
        assert attacker.connection.bytes_received < NARROW.connection_window + 256 * KIB
    await still_served(pair, job)


async def test_case_60_content_that_nobody_asked_for(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"one": b"1", "two": b"2"})

    async def flood(talk: Talk, item: FetchItem) -> None:
        await server.honest_item(talk, item)
        while True:
            await talk.chunk(0, bytes(CHUNK_SIZE))

    server.item = flood
    job = await connect_to(client, server, once=True)
    with pytest.raises(ProtocolViolated):
        await job.wait()
    assert client.tree().keys() <= {"one"}


# Streams


async def test_case_61_streams_that_are_left_open(pair: Pair, server: ServeJob) -> None:
    async with attacking(pair.server, server) as attacker:
        await attacker.shown()
        for _ in range(15):
            await (await attacker.open()).raw(b"\x00")
        assert not attacker.connection._quic.may_open()
        await still_served(pair, server)
        attacker.connection._quic._remote_max_streams_bidi = 1000
        await (await attacker.open()).raw(b"\x00")
        error = await attacker.closed()
        assert isinstance(error, PeerClosed)
        assert error.fields["transport_code"] == QuicErrorCode.STREAM_LIMIT_ERROR
    await still_served(pair, server)


@pytest.mark.parametrize("by", ["reset", "stop"])
async def test_case_61_streams_that_are_reset_again_and_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(serving, "limits_for", lambda _rate: SHORT)
    pair.server.write("small", b"small", mtime=OLD)
    job = await pair.server.serve()
    async with attacking(pair.server, job) as attacker:
        await attacker.shown()
        count = 0
        while not attacker.connection.closed:
            talk = await attacker.open()
            await talk.say(Fetch([FetchItem("small", 5, root_of(b"small"), [(0, 1)], False)]))
            getattr(talk.stream, by)(1)
            talk.stream.finish()
            count += 1
            assert count < 50
            await asyncio.sleep(0.01)
        error = await attacker.closed()
        assert "resets too many streams" in str(error)
        assert count > SHORT.max_resets
    await still_served(pair, job)
