"""Rows in order, compared with a list that is sorted anew every time."""

import pytest
from hypothesis import given, settings, strategies as st

from leafsync.widgets import row_order
from leafsync.widgets.row_order import RowOrder

STEPS = st.lists(st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 9))), max_size=120)
"""Numbers of rows, each with its new key or None to take it out."""


def shown(order: RowOrder[str]) -> list[str]:
    return list(order.slice(0, len(order)))


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 8))
def test_rows_are_in_the_order_of_their_keys_whatever_happened(steps: list[tuple[int, int | None]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_order, "BLOCK", block)
        order: RowOrder[str] = RowOrder()
        keys: dict[int, int] = {}
        for number, key in steps:
            if key is None:
                keys.pop(number, None)
                order.discard(number)
            else:
                keys[number] = key
                order.put(key, number, f"row {number}")
        expected = [number for _key, number in sorted((key, number) for number, key in keys.items())]
        assert shown(order) == [f"row {number}" for number in expected]
        assert len(order) == len(expected)
        assert [order.index(number) for number in expected] == list(range(len(expected)))
        assert [order.at(index) for index in range(len(expected))] == shown(order)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40))
def test_a_slice_is_what_a_list_would_give(count: int, start: int, stop: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_order, "BLOCK", 3)
        order: RowOrder[int] = RowOrder()
        for number in range(count):
            order.put(-number, number, number)
        assert list(order.slice(start, stop)) == list(reversed(range(count)))[start:stop]


def test_a_row_that_is_put_again_is_there_once_and_is_the_new_one() -> None:
    order: RowOrder[str] = RowOrder()
    order.put(2, 1, "before")
    order.put(1, 1, "after")
    assert shown(order) == ["after"]


def test_rows_with_the_same_key_are_in_the_order_of_their_numbers() -> None:
    order: RowOrder[str] = RowOrder()
    for number in (3, 1, 2):
        order.put("same", number, str(number))
    assert shown(order) == ["1", "2", "3"]


def test_what_is_not_there_is_nowhere() -> None:
    order: RowOrder[str] = RowOrder()
    order.discard(7)
    assert order.index(7) is None
    assert 7 not in order
    assert list(order.slice(0, 5)) == []
    with pytest.raises(IndexError):
        order.at(0)


def test_a_hundred_thousand_rows_are_many_blocks_and_none_is_long() -> None:
    order: RowOrder[int] = RowOrder()
    for number in range(20_000):
        order.put((number * 7919) % 20_000, number, number)
    assert max(map(len, order._blocks)) < 2 * row_order.BLOCK  # what makes a change cheap
    assert len(order) == 20_000
    assert order.at(19_999) == next(number for number in range(20_000) if (number * 7919) % 20_000 == 19_999)
