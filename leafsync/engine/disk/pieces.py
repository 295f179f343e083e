"""Cuts files into pieces where their content says so (FastCDC), and names each by its xxh3_64.

`pyfastcdc` releases the GIL for each piece and keeps it for about a microsecond in between.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from leafsync.engine.core.pieces import max_piece, min_piece

if TYPE_CHECKING:
    from pyfastcdc import NormalizedChunking

BLOCK = 4 << 20
"""Bytes read and cut in one go: some milliseconds of a thread, between which it can be told to stop."""

NORMALIZATION: "NormalizedChunking" = 1
"""How much cuts keep to the average; like everything here it must be the same on both sides, or nothing is found."""

Read = Callable[[memoryview, int], None]
"""Fills a buffer with what is at an offset, or raises."""


def cut(read: Read, start: int, length: int, scale: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the pieces (id, length) of `length` bytes from `start` on, a block at a time (blocking).

    The average piece has about 2 ** `scale` bytes. Where the cuts are depends on these bytes alone, not on blocks.
    """
    from pyfastcdc import FastCDC  # few passes have something to cut

    longest = max_piece(scale)
    cutter = FastCDC(1 << scale, min_size=min_piece(scale), max_size=longest, normalized_chunking=NORMALIZATION, seed=0)
    buffer = memoryview(bytearray(min(length, BLOCK + longest)))
    at, end, held = start, start + length, 0
    while at < end:
        count = min(BLOCK, end - at)
        read(buffer[held : held + count], at)
        at, held = at + count, held + count
        pieces: list[tuple[int, int]] = []
        used = 0
        for piece in cutter.cut_buf(buffer[:held]):
            if at < end and used + longest > held:  # with more bytes it might end elsewhere
                break
            pieces.append((xxh3_64_intdigest(piece.data), piece.length))
            used += piece.length
        buffer[: held - used] = bytes(buffer[used:held])
        held -= used
        yield pieces
