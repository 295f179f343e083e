"""The delay line with a clock of the test's: rate, delay, queue, loss and dark periods."""

import pytest

from benchmarks.delayline import Direction, Shape

PACKET = 1500


def test_a_packet_takes_its_time_on_the_link_and_the_delay() -> None:
    line = Direction(Shape(rate_mbit=12, delay=0.1), seed=1, now=5.0)
    assert line.offer(PACKET, 5.0) == pytest.approx(5.0 + 0.001 + 0.1)


def test_packets_wait_for_each_other_but_not_for_an_idle_link() -> None:
    line = Direction(Shape(rate_mbit=12, delay=0.0), seed=1, now=0.0)
    assert [line.offer(PACKET, 0.0) for _ in range(3)] == pytest.approx([0.001, 0.002, 0.003])
    assert line.offer(PACKET, 1.0) == pytest.approx(1.001)


def test_the_rate_is_the_one_asked_for() -> None:
    line = Direction(Shape(rate_mbit=100, delay=0.0, queue=10.0), seed=1, now=0.0)
    arrivals = [line.offer(PACKET, 0.0) for _ in range(1000)]
    assert arrivals[-1] == pytest.approx(1000 * PACKET * 8 / 100e6)


def test_the_queue_is_bounded() -> None:
    """What would wait longer than the queue is long is dropped, and takes no time on the link."""
    line = Direction(Shape(rate_mbit=12, delay=0.0, queue=0.0105), seed=1, now=0.0)
    arrivals = [line.offer(PACKET, 0.0) for _ in range(20)]
    assert [arrival is None for arrival in arrivals] == [False] * 11 + [True] * 9
    assert line.dropped == 9
    assert line.offer(PACKET, 0.005) == pytest.approx(0.012)


def test_loss_is_random_of_the_size_asked_for_and_the_same_for_the_same_seed() -> None:
    def lost(seed: int) -> list[bool]:
        line = Direction(Shape(loss=0.05), seed=seed, now=0.0)
        return [line.offer(PACKET, number / 10) is None for number in range(10_000)]

    assert lost(1) == lost(1) != lost(2)
    assert 400 < sum(lost(1)) < 600


def test_a_lost_packet_takes_its_time_on_the_link() -> None:
    line = Direction(Shape(rate_mbit=12, delay=0.0, loss=1.0), seed=1, now=0.0)
    assert line.offer(PACKET, 0.0) is None
    line._shape = Shape(rate_mbit=12, delay=0.0)
    assert line.offer(PACKET, 0.0) == pytest.approx(0.002)


def test_without_loss_nothing_is_lost() -> None:
    line = Direction(Shape(), seed=1, now=0.0)
    assert all(line.offer(PACKET, number / 10) is not None for number in range(10_000))
    assert (line.carried, line.lost, line.dropped, line.darkened) == (10_000, 0, 0, 0)


def test_it_goes_dark_and_comes_back() -> None:
    line = Direction(Shape(dark_every=10, dark_for=2, dark_first=1), seed=1, now=100.0)
    dark = [second for second in range(25) if line.offer(PACKET, 100.0 + second) is None]
    assert dark == [1, 2, 11, 12, 21, 22]
    assert line.darkened == 6
