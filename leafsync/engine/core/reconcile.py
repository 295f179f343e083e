"""Reconcile: from the last state both sides agreed on, and what each has now, to what a pass does on both sides.

`reconcile` is a pure function of its arguments and total; its contract is in ARCHITECTURE.md, "What a pass decides".
The comparison itself is in `merge`, renames in `renames`, mass deletes in `deletes`; this module puts them together.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import msgspec

from leafsync.engine.core.base import advance, agreed
from leafsync.engine.core.conflicts import CopyName, conflict_name
from leafsync.engine.core.deletes import (
    MAX_DELETE_SHARE,
    MAX_DELETES,
    is_mass_delete,
    within,
    without_replacements,
)
from leafsync.engine.core.draft import Draft
from leafsync.engine.core.index import Entry, Index, Kind, Problem
from leafsync.engine.core.merge import Ignored, Listing, Merge, Mode, never
from leafsync.engine.core.names import join, parent
from leafsync.engine.core.renames import with_moves
from leafsync.engine.core.steps import NOTHING_HELD, Fetch, Held, Link, Plan, Steps, Touch, Trash
from leafsync.engine.core.trees import Listings
from leafsync.engine.core.verdict import LOCAL, REMOTE

__all__ = [
    "MAX_DELETES",
    "MAX_DELETE_SHARE",
    "Listings",
    "Mode",
    "advance",
    "agreed",
    "conflict_name",
    "never",
    "reconcile",
]


def reconcile(
    base: Index | None,
    local: Index,
    remote: Listings,
    mode: Mode,
    *,
    copy_name: CopyName,
    allow_deletes: bool = False,
    local_ignored: Ignored = never,
    remote_ignored: Ignored = never,
    writable: bool = True,
    local_folds: bool = False,
    remote_folds: bool = False,
    remote_total: int,
    held: Held = NOTHING_HELD,
    beside: Listing | None = None,
) -> Plan:
    """Plan a pass.

    `base` is what both sides agreed on last, None at first contact. `remote` has the listing of "" and of each
    directory below whose digest differs from the local one; one with the same digest is equal and needs none.
    `copy_name(path, side)` names the conflict copy of the "local" or "remote" version of `path`; names that are taken
    get a number. `local_ignored(path, is_directory)` are the ignore rules here, `remote_ignored` those of the other
    side as far as they are known: what a side ignores does not come to it. `writable` says whether the other side
    takes changes, `local_folds` and `remote_folds` that a side's filesystem takes names that differ in case or normal
    form for one. `remote_total` is the number of entries of the remote side.

    A mass delete on a side is held unless `allow_deletes`: nothing of it goes to the trash, and nothing comes in its
    place. `held` is what an earlier pass held: it still waits when what came meanwhile has made the folder so large
    that it is no mass any more. `beside` lists what this side has in a directory where `local` is about one path of
    it alone.

    Raises KeyError when a listing is missing: half of what the other side has must never pass for all of it.
    """
    known = base or Index({"": ()})

    def merge(mode: Mode, *, sends: bool) -> Merge:
        return Merge(
            known,
            local,
            remote,
            mode,
            sends=sends,
            copy_name=copy_name,
            ignored=(local_ignored, remote_ignored),
            folds=(local_folds, remote_folds),
            beside=beside,
        )

    def must_wait(
        removed: Sequence[Trash], before: Container[str], entries: Iterable[Entry], total: int | None = None
    ) -> bool:
        waiting = any(trash.path in before for trash in removed)
        return not allow_deletes and (waiting or is_mass_delete(removed, entries, total))

    # A side that takes no changes cannot take its part in a conflict either, so both directions become a pull.
    result = merge(Mode.PULL if mode is Mode.BOTH and not writable else mode, sends=writable)
    draft = result.run()
    plan = Plan(conflicts=draft.conflicts, problems=draft.problems, notes=draft.notes)
    if mode in (Mode.BOTH, Mode.PUSH) and not writable:
        unsent = _unsent(merge(mode, sends=True).run(), draft, mode)
        plan.problems += [Problem(path, "the other side is read-only") for path in unsent]
    here = _entries(local.children)
    there = _entries(lambda path: remote[path] if path in remote else local.children(path))
    plan.local = _finish(result, LOCAL, lambda removed: must_wait(removed, held.local, here))
    plan.remote = _finish(result, REMOTE, lambda removed: must_wait(removed, held.remote, there, remote_total))
    return plan


def _finish(merge: Merge, side: int, must_wait: Callable[[Sequence[Trash]], bool]) -> Steps:
    """Turn what a side has to do into its steps: renames found, mass deletes held."""

    def with_renames(steps: Steps) -> Steps:
        return with_moves(steps, merge.digests[side], lambda path: merge.trees.exists(side, path))

    found = merge.draft.steps[side]
    found.directories.sort()
    steps = with_renames(found)
    if not must_wait(steps.clearings + steps.deletes):
        return steps
    steps = with_renames(without_replacements(found))
    return msgspec.structs.replace(steps, clearings=[], deletes=[], held=steps.clearings + steps.deletes)


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
        paths = {path for path in paths if not within(path, resolved)} | {conflict.copy for conflict in done.conflicts}
    return sorted(path for path in paths if not within(parent(path), paths))
