"""The history in the store: newest first, found by the beginning of an id, damage shown as a gap."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.disk.store import Store
from leafsync.errors import PassAmbiguous, PassUnknown

ACTIONS = (
    ActionRecord(ActionKind.REPLACED, "a/f", kept=".leafsync_trash/p/a/f", mark=(1 << 64) - 1),
    ActionRecord(ActionKind.MOVED, "b", source="a"),
    ActionRecord(ActionKind.TRASHED, "é", kept=".leafsync_trash/p/é"),
)


def record(id: str, *actions: ActionRecord) -> PassRecord:  # noqa: A002 - the record's own field is called that
    return PassRecord(id, "2026-11-22T13:45:01+00:00", "laptop", actions)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as store:
        yield store


def test_newest_first(store: Store) -> None:
    records = [record(f"2026-{number}", *ACTIONS[: number % 4]) for number in range(10)]
    for one in records:
        store.put_pass(one)
    assert store.passes() == records[::-1]
    assert store.passes(3) == records[:-4:-1]
    assert store.passes(0) == []


def test_a_pass_that_goes_on_keeps_its_place(store: Store) -> None:
    for one in (record("a"), record("b"), record("a", *ACTIONS)):
        store.put_pass(one)
    assert store.passes() == [record("b"), record("a", *ACTIONS)]


def test_undos_have_growing_numbers(store: Store) -> None:
    """Also when those before are forgotten, and for one that was taken for a pass that did not come to its end."""
    assert (store.last_undo(), store.undos(0)) == (0, [])
    undone = [msgspec.structs.replace(record(name, *ACTIONS), peer="") for name in ("b", "d", "a")]
    numbers = []
    for one in (record("a"), undone[0], record("c"), undone[1]):
        store.put_pass(one)
        numbers.append(store.last_undo())
    assert numbers == [0, 2, 2, 4]
    assert [store.undos(number) for number in (0, 1, 2, 4)] == [undone[:2], undone[:2], undone[1:2], []]
    store.put_pass(undone[2])
    assert store.undos(0) == [undone[2], *undone[:2]]
    store.drop_passes("abcd")
    assert (store.last_undo(), store.undos(0)) == (0, [])
    store.put_pass(undone[0])
    assert store.last_undo() > 4


class TestFind:
    @pytest.fixture(autouse=True)
    def some(self, store: Store) -> None:
        for name in ("20261122-134501-ab12", "20261122-134501-ab1", "20261123-000000-ffff", "100%"):
            store.put_pass(record(name))

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("20261123", "20261123-000000-ffff"),
            ("20261122-134501-ab12", "20261122-134501-ab12"),
            ("20261122-134501-ab1", "20261122-134501-ab1"),
            ("100%", "100%"),
        ],
    )
    def test_by_its_beginning(self, store: Store, asked: str, found: str) -> None:
        assert store.find_pass(asked).id == found

    @pytest.mark.parametrize("asked", ["", "2025", "%", "_", "20261123-000000-ffff2", "ffff"])
    def test_unknown(self, store: Store, asked: str) -> None:
        with pytest.raises(PassUnknown):
            store.find_pass(asked)

    def test_ambiguous(self, store: Store) -> None:
        with pytest.raises(PassAmbiguous, match="2026 stands for more"):
            store.find_pass("2026")

    def test_dropped(self, store: Store) -> None:
        store.drop_passes(["100%", "20261123-000000-ffff", "unknown"])
        assert {one.id for one in store.passes()} == {"20261122-134501-ab12", "20261122-134501-ab1"}


class TestDropKept:
    def test_some_places(self, store: Store) -> None:
        store.put_pass(record("a", *ACTIONS))
        store.put_pass(record("ab", *ACTIONS))
        store.drop_kept("a", {".leafsync_trash/p/é", "unknown"})
        kept = [action.kept for action in store.find_pass("a").actions]
        assert kept == [".leafsync_trash/p/a/f", "", ""]
        assert store.find_pass("ab") == record("ab", *ACTIONS)

    def test_all(self, store: Store) -> None:
        store.put_pass(record("a", *ACTIONS))
        store.put_pass(record("b"))
        store.drop_kept("a")
        assert {action.kept for action in store.find_pass("a").actions} == {""}
        assert store.pass_ids() == ["b", "a"]

    def test_an_unknown_one(self, store: Store) -> None:
        store.drop_kept("nothing")
        assert store.passes() == []


@pytest.mark.parametrize("value", [b"\x80", b"", "text", 7])
def test_a_damaged_one_is_left_out(path: Path, store: Store, value: object, caplog: pytest.LogCaptureFixture) -> None:
    store.put_pass(record("a", *ACTIONS))
    store.put_pass(record("b"))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE passes SET record = ? WHERE id = 'a'", (value,))
    connection.commit()
    connection.close()
    with caplog.at_level(logging.WARNING, "leafsync.disk"):
        assert store.passes() == [record("b")]
    assert "a is damaged" in caplog.text
    with pytest.raises(PassUnknown):
        store.find_pass("a")
