"""Carries out the steps of one side: the only place that changes a folder, in an order in which nothing is ever lost.

Every action checks that the entry still is what the plan saw; if it is not, that entry is a problem and the next pass
looks at it again. What is replaced or removed goes to the trash of the pass, and what was done is written down in the
folder's history, so that it can be undone.
"""

import secrets
import stat as modes
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.index import Index, Problem
from leafsync.engine.core.names import parent
from leafsync.engine.core.options import DEFAULT_STREAMS
from leafsync.engine.core.status import Direction
from leafsync.engine.core.steps import Fetch, Link, Move, Steps, Touch, Trash as TrashStep
from leafsync.engine.disk.folder import disk_errors, lasting_mark, state_mark
from leafsync.engine.disk.given import given
from leafsync.engine.disk.trash import Trash, pass_name
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.channel import Throttle
from leafsync.engine.sync.committer import Committer
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.receiver import Receiver
from leafsync.engine.sync.share import Share
from leafsync.errors import DiskFull, EntryChanged, LeafSyncError

A = TypeVar("A", str, Link, Touch, TrashStep, Move)

BATCH = 256
"""Actions carried out in one call of a worker thread."""


class Means(msgspec.Struct, frozen=True):
    """What the steps of a side are carried out with."""

    connection: Connection
    """Content comes over it."""
    share: Share
    local: Index
    """What the plan saw here."""
    progress: Progress
    peer: str
    """What the other device is called, for the history."""
    streams: int = DEFAULT_STREAMS
    rate_mbps: float | None = None
    features: frozenset[str] = frozenset()
    """What both sides can do beyond what the protocol demands."""


class Application:
    """Steps being carried out, and what came of them."""

    def __init__(self, means: Means, *, now: datetime) -> None:
        """Prepare a pass that begins `now` (with a time zone)."""
        self.problems: list[Problem] = []
        self.done: list[ActionRecord] = []
        self._means = means
        self._share = means.share
        self._now = now
        self._trash = Trash(means.share.folder, pass_name(now, secrets.token_hex(2)))
        self._index = means.local
        self._marks: dict[str, int] = {}

    async def carry_out(self, steps: Steps) -> None:
        """Do what `steps` say; what cannot be done becomes a problem.

        Raises Unreachable, IntegrityFailed or DiskFull when the rest cannot be done either; what was done until then
        stays and is in the history, what was received is kept for the next time.
        """
        self._share.begin_trash(self._trash.pass_name)
        files = [(fetch.path, fetch.entry.size) for fetch in steps.fetches]
        self._means.progress.expect(Direction.IN, files)
        try:
            await self._each(steps.asides, self._move)
            await self._each(steps.clearings, self._discard)
            await self._each(steps.directories, self._make_directory)
            await self._share.workers.run(self._sync_parents)
            await self._each(steps.moves, self._move)
            await self._fetch(steps.fetches)
            await self._each(steps.links, self._make_link)
            await self._each(steps.touches, self._touch)
            await self._each(steps.deletes, self._discard)
        finally:
            self._share.end_trash(self._trash.pass_name)
            self._share.changed(steps.directories_touched())
            if self._trash.met_links:
                self._share.doubt_everything()
            await self._share.workers.run(self._finish)

    def paths(self, *kinds: ActionKind) -> tuple[str, ...]:
        """Return the paths of what was done of these kinds."""
        return tuple(action.path for action in self.done if action.kind in kinds)

    async def _fetch(self, fetches: Sequence[Fetch]) -> None:
        means = self._means
        connection = means.connection
        throttle = Throttle(means.rate_mbps, lambda: connection.bytes_received)
        committer = Committer(means.share, self._mark, self._trash, means.progress)
        receiver = Receiver(connection, means.share, means.local, committer, means.progress, throttle, means.features)
        try:
            await receiver.fetch(fetches, means.streams)
        finally:
            try:
                await committer.close()
            finally:
                self.done += committer.done
                self.problems += receiver.problems + committer.problems

    async def _each(self, actions: Sequence[A], act: Callable[[A], ActionRecord]) -> None:
        """Do `act` (blocking) for each action off the loop."""
        for start in range(0, len(actions), BATCH):
            await self._share.workers.run(self._batch, actions[start : start + BATCH], act)

    def _batch(self, actions: Sequence[A], act: Callable[[A], ActionRecord]) -> None:
        with self._share.folder.handles():
            for action in actions:
                path = _path(action)
                try:
                    with disk_errors(path):
                        self.done.append(act(action))
                except DiskFull:
                    raise
                except LeafSyncError as error:
                    self.problems.append(Problem(path, error.behind(path)))

    def _mark(self, path: str) -> int | None:
        """Return what stat said of the file at `path` when the plan was made, or when this pass put it there."""
        return self._marks.get(path, self._means.local.state(path))

    def _make_directory(self, path: str) -> ActionRecord:
        self._share.folder.make_directory(path)
        return ActionRecord(ActionKind.MADE, path)

    def _sync_parents(self) -> None:
        """Bring new directories to the disk: their names are in their parents."""
        made = set(self.paths(ActionKind.MADE))
        for directory in {parent(path) for path in made} - made:
            self._trash.note(directory)
        self._trash.sync()

    def _move(self, move: Move) -> ActionRecord:
        moved = self._trash.move(move.source, move.target, move.entry, self._mark(move.source))
        if not all(self._share.folder.keeps):
            self._share.store.move_given([(move.source, move.target)])
        if not modes.S_ISDIR(moved.st_mode):  # what happens in a directory changes its state, and is no edit of it
            self._marks[move.target] = state_mark(moved)
        return ActionRecord(ActionKind.MOVED, move.target, move.source, mark=lasting_mark(moved))

    def _discard(self, action: TrashStep) -> ActionRecord:
        self._trash.remove(action.path, action.entry, self._mark(action.path))
        return ActionRecord(ActionKind.TRASHED, action.path, kept=self._trash.kept.get(action.path, ""))

    def _make_link(self, link: Link) -> ActionRecord:
        expected = self._mark(link.path) if link.local is not None else None
        stat = self._share.staging.replace_link(
            link.path, link.entry.target, link.local, self._trash, expected=expected
        )
        mark = state_mark(stat) if stat is not None else None
        return ActionRecord(ActionKind.LINKED, link.path, kept=self._trash.kept.get(link.path, ""), mark=mark)

    def _touch(self, touch: Touch) -> ActionRecord:
        """Set time and executable bit of a file that is as it was."""
        mark, entry = self._mark(touch.path), touch.entry
        if mark is None:
            raise EntryChanged(path=touch.path)
        folder = self._share.folder
        before = folder.stat(touch.path)
        if before is None or not self._trash.matches(touch.path, before, touch.local, mark):
            raise EntryChanged(path=touch.path)
        touched = folder.touch(touch.path, state_mark(before), executable=entry.executable, mtime_ns=entry.mtime_ns)
        self._trash.left(before, touched)
        if not all(folder.keeps):
            self._share.store.put_given({touch.path: given(entry, touched)})
        return ActionRecord(ActionKind.TOUCHED, touch.path, mark=state_mark(touched))

    def _finish(self) -> None:
        """Sync the trash and write the history (blocking)."""
        try:
            self._trash.sync()
        finally:
            if self.done:
                moment = self._now.isoformat(timespec="seconds")
                self._share.store.put_pass(
                    PassRecord(self._trash.pass_name, moment, self._means.peer, tuple(self.done))
                )


def _path(action: A) -> str:
    if isinstance(action, str):
        return action
    return action.target if isinstance(action, Move) else action.path
