"""One folder of this device, with its records and its index, shared by every job and connection that uses it."""

import asyncio
import contextlib
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, Self, TypeVar, cast

from leafsync.engine.core.names import STAGING, join, parent, place_key
from leafsync.engine.disk.bases import Identity
from leafsync.engine.disk.folder import MARKER, Folder
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.identity import folder_identity
from leafsync.engine.disk.interrupted import list_interrupted
from leafsync.engine.disk.retention import MIN_AGE_SECONDS, prune
from leafsync.engine.disk.scan import Scan, rescan, scan
from leafsync.engine.disk.staging import Staging
from leafsync.engine.disk.store import HashRow, Store
from leafsync.engine.disk.watch import Watcher
from leafsync.engine.sync.records import record_name
from leafsync.engine.sync.tasks import outlast
from leafsync.errors import DiskFailed, FolderIdentityLost, LeafSyncError

logger = logging.getLogger("leafsync.share")

PRUNE_INTERVAL = 24 * 3600.0
"""Seconds between two looks through the trash for what has been kept long enough."""

FULL_SCAN_INTERVAL = 3600.0
"""Seconds between two looks at everything in a watched folder: no watcher sees all there is."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """The threads that touch disks and hash: the event loop does neither."""

    def __init__(self, threads: int = 4) -> None:
        """Make the pool; `threads` calls run at once, several of them waiting for the disk."""
        self.hasher = Hasher()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="leafsync-disk")

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in the pool and return what it returns or raise what it raises.

        A cancelled caller still waits for the call: a thread cannot be stopped, and what it works on (descriptors,
        records) must not be closed under it. Calls are short, or have their own way to be told to stop.
        """
        return await self.obtain(lambda: call(*args, **kwargs), lambda _result: None)

    async def obtain(self, call: Callable[[], T], give_back: Callable[[T], object]) -> T:
        """As `run`, for a `call` whose result must be released: a cancelled caller's goes to `give_back`."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await outlast([future])
            if not future.cancelled() and future.exception() is None:
                with contextlib.suppress(asyncio.CancelledError):
                    await outlast([loop.run_in_executor(self._pool, give_back, future.result())])
            raise

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.hasher.close()


class Share:
    """A folder in use by this process."""

    identity: str
    """What makes this folder this folder (its marker); "" while it is lost."""

    lost: str | None
    """Why the folder cannot be synced now: it is not the one it was."""

    def __init__(self, folder: Folder, store: Store, workers: Workers) -> None:
        """Take over an open folder and its records; `close` gives them back."""
        self.identity, self.lost = "", None
        self.changing = asyncio.Lock()
        """Held by whoever changes the folder."""
        self.listeners: set[Callable[[], None]] = set()
        """Called on the loop when something in the folder may have changed."""
        self.warn: Callable[[str], None] = logger.warning
        """Told, on the loop, what a user should know."""
        self.folder = folder
        self.store = store
        self.workers = workers
        self.placed: dict[int, bytes] = {}
        """State mark -> root of files that were put in their places since the last scan, and are what was verified. The
        next scan believes it; the scans after it hash those again that are too young (`disk/racy`)."""
        self._staging: Staging | None = None
        self._preparing = threading.Lock()
        self.latest: Scan | None = None
        self._scanning = asyncio.Lock()
        self._full_scan = 0.0
        """When the last scan of everything began."""
        self._pruned = time.monotonic()
        self._kept: dict[str, float] = {}
        """Passes that use the trash, with the monotonic time of their end: the clock may be set."""
        self._watcher: Watcher | None = None
        self._dirty: set[str] = set()
        self._all_dirty = False

    @classmethod
    async def open(
        cls,
        path: str,
        records: Path,
        workers: Workers,
        *,
        private: Iterable[str] = (),
        force: bool = False,
        reset: bool = False,
    ) -> Self:
        """Open and lock the folder at `path`; its records are kept below the directory `records`.

        The directories `private` in it take no part, see `Folder.private`. With `reset` it is taken for a new folder,
        whatever the records know. Raises UsageError (missing, not a directory, refused, records unusable) or
        FolderInUse.
        """
        return await workers.obtain(lambda: cls._open(path, records, workers, private, force, reset), cls._close)

    @classmethod
    def _open(
        cls, path: str, records: Path, workers: Workers, private: Iterable[str], force: bool, reset: bool
    ) -> Self:
        with contextlib.ExitStack() as opened:
            folder = opened.enter_context(Folder.open(path, force=force))
            folder.private = frozenset(map(place_key, private))
            folder.lock()
            store = opened.enter_context(Store.open(records / record_name(folder.path) / "store.sqlite"))
            share = cls(folder, store, workers)
            with contextlib.suppress(DiskFailed):  # what cannot be written to, or is full, can still be served
                share.staging.clean(time.time())
            try:
                share.identity = _identity(folder, store, reset)
            except FolderIdentityLost as error:
                share.lost = str(error)
            else:
                with contextlib.suppress(DiskFailed):
                    list_interrupted(folder, store)
            opened.pop_all()
        return share

    @property
    def staging(self) -> Staging:
        """Where files are written first (blocking when asked for the first time).

        Made on demand, because a folder that cannot be written to can still be served. Raises DiskFailed.
        """
        with self._preparing:
            if self._staging is None:
                self._staging = Staging(self.folder, self.store)
            return self._staging

    async def close(self) -> None:
        """Close the records and release the folder."""
        await self.workers.run(self._close)  # one call: a cancelled caller must not leave half of it open

    def _close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._prune()
        self.store.close()
        self.folder.close()

    def watch(self) -> None:
        """Begin to watch the folder: `listeners` hear of changes, and scans look only where something happened."""
        if self._watcher is None:
            loop = asyncio.get_running_loop()
            self._watcher = Watcher(
                self.folder.path,
                lambda directories: _on_loop(loop, self._on_change, directories),
                lambda reason: _on_loop(loop, self._on_unwatched, reason),
            )
            self._watcher.start()

    def _on_change(self, directories: frozenset[str] | None) -> None:
        if directories is None:
            self._all_dirty = True
        else:
            self._dirty |= directories
        for listener in tuple(self.listeners):
            listener()

    def _on_unwatched(self, reason: str) -> None:
        self._watcher = None
        self._all_dirty = True
        self.warn(f"{reason} Changes are found by scanning instead, which takes longer.")

    def _prune(self) -> None:
        """Remove from the trash what has been kept long enough (blocking)."""
        now = self._pruned = time.monotonic()
        self._kept = {name: end for name, end in self._kept.items() if now - end < MIN_AGE_SECONDS}
        try:
            prune(self.folder, self.store, now=time.time(), running=self._kept)
        except LeafSyncError as error:
            logger.warning("the trash was not looked through: %s", error)

    def begin_trash(self, pass_name: str) -> None:
        """Note that a pass uses the trash from now on: nothing of it is removed meanwhile."""
        self._kept[pass_name] = math.inf

    def end_trash(self, pass_name: str) -> None:
        """Note that it does no more: what it left stays for an hour, whatever the clock says."""
        self._kept[pass_name] = time.monotonic()

    def changed(self, directories: Collection[str]) -> None:
        """Note that this process changed these directories: the next scan looks there without waiting to be told."""
        self._dirty.update(directories)

    def doubt_everything(self) -> None:
        """Have the next scan look everywhere: no watcher tells of what is done to a file by another of its names."""
        self._all_dirty = True

    async def doubt(self, path: str, mark: int, root: bytes) -> None:
        """Have the next scan hash the file at `path` again: it is not what `root` says, although stat still says `mark`
        (somebody writes to it through a mapping, or a disk is broken)."""
        self.placed.pop(mark, None)
        await self.workers.run(self.store.put_hashes, [HashRow(mark, root, None, racy=True)])
        self.changed({parent(path)})

    async def scan(self, *, fresh: bool = True) -> Scan:
        """Return what is in the folder.

        A `fresh` scan shows every change made before this call: the watcher says where to look, when nothing can have
        escaped it, else everything is looked at; calls that wait for such a scan share the one after it. Otherwise
        only what the watcher reported so far is looked at, if there is a watcher.
        """
        asked = time.monotonic()
        async with self._scanning:
            latest = self.latest
            if fresh and latest is not None:
                fresh = not await self._caught_up()
            everywhere = fresh or self._must_look_everywhere(asked)
            if latest is None or (everywhere and self._full_scan < asked):
                await self._scan_everything(latest)
            elif self._dirty:
                await self._scan_dirty(latest)
            return cast("Scan", self.latest)

    async def look_again(self) -> Scan:
        """Return what is in the folder since this process changed it: what it was in the last scan, but where `changed`
        or the watcher says otherwise. What others changed since then may be missing, as if it had come after this.
        """
        async with self._scanning:
            if self.latest is None or self._all_dirty:
                await self._scan_everything(self.latest)
            elif self._dirty:
                await self._scan_dirty(self.latest)
            return cast("Scan", self.latest)

    async def _caught_up(self) -> bool:
        """Have the watcher report all that has changed by now; False when it cannot."""
        return self._watcher is not None and await self.workers.run(self._watcher.catch_up)

    def _must_look_everywhere(self, now: float) -> bool:
        return self._watcher is None or self._all_dirty or now - self._full_scan > FULL_SCAN_INTERVAL

    async def _scan_everything(self, latest: Scan | None) -> None:
        started = time.monotonic()
        self._dirty.clear()
        self._all_dirty = False
        try:
            self.latest = await self._scan_off_loop(lambda cancelled: self._scan(latest, cancelled))
        except BaseException:
            self._all_dirty = True
            raise
        self._full_scan = started

    async def _scan_dirty(self, latest: Scan) -> None:
        directories, self._dirty = self._dirty, set()
        try:
            self.latest = await self._scan_off_loop(lambda cancelled: self._rescan(latest, directories, cancelled))
        except BaseException:
            self._dirty |= directories
            raise
        if self.latest.linked:  # the watcher told of the directory of one name alone
            await self._scan_everything(self.latest)

    async def _scan_off_loop(self, scanning: Callable[[threading.Event], Scan]) -> Scan:
        cancelled = threading.Event()
        task = asyncio.create_task(self.workers.run(scanning, cancelled))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.gather(task, return_exceptions=True)
            raise

    def _taken(self) -> dict[int, bytes]:
        """Return what was placed since the last scan."""
        placed, self.placed = self.placed, {}
        return placed

    def _scan(self, previous: Scan | None, cancelled: threading.Event) -> Scan:
        if time.monotonic() - self._pruned > PRUNE_INTERVAL:
            self._prune()
        return scan(
            self.folder,
            self.store,
            self.workers.hasher,
            previous=previous.index if previous else None,
            placed=self._taken(),
            now_ns=time.time_ns(),
            cancelled=cancelled,
        )

    def _rescan(self, previous: Scan, directories: Collection[str], cancelled: threading.Event) -> Scan:
        return rescan(
            self.folder,
            self.store,
            self.workers.hasher,
            previous=previous,
            directories=directories,
            placed=self._taken(),
            now_ns=time.time_ns(),
            cancelled=cancelled,
        )


def _identity(folder: Folder, store: Store, reset: bool) -> str:
    """Return the folder's id (blocking). A folder whose marker cannot be written has its id in the records alone.

    Raises as `folder_identity` when there is a marker, or has been one, or a new one was asked for with `reset`.
    """
    try:
        return folder_identity(folder, store, reset=reset)
    except DiskFailed:
        known, inode = store.identity(), folder.stat_of_root.st_ino
        fresh = known is None and folder.stat(join(STAGING, MARKER)) is None
        same = known is not None and not known.marked and known.inode == inode
        if reset or not (fresh or same):
            raise
        identity = known or Identity(secrets.token_hex(16), False, inode)
        store.put_identity(identity)
        return identity.id


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[T], None], value: T) -> None:
    """Call from another thread; a loop that has ended does not care any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, value)
