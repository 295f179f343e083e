"""Puts verified files in their places, in groups."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from leafsync.engine.core.history import ActionKind, ActionRecord
from leafsync.engine.core.index import Problem
from leafsync.engine.core.steps import Fetch
from leafsync.engine.disk.staging import ChunkMismatch, Commit, SmallFile, Staged, StagedFile
from leafsync.engine.disk.trash import Trash
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import outlast
from leafsync.errors import DiskFull, LeafSyncError

GROUP_FILES = 512
"""Files of a group: one flush for all of them, and few enough that a crash costs little."""

GROUP_BYTES = 16 << 20
"""Bytes of a group, at most as many are waiting in memory for each group under way."""

GROUP_SECONDS = 1.0
"""How long a whole file waits for others to join its group: a slow one beside it may take hours."""

GROUPS_AT_ONCE = 2
"""Groups under way: one is written while the next is being filled."""


Marks = Callable[[str], int | None]
"""What stat said of the file at a path when the plan was made."""

Outcome = tuple[Fetch, LeafSyncError | ChunkMismatch | None, int | None]
"""A file, why it is not in its place, and its state mark there."""


class _Group(msgspec.Struct):
    small: list[tuple[Fetch, bytes | bytearray | None]] = msgspec.field(default_factory=list)
    large: list[tuple[Fetch, StagedFile]] = msgspec.field(default_factory=list)
    size: int = 0

    @property
    def empty(self) -> bool:
        return not (self.small or self.large)

    @property
    def full(self) -> bool:
        return len(self.small) + len(self.large) >= GROUP_FILES or self.size >= GROUP_BYTES


class Committer:
    """Collects finished files and commits them group by group, off the loop. Close it in any case."""

    def __init__(self, share: Share, mark: Marks, trash: Trash, progress: Progress) -> None:
        """Commit into `share`; `mark` says what stat said of the files that the plan saw."""
        self.problems: list[Problem] = []
        self.done: list[ActionRecord] = []
        self._share = share
        self._mark = mark
        self._trash = trash
        self._progress = progress
        self._group = _Group()
        self._running: set[asyncio.Task[None]] = set()
        self._wrong: list[Fetch] = []
        self._failure: Exception | None = None
        self._slots = asyncio.Semaphore(GROUPS_AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None

    async def add_small(self, fetch: Fetch, data: bytes | bytearray | None) -> None:
        """Take a file of at most one chunk, not verified yet; `data` None is a hole. Waits while too many groups are
        under way.

        Raises DiskFull of an earlier group, which the pass cannot outlive.
        """
        self._group.small.append((fetch, data))
        await self._added(len(data or b""))

    async def add_large(self, fetch: Fetch, staged: StagedFile) -> None:
        """Take over a staged file that is complete. Raises as `add_small`."""
        self._group.large.append((fetch, staged))
        await self._added(fetch.entry.size)

    async def _added(self, size: int) -> None:
        self._group.size += size
        while self._group.full and self._failure is None:
            await self._slots.acquire()  # a caller that is cancelled here leaves the group for `close`
            self._begin()
        if self._failure is not None:
            raise self._failure
        if self._timer is None and not self._group.empty:
            self._timer = asyncio.get_running_loop().call_later(GROUP_SECONDS, self._ripen)

    def _ripen(self) -> None:
        """Commit what has waited long enough; the next file that waits sets the timer anew."""
        self._timer = None
        if not self._group.empty:
            self._spawn(self._commit_ripe())

    async def _commit_ripe(self) -> None:
        async with self._slots:
            if self._failure is None and not self._group.empty:
                group, self._group = self._group, _Group()
                await self._commit(group)

    def _begin(self) -> None:
        """Commit what was collected in the background. The caller has a slot, which the commit gives back."""
        group, self._group = self._group, _Group()
        self._spawn(self._commit_and_release(group))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settle(self) -> list[Fetch]:
        """Commit the rest and wait for all of it; return the small files whose content was not the one announced, of
        which nothing was written. Raises as `add_small`.
        """
        await self._flush()
        if self._failure is not None:
            raise self._failure
        wrong, self._wrong = self._wrong, []
        return wrong

    async def close(self) -> None:
        """Commit the rest and wait for all of it, however the pass ended: what is whole and verified is kept.

        After a full disk, or for a caller that is cancelled again, the rest is not committed; what is staged stays for
        the next pass. What is under way is always waited for. Raises DiskFull.
        """
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._flush()
        finally:
            rest, self._group = self._group, _Group()
            await self._share.workers.run(_close_all, [staged for _fetch, staged in rest.large])
        if self._failure is not None:
            raise self._failure

    async def _flush(self) -> None:
        try:
            if self._failure is None and not self._group.empty:
                await self._slots.acquire()
                self._begin()
        finally:
            await outlast(tuple(self._running))

    async def _commit_and_release(self, group: _Group) -> None:
        try:
            await self._commit(group)
        finally:
            self._slots.release()

    async def _commit(self, group: _Group) -> None:
        try:
            outcomes = await self._share.workers.run(self._write, group)
        except Exception as error:  # raised where the pass waits for it
            self._failure = self._failure or error
            return
        for fetch, reason, mark in outcomes:
            if isinstance(reason, ChunkMismatch):
                self._progress.take_back(fetch.entry.size)
                self._wrong.append(fetch)
                continue
            problem = "" if reason is None else reason.behind(fetch.path)
            self._progress.finish(fetch.path, problem)
            if reason is None:
                self.done.append(self._record(fetch, mark))
                if mark is not None:
                    self._share.placed[mark] = fetch.entry.hash
            elif isinstance(reason, DiskFull):
                self._failure = self._failure or reason
            else:
                self.problems.append(Problem(fetch.path, problem))

    def _record(self, fetch: Fetch, mark: int | None) -> ActionRecord:
        kind = ActionKind.CREATED if fetch.local is None else ActionKind.REPLACED
        return ActionRecord(kind, fetch.path, kept=self._trash.kept.get(fetch.path, ""), mark=mark)

    def _write(self, group: _Group) -> list[Outcome]:
        """Stage what is small and commit all of it (blocking)."""
        staging = self._share.staging
        commits = [self._item(fetch, staged) for fetch, staged in group.large]
        outcomes: list[Outcome] = []
        fetches = [fetch for fetch, _staged in group.large]
        for (fetch, _data), staged in zip(
            group.small,
            staging.stage_small([SmallFile(fetch.path, fetch.entry, data) for fetch, data in group.small]),
            strict=True,
        ):
            if isinstance(staged, Exception):
                outcomes.append((fetch, staged, None))
            else:
                fetches.append(fetch)
                commits.append(self._item(fetch, staged))
        committed = staging.commit(commits, self._trash)
        outcomes += [(fetch, done.error, done.mark) for fetch, done in zip(fetches, committed, strict=True)]
        return outcomes

    def _item(self, fetch: Fetch, staged: Staged | StagedFile) -> Commit:
        expected = self._mark(fetch.path) if fetch.local is not None else None
        return Commit(fetch.path, fetch.entry, staged, expected=expected, local=fetch.local)


def _close_all(staged: Sequence[StagedFile]) -> None:
    """Close what is not committed (blocking)."""
    for file in staged:
        file.close()
