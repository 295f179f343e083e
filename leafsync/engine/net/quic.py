"""aioquic's state machine, with peers authenticated inside the handshake, and with bounded windows.

This is the one module (with `sizing`, `congestion` and the fast path) that knows aioquic's private names;
`check_aioquic` refuses to start with an aioquic that lacks one, and the contract test names it. Upstream has no public
way to ask a client for a certificate, to judge a key inside the handshake, or to let a window follow the reader.
"""

import hmac
import logging
import operator
import ssl
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, cast

from aioquic import tls
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionError, QuicConnectionState, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.congestion import ALGORITHM, REQUIRED_OF_RECOVERY, BbrQuic
from leafsync.engine.net.fastpath import FastQuic, specimen
from leafsync.engine.net.identity import Fingerprint, Identity, fingerprint_of
from leafsync.engine.net.limits import ALPN, MAX_DATAGRAM_SIZE, SERVER_NAME, Limits
from leafsync.engine.net.sizing import REQUIRED_OF_SIZING, SizedQuic
from leafsync.errors import LeafSyncError, SelfConnection

if TYPE_CHECKING:
    from aioquic._buffer import Buffer

logger = logging.getLogger("leafsync.net")

Authorize = Callable[[Fingerprint], None]
"""Judges a peer's fingerprint inside the handshake: returns to accept it, raises a LeafSyncError to refuse. Where
the peer is is known here alone: it is put into the error's field `address`."""

REQUIRED_OF_QUIC = (
    "_close_event",
    "_close_pending",
    "_crypto_streams",
    "_events",
    "_handle_crypto_frame",
    "_handle_stream_frame",
    "_handshake_confirmed",
    "_is_client",
    "_initialize",
    "_local_max_data.value",
    "_local_max_data.used",
    "_local_max_streams_bidi.sent",
    "_local_max_streams_uni.sent",
    "_local_next_stream_id_bidi",
    "_loss._rtt_smoothed",
    "_remote_max_streams_bidi",
    "_spaces",
    "_state",
    "_streams",
    "_write_connection_limits",
    "_write_stream_limits",
)
"""Private names of aioquic's connection that this module relies on."""

REQUIRED_OF_TLS = (
    "_client_handle_certificate_verify",
    "_peer_certificate",
    "_request_client_certificate",
    "_server_handle_certificate",
    "_server_handle_certificate_verify",
    "_signature_algorithms",
)
"""Private names of aioquic's TLS engine that this module relies on: without any of them nobody is authenticated."""

REQUIRED_OF_STREAM = (
    "max_stream_data_local",
    "max_stream_data_local_sent",
    "receiver._ranges",
    "receiver.highest_offset",
    "receiver.is_finished",
    "sender._buffer",
    "sender._buffer_start",
    "sender._buffer_stop",
    "sender._reset_error_code",
)
"""Names of aioquic's streams that this module relies on."""


MAX_CRYPTO = 16 << 10
"""Bytes of TLS messages that a peer may send at each level of encryption (RFC 9000 section 7.5): with Ed25519 keys a
flight has one to two thousand, and large key exchanges some thousands more."""

MAX_CRYPTO_GAPS = 64
"""Pieces out of order that are remembered of them: they come in a dozen datagrams at most."""

MAX_STREAM_GAPS = 4096
"""Pieces out of order that are remembered of a stream: upstream goes through all of them for each frame. A window has
3500 datagrams, so that honest loss leaves half as many."""


@cache
def check_aioquic() -> None:
    """Refuse to work with an aioquic that lacks a name we rely on, rather than run without what it protects.

    Raises:
        LeafSyncError: it does.
    """
    quic = specimen()
    stream = QuicStream(stream_id=0)
    required = (
        (quic, (*REQUIRED_OF_QUIC, *REQUIRED_OF_SIZING, *REQUIRED_OF_RECOVERY)),
        (quic.tls, REQUIRED_OF_TLS),
        (stream, REQUIRED_OF_STREAM),
    )
    for owner, names in required:
        for name in names:
            try:
                operator.attrgetter(name)(owner)
            except AttributeError as error:
                reason = f"this aioquic has no {name}; install aioquic 1.7.2 or a later 1.7"
                raise LeafSyncError(reason=reason) from error


class CertificateRequired(tls.Alert):
    """The TLS alert for a client that shows no certificate (RFC 8446 section 6.2)."""

    description = tls.AlertDescription.certificate_required


class PinnedContext(tls.Context):
    """TLS that lets nobody past CertificateVerify whose key was not accepted.

    The signature is checked before the key is judged, so a stolen certificate does not get as far.
    """

    check_peer: Callable[[x509.Certificate], None]

    def _server_handle_certificate(self, input_buf: "Buffer") -> None:
        super()._server_handle_certificate(input_buf)
        if self._peer_certificate is None:
            # An empty Certificate message is accepted upstream, and skips CertificateVerify.
            raise CertificateRequired("a client certificate is required")

    def _server_handle_certificate_verify(self, input_buf: "Buffer") -> None:
        super()._server_handle_certificate_verify(input_buf)
        self._judge()

    def _client_handle_certificate_verify(self, input_buf: "Buffer") -> None:
        super()._client_handle_certificate_verify(input_buf)
        self._judge()

    def _judge(self) -> None:
        if self._peer_certificate is None:
            raise CertificateRequired("a certificate is required")
        self.check_peer(self._peer_certificate)


def configuration_for(identity: Identity, limits: Limits, *, is_client: bool) -> QuicConfiguration:
    """Return aioquic's settings for one side. Tickets are never passed on, so there is no resumption and no 0-RTT."""
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        certificate=identity.certificate,
        cipher_suites=[tls.CipherSuite.AES_128_GCM_SHA256, tls.CipherSuite.CHACHA20_POLY1305_SHA256],
        congestion_control_algorithm=ALGORITHM,
        idle_timeout=limits.idle_timeout,
        is_client=is_client,
        max_data=limits.connection_window,
        max_datagram_size=MAX_DATAGRAM_SIZE,
        max_stream_data=limits.stream_window,
        private_key=identity.private_key,
        server_name=SERVER_NAME if is_client else None,
        # The chain means nothing between self-signed keys: the pin is the check.
        verify_mode=ssl.CERT_NONE,
    )


class PinnedQuic(BbrQuic, SizedQuic, FastQuic):
    """aioquic's connection with pinned mutual TLS, and with windows that follow what the application consumed.

    Upstream raises a window whenever data was seen at more than half of it, read or not.
    """

    def __init__(
        self,
        configuration: QuicConfiguration,
        *,
        own_fingerprint: Fingerprint,
        address: str,
        authorize: Authorize,
        limits: Limits,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self.peer_fingerprint: Fingerprint | None = None
        self.refusal: LeafSyncError | None = None
        self.own_fingerprint = own_fingerprint
        self.address = address
        self._authorize = authorize
        self._stream_step = max(1, limits.stream_window // 4)
        self._data_step = max(1, limits.connection_window // 4)
        self._stream_credit: dict[int, int] = {}
        self._data_credit = 0
        for limit, value in ((self._local_max_streams_bidi, limits.peer_streams), (self._local_max_streams_uni, 0)):
            limit.value = limit.sent = value
        self.use_fast_path()

    # Who the peer is

    def _initialize(self, peer_cid: bytes) -> None:
        # Upstream makes a new TLS context here, at the start and again after Retry and version negotiation.
        super()._initialize(peer_cid)
        self.tls.__class__ = PinnedContext
        context = cast("PinnedContext", self.tls)
        context.check_peer = self._check_peer
        context._signature_algorithms = [tls.SignatureAlgorithm.ED25519]
        context._request_client_certificate = not self._is_client

    def _check_peer(self, certificate: x509.Certificate) -> None:
        if not isinstance(certificate.public_key(), ed25519.Ed25519PublicKey):
            raise tls.AlertUnsupportedCertificate("only Ed25519 keys are accepted")
        fingerprint = fingerprint_of(certificate)
        try:
            if hmac.compare_digest(fingerprint, self.own_fingerprint):
                raise SelfConnection(address=self.address)
            self._authorize(fingerprint)
        except LeafSyncError as error:
            # Only here is it known where a peer came from.
            error.fields["address"] = self.address
            self.refusal = error
            raise tls.AlertBadCertificate("not trusted") from error
        except Exception as error:
            # An authorizer with a bug refuses: the handshake must not go on as if it had never been asked.
            logger.exception("the trust check failed")
            self.refusal = LeafSyncError(reason="the trust check failed")
            raise tls.AlertInternalError("the trust check failed") from error
        self.peer_fingerprint = fingerprint

    def receive_datagram(self, data: bytes, addr: SocketAddress, now: float) -> None:
        # Upstream stops at the next transmit only. Within one batch the peer's Finished could still complete a
        # handshake that was refused a datagram earlier.
        if self._close_event is None:
            super().receive_datagram(data, addr, now)

    # What is out of order

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: "Buffer") -> None:
        """Upstream takes half a megabyte of anybody's handshake out of order, and any length in order."""
        start = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        ranges = self._crypto_streams[context.epoch].receiver._ranges
        if end > MAX_CRYPTO or len(ranges) >= MAX_CRYPTO_GAPS:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too long a handshake")
        super()._handle_crypto_frame(context, frame_type, buf)

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: "Buffer") -> None:
        start = buf.tell()
        stream = self._streams.get(buf.pull_uint_var())
        buf.seek(start)
        if stream is not None and len(stream.receiver._ranges) >= MAX_STREAM_GAPS:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "too many gaps in a stream")
        super()._handle_stream_frame(context, frame_type, buf)

    # Receive windows

    def credit(self, stream_id: int, count: int) -> bool:
        """Let the peer send `count` more bytes; return whether that is worth telling it now."""
        changed = False
        self._data_credit += count
        if self._data_credit >= self._data_step:
            self._local_max_data.value += self._data_credit
            self._data_credit = 0
            changed = True
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            self._stream_credit.pop(stream_id, None)
            return changed
        credit = self._stream_credit.get(stream_id, 0) + count
        if credit >= self._stream_step:
            stream.max_stream_data_local += credit
            credit = 0
            changed = True
        self._stream_credit[stream_id] = credit
        return changed

    def forget_stream(self, stream_id: int) -> None:
        """Drop the credit account of a finished stream."""
        self._stream_credit.pop(stream_id, None)

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if stream.max_stream_data_local_sent == stream.max_stream_data_local or stream.receiver.is_finished:
            return
        receiver = stream.receiver
        # With nothing seen, upstream has nothing to double.
        seen, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder=builder, space=space, stream=stream)
        finally:
            receiver.highest_offset = seen

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._local_max_data
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder=builder, space=space)
        finally:
            limit.used = used

    # What Connection asks

    @property
    def ended(self) -> events.ConnectionTerminated | None:
        """How the connection ended, from the moment that is known: well before upstream's event for it."""
        return self._close_event

    @property
    def ended_by_peer(self) -> bool:
        return self._state is QuicConnectionState.DRAINING

    @property
    def ended_silently(self) -> bool:
        return self._state is QuicConnectionState.TERMINATED

    @property
    def confirmed(self) -> bool:
        """Whether both sides accepted the handshake: for a client, that the server judged its key (RFC 9001 4.1.2)."""
        return self._handshake_confirmed

    @property
    def smoothed_rtt(self) -> float:
        return float(self._loss._rtt_smoothed)

    def take_events(self) -> deque[events.QuicEvent]:
        """Return the queue of events; the caller empties it."""
        return self._events

    def ack_at_once(self, now: float) -> None:
        """Acknowledge with the next transmit what is to be acknowledged: a batch is more than two packets already
        (RFC 9000 section 13.2.2), and a timer of 1 ms would only add its delay."""
        space = self._spaces.get(tls.Epoch.ONE_RTT)
        if space is not None and space.ack_at is not None:
            space.ack_at = now

    def may_open(self) -> bool:
        """Whether the peer lets us open another stream now."""
        return self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi

    def has_stream(self, stream_id: int) -> bool:
        """Whether the stream is not yet finished both ways, and acknowledged so."""
        return stream_id in self._streams

    def final_size(self, stream_id: int) -> int:
        """How many bytes of the peer's stream count against the connection's window."""
        stream = self._streams.get(stream_id)
        return stream.receiver.highest_offset if stream else 0

    def drop_unsent(self, stream_id: int) -> None:
        """Free what was written to a stream that is reset: upstream keeps it until both directions are finished."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is not None:
            stream.sender._buffer = bytearray()
            stream.sender._buffer_start = stream.sender._buffer_stop

    def unacked(self, stream_id: int) -> int:
        """Bytes written to a stream and not acknowledged."""
        stream = self._streams.get(stream_id)
        return stream.sender._buffer_stop - stream.sender._buffer_start if stream else 0

    def unacked_total(self) -> int:
        return sum(stream.sender._buffer_stop - stream.sender._buffer_start for stream in self._streams.values())

    def acked_total(self) -> int:
        """A number that changes whenever the peer acknowledged stream data."""
        return sum(stream.sender._buffer_start for stream in self._streams.values())
