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

PIECES = "pieces"
"""The feature of CUT, PIECES and FETCH PARTS: less than a chunk of a file can be asked for."""

ZSTD = "zstd"
"""The feature of `Encoding.ZSTD` and BUNDLE: content travels compressed where that pays."""

FEATURES: tuple[str, ...] = (PIECES, ZSTD)
"""Named optional abilities of this version; what both sides name is used."""

MAX_FRAME = 1 << 20
"""Bytes of a frame: the most that one message may make the other side hold."""

LENGTH_SIZE = 4
"""Bytes of the length before a frame."""

MAX_ITEMS = 4096
"""Elements of any list in one message; longer lists go in several."""

MAX_LEAVES_PAGE = 16_384
"""Leaves in one LEAVES message: 512 KiB of hashes, the leaves of a 16 GiB file."""

MAX_REASON = 200
"""Characters of a reason in words: a sentence, at most 800 bytes of UTF-8."""

MAX_PIECES_PAGE = 8192
"""Pieces in one PIECES message: 96 KiB, so that the first page is on its way while the file is still being cut."""

MAX_CUT_CHUNKS = 4096
"""Chunks that one CUT may name: reading and cutting 4 GiB is as much work as a device does for one request."""

MIN_SCALE, MAX_SCALE = 12, 18
"""Powers of two of the average size of pieces, 4 KiB to 256 KiB: smaller ones cost more to name than they save, larger
ones miss small edits."""

MAX_BUNDLE = (2 << 20) + (64 << 10)
"""Bytes that a BUNDLE unpacks to: as many as a sender reads of small files at a time, and their frames."""

FIRST_OPTIONAL_TAG = 128
"""The least tag of a message that may be skipped. It is never given to one, so that tests of skipping have it."""

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
Part = tuple[Annotated[int, msgspec.Meta(ge=0, lt=MAX_FILE_SIZE)], Annotated[int, msgspec.Meta(ge=1, le=CHUNK_SIZE)]]
"""Offset in a file and number of bytes."""


class CloseCode(enum.IntEnum):
    """Application error codes of CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING (RFC 9000 section 20.2).

    4 and 8 are reserved.
    """

    DONE = 0
    PROTOCOL = 1
    VERSION = 2
    UNTRUSTED = 3
    STALLED = 5
    INTERNAL = 6
    STOPPING = 7
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
    folder: ShortText
    """The identity of the folder: what was agreed with it holds for no other one."""
    writable: bool
    """Whether this device may change it."""
    folds: bool = False
    """Whether names that differ in case are one there."""
    only: Path = ""
    """The path that is offered alone, "" for all of the folder: the rest is not gone, but not shown."""


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
    entries: Count
    """All entries that take part: what a share of the folder is measured against."""
    undo: Count = 0
    """The number of the last undo or restore there, 0 when there is none: each has a larger one than all before."""


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
    ZSTD = 2
    """A u32 follows the frame, and as many bytes as it says, fewer than `length`: one Zstandard frame."""


class Chunk(Message, frozen=True, tag=9, array_like=True):
    """One chunk, or what was asked for of it. With `Encoding.RAW` exactly `length` bytes follow the frame, outside of
    any frame.
    """

    index: ChunkIndex
    length: Annotated[int, msgspec.Meta(ge=1, le=CHUNK_SIZE)]
    encoding: Encoding


class End(Message, frozen=True, tag=10, array_like=True):
    """Everything that was asked of this file has been sent."""


class Cut(Message, frozen=True, tag=16, array_like=True):
    """Ask into which pieces the other side cuts its content of these ranges. Feature `PIECES`."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH)]
    size: Size
    root: Hash
    ranges: Annotated[list[ChunkRange], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    """Ascending, disjoint ranges of at most MAX_CUT_CHUNKS chunks; each is cut by itself."""
    scale: Annotated[int, msgspec.Meta(ge=MIN_SCALE, le=MAX_SCALE)]
    """The power of two of the pieces' average size."""


class Pieces(Message, frozen=True, tag=17, array_like=True):
    """The next pieces of what was to be cut, in order."""

    ids: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8 * MAX_PIECES_PAGE)]
    """The xxh3_64 of each."""
    lengths: Annotated[bytes, msgspec.Meta(min_length=4, max_length=4 * MAX_PIECES_PAGE)]
    """The bytes of each, as u32."""


class FetchParts(Message, frozen=True, tag=18, array_like=True):
    """Ask for bytes of a file. Feature `PIECES`."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH)]
    size: Size
    root: Hash
    parts: Annotated[list[Part], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    """Ascending, disjoint (offset, length), each within one chunk. The answer has one CHUNK for each chunk of them."""


class Bundle(Message, frozen=True, tag=19, array_like=True):
    """Several replies, and the bytes behind them, compressed together: `stored` bytes follow, a Zstandard frame of
    `length` bytes. Feature `ZSTD`.
    """

    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_BUNDLE)]
    stored: Annotated[int, msgspec.Meta(ge=1, le=MAX_BUNDLE)]


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


class ChangeKind(enum.IntEnum):
    """What a change does to the folder of the serving device, in the order in which they are carried out."""

    ASIDE = 1
    """Rename within one directory, before all else builds on it."""
    CLEAR = 2
    """Into the trash, because another kind of entry takes its place."""
    MAKE_DIRECTORY = 3
    MOVE = 4
    """Rename; nothing is replaced."""
    PUT = 5
    """Take the file from the connecting device, over a data stream that the serving device opens."""
    LINK = 6
    TOUCH = 7
    """Set the time and the executable bit of a file whose content is right already."""
    DELETE = 8
    """Into the trash."""


class Change(Message, frozen=True, array_like=True):
    """One change of the serving device's folder, bound to what the connecting device saw there."""

    kind: ChangeKind
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH)]
    entry: Entry | None = None
    """What `path` will be: for PUT, LINK and TOUCH."""
    expected: Annotated[bytes, msgspec.Meta(max_length=HASH_SIZE)] = b""
    """`index.entry_digest` of what was seen at `path` (at `source` for a rename); empty when nothing was there."""
    source: Path = ""
    """Where a rename comes from, or where a PUT's content is on the connecting device if not at `path`."""


class ChangeRequest(Message, frozen=True, tag=12, array_like=True):
    """Ask for changes of the serving device's folder. A long list comes in several pages, carried out as one."""

    changes: Annotated[list[Change], msgspec.Meta(max_length=MAX_ITEMS)]
    last: bool


class RefusalKind(enum.IntEnum):
    """Why a change was not done."""

    CHANGED = 1
    """What is there is not what was seen; the next pass looks again."""
    IGNORED = 2
    """The rules of the serving device leave the path out: there is no use in asking again."""
    FAILED = 3
    """It could not be done."""


class Refusal(Message, frozen=True, array_like=True):
    """A change that was not done, and why, in words."""

    path: Path
    kind: RefusalKind
    reason: ShortText


class Changed(Message, frozen=True, tag=13, array_like=True):
    """The answer to the last page of changes: those that were not done. A long list comes in several pages."""

    refusals: Annotated[list[Refusal], msgspec.Meta(max_length=MAX_ITEMS)]
    last: bool


class LeftOutRequest(Message, frozen=True, tag=20, array_like=True):
    """Ask which of these the serving device leaves out: a rule of it ignores them, or it withholds them. What it leaves
    out does not show whether it is there, so it must not be taken for gone.
    """

    entries: Annotated[list[tuple[Path, bool]], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    """Each path, and whether it is a directory on the connecting device."""


class LeftOut(Message, frozen=True, tag=21, array_like=True):
    """The numbers, from 0, of those entries of the request that are left out, in ascending order."""

    numbers: Annotated[list[Annotated[int, msgspec.Meta(ge=0, lt=MAX_ITEMS)]], msgspec.Meta(max_length=MAX_ITEMS)]


class UndoneRequest(Message, frozen=True, tag=22, array_like=True):
    """Ask for what undos and restores after the one with this number have brought back."""

    since: Count


class Undone(Message, frozen=True, tag=23, array_like=True):
    """What has come back and is so still: its path, and what it is. A long list comes in several pages."""

    entries: Annotated[list[tuple[Path, Entry]], msgspec.Meta(max_length=MAX_ITEMS)]
    last: bool


class Hint(Message, frozen=True, tag=14, array_like=True):
    """The serving device's folder has changed: a pass would find something. Comes unasked, between replies."""


class Unready(Message, frozen=True, tag=15, array_like=True):
    """The answer to DIGEST when the folder cannot be used now, and why, in words."""

    reason: ShortText


class Pending(Message, frozen=True, tag=129, array_like=True):
    """The changes that were asked for are being carried out, or wait until those of other devices are. Comes now and
    then before their answer.
    """


ControlRequest = Hello | DigestRequest | ListRequest | ChangeRequest | LeftOutRequest | UndoneRequest
ControlReply = Welcome | Digest | Listing | Changed | LeftOut | Undone | Hint | Unready | Pending
DataRequest = Fetch | Cut | FetchParts
DataReply = Leaves | Chunk | End | Abort | Pieces | Bundle

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
