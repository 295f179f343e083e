"""Fault points: every call by which LeafSync changes a disk, named after who makes it, and death at any of them.

Nothing in the product knows of this. In a process of its own the functions of the system are replaced, so that a new
step of the write path is a new point by itself. Flushes are written down but not carried out: a killed process loses
nothing that the kernel has, and their order is what can be checked.
"""

import enum
import fcntl
import functools
import itertools
import os
import random
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leafsync.engine.disk import staged, staging, system
from leafsync.engine.disk.hashing import Hasher

if TYPE_CHECKING:
    from types import FrameType

PLUMBING = frozenset(f"leafsync.engine.disk.{name}" for name in ("database", "folder", "handles", "system"))
"""Modules through which all changes go: a point is named after whoever calls them."""

_CHANGES = (
    "mkdir",
    "rmdir",
    "rename",
    "replace",
    "link",
    "symlink",
    "unlink",
    "remove",
    "ftruncate",
    "truncate",
    "fchmod",
    "chmod",
    "utime",
    "pwrite",
    "write",
    "copy_file_range",
    "sendfile",
)
"""Functions of `os` that change a disk."""

_FLUSHES = ("fsync", "fdatasync")
_STATEMENTS = frozenset({"INSERT", "UPDATE", "DELETE", "CREATE", "COMMIT"})


class Moment(enum.StrEnum):
    """When the process dies."""

    BEFORE = "before"
    WITHIN = "within"
    """With half of the bytes written; before, where nothing is written."""
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a process dies."""

    point: str
    occurrence: int
    """Which call of this point, from 1."""
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} call {self.occurrence} of {self.point}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made."""

    point: str
    thread: int


class Points:
    """Writes the calls of this process down, and ends it at one of them."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.calls: list[Call] = []
        self._fault = fault
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Replace the functions, for as long as the process lives."""
        for name in _CHANGES:
            if hasattr(os, name):
                self._watch(os, name)
        for name in _FLUSHES:
            if hasattr(os, name):
                self._watch(os, name, instead=_done)
        if sys.platform == "darwin":  # F_FULLFSYNC, the only thing that it is asked for
            self._watch(fcntl, "fcntl", "fsync", instead=_done)
        self._watch_creation()
        self._watch(fcntl, "ioctl", "clone")
        self._watch(system, "_renameat2", "renameat2")
        self._watch(system, "_syncfs", "syncfs", instead=_done)
        for module in (staged, staging):
            self._watch(module, "leaf_hash", "verify")
        self._watch(Hasher, "hash_chunks", "verify")
        self._watch_statements()

    def _watch(self, owner: Any, name: str, verb: str = "", *, instead: Callable[..., Any] | None = None) -> None:
        original = getattr(owner, name)
        if original is None:  # a call that this system does not have
            return
        act = instead or original

        @functools.wraps(original)
        def watched(*arguments: Any, **options: Any) -> Any:
            return self._call(verb or name, act, arguments, options)

        setattr(owner, name, watched)

    def _watch_creation(self) -> None:
        original: Any = os.open

        @functools.wraps(original)
        def watched(path: Any, flags: int, *arguments: Any, **options: Any) -> Any:
            if flags & os.O_CREAT:
                return self._call("create", original, (path, flags, *arguments), options)
            return original(path, flags, *arguments, **options)

        os.open = watched

    def _watch_statements(self) -> None:
        call = self._call

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                return _statement(super().execute, sql, arguments)

            def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                return _statement(super().executemany, sql, arguments)

        def _statement(execute: Callable[..., sqlite3.Cursor], sql: str, arguments: tuple[Any, ...]) -> sqlite3.Cursor:
            verb = sql.split(maxsplit=1)[0]
            if verb in _STATEMENTS:
                cursor: sqlite3.Cursor = call(verb, execute, (sql, *arguments), {})
                return cursor
            return execute(sql, *arguments)

        connect: Any = functools.partial(sqlite3.connect, factory=Watched)
        sqlite3.connect = connect

    def _call(self, verb: str, act: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        caller = _caller()
        if caller is None:
            return act(*arguments, **options)
        point = f"{caller}: {verb}"
        fault = self._fault
        with self._lock:
            self.calls.append(Call(point, threading.get_ident()))
            self._counts[point] += 1
            hit = fault is not None and fault.point == point and fault.occurrence == self._counts[point]
        if hit and fault is not None and fault.moment is not Moment.AFTER:
            if fault.moment is Moment.WITHIN and verb == "pwrite":
                act(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2], *arguments[2:], **options)
            die()
        try:
            return act(*arguments, **options)
        finally:
            if hit:
                die()


def die() -> None:
    """End this process without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def _done(*_arguments: Any) -> int:
    return 0


def _caller() -> str | None:
    """Return which function of LeafSync changes the disk: the innermost one above the plumbing."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("leafsync.") and name not in PLUMBING:
            return f"{name.rpartition('.')[2]}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return None


def each_point(calls: Iterable[Call]) -> list[Fault]:
    """Return a fault for every point of a recorded run, at the first, the last or a middle call, before or after."""
    counts = Counter(call.point for call in calls)
    moments = itertools.cycle(Moment)
    return [Fault(point, (1 + count) // 2, next(moments)) for point, count in sorted(counts.items())]


def random_fault(chance: random.Random, calls: Sequence[Call]) -> Fault:
    """Return a fault somewhere in a recorded run. Points count the same, however often they are called."""
    counts = Counter(call.point for call in calls)
    point = chance.choice(sorted(counts))
    return Fault(point, chance.randint(1, counts[point]), chance.choice(list(Moment)))
