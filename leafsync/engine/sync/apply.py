"""Carries out a plan: the only place that changes the folder, in an order in which nothing is ever lost.

Directories first, then content, then what only this side has goes to the trash. Every action checks that the entry is
still what the plan saw; if it is not, that entry is a problem and the next pass looks at it again.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from leafsync.engine.core.index import Index, Problem
from leafsync.engine.core.options import ConnectOptions
from leafsync.engine.core.plan import Fetch, Link, Plan, Touch, Trash as TrashAction
from leafsync.engine.disk.folder import disk_errors, state_mark
from leafsync.engine.disk.trash import Trash, pass_name
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.channel import Throttle
from leafsync.engine.sync.committer import Committer
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.receiver import Receiver
from leafsync.engine.sync.share import Share
from leafsync.errors import DiskFull, EntryChanged, LeafSyncError

A = TypeVar("A", str, Fetch, Link, Touch, TrashAction)

BATCH = 256
"""Actions carried out in one call of a worker thread."""


class Application:
    """One plan being carried out, and what came of it."""

    def __init__(
        self,
        connection: Connection,
        share: Share,
        local: Index,
        progress: Progress,
        options: ConnectOptions,
    ) -> None:
        """Change `share`, whose index was `local` when the plan was made; content comes over `connection`."""
        self.problems: list[Problem] = []
        self.directories = 0
        self.links = 0
        self.touched = 0
        self.trashed: list[str] = []
        self.held: list[str] = []
        self._connection = connection
        self._share = share
        self._local = local
        self._progress = progress
        self._options = options

    async def carry_out(self, plan: Plan, *, now: datetime) -> None:
        """Do what the plan says; what cannot be done becomes a problem.

        Raises Unreachable, IntegrityFailed or DiskFull when the rest cannot be done either; what was done until then
        stays, what was received is kept for the next time.
        """
        self.problems += plan.problems
        self.held += [trash.path for trash in plan.held]
        self._progress.expect(len(plan.fetches), sum(fetch.entry.size for fetch in plan.fetches))
        trash = Trash(self._share.folder, pass_name(now, secrets.token_hex(2)))
        try:
            cleared = await self._each(plan.clearings, lambda action: self._discard(action, trash))
            self.trashed += [action.path for action in cleared]
            self.directories = len(await self._each(plan.directories, self._make_directory))
            await self._fetch(plan.fetches, trash)
            self.links = len(await self._each(plan.links, lambda link: self._make_link(link, trash)))
            self.touched = len(await self._each(plan.touches, self._touch))
            deleted = await self._each(plan.deletes, lambda action: self._discard(action, trash))
            self.trashed += [action.path for action in deleted]
        finally:
            await self._share.workers.run(trash.sync)

    async def _fetch(self, fetches: Sequence[Fetch], trash: Trash) -> None:
        connection = self._connection
        throttle = Throttle(self._options.rate_mbps, lambda: connection.bytes_received)
        committer = Committer(self._share, self._local, trash, self._progress)
        receiver = Receiver(connection, self._share, self._local, committer, self._progress, throttle)
        try:
            await receiver.fetch(fetches, self._options.streams)
        finally:
            await committer.close()
        self.problems += receiver.problems + committer.problems

    async def _each(self, actions: Sequence[A], act: Callable[[A], None]) -> list[A]:
        """Do `act` (blocking) for each action off the loop; return those that could be done."""
        done: list[A] = []
        for start in range(0, len(actions), BATCH):
            done += await self._share.workers.run(self._batch, actions[start : start + BATCH], act)
        return done

    def _batch(self, actions: Sequence[A], act: Callable[[A], None]) -> list[A]:
        done: list[A] = []
        for action in actions:
            path = action if isinstance(action, str) else action.path
            try:
                with disk_errors(path):
                    act(action)
            except DiskFull:
                raise
            except LeafSyncError as error:
                self.problems.append(Problem(path, str(error)))
            else:
                done.append(action)
        return done

    def _make_directory(self, path: str) -> None:
        self._share.folder.make_directory(path)

    def _discard(self, action: TrashAction, trash: Trash) -> None:
        trash.remove(action.path, action.entry, self._local.state(action.path))

    def _make_link(self, link: Link, trash: Trash) -> None:
        mark = self._local.state(link.path)
        self._share.staging.replace_link(link.path, link.entry.target, link.local, trash, expected=mark)

    def _touch(self, touch: Touch) -> None:
        """Set time and executable bit, and remember that the content is still what it was."""
        folder = self._share.folder
        mark = self._local.state(touch.path)
        stat = folder.stat(touch.path)
        if mark is None or stat is None or state_mark(stat) != mark:
            raise EntryChanged(path=touch.path)
        folder.set_executable(touch.path, touch.entry.executable)
        folder.set_times(touch.path, touch.entry.mtime_ns)
