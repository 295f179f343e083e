"""Who may begin a handshake: the stateless answers to strangers, and the caps on half-open connections.

Nothing is remembered of an address that has not proven itself with a Retry token (RFC 9000 section 8.1): a flood from
forged addresses costs 0.2 ms a datagram and no memory (fault case 56).
"""

import os
from collections import Counter

import msgspec
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # re-exported upstream without saying so
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler

from leafsync.engine.net.addresses import SocketAddress, network_of
from leafsync.engine.net.limits import Limits

CONNECTION_ID_LENGTH = 8
"""Bytes of the connection IDs we issue: aioquic's default, and what routes a short header."""

SUPPORTED_VERSIONS = [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2]
"""QUIC versions offered and accepted (RFC 9000, RFC 9369)."""

_CLOSE_CAPACITY = 32
"""Bytes of a CONNECTION_CLOSE frame without a reason, generously."""


def destination_of(datagram: bytes) -> bytes:
    """Return the destination connection ID of a datagram (RFC 8999), b"" if it is too short to have one."""
    if not datagram:
        return b""
    if datagram[0] & 0x80:
        return datagram[6 : 6 + datagram[5]] if len(datagram) > 6 else b""
    return datagram[1 : 1 + CONNECTION_ID_LENGTH]


class Admitted(msgspec.Struct, frozen=True):
    """A stranger that may begin a handshake, and the connection IDs its TLS parameters must confirm."""

    connection_id: bytes
    original_connection_id: bytes


class Admission:
    """The doorkeeper of one endpoint."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = QuicRetryTokenHandler()
        self._half_open: Counter[str] = Counter()

    def begin(self, address: SocketAddress) -> None:
        """Count a half-open connection."""
        self._half_open[network_of(address)] += 1

    def done(self, address: SocketAddress) -> None:
        """Count it no more: it was established, or ended."""
        network = network_of(address)
        self._half_open[network] -= 1
        if self._half_open[network] <= 0:
            del self._half_open[network]

    @property
    def half_open(self) -> int:
        """Handshakes under way."""
        return self._half_open.total()

    def judge(
        self, datagram: bytes, address: SocketAddress, *, connections: int, now: float
    ) -> Admitted | bytes | None:
        """Return what a stranger's datagram deserves: a connection, an answer that keeps no state, or nothing.

        `connections` are those the endpoint has, half-open ones included.
        """
        if len(datagram) < SMALLEST_MAX_DATAGRAM_SIZE or not datagram[0] & 0x80:
            return None
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=CONNECTION_ID_LENGTH)
        except ValueError:
            return None
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            # Answering one with another would let two servers be set at each other.
            return None
        if header.version not in SUPPORTED_VERSIONS:
            return encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=[int(version) for version in SUPPORTED_VERSIONS],
            )
        if header.packet_type != QuicPacketType.INITIAL:
            return None
        if not header.token:
            return self._retry(header, address, now)
        try:
            original = self._tokens.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=now
            )
        except ValueError:
            return _refusal(header, QuicErrorCode.INVALID_TOKEN)
        if self._is_full(address, connections):
            return _refusal(header, QuicErrorCode.CONNECTION_REFUSED)
        return Admitted(connection_id=header.destination_cid, original_connection_id=original)

    def _is_full(self, address: SocketAddress, connections: int) -> bool:
        limits = self._limits
        return (
            connections >= limits.max_connections
            or self.half_open >= limits.max_handshakes
            or self._half_open[network_of(address)] >= limits.max_handshakes_per_network
        )

    def _retry(self, header: QuicHeader, address: SocketAddress, now: float) -> bytes:
        source = os.urandom(CONNECTION_ID_LENGTH)
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=now,
        )
        return encode_quic_retry(
            version=header.version or 0,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )


def _refusal(header: QuicHeader, code: QuicErrorCode) -> bytes:
    """Return an Initial packet that closes the connection it would have been (RFC 9000 section 5.2.2)."""
    version = header.version or 0
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=version)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        peer_cid=header.source_cid,
        version=version,
        is_client=False,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=_CLOSE_CAPACITY)
    for value in (code, QuicFrameType.PADDING, 0):
        frame.push_uint_var(int(value))
    datagrams, _ = builder.flush()
    return bytes(datagrams[0])
