"""The connecting side: find the peer's addresses, try them, and say plainly why none worked."""

import asyncio
import logging
import socket
from typing import TypeAlias

from leafsync.engine.net.addresses import SocketAddress, display
from leafsync.engine.net.admission import destination_of
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS, Limits
from leafsync.engine.net.logs import quiet_quic_log
from leafsync.engine.net.quic import Authorize, PinnedQuic, check_aioquic, configuration_for
from leafsync.engine.net.udp import Run, UdpSocket, connected_socket
from leafsync.errors import (
    AddressUnresolvable,
    ConnectionLost,
    ConnectTimedOut,
    LeafSyncError,
    Unreachable,
)

logger = logging.getLogger("leafsync.net")

CONNECT_DEADLINE = 8.0
"""Seconds until `connect` gives up: four lost first datagrams, and still within a person's patience."""

STAGGER = 0.3
"""Seconds an address may stay silent before the next one is tried beside it (RFC 8305 section 5 says 0.25)."""

REFUSED_FOR = 3.0
"""Seconds an established peer's host may answer "port unreachable", and nothing else, before the peer counts as gone:
one such answer may be forged or stale."""

LEAVE_DEADLINE = 1.0
LEAVE_POLL = 0.01
"""Seconds a closed client waits at most for the kernel to take its last datagrams, and between two looks."""

Resolved: TypeAlias = tuple[int, SocketAddress]
"""An address family and a socket address."""


async def connect(
    identity: Identity,
    host: str,
    port: int,
    *,
    authorize: Authorize,
    deadline: float = CONNECT_DEADLINE,
    limits: Limits = DEFAULT_LIMITS,
) -> Connection:
    """Connect to a peer, and return once both sides have accepted the other's key.

    `authorize` judges the peer's fingerprint before anything but the handshake was sent, and must not block; the error
    it raises is raised here. Every address of `host` is tried, the next one beside a silent one.

    Raises:
        AddressUnresolvable: `host` has no address.
        ConnectTimedOut: nobody answered within `deadline` seconds.
        Unreachable: nobody listens there, or there is no way there.
        RefusedByPeer: the peer does not trust this device.
        SelfConnection: the peer is this device.
        VersionMismatch: what listens there is not LeafSync, or speaks another version.
    """
    check_aioquic()
    quiet_quic_log()
    shown = display(host, port)
    try:
        async with asyncio.timeout(deadline):
            addresses = await resolve(host, port)
            race = _Race(identity, shown, port, authorize=authorize, limits=limits)
            return await race.run(addresses)
    except TimeoutError:
        raise ConnectTimedOut(address=shown, seconds=f"{deadline:g}", port=port) from None


async def resolve(host: str, port: int) -> list[Resolved]:
    """Return the addresses of `host`, in the system's order of preference and without doubles.

    Raises:
        AddressUnresolvable: it has none.
    """
    loop = asyncio.get_running_loop()
    name = host.encode() if host.isascii() else host  # for a text Python loads its tables of international names
    try:
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no host name"
        raise AddressUnresolvable(address=host, reason=reason) from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


class _Race:
    """Attempts at the addresses of one peer; the first that gets through wins."""

    def __init__(self, identity: Identity, shown: str, port: int, *, authorize: Authorize, limits: Limits) -> None:
        self._identity = identity
        self._shown = shown
        self._port = port
        self._authorize = authorize
        self._limits = limits
        self._dials: list[Dial] = []
        self._error: LeafSyncError | None = None

    async def run(self, addresses: list[Resolved]) -> Connection:
        attempts: set[asyncio.Task[Connection]] = set()
        waiting = list(addresses)
        winner: Connection | None = None
        try:
            while waiting or attempts:
                if waiting and not any(dial.heard for dial in self._dials):
                    attempts.add(asyncio.create_task(self._attempt(*waiting.pop(0))))
                done, attempts = await asyncio.wait(
                    attempts, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    winner = winner or self._outcome(attempt)
                if winner is not None:
                    return winner
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
            for dial in self._dials:
                if dial.connection is not winner:
                    dial.connection.close()
        raise self._error or AddressUnresolvable(address=self._shown, reason="it has no address")

    def _outcome(self, attempt: asyncio.Task[Connection]) -> Connection | None:
        """Return the connection of a finished attempt. Being unreachable leaves hope for the others; a refusal does
        not."""
        try:
            return attempt.result()
        except Unreachable as error:
            self._error = self._error or error
            return None

    async def _attempt(self, family: int, address: SocketAddress) -> Connection:
        try:
            made = connected_socket(family, address)
        except OSError as error:
            reason = error.strerror or "no way there"
            raise Unreachable(address=self._shown, reason=reason) from error
        quic = PinnedQuic(
            configuration_for(self._identity, self._limits, is_client=True),
            own_fingerprint=self._identity.fingerprint,
            address=self._shown,
            authorize=self._authorize,
            limits=self._limits,
        )
        dial = Dial(made, quic, address, self._limits)
        self._dials.append(dial)
        try:
            await dial.connection.wait_ready()
        except BaseException:
            self._dials.remove(dial)
            dial.connection.close()
            raise
        return dial.connection


class Dial:
    """The socket of one outgoing connection, released when the connection ends."""

    def __init__(self, made: socket.socket, quic: PinnedQuic, address: SocketAddress, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = int(address[1])
        self._address = address
        self._refused_since: tuple[float, int] | None = None
        self._ids: set[bytes] = {quic.host_cid}
        self._udp = UdpSocket(
            made,
            on_runs=self._on_runs,
            on_refused=self._on_refused,
            on_too_large=self._on_too_large,
            remote=address,
        )
        self.connection = Connection(quic, self, limits=limits)
        self.connection.connect(address)

    @property
    def heard(self) -> bool:
        """Whether anything came from there."""
        return self.connection.datagrams_received > 0

    def send(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        """Send the connection's datagrams."""
        self._udp.send(datagrams)

    def route(self, connection_id: bytes, connection: Connection) -> None:
        """Accept what is addressed to a connection ID just issued."""
        self._ids.add(connection_id)

    def unroute(self, connection_id: bytes) -> None:
        """Forget a retired connection ID."""
        self._ids.discard(connection_id)

    def established(self, connection: Connection) -> None:
        """Nothing to do: `connect` waits for more, the server's verdict."""

    def ended(self, connection: Connection) -> None:
        """Release the socket once the last datagrams left: a client does not stay for its closing period."""
        self._loop.call_soon(self._leave, self._loop.time() + LEAVE_DEADLINE)

    def _leave(self, deadline: float) -> None:
        if self._udp.pending and self._loop.time() < deadline:
            self._loop.call_later(LEAVE_POLL, self._leave, deadline)
        else:
            self.connection.repeat_goodbye()
            self.connection.abandon(None)

    def released(self, connection: Connection) -> None:
        """Release the socket."""
        self._udp.close()

    def _on_runs(self, runs: list[Run]) -> None:
        batch = [datagram for datagrams, _ in runs for datagram in datagrams if destination_of(datagram) in self._ids]
        if batch:
            self.connection.receive(batch, self._address)

    def _on_too_large(self, size: int, address: SocketAddress) -> None:
        self.connection.too_large(size, address)

    def _on_refused(self) -> None:
        connection = self.connection
        if not connection.ready:
            reason = f"nothing listens on UDP port {self._port} there"
            connection.abandon(Unreachable(address=connection.address, reason=reason))
            return
        now, received = self._loop.time(), connection.datagrams_received
        if self._refused_since is None or self._refused_since[1] != received:
            self._refused_since = (now, received)
        elif now - self._refused_since[0] >= REFUSED_FOR:
            connection.abandon(ConnectionLost(peer=connection.address, reason="nothing listens there any more"))
