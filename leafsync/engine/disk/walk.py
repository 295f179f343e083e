"""The walk: directories listed, and every name in them turned into an entry, a problem, or a file to be hashed."""

import errno
import os
import stat as modes
import threading
import unicodedata
from array import array
from collections.abc import Callable, Mapping
from types import MappingProxyType

from leafsync.engine.core.index import IGNORED, Entry, Index, Kind, Problem
from leafsync.engine.core.merkle import MAX_FILE_SIZE
from leafsync.engine.core.names import (
    IGNORE_FILE,
    MAX_DEPTH,
    MAX_PATH,
    STAGING,
    TRASH,
    join,
    name_problem,
    target_problem,
)
from leafsync.engine.disk.folder import Folder, state_mark
from leafsync.engine.disk.given import NOTHING_GIVEN, Given
from leafsync.engine.disk.hashing import Cancelled
from leafsync.engine.disk.ignore import MAX_FILE, IgnoreRules
from leafsync.engine.disk.store import Store
from leafsync.errors import EntryRefused, FolderUnreadable

NOTHING_PLACED: Mapping[int, bytes] = MappingProxyType({})

FEW = 200
"""Files that are looked up one by one; of a folder of 10,000 the whole cache is read in the time of 1,000 look-ups."""

MOUNTED = "another filesystem is mounted here"

MAX_UNHASHED = 4096
"""Files that wait until they are hashed: enough for all threads, few enough that what stat said of them, 700 bytes
each, does not count beside the index."""

_EXECUTABLE = modes.S_IXUSR
_MIN_TIME, _MAX_TIME = -(1 << 63), (1 << 63) - 1


def file_time(stat: os.stat_result) -> int:
    """Return the modification time as an entry holds it: filesystems store more than 64 bits of nanoseconds."""
    time = stat.st_mtime_ns
    return time if _MIN_TIME <= time <= _MAX_TIME else max(_MIN_TIME, min(time, _MAX_TIME))


def file_entry(name: str, stat: os.stat_result, root: bytes) -> Entry:
    """Return the entry of a file with this lstat and this root."""
    return Entry(name, Kind.FILE, stat.st_size, file_time(stat), stat.st_mode & _EXECUTABLE != 0, root)


_NOT_GIVEN = Given(0, executable=False, stored_ns=_MIN_TIME - 1)
"""What is known of a file that was made here: on a filesystem without permissions none is executable."""

MAX_SINGLE = 10_000
"""Files that are looked up in the cache one by one, before all of it is read: where there is an index already nearly
nothing else has to be looked up, and all of it is as large as the index."""


class Known:
    """Roots of files that did not change, out of the last index and the cache."""

    def __init__(
        self, store: Store, previous: Index | None, placed: Mapping[int, bytes] = NOTHING_PLACED, *, few: bool = False
    ) -> None:
        """Know what `previous`, `placed` and the store know; `few` says that little will be asked, so the cache is not
        read whole unless it is."""
        self._placed = placed
        self._store = store
        self._previous = previous
        self._few = FEW if few else MAX_SINGLE if previous is not None else 0
        self._racy = store.load_racy() if previous is not None else frozenset()
        self._cached: dict[int, bytes] | None = None

    def given(self) -> Mapping[str, Given]:
        """Return path -> what the file there was given, for a filesystem that does not keep all of it."""
        return self._store.load_given()

    def before(self, directory: str) -> dict[str, Entry]:
        """Return name -> entry of the files that the last index has in a directory."""
        if self._previous is None:
            return {}
        return {entry.name: entry for entry in self._previous.children(directory) if entry.kind is Kind.FILE}

    def unchanged(self, path: str, mark: int) -> bool:
        """Whether the file at `path` has this mark in the last index already."""
        return self._previous is not None and self._previous.state(path) == mark

    def root(self, path: str, mark: int, before: Entry | None) -> bytes | None:
        """Return the root of a file with this mark; `before` is what the last index has there."""
        if before is not None and self.unchanged(path, mark) and mark not in self._racy:
            return before.hash
        if mark in self._placed:
            return self._placed[mark]
        if self._few > 0:
            self._few -= 1
            return self._store.find_root(mark)
        if self._cached is None:
            self._cached = self._store.load_roots()
        return self._cached.get(mark)


class Walk:
    """One walk down the folder, and what it found so far."""

    def __init__(
        self, folder: Folder, known: Known, cancelled: threading.Event, hash_files: Callable[["Walk"], None]
    ) -> None:
        """`hash_files` hashes the files that are `unhashed` by then, and adds them to the listings."""
        self.folder = folder
        self.known = known
        self.cancelled = cancelled
        self._hash = hash_files
        self._faithful = all(folder.keeps)
        self._given = known.given() if not self._faithful else NOTHING_GIVEN
        self.ignore = IgnoreRules(private=folder.private)
        self.listings: dict[str, list[Entry]] = {}
        self.states: dict[str, array[int]] = {}
        """For each directory, the state marks of its entries in the order of its listing, 0 for all but files."""
        self.marks: dict[str, int] = {}
        """The state mark of each directory, taken before it was listed."""
        self.problems: list[Problem] = []
        self.unhashed: list[tuple[str, os.stat_result]] = []
        """Files that nothing is known of; they are in no listing yet. Few at a time: see MAX_UNHASHED."""
        self.complete = True
        """Whether every directory could be read, so that a hash nobody asked for is of no more use."""
        self.linked = False
        """Whether a file that has more names than one is not what it was in the last index."""

    def root(self) -> None:
        """Walk the whole folder. Raises FolderUnreadable, Cancelled."""
        try:
            mark = self.mark("")
            self.directory("", self.folder.list_directory(""), mark)
        except OSError as error:
            raise FolderUnreadable(path=self.folder.path, reason=error.strerror) from error

    def mark(self, path: str) -> int:
        """Return the state mark of a directory. Raises OSError."""
        stat = self.folder.stat(path)
        if stat is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return state_mark(stat)

    def directory(self, path: str, found: list[tuple[str, os.stat_result]], mark: int) -> None:
        """Take in the listing of a directory, and walk what is below. `mark` is its state before it was listed."""
        if self.cancelled.is_set():
            raise Cancelled
        self.listings[path], self.states[path], self.marks[path] = [], array("Q"), mark
        self.load_rules(path, found)
        found = self.usable(path, found)
        before = self.known.before(path)
        ignored = self.ignore.deciding_in(path)
        deep = path.count("/") + 2 > MAX_DEPTH if path else False
        for name, stat in found:
            child = f"{path}/{name}" if path else name
            is_directory = modes.S_ISDIR(stat.st_mode)
            entry: Entry | None
            if ignored(child, is_directory):
                entry = Entry(name, Kind.WITHHELD, target=IGNORED)
            elif deep:
                entry = self.withheld(child, f"the path is deeper than {MAX_DEPTH} directories")
            elif len(child) > MAX_PATH // 4 and len(child.encode()) > MAX_PATH:
                entry = self.withheld(child, f"the path is longer than {MAX_PATH} bytes")
            elif modes.S_ISREG(stat.st_mode):
                self.file(path, child, name, stat, before.get(name))
                continue
            elif is_directory:
                entry = self.subdirectory(child, stat)
            elif modes.S_ISLNK(stat.st_mode):
                entry = self.link(child)
            else:
                entry = self.withheld(child, "it is not a file, directory or symbolic link")
            if entry is not None:
                self.put(path, entry)
        if len(self.unhashed) >= MAX_UNHASHED:
            self._hash(self)

    def put(self, directory: str, entry: Entry, mark: int = 0) -> None:
        """Add an entry, for a file with its state mark, to the listing of a directory."""
        self.listings[directory].append(entry)
        self.states[directory].append(mark)

    def usable(self, path: str, found: list[tuple[str, os.stat_result]]) -> list[tuple[str, os.stat_result]]:
        """Leave out our own directories and names that cannot travel, and withhold names that collide with such."""
        own = (STAGING, TRASH) if not path else ()
        kept, refused = [], set()
        for name, stat in found:
            if name in own:
                continue
            problem = name_problem(name)
            if problem is None:
                kept.append((name, stat))
            else:
                refused.add(unicodedata.normalize("NFC", name))
                self.report(path, name, stat, problem)
        if not refused:
            return kept
        colliding = [name for name, _stat in kept if name in refused]
        for name in colliding:
            reason = "another name here differs only in its Unicode normal form"
            self.put(path, self.withheld(join(path, name), reason))
        return [(name, stat) for name, stat in kept if name not in colliding]

    def report(self, path: str, name: str, stat: os.stat_result, problem: str) -> None:
        child = join(path, name)
        if not self.ignore.ignored_here(child, modes.S_ISDIR(stat.st_mode)):
            self.problems.append(Problem(child, problem))

    def withheld(self, path: str, reason: str) -> Entry:
        """Return the entry of something that is there but cannot take part, which is a problem."""
        self.problems.append(Problem(path, reason))
        return Entry(path.rpartition("/")[2], Kind.WITHHELD, target=reason)

    def file(self, directory: str, path: str, name: str, stat: os.stat_result, before: Entry | None) -> None:
        """Add a file to the listing of its directory, or to those that have to be hashed; `path` is where it is.

        An entry that is as `before` is that one: two indexes of a folder share what did not change.
        """
        if stat.st_size > MAX_FILE_SIZE:
            self.put(directory, self.withheld(path, f"the file is larger than {MAX_FILE_SIZE >> 40} TiB"))
            return
        mark = state_mark(stat)
        if stat.st_nlink > 1 and not self.known.unchanged(path, mark):
            self.linked = True
        root = self.known.root(path, mark, before)
        if root is None:
            self.unhashed.append((path, stat))
            return
        entry = self.entry(path, name, stat, root)
        self.put(directory, before if before == entry else entry, mark)

    def entry(self, path: str, name: str, stat: os.stat_result, root: bytes) -> Entry:
        """Return the entry of a file, as it was given where its filesystem cannot keep that."""
        entry = file_entry(name, stat, root)
        if self._faithful:
            return entry
        return self._given.get(path, _NOT_GIVEN).of(entry, keeps_modes=self.folder.keeps.modes)

    def subdirectory(self, path: str, stat: os.stat_result) -> Entry | None:
        """Walk a directory in another one; None when it is gone."""
        if stat.st_dev != self.folder.device:
            return self.withheld(path, MOUNTED)
        try:
            found = self.folder.list_directory(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EXDEV:
                return self.withheld(path, MOUNTED)
            self.complete = False
            return self.withheld(path, f"the directory cannot be read: {error.strerror}")
        self.directory(path, found, state_mark(stat))
        return Entry(path.rpartition("/")[2], Kind.DIRECTORY)

    def link(self, path: str) -> Entry | None:
        try:
            target = self.folder.read_link(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self.withheld(path, f"the link cannot be read: {error.strerror}")
        problem = target_problem(path, target)
        if problem is not None:
            return self.withheld(path, problem)
        return Entry(path.rpartition("/")[2], Kind.SYMLINK, target=target)

    def load_rules(self, path: str, found: list[tuple[str, os.stat_result]]) -> None:
        for name, _stat in found:
            if name == IGNORE_FILE:
                try:
                    self.ignore.load(path, self.read(join(path, IGNORE_FILE)))
                except FileNotFoundError:
                    return
                except EntryRefused:
                    self.ignore.refuse(path, "it is not a regular file, so none of its rules holds")
                except OSError as error:
                    self.ignore.refuse(path, f"it cannot be read ({error.strerror}), so none of its rules holds")

    def read(self, path: str) -> bytes:
        fd = self.folder.open_file(path)
        with os.fdopen(fd, "rb") as file:
            return file.read(MAX_FILE + 1)
