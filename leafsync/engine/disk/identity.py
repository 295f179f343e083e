"""The folder's identity: an empty mount point where a full folder used to be must never pass for it (fault case 72).

A marker in the folder holds an id, and the store remembers it for the path. When they differ, or the marker is gone,
nothing is synced before somebody has looked. The id names the folder to other devices too, which keep their base by it.
"""

import errno
import os
import re
import secrets

from leafsync.engine.core.names import STAGING, join
from leafsync.engine.disk.bases import Identity
from leafsync.engine.disk.folder import MARKER, Folder, disk_errors
from leafsync.engine.disk.store import Store
from leafsync.errors import EntryRefused, FolderIdentityLost

_PATH = join(STAGING, MARKER)
_ID = re.compile(rb"([0-9a-f]{32})\n?")
_LONGEST = 64
"""Bytes read of a marker: more than one has."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def folder_identity(folder: Folder, store: Store, *, reset: bool = False) -> str:
    """Return the folder's id, 32 hex digits, made at first use.

    `reset` says that the folder is meant to be another one than before: it gets a new id, and all bases are forgotten.
    Raises FolderIdentityLost when the folder is not the one that was at this path, EntryRefused when something else is
    in the place of the staging directory, DiskFull, DiskFailed, and what the store raises.
    """
    known = None if reset else store.identity()
    with disk_errors(_PATH):
        marker = None if reset else _read(folder)
        if known is None:
            identity = _begin(folder, marker)
        elif marker is None and not known.marked and known.inode == folder.stat_of_root.st_ino:
            identity = _mark(folder, known.id)
        elif marker == known.id:
            identity = Identity(known.id, True, folder.stat_of_root.st_ino)
        else:
            raise FolderIdentityLost(path=folder.path)
    if identity != known:
        store.put_identity(identity)
    return identity.id


def _begin(folder: Folder, marker: str | None) -> Identity:
    """Take over the marker of a folder that the store does not know, or give it one."""
    if marker is None:
        return _mark(folder, secrets.token_hex(16))
    if not marker:
        raise FolderIdentityLost(path=folder.path)
    return Identity(marker, True, folder.stat_of_root.st_ino)


def _read(folder: Folder) -> str | None:
    """Return the id in the marker, "" when it is damaged, None when there is none."""
    try:
        fd = folder.open_file(_PATH)
    except EntryRefused:
        return ""
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    try:
        found = _ID.fullmatch(os.pread(fd, _LONGEST, 0))
    finally:
        os.close(fd)
    return found[1].decode() if found else ""


def _mark(folder: Folder, new: str) -> Identity:
    """Write the marker, whole or not at all. A folder that cannot be written to has its id in the store alone."""
    staged = secrets.token_hex(16)
    try:
        with folder.handles():
            folder.prepare(STAGING)
            fd = folder.create_staged(staged)
            try:
                folder.write_at(fd, new.encode() + b"\n", 0)
                folder.sync_file(fd)
            finally:
                os.close(fd)
            folder.rename(join(STAGING, staged), _PATH)
            folder.sync_directory(STAGING)
            folder.sync_directory("")
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        return Identity(new, False, folder.stat_of_root.st_ino)
    return Identity(new, True, folder.stat_of_root.st_ino)
