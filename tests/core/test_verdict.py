"""Whose leaf the other side takes."""

from itertools import product

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.index import NANOSECONDS, Entry, Kind
from leafsync.engine.core.verdict import CONFLICT, LOCAL, REMOTE, newer, winner


def file(content: int, seconds: int = 0, *, executable: bool = False) -> Entry:
    return Entry("x", Kind.FILE, content, seconds * NANOSECONDS, executable, bytes([content]) * 32)


def link(target: str) -> Entry:
    return Entry("x", Kind.SYMLINK, target=target)


A, B, C = file(1), file(2), file(3)
TOUCHED = file(1, 9)
LINK = link("a")


@pytest.mark.parametrize(
    ("base", "local", "remote", "expected"),
    [
        (None, None, None, None),
        (A, None, None, None),
        (A, A, A, None),
        (A, B, B, None),
        (None, A, A, None),
        # One side changed, made or deleted it.
        (A, A, B, REMOTE),
        (A, B, A, LOCAL),
        (A, A, None, REMOTE),
        (A, None, A, LOCAL),
        (None, A, None, LOCAL),
        (None, None, A, REMOTE),
        (A, TOUCHED, A, LOCAL),
        (A, A, LINK, REMOTE),
        # An edit wins over a delete, and so does a touch: it is not unchanged.
        (A, B, None, LOCAL),
        (A, None, B, REMOTE),
        (A, TOUCHED, None, LOCAL),
        # An edit wins over a touch.
        (A, TOUCHED, B, REMOTE),
        (A, B, TOUCHED, LOCAL),
        # Both changed it, or nobody knows.
        (A, B, C, CONFLICT),
        (A, B, LINK, CONFLICT),
        (None, A, B, CONFLICT),
        (None, A, TOUCHED, CONFLICT),
        (A, TOUCHED, file(1, executable=True), CONFLICT),
        (B, A, TOUCHED, CONFLICT),
        (LINK, link("b"), link("c"), CONFLICT),
    ],
)
def test_the_winner(base: Entry | None, local: Entry | None, remote: Entry | None, expected: int | None) -> None:
    assert winner(base, local, remote) == expected


@pytest.mark.parametrize(("local", "remote"), list(product([None, A, B, LINK], repeat=2)))
@pytest.mark.parametrize("base", [None, A, B])
def test_in_a_mirror_the_remote_side_is_right(base: Entry | None, local: Entry | None, remote: Entry | None) -> None:
    assert winner(base, local, remote, mirror=True) == (None if local == remote else REMOTE)


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        (file(1, 5), file(2, 4), LOCAL),
        (file(1, 4), file(2, 5), REMOTE),
        (file(2), file(1), LOCAL),
        (file(1), file(2), REMOTE),
        (file(1, -5), LINK, REMOTE),
        (file(1), LINK, LOCAL),
        (link("b"), link("a"), LOCAL),
        (file(1, executable=True), file(1), LOCAL),
    ],
)
def test_the_newer_one_then_the_larger_root(local: Entry, remote: Entry, expected: int) -> None:
    assert newer(local, remote) == expected


leaves = st.builds(file, st.integers(0, 3), st.integers(-2, 2), executable=st.booleans()) | st.builds(
    link, st.sampled_from("ab")
)


@given(leaves, leaves)
def test_both_sides_see_the_same_winner(local: Entry, remote: Entry) -> None:
    assert local.same(remote) or newer(local, remote) == 1 - newer(remote, local)
