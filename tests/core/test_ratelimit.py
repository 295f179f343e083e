"""The bucket's average is its rate, whatever is spent and however the clock jumps."""

from math import inf, nan

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.ratelimit import BURST_SECONDS, TokenBucket, bytes_per_second


def test_megabits_are_decimal() -> None:
    assert bytes_per_second(8) == 1_000_000
    assert bytes_per_second(0.1) == 12_500


@pytest.mark.parametrize("rate", [0, -1, -0.0, nan, inf, -inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        TokenBucket(rate, 0)


def test_the_burst_is_free_and_the_rest_waits() -> None:
    bucket = TokenBucket(1000, 100)
    assert bucket.spend(50, 100) == 0
    assert bucket.spend(500, 100) == pytest.approx(0.5)
    assert bucket.spend(0, 100.25) == pytest.approx(0.25)
    assert bucket.spend(0, 100.5) == pytest.approx(0)


def test_idle_time_saves_up_no_more_than_the_burst() -> None:
    bucket = TokenBucket(1000, 0)
    bucket.spend(50, 0)
    assert bucket.spend(1050, 3600) == pytest.approx(1.0)


@given(
    st.floats(1_000, 1e9),
    st.lists(st.integers(1, 100_000), min_size=1, max_size=200),
    st.lists(st.floats(0, 0.01), min_size=1, max_size=20),
)
def test_the_long_run_average_is_the_rate_within_the_burst(rate: float, spends: list[int], late: list[float]) -> None:
    """A caller that waits as told, and sometimes oversleeps, never gets more than the rate plus one burst."""
    bucket = TokenBucket(rate, 0)
    now = 0.0
    for number, amount in enumerate(spends):
        now += bucket.spend(amount, now) + late[number % len(late)]
    assert sum(spends) <= rate * (now + BURST_SECONDS) * (1 + 1e-9) + 1


@given(st.floats(1_000, 1e9), st.lists(st.integers(1, 100_000), min_size=1, max_size=200))
def test_a_caller_who_waits_exactly_as_told_gets_the_whole_rate(rate: float, spends: list[int]) -> None:
    bucket = TokenBucket(rate, 0)
    now = 0.0
    for amount in spends:
        now += bucket.spend(amount, now)
    assert now == pytest.approx(max(0.0, sum(spends) / rate - BURST_SECONDS), rel=1e-6, abs=1e-6)


def test_a_clock_that_goes_back_earns_nothing_twice() -> None:
    bucket = TokenBucket(1000, 10)
    assert bucket.spend(1050, 10) == pytest.approx(1.0)
    assert bucket.spend(0, 5) == pytest.approx(1.0)
    assert bucket.spend(0, 10.5) == pytest.approx(0.5)
