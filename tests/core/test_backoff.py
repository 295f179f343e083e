"""Waiting times double up to their last one, each shortened by chance."""

from itertools import islice

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.backoff import backoff


def test_times_double_up_to_the_last() -> None:
    assert list(islice(backoff(1, 60, lambda: 0.0), 9)) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, [4, 8, 10]), (0.5, [3, 6, 7.5]), (1.0, [2, 4, 5])])
def test_chance_shortens_by_up_to_half(jitter: float, expected: list[float]) -> None:
    assert list(islice(backoff(4, 10, lambda: jitter), 3)) == expected


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_chance_never_changes_how_the_time_grows(chances: list[float]) -> None:
    drawn = iter(chances)
    waits = list(islice(backoff(1, 60, lambda: next(drawn)), len(chances)))
    steady = list(islice(backoff(1, 60, lambda: 0.0), len(chances)))
    assert all(step / 2 <= wait <= step for wait, step in zip(waits, steady, strict=True))
