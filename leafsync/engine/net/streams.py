"""One stream of a connection: bytes in order, with back-pressure both ways and typed errors instead of silence."""

import asyncio
from typing import Protocol

from leafsync.engine.net.segmented import SegmentedBuffer
from leafsync.errors import ConnectionLost, LeafSyncError, PeerStalled, ProtocolViolated, StreamReset, StreamStopped

WRITE_PIECE = 64 * 1024
"""Bytes handed to QUIC between two looks at the high-water marks: how far a write may pass them."""

FRAME_HEADER = 4
"""Bytes of a frame's length: u32, big-endian (PROTOCOL.md, "Frames")."""


class StreamOwner(Protocol):
    """What a stream needs of its connection."""

    @property
    def address(self) -> str: ...
    def send_stream(self, stream_id: int, data: bytes, *, end: bool = False) -> None: ...
    def reset_stream(self, stream_id: int, code: int) -> None: ...
    def stop_stream(self, stream_id: int, code: int) -> None: ...
    def credit(self, stream_id: int, count: int) -> None: ...
    async def writable(self, stream_id: int) -> None: ...


class Stream:
    """A bidirectional stream. One task reads and any number write: a `write` is never mixed with another. A
    cancelled read loses nothing; after a cancelled write the stream is good for `reset` alone.

    Every call raises what ended the stream: StreamReset or StreamStopped if the peer gave it up, else the error of the
    connection. Bytes that arrived complete before a connection was lost can still be read; the end of the stream is
    reported only if the peer sent it.
    """

    def __init__(self, owner: StreamOwner, stream_id: int, *, credit_step: int) -> None:
        self._owner = owner
        self._id = stream_id
        self._credit_step = credit_step
        self._buffer = SegmentedBuffer()
        self._credited = 0
        self._given = 0
        self._wanted = 0
        self._ended = False
        self._discarding = False
        self._reading: asyncio.Future[None] | None = None
        self._read_error: LeafSyncError | None = None
        self.write_error: LeafSyncError | None = None
        self._finished = False
        self._writing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Stream {self._id} of {self._owner.address}>"

    @property
    def id(self) -> int:
        """The QUIC stream number."""
        return self._id

    @property
    def stopped(self) -> bool:
        """Whether this side does not read it any more."""
        return self._discarding

    # Reading

    async def read(self, limit: int, *, deadline: float | None = None) -> bytes:
        """Return 1 to `limit` bytes as soon as there are some, b"" at the end of the stream.

        Raises:
            PeerStalled: nothing came within `deadline` seconds.
        """
        await self._available(1, deadline)
        return self._take(min(limit, len(self._buffer)))

    async def read_exactly(self, n: int, *, deadline: float | None = None) -> bytes:
        """Return exactly `n` bytes; they are assembled when all are there, and copied once.

        Raises:
            PeerStalled: they did not all come within `deadline` seconds.
            ProtocolViolated: the stream ended before them.
        """
        await self._available(n, deadline)
        if len(self._buffer) < n:
            raise self._cut_short()
        return self._take(n)

    async def read_frame(self, *, cap: int, deadline: float | None = None) -> bytes | None:
        """Return the body of the next frame, None if the stream ended before it.

        Raises:
            PeerStalled: it did not all come within `deadline` seconds.
            ProtocolViolated: its length is zero or above `cap`, or the stream ended inside it.
        """
        if (body := self.buffered_frame(cap=cap)) is not None:
            return body
        try:
            async with asyncio.timeout(deadline):
                return await self._read_frame(cap)
        except TimeoutError:
            raise self._stalled(deadline) from None

    async def _read_frame(self, cap: int) -> bytes | None:
        await self._available(FRAME_HEADER, None)
        if not self._buffer:
            return None
        if len(self._buffer) < FRAME_HEADER:
            raise self._cut_short()
        await self._available(FRAME_HEADER + self._frame_length(cap), None)
        body = self.buffered_frame(cap=cap)
        if body is None:
            raise self._cut_short()
        return body

    def buffered(self, n: int) -> bytes | None:
        """Return the next `n` bytes if they are here already, as most are in a transfer: no task or timer is needed."""
        if self._reading is not None:
            raise RuntimeError("two tasks read one stream")
        return self._take(n) if len(self._buffer) >= n else None

    def buffered_frame(self, *, cap: int) -> bytes | None:
        """Return the body of the next frame if all of it is here already, else None.

        Raises:
            ProtocolViolated: its length is zero or above `cap`.
        """
        if self._reading is not None:
            raise RuntimeError("two tasks read one stream")
        if len(self._buffer) < FRAME_HEADER:
            return None
        length = self._frame_length(cap)
        return self._take(length, after=FRAME_HEADER) if len(self._buffer) >= FRAME_HEADER + length else None

    def _frame_length(self, cap: int) -> int:
        length = int.from_bytes(self._buffer[:FRAME_HEADER], "big")
        if not 0 < length <= cap:
            reason = f"a frame of {length} bytes, where 1 to {cap} may come"
            raise ProtocolViolated(peer=self._owner.address, reason=reason)
        return length

    async def _available(self, count: int, deadline: float | None) -> None:
        """Return once `count` bytes are buffered, or the stream ended; raise what ended it otherwise."""
        if self._reading is not None:
            raise RuntimeError("two tasks read one stream")
        if len(self._buffer) >= count or self._ended:
            return
        self._wanted = count
        try:
            async with asyncio.timeout(deadline):
                while len(self._buffer) < count and not self._ended:
                    if self._read_error is not None:
                        raise self._read_error
                    self._credit_early()
                    self._reading = asyncio.get_running_loop().create_future()
                    await self._reading
        except TimeoutError:
            raise self._stalled(deadline) from None
        finally:
            self._reading = None
            self._wanted = 0

    def _take(self, count: int, after: int = 0) -> bytes:
        """Return `count` bytes from the front of the buffer; `after` bytes before them are dropped."""
        count += after
        data = self._buffer.take(count)
        self._credit(count - self._credited)
        self._credited = max(0, self._credited - count)
        return data[after:] if after else data

    def _credit_early(self) -> None:
        """Let the peer send on while a reader waits for more than a window: its bytes are as good as read."""
        count = min(len(self._buffer), self._wanted) - self._credited
        if count >= self._credit_step:
            self._credit(count)
            self._credited += count

    def _credit(self, count: int) -> None:
        if count > 0:
            self._given += count
            self._owner.credit(self._id, count)

    def _cut_short(self) -> ProtocolViolated:
        return ProtocolViolated(peer=self._owner.address, reason="a stream ended in the middle of a message")

    def _stalled(self, deadline: float | None) -> PeerStalled:
        return PeerStalled(peer=self._owner.address, seconds=f"{deadline or 0:g}")

    # Writing

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand `data` to QUIC, waiting while more than the high-water marks is unacknowledged.

        Raises:
            PeerStalled: the peer acknowledged nothing for the stall deadline of the limits.
        """
        async with self._writing:
            view = memoryview(data).cast("B")
            for at in range(0, len(view), WRITE_PIECE):
                await self._owner.writable(self._id)
                self._check_writable()
                self._owner.send_stream(self._id, bytes(view[at : at + WRITE_PIECE]))
            self._check_writable()

    def finish(self) -> None:
        """End the sending side: the peer reads the end of the stream once it has read all that was written."""
        if not self._finished and self.write_error is None:
            self._finished = True
            self._owner.send_stream(self._id, b"", end=True)

    def reset(self, code: int) -> None:
        """Give up sending: the peer's reads raise StreamReset with `code`, whatever was still on its way."""
        self._finished = True
        if self.write_error is None:
            self.write_error = ConnectionLost(peer=self._owner.address, reason="the stream was reset here")
            self._owner.reset_stream(self._id, code)

    def stop(self, code: int) -> None:
        """Give up reading: the peer's writes raise StreamStopped with `code`; what arrives meanwhile is dropped."""
        if self._ended or self._read_error is not None:
            self._discard()
            return
        self._owner.stop_stream(self._id, code)
        self._read_error = ConnectionLost(peer=self._owner.address, reason="the stream was stopped here")
        self._discard()

    def _check_writable(self) -> None:
        if self.write_error is not None:
            raise self.write_error
        if self._finished:
            raise RuntimeError("a finished stream cannot be written")

    # What the connection tells the stream

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Take bytes that arrived, in order."""
        self._ended = self._ended or end
        if self._discarding:
            self._credit(len(data))
        else:
            self._buffer += data
        if self._reading is not None:
            if len(self._buffer) >= self._wanted or self._ended:
                self._wake()
            else:
                self._credit_early()

    def on_reset(self, code: int, final_size: int) -> None:
        """The peer gave up sending: drop what was not read, and give back the credit of all `final_size` bytes."""
        self._fail_reading(StreamReset(peer=self._owner.address, code=code))
        self._discard()
        self._credit(final_size - self._given)

    def on_stopped(self, code: int) -> None:
        """The peer does not want what is being sent."""
        if self.write_error is None:
            self.write_error = StreamStopped(peer=self._owner.address, code=code)

    def on_connection_over(self, error: LeafSyncError) -> None:
        """The connection is gone, and the stream with it."""
        self.write_error = self.write_error or error
        self._fail_reading(error)

    def _fail_reading(self, error: LeafSyncError) -> None:
        self._read_error = self._read_error or error
        self._wake()

    def _discard(self) -> None:
        self._discarding = True
        self._credit(len(self._buffer) - self._credited)
        self._credited = 0
        self._buffer.clear()
        self._wake()

    def _wake(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)
