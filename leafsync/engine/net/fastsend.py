"""The sending half of the fast path: packets full of one stream's bytes, built at a fraction of upstream's cost.

Upstream builds everything that is not bulk: what is due besides data (ACKs, windows, resets, pings), the streams with
less than a packet to send, the ends of streams, probes after a timeout, the first packet after a key update, whatever
goes to a path that is not validated, and closes. In between, streams that have at least a packet of bytes are served
here in turns: STREAM frames without a length (they reach to the end of the packet), protected with one AES call for
the headers of all. Congestion window, pacing, flow control and loss recovery are upstream's own state, and count these
packets as any others.
"""

import math
from collections import deque
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec
from aioquic import tls
from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamSender

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.delivery import Stamp
from leafsync.engine.net.packets import (
    EIGHT_BYTES,
    FOUR_BYTES,
    MASK,
    PROTECTED_BITS,
    SAMPLE,
    SHORT_HEADER,
    SHORT_OFFSET,
    SPIN_BIT,
    STREAM_WITH_OFFSET,
    TAG,
    TWO_BYTES,
)
from leafsync.engine.net.segmented import SegmentedBuffer
from leafsync.engine.net.turns import TURNS

if TYPE_CHECKING:
    from aioquic._crypto import AEAD, HeaderProtection

    from leafsync.engine.net.congestion import BbrControl

TURN: Final = 16
"""Packets of one stream before the next one's: streams share evenly, and the receiver still has runs to join."""


class BulkPacket(msgspec.Struct):
    """What loss recovery keeps of a packet built here: aioquic's QuicSentPacket, without what never differs."""

    packet_number: int
    stamp: Stamp
    sent_bytes: int
    sender: QuicStreamSender
    start: int
    stop: int
    """The bytes of the stream that it carries."""
    handlers: list[tuple[Any, Any]] | None = None
    """What upstream calls when it knows what became of the packet, once anybody has asked."""

    epoch: ClassVar = tls.Epoch.ONE_RTT
    in_flight: ClassVar = True
    is_ack_eliciting: ClassVar = True
    is_crypto_packet: ClassVar = False
    packet_type: ClassVar = QuicPacketType.ONE_RTT
    quic_logger_frames: ClassVar[list[dict[str, Any]]] = []

    @property
    def sent_time(self) -> float:
        """When it was sent, in seconds."""
        return self.stamp.sent_at

    @property
    def delivery_handlers(self) -> list[tuple[Any, Any]]:
        """What upstream calls; others may add to it."""
        if self.handlers is None:
            self.handlers = [(self.sender.on_data_delivery, (self.start, self.stop, False))]
        return self.handlers


class BulkRecovery(QuicPacketRecovery):
    """aioquic's loss recovery that takes the bulk packets of an ACK frame together."""

    def on_ack_received(self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace) -> None:
        """Take what was acknowledged.

        The last bulk packet is left to upstream, with all others: the round trip, losses and timers follow from it.
        """
        bulk = acknowledged_bulk(space, ack_rangeset)
        if len(bulk) > 1:
            bulk.pop()
            self._settle(bulk, space)
        super().on_ack_received(ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space)

    def _settle(self, bulk: list[BulkPacket], space: QuicPacketSpace) -> None:
        sent = space.sent_packets
        sender, start, stop = bulk[0].sender, bulk[0].start, bulk[0].start
        size = 0
        for packet in bulk:
            del sent[packet.packet_number]
            size += packet.sent_bytes
            if packet.sender is not sender or packet.start != stop:
                sender.on_data_delivery(QuicDeliveryState.ACKED, start, stop, False)
                sender, start = packet.sender, packet.start
            stop = packet.stop
        sender.on_data_delivery(QuicDeliveryState.ACKED, start, stop, False)
        space.ack_eliciting_in_flight -= len(bulk)
        cast("BbrControl", self._cc).on_burst_acked(bulk[-1].stamp, size)


def acknowledged_bulk(space: QuicPacketSpace, ranges: Iterable[range]) -> list[BulkPacket]:
    """Return the bulk packets in `ranges`, which ascend, that only their stream wants to hear of.

    One pass over what is in flight up to the last of them, whatever ranges a peer makes up.
    """
    found: list[BulkPacket] = []
    waiting = iter(ranges)
    start, stop = 0, 0
    for number, packet in cast("dict[int, object]", space.sent_packets).items():
        while number >= stop:
            if (following := next(waiting, None)) is None:
                return found
            start, stop = following.start, following.stop
        if number >= start and type(packet) is BulkPacket and packet.handlers is None:
            found.append(packet)
    return found


class FastSend(QuicConnection):
    """aioquic's connection that builds bulk packets itself."""

    fast: bool
    """Whether the fast path may be used at all."""

    sent_fast: int = 0
    """Packets that were built here."""

    _bulk_waits = False
    """Whether other streams used up what could be sent before bulk had its turn: next time bulk goes first, so that
    many small streams cannot starve a large one."""

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return what is to be sent now."""
        bulk = [stream for stream in self._streams_queue if self._is_bulk(stream)] if self._may_send_fast() else []
        if not bulk:
            return super().datagrams_to_send(now)
        others = [stream for stream in self._streams_queue if stream not in bulk]
        waited, in_flight = self._bulk_waits, self._loss.bytes_in_flight
        self._streams_queue = [] if waited else others
        try:
            sent = super().datagrams_to_send(now)
        finally:
            self._streams_queue = (others if waited else self._streams_queue) + bulk
        if not self._may_send_fast():
            return sent
        budget = self._packets_allowed(now)
        packets = self._send_bulk(bulk, budget, now)
        self._bulk_waits = not packets and (waited or self._loss.bytes_in_flight > in_flight)
        sent += packets
        if len(packets) < budget:
            # What is left is the ends of streams, or up to where the peer allows.
            sent += super().datagrams_to_send(now)
        elif self._pacing_at is None:
            self._pacing_at = self._loss._pacer.next_send_time(now=now)
        return sent

    def _get_or_create_stream_for_send(self, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream_for_send(stream_id)
        if self.fast and not stream.sender._buffer_stop and type(stream.sender._buffer) is bytearray:
            stream.sender._buffer = SegmentedBuffer()  # type: ignore[assignment]
        return stream

    def _may_send_fast(self) -> bool:
        """Whether nothing is going on that only upstream knows how to deal with."""
        if not (self.fast and self._handshake_confirmed) or self._state is not QuicConnectionState.CONNECTED:
            return False
        if self._close_pending or self._probe_pending or self._quic_logger is not None:
            return False
        crypto = self._cryptos[tls.Epoch.ONE_RTT]
        return bool(
            self._network_paths[0].is_validated
            and not crypto._update_key_requested
            and crypto.send.aead is not None
            and crypto.send.hp is not None
            and not crypto.send.hp._is_chacha20
        )

    def _is_bulk(self, stream: QuicStream) -> bool:
        """Whether a stream has at least a packet of bytes to send, and nothing else."""
        sender = stream.sender
        if stream.is_blocked or sender.buffer_is_empty or sender.reset_pending or stream.receiver.stop_pending:
            return False
        pending = sender._pending
        return len(pending) > 1 or (len(pending) == 1 and len(pending[0]) >= self._max_datagram_size)

    def _packets_allowed(self, now: float) -> int:
        """Return how many packets congestion window, pacing and the turn of the loop let out now."""
        control, pacer = self._loss._cc, self._loss._pacer
        packets = max(0, control.congestion_window - control.bytes_in_flight) // self._max_datagram_size
        packets = min(packets, TURNS.datagrams)
        if packets and pacer.packet_time is not None:
            pacer.update_bucket(now)
            packets = min(packets, math.ceil(max(0.0, pacer.bucket_time) / pacer.packet_time))
        return packets

    def _send_bulk(self, bulk: list[QuicStream], budget: int, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return at most `budget` packets of the streams in turns, and put those served at the end of the queue."""
        waiting = deque(bulk)
        send = self._cryptos[tls.Epoch.ONE_RTT].send
        spin = SPIN_BIT if self._spin_bit else 0
        prefix = bytes([SHORT_HEADER | spin | send.key_phase << 2 | TWO_BYTES]) + self._peer_cid.cid
        first = self._packet_number
        bodies: list[bytes] = []
        while waiting and len(bodies) < budget:
            stream = waiting.popleft()
            before = len(bodies)
            self._build(stream, min(TURN, budget - before), prefix, bodies, now)
            if len(bodies) > before:
                self._streams_queue.remove(stream)
                self._streams_queue.append(stream)
                if self._is_bulk(stream):
                    waiting.append(stream)
        if not bodies:
            return []
        self._register(len(bodies), now)
        return self._protect(prefix, first, bodies)

    def _build(self, stream: QuicStream, most: int, prefix: bytes, bodies: list[bytes], now: float) -> None:
        """Append the encrypted bodies of at most `most` packets of one stream; their headers begin with `prefix`."""
        sender = stream.sender
        pending = sender._pending[0]
        start = pending.start
        # What was sent before counts against no window.
        allowed = sender.highest_offset + self._remote_max_data - self._remote_max_data_used
        limit = min(pending.stop, allowed, stream.max_stream_data_remote)
        width, mark = (4, FOUR_BYTES) if limit < SHORT_OFFSET else (8, EIGHT_BYTES)
        frame = STREAM_WITH_OFFSET + encode_uint_var(stream.stream_id or 0)
        overhead = len(prefix) + 2 + len(frame) + width + TAG
        room = self._max_datagram_size - overhead

        packets, rest = divmod(max(0, limit - start), room)
        if limit == pending.stop and len(sender._pending) > 1:
            packets += rest > 0  # what was lost and is sent again comes in pieces of any size
        packets = min(packets, most)
        if packets <= 0:
            return
        stop = min(start + packets * room, limit)
        aead = cast("AEAD", self._cryptos[tls.Epoch.ONE_RTT].send.aead)
        encrypt, iv = aead._aead.encrypt, aead._iv
        sent_packets = cast("dict[int, BulkPacket]", self._spaces[tls.Epoch.ONE_RTT].sent_packets)
        control = cast("BbrControl", self._loss._cc)
        stamp = control.stamp(now)
        number = self._packet_number
        view = memoryview(sender._buffer[start - sender._buffer_start : stop - sender._buffer_start])
        at = start
        while at < stop:
            end = at + room if at + room < stop else stop
            plain = b"".join((frame, (at | mark).to_bytes(width, "big"), view[at - start : end - start]))
            header = prefix + (number & 0xFFFF).to_bytes(2, "big")
            bodies.append(encrypt((iv ^ number).to_bytes(12, "big"), plain, header))
            sent_packets[number] = BulkPacket(number, stamp, end - at + overhead, sender, at, end)
            number += 1
            at = end
        control.on_burst_sent(stamp, stop - start + packets * overhead)
        self._packet_number = number
        sender._pending.subtract(start, stop)
        if stop > sender.highest_offset:
            self._remote_max_data_used += stop - sender.highest_offset
            sender.highest_offset = stop

    def _register(self, count: int, now: float) -> None:
        """Do for `count` packets what upstream does for each packet it flushes."""
        self.sent_fast += count
        loss = self._loss
        self._spaces[tls.Epoch.ONE_RTT].ack_eliciting_in_flight += count
        loss._time_of_last_sent_ack_eliciting_packet = now
        pacer = loss._pacer
        if pacer.packet_time is not None:
            pacer.bucket_time = max(0.0, pacer.bucket_time - count * pacer.packet_time)
        if not self._ack_eliciting_sent_since_receipt:
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = True

    def _protect(self, prefix: bytes, number: int, bodies: list[bytes]) -> list[tuple[bytes, SocketAddress]]:
        """Return datagrams with their headers protected (RFC 9001 section 5.4); packets count up from `number`."""
        hp = cast("HeaderProtection", self._cryptos[tls.Epoch.ONE_RTT].send.hp)
        path = self._network_paths[0]
        # The sample begins 4 bytes behind the start of the packet number, which has 2.
        masks = hp._encryptor.update(b"".join([body[2 : 2 + SAMPLE] for body in bodies]))
        first_byte, cid = prefix[0], prefix[1:]
        pack, address = Struct(f">B{len(cid)}sH").pack, path.addr
        datagrams: list[tuple[bytes, SocketAddress]] = []
        for body, (mask, number_mask) in zip(bodies, MASK.iter_unpack(masks), strict=True):
            header = pack(first_byte ^ mask & PROTECTED_BITS, cid, number & 0xFFFF ^ number_mask)
            datagrams.append((header + body, address))
            number += 1
        path.bytes_sent += len(bodies) * (len(prefix) + 2) + sum(map(len, bodies))
        return datagrams
