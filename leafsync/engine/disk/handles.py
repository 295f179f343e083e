"""Open directories: how a relative path becomes a directory descriptor without ever following a symlink."""

import errno
import os
from types import TracebackType
from typing import Self

MAX_HANDLES = 64
"""Directories that one thread holds open at once: a wide tree is walked with few opens, and the usual limit of 1024
descriptors is far away for every number of threads."""

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Handles:
    """The open directories of one thread, while at least one `with` block is open.

    Nothing is kept between blocks: a directory may be renamed meanwhile, and its descriptor would lead to the new
    place. Not thread-safe; `Folder.handles` gives each thread its own.
    """

    def __init__(self, root: int, device: int) -> None:
        self._root = root
        self._device = device
        self._open: dict[str, int] = {}
        self._depth = 0

    def __enter__(self) -> Self:
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            while self._open:
                os.close(self._open.popitem()[1])

    def directory(self, path: str) -> int:
        """Return a descriptor of the directory `path`, good at least until the next but one is asked for.

        Raises OSError: ENOTDIR or ELOOP when a component is a symlink or no directory, EXDEV when it is on another
        filesystem than the folder, EINVAL when the path is not a clean relative one.
        """
        if not path:
            return self._root
        fd = self._open.pop(path, None)
        if fd is None:
            fd = self._walk(path)
            while len(self._open) >= MAX_HANDLES:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = fd
        return fd

    def locate(self, path: str) -> tuple[int, str]:
        """Return the descriptor of the parent of `path`, and its last component. Raises OSError like `directory`."""
        parent, _, name = path.rpartition("/")
        check_component(name)
        return self.directory(parent), name

    def forget(self, path: str) -> None:
        """Close the directory `path` and all below it: it was removed or renamed."""
        below = f"{path}/"
        for held in [held for held in self._open if held == path or held.startswith(below)]:
            os.close(self._open.pop(held))

    def _walk(self, path: str) -> int:
        base, rest = path, []
        while base and base not in self._open:
            base, _, name = base.rpartition("/")
            rest.append(name)
        fd = start = self._open[base] if base else self._root
        for name in reversed(rest):
            try:
                check_component(name)
                inner = self._enter(name, fd)
            finally:
                if fd != start:
                    os.close(fd)
            fd = inner
        return fd

    def _enter(self, name: str, directory: int) -> int:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
        if os.fstat(fd).st_dev != self._device:
            os.close(fd)
            raise OSError(errno.EXDEV, "another filesystem is mounted here", name)
        return fd


def check_component(name: str) -> None:
    """Raise OSError (EINVAL) unless `name` is one name in a directory: the last line of defence below core/names."""
    if name in ("", ".", "..") or "\0" in name or "/" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
