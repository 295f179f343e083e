"""Numbers and paths as people type them."""

import math

import pytest
from hypothesis import given, strategies as st

from leafsync import values
from leafsync.config import MAX_RATE_MBPS


@given(st.integers(-5, 10**11), st.integers(0, 100), st.integers(0, 10**6))
def test_a_whole_number_is_read_exactly_when_it_is_in_range(number: int, low: int, more: int) -> None:
    expected = number if low <= number <= low + more else None
    assert values.whole(str(number), low, low + more) == expected


@pytest.mark.parametrize("text", ["", " 5", "5 ", "+5", "-5", "5.0", "0x5", "\u0665", "²", "5_0", "1" * 10])
def test_what_is_no_whole_number(text: str) -> None:
    assert values.whole(text, 0, 10**12) is None


@given(st.floats())
def test_rates(rate: float) -> None:
    assert values.rate(str(rate)) == (rate if 0 < rate <= MAX_RATE_MBPS and not math.isnan(rate) else None)


@pytest.mark.parametrize("text", ["", "x", "1,5", "9" * 400])
def test_what_is_no_rate(text: str) -> None:
    assert values.rate(text) is None


@pytest.mark.parametrize(
    ("text", "path"), [("", ""), ("a", "a"), ("./a/b/", "a/b"), ("./", ""), ("..", ".."), (" a", " a")]
)
def test_paths_inside_the_folder(text: str, path: str) -> None:
    assert values.inner_path(text) == path
