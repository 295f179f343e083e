"""The search for the size of datagrams, by values alone: what arrives, what is lost, and what time it is."""

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.net.pathmtu import (
    BASE_DATAGRAM_SIZE,
    MAX_PROBES,
    MAX_SWALLOWED,
    PROBED_SIZES,
    SEARCH_AGAIN,
    PathMtu,
)

BEST = PROBED_SIZES[0]


def probe(mtu: PathMtu, number: int, carries: int, now: float = 0.0) -> int | None:
    """Send the probe that is due, if one is, over a path that `carries` so much; return its size."""
    size = mtu.wanted(now)
    if size is not None:
        mtu.on_probe_sent(number)
        mtu.on_probe_settled(number, arrived=size <= carries)
    return size


def search(mtu: PathMtu, carries: int, now: float = 0.0) -> list[int]:
    """Send probes until there is nothing left to find out; return their sizes."""
    sizes: list[int] = []
    while (size := probe(mtu, len(sizes), carries, now)) is not None:
        sizes.append(size)
    return sizes


def swallow(mtu: PathMtu, numbers: range) -> None:
    """Lose one watched datagram after the other."""
    for number in numbers:
        mtu.on_watched(number)
        mtu.on_watched_settled(number, arrived=False)


def found(carries: int) -> PathMtu:
    """Return what is known after a search."""
    mtu = PathMtu()
    search(mtu, carries)
    return mtu


# The search


def test_a_path_starts_with_what_every_path_carries() -> None:
    assert PathMtu().size == BASE_DATAGRAM_SIZE == 1200
    assert not PathMtu().watches


def test_ethernet_takes_one_probe() -> None:
    mtu = PathMtu()
    assert search(mtu, 1452) == [1452]
    assert mtu.size == 1452
    assert mtu.wanted(1e9) is None


@pytest.mark.parametrize(
    ("carries", "size"), [(1500, 1452), (1451, 1420), (1420, 1420), (1400, 1372), (1371, 1200), (1200, 1200)]
)
def test_the_largest_size_that_arrives_is_used(carries: int, size: int) -> None:
    mtu = PathMtu()
    tried = search(mtu, carries)
    assert mtu.size == size
    assert tried == [each for each in PROBED_SIZES if each > carries for _ in range(MAX_PROBES)] + [
        each for each in PROBED_SIZES if each == size
    ]


def test_one_probe_is_under_way_at_a_time() -> None:
    mtu = PathMtu()
    mtu.on_probe_sent(7)
    assert mtu.wanted(0.0) is None
    mtu.on_probe_settled(7, arrived=False)
    assert mtu.wanted(0.0) == BEST


def test_a_probe_lost_by_chance_is_tried_again() -> None:
    mtu = PathMtu()
    for number in range(MAX_PROBES - 1):
        assert probe(mtu, number, carries=0) == BEST
    assert probe(mtu, 10, carries=BEST) == BEST
    assert mtu.size == BEST


def test_after_a_while_more_is_tried_again() -> None:
    mtu = found(1420)
    assert mtu.wanted(SEARCH_AGAIN - 0.1) is None
    assert search(mtu, 1420, now=SEARCH_AGAIN) == [BEST] * MAX_PROBES
    assert mtu.size == 1420
    assert mtu.wanted(2 * SEARCH_AGAIN - 0.1) is None
    assert search(mtu, 1452, now=2 * SEARCH_AGAIN) == [BEST]
    assert mtu.size == BEST


def test_a_new_path_is_searched_anew_and_old_probes_no_longer_count() -> None:
    mtu = found(1400)
    mtu.start()
    assert mtu.size == BASE_DATAGRAM_SIZE
    mtu.on_probe_sent(50)
    mtu.start()
    mtu.on_probe_settled(50, arrived=True)
    assert mtu.size == BASE_DATAGRAM_SIZE
    assert mtu.wanted(0.0) == BEST


# What the kernel refuses


def test_a_refused_probe_is_not_repeated() -> None:
    mtu = PathMtu()
    mtu.on_probe_sent(1)
    mtu.on_too_large(1452)
    assert mtu.wanted(0.0) == 1420
    mtu.on_probe_settled(1, arrived=False)
    mtu.on_probe_sent(2)
    mtu.on_too_large(1420)
    mtu.on_probe_sent(3)
    mtu.on_too_large(1372)
    assert mtu.wanted(0.0) is None
    assert mtu.size == 1200


def test_a_refused_datagram_takes_the_path_back_to_the_base() -> None:
    mtu = found(1452)
    mtu.on_too_large(1452)
    assert mtu.size == BASE_DATAGRAM_SIZE
    assert mtu.wanted(0.0) == BEST
    assert search(mtu, 1372)[-1] == 1372


@pytest.mark.parametrize("size", [1200, 900, 1300, 1452])
def test_other_refusals_change_nothing(size: int) -> None:
    mtu = found(1200)
    mtu.on_too_large(size)
    assert mtu.size == 1200
    assert mtu.wanted(0.0) is None


# Black holes


def test_full_datagrams_that_vanish_take_the_path_back_to_the_base() -> None:
    mtu = found(1452)
    swallow(mtu, range(100, 100 + MAX_SWALLOWED - 1))
    assert mtu.size == 1452
    swallow(mtu, range(200, 201))
    assert mtu.size == BASE_DATAGRAM_SIZE
    assert search(mtu, 1420)[-1] == 1420


def test_one_that_arrives_clears_the_path_of_suspicion() -> None:
    mtu = found(1452)
    for first in range(0, 1000, 10):
        swallow(mtu, range(first, first + MAX_SWALLOWED - 1))
        mtu.on_watched(first + 9)
        mtu.on_watched_settled(first + 9, arrived=True)
    assert mtu.size == 1452


def test_one_datagram_is_watched_at_a_time() -> None:
    mtu = found(1452)
    watches = [mtu.watches]
    mtu.on_watched(5)
    watches.append(mtu.watches)
    mtu.on_watched_settled(4, arrived=False)
    watches.append(mtu.watches)
    mtu.on_watched_settled(5, arrived=True)
    watches.append(mtu.watches)
    assert watches == [True, False, False, True]


def test_the_base_is_never_watched() -> None:
    assert not found(1200).watches


def test_a_watched_datagram_of_the_old_path_says_nothing_of_the_new_one() -> None:
    mtu = found(1452)
    swallow(mtu, range(MAX_SWALLOWED - 1))
    mtu.on_watched(40)
    mtu.start()
    search(mtu, 1452)
    mtu.on_watched_settled(40, arrived=False)
    assert mtu.size == 1452
    swallow(mtu, range(50, 50 + MAX_SWALLOWED - 1))
    assert mtu.size == 1452


# Any path


@given(st.lists(st.tuples(st.integers(1200, 1500), st.lists(st.booleans(), max_size=30)), min_size=1, max_size=5))
def test_whatever_happens_the_size_is_one_that_arrived_and_is_found_again(
    times: list[tuple[int, list[bool]]],
) -> None:
    mtu, number, now = PathMtu(), 0, 0.0
    for carries, fortunes in times:
        for lucky in fortunes:
            now += 1.0
            number += 2
            probe(mtu, number, carries if lucky else 0, now)
            if mtu.watches:
                mtu.on_watched(number + 1)
                mtu.on_watched_settled(number + 1, arrived=lucky and mtu.size <= carries)
            assert mtu.size in (BASE_DATAGRAM_SIZE, *PROBED_SIZES)
        # Without further bad luck: too large a size is left, and the best one found when more is tried again.
        for _ in range(2 * MAX_SWALLOWED):
            if mtu.size > carries and mtu.watches:
                swallow(mtu, range(number + 1, number + 2))
        assert mtu.size <= carries
        now += SEARCH_AGAIN
        for _ in range(2):
            search(mtu, carries, now)
            now += SEARCH_AGAIN
        assert mtu.size == max((size for size in PROBED_SIZES if size <= carries), default=BASE_DATAGRAM_SIZE)
