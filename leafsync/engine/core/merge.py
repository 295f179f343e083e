"""Three-way comparison: walks what both sides have beside the base and writes down the steps of each side.

A path is judged as two things, a leaf (file or link) and a directory, and then put together again where one side has
the one and the other side the other.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from leafsync.engine.core.conflicts import MAX_COPIES, Copies, CopyName
from leafsync.engine.core.draft import Draft
from leafsync.engine.core.index import Entry, Index, Kind, Problem, find
from leafsync.engine.core.names import collision_key, join, parent
from leafsync.engine.core.steps import Conflict, Fetch, Link, Move, Touch, Trash
from leafsync.engine.core.trees import BASE, Listings, Trees
from leafsync.engine.core.verdict import CONFLICT, LOCAL, REMOTE, newer, winner

SIDES: tuple[Literal["local"], Literal["remote"]] = ("local", "remote")

Pair = tuple[Entry | None, Entry | None]
"""What the local and the remote side have at a path."""


Ignored = Callable[[str, bool], bool]
"""(path, whether it is a directory) -> whether rules leave it out."""


Listing = Callable[[str], Sequence[Entry]]
"""Directory -> the entries that one side has in it."""


def never(_path: str, _directory: bool) -> bool:
    """Ignore nothing."""
    return False


class Mode(StrEnum):
    """Which sides a pass changes."""

    BOTH = "both"
    PULL = "pull"
    PUSH = "push"
    MIRROR = "mirror"
    """Pull, and what the other side does not have goes to the trash."""


class After(NamedTuple):
    """On which sides something is at a path after the pass."""

    local: bool
    remote: bool


class Merge:
    """One walk over both sides."""

    def __init__(
        self,
        base: Index,
        local: Index,
        remote: Listings,
        mode: Mode,
        *,
        sends: bool,
        copy_name: CopyName,
        ignored: tuple[Ignored, Ignored],
        folds: tuple[bool, bool],
        beside: Listing | None = None,
    ) -> None:
        """Compare; `sends` says whether the remote side may be changed where the mode wants it, `ignored` what each
        side's rules leave out, `folds` on which sides names that differ in case or normal form are one, `beside` what
        this side has in a directory, also where the pass is about one path in it alone: a conflict copy lies there.
        """
        self.draft = Draft()
        self.digests: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})
        """For each side, the digests of the directories it makes, as the other side has them."""
        self.trees = Trees(base, local, remote)
        self._mirror = mode is Mode.MIRROR
        self._changes = (mode is not Mode.PUSH, sends and mode in (Mode.BOTH, Mode.PUSH))
        self._copy_name = copy_name
        self._ignored = ignored
        self._folds = folds
        self._beside = beside or local.children
        self._copies: dict[str, Copies] = {}
        """Those in a directory, once one more is to go there."""

    def run(self) -> Draft:
        """Walk from the top. Raises KeyError when a listing is missing."""
        self._directory("")
        return self.draft

    def _directory(self, path: str, local: bool = True, remote: bool = True) -> After:
        """Walk the directory `path` of the sides that have it, and say which sides have anything in it afterwards."""
        names: tuple[dict[str, Entry], ...] = tuple(
            {entry.name: entry for entry in self.trees.children(side, path)} if there else {}
            for side, there in ((LOCAL, local), (REMOTE, remote), (BASE, True))
        )
        self._align(path, names)
        refused = self._collisions(LOCAL, path, names) | self._collisions(REMOTE, path, names)
        here = there = False
        for name in sorted(names[LOCAL].keys() | names[REMOTE].keys()):
            now = names[LOCAL].get(name), names[REMOTE].get(name)
            child = join(path, name)
            if name not in refused and self._takes_part(child, now):
                after = self._entry(child, names[BASE].get(name), now)
            else:
                after = _present(now)
            here, there = here or after.local, there or after.remote
        return After(here, there)

    def _takes_part(self, path: str, now: Pair) -> bool:
        """Whether no side withholds the entry and no rule of a side ignores it."""
        if any(entry is not None and entry.kind is Kind.WITHHELD for entry in now):
            return False
        return not (self._ignores(LOCAL, path, now) or self._ignores(REMOTE, path, now))

    def _ignores(self, side: int, path: str, now: Pair) -> bool:
        """Whether a rule of `side` ignores what the other side has.

        What a side has already was not ignored when it was scanned, so its rules are asked only about what is new: no
        entry, or one that a rule for directories alone may treat differently.
        """
        mine, other = now[side], now[1 - side]
        if other is None or (mine is not None and _is_directory(mine) == _is_directory(other)):
            return False
        return self._ignored[side](path, _is_directory(other))

    def _entry(self, path: str, base: Entry | None, now: Pair) -> After:
        local, remote = now
        if local is not None and remote is not None and _is_directory(local) != _is_directory(remote):
            return self._leaf_and_directory(path, base, local, remote)
        if _is_directory(local or remote):
            return self._directories(path, base, local, remote)
        return self._leaf(path, _leaf_of(base), local, remote)

    def _kept(self, local: Entry, remote: Entry) -> int:
        """Return whose version keeps its name or metadata; where one side alone may change, the other side's does."""
        if self._changes == (True, True):
            return newer(local, remote)
        return REMOTE if self._changes[LOCAL] else LOCAL

    def _leaf(self, path: str, base: Entry | None, local: Entry | None, remote: Entry | None) -> After:
        now = local, remote
        better = winner(base, local, remote, mirror=self._mirror)
        if better == CONFLICT and local is not None and remote is not None:
            if not local.same_content(remote):
                return self._conflict(path, local, remote)
            better = self._kept(local, remote)
        if better is None or not self._changes[1 - better]:
            return _present(now)
        if base is not None and now[1 - better] is None and not self._mirror:
            edited, deleted = ("here", "there") if better == LOCAL else ("there", "here")
            self.draft.notes.append((path, f"edited {edited}, deleted {deleted}: the edit came back"))
        self._put(1 - better, path, now[better], now[1 - better])
        return After(now[better] is not None, now[better] is not None)

    def _put(self, side: int, path: str, entry: Entry | None, old: Entry | None, source: str = "") -> None:
        """Make the leaf `entry` of `path` on `side`, or nothing, in place of the leaf `old`.

        `source` is where the other side will have its content by then; it is `path` unless said otherwise.
        """
        steps = self.draft.steps[side]
        if side == LOCAL:
            source = self.trees.known(REMOTE, source or path)
        if entry is None:
            if old is not None:
                steps.deletes.append(Trash(path, old))
        elif entry.kind is Kind.SYMLINK:
            steps.links.append(Link(path, entry, old))
        elif old is not None and old.same_content(entry):
            steps.touches.append(Touch(path, entry, old))
        else:
            steps.fetches.append(Fetch(path, entry, old, "" if source == path else source))

    def _conflict(self, path: str, local: Entry, remote: Entry) -> After:
        """Keep both of two leaves: one keeps the name, the other goes on as a copy wherever there may be changes."""
        kept = self._kept(local, remote)
        if any(self._changes) and self._keeps_both(path, kept, local, remote):
            lost = (local, remote)[1 - kept]
            copy = self._copy(path, kept, local, remote)
            if copy:
                self.draft.steps[1 - kept].moves.append(Move(path, copy, lost))
            self._put(1 - kept, path, (local, remote)[kept], None if copy else lost)
        return After(local=True, remote=True)

    def _copy(self, path: str, kept: int, local: Entry, remote: Entry) -> str:
        """Note a conflict, bring the version that loses its name to the side that keeps it, and return its new path.

        Returns "" when that side has it as a copy already, which comes to the other side like any new file, or cannot:
        an earlier pass did not come to its end, or the other side ignores the name of the copy. One that this side
        ignores stays here.
        """
        lost = (local, remote)[1 - kept]
        earlier = self._earlier_copy(path, kept, lost)
        copy = earlier or self._copies_of(path).add(self._copy_name(path, SIDES[1 - kept]))
        self.draft.conflicts.append(Conflict(path, copy, SIDES[kept], local, remote))
        if earlier:
            return ""
        stays = kept == REMOTE and self._ignored[LOCAL](copy, _is_directory(lost))
        if self._changes[kept] and not stays:
            named = msgspec.structs.replace(lost, name=copy.rpartition("/")[2])
            self._put(kept, copy, named, None, path if kept == LOCAL else "")
        return copy

    def _earlier_copy(self, path: str, kept: int, lost: Entry) -> str:
        """Return the conflict copy by which the side that keeps its version of `path` has the `lost` one too, or "".

        One that the other side has deleted since does not count: it is about to go. One that both sides ignore takes
        no part: it is told by the very name that this pass gives it.
        """
        above = parent(path)
        planned = self._copy_name(path, SIDES[1 - kept])
        for name in self._copies_of(path).names(planned):
            mine, other = (find(self._listed(side, above), name) for side in (kept, 1 - kept))
            new = find(self.trees.children(BASE, above), name) is None
            if mine is not None and _alike(mine, lost) and (new if other is None else _alike(other, lost)):
                return join(above, name)
            hidden = mine is not None and mine.kind is Kind.WITHHELD
            if hidden and join(above, name) == planned and self._ignored[1 - kept](planned, _is_directory(lost)):
                return planned
        return ""

    def _keeps_both(self, path: str, kept: int, local: Entry, remote: Entry) -> bool:
        """Whether a conflict copy of `path` may be made if one has to be; if not, both versions stay where they are.

        One that the other side ignores can only be kept here, where the pass may change this side.
        """
        lost = (local, remote)[1 - kept]
        copy = self._copy_name(path, SIDES[1 - kept])
        if kept == LOCAL and not self._changes[LOCAL] and self._ignored[REMOTE](copy, _is_directory(lost)):
            reason = "both sides changed it, but a conflict copy would be ignored there: sync it in both directions"
        elif self._copies_of(path).full(copy) and not self._earlier_copy(path, kept, lost):
            reason = f"both sides changed it, but it has {MAX_COPIES} conflict copies: decide those first"
        else:
            return True
        self.draft.problems.append(Problem(path, reason))
        return False

    def _copies_of(self, path: str) -> Copies:
        """Return the conflict copies in the directory that holds `path`."""
        above = parent(path)
        if above not in self._copies:
            names = (*self._listed(LOCAL, above), *self._listed(REMOTE, above))
            self._copies[above] = Copies(entry.name for entry in names)
        return self._copies[above]

    def _listed(self, side: int, path: str) -> Sequence[Entry]:
        """Return what is known of a directory of `side`."""
        return self._beside(self.trees.known(LOCAL, path)) if side == LOCAL else self.trees.listed(side, path)

    def _make(self, side: int, path: str, like: Entry) -> None:
        self.draft.steps[side].directories.append(path)
        self.digests[side][path] = like.hash

    def _directories(self, path: str, base: Entry | None, local: Entry | None, remote: Entry | None) -> After:
        if local is not None and remote is not None:
            if local.hash != remote.hash:
                self._directory(path)
            return After(local=True, remote=True)
        owner = LOCAL if local is not None else REMOTE
        below = self._directory(path, local is not None, remote is not None)
        stays, comes = self._directory_after(base, owner, below)
        directory = local or remote
        if directory is not None and not stays:
            self.draft.steps[owner].deletes.append(Trash(path, directory))
        if directory is not None and comes:
            self._make(1 - owner, path, directory)
        return After(stays, comes) if owner == LOCAL else After(comes, stays)

    def _directory_after(self, base: Entry | None, owner: int, below: After) -> tuple[bool, bool]:
        """Whether a directory that `owner` alone has stays there, and whether it comes to the other side.

        It has no content of its own: what is left in it, or comes into it, keeps it.
        """
        deleted = owner == LOCAL if self._mirror else _is_directory(base)
        stays = below[owner] or not (deleted and self._changes[owner])
        comes = below[1 - owner] or (not deleted and self._changes[1 - owner])
        return stays, comes

    def _leaf_and_directory(self, path: str, base: Entry | None, local: Entry, remote: Entry) -> After:
        """One side has a leaf where the other one, the owner, has a directory."""
        owner = LOCAL if _is_directory(local) else REMOTE
        other = 1 - owner
        leaf, directory = (local, remote)[other], (local, remote)[owner]
        outer, self.draft = self.draft, Draft()
        below = self._directory(path, owner == LOCAL, owner == REMOTE)
        inner, self.draft = self.draft, outer
        leaf_wins = winner(_leaf_of(base), *_on(other, leaf), mirror=self._mirror) == other
        leaf_comes, leaf_stays = leaf_wins and self._changes[owner], leaf_wins or not self._changes[other]
        stays, comes = self._directory_after(base, owner, below)
        if leaf_comes and stays and not comes:
            self._directory_gives_way(path, local, remote, owner)
            return After(local=True, remote=True)
        if leaf_comes and not stays:
            self.draft.steps[owner].clearings.extend([*inner.steps[owner].deletes, Trash(path, directory)])
            self._put(owner, path, leaf, None)
            return After(local=True, remote=True)
        if comes and leaf_stays and not self._keeps_both(path, owner, local, remote):
            return After(local=True, remote=True)
        self.draft.add(inner)
        if comes:
            copy = self._copy(path, owner, local, remote) if leaf_stays else ""
            if copy:
                self.draft.steps[other].asides.append(Move(path, copy, leaf))
            else:
                self.draft.steps[other].clearings.append(Trash(path, leaf))
            self._make(other, path, directory)
        return After(local=True, remote=True)

    def _directory_gives_way(self, path: str, local: Entry, remote: Entry, owner: int) -> None:
        """The leaf takes the name where the pass may not change the other side; the owner's directory is the copy."""
        if self._changes[1 - owner] or self._mirror or self._holds_apart(owner, path):
            self.draft.problems.append(Problem(path, "the directory in the way holds entries that are not synced"))
            return
        if not self._keeps_both(path, 1 - owner, local, remote):
            return
        copy = self._copy(path, 1 - owner, local, remote)
        self.draft.steps[owner].moves.append(Move(path, copy, (local, remote)[owner]))
        self._put(owner, path, (local, remote)[1 - owner], None)

    def _holds_apart(self, side: int, path: str) -> bool:
        """Whether something below the directory `path` takes no part, so that nobody may move or remove it."""
        for entry in self.trees.children(side, path):
            child = join(path, entry.name)
            takes_part = self._takes_part(child, _on(side, entry))
            if not takes_part or (_is_directory(entry) and self._holds_apart(side, child)):
                return True
        return False

    def _collisions(self, side: int, path: str, names: Sequence[Mapping[str, Entry]]) -> frozenset[str]:
        """Find what cannot come to `side` because a name that is one with its own is taken there (fault case 15)."""
        if not self._folds[side] or not self._changes[side]:
            return frozenset()
        taken = {collision_key(name) for name in names[side]}
        refused = set()
        for name in sorted(names[1 - side].keys() - names[side].keys()):
            entry, base, child = names[1 - side][name], names[BASE].get(name), join(path, name)
            unchanged = not self._mirror and base is not None and entry.same(base)
            if unchanged or not self._takes_part(child, _on(1 - side, entry)):
                continue
            if collision_key(name) in taken:
                refused.add(name)
                self.draft.problems.append(Problem(child, "another name differs only in case or normal form"))
            taken.add(collision_key(name))
        return frozenset(refused)

    def _align(self, path: str, names: Sequence[dict[str, Entry]]) -> None:
        """Follow names that changed in case alone on one side: a rename, whatever else happened to the entry.

        On a filesystem that folds names, a delete of the old one would take the new one away.
        """
        for side in (LOCAL, REMOTE) if any(self._folds) else ():
            old, new, base = names[side], names[1 - side], names[BASE]
            if not self._changes[side] or not old.keys() - new.keys():
                continue
            known = {collision_key(name): name for name in sorted(old.keys() - new.keys())}
            for name in sorted(new.keys() - old.keys()):
                former = known.pop(collision_key(name), "")
                if not former or not self._renamed(side, join(path, name), old[former], new[name]):
                    continue
                if not self._mirror and (former not in base or name in base):
                    continue
                self.draft.steps[side].asides.append(Move(join(path, former), join(path, name), old[former]))
                self.trees.rename(side, join(path, name), former)
                old[name] = msgspec.structs.replace(old.pop(former), name=name)
                if former in base and name not in base:
                    self.trees.rename(BASE, join(path, name), former)
                    base[name] = msgspec.structs.replace(base.pop(former), name=name)

    def _renamed(self, side: int, path: str, old: Entry, new: Entry) -> bool:
        """Whether `old` of `side` can become `new`, which the other side calls `path`: of one kind, both take part."""
        if _is_directory(old) != _is_directory(new):
            return False
        return all(self._takes_part(path, _on(1 - side, entry)) for entry in (old, new))


def _on(side: int, entry: Entry) -> Pair:
    return (entry, None) if side == LOCAL else (None, entry)


def _present(now: Pair) -> After:
    return After(now[LOCAL] is not None, now[REMOTE] is not None)


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.DIRECTORY


def _alike(one: Entry, other: Entry) -> bool:
    return one.kind is other.kind is not Kind.DIRECTORY and one.same_content(other)


def _leaf_of(entry: Entry | None) -> Entry | None:
    return entry if entry is not None and entry.kind in (Kind.FILE, Kind.SYMLINK) else None
