"""Steps for the other device, as the changes that travel, and back again on its side."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from leafsync.engine.core.index import Entry, Index, Kind, entry_digest
from leafsync.engine.core.messages import (
    MAX_FRAME,
    MAX_ITEMS,
    MAX_REASON,
    Change,
    ChangeKind,
    Refusal,
    RefusalKind,
)
from leafsync.engine.core.names import name_problem, parent, path_problem, target_problem
from leafsync.engine.core.steps import Fetch, Link, Move, Steps, Touch, Trash

PAGE_BYTES = MAX_FRAME // 2
"""Bytes of changes in one page, by a generous estimate, so that it never passes the frame's cap."""

CHANGE_BYTES = 160
"""Bytes of a change beside its path, source and link target."""

Ignored = Callable[[str, bool], bool]


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
    page: list[Change] = []
    size = 0
    for change in changes:
        target = change.entry.target if change.entry is not None else ""
        cost = CHANGE_BYTES + 4 * (2 * len(change.path) + len(change.source) + len(target))
        if page and (len(page) >= MAX_ITEMS or size + cost > PAGE_BYTES):
            yield page, False
            page, size = [], 0
        page.append(change)
        size += cost
    yield page, True


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

    def add(self, changes: Sequence[Change]) -> None:
        """Take one page. Raises ChangeMalformed."""
        for change in changes:
            for path in (change.path, change.source):
                if path_problem(path):
                    raise ChangeMalformed("a change names a path that cannot be")
            refusal = self._refusal(change)
            if refusal is None:
                self._sort(change)
            else:
                self.refusals.append(refusal)

    def _refusal(self, change: Change) -> Refusal | None:
        """Refuse what is not as it was seen, and what this device's rules leave out (fault cases 30 and 52)."""
        directory = change.kind is ChangeKind.MAKE_DIRECTORY
        creates = not change.expected or bool(change.source and change.kind is not ChangeKind.PUT)
        if creates and self._leaves_out(change.path, directory):
            return Refusal(change.path, RefusalKind.IGNORED, "it is ignored there")
        if directory:
            return None
        seen = self._seen(change)
        withheld = seen is not None and seen.kind is Kind.WITHHELD
        if withheld or (entry_digest(seen) if seen is not None else b"") != change.expected:
            return Refusal(change.path, RefusalKind.CHANGED, "it was changed there meanwhile")
        return None

    def _seen(self, change: Change) -> Entry | None:
        """Return what this device showed at the path, as earlier changes of the list leave it."""
        moved = change.kind in (ChangeKind.ASIDE, ChangeKind.MOVE)
        path = change.source if moved else change.path
        for prefix in _with_parents(path):
            if prefix in self._renamed:
                return self._index.entry(self._renamed[prefix] + path[len(prefix) :])
            if prefix in self._vacated:
                return None
        return self._index.entry(path)

    def _leaves_out(self, path: str, directory: bool) -> bool:
        return self._ignored(path, directory) or any(
            self._ignored(above, True) for above in _with_parents(parent(path))
        )

    def _sort(self, change: Change) -> None:
        steps, seen = self.steps, None if change.kind is ChangeKind.MAKE_DIRECTORY else self._seen(change)
        match change.kind:
            case ChangeKind.MAKE_DIRECTORY:
                steps.directories.append(change.path)
            case ChangeKind.PUT:
                steps.fetches.append(Fetch(change.path, _entry(change, Kind.FILE), seen, change.source))
            case ChangeKind.LINK:
                steps.links.append(Link(change.path, _entry(change, Kind.SYMLINK), seen))
            case ChangeKind.TOUCH:
                steps.touches.append(Touch(change.path, _entry(change, Kind.FILE), _existing(seen)))
            case ChangeKind.CLEAR:
                self._vacated.add(change.path)
                steps.clearings.append(Trash(change.path, _existing(seen)))
            case ChangeKind.DELETE:
                steps.deletes.append(Trash(change.path, _existing(seen)))
            case ChangeKind.ASIDE | ChangeKind.MOVE:
                moves = steps.asides if change.kind is ChangeKind.ASIDE else steps.moves
                moves.append(Move(change.source, change.path, _existing(seen)))
                self._renamed[change.path] = self._renamed.pop(change.source, change.source)
                self._vacated.add(change.source)


def _with_parents(path: str) -> Iterator[str]:
    """Yield the path and the directories above it, nearest first."""
    while path:
        yield path
        path = parent(path)


def _existing(seen: Entry | None) -> Entry:
    if seen is None:
        raise ChangeMalformed("a change of something that was never listed")
    return seen


def _entry(change: Change, kind: Kind) -> Entry:
    entry = change.entry
    if entry is None or entry.kind is not kind or name_problem(entry.name):
        raise ChangeMalformed("a change has no entry of its kind")
    if kind is Kind.SYMLINK and target_problem(change.path, entry.target):
        raise ChangeMalformed("a link leads where it must not")
    return entry


def refusal(path: str, reason: str) -> Refusal:
    """Return the refusal of a change that could not be carried out."""
    return Refusal(path, RefusalKind.FAILED, reason[:MAX_REASON])
