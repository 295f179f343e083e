"""Every way a connection ends has its error."""

import pytest
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from leafsync.engine.net.endings import ended_by_peer, ended_here, ended_silently
from leafsync.errors import (
    ConnectionLost,
    LeafSyncError,
    PeerClosed,
    ProtocolViolated,
    RefusedByPeer,
    TrustRefused,
    VersionMismatch,
)

PLACE = "box:4455"
OWN = "f" * 64


def event(code: int, frame_type: int | None = 6, reason: str = "") -> ConnectionTerminated:
    return ConnectionTerminated(error_code=code, frame_type=frame_type, reason_phrase=reason)


def alert(description: AlertDescription) -> int:
    return int(QuicErrorCode.CRYPTO_ERROR) + int(description)


@pytest.mark.parametrize(
    ("ended", "expected", "words"),
    [
        (event(3, None, "bye"), PeerClosed, "bye"),
        (event(3, None), PeerClosed, "code 3"),
        (event(alert(AlertDescription.bad_certificate)), RefusedByPeer, OWN),
        (event(alert(AlertDescription.certificate_required)), RefusedByPeer, OWN),
        (event(alert(AlertDescription.no_application_protocol)), VersionMismatch, "not LeafSync"),
        (event(alert(AlertDescription.decrypt_error)), ProtocolViolated, "alert 51"),
        (event(QuicErrorCode.CONNECTION_REFUSED), PeerClosed, "too many"),
        (event(QuicErrorCode.NO_ERROR, 0), PeerClosed, "shutting down"),
        (event(QuicErrorCode.APPLICATION_ERROR, 0), PeerClosed, "shutting down"),
        (event(QuicErrorCode.FLOW_CONTROL_ERROR, 8, "over"), PeerClosed, "transport error 3: over"),
        (event(QuicErrorCode.FLOW_CONTROL_ERROR, 8), PeerClosed, "transport error 3."),
    ],
)
def test_by_the_peer(ended: ConnectionTerminated, expected: type[LeafSyncError], words: str) -> None:
    error = ended_by_peer(ended, address=PLACE, own_fingerprint=OWN)
    assert type(error) is expected
    assert PLACE in str(error)
    assert words in str(error)
    if expected is PeerClosed:
        kind, other = ("transport_code", "code") if ended.frame_type is not None else ("code", "transport_code")
        assert error.fields[kind] == ended.error_code
        assert other not in error.fields, "the same numbers mean something else there"


@pytest.mark.parametrize(
    ("ended", "expected", "words"),
    [
        (event(alert(AlertDescription.certificate_required)), TrustRefused, "no key"),
        (event(alert(AlertDescription.no_application_protocol)), VersionMismatch, "leafsync/1"),
        (event(QuicErrorCode.FLOW_CONTROL_ERROR, 8, "Over stream data limit"), ProtocolViolated, "Over stream"),
        (event(QuicErrorCode.INTERNAL_ERROR, 0), ProtocolViolated, "transport error 1"),
    ],
)
def test_here(ended: ConnectionTerminated, expected: type[LeafSyncError], words: str) -> None:
    error = ended_here(ended, address=PLACE)
    assert type(error) is expected
    assert words in str(error)


@pytest.mark.parametrize(
    ("ended", "expected", "words"),
    [
        (event(QuicErrorCode.INTERNAL_ERROR, 0, "Idle timeout"), ConnectionLost, "nothing was heard for 30 s"),
        (event(QuicErrorCode.NO_VIABLE_PATH, 0, "No validated network path"), ConnectionLost, "new address"),
        (
            event(QuicErrorCode.INTERNAL_ERROR, 0, "Could not find a common protocol version"),
            VersionMismatch,
            "not LeafSync",
        ),
    ],
)
def test_silently(ended: ConnectionTerminated, expected: type[LeafSyncError], words: str) -> None:
    error = ended_silently(ended, address=PLACE, idle=30.0)
    assert type(error) is expected
    assert words in str(error)
