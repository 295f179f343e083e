"""Why a connection ended, in the error tree's terms."""

from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from leafsync.engine.net.limits import ALPN
from leafsync.errors import (
    ConnectionLost,
    LeafSyncError,
    PeerClosed,
    ProtocolViolated,
    RefusedByPeer,
    TrustRefused,
    VersionMismatch,
)

MAX_REASON = 120
"""Characters of a close reason sent: it must fit a datagram, and says no more than a phrase."""

_CRYPTO_ERRORS = range(0x100, 0x200)
"""QUIC error codes that carry a TLS alert in their low byte (RFC 9001 section 4.8)."""

_REFUSALS = frozenset(
    {
        AlertDescription.bad_certificate,
        AlertDescription.unsupported_certificate,
        AlertDescription.certificate_unknown,
        AlertDescription.unknown_ca,
        AlertDescription.access_denied,
        AlertDescription.certificate_required,
    }
)
"""Alerts by which a peer says that it does not accept our key."""


def ended_by_peer(event: ConnectionTerminated, *, address: str, own_fingerprint: str) -> LeafSyncError:
    """Return the error for a close the peer sent.

    The field `code` of a PeerClosed is an application's code. The transport has codes of its own, in which the same
    numbers mean something else (RFC 9000 section 20): they are the field `transport_code`.
    """
    code = event.error_code
    if event.frame_type is None:
        return PeerClosed(peer=address, reason=event.reason_phrase or f"code {code}", code=code)
    if code in _CRYPTO_ERRORS:
        return _from_alert(code - _CRYPTO_ERRORS.start, address, own_fingerprint)
    if code == QuicErrorCode.CONNECTION_REFUSED:
        return PeerClosed(peer=address, reason="it has too many connections now", transport_code=code)
    if code in (QuicErrorCode.NO_ERROR, QuicErrorCode.APPLICATION_ERROR):
        return PeerClosed(peer=address, reason="it is shutting down", transport_code=code)
    reason = f"it reports transport error {code}: {event.reason_phrase}".removesuffix(": ")
    return PeerClosed(peer=address, reason=reason, transport_code=code)


def ended_here(event: ConnectionTerminated, *, address: str) -> LeafSyncError:
    """Return the error for a close aioquic decided on: what the peer sent broke QUIC, TLS or a limit of ours."""
    alert = event.error_code - _CRYPTO_ERRORS.start
    if event.error_code in _CRYPTO_ERRORS and alert == AlertDescription.no_application_protocol:
        return _another_protocol(address)
    if event.error_code in _CRYPTO_ERRORS and alert in _REFUSALS:
        return TrustRefused(reason=f"{address} showed no key that can be used")
    return ProtocolViolated(peer=address, reason=event.reason_phrase or f"transport error {event.error_code}")


def ended_silently(event: ConnectionTerminated, *, address: str, idle: float) -> LeafSyncError:
    """Return the error for an end without a close: nothing heard, no path left, or no QUIC version in common."""
    if "version" in event.reason_phrase:
        return _another_protocol(address)
    if event.error_code == QuicErrorCode.NO_VIABLE_PATH:
        return ConnectionLost(peer=address, reason="it does not answer at its new address")
    return ConnectionLost(peer=address, reason=f"nothing was heard for {idle:g} s")


def _from_alert(alert: int, address: str, own_fingerprint: str) -> LeafSyncError:
    if alert in _REFUSALS:
        return RefusedByPeer(address=address, fingerprint=own_fingerprint)
    if alert == AlertDescription.no_application_protocol:
        return _another_protocol(address)
    return ProtocolViolated(peer=address, reason=f"the TLS handshake failed (alert {alert})")


def _another_protocol(address: str) -> VersionMismatch:
    return VersionMismatch(peer=address, theirs="something else (not LeafSync, or one too old)", ours=ALPN)
