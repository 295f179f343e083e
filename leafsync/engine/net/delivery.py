"""How fast a path delivers: one sample of the rate for each ACK frame (draft-ietf-ccwg-bbr section 4.1).

Every packet is stamped with what had been delivered when it was sent. What was delivered in between, by the longer of
the times in which that was sent and acknowledged, is what the path carries, unless the sender had nothing to send for
part of it: then it says what the sender did, and the sample is marked as limited by the application.
"""

import msgspec


class Stamp(msgspec.Struct):
    """What was known when a packet was sent; packets that were sent in one go share one. Bytes and seconds."""

    sent_at: float
    first_sent_at: float
    """When the packet was sent whose ACK was the latest."""
    delivered: int
    delivered_at: float
    lost: int
    app_limited: bool
    in_flight: int = 0
    """Bytes in flight, this packet among them; of packets sent in one go, all of them."""


class Sample(msgspec.Struct, kw_only=True):
    """What one ACK frame says. Bytes, seconds, and bytes per second."""

    now: float
    acked: int
    """Newly acknowledged by this frame."""
    rate: float
    """0 if the time it would be over is too short to say anything."""
    delivered: int
    """While the newest packet of the frame was under way."""
    prior_delivered: int
    """All that had been delivered when that packet was sent."""
    lost: int
    """While that packet was under way."""
    sent_in_flight: int
    """In flight when that packet had been sent."""
    app_limited: bool
    rtt: float | None
    """None if the frame gives no new one."""
    total_delivered: int
    in_flight: int
    """Now."""


class Delivery:
    """What was sent, delivered and lost in all, and the sample of the ACK frame that is being read."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.delivered = 0
        self.lost = 0
        self._delivered_at = 0.0
        self._first_sent_at = 0.0
        self._limited_until = 0
        """The application had nothing to send as of this byte; samples are marked until it is delivered."""
        self._acked = 0
        self._newest: Stamp | None = None

    @property
    def app_limited(self) -> bool:
        """Whether what is sent now is marked."""
        return self._limited_until > 0

    def on_app_limited(self) -> None:
        """The window and the pacing would let more out than there is to send."""
        self._limited_until = max(1, self.delivered + self.in_flight)

    def stamp(self, now: float) -> Stamp:
        """Return the stamp of packets that are being sent; `on_sent` follows."""
        if not self.in_flight:
            self._first_sent_at = self._delivered_at = now
        return Stamp(now, self._first_sent_at, self.delivered, self._delivered_at, self.lost, self.app_limited)

    def on_sent(self, stamp: Stamp, size: int) -> None:
        """Count `size` bytes of packets that carry `stamp`."""
        self.in_flight += size
        stamp.in_flight = self.in_flight

    def on_acked(self, stamp: Stamp, size: int) -> None:
        """Count a packet; those of one frame come in the order they were sent."""
        self.in_flight -= size
        self._acked += size
        self._newest = stamp

    def on_lost(self, size: int) -> None:
        """Count a packet that is taken for lost."""
        self.in_flight -= size
        self.lost += size

    def on_forgotten(self, size: int) -> None:
        """A packet counts for nothing any more: its keys are gone, or its data is sent again early."""
        self.in_flight -= size

    def sample(self, now: float, rtt: float | None, shortest: float) -> Sample | None:
        """Return what the frame said that has just been read, None if it acknowledged nothing new.

        An interval below `shortest`, the least round trip, says more about bursts of ACKs than about the path.
        """
        newest, acked = self._newest, self._acked
        if newest is None:
            return None
        self._newest, self._acked = None, 0
        self.delivered += acked
        self._delivered_at = now
        if self._limited_until and self.delivered > self._limited_until:
            self._limited_until = 0
        self._first_sent_at = newest.sent_at
        interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
        delivered = self.delivered - newest.delivered
        return Sample(
            now=now,
            acked=acked,
            rate=delivered / interval if interval > 0 and interval >= shortest else 0.0,
            delivered=delivered,
            prior_delivered=newest.delivered,
            lost=self.lost - newest.lost,
            sent_in_flight=newest.in_flight,
            app_limited=newest.app_limited,
            rtt=rtt,
            total_delivered=self.delivered,
            in_flight=self.in_flight,
        )
