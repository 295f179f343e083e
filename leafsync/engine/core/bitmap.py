"""A set of chunk numbers, one bit each: which chunks of a staged file are there."""

from collections.abc import Iterable, Iterator


class Bitmap:
    """A mutable set of integers in `range(size)`, stored in `ceil(size / 8)` bytes, lowest bit first."""

    __slots__ = ("_bits", "_count", "size")

    def __init__(self, size: int, data: bytes = b"") -> None:
        """Make a bitmap of `size` bits from what `to_bytes` returned; raises ValueError when it does not fit."""
        if size < 0:
            raise ValueError("the size is negative")
        self.size = size
        self._bits = bytearray(data or bytes(-(-size // 8)))
        if len(self._bits) != -(-size // 8):
            raise ValueError(f"{len(data)} bytes do not hold {size} bits")
        if size % 8 and self._bits[-1] >> size % 8:
            raise ValueError("a bit beyond the size is set")
        self._count = sum(byte.bit_count() for byte in self._bits)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self.size and bool(self._bits[index >> 3] >> (index & 7) & 1)

    def __iter__(self) -> Iterator[int]:
        return (index for index in range(self.size) if index in self)

    def add(self, index: int) -> None:
        """Set bit `index`; raises IndexError outside the size."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        if index not in self:
            self._bits[index >> 3] |= 1 << (index & 7)
            self._count += 1

    @property
    def complete(self) -> bool:
        """Whether every bit is set."""
        return self._count == self.size

    def missing(self) -> Iterator[int]:
        """Yield the numbers whose bit is not set, in order."""
        return (index for index in range(self.size) if index not in self)

    def to_bytes(self) -> bytes:
        """Return the bits for the store."""
        return bytes(self._bits)


def ranges(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Join ascending numbers into (start, count) ranges."""
    joined: list[tuple[int, int]] = []
    for index in indexes:
        if joined and sum(joined[-1]) == index:
            joined[-1] = (joined[-1][0], joined[-1][1] + 1)
        else:
            joined.append((index, 1))
    return joined
