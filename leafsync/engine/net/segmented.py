"""Bytes on their way through a stream, kept in the segments they came in: not acknowledged yet, or not read yet.

Appending to a bytearray that has lost bytes at its front copies all of it every few hundred kilobytes, 4 MiB each time
when a window is full: 8 % of a sender's time at full speed. This has the few operations that are used of one, those
of upstream included, and copies a byte once, when it leaves.
"""

from bisect import bisect_right
from typing import Self

SMALL = 4096
"""Segments shorter than this are joined to the next one: small messages must not become as many small segments."""


class SegmentedBuffer:
    """Behaves like a bytearray that is appended to, sliced, and cut off at its front. Positions count from there."""

    __slots__ = ("_front", "_segments", "_starts", "_stop")

    def __init__(self) -> None:
        self._segments: list[bytes] = []
        self._starts: list[int] = []
        """Where each segment begins, counted from the first byte there ever was."""
        self._front = 0
        self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._front

    def __bytes__(self) -> bytes:
        return bytes(self[0 : len(self)])

    def __iadd__(self, data: bytes) -> Self:
        if self._segments and len(self._segments[-1]) < SMALL:
            self._segments[-1] += data
        else:
            self._segments.append(bytes(data))
            self._starts.append(self._stop)
        self._stop += len(data)
        return self

    def __getitem__(self, where: slice) -> bytes | memoryview:
        """Return the bytes from `where.start` to `where.stop`: a view of them if they are in one segment."""
        start = self._front + (where.start or 0)
        stop = min(self._stop, self._stop if where.stop is None else self._front + where.stop)
        if start >= stop:
            return b""
        at = bisect_right(self._starts, start) - 1
        begin = self._starts[at]
        view = memoryview(self._segments[at])[start - begin : stop - begin]
        if len(view) == stop - start:
            return view
        parts: list[bytes | memoryview] = [view]
        start += len(view)
        while start < stop:
            at += 1
            parts.append(memoryview(self._segments[at])[: stop - start])
            start += len(parts[-1])
        return b"".join(parts)

    def take(self, count: int) -> bytes:
        """Cut off the first `count` bytes, or all there are, and return them."""
        if self._segments:
            first, begin = self._segments[0], self._front - self._starts[0]
            data = first[begin : begin + count]
            if len(data) == count and begin + count < len(first):  # as most are in a transfer
                self._front += count
                return data
        data = bytes(self[:count])
        del self[:count]
        return data

    def clear(self) -> None:
        """Cut off everything."""
        del self[: len(self)]

    def __delitem__(self, where: slice) -> None:
        """Cut off the bytes before `where.stop`."""
        if where.start:
            raise ValueError("only the front can be cut off")
        self._front = min(self._stop, self._front + where.stop)
        gone = 0
        while gone < len(self._segments) and self._starts[gone] + len(self._segments[gone]) <= self._front:
            gone += 1
        del self._segments[:gone], self._starts[:gone]
