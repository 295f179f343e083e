"""Datagram sizes on paths that carry less: two state machines over a link that swallows what is too large."""

import logging
from collections.abc import Callable

import pytest
from aioquic import tls

from leafsync.engine.net.pathmtu import MAX_PROBES, PROBED_SIZES, SEARCH_AGAIN
from tests.support.quicpair import ETHERNET, Pair, Side

MIB = 1 << 20

STALL = 2.0
"""Seconds without a byte delivered that nobody should have to wait because a path carries less."""

both_paths = pytest.mark.parametrize("fast", [True, False], ids=["fast", "upstream"])
both_ways = pytest.mark.parametrize("from_client", [True, False], ids=["up", "down"])


def sides_of(pair: Pair, *, from_client: bool) -> tuple[Side, Side, int]:
    """Return who sends, who receives, and on which stream."""
    return (pair.client, pair.server, 0) if from_client else (pair.server, pair.client, 1)


def spy_on(pair: Pair) -> list[int]:
    """Return a list that fills with the sizes of all datagrams sent from now on, those that vanish as well."""
    sizes: list[int] = []
    plain = pair._carry

    def carry(side: Side, datagrams: list[tuple[bytes, object]]) -> None:
        sizes.extend(len(data) for data, _ in datagrams)
        plain(side, datagrams)

    pair._carry = carry  # type: ignore[method-assign]
    return sizes


def transfer(
    pair: Pair, size: int, *, from_client: bool = True, at: dict[int, Callable[[], None]] | None = None
) -> float:
    """Move `size` bytes, do what is to be done `at` so many of them, and return the longest time without progress."""
    source, sink, stream = sides_of(pair, from_client=from_client)
    pending = dict(at or {})
    data = bytes(range(256)) * (size // 256)
    before = len(sink.data.get(stream, b""))
    source.quic.send_stream_data(stream, data)
    pair.transmit()
    arrived, since, longest = 0, pair.now, 0.0
    while arrived < len(data):
        pair.step()
        count = len(sink.data.get(stream, b"")) - before
        if count > arrived:
            longest, since, arrived = max(longest, pair.now - since), pair.now, count
        for mark in [mark for mark in pending if mark <= arrived]:
            pending.pop(mark)()
    assert sink.data[stream][before:] == data
    assert not pending
    return longest


def shrink(pair: Pair, mtu: int) -> Callable[[], None]:
    """Return what makes the path carry no more than `mtu` bytes, in both directions."""

    def narrow() -> None:
        pair.client.mtu = pair.server.mtu = mtu

    return narrow


# From the first datagram on


def test_a_handshake_takes_datagrams_that_every_path_carries() -> None:
    pair = Pair(mtu=1200, settled=False)
    assert pair.client.quic.confirmed
    assert pair.server.quic.confirmed


@pytest.mark.parametrize(("delay", "round_trips"), [(0.0005, 1), (0.02, 1), (0.05, 1), (0.15, 3), (0.3, 4)])
def test_ethernet_is_known_soon_after_the_handshake(delay: float, round_trips: int) -> None:
    """Where the round trip is longer than the first timeout, aioquic knows it late, and nothing is probed before."""
    pair = Pair(delay=delay, settled=False)
    done = pair.now
    pair.client.quic.send_stream_data(0, b"request")
    pair.transmit()
    pair.run(lambda: all(side.quic.datagram_size == 1452 for side in pair.sides))
    assert pair.now - done < round_trips * 2 * delay + 0.03
    sizes = spy_on(pair)
    transfer(pair, MIB)
    assert max(sizes) == 1452
    assert sizes.count(1452) > 730


@pytest.mark.parametrize("delay", [0.3, 0.4, 0.6])
def test_a_very_long_path_comes_to_rest(delay: float) -> None:
    """There aioquic takes all packets for lost until it has measured a round trip; probes must not prolong that."""
    pair = Pair(delay=delay, settled=False)
    started = pair.now
    pair.run_idle()
    assert pair.now - started < 15


@both_paths
@both_ways
@pytest.mark.parametrize("delay", [0.0005, 0.02, 0.15])
def test_a_path_of_the_least_mtu_moves_data_from_the_start(delay: float, from_client: bool, fast: bool) -> None:
    pair = Pair(mtu=1200, delay=delay, settled=False, client_fast=fast, server_fast=fast)
    sizes = spy_on(pair)
    assert transfer(pair, 2 * MIB, from_client=from_client) < 3 * delay + 0.05
    source, _, _ = sides_of(pair, from_client=from_client)
    assert source.quic.datagram_size == 1200
    assert source.quic._mtu.wanted(pair.now) is None, "the search is over"
    assert sum(size > 1200 for size in sizes) <= 2 * MAX_PROBES * len(PROBED_SIZES)
    assert sizes.count(1200) > 2 * MIB / 1200


@pytest.mark.parametrize(("mtu", "size"), [(1444, 1420), (1372, 1372), (1232, 1200)])
def test_what_lies_between_is_found(mtu: int, size: int) -> None:
    pair = Pair(mtu=mtu, settled=False)
    transfer(pair, MIB)
    transfer(pair, MIB, from_client=False)
    assert pair.client.quic.datagram_size == pair.server.quic.datagram_size == size


def test_each_direction_is_its_own_path() -> None:
    pair = Pair(settled=False)
    pair.client.mtu = 1200
    transfer(pair, MIB)
    transfer(pair, MIB, from_client=False)
    assert (pair.client.quic.datagram_size, pair.server.quic.datagram_size) == (1200, 1452)


def test_a_path_that_grows_is_used_in_the_end() -> None:
    pair = Pair(mtu=1200)
    transfer(pair, MIB)
    shrink(pair, ETHERNET)()
    started = pair.now
    pair.run(lambda: pair.client.quic.datagram_size == 1452)
    assert pair.now - started < SEARCH_AGAIN + 30


# Probes


def test_a_lost_probe_moves_no_window_and_sends_nothing_again() -> None:
    pair, plain = Pair(mtu=1200, settled=False), Pair(mtu=1200, settled=False)
    plain.client.quic._may_probe = lambda size: False  # type: ignore[method-assign]
    sizes = spy_on(pair)
    for each in (pair, plain):
        transfer(each, MIB)
        each.run_idle()
    assert sum(size > 1200 for size in sizes) >= MAX_PROBES * len(PROBED_SIZES)
    grown = [each.client.quic._loss.congestion_window for each in (pair, plain)]
    assert grown[0] == pytest.approx(grown[1], rel=0.01), "but for the acknowledgements that came with data"
    assert grown[0] > MIB
    assert pair.client.quic._loss._cc.ssthresh is None
    assert pair.client.quic._loss._pto_count == 0
    assert pair.client.quic._loss.bytes_in_flight == 0


def test_a_probe_arms_no_timer() -> None:
    pair = Pair(mtu=1200, settled=False)
    pair.run_idle()
    assert pair.client.quic._mtu._probe is not None
    assert pair.client.quic._loss.get_loss_detection_time(amplification_limited=False) is None


def test_probes_wait_for_room_in_the_window() -> None:
    pair = Pair(settled=False)
    quic = pair.client.quic
    pair.run(lambda: quic.confirmed and quic._loss._rtt_initialized)
    quic._mtu.start()
    control = quic._loss._cc
    inside, control.bytes_in_flight = control.bytes_in_flight, control.congestion_window
    assert not quic._may_probe(1452)
    control.bytes_in_flight = inside
    assert quic._may_probe(1452)


def test_a_probe_lost_by_chance_is_repeated() -> None:
    pair = Pair(settled=False)
    lost: list[int] = []
    plain = pair._carry

    def lose_one_probe(side: Side, datagrams: list[tuple[bytes, object]]) -> None:
        for datagram in [each for each in datagrams if len(each[0]) == 1452 and side is pair.client and not lost]:
            lost.append(len(datagram[0]))
            datagrams = [each for each in datagrams if each is not datagram]
        plain(side, datagrams)

    pair.client.quic._mtu.start()
    pair._carry = lose_one_probe  # type: ignore[method-assign]
    transfer(pair, MIB)
    assert lost == [1452]
    assert pair.client.quic.datagram_size == 1452


@pytest.mark.parametrize("seed", range(5))
def test_random_loss_does_not_keep_a_connection_from_full_datagrams(seed: int) -> None:
    pair = Pair(seed=seed, settled=False)
    pair.loss = 0.02
    sizes = spy_on(pair)
    transfer(pair, 4 * MIB)
    assert pair.client.quic.datagram_size == 1452
    assert sizes.count(1452) > 0.9 * 4 * MIB / 1452


# Paths that shrink


@both_paths
@both_ways
@pytest.mark.parametrize("delay", [0.0005, 0.02, 0.05, 0.15, 0.3])
def test_a_path_that_shrinks_is_noticed_without_a_stall(delay: float, from_client: bool, fast: bool) -> None:
    pair = Pair(delay=delay, client_fast=fast, server_fast=fast)
    stall = transfer(pair, 4 * MIB, from_client=from_client, at={MIB: shrink(pair, 1200)})
    source, _, _ = sides_of(pair, from_client=from_client)
    assert source.quic.datagram_size == 1200
    # What is lost is known a round trip later, and three have to be: where these take long, that is five of them.
    assert stall < max(STALL, 5 * 2 * delay)


def test_a_path_that_shrinks_both_ways_with_data_both_ways() -> None:
    pair = Pair()
    pair.server.quic.send_stream_data(1, bytes(4 * MIB))
    assert transfer(pair, 4 * MIB, at={MIB: shrink(pair, 1372)}) < STALL
    pair.run(lambda: len(pair.client.data[1]) == 4 * MIB)
    pair.run_idle()
    transfer(pair, MIB)
    transfer(pair, MIB, from_client=False)
    assert pair.client.quic.datagram_size == pair.server.quic.datagram_size == 1372


def test_small_packets_that_get_through_hide_nothing() -> None:
    """Requests and acknowledgements go on arriving, so that there is no timeout to learn from."""
    pair = Pair()
    quic = pair.client.quic
    transfer(pair, MIB)
    quic.send_stream_data(4, b"open")
    shrink(pair, 1200)()
    quic.send_stream_data(0, bytes(2 * MIB))
    shrunk = pair.now
    while len(pair.server.data[0]) < 3 * MIB:
        quic.send_stream_data(4, b"small")
        pair.transmit()
        pair.step()
        assert quic._loss._pto_count <= 1
    assert quic.datagram_size == 1200
    assert pair.now - shrunk < 10


def test_a_path_that_shrinks_while_it_is_idle_is_noticed_with_the_next_data() -> None:
    pair = Pair()
    shrink(pair, 1200)()
    assert transfer(pair, MIB) < STALL
    assert pair.client.quic.datagram_size == 1200


def test_a_dark_path_is_no_small_one() -> None:
    pair = Pair()
    transfer(pair, MIB)
    pair.client.quic.send_stream_data(0, bytes(MIB))
    pair.transmit()
    shrink(pair, 0)()
    dark = pair.now
    pair.run(lambda: pair.now > dark + 5)
    shrink(pair, ETHERNET)()
    pair.run(lambda: len(pair.server.data[0]) == 2 * MIB)
    pair.run_idle()
    transfer(pair, MIB)
    assert pair.client.quic.datagram_size == 1452


def test_after_a_timeout_the_sign_of_life_has_the_size_that_every_path_carries() -> None:
    pair = Pair()
    pair.client.quic.send_stream_data(0, bytes(MIB))
    pair.transmit()
    shrink(pair, 0)()
    pair.run(lambda: pair.client.quic._loss._pto_count == 1)
    sizes = spy_on(pair)
    pair.run(lambda: pair.client.quic._loss._pto_count == 4)
    assert sizes
    assert max(sizes) <= 1200


def test_only_full_datagrams_are_watched() -> None:
    """What is sent after a timeout gets through a black hole: to watch it would clear the path of suspicion."""
    pair = Pair()
    quic = pair.client.quic
    quic._probe_pending = True
    quic.send_stream_data(0, bytes(5000))
    sizes = spy_on(pair)
    pair.transmit()
    assert max(sizes) == 1200
    assert quic._mtu._watched is None
    pair.run_idle()
    quic.send_stream_data(0, bytes(5000))
    pair.transmit()
    watched = quic._spaces[tls.Epoch.ONE_RTT].sent_packets[quic._mtu._watched or 0]
    assert watched.sent_bytes == 1452


def test_a_new_address_is_a_new_path() -> None:
    pair = Pair()
    shrink(pair, 1200)()
    pair.client.address = ("198.51.100.7", 1)
    assert transfer(pair, MIB) < STALL
    pair.run_idle()
    assert pair.server.quic.datagram_size == 1200
    assert pair.server.quic._network_paths[0].is_validated
    assert transfer(pair, MIB, from_client=False) < STALL
    assert pair.server.quic._mtu.wanted(pair.now) is None
    shrink(pair, ETHERNET)()
    pair.client.address = ("198.51.100.8", 1)
    transfer(pair, MIB)
    assert pair.server.quic.datagram_size == 1452


# What the kernel refuses


def test_refusals_of_the_kernel_are_heeded_at_once() -> None:
    pair = Pair()
    pair.client.quic.too_large(1452)
    assert pair.client.quic.datagram_size == 1200
    sizes = spy_on(pair)
    pair.client.quic.send_stream_data(0, bytes(100_000))
    pair.transmit()
    assert sorted(set(sizes), reverse=True)[:2] == [1452, 1200]
    assert sizes.count(1452) == 1, "the probe alone"


def test_a_network_without_room_for_quic_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    quic = Pair().client.quic
    for _ in range(3):
        quic.too_large(1200)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "1200" in caplog.text


def test_pacing_counts_datagrams_of_the_size_that_is_sent() -> None:
    for mtu, size in ((1200, 1200), (1452, 1452)):
        quic = Pair(mtu=mtu).client.quic
        quic._loss._pacer.update_rate(congestion_window=1_000_000, smoothed_rtt=0.1)
        assert size / (quic._loss._pacer.packet_time or 0) == pytest.approx(quic._control.pacing_rate)


@both_paths
def test_what_was_lost_is_cut_anew(fast: bool) -> None:
    """Every byte of packets that were too large is sent again in packets that are not."""
    pair = Pair(client_fast=fast)
    quic = pair.client.quic
    quic.send_stream_data(0, bytes(range(256)) * 4096, end_stream=True)
    pair.transmit()
    pieces = [packet.sent_bytes for packet in quic._spaces[tls.Epoch.ONE_RTT].sent_packets.values()]
    assert max(pieces) == 1452
    shrink(pair, 1200)()
    pair._due.clear()
    quic.too_large(1452)
    pair.run(lambda: 0 in pair.server.ended)
    assert pair.server.data[0] == bytes(range(256)) * 4096
