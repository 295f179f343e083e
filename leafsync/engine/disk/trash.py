"""The trash: what a pass replaces or deletes, kept under `.leafsync_trash/<pass>/` at the path it had."""

import errno
import os
import stat as modes
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.names import MAX_NAME, TRASH, collision_key, join, parent
from leafsync.engine.disk.exchange import take
from leafsync.engine.disk.folder import Folder, disk_error, state_mark
from leafsync.engine.disk.seen import change_error, check_path, matches, same_file
from leafsync.errors import EntryChanged, EntryRefused

MAX_VERSIONS = 1000
"""Entries of one name that a pass can keep: more only come of a loop."""

_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})
"""What link says on filesystems without hard links, at their limit, or for another user's file."""


def pass_name(now: datetime, token: str) -> str:
    """Return the directory of a pass in the trash: sorts by time, and `token` tells two of one second apart."""
    return f"{now:%Y%m%d-%H%M%S}-{token}"


class Trash:
    """The trash of one pass. Nothing is made before the first entry comes. Thread-safe."""

    def __init__(self, folder: Folder, pass_name: str) -> None:
        self.folder = folder
        self.pass_name = pass_name
        self._lock = threading.Lock()
        self._made: dict[str, str] = {}
        self._changed: set[str] = set()
        self._kept: dict[str, str] = {}
        self._left: dict[int, set[int]] = {}
        """How this pass left files with several names: state mark -> those they had before."""

    @property
    def kept(self) -> Mapping[str, str]:
        """Where in the trash everything is that this pass kept or removed: path -> place, the latest of a path."""
        return MappingProxyType(self._kept)

    def matches(self, path: str, stat: os.stat_result | None, expected: Entry | None, mark: int | None) -> bool:
        """Say whether `stat` (of `path`) is what was seen, see `seen.matches`.

        What a pass does to one name of a file changes what stat says of its other names, which is no edit of them.
        """
        with self._lock:
            left = self._left and stat is not None and mark in self._left.get(state_mark(stat), ())
        return matches(self.folder, path, stat, expected, state_mark(stat) if stat is not None and left else mark)

    @property
    def met_links(self) -> bool:
        """Whether this pass has changed a file that has other names, which may be anywhere."""
        return bool(self._left)

    def left(self, before: os.stat_result, after: os.stat_result | None) -> None:
        """Note that this pass has changed a file, by one of its names, from `before` to `after`."""
        if after is None or not modes.S_ISREG(before.st_mode) or before.st_nlink == 1:
            return
        one, other = state_mark(before), state_mark(after)
        if os.path.samestat(before, after) and one != other:
            with self._lock:
                self._left[other] = self._left.pop(one, set()) | {one}

    def keep(self, path: str) -> str:
        """Keep the file or link at `path`, which stays where it is, and return where in the trash it is.

        Raises EntryChanged, EntryRefused, DiskFull, DiskFailed.
        """
        check_path(path)
        try:
            with self.folder.handles():
                stat = self.folder.stat(path)
                if stat is None:
                    raise EntryChanged(path=path)
                return self._keep(path, stat)
        except OSError as error:
            raise change_error(error, path) from error

    def remove(self, path: str, expected: Entry, mark: int | None) -> None:
        """Move the entry at `path` to the trash if it is still what was seen (`seen.matches`).

        A directory must be empty; it is made in the trash too, so that a restore brings it back. Raises EntryChanged
        when it is something else or not empty, EntryRefused, DiskFull, DiskFailed.
        """
        check_path(path)
        try:
            with self.folder.handles():
                stat = self.folder.stat(path)
                if stat is None or not self.matches(path, stat, expected, mark):
                    raise EntryChanged(path=path)
                if modes.S_ISDIR(stat.st_mode):
                    self.folder.remove_directory(path)
                    self._kept[path] = self._directory(path)
                else:
                    kept = self._keep(path, stat)
                    take(self.folder, path, stat, parent(kept))
                    self.left(stat, self.folder.stat(kept))
                self.note(parent(path))
        except OSError as error:
            raise change_error(error, path) from error

    def move(self, source: str, target: str, expected: Entry, mark: int | None) -> os.stat_result:
        """Rename the entry at `source` to `target` if it is still what was seen, and return its lstat there.

        Nothing is ever replaced, and nothing goes to the trash. For a directory it is the caller's business that its
        content is what was seen. Raises EntryChanged (of the source, or of the target when that is taken or has no
        parent), EntryRefused, DiskFull, DiskFailed.
        """
        check_path(source)
        check_path(target)
        if self.folder.holds_private(source):
            raise EntryRefused(path=source)
        at = source
        try:
            with self.folder.handles():
                seen = self.folder.stat(source)
                if seen is None or not self.matches(source, seen, expected, mark):
                    raise EntryChanged(path=source)
                at = target
                self._rename(source, target, seen)
                moved = self.folder.stat(target)
                if moved is None or not _same(seen, moved, expected):  # saved in the last instant
                    self.folder.rename_new(target, source)
                    raise EntryChanged(path=source)
                self.left(seen, moved)
                self.note(parent(source))
                self.note(parent(target))
                return moved
        except OSError as error:
            raise change_error(error, at) from error

    def _rename(self, source: str, target: str, seen: os.stat_result) -> None:
        """Rename without replacing. A name that changes in case alone is taken by the entry itself where names fold."""
        try:
            self.folder.rename_new(source, target)
        except FileExistsError:
            taken = self.folder.stat(target)
            alike = parent(source) == parent(target) and collision_key(source) == collision_key(target)
            if taken is None or not (alike and os.path.samestat(taken, seen) and self.folder.folds_names):
                raise
            self.folder.rename(source, target)

    def note(self, directory: str) -> None:
        """Let `sync` bring the names in this directory to the disk too."""
        with self._lock:
            self._changed.add(directory)

    def sync(self) -> set[str]:
        """Bring the names in all changed directories to the disk, the trash first, and return which these were.

        Raises DiskFailed.
        """
        with self._lock:
            changed, self._changed = self._changed, set()
        with self.folder.handles():
            for directory in sorted(changed, key=lambda path: (not path.startswith(TRASH), path)):
                try:
                    self.folder.sync_directory(directory)
                except (FileNotFoundError, NotADirectoryError):  # removed or replaced after something in it was
                    continue
                except OSError as error:
                    raise disk_error(error, directory or self.folder.path) from error
        return changed

    def _keep(self, path: str, stat: os.stat_result) -> str:
        try:
            return self._keep_now(path, stat)
        except FileNotFoundError:
            if self.folder.stat(path) is None:
                raise
            with self._lock:
                self._made.clear()  # somebody emptied the trash meanwhile
            return self._keep_now(path, stat)

    def _keep_now(self, path: str, stat: os.stat_result) -> str:
        directory = self._directory(parent(path))
        for target in _versions(join(directory, path.rpartition("/")[2])):
            try:
                if modes.S_ISREG(stat.st_mode):
                    self._link(path, target)
                elif modes.S_ISLNK(stat.st_mode):
                    self.folder.make_link(target, self.folder.read_link(path))
                else:
                    raise EntryRefused(path=path)
            except FileExistsError:
                continue
            self.note(directory)
            self._kept[path] = target
            return target
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def _link(self, path: str, target: str) -> None:
        try:
            self.folder.link(path, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy(path, target)

    def _copy(self, path: str, target: str) -> None:
        source = self.folder.open_file(path)
        try:
            copy = self.folder.create_file(target)
            try:
                stat, offset = os.fstat(source), 0
                while chunk := os.pread(source, CHUNK_SIZE, offset):
                    self.folder.write_at(copy, chunk, offset)
                    offset += len(chunk)
                self.folder.dress(copy, stat.st_mode & 0o777, stat.st_mtime_ns)
                self.folder.sync_file(copy)
            except BaseException:
                self.folder.unlink(target)
                raise
            finally:
                os.close(copy)
        finally:
            os.close(source)

    def _directory(self, path: str) -> str:
        """Return the directory of the trash that stands for `path`, made when it is not there."""
        with self._lock:
            return self._make(path)

    def _make(self, path: str) -> str:
        made = self._made.get(path)
        if made is not None:
            return made
        if path:
            above = self._make(parent(path))
            wanted = join(above, path.rpartition("/")[2])
        else:
            self.folder.prepare(TRASH)
            above, wanted = TRASH, join(TRASH, self.pass_name)
            self._changed.add("")
        for directory in _versions(wanted):
            try:
                self.folder.make_directory(directory)
            except NotADirectoryError:  # a file of that name was thrown away earlier in the pass
                continue
            self._changed.add(above)
            self._made[path] = directory
            return directory
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def _versions(path: str) -> Iterator[str]:
    """Yield the path, then with numbers added, the name cut so that it stays possible."""
    yield path
    directory, _, name = path.rpartition("/")
    for number in range(1, MAX_VERSIONS):
        suffix = f".{number}"
        yield join(directory, name.encode()[: MAX_NAME - len(suffix)].decode(errors="ignore") + suffix)


def _same(seen: os.stat_result, moved: os.stat_result, expected: Entry) -> bool:
    """Say whether what was moved is what was seen; a directory may get a new time by being moved."""
    return os.path.samestat(seen, moved) if expected.kind is Kind.DIRECTORY else same_file(seen, moved)
