"""The serving side: one UDP socket, many connections.

Datagrams are routed by connection ID, never by address, so a peer whose address changes stays connected. What no
connection claims goes to `Admission`. `connect`, the other side, is in `dialing` and named here because callers think
of both as one.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable

from aioquic.quic.packet import QuicErrorCode

from leafsync.engine.net.addresses import SocketAddress, display, outward_hosts, plain
from leafsync.engine.net.admission import CONNECTION_ID_LENGTH, Admission, Admitted, destination_of
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.dialing import connect, resolve
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS, Limits
from leafsync.engine.net.logs import RareLog, quiet_quic_log
from leafsync.engine.net.quic import Authorize, PinnedQuic, check_aioquic, configuration_for
from leafsync.engine.net.udp import Run, UdpSocket, open_socket
from leafsync.errors import AddressUnresolvable, LeafSyncError, PeerStalled

__all__ = ["Endpoint", "connect", "listen"]

logger = logging.getLogger("leafsync.net")

OnConnection = Callable[[Connection], None]
"""Told of a connection once its handshake is complete and its peer authorized."""

OnRefused = Callable[[str, LeafSyncError], None]
"""Told where a peer is that `authorize` refused, and the error it raised."""

MAX_STRANGERS_PER_TURN = 24
"""Datagrams of strangers answered in one loop turn: a flood may take 5 ms of it, not all."""

LONG_HEADER = 0x80
ROUTE_END = 1 + CONNECTION_ID_LENGTH
"""A first byte below LONG_HEADER is a short header's, and the connection ID reaches to ROUTE_END."""

CLOSE_DEADLINE = 1.0
"""Seconds `close` waits for the kernel to take the last datagrams."""

RESOLVE_DEADLINE = 8.0
"""Seconds to look up the host to listen on."""


class Endpoint:
    """A listening socket and its connections."""

    def __init__(
        self,
        made: socket.socket,
        identity: Identity,
        *,
        authorize: Authorize,
        on_connection: OnConnection,
        on_refused: OnRefused | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._identity = identity
        self._authorize = authorize
        self._on_connection = on_connection
        self._on_refused = on_refused
        self._limits = limits
        self._configuration = configuration_for(identity, limits, is_client=False)
        self._admission = Admission(limits)
        self._bound = plain(made.getsockname())
        self._udp = UdpSocket(made, on_runs=self._on_runs, on_too_large=self._on_too_large)
        self._routes: dict[bytes, Connection] = {}
        self._ids: dict[Connection, set[bytes]] = {}
        self._half_open: dict[Connection, tuple[SocketAddress, asyncio.TimerHandle]] = {}
        self._refusals = RareLog(logger)
        self._closing = False

    @property
    def port(self) -> int:
        """The UDP port peers connect to."""
        return self._bound[1]

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The established connections."""
        return tuple(c for c in self._ids if not c.closed and c not in self._half_open)

    @property
    def batching(self) -> float:
        """Datagrams a receive brought in on average: how well batching works."""
        return self._udp.datagrams / max(1, self._udp.receives)

    def addresses(self) -> list[str]:
        """Return what a user can type on the other machine: the addresses that lead outside, else the bound one."""
        host, port = self._bound
        if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
            return [display(host, port)]
        outward = [outside for outside in outward_hosts() if ":" in host or ":" not in outside]
        return [display(outside, port) for outside in outward] or [display(host, port)]

    async def close(self, code: int = 0, reason: str = "it is shutting down") -> None:
        """Close every connection and release the port. Peers are told, if the kernel takes that within a second."""
        self._closing = True
        for connection in tuple(self._ids):
            connection.close(code, reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE):
                await self._udp.flush()
        for connection in tuple(self._ids):
            connection.abandon(None)
        self._udp.close()

    # Datagrams

    def _on_runs(self, runs: list[Run]) -> None:
        strangers = 0
        batches: dict[tuple[Connection, SocketAddress], list[bytes]] = {}
        for datagrams, address in runs:
            route, batch = b"?", list[bytes]()
            for datagram in datagrams:
                # Nearly always a run is one connection's: short headers with the same ID behind the first byte.
                if datagram[1:ROUTE_END] == route and datagram[0] < LONG_HEADER:
                    batch.append(datagram)
                    continue
                connection = self._routes.get(destination_of(datagram))
                if connection is not None:
                    batch = batches.setdefault((connection, address), [])
                    batch.append(datagram)
                    route = datagram[1:ROUTE_END] if datagram[0] < LONG_HEADER else b"?"
                elif strangers < MAX_STRANGERS_PER_TURN and not self._closing:
                    strangers += self._meet(datagram, address)
        for (connection, address), batch in batches.items():
            connection.receive(batch, address)

    def _meet(self, datagram: bytes, address: SocketAddress) -> bool:
        """Deal with a datagram no connection claims; return whether that cost anything."""
        verdict = self._admission.judge(datagram, address, connections=len(self._ids), now=self._loop.time())
        if isinstance(verdict, bytes):
            self._udp.send([(verdict, address)])
        elif verdict is not None:
            self._begin(verdict, address).receive([datagram], address)
        return verdict is not None

    def _on_too_large(self, size: int, address: SocketAddress) -> None:
        for connection in self._ids:
            connection.too_large(size, address)

    def _begin(self, admitted: Admitted, address: SocketAddress) -> Connection:
        quic = PinnedQuic(
            self._configuration,
            own_fingerprint=self._identity.fingerprint,
            address=display(*plain(address)),
            authorize=self._authorize,
            limits=self._limits,
            original_destination_connection_id=admitted.original_connection_id,
            retry_source_connection_id=admitted.connection_id,
        )
        connection = Connection(quic, self, limits=self._limits)
        self._ids[connection] = set()
        self.route(admitted.connection_id, connection)
        self.route(quic.host_cid, connection)
        self._admission.begin(address)
        timer = self._loop.call_later(self._limits.handshake_deadline, self._too_slow, connection)
        self._half_open[connection] = (address, timer)
        return connection

    def _too_slow(self, connection: Connection) -> None:
        error = PeerStalled(peer=connection.address, seconds=f"{self._limits.handshake_deadline:g}")
        # Told as transport's, so that it can be said in the handshake's own packets too.
        connection.refuse(QuicErrorCode.CONNECTION_REFUSED, "the handshake took too long", error)
        connection.abandon(error)

    # What connections tell their carrier

    def send(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        """Send a connection's datagrams."""
        self._udp.send(datagrams)

    def route(self, connection_id: bytes, connection: Connection) -> None:
        """Deliver what is addressed to `connection_id` to `connection`."""
        if connection in self._ids:
            self._routes[connection_id] = connection
            self._ids[connection].add(connection_id)

    def unroute(self, connection_id: bytes) -> None:
        """Forget a retired connection ID."""
        connection = self._routes.pop(connection_id, None)
        if connection is not None:
            self._ids[connection].discard(connection_id)

    def established(self, connection: Connection) -> None:
        """Hand over a connection whose peer was authorized."""
        self._forget_handshake(connection)
        try:
            self._on_connection(connection)
        except Exception:
            # One connection's trouble must not end the others'.
            logger.exception("a new connection could not be taken over")
            connection.close(reason="internal error")

    def ended(self, connection: Connection) -> None:
        """Note a stranger that did not get in."""
        if not self._forget_handshake(connection) or self._closing:
            return
        if connection.refusal is not None and self._on_refused is not None:
            self._on_refused(connection.address, connection.refusal)
        else:
            self._refusals.warning("a device did not come in: %s", connection.error)

    def released(self, connection: Connection) -> None:
        """Forget a connection: nothing of it is on its way any more."""
        self._forget_handshake(connection)
        for connection_id in self._ids.pop(connection, ()):
            self._routes.pop(connection_id, None)

    def _forget_handshake(self, connection: Connection) -> bool:
        entry = self._half_open.pop(connection, None)
        if entry is None:
            return False
        address, timer = entry
        timer.cancel()
        self._admission.done(address)
        return True


async def listen(
    identity: Identity,
    *,
    host: str | None = None,
    port: int,
    authorize: Authorize,
    on_connection: OnConnection,
    on_refused: OnRefused | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Endpoint:
    """Listen for peers on UDP `port` (0: any free one), on all addresses of IPv4 and IPv6 unless `host` is given.

    `authorize` judges each peer inside its handshake and must not block; `on_connection` is told of those it accepted,
    `on_refused` of those it did not (without one they are logged).

    Raises:
        PortInUse, AddressUnusable, AddressUnresolvable: the port or the address cannot be had.
    """
    check_aioquic()
    quiet_quic_log()
    if host is not None:
        try:
            async with asyncio.timeout(RESOLVE_DEADLINE):
                host = str((await resolve(host, port))[0][1][0])
        except TimeoutError as error:
            raise AddressUnresolvable(address=host, reason="the name server does not answer") from error
    made = open_socket(host, port)
    return Endpoint(
        made, identity, authorize=authorize, on_connection=on_connection, on_refused=on_refused, limits=limits
    )
