"""Connections that are lost, move, meet, and end because a device is not trusted any more."""

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from leafsync.engine.core.address import Address
from leafsync.engine.core.backoff import backoff
from leafsync.engine.core.events import PeerConnected, PeerLeft, PeerRefused, Reconnecting, Warned
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import (
    Changed,
    ChangeRequest,
    CloseCode,
    FetchItem,
    Refusal,
    RefusalKind,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.streams import Stream
from leafsync.engine.net.udp import UdpSocket
from leafsync.engine.sync import connecting, doubles, serving
from leafsync.engine.sync.connecting import FIRST_RETRY, LAST_RETRY, ConnectJob
from leafsync.engine.sync.jobs import TRUST_INTERVAL
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import ConnectionLost, RefusedByPeer, SelfConnection, TrustWithdrawn, Unreachable
from tests.faults.cases import Case
from tests.support.devices import Device, Pair, connect_options, introduce, until
from tests.support.engines import MakeDevice, MakeHostile
from tests.support.hostile import TIME, FakeFolder, Talk, connect_to, pull_from
from tests.support.relay import Relay

TITLE = "Connections"

CASES = (
    Case(
        62,
        "the connection is lost, at whatever message",
        "what was done stays; the next pass does the rest, and makes no copy of a conflict twice",
    ),
    Case(
        63,
        "an address changes, a network is left for another one, a laptop sleeps",
        "a new address of a network translator is followed; else a new connection after 1 to 60 s, each wait up to "
        "half shorter by chance",
    ),
    Case(
        64,
        "two devices serve and connect to each other at once",
        "both passes run, each change is checked against what was seen; nothing is lost, both end, and what one has "
        "done is no problem of the other. A version in conflict may get two copies, when both name it at once",
    ),
    Case(65, "a device is told to connect to itself", "refused with a sentence; nothing is touched"),
    Case(
        66,
        "two devices have one key",
        "both are served, as safely as any two devices; when they come from different hosts at the same time, the user "
        "of the serving device is told once. To each other they cannot connect",
        where="everywhere (two hosts: tested on Linux)",
    ),
    Case(67, "a neighbour pretends to be a device of ours", "nothing is announced and nobody looked for"),
    Case(
        68,
        "a device is taken out of the trust store while it is connected",
        "disconnected within about a second, by either side; what it has sent is kept but not used",
    ),
)

OLD = 1_700_000_000.0
BIG = random.Random(0).randbytes(3 * CHUNK_SIZE + 7)
HOST = "127.0.0.1"
MESSAGES = 40
"""More than a pass has here."""

QUICK = Limits(idle_timeout=0.6, keepalive=0.1)
"""A lost connection is noticed soon."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(connecting, "LAST_RETRY", 0.2)


def contents(device: Device) -> set[bytes]:
    """Return every content that is still to be had: in the folder or in its trash."""
    staging = device.folder / ".leafsync_tmp"
    paths = (path for path in device.folder.rglob("*") if path.is_file() and staging not in path.parents)
    return {path.read_bytes() for path in paths}


# Lost at every message


class Cable:
    """Is cut when the n-th message is about to be sent, whoever sends it."""

    def __init__(self, server: ServeJob, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.cut = False
        self._connections: set[Connection] = set()
        write = Stream.write

        async def counted(stream: Stream, data: Any) -> None:
            owner = stream._owner
            assert isinstance(owner, Connection)
            self._connections.add(owner)
            self.left -= 1
            if self.left == 0:
                self.cut = True
                for connection in self._connections | server._sessions.keys():
                    connection.abandon(ConnectionLost(peer=connection.address, reason="the cable was cut"))
            await write(stream, data)

        monkeypatch.setattr(Stream, "write", counted)

    def cut_at(self, message: int) -> None:
        """Have `message` more messages sent, less one."""
        self.left, self.cut = message, False
        self._connections.clear()


@pytest.mark.parametrize("first", [1, 2])
async def test_case_62_the_connection_is_lost_at_every_message(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """At every second one from the first or from the second on: each costs two passes."""
    server = await pair.server.serve()
    cable = Cable(server, monkeypatch)
    sides = (pair.server, pair.client)
    for device in sides:
        for message in range(first, MESSAGES + 1, 2):
            device.write(f"{message:03}/both", "the same", mtime=OLD)
            device.write(f"{message:03}/gone", f"deleted {message:03}", mtime=OLD)
    await pair.client.sync(server)
    lost = 0
    for message in range(first, MESSAGES + 1, 2):
        at = f"{message:03}"
        pair.server.write(f"{at}/down", BIG[: CHUNK_SIZE + message], mtime=OLD)
        pair.client.write(f"{at}/up", at * 500, mtime=OLD)
        for device in sides:
            device.write(f"{at}/both", f"{at} of {device.name}", mtime=OLD + len(device.name))
        (pair.client.folder / at / "gone").unlink()
        cable.cut_at(message)
        with contextlib.suppress(Unreachable):
            await pair.client.sync(server)
        if not cable.cut:
            break
        lost += 1
        cable.left = 0
        await until(lambda: not server.status().peers)
        summary = await pair.client.sync(server)
        assert not summary.problems, at
        assert pair.client.tree() == pair.server.tree(), at
        here = [path.removeprefix(f"{at}/") for path in pair.client.tree() if path.startswith(f"{at}/")]
        copies = [name for name in here if name.startswith("both.conflict-")]
        assert len(copies) == 1, at
        assert sorted(here) == ["both", *copies, "down", "up"], at
        versions = {pair.client.read(f"{at}/{name}") for name in ("both", *copies)}
        assert versions == {f"{at} of {device.name}".encode() for device in sides}
        assert f"deleted {at}".encode() in contents(pair.server), "in its trash"
    else:
        pytest.fail("the pass has more messages than were looked at")
    assert lost > 5, "or this has tested very little"


# Other addresses


async def through(client: Device, relay: Relay, **options: Any) -> ConnectJob:
    """Connect by way of a relay."""
    job = await client.engine.connect(connect_options(Address(HOST, relay.port), client.folder, **options))
    assert isinstance(job, ConnectJob)
    return job


async def test_case_63_a_translator_that_changes_its_port_is_followed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hears of the new port with the next datagram of the client: a keepalive, if there is nothing else."""
    for module in (connecting, serving):
        monkeypatch.setattr(module, "limits_for", lambda _rate: Limits(keepalive=0.1))
    pair.server.write("big", BIG, mtime=OLD)
    server = await pair.server.serve()
    async with Relay(server.status().port) as relay:
        job = await through(pair.client, relay)
        await until(lambda: job.status().totals.fetched >= CHUNK_SIZE or bool(pair.client.passes()))
        for _ in range(3):
            await relay.rebind()
            pair.server.write(f"by-way-of-{relay.sources[-1]}", "content")
            await until(lambda: pair.client.tree() == pair.server.tree())
        assert len(pair.client.seen(PeerConnected)) == 1, "it was one connection all the time"
        (peer,) = server._sessions
        assert peer.peer_address == (HOST, relay.sources[-1])
        await job.stop()


async def test_case_63_a_way_that_is_gone_for_a_while(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a laptop sleeps: both sides notice, and the client comes back and goes on."""
    for module in (connecting, serving):
        monkeypatch.setattr(module, "limits_for", lambda _rate: QUICK)
    pair.server.write("one", "1")
    server = await pair.server.serve()
    async with Relay(server.status().port) as relay:
        job = await through(pair.client, relay)
        await until(lambda: bool(pair.client.passes()))
        relay.cut = True
        await until(lambda: bool(pair.client.seen(Reconnecting)) and not server.status().peers)
        assert "nothing was heard" in pair.client.seen(Reconnecting)[0].reason
        assert "nothing was heard" in pair.server.seen(PeerLeft)[0].reason
        pair.server.write("two", "2")
        await relay.rebind()
        relay.cut = False
        job.sync_now()
        await until(lambda: "two" in pair.client.tree())
        await job.stop()


def test_case_63_the_waits() -> None:
    longest = [next(delays) for delays in [backoff(FIRST_RETRY, LAST_RETRY, lambda: 0.0)] for _ in range(9)]
    shortest = [next(delays) for delays in [backoff(FIRST_RETRY, LAST_RETRY, lambda: 0.999999)] for _ in range(9)]
    assert longest == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert shortest == pytest.approx([delay / 2 for delay in longest], rel=1e-3)


# Both at once


@pytest.fixture
async def mutual(make_device: MakeDevice) -> AsyncIterator[tuple[list[Device], list[ConnectJob]]]:
    """Two devices that serve and connect to each other at the same time, each with a history of its own."""
    devices = [await make_device("one"), await make_device("two")]
    introduce(*devices)
    for number in range(12):
        for device in devices:
            device.write(f"{device.name}-{number}", f"{device.name} {number}")
            if number < 4:
                device.write(f"both/{number}", f"{device.name} has its own {number}")
    one, two = devices
    servers = await asyncio.gather(*(device.serve() for device in devices))
    jobs = await asyncio.gather(one.connect(servers[1], mode=Mode.BOTH), two.connect(servers[0], mode=Mode.BOTH))
    yield devices, list(jobs)
    await asyncio.gather(*(job.stop() for job in jobs))


def settled(devices: list[Device], passes: list[int]) -> bool:
    """Whether both have the same, and each has done a pass that found nothing to do."""
    one, two = devices
    calm = [device.passes()[-1:] for device in devices if len(device.passes()) > passes[devices.index(device)]]
    return len(calm) == 2 and trees_are_equal(one, two)


def trees_are_equal(one: Device, two: Device) -> bool:
    return one.tree() == two.tree()


async def come_to_rest(devices: list[Device], jobs: list[ConnectJob]) -> None:
    """Wait until both sides have the same, and a pass of each finds that."""
    await until(lambda: trees_are_equal(*devices))
    passes = [len(device.passes()) for device in devices]
    for job in jobs:
        job.sync_now()
    await until(lambda: settled(devices, passes))


async def test_case_64_nothing_is_lost_and_both_end(mutual: tuple[list[Device], list[ConnectJob]]) -> None:
    devices, jobs = mutual
    one, two = devices
    written = set().union(*map(contents, devices))
    await come_to_rest(devices, jobs)
    assert contents(one) | contents(two) >= written
    assert {one.read(f"both/{number}") for number in range(4)} < written
    copies = [path for path in one.tree() if ".conflict-" in path]
    assert 4 <= len(copies) <= 8
    for number, device in enumerate(devices):
        device.write(f"one-{number}", f"edited by {device.name}")
        device.write(f"two-{number}", f"edited by {device.name}")
        (device.folder / f"one-{number + 2}").unlink()
        (device.folder / f"two-{number + 2}").rename(device.folder / f"renamed-{number}")
    await come_to_rest(devices, jobs)
    assert {path for path in one.tree() if path.startswith("renamed")} == {"renamed-0", "renamed-1"}
    assert not {"one-2", "one-3", "two-2", "two-3"} & one.tree().keys()
    assert contents(one) | contents(two) >= written
    assert not one.seen(Reconnecting)
    assert not two.seen(Reconnecting)


async def test_case_64_what_another_pass_has_done_there_is_no_problem(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    client.write("dir/same", b"content", mtime=TIME / 1e9)
    client.write("dir/other", b"content", mtime=TIME / 1e9)

    async def already(talk: Talk, _request: ChangeRequest) -> None:
        server.folder = FakeFolder.of({"dir/same": b"content"})
        refusals = [Refusal(f"dir/{name}", RefusalKind.CHANGED, "it has changed") for name in ("same", "other")]
        await talk.say(Changed(refusals, True))

    server.change = already
    summary = await pull_from(client, server, mode=Mode.BOTH)
    assert summary.problems == (("dir/other", "it has changed"),)


async def test_case_64_what_another_pass_has_done_here_is_no_problem(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"same": b"content", "other": b"content"})

    async def already(talk: Talk, item: FetchItem) -> None:
        client.write(item.path, {"same": b"content"}.get(item.path, b"an edit"), mtime=TIME / 1e9)
        await server.honest_item(talk, item)

    server.item = already
    summary = await pull_from(client, server)
    assert [path for path, _reason in summary.problems] == ["other"]
    assert client.read("other") == b"an edit"


# Oneself


async def test_case_65_a_device_refuses_itself(client: Device) -> None:
    other = client.home / "other"
    other.mkdir(parents=True)
    (other / "mine").write_text("mine")
    client.write("served", "content")
    before, server = client.tree(), await client.serve()
    job = await client.engine.connect(connect_options(Address(HOST, server.status().port), other))
    with pytest.raises(SelfConnection, match="is this device itself"):
        await job.wait()
    assert (other / "mine").read_text() == "mine"
    assert client.tree() == before
    assert not client.seen(PeerConnected)
    assert not client.seen(Reconnecting), "it does not try again"


# One key twice


@pytest.fixture
async def twins(pair: Pair, make_device: MakeDevice) -> AsyncIterator[tuple[Device, Device]]:
    """The client, and a device with a copy of all that the client keeps, its key too."""
    twin = Device("twin", pair.client.home.with_name("twin-home"), pair.client.folder.with_name("twin"))
    twin.home.mkdir()
    for name in ("identity.pem", "trust.toml"):
        (twin.home / name).write_bytes((pair.client.home / name).read_bytes())
        (twin.home / name).chmod(0o600)
    async with AsyncExitStack() as stack:
        twin.folder.mkdir()
        twin.engine = await stack.enter_async_context(
            type(pair.client.engine)(twin.config(), on_event=twin.events.append)
        )
        yield pair.client, twin


def watch_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TRUST_INTERVAL", 0.02)
    monkeypatch.setattr(doubles, "SETTLE", 0.1)
    for module in (connecting, serving):
        monkeypatch.setattr(module, "limits_for", lambda _rate: Limits(keepalive=0.05))


@pytest.mark.skipif(sys.platform != "linux", reason="this machine has one loopback address")
async def test_case_66_one_key_from_two_hosts_is_told_and_both_are_served(
    pair: Pair, twins: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_closely(monkeypatch)
    client, twin = twins
    server = await pair.server.serve()
    pair.server.write("shared", "content")
    client.write("mine", "of the client")
    twin.write("mine", "of the twin")
    async with Relay(server.status().port, source="127.0.0.2") as relay:
        jobs = [await client.connect(server, mode=Mode.BOTH), await through(twin, relay, mode=Mode.BOTH)]
        await until(lambda: bool(pair.server.seen(Warned)))
        (warning,) = pair.server.seen(Warned)
        assert warning.message.startswith("client is connected from 127.0.0.1 and 127.0.0.2 at the same time.")
        assert "copied key" in warning.message
        devices = [pair.server, client, twin]
        await until(lambda: trees_are_equal(client, pair.server) and trees_are_equal(twin, pair.server))
        for device in devices:
            device.write(f"new of {device.name}", "x")
        await until(lambda: all(len(device.tree()) == 6 for device in devices))
        assert {b"of the client", b"of the twin", b"content"} <= contents(pair.server)
        assert len([path for path in twin.tree() if path.startswith("mine")]) == 2, "both versions are kept"
        assert len(server.status().peers) == 2
        assert len(pair.server.seen(Warned)) == 1
        for job in jobs:
            await job.stop()


async def test_case_66_one_device_with_two_connections_is_no_double(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_closely(monkeypatch)
    server = await pair.server.serve()
    other = pair.client.home / "other"
    other.mkdir(parents=True)
    address = Address(HOST, server.status().port)
    jobs = [
        await pair.client.connect(server),
        await pair.client.engine.connect(connect_options(address, other)),
    ]
    await until(lambda: len(server.status().peers) == 2)
    looks = 0
    look = doubles.Doubles.look

    def counted(self: doubles.Doubles, *arguments: Any) -> dict[str, list[str]]:
        nonlocal looks
        looks += 1
        return look(self, *arguments)

    monkeypatch.setattr(doubles.Doubles, "look", counted)
    await until(lambda: looks > 20)
    assert not pair.server.seen(Warned)
    for job in jobs:
        await job.stop()


async def test_case_66_two_devices_with_one_key_cannot_sync_with_each_other(twins: tuple[Device, Device]) -> None:
    client, twin = twins
    client.write("mine", "content")
    job = await twin.connect(await client.serve())
    with pytest.raises(SelfConnection, match="is this device itself"):
        await job.wait()
    assert twin.tree() == {}


# Neighbours


async def test_case_67_nothing_is_announced_and_nobody_looked_for(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One socket for a served folder and one for a connection, which speak to who has spoken and to who was named."""
    opened: list[int] = []
    spoken: list[str] = []
    plain, send = socket.socket.__init__, UdpSocket.send

    def count(self: socket.socket, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        opened.append(self.type)

    def spy(self: UdpSocket, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        spoken.extend(f"{address[0]}:{address[1]}" for _data, address in datagrams)
        send(self, datagrams)

    monkeypatch.setattr(socket.socket, "__init__", count)
    monkeypatch.setattr(UdpSocket, "send", spy)
    server = await pair.server.serve()
    assert opened == [socket.SOCK_DGRAM]
    assert spoken == []
    await pair.client.pull(server)
    assert opened == [socket.SOCK_DGRAM] * 2
    (connected,) = pair.server.seen(PeerConnected)
    assert set(spoken) == {connected.address, f"{HOST}:{server.status().port}"}


# Trust withdrawn


@pytest.fixture
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TRUST_INTERVAL == 1.0, "about a second"
    for module in (serving, connecting):
        monkeypatch.setattr(module, "TRUST_INTERVAL", 0.02)


@pytest.mark.usefixtures("looking_often")
async def test_case_68_a_server_that_is_not_trusted_any_more(client: Device, hostile: MakeHostile) -> None:
    """In the middle of a file: nothing of it is used, and nothing has to be sent again if the trust comes back."""
    server = await hostile({"big": BIG})
    client.write("big", "the version before", mtime=OLD)

    async def part(talk: Talk, _item: FetchItem) -> None:
        await talk.chunk(0, BIG[:CHUNK_SIZE])
        await until(lambda: job.status().totals.fetched >= CHUNK_SIZE)
        client.engine.trust.remove("hostile")
        with contextlib.suppress(Unreachable):
            while True:
                await talk.chunk(1, BIG[CHUNK_SIZE : 2 * CHUNK_SIZE])
                await asyncio.sleep(60)

    server.chunks(part)
    job = await connect_to(client, server, mirror=True)
    with pytest.raises(TrustWithdrawn):
        await job.wait()
    assert client.read("big") == b"the version before"
    await until(lambda: bool(server.errors))
    assert server.errors[0].fields["code"] == CloseCode.UNTRUSTED
    client.engine.trust.add(server.identity.fingerprint, name="hostile", confirmed="test")
    server.item = server.honest_item
    server.asked.clear()
    await pull_from(client, server, mirror=True)
    assert 0 not in server.indexes()
    assert client.read("big") == BIG


@pytest.mark.usefixtures("looking_often")
async def test_case_68_a_client_that_is_not_trusted_any_more(pair: Pair) -> None:
    pair.server.write("a", "content")
    server = await pair.server.serve()
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: bool(pair.client.passes()))
    pair.server.engine.trust.remove("client")
    pair.client.write("b", "too late")
    with pytest.raises(RefusedByPeer):
        await job.wait()
    assert not server.status().peers
    assert pair.server.tree().keys() <= {"a", "b"}
    assert pair.client.read("a") == b"content"
    again = await pair.client.connect(server, mode=Mode.BOTH)
    with pytest.raises(RefusedByPeer):
        await again.wait()
    assert len(pair.server.seen(PeerRefused)) == 1
