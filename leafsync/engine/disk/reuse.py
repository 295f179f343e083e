"""What need not be fetched: chunks and whole files that are somewhere in this folder already.

These are hints. The file may have changed since it was scanned, so what is copied is proven by its leaf like any other
chunk.
"""

import sys
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator

from leafsync.engine.core.index import Index, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, leaf_at
from leafsync.engine.core.names import join
from leafsync.engine.disk.store import Store

_WORD = 8
_PLACE_BITS = 32
"""Of a key, for the number of a chunk among all there are: 4 PiB of them. The other half is from its leaf, so that of a
million chunks one in 4000 questions finds a wrong one, which is seen at once."""

_PLACE = (1 << _PLACE_BITS) - 1


class KnownChunks:
    """Where chunks are in the files of an index that have more than one, as far as the store knows. Thread-safe.

    Many files ask, and what is new is nowhere as a rule. So all leaves are looked through once, when the first file
    asks; what is kept of them are 8 bytes a chunk.
    """

    def __init__(self, store: Store, index: Index) -> None:
        """Look at nothing yet."""
        self._store = store
        self._index = index
        self._looking = threading.Lock()
        self._keys: array[int] | None = None
        """Sorted; each has some bits of a leaf, and the number of the chunk among all there are."""
        self._paths: list[str] = []
        self._marks = array("Q")
        self._starts = array("Q")
        """The number of the first chunk of each file."""

    def find(self, wanted: Collection[bytes]) -> dict[bytes, tuple[str, int]]:
        """Return where chunks with these leaves are (blocking): leaf -> path of a file and number of its chunk.

        Raises what the store raises.
        """
        found: dict[bytes, tuple[str, int]] = {}
        if not wanted:
            return found
        with self._looking:
            if self._keys is None:
                self._keys = self._look()
            keys = self._keys
        file, leaves = -1, b""
        hits = sorted((place, each) for each in wanted for place in _places(keys, each))
        for place, leaf in hits:  # in the order of files, so that the leaves of each are read once
            if leaf in found:
                continue
            if (number := bisect_right(self._starts, place) - 1) != file:
                file, leaves = number, self._store.leaves(self._marks[number]) or b""
            chunk = place - self._starts[file]
            if leaf_at(leaves, chunk) == leaf:
                found[leaf] = self._paths[file], chunk
        return found

    def _look(self) -> "array[int]":
        keys = array("Q")
        for path, mark in self._files():
            leaves = self._store.leaves(mark) or b""
            words = array("Q", leaves[: len(leaves) // HASH_SIZE * HASH_SIZE])[:: HASH_SIZE // _WORD]
            self._paths.append(path)
            self._marks.append(mark)
            self._starts.append(len(keys))
            keys.extend(word & ~_PLACE | place for place, word in enumerate(words, len(keys)))
        return array("Q", sorted(keys))

    def _files(self) -> Iterator[tuple[str, int]]:
        for directory, entries in self._index.directories.items():
            for entry in entries:
                if entry.kind is Kind.FILE and entry.size > CHUNK_SIZE:
                    path = join(directory, entry.name)
                    if (mark := self._index.state(path)) is not None:
                        yield path, mark


def _places(keys: "array[int]", leaf: bytes) -> Iterator[int]:
    """Yield the numbers of the chunks that may have this leaf."""
    word = int.from_bytes(leaf[:_WORD], sys.byteorder) & ~_PLACE
    at = bisect_left(keys, word)
    while at < len(keys) and keys[at] & ~_PLACE == word:
        yield keys[at] & _PLACE
        at += 1


def find_files(index: Index, roots: Collection[bytes]) -> dict[bytes, str]:
    """Return where files with these roots are: root -> path."""
    missing = set(roots)
    found: dict[bytes, str] = {}
    for directory, entries in index.directories.items():
        if not missing:
            break
        for entry in entries:
            if entry.kind is Kind.FILE and entry.hash in missing:
                missing.remove(entry.hash)
                found[entry.hash] = join(directory, entry.name)
    return found
