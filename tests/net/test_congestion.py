"""BBR inside aioquic: what is counted, when it learns, what the pacer does with it, and how long a file then takes."""

import random

import pytest
from aioquic import tls
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket

from leafsync.engine.net.congestion import ALGORITHM, BURST_PACKETS, BURST_SECONDS, BbrControl, BbrPacer
from leafsync.engine.net.delivery import Sample
from leafsync.engine.net.limits import DEFAULT_LIMITS
from leafsync.engine.net.quic import PinnedQuic, configuration_for
from tests.support.quicpair import Pair, identities

SIZE = 1452
MIB = 1 << 20
RATE = 12.5e6
"""Bytes per second of a link of 100 Mbit/s."""


def control() -> BbrControl:
    return BbrControl(max_datagram_size=SIZE, dice=random.Random(1))


def packet(number: int, now: float, size: int = SIZE) -> QuicSentPacket:
    return QuicSentPacket(tls.Epoch.ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, now, size)


def sent(control: BbrControl, now: float, count: int, *, first: int = 0) -> list[QuicSentPacket]:
    """Send packets one by one, as upstream does."""
    packets = [packet(first + number, now) for number in range(count)]
    for each in packets:
        control.on_packet_sent(packet=each)
    return packets


def acknowledge(control: BbrControl, packets: list[QuicSentPacket], now: float) -> None:
    for each in packets:
        control.on_packet_acked(now=now, packet=each)
    control.on_rtt_measurement(now=now, rtt=now - (packets[-1].sent_time or 0.0))
    control.on_ack_frame(now)


def long_pair(*, loss: float = 0.0, fast: bool = True, seed: int = 1) -> Pair:
    """Return a connection over 100 Mbit/s with a round trip of 40 ms and 50 ms of queue."""
    pair = Pair(seed=seed, delay=0.02, client_fast=fast, server_fast=fast)
    pair.rate, pair.queue, pair.loss = RATE, 0.05, loss
    return pair


def bbr_of(quic: PinnedQuic) -> BbrControl:
    found = quic._loss._cc
    assert isinstance(found, BbrControl)
    return found


def in_flight(quic: PinnedQuic) -> int:
    """Return what upstream's own records say is in flight."""
    return sum(each.sent_bytes for space in quic._loss.spaces for each in space.sent_packets.values() if each.in_flight)


# The algorithm of every connection


def test_it_is_registered_and_every_connection_has_its_own() -> None:
    assert isinstance(create_congestion_control(ALGORITHM, max_datagram_size=SIZE), BbrControl)
    assert configuration_for(identities[0], DEFAULT_LIMITS, is_client=True).congestion_control_algorithm == ALGORITHM
    pair = Pair()
    assert bbr_of(pair.client.quic) is not bbr_of(pair.server.quic)
    assert isinstance(pair.client.quic._loss._pacer, BbrPacer)


# Counting


def test_a_burst_counts_like_its_packets_one_by_one() -> None:
    one, other = control(), control()
    packets = sent(one, 1.0, 10)
    stamp = other.stamp(1.0)
    other.on_burst_sent(stamp, 10 * SIZE)
    burst = [packet(number, 1.0) for number in range(10)]
    for each in burst:
        each.stamp = stamp  # type: ignore[attr-defined]
    assert one.bytes_in_flight == other.bytes_in_flight == 10 * SIZE
    acknowledge(one, packets[:6], 1.05)
    acknowledge(other, burst[:6], 1.05)
    assert one.bytes_in_flight == other.bytes_in_flight == 4 * SIZE
    assert one.pacing_rate == other.pacing_rate
    assert one.congestion_window == other.congestion_window
    assert one.model.bandwidth == other.model.bandwidth > 0


def test_lost_and_forgotten_packets_are_not_in_flight() -> None:
    each = control()
    packets = sent(each, 1.0, 10)
    each.on_packets_lost(now=1.1, packets=packets[:3])
    each.on_packets_expired(packets=packets[3:5])
    assert each.bytes_in_flight == each.delivery.in_flight == 5 * SIZE
    assert each.delivery.lost == 3 * SIZE


def test_persistent_congestion_makes_the_window_small() -> None:
    each = control()
    acknowledge(each, sent(each, 1.0, 30), 1.05)
    each.on_persistent_congestion()
    assert each.congestion_window == 4 * SIZE


def test_a_used_up_window_is_noted() -> None:
    each = control()
    sent(each, 1.0, 5)
    assert not each.model.window_limited
    sent(each, 1.0, each.congestion_window // SIZE - 5, first=5)
    assert each.model.window_limited


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "upstream"])
def test_what_is_in_flight_is_what_upstream_has_recorded(fast: bool) -> None:
    pair = Pair(seed=5, client_fast=fast, server_fast=fast)
    pair.loss, pair.reorder = 0.05, 0.05
    quic = pair.client.quic
    quic.send_stream_data(0, bytes(2 * MIB), end_stream=True)
    pair.server.quic.send_stream_data(1, bytes(100_000), end_stream=True)
    pair.transmit()
    while 0 not in pair.server.ended:
        pair.step()
        for side in pair.sides:
            assert bbr_of(side.quic).bytes_in_flight == bbr_of(side.quic).delivery.in_flight == in_flight(side.quic)
    pair.run_idle()
    assert bbr_of(quic).bytes_in_flight == 0


def test_what_was_sent_before_a_retry_does_not_stay_in_flight() -> None:
    quic = PinnedQuic(
        configuration_for(identities[0], DEFAULT_LIMITS, is_client=True),
        own_fingerprint="f",
        address="there",
        authorize=lambda fingerprint: None,
        limits=DEFAULT_LIMITS,
    )
    quic.connect(("192.0.2.1", 9), now=1.0)
    quic.datagrams_to_send(1.0)
    assert bbr_of(quic).bytes_in_flight == in_flight(quic) > 100
    quic._initialize(bytes(8))
    assert bbr_of(quic).bytes_in_flight == in_flight(quic) == 0


# Learning


def test_it_learns_once_for_an_ack_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = long_pair()
    quic = pair.client.quic
    each = bbr_of(quic)
    samples: list[Sample] = []
    frames = 0
    plain, plain_frame = each.model.on_ack, each.on_ack_frame

    def counted(sample: Sample) -> bool:
        samples.append(sample)
        return plain(sample)

    def counted_frame(now: float) -> None:
        nonlocal frames
        frames += 1
        plain_frame(now)

    monkeypatch.setattr(each.model, "on_ack", counted)
    monkeypatch.setattr(each, "on_ack_frame", counted_frame)
    quic.send_stream_data(0, bytes(MIB), end_stream=True)
    pair.transmit()
    pair.run_idle()
    assert 0 < len(samples) <= frames < quic.sent_fast / 2
    assert sum(sample.acked for sample in samples) > MIB


def test_the_pacer_has_the_rate_of_the_model() -> None:
    pair = long_pair()
    quic = pair.client.quic
    quic.send_stream_data(0, bytes(2 * MIB))
    pair.transmit()
    pair.run_idle()
    packet_time = quic._loss._pacer.packet_time
    assert packet_time is not None
    assert SIZE / packet_time == pytest.approx(bbr_of(quic).pacing_rate)


def test_less_to_send_than_may_be_sent_is_noted_and_a_full_window_is_not() -> None:
    pair = long_pair()
    quic = pair.client.quic
    delivery = bbr_of(quic).delivery
    quic.send_stream_data(0, bytes(1000))
    pair.transmit()
    limited = [delivery.app_limited]
    quic.send_stream_data(0, bytes(8 * MIB))
    pair.transmit()
    pair.run(lambda: len(pair.server.data.get(0, b"")) > 6 * MIB)
    limited.append(delivery.app_limited)
    assert bbr_of(quic).model.pipe_filled
    pair.run_idle()
    limited.append(delivery.app_limited)
    assert limited == [True, False, True]


def test_a_sender_that_is_throttled_keeps_the_estimate() -> None:
    pair = long_pair()
    quic = pair.client.quic
    quic.send_stream_data(0, bytes(8 * MIB))
    pair.transmit()
    pair.run_idle()
    model = bbr_of(quic).model
    before = model.bandwidth
    assert before == pytest.approx(RATE, rel=0.03)
    for _ in range(200):  # 64 KiB each 0.2 s: a fortieth of the link
        quic.send_stream_data(0, bytes(64 << 10))
        pair.transmit()
        until = pair.now + 0.2
        pair.run_idle()
        pair.now = max(pair.now, until)
    assert model.bandwidth == pytest.approx(before, rel=0.05)


# The pacer


def paced(rate: float | None) -> BbrPacer:
    each = control()
    each.model.pacing_rate = rate
    return BbrPacer(each, max_datagram_size=SIZE)


def test_nothing_is_paced_before_a_round_trip_was_measured() -> None:
    pacer = paced(None)
    pacer.update_rate(congestion_window=40_000, smoothed_rtt=0.0)
    assert pacer.packet_time is None


def test_the_pacer_saves_up_enough_for_a_timer_of_a_millisecond() -> None:
    pacer = paced(125e6)
    pacer.update_rate(congestion_window=2_000_000, smoothed_rtt=0.02)
    assert SIZE / (pacer.packet_time or 0) == pytest.approx(125e6)
    assert pacer.bucket_max * 125e6 == pytest.approx(BURST_PACKETS * SIZE)
    pacer = paced(375_000)
    pacer.update_rate(congestion_window=30_000, smoothed_rtt=0.1)
    assert pacer.bucket_max * 375_000 <= 16 * SIZE
    assert BURST_SECONDS >= 0.002


@pytest.mark.parametrize("rate", [1e-3, 1e3, 1e12])
def test_the_pacer_survives_extremes(rate: float) -> None:
    pacer = paced(rate)
    for window in (2904, 1 << 40, 1):
        pacer.update_rate(congestion_window=window, smoothed_rtt=0.0)
        assert 0 < (pacer.packet_time or 0) <= 1.0
        assert pacer.bucket_max > 0


# A file over a long link, in the time of that link


@pytest.mark.parametrize(("loss", "seconds"), [(0.0, 0.75), (0.01, 0.8), (0.05, 1.2)])
def test_four_mebibytes_over_a_long_link(loss: float, seconds: float) -> None:
    pair = long_pair(loss=loss)
    begun = pair.now
    pair.client.quic.send_stream_data(0, bytes(4 * MIB), end_stream=True)
    pair.transmit()
    pair.run(lambda: 0 in pair.server.ended)
    assert pair.now - begun < seconds
    assert bbr_of(pair.client.quic).model.bandwidth > 0.9 * RATE


def test_upstreams_path_is_as_fast_on_a_long_link() -> None:
    pair = long_pair(fast=False, loss=0.01)
    begun = pair.now
    pair.client.quic.send_stream_data(0, bytes(4 * MIB), end_stream=True)
    pair.transmit()
    pair.run(lambda: 0 in pair.server.ended)
    assert pair.now - begun < 0.9


def test_the_log_of_aioquic_says_what_the_model_is_at() -> None:
    logged = control().get_log_data()
    assert logged["state"] == "STARTUP"
    assert logged["cwnd"] == 32 * SIZE
