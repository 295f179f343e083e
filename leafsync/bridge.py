"""Between the engine and the screens: the only module that imports both the engine and textual.

State goes out by `snapshot`, pulled by a timer of the app. Rare things go out as messages posted to the app, the only
call into it that is safe from any task. Commands come in as methods that raise LeafSyncError. What screens need of the
engine's vocabulary they import from here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec
from textual.message import Message

from leafsync.engine.core.address import (
    DEFAULT_PORT as DEFAULT_PORT,
    MAX_PORT as MAX_PORT,
    Address as Address,
    parse_address as parse_address,
)
from leafsync.engine.core.events import (
    DeviceTrusted as DeviceTrusted,
    Event as Event,
    PassFinished as PassFinished,
    PeerConnected as PeerConnected,
    PeerLeft as PeerLeft,
    PeerPending as PeerPending,
    PeerRefused as PeerRefused,
    Reconnecting as Reconnecting,
    ServeStarted as ServeStarted,
    TrustQuestion as TrustQuestion,
    Warned as Warned,
)
from leafsync.engine.core.history import (
    ActionKind as ActionKind,
    ActionRecord as ActionRecord,
    PassRecord as PassRecord,
)
from leafsync.engine.core.merkle import CHUNK_SIZE as CHUNK_SIZE, chunk_count as chunk_count
from leafsync.engine.core.names import path_problem as path_problem
from leafsync.engine.core.options import (
    DEFAULT_STREAMS as DEFAULT_STREAMS,
    MAX_STREAMS as MAX_STREAMS,
    ConnectOptions as ConnectOptions,
    ServeOptions as ServeOptions,
)
from leafsync.engine.core.reconcile import Mode as Mode
from leafsync.engine.core.status import (
    ConnectStatus as ConnectStatus,
    Direction as Direction,
    PassState as PassState,
    PassSummary as PassSummary,
    PeerStatus as PeerStatus,
    ServeStatus as ServeStatus,
    Snapshot as Snapshot,
    Totals as Totals,
    TransferState as TransferState,
    TransferStatus as TransferStatus,
)
from leafsync.engine.core.transfers import TransferChanges as TransferChanges, TransferLog
from leafsync.engine.net.identity import (
    Identity,
    format_groups as format_groups,
    parse_fingerprint as parse_fingerprint,
)
from leafsync.engine.net.trust import (
    Device as Device,
    Permission as Permission,
    TrustStore as TrustStore,
    check_device_name as check_device_name,
)
from leafsync.engine.sync.records import (
    ConflictCopy as ConflictCopy,
    Keep as Keep,
    Records as Records,
    Undone as Undone,
)
from leafsync.errors import LeafSyncError

logger = logging.getLogger("leafsync.bridge")

T = TypeVar("T")

BY_HAND = "pasted on the screen"
"""How a device was confirmed whose fingerprint somebody entered in the Trust screen."""

NO_CHANGES = TransferChanges(0, 0, ())
"""What a job that is gone has to tell of its transfers."""


class EngineEvent(Message):
    """Something rare happened in the engine."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class TrustAsked(Message):
    """The engine asks whether to trust a device. `answer` takes a yes; anything else, and its end, is a no."""

    def __init__(self, question: TrustQuestion, answer: "asyncio.Future[bool]") -> None:
        super().__init__()
        self.question = question
        self.answer = answer


class JobEnded(Message):
    """A job ended by itself."""

    def __init__(self, job: "EndedJob") -> None:
        super().__init__()
        self.job = job


class EndedJob(msgspec.Struct, frozen=True):
    """A job that ended by itself, shown until somebody has seen why."""

    id: int
    folder: str
    address: str
    """Where a `connect` went, "" of a `serve`."""
    error: LeafSyncError | None


class EngineJob(Protocol):
    """What the bridge needs of a job."""

    @property
    def id(self) -> int: ...

    @property
    def transfers(self) -> TransferLog: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def wait(self) -> PassSummary | None: ...


class EngineConnectJob(EngineJob, Protocol):
    """What the bridge needs of a job that connects."""

    def sync_now(self) -> None: ...

    def allow_deletes(self, paths: frozenset[str]) -> None: ...


class Engine(Protocol):
    """What the bridge needs of the engine."""

    @property
    def identity(self) -> Identity: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def load(self) -> None: ...

    async def serve(self, options: ServeOptions) -> EngineJob: ...

    async def connect(self, options: ConnectOptions) -> EngineConnectJob: ...

    async def stop(self, job_id: int) -> None: ...

    def give_way(self, *, waiting: bool) -> None: ...

    def snapshot(self) -> Snapshot: ...

    async def with_trust(self, call: Callable[[TrustStore], T]) -> T: ...

    async def with_records(self, folder: str, call: Callable[[Records], T]) -> T: ...


Ask = Callable[[TrustQuestion], Awaitable[bool]]
MakeEngine = Callable[[Callable[[Event], None], Ask], Engine]
"""Makes the engine from whom to tell events and whom to ask about devices."""


class Bridge:
    """The engine as the screens see it. An asynchronous context manager that the app runs inside of."""

    def __init__(self, make_engine: MakeEngine, *, device_name: str, now: Callable[[], datetime] | None = None) -> None:
        """Prepare; `post` is set by the app that wants to hear of events before it has any job begin."""
        self.device_name = device_name
        self.post: Callable[[Message], object] = lambda _message: None
        self.ended: dict[int, EndedJob] = {}
        """Jobs that ended by themselves and were not dismissed."""
        self.summaries: dict[int, PassSummary] = {}
        """What the last pass of each job did."""
        self.in_sync_since: dict[int, datetime] = {}
        """Since when the folders of a job are the same."""
        self.conflict_copies: dict[int, set[str]] = {}
        """Copies in the folder of each job that a conflict left and that nobody has decided about, as far as known."""
        self.previewing: set[int] = set()
        """Jobs that only find out what a pass would do."""
        self.now = now or (lambda: datetime.now(UTC))
        """The time of day."""
        self._engine = make_engine(self._heard, self._ask)
        self._jobs: dict[int, EngineJob] = {}
        self._logs: dict[int, TransferLog] = {}
        """The transfers of each job, until it is dismissed."""
        self._connecting: dict[int, EngineConnectJob] = {}
        """Those of the jobs that connect."""
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._looking: set[asyncio.Task[None]] = set()
        """Those who look which conflict copies are still there."""

    async def __aenter__(self) -> Self:
        await self._engine.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._waiting.values(), *self._looking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.__aexit__(kind, error, trace)

    @property
    def fingerprint(self) -> str:
        """This device's fingerprint."""
        return self._engine.identity.fingerprint

    # Jobs

    async def load(self) -> None:
        """Load what the first job needs, off the loop: to be called once there is something to see."""
        await self._engine.load()

    def give_way(self, *, waiting: bool) -> None:
        """Have the engine take short turns of the loop while a person is `waiting` for an answer on the screen."""
        self._engine.give_way(waiting=waiting)

    def snapshot(self) -> Snapshot:
        """Return what all jobs do now."""
        return self._engine.snapshot()

    async def serve(self, options: ServeOptions) -> int:
        """Begin to serve a folder and return the job's id. Raises as `Engine.serve`."""
        return self._began(await self._engine.serve(options), options.folder, "")

    async def connect(self, options: ConnectOptions) -> int:
        """Begin to keep a folder like another device's and return the job's id. Raises as `Engine.connect`."""
        job = await self._engine.connect(options)
        self._connecting[job.id] = job
        return self._began(job, options.folder, str(options.address))

    async def preview(self, options: ConnectOptions) -> PassSummary:
        """Return what a pass with these options (which say `dry_run`) would do. Raises what the job raises."""
        job = await self._engine.connect(options)
        self.previewing.add(job.id)
        try:
            summary = await job.wait()
        finally:
            await self._engine.stop(job.id)
            self.previewing.discard(job.id)
        return summary or PassSummary(Totals(), 0.0, planned=True)

    def _began(self, job: EngineJob, folder: str, address: str) -> int:
        self._jobs[job.id] = job
        self._logs[job.id] = job.transfers
        task = asyncio.create_task(self._wait(job, folder, address), name=f"leafsync wait for job {job.id}")
        self._waiting[job.id] = task
        return job.id

    async def _wait(self, job: EngineJob, folder: str, address: str) -> None:
        """Notice that a job ends by itself."""
        error: LeafSyncError | None = None
        try:
            await job.wait()
        except LeafSyncError as failure:
            error = failure
        except Exception as failure:  # a bug of ours: the job's card says so, and the others go on
            logger.exception("a job ended with an error that nobody expected")
            error = LeafSyncError(reason=f"{type(failure).__name__}: {failure}")
        ended = EndedJob(job.id, folder, address, error)
        self.ended[job.id] = ended
        self._forget(job.id)
        await self._engine.stop(job.id)
        self.post(JobEnded(ended))

    def _forget(self, job_id: int) -> None:
        self._jobs.pop(job_id, None)
        self._connecting.pop(job_id, None)
        self._waiting.pop(job_id, None)
        self.in_sync_since.pop(job_id, None)

    async def stop(self, job_id: int) -> None:
        """End a job cleanly; one that has ended is dismissed."""
        self.ended.pop(job_id, None)
        self.summaries.pop(job_id, None)
        self.conflict_copies.pop(job_id, None)
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        self._logs.pop(job_id, None)
        self._forget(job_id)
        await self._engine.stop(job_id)

    def pause(self, job_id: int) -> None:
        """Have a job close its connections and wait."""
        if (job := self._jobs.get(job_id)) is not None:
            self.in_sync_since.pop(job_id, None)
            job.pause()

    def resume(self, job_id: int) -> None:
        """Have a paused job go on."""
        if (job := self._jobs.get(job_id)) is not None:
            job.resume()

    def sync_now(self, job_id: int) -> None:
        """Have a job that connects do a pass, or try to connect, without waiting."""
        if (job := self._connecting.get(job_id)) is not None:
            job.sync_now()

    def allow_deletes(self, job_id: int) -> None:
        """Let the deletes happen that the last pass of a job held back, and no others."""
        job, summary = self._connecting.get(job_id), self.summaries.get(job_id)
        if job is not None and summary is not None:
            job.allow_deletes(frozenset(summary.held + summary.remote_held))

    def transfers(self, job_id: int, version: int, epoch: int) -> TransferChanges:
        """Return a job's transfers that have changed since a reader looked last; see `TransferLog.since`."""
        log = self._logs.get(job_id)
        return log.since(version, epoch) if log is not None else NO_CHANGES

    # Trust

    async def devices(self) -> tuple[Device, ...]:
        """Return the trusted devices, by name, as the file has them now. Raises TrustMalformed."""

        def read(trust: TrustStore) -> tuple[Device, ...]:
            trust.refresh()
            return trust.devices

        return await self._engine.with_trust(read)

    async def add_device(
        self, fingerprint: str, *, name: str = "", address: str = "", permission: Permission = Permission.READ_WRITE
    ) -> Device:
        """Trust a device. Raises FingerprintMalformed, DeviceExists, UsageError, TrustMalformed or TrustUnwritable."""
        return await self._engine.with_trust(
            lambda trust: trust.add(
                fingerprint, name=name or None, address=address or None, permission=permission, confirmed=BY_HAND
            )
        )

    async def change_device(
        self, fingerprint: str, *, name: str | None = None, permission: Permission | None = None
    ) -> Device:
        """Rename a device, or change what it may do. Raises as `TrustStore.change`."""
        return await self._engine.with_trust(lambda trust: trust.change(fingerprint, name=name, permission=permission))

    async def remove_device(self, fingerprint: str) -> Device:
        """Stop trusting a device; its connections end within a second.

        Raises DeviceUnknown, TrustMalformed or TrustUnwritable.
        """
        return await self._engine.with_trust(lambda trust: trust.remove(fingerprint))

    async def replace_key(self, fingerprint: str, new: str) -> Device:
        """Give a device its new key. Raises as `TrustStore.replace`."""
        return await self._engine.with_trust(lambda trust: trust.replace(fingerprint, new, confirmed=BY_HAND))

    # History and conflicts

    async def history(self, folder: str, limit: int = 50) -> list[PassRecord]:
        """Return the last passes that changed something in a folder, newest first. Raises as `Records.open`."""
        return await self._engine.with_records(folder, lambda records: records.passes(limit))

    async def undo(self, folder: str, pass_id: str) -> Undone:
        """Take back what a pass did to a folder. Raises as `Records.undo`."""
        return await self._engine.with_records(folder, lambda records: records.undo(pass_id))

    async def restore(self, folder: str, pass_id: str, path: str) -> Undone:
        """Bring back what a pass did away with at a path. Raises as `Records.restore`."""
        return await self._engine.with_records(folder, lambda records: records.restore(pass_id, path))

    async def conflicts(self, folder: str) -> list[ConflictCopy]:
        """Return the conflict copies in a folder. Raises as `Records.open`."""
        found = await self._engine.with_records(folder, lambda records: records.conflicts())
        for job_id in self._jobs_in(folder):
            self.conflict_copies[job_id] = {conflict.copy for conflict in found}
        return found

    async def resolve(self, folder: str, copy: str, keep: Keep) -> Undone:
        """Decide what becomes of a conflict copy. Raises as `Records.resolve`."""
        undone = await self._engine.with_records(folder, lambda records: records.resolve(copy, keep))
        if not undone.partial:
            for job_id in self._jobs_in(folder):
                self.conflict_copies.get(job_id, set()).discard(copy)
        return undone

    def _jobs_in(self, folder: str) -> list[int]:
        return [job.id for job in self.snapshot().connecting if job.folder == folder]

    # What the engine says

    def _heard(self, event: Event) -> None:
        if isinstance(event, PassFinished):
            self._finished(event.job, event.summary)
        elif isinstance(event, Reconnecting):
            self.in_sync_since.pop(event.job, None)
        self.post(EngineEvent(event))

    def _finished(self, job_id: int, summary: PassSummary) -> None:
        if summary.planned:
            return
        self.summaries[job_id] = summary
        copies = self.conflict_copies.setdefault(job_id, set())
        copies.update(copy for _path, copy in summary.conflicts)
        if copies:
            name = f"leafsync conflicts of job {job_id}"
            looking = asyncio.create_task(self._forget_decided(job_id, copies), name=name)
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        if summary.partial:
            self.in_sync_since.pop(job_id, None)
        elif summary.changed or job_id not in self.in_sync_since:
            self.in_sync_since[job_id] = self.now()

    async def _forget_decided(self, job_id: int, copies: set[str]) -> None:
        """Forget the conflict copies that are gone: decided by a command, or on the other device."""
        known = frozenset(copies)
        for job in self.snapshot().connecting:
            if job.id == job_id:
                with contextlib.suppress(LeafSyncError):  # a folder that cannot be looked at says nothing of them
                    copies -= known - await self._engine.with_records(job.folder, lambda it: it.still_there(known))

    async def _ask(self, question: TrustQuestion) -> bool:
        """Put a question to the app; a cancelled or unanswered one is a no."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.post(TrustAsked(question, answer))
        try:
            # Not the answer itself: one that is cancelled must not cancel whoever asks.
            await asyncio.wait({answer})
            return not answer.cancelled() and answer.result()
        finally:
            answer.cancel()
