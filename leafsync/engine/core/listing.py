"""What another device lists is checked here before anything believes it (fault cases 1-16, 42-44).

One entry that cannot be taken is a problem and is skipped; a listing that no honest device sends is an error.
"""

from collections.abc import Sequence
from itertools import pairwise

from leafsync.engine.core.index import Entry, Kind, Problem, directory_digest
from leafsync.engine.core.merkle import HASH_SIZE
from leafsync.engine.core.names import MAX_DEPTH, MAX_PATH, join, name_problem, target_problem

MAX_ENTRIES = 2_000_000
"""Entries of a whole folder that one device may list: about 600 MB of memory here (fault case 42)."""

MAX_BAD_NAMES = 10
"""Names that must never travel, before the other device is taken for hostile: its own checks let none through."""


class ListingMalformed(ValueError):
    """A listing that no honest device sends."""


class ListingCheck:
    """Checks the listings of one pass, page by page."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.problems: list[Problem] = []
        self._entries = 0
        self._bad_names = 0

    def directory(self, path: str, entries: Sequence[Entry], digest: bytes) -> list[Entry]:
        """Return the entries of the complete listing of `path` that can be taken.

        A link whose target cannot be taken becomes withheld: it is there, so nothing here may go for its sake.
        `digest` is what the parent listing said of this directory. Raises ListingMalformed when the entries are not in
        strict order, do not add up to the digest, or when the caps are passed.
        """
        self._entries += len(entries)
        if self._entries > MAX_ENTRIES:
            raise ListingMalformed(f"more than {MAX_ENTRIES} entries")
        if any(after.name <= before.name for before, after in pairwise(entries)):
            raise ListingMalformed("a listing is out of order")
        if directory_digest(entries) != digest:
            raise ListingMalformed("a listing does not match its digest")
        return [taken for entry in entries if (taken := self._taken(path, entry))]

    def _taken(self, directory: str, entry: Entry) -> Entry | None:
        expected = HASH_SIZE if entry.kind in (Kind.FILE, Kind.DIRECTORY) else 0
        if len(entry.hash) != expected:
            raise ListingMalformed("an entry has a hash of the wrong length")
        if entry.kind is not Kind.FILE and (entry.size or entry.mtime_ns or entry.executable):
            raise ListingMalformed("an entry has what its kind does not have")
        path = join(directory, entry.name)
        reason = name_problem(entry.name)
        if reason:
            self._bad_names += 1
            if self._bad_names > MAX_BAD_NAMES:
                raise ListingMalformed(f"more than {MAX_BAD_NAMES} names that must never travel")
        elif path.count("/") >= MAX_DEPTH or len(path.encode()) > MAX_PATH:
            reason = "the path is too long or too deep"
        if reason:
            self.problems.append(Problem(path, reason))
            return None
        reason = target_problem(path, entry.target) if entry.kind is Kind.SYMLINK else None
        if reason:
            self.problems.append(Problem(path, reason))
            return Entry(entry.name, Kind.WITHHELD, target=reason)
        return entry
