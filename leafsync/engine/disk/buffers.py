"""Whole reads, and room for one chunk in each thread: nobody allocates a MiB for each that is read and forgotten."""

import os
import threading

from leafsync.engine.core.merkle import CHUNK_SIZE

_local = threading.local()


def chunk_buffer() -> memoryview:
    """Return the buffer of this thread, which whoever asks for it next overwrites."""
    try:
        buffer: memoryview = _local.buffer
    except AttributeError:
        buffer = _local.buffer = memoryview(bytearray(CHUNK_SIZE))
    return buffer


def read_chunk(fd: int, length: int, offset: int) -> memoryview:
    """Read `length` bytes at `offset` into this thread's buffer; shorter at the file's end. Raises OSError."""
    buffer = chunk_buffer()[:length]
    return buffer[: fill(fd, buffer, offset)]


def fill(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` with what is at `offset` and return how much there was; the system may give less at a time than
    there is. Raises OSError.
    """
    filled = 0
    while filled < len(buffer):
        read = os.preadv(fd, [buffer[filled:]], offset + filled)
        if not read:
            break
        filled += read
    return filled


def read_bytes(fd: int, length: int, offset: int) -> bytes:
    """Return `length` bytes at `offset`, less at the file's end. Raises OSError."""
    data = os.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    rest = memoryview(bytearray(length - len(data)))
    return data + rest[: fill(fd, rest, offset + len(data))]
