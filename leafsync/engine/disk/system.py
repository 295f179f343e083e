"""The calls that Python lacks: flush a filesystem or a drive, begin to flush a file, rename without replacing, exchange
two names, let two files share what they have in common, tell a filesystem's type."""

import ctypes
import errno
import fcntl
import os
import struct
import sys
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_RENAME_EXCLUSIVE = 4 if sys.platform == "darwin" else 1
"""RENAME_EXCL of renameatx_np(2), RENAME_NOREPLACE of renameat2(2)."""

_RENAME_EXCHANGE = 2
"""RENAME_SWAP of renameatx_np(2), RENAME_EXCHANGE of renameat2(2)."""

_CLONE_RANGE = 0x4020940D
"""FICLONERANGE of ioctl_ficlonerange(2): the number of the request, and the layout of what it takes below."""

_CLONE = struct.Struct("=qQQQ")

_NOT_CLONED = frozenset({errno.EXDEV, errno.ENOTTY, errno.ETXTBSY, errno.EBADF, errno.EISDIR, errno.EIO})
"""What else is said where a range cannot be shared: another filesystem, no such request, a source that is damaged."""

_NOT_POSSIBLE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})
"""What a kernel, a filesystem or a system call filter says that does not know the call."""

_OF_THIS_MACHINE = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # btrfs
        0xF2F52010,  # F2FS
        0xCA451A4E,  # bcachefs
        0x2FC12FC1,  # ZFS
        0x3153464A,  # JFS
        0x794C7630,  # overlayfs
        0x01021994,  # tmpfs
        0x4D44,  # FAT
        0x2011BAB0,  # exFAT
        0x7366746E,  # ntfs3
    }
)
"""Types of statfs(2) whose every change goes through this kernel. With networks and FUSE it need not."""

_STATFS_BYTES = 256
"""More than any struct statfs has; the type comes first."""


def _function(name: str) -> Callable[..., int] | None:
    function: Callable[..., int] | None = getattr(_libc, name, None)
    return function


_SYNC_FILE_RANGE_WRITE = 2
"""Of sync_file_range(2): begin to write what is not on the disk yet. A range of no bytes is the whole file."""

_syncfs = _function("syncfs") if sys.platform == "linux" else None
_renameat2 = _function("renameatx_np" if sys.platform == "darwin" else "renameat2")
_statfs = _function("statfs") if sys.platform == "linux" else None
_sync_file_range = _function("sync_file_range") if sys.platform == "linux" else None


def flush_file(fd: int) -> None:
    """Bring a file or directory to the disk. On macOS only F_FULLFSYNC empties the drive's cache too."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _NOT_POSSIBLE and error.errno != errno.ENOTTY:
                raise
            os.fsync(fd)
    else:
        os.fsync(fd)


def begin_flush(fd: int) -> None:
    """Have the system begin to bring a file to the disk and wait for nothing, where it can be told to (Linux). Whatever
    goes wrong with that is left for `flush_file` to say: this call does not take the error of the file.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def flush_filesystem(fd: int) -> bool:
    """Bring everything on the filesystem of `fd` to the disk; False when the system cannot (only Linux can)."""
    if _syncfs is None:
        return False
    if _syncfs(fd):
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            return False
        raise OSError(code, os.strerror(code))
    return True


def clone_range(source_fd: int, source: int, length: int, target_fd: int, target: int) -> bool:
    """Let `length` bytes of two files be the same blocks of the disk until one is written to (a reflink: btrfs, XFS).

    Offsets and length are multiples of the filesystem's block. False when the system or the filesystem cannot.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target_fd, _CLONE_RANGE, _CLONE.pack(source_fd, source, length, target))
    except OSError as error:
        if error.errno in _NOT_POSSIBLE or error.errno in _NOT_CLONED:
            return False
        raise
    return True


def rename_exclusive(source_fd: int, source: str, target_fd: int, target: str) -> bool:
    """Rename unless the target exists (FileExistsError); False when the system or the filesystem cannot."""
    return _rename(source_fd, source, target_fd, target, _RENAME_EXCLUSIVE)


def rename_exchange(source_fd: int, source: str, target_fd: int, target: str) -> bool:
    """Exchange what two names stand for, in one step; False when the system or the filesystem cannot."""
    return _rename(source_fd, source, target_fd, target, _RENAME_EXCHANGE)


def _rename(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> bool:
    if _renameat2 is None:
        return False
    if _renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags):
        code = ctypes.get_errno()
        if code in _NOT_POSSIBLE:
            return False
        raise OSError(code, os.strerror(code), target)
    return True


def changed_here_alone(path: str) -> bool:
    """Say whether nothing but programs of this machine can change the filesystem at `path`, as far as is known."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _statfs is None or _statfs(os.fsencode(path), found):
        return False
    return ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF in _OF_THIS_MACHINE


def read_umask() -> int:
    """Return the process's umask. It can only be read by setting it: for that instant it is the strictest one."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
