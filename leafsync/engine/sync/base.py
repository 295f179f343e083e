"""The base in the records: what this folder and one other agreed on last, read before a pass and written after it, and
the deletes that wait for a confirmation.
"""

from collections.abc import Callable, Mapping, Sequence

from leafsync.engine.core.index import Entry, Index, Kind, find
from leafsync.engine.core.names import join
from leafsync.engine.core.steps import NOTHING_HELD, Held
from leafsync.engine.sync.share import Share

Listings = Mapping[str, Sequence[Entry]]


class Base:
    """What was agreed on with one folder of one device."""

    def __init__(self, share: Share, peer: str, remote: str, *, only: str) -> None:
        """`peer` is the other device's fingerprint, `remote` the id of its folder; passes are about `only` alone, ""
        for the whole folder.
        """
        self.held = NOTHING_HELD
        """The deletes that wait, once `load` was called."""
        self.digest: bytes | None = None
        """The digest of what both sides agreed on last, once `load` was called; None at first contact."""
        self._share = share
        self._key = peer, remote
        self._only = only

    async def load(self) -> None:
        """Read what a pass that finds nothing to do needs of the base."""
        self.held, self.digest = await self._share.workers.run(self._load)

    def _load(self) -> tuple[Held, bytes | None]:
        held = self._share.store.held(*self._key)  # first, because damage there takes the base with it
        if not self._only:
            return held, self._share.store.base_digest(*self._key)
        part = self._index()
        return held, part.digest if part is not None else None

    async def index(self) -> Index | None:
        """Return what both sides agreed on last, None at first contact or when the records of it are damaged."""
        index = await self._share.workers.run(self._index)
        self.digest = index.digest if index is not None else None
        return index

    def _index(self) -> Index | None:
        whole = self._whole()
        return whole.only(self._only) if whole is not None else None

    def _whole(self) -> Index | None:
        listings = self._share.store.base(*self._key)
        return Index(listings) if listings is not None else None

    async def put(self, agreed: Callable[[], Index]) -> None:
        """Remember what both sides agree on now, which is worked out off the loop. What passes are not about stays as
        it was.
        """
        self.digest = await self._share.workers.run(self._put, agreed)

    async def hold(self, held: Held) -> None:
        """Remember which deletes wait from now on. What passes are not about stays as it was."""
        before = self.held
        held = Held(self._elsewhere(before.local) | held.local, self._elsewhere(before.remote) | held.remote)
        if held != before:
            await self._share.workers.run(self._share.store.put_held, *self._key, held)
            self.held = held

    def _elsewhere(self, paths: frozenset[str]) -> frozenset[str]:
        """Return those that passes are not about."""
        only = self._only
        return frozenset(path for path in paths if only and not (_inside(path, only) or _inside(only, path)))

    def _put(self, agreed: Callable[[], Index]) -> bytes:
        base = whole = agreed()
        if self._only:
            whole = Index(_joined(self._whole() or Index({"": ()}), base, self._only))
        self._share.store.put_base(*self._key, whole.digest, whole.directories)
        return base.digest


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
    rest = {directory: entries for directory, entries in listings.items() if not _inside(directory, at)}
    return rest | {directory: entries for directory, entries in part.directories.items() if _inside(directory, path)}


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
