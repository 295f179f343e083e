"""When the fast path is taken, when it is not, and that it is fair; `test_fastpath_differential` says it is right."""

import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from aioquic import tls
from aioquic.quic.packet_builder import QuicDeliveryState

from leafsync.engine.net import fastpath
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.quic import PinnedQuic, configuration_for
from tests.support.quicpair import Pair, identities

MIB = 1 << 20


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Forget what the check said, before and after a test that changes what it finds."""
    fastpath.fast_path_works.cache_clear()
    yield
    fastpath.fast_path_works.cache_clear()


def received(quic: PinnedQuic) -> int:
    """Return how many 1-RTT packets arrived."""
    return quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet + 1


# Whether it is taken


def test_bulk_takes_the_fast_path() -> None:
    pair = Pair()
    pair.client.quic.send_stream_data(0, bytes(4 * MIB), end_stream=True)
    pair.transmit()
    pair.run_idle()
    assert len(pair.server.data[0]) == 4 * MIB
    assert pair.client.quic.sent_fast > 0.97 * pair.client.quic._packet_number
    assert pair.server.quic.received_fast > 0.97 * received(pair.server.quic)


def test_several_streams_and_both_directions_take_it() -> None:
    pair = Pair()
    for number in (0, 4, 8, 12):
        pair.client.quic.send_stream_data(number, bytes(MIB), end_stream=True)
    pair.transmit()
    pair.run(lambda: len(pair.server.data) == 4)
    for number in (0, 4, 8, 12):
        pair.server.quic.send_stream_data(number, bytes(MIB), end_stream=True)
    pair.transmit()
    pair.run_idle()
    for side in pair.sides:
        assert sum(map(len, side.data.values())) == 4 * MIB
        assert side.quic.sent_fast > 0.9 * 4 * MIB / 1424
        assert side.quic.received_fast > 0.9 * 4 * MIB / 1424


def test_loss_takes_it_for_what_is_sent_again() -> None:
    pair = Pair(seed=3)
    pair.loss = 0.05
    pair.client.quic.send_stream_data(0, bytes(MIB), end_stream=True)
    pair.transmit()
    pair.run_idle()
    assert len(pair.server.data[0]) == MIB
    assert pair.client.quic.sent_fast > 0.9 * pair.client.quic._packet_number


def test_it_is_back_after_a_key_update_of_either_side_and_after_a_new_address() -> None:
    pair = Pair()
    for change in (
        pair.client.quic.request_key_update,
        pair.server.quic.request_key_update,
        lambda: setattr(pair.client, "address", ("198.51.100.7", 1)),
    ):
        change()
        # What arrives before new keys are in use and a new address is validated goes upstream's way.
        pair.client.quic.send_stream_data(0, bytes(MIB))
        pair.transmit()
        pair.run_idle()
        before = pair.client.quic.sent_fast, pair.server.quic.received_fast
        pair.client.quic.send_stream_data(0, bytes(MIB))
        pair.transmit()
        pair.run_idle()
        assert pair.client.quic.sent_fast - before[0] > 600
        assert pair.server.quic.received_fast - before[1] > 600
    assert pair.client.quic._cryptos[tls.Epoch.ONE_RTT].send.key_phase == 0
    assert pair.server.quic.get_peer_address() == ("198.51.100.7", 1)
    assert len(pair.server.data[0]) == 6 * MIB


def test_a_key_update_is_not_put_off_by_bulk() -> None:
    pair = Pair()
    pair.client.quic.send_stream_data(0, bytes(MIB))
    pair.transmit()
    pair.client.quic.request_key_update()
    pair.run(lambda: pair.client.quic._cryptos[tls.Epoch.ONE_RTT].send.key_phase == 1)
    assert not pair.client.quic._streams[0].sender.buffer_is_empty
    pair.run_idle()


def test_a_suite_without_aes_goes_upstreams_way(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = configuration_for

    def chacha(*args: object, **options: object) -> object:
        configuration = plain(*args, **options)  # type: ignore[arg-type]
        configuration.cipher_suites = [tls.CipherSuite.CHACHA20_POLY1305_SHA256]
        return configuration

    monkeypatch.setattr("tests.support.quicpair.configuration_for", chacha)
    pair = Pair()
    pair.client.quic.send_stream_data(0, bytes(100_000), end_stream=True)
    pair.transmit()
    pair.run_idle()
    assert pair.server.data[0] == bytes(100_000)
    assert pair.client.quic.sent_fast == pair.server.quic.received_fast == 0


# That it keeps the rules


def test_a_packet_is_no_larger_than_a_datagram_may_be_and_full() -> None:
    pair = Pair()
    sizes: list[int] = []
    pair.on_batch = lambda side, batch, address: sizes.extend(map(len, batch))
    pair.client.quic.send_stream_data(0, bytes(MIB))
    pair.transmit()
    pair.run_idle()
    assert max(sizes) == 1452
    assert sizes.count(1452) > 730


def test_offsets_beyond_a_gibibyte_have_room() -> None:
    pair = Pair()
    sender, stream = pair.client.quic, 0
    sender.send_stream_data(stream, b"")
    pair.server.quic.fast = False  # a stream that is moved in the middle of its life
    sender.send_stream_data(stream, b"first")
    pair.transmit()
    pair.run_idle()
    start = (1 << 30) - 5000
    for end, quic in ((sender._streams[0].sender, sender), (pair.server.quic._streams[0].receiver, pair.server.quic)):
        end._buffer_start = end.highest_offset = start
        quic._streams[0].max_stream_data_remote = quic._streams[0].max_stream_data_local = start + MIB
    sender._streams[0].sender._buffer_stop = start
    data = bytes(range(256)) * 100
    sender.send_stream_data(stream, data)
    pair.transmit()
    pair.run(lambda: len(pair.server.data[0]) == 5 + len(data))
    assert pair.server.data[0][5:] == data
    assert sender.sent_fast > 10


def test_streams_take_turns() -> None:
    pair = Pair()
    for number in (0, 4, 8):
        pair.client.quic.send_stream_data(number, bytes(MIB))
    pair.transmit()
    pair.run(lambda: sum(map(len, pair.server.data.values())) > MIB)
    sizes = [len(pair.server.data[number]) for number in (0, 4, 8)]
    assert max(sizes) - min(sizes) < 0.2 * MIB


def test_a_small_stream_does_not_wait_for_bulk() -> None:
    pair = Pair()
    pair.client.quic.send_stream_data(0, bytes(4 * MIB))
    pair.transmit()
    pair.run(lambda: pair.now > 100.2)
    pair.client.quic.send_stream_data(4, b"hello", end_stream=True)
    started = pair.now
    pair.transmit()
    pair.run(lambda: 4 in pair.server.ended)
    assert pair.now - started < 3 * pair.delay


def test_many_small_streams_do_not_starve_bulk() -> None:
    pair = Pair(limits=Limits(peer_streams=100))
    quic, control = pair.client.quic, pair.client.quic._loss._cc
    for number in range(0, 400, 4):
        quic.send_stream_data(number, b"")
    quic.send_stream_data(0, bytes(MIB))
    for _ in range(100):
        # More than fits the window is always waiting in streams that are not bulk.
        control.congestion_window = 10 * 1452
        for number in range(4, 400, 4):
            if not len(quic._streams[number].sender._pending):
                quic.send_stream_data(number, bytes(900))
        pair.transmit()
        pair.step()
    assert len(pair.server.data.get(0, b"")) > 20_000


def test_what_is_sent_in_one_go_is_bounded_by_window_and_pacing() -> None:
    pair = Pair()
    quic = pair.client.quic
    quic.send_stream_data(0, bytes(4 * MIB))
    most = 0
    while len(pair.server.data.get(0, b"")) < MIB:
        before = quic._loss.congestion_window - quic._loss.bytes_in_flight
        datagrams = quic.datagrams_to_send(pair.now)
        most = max(most, len(datagrams))
        assert sum(len(data) for data, _ in datagrams) <= max(before, 0) + 2 * 100
        pair._carry(pair.client, datagrams)
        pair.step()
    assert most <= 400
    assert quic._pacing_at is None or quic._pacing_at > pair.now - 1


def test_what_an_ack_frame_acknowledges_reaches_the_stream_as_one_run_and_its_last_packet() -> None:
    pair = Pair()
    quic = pair.client.quic
    frames: list[tuple[int, int]] = []
    calls: list[tuple[int, int]] = []
    take_ack = quic._loss.on_ack_received

    def counting_frames(**options: Any) -> None:
        packets, told = len(options["space"].sent_packets), len(calls)
        take_ack(**options)
        frames.append((packets - len(options["space"].sent_packets), len(calls) - told))

    quic._loss.on_ack_received = counting_frames  # type: ignore[method-assign]
    quic.send_stream_data(0, bytes(200_000))
    sender = quic._streams[0].sender
    plain = sender.on_data_delivery

    def counted(delivery: QuicDeliveryState, start: int, stop: int, fin: bool) -> None:
        calls.append((start, stop))
        plain(delivery, start, stop, fin)

    sender.on_data_delivery = counted  # type: ignore[method-assign]
    pair.transmit()
    pair.run_idle()
    assert sender._buffer_start == 200_000
    most, told = max(frames)
    assert most > 10
    assert told <= 3  # a run, its last packet, and one that upstream had built


def test_a_connection_that_ends_in_the_middle_of_bulk_leaves_nothing_behind() -> None:
    left = weakref.ref(in_the_middle_of_bulk())
    gc.collect()
    assert left() is None


def in_the_middle_of_bulk() -> PinnedQuic:
    """Return a connection with packets under way, one of which is watched."""
    pair = Pair()
    quic = pair.client.quic
    quic.send_stream_data(0, bytes(4 * MIB))
    pair.transmit()
    pair.run(lambda: quic._mtu._watched is not None and len(quic._spaces[tls.Epoch.ONE_RTT].sent_packets) > 10)
    return quic


# The versions of aioquic


def test_an_unknown_version_turns_it_off_with_one_line(
    unchecked: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aioquic.__version__", "1.7.99")
    assert not fastpath.fast_path_works()
    assert not fastpath.fast_path_works()
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "1.7.99" in caplog.records[0].getMessage()
    assert not as_it_is_made().fast


def as_it_is_made() -> PinnedQuic:
    """Return a connection as it is made."""
    return PinnedQuic(
        configuration_for(identities[0], Limits(), is_client=True),
        own_fingerprint="f",
        address="there",
        authorize=lambda fingerprint: None,
        limits=Limits(),
    )


@pytest.mark.parametrize("names", ["FAST_OF_QUIC", "FAST_OF_PATH", "FAST_OF_SPACE", "FAST_OF_CRYPTO", "FAST_OF_STREAM"])
def test_a_missing_name_turns_it_off_with_one_line(
    unchecked: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, names: str
) -> None:
    monkeypatch.setattr(fastpath, names, (*getattr(fastpath, names), "_no_such_name"))
    assert not fastpath.fast_path_works()
    assert len(caplog.records) == 1
    assert "_no_such_name" in caplog.records[0].getMessage()


def test_a_sound_aioquic_has_it_on(unchecked: None, caplog: pytest.LogCaptureFixture) -> None:
    assert fastpath.fast_path_works()
    assert not caplog.records
    assert as_it_is_made().fast


def test_without_it_everything_still_arrives() -> None:
    pair = Pair(client_fast=False, server_fast=False)
    pair.client.quic.send_stream_data(0, bytes(300_000), end_stream=True)
    pair.transmit()
    pair.run_idle()
    assert pair.server.data[0] == bytes(300_000)
    assert pair.client.quic.sent_fast == pair.server.quic.received_fast == 0
