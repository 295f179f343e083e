"""Two QUIC state machines over a link in memory, with a clock that is a number: no event loop, no sockets.

`twin` copies a connection whole, so that the same datagrams can be given to the fast path and to upstream alone, and
`state_of` says everything that may tell the two apart afterwards.
"""

import copy
import heapq
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aioquic import tls
from aioquic.quic import events
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketRecovery

from leafsync.engine.net.fastsend import BulkRecovery
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import DEFAULT_LIMITS, Limits
from leafsync.engine.net.quic import PinnedQuic, configuration_for

CLIENT = ("192.0.2.1", 50000)
SERVER = ("192.0.2.2", 4455)

Datagrams = list[tuple[bytes, Any]]

MAX_SECONDS = 3000.0
"""Seconds of the pair's own time after which something is never going to happen."""

KEEPALIVE = 10.0
"""Seconds without anything to do before both sides ping, as a connection does."""

ETHERNET = 1452
"""Bytes of UDP payload in an Ethernet frame, over IPv6."""

identities = (Identity.generate(), Identity.generate())


def make_quic(*, is_client: bool, limits: Limits, fast: bool, original: bytes | None = None) -> PinnedQuic:
    """Return one side of a connection."""
    identity = identities[is_client]
    quic = PinnedQuic(
        configuration_for(identity, limits, is_client=is_client),
        own_fingerprint=identity.fingerprint,
        address="there",
        authorize=lambda fingerprint: None,
        limits=limits,
        original_destination_connection_id=original,
    )
    quic.fast = fast
    quic._control.model._dice = random.Random(is_client)
    return quic


@dataclass
class Side:
    """One side: its state machine, and what its application saw."""

    quic: PinnedQuic
    address: tuple[str, int]
    mtu: int = ETHERNET
    """Bytes of UDP payload that the way from this side carries; larger datagrams vanish."""
    data: dict[int, bytearray] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    resets: dict[int, int] = field(default_factory=dict)
    stopped: dict[int, int] = field(default_factory=dict)
    closed: events.ConnectionTerminated | None = None
    home: tuple[str, int] = CLIENT
    """The end of the link it is at, whatever its address becomes."""
    reading: bool = True
    """Whether the application consumes what arrives, so that the windows move."""
    unread: list[tuple[int, int]] = field(default_factory=list)

    def take_events(self) -> None:
        """Do what an application would with the events."""
        queue = self.quic.take_events()
        while queue:
            event = queue.popleft()
            if isinstance(event, events.StreamDataReceived):
                self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
                self.unread.append((event.stream_id, len(event.data)))
                if event.end_stream:
                    self.ended.add(event.stream_id)
            elif isinstance(event, events.StreamReset):
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, events.StopSendingReceived):
                self.stopped[event.stream_id] = event.error_code
            elif isinstance(event, events.ConnectionTerminated):
                self.closed = event
        if self.reading:
            for stream_id, count in self.unread:
                self.quic.credit(stream_id, count)
            self.unread.clear()


class Pair:
    """A client and a server after their handshake. Rates are probabilities a datagram, times are seconds."""

    def __init__(
        self,
        *,
        seed: int = 1,
        client_fast: bool = True,
        server_fast: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        mtu: int = ETHERNET,
        delay: float = 0.01,
        settled: bool = True,
    ) -> None:
        """Complete the handshake; `settled` goes on until both sides know what the path carries."""
        self.dice = random.Random(seed)
        self.now = 100.0
        self.delay = delay
        self.loss, self.reorder, self.duplicate, self.damage = 0.0, 0.0, 0.0, 0.0
        self.rate, self.queue = math.inf, math.inf
        """Bytes per second of the link in either direction, and seconds a datagram may wait for it."""
        self._free_at = {CLIENT: 0.0, SERVER: 0.0}
        self.on_batch: Callable[[Side, list[bytes], tuple[str, int]], None] | None = None
        self._due: list[tuple[float, int, Side, bytes, tuple[str, int]]] = []
        self._count = 0
        client = make_quic(is_client=True, limits=limits, fast=client_fast)
        client.connect(SERVER, self.now)
        server = make_quic(
            is_client=False,
            limits=limits,
            fast=server_fast,
            original=client.original_destination_connection_id,
        )
        self.client, self.server = Side(client, CLIENT, mtu), Side(server, SERVER, mtu, home=SERVER)
        self.transmit()
        self.run(lambda: client.confirmed and server.confirmed)
        if settled:
            self.run_idle()

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.client, self.server

    def transmit(self) -> None:
        """Put on the link what both sides have to send."""
        for side in self.sides:
            if side.quic.get_peer_address() is not None:
                self._carry(side, side.quic.datagrams_to_send(self.now))

    def _carry(self, side: Side, datagrams: Datagrams) -> None:
        other = self.server if side is self.client else self.client
        for data, _ in datagrams:
            if len(data) > side.mtu:
                continue
            for _copy in range(2 if self.dice.random() < self.duplicate else 1):
                waits = max(0.0, self._free_at[side.home] - self.now)
                if waits > self.queue:
                    continue
                self._free_at[side.home] = leaves = self.now + waits + len(data) / self.rate
                if self.dice.random() < self.loss:
                    continue
                late = self.delay * self.dice.uniform(0.1, 2) if self.dice.random() < self.reorder else 0.0
                self._count += 1
                carried = data
                if self.dice.random() < self.damage:
                    at = self.dice.randrange(len(data))
                    carried = data[:at] + bytes([data[at] ^ self.dice.randrange(1, 256)]) + data[at + 1 :]
                heapq.heappush(self._due, (leaves + self.delay + late, self._count, other, carried, side.address))

    def step(self) -> None:
        """Go to the next moment at which something arrives or a timer is due."""
        timers = [at for side in self.sides if (at := side.quic.get_timer()) is not None]
        moments = timers + ([self._due[0][0]] if self._due else [])
        if not moments or self.now > 100.0 + MAX_SECONDS:
            raise AssertionError("nothing will ever happen")
        if min(moments) > self.now + KEEPALIVE:
            self.now += KEEPALIVE
            for side in self.sides:
                side.quic.send_ping(0)
            self.transmit()
            return
        self.now = max(self.now, min(moments)) + 1e-6
        batches: dict[tuple[int, tuple[str, int]], tuple[Side, list[bytes]]] = {}
        while self._due and self._due[0][0] <= self.now:
            _at, _count, side, data, address = heapq.heappop(self._due)
            batches.setdefault((id(side), address), (side, []))[1].append(data)
        for (_side, address), (side, batch) in batches.items():
            if self.on_batch is not None:
                self.on_batch(side, batch, address)
            side.quic.receive_batch(batch, address, self.now)
            if len(batch) > 1:
                side.quic.ack_at_once(self.now)
            side.take_events()
        for side in self.sides:
            at = side.quic.get_timer()
            if at is not None and at <= self.now:
                side.quic.handle_timer(self.now)
                side.take_events()
        self.transmit()

    def run(self, until: Callable[[], bool]) -> None:
        """Step until something is so."""
        while not until():
            self.step()

    def run_idle(self) -> None:
        """Step until nothing is under way."""
        self.run(lambda: not self._due and all(not in_flight(side.quic) for side in self.sides))

    def run_settled(self) -> None:
        """Step until everything sent was acknowledged; more may wait for a window to open."""
        self.run(lambda: not self._due and all(not unsettled(side.quic) for side in self.sides))


def unsettled(quic: QuicConnection) -> bool:
    """Whether something waits to be acknowledged."""
    space = quic._spaces[tls.Epoch.ONE_RTT]
    return bool(space.ack_eliciting_in_flight) or space.ack_at is not None


def in_flight(quic: QuicConnection) -> bool:
    """Whether something waits to be acknowledged or sent."""
    busy = any(not stream.sender.buffer_is_empty or stream.sender.reset_pending for stream in quic._streams.values())
    return unsettled(quic) or busy


def twin(quic: PinnedQuic, *, fast: bool) -> PinnedQuic:
    """Return a copy of a connection in exactly its state; keys and TLS, which never change, are shared."""
    shared: list[Any] = [quic.tls, quic.configuration, quic._authorize, *quic._crypto_buffers.values()]
    for pair in [*quic._cryptos.values(), *quic._cryptos_initial.values()]:
        for context in (pair.send, pair.recv):
            shared += [context.aead, context.hp]
    copied = copy.deepcopy(quic, {id(each): each for each in shared})
    copied.fast = fast
    copied._loss.__class__ = BulkRecovery if fast else QuicPacketRecovery
    return copied


def merged(queue: Iterable[Any]) -> list[Any]:
    """Return events with the data of one stream joined where nothing is in between: how it is cut says nothing."""
    joined: list[Any] = []
    for event in queue:
        last = joined[-1] if joined else None
        if (
            isinstance(event, events.StreamDataReceived)
            and isinstance(last, events.StreamDataReceived)
            and last.stream_id == event.stream_id
            and not last.end_stream
        ):
            joined[-1] = events.StreamDataReceived(last.data + event.data, event.end_stream, event.stream_id)
        else:
            joined.append(event)
    return joined


def state_of(quic: PinnedQuic) -> dict[str, Any]:
    """Return all that receiving can change."""
    space = quic._spaces[tls.Epoch.ONE_RTT]
    window = space.received_packets
    top = space.largest_received_packet
    loss, keys = quic._loss, quic._cryptos[tls.Epoch.ONE_RTT]
    return {
        "streams": {
            number: (
                bytes(stream.receiver._buffer),
                stream.receiver._buffer_start,
                stream.receiver.highest_offset,
                stream.receiver._final_size,
                stream.receiver.is_finished,
                list(stream.receiver._ranges),
                stream.max_stream_data_local,
                stream.max_stream_data_remote,
                list(stream.sender._pending),
                list(stream.sender._acked),
                stream.sender._buffer_start,
                stream.sender.is_finished,
                stream.sender.reset_pending,
                bytes(stream.sender._buffer),
            )
            for number, stream in quic._streams.items()
        },
        "queue": [stream.stream_id for stream in quic._streams_queue],
        "events": merged(quic._events),
        "data": (quic._local_max_data.used, quic._local_max_data.value, quic._remote_max_data),
        "received": (
            space.expected_packet_number,
            top,
            space.largest_received_time,
            list(space.ack_queue),
            [number for number in range(max(0, top - 300), top + 2) if number in window],
            space.ack_at,
        ),
        "sent": (
            list(space.sent_packets),
            space.ack_eliciting_in_flight,
            space.largest_acked_packet,
            space.loss_time,
        ),
        "recovery": (
            loss._rtt_latest,
            loss._rtt_smoothed,
            loss._rtt_variance,
            loss._pto_count,
            loss._cc.bytes_in_flight,
            loss._cc.congestion_window,
            loss._cc.ssthresh,
            loss._pacer.packet_time,
        ),
        "datagrams": vars(quic._mtu),
        "delivery": (
            quic._control.delivery.in_flight,
            quic._control.delivery.delivered,
            quic._control.delivery.lost,
            quic._control.pacing_rate,
        ),
        "idle": (quic._close_at, quic._ack_eliciting_sent_since_receipt),
        "state": (quic._state, quic._close_event, quic._close_pending, quic.host_cid, quic._peer_cid.cid),
        "spin": (quic._spin_bit, quic._spin_highest_pn),
        "keys": (keys.recv.key_phase, keys.send.key_phase, keys._update_key_requested, keys.recv.secret),
        "paths": [
            (path.addr, path.is_validated, path.bytes_received, len(path.remote_challenges))
            for path in quic._network_paths
        ],
        # New IDs of our own are random.
        "ids": ([own.sequence_number for own in quic._host_cids], [other.cid for other in quic._peer_cid_available]),
        "pending": (quic._probe_pending, list(quic._retire_connection_ids), quic._remote_max_streams_bidi),
    }
