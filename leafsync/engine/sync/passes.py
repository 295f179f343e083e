"""A pass: scan, compare, plan, carry out on this side and on the other, and remember what both agree on.

The base is not advanced by what a pass believes it has done: at its end both sides are looked at again, and only where
they are the same now does the base move on. So a crash, an edit or a refusal in the middle leaves the base as it was.
"""

import time
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec

from leafsync.engine.core.base import Look
from leafsync.engine.core.history import ActionKind
from leafsync.engine.core.index import Entry, Index, Kind, Problem, find
from leafsync.engine.core.listing import ListingCheck
from leafsync.engine.core.messages import Digest, Refusal, RefusalKind
from leafsync.engine.core.names import IGNORE_FILE, inside, join, parent
from leafsync.engine.core.options import ConnectOptions
from leafsync.engine.core.reconcile import Mode, conflict_name, reconcile
from leafsync.engine.core.status import Direction, PassState, PassSummary, Totals
from leafsync.engine.core.steps import NOTHING_HELD, Fetch, Held, Move, Plan, Steps
from leafsync.engine.core.transfers import TransferLog
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


class Sides(msgspec.Struct, frozen=True):
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

    def same(self, path: str) -> bool:
        """Whether both sides are known to have the same entry at `path`, or none. Of the folder itself, "", that is
        never said, nor of what either side withholds.
        """
        if not path:
            return False
        here, there = self.local.entry(path), self.look.there(path)
        alike = here.same(there) if here is not None and there is not None else here is there
        withheld = here is not None and here.kind is Kind.WITHHELD
        # What is not listed is the same by its digest, which says nothing of what the other side withholds.
        return alike and not withheld and (parent(path) in self.listings or not self.remote.problems)

    @property
    def look(self) -> Look:
        """The entries of both."""
        return Look(self.local, self.listings)

    def listing(self, path: str, digest: bytes) -> Sequence[Entry] | None:
        """Return what was listed of the other side's directory `path` if it had that digest, else None."""
        entries = self.listings.get(path)
        if not path:
            return entries if digest == self.remote.digest else None
        directory = find(self.listings.get(parent(path), ()), path.rpartition("/")[2])
        return entries if directory is not None and directory.hash == digest else None


class Outcome(msgspec.Struct, frozen=True):
    """A plan that was carried out, and what the other side did not do of it."""

    plan: Plan
    refusals: Sequence[Refusal]

    @property
    def done_there(self) -> Steps:
        """What was done on the other side. A refusal without a path is one of everything."""
        refused = {refusal.path for refusal in self.refusals}
        return Steps(held=self.plan.remote.held) if "" in refused else self.plan.remote.without(refused)

    @property
    def ignored(self) -> set[str]:
        """The paths that the other side ignores."""
        return {refusal.path for refusal in self.refusals if refusal.kind is RefusalKind.IGNORED}

    @property
    def unnamed(self) -> list[Move]:
        """The renames to names that the other side ignores."""
        ignored = self.ignored
        return [move for move in (*self.plan.remote.asides, *self.plan.remote.moves) if move.target in ignored]

    def followed_by(self, again: Plan, refusals: Sequence[Refusal]) -> "Outcome":
        """Return what came of this plan and then of `again` on the other side, where all that was refused is in it."""
        there = self.done_there
        there.extend(msgspec.structs.replace(again.remote, held=[]))
        there.held = again.remote.held
        open_still = {problem.path for problem in again.problems}
        known = {conflict.path for conflict in self.plan.conflicts}
        copies = {conflict.copy for conflict in self.plan.conflicts}
        said = "renamed from {}, but ignored on the other side: there it counts as deleted"
        notes = [(move.target, said.format(move.source)) for move in self.unnamed if move.target not in copies]
        plan = msgspec.structs.replace(
            self.plan,
            remote=there,
            conflicts=[
                *(conflict for conflict in self.plan.conflicts if conflict.path not in open_still),
                *(new for new in again.conflicts if new.path not in known),
            ],
            notes=[*self.plan.notes, *notes],
            problems=[*self.plan.problems, *(new for new in again.problems if new not in self.plan.problems)],
        )
        return Outcome(plan, refusals)


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
        transfers: TransferLog,
    ) -> None:
        """Keep `share` and the other side the same as `options` say.

        `names` are what this and the other device are called; `on_state` is told what a pass does whenever that
        changes; single files are shown in `transfers`.
        """
        self.seen = b""
        """The digest of this side at the end of the last pass."""
        self.unsettled = False
        """Whether something changed during the last pass, so that another one would find it."""
        self._left: tuple[bytes, bytes] | None = None
        self._connection = connection
        self._client = client
        self._share = share
        self._base = Base(
            share,
            connection.peer_fingerprint,
            client.welcome.folder,
            only=options.file,
            offered=client.welcome.only,
        )
        self._options = options
        self._here, self._there = names
        self._on_state = on_state
        self._transfers = transfers
        self._first = True
        self._allowed: frozenset[str] = frozenset()
        self._ignored_there = IgnoredThere()
        self._left_out: set[tuple[str, bool]] = set()
        """What the other side said in this pass that it leaves out: (path, whether it is a directory here)."""
        self._gone: set[tuple[str, bool]] = set()
        """What is here alone and stays, and is not left out there, as the pass before has asked."""

    async def run(self, allowed: frozenset[str] = frozenset()) -> PassSummary:
        """Do one pass; a mass delete of none but the `allowed` paths is not held back.

        Raises FolderIdentityLost, FolderUnready, Unreachable, IntegrityFailed or DiskFailed when it could not be done
        to the end; what was done until then stays.
        """
        started = time.monotonic()
        self._allowed = allowed
        connection, client = self._connection, self._client
        client.round_trips = 0
        progress = Progress(connection.wire, self._transfers, self._there)
        self._on_state(PassState.SCANNING, progress)
        self.unsettled = False
        self._left_out = set()
        await self._base.load_held()
        sides = before = await self._compare(self._share.scan(fresh=self._first))
        self._first = False
        await self._heed(sides.remote.undo)
        summary = PassSummary(Totals(), 0.0)
        if not sides.equal:
            try:
                sides = before = await self._listed(None, sides, progress)
                summary = await self._change(sides, progress)
            except BaseException:
                progress.close("the pass was interrupted")
                raise
        elif not self._options.dry_run:
            await self._base.hold(NOTHING_HELD)
            await self._agree(sides, sides, Plan())
        self._on_state(PassState.IN_SYNC, progress)
        known = tuple((problem.path, problem.reason) for problem in (*sides.local.problems, *sides.problems))
        return msgspec.structs.replace(
            summary,
            totals=progress.totals,
            seconds=time.monotonic() - started,
            notes=(*summary.notes, *self._absent(before)),
            problems=(*known, *summary.problems),
            remote_problems=sides.remote.problems,
            round_trips=client.round_trips,
        )

    def _absent(self, sides: Sides) -> list[tuple[str, str]]:
        """Return a note on the only path that this is about if it is nowhere: its name may be mistyped."""
        only = self._options.file
        absent = only and sides.local.entry(only) is None and sides.look.there(only) is None
        return [(only, "neither side has it, or rules leave it out")] if absent else []

    # Looking

    async def _compare(self, scan_here: Coroutine[None, None, Scan]) -> Sides:
        """Scan this side while the other does; nothing is listed yet."""
        async with task_group() as tasks:
            asking = tasks.create_task(self._client.digest(self._options.file))
            scanning = tasks.create_task(scan_here)
        remote, scan = asking.result(), scanning.result()
        return Sides(scan, scan.index.only(self._options.file), remote, {}, ())

    async def _heed(self, undo: int) -> None:
        """Forget that both sides agreed on what came back on the other side, up to the undo with this number.

        If the pass that had taken it away did not come to its end, the base still has it, and it would go again.
        """
        heeded = await self._base.heeded()
        if undo == heeded:
            return
        since = heeded if heeded < undo else 0  # the records there are new ones
        known = undo and await self._base.load() is not None
        await self._base.heed(undo, await self._client.undone(since) if known else {})

    async def _listed(
        self, before: Sides | None, sides: Sides, progress: Progress, doubted: Container[str] = ()
    ) -> Sides:
        """List what differs and is not known from `before` or the base, and the `doubted` directories in any case.

        The base does not know what takes no part on the other side, so it is not asked while there is a problem there.
        """
        if sides.equal:
            return sides
        self._on_state(PassState.COMPARING, progress)
        base = await self._base.load() if not sides.remote.problems else None

        def known(path: str, digest: bytes) -> Sequence[Entry] | None:
            if path in doubted:
                return None
            listed = before.listing(path, digest) if before is not None else None
            return base.listing(path, digest) if listed is None and base is not None else listed

        check = ListingCheck()
        listings = await self._client.listings(sides.local, sides.remote, known, check)
        return msgspec.structs.replace(sides, listings=listings, problems=tuple(check.problems))

    async def _look(self, before: Sides, progress: Progress, outcome: Outcome) -> Sides:
        """Look at both sides again, here where this pass has changed something.

        A directory that was refused may hold what no digest tells of.
        """
        refused = {refusal.path for refusal in outcome.refusals if refusal.path}
        return await self._listed(before, await self._compare(self._share.look_again()), progress, refused)

    # Changing

    async def _change(self, sides: Sides, progress: Progress) -> PassSummary:
        base = await self._base.load()
        now = datetime.now().astimezone()
        plan = await self._planned(base, sides, now)
        if not self._options.dry_run:
            await self._base.hold(self._waiting(plan))  # before anything is done: the pass may not come to its end
        if self._options.dry_run or plan.empty:
            if not self._options.dry_run:
                await self._agree(sides, sides, plan)
            return _planned(plan, dry_run=self._options.dry_run)
        progress.expect(Direction.OUT, [(fetch.path, fetch.entry.size) for fetch in plan.remote.fetches])
        application, outcome = await self._carry_out(plan, sides, progress, now)
        before = sides
        sides = await self._look(sides, progress, outcome)
        if outcome.unnamed and not sides.equal:
            outcome = await self._try_again(base, sides, outcome, progress, now)
            sides = await self._look(sides, progress, outcome)
        _settle(progress, plan, outcome)
        await self._agree(before, sides, outcome.plan)
        left = (sides.local.digest, sides.remote.digest)
        # What could not be done leaves both sides as the pass before did: there is no use in trying again at once.
        self.unsettled, self._left = not sides.equal and left != self._left, left
        return _summary(outcome, application, sides)

    async def _planned(self, base: Index | None, sides: Sides, now: datetime) -> Plan:
        """Plan; what would go here is asked about before: what a rule hides on the other side is not gone there.

        A delete that is held, or one that a pass in both directions would do where this one only sends, is asked about
        in the first pass that has it before it: a later run may do it, when the rule has gone.
        """
        asked: set[tuple[str, bool]] = set()
        while True:
            plan, going, staying = await self._share.workers.run(self._plan_and_leaving, base, sides, now)
            new = (going | (staying - self._gone)) - asked
            found = await self._client.left_out(sorted(new)) if new else set()
            if not found:
                self._gone = staying
                return plan
            asked |= new
            self._left_out |= found

    def _plan_and_leaving(
        self, base: Index | None, sides: Sides, now: datetime
    ) -> tuple[Plan, set[tuple[str, bool]], set[tuple[str, bool]]]:
        """Plan, and return what the plan takes from its place here, and what another one would."""
        plan = self._plan(base, sides, now)
        going = _leaving(msgspec.structs.replace(plan.local, held=[]), sides)
        staying = Steps(held=plan.local.held)
        if self._options.mode is Mode.PUSH and base is not None:
            staying = self._reconciled(base, sides, now, mode=Mode.BOTH, allow_deletes=True).local
        return plan, going, _leaving(staying, sides) - going

    def _plan(self, base: Index | None, sides: Sides, now: datetime) -> Plan:
        mode = self._options.mode
        plan = self._reconciled(base, sides, now, mode=mode, allow_deletes=self._options.allow_deletes)
        held = {step.path for step in (*plan.local.held, *plan.remote.held)}
        if held and held <= self._allowed:
            return self._reconciled(base, sides, now, mode=mode, allow_deletes=True)
        return plan

    def _reconciled(self, base: Index | None, sides: Sides, now: datetime, *, mode: Mode, allow_deletes: bool) -> Plan:
        devices = {"local": self._here, "remote": self._there}
        moment = now.strftime("%Y%m%d-%H%M%S")
        self._ignored_there.review(sides.listings)
        plan = reconcile(
            base,
            sides.local,
            sides.listings,
            mode,
            copy_name=lambda path, side: conflict_name(path, moment, devices[side]),
            allow_deletes=allow_deletes,
            local_ignored=sides.scan.ignore.ignored,
            remote_ignored=self._leaves_out,
            writable=self._client.welcome.writable,
            local_folds=self._share.folder.folds_names,
            remote_folds=self._client.welcome.folds,
            remote_total=sides.remote.entries,
            held=self._base.held,
            beside=sides.scan.index.children,
        )
        if self._options.file:  # what else is in the directories that lead to the path is not in sight
            for steps in (plan.local, plan.remote):
                steps.deletes = [trash for trash in steps.deletes if inside(trash.path, self._options.file)]
                steps.held = [trash for trash in steps.held if inside(trash.path, self._options.file)]
        return plan

    def _leaves_out(self, path: str, directory: bool) -> bool:
        """Whether the other side is known not to show whether it has this."""
        return (path, directory) in self._left_out or self._ignored_there(path, directory)

    def _hidden(self, scan: Scan, path: str, directory: bool) -> bool:
        """Whether a side does not show whether it has this: its rules leave it out."""
        return scan.ignore.ignored(path, directory) or self._leaves_out(path, directory)

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
        means = Means(
            self._connection,
            share,
            sides.local,
            progress,
            self._there,
            options.streams,
            options.rate_mbps,
            self._client.features,
        )
        application = Application(means, now=now)
        local = sides.local
        if not plan.local.empty:
            self._on_state(PassState.TRANSFERRING, progress)
            async with share.changing:
                await application.carry_out(plan.local)
            if not plan.remote.empty:  # what the other side takes from here must be what is here now
                local = (await share.look_again()).index.only(options.file)
        return application, Outcome(plan, await self._change_there(plan, sides, local, progress))

    async def _change_there(self, plan: Plan, sides: Sides, local: Index, progress: Progress) -> list[Refusal]:
        """Have the other side changed, which takes content of `local`; return what it did not do."""
        if plan.remote.empty:
            return []
        self._on_state(PassState.SENDING, progress)
        offer = Offer(self._share, local)
        refusals = await self._client.change(plan.remote, lambda: offer, progress)
        self._ignored_there.learn(plan.remote, refusals, sides.listings)
        return refusals

    async def _try_again(
        self, base: Index | None, sides: Sides, before: Outcome, progress: Progress, now: datetime
    ) -> Outcome:
        """Have done on the other side what is due there since it is known which names it ignores.

        What was renamed to such a name has gone from its old one, and a conflict copy of such a name is here alone.
        Returns what came of both plans.
        """
        again = await self._share.workers.run(self._plan, base, sides, now)
        await self._base.hold(msgspec.structs.replace(self._base.held, remote=again.held.remote))
        return before.followed_by(again, await self._change_there(again, sides, sides.local, progress))

    # Agreeing

    async def _agree(self, before: Sides, sides: Sides, plan: Plan) -> None:
        """Remember where both sides are the same now, and what `plan` has brought from one of them, as it was `before`,
        to the other.
        """
        self.seen = sides.local.digest
        if sides.equal:
            await self._base.agree(sides.local)
        else:
            await self._base.advance(before.look, sides.look, plan, partial(self._hidden, sides.scan))


def _leaving(steps: Steps, sides: Sides) -> set[tuple[str, bool]]:
    """Return what the steps take from its place here: (path, whether it is a directory).

    Renames count where an ignore file of the other side is another one than here: with none there is no rule that could
    hide their sources.
    """
    gone = [(trash.path, trash.entry) for trash in (*steps.clearings, *steps.deletes, *steps.held)]
    moved = [(move.source, move.entry) for move in (*steps.asides, *steps.moves)]
    if (gone or moved) and any(_other_rules(sides, directory) for directory in sides.listings):
        gone += moved
        for path, entry in gone:  # grows by what is in directories that are renamed
            if entry.kind is Kind.DIRECTORY:
                below = sides.local.children(path)
                gone += [(join(path, child.name), child) for child in below if child.kind is not Kind.WITHHELD]
    return {(path, entry.kind is Kind.DIRECTORY) for path, entry in gone}


def _other_rules(sides: Sides, directory: str) -> bool:
    there = find(sides.listings[directory], IGNORE_FILE)
    here = sides.local.entry(join(directory, IGNORE_FILE))
    return there is not None and (here is None or not here.same(there) or there.kind is Kind.WITHHELD)


def _size(fetches: Sequence[Fetch]) -> int:
    return sum(fetch.entry.size for fetch in fetches)


def _settle(progress: Progress, plan: Plan, outcome: Outcome) -> None:
    """Count the files that went to the other side instead of those that `plan` meant to send: not what is ignored."""
    ignored = outcome.ignored
    meant, went = plan.remote.fetches, [fetch for fetch in outcome.plan.remote.fetches if fetch.path not in ignored]
    if meant or went:
        progress.correct(len(went) - len(meant), _size(went) - _size(meant))
        progress.settle(len(went), _size(went))
    for refusal in outcome.refusals:
        progress.finish_sending(refusal.path, refusal.reason)
    progress.close(next((refusal.reason for refusal in outcome.refusals if not refusal.path), ""))


def _planned(plan: Plan, *, dry_run: bool) -> PassSummary:
    """Say what a plan would do, or what it holds back when there is nothing to do."""
    here, there = plan.local, plan.remote
    return msgspec.structs.replace(
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


def _summary(outcome: Outcome, application: Application, sides: Sides) -> PassSummary:
    """Say what was done: here by the record of it, on the other side by what it did not refuse.

    What could not be done, but is so on both `sides` now, is no problem: a pass of the other device, or the other
    person, has done it (fault case 64).
    """
    there, ignored = outcome.done_there, outcome.ignored
    failed = [
        *((problem.path, problem.reason) for problem in application.problems),
        *((refusal.path, refusal.reason) for refusal in outcome.refusals if refusal.path not in ignored),
    ]
    remarks = _remarks(outcome.plan)
    return msgspec.structs.replace(
        remarks,
        directories=len(application.paths(ActionKind.MADE)),
        links=len(application.paths(ActionKind.LINKED)),
        touched=len(application.paths(ActionKind.TOUCHED)),
        trashed=application.paths(ActionKind.TRASHED),
        moved=tuple((action.source, action.path) for action in application.done if action.kind is ActionKind.MOVED),
        fetched=application.paths(ActionKind.CREATED, ActionKind.REPLACED),
        sent=tuple(there.brought),
        remote_trashed=tuple(there.discarded),
        remote_moved=tuple(there.renamed),
        remote_changes=len(there.directories) + len(there.touches),
        problems=(
            *remarks.problems,
            *((path, reason) for path, reason in failed if not sides.same(path)),
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
