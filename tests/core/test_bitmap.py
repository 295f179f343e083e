"""A bitmap is a set of chunk numbers that survives the store."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.bitmap import Bitmap, ranges


@st.composite
def sets(draw: st.DrawFn) -> tuple[int, set[int]]:
    size = draw(st.integers(0, 70))
    return size, draw(st.sets(st.integers(0, size - 1))) if size else set()


@given(sets())
def test_it_behaves_like_a_set(numbers: tuple[int, set[int]]) -> None:
    size, members = numbers
    bitmap = Bitmap(size)
    for member in members:
        bitmap.add(member)
        bitmap.add(member)
    assert set(bitmap) == members
    assert list(bitmap) == sorted(members)
    assert len(bitmap) == len(members)
    assert list(bitmap.missing()) == sorted(set(range(size)) - members)
    assert bitmap.complete == (len(members) == size)


@given(sets())
def test_it_survives_the_store(numbers: tuple[int, set[int]]) -> None:
    size, members = numbers
    bitmap = Bitmap(size)
    for member in members:
        bitmap.add(member)
    stored = bitmap.to_bytes()
    again = Bitmap(size, stored)
    assert len(stored) == (size + 7) // 8
    assert (set(again), len(again), again.to_bytes()) == (members, len(members), stored)


def test_the_lowest_bit_comes_first() -> None:
    bitmap = Bitmap(10)
    bitmap.add(0)
    bitmap.add(9)
    assert bitmap.to_bytes() == b"\x01\x02"


@pytest.mark.parametrize("index", [-1, 8, 9, 1 << 40])
def test_a_number_outside_is_no_member_and_cannot_be_added(index: int) -> None:
    bitmap = Bitmap(8, b"\xff")
    assert index not in bitmap
    with pytest.raises(IndexError):
        bitmap.add(index)


@pytest.mark.parametrize(
    ("size", "data"),
    [(8, b"\0\0"), (9, b"\0"), (0, b"\0"), (-1, b""), (-8, b""), (4, b"\x10"), (9, b"\0\x02"), (15, b"\0\x80")],
)
def test_what_does_not_fit_the_size_is_refused(size: int, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"bit|size"):
        Bitmap(size, data)


def test_an_empty_file_is_complete() -> None:
    assert Bitmap(0).complete
    assert not Bitmap(1).complete


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([], []),
        ([5], [(5, 1)]),
        ([0, 1, 2], [(0, 3)]),
        ([0, 2, 3, 7], [(0, 1), (2, 2), (7, 1)]),
    ],
)
def test_neighbours_join_into_ranges(indexes: list[int], expected: list[tuple[int, int]]) -> None:
    assert ranges(indexes) == expected


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_the_same_numbers_and_never_touch(numbers: set[int]) -> None:
    joined = ranges(sorted(numbers))
    assert [index for start, count in joined for index in range(start, start + count)] == sorted(numbers)
    assert all(start + count < after for (start, count), (after, _) in pairwise(joined))
