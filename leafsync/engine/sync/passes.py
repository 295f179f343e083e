"""A pass: scan, compare, plan, carry out on this side and on the other, and remember what both agree on.

The base is not advanced by what a pass believes it has done: at its end both sides are looked at again, and only where
they are the same now does the base move on. So a crash, an edit or a refusal in the middle leaves the base as it was.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from leafsync.engine.core.history import ActionKind
from leafsync.engine.core.index import Entry, Index, Problem
from leafsync.engine.core.listing import ListingCheck
from leafsync.engine.core.messages import Digest, Refusal, RefusalKind
from leafsync.engine.core.names import join
from leafsync.engine.core.options import ConnectOptions
from leafsync.engine.core.reconcile import Mode, advance, conflict_name, reconcile
from leafsync.engine.core.status import PassState, PassSummary, Totals
from leafsync.engine.core.steps import NOTHING_HELD, Fetch, Held, Move, Plan, Steps
from leafsync.engine.disk.scan import Scan
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.apply import Application, Means
from leafsync.engine.sync.base import Base
from leafsync.engine.sync.connect import Client
from leafsync.engine.sync.ignored import IgnoredThere
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.sender import Offer
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import task_group

OnState = Callable[[PassState, Progress], None]

Known = dict[str, tuple[bytes, Sequence[Entry]]]
"""Digest and listing of directories that need not be asked for again."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What both sides have at one time."""

    scan: Scan
    local: Index
    remote: Digest
    listings: Mapping[str, Sequence[Entry]]
    """The other side's directories that differ; none when all is the same."""
    problems: tuple[Problem, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.local.digest == self.remote.digest

    @property
    def known(self) -> Known:
        """What was listed."""
        digests = {"": self.remote.digest}
        for path, entries in self.listings.items():
            digests |= {join(path, entry.name): entry.hash for entry in entries}
        return {path: (digests[path], entries) for path, entries in self.listings.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plan that was carried out, and what the other side did not do of it."""

    plan: Plan
    refusals: Sequence[Refusal]

    @property
    def ignored(self) -> set[str]:
        """The paths that the other side ignores."""
        return {refusal.path for refusal in self.refusals if refusal.kind is RefusalKind.IGNORED}

    @property
    def renamed(self) -> list[Move]:
        """What was renamed here to names that the other side ignores."""
        there = self.plan.remote
        targets = self.ignored - {conflict.copy for conflict in self.plan.conflicts}
        return [move for move in (*there.asides, *there.moves) if move.target in targets]

    def settle(self, progress: Progress) -> None:
        """Count the files that were to go to the other side."""
        fetches, ignored = self.plan.remote.fetches, self.ignored
        left = [fetch for fetch in fetches if fetch.path in ignored]
        progress.expect(-len(left), -_size(left))
        if fetches:
            progress.settle(len(fetches) - len(left), _size(fetches) - _size(left))

    def followed_by(self, again: Steps, refusals: Sequence[Refusal]) -> "Outcome":
        """Return this outcome with the deletes of `again` in the place of those that were planned before."""
        there, due = self.plan.remote, {trash.path for trash in (*again.deletes, *again.held)}
        remote = replace(
            there,
            deletes=[*(trash for trash in there.deletes if trash.path not in due), *again.deletes],
            held=again.held,
        )
        said = "renamed from {}, but ignored on the other side: there it counts as deleted"
        notes = [(move.target, said.format(move.source)) for move in self.renamed]
        plan = replace(self.plan, remote=remote, notes=[*self.plan.notes, *notes])
        return Outcome(plan, [*(refusal for refusal in self.refusals if refusal.path not in due), *refusals])


class Passes:
    """Passes over one connection."""

    def __init__(
        self,
        connection: Connection,
        client: Client,
        share: Share,
        options: ConnectOptions,
        *,
        names: tuple[str, str],
        on_state: OnState,
    ) -> None:
        """Keep `share` and the other side the same as `options` say.

        `names` are what this and the other device are called; `on_state` is told what a pass does whenever that
        changes.
        """
        self.seen = b""
        """The digest of this side at the end of the last pass."""
        self.unsettled = False
        """Whether something changed during the last pass, so that another one would find it."""
        self._left: tuple[bytes, bytes] | None = None
        self._connection = connection
        self._client = client
        self._share = share
        self._base = Base(share, connection.peer_fingerprint, client.welcome.folder, only=options.file)
        self._options = options
        self._here, self._there = names
        self._on_state = on_state
        self._first = True
        self._ignored_there = IgnoredThere()

    async def run(self) -> PassSummary:
        """Do one pass.

        Raises FolderIdentityLost, FolderUnready, Unreachable, IntegrityFailed or DiskFailed when it could not be done
        to the end; what was done until then stays.
        """
        started = time.monotonic()
        connection, client = self._connection, self._client
        client.round_trips = 0
        progress = Progress(lambda: (connection.bytes_received, connection.bytes_sent))
        self._on_state(PassState.SCANNING, progress)
        self.unsettled = False
        base = await self._base.load()
        sides = await self._look(_known(base), progress, fresh=self._first)
        self._first = False
        summary = PassSummary(Totals(), 0.0)
        if not sides.equal:
            summary = await self._change(base, sides, progress)
        elif not self._options.dry_run:
            await self._base.hold(NOTHING_HELD)
            await self._agree(base, sides)
        self._on_state(PassState.IN_SYNC, progress)
        known = tuple((problem.path, problem.reason) for problem in (*sides.local.problems, *sides.problems))
        return replace(
            summary,
            totals=progress.totals,
            seconds=time.monotonic() - started,
            problems=(*known, *summary.problems),
            remote_problems=sides.remote.problems,
            round_trips=client.round_trips,
        )

    # Looking

    async def _look(self, known: Known, progress: Progress, *, fresh: bool) -> Sides:
        """Scan this side while the other does, and list what differs and is not `known`."""
        async with task_group() as tasks:
            asking = tasks.create_task(self._client.digest(self._options.file))
            scanning = tasks.create_task(self._share.scan(fresh=fresh))
        remote, scan = asking.result(), scanning.result()
        local = scan.index.only(self._options.file)
        if remote.digest == local.digest:
            return Sides(scan, local, remote, {}, ())
        self._on_state(PassState.COMPARING, progress)
        check = ListingCheck()
        listings = await self._client.listings(local, remote, known, check)
        return Sides(scan, local, remote, listings, tuple(check.problems))

    # Changing

    async def _change(self, base: Index | None, sides: Sides, progress: Progress) -> PassSummary:
        now = datetime.now().astimezone()
        plan = await self._share.workers.run(self._plan, base, sides, now)
        if not self._options.dry_run:
            await self._base.hold(self._waiting(plan))  # before anything is done: the pass may not come to its end
        if self._options.dry_run or plan.empty:
            if not self._options.dry_run:
                await self._agree(base, sides)
            return _planned(plan, dry_run=self._options.dry_run)
        progress.expect(len(plan.remote.fetches), _size(plan.remote.fetches))
        application, outcome = await self._carry_out(plan, sides, progress, now)
        outcome.settle(progress)
        sides = await self._look(_known(base) | sides.known, progress, fresh=False)
        if outcome.renamed:
            outcome = await self._drop_old_names(base, sides, outcome, progress, now)
            sides = await self._look(_known(base) | sides.known, progress, fresh=False)
        await self._agree(base, sides)
        left = (sides.local.digest, sides.remote.digest)
        # What could not be done leaves both sides as the pass before did: there is no use in trying again at once.
        self.unsettled, self._left = not sides.equal and left != self._left, left
        return _summary(outcome, application)

    def _plan(self, base: Index | None, sides: Sides, now: datetime) -> Plan:
        devices = {"local": self._here, "remote": self._there}
        moment = now.strftime("%Y%m%d-%H%M%S")
        self._ignored_there.review(sides.listings)
        return reconcile(
            base,
            sides.local,
            sides.listings,
            self._options.mode,
            copy_name=lambda path, side: conflict_name(path, moment, devices[side]),
            allow_deletes=self._options.allow_deletes,
            local_ignored=sides.scan.ignore.ignored,
            remote_ignored=self._ignored_there,
            writable=self._client.welcome.writable,
            local_folds=self._share.folder.folds_names,
            remote_folds=self._client.welcome.folds,
            remote_total=sides.remote.entries,
            held=self._base.held,
        )

    def _waiting(self, plan: Plan) -> Held:
        """Return the deletes that wait from now on; on a side that passes do not change, those that did before."""
        mode, before = self._options.mode, self._base.held
        sends = mode in (Mode.BOTH, Mode.PUSH) and self._client.welcome.writable
        return Held(
            local=plan.held.local if mode is not Mode.PUSH else before.local,
            remote=plan.held.remote if sends else before.remote,
        )

    async def _carry_out(
        self, plan: Plan, sides: Sides, progress: Progress, now: datetime
    ) -> tuple[Application, Outcome]:
        """Change this side, look at it again if it was changed, and have the other side changed."""
        share, options = self._share, self._options
        means = Means(self._connection, share, sides.local, progress, self._there, options.streams, options.rate_mbps)
        application = Application(means, now=now)
        local = sides.local
        if not plan.local.empty:
            self._on_state(PassState.TRANSFERRING, progress)
            async with share.changing:
                await application.carry_out(plan.local)
            local = (await share.scan(fresh=False)).index.only(options.file)
        refusals: list[Refusal] = []
        if not plan.remote.empty:
            self._on_state(PassState.SENDING, progress)
            offer = Offer(share, local)
            refusals = await self._client.change(plan.remote, lambda: offer, progress)
            self._ignored_there.learn(plan.remote, refusals, sides.listings)
        return application, Outcome(plan, refusals)

    async def _drop_old_names(
        self, base: Index | None, sides: Sides, before: Outcome, progress: Progress, now: datetime
    ) -> Outcome:
        """Have what was renamed here, to names that the other side ignores, deleted there: its old name is gone.

        What it ignores is known since it refused, so its deletes are planned anew. Returns what came of both plans.
        """
        again = (await self._share.workers.run(self._plan, base, sides, now)).remote
        await self._base.hold(replace(self._base.held, remote=frozenset(trash.path for trash in again.held)))
        refusals: list[Refusal] = []
        if again.deletes:
            offer = Offer(self._share, sides.local)
            refusals = await self._client.change(Steps(deletes=again.deletes), lambda: offer, progress)
        return before.followed_by(again, refusals)

    # Agreeing

    async def _agree(self, base: Index | None, sides: Sides) -> None:
        """Remember where both sides are the same now."""
        self.seen = sides.local.digest
        if sides.equal:
            if base is None or base.digest != sides.local.digest:
                await self._base.put(sides.local.directories)
        else:
            run = self._share.workers.run
            await self._base.put(await run(advance, base, sides.local, sides.listings))


def _size(fetches: Sequence[Fetch]) -> int:
    return sum(fetch.entry.size for fetch in fetches)


def _known(base: Index | None) -> Known:
    """Return the digest and listing of each directory of the base."""
    if base is None:
        return {}
    digests = {"": base.digest}
    for path, entry in base.walk():
        digests[path] = entry.hash
    return {path: (digests[path], entries) for path, entries in base.directories.items()}


def _planned(plan: Plan, *, dry_run: bool) -> PassSummary:
    """Say what a plan would do, or what it holds back when there is nothing to do."""
    here, there = plan.local, plan.remote
    return replace(
        _remarks(plan),
        directories=len(here.directories),
        links=len(here.links),
        touched=len(here.touches),
        trashed=tuple(here.discarded),
        moved=tuple(here.renamed),
        fetched=tuple(fetch.path for fetch in here.fetches),
        sent=tuple(there.brought),
        remote_trashed=tuple(there.discarded),
        remote_moved=tuple(there.renamed),
        remote_changes=len(there.directories) + len(there.touches),
        planned=dry_run,
    )


def _summary(outcome: Outcome, application: Application) -> PassSummary:
    """Say what was done: here by the record of it, on the other side by what it did not refuse."""
    plan, refusals, ignored = outcome.plan, outcome.refusals, outcome.ignored
    refused = {refusal.path for refusal in refusals}
    there = Steps() if "" in refused else plan.remote
    failed = [(refusal.path, refusal.reason) for refusal in refusals if refusal.path not in ignored]
    rest = [*there.directories, *(touch.path for touch in there.touches)]
    remarks = _remarks(plan)
    return replace(
        remarks,
        directories=len(application.paths(ActionKind.MADE)),
        links=len(application.paths(ActionKind.LINKED)),
        touched=len(application.paths(ActionKind.TOUCHED)),
        trashed=application.paths(ActionKind.TRASHED),
        moved=tuple((action.source, action.path) for action in application.done if action.kind is ActionKind.MOVED),
        fetched=application.paths(ActionKind.CREATED, ActionKind.REPLACED),
        sent=tuple(path for path in there.brought if path not in refused),
        remote_trashed=tuple(path for path in there.discarded if path not in refused),
        remote_moved=tuple(move for move in there.renamed if move[1] not in refused),
        remote_changes=sum(path not in refused for path in rest),
        problems=(
            *remarks.problems,
            *((problem.path, problem.reason) for problem in application.problems),
            *failed,
        ),
    )


def _remarks(plan: Plan) -> PassSummary:
    """Return a summary that says what there is to say about a plan, done or not."""
    return PassSummary(
        Totals(),
        0.0,
        held=tuple(step.path for step in plan.local.held),
        remote_held=tuple(step.path for step in plan.remote.held),
        conflicts=tuple((conflict.path, conflict.copy) for conflict in plan.conflicts),
        notes=tuple(plan.notes),
        problems=tuple((problem.path, problem.reason) for problem in plan.problems),
    )
