"""How long the trash keeps: the oldest passes go first, by age and by what all of it takes (fault case 82)."""

import logging
import stat as modes
from collections.abc import Collection

import msgspec

from leafsync.engine.core.names import TRASH, join
from leafsync.engine.disk.folder import Folder, disk_error, disk_errors
from leafsync.engine.disk.store import Store

_log = logging.getLogger("leafsync.disk")

MAX_AGE_DAYS = 30
"""Days that what was replaced or deleted stays: a month is long enough to miss something."""

MAX_BYTES = 10 << 30
"""Bytes on the disk that the trash may take: what is kept on purpose must not be what fills the disk."""

MIN_AGE_SECONDS = 3600.0
"""Seconds that a pass stays in any case: a mistake shows soon, and another process may still be at work on it."""

MAX_PASSES = 10_000
"""Passes that the history lists: some months of a busy folder, and some megabytes."""

_DAY = 24 * 3600.0


class _Pass(msgspec.Struct, frozen=True):
    name: str
    changed: float
    """Seconds since 1970."""
    size: int
    """Bytes that removing it gives back."""


def prune(
    folder: Folder,
    store: Store,
    *,
    now: float,
    max_age_days: float = MAX_AGE_DAYS,
    max_bytes: int = MAX_BYTES,
    running: Collection[str] = (),
) -> list[str]:
    """Remove passes from the trash, oldest first, and return their names.

    `now` is in seconds since 1970. Those in `running` stay, and all of the last hour. The history goes on to list what
    is gone, as something that cannot be restored. Raises DiskFailed and what the store raises; what cannot be removed
    stays for the next time.
    """
    found = sorted(_passes(folder), key=lambda one: (one.changed, one.name))
    total = sum(one.size for one in found)
    removed = []
    for one in found:
        age = now - one.changed
        if one.name in running or age < MIN_AGE_SECONDS:
            continue
        if age > max_age_days * _DAY or total > max_bytes:
            store.drop_kept(one.name)
            _remove(folder, join(TRASH, one.name))
            total -= one.size
            removed.append(one.name)
    store.drop_passes(store.pass_ids()[MAX_PASSES:])
    return removed


def _passes(folder: Folder) -> list[_Pass]:
    with disk_errors(TRASH), folder.handles():
        trash = folder.stat(TRASH)
        if trash is None or not modes.S_ISDIR(trash.st_mode):
            return []
        return [
            _Pass(name, stat.st_mtime, _size(folder, join(TRASH, name)))
            for name, stat in folder.list_directory(TRASH)
            if modes.S_ISDIR(stat.st_mode)
        ]


def _size(folder: Folder, directory: str) -> int:
    """Return the bytes below a directory. A file with another name elsewhere takes none here."""
    size = 0
    try:
        for name, stat in folder.list_directory(directory):
            if modes.S_ISDIR(stat.st_mode):
                size += _size(folder, join(directory, name))
            elif stat.st_nlink == 1:
                size += stat.st_blocks * 512
    except OSError as error:
        _log.warning("the size of a part of the trash is not known: %s", disk_error(error, directory))
    return size


def _remove(folder: Folder, directory: str) -> None:
    """Remove a directory of the trash with everything in it. What resists is logged and stays."""
    try:
        with folder.handles():
            for name, stat in folder.list_directory(directory):
                if modes.S_ISDIR(stat.st_mode):
                    _remove(folder, join(directory, name))
                else:
                    folder.unlink(join(directory, name))
            folder.remove_directory(directory)
    except OSError as error:
        _log.warning("a part of the trash was not removed: %s", disk_error(error, directory))
