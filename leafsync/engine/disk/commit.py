"""The group commit: finished files from staging to their place (fault cases 71, 76 and 77).

The order is what makes it safe: permissions and time, everything to the disk, then for each file a last look at what
it replaces, that to the trash, rename; then the directories to the disk, and the store last. Whatever instant the
power fails at, every path is old or new, and what was replaced is in the trash.
"""

import contextlib
import logging
import os
import stat as modes
from collections.abc import Sequence

import msgspec

from leafsync.engine.core.index import Entry
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.names import STAGING, join, parent
from leafsync.engine.disk.exchange import put
from leafsync.engine.disk.folder import Folder, disk_error, state_mark
from leafsync.engine.disk.given import given
from leafsync.engine.disk.racy import is_racy_write
from leafsync.engine.disk.seen import change_error, check_path
from leafsync.engine.disk.staged import StagedFile
from leafsync.engine.disk.store import HashRow, Store
from leafsync.engine.disk.trash import Trash
from leafsync.errors import DiskFailed, EntryChanged, LeafSyncError

_log = logging.getLogger("leafsync.disk")


class Staged(msgspec.Struct, frozen=True):
    """A small file in the staging directory, whole and proven."""

    path: str
    entry: Entry
    name: str
    mode: int
    """Permissions it has already."""


class Commit(msgspec.Struct, frozen=True):
    """Put a staged file in its place."""

    path: str
    entry: Entry
    """What will be there: size, root, time and executable bit."""
    staged: StagedFile | Staged
    expected: int | None = None
    """The state mark of the file that it replaces."""
    local: Entry | None = None
    """The file or link that it replaces; with neither, nothing may be there."""

    @property
    def replaces(self) -> bool:
        """Whether something is to be replaced."""
        return self.local is not None or self.expected is not None


class Committed(msgspec.Struct):
    """What came of a commit."""

    path: str
    error: LeafSyncError | None = None
    """EntryChanged, EntryRefused, DiskFull or DiskFailed: then the old file is as it was."""
    stat: os.stat_result | None = None
    """Of the file in its place."""

    @property
    def mark(self) -> int | None:
        """The state mark of the file in its place."""
        return None if self.stat is None else state_mark(self.stat)


def commit_group(folder: Folder, store: Store, items: Sequence[Commit], trash: Trash) -> list[Committed]:
    """Commit the group; one result an item, in order. Closes every staged file.

    A staged file whose item failed stays for the next try when it has a row in the store, unless the disk failed to
    take it: then nothing of the group is renamed and all of it is discarded, for what a failed sync left is unknown.
    """
    group = _Group(folder, store, trash, [(item, Committed(item.path)) for item in items])
    try:
        with folder.handles():
            group.dress()
        group.sync()
        with folder.handles():  # anew: during the flush a directory may have gone elsewhere, and its descriptor along
            group.place()
            group.sync_directories()
            group.look()
        group.record()
    finally:
        group.clear()
    return [result for _item, result in group.items]


class _Group:
    def __init__(self, folder: Folder, store: Store, trash: Trash, items: list[tuple[Commit, Committed]]) -> None:
        self.folder = folder
        self.store = store
        self.trash = trash
        self.items = items
        self.placed: list[tuple[Commit, Committed]] = []
        self.failed_sync = False

    def good(self) -> list[tuple[Commit, Committed]]:
        return [(item, result) for item, result in self.items if result.error is None]

    def dress(self) -> None:
        """Give the staged files their permissions and time: those of a replaced file hold on (one that was private
        stays so)."""
        for item, result in self.items:
            try:
                _check(item)
                before = self.folder.stat(item.path) if item.replaces else None
                if item.replaces and not self.trash.matches(item.path, before, item.local, item.expected):
                    raise EntryChanged(path=item.path)
                like = before if before is not None and modes.S_ISREG(before.st_mode) else None
                self.dress_one(item, self.folder.file_mode(item.entry.executable, like))
            except OSError as error:
                result.error = change_error(error, item.path)
            except LeafSyncError as error:
                result.error = error

    def dress_one(self, item: Commit, mode: int) -> None:
        if isinstance(item.staged, StagedFile):
            self.folder.dress(item.staged.fd, mode, item.entry.mtime_ns)
        elif item.staged.mode != mode or item.staged.entry.mtime_ns != item.entry.mtime_ns:
            fd = self.folder.open_staged(item.staged.name)
            try:
                self.folder.dress(fd, mode, item.entry.mtime_ns)
            finally:
                os.close(fd)

    def sync(self) -> None:
        """Bring all staged files to the disk. When that fails nothing of the group is good any more."""
        good = self.good()
        try:
            if len(good) == 1 and isinstance(good[0][0].staged, StagedFile):
                self.folder.sync_file(good[0][0].staged.fd)
            elif good:
                self.folder.sync_all([item.staged.name for item, _result in good])
        except OSError as error:
            self.failed_sync = True
            for item, result in good:
                result.error = disk_error(error, item.path)

    def place(self) -> None:
        for item, result in self.good():
            try:
                self.place_one(item)
                self.placed.append((item, result))
            except OSError as error:
                result.error = change_error(error, item.path)
            except LeafSyncError as error:
                result.error = error

    def place_one(self, item: Commit) -> None:
        replace(self.folder, join(STAGING, item.staged.name), item.path, item.local, item.expected, self.trash)

    def sync_directories(self) -> None:
        errors: dict[str, LeafSyncError | None] = {}
        try:
            errors.update(dict.fromkeys(self.trash.sync()))
        except LeafSyncError as error:
            for _item, result in self.placed:
                result.error = error
        for item, result in self.placed:
            directory = parent(item.path)
            if directory not in errors:
                errors[directory] = self.sync_directory(directory)
            result.error = result.error or errors[directory]

    def sync_directory(self, directory: str) -> LeafSyncError | None:
        try:
            self.folder.sync_directory(directory)
        except OSError as error:
            return disk_error(error, directory or self.folder.path)
        return None

    def look(self) -> None:
        for item, result in self.placed:
            with contextlib.suppress(OSError):
                result.stat = self.folder.stat(item.path)

    def record(self) -> None:
        """Remember the hashes and forget the staged files. That failing costs a new hash, not the files."""
        if not self.placed:
            return
        rows = [
            HashRow(
                state_mark(result.stat), item.entry.hash, _leaves(item), is_racy_write(result.stat, item.entry.mtime_ns)
            )
            for item, result in self.placed
            if result.stat is not None and result.error is None
        ]
        names = [item.staged.name for item, _result in self.placed if isinstance(item.staged, StagedFile)]
        try:
            self.store.finish_staged(names, rows)
            if not all(self.folder.keeps):
                placed = [(item, result.stat) for item, result in self.placed if result.error is None]
                self.store.put_given({item.path: given(item.entry, stat) for item, stat in placed if stat is not None})
        except LeafSyncError as error:
            _log.warning("the hashes of new files were not recorded: %s", error)

    def clear(self) -> None:
        """Close all staged files, and remove those that nobody could resume."""
        placed = {item.staged.name for item, _result in self.placed}
        for item, _result in self.items:
            try:
                if item.staged.name in placed:
                    close(item.staged)
                elif isinstance(item.staged, StagedFile) and not self.failed_sync:
                    item.staged.close()
                else:
                    discard(self.folder, item.staged)
            except LeafSyncError as error:
                _log.warning("a staged file was not removed: %s", error)


def replace(folder: Folder, source: str, path: str, local: Entry | None, expected: int | None, trash: Trash) -> None:
    """Rename `source` to `path` if that still is what was seen, which goes to the trash. Raises EntryChanged too."""
    if local is None and expected is None:
        folder.rename_new(source, path)
        return
    before = folder.stat(path)
    if before is None or not trash.matches(path, before, local, expected):
        raise EntryChanged(path=path)
    kept = trash.keep(path)
    put(folder, source, path, before, parent(kept))
    trash.left(before, folder.stat(kept))


def close(staged: StagedFile | Staged) -> None:
    """Close a staged file; a small one is closed already."""
    if isinstance(staged, StagedFile):
        staged.close()


def discard(folder: Folder, staged: StagedFile | Staged) -> None:
    """Remove a staged file. Raises DiskFailed."""
    if isinstance(staged, StagedFile):
        staged.discard()
        return
    with contextlib.suppress(OSError):  # `Staging.clean` finds it later
        folder.unlink(join(STAGING, staged.name))


def _check(item: Commit) -> None:
    check_path(item.path)
    staged = item.staged
    if isinstance(staged, StagedFile):
        whole = staged.complete and (staged.size, staged.root) == (item.entry.size, item.entry.hash)
    else:
        whole = staged.entry.same_content(item.entry)
    if not whole:
        raise DiskFailed(path=item.path, reason="the staged file is not the one that belongs here")


def _leaves(item: Commit) -> bytes | None:
    return item.staged.leaves if isinstance(item.staged, StagedFile) and item.staged.size > CHUNK_SIZE else None
