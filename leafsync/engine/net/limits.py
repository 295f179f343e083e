"""Every bound on what a peer can make this device hold, and on how long it can make it wait.

`Limits` is what a caller may choose for one connection or endpoint; the constants are its defaults and the bounds
nobody may choose.
"""

import msgspec

ALPN = "leafsync/1"
"""The application protocol of TLS (RFC 7301): a peer that offers another one is refused in the handshake."""

SERVER_NAME = "leafsync"
"""Sent as SNI by every client, so that the name a user typed does not travel in the clear."""

MAX_DATAGRAM_SIZE = 1452
"""Bytes of UDP payload at most: an Ethernet frame (1500) less the IPv6 (40) and UDP (8) headers. A path that carries
less gets less (`pathmtu`)."""

KIB = 1024
MIB = 1024 * KIB

STREAM_WINDOW = 4 * MIB
"""Bytes one stream may hold unread here: a gigabit over 30 ms, and what a sparse offset can make us allocate."""

CONNECTION_WINDOW = 8 * MIB
"""Bytes all streams of a connection may hold unread here, together."""

STREAM_HIGH_WATER = 4 * MIB
"""Bytes of one stream written and not yet acknowledged before `write` waits: the peer's window, no more can fly."""

SEND_HIGH_WATER = 6 * MIB
"""The same over a connection: what a peer that never reads can make us hold (fault case 60)."""

PEER_STREAMS = 16
"""Streams a peer may have open at once: a control stream and 8 data streams, with room (fault case 61)."""

MAX_RESETS = 100
RESET_PERIOD = 10.0
"""More than MAX_RESETS resets within RESET_PERIOD seconds close the connection (fault case 61)."""

STALL_DEADLINE = 300.0
"""Seconds without progress before a wait for the peer gives up (fault case 59). The peer is there, or IDLE_TIMEOUT
would have ended the connection: it waits for its disk, and a slow one may have to flush gigabytes, those of other
programs too, before it takes more."""

KEEPALIVE = 10.0
"""Seconds without a datagram sent before a PING keeps NAT bindings and the peer's idle timer alive."""

IDLE_TIMEOUT = 30.0
"""Seconds without a datagram received before the connection is lost: three keepalives."""

HANDSHAKE_DEADLINE = 10.0
"""Seconds a stranger may hold a half-open connection (fault case 58)."""

MAX_CONNECTIONS = 64
"""Connections an endpoint serves at once, half-open ones included: about 90 KB each before any data."""

MAX_HANDSHAKES = 32
"""Half-open connections at once (fault case 56): each costs about 2 ms to begin, and is bound to a real address."""

MAX_HANDSHAKES_PER_NETWORK = 8
"""Half-open connections from one IPv4 /24 or IPv6 /64, so that one network cannot take all of MAX_HANDSHAKES."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may hold and how long it waits. Bytes and seconds; the constants above give the reasons.

    A job that is to be slow asks for small windows: the peer can then never send more than that ahead of the reader.
    """

    stream_window: int = STREAM_WINDOW
    connection_window: int = CONNECTION_WINDOW
    stream_high_water: int = STREAM_HIGH_WATER
    send_high_water: int = SEND_HIGH_WATER
    peer_streams: int = PEER_STREAMS
    max_resets: int = MAX_RESETS
    reset_period: float = RESET_PERIOD
    stall_deadline: float = STALL_DEADLINE
    keepalive: float = KEEPALIVE
    idle_timeout: float = IDLE_TIMEOUT
    handshake_deadline: float = HANDSHAKE_DEADLINE
    max_connections: int = MAX_CONNECTIONS
    max_handshakes: int = MAX_HANDSHAKES
    max_handshakes_per_network: int = MAX_HANDSHAKES_PER_NETWORK

    @property
    def credit_step(self) -> int:
        """Bytes consumed before a reader that waits for more gives credit back to the sender.

        Small against both windows: readers that each wait for part of a message can then never fill a window
        between them and stop the connection.
        """
        return max(1, min(64 * KIB, self.stream_window // 4, self.connection_window // 32))


DEFAULT_LIMITS = Limits()
"""The limits of a connection nobody asked anything special of."""
