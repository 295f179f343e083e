"""How large the datagrams to a peer may be: path MTU discovery by packets that are acknowledged or lost (RFC 8899).

Every path starts with what QUIC may rely on, 1200 bytes. Larger sizes are proven by probes, packets that nothing
depends on, so that a path that does not carry them costs the probes and no more. Afterwards one full datagram at a time
is watched: a path that has begun to swallow them while smaller ones arrive is a black hole, and back comes the size
that all paths carry. Neither relies on ICMP, which firewalls drop and anybody can forge.

Nothing here knows QUIC, sockets or a clock; `sizing` brings these.
"""

from typing import Final

from leafsync.engine.net.limits import MAX_DATAGRAM_SIZE

BASE_DATAGRAM_SIZE: Final = 1200
"""Bytes of UDP payload that every path of QUIC carries (RFC 9000 section 14)."""

PROBED_SIZES: Final = (MAX_DATAGRAM_SIZE, 1420, 1372)
"""What is tried, the best first: Ethernet; what PPPoE and GRE leave of it; what WireGuard leaves, each over IPv6. Below
that there is little to gain."""

MAX_PROBES: Final = 3
"""Probes of a size that are lost until it counts as too large (RFC 8899 section 5.1.2): one may be lost by chance."""

SEARCH_AGAIN: Final = 600.0
"""Seconds after a search that found less than the best until the next one (RFC 8899 section 5.1.1)."""

MAX_SWALLOWED: Final = 3
"""Watched datagrams lost in a row that make a black hole. They are a round trip or more apart, so that no burst of
congestion takes them all; losing a tenth of all packets at random is mistaken for one in a thousand round trips, and
costs a search."""


class PathMtu:
    """The size of datagrams on one path, and what is known of larger ones."""

    def __init__(self) -> None:
        self.size = BASE_DATAGRAM_SIZE
        self._candidates = list(PROBED_SIZES)
        self._failures = 0
        self._search_at: float | None = None
        self._probe: int | None = None
        self._watched: int | None = None
        self._swallowed = 0

    def start(self) -> None:
        """Begin anew, as on a path that nothing is known of; what is under way no longer counts."""
        self.size = BASE_DATAGRAM_SIZE
        self._probe = self._watched = None
        self._swallowed = 0
        self._search()

    def _search(self) -> None:
        self._candidates = [size for size in PROBED_SIZES if size > self.size]
        self._failures = 0
        self._search_at = None

    # Probes

    def wanted(self, now: float) -> int | None:
        """Return the size that a probe is to have now; None if there is nothing to find out."""
        if self._probe is not None or self.size == PROBED_SIZES[0]:
            return None
        if not self._candidates:
            if self._search_at is None:
                self._search_at = now + SEARCH_AGAIN
            if now < self._search_at:
                return None
            self._search()
        return self._candidates[0]

    def on_probe_sent(self, number: int) -> None:
        """Note that packet `number` is a probe of the size that was wanted."""
        self._probe = number

    def on_probe_settled(self, number: int, *, arrived: bool) -> None:
        """Note what became of the probe in packet `number`."""
        if number != self._probe:
            return
        self._probe = None
        if arrived:
            self.size = self._candidates[0]
            self._candidates = []
            return
        self._failures += 1
        if self._failures >= MAX_PROBES:
            self._rule_out()

    def on_too_large(self, size: int) -> None:
        """Note that the kernel refused a datagram of `size` bytes: it knows the MTU of the first link."""
        if size > self.size:
            if self._candidates[:1] == [size]:
                self._probe = None
                self._rule_out()
        elif size > BASE_DATAGRAM_SIZE:
            self.start()

    def _rule_out(self) -> None:
        del self._candidates[0]
        self._failures = 0

    # Black holes

    @property
    def watches(self) -> bool:
        """Whether the next full datagram is to be watched."""
        return self._watched is None and self.size > BASE_DATAGRAM_SIZE

    def on_watched(self, number: int) -> None:
        """Note that packet `number` filled a datagram and is the one to watch."""
        self._watched = number

    def on_watched_settled(self, number: int, *, arrived: bool) -> None:
        """Note what became of the watched packet `number`."""
        if number != self._watched:
            return
        self._watched = None
        self._swallowed = 0 if arrived else self._swallowed + 1
        if self._swallowed >= MAX_SWALLOWED:
            self.start()
