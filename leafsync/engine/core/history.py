"""The history: what each pass did to this folder, so that it can be shown and undone."""

import enum
from collections.abc import Iterable

import msgspec

from leafsync.engine.core.index import Entry, Index, Kind


class ActionKind(enum.StrEnum):
    """What was done to a path."""

    CREATED = "created"
    """A file came where nothing was."""
    REPLACED = "replaced"
    """A file took the place of another file or link."""
    TRASHED = "trashed"
    """A file, link or directory went to the trash."""
    MOVED = "moved"
    """A file, link or directory was renamed from `ActionRecord.source` to its path."""
    MADE = "made"
    """A directory was made."""
    LINKED = "linked"
    """A symlink was made."""
    TOUCHED = "touched"
    """The time or executable bit of a file was set; its content stayed."""
    CONFLICT = "conflict"
    """Both sides had changed the path; the version in `ActionRecord.source` is the copy of the other one. A note: what
    was done about it are actions of their own."""


class ActionRecord(msgspec.Struct, frozen=True, array_like=True, gc=False, omit_defaults=True):
    """One action that was carried out here."""

    kind: ActionKind
    path: str
    source: str = ""
    """Where a moved entry was, or the conflict copy."""
    kept: str = ""
    """Where in the trash what was there before is, empty when nothing was or when it is there no more."""
    mark: int | None = None
    """What the action left (64 bits, `disk.folder.lasting_mark`): an undo touches nothing else. None for directories
    that were made and for what is gone."""


class PassRecord(msgspec.Struct, frozen=True):
    """One pass that changed something here."""

    id: str
    """Name of its directory in the trash; the beginning of it is enough for a user to type."""
    moment: str
    """When it began (RFC 3339)."""
    peer: str
    """Name of the other device, empty when the user undid or restored something."""
    actions: tuple[ActionRecord, ...]
    """In the order they were carried out."""

    @property
    def undo(self) -> bool:
        """Whether the user undid or restored something."""
        return not self.peer


_ARRIVALS = (ActionKind.CREATED, ActionKind.REPLACED, ActionKind.MOVED, ActionKind.MADE, ActionKind.LINKED)


def came_back(undos: Iterable[PassRecord], index: Index) -> dict[str, Entry]:
    """Return what these undos have brought back, path -> entry, as far as the folder still has it so."""
    found = {}
    for action in (action for undo in undos for action in undo.actions if action.kind in _ARRIVALS):
        entry = index.entry(action.path)
        if entry is None or entry.kind is Kind.WITHHELD:
            continue
        if entry.kind is not Kind.FILE or index.state(action.path) == action.mark:
            found[action.path] = entry
    return found
