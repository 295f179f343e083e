"""What a pass will do: every combination of what both sides have, then properties of plans that are carried out."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given, settings, strategies as st

from leafsync.engine.core.index import NANOSECONDS, Entry, Index, Kind
from leafsync.engine.core.names import collision_key, join, parent
from leafsync.engine.core.plan import (
    MAX_DELETE_SHARE,
    MAX_DELETES,
    Fetch,
    Link,
    Plan,
    Touch,
    Trash,
    never,
    plan_pull,
)

Tree = dict[str, Entry]
"""Every path of a folder with its entry, as a disk has it: directories have no digest."""

Rules = Callable[[str, bool], bool]


def file(path: str, content: int = 1, *, seconds: int = 0, executable: bool = False) -> Entry:
    name = path.rpartition("/")[2]
    return Entry(name, Kind.FILE, content, seconds * NANOSECONDS, executable, bytes([content]) * 32)


def directory(path: str) -> Entry:
    return Entry(path.rpartition("/")[2], Kind.DIRECTORY)


def link(path: str, target: str = "a") -> Entry:
    return Entry(path.rpartition("/")[2], Kind.SYMLINK, target=target)


def withheld(path: str) -> Entry:
    return Entry(path.rpartition("/")[2], Kind.WITHHELD, target="ignored")


def tree_of(*pairs: tuple[str, Callable[[str], Entry]]) -> Tree:
    return {path: make(path) for path, make in pairs}


def scan(tree: Tree, ignored: Rules = never) -> Index:
    """List a tree as a scan would: what a rule ignores is withheld, and nobody looks below it."""
    listings: dict[str, list[Entry]] = {"": []}
    for path in sorted(tree):
        entry = tree[path]
        if parent(path) not in listings:
            continue
        if ignored(path, entry.kind is Kind.DIRECTORY):
            entry = withheld(path)
        listings[parent(path)].append(entry)
        if entry.kind is Kind.DIRECTORY:
            listings[path] = []
    return Index(listings)


def listings_for(local: Index, remote: Index) -> Mapping[str, Sequence[Entry]]:
    """Ask for what differs, level by level."""
    asked: dict[str, Sequence[Entry]] = {}
    level = [""]
    while level:
        asked |= {path: remote.children(path) for path in level}
        level = [
            child
            for path in level
            for entry in remote.children(path)
            if entry.kind is Kind.DIRECTORY
            and not ((mine := local.entry(child := join(path, entry.name))) and mine.same_content(entry))
        ]
    return asked


def plan_of(
    local: Tree,
    remote: Tree,
    *,
    mirror: bool = False,
    allow_deletes: bool = False,
    ignored: Rules = never,
    folds_names: bool = False,
) -> Plan:
    here, there = scan(local, ignored), scan(remote)
    return plan_pull(
        here,
        listings_for(here, there),
        mirror=mirror,
        allow_deletes=allow_deletes,
        ignored=ignored,
        folds_names=folds_names,
    )


def changes(plan: Plan) -> list[Fetch | Link | Touch]:
    return [*plan.fetches, *plan.links, *plan.touches]


def steps(plan: Plan) -> str:
    """Write a plan as a line, in the order in which it is carried out."""
    words: list[tuple[str, Sequence[Trash | Fetch | Link | Touch]]] = [
        ("clear", plan.clearings),
        ("fetch", plan.fetches),
        ("link", plan.links),
        ("touch", plan.touches),
        ("delete", plan.deletes),
        ("hold", plan.held),
    ]
    lines = [f"{word} {action.path}" for word, actions in words for action in actions]
    made = [f"make {path}" for path in plan.directories]
    problems = [f"problem {problem.path}" for problem in plan.problems]
    cleared = len(plan.clearings)
    return ", ".join([*lines[:cleared], *made, *lines[cleared:], *problems])


BYSTANDER = {"keep": file("keep")}
"""Keeps a table row's folder from being emptied, which would hold the pass."""

LOCAL: dict[str, Tree] = {
    "nothing": {},
    "file": tree_of(("x", file)),
    "empty": tree_of(("x", directory)),
    "full": tree_of(("x", directory), ("x/in", file)),
    "partly": tree_of(("x", directory), ("x/in", file), ("x/kept", withheld)),
    "link": tree_of(("x", link)),
    "withheld": tree_of(("x", withheld)),
}

REMOTE: dict[str, Tree] = {
    "nothing": {},
    "file": tree_of(("x", file)),
    "other": {"x": file("x", 2)},
    "later": {"x": file("x", seconds=5)},
    "run": {"x": file("x", executable=True)},
    "empty": tree_of(("x", directory)),
    "full": tree_of(("x", directory), ("x/in", file)),
    "link": tree_of(("x", link)),
    "away": {"x": link("x", "b")},
    "withheld": tree_of(("x", withheld)),
}

FILES = ("file", "other", "later", "run")
LINKS = ("link", "away")

PULL: dict[str, dict[str, str]] = {
    "nothing": {
        "nothing": "",
        **dict.fromkeys(FILES, "fetch x"),
        **dict.fromkeys(LINKS, "link x"),
        "empty": "make x",
        "full": "make x, fetch x/in",
    },
    "file": {
        "nothing": "",
        "file": "",
        "other": "fetch x",
        "later": "touch x",
        "run": "touch x",
        **dict.fromkeys(LINKS, "link x"),
        "empty": "clear x, make x",
        "full": "clear x, make x, fetch x/in",
    },
    "empty": {"nothing": "", **dict.fromkeys(FILES + LINKS, "problem x"), "empty": "", "full": "fetch x/in"},
    "full": {"nothing": "", **dict.fromkeys(FILES + LINKS, "problem x"), "empty": "", "full": ""},
    "partly": {"nothing": "", **dict.fromkeys(FILES + LINKS, "problem x"), "empty": "", "full": ""},
    "link": {
        "nothing": "",
        **dict.fromkeys(FILES, "fetch x"),
        "link": "",
        "away": "link x",
        "empty": "clear x, make x",
        "full": "clear x, make x, fetch x/in",
    },
    "withheld": dict.fromkeys(REMOTE, ""),
}

MIRROR: dict[str, dict[str, str]] = {
    "file": {"nothing": "delete x"},
    "empty": {
        "nothing": "delete x",
        **dict.fromkeys(FILES, "clear x, fetch x"),
        **dict.fromkeys(LINKS, "clear x, link x"),
    },
    "full": {
        "nothing": "delete x/in, delete x",
        **dict.fromkeys(FILES, "clear x/in, clear x, fetch x"),
        **dict.fromkeys(LINKS, "clear x/in, clear x, link x"),
        "empty": "delete x/in",
    },
    "partly": {"nothing": "delete x/in", "empty": "delete x/in"},
    "link": {"nothing": "delete x"},
}
"""Where a mirror does something else than a pull."""

COMBINATIONS = [(here, there) for here in LOCAL for there in REMOTE]


@pytest.mark.parametrize(("here", "there"), COMBINATIONS)
def test_pull_of_every_combination(here: str, there: str) -> None:
    plan = plan_of(LOCAL[here] | BYSTANDER, REMOTE[there] | BYSTANDER)
    assert steps(plan) == PULL[here].get(there, "")


@pytest.mark.parametrize(("here", "there"), COMBINATIONS)
def test_mirror_of_every_combination(here: str, there: str) -> None:
    plan = plan_of(LOCAL[here] | BYSTANDER, REMOTE[there] | BYSTANDER, mirror=True)
    assert steps(plan) == MIRROR.get(here, {}).get(there, PULL[here].get(there, ""))


@pytest.mark.parametrize(("here", "there"), COMBINATIONS)
def test_actions_say_what_they_replace(here: str, there: str) -> None:
    local = scan(LOCAL[here] | BYSTANDER)
    plan = plan_of(LOCAL[here] | BYSTANDER, REMOTE[there] | BYSTANDER, mirror=True)
    cleared = {trash.path for trash in plan.clearings}
    for action in changes(plan):
        assert action.local == (None if action.path in cleared else local.entry(action.path))
        assert action.entry == scan(REMOTE[there]).entry(action.path)
    for trash in (*plan.clearings, *plan.deletes):
        assert trash.entry == local.entry(trash.path)


def ignores(*names: str) -> Rules:
    """Ignore `names` at any depth, and what is below; a name that ends in "/" stands for directories alone."""

    def ignored(path: str, is_directory: bool) -> bool:
        parts = path.split("/")
        directories = parts if is_directory else parts[:-1]
        return any(part in names for part in parts) or any(f"{part}/" in names for part in directories)

    return ignored


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    ("local", "remote", "rules", "expected"),
    [
        ({}, tree_of(("x", file)), ignores("x"), ""),
        ({}, tree_of(("x", directory), ("x/in", file)), ignores("x/"), ""),
        ({}, tree_of(("x", file)), ignores("x/"), "fetch x"),
        ({}, tree_of(("d", directory), ("d/x", file), ("d/y", file)), ignores("x"), "make d, fetch d/y"),
        (tree_of(("x", file)), {}, ignores("x"), ""),
        (tree_of(("x", file)), {"x": file("x", 2)}, ignores("x"), ""),
        (tree_of(("x", directory), ("x/in", file)), tree_of(("x", file)), ignores("x/"), ""),
        # Here a file that no rule ignores, there a directory that one does: it must not take the file's place.
        (tree_of(("x", file)), tree_of(("x", directory), ("x/in", file)), ignores("x/"), ""),
    ],
)
def test_what_is_ignored_here_is_neither_brought_nor_replaced_nor_deleted(
    local: Tree, remote: Tree, rules: Rules, expected: str, mirror: bool
) -> None:
    plan = plan_of(local | BYSTANDER, remote | BYSTANDER, mirror=mirror, ignored=rules)
    assert steps(plan) == expected


@pytest.mark.parametrize(
    ("local", "remote", "folding", "plain"),
    [
        ({}, tree_of(("A", file), ("a", file)), "fetch A, problem a", "fetch A, fetch a"),
        (tree_of(("a", file)), tree_of(("A", file), ("a", file)), "problem A", "fetch A"),
        (tree_of(("a", file)), tree_of(("A", file)), "problem A", "fetch A"),
        (tree_of(("a", withheld)), tree_of(("A", file)), "problem A", "fetch A"),
        ({}, tree_of(("A", withheld), ("a", file)), "fetch a", "fetch a"),
        (tree_of(("ss", file), ("ß", file)), {"ss": file("ss", 2), "ß": file("ß", 2)}, *["fetch ss, fetch ß"] * 2),
        (
            tree_of(("d", directory)),
            tree_of(("D", directory), ("D/x", file), ("d", directory)),
            "problem D",
            "make D, fetch D/x",
        ),
        (
            {},
            tree_of(("d", directory), ("d/a", file), ("e", directory), ("e/A", file)),
            *["make d, make e, fetch d/a, fetch e/A"] * 2,
        ),
    ],
)
def test_names_collide_only_where_the_filesystem_folds_them(
    local: Tree, remote: Tree, folding: str, plain: str
) -> None:
    """Fault case 15: the second one is refused, never silently overwritten."""
    assert steps(plan_of(local, remote, folds_names=True)) == folding
    assert steps(plan_of(local, remote)) == plain


def test_an_ignored_name_takes_no_place() -> None:
    plan = plan_of({}, tree_of(("A", file), ("a", file)), folds_names=True, ignored=ignores("A"))
    assert steps(plan) == "fetch a"


@pytest.mark.parametrize("mirror", [False, True])
def test_a_missing_listing_is_never_taken_for_an_empty_directory(mirror: bool) -> None:
    local = scan(tree_of(("d", directory), ("d/x", file)))
    remote = scan(tree_of(("d", directory), ("d/y", file)))
    with pytest.raises(KeyError):
        plan_pull(local, {"": remote.children("")}, mirror=mirror)
    with pytest.raises(KeyError):
        plan_pull(local, {}, mirror=mirror)


def test_an_equal_directory_needs_no_listing() -> None:
    tree = tree_of(("d", directory), ("d/x", file))
    assert plan_pull(scan(tree), {"": scan(tree).children("")}, mirror=True).empty


@pytest.mark.parametrize(
    ("total", "deleted", "held"),
    [
        (2, 1, False),
        (100, 99, False),
        (200, MAX_DELETES, False),
        (200, MAX_DELETES + 1, True),
        (401, MAX_DELETES, False),
        (1000, 250, False),
        (1000, 251, True),
        (1, 1, True),
        (2, 2, True),
        (100, 100, True),
    ],
)
def test_a_mass_delete_is_held(total: int, deleted: int, held: bool) -> None:
    """Fault case 74: more than a quarter or a hundred, the larger, or everything."""
    names = [f"f{number:04}" for number in range(total)]
    local, remote = ({name: file(name) for name in some} for some in (names, names[deleted:]))
    plan = plan_of(local, remote, mirror=True)
    assert (len(plan.held), len(plan.deletes)) == ((deleted, 0) if held else (0, deleted))
    confirmed = plan_of(local, remote, mirror=True, allow_deletes=True)
    assert (len(confirmed.held), len(confirmed.deletes)) == (0, deleted)


def test_published_thresholds() -> None:
    assert (MAX_DELETES, MAX_DELETE_SHARE) == (100, 0.25)


def test_withheld_entries_do_not_raise_the_threshold() -> None:
    local = {f"w{number}": withheld(f"w{number}") for number in range(1000)} | tree_of(("a", file))
    assert steps(plan_of(local, {}, mirror=True)) == "hold a"


def test_a_folder_counts_as_emptied_when_only_directories_of_withheld_entries_stay() -> None:
    local = tree_of(("d", directory), ("d/a", file), ("d/w", withheld), ("e", directory), ("e/w", withheld))
    assert steps(plan_of(local, {}, mirror=True)) == "hold d/a"


def test_removing_a_spare_directory_empties_nothing() -> None:
    local = tree_of(("d", directory), ("e", directory))
    assert steps(plan_of(local, tree_of(("d", directory)), mirror=True)) == "delete e"


def test_a_held_pass_still_brings_what_takes_nothing_away() -> None:
    doomed = {f"f{number:03}": file(f"f{number:03}") for number in range(MAX_DELETES)}
    local = doomed | tree_of(("t", file), ("d", directory), ("d/in", file), ("keep", file))
    remote = {"keep": file("keep", 2), "new": file("new"), "d": file("d"), "l": link("l")}
    remote |= tree_of(("t", directory), ("t/x", file), ("t/y", directory), ("t/y/z", link))
    plan = plan_of(local, remote, mirror=True)
    assert (plan.clearings, plan.directories, plan.deletes) == ([], [], [])
    assert [fetch.path for fetch in plan.fetches] == ["keep", "new"]
    assert [made.path for made in plan.links] == ["l"]
    assert {trash.path for trash in plan.held} == {*doomed, "t", "d", "d/in"}
    assert [trash.path for trash in plan.held if trash.path[0] == "d"] == ["d/in", "d"]


def test_many_files_that_become_directories_are_held_without_a_mirror_too() -> None:
    names = [f"n{number:03}" for number in range(MAX_DELETES + 1)]
    local = {name: file(name) for name in names}
    plan = plan_of(local, {name: directory(name) for name in names})
    assert (len(plan.held), plan.directories) == (len(names), [])


@pytest.mark.parametrize(
    ("plan", "empty"),
    [
        (Plan(), True),
        (Plan(held=[Trash("a", file("a"))]), True),
        (plan_of(tree_of(("x", directory)), tree_of(("x", file))), True),
        (Plan(clearings=[Trash("a", file("a"))]), False),
        (Plan(directories=["a"]), False),
        (Plan(fetches=[Fetch("a", file("a"))]), False),
        (Plan(links=[Link("a", link("a"))]), False),
        (Plan(touches=[Touch("a", file("a"), file("a"))]), False),
        (Plan(deletes=[Trash("a", file("a"))]), False),
    ],
)
def test_a_plan_is_empty_when_nothing_will_be_done(plan: Plan, empty: bool) -> None:
    assert plan.empty is empty


def carry_out(plan: Plan, tree: Tree) -> Tree:
    """Do a plan in its order, as strictly as a disk: every parent is there, and only empty directories can go."""
    after = dict(tree)

    def replace(action: Fetch | Link | Touch) -> None:
        old = after.get(action.path)
        assert old == action.local
        assert old is None or old.kind in (Kind.FILE, Kind.SYMLINK)
        create(action.path, action.entry)

    def create(path: str, entry: Entry) -> None:
        above = parent(path)
        assert not above or after[above].kind is Kind.DIRECTORY
        after[path] = entry

    def remove(trash: Trash) -> None:
        kind = after.pop(trash.path).kind
        assert kind is trash.entry.kind is not Kind.WITHHELD
        assert not any(parent(path) == trash.path for path in after)

    for trash in plan.clearings:
        remove(trash)
    for path in plan.directories:
        assert path not in after
        create(path, directory(path))
    for action in changes(plan):
        replace(action)
    for trash in plan.deletes:
        remove(trash)
    return after


Nested = dict[str, "Entry | Nested"]


def flat(nested: Nested, above: str = "") -> Tree:
    tree: Tree = {}
    for name, node in nested.items():
        path = join(above, name)
        if isinstance(node, dict):
            tree |= {path: directory(path)} | flat(node, path)
        else:
            tree[path] = Entry(name, node.kind, node.size, node.mtime_ns, node.executable, node.hash, node.target)
    return tree


leaf_nodes = st.sampled_from(
    [file(""), file("", 2), file("", seconds=5), file("", executable=True), link(""), link("", "b"), withheld("")]
)
names = st.sampled_from(["a", "A", "b", "x"])
folders = st.dictionaries(
    names,
    st.recursive(leaf_nodes, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=5),
    max_size=4,
).map(lambda nested: flat(nested))
rules = st.sampled_from([never, ignores("x"), ignores("x/"), ignores("a/", "b")])


def without_collisions(tree: Tree) -> Tree:
    """What a filesystem that folds names can hold of a tree."""
    kept: Tree = {}
    seen: set[tuple[str, str]] = set()
    for path in sorted(tree):
        key = (parent(path), collision_key(tree[path].name))
        if key not in seen and (not parent(path) or parent(path) in kept):
            seen.add(key)
            kept[path] = tree[path]
    return kept


def stands_apart(path: str, *indexes: Index, problems: set[str]) -> bool:
    """Whether the path, or a directory above it, is withheld on a side or a problem."""
    while path:
        kinds = {entry.kind for index in indexes if (entry := index.entry(path))}
        if Kind.WITHHELD in kinds or path in problems:
            return True
        path = parent(path)
    return False


@settings(deadline=None)
@given(folders, folders)
def test_after_a_mirror_both_sides_are_the_same(local: Tree, remote: Tree) -> None:
    plan = plan_of(local, remote, mirror=True, allow_deletes=True)
    after, there, before = scan(carry_out(plan, local)), scan(remote), scan(local)
    problems = {problem.path for problem in plan.problems}
    for path, entry in there.walk():
        if not stands_apart(path, there, before, problems=problems):
            mine = after.entry(path)
            assert mine is not None
            assert mine.kind is entry.kind
            assert entry.kind is Kind.DIRECTORY or mine.same(entry)
    holders = {parent(path) for path, entry in local.items() if entry.kind is Kind.WITHHELD}
    for path, _entry in after.walk():
        holds_withheld = any(holder == path or holder.startswith(f"{path}/") for holder in holders)
        assert there.entry(path) or holds_withheld or stands_apart(path, there, before, problems=problems)


@settings(deadline=None)
@given(folders, folders)
def test_without_withheld_entries_a_mirror_ends_with_equal_digests(local: Tree, remote: Tree) -> None:
    local, remote = ({p: e for p, e in tree.items() if e.kind is not Kind.WITHHELD} for tree in (local, remote))
    plan = plan_of(local, remote, mirror=True, allow_deletes=True)
    assert not plan.problems
    assert scan(carry_out(plan, local)).digest == scan(remote).digest


@settings(deadline=None)
@given(folders, folders, rules)
def test_a_pull_loses_nothing_that_is_only_here(local: Tree, remote: Tree, ignored: Rules) -> None:
    plan = plan_of(local, remote, ignored=ignored, allow_deletes=True)
    after = carry_out(plan, local)
    for path, entry in local.items():
        there = remote.get(path)
        assert after.get(path) == entry or (there is not None and there.kind is not Kind.WITHHELD)
    assert not plan.deletes


@settings(deadline=None)
@given(folders, folders, rules, st.booleans())
def test_a_second_plan_is_empty(local: Tree, remote: Tree, ignored: Rules, mirror: bool) -> None:
    first = plan_of(local, remote, mirror=mirror, allow_deletes=True, ignored=ignored)
    second = plan_of(carry_out(first, local), remote, mirror=mirror, allow_deletes=True, ignored=ignored)
    assert steps(second) == ", ".join(f"problem {problem.path}" for problem in second.problems)
    assert {problem.path for problem in second.problems} == {problem.path for problem in first.problems}


@settings(deadline=None)
@given(folders, folders, rules, st.booleans())
def test_what_is_withheld_or_ignored_here_stays_as_it_is(
    local: Tree, remote: Tree, ignored: Rules, mirror: bool
) -> None:
    plan = plan_of(local, remote, mirror=mirror, allow_deletes=True, ignored=ignored)
    after = carry_out(plan, local)
    taking_part = {path for path, entry in scan(local, ignored).walk() if entry.kind is not Kind.WITHHELD}
    assert all(after[path] == entry for path, entry in local.items() if path not in taking_part)
    assert not any(ignored(path, entry.kind is Kind.DIRECTORY) for path, entry in after.items() if path not in local)


@settings(deadline=None)
@given(folders, folders, st.booleans())
def test_a_held_plan_removes_nothing_and_still_can_be_carried_out(local: Tree, remote: Tree, mirror: bool) -> None:
    plan = plan_of(local, remote, mirror=mirror)
    confirmed = plan_of(local, remote, mirror=mirror, allow_deletes=True)
    after = carry_out(plan, local)
    if plan.held:
        assert (plan.clearings, plan.deletes) == ([], [])
        assert set(local) <= set(after)
        assert sorted(trash.path for trash in plan.held) == sorted(
            trash.path for trash in confirmed.clearings + confirmed.deletes
        )
    else:
        assert plan == confirmed


@settings(deadline=None)
@given(folders, folders, st.booleans())
def test_a_folder_that_folds_names_never_gets_two_of_one(local: Tree, remote: Tree, mirror: bool) -> None:
    """A mirror may need a second pass, when the one name has to go before the other can come."""
    tree, plan = without_collisions(local), Plan()
    for _pass in range(3):
        plan = plan_of(tree, remote, mirror=mirror, allow_deletes=True, folds_names=True)
        tree = carry_out(plan, tree)
        assert tree == without_collisions(tree)
    assert plan.empty
