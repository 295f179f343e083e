"""The plan: what a pass will do, worked out from two indexes without touching anything.

`plan_pull` makes this folder like the other side: everything there comes here, and with `mirror` what is only here
goes to the trash. It is a pure function of what both sides listed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from leafsync.engine.core.index import Entry, Index, Kind, Problem, find
from leafsync.engine.core.names import collision_key, join

MAX_DELETES = 100
"""Deletes that one pass may always do; beyond it `MAX_DELETE_SHARE` decides (DESIGN section 7)."""

MAX_DELETE_SHARE = 0.25
"""Share of the folder's entries that one pass may delete without being asked again."""

Listings = Mapping[str, Sequence[Entry]]
"""The other side's sorted entries of every directory that was asked for."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the file `entry` to `path`; `local` is what it replaces."""

    path: str
    entry: Entry
    local: Entry | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """Make the symlink `entry` at `path`; `local` is what it replaces."""

    path: str
    entry: Entry
    local: Entry | None = None


@dataclass(frozen=True, slots=True)
class Touch:
    """Give the file at `path` the time and executable bit of `entry`; its content is right already."""

    path: str
    entry: Entry
    local: Entry


@dataclass(frozen=True, slots=True)
class Trash:
    """Move `entry` at `path` to the trash."""

    path: str
    entry: Entry


@dataclass(slots=True)
class Plan:
    """The actions of a pass, each list in the order it has to be carried out."""

    clearings: list[Trash] = field(default_factory=list)
    """What is in the way of another kind of entry; contents before their directory."""
    directories: list[str] = field(default_factory=list)
    """To be made, parents first."""
    fetches: list[Fetch] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    deletes: list[Trash] = field(default_factory=list)
    """What only this side has; contents before their directory."""
    held: list[Trash] = field(default_factory=list)
    """Deletes that are too many to do unasked."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do (problems and held deletes are not done)."""
        return not (self.clearings or self.directories or self.fetches or self.links or self.touches or self.deletes)


def never(_path: str, _directory: bool) -> bool:
    """Ignore nothing."""
    return False


def plan_pull(
    local: Index,
    remote: Listings,
    *,
    mirror: bool = False,
    allow_deletes: bool = False,
    ignored: Callable[[str, bool], bool] = never,
    folds_names: bool = False,
) -> Plan:
    """Plan to make `local` like `remote`.

    `remote` has the listing of "" and of each directory below whose digest differs from the local one; a directory
    it does not list is equal. `ignored(path, is_directory)` are the local ignore rules. `folds_names` says that the
    local filesystem takes names that differ in case or normal form for one.
    """
    planner = _Planner(local, remote, mirror, ignored, folds_names)
    planner.directory("")
    plan = planner.plan
    _hold_mass_delete(plan, local, allow_deletes)
    return plan


class _Planner:
    def __init__(
        self,
        local: Index,
        remote: Listings,
        mirror: bool,
        ignored: Callable[[str, bool], bool],
        folds_names: bool,
    ) -> None:
        self.local = local
        self.remote = remote
        self.mirror = mirror
        self.ignored = ignored
        self.folds_names = folds_names
        self.plan = Plan()

    def directory(self, path: str) -> None:
        here = self.local.children(path)
        there = self.remote.get(path, ())
        taken = {collision_key(entry.name): entry.name for entry in here} if self.folds_names else {}
        for entry in there:
            child = join(path, entry.name)
            mine = find(here, entry.name)
            if mine is None and taken.setdefault(collision_key(entry.name), entry.name) != entry.name:
                self.plan.problems.append(Problem(child, "another name differs only in case or normal form"))
            elif self.takes_part(child, entry, mine):
                self.entry(child, entry, mine)
        if self.mirror:
            for mine in here:
                if find(there, mine.name) is None:
                    self.plan.deletes.extend(self.trash(join(path, mine.name), mine))

    def takes_part(self, path: str, entry: Entry, mine: Entry | None) -> bool:
        if entry.kind is Kind.WITHHELD or (mine is not None and mine.kind is Kind.WITHHELD):
            return False
        return mine is not None or not self.ignored(path, entry.kind is Kind.DIRECTORY)

    def entry(self, path: str, entry: Entry, mine: Entry | None) -> None:
        if mine is not None and (mine.kind is Kind.DIRECTORY) != (entry.kind is Kind.DIRECTORY):
            if not self.clear(path, mine):
                return
            mine = None
        if entry.kind is Kind.DIRECTORY:
            if mine is None:
                self.plan.directories.append(path)
            if mine is None or mine.hash != entry.hash:
                self.directory(path)
        elif mine is None or not mine.same(entry):
            self.change(path, entry, mine)

    def change(self, path: str, entry: Entry, mine: Entry | None) -> None:
        if entry.kind is Kind.SYMLINK:
            self.plan.links.append(Link(path, entry, mine))
        elif mine is not None and mine.same_content(entry):
            self.plan.touches.append(Touch(path, entry, mine))
        else:
            self.plan.fetches.append(Fetch(path, entry, mine))

    def clear(self, path: str, mine: Entry) -> bool:
        """Make way for another kind of entry; a whole directory only gives way in a mirror."""
        if mine.kind is Kind.DIRECTORY and not self.mirror:
            self.plan.problems.append(Problem(path, "a directory here is in the way of a file there"))
            return False
        trash = list(self.trash(path, mine))
        if mine.kind is Kind.DIRECTORY and (not trash or trash[-1].path != path):
            self.plan.problems.append(Problem(path, "the directory in the way holds entries that are not synced"))
            return False
        self.plan.clearings.extend(trash)
        return True

    def trash(self, path: str, entry: Entry) -> Iterator[Trash]:
        """Yield what has to go for `path` to be gone: contents first, nothing that is withheld or holds such."""
        if entry.kind is Kind.WITHHELD:
            return
        if entry.kind is Kind.DIRECTORY:
            whole = True
            for child in self.local.children(path):
                gone = False
                for item in self.trash(join(path, child.name), child):
                    yield item
                    gone = item.path == join(path, child.name)
                whole = whole and gone
            if not whole:
                return
        yield Trash(path, entry)


def _hold_mass_delete(plan: Plan, local: Index, allow_deletes: bool) -> None:
    """Hold the deletes of a pass that would remove too much of the folder (DESIGN section 7)."""
    count = len(plan.deletes) + len(plan.clearings)
    total = sum(entry.kind is not Kind.WITHHELD for _path, entry in local.walk())
    too_many = count > max(MAX_DELETES, MAX_DELETE_SHARE * total)
    if allow_deletes or not count or not (too_many or count == total):
        return
    cleared = {trash.path for trash in plan.clearings}
    plan.held = plan.clearings + plan.deletes
    plan.clearings, plan.deletes = [], []
    plan.fetches = [fetch for fetch in plan.fetches if fetch.path not in cleared]
    plan.links = [link for link in plan.links if link.path not in cleared]
    blocked = [path for path in plan.directories if path in cleared]
    for path in blocked:
        plan.directories = [made for made in plan.directories if not _inside(made, path)]
        plan.fetches = [fetch for fetch in plan.fetches if not _inside(fetch.path, path)]
        plan.links = [link for link in plan.links if not _inside(link.path, path)]


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
