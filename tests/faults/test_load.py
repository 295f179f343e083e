"""One `serve` process under load: many devices, half-open handshakes, a flood, readers that do not read, idle streams.

What each may cost is a constant here, with its reason, and stands in SECURITY.md. LEAFSYNC_EXAMPLES makes the load as
large as SECURITY.md says; otherwise it is a part of it, which shows the same bounds sooner.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.devices import Device
from benchmarks.processes import cpu_seconds, resident_bytes
from benchmarks.trees import MIB
from leafsync.engine.core.merkle import CHUNK_SIZE, chunk_count
from leafsync.engine.core.messages import Digest, DigestRequest, Fetch, FetchItem
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import MAX_STRANGERS_PER_TURN, connect
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import (
    DEFAULT_LIMITS,
    HANDSHAKE_DEADLINE,
    MAX_CONNECTIONS,
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_NETWORK,
    PEER_STREAMS,
    SEND_HIGH_WATER,
    STALL_DEADLINE,
)
from leafsync.engine.net.quic import PinnedQuic, configuration_for
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync.sender import READ_AHEAD
from leafsync.errors import PeerClosed
from leafsync.paths import find_paths
from tests.support.hostile import HostileClient, root_of

FULL = "LEAFSYNC_EXAMPLES" in os.environ
"""Whether the load is as large as SECURITY.md says."""

CLIENTS = 50 if FULL else 20
HALF_OPEN = 500 if FULL else 100
FLOOD_RATE = 20_000 if FULL else 5_000
FLOOD_SECONDS = 15.0 if FULL else 6.0
SLOW_READERS = 4 if FULL else 2
IDLE_STREAMS = 128

MEMORY_OF_A_CLIENT = 256 << 10
"""Bytes for a connected device that does nothing: QUIC and TLS state, a session of four tasks, buffers."""

CPU_OF_A_CLIENT = 0.15
"""Seconds of processor time to let a device in, show it a small folder and send a small file: 15 ms on
an idle core, and many times that where it is shared with others."""

MEMORY_OF_A_HANDSHAKE = 128 << 10
"""Bytes for a handshake under way. There are never more than MAX_HANDSHAKES; all others cost nothing that stays."""

MEMORY_OF_A_FLOOD = 8 * MIB
"""Bytes for a flood, however long it is: what waits in the queue of the socket is the kernel's, and answers wait in
`udp.MAX_QUEUED`."""

MEMORY_OF_A_SLOW_READER = SEND_HIGH_WATER + PEER_STREAMS * (READ_AHEAD + 2) * CHUNK_SIZE
"""Bytes a trusted device can make this one hold by asking on all streams and reading nothing: what is sent and not
acknowledged, and for each stream the chunks read ahead, the one being written, and its copy in a frame."""

MEMORY_OF_AN_IDLE_STREAM = 32 << 10
"""Bytes for an open stream that says nothing: two buffers and a task."""

SLACK = 6 * MIB
"""Bytes by which a process grows and shrinks without anybody's doing."""

DEADLINE = 30.0
"""Seconds for anything here: many times what it takes."""

HOST = "127.0.0.1"
STRANGER = Identity.generate()

SMALL, BIG = "small.txt", "big.bin"
SMALL_CONTENT = b"small" * 100
BIG_CONTENT = random.Random(1).randbytes(24 * MIB)


@dataclass
class Server:
    """A `serve` process, and devices that it trusts."""

    device: Device
    folder: Path
    port: int
    pid: int
    trusted: list[Identity]

    @asynccontextmanager
    async def client(self, number: int = 0) -> AsyncIterator[HostileClient]:
        """Connect, and disconnect at the end."""
        async with asyncio.timeout(DEADLINE):
            connection = await self._connection(number)
        try:
            yield HostileClient(connection)
        finally:
            connection.close()
            await connection.wait_closed()

    async def _connection(self, number: int) -> Connection:
        """Connect; as devices do, come again when there is no room: one network may begin few handshakes at once."""
        while True:
            try:
                return await connect(self.trusted[number], HOST, self.port, authorize=lambda _key: None)
            except PeerClosed:
                await asyncio.sleep(0.05)

    def check_growth(self, before: int, bound: int) -> None:
        """Fail when the process has grown by more than `bound` bytes."""
        growth = resident_bytes(self.pid) - before
        assert growth < bound + SLACK, f"{growth / 1e6:.1f} MB where {bound / 1e6:.1f} may be"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("load")
    folder = place / "there"
    folder.mkdir()
    (folder / SMALL).write_bytes(SMALL_CONTENT)
    (folder / BIG).write_bytes(BIG_CONTENT)
    device = Device(place / "server")
    device.fingerprint()
    store = TrustStore(find_paths(device.environment).trust)
    identities = [Identity.generate() for _ in range(CLIENTS + 1)]
    for number, identity in enumerate(identities):
        store.add(identity.fingerprint, name=f"device {number}", confirmed="test")
    with device.serving(folder, "--read-only") as serving:
        yield Server(device, folder, serving["port"], serving["pid"], identities)


async def fetch_small(client: HostileClient) -> None:
    """Do what a device does that wants one small file."""
    await client.shown()
    came = await client.fetch(FetchItem(SMALL, len(SMALL_CONTENT), root_of(SMALL_CONTENT), [(0, 1)]))
    assert SMALL_CONTENT in came


async def test_many_clients_at_once(server: Server) -> None:
    assert CLIENTS < MAX_CONNECTIONS
    async with server.client(CLIENTS) as first:
        await fetch_small(first)  # what is loaded and made once is no client's
        memory, cpu = resident_bytes(server.pid), cpu_seconds(server.pid)
        async with AsyncExitStack() as stack:

            async def come(number: int) -> None:
                await fetch_small(await stack.enter_async_context(server.client(number)))

            async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(come(number))
            server.check_growth(memory, CLIENTS * MEMORY_OF_A_CLIENT)
            assert cpu_seconds(server.pid) - cpu < CLIENTS * CPU_OF_A_CLIENT


FLOOD = """
import random, socket, sys, time
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
port, rate, seconds, kind = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
dice = random.Random(1)
garbage = [dice.randbytes(dice.choice([0, 1, 20, 100, 1200, 1452])) for _ in range(500)]
garbage += [bytes([0xC0 | dice.randrange(16), 0, 0, 0, 1, 8]) + dice.randbytes(1194) for _ in range(200)]
initials = []
for _ in range(100 if kind == "initials" else 0):
    quic = QuicConnection(configuration=QuicConfiguration(server_name="leafsync"))
    quic.connect(("127.0.0.1", port), now=0.0)
    initials.append(quic.datagrams_to_send(now=0.0)[0][0])
chosen = initials or garbage
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setblocking(False)
out.connect(("127.0.0.1", port))
print("up", flush=True)
began, sent = time.monotonic(), 0
while (now := time.monotonic() - began) < seconds:
    for _ in range(int(now * rate) - sent):
        try:
            out.send(chosen[sent % len(chosen)])
        except OSError:
            pass
        sent += 1
    time.sleep(0.001)
print(sent, flush=True)
"""
"""A process of its own: one that shares the interpreter with the clients would stop them, not the server."""


@asynccontextmanager
async def flooded(port: int, kind: str) -> AsyncIterator["subprocess.Popen[str]"]:
    """Flood a port meanwhile."""
    command = [sys.executable, "-c", FLOOD, str(port), str(FLOOD_RATE), str(FLOOD_SECONDS), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:  # noqa: ASYNC220
        assert flood.stdout
        await asyncio.to_thread(flood.stdout.readline)
        try:
            yield flood
        finally:
            flood.kill()


async def fetch_chunks(client: HostileClient, count: int) -> None:
    """Do what a device does that gets part of a large file."""
    came = await client.fetch(FetchItem(BIG, len(BIG_CONTENT), root_of(BIG_CONTENT), [(0, count)]))
    assert b"".join(part for part in came if isinstance(part, bytes)) == BIG_CONTENT[: count * CHUNK_SIZE]


@pytest.mark.parametrize("kind", ["garbage", "initials"])
async def test_a_flood_does_not_keep_trusted_devices_from_syncing(server: Server, kind: str) -> None:
    """Well-formed first datagrams, each of which deserves an answer, are the worst: they can keep new devices out."""
    async with server.client() as there:
        control = await there.shown()
        memory = resident_bytes(server.pid)
        async with flooded(server.port, kind) as flood, asyncio.timeout(FLOOD_SECONDS):
            await fetch_chunks(there, 4)
            assert isinstance(await there.ask(control, DigestRequest()), Digest)
            if kind == "garbage":
                async with server.client(1) as another:  # a device that comes is a stranger at first
                    await fetch_small(another)
            assert flood.poll() is None, "it was to be flooded all the time"
        async with server.client(2) as another:
            await fetch_small(another)
        server.check_growth(memory, MEMORY_OF_A_FLOOD)


async def test_readers_that_do_not_read(server: Server) -> None:
    """On all the streams they may have, the whole file each."""
    memory = resident_bytes(server.pid)
    count = chunk_count(len(BIG_CONTENT))
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(server.client(number)) for number in range(SLOW_READERS)]
        for reader in readers:
            await reader.shown()
            for _stream in range(PEER_STREAMS - 1):
                talk = await reader.open()
                await talk.say(Fetch([FetchItem(BIG, len(BIG_CONTENT), root_of(BIG_CONTENT), [(0, count)])]))
        async with server.client(SLOW_READERS) as other:
            await fetch_small(other)
            for _look in range(10):
                await asyncio.sleep(0.1)
                server.check_growth(memory, SLOW_READERS * MEMORY_OF_A_SLOW_READER)


async def test_idle_streams(server: Server) -> None:
    """All that may be open, over as many devices as they take."""
    devices = IDLE_STREAMS // (PEER_STREAMS - 1) + 1
    async with AsyncExitStack() as stack:
        idlers = [await stack.enter_async_context(server.client(number)) for number in range(devices)]
        for idler in idlers:
            await idler.shown()
        memory, cpu = resident_bytes(server.pid), cpu_seconds(server.pid)
        for number in range(IDLE_STREAMS):
            talk = await idlers[number % devices].open()
            await talk.raw(b"\0")  # the beginning of a frame, or the server would not know of the stream
        async with server.client(devices) as other:
            await fetch_small(other)
        server.check_growth(memory, IDLE_STREAMS * MEMORY_OF_AN_IDLE_STREAM + MEMORY_OF_A_CLIENT)
        assert cpu_seconds(server.pid) - cpu < devices * CPU_OF_A_CLIENT


def initials(port: int, source: socket.socket) -> bytes:
    """Begin a handshake as far as a token leads; return the datagram that makes the server begin it too."""
    quic = PinnedQuic(
        configuration_for(STRANGER, DEFAULT_LIMITS, is_client=True),
        own_fingerprint=STRANGER.fingerprint,
        address="there",
        authorize=lambda _key: None,
        limits=DEFAULT_LIMITS,
    )
    quic.connect((HOST, port), time.monotonic())
    source.sendto(quic.datagrams_to_send(time.monotonic())[0][0], (HOST, port))
    source.settimeout(DEADLINE)
    retry = source.recv(2048)
    quic.receive_datagram(retry, (HOST, port), time.monotonic())
    return bytes(quic.datagrams_to_send(time.monotonic())[0][0])


async def test_handshakes_that_are_never_finished(server: Server) -> None:
    """From many networks, so that what one network may have is not what bounds them.

    The last test: until its handshakes are given up, nobody new gets in.
    """
    async with server.client() as there:
        control = await there.shown()
        memory = resident_bytes(server.pid)
        for number in range(HALF_OPEN):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
                source.bind((f"127.0.{1 + number % 60}.1", 0))
                source.sendto(await asyncio.to_thread(initials, server.port, source), (HOST, server.port))
        assert isinstance(await there.ask(control, DigestRequest()), Digest)
        server.check_growth(memory, MAX_HANDSHAKES * MEMORY_OF_A_HANDSHAKE)
    if FULL:
        async with server.client(1) as another:  # gets in when the first ones are given up
            await fetch_small(another)


def test_security_says_what_is_held_here() -> None:
    text = " ".join((Path(__file__).parents[2] / "SECURITY.md").read_text().split())
    limits = text.partition("## Limits under load")[2].partition("## Honest limits")[0]
    for said in (
        f"{MAX_STRANGERS_PER_TURN} answers a turn",
        f"{MEMORY_OF_A_FLOOD // MIB} MiB, however long",
        f"{MAX_HANDSHAKES_PER_NETWORK} from a network (IPv4 /24, IPv6 /64), {MAX_HANDSHAKES} in all",
        f"{HANDSHAKE_DEADLINE:g} seconds each",
        f"{MEMORY_OF_A_HANDSHAKE >> 10} KiB for each of them",
        f"{MEMORY_OF_A_CLIENT >> 10} KiB, and {MEMORY_OF_AN_IDLE_STREAM >> 10} KiB for each idle stream",
        f"{PEER_STREAMS} at once",
        f"{MAX_CONNECTIONS}, of all devices",
        f"{MEMORY_OF_A_SLOW_READER // MIB} MiB for each connection",
        f"until it has taken nothing for {STALL_DEADLINE:g} seconds",
        f"{IDLE_STREAMS} idle streams",
    ):
        assert said in limits
