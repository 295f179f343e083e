"""Less than a chunk: which pieces of a new version are in the old one, and what has to be asked for.

Both sides cut their version where its content says so (`disk/pieces`), so an insertion moves the pieces behind it and
changes few. Pieces are known by their xxh3_64, which is no proof: what is put together of them is a chunk like any
other and counts only if it matches its leaf. A wrong guess costs that chunk a second request, never a wrong file.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from math import isqrt
from typing import NamedTuple

from leafsync.engine.core.bitmap import ranges
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, chunk_length, leaf_at
from leafsync.engine.core.messages import MAX_CUT_CHUNKS, MAX_ITEMS, MAX_SCALE, MIN_SCALE, ChunkRange, Part

SPREAD = 4
"""How many times shorter or longer than the average a piece may be: it keeps lists of pieces short for any content."""

MAX_PIECES = 1 << 17
"""Pieces of the old version that are remembered, and pieces of the new one in one answer: 20 MiB of memory for each
file under way. Pieces of 256 KiB are that many in 32 GiB; of what is larger only the beginning is looked through."""

PIECE_COST = 12
"""Bytes that a piece takes in a PIECES message."""

MIN_WANTED = 256 << 10
"""Bytes that must be missing before pieces are asked for: below, the round trip takes longer than the bytes."""

WORTH = 16
"""Of what is missing, at least one part in so many must have had other content before: what is appended to a file is in
no old version, and cutting it would be in vain."""

ABSENT = -1
"""The source of bytes that are not in the old version."""


class PiecesMalformed(ValueError):
    """A list of pieces that no device would make of what was asked for."""


class Segment(NamedTuple):
    """Bytes of a chunk, in a row."""

    length: int
    source: int
    """Where they are in the old version, ABSENT for nowhere."""


Plan = dict[int, list[Segment]]
"""What chunks are put together from, by their number."""


def min_piece(scale: int) -> int:
    """Return the bytes of the shortest piece, but for the last one of a range."""
    return (1 << scale) // SPREAD


def max_piece(scale: int) -> int:
    """Return the bytes of the longest piece."""
    return (1 << scale) * SPREAD


def displaced(old: bytes, new: bytes) -> list[int]:
    """Return the chunks of an old version (both are leaves) that are not in their place in the new one.

    Whatever the new version has at other places comes from there, or is twice in it.
    """
    return [index for index in range(len(old) // HASH_SIZE) if leaf_at(old, index) != leaf_at(new, index)]


def pays(displaced_bytes: int, wanted_bytes: int) -> bool:
    """Whether pieces are worth a round trip."""
    return wanted_bytes >= MIN_WANTED and displaced_bytes * WORTH >= wanted_bytes


def scale_for(wanted_bytes: int, stretches: int, displaced_bytes: int) -> int:
    """Return the power of two of the average size of pieces.

    With n edits, pieces of s bytes cost n * s for what changed and PIECE_COST / s of everything for their names, which
    is least at the square root below. There is at least one edit in each stretch of chunks that is missing; half of
    that size is taken, because there may be more.
    """
    best = isqrt(PIECE_COST * wanted_bytes // max(1, stretches)) // 2
    scale = max(MIN_SCALE, min(MAX_SCALE, best.bit_length() - 1))
    while scale < MAX_SCALE and displaced_bytes >> scale > MAX_PIECES // 2:
        scale += 1
    return scale


def round_of(wanted: Sequence[ChunkRange], scale: int) -> list[ChunkRange]:
    """Return the first of the wanted ranges that one CUT may name: its answer has at most MAX_PIECES pieces, and one
    more for each range.
    """
    room = max(1, min(MAX_CUT_CHUNKS, MAX_PIECES * min_piece(scale) // CHUNK_SIZE))
    taken: list[ChunkRange] = []
    for first, count in wanted[:MAX_ITEMS]:
        if room <= 0:
            break
        taken.append((first, min(count, room)))
        room -= count
    return taken


class PieceIndex:
    """Where pieces are in an old version: at most `MAX_PIECES` of them."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """Whether no more are remembered."""
        return len(self._places) >= MAX_PIECES

    def add(self, start: int, pieces: Iterable[tuple[int, int]]) -> int:
        """Remember pieces (id, length) that follow each other from `start` on; return where they end."""
        for identity, length in pieces:
            self._places.setdefault(identity, start << 32 | length)
            start += length
        return start

    def find(self, identity: int, length: int) -> int:
        """Return where a piece is, ABSENT when it is not known."""
        place = self._places.get(identity)
        return place >> 32 if place is not None and place & 0xFFFFFFFF == length else ABSENT


class PieceList:
    """The pieces of the new version, as the other side names them, page by page."""

    def __init__(self, size: int, wanted: Sequence[ChunkRange], scale: int) -> None:
        """Expect the pieces of these ranges of a file of `size` bytes."""
        self._ids = array("Q")
        self._lengths = array("I")
        self._stretches = [_bytes_of(size, each) for each in wanted]
        self._size = size
        self._shortest, self._longest = min_piece(scale), max_piece(scale)
        self._at = 0
        self._left = self._stretches[0][1]

    def add(self, ids: bytes, lengths: bytes) -> None:
        """Take the next page. Raises PiecesMalformed as soon as the pieces cannot be those of the ranges."""
        if len(ids) % 8 or len(lengths) * 2 != len(ids):
            raise PiecesMalformed("pieces without a length, or the reverse")
        added = _numbers("I", lengths)
        for length in added:
            if self._at == len(self._stretches):
                raise PiecesMalformed("more pieces than were asked for")
            if not 0 < length <= min(self._longest, self._left):
                raise PiecesMalformed("a piece that is too long")
            self._left -= length
            if not self._left:
                self._at += 1
                self._left = self._stretches[self._at][1] if self._at < len(self._stretches) else 0
            elif length < self._shortest:
                raise PiecesMalformed("a piece that is too short")
        self._ids += _numbers("Q", ids)
        self._lengths += added

    @property
    def complete(self) -> bool:
        """Whether the pieces add up to all that was asked for."""
        return self._at == len(self._stretches)

    def plan(self, old: PieceIndex) -> Plan:
        """Say what each chunk of the ranges is put together from; the pieces must be complete."""
        plan: Plan = {}
        pieces = zip(self._ids, self._lengths, strict=True)
        for start, length in self._stretches:
            at, end = start, start + length
            while at < end:
                identity, count = next(pieces)
                _append(plan, self._size, at, count, old.find(identity, count))
                at += count
        return plan


def _append(plan: Plan, size: int, at: int, count: int, source: int) -> None:
    """Add `count` bytes at `at` of the file to its chunks; what continues the last segment becomes part of it."""
    while count:
        index, offset = divmod(at, CHUNK_SIZE)
        length = min(count, chunk_length(size, index) - offset)
        segments = plan.setdefault(index, [])
        last = segments[-1] if segments else None
        if last is not None and source == (ABSENT if last.source == ABSENT else last.source + last.length):
            segments[-1] = Segment(last.length + length, last.source)
        else:
            segments.append(Segment(length, source))
        at, count = at + length, count - length
        if source != ABSENT:
            source += length


def missing(segments: Iterable[Segment]) -> int:
    """Return the bytes of a chunk that are not in the old version."""
    return sum(segment.length for segment in segments if segment.source == ABSENT)


def places(segments: Iterable[Segment]) -> Iterator[tuple[int, int]]:
    """Yield what a chunk takes of the old version, as (offset, length)."""
    return ((segment.source, segment.length) for segment in segments if segment.source != ABSENT)


def parts_of(index: int, segments: Iterable[Segment]) -> Iterator[Part]:
    """Yield what has to be asked for of chunk `index`."""
    at = index * CHUNK_SIZE
    for segment in segments:
        if segment.source == ABSENT:
            yield at, segment.length
        at += segment.length


def requests(plan: Plan) -> Iterator[tuple[list[int], list[Part]]]:
    """Yield the chunks and parts of one FETCH PARTS after the other, for the chunks that are not all here.

    A chunk has at most half as many parts as pieces, fewer than a request may name.
    """
    chunks: list[int] = []
    parts: list[Part] = []
    for index, segments in plan.items():
        wanted = list(parts_of(index, segments))
        if len(parts) + len(wanted) > MAX_ITEMS:
            yield chunks, parts
            chunks, parts = [], []
        if wanted:
            chunks.append(index)
            parts += wanted
    if parts:
        yield chunks, parts


def parts_by_chunk(size: int, parts: Iterable[Part]) -> dict[int, list[Part]]:
    """Group parts by the chunk that they are in.

    Raises PiecesMalformed when they are out of order, overlap, or are not within a chunk of a file of `size` bytes.
    """
    grouped: dict[int, list[Part]] = {}
    end = 0
    for offset, length in parts:
        index = offset // CHUNK_SIZE
        if offset < end or offset + length > min(size, (index + 1) * CHUNK_SIZE):
            raise PiecesMalformed("parts that are not there")
        end = offset + length
        grouped.setdefault(index, []).append((offset, length))
    return grouped


def encode_pieces(pieces: Sequence[tuple[int, int]]) -> tuple[bytes, bytes]:
    """Return the ids and lengths of pieces as they travel."""
    return _to_bytes(array("Q", [identity for identity, _ in pieces])), _to_bytes(array("I", [n for _, n in pieces]))


def stretches(indexes: Iterable[int], size: int) -> list[tuple[int, int]]:
    """Return the bytes of chunks of a file as (offset, length), joined where they are neighbours."""
    return [_bytes_of(size, each) for each in ranges(indexes)]


def _bytes_of(size: int, wanted: ChunkRange) -> tuple[int, int]:
    first, count = wanted
    start = first * CHUNK_SIZE
    return start, min(size, start + count * CHUNK_SIZE) - start


def _numbers(code: str, data: bytes) -> "array[int]":
    numbers = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _to_bytes(numbers: "array[int]") -> bytes:
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()
