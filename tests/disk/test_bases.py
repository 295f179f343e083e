"""The base and what waits: it comes back as it was put, only what changed is written, and half of it is none of it."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.steps import NOTHING_HELD, Held
from leafsync.engine.disk.bases import Identity
from leafsync.engine.disk.store import Store

PEER, REMOTE, DIGEST = "f" * 64, "a" * 32, b"d" * 32
FILE = Entry("f", Kind.FILE, 5, -1_500_000_000, True, b"r" * 32)
LINK = Entry("l", Kind.SYMLINK, target="f")
DIRECTORY = Entry("d", Kind.DIRECTORY, hash=b"h" * 32)
LISTINGS: Mapping[str, Sequence[Entry]] = {"": (DIRECTORY, FILE, LINK), "d": (FILE,)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as store:
        yield store


def spoil(path: Path, statement: str, *values: object) -> None:
    """Do something to the file behind the store's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


class TestBase:
    def test_comes_back(self, path: Path, store: Store) -> None:
        store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
        store.close()
        with Store.open(path) as again:
            assert again.base(PEER, REMOTE) == LISTINGS

    def test_none_yet(self, store: Store) -> None:
        assert store.base(PEER, REMOTE) is None
        assert store.base_digest(PEER, REMOTE) is None

    def test_the_digest_alone(self, store: Store) -> None:
        store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
        assert store.base_digest(PEER, REMOTE) == DIGEST
        assert store.base_digest(PEER, "another") is None

    def test_one_for_each_peer_and_folder(self, store: Store) -> None:
        for number, (peer, remote) in enumerate([("p", "1"), ("p", "2"), ("q", "1")]):
            store.put_base(peer, remote, bytes([number]), {"": (Entry(str(number), Kind.FILE),)})
        assert store.base("p", "2") == {"": (Entry("1", Kind.FILE),)}
        assert store.base("q", "1") == {"": (Entry("2", Kind.FILE),)}
        assert store.base("q", "2") is None

    def test_the_latest_holds(self, store: Store) -> None:
        store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
        store.put_base(PEER, REMOTE, b"e" * 32, {"": (FILE,)})
        assert store.base(PEER, REMOTE) == {"": (FILE,)}

    def test_only_changed_directories_are_written(self, store: Store) -> None:
        many = {f"d{number}": (FILE,) for number in range(100)}
        top = tuple(Entry(name, Kind.DIRECTORY) for name in sorted(many))
        store.put_base(PEER, REMOTE, DIGEST, {"": top, **many})
        before = store._connection.total_changes
        store.put_base(PEER, REMOTE, DIGEST, {"": top, **many, "d7": (LINK,)})
        assert store._connection.total_changes - before == 2  # the base itself, and d7
        found = store.base(PEER, REMOTE)
        assert found is not None
        assert found["d7"] == (LINK,)
        assert found["d8"] == (FILE,)

    def test_the_digest_of_the_index_is_that_of_the_base(self, store: Store) -> None:
        index = Index(LISTINGS)
        store.put_base(PEER, REMOTE, index.digest, index.directories)
        found = store.base(PEER, REMOTE)
        assert found is not None
        assert Index(found).digest == index.digest

    def test_a_failed_write_leaves_the_old_one(self, store: Store) -> None:
        store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
        store._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(Exception, match="readonly"):
            store.put_base(PEER, REMOTE, b"e" * 32, {"": ()})
        store._connection.execute("PRAGMA query_only = 0")
        assert store.base(PEER, REMOTE) == LISTINGS


DAMAGE: dict[str, tuple[str, *tuple[object, ...]]] = {
    "an entry": ("UPDATE listings SET entries = ? WHERE path = 'd'", b"\x90"),
    "no bytes": ("UPDATE listings SET entries = ? WHERE path = 'd'", "text"),
    "a checksum": ("UPDATE listings SET checksum = ? WHERE path = ''", b"x" * 16),
    "a row less": ("DELETE FROM listings WHERE path = 'd'",),
    "a row more": ("INSERT INTO listings SELECT base, 'e', checksum, entries FROM listings WHERE path = 'd'",),
    "another path": ("UPDATE listings SET path = 'e' WHERE path = 'd'",),
    "the digest": ("UPDATE bases SET digest = ?", b"x" * 32),
    "a digest of another type": ("UPDATE bases SET digest = 7",),
    "the count": ("UPDATE bases SET directories = 1",),
    "another peer": ("UPDATE bases SET peer = ?", PEER),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_base_is_none(path: Path, store: Store, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """Fault case 80: half a base would delete what it does not list; no base deletes nothing."""
    store.put_base("other" if damage == "another peer" else PEER, REMOTE, DIGEST, LISTINGS)
    spoil(path, *DAMAGE[damage])
    with caplog.at_level(logging.WARNING, "leafsync.disk"):
        assert store.base(PEER, REMOTE) is None
    assert "damaged" in caplog.text
    assert store.base_digest(PEER, REMOTE) is None
    store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
    assert store.base(PEER, REMOTE) == LISTINGS


def test_a_listing_that_lacks_a_directory_is_none(store: Store) -> None:
    store.put_base(PEER, REMOTE, DIGEST, {"": (DIRECTORY,)})
    assert store.base(PEER, REMOTE) is None


class TestHeld:
    HELD = Held(frozenset({"a", "d/f"}), frozenset({"é"}))

    def test_comes_back(self, path: Path, store: Store) -> None:
        assert store.held(PEER, REMOTE) == NOTHING_HELD
        store.put_held(PEER, REMOTE, Held(remote=frozenset({"x"})))
        store.put_held(PEER, REMOTE, self.HELD)
        store.put_held(PEER, "another", Held(frozenset({"y"})))
        store.close()
        with Store.open(path) as again:
            assert again.held(PEER, REMOTE) == self.HELD
            assert again.held("another", REMOTE) == NOTHING_HELD
            again.put_held(PEER, REMOTE, NOTHING_HELD)
            assert again.held(PEER, REMOTE) == NOTHING_HELD
            assert again.held(PEER, "another") == Held(frozenset({"y"}))

    def test_another_folder_has_none(self, store: Store) -> None:
        store.put_identity(Identity("a" * 32, True, 7))
        store.put_held(PEER, REMOTE, self.HELD)
        store.put_identity(Identity("b" * 32, True, 7))
        assert store.held(PEER, REMOTE) == NOTHING_HELD

    @pytest.mark.parametrize(
        "damage",
        [
            ("UPDATE held SET paths = ?", b"\x92\x90\x90"),
            ("UPDATE held SET paths = ?", "text"),
            ("UPDATE held SET checksum = ?", b"x" * 16),
            ("UPDATE held SET paths = ?, checksum = ?", b"\x90", blake3(f"{PEER}\0{REMOTE}\0\x90".encode()).digest(16)),
        ],
        ids=["paths", "no bytes", "a checksum", "another form"],
    )
    def test_damaged_they_take_the_base_along(
        self, path: Path, store: Store, damage: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without them a delete that waits would happen; without a base none does."""
        for remote in (REMOTE, "another"):
            store.put_base(PEER, remote, DIGEST, LISTINGS)
        store.put_held(PEER, REMOTE, self.HELD)
        spoil(path, *damage)
        with caplog.at_level(logging.WARNING, "leafsync.disk"):
            assert store.held(PEER, REMOTE) == NOTHING_HELD
        assert "damaged" in caplog.text
        assert store.base(PEER, REMOTE) is None
        assert store.base(PEER, "another") == LISTINGS


NAMES = st.sampled_from(["a", "b", "c", "é", "x y"])
TREES = st.recursive(st.integers(0, 5), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
Node = int | dict[str, "Node"]


def listings(tree: dict[str, Node], path: str = "") -> dict[str, tuple[Entry, ...]]:
    found: dict[str, tuple[Entry, ...]] = {}
    entries = []
    for name, node in sorted(tree.items()):
        if isinstance(node, dict):
            entries.append(Entry(name, Kind.DIRECTORY))
            found |= listings(node, f"{path}/{name}" if path else name)
        else:
            entries.append(Entry(name, Kind.FILE, node))
    return {**found, path: tuple(entries)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees=st.lists(st.dictionaries(NAMES, TREES, max_size=4), min_size=1, max_size=4))
def test_whatever_was_put_last_comes_back(trees: list[dict[str, Node]], store: Store) -> None:
    for number, tree in enumerate(trees):
        store.put_base(PEER, REMOTE, bytes([number]), listings(tree))
        assert store.base(PEER, REMOTE) == listings(tree)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees=st.lists(st.dictionaries(NAMES, TREES, max_size=4), min_size=1, max_size=4))
def test_what_is_put_beside_what_was_there_comes_back(trees: list[dict[str, Node]], store: Store) -> None:
    before = None
    for tree in trees:
        index = Index(listings(tree))
        store.put_base(PEER, REMOTE, index.digest, index.directories, before=before)
        assert store.base(PEER, REMOTE) == index.directories
        assert store.base_digest(PEER, REMOTE) == index.digest
        before = index


class TestBefore:
    old = Index({"": (DIRECTORY, FILE), "d": (FILE,)})
    new = Index({"": (DIRECTORY, LINK), "d": (FILE,)})

    def test_what_is_the_same_is_not_looked_at(self, path: Path, store: Store) -> None:
        store.put_base(PEER, REMOTE, self.old.digest, self.old.directories)
        spoil(path, "UPDATE listings SET path = 'elsewhere' WHERE path = 'd'")
        store.put_base(PEER, REMOTE, self.new.digest, self.new.directories, before=self.old)
        assert store.base(PEER, REMOTE) is None

    def test_one_that_is_not_the_one_here_does_not_count(self, store: Store) -> None:
        store.put_base(PEER, REMOTE, DIGEST, {"": (DIRECTORY, FILE), "d": (LINK,)})
        store.put_base(PEER, REMOTE, self.new.digest, self.new.directories, before=self.old)
        assert store.base(PEER, REMOTE) == self.new.directories

    def test_nor_does_one_of_which_there_is_none_here(self, store: Store) -> None:
        store.put_base(PEER, REMOTE, self.new.digest, self.new.directories, before=self.old)
        assert store.base(PEER, REMOTE) == self.new.directories


def test_the_digest_of_a_damaged_base_is_none(path: Path, store: Store) -> None:
    assert store.base_digest(PEER, REMOTE) is None
    store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
    assert store.base_digest(PEER, REMOTE) == DIGEST
    spoil(path, "UPDATE bases SET digest = ?", b"x" * 32)
    assert store.base_digest(PEER, REMOTE) is None


class TestIdentity:
    def test_comes_back(self, store: Store) -> None:
        assert store.identity() is None
        for identity in (Identity("a" * 32, False, 7), Identity("a" * 32, True, (1 << 64) - 1)):
            store.put_identity(identity)
            assert store.identity() == identity

    def test_another_folder_has_no_bases(self, store: Store) -> None:
        store.put_identity(Identity("a" * 32, False, 7))
        store.put_base(PEER, REMOTE, DIGEST, LISTINGS)
        store.put_identity(Identity("a" * 32, True, 8))
        assert store.base(PEER, REMOTE) == LISTINGS
        store.put_identity(Identity("b" * 32, True, 8))
        assert store.base(PEER, REMOTE) is None


def test_what_has_come_back_is_in_no_base_any_more(path: Path) -> None:
    """It is told by what can be told without reading it, and each base stays whole."""
    old = Index({"": [DIRECTORY, FILE, LINK], "d": [FILE]})
    other = Index({"": [msgspec.structs.replace(FILE, size=6)]})
    back = {"f": Entry("f", Kind.FILE, 5, -1_500_000_000), "l": Entry("l", Kind.SYMLINK, target="f")}
    with Store.open(path) as store:
        store.disagree(back)
        for peer, index in ((PEER, old), ("e" * 64, old), ("d" * 64, other)):
            store.put_base(peer, REMOTE, index.digest, index.directories)
        store.disagree(back)
    left = Index({"": [DIRECTORY], "d": [FILE]})
    with Store.open(path) as store:
        for peer, index in ((PEER, left), ("e" * 64, left), ("d" * 64, other)):
            assert store.base(peer, REMOTE) == index.directories
            assert store.base_digest(peer, REMOTE) == index.digest
        store.disagree({"d": Entry("d", Kind.DIRECTORY)})
        assert store.base(PEER, REMOTE) == {"": ()}


class TestHeed:
    def test_what_another_device_has_brought_back_is_in_its_base_no_more(self, store: Store) -> None:
        for peer in (PEER, "e" * 64):
            store.put_base(peer, REMOTE, DIGEST, LISTINGS)
        back = {path: entry for path, entry in Index(LISTINGS).walk() if path == "f"}
        assert back
        assert store.heeded(PEER, REMOTE, "") == 0
        store.heed(PEER, REMOTE, "", 7, back)
        found = store.base(PEER, REMOTE)
        assert found is not None
        assert Index(found).entry("f") is None
        assert store.base("e" * 64, REMOTE) == LISTINGS
        heeded = [store.heeded(*key) for key in ((PEER, REMOTE, ""), (PEER, REMOTE, "d"), ("e" * 64, REMOTE, ""))]
        assert heeded == [7, 0, 0]
        store.heed(PEER, REMOTE, "", 2, {})
        assert store.heeded(PEER, REMOTE, "") == 2

    def test_without_a_base_it_is_known_all_the_same(self, store: Store) -> None:
        store.heed(PEER, REMOTE, "d", 7, {"f": FILE})
        assert (store.base(PEER, REMOTE), store.heeded(PEER, REMOTE, "d")) == (None, 7)

    def test_another_folder_has_heeded_nothing(self, store: Store) -> None:
        store.put_identity(Identity("a" * 32, True, 7))
        store.heed(PEER, REMOTE, "", 7, {})
        store.put_identity(Identity("b" * 32, True, 7))
        assert store.heeded(PEER, REMOTE, "") == 0

    @pytest.mark.parametrize("value", ["seven", b"7", 7.5])
    def test_a_damaged_number_is_none(self, path: Path, store: Store, value: object) -> None:
        store.heed(PEER, REMOTE, "", 7, {})
        spoil(path, "UPDATE heeded SET undo = ?", value)
        assert store.heeded(PEER, REMOTE, "") == 0
