"""An endpoint and its clients in memory: the real `listen` and `connect`, over sockets that are objects.

What happens to each datagram is a function of its number, so that every datagram of a handshake can be lost, repeated,
delayed and damaged in turn. Runs on a loop whose clock jumps.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # re-exported upstream without saying so
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from leafsync.engine.net import dialing, endpoint
from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.admission import CONNECTION_ID_LENGTH, Admission, Admitted
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import Endpoint, connect
from leafsync.engine.net.identity import Fingerprint, Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS, Limits
from leafsync.engine.net.quic import PinnedQuic
from leafsync.engine.net.udp import Run

SERVER: SocketAddress = ("192.0.2.2", 4455)
DELAY = 0.02
"""Seconds one way."""

Carry = Callable[[int, bytes], list[tuple[float, bytes]]]
"""What becomes of a datagram, by its number and content: what arrives, and after how many seconds."""


def arrives(_number: int, data: bytes) -> list[tuple[float, bytes]]:
    """Carry everything."""
    return [(DELAY, data)]


@dataclass
class Wire:
    """What lies between the endpoint and everybody else."""

    carry: Carry = arrives
    sockets: dict[SocketAddress, "MemoryUdp"] = field(default_factory=dict)
    carried: list[tuple[SocketAddress, bytes]] = field(default_factory=list)
    """Everything that was sent so far, with who sent it."""

    def bind(self, address: SocketAddress, udp: "MemoryUdp") -> None:
        self.sockets[address] = udp

    def send(self, data: bytes, source: SocketAddress, target: SocketAddress) -> None:
        self.carried.append((source, data))
        for after, arriving in self.carry(len(self.carried) - 1, data):
            asyncio.get_running_loop().call_later(after, self._arrive, arriving, source, target)

    def _arrive(self, data: bytes, source: SocketAddress, target: SocketAddress) -> None:
        if target in self.sockets:
            self.sockets[target].take([([data], source)])


@dataclass
class FakeSocket:
    """What is asked of a socket by those that open it."""

    wire: Wire
    address: SocketAddress

    def getsockname(self) -> SocketAddress:
        return self.address


class MemoryUdp:
    """Stands for `udp.UdpSocket`: its datagrams go over the wire."""

    def __init__(
        self, made: FakeSocket, *, on_runs: Callable[[list[Run]], None], remote: SocketAddress | None = None, **_: Any
    ) -> None:
        self._made = made
        self._remote = remote
        self.take = on_runs
        self.pending = False
        self.datagrams = self.receives = 0
        made.wire.bind(made.address, self)

    def send(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        for data, address in datagrams:
            self._made.wire.send(data, self._made.address, self._remote or address)

    async def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self._made.wire.sockets.pop(self._made.address, None)


class OpenDoor(Admission):
    """Admits whoever begins a handshake, without a Retry."""

    def judge(
        self, datagram: bytes, address: SocketAddress, *, connections: int, now: float
    ) -> Admitted | bytes | None:
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=CONNECTION_ID_LENGTH)
        except ValueError:
            return None
        if header.packet_type is not QuicPacketType.INITIAL or len(datagram) < 1200:
            return None
        return Admitted(header.destination_cid, header.destination_cid)


class WithoutRetry(PinnedQuic):
    """A server's connection that was begun without a Retry."""

    def __init__(self, *arguments: Any, retry_source_connection_id: bytes | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)


@dataclass
class Network:
    """A listening endpoint, those who came to it, and the way to it."""

    wire: Wire
    identities: dict[str, Identity]
    endpoint: Endpoint
    arrived: list[Connection]
    dialled: list[Connection] = field(default_factory=list)

    async def dial(self, limits: Limits = DEFAULT_LIMITS) -> Connection:
        """Connect, as a device does."""
        connection = await connect(
            self.identities["client"], str(SERVER[0]), int(SERVER[1]), authorize=accept_anyone, limits=limits
        )
        self.dialled.append(connection)
        return connection


def accept_anyone(_fingerprint: Fingerprint) -> None:
    """Trust whoever comes."""


@asynccontextmanager
async def network(
    identities: dict[str, Identity], patch: pytest.MonkeyPatch, *, retry: bool = True, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[Network]:
    """Listen in memory, and have `connect` find the way there."""
    wire, ports, arrived = Wire(), iter(range(50_000, 60_000)), list[Connection]()

    async def resolve(_host: str, _port: int) -> list[dialing.Resolved]:
        return [(2, SERVER)]

    with patch.context() as patched:
        patched.setattr(dialing, "resolve", resolve)
        patched.setattr(
            dialing, "connected_socket", lambda _family, _address: FakeSocket(wire, ("192.0.2.1", next(ports)))
        )
        for module in (dialing, endpoint):
            patched.setattr(module, "UdpSocket", MemoryUdp)
        if not retry:
            patched.setattr(endpoint, "Admission", OpenDoor)
            patched.setattr(endpoint, "PinnedQuic", WithoutRetry)
        made: Any = FakeSocket(wire, SERVER)
        serving = Endpoint(
            made, identities["server"], authorize=accept_anyone, on_connection=arrived.append, limits=limits
        )
        there = Network(wire, identities, serving, arrived)
        try:
            yield there
        finally:
            for connection in there.dialled:
                connection.abandon(None)
            await serving.close()


@dataclass
class Weather:
    """A link that does everything badly, by chance and the same with the same seed. Rates are by the datagram."""

    seed: int
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    damage: float = 0.0
    dark: tuple[tuple[float, float], ...] = ()
    """Periods in which nothing arrives, from and to seconds of the loop's clock after the first datagram."""

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._began: float | None = None

    def carry(self, _number: int, data: bytes) -> list[tuple[float, bytes]]:
        """Say what becomes of a datagram."""
        now, dice = asyncio.get_running_loop().time(), self._dice
        self._began = now if self._began is None else self._began
        if any(start <= now - self._began < end for start, end in self.dark):
            return []
        fates = []
        for _copy in range(2 if dice.random() < self.duplicate else 1):
            if dice.random() < self.loss:
                continue
            late = DELAY * dice.uniform(0.2, 3) if dice.random() < self.reorder else 0.0
            carried = damaged(data, dice.randrange(len(data))) if dice.random() < self.damage else data
            fates.append((DELAY + late, carried))
        return fates


def damaged(data: bytes, at: int) -> bytes:
    """Return a datagram with one bit turned; `at` counts from the end when it is negative."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
