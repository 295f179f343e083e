"""What passes did to a folder, and what they left to decide: history, undo, restore and conflict copies.

Works beside a running `serve` or `connect`, without the folder's lock: every change checks at the last moment that it
still finds what it has seen, what it displaces goes to the trash, and it is a pass of its own in the history. Loads no
event loop.
"""

import enum
import errno
import logging
import os
import secrets
import stat as modes
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
from blake3 import blake3

from leafsync.engine.core.conflicts import conflict_of, free_name
from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import collision_key, join, name_problem, parent, path_problem
from leafsync.engine.disk import restore
from leafsync.engine.disk.closing import Closing
from leafsync.engine.disk.commit import replace
from leafsync.engine.disk.folder import Folder, disk_errors, lasting_mark, state_mark
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash, pass_name
from leafsync.errors import ConflictUnknown, EntryRefused, LeafSyncError, PassUnknown, UsageError

_log = logging.getLogger("leafsync.records")

LAST = "last"
"""Stands for the newest pass where a pass is named."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})
"""A directory that went away meanwhile, or another filesystem, which is not part of the folder."""


class Keep(enum.StrEnum):
    """How a conflict is resolved."""

    THIS = "this"
    """The version that has the name stays, the copy goes to the trash."""
    OTHER = "other"
    """The copy takes the name, the version that had it goes to the trash."""
    BOTH = "both"
    """Both stay; the copy gets an ordinary name."""


class ConflictCopy(msgspec.Struct, frozen=True):
    """A version that lost its name in a conflict."""

    path: str
    """The name both versions had; there need not be anything by now."""
    copy: str
    size: int
    """Bytes of a file, else 0."""
    mtime_ns: int
    """Modification time in nanoseconds since 1970."""


class Undone(msgspec.Struct, frozen=True):
    """What came of an undo, a restore or a resolved conflict."""

    id: str
    """The pass that this is in the history."""
    outcomes: tuple[tuple[str, str], ...]
    """(path, why it could not be done, empty when it was)."""

    @property
    def partial(self) -> bool:
        """Whether something could not be done."""
        return any(error for _path, error in self.outcomes)


class Records(Closing):
    """The records of one folder, and the folder."""

    def __init__(self, folder: Folder, place: Path, now: Callable[[], datetime]) -> None:
        """Take over an open folder; see `open`."""
        self._folder = folder
        self._place = place
        self._now = now
        self._opened: Store | None = None

    @classmethod
    def open(
        cls,
        folder: str,
        state_dir: Path,
        *,
        force: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> Self:
        """Open the folder at `folder`, whose records are below `state_dir`. `now` returns the time with its zone.

        Raises FolderMissing, FolderNotDirectory, FolderUnreadable or FolderRefused; later calls also StoreUnusable.
        """
        opened = Folder.open(folder, force=force)
        return cls(opened, state_dir / "folders" / record_name(opened.path) / "store.sqlite", now)

    def close(self) -> None:
        """Let go of the folder and its records."""
        if self._opened is not None:
            self._opened.close()
        self._folder.close()

    @property
    def _store(self) -> Store:
        if self._opened is None:
            self._opened = Store.open(self._place)
        return self._opened

    # History

    def passes(self, limit: int = 50) -> list[PassRecord]:
        """Return the last passes that changed something here, newest first."""
        return self._store.passes(limit) if self._place.exists() else []

    def find(self, pass_id: str) -> PassRecord:
        """Return the pass with this id, or the only one whose id begins so; `LAST` is the newest.

        Raises PassUnknown, PassAmbiguous.
        """
        if pass_id == LAST:
            for record in self.passes(1):
                return record
        if not self._place.exists():
            raise PassUnknown(id=pass_id)
        return self._store.find_pass(pass_id)

    def undo(self, pass_id: str) -> Undone:
        """Take back all that a pass did here, but nothing that is newer. Raises PassUnknown, PassAmbiguous."""
        record = self.find(pass_id)
        trash = self._trash()
        return _undone(trash, restore.undo(self._folder, self._store, record, trash, moment=self._moment()))

    def restore(self, pass_id: str, path: str) -> Undone:
        """Bring back what a pass replaced, removed or moved away at `path` and below it, in place of nothing newer.

        Raises PassUnknown, PassAmbiguous, PathUnrestorable.
        """
        record = self.find(pass_id)
        trash = self._trash()
        moment = self._moment()
        return _undone(trash, restore.restore(self._folder, self._store, record, path, trash, moment=moment))

    # Conflicts

    def conflicts(self) -> list[ConflictCopy]:
        """Return the conflict copies in the folder, by path. They are known by their names alone."""
        found: list[ConflictCopy] = []
        waiting = [""]
        with self._folder.handles():
            while waiting:
                directory = waiting.pop()
                for name, stat in self._listed(directory):
                    copy = join(directory, name)
                    path = conflict_of(copy)
                    if path is not None:
                        size = stat.st_size if modes.S_ISREG(stat.st_mode) else 0
                        found.append(ConflictCopy(path, copy, size, stat.st_mtime_ns))
                    elif modes.S_ISDIR(stat.st_mode):
                        waiting.append(copy)
        return sorted(found, key=lambda copy: (copy.path, copy.copy))

    def still_there(self, copies: Iterable[str]) -> set[str]:
        """Return those of these conflict copies that are in the folder, and those that nobody can say it of."""
        with self._folder.handles():
            return {copy for copy in copies if self._may_be_there(copy)}

    def _may_be_there(self, path: str) -> bool:
        try:
            return self._folder.stat(path) is not None
        except OSError:
            return True

    def _listed(self, directory: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield what may be synced: LeafSync's own directories and names that cannot travel are left out."""
        try:
            entries = self._folder.list_directory(directory)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                _log.warning("conflict copies below %s are not shown: %s", directory or "the folder", error.strerror)
            return
        yield from ((name, stat) for name, stat in entries if name_problem(name) is None)

    def resolve(self, copy: str, keep: Keep) -> Undone:
        """Decide what becomes of a conflict copy.

        Raises ConflictUnknown, UsageError when `keep` has no meaning here, and EntryChanged, EntryRefused, DiskFull or
        DiskFailed; what was done until then stays, and is in the history.
        """
        path = conflict_of(copy)
        if path is None or path_problem(copy) is not None:
            raise ConflictUnknown(copy=copy)
        with disk_errors(copy):
            stat = self._folder.stat(copy)
        if stat is None:
            raise ConflictUnknown(copy=copy)
        resolution = _Resolution(self._folder, self._trash())
        try:
            with disk_errors(copy), self._folder.handles():
                resolution.carry_out(path, copy, stat, keep)
        finally:
            self._record(resolution)
        return Undone(resolution.trash.pass_name, ((copy, ""),))

    def _record(self, resolution: "_Resolution") -> None:
        if resolution.done:
            self._store.put_pass(PassRecord(resolution.trash.pass_name, self._moment(), "", tuple(resolution.done)))

    def _moment(self) -> str:
        return self._now().isoformat(timespec="seconds")

    def _trash(self) -> Trash:
        return Trash(self._folder, pass_name(self._now(), secrets.token_hex(2)))


class _Resolution:
    """One conflict being resolved."""

    def __init__(self, folder: Folder, trash: Trash) -> None:
        self.trash = trash
        self.done: list[ActionRecord] = []
        self._folder = folder

    def carry_out(self, path: str, copy: str, stat: os.stat_result, keep: Keep) -> None:
        """Do what `keep` says with `copy`, which is as `stat` says, and `path`."""
        present = self._folder.stat(path)
        try:
            if keep is Keep.BOTH:
                self._move(copy, free_name(path, self._taken(parent(path))), stat)
            elif present is None:
                if keep is Keep.THIS:
                    raise UsageError(reason=f"nothing is called {path} any more, so keep the other one or both")
                self._move(copy, path, stat)
            elif keep is Keep.THIS:
                self._discard(copy, stat)
            elif modes.S_ISDIR(present.st_mode) or modes.S_ISDIR(stat.st_mode):
                self._discard(path, present)
                self._move(copy, path, stat)
            else:
                self._replace(path, copy, present)
        finally:
            self.trash.sync()

    def _taken(self, directory: str) -> set[str]:
        return {collision_key(name) for name, _stat in self._folder.list_directory(directory)}

    def _replace(self, path: str, copy: str, present: os.stat_result) -> None:
        """Let the copy take the name in one step: at every instant there is a version with that name."""
        entry, mark = self._seen(path, present)
        replace(self._folder, copy, path, entry, mark, self.trash)
        self._folder.sync_directory(parent(path))
        self.done.append(ActionRecord(ActionKind.TRASHED, path, kept=self.trash.kept[path]))
        there = self._folder.stat(path)
        self.done.append(ActionRecord(ActionKind.MOVED, path, copy, mark=lasting_mark(there) if there else None))

    def _move(self, source: str, target: str, stat: os.stat_result) -> None:
        moved = self.trash.move(source, target, *self._seen(source, stat))
        self.done.append(ActionRecord(ActionKind.MOVED, target, source, mark=lasting_mark(moved)))

    def _discard(self, path: str, stat: os.stat_result) -> None:
        """Move a file, a link, or a directory with all that is in it to the trash."""
        if modes.S_ISDIR(stat.st_mode):
            for name, inner in sorted(self._folder.list_directory(path)):
                self._discard(join(path, name), inner)
        self.trash.remove(path, *self._seen(path, stat))
        self.done.append(ActionRecord(ActionKind.TRASHED, path, kept=self.trash.kept[path]))

    def _seen(self, path: str, stat: os.stat_result) -> tuple[Entry, int | None]:
        """Return what a change is told to expect: the entry, and the state of a file."""
        name = path.rpartition("/")[2]
        if modes.S_ISREG(stat.st_mode):
            return Entry(name, Kind.FILE, stat.st_size, stat.st_mtime_ns), state_mark(stat)
        if modes.S_ISLNK(stat.st_mode):
            return Entry(name, Kind.SYMLINK, target=self._folder.read_link(path)), None
        if modes.S_ISDIR(stat.st_mode):
            return Entry(name, Kind.DIRECTORY), None
        raise EntryRefused(path=path)


def record_name(path: str) -> str:
    """Return the name of the directory that holds the records of the folder at `path`."""
    return blake3(path.encode("utf-8", "surrogateescape")).hexdigest(length=16)


def _undone(trash: Trash, outcomes: Sequence[tuple[str, LeafSyncError | None]]) -> Undone:
    return Undone(trash.pass_name, tuple((path, str(error) if error else "") for path, error in outcomes))
