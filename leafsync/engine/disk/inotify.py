"""Change notices of Linux, straight from the kernel (inotify(7)).

Not through watchfiles, which here follows symlinks: one to /usr costs 11,000 watches, one to a directory of the folder
hides what changes there. It also says nothing when notices were lost, and ends at a name that is not UTF-8.
"""

import ctypes
import errno
import fcntl
import os
import select
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

from leafsync.engine.core.names import MAX_DEPTH, STAGING, TRASH, join, name_problem
from leafsync.engine.disk.system import changed_here_alone

_libc = ctypes.CDLL(None, use_errno=True)

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _IS_DIRECTORY = 0x4000, 0x8000, 0x40000000
_ONLY_DIRECTORY, _DONT_FOLLOW, _EXCLUDE_UNLINKED = 0x1000000, 0x2000000, 0x4000000
_MASK = (
    (_MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE)
    | (_ONLY_DIRECTORY | _DONT_FOLLOW | _EXCLUDE_UNLINKED)
)  # fmt: skip
_APPEARED = _CREATE | _MOVED_TO
_VANISHED = _DELETE | _MOVED_FROM

_EVENT = struct.Struct("iIII")
"""Watch, mask, cookie, bytes of the name that follows."""

_BYTES = struct.Struct("i")
"""What FIONREAD answers: how many can be read."""

_BUFFER = 1 << 16
"""Bytes read at a time: some 2000 notices."""

_IDLE_MS = 100
"""How long to wait for a notice before looking whether the watch is still wanted, and the folder still there."""

_SKIPPED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
"""Why a directory is not watched: it is gone or something else by now, nobody may read it, the scan included, or its
whole path is longer than the kernel takes; the scan, which goes step by step, still sees that one."""

AVAILABLE = sys.platform == "linux" and hasattr(_libc, "inotify_init1")


class Gone(Exception):
    """The folder is not there any more, or another one is in its place."""


class Changes:
    """The directories in which something changes, relative to a real path; to be iterated over once, by one thread.

    None means that anything may have changed: first, as soon as everything is watched, and when notices were lost.
    Notices are gathered until none came for `step_ms`, for `debounce_ms` at most. Iteration ends when `stop` is set;
    it raises Gone, and OSError: ENOSPC (fs.inotify.max_user_watches) or EMFILE (fs.inotify.max_user_instances) when the
    system allows no more.
    """

    def __init__(self, path: str, stop: threading.Event, debounce_ms: int, step_ms: int) -> None:
        """Prepare; nothing happens before the first step."""
        self._path = path
        self._stop = stop
        self._debounce_ms = debounce_ms
        self._step_ms = step_ms
        self._watches: _Watches | None = None
        """While everything is watched."""
        self._failure: OSError | None = None
        self._telling = threading.Lock()
        """Held from when notices are read until they are told of: nobody else may believe that there are none."""

    def __iter__(self) -> Iterator[frozenset[str] | None]:
        """Watch, and yield what changes; a batch counts as told of when the next one is asked for."""
        watches = _Watches(self._path)
        try:
            watches.add("")
            with self._telling:
                self._watches = watches
                yield None
            while not self._stop.is_set():
                watches.check_root()
                noticed = watches.wait(_IDLE_MS)
                if self._failure is not None:
                    raise self._failure
                if noticed:
                    with self._telling:
                        found = watches.gather(self._debounce_ms, self._step_ms)
                        if found is None or found:
                            yield found
        finally:
            with self._telling:
                self._watches = None
                watches.close()

    def catch_up(self, tell: Callable[[frozenset[str] | None], None]) -> bool:
        """Have everything told of that changed before this call: by `tell`, or by who iterates. Thread-safe.

        The kernel has a notice ready when the call that changed something returns. False when some may not come here.
        """
        with self._telling:
            watches = self._watches
            if watches is None or not watches.see_all:
                return False
            try:
                watches.check_root()
                found = watches.pending()
            except Gone:
                return False
            except OSError as error:
                self._failure, self._watches = error, None
                return False
            if found is None or found:
                tell(found)
            return watches.see_all  # a directory that is new may be one that cannot be watched


class _Watches:
    """One watch for each directory of the folder."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._root = os.stat(path)
        self.see_all = changed_here_alone(path)
        """Whether there is a notice of every change, but of those through memory that a program has mapped."""
        self._directories: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), path)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def close(self) -> None:
        os.close(self._fd)

    def check_root(self) -> None:
        """Raise Gone unless the path still leads to the directory that is watched."""
        if not same_root(self._path, self._root):
            raise Gone

    def add(self, directory: str) -> set[str]:
        """Watch a directory and all below it, and return these: what happened there before is not known."""
        added, waiting = set(), [directory]
        while waiting:
            directory = waiting.pop()
            try:
                self._add_one(directory)
                added.add(directory)
                with os.scandir(join(self._path, directory) if directory else self._path) as entries:
                    waiting += [
                        join(directory, entry.name)
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False) and self._takes_part(directory, entry.name)
                    ]
            except OSError as error:
                if error.errno not in _SKIPPED:
                    raise
                self.see_all = self.see_all and error.errno != errno.ENAMETOOLONG
        return added

    def _takes_part(self, directory: str, name: str) -> bool:
        """Whether what is below `name` can be in the folder: as the scan sees it, for entries of any kind."""
        if not directory:
            return name not in (STAGING, TRASH) and name_problem(name) is None
        return directory.count("/") + 2 <= MAX_DEPTH and name_problem(name) is None

    def _add_one(self, directory: str) -> None:
        path = f"{self._path}/{directory}" if directory else self._path
        if os.lstat(path).st_dev != self._root.st_dev:
            raise OSError(errno.ENOENT, "another filesystem is mounted here", path)
        number = _checked(_libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK), path)
        before = self._directories.get(number)
        if before is not None and before != directory:  # the same directory under an older name
            self._numbers.pop(before, None)
        self._directories[number] = directory
        self._numbers[directory] = number

    def _remove(self, directory: str) -> None:
        """Stop watching a directory that was moved away, and all below it."""
        below = f"{directory}/"
        for path in [path for path in self._numbers if path == directory or path.startswith(below)]:
            number = self._numbers.pop(path)
            self._directories.pop(number, None)
            _libc.inotify_rm_watch(self._fd, number)

    def wait(self, milliseconds: float) -> bool:
        """Say whether there is a notice within this time."""
        return bool(self._poll.poll(milliseconds))

    def gather(self, debounce_ms: int, step_ms: int) -> frozenset[str] | None:
        """Return the directories of all notices until it gets quiet, None when some were lost."""
        found: set[str] = set()
        lost = self._take(self._read(), found)
        deadline = time.monotonic() + debounce_ms / 1000
        while time.monotonic() < deadline:
            time.sleep(step_ms / 1000)  # not woken by each notice: that would slow down whoever writes in this process
            data = self._read()
            if not data:
                break
            while data:
                lost = self._take(data, found) or lost
                data = self._read() if time.monotonic() < deadline else b""
        return self._found(found, lost)

    def pending(self) -> frozenset[str] | None:
        """Return the directories of the notices that there are by now, None when some were lost."""
        found: set[str] = set()
        lost = False
        (left,) = _BYTES.unpack(fcntl.ioctl(self._fd, termios.FIONREAD, bytes(_BYTES.size)))
        while left > 0 and (data := self._read()):
            left -= len(data)
            lost = self._take(data, found) or lost
        return self._found(found, lost)

    def _found(self, found: set[str], lost: bool) -> frozenset[str] | None:
        if lost:
            self.add("")
            return None
        return frozenset(found)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return b""

    def _take(self, data: bytes, found: set[str]) -> bool:
        """Add the directories of these notices to `found`; return whether the kernel had to drop some."""
        at, lost = 0, False
        while at < len(data):
            number, mask, _cookie, length = _EVENT.unpack_from(data, at)
            name = os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0"))
            at += _EVENT.size + length
            directory = self._directories.get(number)
            if mask & _OVERFLOW:
                lost = True
            elif directory is None:
                continue
            elif mask & _IGNORED:
                del self._directories[number]
                if self._numbers.get(directory) == number:
                    del self._numbers[directory]
            elif not name:
                found.add(directory and directory.rpartition("/")[0])
            elif directory or name not in (STAGING, TRASH):
                found.add(directory)
                if mask & _IS_DIRECTORY and self._takes_part(directory, name):
                    self._directory(join(directory, name), mask, found)
        return lost

    def _directory(self, path: str, mask: int, found: set[str]) -> None:
        if mask & _VANISHED:
            self._remove(path)
        elif mask & _APPEARED:
            found |= self.add(path)


def same_root(path: str, root: os.stat_result) -> bool:
    """Say whether `path` still leads to the directory that had this stat."""
    try:
        return os.path.samestat(os.stat(path), root)
    except OSError:
        return False


def _checked(result: int, path: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result
