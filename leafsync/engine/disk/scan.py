"""The scan: everything in the folder, as an index. Files that the store knows by their stat are not read again."""

import os
import threading
from array import array
from collections.abc import Callable, Collection, Mapping
from itertools import chain

import msgspec

from leafsync.engine.core.index import IGNORED, Entry, Index, Kind, find
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.names import STAGING, TRASH, join, parent
from leafsync.engine.disk.folder import Folder, state_mark
from leafsync.engine.disk.hashing import BUSY, GONE, Hashed, Hasher, Progress
from leafsync.engine.disk.ignore import IgnoreRules
from leafsync.engine.disk.racy import is_racy
from leafsync.engine.disk.store import HashRow, Store
from leafsync.engine.disk.walk import NOTHING_PLACED, Known, Walk
from leafsync.errors import FolderMissing, FolderUnreadable


class Scan(msgspec.Struct, frozen=True):
    """What a scan found. Immutable, so that several passes can use one."""

    index: Index
    ignore: IgnoreRules
    hashed_files: int
    hashed_bytes: int
    marks: Mapping[str, int]
    """The state mark of each directory in the index, for the next `rescan`."""
    linked: bool
    """Whether a file with several names has changed. The others may be anywhere: a `rescan` may have missed them."""


def scan(
    folder: Folder,
    store: Store,
    hasher: Hasher,
    *,
    previous: Index | None = None,
    placed: Mapping[int, bytes] = NOTHING_PLACED,
    now_ns: int,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> Scan:
    """List the whole folder and hash what is not known.

    `previous` is an index of this folder from this process: it spares reading the cache. `placed` has the roots, by
    state mark, of files that this process has just written and verified; the cache may have them as racy ones. `now_ns`
    is the time in nanoseconds since 1970. `progress` is told of hashed bytes, from other threads. Raises FolderMissing,
    FolderUnreadable, Cancelled, and what the store raises; anything wrong with a single entry is a problem in the
    index, and the entry is withheld, so nobody takes it for absent (fault case 73).
    """
    _check_root(folder)
    hashing = _Hashing(store, hasher, now_ns, progress, cancelled)
    walk = Walk(folder, Known(store, previous, placed), cancelled or threading.Event(), hashing.run)
    with folder.handles():
        walk.root()
    hashing.run(walk)
    _check_root(folder)
    index = Index(walk.listings, states=walk.states, problems=walk.problems + walk.ignore.problems)
    if walk.complete:
        store.forget_except(array("Q", filter(None, chain.from_iterable(walk.states.values()))))
    return Scan(index, walk.ignore, hashing.files, hashing.bytes, walk.marks, walk.linked)


def rescan(
    folder: Folder,
    store: Store,
    hasher: Hasher,
    *,
    previous: Scan,
    directories: Collection[str],
    placed: Mapping[int, bytes] = NOTHING_PLACED,
    now_ns: int,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> Scan:
    """List these directories again, and what changed below them; the rest is as in `previous`.

    The result is what `scan` would find if nothing changed elsewhere. It costs what the named directories cost, and
    those below them that are new, or whose own listing changed, or that a changed ignore file governs. One that is
    gone stands for the nearest one above that is there. Parameters and errors are those of `scan`.
    """
    _check_root(folder)
    hashing = _Hashing(store, hasher, now_ns, progress, cancelled)
    walk = _Revisit(folder, store, previous, placed, cancelled or threading.Event(), hashing.run)
    with folder.handles():
        walk.visit(directories)
    hashing.run(walk)
    _check_root(folder)
    stale = walk.listings.keys() | walk.gone
    problems = [problem for problem in previous.index.problems if parent(problem.path) not in stale]
    problems += walk.problems
    for path in walk.listings:
        problems += walk.ignore.problems_of(path)
    index = previous.index.updated(walk.listings, walk.gone, states=walk.states, problems=problems)
    marks = {**previous.marks, **walk.marks}
    for path in walk.gone:
        marks.pop(path, None)
    return Scan(index, walk.ignore, hashing.files, hashing.bytes, marks, walk.linked)


def _check_root(folder: Folder) -> None:
    if not folder.same_root():
        raise FolderMissing(path=folder.path)


class _Revisit(Walk):
    """A walk through some directories of a folder of which a scan is there already."""

    def __init__(
        self,
        folder: Folder,
        store: Store,
        previous: Scan,
        placed: Mapping[int, bytes],
        cancelled: threading.Event,
        hash_files: Callable[[Walk], None],
    ) -> None:
        super().__init__(folder, Known(store, previous.index, placed, few=True), cancelled, hash_files)
        self.ignore = previous.ignore.copy()
        self.gone: set[str] = set()
        """Directories of the previous scan that are there no more."""
        self._previous = previous
        self._named: set[str] = set()
        self._whole = False
        """Whether everything below is listed again, because other ignore rules hold there."""

    def visit(self, directories: Collection[str]) -> None:
        """List the directories again, those above others first."""
        self._named = {path for directory in directories if (path := self._nearest(directory)) is not None}
        for path in sorted(self._named):
            self._revisit(path)
        self.gone -= self.listings.keys()

    def _nearest(self, directory: str) -> str | None:
        """Return the nearest directory of the previous scan at or above `directory`, None when it is ignored."""
        path = ""
        for name in directory.split("/"):
            entry = find(self._previous.index.children(path), name)
            if entry is None or entry.kind is not Kind.DIRECTORY:
                ignored = entry is not None and entry.kind is Kind.WITHHELD and entry.target == IGNORED
                return None if ignored or (not path and name in (STAGING, TRASH)) else path
            path = join(path, name)
        return path

    def _revisit(self, path: str) -> None:
        """List a directory again; the one above when it cannot be, which then shows what became of it."""
        while path not in self.listings and path not in self.gone:
            try:
                mark = self.mark(path)
                found = self.folder.list_directory(path)
            except OSError as error:
                if not path:
                    raise FolderUnreadable(path=self.folder.path, reason=error.strerror) from error
                path = parent(path)
            else:
                self.directory(path, found, mark)

    def directory(self, path: str, found: list[tuple[str, os.stat_result]], mark: int) -> None:
        whole = self._whole
        super().directory(path, found, mark)
        self._whole = whole
        there = {entry.name for entry in self.listings[path] if entry.kind is Kind.DIRECTORY}
        for entry in self._previous.index.children(path):
            if entry.kind is Kind.DIRECTORY and entry.name not in there:
                self._drop(join(path, entry.name))

    def subdirectory(self, path: str, stat: os.stat_result) -> Entry | None:
        unchanged = self._previous.marks.get(path) == state_mark(stat)
        if path in self.listings or (unchanged and path not in self._named and not self._whole):
            return Entry(path.rpartition("/")[2], Kind.DIRECTORY)
        return super().subdirectory(path, stat)

    def load_rules(self, path: str, found: list[tuple[str, os.stat_result]]) -> None:
        before = self.ignore.rules_of(path)
        self.ignore.forget(path)
        super().load_rules(path, found)
        self._whole = self._whole or self.ignore.rules_of(path) != before

    def _drop(self, path: str) -> None:
        """Forget a directory and everything below it."""
        for entry in (*self._previous.index.children(path), *self.listings.get(path, ())):
            if entry.kind is Kind.DIRECTORY and join(path, entry.name) not in self.gone:
                self._drop(join(path, entry.name))
        self.gone.add(path)
        self.ignore.forget(path)
        if path in self.listings:  # it went while this walk was under way
            del self.listings[path], self.states[path], self.marks[path]
            self.unhashed = [file for file in self.unhashed if parent(file[0]) != path]
            self.problems = [problem for problem in self.problems if parent(problem.path) != path]


class _Hashing:
    """Hashes the files that a walk found unknown, as it finds them."""

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        now_ns: int,
        progress: Progress | None,
        cancelled: threading.Event | None,
    ) -> None:
        self.files = 0
        self.bytes = 0
        self._store = store
        self._hasher = hasher
        self._now_ns = now_ns
        self._progress = progress
        self._cancelled = cancelled

    def run(self, walk: Walk) -> None:
        """Hash the files that wait, add them to the listings, and remember their hashes."""
        waiting, walk.unhashed = walk.unhashed, []
        rows: list[HashRow] = []
        for result in self._hasher.hash_many(walk.folder, waiting, progress=self._progress, cancelled=self._cancelled):
            directory, _, name = result.path.rpartition("/")
            if result.error is None:
                entry = walk.entry(result.path, name, result.stat, result.root)
                walk.put(directory, entry, state_mark(result.stat))
                rows.append(self._row(result))
                self.bytes += result.stat.st_size
            elif result.error != GONE:
                busy = result.error == BUSY
                reason = "busy: it changes while it is read" if busy else f"it cannot be read: {result.error}"
                walk.put(directory, walk.withheld(result.path, reason))
        self.files += len(rows)
        self._store.put_hashes(rows)

    def _row(self, result: Hashed) -> HashRow:
        leaves = result.leaves if result.stat.st_size > CHUNK_SIZE else None
        return HashRow(state_mark(result.stat), result.root, leaves, is_racy(result.stat, self._now_ns))
