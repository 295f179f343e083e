"""Rows kept in order while their keys change: pure, so that neither one change nor one look costs by their number.

A list of sorted blocks: to put, take out or find a row are two binary searches and a short move, where one long list
would move 100,000 places and a tree of Python objects would be slower still.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

BLOCK = 512
"""Rows in a block that was just split: 100,000 rows are some 200 blocks, and both are quick to walk over."""

Key: TypeAlias = Any
"""What rows are ordered by: the same type for all of one order, and it compares."""

Entry: TypeAlias = tuple[Key, int]
"""The key, and the number that no other row has. Of strings and numbers alone, so that the garbage collector, which
halts everything, soon passes over it.
"""


class RowOrder(Generic[T]):
    """Rows by key, then by number."""

    def __init__(self) -> None:
        """Start empty."""
        self._blocks: list[list[Entry]] = []
        self._lasts: list[Entry] = []
        """The last entry of each block."""
        self._entries: dict[int, Entry] = {}
        """By number: what is in the blocks."""
        self._rows: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def put(self, key: Key, number: int, row: T) -> None:
        """Have a row where its key belongs, wherever it was before."""
        before = self._entries.get(number)
        if before is not None:
            if before[0] == key:
                return
            self._remove(before)
        entry = (key, number)
        self._entries[number] = entry
        self._rows[number] = row
        self._insert(entry)

    def discard(self, number: int) -> None:
        """Take a row out, if it is here."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            del self._rows[number]
            self._remove(entry)

    def index(self, number: int) -> int | None:
        """Return how many rows are before this one, None when it is not here."""
        entry = self._entries.get(number)
        if entry is None:
            return None
        at = bisect_left(self._lasts, entry)
        return sum(map(len, self._blocks[:at])) + bisect_left(self._blocks[at], entry)

    def at(self, index: int) -> T:
        """Return the row with so many before it. Raises IndexError."""
        for row in self.slice(index, index + 1):
            return row
        raise IndexError(index)

    def slice(self, start: int, stop: int) -> Iterator[T]:
        """Return the rows from `start` to before `stop`, as many of them as there are."""
        left = stop - start
        for block in self._blocks:
            if left <= 0:
                return
            if start >= len(block):
                start -= len(block)
                continue
            for _key, number in block[start : start + left]:
                left -= 1
                yield self._rows[number]
            start = 0

    def _insert(self, entry: Entry) -> None:
        if not self._blocks:
            self._blocks, self._lasts = [[entry]], [entry]
            return
        at = min(bisect_left(self._lasts, entry), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, entry)
        if len(block) >= 2 * BLOCK:
            self._blocks.insert(at + 1, block[BLOCK:])
            del block[BLOCK:]
            self._lasts.insert(at + 1, self._lasts[at])
        self._lasts[at] = self._blocks[at][-1]
        if at + 1 < len(self._blocks):
            self._lasts[at + 1] = self._blocks[at + 1][-1]

    def _remove(self, entry: Entry) -> None:
        at = bisect_left(self._lasts, entry)
        block = self._blocks[at]
        del block[bisect_left(block, entry)]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]
