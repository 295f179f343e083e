"""The receiving half of the fast path: a batch of 1-RTT packets, taken in at a fraction of upstream's cost.

`receive_batch` does for ordinary packets what `QuicConnection.receive_datagram` does for each, and leaves every other
packet to it. What is ordinary, in this order:

* a short header with our connection ID from the active, validated path, in the current key phase, a number of 2 bytes;
  everything else (handshake, migration, key updates, other lengths, too short to be a packet) is upstream's whole;
* after decryption, exactly one STREAM frame without FIN, the next bytes of a stream that is open and within its flow
  control, in a packet numbered above all before; any other payload is handed to upstream's own frame handlers.

What makes it fast: one AES call removes the header protection of the batch (RFC 9001 section 5.4.3); nothing is copied
or parsed twice; and packets that follow each other are recorded together, as are the bytes of a stream: one update of
the ACK ranges, one event. State is written back before upstream code runs, so it never sees a half-recorded batch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from aioquic import tls
from aioquic.buffer import encode_uint_var
from aioquic.quic import events
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicConnectionState, QuicReceiveContext
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.quic.stream import QuicStreamReceiver
from cryptography.exceptions import InvalidTag

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.packets import (
    FORM_BITS,
    FOUR_BYTES,
    LEAST_FRAME,
    MASK,
    NUMBER_SPACE,
    PROTECTED_BITS,
    SAMPLE,
    SHORT_HEADER,
    SHORT_OFFSET,
    SPIN_BIT,
    STREAM_WITH_OFFSET,
    TWO_BYTES,
    only_stream_frame,
)

if TYPE_CHECKING:
    from aioquic._crypto import AEAD, HeaderProtection

NO_SAMPLE: Final = bytes(SAMPLE)
"""Stands for the sample of a datagram too short to have one, so that masks stay aligned; never used."""


class FastReceive(QuicConnection):
    """aioquic's connection with `receive_batch`."""

    fast: bool
    """Whether the fast path may be used at all."""

    received_fast: int = 0
    """Packets whose frame was taken in here."""

    def receive_batch(self, datagrams: Sequence[bytes], addr: SocketAddress, now: float) -> None:
        """Take in datagrams that arrived from one address, in order, as `receive_datagram` would one by one."""
        masks = b""
        done, count = 0, len(datagrams)
        while done < count:
            if self._may_receive_fast(addr):
                if not masks:
                    masks = self._masks(datagrams)
                done = self._receive_run(datagrams, done, masks, now)
            if done < count:
                self.receive_datagram(datagrams[done], addr, now)
                done += 1

    def _may_receive_fast(self, addr: SocketAddress) -> bool:
        """Whether nothing is going on that only upstream knows how to deal with."""
        if not (self.fast and self._handshake_confirmed) or self._state is not QuicConnectionState.CONNECTED:
            return False
        if self._close_event is not None or self._quic_logger is not None:
            return False
        path = self._network_paths[0]
        recv = self._cryptos[tls.Epoch.ONE_RTT].recv
        return bool(
            path.addr == addr
            and path.is_validated
            and recv.aead is not None
            and recv.hp is not None
            and not recv.hp._is_chacha20
            and not self._cryptos[tls.Epoch.ZERO_RTT].recv.is_valid()
            and self._peer_cid.sequence_number is not None
            and any(own.cid == self.host_cid for own in self._host_cids)
        )

    def _masks(self, datagrams: Sequence[bytes]) -> bytes:
        """Return the header protection masks of all datagrams, 16 bytes each. The key for them never changes."""
        hp = cast("HeaderProtection", self._cryptos[tls.Epoch.ONE_RTT].recv.hp)
        at = 1 + len(self.host_cid) + NUMBER_SPACE
        end = at + SAMPLE
        return hp._encryptor.update(b"".join([data[at:end] if len(data) >= end else NO_SAMPLE for data in datagrams]))

    def _receive_run(self, datagrams: Sequence[bytes], done: int, masks: bytes, now: float) -> int:
        """Take in datagrams from number `done` on; return the number of the first that upstream has to take.

        A long function, because it is the one place where a call costs as much as what it would do: about 4 us a
        packet, of which 1.3 us is AES. Two things are open between packets and written back by `_record` and
        `_deliver`: numbers `first` to `stop` (always above the largest recorded), and the bytes of one stream in
        `parts`. `ahead` is how a packet begins that goes on with that stream: nearly all do, and need no parsing.
        """
        space = self._spaces[tls.Epoch.ONE_RTT]
        recv = self._cryptos[tls.Epoch.ONE_RTT].recv
        aead = cast("AEAD", recv.aead)
        decrypt, iv = aead._aead.decrypt, aead._iv
        wanted = recv.key_phase << 2 | TWO_BYTES
        cid = self.host_cid
        number_at = 1 + len(cid)
        body_at = number_at + 2
        shortest = number_at + NUMBER_SPACE + SAMPLE
        expected = space.expected_packet_number
        first = stop = space.largest_received_packet + 1
        first_byte, open_byte, open_header = 0, -1, b""
        stream_id, receiver, parts, offset, limit = -1, None, cast("list[bytes]", []), 0, 0
        ahead = ahead_id = b""
        left = zip(datagrams[done:], MASK.iter_unpack(masks[done * SAMPLE :]), strict=True)
        for data, (mask, number_mask) in left:
            open_now = data[0] if len(data) >= shortest else 0
            if open_now & FORM_BITS != SHORT_HEADER or not data.startswith(cid, 1):
                break
            open_now ^= mask & PROTECTED_BITS
            if open_now & PROTECTED_BITS != wanted:
                break
            if open_now != open_byte:
                open_byte, open_header = open_now, bytes((open_now,)) + cid

            # The whole number is the one nearest to what is expected (RFC 9000 appendix A.3).
            low = (data[number_at] << 8 | data[number_at + 1]) ^ number_mask
            number = expected & ~0xFFFF | low
            if number <= expected - 0x8000:
                number += 0x10000
            elif number > expected + 0x8000 and number >= 0x10000:
                number -= 0x10000
            done += 1
            try:
                # Decrypted before it is looked up, so that timing tells nothing (RFC 9001 section 9.5).
                plain = decrypt((iv ^ number).to_bytes(12, "big"), data[body_at:], open_header + low.to_bytes(2, "big"))
            except InvalidTag:
                continue

            if number >= stop and len(plain) > LEAST_FRAME:
                at = end = 0
                if ahead and plain.startswith(ahead):
                    at = len(ahead)
                    end = offset + len(plain) - at
                elif frame := only_stream_frame(plain):
                    frame_stream, frame_offset, at = frame
                    if frame_stream != stream_id:
                        if parts:
                            self._deliver(stream_id, receiver, parts, offset)
                            parts = []
                        stream_id, ahead = frame_stream, b""
                        receiver, limit = self._open_receiver(stream_id)
                        offset = limit if receiver is None else receiver._buffer_start
                        ahead_id = STREAM_WITH_OFFSET + encode_uint_var(stream_id) if limit < SHORT_OFFSET else b""
                    end = frame_offset + len(plain) - at if frame_offset == offset else 0
                if offset < end <= limit:
                    parts.append(plain[at:])
                    offset = end
                    if ahead_id:
                        ahead = ahead_id + (end | FOUR_BYTES).to_bytes(4, "big")
                    if number != stop:
                        if stop != first:
                            self._record(space, first, stop, first_byte, now)
                        first = number
                    stop = number + 1
                    first_byte = open_now
                    if number > expected:
                        expected = stop
                    continue

            # Not ordinary: write back, let upstream handle the frames, and begin anew from the state that leaves.
            if parts:
                self._deliver(stream_id, receiver, parts, offset)
                parts = []
            stream_id = -1
            ahead = b""
            space.expected_packet_number = expected
            if stop != first:
                self._record(space, first, stop, first_byte, now)
            if number in space.received_packets:
                first = stop
                continue
            ready = self._take_payload(space, number, open_now, plain, now)
            expected = space.expected_packet_number
            first = stop = space.largest_received_packet + 1
            if not ready:
                break
        if parts:
            self._deliver(stream_id, receiver, parts, offset)
        space.expected_packet_number = expected
        if stop != first:
            self._record(space, first, stop, first_byte, now)
        return done

    def _open_receiver(self, stream_id: int) -> tuple[QuicStreamReceiver | None, int]:
        """Return a stream's receiver and the offset its next bytes may reach, (None, -1) if that is not simple."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return None, -1
        receiver = stream.receiver
        start = receiver._buffer_start
        if (
            receiver.is_finished
            or receiver._final_size is not None
            or receiver._buffer
            or receiver.highest_offset != start
        ):
            return None, -1
        limit = self._local_max_data
        return receiver, min(stream.max_stream_data_local, start + limit.value - limit.used)

    def _deliver(self, stream_id: int, receiver: QuicStreamReceiver | None, parts: list[bytes], offset: int) -> None:
        """Write back the bytes of a stream, which now reach `offset`."""
        if receiver is None:
            raise AssertionError("bytes of no stream")
        self.received_fast += len(parts)
        self._local_max_data.used += offset - receiver._buffer_start
        receiver._buffer_start = receiver.highest_offset = offset
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._events.append(events.StreamDataReceived(data=data, end_stream=False, stream_id=stream_id))

    def _record(self, space: QuicPacketSpace, first: int, stop: int, first_byte: int, now: float) -> None:
        """Record packets `first` to `stop`, all new, the latest and ack-eliciting; `first_byte` is the last one's."""
        self._spin(first_byte, stop - 1)
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        space.largest_received_packet = stop - 1
        space.largest_received_time = now
        space.ack_queue.add(first, stop)
        # As many calls of QuicPacketNumberWindow.add.
        window = space.received_packets
        window._lower = max(window._lower, stop - window._size)
        window._received.update(range(max(first, window._lower), stop))
        if len(window._received) > 2 * window._size:
            window._received = {number for number in window._received if number >= window._lower}
        self._bound_and_schedule_ack(space, now)

    def _bound_and_schedule_ack(self, space: QuicPacketSpace, now: float) -> None:
        if len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        if space.ack_at is None:
            space.ack_at = now + self._ack_delay

    def _spin(self, first_byte: int, number: int) -> None:
        if number > self._spin_highest_pn:
            self._spin_bit = bool(first_byte & SPIN_BIT) != self._is_client
            self._spin_highest_pn = number

    def _take_payload(self, space: QuicPacketSpace, number: int, first_byte: int, plain: bytes, now: float) -> bool:
        """Do what upstream does with a decrypted packet that is no duplicate; return whether to go on here.

        This is the end of `QuicConnection.receive_datagram` for the case that `_may_receive_fast` describes.
        """
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        self._spin(first_byte, number)
        path = self._network_paths[0]
        context = QuicReceiveContext(
            epoch=tls.Epoch.ONE_RTT,
            host_cid=self.host_cid,
            network_path=path,
            quic_logger_frames=None,
            time=now,
            version=None,
        )
        try:
            is_ack_eliciting, _ = self._payload_received(context, plain)
        except QuicConnectionError as error:
            self._logger.warning(error)
            self.close(error_code=error.error_code, frame_type=error.frame_type, reason_phrase=error.reason_phrase)
            return False
        if self._state is not QuicConnectionState.CONNECTED or self._close_pending:
            return False
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if is_ack_eliciting:
            self._bound_and_schedule_ack(space, now)
        elif len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        return self._may_receive_fast(path.addr)
