"""The serving side of one connection: HELLO, the folder's digest, listings, content on data streams, and changes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from leafsync import __version__
from leafsync.engine.core.history import came_back
from leafsync.engine.core.index import Entry, Index
from leafsync.engine.core.merge import Ignored, never
from leafsync.engine.core.messages import (
    FEATURES,
    MAX_ITEMS,
    MAX_REASON,
    PROTOCOL_VERSION,
    Changed,
    ChangeRequest,
    CloseCode,
    ControlRequest,
    Digest,
    DigestRequest,
    Hello,
    Hint,
    LeftOut,
    LeftOutRequest,
    Listing,
    ListRequest,
    Pending,
    Refusal,
    Undone,
    UndoneRequest,
    Unready,
    Welcome,
    control_requests,
)
from leafsync.engine.core.names import narrower, path_problem
from leafsync.engine.core.paging import paged
from leafsync.engine.core.transfers import TransferLog
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.apply import Application, Means
from leafsync.engine.sync.changes import ChangeMalformed, Receipt, refusal
from leafsync.engine.sync.channel import REPLY_DEADLINE, Channel, Throttle, violated
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.sender import Offer, Sender
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import (
    DiskFailed,
    LeafSyncError,
    PeerClosed,
    PeerStalled,
    StreamReset,
    StreamStopped,
    VersionMismatch,
)

HELLO_DEADLINE = 10.0
"""Seconds a trusted device has for its HELLO: it has nothing to wait for (fault case 58)."""

PENDING_FIRST = 3.0
"""Seconds after which a device that waits for its changes is told that it has to: it can show that then, and most
changes are done by then."""

PENDING_INTERVAL = 30.0
"""Seconds after which it is told so again: it gives up after ten times as long without a word."""

ENTRY_BYTES = 72
"""Bytes of an entry on the wire beside its name and target: hash, numbers and their headers."""

REFUSAL_BYTES = 16
"""Bytes of a refusal on the wire beside its path and reason."""


class Terms(msgspec.Struct, frozen=True):
    """On what terms a device is served."""

    device_name: str
    """What this device calls itself."""
    only: str = ""
    """The path of the folder that is offered, "" for all of it."""
    rate_mbps: float | None = None
    writable: bool = False
    """Whether the other device may change the folder."""


class Session:
    """One connected device that reads from a share, and changes it where it may."""

    def __init__(self, connection: Connection, share: Share, terms: Terms, transfers: TransferLog) -> None:
        """Serve `share` over `connection`; single files are shown in `transfers`."""
        self.peer_name = ""
        """What the other device is called here, once it has said HELLO."""
        self.activity = "connecting"
        self._connection = connection
        self._share = share
        self._terms = terms
        self._transfers = transfers
        self._sending: Progress
        self._throttle = Throttle(terms.rate_mbps, lambda: connection.bytes_sent)
        self._offer = Offer(share, Index({"": ()}))
        self._whole = self._offer.index
        """All that may be offered, whatever was asked for."""
        self._features: frozenset[str] = frozenset()
        self._ignored: Ignored = never
        self._only = ""
        self._shown: bytes | None = None
        """The digest that the other device knows, None while it is about to ask."""
        self._first = True
        self._dirty = asyncio.Event()

    @property
    def writable(self) -> bool:
        """Whether the other device may change the folder."""
        return self._terms.writable

    async def run(self, on_hello: Callable[[str], Awaitable[str]]) -> None:
        """Serve until the other device ends the connection, which is the good end: `ConnectionLost` and the like.

        `on_hello` is told once what it calls itself, and returns what it is called here. Raises the LeafSyncError that
        ended the session.
        """
        try:
            async with asyncio.timeout(HELLO_DEADLINE):
                stream = await self._connection.accept_stream()
        except TimeoutError as error:
            self._connection.close(CloseCode.STALLED, "no HELLO in time")
            raise PeerStalled(peer=self._connection.address, seconds=f"{HELLO_DEADLINE:g}") from error
        control: Channel[ControlRequest] = Channel(self._connection, stream, control_requests)
        self.peer_name = await on_hello(await self._greet(control))
        self._sending = self._progress()
        self.activity = "connected"
        self._share.listeners.add(self._dirty.set)
        try:
            async with task_group() as tasks:
                background = [tasks.create_task(self._accept(tasks)), tasks.create_task(self._hint(control))]
                await self._answer(control)
                for task in background:
                    task.cancel()
        finally:
            self._share.listeners.discard(self._dirty.set)
            self._sending.close("the connection ended")

    async def _greet(self, control: Channel[ControlRequest]) -> str:
        """Take HELLO and answer it; return what the other device calls itself."""
        hello = await control.receive(deadline=HELLO_DEADLINE)
        if not isinstance(hello, Hello):
            raise violated(self._connection, "it did not begin with HELLO")
        if PROTOCOL_VERSION not in hello.versions:
            theirs = "version " + ", ".join(str(version) for version in hello.versions)
            raise VersionMismatch(peer=self._connection.address, theirs=theirs, ours=f"version {PROTOCOL_VERSION}")
        self._features = frozenset(FEATURES).intersection(hello.features)
        await control.send(
            Welcome(
                PROTOCOL_VERSION,
                [feature for feature in FEATURES if feature in self._features],
                self._terms.device_name,
                f"leafsync {__version__}",
                self._share.identity,
                self._terms.writable,
                self._terms.writable and await self._share.workers.run(lambda: self._share.folder.folds_names),
                self._terms.only,
            )
        )
        return hello.name

    def _progress(self) -> Progress:
        return Progress(self._connection.wire, self._transfers, self.peer_name)

    # Content

    async def _accept(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            stream = await self._connection.accept_stream()
            sender = Sender(self._connection, stream, self._throttle, self._sending, self._features)
            tasks.create_task(self._send(sender))

    async def _send(self, sender: Sender) -> None:
        self.activity = "sending"
        try:
            await sender.run(lambda: self._offer)
        except (StreamReset, StreamStopped):
            sender.give_up()  # as the other device did; the connection goes on
        finally:
            self.activity = "connected"

    # Control

    async def _answer(self, control: Channel[ControlRequest]) -> None:
        while (request := await control.receive()) is not None:
            match request:
                case DigestRequest():
                    await control.send(await self._digest(request))
                case ListRequest():
                    for path in request.paths:
                        await self._list(control, path)
                case LeftOutRequest():
                    await control.send(await self._left_out(request))
                case UndoneRequest():
                    await self._undone(control, request)
                case ChangeRequest():
                    await self._change(control, request)
                case _:
                    raise violated(self._connection, "it said HELLO twice")

    async def _digest(self, request: DigestRequest) -> Digest | Unready:
        if path_problem(request.only):
            raise violated(self._connection, "it asked for a path that cannot be")
        if self._share.lost is not None:
            return Unready(self._share.lost[:MAX_REASON])
        self.activity = "scanning"
        self._dirty.clear()
        self._only = request.only
        # The first digest of a session misses nothing; later ones may trail an edit by what the watcher takes, and a
        # hint follows then.
        scan = await self._share.scan(fresh=self._first)
        self._first = False
        self._whole = scan.index.only(self._terms.only)
        index = self._restricted(scan.index)
        self._offer = Offer(self._share, index)
        self._ignored = lambda path, directory: not self._takes_part(path) or scan.ignore.ignored(path, directory)
        self._shown = index.digest
        self.activity = "connected"
        undo = await self._share.workers.run(self._share.store.last_undo)
        return Digest(index.digest, index.files, index.bytes, len(index.problems), index.entries, undo)

    def _restricted(self, index: Index) -> Index:
        return index.only(self._terms.only).only(self._only)

    def _takes_part(self, path: str) -> bool:
        """Whether `path` is in what is offered, or leads to it."""
        return all(narrower(path, only) is not None for only in (self._terms.only, self._only))

    async def _hint(self, control: Channel[ControlRequest]) -> None:
        """Tell the other device, once, when the folder is not any more what it was shown.

        What it was shown is looked at after the scan: it may have asked meanwhile.
        """
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if self._share.lost is not None:
                continue
            async with self._share.changing:
                scan = await self._share.scan(fresh=False)
            if self._shown is not None and self._shown != self._restricted(scan.index).digest:
                self._shown = None
                await control.send(Hint())

    async def _list(self, control: Channel[ControlRequest], path: str) -> None:
        if path not in self._offer.index.directories:
            raise violated(self._connection, "it asked for a directory that was not listed")
        for entries, last in paged(self._offer.index.children(path), _entry_cost, MAX_ITEMS):
            await control.send(Listing(entries, last))

    async def _left_out(self, request: LeftOutRequest) -> LeftOut:
        if any(not path or path_problem(path) for path, _directory in request.entries):
            raise violated(self._connection, "it asked about a path that cannot be")
        index, ignored = self._offer.index, self._ignored

        def numbers() -> list[int]:
            entries = enumerate(request.entries)
            return [number for number, entry in entries if index.withholds(entry[0]) or ignored(*entry)]

        return LeftOut(await self._share.workers.run(numbers))

    async def _undone(self, control: Channel[ControlRequest], request: UndoneRequest) -> None:
        """Tell what has come back: whoever connects has not agreed to its going if its pass was cut off."""
        index, store = self._whole, self._share.store
        found = await self._share.workers.run(lambda: came_back(store.undos(request.since), index))
        for entries, last in paged(found.items(), _came_back_cost, MAX_ITEMS):
            await control.send(Undone(entries, last))

    # Changes

    async def _change(self, control: Channel[ControlRequest], request: ChangeRequest) -> None:
        receipt = Receipt(self._offer.index, self._ignored)
        try:
            receipt.add(request.changes)
            while not request.last:
                if not request.changes:
                    raise violated(self._connection, "it sent an empty page of changes that is not the last")
                following = await control.receive(deadline=REPLY_DEADLINE)
                if not isinstance(following, ChangeRequest):
                    raise violated(self._connection, "it did not finish its list of changes")
                request = following
                receipt.add(request.changes)
        except ChangeMalformed as error:
            raise violated(self._connection, str(error)) from error
        done = asyncio.Event()
        async with task_group() as tasks:
            tasks.create_task(_say_pending(control, done))
            refused = await self._carry_out(receipt)
            done.set()
        for refusals, last in paged(refused, _refusal_cost, MAX_ITEMS):
            await control.send(Changed(refusals, last))

    async def _carry_out(self, receipt: Receipt) -> list[Refusal]:
        """Do what was asked; return what was not done. Only one device changes the folder at a time."""
        if not self._terms.writable:
            return [refusal("", "this device may not change the folder")]
        if self._share.lost is not None:
            return [refusal("", self._share.lost)]
        connection = self._connection
        means = Means(
            connection,
            self._share,
            self._offer.index,
            self._progress(),
            self.peer_name,
            rate_mbps=self._terms.rate_mbps,
            features=self._features,
        )
        self.activity = "waiting for its turn"
        self._shown = None
        refusals = receipt.refusals
        async with self._share.changing:
            self.activity = "receiving"
            application = Application(means, now=datetime.now().astimezone())
            try:
                await application.carry_out(receipt.steps)
            except DiskFailed as error:  # of no file alone; the other device still may read
                refusals.append(refusal("", str(error)))
        self.activity = "connected"
        return refusals + [refusal(problem.path, problem.reason) for problem in application.problems]


async def _say_pending(control: Channel[ControlRequest], done: asyncio.Event) -> None:
    """Tell the other device now and then that it has to wait, until its changes are `done`."""
    patience = PENDING_FIRST
    while not done.is_set():
        try:
            async with asyncio.timeout(patience):
                await done.wait()
        except TimeoutError:
            await control.send(Pending())
            patience = PENDING_INTERVAL


def _entry_cost(entry: Entry) -> int:
    return ENTRY_BYTES + 4 * (len(entry.name) + len(entry.target))


def _came_back_cost(found: tuple[str, Entry]) -> int:
    path, entry = found
    return _entry_cost(entry) + 4 * len(path)


def _refusal_cost(refused: Refusal) -> int:
    return REFUSAL_BYTES + 4 * (len(refused.path) + len(refused.reason))


def ended_well(error: LeafSyncError | None) -> bool:
    """Whether a session that ended with `error` ended as sessions should: the other device said goodbye."""
    return error is None or (isinstance(error, PeerClosed) and error.fields.get("code") == CloseCode.DONE)
