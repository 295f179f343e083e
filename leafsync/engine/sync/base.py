"""The base in the records: what this folder and one other agreed on last, read before a pass and written after it, and
the deletes that wait for a confirmation.
"""

from collections.abc import Mapping, Sequence

from leafsync.engine.core.base import Look, advance, agreed, brought, with_leaves
from leafsync.engine.core.index import Entry, Index, Kind, find
from leafsync.engine.core.merge import Ignored
from leafsync.engine.core.names import inside, join
from leafsync.engine.core.steps import NOTHING_HELD, Held, Plan
from leafsync.engine.sync.share import Share

Listings = Mapping[str, Sequence[Entry]]


class Base:
    """What was agreed on with one folder of one device."""

    def __init__(self, share: Share, peer: str, remote: str, *, only: str, offered: str = "") -> None:
        """`peer` is the other device's fingerprint, `remote` the id of its folder, of which it offers `offered` alone;
        passes are about `only` alone; both are "" for the whole folder.
        """
        self.held = NOTHING_HELD
        """The deletes that wait, once `load_held` was called."""
        self._share = share
        self._key = peer, remote
        self._only = only
        self._offered = offered
        self._latest: Index | None = None
        """The base as it was read or written last; most of it is shared with the index of the folder."""

    async def load_held(self) -> None:
        """Read which deletes wait. First of all, because damage there takes the base with it."""
        self.held = await self._share.workers.run(self._share.store.held, *self._key)

    async def load(self) -> Index | None:
        """Return what both sides agreed on last, None at first contact. Reads all of it only once."""
        return await self._share.workers.run(self._load)

    def _load(self) -> Index | None:
        latest = self._latest
        if latest is not None and self._share.store.base_digest(*self._key) == latest.digest:
            return latest
        whole = self._whole()
        if self._only:
            return whole.only(self._only) if whole is not None else None
        self._latest = whole
        return whole

    def _whole(self) -> Index | None:
        listings = self._share.store.base(*self._key)
        return Index(listings) if listings is not None else None

    async def agree(self, index: Index) -> None:
        """Remember that both sides have what is in `index`. What passes are not about stays as it was."""
        await self._share.workers.run(self._agree, index)

    def _agree(self, index: Index) -> None:
        before = self._load() if self._only else None
        known = before.digest if before is not None else self._share.store.base_digest(*self._key)
        if known != index.digest:
            self._put(agreed(index))
        elif not self._only:
            self._latest = agreed(index)

    async def advance(self, before: Look, after: Look, plan: Plan, left_out: Ignored) -> None:
        """Remember where both sides are the same after a pass that carried out `plan`, see `core.base.advance`, and
        what it brought, see `core.base.brought`. What passes are not about stays as it was.
        """
        await self._share.workers.run(self._advance, before, after, plan, left_out)

    def _advance(self, before: Look, after: Look, plan: Plan, left_out: Ignored) -> None:
        base = self._load()
        leaves = brought(plan, before, after)
        if leaves:
            base = with_leaves(base, leaves)
        listings = advance(base, after.local, after.remote, left_out=left_out)
        self._put(base.replaced(listings) if base is not None else Index(listings))

    async def hold(self, held: Held) -> None:
        """Remember which deletes wait from now on. What passes are not about stays as it was."""
        before = self.held
        held = Held(self._elsewhere(before.local) | held.local, self._elsewhere(before.remote) | held.remote)
        if held != before:
            await self._share.workers.run(self._share.store.put_held, *self._key, held)
            self.held = held

    async def heeded(self) -> int:
        """Return the number of the last undo on the other side that is known here, 0 for none."""
        return await self._share.workers.run(self._share.store.heeded, *self._key, self._offered)

    async def heed(self, undo: int, entries: Mapping[str, Entry]) -> None:
        """Forget that both sides agreed on what was brought back on the other side, up to the undo of this number."""
        await self._share.workers.run(self._share.store.heed, *self._key, self._offered, undo, entries)

    def _elsewhere(self, paths: frozenset[str]) -> frozenset[str]:
        """Return those that passes are not about."""
        only = self._only
        return frozenset(path for path in paths if only and not (inside(path, only) or inside(only, path)))

    def _put(self, base: Index) -> None:
        if self._only:
            base = Index(_joined(self._whole() or Index({"": ()}), base, self._only))
        self._share.store.put_base(*self._key, base.digest, base.directories, before=self._latest)
        if not self._only:
            self._latest = base


def _joined(whole: Index, part: Index, path: str) -> Listings:
    """Return the listings of `whole` with what `part` has at `path`, and what leads there."""
    listings: dict[str, Sequence[Entry]] = dict(whole.directories)
    at = ""
    for name in path.split("/"):
        entry = find(part.children(at), name)
        others = [other for other in listings.get(at, ()) if other.name != name]
        listings[at] = [*others, entry] if entry is not None else others
        at = join(at, name)
        if entry is None or entry.kind is not Kind.DIRECTORY:
            break
        listings.setdefault(at, ())
    rest = {directory: entries for directory, entries in listings.items() if not inside(directory, at)}
    return rest | {directory: entries for directory, entries in part.directories.items() if inside(directory, path)}
