"""Reconcile: from the last state both sides agreed on, and what each has now, to what a pass does on both sides.

`reconcile` is a pure function of its arguments and total: DESIGN section 7 is its contract. The comparison itself is
in `merge`, renames in `renames`; this module holds mass deletes back and says what a read-only side does not get.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace

from leafsync.engine.core.base import advance
from leafsync.engine.core.conflicts import CopyName, conflict_name
from leafsync.engine.core.index import Entry, Index, Kind, Problem
from leafsync.engine.core.merge import LOCAL, REMOTE, Draft, Listings, Merge, Mode
from leafsync.engine.core.names import join, parent
from leafsync.engine.core.renames import with_moves
from leafsync.engine.core.steps import Fetch, Link, Plan, Steps, Touch, Trash

__all__ = ["Listings", "Mode", "advance", "conflict_name", "never", "reconcile"]

MAX_DELETES = 100
"""Deletes that one pass may always do on a side; beyond it `MAX_DELETE_SHARE` decides (DESIGN section 7)."""

MAX_DELETE_SHARE = 0.25
"""Share of a side's entries that one pass may delete without being asked again."""


def never(_path: str, _directory: bool) -> bool:
    """Ignore nothing."""
    return False


def reconcile(
    base: Index | None,
    local: Index,
    remote: Listings,
    mode: Mode,
    *,
    copy_name: CopyName,
    allow_deletes: bool = False,
    local_ignored: Callable[[str, bool], bool] = never,
    writable: bool = True,
    local_folds: bool = False,
    remote_total: int,
) -> Plan:
    """Plan a pass.

    `base` is what both sides agreed on last, None at first contact. `remote` has the listing of "" and of each
    directory below whose digest differs from the local one; one with the same digest is equal and needs none.
    `copy_name(path, side)` names the conflict copy of the "local" or "remote" version of `path`; names that are taken
    get a number. `local_ignored(path, is_directory)` are the ignore rules here. `writable` says whether the other
    side takes changes, `local_folds` that the local filesystem takes names that differ in case or normal form for
    one. `remote_total` is the number of entries of the remote side.

    Raises KeyError when a listing is missing: half of what the other side has must never pass for all of it.
    """
    base = base or Index({"": ()})

    def merge(mode: Mode, *, sends: bool) -> Merge:
        return Merge(
            base,
            local,
            remote,
            mode,
            sends=sends,
            copy_name=copy_name,
            ignored=local_ignored,
            folds=local_folds,
        )

    sends = mode in (Mode.BOTH, Mode.PUSH)
    one_way = Mode.PULL if mode is Mode.BOTH and not writable else mode
    comparison = merge(one_way, sends=writable)
    draft = comparison.run()
    plan = Plan(conflicts=draft.conflicts, problems=draft.problems, notes=draft.notes)
    if sends and not writable:
        unsent = _unsent(merge(mode, sends=True).run(), draft, mode)
        plan.problems += [Problem(path, "the other side is read-only") for path in unsent]
    here = _entries(local.children)
    there = _entries(lambda path: remote[path] if path in remote else local.children(path))
    plan.local = _finish(comparison, LOCAL, here, None, allow_deletes)
    plan.remote = _finish(comparison, REMOTE, there, remote_total, allow_deletes)
    return plan


def _finish(merge: Merge, side: int, entries: Iterable[Entry], total: int | None, allow_deletes: bool) -> Steps:
    """Turn what a side has to do into its steps: renames found, mass deletes held, each list in its order."""
    found = merge.draft.steps[side]
    found.directories.sort()

    def moved(steps: Steps) -> Steps:
        return with_moves(steps, merge.digests[side], lambda path: merge.exists(side, path))

    steps = moved(found)
    if allow_deletes or not _is_mass_delete(steps.clearings + steps.deletes, entries, total):
        return steps
    steps = moved(_without_replacements(found))
    return replace(steps, clearings=[], deletes=[], held=steps.clearings + steps.deletes)


def _without_replacements(steps: Steps) -> Steps:
    """Leave out what would take the place of something that is cleared away."""
    cleared = {trash.path for trash in steps.clearings}
    return replace(
        steps,
        directories=[path for path in steps.directories if not _within(path, cleared)],
        fetches=[fetch for fetch in steps.fetches if not _within(fetch.path, cleared)],
        links=[link for link in steps.links if not _within(link.path, cleared)],
    )


def _is_mass_delete(removed: Sequence[Trash], entries: Iterable[Entry], total: int | None) -> bool:
    """Whether so much of a side would go that somebody has to confirm it (DESIGN section 7, fault case 74).

    A side without any of its files counts as emptied even where directories stay because they hold withheld entries:
    an unmounted disk on the other side looks just like that.
    """
    if not removed:
        return False
    present = [entry for entry in entries if entry.kind is not Kind.WITHHELD]
    files = _files(present)
    emptied = len(removed) == len(present) or 0 < files == _files(trash.entry for trash in removed)
    return emptied or len(removed) > max(MAX_DELETES, MAX_DELETE_SHARE * (len(present) if total is None else total))


def _files(entries: Iterable[Entry]) -> int:
    return sum(entry.kind is not Kind.DIRECTORY for entry in entries)


def _entries(listing: Callable[[str], Sequence[Entry]]) -> Iterator[Entry]:
    """Yield everything a side has."""
    waiting = [""]
    while waiting:
        path = waiting.pop()
        for entry in listing(path):
            yield entry
            if entry.kind is Kind.DIRECTORY:
                waiting.append(join(path, entry.name))


def _unsent(wanted: Draft, done: Draft, mode: Mode) -> list[str]:
    """Return the top-most paths that `wanted` changes on the remote side.

    Conflicts were resolved here instead, as in PULL: what still waits for the other side is the copy.
    """
    steps = wanted.steps[REMOTE]
    changes: list[Trash | Fetch | Link | Touch] = [*steps.clearings, *steps.fetches, *steps.links, *steps.touches]
    paths = {change.path for change in (*changes, *steps.deletes)}
    paths.update(steps.directories, (move.source for move in (*steps.asides, *steps.moves)))
    paths -= {conflict.copy for conflict in wanted.conflicts}
    if mode is Mode.BOTH:
        resolved = {conflict.path for conflict in wanted.conflicts}
        paths = {path for path in paths if not _within(path, resolved)} | {conflict.copy for conflict in done.conflicts}
    return sorted(path for path in paths if not _within(parent(path), paths))


def _within(path: str, directories: Container[str]) -> bool:
    """Whether `path` is one of `directories` or below one."""
    while path:
        if path in directories:
            return True
        path = parent(path)
    return False
