"""Undo and restore: what a pass replaced, removed, moved or made is put back, and nothing newer is touched.

An action is undone only while what it left is still there, told by its state mark. What has to give way goes to the
trash of a new pass, which the history lists like any other: an undo can be undone.
"""

import os
import stat as modes
from collections.abc import Callable, Iterable

import msgspec

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import TRASH, inside, parent
from leafsync.engine.disk.commit import replace
from leafsync.engine.disk.folder import Folder, lasting_mark, state_mark
from leafsync.engine.disk.seen import change_error, check_path
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from leafsync.errors import EntryChanged, EntryNewer, EntryNotKept, LeafSyncError, PathUnrestorable

Outcome = tuple[str, LeafSyncError | None]
"""A path of the pass, and why it is not as it was before the pass."""


def undo(folder: Folder, store: Store, record: PassRecord, trash: Trash, *, moment: str) -> list[Outcome]:
    """Undo a whole pass, the newest action first. Returns what came of each action that did something to a path.

    `trash` is that of the new pass, `moment` when it begins (RFC 3339). Errors are EntryNewer (something else is
    there by now), EntryNotKept (the trash was emptied), EntryChanged, EntryRefused, DiskFull, DiskFailed. Raises what
    the store raises, and DiskFailed when the changes cannot be brought to the disk.
    """
    return _carry_out(folder, store, record, record.actions, trash, moment)


def restore(folder: Folder, store: Store, record: PassRecord, path: str, trash: Trash, *, moment: str) -> list[Outcome]:
    """Bring back what the pass replaced, removed or moved away at `path` and below. Parameters and errors as in
    `undo`; raises PathUnrestorable when there is nothing of that kind."""
    actions = [action for action in record.actions if _brings_back(action, path)]
    if not actions:
        raise PathUnrestorable(id=record.id, path=path)
    return _carry_out(folder, store, record, actions, trash, moment)


def _brings_back(action: ActionRecord, path: str) -> bool:
    gone = action.source if action.kind is ActionKind.MOVED else action.path
    removes = action.kind in (ActionKind.MOVED, ActionKind.REPLACED, ActionKind.TRASHED) or action.kept
    return bool(removes) and inside(gone, path)


def _carry_out(
    folder: Folder, store: Store, record: PassRecord, actions: Iterable[ActionRecord], trash: Trash, moment: str
) -> list[Outcome]:
    work = _Undo(folder, trash)
    outcomes: list[Outcome] = []
    try:
        with folder.handles():
            for action in reversed(tuple(actions)):
                step = _STEPS.get(action.kind)
                if action.kind is ActionKind.TOUCHED:
                    work.accept(action)
                elif step is not None:
                    outcomes.append((action.path, work.attempt(step, action)))
    finally:
        try:
            trash.sync()
        finally:
            if work.done:
                store.put_pass(PassRecord(trash.pass_name, moment, "", tuple(work.done)))
            if work.used:
                store.drop_kept(record.id, work.used)
            if work.back:
                store.disagree(work.back)
    return outcomes


class _Undo(msgspec.Struct):
    folder: Folder
    trash: Trash
    done: list[ActionRecord] = msgspec.field(default_factory=list)
    """What was done here, in this order."""
    used: set[str] = msgspec.field(default_factory=set)
    """Places in the trash that hold nothing any more, because it came back."""
    marks: dict[str, int] = msgspec.field(default_factory=dict)
    """The state of what came back: an older action of the same pass left it."""

    back: dict[str, Entry] = msgspec.field(default_factory=dict)
    """What came back where it was, as stat says; a directory stands for all that is in it."""

    def attempt(self, step: "Callable[[_Undo, ActionRecord], None]", action: ActionRecord) -> LeafSyncError | None:
        try:
            check_path(action.path)
            step(self, action)
        except OSError as error:
            return change_error(error, action.path)
        except LeafSyncError as error:
            return error
        return None

    def accept(self, action: ActionRecord) -> None:
        """Take the state that a touch left for the one that an older action of the pass left."""
        stat = self.folder.stat(action.path)
        if stat is not None and state_mark(stat) == action.mark:
            self.marks[action.path] = action.mark

    def discard(self, action: ActionRecord) -> None:
        """Undo that something came where nothing was."""
        path = action.path
        stat = self.folder.stat(path)
        if stat is None:
            return
        entry, mark = self.left(action, stat)
        self.trash.remove(path, entry, mark)
        self.done.append(ActionRecord(ActionKind.TRASHED, path, kept=self.trash.kept[path]))

    def link(self, action: ActionRecord) -> None:
        """Undo that a symlink came, in the place of something or not."""
        if action.kept:
            self.put_back(action)
        else:
            self.discard(action)

    def put_back(self, action: ActionRecord) -> None:
        """Undo that something took the place of something else."""
        path = action.path
        stat = self.folder.stat(path)
        if stat is None:
            self.bring_back(action)
            return
        entry, mark = self.left(action, stat)
        self.kept(action)
        replace(self.folder, action.kept, path, entry, mark, self.trash)
        self.came_back(path, action.kept, replaced=self.trash.kept[path])

    def bring_back(self, action: ActionRecord) -> None:
        """Undo that something went to the trash."""
        path = action.path
        there = self.folder.stat(path)
        kept = self.kept(action)
        if modes.S_ISDIR(kept.st_mode):
            if there is None:
                self.make_directories(path)
                self.back[path] = Entry(path.rpartition("/")[2], Kind.DIRECTORY)
            elif not modes.S_ISDIR(there.st_mode):
                raise EntryNewer(path=path)
            return
        self.make_directories(parent(path))
        try:
            self.folder.rename_new(action.kept, path)
        except FileExistsError:
            raise EntryNewer(path=path) from None
        self.came_back(path, action.kept)

    def move_back(self, action: ActionRecord) -> None:
        """Undo a rename."""
        path, source = action.path, action.source
        check_path(source)
        stat = self.folder.stat(path)
        if stat is None:
            raise EntryChanged(path=path)
        entry, mark = self.left(action, stat)
        self.make_directories(parent(source))
        try:
            moved = self.trash.move(path, source, entry, mark)
        except EntryChanged as error:
            if error.fields.get("path") == source:
                raise EntryNewer(path=source) from error
            raise
        at = self.marks[source] = lasting_mark(moved)
        self.back[source] = self.entry(source, moved)
        self.done.append(ActionRecord(ActionKind.MOVED, source, source=path, mark=at))

    def remove_directory(self, action: ActionRecord) -> None:
        """Undo that a directory was made."""
        path = action.path
        if self.folder.stat(path) is None:
            return
        try:
            self.trash.remove(path, Entry("", Kind.DIRECTORY), None)
        except EntryChanged as error:
            raise EntryNewer(path=path) from error
        self.done.append(ActionRecord(ActionKind.TRASHED, path, kept=self.trash.kept[path]))

    def left(self, action: ActionRecord, stat: os.stat_result) -> tuple[Entry, int | None]:
        """Return what the action left, for the last look before it is changed. Raises EntryNewer when that is not
        what is there."""
        path = action.path
        mark = lasting_mark(stat)
        if mark not in (action.mark, self.marks.get(path)):
            raise EntryNewer(path=path)
        if modes.S_ISDIR(stat.st_mode):
            return Entry("", Kind.DIRECTORY), None
        if modes.S_ISLNK(stat.st_mode):
            return Entry("", Kind.SYMLINK, target=self.folder.read_link(path)), None
        return Entry("", Kind.FILE), mark

    def kept(self, action: ActionRecord) -> os.stat_result:
        """Return the lstat of what the action kept in the trash. Raises EntryNotKept."""
        stat = self.folder.stat(action.kept) if action.kept.startswith(f"{TRASH}/") else None
        if stat is None:
            raise EntryNotKept(path=action.path)
        return stat

    def make_directories(self, path: str) -> None:
        """Make a directory and those above it that are missing. Raises EntryNewer when something else is there."""
        if not path:
            return
        stat = self.folder.stat(path)
        if stat is not None and not modes.S_ISDIR(stat.st_mode):
            raise EntryNewer(path=path)
        if stat is None:
            self.make_directories(parent(path))
            self.folder.make_directory(path)
            self.trash.note(parent(path))
            self.done.append(ActionRecord(ActionKind.MADE, path))

    def came_back(self, path: str, place: str, replaced: str = "") -> None:
        """Note that what was kept at `place` is at `path` again; `replaced` is where what was there went."""
        self.used.add(place)
        self.trash.note(parent(place))
        self.trash.note(parent(path))
        stat = self.folder.stat(path)
        is_link = stat is not None and modes.S_ISLNK(stat.st_mode)
        kind = ActionKind.LINKED if is_link else ActionKind.REPLACED if replaced else ActionKind.CREATED
        mark = state_mark(stat) if stat is not None else None
        if stat is not None and mark is not None:
            self.marks[path] = mark
            self.back[path] = self.entry(path, stat)
        self.done.append(ActionRecord(kind, path, kept=replaced, mark=mark))

    def entry(self, path: str, stat: os.stat_result) -> Entry:
        """Return what is at `path`, without its content."""
        name = path.rpartition("/")[2]
        if modes.S_ISDIR(stat.st_mode):
            return Entry(name, Kind.DIRECTORY)
        if modes.S_ISLNK(stat.st_mode):
            return Entry(name, Kind.SYMLINK, target=self.folder.read_link(path))
        return Entry(name, Kind.FILE, stat.st_size, stat.st_mtime_ns)


_STEPS: dict[ActionKind, Callable[[_Undo, ActionRecord], None]] = {
    ActionKind.CREATED: _Undo.discard,
    ActionKind.REPLACED: _Undo.put_back,
    ActionKind.LINKED: _Undo.link,
    ActionKind.TRASHED: _Undo.bring_back,
    ActionKind.MOVED: _Undo.move_back,
    ActionKind.MADE: _Undo.remove_directory,
}
"""How each kind of action is undone; the others changed nothing that could come back."""
