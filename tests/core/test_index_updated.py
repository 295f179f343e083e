"""An updated index is the one that would have been built anew."""

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.index import Entry, Index, Kind, Problem, entry_name

NAMES = st.sampled_from(["a", "b", "c", "d"])
LEAVES = st.tuples(st.sampled_from([Kind.FILE, Kind.SYMLINK, Kind.WITHHELD]), st.integers(0, 3))
Node = tuple[Kind, int] | dict[str, "Node"]
TREES = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=10), max_size=4
)
Listings = dict[str, list[Entry]]


def listings(tree: dict[str, Node], path: str = "") -> Listings:
    found: Listings = {path: []}
    for name, node in reversed(tree.items()):
        if isinstance(node, dict):
            found[path].append(Entry(name, Kind.DIRECTORY))
            found |= listings(node, f"{path}/{name}" if path else name)
        else:
            found[path].append(Entry(name, node[0], node[1], hash=bytes([node[1]]) * 32))
    return found


def by_name(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=entry_name)


def states(of: Listings) -> dict[str, list[int]]:
    return {path: [entry.size for entry in entries] for path, entries in of.items()}


def everything(index: Index) -> object:
    marks = {path: index.state(path) for path, _entry in index.walk()}
    return dict(index.directories), index.digest, index.files, index.bytes, index.problems, marks


@given(before=TREES, after=TREES, more=st.booleans())
def test_equals_a_new_one(before: dict[str, Node], after: dict[str, Node], more: bool) -> None:
    old, new = listings(before), listings(after)
    same = {path for path in old.keys() & new.keys() if by_name(old[path]) == by_name(new[path])}
    changed = {path: entries for path, entries in new.items() if more or path not in same}
    problems = [Problem("b", "2"), Problem("a", "1")]
    index = Index(old, states=states(old), problems=[Problem("z", "0")])
    unchanged = everything(index)
    updated = index.updated(changed, old.keys() - new.keys(), states=states(changed), problems=problems)
    assert everything(updated) == everything(Index(new, states=states(new), problems=problems))
    assert everything(index) == unchanged


@given(before=TREES, after=TREES)
def test_replaced_equals_a_new_one_and_shares_what_is_the_same(before: dict[str, Node], after: dict[str, Node]) -> None:
    old, new = Index(listings(before)), Index(listings(after))
    replaced = old.replaced(dict(new.directories))
    assert everything(replaced) == everything(new)
    for path, entries in replaced.directories.items():
        assert entries is old.directories.get(path) or entries != old.directories.get(path)
    assert old.changed(new.directories) == {
        path: entries for path, entries in new.directories.items() if entries != old.directories.get(path)
    }


def test_nothing_changed() -> None:
    index = Index({"": [Entry("d", Kind.DIRECTORY)], "d": [Entry("f", Kind.FILE, 5)]})
    assert everything(index.updated({}, (), states={}, problems=())) == everything(index)


def test_what_did_not_change_is_not_looked_at() -> None:
    index = Index({"": [Entry("d", Kind.DIRECTORY), Entry("e", Kind.DIRECTORY)], "d": [], "e": []})
    updated = index.updated({"d": [Entry("f", Kind.FILE)]}, (), states={}, problems=())
    assert updated.directories["e"] is index.directories["e"]
    assert updated.digest != index.digest


def test_a_directory_without_a_listing_is_refused() -> None:
    with pytest.raises(KeyError):
        Index({"": []}).updated({"": [Entry("d", Kind.DIRECTORY)]}, (), states={}, problems=())
