"""What travels in frames, byte by byte described in PROTOCOL.md.

A frame is a u32 length and a MessagePack array whose first element is the message's tag. Every list, string and
number has a cap that is checked while decoding, before anything is built from it. Tags from 128 on are optional: a
device that does not know one skips it, any other unknown tag ends the connection.
"""

import enum
from typing import Annotated, Generic, TypeVar

import msgspec

from leafsync.engine.core.index import Entry
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, MAX_FILE_SIZE
from leafsync.engine.core.names import MAX_NAME, MAX_PATH

PROTOCOL_VERSION = 1
"""The integer that HELLO negotiates; the ALPN name carries the major version `leafsync/1`."""

FEATURES: tuple[str, ...] = ()
"""Named optional abilities of this version; what both sides name is used."""

MAX_FRAME = 1 << 20
"""Bytes of a frame: the most that one message may make the other side hold."""

LENGTH_SIZE = 4
"""Bytes of the length before a frame."""

MAX_ITEMS = 4096
"""Elements of any list in one message; longer lists go in several."""

MAX_LEAVES_PAGE = 16_384
"""Leaves in one LEAVES message: 512 KiB of hashes, the leaves of a 16 GiB file."""

FIRST_OPTIONAL_TAG = 128
MAX_CHUNK_INDEX = MAX_FILE_SIZE // CHUNK_SIZE

Path = Annotated[str, msgspec.Meta(max_length=MAX_PATH)]
ShortText = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
Hash = Annotated[bytes, msgspec.Meta(min_length=HASH_SIZE, max_length=HASH_SIZE)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)]
Version = Annotated[int, msgspec.Meta(ge=0, le=(1 << 16) - 1)]
ChunkIndex = Annotated[int, msgspec.Meta(ge=0, lt=MAX_CHUNK_INDEX)]
ChunkRange = tuple[ChunkIndex, Annotated[int, msgspec.Meta(ge=1, le=MAX_CHUNK_INDEX)]]
"""First chunk and number of chunks."""


class CloseCode(enum.IntEnum):
    """Application error codes of CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING (RFC 9000 section 20.2)."""

    DONE = 0
    PROTOCOL = 1
    VERSION = 2
    UNTRUSTED = 3
    SELF = 4
    STALLED = 5
    INTERNAL = 6
    STOPPING = 7
    LIMIT = 8
    INTEGRITY = 9


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of everything that is framed."""


class Hello(Message, frozen=True, tag=1, array_like=True):
    """First message of the connecting device."""

    versions: Annotated[list[Version], msgspec.Meta(min_length=1, max_length=16)]
    features: Annotated[list[ShortText], msgspec.Meta(max_length=64)]
    name: ShortText
    """What the device calls itself: shown as a claim, never believed."""
    software: ShortText


class Welcome(Message, frozen=True, tag=2, array_like=True):
    """The serving device's answer to HELLO: the version and features that hold."""

    version: Version
    features: Annotated[list[ShortText], msgspec.Meta(max_length=64)]
    name: ShortText
    software: ShortText


class DigestRequest(Message, frozen=True, tag=3, array_like=True):
    """Ask for the folder's digest as it is now. It fixes the index that LIST and FETCH speak of until the next one."""

    only: Path = ""
    """Restrict the folder to this path, "" for all of it."""


class Digest(Message, frozen=True, tag=4, array_like=True):
    """The digest of the folder, and whether everything below could be read."""

    digest: Hash
    files: Count
    bytes: Count
    problems: Count


class ListRequest(Message, frozen=True, tag=5, array_like=True):
    """Ask for the listing of directories."""

    paths: Annotated[list[Path], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]


class Listing(Message, frozen=True, tag=6, array_like=True):
    """Sorted entries of one directory, answered in the order asked; a long directory comes in several pages."""

    entries: Annotated[list[Entry], msgspec.Meta(max_length=MAX_ITEMS)]
    last: bool


class FetchItem(Message, frozen=True, array_like=True):
    """One file of a FETCH: which content, and what of it."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH)]
    size: Size
    root: Hash
    ranges: Annotated[list[ChunkRange], msgspec.Meta(max_length=MAX_ITEMS)]
    """Ascending, disjoint ranges of chunks; none to get the leaves alone."""
    leaves: bool = False
    """Whether the leaves are wanted, before the chunks."""


class Fetch(Message, frozen=True, tag=7, array_like=True):
    """Ask for content, on a data stream. The items are answered in order."""

    items: Annotated[list[FetchItem], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]


class Leaves(Message, frozen=True, tag=8, array_like=True):
    """The next leaves of the file, concatenated."""

    leaves: Annotated[bytes, msgspec.Meta(min_length=HASH_SIZE, max_length=HASH_SIZE * MAX_LEAVES_PAGE)]


class Encoding(enum.IntEnum):
    """How the bytes of a chunk travel."""

    RAW = 0
    ZERO = 1
    """All bytes are zero; none follow."""


class Chunk(Message, frozen=True, tag=9, array_like=True):
    """One chunk. With `Encoding.RAW` exactly `length` bytes follow the frame, outside of any frame."""

    index: ChunkIndex
    length: Annotated[int, msgspec.Meta(ge=1, le=CHUNK_SIZE)]
    encoding: Encoding


class End(Message, frozen=True, tag=10, array_like=True):
    """Everything that was asked of this file has been sent."""


class AbortReason(enum.IntEnum):
    """Why a file was not (wholly) sent."""

    GONE = 1
    CHANGED = 2
    UNREADABLE = 3


class Abort(Message, frozen=True, tag=11, array_like=True):
    """The file cannot be sent as asked; the answer to the next item follows."""

    reason: AbortReason


class MessageMalformed(ValueError):
    """A frame holds no message of this protocol."""


ControlRequest = Hello | DigestRequest | ListRequest
ControlReply = Welcome | Digest | Listing
DataRequest = Fetch
DataReply = Leaves | Chunk | End | Abort

_encoder = msgspec.msgpack.Encoder()
_ARRAY_COUNT = {0xDC: 2, 0xDD: 4} | dict.fromkeys(range(0x91, 0xA0), 0)
"""Bytes of the count behind each MessagePack code of an array that may hold a tag."""
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
"""Bytes of the value behind each MessagePack code of an unsigned integer."""
T = TypeVar("T")


def encode(message: Message) -> bytes:
    """Return the body of the frame that carries `message`."""
    return _encoder.encode(message)


def frame(message: Message) -> bytes:
    """Return `message` as it travels: the u32 length of the body, big-endian, and the body."""
    body = encode(message)
    return len(body).to_bytes(LENGTH_SIZE, "big") + body


class Decoder(Generic[T]):
    """Decodes one family of messages."""

    def __init__(self, family: object) -> None:
        """`family` is a union of messages, or one message class."""
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(family)

    def decode(self, body: bytes | bytearray | memoryview) -> T | None:
        """Return the message, or None for an optional one that this version does not know.

        Raises MessageMalformed for anything else.
        """
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if _is_optional(body):
                return None
            raise MessageMalformed(str(error)) from error


def _is_optional(body: bytes | bytearray | memoryview) -> bool:
    """Whether `body` is an array that starts with an optional tag; the rest of it is never decoded."""
    start = 1 + _ARRAY_COUNT.get(body[0], 0) if body and body[0] in _ARRAY_COUNT else len(body)
    length = _UNSIGNED.get(body[start], 0) if start < len(body) else 0
    value = body[start + 1 : start + 1 + length]
    return len(value) == length > 0 and int.from_bytes(value, "big") >= FIRST_OPTIONAL_TAG


control_requests: Decoder[ControlRequest] = Decoder(ControlRequest)
control_replies: Decoder[ControlReply] = Decoder(ControlReply)
data_requests: Decoder[DataRequest] = Decoder(DataRequest)
data_replies: Decoder[DataReply] = Decoder(DataReply)
