"""The private names of aioquic that LeafSync relies on: one test each, so that an upgrade says what it removed."""

import inspect
import operator

import aioquic
import pytest
from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, QuicConnection, QuicConnectionState
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamSender

from leafsync.engine.net import fastpath
from leafsync.engine.net.congestion import REQUIRED_OF_RECOVERY
from leafsync.engine.net.quic import REQUIRED_OF_QUIC, REQUIRED_OF_STREAM, REQUIRED_OF_TLS
from leafsync.engine.net.sizing import REQUIRED_OF_SIZING


@pytest.fixture(scope="module")
def quic() -> QuicConnection:
    connection = QuicConnection(configuration=QuicConfiguration(server_name="leafsync"))
    connection.connect(("192.0.2.1", 9), now=0.0)
    return connection


@pytest.mark.parametrize("name", sorted({*REQUIRED_OF_QUIC, *REQUIRED_OF_SIZING}))
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
        (QuicPacketRecovery.on_packet_sent, ["self", "packet", "space"]),
        (QuicPacketBuilder.start_packet, ["self", "packet_type", "crypto"]),
        (QuicPacketBuilder.start_frame, ["self", "frame_type", "capacity", "handler", "handler_args"]),
        (QuicPacketBuilder.flush, ["self"]),
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


def test_a_packet_that_is_padded_to_the_end_has_the_size_that_was_asked_for(quic: QuicConnection) -> None:
    builder = QuicPacketBuilder(
        host_cid=bytes(8), peer_cid=bytes(8), version=1, is_client=True, max_datagram_size=1452, packet_number=5
    )
    crypto = CryptoPair()
    crypto.setup_initial(cid=bytes(8), is_client=True, version=1)
    builder.start_packet(QuicPacketType.ONE_RTT, crypto)
    builder.start_frame(QuicFrameType.PING).push_bytes(bytes(builder.remaining_buffer_space))
    (datagram,), (packet,) = builder.flush()
    assert len(datagram) == packet.sent_bytes == 1452
    assert (packet.packet_number, builder.packet_number) == (5, 6)


def test_loss_recovery_leaves_packets_alone_that_are_not_in_flight() -> None:
    """What a probe of the path MTU relies on."""
    recovery = QuicConnection(configuration=QuicConfiguration(server_name="leafsync"))._loss
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [space]
    window = recovery.congestion_window
    heard: list[QuicDeliveryState] = []
    packet = QuicSentPacket(
        epoch=tls.Epoch.ONE_RTT,
        in_flight=False,
        is_ack_eliciting=False,
        is_crypto_packet=False,
        packet_number=0,
        packet_type=QuicPacketType.ONE_RTT,
        sent_time=0.0,
        sent_bytes=1452,
        delivery_handlers=[(heard.append, ())],
    )
    recovery.on_packet_sent(packet=packet, space=space)
    assert (recovery.bytes_in_flight, space.ack_eliciting_in_flight) == (0, 0)
    space.largest_acked_packet = 9
    recovery._detect_loss(now=1.0, space=space)
    assert heard == [QuicDeliveryState.LOST]
    assert (recovery.bytes_in_flight, recovery.congestion_window, recovery._cc.ssthresh) == (0, window, None)
    assert not space.sent_packets
