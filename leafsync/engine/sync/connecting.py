"""The job behind `connect`: a folder kept like another device's, over one connection after the other."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator

import msgspec

from leafsync.engine.core.backoff import backoff
from leafsync.engine.core.events import PassFinished, PeerConnected, Reconnecting
from leafsync.engine.core.messages import PROTOCOL_VERSION, CloseCode
from leafsync.engine.core.options import ConnectOptions
from leafsync.engine.core.status import MAX_MOVING, ConnectStatus, Direction, PassState, PassSummary, Totals
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import connect
from leafsync.engine.sync.channel import close_after
from leafsync.engine.sync.connect import Client
from leafsync.engine.sync.jobs import TRUST_INTERVAL, Context, Job, first_of, limits_for, peer_status
from leafsync.engine.sync.passes import Passes
from leafsync.engine.sync.policy import ConnectPolicy
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import (
    DiskFailed,
    FolderIdentityLost,
    LeafSyncError,
    PeerClosed,
    PeerUnknown,
    RefusedByPeer,
    SentMismatch,
    TrustWithdrawn,
    Unreachable,
    VersionMismatch,
)

PASS_INTERVAL = 30.0
"""Most seconds between two passes of a running connection: finds what watchers and hints missed, for a round trip."""

LONGEST_REST = 1.0
"""Seconds: after a pass a connection rests for as long as it took, at most so long, or a folder that changes all the
time would keep both devices busy all the time."""

FIRST_RETRY = 1.0
"""Seconds before the first attempt to connect again; each further one waits twice as long."""

LAST_RETRY = 60.0
"""Most seconds between two attempts to connect again (fault case 63)."""

ACCEPT_RETRY = 2.0
"""Seconds between two attempts while a person at the other device is being asked about this one."""

ACCEPT_DEADLINE = 300.0
"""Seconds that such a person is waited for."""


class ConnectJob(Job):
    """A folder being kept like another device's."""

    def __init__(self, context: Context, options: ConnectOptions) -> None:
        """Connect as `options` say."""
        super().__init__(context)
        self._options = options
        self._policy = ConnectPolicy(
            context.trust, options.address, fingerprint=options.fingerprint, accept_first=options.accept_first
        )
        self._only = options.file
        """The path that passes are about, "" for all of the folder: no more than the other side offers."""
        self._state = PassState.CONNECTING
        self._reason = ""
        self._retry_at = 0.0
        self._connection: Connection | None = None
        self._peer_name = ""
        self._progress: Progress | None = None
        self._passed = False
        self._wanted = asyncio.Event()
        """Set to have a pass done without waiting for a reason."""
        self._allowed: frozenset[str] = frozenset()
        """Paths whose delete was held back and has been confirmed."""

    def status(self) -> ConnectStatus:
        """Return what this job does now."""
        connection, progress = self._connection, self._progress
        state = PassState.PAUSED if self.paused else self._state
        if state is PassState.SENDING and progress is not None and progress.pending:
            state = PassState.WAITING
        return ConnectStatus(
            id=self.id,
            folder=self._context.share.folder.path,
            address=str(self._options.address),
            state=state,
            mode=self._options.mode,
            file=self._only,
            reason="" if self.paused else self._reason,
            peer=peer_status(connection, self._peer_name, state.value) if connection else None,
            totals=progress.totals if progress else Totals(),
            transfers=self.transfers.moving(MAX_MOVING),
            moving=self.transfers.active_count,
            retry_in=max(0.0, self._retry_at - time.monotonic()) if state is PassState.RECONNECTING else 0.0,
        )

    def sync_now(self) -> None:
        """Have a pass done soon; while reconnecting, try at once."""
        self._wanted.set()

    def allow_deletes(self, paths: frozenset[str]) -> None:
        """Let a pass do the deletes of these paths, here and there, which it held back. More than these are held
        again: what was confirmed is what was shown.
        """
        self._allowed = paths
        self.sync_now()

    async def _run(self) -> PassSummary | None:
        delays = self._backoff()
        accept_until = 0.0
        self._reason = ""
        self._enter(PassState.CONNECTING, None)
        while True:
            try:
                return await self._connected_or_told()
            except PeerUnknown as error:
                if not await self._confirmed(error):
                    raise
                delay = 0.0
            except RefusedByPeer as error:
                now = time.monotonic()
                if self._passed or not accept_until:
                    delays, accept_until, self._passed = self._backoff(), now + ACCEPT_DEADLINE, False
                if self._context.ask is None or now > accept_until:
                    raise
                delay = self._wait_to_be_accepted(error)
            except (Unreachable, DiskFailed) as error:
                if self._options.once or self._stopping or self.paused:
                    raise  # an error that came of being stopped must not begin anew
                if self._passed:
                    delays, self._passed = self._backoff(), False
                delay = self._wait_to_reconnect(error, next(delays))
            finally:
                self._connection = None
            await self._sleep(delay)
            if self._state is not PassState.AWAITING:
                self._reason = ""
                self._enter(PassState.CONNECTING, None)

    async def _confirmed(self, error: PeerUnknown) -> bool:
        """Ask about the device that answered; it was sent nothing so far."""
        self._enter(PassState.ASKING, None)
        fingerprint, hint = str(error.fields["fingerprint"]), str(self._options.address)
        return await self._asked(fingerprint, hint, Direction.OUT, hint=hint)

    def _wait_to_be_accepted(self, error: RefusedByPeer) -> float:
        self._reason = str(error)
        self._enter(PassState.AWAITING, None)
        return ACCEPT_RETRY

    def _wait_to_reconnect(self, error: LeafSyncError, delay: float) -> float:
        self._reason, self._retry_at = str(error), time.monotonic() + delay
        self._enter(PassState.RECONNECTING, None)
        self._tell(Reconnecting(self.id, delay, str(error)))
        return delay

    async def _sleep(self, delay: float) -> None:
        """Wait for `delay` seconds, or until somebody does not want to wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._wanted.wait()
        self._wanted.clear()

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

    async def _connected_or_told(self) -> PassSummary | None:
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

    async def _connected(self) -> PassSummary | None:
        """Connect and do passes until the connection ends, or one pass with `once`."""
        options, policy = self._options, self._policy
        connection = await connect(
            self._context.identity,
            options.address.host,
            options.address.port,
            authorize=policy.authorize,
            limits=limits_for(options.rate_mbps),
        )
        self._connection = connection
        try:
            async with task_group() as tasks:
                watching = tasks.create_task(self._keep_trust(connection))
                summary = await self._pass_after_pass(connection)
                watching.cancel()
            return summary
        except LeafSyncError as error:
            close_after(connection, error)
            raise
        finally:
            connection.close(CloseCode.DONE)

    async def _keep_trust(self, connection: Connection) -> None:
        """Raise TrustWithdrawn once the other device is taken out of the trust store, or that cannot be read."""
        context = self._context
        while True:
            await asyncio.sleep(TRUST_INTERVAL)
            await context.share.workers.run(context.trust.refresh)
            fingerprint = connection.peer_fingerprint
            if context.trust.get(fingerprint) is None and self._policy.pin(fingerprint) is None:
                raise TrustWithdrawn(name=self._peer_name, address=str(self._options.address))

    async def _pass_after_pass(self, connection: Connection) -> PassSummary:
        """Greet the other device, then do passes: one with `once`, else as long as the connection holds."""
        context, options = self._context, self._options
        edited = asyncio.Event()
        context.share.listeners.add(edited.set)
        try:
            client = await self._greeted(connection)
            names = (context.device_name, self._peer_name)
            passes = Passes(
                connection,
                client,
                context.share,
                msgspec.structs.replace(options, file=self._only),
                names=names,
                on_state=self._enter,
                transfers=self.transfers,
            )
            while True:
                allowed = self._allowed
                summary = await passes.run(allowed)
                if self._allowed is allowed:  # what was confirmed meanwhile is for the next pass
                    self._allowed = frozenset()
                self._passed = True
                self._tell(PassFinished(self.id, summary))
                if options.once or options.dry_run:
                    return summary
                await asyncio.sleep(min(summary.seconds, LONGEST_REST))
                await self._until_needed(client, passes, edited)
        finally:
            context.share.listeners.discard(edited.set)

    async def _greeted(self, connection: Connection) -> Client:
        """Write down whom this is, before anything is exchanged, and say HELLO."""
        context, options, policy = self._context, self._options, self._policy
        fingerprint, hint = connection.peer_fingerprint, str(options.address)
        await self._keep_pin(policy.pin(fingerprint), fingerprint, address=hint, hint=hint)
        policy.written()
        client = Client(connection, device_name=context.device_name, rate_mbps=options.rate_mbps)
        await client.greet()
        self._only = client.offered(options.file)
        name = client.welcome.name
        device = await context.share.workers.run(context.trust.suggest_name, fingerprint, name)
        self._peer_name = device.name if device else name
        self._reason = ""
        self._tell(PeerConnected(self.id, fingerprint, self._peer_name, hint, client.welcome.only))
        return client

    async def _until_needed(self, client: Client, passes: Passes, edited: asyncio.Event) -> None:
        """Wait until a pass would find something (an edit here, a hint from there), is asked for, or is due anyway.

        Events of what a pass itself wrote lead to a look here, not to a pass: the state decides, not the event.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PASS_INTERVAL):
                while not (client.hinted or passes.unsettled or self._wanted.is_set()):
                    await first_of(edited.wait(), client.wait_for_hint(), self._wanted.wait())
                    if edited.is_set():
                        edited.clear()
                        scan = await self._context.share.scan(fresh=False)
                        if scan.index.only(self._only).digest != passes.seen:
                            break
        self._wanted.clear()
