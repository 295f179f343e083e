"""Mutual TLS with pinned keys: who is let in, and that nobody else gets a byte to the application.

The bad cases are traps of aioquic's TLS (SECURITY.md, "Handshake"); each runs with and without Retry, because aioquic
makes a new TLS context after one.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from cryptography.hazmat.primitives.asymmetric import ec

from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.quic import (
    MAX_CRYPTO,
    MAX_CRYPTO_GAPS,
    MAX_STREAM_GAPS,
    PinnedQuic,
    check_aioquic,
    configuration_for,
)
from leafsync.errors import (
    LeafSyncError,
    PeerChanged,
    PeerUnknown,
    ProtocolViolated,
    RefusedByPeer,
    SelfConnection,
    TrustRefused,
    VersionMismatch,
)

MakePair = Callable[..., Any]
Identities = dict[str, Identity]
FINISHED = 36
"""Bytes of a TLS Finished message under SHA-256."""

both = pytest.mark.parametrize("retry", [False, True], ids=["plain", "retry"])


def only(fingerprint: str) -> Callable[[str], None]:
    """Authorize one fingerprint."""

    def authorize(seen: str) -> None:
        if seen != fingerprint:
            raise PeerUnknown(address="there", fingerprint=seen)

    return authorize


def blast(pair: Any) -> None:
    """Make the client send stream data the moment it has keys, as an attacker would."""
    plain_handle = pair.client._on_handshake

    def handle(event: events.HandshakeCompleted) -> None:
        plain_handle(event)
        pair.client_quic.send_stream_data(0, b"SECRET" * 1000)

    pair.client._on_handshake = handle


async def assert_stranger_is_shut_out(pair: Any, expected: type[LeafSyncError]) -> None:
    """Run the handshake of a client that must not get in."""
    delivered: list[bytes] = []
    with pytest.raises(expected):
        await pair.handshake()
    assert pair.server_end.events[:1] == ["ended"], "the server must never call it established"
    await pair.server.wait_closed()
    assert pair.server.peer_fingerprint == ""
    assert not pair.server._incoming
    assert not delivered
    assert isinstance(pair.server.error, LeafSyncError)
    with pytest.raises(LeafSyncError):
        await pair.server.accept_stream()


@both
async def test_two_devices_that_trust_each_other_get_through(
    make_pair: MakePair, identities: Identities, retry: bool
) -> None:
    pair = make_pair(
        retry=retry,
        client_authorize=only(identities["server"].fingerprint),
        server_authorize=only(identities["client"].fingerprint),
    )
    client, server = await pair.handshake()
    assert client.peer_fingerprint == identities["server"].fingerprint
    assert server.peer_fingerprint == identities["client"].fingerprint
    assert pair.server_end.events == ["established"]
    stream = await client.open_stream()
    await stream.write(b"hello")
    assert await (await server.accept_stream()).read(10) == b"hello"


@both
async def test_a_client_without_a_certificate_is_shut_out(make_pair: MakePair, retry: bool) -> None:
    pair = make_pair(retry=retry)
    pair.client_quic.configuration.certificate = None
    pair.client_quic.configuration.private_key = None
    blast(pair)
    await assert_stranger_is_shut_out(pair, RefusedByPeer)
    assert isinstance(pair.server.error, TrustRefused)


@both
async def test_an_unknown_client_is_shut_out(make_pair: MakePair, identities: Identities, retry: bool) -> None:
    pair = make_pair(retry=retry, client=identities["mallory"], server_authorize=only(identities["client"].fingerprint))
    blast(pair)
    await assert_stranger_is_shut_out(pair, RefusedByPeer)
    assert isinstance(pair.server.error, PeerUnknown)
    assert pair.server.error.fields["fingerprint"] == identities["mallory"].fingerprint


@both
async def test_a_stolen_certificate_without_its_key_is_shut_out(
    make_pair: MakePair, identities: Identities, retry: bool
) -> None:
    asked: list[str] = []
    pair = make_pair(retry=retry, server_authorize=asked.append)
    pair.client_quic.configuration.private_key = identities["mallory"].private_key
    blast(pair)
    await assert_stranger_is_shut_out(pair, ProtocolViolated)
    assert not asked, "the signature is checked before the key is judged"


async def test_a_server_with_a_stolen_certificate_is_refused_by_the_client(
    make_pair: MakePair, identities: Identities
) -> None:
    asked: list[str] = []
    pair = make_pair(client_authorize=asked.append)
    server = pair.server_identity
    pair.server_identity = Identity(server.fingerprint, server.certificate, identities["mallory"].private_key)
    with pytest.raises(LeafSyncError):
        await pair.handshake()
    assert not asked


@both
async def test_the_client_raises_its_own_refusal_and_shows_no_certificate(
    make_pair: MakePair, identities: Identities, retry: bool
) -> None:
    error = PeerChanged(address="there", name="box", device="box", expected="e", fingerprint="f")

    def refuse(fingerprint: str) -> None:
        raise error

    seen: list[str] = []
    pair = make_pair(retry=retry, client_authorize=refuse, server_authorize=seen.append)
    with pytest.raises(PeerChanged) as raised:
        await pair.handshake()
    assert raised.value is error
    assert pair.client.refusal is error
    await pair.server.wait_closed()
    assert not seen, "the server must not learn who asked"
    assert pair.server_end.events[:1] == ["ended"]


async def test_a_device_does_not_talk_to_itself(make_pair: MakePair, identities: Identities) -> None:
    pair = make_pair(client=identities["server"])
    with pytest.raises(SelfConnection) as raised:
        await pair.handshake()
    assert "server.example:4455" in str(raised.value)


async def test_a_refused_handshake_is_not_completed_by_the_rest_of_its_batch(
    make_pair: MakePair, identities: Identities
) -> None:
    """Upstream stops at the next transmit only: the Finished behind a refused certificate would still be taken."""
    pair = make_pair(server_authorize=only(identities["mallory"].fingerprint))
    held: list[bytes] = []
    done = asyncio.Event()
    finished: list[bytes] = []
    plain_take, quic = pair.server_end.take, pair.client_quic

    def hold(batch: list[bytes], address: tuple[str, int]) -> None:
        if pair.server_end.connection is None:
            plain_take(batch, address)
        else:
            held.extend(batch)  # delivered below, all at once

    def push_all_but_finished() -> None:
        for epoch, buffer in quic._crypto_buffers.items():
            cut = max(0, len(buffer.data) - FINISHED) if epoch is tls.Epoch.HANDSHAKE else len(buffer.data)
            quic._crypto_streams[epoch].sender.write(buffer.data[:cut])
            finished.append(buffer.data[cut:])
            buffer.seek(0)

    pair.server_end.take, quic._push_crypto_data = hold, push_all_but_finished
    pair.client_end.established = lambda connection: done.set()
    pair.client.connect(("192.0.2.2", 4455))
    await done.wait()
    quic._crypto_streams[tls.Epoch.HANDSHAKE].sender.write(b"".join(finished))
    quic.send_stream_data(0, b"SECRET" * 1000)
    pair.client._transmit()
    plain_take(pair.client_end.sent[1:], ("192.0.2.1", 50000))
    assert "established" not in pair.server_end.events
    assert not pair.server._incoming
    assert isinstance(pair.server.error, PeerUnknown)
    assert pair.server._quic.tls.state is not tls.State.SERVER_POST_HANDSHAKE


async def test_an_authorizer_with_a_bug_refuses(make_pair: MakePair, caplog: pytest.LogCaptureFixture) -> None:
    def broken(fingerprint: str) -> None:
        raise KeyError(fingerprint)

    pair = make_pair(server_authorize=broken)
    blast(pair)
    await assert_stranger_is_shut_out(pair, ProtocolViolated)
    assert "the trust check failed" in caplog.text


async def test_a_key_that_is_not_ed25519_is_refused(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.client_quic.configuration.private_key = ec.generate_private_key(ec.SECP256R1())
    await assert_stranger_is_shut_out(pair, RefusedByPeer)


async def test_another_application_protocol_is_a_version_mismatch_on_both_sides(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.client_quic.configuration.alpn_protocols = ["h3"]
    with pytest.raises(VersionMismatch) as raised:
        await pair.handshake()
    assert "not LeafSync" in str(raised.value)
    await pair.server.wait_closed()
    assert isinstance(pair.server.error, VersionMismatch)


async def test_a_resumed_session_is_never_accepted(make_pair: MakePair, caplog: pytest.LogCaptureFixture) -> None:
    """Tickets are never issued or used; should a handshake ever say "resumed", nobody checked a key in it."""
    pair = make_pair()
    client, _ = await pair.handshake()
    fresh = make_pair()
    fresh.client.connect(("192.0.2.2", 4455))
    fresh.client_quic.peer_fingerprint = client.peer_fingerprint
    fresh.client._on_handshake(events.HandshakeCompleted("leafsync/1", False, True))
    assert not fresh.client.ready
    assert "established" not in fresh.client_end.events
    assert fresh.client_quic.ended is not None


@pytest.mark.parametrize(
    ("alpn", "fingerprint"), [("leafsync/1", None), ("h3", "f" * 64)], ids=["no key", "another protocol"]
)
async def test_a_handshake_without_all_its_checks_is_closed(
    make_pair: MakePair, alpn: str, fingerprint: str | None
) -> None:
    pair = make_pair()
    pair.client.connect(("192.0.2.2", 4455))
    pair.client_quic.peer_fingerprint = fingerprint
    pair.client._on_handshake(events.HandshakeCompleted(alpn, False, False))
    assert pair.client_quic.ended is not None
    assert pair.client_end.events == []


async def test_a_client_that_offers_a_ticket_still_has_to_show_its_key(
    make_pair: MakePair, identities: Identities
) -> None:
    tickets: list[Any] = []
    issuer_configuration = configuration_for(identities["server"], Limits(), is_client=False)
    client_configuration = configuration_for(identities["client"], Limits(), is_client=True)
    client = QuicConnection(configuration=client_configuration, session_ticket_handler=tickets.append)
    client.connect(("192.0.2.2", 1), now=0.0)
    issuer = QuicConnection(
        configuration=issuer_configuration,
        original_destination_connection_id=client.original_destination_connection_id,
        session_ticket_handler=lambda ticket: None,
    )
    for turn in range(6):
        for source, sink, address in ((client, issuer, ("192.0.2.1", 1)), (issuer, client, ("192.0.2.2", 1))):
            for datagram, _ in source.datagrams_to_send(now=turn * 0.1):
                sink.receive_datagram(datagram, address, now=turn * 0.1)
    assert tickets, "the issuer must have given a ticket, or this test shows nothing"
    pair = make_pair()
    pair.client_quic.configuration.session_ticket = tickets[0]
    pair.client_quic.configuration.certificate = None
    blast(pair)
    await assert_stranger_is_shut_out(pair, RefusedByPeer)


async def test_an_authorizer_need_not_know_where_the_peer_is(make_pair: MakePair) -> None:
    def refuse(fingerprint: str) -> None:
        raise PeerUnknown(fingerprint=fingerprint)

    pair = make_pair(server_authorize=refuse)
    with pytest.raises(RefusedByPeer):
        await pair.handshake()
    assert "The device at 192.0.2.1:50000 is not trusted" in str(pair.server.error)


async def test_the_peer_sees_an_alert_and_no_reason(make_pair: MakePair) -> None:
    def refuse(fingerprint: str) -> None:
        raise PeerUnknown(address="/home/alice/secret", fingerprint=fingerprint)

    pair = make_pair(server_authorize=refuse)
    with pytest.raises(RefusedByPeer):
        await pair.handshake()
    ended = pair.client_quic.ended
    assert ended is not None
    assert "alice" not in ended.reason_phrase


def test_a_sound_aioquic_passes_the_check() -> None:
    check_aioquic.cache_clear()
    check_aioquic()


def test_an_aioquic_without_a_needed_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_aioquic.cache_clear()
    monkeypatch.setattr("leafsync.engine.net.quic.REQUIRED_OF_TLS", ("_request_client_certificate", "_no_such_name"))
    with pytest.raises(LeafSyncError, match="_no_such_name"):
        check_aioquic()
    check_aioquic.cache_clear()


def test_the_settings_leave_no_way_to_resume(identities: Identities) -> None:
    for is_client in (False, True):
        configuration = configuration_for(identities["client"], Limits(), is_client=is_client)
        assert configuration.session_ticket is None
        assert configuration.alpn_protocols == ["leafsync/1"]
        assert configuration.max_datagram_size == 1452


async def test_the_quic_log_says_nothing_about_ordinary_life(
    make_pair: MakePair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    client, _ = await make_pair().handshake()
    client.close(reason="done")
    assert not caplog.records


def test_unidirectional_streams_are_not_offered(identities: Identities) -> None:
    quic = PinnedQuic(
        configuration_for(identities["client"], Limits(peer_streams=3), is_client=True),
        own_fingerprint=identities["client"].fingerprint,
        address="there",
        authorize=lambda fingerprint: None,
        limits=Limits(peer_streams=3),
    )
    assert quic._local_max_streams_uni.value == 0
    assert quic._local_max_streams_bidi.value == 3


# What is out of order


def received(quic: PinnedQuic, epoch: tls.Epoch, *frames: tuple[int, ...]) -> None:
    """Have a connection take frames: numbers as QUIC writes them, after each its bytes as zeros."""
    payload = Buffer(capacity=64 * 1024)
    for frame in frames:
        for number in frame:
            payload.push_uint_var(number)
        payload.push_bytes(bytes(frame[-1]))
    path = quic._network_paths[0]
    context = QuicReceiveContext(
        epoch=epoch, host_cid=quic.host_cid, network_path=path, quic_logger_frames=None, time=0.0, version=None
    )
    quic._payload_received(context, payload.data)


def crypto(offset: int, length: int) -> tuple[int, ...]:
    return QuicFrameType.CRYPTO, offset, length


def stream_of(number: int, offset: int, length: int) -> tuple[int, ...]:
    return QuicFrameType.STREAM_BASE | 4 | 2, number, offset, length


@pytest.fixture
async def server_quic(make_pair: MakePair) -> PinnedQuic:
    """A server's side of a connection that is established."""
    pair = make_pair()
    await pair.handshake()
    return cast("PinnedQuic", pair.server._quic)


async def test_a_handshake_of_crumbs_ends_the_connection(server_quic: PinnedQuic) -> None:
    """Upstream goes through all of them for each one that comes: a stranger's 300 KiB took it half a minute."""
    for number in range(MAX_CRYPTO_GAPS):
        received(server_quic, tls.Epoch.INITIAL, crypto(5000 + 2 * number, 1))
    ranges = server_quic._crypto_streams[tls.Epoch.INITIAL].receiver._ranges
    for number in range(3):
        with pytest.raises(QuicConnectionError) as raised:
            received(server_quic, tls.Epoch.INITIAL, crypto(8000 + 2 * number, 1))
        assert raised.value.error_code == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED
    assert len(ranges) == MAX_CRYPTO_GAPS


@pytest.mark.parametrize(("offset", "length"), [(MAX_CRYPTO, 1), (MAX_CRYPTO - 1, 2), (1 << 40, 1)])
async def test_a_handshake_has_an_end(server_quic: PinnedQuic, offset: int, length: int) -> None:
    with pytest.raises(QuicConnectionError) as raised:
        received(server_quic, tls.Epoch.HANDSHAKE, crypto(offset, length))
    assert raised.value.error_code == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED
    assert not server_quic._crypto_streams[tls.Epoch.HANDSHAKE].receiver._buffer


async def test_a_stream_of_crumbs_ends_the_connection(server_quic: PinnedQuic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leafsync.engine.net.quic.MAX_STREAM_GAPS", 100)
    for number in range(100):
        received(server_quic, tls.Epoch.ONE_RTT, stream_of(0, 1 + 2 * number, 1))
    with pytest.raises(QuicConnectionError) as raised:
        received(server_quic, tls.Epoch.ONE_RTT, stream_of(0, 201, 1))
    assert raised.value.error_code == QuicErrorCode.PROTOCOL_VIOLATION
    received(server_quic, tls.Epoch.ONE_RTT, stream_of(4, 201, 1))


async def test_every_second_datagram_of_a_window_may_be_lost(server_quic: PinnedQuic) -> None:
    window, size = Limits().stream_window, 1100
    lost = range(0, window - size, 2 * size)
    for offset in lost:
        received(server_quic, tls.Epoch.ONE_RTT, stream_of(0, offset + size, min(size, window - offset - size)))
    assert len(server_quic._streams[0].receiver._ranges) == len(lost) < MAX_STREAM_GAPS
    for offset in lost:
        received(server_quic, tls.Epoch.ONE_RTT, stream_of(0, offset, size))
    assert len(server_quic._streams[0].receiver._ranges) == 0
