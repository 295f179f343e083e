"""Room for one chunk in each thread: nobody allocates a MiB for each chunk that is read, hashed and forgotten."""

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
    buffer, filled = chunk_buffer(), 0
    while filled < length:
        read = os.preadv(fd, [buffer[filled:length]], offset + filled)
        if not read:
            break
        filled += read
    return buffer[:filled]
