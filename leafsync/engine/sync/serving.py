"""The job behind `serve`: a folder offered to trusted devices, each in a session of its own."""

import asyncio
import logging

from leafsync.engine.core.events import PeerConnected, PeerLeft, PeerPending, PeerRefused, ServeStarted, Warned
from leafsync.engine.core.messages import CloseCode
from leafsync.engine.core.options import ServeOptions
from leafsync.engine.core.status import Direction, ServeStatus
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.endpoint import Endpoint, listen
from leafsync.engine.net.trust import Permission
from leafsync.engine.sync.channel import close_after
from leafsync.engine.sync.doubles import Doubles
from leafsync.engine.sync.jobs import TRUST_INTERVAL, Context, Job, limits_for, peer_status
from leafsync.engine.sync.policy import ServePolicy
from leafsync.engine.sync.serve import Session, Terms, ended_well
from leafsync.engine.sync.tasks import outlast
from leafsync.errors import LeafSyncError, PeerUnknown, TrustWithdrawn

logger = logging.getLogger("leafsync.jobs")


class ServeJob(Job):
    """A folder being served."""

    def __init__(self, context: Context, options: ServeOptions) -> None:
        """Serve as `options` say."""
        super().__init__(context)
        self._options = options
        self._policy = ServePolicy(context.trust, fingerprint=options.fingerprint, accept_first=options.accept_first)
        self._port = options.port
        self._addresses: tuple[str, ...] = ()
        self._endpoint: Endpoint | None = None
        self._sessions: dict[Connection, tuple[Session, asyncio.Task[None]]] = {}
        self._trouble = ""
        """What was told last of a trust store that cannot be read, "" as long as it can be."""
        self._dismissed: dict[Connection, str] = {}
        """Why this side has ended a connection, until its session has noticed."""
        self._refusing: set[asyncio.Task[None]] = set()
        self._doubles = Doubles()

    async def start(self) -> None:
        """Listen, then serve in the background. Raises PortInUse or AddressUnusable."""
        absent = await self._lacks_path()
        await self._listen()
        await super().start()
        self._watch_folder()
        if absent:
            folder = self._context.share.folder.path
            self._tell(Warned(self.id, f"{self._options.file} is not in {folder}: nothing is offered until it is."))

    async def _lacks_path(self) -> bool:
        """Say whether the only path to offer is not there: it may come later, and it may be mistyped."""
        share, only = self._context.share, self._options.file
        try:
            return bool(only) and await share.workers.run(share.folder.stat, only) is None
        except (LeafSyncError, OSError):  # a scan tells of that
            return False

    async def _listen(self) -> Endpoint:
        """Open the port; after a pause it is the one that was chosen first."""
        context, options = self._context, self._options
        self._endpoint = endpoint = await listen(
            context.identity,
            host=options.host,
            port=self._port,
            authorize=self._policy.authorize,
            on_connection=self._accept,
            on_refused=self._refused,
            limits=limits_for(options.rate_mbps),
        )
        self._port, self._addresses = endpoint.port, tuple(endpoint.addresses())
        folder, own = context.share.folder.path, context.identity.fingerprint
        self._tell(ServeStarted(self.id, folder, self._port, self._addresses, own))
        return endpoint

    def status(self) -> ServeStatus:
        """Return what this job does now."""
        latest = self._context.share.latest
        return ServeStatus(
            id=self.id,
            folder=self._context.share.folder.path,
            port=self._port,
            addresses=self._addresses,
            read_only=self._options.read_only,
            file=self._options.file,
            paused=self.paused,
            peers=tuple(
                peer_status(connection, self._name_of(connection, session), session.activity)
                for connection, (session, _task) in self._sessions.items()
            ),
            files=latest.index.files if latest else None,
            bytes=latest.index.bytes if latest else 0,
            problems=len(latest.index.problems) if latest else 0,
        )

    async def _run(self) -> None:
        endpoint = self._endpoint or await self._listen()
        try:
            while True:
                await asyncio.sleep(TRUST_INTERVAL)
                self._addresses = tuple(endpoint.addresses())
                await self._keep_trust()
                self._warn_of_doubles()
        finally:
            self._endpoint = None
            await endpoint.close(CloseCode.STOPPING, "it is shutting down")
            tasks = [*(task for _session, task in self._sessions.values()), *self._refusing]
            for task in tasks:
                task.cancel()
            await outlast(tasks)  # the folder is closed after this

    async def _keep_trust(self) -> None:
        """Disconnect devices that were taken out of the trust store, all of them when it cannot be read any more, and
        those that may do something else by now: they connect again and are told.
        """
        trust = self._context.trust
        try:
            await self._context.share.workers.run(trust.refresh)
            self._trouble = ""
        except LeafSyncError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                self._tell(Warned(self.id, self._trouble))
        for connection, (session, _task) in list(self._sessions.items()):
            fingerprint = connection.peer_fingerprint
            if trust.get(fingerprint) is None and self._policy.pin(fingerprint) is None:
                name = self._name_of(connection, session) or "a device"
                told = str(TrustWithdrawn(name=name, address=connection.address))
                self._dismiss(connection, told, CloseCode.UNTRUSTED, "this device is not trusted any more")
            elif session.writable != self._writable(fingerprint):
                told = "what it may do was changed"
                self._dismiss(connection, told, CloseCode.STOPPING, "what this device may do was changed")

    def _dismiss(self, connection: Connection, told: str, code: CloseCode, reason: str) -> None:
        """End a connection for a reason that is told here in other words than there; it may have ended already."""
        if not connection.closed:
            self._dismissed[connection] = told
            connection.close(code, reason)

    def _warn_of_doubles(self) -> None:
        found = self._doubles.look(self._sessions, asyncio.get_running_loop().time())
        for connection, (session, _task) in self._sessions.items():
            hosts = found.pop(connection.peer_fingerprint, None)
            if hosts is not None:
                name = self._name_of(connection, session)
                told = f"{name} is connected from {' and '.join(hosts)} at the same time."
                advice = "If these are two devices, one has a copied key: give it a key of its own."
                self._tell(Warned(self.id, f"{told} {advice}"))

    def _writable(self, fingerprint: str) -> bool:
        device = self._context.trust.get(fingerprint)
        reads_only = device is not None and device.permission is Permission.READ
        return not (self._options.read_only or reads_only)

    def _refused(self, address: str, error: LeafSyncError) -> None:
        fingerprint = str(error.fields.get("fingerprint", ""))
        asked = isinstance(error, PeerUnknown) and self._context.ask is not None
        self._tell((PeerPending if asked else PeerRefused)(self.id, fingerprint, address, str(error)))
        if asked:
            task = asyncio.create_task(self._ask_about(fingerprint, address))
            self._refusing.add(task)
            task.add_done_callback(self._refusing.discard)

    async def _ask_about(self, fingerprint: str, address: str) -> None:
        """Ask about a device that was just refused: it tries again, and gets in once somebody has said yes."""
        try:
            await self._asked(fingerprint, address, Direction.IN, hint=None)
        except LeafSyncError as error:  # the trust store cannot be written
            self._tell(Warned(self.id, str(error)))

    def _accept(self, connection: Connection) -> None:
        options = self._options
        terms = Terms(
            self._context.device_name,
            only=options.file,
            rate_mbps=options.rate_mbps,
            writable=self._writable(connection.peer_fingerprint),
        )
        session = Session(connection, self._context.share, terms, self.transfers)
        task = asyncio.create_task(self._serve(connection, session), name=f"leafsync session {connection.address}")
        self._sessions[connection] = (session, task)

    async def _serve(self, connection: Connection, session: Session) -> None:
        fingerprint, address = connection.peer_fingerprint, connection.address
        reason = ""
        try:
            await self._keep_pin(self._policy.pin(fingerprint), fingerprint, address=address, hint=None)
            self._policy.written(fingerprint)
            await session.run(on_hello=lambda claimed: self._greeted(connection, claimed))
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
            reason = self._dismissed.pop(connection, reason)
        self._tell(PeerLeft(self.id, fingerprint, address, reason))

    async def _greeted(self, connection: Connection, claimed: str) -> str:
        """Return what a device is called here that calls itself `claimed`, and tell that it has come."""
        fingerprint, trust = connection.peer_fingerprint, self._context.trust
        device = await self._context.share.workers.run(trust.suggest_name, fingerprint, claimed)
        name = device.name if device else claimed
        self._tell(PeerConnected(self.id, fingerprint, name, connection.address))
        return name

    def _name_of(self, connection: Connection, session: Session) -> str:
        device = self._context.trust.get(connection.peer_fingerprint)
        return device.name if device else session.peer_name
