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
from typing import TYPE_CHECKING, Any, Final, cast

from aioquic import tls
from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import QuicConnection, QuicConnectionState, QuicReceiveContext
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStream, QuicStreamSender

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.congestion import BbrControl, StampedPacket
from leafsync.engine.net.delivery import Stamp
from leafsync.engine.net.fastreceive import PROTECTED_BITS, SAMPLE, SHORT_HEADER, SPIN_BIT, TWO_BYTES
from leafsync.engine.net.segmented import SegmentedBuffer
from leafsync.engine.net.turns import TURNS

if TYPE_CHECKING:
    from aioquic._crypto import AEAD, HeaderProtection

TAG: Final = 16
"""Bytes that authenticate a packet, with every cipher of QUIC."""

STREAM_WITH_OFFSET: Final = b"\x0c"
"""A STREAM frame with an offset, without length and FIN."""

SHORT_OFFSET: Final = 1 << 30
"""Offsets below this take 4 bytes, others 8."""

TURN: Final = 16
"""Packets of one stream before the next one's: streams share evenly, and the receiver still has runs to join."""


class BulkPacket(StampedPacket):
    """What loss recovery keeps of a packet built here; all that never differs belongs to the class."""

    epoch = tls.Epoch.ONE_RTT
    in_flight = True
    is_ack_eliciting = True
    is_crypto_packet = False
    packet_type = QuicPacketType.ONE_RTT
    quic_logger_frames: list[dict[str, Any]] = []  # noqa: RUF012  upstream's type; nobody logs when this is used

    def __init__(self, number: int, stamp: Stamp, sent_bytes: int, handlers: list[tuple[Any, Any]]) -> None:
        self.packet_number = number
        self.stamp = stamp
        self.sent_time = stamp.sent_at
        self.sent_bytes = sent_bytes
        self.delivery_handlers = handlers


class FastSend(QuicConnection):
    """aioquic's connection that builds bulk packets itself."""

    fast: bool
    """Whether the fast path may be used at all."""

    sent_fast: int = 0
    """Packets that were built here."""

    _acked_sender: QuicStreamSender | None = None
    _acked_start = 0
    _acked_stop = 0
    """Bytes of one stream that an ACK frame acknowledged so far, as one run."""

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
        headers: list[bytes] = []
        bodies: list[bytes] = []
        while waiting and len(bodies) < budget:
            stream = waiting.popleft()
            before = len(bodies)
            self._build(stream, min(TURN, budget - before), headers, bodies, now)
            if len(bodies) > before:
                self._streams_queue.remove(stream)
                self._streams_queue.append(stream)
                if self._is_bulk(stream):
                    waiting.append(stream)
        if not bodies:
            return []
        self._register(len(bodies), now)
        return self._protect(headers, bodies)

    def _build(self, stream: QuicStream, most: int, headers: list[bytes], bodies: list[bytes], now: float) -> None:
        """Append at most `most` packets of one stream: plain headers and encrypted bodies."""
        sender = stream.sender
        pending = sender._pending[0]
        start = pending.start
        # What was sent before counts against no window.
        allowed = sender.highest_offset + self._remote_max_data - self._remote_max_data_used
        limit = min(pending.stop, allowed, stream.max_stream_data_remote)
        width, mark = (4, 0x8000_0000) if limit < SHORT_OFFSET else (8, 0xC000_0000_0000_0000)
        frame = STREAM_WITH_OFFSET + encode_uint_var(stream.stream_id or 0)
        send = self._cryptos[tls.Epoch.ONE_RTT].send
        cid = self._peer_cid.cid
        first_byte = SHORT_HEADER | (SPIN_BIT if self._spin_bit else 0) | send.key_phase << 2 | TWO_BYTES
        prefix = bytes([first_byte]) + cid
        room = self._max_datagram_size - len(prefix) - 2 - len(frame) - width - TAG

        packets, rest = divmod(max(0, limit - start), room)
        if limit == pending.stop and len(sender._pending) > 1:
            packets += rest > 0  # what was lost and is sent again comes in pieces of any size
        packets = min(packets, most)
        if packets <= 0:
            return
        stop = min(start + packets * room, limit)
        aead = cast("AEAD", send.aead)
        encrypt, iv = aead._aead.encrypt, aead._iv
        sent_packets = self._spaces[tls.Epoch.ONE_RTT].sent_packets
        control = cast("BbrControl", self._loss._cc)
        stamp, in_all = control.stamp(now), 0
        delivered, number = self._on_bulk_delivery, self._packet_number
        overhead = len(prefix) + 2
        view = memoryview(sender._buffer[start - sender._buffer_start : stop - sender._buffer_start])
        for at in range(start, stop, room):
            end = min(at + room, stop)
            header = prefix + (number & 0xFFFF).to_bytes(2, "big")
            plain = b"".join((frame, (at | mark).to_bytes(width, "big"), view[at - start : end - start]))
            body = encrypt((iv ^ number).to_bytes(12, "big"), plain, header)
            headers.append(header)
            bodies.append(body)
            size = overhead + len(body)
            in_all += size
            sent_packets[number] = BulkPacket(number, stamp, size, [(delivered, (sender, at, end))])
            number += 1
        control.on_burst_sent(stamp, in_all)
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

    def _protect(self, headers: list[bytes], bodies: list[bytes]) -> list[tuple[bytes, SocketAddress]]:
        """Return datagrams with their headers protected (RFC 9001 section 5.4)."""
        hp = cast("HeaderProtection", self._cryptos[tls.Epoch.ONE_RTT].send.hp)
        path = self._network_paths[0]
        # The sample begins 4 bytes behind the start of the packet number, which has 2.
        masks = hp._encryptor.update(b"".join([body[2 : 2 + SAMPLE] for body in bodies]))
        cid = self._peer_cid.cid
        high = 1 + len(cid)
        datagrams: list[tuple[bytes, SocketAddress]] = []
        at = total = 0
        for header, body in zip(headers, bodies, strict=True):
            datagram = b"%c%b%c%c%b" % (
                header[0] ^ masks[at] & PROTECTED_BITS,
                cid,
                header[high] ^ masks[at + 1],
                header[high + 1] ^ masks[at + 2],
                body,
            )
            at += SAMPLE
            total += len(datagram)
            datagrams.append((datagram, path.addr))
        path.bytes_sent += total
        return datagrams

    # Acknowledgements

    def _on_bulk_delivery(self, delivery: QuicDeliveryState, sender: QuicStreamSender, start: int, stop: int) -> None:
        """Note what became of a packet's bytes; those acknowledged are joined to runs until the ACK frame is done."""
        if delivery is not QuicDeliveryState.ACKED:
            sender.on_data_delivery(delivery, start, stop, False)
        elif sender is self._acked_sender and start == self._acked_stop:
            self._acked_stop = stop
        else:
            self._settle_acked()
            self._acked_sender, self._acked_start, self._acked_stop = sender, start, stop

    def _settle_acked(self) -> None:
        sender = self._acked_sender
        if sender is not None:
            self._acked_sender = None
            sender.on_data_delivery(QuicDeliveryState.ACKED, self._acked_start, self._acked_stop, False)

    def _handle_ack_frame(self, context: QuicReceiveContext, frame_type: int, buf: Any) -> None:  # noqa: ANN401
        try:
            super()._handle_ack_frame(context, frame_type, buf)
        finally:
            self._settle_acked()
