"""The model on a link in memory: what it finds, how much it keeps in flight, and how it gets on with others.

Rates are of 20 Mbit/s and round trips of 40 ms unless a test is about something else; times are those of the link.
"""

import random

import pytest
from aioquic.quic.congestion.cubic import CubicCongestionControl

from leafsync.engine.net.bbr import GAINS, INITIAL_PACKETS, MIN_PACKETS, PROBE_RTT_INTERVAL, State, WindowedMax
from leafsync.engine.net.congestion import BbrControl
from tests.support.bottleneck import SIZE, Flow, Link, Network

MBIT = 125_000.0
RATE = 20 * MBIT
NEARBY_RATE, NEARBY_DELAY = 200 * MBIT, 0.0001
DELAY = 0.02
BDP = RATE * 2 * DELAY


def bbr(seed: int = 1) -> BbrControl:
    return BbrControl(max_datagram_size=SIZE, dice=random.Random(seed))


def link(*, queue: float = 0.05, loss: float = 0.0) -> Link:
    return Link(RATE, DELAY, queue, loss)


def alone(flow: Flow, on: Link, until: float, *, seed: int = 1) -> Network:
    network = Network(on, [flow], seed=seed)
    network.run(until)
    return network


def longest_wait(on: Link, since: float) -> float:
    return max(waited for at, waited in on.waited if at >= since)


# What it finds


def test_it_finds_the_rate_of_the_link_and_keeps_the_queue_short() -> None:
    flow, on = Flow(bbr()), link()
    alone(flow, on, 12.0)
    assert flow.goodput(0.0, 1.0) > 0.7 * RATE
    assert flow.goodput(2.0, 12.0) > 0.95 * RATE
    model = flow.control.model  # type: ignore[attr-defined]
    assert model.bandwidth == pytest.approx(RATE, rel=0.03)
    assert 2 * DELAY <= model.min_rtt < 2 * DELAY + 0.003
    waits = [waited for at, waited in on.waited if at > 1.0]
    assert max(waits) < 0.5 * 2 * DELAY
    assert sum(waits) / len(waits) < 0.003


def test_it_goes_through_its_states() -> None:
    flow = Flow(bbr())
    alone(flow, link(), 9.0)
    names = [name for _at, name in flow.states]
    assert names[:2] == ["STARTUP", "DRAIN"]
    assert flow.states[1][0] < 0.6
    for before, after in (("REFILL", "UP"), ("UP", "DOWN"), ("DOWN", "CRUISE")):
        assert all(names[at + 1] == after for at, name in enumerate(names[:-1]) if name == before), before
    assert names.count("UP") >= 2


def test_it_looks_for_the_round_trip_every_five_seconds_and_briefly() -> None:
    flow = Flow(bbr())
    alone(flow, link(), 22.0)
    probes = [(at, flow.states[number + 1][0]) for number, (at, name) in enumerate(flow.states) if name == "PROBE_RTT"]
    assert 2 <= len(probes) <= 22.0 / PROBE_RTT_INTERVAL
    assert all(0.2 <= end - begin < 0.4 for begin, end in probes)


def test_it_follows_a_link_that_becomes_slower_and_faster() -> None:
    flow, on = Flow(bbr()), link()
    network = Network(on, [flow])
    network.run(4.0)
    on.rate = RATE / 4
    network.run(18.0)
    assert flow.control.model.bandwidth == pytest.approx(RATE / 4, rel=0.1)  # type: ignore[attr-defined]
    assert longest_wait(on, 14.0) < 2 * DELAY
    on.rate = RATE
    network.run(30.0)
    assert flow.goodput(26.0, 30.0) > 0.9 * RATE


def test_it_does_the_same_with_the_same_dice() -> None:
    flows = [Flow(bbr(7)) for _ in range(2)]
    for flow in flows:
        alone(flow, link(loss=0.01), 4.0, seed=7)
    assert flows[0].states == flows[1].states
    assert flows[0].arrived == flows[1].arrived


# Loss


@pytest.mark.parametrize(("loss", "part"), [(0.001, 0.95), (0.01, 0.9), (0.05, 0.75)])
def test_random_loss_leaves_most_of_the_link(loss: float, part: float) -> None:
    flow = Flow(bbr())
    alone(flow, link(loss=loss), 12.0)
    assert flow.goodput(2.0, 12.0) > part * RATE


@pytest.mark.parametrize(("loss", "part"), [(0.01, 0.9), (0.05, 0.85)])
def test_random_loss_between_neighbours_is_not_taken_for_a_queue(loss: float, part: float) -> None:
    flow = Flow(bbr())
    alone(flow, Link(NEARBY_RATE, NEARBY_DELAY, queue=0.01, loss=loss), 4.0)
    assert flow.goodput(1.0, 4.0) > part * NEARBY_RATE


def test_a_queue_of_a_tenth_of_the_path_is_not_kept_overflowing() -> None:
    flow, on = Flow(bbr()), link(queue=0.004)
    alone(flow, on, 12.0)
    assert flow.goodput(2.0, 12.0) > 0.85 * RATE
    late = sum(1 for at, _waited in on.waited if at > 2.0)
    begun = Flow(bbr())
    short = link(queue=0.004)
    alone(begun, short, 2.0)
    assert on.dropped - short.dropped < 0.03 * late


def test_startup_ends_when_the_queue_overflows() -> None:
    flow, on = Flow(bbr()), link(queue=0.02)
    alone(flow, on, 1.0)
    model = flow.control.model  # type: ignore[attr-defined]
    assert model.pipe_filled
    assert model.inflight_longterm < 2.5 * BDP


def test_nothing_that_gets_through_for_long_leaves_a_small_window_that_grows_again() -> None:
    flow, on = Flow(bbr()), link()
    network = Network(on, [flow])
    network.run(3.0)
    flow.control.on_persistent_congestion()
    assert flow.control.congestion_window == MIN_PACKETS * SIZE
    network.run(5.0)
    assert flow.goodput(4.0, 5.0) > 0.9 * RATE


def test_a_link_that_goes_dark_is_full_again_soon_after() -> None:
    flow, on = Flow(bbr()), link()
    network = Network(on, [flow])
    network.run(3.0)
    on.loss = 1.0
    network.run(5.0)
    on.loss = 0.0
    network.run(7.0)
    assert flow.goodput(6.0, 7.0) > 0.9 * RATE


# An application that has less to send


def test_an_application_that_sends_little_neither_lowers_nor_raises_the_estimate() -> None:
    def supply(now: float) -> float:
        """Everything for 3 s, then 1 Mbit/s, then everything."""
        if now < 3.0:
            return 1e12
        return flow.limited_from + (now - 3.0) * MBIT if now < 15.0 else 1e12

    flow = Limited(bbr(), supply)
    network = Network(link(), [flow])
    network.run(2.9)
    model = flow.control.model  # type: ignore[attr-defined]
    before = model.bandwidth
    flow.limited_from = flow.sent
    network.run(14.9)
    assert flow.goodput(5.0, 14.9) == pytest.approx(MBIT, rel=0.1)
    assert model.bandwidth == pytest.approx(before, rel=0.05)
    network.run(17.0)
    assert flow.goodput(15.5, 17.0) > 0.9 * RATE


class Limited(Flow):
    """A flow whose supply depends on what it had sent."""

    def __init__(self, control: BbrControl, supply: object) -> None:
        super().__init__(control, supply=supply)  # type: ignore[arg-type]
        self.limited_from = 0


def test_an_application_that_always_sends_little_does_not_end_startup() -> None:
    flow = Flow(bbr(), supply=lambda now: now * MBIT)
    alone(flow, link(), 8.0)
    model = flow.control.model  # type: ignore[attr-defined]
    assert not model.pipe_filled
    assert model.bandwidth < 3 * MBIT


def test_after_a_pause_it_sends_at_the_rate_it_knows() -> None:
    flow = Flow(bbr(), supply=lambda now: 1e12 if now < 3.0 or now > 6.0 else 0.0)
    on = link()
    alone(flow, on, 8.0)
    assert flow.goodput(3.2, 6.0) == 0.0
    assert flow.goodput(6.2, 8.0) > 0.9 * RATE
    assert longest_wait(on, 6.0) < DELAY


# Others on the link


def test_two_flows_share() -> None:
    flows = [Flow(bbr(1)), Flow(bbr(2), starts=0.5)]
    network = Network(link(), flows)
    network.run(30.0)
    shares = [flow.goodput(10.0, 30.0) / RATE for flow in flows]
    assert sum(shares) > 0.95
    assert max(shares) / sum(shares) < 0.6


@pytest.mark.parametrize("queue", [0.02, 0.05])
def test_a_cubic_flow_beside_it_gets_on(queue: float) -> None:
    flows = [Flow(bbr(1)), Flow(CubicCongestionControl(max_datagram_size=SIZE))]
    network = Network(link(queue=queue), flows)
    network.run(25.0)
    shares = [flow.goodput(5.0, 25.0) / RATE for flow in flows]
    assert min(shares) > 0.2


# Details


def test_a_cubic_flow_beside_it_gets_on_between_neighbours() -> None:
    flow, other = Flow(bbr()), Flow(CubicCongestionControl(max_datagram_size=SIZE))
    Network(Link(NEARBY_RATE / 2, 2 * NEARBY_DELAY, queue=0.002), [flow, other], seed=1).run(4.0)
    assert other.goodput(1.0, 4.0) > 0.2 * NEARBY_RATE / 2


def test_the_first_packets_are_paced_by_the_round_trip() -> None:
    flow = Flow(bbr(), supply=lambda now: SIZE if now < 0.05 else 1e12)
    network = Network(link(), [flow])
    network.run(0.049)
    model = flow.control.model  # type: ignore[attr-defined]
    assert flow.control.congestion_window <= (INITIAL_PACKETS + 1) * SIZE
    assert model.pacing_rate == pytest.approx(GAINS[State.STARTUP][0] * INITIAL_PACKETS * SIZE / 0.042, rel=0.1)


def test_the_maximum_forgets_what_is_too_old() -> None:
    most = WindowedMax(2)
    assert most.value == 0.0
    for value, tick, expected in ((5.0, 0, 5.0), (3.0, 1, 5.0), (2.0, 2, 3.0), (1.0, 3, 2.0), (9.0, 3, 9.0)):
        most.update(value, tick)
        assert most.value == expected
