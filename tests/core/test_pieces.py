"""Pieces: a new version made of an old one, and lists of pieces that no honest device sends."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from leafsync.engine.core import pieces
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, chunk_count
from leafsync.engine.core.messages import MAX_CUT_CHUNKS, MAX_ITEMS, MAX_SCALE, MIN_SCALE, ChunkRange
from leafsync.engine.core.pieces import (
    ABSENT,
    PieceIndex,
    PieceList,
    PiecesMalformed,
    Segment,
    displaced,
    encode_pieces,
    max_piece,
    min_piece,
    missing,
    parts_by_chunk,
    pays,
    requests,
    round_of,
    scale_for,
    stretches,
)

MIB = 1 << 20


def leaves(text: str) -> bytes:
    """One leaf a letter."""
    return b"".join(letter.encode() * HASH_SIZE for letter in text)


def listed(size: int, wanted: Sequence[ChunkRange], lengths: Sequence[int], scale: int = MIN_SCALE) -> PieceList:
    """A list that was told of pieces 1, 2, 3, ... of these lengths."""
    made = PieceList(size, wanted, scale)
    made.add(*encode_pieces(list(enumerate(lengths, start=1))))
    return made


# What is looked at, and whether


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("abc", "abc", []),
        ("abc", "axc", [1]),
        ("abc", "xabc", [0, 1, 2]),
        ("abc", "abcd", []),
        ("abc", "a", [1, 2]),
        ("abc", "", [0, 1, 2]),
        ("", "abc", []),
    ],
)
def test_what_lost_its_place(old: str, new: str, expected: list[int]) -> None:
    assert displaced(leaves(old), leaves(new)) == expected


@pytest.mark.parametrize(
    ("gone", "wanted", "expected"),
    [
        (MIB, MIB, True),
        (MIB, 16 * MIB, True),
        (MIB, 16 * MIB + 16, False),
        (MIB, pieces.MIN_WANTED, True),
        (MIB, pieces.MIN_WANTED - 1, False),
        (0, MIB, False),
        (0, 0, False),
    ],
)
def test_when_pieces_pay(gone: int, wanted: int, expected: bool) -> None:
    assert pays(gone, wanted) is expected


@pytest.mark.parametrize(
    ("wanted", "count", "gone", "expected"),
    [
        (3 * MIB, 3, 3 * MIB, 12),  # scattered edits: small pieces
        (512 * MIB, 1, 512 * MIB, 15),  # everything has moved: names of pieces cost more than one piece
        (1, 1, 1, MIN_SCALE),
        (8 << 40, 1, 8 << 40, MAX_SCALE),
        (3 * MIB, 3, 4 << 30, 16),  # no more pieces of the old version than are remembered
        (0, 0, 0, MIN_SCALE),
    ],
)
def test_the_size_of_pieces(wanted: int, count: int, gone: int, expected: int) -> None:
    assert scale_for(wanted, count, gone) == expected


@given(st.integers(0, 8 << 40), st.integers(0, 1 << 23), st.integers(0, 8 << 40))
def test_the_size_of_pieces_has_bounds(wanted: int, count: int, gone: int) -> None:
    scale = scale_for(wanted, count, gone)
    assert MIN_SCALE <= scale <= MAX_SCALE
    assert scale == MAX_SCALE or gone >> scale <= pieces.MAX_PIECES


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6000)), min_size=1, max_size=20),
    st.integers(MIN_SCALE, MAX_SCALE),
)
def test_what_one_answer_may_have_is_bounded(steps: list[tuple[int, int]], scale: int) -> None:
    wanted, at = [], 0
    for gap, count in steps:
        wanted.append((at + gap, count))
        at += gap + count
    taken = round_of(wanted, scale)
    chunks = [index for first, count in wanted for index in range(first, first + count)]
    some = [index for first, count in taken for index in range(first, first + count)]
    assert 0 < len(some) <= MAX_CUT_CHUNKS
    assert some == chunks[: len(some)]
    assert len(some) * CHUNK_SIZE // min_piece(scale) <= pieces.MAX_PIECES
    assert some == chunks or len(some) == min(MAX_CUT_CHUNKS, pieces.MAX_PIECES * min_piece(scale) // CHUNK_SIZE)


def test_a_round_names_no_more_ranges_than_a_message_may() -> None:
    assert len(round_of([(2 * number, 1) for number in range(MAX_ITEMS + 5)], MAX_SCALE)) == MAX_ITEMS


def test_chunks_as_bytes() -> None:
    assert stretches([0, 1, 3], 3 * MIB + 5) == [(0, 2 * MIB), (3 * MIB, 5)]
    assert stretches([], 5) == []


# Putting together


def random_pieces(rng: random.Random, size: int, scale: int) -> list[int]:
    """Lengths of any pieces that are allowed for `size` bytes."""
    lengths = []
    while size:
        length = min(size, rng.randint(min_piece(scale), max_piece(scale)))
        lengths.append(length)
        size -= length
    return lengths


def apply(plan: pieces.Plan, old: bytes, new: bytes, size: int) -> dict[int, bytes]:
    """Put the chunks of a plan together; what is absent comes from `new`, by way of the requests."""
    came: dict[int, bytes] = {}
    for chunks, parts in requests(plan):
        grouped = parts_by_chunk(size, parts)
        assert list(grouped) == chunks
        for index, wanted in grouped.items():
            came[index] = b"".join(new[offset : offset + length] for offset, length in wanted)
    made = {}
    for index, segments in plan.items():
        assert missing(segments) == len(came.get(index, b""))
        left = memoryview(came.get(index, b""))
        chunk = b""
        for length, source in segments:
            if source == ABSENT:
                chunk, left = chunk + left[:length], left[length:]
            else:
                chunk += old[source : source + length]
        made[index] = chunk
    return made


@settings(max_examples=30)
@given(st.integers(0, 1 << 32), st.integers(MIN_SCALE, MAX_SCALE))
def test_pieces_of_an_old_and_a_new_version_give_the_new_one(seed: int, scale: int) -> None:
    """Whatever is known, wherever it is cut: the bytes are those of the new version."""
    rng = random.Random(seed)
    size = rng.randint(1, 4 * MIB)
    new = rng.randbytes(size)
    count = chunk_count(size)
    wanted = [(0, count)] if count < 3 or rng.random() < 0.5 else [(0, 1), (2, count - 2)]
    old = bytearray(rng.randbytes(rng.randint(0, 100)))
    index, sent = PieceIndex(), []
    number = 0
    for start, length in stretches((i for first, n in wanted for i in range(first, first + n)), size):
        at = start
        for piece in random_pieces(rng, length, scale):
            number += 1
            sent.append((number, piece))
            if rng.random() < 0.7:
                index.add(len(old), [(number, piece)])
                old += new[at : at + piece]
            at += piece
    received = PieceList(size, wanted, scale)
    for page in range(0, len(sent), 7):
        assert not received.complete
        received.add(*encode_pieces(sent[page : page + 7]))
    assert received.complete
    made = apply(received.plan(index), bytes(old), new, size)
    assert made == {
        i: new[i * CHUNK_SIZE : (i + 1) * CHUNK_SIZE] for first, n in wanted for i in range(first, first + n)
    }


def test_neighbours_become_one_segment() -> None:
    old = PieceIndex()
    assert old.add(1000, [(1, 2048), (2, 4096)]) == 1000 + 6144
    old.add(90_000, [(5, 2048)])
    plan = listed(13_000, [(0, 1)], [2048, 4096, 2048, 1024, 2048, 1736]).plan(old)
    assert plan == {0: [Segment(6144, 1000), Segment(3072, ABSENT), Segment(2048, 90_000), Segment(1736, ABSENT)]}


def test_a_piece_over_the_end_of_a_chunk_is_in_both() -> None:
    old = PieceIndex()
    lengths = [16_384] * 63 + [12_288, 8192] + [16_384] * 63 + [12_288]
    old.add(500, [(65, 8192)])
    plan = listed(2 * MIB, [(0, 2)], lengths).plan(old)
    assert plan[0] == [Segment(MIB - 4096, ABSENT), Segment(4096, 500)]
    assert plan[1] == [Segment(4096, 4596), Segment(MIB - 4096, ABSENT)]


def test_a_name_counts_with_its_length_alone() -> None:
    old = PieceIndex()
    old.add(7, [(1, 2048)])
    assert (old.find(1, 2048), old.find(1, 2049), old.find(2, 2048)) == (7, ABSENT, ABSENT)


def test_the_same_piece_twice_is_known_once() -> None:
    old = PieceIndex()
    old.add(0, [(1, 2048), (1, 2048)])
    assert old.find(1, 2048) == 0


def test_only_so_many_pieces_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECES", 3)
    old = PieceIndex()
    for number in range(3):
        assert not old.full
        old.add(number, [(number, 1)])
    assert old.full


def test_a_request_has_no_more_parts_than_a_message_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_ITEMS", 3)
    gap, own = Segment(10, ABSENT), Segment(10, 0)
    plan = {0: [gap, own, gap], 1: [own], 2: [gap, own], 3: [gap, own], 9: [gap]}
    asked = list(requests(plan))
    assert [chunks for chunks, _parts in asked] == [[0, 2], [3, 9]]
    assert asked[0][1] == [(0, 10), (20, 10), (2 * MIB, 10)]
    assert list(requests({0: [own]})) == []


# What no honest device sends


@pytest.mark.parametrize(
    ("lengths", "reason"),
    [
        ([0], "too long"),
        ([max_piece(MIN_SCALE) + 1], "too long"),
        ([(1 << 32) - 1], "too long"),
        ([min_piece(MIN_SCALE) - 1], "too short"),
        ([1] * 8000, "too short"),
        ([16_384] * 63 + [16_000, 400], "too long"),
        ([16_384] * 64 + [1024], "more pieces"),
        ([16_384] * 65, "more pieces"),
    ],
)
def test_lists_that_cannot_be(lengths: list[int], reason: str) -> None:
    with pytest.raises(PiecesMalformed, match=reason):
        listed(10 * MIB, [(0, 1)], lengths)


@pytest.mark.parametrize(("ids", "lengths"), [(b"1" * 8, b"1" * 8), (b"1" * 9, b"1" * 4), (b"1" * 12, b"1" * 6)])
def test_pages_that_do_not_fit_each_other(ids: bytes, lengths: bytes) -> None:
    with pytest.raises(PiecesMalformed, match="without a length"):
        PieceList(MIB, [(0, 1)], MIN_SCALE).add(ids, lengths)


def test_a_piece_does_not_go_on_in_the_next_range() -> None:
    with pytest.raises(PiecesMalformed, match="too long"):
        listed(10 * MIB, [(0, 1), (2, 1)], [16_384] * 63 + [16_000, 16_000])


def test_what_is_left_out_is_noticed() -> None:
    assert not listed(10 * MIB, [(0, 1), (2, 1)], [16_384] * 127).complete
    assert listed(10 * MIB, [(0, 1), (2, 1)], [16_384] * 128).complete


@settings(max_examples=200)
@given(st.lists(st.integers(0, 20_000), max_size=300), st.integers(1, 3 * MIB))
def test_any_list_is_refused_or_bounded(lengths: list[int], size: int) -> None:
    """No list makes more segments than a few for each piece that is long enough, or a chunk of another length."""
    received = PieceList(size, [(0, chunk_count(size))], MIN_SCALE)
    try:
        received.add(*encode_pieces([(1, length) for length in lengths]))
    except PiecesMalformed:
        return
    assert len(lengths) <= size // min_piece(MIN_SCALE) + 1
    if received.complete:
        plan = received.plan(PieceIndex())
        assert sum(segment.length for segments in plan.values() for segment in segments) == size
        assert sum(len(segments) for segments in plan.values()) == chunk_count(size)


@pytest.mark.parametrize(
    "parts",
    [
        [(MIB - 1, 2)],
        [(2 * MIB + 90, 11)],
        [(3 * MIB, 1)],
        [(100, 10), (109, 1)],
        [(100, 10), (0, 1)],
        [(100, 10), (100, 10)],
        [(1 << 40, 1)],
    ],
)
def test_parts_that_cannot_be(parts: list[tuple[int, int]]) -> None:
    with pytest.raises(PiecesMalformed):
        parts_by_chunk(2 * MIB + 100, parts)


def test_parts_are_grouped_by_chunk() -> None:
    parts = [(0, 1), (1, 2), (MIB - 1, 1), (MIB, MIB), (2 * MIB + 99, 1)]
    assert parts_by_chunk(2 * MIB + 100, parts) == {0: parts[:3], 1: parts[3:4], 2: parts[4:]}
