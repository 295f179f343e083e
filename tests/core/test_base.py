"""What both sides agree on after a pass."""

import pytest

from leafsync.engine.core.base import Look, advance, agreed, brought, with_leaves, without
from leafsync.engine.core.index import IGNORED, NANOSECONDS, Entry, Index, Kind
from leafsync.engine.core.names import join, parent
from leafsync.engine.core.steps import Fetch, Link, Move, Plan, Steps, Touch

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


def test_what_a_rule_hides_is_no_more_agreed_on() -> None:
    """It may be removed there unseen: to take it for gone here would be a delete because of a rule."""
    base = index({"f": "1", "d": {"a": "1"}, "x": "1"})
    hidden = [Entry("d", Kind.WITHHELD, target=IGNORED), Entry("f", Kind.WITHHELD, target=IGNORED)]
    partly = Index({"": [*hidden, *index({"x": "1"}).children("")]})
    for local, remote in ((base, partly), (partly, base)):
        assert nested(Index(advance(base, local, remote.directories))) == {"x": "1"}


def test_what_the_other_side_has_said_that_it_leaves_out_is_no_more_agreed_on() -> None:
    base = index({"f": "1", "g": "1", "d": {"a": "1"}, "e": {"a": "1", "b": "1"}})
    left_out = {("f", False), ("g", True), ("d", True), ("e/a", False)}
    listings = advance(base, base, {"": ()}, left_out=lambda path, directory: (path, directory) in left_out)
    assert nested(Index(listings)) == {"g": "1", "e": {"b": "1"}}


def test_what_keeps_a_directory_there_that_is_not_here_is_remembered() -> None:
    """A listing that the base has told of is not asked for again, and its digest says nothing of what is withheld."""
    base, local = index({"d": {"a": "1", "z": "1"}, "e": {}}), index({"e": {}, "x": "1"})
    remote = index({"d": {"a": "1", "w": "?", "z": "?"}, "e": {"w": "?"}})
    after = base.replaced(advance(base, local, remote.directories))
    names = {path: [(entry.name, entry.kind) for entry in after.children(path)] for path in ("d", "e")}
    assert names == {"d": [("a", Kind.FILE), ("w", Kind.WITHHELD), ("z", Kind.FILE)], "e": []}
    again = after.replaced(advance(after, local, index({"d": {"a": "1", "z": "1"}, "e": {}}).directories))
    assert [entry.name for entry in again.children("d")] == ["a", "z"]


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


# What a pass brought


def look(local: Nested, remote: Nested) -> Look:
    """Both sides, with the listings of what differs alone."""
    here, there = index(local), index(remote)
    differing = {path: entries for path, entries in there.directories.items() if here.children(path) != entries}
    return Look(here, differing | {"": there.children("")})


def fetches(*paths: str) -> Steps:
    return Steps(fetches=[Fetch(path, Entry(path.rpartition("/")[2], Kind.FILE)) for path in paths])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # It came, and the giving side has edited or removed its own since; or has not.
        (({"a": "0"}, {"a": "1"}), ({"a": "1"}, {"a": "2"}), {"a": "1"}),
        (({"a": "0"}, {"a": "1"}), ({"a": "1"}, {}), {"a": "1"}),
        (({"a": "0"}, {"a": "1"}), ({"a": "1"}, {"a": "1"}), {"a": "1"}),
        # It did not come, or was edited on the taking side since.
        (({"a": "0"}, {"a": "1"}), ({"a": "0"}, {"a": "2"}), {}),
        (({"a": "0"}, {"a": "1"}), ({"a": "2"}, {"a": "1"}), {}),
        (({"a": "0"}, {"a": "1"}), ({}, {"a": "1"}), {}),
        # Only what was asked for counts, and only files and links.
        (({"b": "0"}, {"b": "1"}), ({"b": "1"}, {"b": "2"}), {}),
        (({"a": "?"}, {"a": "?"}), ({"a": "?"}, {"a": "?"}), {}),
        (({}, {"a": {"x": "1"}}), ({"a": {"x": "1"}}, {"a": {"x": "1"}}), {}),
    ],
)
@pytest.mark.parametrize("fetched", [True, False])
def test_brought(
    before: tuple[Nested, Nested], after: tuple[Nested, Nested], expected: dict[str, str], fetched: bool
) -> None:
    looks = [look(*(sides if fetched else sides[::-1])) for sides in (before, after)]
    plan = Plan(local=fetches("a")) if fetched else Plan(remote=fetches("a"))
    assert {path: entry.hash.decode().rstrip() for path, entry in brought(plan, *looks).items()} == expected


def test_what_was_to_go_both_ways_is_nobodys() -> None:
    plan = Plan(local=fetches("a"), remote=fetches("a"))
    assert brought(plan, look({"a": "0"}, {"a": "1"}), look({"a": "1"}, {"a": "0"})) == {}


def test_renames_links_and_times_were_brought_too() -> None:
    nested: Nested = dict.fromkeys("abcd", "1")
    entry = Entry("a", Kind.FILE)
    steps = Steps(
        asides=[Move("x", "a", entry)],
        moves=[Move("y", "b", entry)],
        links=[Link("c", entry)],
        touches=[Touch("d", entry, entry)],
    )
    plan = Plan(local=steps)
    assert set(brought(plan, look({}, nested), look(nested, {}))) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("taken", [True, False])
def test_what_is_in_a_renamed_directory_was_brought_too(taken: bool) -> None:
    """The giving side has edited one of its files since, and removed another."""
    steps = Steps(moves=[Move("d", "new", Entry("d", Kind.DIRECTORY))])
    content: Nested = {"a": "1", "b": {"c": "1", "e": "1"}}
    before = ({"d": content}, {"new": content})
    after = ({"new": content}, {"new": {"a": "2", "b": {"e": "1"}}})
    plan = Plan(local=steps) if taken else Plan(remote=steps)
    looks = [look(*(sides if taken else sides[::-1])) for sides in (before, after)]
    assert set(brought(plan, *looks)) == {"new/a", "new/b/c", "new/b/e"}


def test_what_did_not_differ_before_was_the_same_on_both_sides() -> None:
    """The other side lists only what differs: a directory that it did not list is as the local one."""
    before = look({"d": {"a": "1"}, "e": "0"}, {"d": {"a": "1"}, "e": "1"})
    assert "d" not in before.remote
    after = look({"d": {"a": "1"}}, {"d": {"a": "2"}})
    assert set(brought(Plan(local=fetches("d/a")), before, after)) == {"d/a"}


@pytest.mark.parametrize(
    "after",
    [
        ({"d": {"a": "1"}}, {}),
        ({"d": {"e": {"a": "1"}}}, {"d": {}}),
        ({"d": {"e": {"a": "1"}}}, {"d": "a file"}),
    ],
)
def test_what_is_below_a_directory_that_is_not_there_is_not_there(after: tuple[Nested, Nested]) -> None:
    """The other side lists no directory that it does not have: nothing of it is as the local one."""
    before = look(after[0], {})
    assert brought(Plan(remote=fetches("d/a", "d/e/a")), before, look(*after)) == {}
    assert look(*after).there("d/a") is None
    assert look(*after).there("d/e/a") is None


@pytest.mark.parametrize(
    ("base", "leaves", "expected"),
    [
        (None, {}, {}),
        (None, {"a": "1", "d/e/b": "2"}, {"a": "1", "d": {"e": {"b": "2"}}}),
        (
            {"a": "0", "d": {"x": "1"}},
            {"a": "1", "d/b": "2", "d/c": "3"},
            {"a": "1", "d": {"x": "1", "b": "2", "c": "3"}},
        ),
        ({"d": {"x": "1"}}, {"d/e/b": "2", "d/e/f/c": "3"}, {"d": {"x": "1", "e": {"b": "2", "f": {"c": "3"}}}}),
        # Neither a directory nor what stands where one should be gives way.
        ({"a": {"x": "1"}}, {"a": "1"}, {"a": {"x": "1"}}),
        (None, {"d": "1", "d/a": "2"}, {"d": "1"}),
        (None, {"d/a": "2", "d": "1"}, {"d": {"a": "2"}}),
        ({"d": "1"}, {"d/a": "2", "d/e/b": "2", "c": "3"}, {"d": "1", "c": "3"}),
    ],
)
def test_with_leaves(base: Nested | None, leaves: dict[str, str], expected: Nested) -> None:
    entries = {
        path: Entry(path.rpartition("/")[2], Kind.FILE, len(content), 0, False, content.encode().ljust(32))
        for path, content in leaves.items()
    }
    found = with_leaves(None if base is None else index(base), entries)
    assert nested(found) == expected
    assert found.digest == index(expected).digest


def test_what_has_come_back_is_taken_out() -> None:
    base = index({"a": "1", "b": "1", "c": "1", "d": {"a": "1", "e": {"a": "1"}}, "f": {"a": "1", "b": "1"}, "g": {}})
    back = {
        "a": Entry("a", Kind.FILE, 1, 0),
        "b": Entry("b", Kind.FILE, 2, 0),
        "c": Entry("c", Kind.FILE, 1, NANOSECONDS),
        "d": Entry("d", Kind.DIRECTORY),
        "d/e/a": Entry("a", Kind.FILE, 1, 0),
        "f/a": Entry("a", Kind.FILE, 1, NANOSECONDS - 1),
        "g": Entry("g", Kind.FILE),
        "nowhere/a": Entry("a", Kind.FILE, 1, 0),
    }
    expected: Nested = {"b": "1", "c": "1", "f": {"b": "1"}, "g": {}}
    after = without(base, back)
    assert nested(after) == expected
    assert after.digest == index(expected).digest
    assert set(after.directories) == {"", "f", "g"}


def test_what_is_withheld_is_not_agreed_on() -> None:
    """The base stands for the other side's listings too: it has not what is withheld here."""
    local = index({"a": "1", "b": "?", "d": {"c": "?", "e": "2"}})
    assert nested(agreed(local)) == {"a": "1", "d": {"e": "2"}}
    assert agreed(local).digest == local.digest


def test_nothing_is_made_anew_where_nothing_is_withheld() -> None:
    local = index({"a": "1", "d": {"e": "2"}})
    assert agreed(local) is local
