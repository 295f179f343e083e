"""What both sides agree on after a pass."""

import pytest

from leafsync.engine.core.base import advance, agreed
from leafsync.engine.core.index import NANOSECONDS, Entry, Index, Kind
from leafsync.engine.core.names import join, parent

Nested = dict[str, "str | Nested"]
"""Name -> content of a file, "?" for something withheld, or a directory."""


def index(nested: Nested) -> Index:
    listings: dict[str, list[Entry]] = {}

    def add(path: str, inside: Nested) -> None:
        listings[path] = []
        for name, node in inside.items():
            if isinstance(node, dict):
                listings[path].append(Entry(name, Kind.DIRECTORY))
                add(join(path, name), node)
            elif node == "?":
                listings[path].append(Entry(name, Kind.WITHHELD, target="unreadable"))
            else:
                listings[path].append(Entry(name, Kind.FILE, len(node), 0, False, node.encode().ljust(32)))

    add("", nested)
    return Index(listings)


def nested(index: Index, path: str = "") -> Nested:
    return {
        entry.name: nested(index, join(path, entry.name))
        if entry.kind is Kind.DIRECTORY
        else entry.hash.decode().rstrip()
        for entry in index.children(path)
    }


def moved_on(base: Nested | None, local: Nested, remote: Nested) -> Nested:
    there = index(remote)
    listings = advance(None if base is None else index(base), index(local), there.directories)
    assert all(not path or Index(listings).entry(path) for path in listings)
    return nested(Index(listings))


@pytest.mark.parametrize(
    ("base", "local", "remote", "expected"),
    [
        (None, {}, {}, {}),
        (None, {"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a": "1"}),
        ({"a": "1"}, {"a": "2"}, {"a": "2"}, {"a": "2"}),
        ({"a": "1"}, {"a": "2"}, {"a": "1"}, {"a": "1"}),
        ({"a": "1"}, {}, {"a": "1"}, {"a": "1"}),
        ({"a": "1"}, {}, {}, {}),
        (None, {"d": {"a": "1"}}, {"d": {"b": "1"}}, {"d": {}}),
        (None, {"d": {"e": {"a": "1"}}}, {"d": {"e": {"a": "1"}}}, {"d": {"e": {"a": "1"}}}),
        # A directory that is held on one side is kept, without what is gone on both.
        ({"d": {"a": "1", "b": "2"}}, {"d": {"a": "1"}}, {}, {"d": {"a": "1"}}),
        ({"d": {"a": "1", "b": "2"}}, {}, {"d": {"a": "3"}}, {"d": {"a": "1"}}),
        ({"d": {"a": "1"}}, {"d": "1"}, {"d": {"a": "1"}}, {"d": {"a": "1"}}),
        ({"d": {"a": "1"}}, {"d": "1"}, {"d": "1"}, {"d": "1"}),
        ({"d": "1"}, {"d": {"a": "1"}}, {"d": {"a": "2"}}, {"d": {}}),
        ({"d": "1"}, {"d": {"a": "1"}}, {"d": "1"}, {"d": "1"}),
        # What a side withholds is not known there, nor is anything below it.
        ({"d": {"a": "1"}, "f": "1"}, {"d": "?", "f": "?"}, {"d": {}, "f": "2"}, {"d": {"a": "1"}, "f": "1"}),
        ({"d": {"a": "1"}, "f": "1"}, {}, {"d": "?", "f": "?"}, {"d": {"a": "1"}, "f": "1"}),
        (None, {"d": "?"}, {"d": "?"}, {}),
        (None, {"d": {"a": "1", "w": "?"}}, {"d": {"a": "1"}}, {"d": {"a": "1"}}),
    ],
)
def test_advance(base: Nested | None, local: Nested, remote: Nested, expected: Nested) -> None:
    assert moved_on(base, local, remote) == expected


def test_an_equal_directory_is_taken_from_the_local_side() -> None:
    local = index({"d": {"a": "1", "w": "?"}, "x": "1"})
    listings = advance(None, local, {"": index({"d": {"a": "1"}, "x": "2"}).children("")})
    assert nested(Index(listings)) == {"d": {"a": "1"}}
    assert parent("d") in listings


def test_a_missing_listing_is_an_error() -> None:
    local, remote = index({"d": {"a": "1"}}), index({"d": {"a": "2"}})
    with pytest.raises(KeyError):
        advance(None, local, {"": remote.children("")})
    with pytest.raises(KeyError):
        advance(index({"d": {}}), index({"d": "1"}), {"": remote.children("")})


def test_the_local_time_is_kept_where_both_agree_on_the_second() -> None:
    local, remote = (Entry("a", Kind.FILE, 1, 5 * NANOSECONDS + part, False, b"a" * 32) for part in (1, 2))
    assert advance(None, Index({"": [local]}), {"": [remote]}) == {"": [local]}


def test_what_is_withheld_is_not_agreed_on() -> None:
    """The base stands for the other side's listings too: it has not what is withheld here."""
    local = index({"a": "1", "b": "?", "d": {"c": "?", "e": "2"}})
    assert nested(Index(agreed(local))) == {"a": "1", "d": {"e": "2"}}
    assert Index(agreed(local)).digest == local.digest
