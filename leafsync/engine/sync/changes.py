"""Steps for the other device, as the changes that travel, and back again on its side."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from leafsync.engine.core.index import IGNORED, Entry, Index, Kind, entry_digest
from leafsync.engine.core.listing import MAX_ENTRIES
from leafsync.engine.core.merge import Ignored
from leafsync.engine.core.merkle import HASH_SIZE
from leafsync.engine.core.messages import (
    MAX_ITEMS,
    MAX_REASON,
    Change,
    ChangeKind,
    Refusal,
    RefusalKind,
)
from leafsync.engine.core.names import join, parent, path_problem, target_problem
from leafsync.engine.core.paging import paged
from leafsync.engine.core.steps import Fetch, Link, Move, Steps, Touch, Trash

CHANGE_BYTES = 160
"""Bytes of a change beside its path, source and link target."""

MAX_CHANGES = 2 * MAX_ENTRIES
"""Changes that one list may hold: each entry of a folder may go and another one come."""

MAX_CHANGE_TEXT = 256 << 20
"""Characters of paths and targets in one list of changes (fault case 42)."""

_RENAMES = frozenset({ChangeKind.ASIDE, ChangeKind.MOVE})

_DONE_TO_A_PATH = {
    ChangeKind.ASIDE: "named",
    ChangeKind.CLEAR: "cleared",
    ChangeKind.MAKE_DIRECTORY: "filled",
    ChangeKind.MOVE: "named",
    ChangeKind.PUT: "filled",
    ChangeKind.LINK: "filled",
    ChangeKind.TOUCH: "filled",
    ChangeKind.DELETE: "deleted",
}
"""What a change does to its path; an honest list does each of these at most once to a path."""


def to_changes(steps: Steps) -> Iterator[Change]:
    """Yield the changes that carry out `steps` on the other device, in their order."""
    for move in steps.asides:
        yield _renaming(ChangeKind.ASIDE, move)
    for trash in steps.clearings:
        yield Change(ChangeKind.CLEAR, trash.path, expected=entry_digest(trash.entry))
    for path in steps.directories:
        yield Change(ChangeKind.MAKE_DIRECTORY, path)
    for move in steps.moves:
        yield _renaming(ChangeKind.MOVE, move)
    for fetch in steps.fetches:
        yield Change(ChangeKind.PUT, fetch.path, fetch.entry, _expected(fetch.local), fetch.source)
    for link in steps.links:
        yield Change(ChangeKind.LINK, link.path, link.entry, _expected(link.local))
    for touch in steps.touches:
        yield Change(ChangeKind.TOUCH, touch.path, touch.entry, _expected(touch.local))
    for trash in steps.deletes:
        yield Change(ChangeKind.DELETE, trash.path, expected=entry_digest(trash.entry))


def _renaming(kind: ChangeKind, move: Move) -> Change:
    return Change(kind, move.target, expected=entry_digest(move.entry), source=move.source)


def _expected(local: Entry | None) -> bytes:
    return entry_digest(local) if local is not None else b""


def pages(changes: Iterable[Change]) -> Iterator[tuple[list[Change], bool]]:
    """Cut changes into pages that fit a frame, the last one marked."""
    return paged(changes, _cost, MAX_ITEMS)


def _cost(change: Change) -> int:
    target = change.entry.target if change.entry is not None else ""
    return CHANGE_BYTES + 4 * (2 * len(change.path) + len(change.source) + len(target))


class ChangeMalformed(ValueError):
    """A change that no honest device asks for."""


class Receipt:
    """Changes as they were asked for, checked against what this device showed and sorted into steps."""

    def __init__(self, index: Index, ignored: Ignored) -> None:
        """`index` is what the other device was shown; `ignored` are the ignore rules here."""
        self.steps = Steps()
        self.refusals: list[Refusal] = []
        self._index = index
        self._ignored = ignored
        self._renamed: dict[str, str] = {}
        """New path -> where that entry is in the index."""
        self._vacated: set[str] = set()
        """Paths from which a change before took the entry away."""
        self._named: set[tuple[str, str]] = set()
        """(path, what is done to it) of all changes so far."""
        self._text = 0

    def add(self, changes: Sequence[Change]) -> None:
        """Take one page. Raises ChangeMalformed."""
        for change in changes:
            self._check(change)
            seen = self._seen(change)
            refusal = self._refusal(change, seen)
            if refusal is None:
                self._sort(change, seen)
            else:
                self.refusals.append(refusal)

    def _check(self, change: Change) -> None:
        """Raise ChangeMalformed for what no honest device asks for, whatever is here."""
        if path_problem(change.path) or path_problem(change.source):
            raise ChangeMalformed("a change names a path that cannot be")
        named = change.path, _DONE_TO_A_PATH[change.kind]
        if named in self._named:
            raise ChangeMalformed("two changes do the same to one path")
        self._named.add(named)
        self._text += len(change.path) + len(change.source) + (len(change.entry.target) if change.entry else 0)
        if len(self._named) > MAX_CHANGES or self._text > MAX_CHANGE_TEXT:
            raise ChangeMalformed("it asks for more changes than a folder may have entries")

    def _refusal(self, change: Change, seen: Entry | None) -> Refusal | None:
        """Refuse what is not as it was seen, and what this device's rules leave out (fault cases 30 and 52)."""
        directory = change.kind is ChangeKind.MAKE_DIRECTORY
        renames = change.kind in _RENAMES
        if (renames or not change.expected) and self._leaves_out(
            change.path, directory or (renames and seen is not None and seen.kind is Kind.DIRECTORY)
        ):
            return Refusal(change.path, RefusalKind.IGNORED, "it is ignored there")
        if directory:
            return None
        withheld = seen is not None and seen.kind is Kind.WITHHELD
        if seen is not None and withheld and seen.target == IGNORED and not renames:
            return Refusal(change.path, RefusalKind.IGNORED, "it is ignored there")
        if withheld or (entry_digest(seen) if seen is not None else b"") != change.expected:
            return Refusal(change.path, RefusalKind.CHANGED, "it was changed there meanwhile")
        return None

    def _seen(self, change: Change) -> Entry | None:
        """Return what this device showed at the path, under the name that earlier changes of the list gave it."""
        path = change.source if change.kind in _RENAMES else change.path
        origin = self._origin(path)
        entry = self._index.entry(origin) if origin else None
        return msgspec.structs.replace(entry, name=path.rpartition("/")[2]) if entry is not None else None

    def _origin(self, path: str) -> str:
        """Return where in the index the entry is that is at `path` by now, "" when it was taken away."""
        for prefix in _with_parents(path):
            if prefix in self._renamed:
                return self._renamed[prefix] + path[len(prefix) :]
            if prefix in self._vacated:
                return ""
        return path

    def _leaves_out(self, path: str, directory: bool) -> bool:
        return self._ignored(path, directory) or any(
            self._ignored(above, True) for above in _with_parents(parent(path))
        )

    def _sort(self, change: Change, seen: Entry | None) -> None:
        steps = self.steps
        match change.kind:
            case ChangeKind.MAKE_DIRECTORY:
                steps.directories.append(change.path)
            case ChangeKind.PUT:
                steps.fetches.append(Fetch(change.path, _entry(change, Kind.FILE), _leaf(seen), change.source))
            case ChangeKind.LINK:
                steps.links.append(Link(change.path, _entry(change, Kind.SYMLINK), _leaf(seen)))
            case ChangeKind.TOUCH:
                steps.touches.append(Touch(change.path, _entry(change, Kind.FILE), _existing(_leaf(seen))))
            case ChangeKind.CLEAR:
                self._vacated.add(change.path)
                steps.clearings.append(Trash(change.path, _existing(seen)))
            case ChangeKind.DELETE:
                steps.deletes.append(Trash(change.path, _existing(seen)))
            case ChangeKind.ASIDE | ChangeKind.MOVE:
                self._rename(change, _existing(seen))

    def _rename(self, change: Change, seen: Entry) -> None:
        origin = self._origin(change.source)
        if any(target_problem(path, link.target) for path, link in self._links(change.path, origin, seen)):
            raise ChangeMalformed("a rename makes a link lead where it must not")
        moves = self.steps.asides if change.kind is ChangeKind.ASIDE else self.steps.moves
        moves.append(Move(change.source, change.path, seen))
        self._renamed.pop(change.source, None)
        self._renamed[change.path] = origin
        self._vacated.add(change.source)

    def _links(self, path: str, origin: str, entry: Entry) -> Iterator[tuple[str, Entry]]:
        """Yield the links in what goes from `origin` in the index to `path`, with their new paths."""
        if entry.kind is Kind.SYMLINK:
            yield path, entry
        elif entry.kind is Kind.DIRECTORY:
            for child in self._index.children(origin):
                yield from self._links(join(path, child.name), join(origin, child.name), child)


def _with_parents(path: str) -> Iterator[str]:
    """Yield the path and the directories above it, nearest first."""
    while path:
        yield path
        path = parent(path)


def _leaf(seen: Entry | None) -> Entry | None:
    if seen is not None and seen.kind is Kind.DIRECTORY:
        raise ChangeMalformed("a change puts content in the place of a directory")
    return seen


def _existing(seen: Entry | None) -> Entry:
    if seen is None:
        raise ChangeMalformed("a change of something that was never listed")
    return seen


def _entry(change: Change, kind: Kind) -> Entry:
    entry = change.entry
    if entry is None or entry.kind is not kind or entry.name != change.path.rpartition("/")[2]:
        raise ChangeMalformed("a change has no entry of its kind and name")
    if len(entry.hash) != (HASH_SIZE if kind is Kind.FILE else 0):
        raise ChangeMalformed("a change has a hash of the wrong length")
    if kind is Kind.SYMLINK and target_problem(change.path, entry.target):
        raise ChangeMalformed("a link leads where it must not")
    return entry


def refusal(path: str, reason: str) -> Refusal:
    """Return the refusal of a change that could not be carried out."""
    return Refusal(path, RefusalKind.FAILED, reason[:MAX_REASON])
