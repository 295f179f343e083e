"""The base: the last state that both sides agreed on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from leafsync.engine.core.index import IGNORED, Entry, Index, Kind, find
from leafsync.engine.core.merge import Ignored, Listing, never
from leafsync.engine.core.names import inside, join, parent
from leafsync.engine.core.steps import Plan, Steps

_LEAVES = (Kind.FILE, Kind.SYMLINK)


class Look(NamedTuple):
    """What both sides had at one time."""

    local: Index
    remote: Mapping[str, Sequence[Entry]]
    """The listing of each directory that differs from the local one."""

    def there(self, path: str) -> Entry | None:
        """Return what the other side had at `path`."""
        at = ""
        *above, name = path.split("/")
        for each in above:
            entry = find(self.listing(at), each)
            if entry is None or entry.kind is not Kind.DIRECTORY:
                return None  # what is not there has no listing either, as if it did not differ
            at = join(at, each)
        return find(self.listing(at), name)

    def listing(self, directory: str) -> Sequence[Entry]:
        """Return what the other side had in a directory that it had."""
        return self.remote.get(directory, self.local.children(directory))


def brought(plan: Plan, before: Look, after: Look) -> dict[str, Entry]:
    """Return the files and links that the plan brought from one side to the other, which has them now.

    Both have had these, the giving side when the pass began. It may have edited them since: that is an edit of what
    both had, and no conflict. What both sides were to take from each other is left out: nobody could say who had it
    last.
    """
    here, there = _arrivals(plan.local, before.listing), _arrivals(plan.remote, before.local.children)
    pairs = [(path, after.local.entry(path), before.there(path)) for path in here - there]
    pairs += [(path, before.local.entry(path), after.there(path)) for path in there - here]
    return {path: one for path, one, other in pairs if one and other and one.kind in _LEAVES and one.same(other)}


def _arrivals(steps: Steps, giving: Listing) -> set[str]:
    """Return where the steps bring something, with all that is below directories that they rename."""
    moves = (*steps.asides, *steps.moves)
    below = (path for move in moves if move.entry.kind is Kind.DIRECTORY for path in _below(move.target, giving))
    return {*steps.brought, *(move.target for move in moves), *below, *(touch.path for touch in steps.touches)}


def _below(directory: str, giving: Listing) -> Iterator[str]:
    for entry in giving(directory):
        path = join(directory, entry.name)
        yield path
        if entry.kind is Kind.DIRECTORY:
            yield from _below(path, giving)


def with_leaves(base: Index | None, leaves: Mapping[str, Entry]) -> Index:
    """Return the base with these files and links, and the directories that lead to them.

    One is left out where a directory is in its place, or something else in the place of a directory above.
    """
    known = base or Index({"": ()})
    changed: dict[str, dict[str, Entry]] = {}

    def listing(path: str) -> dict[str, Entry]:
        if path not in changed:
            changed[path] = {entry.name: entry for entry in known.children(path)}
        return changed[path]

    def kind(path: str) -> Kind | None:
        directory, _, name = path.rpartition("/")
        found = changed[directory].get(name) if directory in changed else known.entry(path)
        return found.kind if found is not None else None

    def leads_on(path: str) -> bool:
        """Whether `path` is a directory or could be made one."""
        return not path or kind(path) is Kind.DIRECTORY or (kind(path) is None and leads_on(parent(path)))

    for path, leaf in leaves.items():
        if kind(path) is Kind.DIRECTORY or not leads_on(parent(path)):
            continue
        listing(parent(path))[leaf.name] = leaf
        while (path := parent(path)) and kind(path) is None:
            name = path.rpartition("/")[2]
            listing(parent(path))[name] = Entry(name, Kind.DIRECTORY)
    listings = {path: tuple(entries.values()) for path, entries in changed.items()}
    return known.updated(listings, (), states={}, problems=())


def without(base: Index, entries: Mapping[str, Entry]) -> Index:
    """Return the base without those of `entries`, path -> entry, that it has just so: of the same size and time for a
    file, the same target for a link. A directory goes with all that is in it.
    """
    listings = dict(base.directories)
    for path, entry in entries.items():
        known = base.entry(path)
        if known is None or parent(path) not in listings or _stamp(known) != _stamp(entry):
            continue
        listings[parent(path)] = tuple(other for other in listings[parent(path)] if other.name != known.name)
        if known.kind is Kind.DIRECTORY:
            listings = {directory: below for directory, below in listings.items() if not inside(directory, path)}
    return base.replaced(listings)


def _stamp(entry: Entry) -> tuple[Kind, int, int, str]:
    return entry.kind, entry.size, entry.mtime, entry.target


def advance(
    base: Index | None, local: Index, remote: Mapping[str, Sequence[Entry]], *, left_out: Ignored = never
) -> dict[str, Sequence[Entry]]:
    """Return the listings of the base after a pass, to make an `Index` from.

    Where both sides agree now, it is what they have; elsewhere it stays what it was. What a side withholds is not
    known there, so it agrees with nothing. What a rule hides on a side, or the other side has said is `left_out`, is
    no more agreed on: it may be removed there unseen, and that is nobody's wish to have it removed here. What the
    other side withholds in a directory that is not here is listed as withheld: it keeps the directory there.

    `remote` has the listing of "" and of each directory below whose digest differs from the local one. Raises KeyError
    when one is missing.
    """
    listings: dict[str, Sequence[Entry]] = {}
    _Advance(base or Index({"": ()}), local, remote, left_out, listings).directory("", remote[""])
    return listings


def agreed(local: Index) -> Index:
    """Return the base when both sides are the same: what this side has, but for what it withholds.

    The base stands for what the other side has as well, and what is withheld here is not there.
    """
    if sum(map(len, local.directories.values())) == local.entries:  # soon told, as most passes find nothing to do
        return local
    return local.replaced({path: _taking_part(entries) for path, entries in local.directories.items()})


def _taking_part(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.kind is not Kind.WITHHELD]


class _Advance:
    def __init__(
        self,
        base: Index,
        local: Index,
        remote: Mapping[str, Sequence[Entry]],
        left_out: Ignored,
        listings: dict[str, Sequence[Entry]],
    ) -> None:
        self._base = base
        self._local = local
        self._remote = remote
        self._left_out = left_out
        self._listings = listings

    def directory(self, path: str, remote: Sequence[Entry]) -> None:
        """List the directory `path`, of which the other side has `remote`."""
        here = {entry.name: entry for entry in self._local.children(path)}
        there = {entry.name: entry for entry in remote}
        before = {entry.name: entry for entry in self._base.children(path)}
        kept = {}
        for name in here.keys() & there.keys() | before.keys():
            entry = self._entry(join(path, name), before.get(name), here.get(name), there.get(name))
            if entry is not None:
                kept[name] = entry
        if path not in self._local.directories:
            apart = [entry.name for entry in remote if entry.kind is Kind.WITHHELD]
            kept = {name: Entry(name, Kind.WITHHELD) for name in apart} | kept
        self._listings[path] = [kept[name] for name in sorted(kept)]

    def _entry(self, path: str, base: Entry | None, local: Entry | None, remote: Entry | None) -> Entry | None:
        """Return what the base has at `path` from now on."""
        withheld = [entry for entry in (local, remote) if entry is not None and entry.kind is Kind.WITHHELD]
        if withheld:
            hidden = any(entry.target == IGNORED for entry in withheld)
            return self._old(path, base) if not hidden else None
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
        if base is None or base.kind is Kind.WITHHELD or self._left_out(path, base.kind is Kind.DIRECTORY):
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
