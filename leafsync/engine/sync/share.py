"""One folder of this device, with its records and its index, shared by every job and connection that uses it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from blake3 import blake3

from leafsync.engine.core.index import Index
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.scan import Scan, scan
from leafsync.engine.disk.staging import Staging
from leafsync.engine.disk.store import Store
from leafsync.errors import DiskFailed

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """The threads that touch disks and hash: the event loop does neither (DESIGN section 12)."""

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
            await _outlast(future)
            if not future.cancelled() and future.exception() is None:
                await _outlast(loop.run_in_executor(self._pool, give_back, future.result()))
            raise

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.hasher.close()


async def _outlast(future: asyncio.Future[T]) -> None:
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # the caller is gone, nobody else will look at it


class Share:
    """A folder in use by this process."""

    def __init__(self, folder: Folder, store: Store, workers: Workers) -> None:
        """Take over an open folder and its records; `close` gives them back."""
        self.folder = folder
        self.store = store
        self.workers = workers
        self._staging: Staging | None = None
        self._preparing = threading.Lock()
        self.latest: Scan | None = None
        self._scanning = asyncio.Lock()
        self._scan_started = 0.0

    @classmethod
    async def open(cls, path: str, records: Path, workers: Workers, *, force: bool = False) -> Self:
        """Open and lock the folder at `path`; its records are kept below the directory `records`.

        Raises UsageError (missing, not a directory, refused, records unusable) or FolderInUse.
        """
        return await workers.obtain(lambda: cls._open(path, records, workers, force), cls._close)

    @classmethod
    def _open(cls, path: str, records: Path, workers: Workers, force: bool) -> Self:
        with contextlib.ExitStack() as opened:
            folder = opened.enter_context(Folder.open(path, force=force))
            folder.lock()
            store = opened.enter_context(Store.open(records / record_name(folder.path) / "store.sqlite"))
            share = cls(folder, store, workers)
            with contextlib.suppress(DiskFailed):  # what cannot be written to, or is full, can still be served
                share.staging.clean(time.time())
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
        await self.workers.run(self._close)

    def _close(self) -> None:
        self.store.close()
        self.folder.close()

    async def scan(self) -> Scan:
        """Return a scan that began after this call, so it shows every change made before it.

        Calls that wait for a running scan share the one after it.
        """
        asked = time.monotonic()
        async with self._scanning:
            if self.latest is None or self._scan_started < asked:
                self._scan_started = time.monotonic()
                previous = self.latest.index if self.latest else None
                cancelled = threading.Event()
                scanning = asyncio.create_task(self.workers.run(self._scan, previous, cancelled))
                try:
                    self.latest = await asyncio.shield(scanning)
                except asyncio.CancelledError:
                    cancelled.set()
                    await asyncio.gather(scanning, return_exceptions=True)
                    raise
            return self.latest

    def _scan(self, previous: Index | None, cancelled: threading.Event) -> Scan:
        return scan(
            self.folder,
            self.store,
            self.workers.hasher,
            previous=previous,
            now_ns=time.time_ns(),
            cancelled=cancelled,
        )


def record_name(path: str) -> str:
    """Return the name of the directory that holds the records of the folder at `path`."""
    return blake3(path.encode("utf-8", "surrogateescape")).hexdigest(length=16)
