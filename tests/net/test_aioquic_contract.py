"""The private names of aioquic that LeafSync relies on: one test each, so that an upgrade says what it removed."""

import inspect
import operator

import aioquic
import pytest
from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, QuicConnection, QuicConnectionState
from aioquic.quic.recovery import QuicPacketPacer
from aioquic.quic.stream import QuicStream, QuicStreamSender

from leafsync.engine.net import fastpath
from leafsync.engine.net.congestion import REQUIRED_OF_RECOVERY
from leafsync.engine.net.quic import REQUIRED_OF_QUIC, REQUIRED_OF_STREAM, REQUIRED_OF_TLS


@pytest.fixture(scope="module")
def quic() -> QuicConnection:
    connection = QuicConnection(configuration=QuicConfiguration(server_name="leafsync"))
    connection.connect(("192.0.2.1", 9), now=0.0)
    return connection


@pytest.mark.parametrize("name", REQUIRED_OF_QUIC)
def test_connection_has(quic: QuicConnection, name: str) -> None:
    operator.attrgetter(name)(quic)


@pytest.mark.parametrize("name", REQUIRED_OF_RECOVERY)
def test_recovery_has(quic: QuicConnection, name: str) -> None:
    operator.attrgetter(name)(quic)


@pytest.mark.parametrize("name", REQUIRED_OF_TLS)
def test_tls_has(quic: QuicConnection, name: str) -> None:
    operator.attrgetter(name)(quic.tls)


@pytest.mark.parametrize("name", REQUIRED_OF_STREAM)
def test_stream_has(name: str) -> None:
    operator.attrgetter(name)(QuicStream(stream_id=0))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in fastpath.owners() for name in names],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_fast_path_finds(owner: object, name: str) -> None:
    operator.attrgetter(name)(owner)


def test_the_fast_path_knows_the_version_that_is_locked() -> None:
    assert aioquic.__version__ in fastpath.KNOWN_VERSIONS


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (QuicConnection._initialize, ["self", "peer_cid"]),
        (QuicConnection._write_stream_limits, ["self", "builder", "space", "stream"]),
        (QuicConnection._write_connection_limits, ["self", "builder", "space"]),
        (QuicConnection.receive_datagram, ["self", "data", "addr", "now"]),
        (QuicConnection._get_or_create_stream_for_send, ["self", "stream_id"]),
        (QuicConnection.datagrams_to_send, ["self", "now"]),
        (QuicConnection._payload_received, ["self", "context", "plain", "crypto_frame_required"]),
        (QuicConnection._handle_ack_frame, ["self", "context", "frame_type", "buf"]),
        (QuicStreamSender.on_data_delivery, ["self", "delivery", "start", "stop", "fin"]),
        (QuicPacketPacer.update_rate, ["self", "congestion_window", "smoothed_rtt"]),
        (tls.Context._server_handle_certificate, ["self", "input_buf"]),
        (tls.Context._server_handle_certificate_verify, ["self", "input_buf"]),
        (tls.Context._client_handle_certificate_verify, ["self", "input_buf"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_overridden_method_takes(function: object, parameters: list[str]) -> None:
    assert callable(function)
    assert list(inspect.signature(function).parameters) == parameters


def test_the_certificate_is_asked_for_by_a_flag_that_is_off(quic: QuicConnection) -> None:
    assert quic.tls._request_client_certificate is False


def test_draining_is_what_a_peers_close_leads_to() -> None:
    assert {QuicConnectionState.CLOSING, QuicConnectionState.DRAINING, QuicConnectionState.TERMINATED} == END_STATES


def test_upstream_makes_its_tls_context_in_initialize() -> None:
    assert "tls.Context(" in inspect.getsource(QuicConnection._initialize)


def test_the_tls_context_can_be_replaced_by_a_subclass(quic: QuicConnection) -> None:
    class Subclass(tls.Context):
        pass

    quic.tls.__class__ = Subclass
    assert isinstance(quic.tls, Subclass)
