"""Cutting: the same bytes are cut alike wherever they are, and nothing is held but a block."""

import random

import pytest
from hypothesis import given, settings, strategies as st
from xxhash import xxh3_64_intdigest

from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import MAX_SCALE, MIN_SCALE
from leafsync.engine.core.pieces import ABSENT, PieceIndex, PieceList, encode_pieces, max_piece, min_piece
from leafsync.engine.disk import pieces
from leafsync.engine.disk.pieces import cut

DATA = random.Random(5).randbytes(6 << 20)


def pieces_of(data: bytes, scale: int = MIN_SCALE, start: int = 0) -> list[tuple[int, int]]:
    def read(buffer: memoryview, offset: int) -> None:
        buffer[:] = data[offset : offset + len(buffer)]

    return [piece for block in cut(read, start, len(data) - start, scale) for piece in block]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(MIN_SCALE, MAX_SCALE), st.booleans())
def test_pieces_are_what_the_other_side_takes(seed: int, scale: int, dull: bool) -> None:
    """Of noise and of what repeats itself: they add up, are as long as they may be, and are named by their content."""
    rng = random.Random(seed)
    size = rng.randint(1, 3 << 20)
    data = rng.randbytes(7) * (size // 7 + 1) if dull else rng.randbytes(size)
    data = data[:size]
    found = pieces_of(data, scale)
    received = PieceList(size, [(0, -(-size // CHUNK_SIZE))], scale)
    received.add(*encode_pieces(found))
    assert received.complete
    at = 0
    for identity, length in found:
        assert identity == xxh3_64_intdigest(data[at : at + length])
        at += length
    assert all(min_piece(scale) <= length <= max_piece(scale) for _identity, length in found[:-1])


@pytest.mark.parametrize("block", [1 << 16, 1 << 17, 100_003, 1 << 20, 8 << 20])
def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = pieces_of(DATA)
    monkeypatch.setattr(pieces, "BLOCK", block)
    assert pieces_of(DATA) == whole


@pytest.mark.parametrize("scale", range(MIN_SCALE, MAX_SCALE + 1))
def test_the_average_is_about_what_was_asked_for(scale: int) -> None:
    assert 0.6 < len(DATA) / len(pieces_of(DATA, scale)) / (1 << scale) < 1.6


@pytest.mark.parametrize("at", [0, 1, 3 << 20])
def test_an_insertion_changes_few_pieces(at: int) -> None:
    shifted = DATA[:at] + b"0123456789" + DATA[at:]
    new = [piece for piece in pieces_of(shifted) if piece not in set(pieces_of(DATA))]
    assert 1 <= len(new) <= 8


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40_000), st.integers(0, 40_000)), max_size=6),
    st.integers(MIN_SCALE, 15),
)
def test_any_edits_of_an_old_version_give_the_new_one(
    seed: int, edits: list[tuple[float, int, int]], scale: int
) -> None:
    """Cut on both sides, compared, and put together: the bytes of the new version, most of them from the old one."""
    rng = random.Random(seed)
    old = rng.randbytes(rng.randint(1, 3 << 20))
    new = bytearray(old)
    for place, removed, added in edits:
        at = int(place * len(new))
        new[at : at + removed] = rng.randbytes(added)
    index = PieceIndex()
    index.add(0, pieces_of(old, scale))
    received = PieceList(len(new), [(0, -(-len(new) // CHUNK_SIZE))], scale) if new else None
    if received is None:
        return
    received.add(*encode_pieces(pieces_of(bytes(new), scale)))
    made, asked = bytearray(), 0
    for _index, segments in sorted(received.plan(index).items()):
        for length, source in segments:
            made += old[source : source + length] if source != ABSENT else new[len(made) : len(made) + length]
            asked += length if source == ABSENT else 0
    assert made == new
    # An edit costs what it brings and the pieces around it, until both sides cut alike again.
    assert asked <= sum(added for _place, _removed, added in edits) + (len(edits) * 8) * max_piece(scale)


def test_nothing_has_no_pieces() -> None:
    assert pieces_of(b"") == []


def test_a_stretch_in_the_middle() -> None:
    assert pieces_of(DATA, start=1 << 20) == pieces_of(DATA[1 << 20 :])


def test_what_cannot_be_read_ends_it() -> None:
    def read(_buffer: memoryview, offset: int) -> None:
        if offset:
            raise EOFError

    cutting = cut(read, 0, 12 << 20, MIN_SCALE)
    assert next(cutting)
    with pytest.raises(EOFError):
        next(cutting)
