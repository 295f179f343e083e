"""Whole reads, and room for one chunk in each thread: nobody allocates a MiB for each that is read and forgotten."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator

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


def forget(fd: int, places: Iterable[tuple[int, int]]) -> None:
    """Tell the system that these bytes (offset, length) of a file are not read again, so that what is written next can
    have their memory.
    """
    if sys.platform != "darwin":  # which has no such advice
        for start, length in _joined(places):
            with contextlib.suppress(OSError):  # it is advice
                os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)


def _joined(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the places in order, neighbours as one: memory is given back by the page at least."""
    start = end = 0
    for offset, length in sorted(places):
        if offset > end:
            if end > start:
                yield start, end - start
            start = offset
        end = max(end, offset + length)
    if end > start:
        yield start, end - start
