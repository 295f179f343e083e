"""A trial: a child is killed at a fault point, what it left is looked at, and both sides are brought to the end."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from leafsync.engine.core.address import Address
from leafsync.engine.core.bitmap import Bitmap
from leafsync.engine.core.merkle import CHUNK_SIZE, chunk_count
from leafsync.engine.core.names import STAGING, TRASH
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.disk import retention, staging
from leafsync.engine.disk.folder import LOCK, MARKER, Folder
from leafsync.engine.disk.staging import Staging
from leafsync.engine.disk.store import Store
from leafsync.engine.service import Engine
from leafsync.engine.sync.records import Records
from tests.crash.child import Child, Work
from tests.crash.points import Call, Fault
from tests.crash.scenario import (
    NAMES,
    Look,
    Place,
    Tree,
    change,
    cut_off,
    first_files,
    records,
    restorable,
    without_moment,
)
from tests.support.devices import Device, connect_options, introduce

if TYPE_CHECKING:
    from leafsync.engine.core.status import PassSummary
    from leafsync.engine.sync.serving import ServeJob

MAX_PASSES = 4
"""Passes until nothing changes any more, after a crash: a conflict copy may take a second one."""


MAX_LEFT = 2
"""Files that the undo after one that was killed may leave as they are: one, and the conflict copy that has its name.
Directories that it would have removed stay with them."""


@asynccontextmanager
async def running(*devices: Device) -> AsyncIterator[None]:
    """Have the engines of these devices run in this process."""
    if not devices:
        yield
        return
    async with Engine(devices[0].config(), on_event=devices[0].events.append) as engine, running(*devices[1:]):
        devices[0].engine = engine
        yield


async def template(path: Path) -> Place:
    """Make both folders as they are when a trial begins: agreed once, changed since, with a past."""
    place = Place.made_at(path)
    server, client = (place.device(name) for name in NAMES)
    first_files(server)
    async with running(server, client):
        introduce(server, client)
        await client.sync(await server.serve())
    for device, other in ((server, client), (client, server)):
        change(device, other.name)
        cut_off(device, other.name)
    return place


@dataclass(frozen=True, slots=True)
class Course:
    """A run without a fault."""

    calls: list[Call]
    before: Tree
    """The victim's folder at its beginning."""
    after: Tree
    """And at its end."""
    final: Tree
    """Both folders in the end."""


class Trial:
    """Two devices of which one dies. Use as an asynchronous context manager."""

    def __init__(self, work: Work, template: Place, path: Path) -> None:
        """Copy the template to `path`."""
        self.work = work
        self.place = template.copied_to(path)
        self.server, self.client = (self.place.device(name) for name in NAMES)
        self.victim = self.server if work is Work.SERVER else self.client
        self.before: Tree = {}
        self.calls: list[Call] | None = None
        """Of a child that came to its end."""
        self.contents: set[bytes] = set()
        """All content that either side had before."""
        self.reported: set[str] = set()
        """Paths of which a second undo said that it left them as they were."""
        self.summaries: list[PassSummary] = []
        """Of the passes after the crash."""
        self._running = AsyncExitStack()
        self._serving: ServeJob | None = None

    async def __aenter__(self) -> Self:
        if self.work is Work.UNDO:
            async with running(self.server, self.client):
                await self.client.sync(await self.server.serve(), allow_deletes=True)
        look = self.look()
        self.before, self.contents = look.tree, look.contents
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self._running.aclose()
        shutil.rmtree(self.place.path)

    def look(self) -> Look:
        """Return the victim's tree, and the contents of both sides."""
        return Look.at(self.victim, self.server if self.victim is self.client else self.client)

    async def die(self, fault: Fault | None) -> None:
        """Run the child until it dies, or to its end."""
        if self.work is Work.SERVER:
            await self._die_serving(fault)
            return
        port = await self._serve() if self.work is Work.CLIENT else 0
        with closing(Child(self.work, self.place, fault, port)) as child:
            self.calls = await child.death()

    async def _serve(self) -> int:
        """Serve here, if nobody does, and return the port."""
        if self._serving is None:
            await self._running.enter_async_context(running(self.server))
            self._serving = await self.server.serve()
        return self._serving.status().port

    async def _die_serving(self, fault: Fault | None) -> None:
        with closing(Child(self.work, self.place, fault)) as child:
            port = await child.port()
            dying = asyncio.create_task(child.death())
            if port is not None:
                async with running(self.client):
                    options = connect_options(
                        Address("127.0.0.1", port), self.client.folder, mode=Mode.BOTH, once=True, allow_deletes=True
                    )
                    job = await self.client.engine.connect(options)
                    passing = asyncio.create_task(job.wait())
                    await asyncio.wait([dying, passing], return_when=asyncio.FIRST_COMPLETED)
                    child.stop()
                    await dying
                    await job.stop()
                    await asyncio.gather(passing, return_exceptions=True)
            self.calls = await dying

    # What must be true at any instant

    def check_instant(self, after: Tree) -> None:
        """Every path is what it was or what it becomes (`after`), and no content is gone."""
        look = self.look()
        now = look.tree
        for path in now.keys() | self.before.keys():
            there, old, new = now.get(path), self.before.get(path), after.get(path)
            assert there in (old, new) or _between(path, now, old, new), (path, there, old, new)
        assert self.contents <= look.contents, "content is gone"

    # What must be true in the end

    async def finish(self) -> None:
        """Start what died again, and bring both sides to the end."""
        resumable = _resumable(self.client) if self.work is Work.CLIENT else 0
        if self.work is Work.UNDO:
            self._undo_again()
        await self._serve()
        await self._running.enter_async_context(running(self.client))
        assert self._serving is not None
        while len(self.summaries) < MAX_PASSES:
            self.summaries.append(await self.client.sync(self._serving, allow_deletes=True))
            if not self.summaries[-1].changed:
                break
        await self._running.aclose()
        reused = self.summaries[0].totals.reused
        assert reused >= resumable, f"{reused} of {resumable} bytes were used again"

    def _undo_again(self) -> None:
        with Records.open(str(self.client.folder), self.client.home / "state") as opened:
            done = next(one.id for one in opened.passes() if one.peer)
            self.reported = {without_moment(path) for path, error in opened.undo(done).outcomes if error}

    def check_end(self, final: Tree) -> None:
        """Both sides are the same, as they would be without the crash; nothing is gone, nothing is left lying about."""
        assert not self.summaries[-1].changed, self.summaries
        assert not self.summaries[-1].problems, self.summaries
        server, client = Look.at(self.server), Look.at(self.client)
        reached = {entry[1] for entry in client.tree.values() if entry[0] == "file"}
        reached |= restorable(self.server) | restorable(self.client)
        assert self.contents <= reached, "content is gone, or in the trash without being in the history"
        for ended in (server.tree, client.tree):
            wrong = {path for path in ended.keys() | final.keys() if ended.get(path) != final.get(path)}
            # The file that an undo was about to replace is in the trash already, under another name. So it is not as
            # the pass had left it, and is left alone, and what depends on it; but that is said.
            left = {path for path in wrong & self.reported if ended.get(path) == self.before.get(path)}
            files = {path for path in left if (self.before.get(path) or final[path]) != ("directory",)}
            assert len(files) <= MAX_LEFT, left
            assert all(any(file.startswith(f"{path}/") for file in files) for path in left - files), left
            assert wrong == left, [(path, ended.get(path), final.get(path)) for path in sorted(wrong)]
        for device in (self.server, self.client):
            check_tidied(device)


def _between(path: str, now: Tree, old: tuple[Any, ...] | None, new: tuple[Any, ...] | None) -> bool:
    """Say whether a path may be what it is although it is neither old nor new."""
    there = now.get(path)
    if there is None:  # it gives way to another kind, or two versions of a conflict are changing names
        copies = [entry for name, entry in now.items() if name.startswith(f"{path}.conflict-")]
        return old is not None and new is not None and (old[0] != new[0] or old in copies or new in copies)
    if old is None or new is None or not there[0] == old[0] == new[0] == "file":
        return False
    # A touch sets the time after the executable bit.
    return bool(there[1] == old[1] == new[1]) and all(there[at] in (old[at], new[at]) for at in (2, 3))


def _resumable(device: Device) -> int:
    """Return how many bytes of half fetched files the device knows to be there. A file that has just been exchanged has
    a row too, but under its name is the version that it replaced, which the trash has as well."""
    staged = {path.name for path in (device.folder / STAGING).iterdir() if path.lstat().st_nlink == 1}
    with Store.open(records(device)) as store:
        rows = [row for row in store.staged_rows() if row.name in staged]
    return sum(
        min(CHUNK_SIZE, row.size - index * CHUNK_SIZE)
        for row in rows
        for index in Bitmap(chunk_count(row.size), row.bitmap)
    )


def check_tidied(device: Device) -> None:
    """After a day nothing is in the staging directory that nobody could resume, after a week nothing at all; and the
    trash ends with its retention."""
    top = device.folder / STAGING
    with Folder.open(str(device.folder)) as folder, Store.open(records(device)) as store:
        cleaner = Staging(folder, store)
        cleaner.clean(time.time() + staging.MAX_ORPHAN_AGE + 1)
        known = {row.name for row in store.staged_rows()}
        assert {path.name for path in top.iterdir()} <= known | {LOCK, MARKER}, "an orphan is older than a day"
        cleaner.clean(time.time() + staging.MAX_STAGED_AGE + 1)
        assert {path.name for path in top.iterdir()} <= {LOCK, MARKER}, "a staged file is older than a week"
        assert not store.staged_rows(), "rows of staged files are left"
        retention.prune(folder, store, now=time.time() + (retention.MAX_AGE_DAYS + 1) * 24 * 3600)
        assert not list((device.folder / TRASH).iterdir()), "the trash is kept for ever"


async def run_trial(work: Work, template: Place, path: Path, fault: Fault, course: Course) -> bool:
    """Do a trial; return whether the child died: a call may come less often in one run than in another."""
    async with Trial(work, template, path) as trial:
        await trial.die(fault)
        trial.check_instant(course.after)
        await trial.finish()
        trial.check_end(course.final)
        return trial.calls is None


async def record(work: Work, template: Place, path: Path) -> Course:
    """Run without a fault."""
    async with Trial(work, template, path) as trial:
        await trial.die(None)
        assert trial.calls is not None
        after = trial.look().tree
        await trial.finish()
        final = Look.at(trial.client).tree
        trial.check_end(final)
        return Course(trial.calls, trial.before, after, final)
