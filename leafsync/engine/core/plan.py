"""The plan: what a pass will do, worked out from two indexes without touching anything.

`plan_pull` makes this folder like the other side: everything there comes here, and with `mirror` what is only here
goes to the trash. It is a pure function of what both sides listed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    with the same digest is equal and needs none. `ignored(path, is_directory)` are the local ignore rules.
    `folds_names` says that the local filesystem takes names that differ in case or normal form for one.

    A mass delete is held unless `allow_deletes`: then nothing goes to the trash, and what would have taken the place
    of something that goes is left out too. Raises KeyError when a listing is missing: half of what the other side
    has must never pass for all of it.
    """
    plan = _Planner(local, remote, mirror, ignored, folds_names, hold=False).run()
    if not allow_deletes and _is_mass_delete(plan.clearings + plan.deletes, local):
        plan = _Planner(local, remote, mirror, ignored, folds_names, hold=True).run()
    return plan


@dataclass(slots=True)
class _Planner:
    local: Index
    remote: Listings
    mirror: bool
    ignored: Callable[[str, bool], bool]
    folds_names: bool
    hold: bool
    """Put everything that would go to the trash into `Plan.held` instead."""
    plan: Plan = field(default_factory=Plan)

    def run(self) -> Plan:
        self.directory("")
        return self.plan

    def directory(self, path: str) -> None:
        here, there = self.local.children(path), self.remote[path]
        taken = {collision_key(entry.name): entry.name for entry in here} if self.folds_names else {}
        for entry in there:
            child = join(path, entry.name)
            mine = find(here, entry.name)
            if not self.takes_part(child, entry, mine):
                continue
            if self.folds_names and mine is None and not _claim(taken, entry.name):
                self.plan.problems.append(Problem(child, "another name differs only in case or normal form"))
                continue
            self.entry(child, entry, mine)
        if self.mirror:
            deletes = self.plan.held if self.hold else self.plan.deletes
            for mine in here:
                if find(there, mine.name) is None:
                    deletes.extend(self.trash(join(path, mine.name), mine))

    def takes_part(self, path: str, entry: Entry, mine: Entry | None) -> bool:
        """Whether the entry is to come here: what is there and what is here both take part, and no rule ignores it.

        What is here already was not ignored when it was scanned, so the rules are asked only about what is new: no
        entry, or one that a rule for directories alone may treat differently.
        """
        if entry.kind is Kind.WITHHELD or (mine is not None and mine.kind is Kind.WITHHELD):
            return False
        is_directory = entry.kind is Kind.DIRECTORY
        known = mine is not None and (mine.kind is Kind.DIRECTORY) == is_directory
        return known or not self.ignored(path, is_directory)

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
        if not trash or trash[-1].path != path:
            self.plan.problems.append(Problem(path, "the directory in the way holds entries that are not synced"))
            return False
        (self.plan.held if self.hold else self.plan.clearings).extend(trash)
        return not self.hold

    def trash(self, path: str, entry: Entry) -> Iterator[Trash]:
        """Yield what has to go for `path` to be gone: contents first, nothing that is withheld or holds such."""
        if entry.kind is Kind.WITHHELD:
            return
        whole = True
        for child in self.local.children(path):
            below = join(path, child.name)
            gone = False
            for item in self.trash(below, child):
                yield item
                gone = item.path == below
            whole = whole and gone
        if whole:
            yield Trash(path, entry)


def _claim(taken: dict[str, str], name: str) -> bool:
    """Take `name` in a directory that folds names; False when another name there is the same to it."""
    return taken.setdefault(collision_key(name), name) == name


def _is_mass_delete(removed: Sequence[Trash], local: Index) -> bool:
    """Whether so much of the folder would go that somebody has to confirm it (DESIGN section 7).

    A folder without any of its files counts as emptied even where directories stay because they hold withheld
    entries: an unmounted disk on the other side looks just like that.
    """
    if not removed:
        return False
    entries = [entry for _path, entry in local.walk() if entry.kind is not Kind.WITHHELD]
    files = _files(entries)
    emptied = len(removed) == len(entries) or 0 < files == _files(trash.entry for trash in removed)
    return emptied or len(removed) > max(MAX_DELETES, MAX_DELETE_SHARE * len(entries))


def _files(entries: Iterable[Entry]) -> int:
    return sum(entry.kind is not Kind.DIRECTORY for entry in entries)
