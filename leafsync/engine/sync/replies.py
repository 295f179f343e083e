"""What comes back on a data stream: replies, the bytes behind them, and what was packed together for the way."""

from collections.abc import Collection

from leafsync.engine.core.messages import (
    LENGTH_SIZE,
    MAX_FRAME,
    ZSTD,
    Bundle,
    Chunk,
    DataReply,
    Encoding,
    MessageMalformed,
    data_replies,
)
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.streams import Stream
from leafsync.engine.sync.channel import SLICE, Channel, Throttle, patiently, violated
from leafsync.engine.sync.packing import Packed, PackingMalformed
from leafsync.engine.sync.share import Workers
from leafsync.errors import ProtocolViolated

Content = bytes | bytearray | Packed | None
"""What a chunk brings: its bytes, as they are or packed; None for zeros."""


class Replies:
    """Reads the replies of one data stream. Everything raises PeerStalled and ProtocolViolated."""

    def __init__(
        self, connection: Connection, stream: Stream, throttle: Throttle, workers: Workers, features: Collection[str]
    ) -> None:
        """`features` are those of both sides; `workers` unpack."""
        self._connection = connection
        self._stream = stream
        self._channel: Channel[DataReply] = Channel(connection, stream, data_replies)
        self._throttle = throttle
        self._workers = workers
        self._unpacks = ZSTD in features
        self._bundle = memoryview(b"")
        """What is left of the replies that came packed together."""

    async def next(self, deadline: float) -> DataReply:
        """Return the next reply; there has to be one, with some progress in each `deadline` seconds."""
        while True:
            bundled = bool(self._bundle)
            if bundled and self._channel.pace.due():
                await self._channel.pace.rest()
            reply = self._unbundled() if bundled else await self._received(deadline)
            if not isinstance(reply, Bundle):
                if reply is not None:
                    return reply
            elif bundled:
                raise self._violated("it packed a bundle into another")
            else:
                await self._open(reply, deadline)

    async def _received(self, deadline: float) -> DataReply:
        if (reply := self._channel.buffered()) is not None:
            return reply
        reply = await patiently(self._connection, lambda: self._channel.receive(deadline=deadline))
        if reply is None:
            raise self._violated("it ended a stream before its answer was complete")
        return reply

    async def content(self, chunk: Chunk, deadline: float) -> Content:
        """Return what follows the frame of `chunk`."""
        match chunk.encoding:
            case Encoding.ZERO:
                return None
            case Encoding.RAW:
                return await self._read(chunk.length, deadline)
            case Encoding.ZSTD:
                length = int.from_bytes(await self._read(LENGTH_SIZE, deadline), "big")
                if not self._unpacks or not 0 < length < chunk.length:
                    raise self._violated("it sent a packed chunk that cannot be")
                return Packed(bytes(await self._read(length, deadline)), chunk.length)

    async def _open(self, bundle: Bundle, deadline: float) -> None:
        if not self._unpacks or bundle.stored >= bundle.length:
            raise self._violated("it sent a bundle that cannot be")
        packed = Packed(bytes(await self._read(bundle.stored, deadline)), bundle.length)
        try:
            self._bundle = memoryview(await self._workers.run(packed.unpack))
        except PackingMalformed as error:
            raise self._violated(f"it sent a bundle that cannot be unpacked: {error}") from error

    def _unbundled(self) -> DataReply | None:
        """Return the next reply of the bundle, None for an optional one that this version does not know."""
        length = int.from_bytes(self._taken(LENGTH_SIZE), "big")
        if not 0 < length <= MAX_FRAME:
            raise self._violated("it packed a frame that is too long")
        try:
            reply = data_replies.decode(self._taken(length))
        except MessageMalformed as error:
            raise self._violated(str(error)) from error
        self._channel.pace.came(known=reply is not None)
        return reply

    def _taken(self, length: int) -> memoryview:
        if len(self._bundle) < length:
            raise self._violated("a bundle ended in the middle of a message")
        taken, self._bundle = self._bundle[:length], self._bundle[length:]
        return taken

    async def _read(self, length: int, deadline: float) -> bytes | bytearray:
        if self._bundle:
            return bytes(self._taken(length))
        if not self._throttle.active:
            data = self._stream.buffered(length)
            return data if data is not None else await self._exactly(length, deadline)
        slowly = bytearray()
        while len(slowly) < length:
            slowly += await self._exactly(min(SLICE, length - len(slowly)), deadline)
            await self._throttle.wait()
        return slowly

    async def _exactly(self, length: int, deadline: float) -> bytes:
        return await patiently(self._connection, lambda: self._stream.read_exactly(length, deadline=deadline))

    def _violated(self, reason: str) -> ProtocolViolated:
        return violated(self._connection, reason)
