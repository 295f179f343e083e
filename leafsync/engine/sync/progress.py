"""Counters of a running pass, read by snapshots."""

from collections.abc import Callable, Collection

from leafsync.engine.core.status import Direction, Totals
from leafsync.engine.core.transfers import TransferKey, TransferLog

Wire = Callable[[], tuple[int, int]]
"""Returns the bytes received and sent so far by a connection."""


class Progress:
    """Mutable on purpose: counting must cost the transfer nothing. `totals` freezes it, single files are in a log."""

    def __init__(self, wire: Wire, log: TransferLog | None = None, peer: str = "") -> None:
        """Count what moves over a connection with `peer`, file by file in `log`."""
        self._wire = wire
        self._wire_at_start = wire()
        self._log = log if log is not None else TransferLog()
        self._peer = peer
        self.files = 0
        self.files_done = 0
        self.bytes = 0
        self.bytes_done = 0
        self.fetched = 0
        self.reused = 0
        self.sent = 0
        self._pending_at: int | None = None
        """The bytes that had been sent when the other side last said that its answer is pending."""

    def expect(self, direction: Direction, files: Collection[tuple[str, int]]) -> None:
        """Add what a plan moves: files as (path, size in bytes)."""
        self.files += len(files)
        self.bytes += sum(size for _path, size in files)
        self._log.expect(self._peer, direction, files)

    def correct(self, files: int, size: int) -> None:
        """Add to what is expected, or take from it: files and their bytes that turn out to move, or not to."""
        self.files += files
        self.bytes += size

    def start(self, path: str, size: int) -> None:
        """Say that the file at `path` is on its way here."""
        self._log.start(self._key(Direction.IN, path), size)

    def add(self, path: str, size: int, *, fetched: bool) -> None:
        """Count `size` verified bytes of `path`, which has been started, from the wire or from here."""
        self._log.add(self._key(Direction.IN, path), size)
        self._count(size, fetched=fetched)

    def whole(self, path: str, size: int, *, fetched: bool) -> None:
        """Count all `size` bytes of a small file at `path`, from the wire or from here, in one go."""
        self._log.start(self._key(Direction.IN, path), size, size)
        self._count(size, fetched=fetched)

    def _count(self, size: int, *, fetched: bool) -> None:
        self.bytes_done += size
        if fetched:
            self.fetched += size
        else:
            self.reused += size

    def take_back(self, size: int) -> None:
        """Uncount the bytes of a small file that came wrong from the wire, and comes again."""
        self.bytes_done -= size
        self.fetched -= size

    def finish(self, path: str, error: str = "") -> None:
        """Say that the file at `path` is in its place here, or why not."""
        key = self._key(Direction.IN, path)
        if error:
            self.bytes_done -= self._log.done(key)
        else:
            self.files_done += 1
        self._log.settle(key, error)

    def send(self, path: str, size: int, count: int) -> None:
        """Count `count` bytes sent of the file at `path`, which has `size`."""
        key = self._key(Direction.OUT, path)
        self._log.start(key, size)
        self._log.add(key, count)
        self.sent += count
        self.bytes_done += count

    def pend(self) -> None:
        """Say that the other side's answer is pending."""
        self._pending_at = self.sent

    @property
    def pending(self) -> bool:
        """Whether the other side said so, and has taken nothing since."""
        return self._pending_at == self.sent

    def finish_sending(self, path: str, error: str = "") -> None:
        """Say that what was asked for of the file at `path` has been sent, or why it cannot be."""
        self._log.settle(self._key(Direction.OUT, path), error)

    def settle(self, files: int, size: int) -> None:
        """Take `files` files of `size` bytes for done: the other side has them, sent or not."""
        self.files_done += files
        self.bytes_done += size - self.sent

    def close(self, error: str = "") -> None:
        """Settle every file that waits or moves: it is over; `error` says why, if it should not be."""
        self._log.settle_all(self._peer, error)

    def _key(self, direction: Direction, path: str) -> TransferKey:
        return TransferKey(self._peer, direction, path)

    @property
    def totals(self) -> Totals:
        """Return the sums so far."""
        wire_in, wire_out = self._wire()
        return Totals(
            files=self.files,
            files_done=self.files_done,
            bytes=self.bytes,
            bytes_done=self.bytes_done,
            fetched=self.fetched,
            reused=self.reused,
            sent=self.sent,
            wire_in=wire_in - self._wire_at_start[0],
            wire_out=wire_out - self._wire_at_start[1],
        )
