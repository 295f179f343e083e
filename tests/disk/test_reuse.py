"""What is found here need not be fetched: chunks by their leaves, files by their roots."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from leafsync.engine.core.index import Index
from leafsync.engine.core.merkle import CHUNK_SIZE, leaf_hash
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.reuse import KnownChunks, find_files
from leafsync.engine.disk.scan import scan
from leafsync.engine.disk.store import Store
from tests.disk.faults import FaultyFolder, content_root, write

LATER = 4_000_000_000_000_000_000
A, B, C = (bytes([letter]) * CHUNK_SIZE for letter in b"abc")
END = b"end"


@pytest.fixture
def index(folder: FaultyFolder, store: Store, hasher: Hasher, root: Path) -> Index:
    write(root, "d/big", A + B + END)
    write(root, "other", B + C)
    write(root, "small", A)
    write(root, "tiny", END)
    write(root, "copy", END)
    write(root, "empty", b"")
    return scan(folder, store, hasher, now_ns=LATER).index


def leaves(*chunks: bytes) -> set[bytes]:
    return {leaf_hash(chunk) for chunk in chunks}


class TestChunks:
    def test_are_found_where_they_are(self, store: Store, index: Index) -> None:
        found = KnownChunks(store, index).find(leaves(A, C, END, b"nowhere"))
        assert found == {leaf_hash(A): ("d/big", 0), leaf_hash(C): ("other", 1), leaf_hash(END): ("d/big", 2)}

    def test_any_place_will_do(self, store: Store, index: Index, root: Path) -> None:
        ((path, number),) = KnownChunks(store, index).find(leaves(B)).values()
        data = (root / path).read_bytes()
        assert data[number * CHUNK_SIZE : (number + 1) * CHUNK_SIZE] == B

    def test_nothing_wanted_costs_nothing(self, store: Store, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "leaves", lambda _mark: pytest.fail("the store was asked"))
        assert KnownChunks(store, index).find(()) == {}

    def test_all_is_looked_through_once(self, store: Store, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever asks for what is nowhere, as most new files do, leaves the store alone after that."""
        asked = []
        look = store.leaves

        def count(mark: int) -> bytes | None:
            asked.append(mark)
            return look(mark)

        monkeypatch.setattr(store, "leaves", count)
        known = KnownChunks(store, index)
        assert known.find(leaves(b"nowhere")) == {}
        assert len(asked) == 2
        assert known.find(leaves(b"neither")) == {}
        assert len(asked) == 2
        assert known.find(leaves(B, C)) == {leaf_hash(B): ("d/big", 1), leaf_hash(C): ("other", 1)}
        assert len(asked) == 4

    def test_a_leaf_that_begins_like_another(self, store: Store, index: Index) -> None:
        other = bytearray(leaf_hash(A))
        other[-1] ^= 1
        assert KnownChunks(store, index).find([bytes(other), leaf_hash(A)]) == {leaf_hash(A): ("d/big", 0)}

    def test_many_at_once(self, store: Store, index: Index) -> None:
        """The files of all streams ask the same."""
        known = KnownChunks(store, index)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _number: known.find(leaves(A, C)), range(32)))
        assert answers == [{leaf_hash(A): ("d/big", 0), leaf_hash(C): ("other", 1)}] * 32

    def test_what_the_store_forgets_meanwhile(self, store: Store, index: Index) -> None:
        known = KnownChunks(store, index)
        assert known.find(leaves(A)) != {}
        store._connection.execute("DELETE FROM leaves")
        assert known.find(leaves(A)) == {}

    def test_what_the_store_forgot(self, store: Store, index: Index) -> None:
        store._connection.execute("DELETE FROM leaves")
        assert KnownChunks(store, index).find(leaves(A, B, C)) == {}

    def test_an_index_without_states(self, store: Store, index: Index) -> None:
        assert KnownChunks(store, Index(index.directories)).find(leaves(A)) == {}


class TestFiles:
    def test_by_their_roots(self, index: Index) -> None:
        roots = {content_root(A + B + END), content_root(A), content_root(b"nowhere")}
        assert find_files(index, roots) == {content_root(A + B + END): "d/big", content_root(A): "small"}

    def test_one_of_several(self, index: Index) -> None:
        found = find_files(index, [content_root(END)])
        assert found[content_root(END)] in ("tiny", "copy")

    def test_directories_are_no_files(self, index: Index) -> None:
        entry = index.entry("d")
        assert entry is not None
        assert find_files(index, [entry.hash]) == {}

    def test_nothing(self, index: Index) -> None:
        assert find_files(index, ()) == {}
