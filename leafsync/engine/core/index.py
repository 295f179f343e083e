"""The index: every entry of a folder, by directory, with a digest for each directory.

An entry that exists but takes no part (ignored, unreadable, a socket, ...) is listed as *withheld*: it is left out of
the digest, and nobody may take it for absent, so an ignore rule or a read error can never cause a delete.
"""

import enum
import struct
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, NamedTuple

import msgspec
from blake3 import blake3

from leafsync.engine.core.merkle import HASH_SIZE, MAX_FILE_SIZE
from leafsync.engine.core.names import MAX_NAME, MAX_PATH, inside, join, parent

_DIRECTORY = blake3(derive_key_context="leafsync/1 directory")
_ENTRY = struct.Struct(">HBQqBH")
"""Canonical encoding: name length, kind, size, mtime in seconds, executable, payload length; then name and payload."""

NANOSECONDS = 1_000_000_000


IGNORED = "ignored"
"""Why an entry is withheld when it is by a rule and not by a problem."""


class Kind(enum.IntEnum):
    """What an entry is."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    WITHHELD = 4
    """There, but taking no part; `Entry.target` says why."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One name in a directory. On the wire it is an array of the fields in this order."""

    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    kind: Kind
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)] = 0
    """Bytes of a file, else 0."""
    mtime_ns: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)] = 0
    """Modification time of a file in nanoseconds since 1970, else 0. Compared in whole seconds."""
    executable: bool = False
    """The owner's execute bit of a file."""
    hash: Annotated[bytes, msgspec.Meta(max_length=HASH_SIZE)] = b""
    """A file's root or a directory's digest, else empty."""
    target: Annotated[str, msgspec.Meta(max_length=MAX_PATH)] = ""
    """A symlink's target, or the reason why the entry is withheld."""

    @property
    def mtime(self) -> int:
        """Modification time in whole seconds."""
        return self.mtime_ns // NANOSECONDS

    def same_content(self, other: "Entry") -> bool:
        """Whether both hold the same: bytes, directory content or link target."""
        return (self.kind, self.size, self.hash, self.target) == (
            other.kind,
            other.size,
            other.hash,
            other.target,
        )

    def same(self, other: "Entry") -> bool:
        """Whether both hold the same and have the same metadata, as the digest sees it."""
        return (
            self.same_content(other)
            and self.executable == other.executable
            and (self.mtime_ns == other.mtime_ns or self.mtime == other.mtime)
        )


class Problem(msgspec.Struct, frozen=True, order=True):
    """An entry that cannot be synced, as data."""

    path: str
    reason: str


entry_name = attrgetter("name")
"""Sort key of a listing: code points, which is the order of the UTF-8 bytes too."""


def find(entries: Sequence[Entry], name: str) -> Entry | None:
    """Find `name` in a sorted listing."""
    position = bisect_left(entries, name, key=entry_name)
    if position < len(entries) and entries[position].name == name:
        return entries[position]
    return None


def directory_digest(entries: Iterable[Entry]) -> bytes:
    """Return the digest of a directory from its sorted entries. Withheld entries do not count."""
    encoded: list[bytes] = []
    for entry in entries:
        kind = entry.kind
        if kind is not Kind.WITHHELD:
            name = entry.name.encode()
            payload = entry.hash if kind is not Kind.SYMLINK else entry.target.encode()
            seconds = entry.mtime_ns // NANOSECONDS
            encoded.append(_ENTRY.pack(len(name), kind, entry.size, seconds, entry.executable, len(payload)))
            encoded += (name, payload)
    return _DIRECTORY.copy().update(b"".join(encoded)).digest()


def entry_digest(entry: Entry) -> bytes:
    """Return what binds one entry whole: the digest of a directory that holds it alone."""
    return directory_digest((entry,))


class Index:
    """All entries of a folder at one time. Immutable: a new scan makes a new one."""

    __slots__ = ("_directories", "_states", "bytes", "digest", "entries", "files", "problems")

    def __init__(
        self,
        directories: Mapping[str, Sequence[Entry]],
        *,
        states: Mapping[str, Sequence[int]] | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        """Build from the listing of every directory (path -> entries, in any order).

        The hash of directory entries is filled in here, from the bottom up. `states` holds for each directory, in the
        order of its entries, a 64-bit mark of what stat said about them when they were hashed, 0 for no mark, see
        `state`. Raises KeyError when a directory entry has no listing of its own.
        """
        self._directories, self.digest = _with_digests(directories)
        self._states = _in_order(states or {}, directories)
        self.problems = tuple(sorted(problems))
        self.files, self.bytes, self.entries = _totals(self._directories.values())

    def updated(
        self,
        changed: Mapping[str, Sequence[Entry]],
        gone: Collection[str],
        *,
        states: Mapping[str, Sequence[int]],
        problems: Iterable[Problem],
    ) -> "Index":
        """Return this index with other listings of some directories, at a cost that depends on these alone.

        `changed` has their entries in any order, and all directories that were not there before; `gone` are the
        directories that are there no more. `states` are those of the changed directories, `problems` are all there
        are. Raises KeyError like the constructor.
        """
        new = Index.__new__(Index)
        new._directories = dict(self._directories)
        new._states = self._states | _in_order(states, changed)
        replaced = [self._directories[path] for path in (*changed, *gone) if path in self._directories]
        for path in gone:
            new._directories.pop(path, None)
            new._states.pop(path, None)
        new.digest = _with_new_digests(self, new._directories, changed)
        new.problems = tuple(sorted(problems))
        before, after = _totals(replaced), _totals(changed.values())
        new.files = self.files - before.files + after.files
        new.bytes = self.bytes - before.bytes + after.bytes
        new.entries = self.entries - before.entries + after.entries
        return new

    @property
    def directories(self) -> Mapping[str, Sequence[Entry]]:
        """Every directory with its sorted entries; "" is the folder itself."""
        return self._directories

    def children(self, path: str) -> Sequence[Entry]:
        """Return the sorted entries of the directory `path`, none when there is no such directory."""
        return self._directories.get(path, ())

    def entry(self, path: str) -> Entry | None:
        """Return the entry at `path`, or None."""
        return find(self.children(parent(path)), path.rpartition("/")[2])

    def withholds(self, path: str) -> bool:
        """Whether what is at `path`, or a directory above it, is withheld."""
        while path:
            entry = self.entry(path)
            if entry is not None and entry.kind is Kind.WITHHELD:
                return True
            path = parent(path)
        return False

    def state(self, path: str) -> int | None:
        """Return the mark of the file's stat when it was hashed, None when it is not known."""
        directory, _, name = path.rpartition("/")
        entries, marks = self.children(directory), self._states.get(directory)
        position = bisect_left(entries, name, key=entry_name)
        if marks is None or position == len(entries) or entries[position].name != name:
            return None
        return marks[position] or None

    def listing(self, path: str, digest: bytes) -> Sequence[Entry] | None:
        """Return the entries of the directory `path` if it is here and has that digest, else None.

        The digest says nothing of withheld entries, so a listing that has some stands for no other time.
        """
        directory = self.entry(path)
        known = self.digest if not path else directory.hash if directory is not None else None
        entries = self._directories.get(path)
        if entries is None or known != digest or any(entry.kind is Kind.WITHHELD for entry in entries):
            return None
        return entries

    def changed(self, listings: Mapping[str, Sequence[Entry]]) -> dict[str, Sequence[Entry]]:
        """Return those of the `listings`, with sorted entries, that are new or not as they are here."""
        return {path: entries for path, entries in listings.items() if tuple(entries) != self._directories.get(path)}

    def replaced(self, listings: Mapping[str, Sequence[Entry]]) -> "Index":
        """Return an index of the `listings`, with sorted entries and right digests of directories that are as here.

        It is equal to a new one but for problems and states, and shares with this one what is the same.
        """
        gone = [path for path in self._directories if path not in listings]
        return self.updated(self.changed(listings), gone, states={}, problems=())

    def walk(self) -> Iterator[tuple[str, Entry]]:
        """Yield (path, entry) of everything, parents before children."""
        for directory in sorted(self._directories):
            for entry in self._directories[directory]:
                yield join(directory, entry.name), entry

    def only(self, path: str) -> "Index":
        """Return an index of the entry at `path` and the directories that lead to it (`--file`); "" keeps everything.

        What stands where one of those directories should be is withheld, and a problem: it was not asked for.
        """
        if not path:
            return self
        kept: dict[str, Sequence[Entry]] = {"": ()}
        problems = [problem for problem in self.problems if inside(problem.path, path)]
        at = ""
        for name in path.split("/"):
            entry = find(self.children(at), name)
            if entry is None:
                break
            directory, at = at, join(at, name)
            if at != path and entry.kind in (Kind.FILE, Kind.SYMLINK):
                entry = Entry(name, Kind.WITHHELD, target="not a directory")
                problems.append(Problem(at, f"it is no directory, so it cannot hold {path}"))
            kept[directory] = (entry,)
            if entry.kind is Kind.DIRECTORY:
                kept[at] = ()
        kept |= {directory: entries for directory, entries in self._directories.items() if inside(directory, path)}
        states = {
            directory: [self.state(join(directory, entry.name)) or 0 for entry in kept[directory]] for directory in kept
        }
        return Index(kept, states=states, problems=problems)


def _in_order(states: Mapping[str, Sequence[int]], listings: Mapping[str, Sequence[Entry]]) -> "dict[str, array[int]]":
    """Return the marks of each directory in the order of its sorted entries: 8 bytes for each entry."""
    ordered = {}
    for path, marks in states.items():
        names = [entry.name for entry in listings[path]]
        if names == sorted(names):
            ordered[path] = array("Q", marks)
        else:
            order = sorted(range(len(names)), key=names.__getitem__)
            ordered[path] = array("Q", [marks[number] for number in order])
    return ordered


def _with_digests(directories: Mapping[str, Sequence[Entry]]) -> tuple[dict[str, Sequence[Entry]], bytes]:
    digests: dict[str, bytes] = {}
    filled: dict[str, Sequence[Entry]] = {}
    for path in sorted(directories, key=_depth, reverse=True):
        entries = tuple(
            [
                msgspec.structs.replace(entry, hash=digests[join(path, entry.name)])
                if entry.kind is Kind.DIRECTORY
                else entry
                for entry in sorted(directories[path], key=entry_name)
            ]
        )
        filled[path] = entries
        digests[path] = directory_digest(entries)
    return filled, digests[""] if "" in digests else directory_digest(())


def _with_new_digests(
    old: Index, directories: dict[str, Sequence[Entry]], changed: Mapping[str, Sequence[Entry]]
) -> bytes:
    """Put the `changed` listings into `directories`, with all digests that change by it, and return the top one."""
    digests: dict[str, bytes] = {}
    waiting: dict[int, set[str]] = {}
    for path in changed:
        waiting.setdefault(_depth(path), set()).add(path)
    for depth in range(max(waiting, default=-1), -1, -1):
        for path in waiting.get(depth, ()):
            entries = changed.get(path)
            if entries is None:
                entries = directories[path]
            known = {entry.name: entry.hash for entry in old.children(path) if entry.kind is Kind.DIRECTORY}
            directories[path] = tuple(
                msgspec.structs.replace(entry, hash=digests.get(join(path, entry.name)) or known[entry.name])
                if entry.kind is Kind.DIRECTORY
                else entry
                for entry in sorted(entries, key=entry_name)
            )
            digests[path] = directory_digest(directories[path])
            before = old.entry(path) if path else None
            if path and (before is None or before.hash != digests[path]):
                waiting.setdefault(depth - 1, set()).add(parent(path))
    return digests.get("", old.digest)


def _depth(path: str) -> int:
    return path.count("/") + bool(path)


class _Totals(NamedTuple):
    files: int
    bytes: int
    entries: int


def _totals(listings: Collection[Sequence[Entry]]) -> _Totals:
    """Count the files, their bytes, and all entries that take part."""
    sizes = [entry.size for entries in listings for entry in entries if entry.kind is Kind.FILE]
    withheld = sum(1 for entries in listings for entry in entries if entry.kind is Kind.WITHHELD)
    return _Totals(len(sizes), sum(sizes), sum(map(len, listings)) - withheld)
