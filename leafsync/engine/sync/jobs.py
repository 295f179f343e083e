"""Jobs: a folder being served, a folder being kept like another one. They own connections and outlive them."""

import asyncio
import contextlib
import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass

from leafsync.engine.core.backoff import backoff
from leafsync.engine.core.events import (
    DeviceTrusted,
    Event,
    PassFinished,
    PeerConnected,
    PeerLeft,
    PeerRefused,
    Reconnecting,
    ServeStarted,
    Warned,
)
from leafsync.engine.core.messages import PROTOCOL_VERSION, CloseCode
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.ratelimit import bytes_per_second
from leafsync.engine.core.status import (
    ConnectStatus,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    Totals,
)
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import Endpoint, connect, listen
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.trust import Permission, TrustStore
from leafsync.engine.sync.channel import close_after
from leafsync.engine.sync.connect import Client
from leafsync.engine.sync.passes import Passes
from leafsync.engine.sync.policy import ConnectPolicy, Pin, ServePolicy
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.serve import Session, Terms, ended_well
from leafsync.engine.sync.share import Share
from leafsync.errors import (
    DiskFailed,
    FolderIdentityLost,
    LeafSyncError,
    PeerClosed,
    RefusedByPeer,
    SentMismatch,
    Unreachable,
    VersionMismatch,
)

logger = logging.getLogger("leafsync.jobs")

PASS_INTERVAL = 30.0
"""Most seconds between two passes of a running connection: finds what watchers and hints missed, for a round trip."""

LONGEST_REST = 1.0
"""Seconds: after a pass a connection rests for as long as it took, at most so long, or a folder that changes all the
time would keep both devices busy all the time."""

FIRST_RETRY = 1.0
"""Seconds before the first attempt to connect again; each further one waits twice as long."""

LAST_RETRY = 60.0
"""Most seconds between two attempts to connect again (fault case 63)."""

TRUST_INTERVAL = 1.0
"""Seconds until a device that is not trusted any more is disconnected (fault case 68)."""

RATE_WINDOW = 0.25
"""Seconds of the rate that may be under way at once with --rate-mbps, so that the limit holds from the first second."""

SMALLEST_WINDOW = 64 << 10
"""Bytes: below it a window would hold the transport up at any rate."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine lends to a job."""

    id: int
    share: Share
    identity: Identity
    trust: TrustStore
    device_name: str
    on_event: Callable[[Event], None]
    release: Callable[[Share], Awaitable[None]]


class Job(ABC):
    """Something the engine does until it ends by itself or is stopped."""

    def __init__(self, context: Context) -> None:
        """Make a job of `context`; it begins with `start`."""
        self.id = context.id
        self.version = 0
        self._context = context
        self._task: asyncio.Task[PassSummary | None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run_and_release(), name=f"leafsync job {self.id}")

    async def wait(self) -> PassSummary | None:
        """Wait until the job ends by itself; return the last pass's summary or raise the job's LeafSyncError."""
        if self._task is None:
            return None
        return await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End the job cleanly: connections are closed with a code, what can be resumed is kept."""
        if self._task is not None:
            self._stopping = True
            await asyncio.sleep(0)  # a task that is cancelled before its first step never cleans up
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run_and_release(self) -> PassSummary | None:
        try:
            return await self._run()
        finally:
            await self._context.release(self._context.share)

    @abstractmethod
    async def _run(self) -> PassSummary | None:
        """Do the work; cancelled to stop."""

    def _watch_folder(self) -> None:
        """Watch the folder, and tell what the user should know of it."""
        share = self._context.share
        share.warn = lambda sentence: self._tell(Warned(self.id, sentence))
        if share.lost is not None:
            share.warn(share.lost)
        share.watch()

    def _tell(self, event: Event) -> None:
        self.version += 1
        self._context.on_event(event)

    async def _keep_pin(self, pin: Pin | None, fingerprint: str, *, address: str, hint: str | None) -> None:
        """Write down who was just accepted, before anything is exchanged with it."""
        context = self._context
        run = context.share.workers.run
        if pin is None:
            await run(context.trust.touch, fingerprint, hint)
            return
        device = await run(context.trust.add, fingerprint, address=hint, confirmed=pin.confirmed)
        self._tell(DeviceTrusted(self.id, fingerprint, device.name, address, pin.confirmed))


class ServeJob(Job):
    """A folder being served."""

    def __init__(self, context: Context, options: ServeOptions) -> None:
        """Serve as `options` say."""
        super().__init__(context)
        self._options = options
        self._policy = ServePolicy(context.trust, fingerprint=options.fingerprint, accept_first=options.accept_first)
        self._endpoint: Endpoint
        self._sessions: dict[Connection, tuple[Session, asyncio.Task[None]]] = {}

    async def start(self) -> None:
        """Listen, then serve in the background. Raises PortInUse or AddressUnusable."""
        context, options = self._context, self._options
        self._endpoint = await listen(
            context.identity,
            host=options.host,
            port=options.port,
            authorize=self._policy.authorize,
            on_connection=self._accept,
            on_refused=self._refused,
            limits=limits_for(options.rate_mbps),
        )
        await super().start()
        self._tell(
            ServeStarted(
                self.id,
                context.share.folder.path,
                self._endpoint.port,
                tuple(self._endpoint.addresses()),
                context.identity.fingerprint,
            )
        )
        self._watch_folder()

    def status(self) -> ServeStatus:
        """Return what this job does now."""
        latest = self._context.share.latest
        return ServeStatus(
            id=self.id,
            folder=self._context.share.folder.path,
            port=self._endpoint.port,
            addresses=tuple(self._endpoint.addresses()),
            read_only=self._options.read_only,
            peers=tuple(
                _peer_status(connection, self._name_of(connection, session), session.activity)
                for connection, (session, _task) in self._sessions.items()
            ),
            files=latest.index.files if latest else 0,
            bytes=latest.index.bytes if latest else 0,
            problems=len(latest.index.problems) if latest else 0,
        )

    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(TRUST_INTERVAL)
                await self._drop_untrusted()
        finally:
            await self._endpoint.close(CloseCode.STOPPING, "it is shutting down")
            tasks = [task for _session, task in self._sessions.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _drop_untrusted(self) -> None:
        """Disconnect devices that were taken out of the trust store; all of them when it cannot be read any more."""
        trust = self._context.trust
        try:
            await self._context.share.workers.run(trust.refresh)
        except LeafSyncError as error:
            self._tell(Warned(self.id, str(error)))
        for connection in list(self._sessions):
            fingerprint = connection.peer_fingerprint
            if trust.get(fingerprint) is None and self._policy.pin(fingerprint) is None:
                connection.close(CloseCode.UNTRUSTED, "this device is not trusted any more")

    def _refused(self, address: str, error: LeafSyncError) -> None:
        self._tell(PeerRefused(self.id, str(error.fields.get("fingerprint", "")), address, str(error)))

    def _accept(self, connection: Connection) -> None:
        options = self._options
        device = self._context.trust.get(connection.peer_fingerprint)
        reads_only = device is not None and device.permission is Permission.READ
        terms = Terms(
            self._context.device_name,
            only=options.file,
            rate_mbps=options.rate_mbps,
            writable=not options.read_only and not reads_only,
        )
        session = Session(connection, self._context.share, terms)
        task = asyncio.create_task(self._serve(connection, session), name=f"leafsync session {connection.address}")
        self._sessions[connection] = (session, task)

    async def _serve(self, connection: Connection, session: Session) -> None:
        fingerprint, address = connection.peer_fingerprint, connection.address
        reason = ""
        try:
            await self._keep_pin(self._policy.pin(fingerprint), fingerprint, address=address, hint=None)
            self._policy.written(fingerprint)
            await session.run(
                on_hello=lambda: self._tell(
                    PeerConnected(self.id, fingerprint, self._name_of(connection, session), address)
                )
            )
        except LeafSyncError as error:
            close_after(connection, error)
            reason = "" if ended_well(error) else str(error)
        except Exception:
            logger.exception("a session ended by a bug")
            connection.close(CloseCode.INTERNAL)
            reason = "this device made a mistake; its log says more"
        finally:
            connection.close(CloseCode.DONE)
            del self._sessions[connection]
        self._tell(PeerLeft(self.id, fingerprint, address, reason))

    def _name_of(self, connection: Connection, session: Session) -> str:
        device = self._context.trust.get(connection.peer_fingerprint)
        return device.name if device else session.peer_name


class ConnectJob(Job):
    """A folder being kept like another device's."""

    def __init__(self, context: Context, options: ConnectOptions) -> None:
        """Connect as `options` say."""
        super().__init__(context)
        self._options = options
        self._policy = ConnectPolicy(
            context.trust, options.address, fingerprint=options.fingerprint, accept_first=options.accept_first
        )
        self._state = PassState.CONNECTING
        self._reason = ""
        self._retry_at = 0.0
        self._connection: Connection | None = None
        self._peer_name = ""
        self._progress: Progress | None = None
        self._passed = False

    def status(self) -> ConnectStatus:
        """Return what this job does now."""
        connection, progress = self._connection, self._progress
        waiting = self._state is PassState.RECONNECTING
        return ConnectStatus(
            id=self.id,
            folder=self._context.share.folder.path,
            address=str(self._options.address),
            state=self._state,
            reason=self._reason,
            peer=_peer_status(connection, self._peer_name, self._state.value) if connection else None,
            totals=progress.totals if progress else Totals(),
            transfers=progress.transfers if progress else (),
            retry_in=max(0.0, self._retry_at - time.monotonic()) if waiting else 0.0,
        )

    async def _run(self) -> PassSummary | None:
        delays = self._backoff()
        while True:
            try:
                return await self._connected_or_told()
            except (Unreachable, DiskFailed) as error:
                if self._options.once or self._stopping:
                    raise  # an error that came of being stopped must not begin anew
                if self._passed:
                    delays, self._passed = self._backoff(), False
                delay = next(delays)
                self._reason, self._retry_at = str(error), time.monotonic() + delay
                self._enter(PassState.RECONNECTING, None)
                self._tell(Reconnecting(self.id, delay, str(error)))
            finally:
                self._connection = None
            await asyncio.sleep(delay)
            self._reason = ""
            self._enter(PassState.CONNECTING, None)

    async def start(self) -> None:
        """Begin; raises FolderIdentityLost when the folder here is not the one it was."""
        if self._context.share.lost is not None:
            raise FolderIdentityLost(path=self._context.share.folder.path)
        if not (self._options.once or self._options.dry_run):
            self._watch_folder()
        await super().start()

    def _backoff(self) -> Iterator[float]:
        return backoff(FIRST_RETRY, LAST_RETRY, secrets.SystemRandom().random)

    def _enter(self, state: PassState, progress: Progress | None) -> None:
        self._state = state
        self._progress = progress or self._progress
        self.version += 1

    async def _connected_or_told(self) -> PassSummary:
        """As `_connected`, but what the other side said with its close is raised as what it means."""
        try:
            return await self._connected()
        except PeerClosed as closed:
            match closed.fields.get("code"):
                case CloseCode.UNTRUSTED:
                    own = self._context.identity.fingerprint
                    raise RefusedByPeer(address=str(self._options.address), fingerprint=own) from closed
                case CloseCode.VERSION:
                    ours = f"version {PROTOCOL_VERSION}"
                    theirs = closed.fields["reason"]
                    raise VersionMismatch(peer=str(self._options.address), theirs=theirs, ours=ours) from closed
                case CloseCode.INTEGRITY:
                    raise SentMismatch(peer=str(self._options.address)) from closed
            raise

    async def _connected(self) -> PassSummary:
        """Connect and do passes until the connection ends, or one pass with `once`."""
        context, options, policy = self._context, self._options, self._policy
        connection = await connect(
            context.identity,
            options.address.host,
            options.address.port,
            authorize=policy.authorize,
            limits=limits_for(options.rate_mbps),
        )
        self._connection = connection
        fingerprint, hint = connection.peer_fingerprint, str(options.address)
        edited = asyncio.Event()
        context.share.listeners.add(edited.set)
        try:
            await self._keep_pin(policy.pin(fingerprint), fingerprint, address=hint, hint=hint)
            policy.written()
            client = Client(connection, device_name=context.device_name, rate_mbps=options.rate_mbps)
            await client.greet()
            device = context.trust.get(fingerprint)
            self._peer_name = device.name if device else client.welcome.name
            self._tell(PeerConnected(self.id, fingerprint, self._peer_name, hint))
            names = (context.device_name, self._peer_name)
            passes = Passes(connection, client, context.share, options, names=names, on_state=self._enter)
            while True:
                summary = await passes.run()
                self._passed = True
                self._tell(PassFinished(self.id, summary))
                if options.once or options.dry_run:
                    return summary
                await asyncio.sleep(min(summary.seconds, LONGEST_REST))
                await self._until_needed(client, passes, edited)
                policy.authorize(fingerprint)  # it may have been taken out of the trust store meanwhile
        except LeafSyncError as error:
            close_after(connection, error)
            raise
        finally:
            context.share.listeners.discard(edited.set)
            connection.close(CloseCode.DONE)

    async def _until_needed(self, client: Client, passes: Passes, edited: asyncio.Event) -> None:
        """Wait until a pass would find something: an edit here, a hint from there, or the interval is over.

        Events of what a pass itself wrote lead to a look here, not to a pass: the state decides, not the event.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PASS_INTERVAL):
                while not (client.hinted or passes.unsettled):
                    await _first_of(edited.wait(), client.wait_for_hint())
                    if edited.is_set():
                        edited.clear()
                        scan = await self._context.share.scan(fresh=False)
                        if scan.index.only(self._options.file).digest != passes.seen:
                            return


async def _first_of(*waits: Coroutine[None, None, object]) -> None:
    """Wait until one of them ends; raise what it raises, end the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _peer_status(connection: Connection, name: str, activity: str) -> PeerStatus:
    return PeerStatus(
        fingerprint=connection.peer_fingerprint,
        name=name,
        address=connection.address,
        activity=activity,
        wire_in=connection.bytes_received,
        wire_out=connection.bytes_sent,
    )


def limits_for(rate_mbps: float | None) -> Limits:
    """Return the windows for a connection that is limited to `rate_mbps` megabits per second."""
    if rate_mbps is None:
        return Limits()
    plain = Limits()
    window = max(SMALLEST_WINDOW, int(bytes_per_second(rate_mbps) * RATE_WINDOW))
    return Limits(
        stream_window=min(plain.stream_window, window),
        connection_window=min(plain.connection_window, 2 * window),
        stream_high_water=min(plain.stream_high_water, window),
        send_high_water=min(plain.send_high_water, window),
    )
