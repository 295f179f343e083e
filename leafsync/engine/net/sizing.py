"""aioquic's connection with datagrams as large as the path carries; upstream sends one size from the first on.

A probe is a packet of a PING and PADDING (RFC 9000 section 14.4) that loss recovery keeps, but counts neither as in
flight nor as one to acknowledge: whether it arrives moves no window, starts no timer and has nothing sent again. It
waits for room in the window all the same. After a timeout, what asks for a sign of life has the size that every path
carries, so that a path that swallows larger ones is silent for one timeout and not for all of them.
"""

import logging
from typing import Any, Final

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.pathmtu import BASE_DATAGRAM_SIZE, PathMtu

logger = logging.getLogger("leafsync.net")

REQUIRED_OF_SIZING: Final = (
    "_close_pending",
    "_cryptos",
    "_handshake_confirmed",
    "_is_client",
    "_loss._pacer._max_datagram_size",
    "_loss._rtt_initialized",
    "_loss.bytes_in_flight",
    "_loss.congestion_window",
    "_loss.on_packet_sent",
    "_max_datagram_size",
    "_network_paths",
    "_packet_number",
    "_peer_cid.cid",
    "_probe_pending",
    "_spaces",
    "_spin_bit",
    "_state",
    "_version",
    "host_cid",
)
"""Private names of aioquic's connection that this module relies on."""


class SizedQuic(QuicConnection):
    """aioquic's connection that finds out how large its datagrams may be."""

    def __init__(self, *, configuration: QuicConfiguration, **options: Any) -> None:  # noqa: ANN401  upstream's
        super().__init__(configuration=configuration, **options)
        self._mtu = PathMtu()
        self._sized_for: SocketAddress | None = None
        self._said_too_small = False
        # Windows are counted in datagrams of the configured size, which is the largest.
        self._use_size(BASE_DATAGRAM_SIZE)

    @property
    def datagram_size(self) -> int:
        """Bytes of UDP payload of a full datagram."""
        return self._mtu.size

    def too_large(self, size: int) -> None:
        """Take note that the kernel refused a datagram of `size` bytes."""
        self._mtu.on_too_large(size)
        if size <= BASE_DATAGRAM_SIZE and not self._said_too_small:
            self._said_too_small = True
            logger.warning("the network takes no datagrams of %d bytes, which QUIC needs", size)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return what is to be sent now."""
        self._follow_path()
        mtu = self._mtu
        wanted = mtu.wanted(now)
        probe = self._build_probe(wanted, now) if wanted is not None and self._may_probe(wanted) else []
        size = BASE_DATAGRAM_SIZE if self._probe_pending else mtu.size
        if size != self._max_datagram_size:
            self._use_size(size)
        sent = super().datagrams_to_send(now)
        if sent and mtu.watches:
            self._watch(mtu.size, now)
        return probe + sent if probe else sent

    def _use_size(self, size: int) -> None:
        self._max_datagram_size = self._loss._pacer._max_datagram_size = size

    def _follow_path(self) -> None:
        address = self._network_paths[0].addr if self._network_paths else None
        if address != self._sized_for:
            self._sized_for = address
            self._mtu.start()

    def _may_probe(self, size: int) -> bool:
        # Until there is a round trip time every packet of a long path is taken for lost: nothing should be added then.
        return (
            self._handshake_confirmed
            and self._loss._rtt_initialized
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and not self._probe_pending
            and self._network_paths[0].is_validated
            and self._loss.bytes_in_flight + size <= self._loss.congestion_window
        )

    def _build_probe(self, size: int, now: float) -> list[tuple[bytes, SocketAddress]]:
        path = self._network_paths[0]
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=size,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version or 0,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[tls.Epoch.ONE_RTT])
        number = builder.packet_number
        frames = builder.start_frame(QuicFrameType.PING, handler=self._on_probe_delivery, handler_args=(number,))
        frames.push_bytes(bytes(builder.remaining_buffer_space))
        (datagram,), (packet,) = builder.flush()
        packet.in_flight = packet.is_ack_eliciting = False
        packet.sent_time = now
        self._packet_number = builder.packet_number
        self._loss.on_packet_sent(packet=packet, space=self._spaces[tls.Epoch.ONE_RTT])
        path.bytes_sent += len(datagram)
        self._mtu.on_probe_sent(number)
        return [(datagram, path.addr)]

    def _on_probe_delivery(self, delivery: QuicDeliveryState, number: int) -> None:
        self._mtu.on_probe_settled(number, arrived=delivery is QuicDeliveryState.ACKED)

    def _watch(self, size: int, now: float) -> None:
        """Watch the last packet of those just sent that fills a datagram."""
        for packet in reversed(self._spaces[tls.Epoch.ONE_RTT].sent_packets.values()):
            if packet.sent_time != now:
                return
            if packet.sent_bytes == size:
                packet.delivery_handlers.append((self._on_watched_delivery, (packet.packet_number,)))
                self._mtu.on_watched(packet.packet_number)
                return

    def _on_watched_delivery(self, delivery: QuicDeliveryState, number: int) -> None:
        self._mtu.on_watched_settled(number, arrived=delivery is QuicDeliveryState.ACKED)
