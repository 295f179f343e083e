"""Compression of what travels: cheap, left out where it does not pay, and never trusted when it arrives.

Level 1 of Zstandard is taken: on text it is as fast as the levels below it and three quarters of their size, and with
the levels above it the thread that packs, not the link, would become the bottleneck of a fast connection.

`zstandard` is loaded when something is packed or unpacked for the first time: most passes find nothing to do.
"""

import threading
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from zstandard import ZstdCompressor, ZstdDecompressor

LEVEL = 1
"""Of Zstandard (see above)."""

SMALLEST = 128
"""Bytes below which nothing is packed: the frame would take what it saves."""

SAMPLE = 4 << 10
"""Bytes of each of three samples by which a chunk is judged: 10 microseconds, where packing all of it takes
milliseconds."""

SAMPLED = 64 << 10
"""Bytes from which on a sample is taken first."""

GAIN = 16
"""Packed content is taken if it is smaller by one part in so many at least: unpacking is work for the other side."""

_local = threading.local()  # neither a compressor nor a decompressor may be used by two threads at once


class PackingMalformed(ValueError):
    """Bytes that are not what a device packs: no Zstandard frame, or one of another length."""


class Packed(msgspec.Struct, frozen=True):
    """Content as it came, to be unpacked off the loop."""

    data: bytes
    length: int
    """Bytes that it has to unpack to."""

    def unpack(self) -> bytes:
        """Return the content (blocking). Raises PackingMalformed."""
        return unpack(self.data, self.length)


def pack(data: bytes | bytearray | memoryview) -> bytes | None:
    """Return `data` compressed, None where that does not pay (blocking)."""
    if len(data) < SMALLEST or (len(data) >= SAMPLED and not _promising(memoryview(data))):
        return None
    packed = _compressor().compress(data)
    return packed if len(packed) <= len(data) - len(data) // GAIN else None


def unpack(data: bytes, length: int) -> bytes:
    """Return the `length` bytes that `data` was packed from (blocking).

    Raises PackingMalformed. Nothing is allocated but `length` bytes: the frame must name exactly that size before any
    of it is unpacked (fault case 53).
    """
    from zstandard import ZstdError, get_frame_parameters

    try:
        if get_frame_parameters(data).content_size != length:
            raise PackingMalformed("it unpacks to another length")
        unpacked = _decompressor().decompress(data, allow_extra_data=False)
    except ZstdError as error:
        raise PackingMalformed(str(error)) from error
    if len(unpacked) != length:
        raise PackingMalformed("it unpacks to another length")
    return unpacked


def _promising(data: memoryview) -> bool:
    """Whether samples of `data` become smaller."""
    places = (0, (len(data) - SAMPLE) // 2, len(data) - SAMPLE)
    sample = b"".join(data[place : place + SAMPLE] for place in places)
    return len(_compressor().compress(sample)) <= len(sample) - len(sample) // GAIN


def _compressor() -> "ZstdCompressor":
    try:
        compressor: ZstdCompressor = _local.compressor
    except AttributeError:
        import zstandard

        compressor = _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return compressor


def _decompressor() -> "ZstdDecompressor":
    try:
        decompressor: ZstdDecompressor = _local.decompressor
    except AttributeError:
        import zstandard

        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    return decompressor
