"""One connection to an authorized peer: streams in both directions, bounded, and never silent about its end.

Nothing here owns a socket: datagrams come in through `receive` and leave through a `Carrier`, so that tests run a pair
of connections in memory. The QUIC state machine is `quic.PinnedQuic`; this module drives it on the event loop.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from aioquic.quic import events
from aioquic.quic.packet import QuicErrorCode, QuicFrameType

from leafsync.engine.net.addresses import SocketAddress, plain
from leafsync.engine.net.endings import MAX_REASON, ended_by_peer, ended_here, ended_silently
from leafsync.engine.net.identity import Fingerprint
from leafsync.engine.net.limits import ALPN, DEFAULT_LIMITS, Limits
from leafsync.engine.net.quic import PinnedQuic
from leafsync.engine.net.streams import Stream
from leafsync.errors import ConnectionLost, LeafSyncError, PeerStalled

logger = logging.getLogger("leafsync.net")


TICK = 0.001
"""Seconds: nothing here is timed more finely, and asyncio's timers are not either."""


class Carrier(Protocol):
    """What a connection needs of the endpoint that carries its datagrams."""

    def send(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None: ...
    def route(self, connection_id: bytes, connection: "Connection") -> None: ...
    def unroute(self, connection_id: bytes) -> None: ...
    def established(self, connection: "Connection") -> None: ...
    def ended(self, connection: "Connection") -> None: ...
    def released(self, connection: "Connection") -> None: ...


class Connection:
    """A connection to an authorized peer. Made by `endpoint.listen` and `endpoint.connect`.

    Whatever ends it is raised by every pending and later call, as one and the same typed error.
    """

    def __init__(
        self,
        quic: PinnedQuic,
        carrier: Carrier,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._quic = quic
        self._carrier = carrier
        self._limits = limits
        self._address = quic.address
        self._loop = asyncio.get_running_loop()
        self._established = False
        self._over = False
        self._released = False
        self._error: LeafSyncError | None = None
        self._ready = asyncio.Event()
        self._closed = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        self._finishing: set[int] = set()
        self._incoming: deque[Stream] = deque()
        self._arrived = asyncio.Event()
        self._waiting: list[tuple[asyncio.Future[None], int | None]] = []
        self._resets: deque[float] = deque(maxlen=limits.max_resets + 1)
        self._timer: asyncio.TimerHandle | None = None
        self._transmit_handle: asyncio.Handle | None = None
        self._last_sent = self._loop.time()
        self._keepalive = self._loop.call_later(limits.keepalive, self._keep_alive)
        self._goodbye: list[tuple[bytes, SocketAddress]] = []
        self._after_close = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.datagrams_sent = 0
        self.datagrams_received = 0
        self.batches_received = 0

    def wire(self) -> tuple[int, int]:
        """Return the bytes received and sent so far: UDP payload."""
        return self.bytes_received, self.bytes_sent

    def __repr__(self) -> str:
        return f"<Connection with {self._address}{' (over)' if self._over else ''}>"

    # What the application uses

    @property
    def peer_fingerprint(self) -> Fingerprint:
        """The fingerprint of the peer's key; empty before the handshake is done."""
        return (self._quic.peer_fingerprint or "") if self._established else ""

    @property
    def peer_address(self) -> tuple[str, int]:
        """Host and port datagrams go to now. It changes when the peer's network does; never key trust on it."""
        address = self._quic.get_peer_address()
        return plain(address) if address else ("", 0)

    @property
    def address(self) -> str:
        """What to call the peer's place in a message: what the user typed, or "host:port"."""
        return self._address

    @property
    def rtt(self) -> float:
        """The smoothed round trip in seconds; 0 before the first sample."""
        return self._quic.smoothed_rtt

    @property
    def closed(self) -> bool:
        """Whether the connection is over, for whatever reason."""
        return self._over

    @property
    def error(self) -> LeafSyncError | None:
        """Why the connection ended; None while it lives, and if it was closed here for no reason."""
        return self._error

    @property
    def datagram_size(self) -> int:
        """Bytes of UDP payload that a full datagram has: what the path is known to carry."""
        return self._quic.datagram_size

    async def open_stream(self) -> Stream:
        """Open a stream. The peer learns of it with the first bytes written.

        Raises:
            PeerStalled: the peer has as many streams of ours as it allows, for the whole stall deadline.
        """
        while not self._quic.may_open():
            self._raise_if_over()
            await self._progress(None)
        self._raise_if_over()
        stream_id = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream_id, b"")
        return self._new_stream(stream_id)

    async def accept_stream(self) -> Stream:
        """Return the next stream the peer opened, in the order their first bytes arrived."""
        while not self._incoming:
            self._raise_if_over()
            self._arrived.clear()
            await self._arrived.wait()
        return self._incoming.popleft()

    def close(self, code: int = 0, reason: str = "", *, error: LeafSyncError | None = None) -> None:
        """End the connection; the peer sees PeerClosed with `code` and `reason`, which must name no paths.

        Whoever waits for the peer on this side gets `error`, or ConnectionLost without one: of several tasks, none can
        tell whether it is the one whose error will be heard. Unacknowledged data is dropped: finish the streams and let
        the peer confirm first, if it matters.
        """
        if not self._over:
            self._quic.close(error_code=code, reason_phrase=reason[:MAX_REASON])
            self._end(error)
            self._transmit()

    async def wait_closed(self) -> None:
        """Return when the connection is over, whichever side ended it, and the socket of one we dialled released."""
        await self._closed.wait()

    # What streams use (StreamOwner)

    def send_stream(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Queue bytes of a stream; they leave with this loop turn's datagrams."""
        if self._over:
            return
        self._quic.send_stream_data(stream_id, data, end_stream=end)
        if end:
            self._finishing.add(stream_id)
        self._transmit_soon()

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Give up sending on a stream."""
        if not self._over:
            self._quic.reset_stream(stream_id, code)
            self._quic.drop_unsent(stream_id)
            self._finishing.add(stream_id)
            self._wake_writers()
            self._transmit_soon()

    def stop_stream(self, stream_id: int, code: int) -> None:
        """Ask the peer to give up sending on a stream."""
        if not self._over and self._quic.has_stream(stream_id):
            self._quic.stop_stream(stream_id, code)
            self._transmit_soon()

    def credit(self, stream_id: int, count: int) -> None:
        """Let the peer send as many bytes more as were consumed."""
        if self._quic.credit(stream_id, count) and not self._over:
            self._transmit_soon()

    async def writable(self, stream_id: int) -> None:
        """Return when a stream may be written to, or when writing would raise."""
        if self._below(stream_id, self._limits.stream_high_water, self._limits.send_high_water):
            return
        while not self._writable_again(stream_id):
            await self._progress(stream_id)

    # What the endpoint uses

    @property
    def ready(self) -> bool:
        """Whether both sides accepted the handshake."""
        return self._ready.is_set() and not self._over

    async def wait_ready(self) -> None:
        """Return when both sides accepted the handshake; raise what ended the connection otherwise."""
        await self._ready.wait()
        self._raise_if_over()

    @property
    def refusal(self) -> LeafSyncError | None:
        """Why this side refused the peer's key, if it did."""
        return self._quic.refusal

    def connect(self, address: SocketAddress) -> None:
        """Begin the handshake of a client."""
        self._quic.connect(address, self._loop.time())
        self._transmit()

    def receive(self, datagrams: Sequence[bytes], address: SocketAddress) -> None:
        """Take a batch of datagrams from one address, and answer it with one transmit."""
        self.batches_received += 1
        self.datagrams_received += len(datagrams)
        self.bytes_received += sum(map(len, datagrams))
        if self._over:
            self._answer_after_close()
            return
        now = self._loop.time()
        quic = self._quic
        try:
            quic.receive_batch(datagrams, address, now)
        except Exception:
            # What a peer sends must never take the endpoint down with it.
            logger.exception("a datagram could not be handled")
            quic.close(error_code=QuicErrorCode.INTERNAL_ERROR, frame_type=QuicFrameType.PADDING)
        if len(datagrams) > 1:
            quic.ack_at_once(now)
        self._handle_events()
        self._transmit()
        self._wake_writers()

    def too_large(self, size: int, address: SocketAddress) -> None:
        """Take note that the kernel refused a datagram of `size` bytes to `address`, and send smaller ones."""
        if not self._over and self._quic.get_peer_address() == address:
            self._quic.too_large(size)
            self._transmit_soon()

    def refuse(self, code: int, reason: str, error: LeafSyncError) -> None:
        """Tell a peer that is still in its handshake that it will not be served, because of `error`."""
        self._quic.close(error_code=code, frame_type=QuicFrameType.PADDING, reason_phrase=reason)
        self._end(error)
        self._transmit()

    def repeat_goodbye(self) -> None:
        """Send the close once more, if there was one: nobody will be there to answer should it get lost."""
        if self._goodbye:
            self._carrier.send(self._goodbye)

    def abandon(self, error: LeafSyncError | None) -> None:
        """End the connection without a word to the peer: there is none, or it cannot be reached."""
        self._end(error)
        self._release()

    # Events

    def _handle_events(self) -> None:
        queue = self._quic.take_events()
        while queue:
            event = queue.popleft()
            if isinstance(event, events.StreamDataReceived):
                self._on_data(event)
            elif isinstance(event, events.StreamReset):
                self._on_reset(event)
            elif isinstance(event, events.StopSendingReceived):
                self._on_stopped(event)
            elif isinstance(event, events.HandshakeCompleted):
                self._on_handshake(event)
            elif isinstance(event, events.ConnectionIdIssued):
                self._carrier.route(event.connection_id, self)
            elif isinstance(event, events.ConnectionIdRetired):
                self._carrier.unroute(event.connection_id)
        if self._established and self._quic.confirmed and not self._ready.is_set():
            self._ready.set()

    def _on_handshake(self, event: events.HandshakeCompleted) -> None:
        quic = self._quic
        if quic.ended is not None or quic.refusal is not None:
            return
        if event.session_resumed or event.alpn_protocol != ALPN or quic.peer_fingerprint is None:
            logger.error("a handshake without a checked key was completed; closing")
            quic.close(error_code=QuicErrorCode.INTERNAL_ERROR, frame_type=QuicFrameType.CRYPTO)
            return
        self._established = True
        self._carrier.established(self)

    def _on_data(self, event: events.StreamDataReceived) -> None:
        stream = self._stream_for(event.stream_id)
        if stream is not None:
            if event.end_stream:
                self._finishing.add(event.stream_id)
            stream.on_data(event.data, end=event.end_stream)

    def _on_reset(self, event: events.StreamReset) -> None:
        stream = self._stream_for(event.stream_id)
        if stream is not None:
            self._finishing.add(event.stream_id)
            if not stream.stopped:
                # The answer to a stop of ours is not the peer's doing.
                self._count_reset()
            stream.on_reset(event.error_code, self._quic.final_size(event.stream_id))

    def _on_stopped(self, event: events.StopSendingReceived) -> None:
        stream = self._stream_for(event.stream_id)
        if stream is not None:
            self._finishing.add(event.stream_id)
            self._quic.drop_unsent(event.stream_id)
            stream.on_stopped(event.error_code)
            self._count_reset()

    def _stream_for(self, stream_id: int) -> Stream | None:
        """Return the stream an event is for, a new one if the peer just opened it; None before there is a peer."""
        stream = self._streams.get(stream_id)
        if stream is None and self._established and not self._over and self._quic.has_stream(stream_id):
            stream = self._new_stream(stream_id)
            self._incoming.append(stream)
            self._arrived.set()
        return stream

    def _new_stream(self, stream_id: int) -> Stream:
        stream = Stream(self, stream_id, credit_step=self._limits.credit_step)
        self._streams[stream_id] = stream
        return stream

    def _count_reset(self) -> None:
        now = self._loop.time()
        self._resets.append(now)
        full = len(self._resets) == self._resets.maxlen
        if full and now - self._resets[0] <= self._limits.reset_period:
            self._quic.close(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=QuicFrameType.RESET_STREAM,
                reason_phrase="it resets too many streams",
            )

    # Sending

    def _transmit_soon(self) -> None:
        if self._transmit_handle is None and not self._over:
            self._transmit_handle = self._loop.call_soon(self._transmit)

    def _transmit(self) -> None:
        if self._transmit_handle is not None:
            self._transmit_handle.cancel()
            self._transmit_handle = None
        quic = self._quic
        if quic.get_peer_address() is None:
            return
        now = self._loop.time()
        try:
            datagrams = quic.datagrams_to_send(now)
        except Exception:
            logger.exception("datagrams could not be built")
            self.abandon(ConnectionLost(peer=self._address, reason="an internal error, see the log"))
            return
        if datagrams:
            self._last_sent = now
            self.datagrams_sent += len(datagrams)
            self.bytes_sent += sum(len(datagram) for datagram, _ in datagrams)
            if quic.ended is not None:
                self._goodbye = datagrams
            self._carrier.send(datagrams)
        self._handle_events()
        if self._finishing:
            self._reap()
        if quic.ended is not None:
            self._end_by_quic(quic.ended)
        self._arm_timer()

    def _reap(self) -> None:
        """Forget the streams that are finished both ways, and acknowledged so."""
        for stream_id in [number for number in self._finishing if not self._quic.has_stream(number)]:
            self._finishing.discard(stream_id)
            self._streams.pop(stream_id, None)
            self._quic.forget_stream(stream_id)

    def _arm_timer(self) -> None:
        at = self._quic.get_timer()
        if at is None or self._released:
            self._cancel_timer()
        elif self._timer is None or self._timer.when() > at:
            # A timer that is too early looks again when it fires: cheaper than moving it with every batch.
            self._cancel_timer()
            self._timer = self._loop.call_at(at, self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        # The loop may fire a hair early; aioquic wants the time it asked for.
        now = max(self._loop.time(), self._timer.when() if self._timer else 0.0)
        self._timer = None
        quic = self._quic
        at = quic.get_timer()
        if at is not None and at <= now:
            quic.handle_timer(now)
            if quic.ended_silently:
                self._handle_events()
                if quic.ended is not None:
                    self._end_by_quic(quic.ended)
                self._release()
                return
            self._handle_events()
            self._transmit()
        else:
            self._arm_timer()

    def _keep_alive(self) -> None:
        quiet = self._loop.time() - self._last_sent
        if quiet >= self._limits.keepalive - TICK:
            if self._established:
                self._quic.send_ping(0)
                self._transmit_soon()
            quiet = 0.0
        self._keepalive = self._loop.call_later(self._limits.keepalive - quiet, self._keep_alive)

    # Waiting for the peer

    async def _progress(self, stream_id: int | None) -> None:
        """Wait until a stream may be written to again (None: until one may be opened)."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        entry = (waiter, stream_id)
        self._waiting.append(entry)
        before = self._quic.acked_total()
        try:
            async with asyncio.timeout(self._limits.stall_deadline):
                await waiter
        except TimeoutError:
            if stream_id is None or self._quic.acked_total() == before:
                raise PeerStalled(peer=self._address, seconds=f"{self._limits.stall_deadline:g}") from None
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def _wake_writers(self) -> None:
        for waiter, stream_id in self._waiting:
            ready = self._quic.may_open() if stream_id is None else self._writable_again(stream_id)
            if (ready or self._over) and not waiter.done():
                waiter.set_result(None)

    def _writable_again(self, stream_id: int) -> bool:
        # Three quarters: a writer woken for every acknowledgement would do nothing but wake up.
        stream = self._streams.get(stream_id)
        if self._over or stream is None or stream.write_error is not None:
            return True
        limits = self._limits
        stream_mark, mark = limits.stream_high_water * 3 // 4, limits.send_high_water * 3 // 4
        return self._below(stream_id, stream_mark, mark)

    def _below(self, stream_id: int, stream_mark: int, mark: int) -> bool:
        return self._quic.unacked(stream_id) < stream_mark and self._quic.unacked_total() < mark

    # The end

    def _raise_if_over(self) -> None:
        if self._over:
            raise self._error or ConnectionLost(peer=self._address, reason="it was closed here")

    def _end_by_quic(self, event: events.ConnectionTerminated) -> None:
        if self._over:
            return
        quic = self._quic
        if quic.refusal is not None:
            self._end(quic.refusal)
        elif quic.ended_by_peer:
            self._end(ended_by_peer(event, address=self._address, own_fingerprint=quic.own_fingerprint))
        elif quic.ended_silently:
            self._end(ended_silently(event, address=self._address, idle=self._limits.idle_timeout))
        else:
            self._end(ended_here(event, address=self._address))

    def _end(self, error: LeafSyncError | None) -> None:
        """Tell everybody who waits. The QUIC side may still linger to answer late datagrams."""
        if self._over:
            return
        self._over = True
        self._error = error
        if self._transmit_handle is not None:
            self._transmit_handle.cancel()
        self._keepalive.cancel()
        told = error or ConnectionLost(peer=self._address, reason="it was closed here")
        for stream in self._streams.values():
            stream.on_connection_over(told)
        self._streams.clear()
        self._finishing.clear()
        self._wake_writers()
        self._arrived.set()
        self._ready.set()
        if not self._quic.configuration.is_client:
            self._closed.set()
        self._carrier.ended(self)

    def _answer_after_close(self) -> None:
        """Repeat a lost close, ever more rarely (RFC 9000 section 10.2.1)."""
        self._after_close += 1
        if self._goodbye and not self._released and self._after_close & (self._after_close - 1) == 0:
            self._carrier.send(self._goodbye)

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._cancel_timer()
            self._carrier.released(self)
            self._closed.set()
