"""What a pass does on both sides: the table of ARCHITECTURE.md, then properties of plans that are carried out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings, strategies as st
from msgspec.structs import replace

from leafsync.engine.core.index import IGNORED, NANOSECONDS, Entry, Index, Kind
from leafsync.engine.core.names import collision_key, join, parent
from leafsync.engine.core.reconcile import (
    MAX_DELETE_SHARE,
    MAX_DELETES,
    Mode,
    advance,
    conflict_name,
    never,
    reconcile,
)
from leafsync.engine.core.steps import NOTHING_HELD, Conflict, Fetch, Held, Move, Plan, Steps, Trash

Tree = dict[str, Entry]
"""Every path of a folder with its entry, as a disk has it: directories have no digest."""

Rules = Callable[[str, bool], bool]

History = tuple[Tree | None, Tree, Tree]
"""Base, local, remote."""

READ_ONLY = "the other side is read-only"


def named(path: str, entry: Entry) -> Entry:
    return replace(entry, name=path.rpartition("/")[2])


def file(content: int = 1, *, seconds: int = 0, executable: bool = False) -> Entry:
    return Entry("", Kind.FILE, content, seconds * NANOSECONDS, executable, bytes([content]) * 32)


EMPTY = Entry("", Kind.FILE, 0, 0, False, b"e" * 32)
DIRECTORY = Entry("", Kind.DIRECTORY)
WITHHELD = Entry("", Kind.WITHHELD, target="unreadable")
HIDDEN = Entry("", Kind.WITHHELD, target=IGNORED)


def link(target: str = "a") -> Entry:
    return Entry("", Kind.SYMLINK, target=target)


def tree_of(pairs: Mapping[str, Entry]) -> Tree:
    """Make a tree of these entries and the directories that they need."""
    tree: Tree = {}
    for path, entry in pairs.items():
        above = parent(path)
        while above:
            tree[above] = named(above, DIRECTORY)
            above = parent(above)
        tree[path] = named(path, entry)
    return tree


def scan(tree: Tree, ignored: Rules = never) -> Index:
    """List a tree as a scan would: what a rule ignores is withheld, and nobody looks below it."""
    listings: dict[str, list[Entry]] = {"": []}
    for path in sorted(tree):
        entry = tree[path]
        if parent(path) not in listings:
            continue
        if ignored(path, entry.kind is Kind.DIRECTORY):
            entry = named(path, WITHHELD)
        listings[parent(path)].append(entry)
        if entry.kind is Kind.DIRECTORY:
            listings[path] = []
    return Index(listings)


def listings_for(local: Index, remote: Index) -> dict[str, Sequence[Entry]]:
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


def copy_of(path: str, side: str) -> str:
    return conflict_name(path, "20260102-030405", side)


def plan_of(
    base: Tree | None,
    local: Tree,
    remote: Tree,
    mode: Mode = Mode.BOTH,
    *,
    allow_deletes: bool = False,
    ignored: Rules = never,
    remote_ignored: Rules = never,
    writable: bool = True,
    folds: bool = False,
    remote_folds: bool = False,
    copy_name: Callable[[str, str], str] = copy_of,
    held: Held = NOTHING_HELD,
) -> Plan:
    here, there = scan(local, ignored), scan(remote, remote_ignored)
    return reconcile(
        None if base is None else scan(base),
        here,
        listings_for(here, there),
        mode,
        copy_name=copy_name,
        allow_deletes=allow_deletes,
        local_ignored=ignored,
        remote_ignored=remote_ignored,
        writable=writable,
        local_folds=folds,
        remote_folds=remote_folds,
        remote_total=sum(entry.kind is not Kind.WITHHELD for _path, entry in there.walk()),
        held=held,
    )


@dataclass
class Disk:
    """A folder that carries out steps as strictly as a disk does."""

    tree: Tree
    trash: list[Entry] = field(default_factory=list)
    folds: bool = False

    def carry_out(self, steps: Steps, other: Tree) -> None:
        for move in steps.asides:
            self.move(move, in_place=True)
        for trash in steps.clearings:
            self.remove(trash)
        for path in steps.directories:
            self.create(path, DIRECTORY)
        for move in steps.moves:
            self.move(move)
        for fetch in steps.fetches:
            there = other[fetch.source or fetch.path]
            assert there.kind is Kind.FILE
            assert there.same_content(fetch.entry)
            self.replace(fetch.path, fetch.entry, fetch.local)
        for made in steps.links:
            assert made.entry.kind is Kind.SYMLINK
            self.replace(made.path, made.entry, made.local)
        for touch in steps.touches:
            assert touch.local.same_content(touch.entry)
            self.replace(touch.path, touch.entry, touch.local)
        for trash in steps.deletes:
            self.remove(trash)

    def create(self, path: str, entry: Entry) -> None:
        above = parent(path)
        assert not above or self.tree[above].kind is Kind.DIRECTORY
        assert path not in self.tree
        if self.folds:
            assert collision_key(path) not in map(collision_key, self.tree)
        self.tree[path] = named(path, entry)

    def move(self, move: Move, *, in_place: bool = False) -> None:
        old = self.tree[move.source]
        assert old.kind is move.entry.kind is not Kind.WITHHELD
        assert old.kind is Kind.DIRECTORY or old == move.entry
        assert not in_place or parent(move.source) == parent(move.target)
        inside = [path for path in self.tree if path.startswith(f"{move.source}/")]
        moved = {path: self.tree.pop(path) for path in [move.source, *inside]}
        for path, entry in moved.items():
            self.create(move.target + path.removeprefix(move.source), entry)

    def remove(self, trash: Trash) -> None:
        entry = self.tree.pop(trash.path)
        assert entry.kind is trash.entry.kind is not Kind.WITHHELD
        assert entry.kind is Kind.DIRECTORY or entry == trash.entry
        assert not any(parent(path) == trash.path for path in self.tree)
        self.trash.append(entry)

    def replace(self, path: str, entry: Entry, old: Entry | None) -> None:
        if old is not None:
            assert self.tree[path] == old
            assert old.kind in (Kind.FILE, Kind.SYMLINK)
            self.trash.append(self.tree.pop(path))
        self.create(path, entry)


def carry_out(
    plan: Plan, local: Tree, remote: Tree, *, folds: bool = False, remote_folds: bool = False
) -> tuple[Disk, Disk]:
    here, there = Disk(dict(local), folds=folds), Disk(dict(remote), folds=remote_folds)
    here.carry_out(plan.local, remote)
    there.carry_out(plan.remote, here.tree)
    return here, there


def told(plan: Plan) -> str:
    """Write a plan as a line, each side in the order in which it is carried out."""
    parts = [
        f"{side}: {words}" for side, steps in (("here", plan.local), ("there", plan.remote)) if (words := of(steps))
    ]
    parts += [f"{conflict.kept} keeps {conflict.path}" for conflict in plan.conflicts]
    parts += [f"note {path}" for path, _sentence in plan.notes]
    parts += [f"problem {problem.path}" for problem in plan.problems]
    return "; ".join(parts)


def other_way_round(told: str) -> str:
    """Return what is told of the same plan with its sides exchanged."""
    parts = told.split("; ")
    sides = sorted(part[1:] if part.startswith("there:") else f"t{part}" for part in parts if ":" in part)
    return "; ".join(sides + [part for part in parts if ":" not in part])


def of(steps: Steps) -> str:
    words = [f"aside {move.source}>{move.target}" for move in steps.asides]
    words += [f"clear {trash.path}" for trash in steps.clearings]
    words += [f"make {path}" for path in steps.directories]
    words += [f"move {move.source}>{move.target}" for move in steps.moves]
    words += [f"fetch {fetch.path}" + (f"<{fetch.source}" if fetch.source else "") for fetch in steps.fetches]
    words += [f"link {made.path}" for made in steps.links]
    words += [f"touch {touch.path}" for touch in steps.touches]
    words += [f"trash {trash.path}" for trash in steps.deletes]
    words += [f"hold {trash.path}" for trash in steps.held]
    return ", ".join(words)


def short(path: str, side: str) -> str:
    return f"{path}~{side}"


KEEP = {"keep": file(9)}
"""Keeps a folder from being emptied, which would hold the pass."""

STATES: dict[str, dict[str, Entry]] = {
    "-": {},
    "1": {"x": file()},
    "2": {"x": file(2)},
    "3": {"x": file(3)},
    "1late": {"x": file(seconds=5)},
    "2late": {"x": file(2, seconds=5)},
    "1run": {"x": file(executable=True)},
    "l": {"x": link()},
    "m": {"x": link("b")},
    "d": {"x": DIRECTORY},
    "d1": {"x/in": file()},
    "d2": {"x/in": file(2)},
    "d12": {"x/in": file(), "x/new": file(2)},
    "w": {"x": WITHHELD},
    "dw": {"x/kept": WITHHELD},
    "d1w": {"x/in": file(), "x/kept": WITHHELD},
}
"""What may be at x: a file of content 1, ..., a link, an empty or a full directory, something withheld."""

TABLE = [
    # base, local, remote; then what BOTH, PULL, PUSH and MIRROR do; "?" is no base
    ("1 1 1", "", "", "", ""),
    ("1 1 2", "here: fetch x", "here: fetch x", "", "here: fetch x"),
    ("1 1 1late", "here: touch x", "here: touch x", "", "here: touch x"),
    ("- - 1", "here: fetch x", "here: fetch x", "", "here: fetch x"),
    ("- - d1", "here: make x, fetch x/in", "here: make x, fetch x/in", "", "here: make x, fetch x/in"),
    ("1 2 1", "there: fetch x", "", "there: fetch x", "here: fetch x"),
    ("1 1run 1", "there: touch x", "", "there: touch x", "here: touch x"),
    ("- 1 -", "there: fetch x", "", "there: fetch x", "here: trash x"),
    ("- d1 -", "there: make x, fetch x/in", "", "there: make x, fetch x/in", "here: trash x/in, trash x"),
    ("1 1 -", "here: trash x", "here: trash x", "", "here: trash x"),
    ("1 - 1", "there: trash x", "", "there: trash x", "here: fetch x"),
    ("1 - -", "", "", "", ""),
    ("1 2 -", "there: fetch x; note x", "", "there: fetch x; note x", "here: trash x"),
    ("1 - 2", "here: fetch x; note x", "here: fetch x; note x", "", "here: fetch x"),
    ("1 1late -", "there: fetch x; note x", "", "there: fetch x; note x", "here: trash x"),
    ("d1 d1 -", "here: trash x/in, trash x", "here: trash x/in, trash x", "", "here: trash x/in, trash x"),
    ("d1 - d1", "there: trash x/in, trash x", "", "there: trash x/in, trash x", "here: make x, fetch x/in"),
    (
        "d1 d2 -",
        "there: make x, fetch x/in; note x/in",
        "",
        "there: make x, fetch x/in; note x/in",
        "here: trash x/in, trash x",
    ),
    (
        "d1 - d2",
        "here: make x, fetch x/in; note x/in",
        "here: make x, fetch x/in; note x/in",
        "",
        "here: make x, fetch x/in",
    ),
    (
        "d1 d12 -",
        "here: trash x/in; there: make x, fetch x/new",
        "here: trash x/in",
        "there: make x, fetch x/new",
        "here: trash x/in, trash x/new, trash x",
    ),
    ("d1 d -", "here: trash x", "here: trash x", "", "here: trash x"),
    (
        "1 2 3",
        "here: move x>x~local, fetch x; there: fetch x~local; remote keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: fetch x",
    ),
    (
        "1 2late 3",
        "here: fetch x~remote<x; there: move x>x~remote, fetch x; local keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: fetch x",
    ),
    ("1 2 2", "", "", "", ""),
    ("1 2 2late", "here: touch x", "here: touch x", "there: touch x", "here: touch x"),
    ("1 1late 1run", "there: touch x", "here: touch x", "there: touch x", "here: touch x"),
    ("1 1late 2", "here: fetch x", "here: fetch x", "", "here: fetch x"),
    ("1 2 1late", "there: fetch x", "", "there: fetch x", "here: fetch x"),
    (
        "1 l 2",
        "here: move x>x~local, fetch x; there: link x~local; remote keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: move x>x~remote, link x; local keeps x",
        "here: fetch x",
    ),
    ("l m l", "there: link x", "", "there: link x", "here: link x"),
    ("l m -", "there: link x; note x", "", "there: link x; note x", "here: trash x"),
    (
        "1 d1 1",
        "there: clear x, make x, fetch x/in",
        "",
        "there: clear x, make x, fetch x/in",
        "here: clear x/in, clear x, fetch x",
    ),
    (
        "1 1 d1",
        "here: clear x, make x, fetch x/in",
        "here: clear x, make x, fetch x/in",
        "",
        "here: clear x, make x, fetch x/in",
    ),
    (
        "1 d1 2",
        "here: fetch x~remote<x; there: aside x>x~remote, make x, fetch x/in; local keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: aside x>x~remote, make x, fetch x/in; local keeps x",
        "here: clear x/in, clear x, fetch x",
    ),
    (
        "1 2 d1",
        "here: aside x>x~local, make x, fetch x/in; there: fetch x~local; remote keeps x",
        "here: aside x>x~local, make x, fetch x/in; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: clear x, make x, fetch x/in",
    ),
    ("1 d1 -", "there: make x, fetch x/in", "", "there: make x, fetch x/in", "here: trash x/in, trash x"),
    ("1 - d1", "here: make x, fetch x/in", "here: make x, fetch x/in", "", "here: make x, fetch x/in"),
    (
        "d1 d1 1",
        "here: clear x/in, clear x, fetch x",
        "here: clear x/in, clear x, fetch x",
        "",
        "here: clear x/in, clear x, fetch x",
    ),
    (
        "d1 1 d1",
        "there: clear x/in, clear x, fetch x",
        "",
        "there: clear x/in, clear x, fetch x",
        "here: clear x, make x, fetch x/in",
    ),
    (
        "d1 d2 1",
        "here: fetch x~remote<x; there: aside x>x~remote, make x, fetch x/in; local keeps x; note x/in",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: aside x>x~remote, make x, fetch x/in; local keeps x; note x/in",
        "here: clear x/in, clear x, fetch x",
    ),
    (
        "d1 1 d2",
        "here: aside x>x~local, make x, fetch x/in; there: fetch x~local; remote keeps x; note x/in",
        "here: aside x>x~local, make x, fetch x/in; remote keeps x; note x/in",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: clear x, make x, fetch x/in",
    ),
    (
        "l d1 l",
        "there: clear x, make x, fetch x/in",
        "",
        "there: clear x, make x, fetch x/in",
        "here: clear x/in, clear x, link x",
    ),
    ("d1 1 -", "there: fetch x", "", "there: fetch x", "here: trash x"),
    (
        "d1 1 2",
        "here: move x>x~local, fetch x; there: fetch x~local; remote keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: fetch x",
    ),
    ("1 w 2", "", "", "", ""),
    ("1 w -", "", "", "", ""),
    ("1 - w", "", "", "", ""),
    ("1 2 w", "", "", "", ""),
    ("d1 d1w -", "here: trash x/in", "here: trash x/in", "", "here: trash x/in"),
    ("d1 d1w 1", "problem x", "problem x", "", "problem x"),
    ("d1 1 d1w", "problem x", "", "problem x", "here: clear x, make x, fetch x/in"),
    ("d1 dw 1", "problem x", "problem x", "", "problem x"),
    ("1 dw 1", "there: clear x, make x", "", "there: clear x, make x", "problem x"),
    ("d1 w d2", "", "", "", ""),
    ("d1 - w", "", "", "", ""),
    ("? 1 1", "", "", "", ""),
    (
        "? 1 2",
        "here: move x>x~local, fetch x; there: fetch x~local; remote keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: fetch x",
    ),
    (
        "? 1late 2",
        "here: fetch x~remote<x; there: move x>x~remote, fetch x; local keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: fetch x",
    ),
    ("? 1 1late", "here: touch x", "here: touch x", "there: touch x", "here: touch x"),
    ("? 1 -", "there: fetch x", "", "there: fetch x", "here: trash x"),
    ("? - 1", "here: fetch x", "here: fetch x", "", "here: fetch x"),
    (
        "? d1 d2",
        "here: move x/in>x/in~local, fetch x/in; there: fetch x/in~local; remote keeps x/in",
        "here: move x/in>x/in~local, fetch x/in; remote keeps x/in",
        "there: move x/in>x/in~remote, fetch x/in; local keeps x/in",
        "here: fetch x/in",
    ),
    (
        "? d1 1",
        "here: fetch x~remote<x; there: aside x>x~remote, make x, fetch x/in; local keeps x",
        "here: move x>x~local, fetch x; remote keeps x",
        "there: aside x>x~remote, make x, fetch x/in; local keeps x",
        "here: clear x/in, clear x, fetch x",
    ),
    (
        "? 1 d1",
        "here: aside x>x~local, make x, fetch x/in; there: fetch x~local; remote keeps x",
        "here: aside x>x~local, make x, fetch x/in; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: clear x, make x, fetch x/in",
    ),
    (
        "? 1 l",
        "here: link x~remote; there: move x>x~remote, fetch x; local keeps x",
        "here: move x>x~local, link x; remote keeps x",
        "there: move x>x~remote, fetch x; local keeps x",
        "here: link x",
    ),
    (
        "? dw 1",
        "here: fetch x~remote<x; there: aside x>x~remote, make x; local keeps x",
        "problem x",
        "there: aside x>x~remote, make x; local keeps x",
        "problem x",
    ),
    ("? - d1", "here: make x, fetch x/in", "here: make x, fetch x/in", "", "here: make x, fetch x/in"),
    ("? w 1", "", "", "", ""),
]


@pytest.mark.parametrize(
    ("row", "mode", "expected"),
    [(row, mode, expected) for row, *columns in TABLE for mode, expected in zip(Mode, columns, strict=True)],
)
def test_the_table(row: str, mode: Mode, expected: str) -> None:
    base, local, remote = (None if state == "?" else tree_of(STATES[state] | KEEP) for state in row.split())
    assert local is not None
    assert remote is not None
    plan = plan_of(base, local, remote, mode, copy_name=short)
    assert told(plan) == expected
    carry_out(plan, local, remote)


@pytest.mark.parametrize("row", [row for row, *_columns in TABLE])
def test_a_read_only_side_is_pulled_from_and_named_in_problems(row: str) -> None:
    base, local, remote = (None if state == "?" else tree_of(STATES[state] | KEEP) for state in row.split())
    assert local is not None
    assert remote is not None
    pull, both = (plan_of(base, local, remote, mode) for mode in (Mode.PULL, Mode.BOTH))
    plan = plan_of(base, local, remote, Mode.BOTH, writable=False)
    assert (plan.local, plan.remote, plan.conflicts) == (pull.local, Steps(), pull.conflicts)
    assert bool(plan.problems) == (not both.remote.empty or bool(pull.conflicts) or bool(pull.problems))
    refused = {problem.path for problem in plan.problems if problem.reason == READ_ONLY}
    assert not any(within(parent(path), refused) for path in refused)


@pytest.mark.parametrize(
    ("mode", "local", "remote", "expected"),
    [
        (Mode.BOTH, {"n/a/b": file(), "n/c": file(2)}, {}, "problem n"),
        (Mode.PUSH, {"n/a/b": file(), "n/c": file(2)}, {}, "problem n"),
        (Mode.BOTH, {}, {"x/in": file()}, "problem x"),
        (Mode.BOTH, {"y/in": file()}, {"x/in": file()}, "problem x; problem y"),
        (Mode.BOTH, {"c": file(2)}, {"c": file(3)}, "here: move c>c~local, fetch c; remote keeps c; problem c~local"),
        (
            Mode.BOTH,
            {"c": file(2, seconds=9), "d/in": file(2)},
            {"c": file(3), "d": file(3)},
            "here: move c>c~local, move d>d~local, fetch c, fetch d; "
            "remote keeps c; remote keeps d; problem c~local; problem d~local",
        ),
        (Mode.PUSH, {"c": file(2)}, {"c": file(3)}, "problem c"),
        (Mode.PULL, {"n": file()}, {"m": file(2)}, "here: fetch m"),
    ],
)
def test_only_the_top_most_path_is_named_when_the_other_side_is_read_only(
    mode: Mode, local: dict[str, Entry], remote: dict[str, Entry], expected: str
) -> None:
    base = tree_of({"x/in": file()} | KEEP) if "x/in" in remote else tree_of(KEEP)
    plan = plan_of(base, tree_of(local | KEEP), tree_of(remote | KEEP), mode, writable=False, copy_name=short)
    assert told(plan) == expected


def test_a_note_says_which_side_edited() -> None:
    base, edited_, gone = tree_of({"x": file()} | KEEP), tree_of({"x": file(2)} | KEEP), tree_of(KEEP)
    assert plan_of(base, edited_, gone).notes == [("x", "edited here, deleted there: the edit came back")]
    assert plan_of(base, gone, edited_).notes == [("x", "edited there, deleted here: the edit came back")]


def test_a_conflict_says_everything_about_both_versions() -> None:
    local, remote = tree_of({"d/x": file(2)} | KEEP), tree_of({"d/x": file(3)} | KEEP)
    plan = plan_of(None, local, remote)
    copy = "d/x.conflict-20260102-030405-local"
    assert plan.conflicts == [Conflict("d/x", copy, "remote", local["d/x"], remote["d/x"])]
    assert plan.remote.fetches == [Fetch(copy, named(copy, local["d/x"]))]


def test_a_conflict_copy_takes_a_name_that_is_free_on_both_sides() -> None:
    local = tree_of({"x.txt": file(2), "x~local.txt": file(4), "other": file(7)} | KEEP)
    remote = tree_of({"x.txt": file(3), "X~LOCAL-2.txt": file(5), "other": file(8)} | KEEP)
    plan = plan_of(None, local, remote, copy_name=lambda path, side: f"x~{side}.txt")
    assert [conflict.copy for conflict in plan.conflicts] == ["x~local-3.txt", "x~local-4.txt"]


# Deletes


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.MIRROR])
@pytest.mark.parametrize(
    ("total", "deleted", "held"),
    [
        (2, 1, False),
        (200, MAX_DELETES, False),
        (200, MAX_DELETES + 1, True),
        (401, MAX_DELETES, False),
        (1000, 250, False),
        (1000, 251, True),
        (1, 1, True),
        (100, 100, True),
    ],
)
def test_a_mass_delete_is_held_here(total: int, deleted: int, held: bool, mode: Mode) -> None:
    """Fault case 74: more than a quarter or a hundred, the larger, or everything."""
    everything, rest = many(total), many(total, start=deleted)
    plan = plan_of(everything, everything, rest, mode)
    assert (len(plan.local.held), len(plan.local.deletes)) == ((deleted, 0) if held else (0, deleted))
    assert plan.remote == Steps()
    confirmed = plan_of(everything, everything, rest, mode, allow_deletes=True)
    assert (len(confirmed.local.held), len(confirmed.local.deletes)) == (0, deleted)


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.PUSH])
@pytest.mark.parametrize(
    ("total", "deleted", "held"), [(200, 100, False), (200, 101, True), (1000, 250, False), (3, 3, True)]
)
def test_a_mass_delete_is_held_there(total: int, deleted: int, held: bool, mode: Mode) -> None:
    everything, rest = many(total), many(total, start=deleted)
    plan = plan_of(everything, rest, everything, mode)
    assert (len(plan.remote.held), len(plan.remote.deletes)) == ((deleted, 0) if held else (0, deleted))
    assert plan.local == Steps()


def many(total: int, *, start: int = 0) -> Tree:
    return tree_of({f"f{number:04}": file(number % 250 + 1) for number in range(start, total)})


def test_published_thresholds() -> None:
    assert (MAX_DELETES, MAX_DELETE_SHARE) == (100, 0.25)


def test_each_side_has_its_own_threshold() -> None:
    base = many(400)
    local = {path: entry for path, entry in base.items() if path >= "f0090"}
    remote = {path: entry for path, entry in base.items() if path < "f0250"}
    plan = plan_of(base, local, remote)
    assert (len(plan.local.held), len(plan.local.deletes)) == (150, 0)
    assert (len(plan.remote.held), len(plan.remote.deletes)) == (0, 90)


def test_what_the_other_side_says_of_its_size_decides_its_threshold() -> None:
    everything, rest = scan(many(800)), scan(many(800, start=150))
    plans = [
        reconcile(everything, rest, listings_for(rest, everything), Mode.BOTH, copy_name=copy_of, remote_total=total)
        for total in (599, 600)
    ]
    assert [len(plan.remote.held) for plan in plans] == [150, 0]


@pytest.mark.parametrize("emptied", ["local", "remote"])
def test_an_emptied_folder_deletes_nothing_on_the_other_side(emptied: str) -> None:
    full = tree_of({"d/a": file(), "d/b": file(2), "c": link()})
    local, remote = ({}, full) if emptied == "local" else (full, {})
    plan = plan_of(full, local, remote)
    assert plan.empty
    held = plan.remote.held if emptied == "local" else plan.local.held
    assert [trash.path for trash in held] == ["c", "d/a", "d/b", "d"]


def test_another_disk_in_the_place_of_the_folder_deletes_nothing_however_long_it_is_there() -> None:
    full = tree_of({"d/a": file(), "d/b": file(2)})
    other_disk = tree_of({"new": file(3)})
    first = plan_of(full, full, other_disk)
    assert told(first) == "here: fetch new, hold d/a, hold d/b, hold d"
    here, _there = carry_out(first, full, other_disk)
    second = plan_of(agree(full, here.tree, other_disk), here.tree, other_disk, held=first.held)
    assert told(second) == "here: hold d/a, hold d/b, hold d"
    third = plan_of(full, here.tree, other_disk, held=first.held, allow_deletes=True)
    assert told(third) == "here: trash d/a, trash d/b, trash d"


def test_what_one_side_held_says_nothing_of_the_other() -> None:
    base = many(100)
    local, remote = many(100, start=3), many(97)
    assert told(plan_of(base, local, remote, held=Held(local=frozenset({"f0097"})))) == (
        "here: hold f0097, hold f0098, hold f0099; there: trash f0000, trash f0001, trash f0002"
    )


def test_nothing_comes_in_the_place_of_what_is_held() -> None:
    base = tree_of({"x": file(205), "d/in": file(206), "s": file(207)} | KEEP) | many(150)
    remote = tree_of({"x/in": file(208), "x/moved": file(207), "d": file(203), "new": file(204)} | KEEP)
    plan = plan_of(base, base, remote)
    assert (plan.local.clearings, plan.local.directories, plan.local.moves, plan.local.deletes) == ([], [], [], [])
    assert [fetch.path for fetch in plan.local.fetches] == ["new"]
    assert {trash.path for trash in plan.local.held} == {*many(150), "x", "d", "d/in", "s"}


def test_a_rename_is_not_a_delete() -> None:
    base = many(150)
    local = {f"new-{path}": named(f"new-{path}", entry) for path, entry in base.items()}
    plan = plan_of(base, local, base)
    assert (len(plan.remote.moves), plan.remote.held, plan.remote.deletes) == (150, [], [])


def test_withheld_entries_do_not_raise_the_threshold() -> None:
    withheld = {f"w{number}": named(f"w{number}", WITHHELD) for number in range(1000)}
    one = tree_of({"a": file()})
    assert told(plan_of(one, withheld | one, {})) == "here: hold a"


def test_a_folder_counts_as_emptied_when_only_directories_of_withheld_entries_stay() -> None:
    base = tree_of({"d/a": file(), "e": DIRECTORY})
    local = base | tree_of({"d/w": WITHHELD, "e/w": WITHHELD})
    assert told(plan_of(base, local, {})) == "here: hold d/a"


# Renames


def renamed(before: dict[str, Entry], after: dict[str, Entry], *, folds: bool = False) -> str:
    """What is done here when the other side made `before` into `after`."""
    base, remote = tree_of(before | KEEP), tree_of(after | KEEP)
    plan = plan_of(base, base, remote, folds=folds)
    here, there = carry_out(plan, base, remote, folds=folds)
    assert scan(here.tree).digest == scan(there.tree).digest
    swapped = plan_of(base, remote, base, remote_folds=folds)
    here, there = carry_out(swapped, remote, base, remote_folds=folds)
    assert scan(here.tree).digest == scan(there.tree).digest
    assert of(swapped.remote) == of(plan.local)
    return of(plan.local)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": file()}, {"b": file()}, "move a>b"),
        ({"a": file()}, {"d/e/b": file()}, "make d, make d/e, move a>d/e/b"),
        ({"d/a": file()}, {"a": file()}, "move d/a>a, trash d"),
        ({"a": file()}, {"b": file(seconds=7)}, "move a>b, touch b"),
        ({"a": EMPTY}, {"b": EMPTY}, "fetch b, trash a"),
        ({"a": link("k")}, {"b": link("k")}, "link b, trash a"),
        ({"a": file()}, {"b": file(2)}, "fetch b, trash a"),
        # A cycle: neither of the two is deleted, so the content is fetched (the caller reuses what is here).
        ({"a": file(), "b": file(2)}, {"a": file(2), "b": file()}, "fetch a, fetch b"),
        ({"a": file(), "b": file(2)}, {"b": file(), "c": file(2)}, "fetch b, fetch c, trash a"),
        # Of several candidates: the same name, then the same directory, then the first path.
        ({"p/n": file(), "q/m": file()}, {"q/n": file()}, "move p/n>q/n, trash p, trash q/m"),
        ({"p/n": file(), "q/m": file()}, {"q/k": file()}, "move q/m>q/k, trash p/n, trash p"),
        ({"p/n": file(), "q/m": file()}, {"r": file()}, "move p/n>r, trash p, trash q/m, trash q"),
        ({"n": file()}, {"b": file(), "z/n": file()}, "make z, move n>z/n, fetch b"),
        # Whole directories
        ({"d/a": file(), "d/s/b": file(2)}, {"e/a": file(), "e/s/b": file(2)}, "move d>e"),
        ({"d/a": file(), "d/s/b": link()}, {"p/q/d/a": file(), "p/q/d/s/b": link()}, "make p, make p/q, move d>p/q/d"),
        ({"d/a": file(), "d/s/b": file(2)}, {"s/b": file(2), "f": file()}, "move d/s>s, move d/a>f, trash d"),
        ({"d": DIRECTORY}, {"e": DIRECTORY}, "make e, trash d"),
        (
            {"d/a": file(), "d/s/b": file(2), "d/s/c": file(3)},
            {"e/a": file(4), "e/s/b": file(2), "e/s/c": file(3)},
            "make e, move d/s>e/s, fetch e/a, trash d/a, trash d",
        ),
        (
            {"c/x": file(), "d/x": file()},
            {"e/d/x": file(), "f": file(2)},
            "make e, move d>e/d, fetch f, trash c/x, trash c",
        ),
        ({"d/x": file()}, {"e/x": file(), "f/x": file()}, "make f, move d>e, fetch f/x"),
        # What is cleared away is no source, and what is there is no target.
        ({"x": file(2), "d/in": file()}, {"x/in": file()}, "clear x, make x, move d/in>x/in, trash d"),
        ({"t/in": file()}, {"t": file()}, "clear t/in, clear t, fetch t"),
        ({"x": file()}, {"x/in": file()}, "clear x, make x, fetch x/in"),
        ({"t/in": file(2), "s": file()}, {"t": file()}, "clear t/in, clear t, fetch t, trash s"),
    ],
)
def test_renames(before: dict[str, Entry], after: dict[str, Entry], expected: str) -> None:
    assert renamed(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "folding", "plain"),
    [
        ({"a": file()}, {"A": file()}, "aside a>A", "move a>A"),
        ({"a": file()}, {"A": file(2)}, "aside a>A, fetch A", "fetch A, trash a"),
        ({"d/x": file()}, {"D/x": file()}, "aside d>D", "move d>D"),
        (
            {"d/x": file(), "d/y": file(2)},
            {"D/X": file(), "D/n": file(3)},
            "aside d>D, aside D/x>D/X, fetch D/n, trash D/y",
            "make D, move d/x>D/X, fetch D/n, trash d/y, trash d",
        ),
        (
            {"d/x": file()},
            {"D/x/in": file(3)},
            "aside d>D, clear D/x, make D/x, fetch D/x/in",
            "make D, make D/x, fetch D/x/in, trash d/x, trash d",
        ),
    ],
)
def test_case_only_renames(before: dict[str, Entry], after: dict[str, Entry], folding: str, plain: str) -> None:
    """On a filesystem that folds names the old name must not be deleted: it is the new one."""
    assert renamed(before, after, folds=True) == folding
    assert renamed(before, after) == plain


def test_a_name_that_goes_there_is_no_collision_here() -> None:
    base, local = tree_of({"A": file()} | KEEP), tree_of({"a/in": file(2)} | KEEP)
    assert told(plan_of(base, local, base, folds=True)) == "there: make a, fetch a/in, trash A"


def test_a_name_that_must_go_there_before_another_can_come_takes_two_passes_where_names_fold() -> None:
    base, local = tree_of({"A": file()} | KEEP), tree_of({"a/in": file(2)} | KEEP)
    first = plan_of(base, local, base, remote_folds=True)
    assert told(first) == "there: trash A; problem a"
    here, there = carry_out(first, local, base, remote_folds=True)
    second = plan_of(agree(base, here.tree, there.tree), here.tree, there.tree, remote_folds=True)
    assert told(second) == "there: make a, fetch a/in"


def test_what_comes_from_below_a_name_that_changes_its_case_there_comes_from_its_old_path() -> None:
    base = tree_of({"d/x": file()} | KEEP)
    local, remote = tree_of({"D/x": file()} | KEEP), tree_of({"d/x": file(), "d/new": file(2)} | KEEP)
    plan = plan_of(base, local, remote, folds=True)
    assert told(plan) == "here: fetch D/new<d/new; there: aside d>D"
    carry_out(plan, local, remote)


@pytest.mark.parametrize(
    ("local", "remote", "folding"),
    [
        ({}, {"A": file(), "a": file(2)}, "here: fetch A; problem a"),
        ({"a": file()}, {"A": file(2), "a": file()}, "problem A"),
        ({"a": WITHHELD}, {"A": file()}, "problem A"),
        ({}, {"A": WITHHELD, "a": file()}, "here: fetch a"),
        ({}, {"d/a": file(), "e/A": file()}, "here: make d, make e, fetch d/a, fetch e/A"),
        ({"d": DIRECTORY}, {"D/x": file(), "d": DIRECTORY}, "problem D"),
        ({"a": file()}, {"A": file(2)}, "there: fetch a; problem A"),
    ],
)
def test_of_two_names_that_fold_to_one_the_second_is_a_problem(
    local: dict[str, Entry], remote: dict[str, Entry], folding: str
) -> None:
    here, there = tree_of(local | KEEP), tree_of(remote | KEEP)
    assert told(plan_of(None, here, there, folds=True)) == folding
    assert told(plan_of(None, there, here, remote_folds=True)) == other_way_round(folding)


def test_a_file_becomes_a_directory_and_back() -> None:
    file_, directory = tree_of({"x": file()} | KEEP), tree_of({"x/in": file(2)} | KEEP)
    assert told(plan_of(file_, directory, file_)) == "there: clear x, make x, fetch x/in"
    assert told(plan_of(directory, file_, directory)) == "there: clear x/in, clear x, fetch x"


def test_a_deleted_directory_keeps_what_changed_deep_inside() -> None:
    deep = {"d/a": file(), "d/e/f/b": file(2), "d/e/g/c": file(3)}
    base, gone = tree_of(deep | KEEP), tree_of(KEEP)
    local = tree_of(deep | {"d/e/f/b": file(4)} | KEEP)
    plan = plan_of(base, local, gone)
    assert told(plan) == (
        "here: trash d/a, trash d/e/g/c, trash d/e/g; there: make d, make d/e, make d/e/f, fetch d/e/f/b; note d/e/f/b"
    )


def test_a_directory_moved_there_and_edited_here_has_both() -> None:
    inside = {"d/a": file(), "d/b": file(2), "d/s/c": file(3)}
    base = tree_of(inside | KEEP)
    local = tree_of(inside | {"d/b": file(4)} | KEEP)
    remote = tree_of({path.replace("d/", "e/", 1): entry for path, entry in inside.items()} | KEEP)
    plan = plan_of(base, local, remote)
    here, there = carry_out(plan, local, remote)
    assert of(plan.local) == "make e, move d/s>e/s, move d/a>e/a, fetch e/b"
    assert of(plan.remote) == "make d, fetch d/b"
    assert scan(here.tree).digest == scan(there.tree).digest


# Ignored and unlisted


def ignores(*names: str) -> Rules:
    """Ignore `names` at any depth, and what is below; a name that ends in "/" stands for directories alone."""

    def ignored(path: str, is_directory: bool) -> bool:
        parts = path.split("/")
        directories = parts if is_directory else parts[:-1]
        return any(part in names for part in parts) or any(f"{part}/" in names for part in directories)

    return ignored


@pytest.mark.parametrize(
    ("base", "local", "remote", "rules", "expected"),
    [
        ({}, {}, {"x": file()}, ignores("x"), ""),
        ({}, {}, {"x/in": file()}, ignores("x/"), ""),
        ({}, {}, {"x": file()}, ignores("x/"), "here: fetch x"),
        ({"x": file()}, {"x": file()}, {}, ignores("x"), ""),
        ({"x": file()}, {"x": file(2)}, {"x": file(3)}, ignores("x"), ""),
        # Here a file that no rule ignores, there a directory that one does: it must not take the file's place.
        ({"x": file()}, {"x": file()}, {"x/in": file()}, ignores("x/"), ""),
        # In the base once, ignored and gone here since: that deletes nothing, and not what holds it either.
        ({"x": file()}, {}, {"x": file()}, ignores("x"), ""),
        ({"d/x": file(), "d/y": file()}, {}, {"d/x": file(), "d/y": file()}, ignores("x"), "there: trash d/y"),
        ({"d/x": file()}, {"d": file(2)}, {"d/x": file()}, ignores("x"), "problem d"),
        # A directory that would come as a whole, but for what is ignored in it.
        (
            {"d/x": file(), "d/y": file()},
            {"d/x": file(), "d/y": file()},
            {"e/x": file(), "e/y": file()},
            ignores("e/x"),
            "here: move d>e",
        ),
    ],
)
def test_what_one_side_ignores_takes_no_part(
    base: dict[str, Entry], local: dict[str, Entry], remote: dict[str, Entry], rules: Rules, expected: str
) -> None:
    before, here, there = tree_of(base | KEEP), tree_of(local | KEEP), tree_of(remote | KEEP)
    assert told(plan_of(before, here, there, ignored=rules)) == expected
    assert told(plan_of(before, there, here, remote_ignored=rules)) == other_way_round(expected)


def test_a_directory_with_something_ignored_in_its_new_place_does_not_move_as_a_whole() -> None:
    inside = {"d/x": file(), "d/y": file(2)}
    local = tree_of(inside | KEEP)
    remote = tree_of({"e/x": file(), "e/y": file(2)} | KEEP)
    plan = plan_of(local, local, remote, ignored=lambda path, _directory: path == "e/x")
    assert told(plan) == "here: make e, move d/y>e/y, trash d/x, trash d"


OLD = conflict_name("x", "20250101-000000", "old")


@pytest.mark.parametrize(
    ("base", "local", "remote", "expected"),
    [
        ({}, {"x": file(2)}, {"x": file(3), OLD: file(2)}, "here: fetch x, fetch old; remote keeps x"),
        ({}, {"x": file(2), OLD: file(2)}, {"x": file(3), OLD: file(2)}, "here: fetch x; remote keeps x"),
        ({}, {"x": file(3), OLD: file(2)}, {"x": file(2)}, "there: fetch x, fetch old; local keeps x"),
        ({}, {"x": file(3), OLD: link()}, {"x": link()}, "there: fetch x, link old; local keeps x"),
        (
            {},
            {"x": file(2)},
            {"x/in": file(3), OLD: file(2)},
            "here: clear x, make x, fetch x/in, fetch old; remote keeps x",
        ),
        # One of other content, and one that is about to go
        (
            {},
            {"x": file(2)},
            {"x": file(3), OLD: file(4)},
            "here: move x>new, fetch x, fetch old; there: fetch new; remote keeps x",
        ),
        (
            {},
            {"x": file(2), OLD: WITHHELD},
            {"x": file(3), OLD: file(2)},
            "here: move x>new, fetch x; there: fetch new; remote keeps x",
        ),
        (
            {OLD: file(2)},
            {"x": file(2)},
            {"x": file(3), OLD: file(2)},
            "here: move x>new, fetch x; there: move old>new; remote keeps x",
        ),
    ],
)
def test_a_version_that_is_a_conflict_copy_already_gets_no_other_one(
    base: dict[str, Entry], local: dict[str, Entry], remote: dict[str, Entry], expected: str
) -> None:
    """Fault case 62: an earlier pass made it, and did not come to its end."""
    before, here, there = tree_of(base | KEEP), tree_of(local | KEEP), tree_of(remote | KEEP)
    plan = plan_of(before, here, there)
    assert told(plan).replace(OLD, "old").replace(copy_of("x", "local"), "new") == expected
    after = carry_out(plan, here, there)
    assert contents([*here.values(), *there.values()]) <= contents([e for disk in after for e in disk.tree.values()])


def test_a_conflict_copy_that_the_other_side_ignores_stays_where_it_is() -> None:
    local, remote = tree_of({"x": file(3), OLD: file(2)} | KEEP), tree_of({"x": file(2)} | KEEP)
    plan = plan_of(None, local, remote, remote_ignored=ignores(OLD))
    assert told(plan) == "there: fetch x; local keeps x"
    here, there = carry_out(plan, local, remote)
    assert told(plan_of(agree(None, here.tree, there.tree), here.tree, there.tree, remote_ignored=ignores(OLD))) == ""


def test_a_conflict_copy_that_both_sides_ignore_is_known_by_its_name() -> None:
    """Its content takes no part; that it is there is told by the name that this pass gives it."""
    new = copy_of("x", "remote")
    local, remote = tree_of({"x": file(3), new: WITHHELD} | KEEP), tree_of({"x": file(2)} | KEEP)
    assert told(plan_of(None, local, remote, remote_ignored=ignores(new))) == "there: fetch x; local keeps x"
    again = told(plan_of(None, local, remote))
    assert again.startswith("here: fetch x.conflict"), "nobody has refused it yet"


def test_a_version_that_is_a_conflict_copy_already_needs_no_room() -> None:
    last, content = list(COPIES.items())[-1]
    local, remote = tree_of({"d/x": file(80)} | COPIES), tree_of({"d/x": content} | COPIES)
    plan = plan_of(None, local, remote)
    assert [(conflict.path, conflict.copy) for conflict in plan.conflicts] == [("d/x", last)]
    assert plan.problems == []


COPIES = {conflict_name("d/x", f"20260102-0304{second:02}", "old"): file(50 + second) for second in range(10)}
"""As many conflict copies of d/x as there may be."""


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.PULL, Mode.PUSH])
@pytest.mark.parametrize(
    ("base", "local", "remote"),
    [
        ({"d/x": file()}, {"d/x": file(2)}, {"d/x": file(3)}),
        ({}, {"d/x": file(2)}, {"d/x": link()}),
        ({}, {"d/x": file(2)}, {"d/x/in": file(3)}),
        ({}, {"d/x/in": file(2)}, {"d/x": file(3)}),
        ({"d/x": file()}, {"d/x/in": file(2)}, {"d/x": file(3)}),
    ],
)
@pytest.mark.parametrize("where", ["here", "there", "both"])
def test_one_more_conflict_than_there_may_be_copies_leaves_both_versions(
    base: dict[str, Entry], local: dict[str, Entry], remote: dict[str, Entry], mode: Mode, where: str
) -> None:
    """Fault case 54: nothing is lost, nothing is overwritten, and the pass says so until some are decided."""
    before = tree_of(base | KEEP | (COPIES if where == "both" else {}))
    here = tree_of(local | KEEP | {"new": file(4)} | (COPIES if where != "there" else {}))
    there = tree_of(remote | KEEP | (COPIES if where != "here" else {}))
    first = plan_of(before, here, there, mode)
    assert [problem.path for problem in first.problems] == ["d/x"]
    assert "10 conflict copies" in first.problems[0].reason
    disks = carry_out(first, here, there)
    for disk, tree in zip(disks, (here, there), strict=True):
        assert disk.trash == []
        assert all(disk.tree[path] == entry for path, entry in tree.items())
        assert disk.tree.keys() - tree.keys() <= {*COPIES, "new"}
    before, here, there = agree(before, *(disk.tree for disk in disks)), disks[0].tree, disks[1].tree
    second = plan_of(before, here, there, mode)
    assert (second.empty, second.problems) == (True, first.problems)
    for tree in (before, here, there):
        tree.pop(next(iter(COPIES)), None)
    assert [conflict.path for conflict in plan_of(before, here, there, mode).conflicts] == ["d/x"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"b": file()}, "there: trash a, trash d/c, trash d"),
        ({"x": file(), "d/c": file(2)}, "there: trash a"),
        ({"a": file(), "x/c": file(2)}, "there: trash d/c, trash d"),
        ({"a": file(), "e/x": file(2)}, "there: make e, trash d/c, trash d"),
        ({"A": file(), "d/c": file(2)}, "there: move a>A"),
    ],
)
def test_what_is_renamed_to_a_name_that_is_ignored_there_is_gone_there(after: dict[str, Entry], expected: str) -> None:
    base, local = tree_of({"a": file(), "d/c": file(2)} | KEEP), tree_of(after | KEEP)
    plan = plan_of(base, local, base, remote_ignored=ignores("x", "b"))
    assert told(plan) == expected
    here, there = carry_out(plan, local, base)
    agreed = agree(base, here.tree, there.tree)
    assert told(plan_of(agreed, here.tree, there.tree, remote_ignored=ignores("x", "b"))) == ""


def test_many_names_that_are_ignored_there_are_many_deletes() -> None:
    base = many(150)
    local = {f"x-{path}": named(f"x-{path}", entry) for path, entry in base.items()}
    plan = plan_of(base, local, base, remote_ignored=lambda path, _directory: path.startswith("x-"))
    assert (len(plan.remote.held), plan.empty) == (150, True)


def test_a_change_of_case_to_a_name_that_is_ignored_there() -> None:
    base, local = tree_of({"a": file()} | KEEP), tree_of({"A": file()} | KEEP)
    plan = plan_of(base, local, base, folds=True, remote_ignored=ignores("A"))
    assert told(plan) == "there: trash a"


@pytest.mark.parametrize("mode", Mode)
def test_a_missing_listing_is_never_taken_for_an_empty_directory(mode: Mode) -> None:
    local, remote = scan(tree_of({"d/x": file()})), scan(tree_of({"d/y": file()}))
    for listings in ({"": remote.children("")}, {}):
        with pytest.raises(KeyError):
            reconcile(None, local, listings, mode, copy_name=copy_of, remote_total=2)
        with pytest.raises(KeyError):
            advance(None, local, listings)


def test_an_equal_directory_needs_no_listing() -> None:
    index = scan(tree_of({"d/x": file()}))
    plan = reconcile(None, index, {"": index.children("")}, Mode.BOTH, copy_name=copy_of, remote_total=2)
    assert plan == Plan()
    assert Index(advance(None, index, {"": index.children("")})).digest == index.digest


# Properties


files = [file(), file(2), file(seconds=5), file(2, seconds=5), file(executable=True), EMPTY]
leaves = st.sampled_from([*files, link(), link("b"), WITHHELD, HIDDEN])
names = st.sampled_from(["a", "b", "A", "x"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


def grown(pairs: Sequence[tuple[str, Entry]]) -> Tree:
    """Put the entries in one after the other, where there is room."""
    tree: Tree = {}
    for path, entry in pairs:
        put(tree, path, entry)
    return tree


def put(tree: Tree, path: str, entry: Entry) -> None:
    """Set `path`, with directories above it; what is there already is replaced."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        above = "/".join(parts[:depth])
        if above not in tree:
            tree[above] = named(above, DIRECTORY)
        elif tree[above].kind is not Kind.DIRECTORY:
            return
    cut(tree, path)
    tree[path] = named(path, entry)


def cut(tree: Tree, path: str) -> Tree:
    gone = [below for below in tree if below == path or below.startswith(f"{path}/")]
    return {below: tree.pop(below) for below in gone}


def rename(tree: Tree, source: str, target: str) -> None:
    if source not in tree or target in tree or target.startswith(f"{source}/"):
        return
    above = parent(target)
    if above and (above not in tree or tree[above].kind is not Kind.DIRECTORY):
        return
    for path, entry in cut(tree, source).items():
        moved = target + path.removeprefix(source)
        tree[moved] = named(moved, entry)


nodes = leaves | st.just(DIRECTORY)
trees = st.lists(st.tuples(paths, nodes), max_size=7).map(grown)
edits: st.SearchStrategy[list[Callable[[Tree], object]]] = st.lists(
    st.one_of(
        st.tuples(paths, nodes).map(lambda args: lambda tree: put(tree, *args)),
        paths.map(lambda path: lambda tree: cut(tree, path)),
        st.tuples(paths, paths).map(lambda args: lambda tree: rename(tree, *args)),
    ),
    max_size=4,
)


def edited(tree: Tree, changes: Sequence[Callable[[Tree], object]]) -> Tree:
    after = dict(tree)
    for change in changes:
        change(after)
    return after


@st.composite
def histories(draw: st.DrawFn) -> History:
    """(base, local, remote): two folders that were one, or that meet for the first time, or that have nothing alike."""
    base = draw(trees)
    apart = {path: entry for path, entry in base.items() if entry.kind is not Kind.WITHHELD}
    base_known = {path: entry for path, entry in apart.items() if not parent(path) or parent(path) in apart}
    if draw(st.booleans()):
        local, remote = edited(base, draw(edits)), edited(base, draw(edits))
    else:
        local, remote = draw(trees), draw(trees)
    return (base_known if draw(st.integers(0, 4)) else None), local, remote


modes = st.sampled_from(Mode)


def without_withheld(tree: Tree) -> Tree:
    return {path: entry for path, entry in tree.items() if entry.kind is not Kind.WITHHELD}


def within(path: str, paths: set[str]) -> bool:
    while path:
        if path in paths:
            return True
        path = parent(path)
    return False


def contents(entries: Sequence[Entry]) -> set[tuple[Kind, int, bytes, str]]:
    return {
        (entry.kind, entry.size, entry.hash, entry.target)
        for entry in entries
        if entry.kind in (Kind.FILE, Kind.SYMLINK)
    }


def set_apart(plan: Plan, local: Tree, remote: Tree) -> set[str]:
    """Paths that the pass leaves as they are."""
    withheld = {path for tree in (local, remote) for path, entry in tree.items() if entry.kind is Kind.WITHHELD}
    return withheld | {problem.path for problem in plan.problems}


def same(here: Entry | None, there: Entry | None) -> bool:
    if here is None or there is None:
        return here is there
    return here.kind is there.kind and (here.kind is Kind.DIRECTORY or here.same(there))


@settings(deadline=None)
@given(histories())
def test_after_a_pass_both_sides_are_the_same(history: History) -> None:
    base, local, remote = history
    plan = plan_of(base, local, remote, allow_deletes=True)
    here, there = carry_out(plan, local, remote)
    apart = set_apart(plan, local, remote)
    holders = {above for path in apart for above in ancestors(path)}
    for path in here.tree.keys() | there.tree.keys():
        if not within(path, apart) and path not in holders:
            assert same(here.tree.get(path), there.tree.get(path)), path
    if not apart:
        assert scan(here.tree).digest == scan(there.tree).digest


def ancestors(path: str) -> Iterator[str]:
    while path := parent(path):
        yield path


@settings(deadline=None)
@given(histories(), modes, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_no_content_is_lost(
    history: History, mode: Mode, allow_deletes: bool, writable: bool, folds: bool, remote_folds: bool
) -> None:
    base, local, remote = history
    plan = plan_of(
        base,
        local,
        remote,
        mode,
        allow_deletes=allow_deletes,
        writable=writable,
        folds=folds,
        remote_folds=remote_folds,
    )
    here, there = carry_out(plan, local, remote)
    before = contents([*local.values(), *remote.values()])
    assert before <= contents([*here.tree.values(), *there.tree.values(), *here.trash, *there.trash])


@settings(deadline=None)
@given(histories(), modes, st.booleans(), st.booleans())
def test_a_second_pass_is_empty(history: History, mode: Mode, allow_deletes: bool, writable: bool) -> None:
    base, local, remote = history
    first = plan_of(base, local, remote, mode, allow_deletes=allow_deletes, writable=writable)
    here, there = carry_out(first, local, remote)
    agreed = agree(base, here.tree, there.tree)
    second = plan_of(
        agreed, here.tree, there.tree, mode, allow_deletes=allow_deletes, writable=writable, held=first.held
    )
    assert second.empty
    assert second.conflicts == []
    assert second.notes == []


def agree(base: Tree | None, local: Tree, remote: Tree) -> Tree:
    here, there = scan(local), scan(remote)
    index = Index(advance(None if base is None else scan(base), here, listings_for(here, there)))
    known = without_withheld(dict(index.walk()))
    tree = {path: named(path, DIRECTORY) if e.kind is Kind.DIRECTORY else e for path, e in known.items()}
    assert all(not parent(path) or tree[parent(path)].kind is Kind.DIRECTORY for path in tree)
    return tree


@settings(deadline=None)
@given(histories(), st.booleans())
def test_only_what_was_in_the_base_and_is_unchanged_since_is_deleted(history: History, allow_deletes: bool) -> None:
    base, local, remote = history
    plan = plan_of(base, local, remote, allow_deletes=allow_deletes)
    known = base or {}
    for steps, mine, theirs in ((plan.local, local, remote), (plan.remote, remote, local)):
        for trash in (*steps.clearings, *steps.deletes, *steps.held):
            was, other = known[trash.path], theirs.get(trash.path)
            assert was.kind is trash.entry.kind
            assert was.kind is Kind.DIRECTORY or was.same(trash.entry)
            assert other is None or other.kind is not trash.entry.kind
            assert not any(
                entry.kind is Kind.WITHHELD for path, entry in mine.items() if path.startswith(f"{trash.path}/")
            )
        assert not (steps.held and (steps.clearings or steps.deletes))
        assert not (allow_deletes and steps.held)


@settings(deadline=None)
@given(histories(), modes)
def test_one_way_modes_leave_the_other_side_alone(history: History, mode: Mode) -> None:
    plan = plan_of(*history, mode)
    assert mode in (Mode.BOTH, Mode.PUSH) or plan.remote == Steps()
    assert mode is not Mode.PUSH or plan.local == Steps()


@settings(deadline=None)
@given(histories())
def test_a_mirror_ends_like_the_other_side_whatever_the_base_says(history: History) -> None:
    base, local, remote = (tree and without_withheld(tree) for tree in history)
    assert local is not None
    assert remote is not None
    plan = plan_of(base, local, remote, Mode.MIRROR, allow_deletes=True)
    here, there = carry_out(plan, local, remote)
    assert there.tree == remote
    assert scan(here.tree).digest == scan(remote).digest
    assert (plan.problems, plan.conflicts, plan.notes) == ([], [], [])
    assert plan == plan_of(None, local, remote, Mode.MIRROR, allow_deletes=True)


@settings(deadline=None)
@given(histories(), modes, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_listed_does_not_matter(history: History, mode: Mode, random: Random) -> None:
    def shuffled(tree: Tree) -> Index:
        listings = [(path, list(entries)) for path, entries in scan(tree).directories.items()]
        random.shuffle(listings)
        for _path, entries in listings:
            random.shuffle(entries)
        return Index(dict(listings))

    base, local, remote = history
    listings = list(listings_for(scan(local), scan(remote)).items())
    random.shuffle(listings)
    plan = reconcile(
        None if base is None else shuffled(base),
        shuffled(local),
        dict(listings),
        mode,
        copy_name=copy_of,
        remote_total=len(without_withheld(remote)),
    )
    assert plan == plan_of(base, local, remote, mode)


rules = st.sampled_from([never, ignores("x"), ignores("x/"), ignores("a/", "b")])
both_rules = st.tuples(rules, rules)

SWAPPED = {"local": "remote", "remote": "local"}
MIRRORED_MODE = {Mode.BOTH: Mode.BOTH, Mode.PULL: Mode.PUSH, Mode.PUSH: Mode.PULL}


@settings(deadline=None)
@given(
    histories(), st.sampled_from([*MIRRORED_MODE]), st.booleans(), st.tuples(st.booleans(), st.booleans()), both_rules
)
def test_it_does_not_matter_which_side_is_which(
    history: History, mode: Mode, allow_deletes: bool, folds: tuple[bool, bool], rules: tuple[Rules, Rules]
) -> None:
    def name(path: str, _side: str) -> str:
        return f"{path}.copy"

    def seen(steps: Steps) -> Steps:
        return replace(steps, fetches=[replace(fetch, source="") for fetch in steps.fetches])

    base, local, remote = history
    plan = plan_of(
        base,
        local,
        remote,
        mode,
        allow_deletes=allow_deletes,
        folds=folds[0],
        remote_folds=folds[1],
        ignored=rules[0],
        remote_ignored=rules[1],
        copy_name=name,
    )
    swapped = plan_of(
        base,
        remote,
        local,
        MIRRORED_MODE[mode],
        allow_deletes=allow_deletes,
        folds=folds[1],
        remote_folds=folds[0],
        ignored=rules[1],
        remote_ignored=rules[0],
        copy_name=name,
    )
    assert (seen(plan.local), seen(plan.remote)) == (seen(swapped.remote), seen(swapped.local))
    assert sorted(plan.problems) == sorted(swapped.problems)
    assert [path for path, _sentence in plan.notes] == [path for path, _sentence in swapped.notes]
    assert [(conflict.path, conflict.copy, conflict.kept, conflict.local) for conflict in plan.conflicts] == [
        (conflict.path, conflict.copy, SWAPPED[conflict.kept], conflict.remote) for conflict in swapped.conflicts
    ]


@settings(deadline=None)
@given(histories(), modes)
def test_a_held_pass_does_the_rest_of_the_pass(history: History, mode: Mode) -> None:
    """What is held stays where it is, and all else goes on: nothing that takes nothing away waits for it."""
    base, local, remote = history
    plan, confirmed = plan_of(base, local, remote, mode), plan_of(base, local, remote, mode, allow_deletes=True)
    here, there = carry_out(plan, local, remote)
    for steps, free, disk in ((plan.local, confirmed.local, here), (plan.remote, confirmed.remote, there)):
        if not steps.held:
            assert steps == free
        waiting = {trash.path for trash in steps.held}
        assert waiting <= set(disk.tree)
        moved = {move.target for move in free.moves}
        assert [fetch for fetch in free.fetches if not within(fetch.path, waiting)] == [
            fetch for fetch in steps.fetches if fetch.path not in moved
        ]


@settings(deadline=None)
@given(histories(), modes, rules)
def test_what_is_ignored_here_stays_as_it_is_on_both_sides(history: History, mode: Mode, ignored: Rules) -> None:
    base, local, remote = history
    plan = plan_of(base, local, remote, mode, allow_deletes=True, ignored=ignored)
    here, there = carry_out(plan, local, remote)
    seen = {path for path, entry in scan(local, ignored).walk() if entry.kind is not Kind.WITHHELD}
    assert all(here.tree[path] == entry for path, entry in local.items() if path not in seen)
    assert all(
        there.tree.get(path) == entry
        for path, entry in remote.items()
        if path not in local and ignored(path, entry.kind is Kind.DIRECTORY) and not moved_aside(path, plan)
    )


def moved_aside(path: str, plan: Plan) -> bool:
    return within(path, {move.source for steps in (plan.local, plan.remote) for move in (*steps.asides, *steps.moves)})


def without_collisions(tree: Tree) -> Tree:
    """What a filesystem that folds names can hold of a tree."""
    kept: Tree = {}
    taken: set[tuple[str, str]] = set()
    for path in sorted(tree):
        key = (parent(path), collision_key(tree[path].name))
        if key not in taken and (not parent(path) or parent(path) in kept):
            taken.add(key)
            kept[path] = tree[path]
    return kept


@settings(deadline=None)
@given(histories(), modes, st.sampled_from([(True, False), (False, True), (True, True)]))
def test_a_folder_that_folds_names_never_gets_two_of_one(
    history: History, mode: Mode, folds: tuple[bool, bool]
) -> None:
    """Where one name has to go before the other one can come, that takes a second pass."""
    base, local, remote = history
    local, remote = (
        without_collisions(tree) if folding else tree for tree, folding in zip((local, remote), folds, strict=True)
    )
    base = base and without_collisions(base)
    plan = Plan()
    for _pass in range(3):
        plan = plan_of(base, local, remote, mode, allow_deletes=True, folds=folds[0], remote_folds=folds[1])
        here, there = carry_out(plan, local, remote, folds=folds[0], remote_folds=folds[1])
        local, remote = here.tree, there.tree
        base = agree(base, local, remote)
    assert plan.empty


@settings(deadline=None)
@given(histories())
def test_the_base_moves_on_to_what_both_agree_on_and_stays_elsewhere(history: History) -> None:
    base, local, remote = history
    agreed, known = agree(base, local, remote), base or {}
    for path in known.keys() | local.keys() | remote.keys():
        here, there = local.get(path), remote.get(path)
        withheld = [entry for entry in (here, there) if entry and entry.kind is Kind.WITHHELD]
        if withheld:
            hidden = any(entry.target == IGNORED for entry in withheld)
            assert agreed.get(path) == (known.get(path) if not hidden else None)
        elif not any(within(path, {p for p, e in t.items() if e.kind is Kind.WITHHELD}) for t in (local, remote)):
            assert same(agreed.get(path), here if same(here, there) else known.get(path))
    assert agree(agreed, local, remote) == agreed
