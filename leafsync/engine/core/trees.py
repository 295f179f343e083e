"""The three trees that a comparison reads, by the names that entries have after the pass."""

from collections.abc import Mapping, Sequence

from leafsync.engine.core.index import Entry, Index, find
from leafsync.engine.core.names import join, parent
from leafsync.engine.core.verdict import LOCAL, REMOTE

BASE = 2
"""The third tree: what both sides agreed on last."""

Listings = Mapping[str, Sequence[Entry]]
"""The other side's sorted entries of "" and of each directory whose digest differs from the local one."""


class Trees:
    """Base, local and remote tree."""

    def __init__(self, base: Index, local: Index, remote: Listings) -> None:
        """Read these; directories that `remote` does not list are never read."""
        self._base = base
        self._local = local
        self._remote = remote
        self._former: tuple[dict[str, str], ...] = ({}, {}, {})
        """For each tree: new path -> the name by which the tree knows it."""

    def rename(self, tree: int, path: str, former: str) -> None:
        """Let `path` stand for what `tree` knows as `former` in the same directory."""
        self._former[tree][path] = former

    def children(self, tree: int, path: str) -> Sequence[Entry]:
        """Return what `tree` has in the directory `path`; raises KeyError for a remote one that is not listed."""
        known = self.known(tree, path)
        if tree == REMOTE:
            return self._remote[known]
        return (self._local if tree == LOCAL else self._base).children(known)

    def listed(self, side: int, path: str) -> Sequence[Entry]:
        """Return what `side` has in `path`, nothing when it has no such directory or did not list it."""
        return self._remote.get(self.known(side, path), ()) if side == REMOTE else self.children(side, path)

    def exists(self, side: int, path: str) -> bool:
        """Whether `side` has something at `path` before the pass."""
        known = self.known(side, path)
        above = self._local.children(parent(known)) if side == LOCAL else self._remote.get(parent(known), ())
        return find(above, known.rpartition("/")[2]) is not None

    def known(self, tree: int, path: str) -> str:
        """Return the path by which `tree` knows what is `path` after the pass."""
        former = self._former[tree]
        if not former or not path:
            return path
        above, _, name = path.rpartition("/")
        return join(self.known(tree, above), former.get(path, name))
