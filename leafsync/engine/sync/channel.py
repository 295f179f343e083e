"""Typed messages over one stream, and the throttle for `--rate-mbps`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from leafsync.engine.core.messages import (
    MAX_FRAME,
    PROTOCOL_VERSION,
    CloseCode,
    Decoder,
    Message,
    MessageMalformed,
    frame,
)
from leafsync.engine.core.ratelimit import TokenBucket, bytes_per_second
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.limits import STALL_DEADLINE
from leafsync.engine.net.streams import Stream
from leafsync.errors import (
    IntegrityFailed,
    LeafSyncError,
    PeerStalled,
    ProtocolViolated,
    TrustRefused,
    Unreachable,
    VersionMismatch,
)

T = TypeVar("T")

REPLY_DEADLINE = STALL_DEADLINE
"""Seconds without any progress of an answer that the other side owes: as long as a writer waits. The other side waits
for its disk then, or this one for its own: what it does not read meanwhile fills the windows, and keeps away all that
is to come behind."""

STALL_BYTES = 16 << 10
"""Bytes on the wire within REPLY_DEADLINE that are progress: more than keepalives and acknowledgements of a connection
that does nothing, and 400 bit/s, below which no link is of use."""

SLICE = 64 << 10
"""Bytes read or written between two looks at the throttle."""

FRAMES_A_TURN = 64
"""Frames that are taken or sent before the loop gets a turn. Frames that are there already need no waiting, at 5 to 20
microseconds each; nobody may keep the loop from its other connections for longer than a few milliseconds."""

MAX_SKIPPED = 1024
"""Optional messages in a row that this version does not know: far more than any answer has, and 5 ms of skipping.
Packed, 300,000 of them fit 200 bytes (fault case 46)."""

SCAN_DEADLINE = 3600.0
"""Seconds for the answer that follows a scan: a first scan reads every byte of the folder (3.6 TB at 1 GB/s)."""


class Pace:
    """Keeps frames that are there already from taking the loop for themselves, and from being skipped without end."""

    def __init__(self, connection: Connection) -> None:
        """Count the frames of one stream of `connection`."""
        self._connection = connection
        self._frames = 0
        self._skipped = 0

    def due(self) -> bool:
        """Count a frame that is about to be taken or sent, and say whether the loop must have a turn first (`rest`)."""
        self._frames += 1
        return self._frames >= FRAMES_A_TURN

    async def rest(self) -> None:
        """Let the loop have a turn."""
        self._frames = 0
        await asyncio.sleep(0)

    def came(self, *, known: bool) -> None:
        """Count a message that came. Raises ProtocolViolated for too many in a row that are not known and skipped."""
        self._skipped = 0 if known else self._skipped + 1
        if self._skipped > MAX_SKIPPED:
            raise violated(self._connection, f"it sent more than {MAX_SKIPPED} messages in a row that say nothing here")


class Channel(Generic[T]):
    """Sends any message and receives those of one family."""

    def __init__(self, connection: Connection, stream: Stream, incoming: Decoder[T]) -> None:
        """Speak over `stream`; `incoming` decodes what the other side sends."""
        self.connection = connection
        self.stream = stream
        self.pace = Pace(connection)
        self._incoming = incoming
        self._sending = asyncio.Lock()

    async def send(self, message: Message) -> None:
        """Send one message, whole; waits while the other side does not take what was sent before."""
        async with self._sending:  # a write that waits must not be cut in two by another
            if self.pace.due():
                await self.pace.rest()
            await self.stream.write(frame(message))

    async def receive(self, *, deadline: float | None = None) -> T | None:
        """Return the next message, None when the other side has finished the stream.

        `deadline` is in seconds, whatever is skipped meanwhile; None waits as long as the connection lives. Raises
        PeerStalled, and ProtocolViolated when the frame is not a message of this family.
        """
        if (message := self.buffered()) is not None:
            return message
        try:
            async with asyncio.timeout(deadline):
                return await self._receive()
        except TimeoutError:
            raise PeerStalled(peer=self.connection.address, seconds=f"{deadline or 0:g}") from None

    def buffered(self) -> T | None:
        """Return the next message if it is here already, as most are in a transfer. Raises ProtocolViolated."""
        while not self.pace.due() and (body := self.stream.buffered_frame(cap=MAX_FRAME)) is not None:
            if (message := self._decoded(body)) is not None:
                return message
        return None

    async def _receive(self) -> T | None:
        while True:
            if self.pace.due():
                await self.pace.rest()
            body = await self.stream.read_frame(cap=MAX_FRAME)
            if body is None:
                return None
            if (message := self._decoded(body)) is not None:
                return message

    def _decoded(self, body: bytes) -> T | None:
        """Return the message in a frame, None for one that may be skipped."""
        try:
            message = self._incoming.decode(body)
        except MessageMalformed as error:
            raise violated(self.connection, str(error)) from error
        self.pace.came(known=message is not None)
        return message


def violated(connection: Connection, reason: str) -> ProtocolViolated:
    """Close the connection because the other side broke the protocol, and return the error to raise."""
    error = ProtocolViolated(peer=connection.address, reason=reason)
    close_after(connection, error)
    return error


async def patiently(connection: Connection, read: Callable[[], Awaitable[T]]) -> T:
    """Do `read`, which has a deadline, again as long as bytes keep coming: a slow link is not a stalled peer.

    `read` must lose nothing when its deadline passes. Raises PeerStalled.
    """
    while True:
        before = connection.bytes_received
        try:
            return await read()
        except PeerStalled:
            if connection.bytes_received - before < STALL_BYTES:
                raise


def close_after(connection: Connection, error: LeafSyncError) -> None:
    """Close the connection because of `error`, which all get who wait here, and tell the other side as much of it as
    concerns it. It may be over.
    """
    code, reason = _told(error)
    connection.close(code, reason, error=error)


def _told(error: LeafSyncError) -> tuple[CloseCode, str]:
    match error:
        case VersionMismatch():
            return CloseCode.VERSION, f"version {PROTOCOL_VERSION}"
        case ProtocolViolated():
            return CloseCode.PROTOCOL, "protocol violated"
        case IntegrityFailed():
            return CloseCode.INTEGRITY, "content does not match its hash"
        case PeerStalled():
            return CloseCode.STALLED, "it waited too long"
        case TrustRefused():
            return CloseCode.UNTRUSTED, "this device is not trusted any more"
        case Unreachable():
            return CloseCode.DONE, ""
        case _:
            return CloseCode.INTERNAL, "it cannot use its folder or disk"


class Throttle:
    """Keeps one direction of a connection at a rate, counted in bytes on the wire."""

    def __init__(self, rate_mbps: float | None, counter: Callable[[], int]) -> None:
        """`rate_mbps` is in megabits per second, None for no limit; `counter` returns bytes so far on the wire."""
        self._counter = counter
        self._seen = counter()
        self._bucket = TokenBucket(bytes_per_second(rate_mbps), time.monotonic()) if rate_mbps else None

    @property
    def active(self) -> bool:
        """Whether there is a limit at all."""
        return self._bucket is not None

    async def wait(self) -> None:
        """Wait until what went over the wire since the last call fits the rate."""
        if self._bucket is None:
            return
        used = self._counter()
        delay = self._bucket.spend(used - self._seen, time.monotonic())
        self._seen = used
        if delay:
            await asyncio.sleep(delay)
