"""The engine: this device's identity, its trust store, and the jobs that serve and connect folders.

One asyncio loop runs all of it. State goes out by `snapshot`, rare events through `on_event`, commands come in as
methods that raise typed errors.
"""

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from leafsync.engine.core.events import Event
from leafsync.engine.core.names import is_own
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.status import Snapshot
from leafsync.engine.core.transfers import TransferLog
from leafsync.engine.net.identity import Identity, load_or_create_identity
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.net.turns import TURNS
from leafsync.engine.sync.records import Records
from leafsync.engine.sync.share import Share, Workers
from leafsync.errors import FolderOwn

if TYPE_CHECKING:
    from leafsync.engine.sync.connecting import ConnectJob
    from leafsync.engine.sync.jobs import Ask, Context, Job
    from leafsync.engine.sync.serving import ServeJob

T = TypeVar("T")
J = TypeVar("J", bound="Job")


class EngineConfig(msgspec.Struct, frozen=True):
    """Where the engine keeps what it must remember."""

    identity_path: Path
    """This device's private key."""
    trust_path: Path
    state_dir: Path
    """Records of folders are kept below `folders/` of it."""
    device_name: str
    """What this device calls itself to others."""
    keep_transfers: int = 0
    """Transfers of each job that are kept beside those under way: waiting, done and failed ones, for a list."""


def ignore_event(_event: Event) -> None:
    """Take no notice."""


class Engine:
    """Use as an asynchronous context manager; leaving it ends every job cleanly."""

    identity: Identity
    """This device's key pair, once entered."""

    trust: TrustStore
    """The trusted devices, once entered."""

    def __init__(
        self, config: EngineConfig, *, on_event: Callable[[Event], None] = ignore_event, ask: "Ask | None" = None
    ) -> None:
        """Prepare an engine; `on_event` is called on the loop and must not block. `ask` has a person decide about
        devices that nobody has confirmed yet; without it they are refused.
        """
        self._config = config
        self._ask = ask
        self._on_event = on_event
        self._workers = Workers()
        self._shares: dict[str, tuple[Share, int]] = {}
        self._opening = asyncio.Lock()
        self._serving: dict[int, ServeJob] = {}
        self._connecting: dict[int, ConnectJob] = {}
        self._last_id = self._last_change = 0

    async def __aenter__(self) -> Self:
        """Load the identity (made at first use) and the trust store.

        Raises IdentityUnusable or TrustMalformed; nothing is listened to then.
        """
        self.trust = TrustStore(self._config.trust_path)
        try:
            self.identity = await self._workers.run(load_or_create_identity, self._config.identity_path)
            await self._workers.run(self.trust.load)
        except BaseException:
            self._workers.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every job and release folders, ports and threads."""
        for job_id in [*self._serving, *self._connecting]:
            await self.stop(job_id)
        for share, _users in list(self._shares.values()):
            await share.close()
        self._shares.clear()
        await asyncio.get_running_loop().run_in_executor(None, self._workers.close)

    async def load(self) -> None:
        """Load the code of jobs, off the loop. The first job of a kind does so too: the transport takes longer to load
        than all else, and whoever shows a screen first wants that without it.
        """
        await self._load("serving")
        await self._load("connecting")

    async def _load(self, job: str) -> None:
        await self._workers.run(import_module, f"leafsync.engine.sync.{job}")

    async def serve(self, options: ServeOptions) -> "ServeJob":
        """Serve a folder; returns once it is listened for.

        Raises UsageError, FolderInUse or PortInUse.
        """
        await self._load("serving")
        from leafsync.engine.sync.serving import ServeJob

        share = await self._take(options)
        return await self._begin(ServeJob(self._context(share), options), share, self._serving)

    async def connect(self, options: ConnectOptions) -> "ConnectJob":
        """Begin to keep a folder like another device's; returns once the folder is open.

        Raises UsageError or FolderInUse. What comes later is raised by the job's `wait`.
        """
        await self._load("connecting")
        from leafsync.engine.sync.connecting import ConnectJob

        share = await self._take(options)
        return await self._begin(ConnectJob(self._context(share), options), share, self._connecting)

    async def stop(self, job_id: int) -> None:
        """End a job cleanly and forget it; one that is not there any more is none the worse."""
        job = self._serving.get(job_id) or self._connecting.get(job_id)
        if job is not None:
            await job.stop()
            self._serving.pop(job_id, None)
            self._connecting.pop(job_id, None)
            self._last_change += job.version + 1

    async def with_trust(self, call: Callable[[TrustStore], T]) -> T:
        """Run `call` on the trust store off the loop; raises what it raises. Jobs heed a change within a second."""
        return await self._workers.run(call, self.trust)

    async def with_records(self, folder: str, call: Callable[[Records], T]) -> T:
        """Run `call` on the history and conflict copies of a folder off the loop; raises what it raises, and as
        `Records.open`.
        """
        return await self._workers.run(self._with_records, folder, call)

    def _with_records(self, folder: str, call: Callable[[Records], T]) -> T:
        with Records.open(folder, self._config.state_dir, force=True) as records:
            return call(records)

    def give_way(self, *, waiting: bool) -> None:
        """Take short turns of the loop while a person is `waiting` for an answer on the screen."""
        if waiting:
            TURNS.give_way()
        else:
            TURNS.go_on()

    def snapshot(self) -> Snapshot:
        """Return what all jobs do now."""
        versions = sum(job.version for job in (*self._serving.values(), *self._connecting.values()))
        return Snapshot(
            version=versions + self._last_change,
            serving=tuple(job.status() for job in self._serving.values()),
            connecting=tuple(job.status() for job in self._connecting.values()),
        )

    def _context(self, share: Share) -> "Context":
        from leafsync.engine.sync.jobs import Context

        self._last_id += 1
        self._last_change += 1
        return Context(
            id=self._last_id,
            share=share,
            identity=self.identity,
            trust=self.trust,
            device_name=self._config.device_name,
            on_event=self._on_event,
            release=self._give_back,
            transfers=TransferLog(self._config.keep_transfers),
            ask=self._ask,
        )

    async def _begin(self, job: J, share: Share, jobs: dict[int, J]) -> J:
        """Start a job; one that cannot gives its folder back."""
        try:
            await job.start()
        except BaseException:
            await self._give_back(share)
            raise
        jobs[job.id] = job
        return job

    async def _take(self, options: ServeOptions | ConnectOptions) -> Share:
        """Open the folder of `options`, or share it with the job that has it open already."""
        async with self._opening:
            path = options.folder
            real = await self._workers.run(_real_path, path)
            private = await self._workers.run(self._private, Path(real), options.file)
            share, users = self._shares.get(real, (None, 0))
            if share is None:
                records = self._config.state_dir / "folders"
                share = await Share.open(
                    path, records, self._workers, private=private, force=options.force, reset=options.reset
                )
            self._shares[share.folder.path] = (share, users + 1)
            return share

    def _private(self, folder: Path, file: str) -> list[str]:
        """Return the directories in the folder where our private key is, whom this device trusts, and the records: no
        other device may have or change these.

        Raises FolderOwn when they are what is asked for, or it is inside of our records.
        """
        offered, config = folder / file, self._config
        key, trust, state = (
            Path(_real_path(str(path))) for path in (config.identity_path, config.trust_path, config.state_dir)
        )
        for own in (key, trust, key.parent, trust.parent, state):
            if _is_same(own, offered):
                raise _own(offered, own)
        for place in (offered, *offered.parents):
            if is_own(place.name) or _is_same(place, state):
                raise _own(offered, place)
        places = {key.parent, trust.parent, state}
        return [str(place.relative_to(folder)) for place in places if folder in place.parents]

    async def _give_back(self, share: Share) -> None:
        async with self._opening:
            _share, users = self._shares.pop(share.folder.path, (share, 0))
            if users > 1:
                self._shares[share.folder.path] = (share, users - 1)
            elif users == 1:
                await share.close()


def _own(offered: Path, own: Path) -> FolderOwn:
    return FolderOwn(path=offered, own="it" if own == offered else own)


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one place, however the filesystem lets it be spelled."""
    try:
        return one == other or one.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or cannot be
        return False


def _real_path(path: str) -> str:
    try:
        return str(Path(path).resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: nobody has it open, and opening it says why
        return path
