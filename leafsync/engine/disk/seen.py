"""Is an entry still what the plan saw? Asked just before anything is replaced or removed (fault cases 28 and 30)."""

import errno
import os
import stat as modes

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import path_problem
from leafsync.engine.disk.folder import Folder, disk_error, state_mark
from leafsync.errors import DirectoryNotEmpty, DiskFailed, EntryChanged, EntryRefused

_NOT_OURS = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EINVAL})
"""A parent is a symlink, no directory or on another filesystem, or the path is not a relative one."""

_CHANGED = frozenset({errno.ENOENT, errno.EEXIST, errno.EISDIR})


def check_path(path: str) -> None:
    """Raise EntryRefused for a path that must not be written to, our own directories among them."""
    if not path or path_problem(path) is not None:
        raise EntryRefused(path=path)


def matches(
    folder: Folder, path: str, stat: os.stat_result | None, expected: Entry | None, mark: int | None = None
) -> bool:
    """Say whether `stat` (of `path`, None when absent) is what was seen: the entry `expected`, for a file the state
    `mark`; neither means that nothing was there. Without a mark a file's size and time decide."""
    if stat is None or (expected is None and mark is None):
        return stat is None and expected is None and mark is None
    kind = expected.kind if expected is not None else Kind.FILE
    if kind is Kind.FILE:
        if not modes.S_ISREG(stat.st_mode):
            return False
        if mark is not None:
            return state_mark(stat) == mark
        return expected is not None and (stat.st_size, stat.st_mtime_ns) == (expected.size, expected.mtime_ns)
    if kind is Kind.SYMLINK:
        return expected is not None and modes.S_ISLNK(stat.st_mode) and folder.read_link(path) == expected.target
    return kind is Kind.DIRECTORY and modes.S_ISDIR(stat.st_mode)


def same_file(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Say whether both are the same file, unwritten in between; a new link to it changes only its ctime."""
    return other is not None and (one.st_ino, one.st_dev, one.st_mode, one.st_size, one.st_mtime_ns) == (
        other.st_ino,
        other.st_dev,
        other.st_mode,
        other.st_size,
        other.st_mtime_ns,
    )


def change_error(error: OSError, path: str) -> DiskFailed:
    """Return what went wrong when `path` was to be changed: it is not ours, it is not what was seen, or the disk."""
    if error.errno in _NOT_OURS:
        return EntryRefused(path=path)
    if error.errno == errno.ENOTEMPTY:
        return DirectoryNotEmpty(path=path)
    if error.errno in _CHANGED:
        return EntryChanged(path=path)
    return disk_error(error, path)
