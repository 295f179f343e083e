"""The base: the last state that both sides agreed on."""

from collections.abc import Mapping, Sequence

from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.names import join


def advance(base: Index | None, local: Index, remote: Mapping[str, Sequence[Entry]]) -> dict[str, Sequence[Entry]]:
    """Return the listings of the base after a pass, to make an `Index` from.

    Where both sides agree now, it is what they have; elsewhere it stays what it was. What a side withholds is not
    known there, so it agrees with nothing. `remote` has the listing of "" and of each directory below whose digest
    differs from the local one. Raises KeyError when one is missing.
    """
    listings: dict[str, Sequence[Entry]] = {}
    _Advance(base or Index({"": ()}), local, remote, listings).directory("", remote[""])
    return listings


def agreed(local: Index) -> dict[str, Sequence[Entry]]:
    """Return the listings of the base when both sides are the same: what this side has, but for what it withholds.

    The base stands for what the other side has as well, and what is withheld here is not there.
    """
    return {path: _taking_part(entries) for path, entries in local.directories.items()}


def _taking_part(entries: Sequence[Entry]) -> Sequence[Entry]:
    return [entry for entry in entries if entry.kind is not Kind.WITHHELD]


class _Advance:
    def __init__(
        self,
        base: Index,
        local: Index,
        remote: Mapping[str, Sequence[Entry]],
        listings: dict[str, Sequence[Entry]],
    ) -> None:
        self._base = base
        self._local = local
        self._remote = remote
        self._listings = listings

    def directory(self, path: str, remote: Sequence[Entry]) -> None:
        """List the directory `path`, of which the other side has `remote`."""
        here = {entry.name: entry for entry in self._local.children(path)}
        there = {entry.name: entry for entry in remote}
        before = {entry.name: entry for entry in self._base.children(path)}
        kept = []
        for name in sorted(here.keys() & there.keys() | before.keys()):
            entry = self._entry(join(path, name), before.get(name), here.get(name), there.get(name))
            if entry is not None:
                kept.append(entry)
        self._listings[path] = kept

    def _entry(self, path: str, base: Entry | None, local: Entry | None, remote: Entry | None) -> Entry | None:
        """Return what the base has at `path` from now on."""
        if any(entry is not None and entry.kind is Kind.WITHHELD for entry in (local, remote)):
            return self._old(path, base)
        if local is None or remote is None:
            if local is remote is None:
                return None
            return self._fading(path, base, local, remote)
        if local.kind is Kind.DIRECTORY and remote.kind is Kind.DIRECTORY:
            if local.hash == remote.hash:
                self._whole(path)
            else:
                self.directory(path, self._remote[path])
            return local
        return local if local.same(remote) else self._fading(path, base, local, remote)

    def _fading(self, path: str, base: Entry | None, local: Entry | None, remote: Entry | None) -> Entry | None:
        """Keep the base's entry where the sides differ; below a directory, what both do not have any more goes."""
        if base is None or base.kind is Kind.WITHHELD:
            return None
        if base.kind is Kind.DIRECTORY:
            there = self._remote[path] if remote is not None and remote.kind is Kind.DIRECTORY else ()
            self.directory(path, there)
        return base

    def _whole(self, path: str) -> None:
        """Take over the local directory."""
        entries = _taking_part(self._local.children(path))
        self._listings[path] = entries
        for entry in entries:
            if entry.kind is Kind.DIRECTORY:
                self._whole(join(path, entry.name))

    def _old(self, path: str, base: Entry | None) -> Entry | None:
        """Keep the base's entry with everything below it."""
        if base is None or base.kind is Kind.WITHHELD:
            return None
        if base.kind is Kind.DIRECTORY:
            entries = self._base.children(path)
            kept = [entry for entry in entries if self._old(join(path, entry.name), entry) is not None]
            self._listings[path] = kept
        return base
