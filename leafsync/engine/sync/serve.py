"""The serving side of one connection: HELLO, the folder's digest, listings, and content on data streams."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from leafsync import __version__
from leafsync.engine.core.index import Entry, Index
from leafsync.engine.core.messages import (
    FEATURES,
    MAX_FRAME,
    MAX_ITEMS,
    PROTOCOL_VERSION,
    CloseCode,
    ControlRequest,
    Digest,
    DigestRequest,
    Hello,
    Listing,
    ListRequest,
    Welcome,
    control_requests,
)
from leafsync.engine.core.names import path_problem
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.channel import Channel, Throttle, violated
from leafsync.engine.sync.sender import Offer, Sender
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import LeafSyncError, PeerClosed, PeerStalled, StreamReset, StreamStopped, VersionMismatch

HELLO_DEADLINE = 10.0
"""Seconds a trusted device has for its HELLO: it has nothing to wait for (fault case 58)."""

PAGE_BYTES = MAX_FRAME // 2
"""Bytes of entries in one LISTING, by a generous estimate, so that a page never passes the frame's cap."""

ENTRY_BYTES = 72
"""Bytes of an entry on the wire beside its name and target: hash, numbers and their headers."""


class Session:
    """One connected device that reads from a share."""

    def __init__(
        self,
        connection: Connection,
        share: Share,
        *,
        device_name: str,
        only: str = "",
        rate_mbps: float | None = None,
    ) -> None:
        """Serve `share`, or the path `only` of it, over `connection`."""
        self.peer_name = ""
        self.activity = "connecting"
        self._connection = connection
        self._share = share
        self._device_name = device_name
        self._only = only
        self._throttle = Throttle(rate_mbps, lambda: connection.bytes_sent)
        self._offer = Offer(share, Index({"": ()}))

    async def run(self, on_hello: Callable[[], None]) -> None:
        """Serve until the other device ends the connection, which is the good end: `ConnectionLost` and the like.

        `on_hello` is called once it has said HELLO. Raises the LeafSyncError that ended the session.
        """
        try:
            async with asyncio.timeout(HELLO_DEADLINE):
                stream = await self._connection.accept_stream()
        except TimeoutError as error:
            self._connection.close(CloseCode.STALLED, "no HELLO in time")
            raise PeerStalled(peer=self._connection.address, seconds=f"{HELLO_DEADLINE:g}") from error
        control: Channel[ControlRequest] = Channel(self._connection, stream, control_requests)
        await self._greet(control)
        on_hello()
        self.activity = "connected"
        async with task_group() as tasks:
            streams = tasks.create_task(self._accept(tasks))
            await self._answer(control)
            streams.cancel()

    async def _greet(self, control: Channel[ControlRequest]) -> None:
        hello = await control.receive(deadline=HELLO_DEADLINE)
        if not isinstance(hello, Hello):
            raise violated(self._connection, "it did not begin with HELLO")
        if PROTOCOL_VERSION not in hello.versions:
            self._connection.close(CloseCode.VERSION, f"version {PROTOCOL_VERSION}")
            theirs = "version " + ", ".join(str(version) for version in hello.versions)
            raise VersionMismatch(peer=self._connection.address, theirs=theirs, ours=f"version {PROTOCOL_VERSION}")
        self.peer_name = hello.name
        features = [feature for feature in FEATURES if feature in hello.features]
        await control.send(Welcome(PROTOCOL_VERSION, features, self._device_name, f"leafsync {__version__}"))

    async def _accept(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            stream = await self._connection.accept_stream()
            sender = Sender(self._connection, stream, self._throttle)
            tasks.create_task(self._send(sender))

    async def _send(self, sender: Sender) -> None:
        self.activity = "sending"
        try:
            await sender.run(lambda: self._offer)
        except (StreamReset, StreamStopped):
            sender.give_up()  # as the other device did; the connection goes on
        finally:
            self.activity = "connected"

    async def _answer(self, control: Channel[ControlRequest]) -> None:
        while (request := await control.receive()) is not None:
            match request:
                case DigestRequest():
                    await control.send(await self._digest(request))
                case ListRequest():
                    for path in request.paths:
                        await self._list(control, path)
                case _:
                    raise violated(self._connection, "it said HELLO twice")

    async def _digest(self, request: DigestRequest) -> Digest:
        if path_problem(request.only):
            raise violated(self._connection, "it asked for a path that cannot be")
        self.activity = "scanning"
        index = (await self._share.scan()).index
        for only in (self._only, request.only):
            index = index.only(only) if only else index
        self._offer = Offer(self._share, index)
        self.activity = "connected"
        return Digest(index.digest, index.files, index.bytes, len(index.problems))

    async def _list(self, control: Channel[ControlRequest], path: str) -> None:
        if path not in self._offer.index.directories:
            raise violated(self._connection, "it asked for a directory that was not listed")
        for entries, last in _pages(self._offer.index.children(path)):
            await control.send(Listing(list(entries), last))


def _pages(entries: Sequence[Entry]) -> Iterator[tuple[Sequence[Entry], bool]]:
    """Cut a listing into pages that fit a frame; an empty directory is one empty page."""
    start, size = 0, 0
    for position, entry in enumerate(entries):
        size += ENTRY_BYTES + 4 * (len(entry.name) + len(entry.target))
        if position > start and (size > PAGE_BYTES or position - start >= MAX_ITEMS):
            yield entries[start:position], False
            start, size = position, ENTRY_BYTES + 4 * (len(entry.name) + len(entry.target))
    yield entries[start:], True


def ended_well(error: LeafSyncError | None) -> bool:
    """Whether a session that ended with `error` ended as sessions should: the other device said goodbye."""
    return error is None or (isinstance(error, PeerClosed) and error.fields.get("code") == CloseCode.DONE)
