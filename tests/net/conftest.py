"""A pair of connections in memory: no sockets, a clock that jumps, and a link that loses, reorders and repeats.

Async tests here run on `VirtualLoop`, so waiting for 30 seconds takes none, and nothing ever sleeps to wait for a
state. A module that needs real sockets says ``REAL_TIME = True``.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.admission import Admission, Admitted, destination_of
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.identity import Fingerprint, Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS, Limits
from leafsync.engine.net.quic import Authorize, PinnedQuic, configuration_for

CLIENT_ADDRESS: SocketAddress = ("192.0.2.1", 50000)
SERVER_ADDRESS: SocketAddress = ("192.0.2.2", 4455)


MAX_VIRTUAL_SECONDS = 2000.0
"""Keepalives would let a test that waits for nothing run for ever."""


WAKE_UP = 1e-6
"""Seconds a loop takes to wake up: on no real clock is it exactly the time that was waited for, or a hair earlier."""


class JumpingSelector(selectors.DefaultSelector):
    """A selector that never sleeps: it tells the loop that the time it would have slept has passed."""

    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and nothing will ever happen")
            self.jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        selector = JumpingSelector()
        selector.jump = self._jump
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual_now

    def _jump(self, seconds: float) -> None:
        self._virtual_now += seconds + WAKE_UP
        if self._virtual_now > 1000.0 + MAX_VIRTUAL_SECONDS:
            raise RuntimeError("the test waits for something that does not happen")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    module = item.getparent(pytest.Module)
    real = module is not None and getattr(module.obj, "REAL_TIME", False)
    return {"real": asyncio.new_event_loop} if real else {"virtual": VirtualLoop}


@dataclass
class Link:
    """What lies between two connections. Rates are probabilities a datagram; times are seconds."""

    seed: int = 1
    delay: float = 0.005
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    cut: bool = False
    carried: int = 0
    dropped: int = 0
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def fates(self, count: int) -> Iterator[tuple[int, float]]:
        """Yield (which datagram, after how long) for all that arrives of `count` datagrams sent together."""
        for index in range(count):
            for _ in range(2 if self.dice.random() < self.duplicate else 1):
                self.carried += 1
                if self.cut or self.dice.random() < self.loss:
                    self.dropped += 1
                    continue
                late = self.delay * self.dice.uniform(0.2, 2) if self.dice.random() < self.reorder else 0.0
                yield index, self.delay + late


class End:
    """One side's carrier: puts datagrams on the link, and hands those of the other side to its connection."""

    def __init__(self, link: Link, address: SocketAddress) -> None:
        self.link = link
        self.address = address
        self.peer: End | None = None
        self.connection: Connection | None = None
        self.events: list[str] = []
        self.routes: set[bytes] = set()
        self.sent: list[bytes] = []
        self.on_stranger: Callable[[bytes], None] | None = None

    def send(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        loop = asyncio.get_running_loop()
        self.sent.extend(data for data, _ in datagrams)
        together: dict[float, list[bytes]] = {}
        for index, after in self.link.fates(len(datagrams)):
            together.setdefault(after, []).append(datagrams[index][0])
        for after, batch in together.items():
            loop.call_later(after, self._arrive, batch)

    def _arrive(self, batch: list[bytes]) -> None:
        assert self.peer is not None
        self.peer.take(batch, self.address)

    def take(self, batch: list[bytes], address: SocketAddress) -> None:
        """Receive a batch, as an endpoint would."""
        if self.connection is None:
            if self.on_stranger is not None:
                for datagram in batch:
                    self.on_stranger(datagram)
        elif "released" not in self.events:
            self.connection.receive(batch, address)

    def route(self, connection_id: bytes, connection: Connection) -> None:
        self.routes.add(connection_id)

    def unroute(self, connection_id: bytes) -> None:
        self.routes.discard(connection_id)

    def established(self, connection: Connection) -> None:
        self.events.append("established")

    def ended(self, connection: Connection) -> None:
        self.events.append("ended")

    def released(self, connection: Connection) -> None:
        self.events.append("released")


def accept_anyone(fingerprint: Fingerprint) -> None:
    """The authorizer of tests that are not about trust."""


@dataclass
class Pair:
    """A client and a server. `server` is there once the client's first acceptable datagram arrived."""

    client_end: End
    server_end: End
    client_quic: PinnedQuic
    server_identity: Identity
    server_authorize: Authorize
    server_limits: Limits
    retry: bool

    @property
    def client(self) -> Connection:
        assert self.client_end.connection is not None
        return self.client_end.connection

    @property
    def server(self) -> Connection:
        assert self.server_end.connection is not None
        return self.server_end.connection

    @property
    def link(self) -> Link:
        return self.client_end.link

    async def handshake(self) -> tuple[Connection, Connection]:
        """Complete the handshake and return (client, server); raise what the client would be told."""
        self.client.connect(SERVER_ADDRESS)
        await self.client.wait_ready()
        return self.client, self.server

    def meet(self, datagram: bytes) -> None:
        """What the serving endpoint does with a datagram no connection claims."""
        verdict: Admitted | bytes | None = Admitted(destination_of(datagram), destination_of(datagram))
        loop = asyncio.get_running_loop()
        if self.retry:
            verdict = self.admission.judge(datagram, CLIENT_ADDRESS, connections=0, now=loop.time())
        if isinstance(verdict, bytes):
            self.server_end.send([(verdict, CLIENT_ADDRESS)])
        elif verdict is not None:
            quic = PinnedQuic(
                configuration_for(self.server_identity, self.server_limits, is_client=False),
                own_fingerprint=self.server_identity.fingerprint,
                address="192.0.2.1:50000",
                authorize=self.server_authorize,
                limits=self.server_limits,
                original_destination_connection_id=verdict.original_connection_id,
                retry_source_connection_id=verdict.connection_id if self.retry else None,
            )
            connection = Connection(quic, self.server_end, limits=self.server_limits)
            self.server_end.connection = connection
            connection.receive([datagram], CLIENT_ADDRESS)

    def __post_init__(self) -> None:
        self.admission = Admission(self.server_limits)
        self.server_end.on_stranger = self.meet


@pytest.fixture(scope="session")
def identities() -> dict[str, Identity]:
    """Keys, made once: "client", "server", "mallory"."""
    return {name: Identity.generate() for name in ("client", "server", "mallory")}


@pytest.fixture
def make_pair(identities: dict[str, Identity]) -> Iterator[Callable[..., Pair]]:
    """Make a pair over a link; whatever is left of it is abandoned at the end of the test."""
    pairs: list[Pair] = []

    def make(
        *,
        link: Link | None = None,
        limits: Limits = DEFAULT_LIMITS,
        client_limits: Limits | None = None,
        client: Identity | None = None,
        client_authorize: Authorize = accept_anyone,
        server_authorize: Authorize = accept_anyone,
        retry: bool = False,
    ) -> Pair:
        link = link or Link()
        ends = End(link, CLIENT_ADDRESS), End(link, SERVER_ADDRESS)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        identity = client or identities["client"]
        quic = PinnedQuic(
            configuration_for(identity, client_limits or limits, is_client=True),
            own_fingerprint=identity.fingerprint,
            address="server.example:4455",
            authorize=client_authorize,
            limits=client_limits or limits,
        )
        ends[0].connection = Connection(quic, ends[0], limits=client_limits or limits)
        pair = Pair(ends[0], ends[1], quic, identities["server"], server_authorize, limits, retry)
        pairs.append(pair)
        return pair

    yield make
    for pair in pairs:
        for end in (pair.client_end, pair.server_end):
            if end.connection is not None:
                end.connection.abandon(None)


@pytest.fixture
def make_link() -> Callable[..., Link]:
    """Make a link with the given rates."""
    return Link
