"""The folder: one held directory, and every operation on what is inside it.

Nothing else in the engine touches the user's files. Every path is relative ("a/b", "" is the folder itself), every
component is opened without following symlinks, and the last one is never followed (fault cases 21 to 28 of
SECURITY.md). Operations raise plain OSError unless they say otherwise; `disk_error` turns that into ours.

Thread-safe; `close` only when no other thread is inside a call.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat as modes
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from xxhash import xxh3_64_intdigest

from leafsync.engine.core.index import NANOSECONDS
from leafsync.engine.core.names import STAGING, inside, place_key
from leafsync.engine.disk.closing import Closing
from leafsync.engine.disk.handles import OPEN_DIRECTORY, Handles
from leafsync.engine.disk.system import (
    begin_flush,
    clone_range,
    flush_file,
    flush_filesystem,
    read_umask,
    rename_exchange,
    rename_exclusive,
)
from leafsync.errors import (
    DiskFailed,
    DiskFull,
    EntryChanged,
    EntryRefused,
    FolderInUse,
    FolderMissing,
    FolderNotDirectory,
    FolderRefused,
    FolderUnreadable,
    LeafSyncError,
)

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_STAGED = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOT_A_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.EMLINK, errno.EISDIR})
"""What open says of symlinks, sockets and devices without a driver (EMLINK: a symlink on FreeBSD)."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_STATE = struct.Struct("<QQQqq")
_U64 = (1 << 64) - 1

LOCK = "lock"
"""Name of the lock file in the staging directory."""

MARKER = "folder-id"
"""Name of the file in the staging directory that tells this folder from any other (identity.py)."""


_ODD_TIME = 1_500_000_001 * NANOSECONDS
"""A time that shows whether a filesystem rounds to two seconds."""


class Keeps(NamedTuple):
    """What a filesystem keeps of files."""

    modes: bool
    """The permission to execute."""
    times: bool
    """Modification times to the second."""


def _keeps_mode(fd: int, mode: int) -> bool:
    with contextlib.suppress(OSError):
        os.fchmod(fd, mode)
    return (os.fstat(fd).st_mode ^ mode) & modes.S_IXUSR == 0


def state_mark(stat: os.stat_result) -> int:
    """Return 64 bits that change when the file does: where it is, its size and its times."""
    numbers = stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    try:
        state = _STATE.pack(*numbers)
    except struct.error:  # some filesystems store times of more than 64 bits of nanoseconds
        state = _packed(numbers)
    return xxh3_64_intdigest(state)


def lasting_mark(stat: os.stat_result) -> int:
    """Return the mark by which what an action left is known later: of a directory its device and inode, since what
    happens in it changes its state (one that gets the inode of one that is gone looks like it); of all else the state.
    """
    if not modes.S_ISDIR(stat.st_mode):
        return state_mark(stat)
    return xxh3_64_intdigest(_packed((stat.st_dev, stat.st_ino)))


def _packed(numbers: Iterable[int]) -> bytes:
    return b"".join((number & _U64).to_bytes(8, "little") for number in numbers)


def disk_error(error: OSError, path: str) -> DiskFailed:
    """Return what the user is told of an OSError on `path`."""
    if error.errno in _FULL:
        return DiskFull(path=path)
    return DiskFailed(path=path, reason=error.strerror or str(error))


@contextlib.contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Turn an OSError in the block into DiskFull or DiskFailed of `path`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


class Folder(Closing):
    """A synced folder, held open."""

    def __init__(self, path: str, root: int) -> None:
        """Take over the descriptor `root` of the directory `path`; see `open`."""
        self.path = path
        """Where it was when it was opened: absolute, symlinks resolved."""
        self.stat_of_root = os.fstat(root)
        self.device = self.stat_of_root.st_dev
        self._root = root
        self._lock: int | None = None
        self._threads = threading.local()
        self._umask = read_umask()
        self.private: frozenset[str] = frozenset()
        """Keys (`names.place_key`) of the directories inside that no other device may see or change: where LeafSync's
        key is, whom it trusts, and its records. Set before the folder is used."""
        self._folds: bool | None = None
        self._keeps: Keeps | None = None

    @classmethod
    def open(cls, path: str, *, force: bool = False) -> Self:
        """Open the folder at `path`, which may be a symlink: it is resolved once, here.

        Raises FolderMissing, FolderNotDirectory or FolderUnreadable, and unless `force` FolderRefused for the root of
        the filesystem and the home directory.
        """
        try:
            real = os.path.realpath(path)
            root = os.open(real, OPEN_DIRECTORY)
        except (FileNotFoundError, ValueError):
            raise FolderMissing(path=path) from None
        except NotADirectoryError:
            raise FolderNotDirectory(path=path) from None
        except OSError as error:
            raise FolderUnreadable(path=path, reason=error.strerror) from error
        try:
            folder = cls(real, root)
            what = None if force else _too_much(folder.stat_of_root)
            if what:
                raise FolderRefused(path=real, what=what)
        except BaseException:
            os.close(root)
            raise
        return folder

    def close(self) -> None:
        """Let go of the folder and its lock. Every later call raises OSError (EBADF)."""
        for fd in (self._root, self._lock):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._root, self._lock = -1, None

    def holds_private(self, path: str) -> bool:
        """Say whether `path` leads to something that is private: renamed, that would be so no more."""
        return any(inside(key, place_key(path)) for key in self.private)

    def handles(self) -> Handles:
        """Return this thread's open directories. A `with` block around many calls makes them share directories."""
        if self._root < 0:
            raise OSError(errno.EBADF, "the folder is closed", self.path)
        try:
            handles: Handles = self._threads.handles
        except AttributeError:
            handles = self._threads.handles = Handles(self._root, self.device)
        return handles

    # The folder as a whole

    def lock(self) -> None:
        """Take the folder for this process; the kernel lets go when the process ends. Raises FolderInUse, DiskFailed.

        A folder that cannot be written to is locked by its own descriptor.
        """
        if self._lock is not None:
            return
        try:
            self.prepare(STAGING)
            with self.handles() as handles:
                fd = os.open(LOCK, _OPEN_LOCK, 0o600, dir_fd=handles.directory(STAGING))
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise disk_error(error, f"{self.path}/{STAGING}/{LOCK}") from error
            fd = os.dup(self._root)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(fd)
            os.close(fd)
            raise FolderInUse(path=self.path, holder=holder) from None
        except OSError as error:
            os.close(fd)
            raise disk_error(error, f"{self.path}/{STAGING}/{LOCK}") from error
        self._lock = fd
        with contextlib.suppress(OSError):  # a full disk, or the folder itself: then the holder just stays unnamed
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)

    def same_root(self) -> bool:
        """Say whether the path still leads to the held directory: not after an unmount or a rename (fault case 72)."""
        try:
            return self._root >= 0 and os.path.samestat(Path(self.path).lstat(), self.stat_of_root)
        except OSError:
            return False

    def free_space(self) -> int:
        """Return the bytes that this user can still write."""
        with self.handles() as handles:
            room = os.fstatvfs(handles.directory(""))
        return room.f_bavail * room.f_frsize

    @property
    def folds_names(self) -> bool:
        """Whether the filesystem takes names that differ in case for one. Probed once; a folder that cannot be
        written to needs no answer."""
        if self._folds is None:
            try:
                self.prepare(STAGING)
                probe = f"{STAGING}/Probe-{secrets.token_hex(8)}"
                os.close(self.create_file(probe))
                self._folds = self.stat(probe.replace("Probe", "pROBE")) is not None
                self.unlink(probe)
            except (OSError, LeafSyncError):
                return False
        return self._folds

    @property
    def keeps(self) -> Keeps:
        """What the filesystem keeps of files. Probed until it can be told; a folder that cannot be written to has to
        keep nothing."""
        if self._keeps is None:
            try:
                self._keeps = self._probe()
            except (OSError, LeafSyncError):
                return Keeps(modes=True, times=True)
        return self._keeps

    def _probe(self) -> Keeps:
        self.prepare(STAGING)
        probe = f"{STAGING}/probe-{secrets.token_hex(8)}"
        fd = self.create_file(probe)
        try:
            keeps_modes = [_keeps_mode(fd, mode) for mode in (0o600, 0o700)]
            os.utime(fd, ns=(_ODD_TIME, _ODD_TIME))
            return Keeps(
                modes=all(keeps_modes), times=os.fstat(fd).st_mtime_ns // NANOSECONDS == _ODD_TIME // NANOSECONDS
            )
        finally:
            os.close(fd)
            self.unlink(probe)

    def prepare(self, own: str) -> None:
        """Make one of LeafSync's own directories (names.STAGING, names.TRASH), for this user alone.

        Raises EntryRefused when something else is in its place: a symlink, another filesystem, another user's
        directory.
        """
        with self.handles() as handles:
            root = handles.directory("")
            handles.forget(own)  # the open one may have been removed
            with contextlib.suppress(FileExistsError):
                os.mkdir(own, 0o700, dir_fd=root)
            try:
                found = os.fstat(handles.directory(own))
            except OSError as error:
                if error.errno in _NOT_THERE or error.errno == errno.EXDEV:
                    raise EntryRefused(path=own) from error
                raise
            if found.st_uid != os.geteuid() and os.geteuid():
                raise EntryRefused(path=own)
            if modes.S_IMODE(found.st_mode) != 0o700:
                with contextlib.suppress(OSError):  # filesystems without modes give nobody else access by a mode
                    os.fchmod(handles.directory(own), 0o700)

    # Looking

    def list_directory(self, path: str) -> list[tuple[str, os.stat_result]]:
        """Return (name, lstat) of everything in the directory `path`, unsorted, names as they are on the disk."""
        with self.handles() as handles:
            # A descriptor of its own: readers of a shared one would move each other's position.
            fd = os.open(".", OPEN_DIRECTORY, dir_fd=handles.directory(path))
        found = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:  # gone meanwhile
                        continue
        finally:
            os.close(fd)
        return found

    def stat(self, path: str) -> os.stat_result | None:
        """Return the lstat of `path`, None when it or the way to it is not there."""
        try:
            with self.handles() as handles:
                if not path:
                    return os.fstat(handles.directory(""))
                directory, name = handles.locate(path)
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def open_file(self, path: str) -> int:
        """Open the regular file `path` for reading. Raises EntryRefused when it is anything else; never blocks."""
        try:
            with self.handles() as handles:
                directory, name = handles.locate(path)
                fd = os.open(name, _OPEN_FILE, dir_fd=directory)
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise EntryRefused(path=path) from error
            raise
        return _only_regular(fd, path)

    def read_link(self, path: str) -> str:
        """Return the target of the symlink `path`, as it is on the disk."""
        with self.handles() as handles:
            directory, name = handles.locate(path)
            return os.readlink(name, dir_fd=directory)

    # Changing

    def make_directory(self, path: str) -> None:
        """Make the directory `path`; it may exist already (NotADirectoryError when something else does)."""
        with self.handles() as handles:
            directory, name = handles.locate(path)
            try:
                os.mkdir(name, dir_fd=directory)
            except FileExistsError:
                handles.directory(path)

    def remove_directory(self, path: str) -> None:
        """Remove the empty directory `path`."""
        with self.handles() as handles:
            directory, name = handles.locate(path)
            os.rmdir(name, dir_fd=directory)
            handles.forget(path)

    def make_link(self, path: str, target: str) -> None:
        """Make the symlink `path`; raises FileExistsError when the name is taken."""
        with self.handles() as handles:
            directory, name = handles.locate(path)
            os.symlink(target, name, dir_fd=directory)

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing a file or link at `target`."""
        with self.handles() as handles:
            old, new = handles.locate(source), handles.locate(target)
            os.rename(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0])
            _forget_moved(handles, source)

    def rename_new(self, source: str, target: str) -> None:
        """Rename unless there is something at `target`, then raise FileExistsError. Needs no check before it, where
        the system can do that in one step; elsewhere an instant remains between check and rename."""
        with self.handles() as handles:
            old, new = handles.locate(source), handles.locate(target)
            if not rename_exclusive(*old, *new):
                if self.stat(target) is not None:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
                os.rename(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0])
            _forget_moved(handles, source)

    def exchange(self, source: str, target: str) -> bool:
        """Let two files or links change places in one step; False where the system or the filesystem cannot."""
        with self.handles() as handles:
            return rename_exchange(*handles.locate(source), *handles.locate(target))

    def unlink(self, path: str) -> None:
        """Remove the file or link `path`."""
        with self.handles() as handles:
            directory, name = handles.locate(path)
            os.unlink(name, dir_fd=directory)

    def link(self, source: str, target: str) -> None:
        """Give the file `source` a second name; raises FileExistsError when it is taken."""
        with self.handles() as handles:
            old, new = handles.locate(source), handles.locate(target)
            os.link(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0], follow_symlinks=False)

    def touch(self, path: str, mark: int, *, executable: bool, mtime_ns: int) -> os.stat_result:
        """Set permissions and time (nanoseconds since 1970) of the file `path`, and return its stat after that.

        Execute permission is given to who may read, as by `chmod +x` under the umask, or taken from all. Only the file
        that has the state `mark` is changed: one that takes its name in that instant stays as it was saved. Raises
        EntryChanged, EntryRefused.
        """
        try:
            fd = self.open_file(path)
        except FileNotFoundError:
            raise EntryChanged(path=path) from None
        try:
            stat = os.fstat(fd)
            if state_mark(stat) != mark:
                raise EntryChanged(path=path)
            self.dress(fd, self.file_mode(executable, stat), mtime_ns)
            return os.fstat(fd)
        finally:
            os.close(fd)

    def file_mode(self, executable: bool, like: os.stat_result | None = None) -> int:
        """Return a file's permissions: those of `like` if given, else the umask's. Never set-id (fault case 34)."""
        mode = like.st_mode & 0o777 if like is not None else 0o666 & ~self._umask
        if not executable:
            return mode & ~0o111
        return mode | (mode & 0o444) >> 2 & ~self._umask

    # Writing: one method a step, so that a test can let each of them fail

    def create_file(self, path: str) -> int:
        """Create the file `path`, for this user alone, and open it; raises FileExistsError when the name is taken."""
        with self.handles() as handles:
            directory, name = handles.locate(path)
            return os.open(name, _CREATE, 0o600, dir_fd=directory)

    def create_staged(self, name: str) -> int:
        """Create the staging file `name`, for this user alone, and open it."""
        return self.create_file(f"{STAGING}/{name}")

    def open_staged(self, name: str) -> int:
        """Open the staging file `name` for reading and writing. Raises EntryRefused when it is not a regular file."""
        path = f"{STAGING}/{name}"
        try:
            with self.handles() as handles:
                fd = os.open(name, _OPEN_STAGED, dir_fd=handles.locate(path)[0])
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise EntryRefused(path=path) from error
            raise
        return _only_regular(fd, path)

    def write_at(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`. A disk that takes nothing is an error: it would be tried for ever."""
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            more = os.pwrite(fd, memoryview(data)[written:], offset + written)
            if not more:
                raise OSError(errno.EIO, "nothing more was written")
            written += more

    def clone(self, source_fd: int, source: int, length: int, fd: int, offset: int) -> bool:
        """Take `length` bytes of another file without copying them; False where the filesystem cannot."""
        return clone_range(source_fd, source, length, fd, offset)

    def resize(self, fd: int, size: int) -> None:
        """Make the file `size` bytes long; what is new is a hole."""
        os.ftruncate(fd, size)

    def dress(self, fd: int, mode: int, mtime_ns: int) -> None:
        """Give a written file its permissions, where the filesystem keeps some, and its time."""
        try:
            os.fchmod(fd, mode)
        except OSError:
            if self.keeps.modes:
                raise
        os.utime(fd, ns=(mtime_ns, mtime_ns))

    def begin_sync(self, fd: int) -> None:
        """Let a file begin to go to the disk, so that `sync_file` finds little left to wait for."""
        begin_flush(fd)

    def sync_file(self, fd: int) -> None:
        """Bring a file to the disk. After an error its content is unknown: it must not be used (fault case 71)."""
        flush_file(fd)

    def sync_all(self, names: Sequence[str]) -> None:
        """Bring these staging files to the disk, in one go where the system can."""
        with self.handles() as handles:
            if flush_filesystem(handles.directory("")):
                return
            for name in names:
                fd = self.open_staged(name)
                try:
                    self.sync_file(fd)
                finally:
                    os.close(fd)

    def sync_directory(self, path: str) -> None:
        """Bring the names in the directory `path` to the disk."""
        with self.handles() as handles:
            flush_file(handles.directory(path))


def _too_much(root: os.stat_result) -> str | None:
    for path, what in (("/", "the root of the filesystem"), (os.path.expanduser("~"), "your home directory")):
        with contextlib.suppress(OSError):
            if os.path.samestat(root, Path(path).stat()):
                return what
    return None


def _holder(lock: int) -> str:
    if not modes.S_ISREG(os.fstat(lock).st_mode):
        return ""
    pid = os.pread(lock, 20, 0).strip()
    return f" (process {pid.decode()})" if pid.isdigit() else ""


def _only_regular(fd: int, path: str) -> int:
    if not modes.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise EntryRefused(path=path)
    return fd


def _forget_moved(handles: Handles, source: str) -> None:
    if not source.startswith(STAGING):  # only files are staged
        handles.forget(source)
