"""BBR as aioquic's congestion control, and the pacer that follows it.

aioquic calls for every packet; what is learned is learned once for each ACK frame, so the calls for a packet only
count, and packets that are sent in one go are counted together. `bbr` is the model, `delivery` measures.
"""

import math
import random
from collections.abc import Iterable
from typing import Any, Final, cast

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
from aioquic.quic.connection import QuicConnection, QuicReceiveContext
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.bbr import Bbr
from leafsync.engine.net.delivery import Delivery, Stamp

ALGORITHM: Final = "bbr"
"""What it is registered as with aioquic."""

REQUIRED_OF_RECOVERY: Final = (
    "_handle_ack_frame",
    "_initialize",
    "_loss._cc.on_packet_acked",
    "_loss._cc.on_packet_sent",
    "_loss._cc.on_packets_expired",
    "_loss._cc.on_packets_lost",
    "_loss._cc.on_persistent_congestion",
    "_loss._cc.on_rtt_measurement",
    "_loss._pacer.bucket_max",
    "_loss._pacer.bucket_time",
    "_loss._pacer.packet_time",
    "_loss._pacer.update_rate",
    "_loss._rtt_smoothed",
    "_max_datagram_size",
    "_pacing_at",
)
"""Private names of aioquic's connection that this module relies on."""

BURST_PACKETS: Final = 256
"""Packets the pacer lets out at once at most: about 2 ms of the event loop (7 us a packet, the kernel's part in it),
which nothing may block for longer than 5; on the stock path 6 ms."""

BURST_SECONDS: Final = 0.006
"""Seconds of sending the pacer saves up: a turn of the event loop takes 5 ms at times, and its timers tick in
milliseconds."""


class StampedPacket(QuicSentPacket):
    """A sent packet with what was known when it was sent."""

    stamp: Stamp


class BbrControl(QuicCongestionControl):
    """One connection's congestion control. `bytes_in_flight` and `congestion_window` are what aioquic sends by."""

    def __init__(self, *, max_datagram_size: int, dice: random.Random | None = None) -> None:
        """`dice` decide when to look for more bandwidth."""
        super().__init__(max_datagram_size=max_datagram_size)
        self.model = Bbr(max_datagram_size, dice or random.Random())  # noqa: S311  nobody gains by guessing it
        self.delivery = Delivery()
        self.congestion_window = self.model.window
        self._size = max_datagram_size
        self._rtt: float | None = None

    @property
    def pacing_rate(self) -> float | None:
        """Bytes per second; None before the first round trip was measured."""
        return self.model.pacing_rate

    # What is sent

    def stamp(self, now: float) -> Stamp:
        """Return the stamp for packets that are sent in one go; `on_burst_sent` has to follow."""
        delivery = self.delivery
        if not delivery.in_flight and delivery.app_limited:
            self.model.on_restart(now)
        return delivery.stamp(now)

    def on_burst_sent(self, stamp: Stamp, size: int) -> None:
        """Count packets that carry `stamp`, of `size` bytes together."""
        self.delivery.on_sent(stamp, size)
        self.bytes_in_flight = in_flight = self.delivery.in_flight
        if in_flight + self._size > self.congestion_window:
            self.model.window_limited = True

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Count a packet that aioquic has built."""
        stamp = cast("StampedPacket", packet).stamp = self.stamp(packet.sent_time or 0.0)
        self.on_burst_sent(stamp, packet.sent_bytes)

    def on_app_limited(self) -> None:
        """There was less to send than window and pacing let out."""
        self.delivery.on_app_limited()

    # What becomes of it

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Count it; `on_ack_frame` follows when all of the frame were counted."""
        self.on_burst_acked(cast("StampedPacket", packet).stamp, packet.sent_bytes)

    def on_burst_acked(self, stamp: Stamp, size: int) -> None:
        """Count packets of one ACK frame, of `size` bytes together; `stamp` is the newest one's."""
        self.delivery.on_acked(stamp, size)
        self.bytes_in_flight -= size

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Keep the round trip for `on_ack_frame`."""
        self._rtt = rtt

    def on_ack_frame(self, now: float) -> None:
        """Learn from all that one ACK frame acknowledged, and from what was lost by it."""
        least = self.model.min_rtt
        sample = self.delivery.sample(now, self._rtt, 0.0 if math.isinf(least) else least)
        self._rtt = None
        if sample is not None:
            if self.model.on_ack(sample):
                self.delivery.on_app_limited()
            self.congestion_window = self.model.window

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Count packets that are taken for lost."""
        for packet in packets:
            stamp, size = cast("StampedPacket", packet).stamp, packet.sent_bytes
            self.delivery.on_lost(size)
            self.model.on_lost(stamp, size, self.delivery.lost, now)
        self.bytes_in_flight = self.delivery.in_flight

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """Forget packets that nothing will be heard of, or whose data a probe sends again."""
        for packet in packets:
            self.delivery.on_forgotten(packet.sent_bytes)
        self.bytes_in_flight = self.delivery.in_flight

    def on_nothing_in_flight(self) -> None:
        """Forget all that is in flight: Retry and version negotiation begin the connection anew."""
        self.delivery.on_forgotten(self.delivery.in_flight)
        self.bytes_in_flight = 0

    def on_persistent_congestion(self) -> None:
        """Begin again with a small window."""
        self.model.on_persistent_congestion()
        self.congestion_window = self.model.window

    def get_log_data(self) -> dict[str, Any]:
        """Return what a log of aioquic shows."""
        return super().get_log_data() | {"pacing-rate": self.pacing_rate, "state": self.model.state.name}


class BbrPacer(QuicPacketPacer):
    """aioquic's pacer at the model's rate, with bursts that suit timers of 1 ms.

    16 packets a tick, as upstream has it, would be 23 MB/s at the most.
    """

    def __init__(self, control: BbrControl, *, max_datagram_size: int) -> None:
        """Follow `control`."""
        super().__init__(max_datagram_size=max_datagram_size)
        self._control = control

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Take the rate of the model; upstream would have a window for each round trip."""
        rate = self._control.pacing_rate
        if rate is None:
            return
        size = self._max_datagram_size
        self.packet_time = min(max(size / rate, 1e-6), 1.0)
        burst = min(congestion_window // 2, BURST_PACKETS * size, max(16 * size, int(rate * BURST_SECONDS)))
        self.bucket_max = max(2 * size, burst) / rate
        self.bucket_time = min(self.bucket_time, self.bucket_max)


class BbrQuic(QuicConnection):
    """aioquic's connection with a model that learns once for each ACK frame, and a pacer that follows it.

    Its configuration has to name ALGORITHM.
    """

    def __init__(self, *, configuration: QuicConfiguration, **options: Any) -> None:  # noqa: ANN401  upstream's
        super().__init__(configuration=configuration, **options)
        self._control = cast("BbrControl", self._loss._cc)
        self._loss._pacer = BbrPacer(self._control, max_datagram_size=self._max_datagram_size)

    def _initialize(self, peer_cid: bytes) -> None:
        # Upstream drops what it had sent with its packet number spaces, and leaves it in flight for good.
        super()._initialize(peer_cid)
        self._control.on_nothing_in_flight()

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return what is to be sent now; if that is less than what may be, note it."""
        datagrams = super().datagrams_to_send(now)
        control = self._control
        if self._pacing_at is None and control.congestion_window - control.bytes_in_flight >= self._max_datagram_size:
            control.on_app_limited()
        return datagrams

    def _handle_ack_frame(self, context: QuicReceiveContext, frame_type: int, buf: Any) -> None:  # noqa: ANN401
        super()._handle_ack_frame(context, frame_type, buf)
        control, loss = self._control, self._loss
        control.on_ack_frame(context.time)
        loss._pacer.update_rate(congestion_window=control.congestion_window, smoothed_rtt=loss._rtt_smoothed)


register_congestion_control(ALGORITHM, BbrControl)
