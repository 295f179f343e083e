"""Helpers of the disk tests: a folder that fails, stops or remembers at any step, and small trees."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, file_root, leaf_hash
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.staging import SmallFile
from leafsync.engine.disk.store import Store

STEPS = (
    "list_directory",
    "stat",
    "open_file",
    "open_staged",
    "read_link",
    "make_directory",
    "remove_directory",
    "make_link",
    "rename",
    "rename_new",
    "exchange",
    "unlink",
    "link",
    "create_file",
    "clone",
    "write_at",
    "resize",
    "dress",
    "sync_file",
    "sync_all",
    "sync_directory",
    "free_space",
)
"""The methods of Folder that can fail, stop or be watched."""

TIME = 1_700_000_000_000_000_000
"""Some moment, in nanoseconds since 1970, long enough ago not to be racy."""


@dataclass
class Fault:
    """What happens at a step."""

    step: str
    act: Callable[[], object]
    about: str = ""
    """Part of the call's arguments, as text."""
    skip: int = 0
    """Calls that go well first."""
    times: int = 1_000_000


class FaultyFolder(Folder):
    """A folder whose steps can be made to fail, and which writes them down."""

    def __init__(self, path: str, root: int) -> None:
        super().__init__(path, root)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.faults: list[Fault] = []

    def fail(self, step: str, code: int = errno.EIO, *, about: str = "", skip: int = 0, times: int = 1_000_000) -> None:
        """Let a step raise OSError."""

        def act() -> None:
            raise OSError(code, os.strerror(code))

        self.faults.append(Fault(step, act, about, skip, times))

    def at(self, step: str, act: Callable[[], object], *, about: str = "", skip: int = 0) -> None:
        """Do something else just before a step, once."""
        self.faults.append(Fault(step, act, about, skip, 1))

    def kill_at(self, step: str, *, about: str = "", skip: int = 0) -> None:
        """Die without a word just before a step."""
        self.at(step, lambda: os.kill(os.getpid(), signal.SIGKILL), about=about, skip=skip)

    def before(self, step: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((step, arguments))
        for fault in self.faults:
            if fault.step == step and fault.about in repr(arguments) and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                fault.act()

    def steps(self) -> list[str]:
        """Return the names of the steps so far."""
        return [name for name, _arguments in self.calls]


def _watched(name: str) -> Callable[..., Any]:
    original = getattr(Folder, name)

    def step(self: FaultyFolder, *arguments: Any, **options: Any) -> Any:
        self.before(name, arguments)
        return original(self, *arguments, **options)

    return step


for _name in STEPS:
    setattr(FaultyFolder, _name, _watched(_name))


class WatchedStore(Store):
    """A store that writes its commits down among the steps of a folder."""

    watched: FaultyFolder

    def finish_staged(self, *arguments: Any) -> None:
        self.watched.before("store", ())
        super().finish_staged(*arguments)


def content_leaves(data: bytes) -> bytes:
    """Return the leaves of a file with this content."""
    return b"".join(leaf_hash(data[start : start + CHUNK_SIZE]) for start in range(0, len(data), CHUNK_SIZE))


def content_root(data: bytes) -> bytes:
    """Return the root of a file with this content."""
    return file_root(len(data), content_leaves(data))


def file_entry(path: str, data: bytes, *, mtime_ns: int = TIME, executable: bool = False) -> Entry:
    """Return the entry of a file with this content."""
    return Entry(path.rpartition("/")[2], Kind.FILE, len(data), mtime_ns, executable, content_root(data))


def small(path: str, data: bytes = b"new", *, mtime_ns: int = TIME, executable: bool = False) -> SmallFile:
    """Return a small file that arrived."""
    return SmallFile(path, file_entry(path, data, mtime_ns=mtime_ns, executable=executable), data)


def write(root: Path, path: str, data: bytes = b"old", mtime_ns: int = TIME) -> Path:
    """Write a file into a folder, with an old time."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.utime(file, ns=(mtime_ns, mtime_ns))
    return file


def tree(root: Path) -> dict[str, bytes | str | None]:
    """Return everything below a directory but LeafSync's own: content of files, targets of links, None of others."""
    found: dict[str, bytes | str | None] = {}
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        if path.startswith(".leafsync_t"):
            continue
        found[path] = str(file.readlink()) if file.is_symlink() else file.read_bytes() if file.is_file() else None
    return found


def below(root: Path, own: str) -> dict[str, bytes | str | None]:
    """Return what is below one of LeafSync's own directories, the lock left out."""
    return {path: value for path, value in tree(root / own).items() if path != "lock"} if (root / own).exists() else {}
