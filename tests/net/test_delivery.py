"""The sample of an ACK frame: what it is over, and when it says nothing or only what the sender did."""

import pytest

from leafsync.engine.net.delivery import Delivery, Sample, Stamp


def send(delivery: Delivery, now: float, *, count: int = 1, size: int = 1000) -> list[Stamp]:
    """Send packets in one go."""
    stamp = delivery.stamp(now)
    delivery.on_sent(stamp, count * size)
    return [stamp] * count


def acknowledge(delivery: Delivery, stamps: list[Stamp], now: float, *, shortest: float = 0.0) -> Sample:
    """Acknowledge packets with one frame."""
    for stamp in stamps:
        delivery.on_acked(stamp, 1000)
    sample = delivery.sample(now, None, shortest)
    assert sample is not None
    return sample


def test_the_rate_is_what_was_delivered_while_the_newest_packet_was_under_way() -> None:
    delivery = Delivery()
    packets = [send(delivery, 0.01 * number)[0] for number in range(20)]
    for number in range(10):
        acknowledge(delivery, [packets[number]], 0.1 + 0.01 * number)
    later = send(delivery, 0.2)
    for number in range(10, 20):
        acknowledge(delivery, [packets[number]], 0.1 + 0.01 * number)
    sample = acknowledge(delivery, later, 0.3)
    assert sample.prior_delivered == 10_000
    assert sample.delivered == 11_000
    assert sample.rate == pytest.approx(11_000 / 0.11)


def test_acks_that_come_at_once_do_not_raise_the_rate_above_what_was_sent() -> None:
    delivery = Delivery()
    first = send(delivery, 0.0)
    packets = [send(delivery, 0.01 * number)[0] for number in range(1, 11)]
    acknowledge(delivery, first, 0.11)
    sample = acknowledge(delivery, packets, 0.12)
    assert sample.rate == pytest.approx(11_000 / 0.12)
    assert sample.acked == 10_000
    assert delivery.in_flight == 0


def test_packets_of_one_burst_share_what_was_known_then() -> None:
    delivery = Delivery()
    packets = send(delivery, 1.0, count=5)
    assert packets[0].in_flight == 5000
    sample = acknowledge(delivery, packets, 1.1)
    assert sample.sent_in_flight == 5000
    assert sample.rate == pytest.approx(50_000)


def test_a_frame_with_nothing_new_is_no_sample() -> None:
    delivery = Delivery()
    assert delivery.sample(1.0, None, 0.0) is None
    acknowledge(delivery, send(delivery, 1.0), 1.1)
    assert delivery.sample(1.2, None, 0.0) is None


def test_an_interval_below_the_least_round_trip_has_no_rate() -> None:
    delivery = Delivery()
    sample = acknowledge(delivery, send(delivery, 1.0), 1.01, shortest=0.04)
    assert sample.rate == 0.0
    assert sample.delivered == 1000
    assert acknowledge(delivery, send(delivery, 2.0), 2.0).rate == 0.0


def test_samples_are_marked_until_what_was_in_flight_is_delivered() -> None:
    delivery = Delivery()
    before = send(delivery, 0.0, count=2)
    delivery.on_app_limited()
    after = send(delivery, 0.1)
    marked = [delivery.app_limited]
    assert not acknowledge(delivery, before, 0.2).app_limited
    beyond = send(delivery, 0.25)
    assert acknowledge(delivery, after, 0.3).app_limited
    marked.append(delivery.app_limited)
    assert marked == [True, False]
    assert acknowledge(delivery, beyond, 0.4).app_limited
    assert not acknowledge(delivery, send(delivery, 0.5), 0.6).app_limited


def test_after_a_pause_the_pause_is_not_counted() -> None:
    delivery = Delivery()
    acknowledge(delivery, send(delivery, 0.0), 0.1)
    sample = acknowledge(delivery, send(delivery, 60.0), 60.1)
    assert sample.rate == pytest.approx(10_000)


def test_losses_are_those_since_the_newest_packet_was_sent() -> None:
    delivery = Delivery()
    send(delivery, 0.0, count=3)
    delivery.on_lost(1000)
    after = send(delivery, 0.1)
    delivery.on_lost(1000)
    sample = acknowledge(delivery, after, 0.2)
    assert (sample.lost, delivery.lost, delivery.in_flight) == (1000, 2000, 1000)
    delivery.on_forgotten(1000)
    assert (delivery.lost, delivery.in_flight) == (2000, 0)
