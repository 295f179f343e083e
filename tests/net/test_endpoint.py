"""Listening and connecting over real loopback sockets."""

import asyncio
import contextlib
import errno
import logging
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.net import dialing, endpoint as endpoint_module
from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import Endpoint, connect, listen
from leafsync.engine.net.identity import Fingerprint, Identity
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.udp import UdpSocket
from leafsync.errors import (
    AddressUnresolvable,
    AddressUnusable,
    ConnectionLost,
    ConnectTimedOut,
    LeafSyncError,
    PeerChanged,
    PeerClosed,
    PeerStalled,
    PeerUnknown,
    PortInUse,
    RefusedByPeer,
    SelfConnection,
    Unreachable,
)

REAL_TIME = True
HOST = "127.0.0.1"


@dataclass
class Server:
    """A listening endpoint, and what came to it."""

    identity: Identity
    arrived: "asyncio.Queue[Connection]" = field(default_factory=asyncio.Queue)
    accepts: Callable[[Fingerprint], None] = lambda fingerprint: None
    endpoint: Endpoint | None = None

    @property
    def port(self) -> int:
        assert self.endpoint is not None
        return self.endpoint.port


Serve = Callable[..., Awaitable[Server]]
Dial = Callable[..., Awaitable[Connection]]


@pytest.fixture
async def serve(identities: dict[str, Identity]) -> AsyncIterator[Serve]:
    servers: list[Server] = []

    async def start(*, host: str | None = HOST, port: int = 0, limits: Limits | None = None) -> Server:
        server = Server(identities["server"])
        server.endpoint = await listen(
            server.identity,
            host=host,
            port=port,
            authorize=lambda fingerprint: server.accepts(fingerprint),
            on_connection=server.arrived.put_nowait,
            limits=limits or Limits(),
        )
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.endpoint is not None:
            await server.endpoint.close()


@pytest.fixture
async def dial(identities: dict[str, Identity]) -> AsyncIterator[Dial]:
    made: list[Connection] = []

    async def start(
        port: int,
        host: str = HOST,
        *,
        name: str = "client",
        authorize: Callable[[Fingerprint], None] = lambda fingerprint: None,
        deadline: float = 8.0,
    ) -> Connection:
        connection = await connect(identities[name], host, port, authorize=authorize, deadline=deadline)
        made.append(connection)
        return connection

    yield start
    for connection in made:
        connection.close()
    await asyncio.sleep(0)


def sockets_open() -> int:
    """How many sockets this process has."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        # The descriptor that lists the directory is gone by now.
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


# Getting through


@pytest.mark.parametrize("host", [HOST, "localhost"])
async def test_a_connection_carries_data_both_ways(serve: Serve, dial: Dial, host: str) -> None:
    server = await serve(host=None)
    client = await dial(server.port, host)
    accepted = await server.arrived.get()
    data = random.Random(1).randbytes(3_000_000)
    stream = await client.open_stream()

    async def echo() -> None:
        there = await accepted.accept_stream()
        await there.write(await there.read_exactly(len(data), deadline=20))
        there.finish()

    async with asyncio.TaskGroup() as group:
        group.create_task(echo())
        group.create_task(stream.write(data))
        received = await stream.read_exactly(len(data), deadline=20)
    assert received == data
    assert await stream.read(1) == b""
    assert client.peer_fingerprint == server.identity.fingerprint
    assert accepted.peer_address[0] in (HOST, "::1")
    assert client.address == f"{host}:{server.port}"
    assert client.batches_received < client.datagrams_received
    assert server.endpoint is not None
    assert server.endpoint.connections == (accepted,)
    assert server.endpoint.batching > 1


async def test_bulk_takes_the_fast_path_over_real_sockets(serve: Serve, dial: Dial) -> None:
    server = await serve()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    data = random.Random(2).randbytes(6_000_000)
    for writer, reader in ((client, accepted), (accepted, client)):
        before = writer._quic.sent_fast, writer.datagrams_sent, reader._quic.received_fast, reader.datagrams_received
        stream = await writer.open_stream()
        writing = asyncio.create_task(stream.write(data))
        assert await (await reader.accept_stream()).read_exactly(len(data), deadline=20) == data
        await writing
        built, sent = writer._quic.sent_fast - before[0], writer.datagrams_sent - before[1]
        taken, received = reader._quic.received_fast - before[2], reader.datagrams_received - before[3]
        assert built > 0.9 * sent
        # Where the kernel grants small buffers some is lost, and what comes behind a gap is upstream's.
        assert taken > 0.5 * received


async def moves_both_ways(client: Connection, accepted: Connection, size: int) -> None:
    """Move `size` bytes each way and see that they arrive."""
    data = random.Random(3).randbytes(size)
    for writer, reader in ((client, accepted), (accepted, client)):
        stream = await writer.open_stream()
        writing = asyncio.create_task(stream.write(data))
        assert await (await reader.accept_stream()).read_exactly(size, deadline=20) == data
        await writing


class PlainSocket(socket.socket):
    """A socket of a kernel that neither splits nor joins datagrams."""

    def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
        if level == socket.IPPROTO_UDP:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        super().setsockopt(level, option, value, *rest)

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        if ancillary:
            raise OSError(errno.EIO, "Input/output error")
        return super().sendmsg(buffers, ancillary, flags, address)


async def test_sockets_without_gso_and_gro_do_the_same_slower(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", PlainSocket)
    server = await serve()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    await moves_both_ways(client, accepted, 2_000_000)
    assert server.endpoint is not None
    assert not server.endpoint._udp.segmenting
    assert server.endpoint._udp.datagrams == server.endpoint._udp.receives * server.endpoint.batching
    assert client.datagram_size == accepted.datagram_size == 1452


class NarrowSocket(socket.socket):
    """A socket on a link that carries little; the kernel knows."""

    takes = 1300

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        if len(buffers[0]) > self.takes:
            raise OSError(errno.EINVAL if len(buffers) > 1 else errno.EMSGSIZE, "too large")
        return super().sendmsg(buffers, ancillary, flags, address)


async def test_datagrams_the_kernel_refuses_are_not_sent_again_as_large(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", NarrowSocket)
    server = await serve(host=None)
    client = await dial(server.port)
    accepted = await server.arrived.get()
    await moves_both_ways(client, accepted, 1_000_000)
    assert client.datagram_size == accepted.datagram_size == 1200
    assert server.endpoint is not None
    assert server.endpoint._udp.segmenting is (socket.SOL_SOCKET == 1)


async def test_a_link_that_shrinks_at_work_is_heeded_at_once(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", NarrowSocket)
    monkeypatch.setattr(NarrowSocket, "takes", 1500)
    server = await serve()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    await moves_both_ways(client, accepted, 1_000_000)
    assert client.datagram_size == accepted.datagram_size == 1452
    monkeypatch.setattr(NarrowSocket, "takes", 1300)
    await moves_both_ways(client, accepted, 1_000_000)
    assert client.datagram_size == accepted.datagram_size == 1200


async def test_a_refusal_for_one_peer_is_no_word_about_the_others(serve: Serve, dial: Dial) -> None:
    server = await serve()
    clients = [await dial(server.port) for _ in range(2)]
    accepted = [await server.arrived.get() for _ in range(2)]
    for client, there in zip(clients, accepted, strict=True):
        await moves_both_ways(client, there, 10_000)
    assert server.endpoint is not None
    address = accepted[0]._quic.get_peer_address()
    assert address is not None
    server.endpoint._on_too_large(1452, address)
    assert [there.datagram_size for there in accepted] == [1200, 1452]
    accepted[0].close()
    server.endpoint._on_too_large(1452, address)


async def test_an_address_that_does_not_answer_gives_way_to_one_that_does(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((HOST, 0))
    addresses = [
        (socket.AF_INET6, ("2001:db8::1", 9, 0, 0)),
        (socket.AF_INET, silent.getsockname()),
        (socket.AF_INET, (HOST, server.port)),
    ]

    async def resolve(host: str, port: int) -> list[dialing.Resolved]:
        return list(addresses)

    monkeypatch.setattr(dialing, "resolve", resolve)
    monkeypatch.setattr(dialing, "STAGGER", 0.02)
    before = sockets_open()
    client = await dial(server.port, "many.example")
    assert client.peer_address == (HOST, server.port)
    await asyncio.sleep(0.05)
    assert sockets_open() == before + 1, "the attempts that lost are closed"
    silent.close()


async def test_a_refusal_ends_the_race_at_once(serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()

    async def resolve(host: str, port: int) -> list[dialing.Resolved]:
        return [(socket.AF_INET, (HOST, server.port))] * 2

    def refuse(fingerprint: Fingerprint) -> None:
        asked.append(fingerprint)
        raise PeerUnknown(address="there", fingerprint=fingerprint)

    asked: list[Fingerprint] = []
    monkeypatch.setattr(dialing, "resolve", resolve)
    with pytest.raises(PeerUnknown):
        await dial(server.port, authorize=refuse)
    assert len(asked) == 1


# Not getting through


async def test_the_callers_refusal_is_raised_to_the_caller(serve: Serve, dial: Dial) -> None:
    server = await serve()
    error = PeerChanged(address="there", name="box", device="box", expected="e", fingerprint="f")

    def refuse(fingerprint: Fingerprint) -> None:
        raise error

    before = sockets_open()
    with pytest.raises(PeerChanged) as raised:
        await dial(server.port, authorize=refuse)
    assert raised.value is error
    await asyncio.sleep(0.05)
    assert sockets_open() == before


async def test_the_servers_refusal_names_this_device(
    serve: Serve, dial: Dial, identities: dict[str, Identity], caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve()

    def refuse(fingerprint: Fingerprint) -> None:
        raise PeerUnknown(address="there", fingerprint=fingerprint)

    server.accepts = refuse
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        with pytest.raises(RefusedByPeer) as raised:
            await dial(server.port)
        assert identities["client"].fingerprint in str(raised.value)
    assert server.arrived.empty()
    assert server.endpoint is not None
    assert server.endpoint.connections == ()
    lines = [record.getMessage() for record in caplog.records if "did not come in" in record.getMessage()]
    assert len(lines) == 1, "a stranger must not fill the log"
    assert server.endpoint._admission.half_open == 0


async def test_a_device_refuses_itself(serve: Serve, dial: Dial) -> None:
    server = await serve()
    with pytest.raises(SelfConnection) as raised:
        await dial(server.port, name="server")
    assert f"{HOST}:{server.port}" in str(raised.value)


async def test_nobody_listening_is_told_quickly(dial: Dial) -> None:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind((HOST, 0))
    port = probe.getsockname()[1]
    probe.close()
    started = time.monotonic()
    with pytest.raises(Unreachable) as raised:
        await dial(port)
    assert not isinstance(raised.value, ConnectTimedOut)
    assert str(port) in str(raised.value)
    assert time.monotonic() - started < 2


async def test_a_silent_address_is_given_up_at_the_deadline(dial: Dial) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        port = silent.getsockname()[1]
        before = sockets_open()
        started = time.monotonic()
        with pytest.raises(ConnectTimedOut) as raised:
            await dial(port, deadline=0.4)
        assert 0.3 < time.monotonic() - started < 2
        assert raised.value.fields == {"address": f"{HOST}:{port}", "seconds": "0.4", "port": port}
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sockets_open() == before


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "two words", "\x1b[31m"])
async def test_a_name_that_is_none_is_told(dial: Dial, host: str) -> None:
    with pytest.raises(AddressUnresolvable) as raised:
        await dial(4455, host)
    assert "\x1b" not in str(raised.value)


async def test_a_port_is_taken_once(serve: Serve) -> None:
    server = await serve()
    with pytest.raises(PortInUse):
        await serve(port=server.port)


async def test_an_address_that_is_not_ours_cannot_be_listened_on(serve: Serve) -> None:
    with pytest.raises(AddressUnusable):
        await serve(host="203.0.113.9")
    with pytest.raises(AddressUnresolvable):
        await serve(host="no-such-host.invalid")


async def test_a_name_server_that_does_not_answer_is_not_waited_for_for_ever(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_host: str, _port: int) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(endpoint_module, "resolve", silent)
    monkeypatch.setattr(endpoint_module, "RESOLVE_DEADLINE", 0.01)
    with pytest.raises(AddressUnresolvable, match="the name server does not answer"):
        await serve(host="desk.example")


async def test_a_broken_aioquic_refuses_both(serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise LeafSyncError(reason="this aioquic has no _x")

    monkeypatch.setattr(endpoint_module, "check_aioquic", broken)
    monkeypatch.setattr(dialing, "check_aioquic", broken)
    with pytest.raises(LeafSyncError, match="_x"):
        await serve()
    with pytest.raises(LeafSyncError, match="_x"):
        await dial(4455)


# Strangers


async def test_garbage_is_ignored_and_cheap(serve: Serve, dial: Dial) -> None:
    server = await serve()
    dice = random.Random(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.setblocking(False)
        for number in range(1000):
            datagram = bytearray(dice.randbytes(dice.choice([0, 1, 5, 20, 100, 1200, 1452])))
            if len(datagram) >= 1200 and number % 2:
                datagram[:6] = bytes([0xC0 | datagram[0] & 0x0F, 0, 0, 0, 1, 8])
            noise.sendto(datagram, (HOST, server.port))
            if number % 50 == 0:
                await asyncio.sleep(0)
        client = await dial(server.port)
    assert client.ready
    assert server.endpoint is not None
    assert len(server.endpoint.connections) == 1


async def test_a_flood_of_initials_creates_nothing(serve: Serve) -> None:
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    server = await serve()
    assert server.endpoint is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        for _ in range(50):
            quic = QuicConnection(configuration=QuicConfiguration(server_name="leafsync"))
            quic.connect((HOST, server.port), now=0.0)
            flood.sendto(quic.datagrams_to_send(now=0.0)[0][0], (HOST, server.port))
        await asyncio.sleep(0.1)
    assert not server.endpoint._ids
    assert not server.endpoint._routes


async def test_more_connections_than_allowed_are_refused_with_a_word(serve: Serve, dial: Dial) -> None:
    server = await serve(limits=Limits(max_connections=2))
    first = await dial(server.port)
    await dial(server.port)
    with pytest.raises(PeerClosed, match="too many"):
        await dial(server.port)
    first.close()
    accepted = await server.arrived.get()
    await accepted.wait_closed()
    async with asyncio.timeout(5):
        while True:
            try:
                await dial(server.port)
                break
            except PeerClosed:
                await asyncio.sleep(0.05)


async def test_a_handshake_that_never_ends_is_ended(
    serve: Serve, identities: dict[str, Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(limits=Limits(handshake_deadline=0.2))
    assert server.endpoint is not None
    begun = asyncio.Event()
    receive = Connection.receive
    client_side: list[Connection] = []

    def dumb_after_retry(self: Connection, datagrams: list[bytes], address: tuple[str, int]) -> None:
        if self.address == f"{HOST}:{server.port}" and (client_side or datagrams[0][0] & 0x30 != 0x30):
            client_side.append(self)
            self._transmit = lambda: None  # type: ignore[method-assign]
            begun.set()
            return
        receive(self, datagrams, address)

    monkeypatch.setattr(Connection, "receive", dumb_after_retry)
    dialling = asyncio.create_task(
        connect(identities["client"], HOST, server.port, authorize=lambda fingerprint: None, deadline=5)
    )
    await begun.wait()
    assert server.endpoint._admission.half_open == 1
    (half_open,) = server.endpoint._ids
    async with asyncio.timeout(5):
        await half_open.wait_closed()
    await asyncio.sleep(0)
    assert isinstance(half_open.error, PeerStalled), "it broke no rule"
    assert server.endpoint._admission.half_open == 0
    assert not server.endpoint._ids
    assert server.arrived.empty()
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling


# Ends


async def test_closing_the_endpoint_tells_every_peer(serve: Serve, dial: Dial) -> None:
    server = await serve()
    clients = [await dial(server.port) for _ in range(3)]
    before = sockets_open()
    assert server.endpoint is not None
    await server.endpoint.close(4, "going home")
    for client in clients:
        async with asyncio.timeout(2):
            await client.wait_closed()
        assert isinstance(client.error, PeerClosed)
        assert client.error.fields["code"] == 4
        assert "going home" in str(client.error)
    await asyncio.sleep(0.01)
    assert sockets_open() == before - 4
    await server.endpoint.close()


async def test_a_client_that_closes_leaves_no_socket_and_tells_the_server(serve: Serve, dial: Dial) -> None:
    server = await serve()
    before = sockets_open()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    client.close(2, "done")
    await client.wait_closed()
    async with asyncio.timeout(2):
        await accepted.wait_closed()
    assert isinstance(accepted.error, PeerClosed)
    await asyncio.sleep(0.01)
    assert sockets_open() == before


async def test_the_last_word_of_a_client_survives_one_loss(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    send, sent = UdpSocket.send, 0

    def lose_the_first(self: UdpSocket, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        nonlocal sent
        sent += 1
        if sent > 1:
            send(self, datagrams)

    monkeypatch.setattr(UdpSocket, "send", lose_the_first)
    client.close(2, "done")
    await client.wait_closed()
    async with asyncio.timeout(2):
        await accepted.wait_closed()


async def test_a_full_kernel_delays_the_release_of_a_client(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    client = await dial(server.port)
    answers = [True, True, False]
    monkeypatch.setattr(UdpSocket, "pending", property(lambda self: answers.pop(0)))
    client.close()
    await client.wait_closed()
    assert answers == []


async def test_a_server_that_vanished_is_noticed_before_the_idle_timeout(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "REFUSED_FOR", 0.1)
    server = await serve()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    assert server.endpoint is not None
    server.endpoint._udp.close()
    accepted.abandon(None)
    stream = await client.open_stream()
    await stream.write(b"anybody?")
    async with asyncio.timeout(10):
        await client.wait_closed()
    assert isinstance(client.error, ConnectionLost)


async def test_trouble_with_one_new_connection_does_not_end_the_others(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve()
    assert server.endpoint is not None
    first = await dial(server.port)

    def broken(connection: Connection) -> None:
        raise KeyError("a bug")

    server.endpoint._on_connection = broken
    with pytest.raises(PeerClosed, match="internal error"):
        await dial(server.port)
    assert not first.closed
    assert "could not be taken over" in caplog.text


async def test_a_full_receive_buffer_is_repaired_by_quic(serve: Serve, dial: Dial) -> None:
    server = await serve()
    client = await dial(server.port)
    accepted = await server.arrived.get()
    near = await client.open_stream()
    writing = asyncio.create_task(near.write(bytes(2_000_000)))
    await asyncio.sleep(0.05)
    time.sleep(0.2)  # noqa: ASYNC251 -- the loop is stuck on purpose, as on a busy machine
    far = await accepted.accept_stream()
    assert len(await far.read_exactly(2_000_000, deadline=20)) == 2_000_000
    await writing


# Addresses


async def test_the_addresses_to_type_elsewhere(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = await serve()
    assert bound.endpoint is not None
    assert bound.endpoint.addresses() == [f"{HOST}:{bound.port}"]
    anywhere = await serve(host=None)
    assert anywhere.endpoint is not None
    monkeypatch.setattr(endpoint_module, "outward_hosts", lambda: ["192.0.2.5", "2001:db8::5"])
    listening_on_ipv6 = ":" in anywhere.endpoint._bound[0]
    expected = [f"192.0.2.5:{anywhere.port}"] + [f"[2001:db8::5]:{anywhere.port}"] * listening_on_ipv6
    assert anywhere.endpoint.addresses() == expected
    monkeypatch.setattr(endpoint_module, "outward_hosts", list)
    assert anywhere.endpoint.addresses()[0].endswith(f":{anywhere.port}")
