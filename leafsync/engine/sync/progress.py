"""Counters of a running pass, read by snapshots."""

from collections.abc import Callable

from leafsync.engine.core.status import Totals, TransferState, TransferStatus


class Progress:
    """Mutable on purpose: counting must cost the transfer nothing. `totals` and `transfers` freeze it."""

    def __init__(self, wire: Callable[[], tuple[int, int]]) -> None:
        """`wire` returns the bytes received and sent so far by the connection."""
        self._wire = wire
        self._wire_at_start = wire()
        self._active: dict[str, list[int]] = {}
        self.files = 0
        self.files_done = 0
        self.bytes = 0
        self.bytes_done = 0
        self.fetched = 0
        self.reused = 0
        self.sent = 0
        self.version = 0

    def expect(self, files: int, size: int) -> None:
        """Add what a plan moves: `files` files of `size` bytes together."""
        self.files += files
        self.bytes += size
        self.version += 1

    def start(self, path: str, size: int) -> None:
        """Say that the file at `path` is on its way."""
        self._active[path] = [size, 0]
        self.version += 1

    def add(self, path: str, size: int, *, fetched: bool) -> None:
        """Count `size` verified bytes of `path`, from the wire or from here."""
        self._active.setdefault(path, [size, 0])[1] += size
        self.bytes_done += size
        if fetched:
            self.fetched += size
        else:
            self.reused += size
        self.version += 1

    def send(self, path: str, size: int, count: int) -> None:
        """Count `count` bytes sent of the file at `path`, which has `size`."""
        sending = self._active.setdefault(path, [size, 0])
        sending[1] += count
        self.sent += count
        self.bytes_done += count
        if sending[1] >= size:
            del self._active[path]
        self.version += 1

    def settle(self, files: int, size: int) -> None:
        """Take `files` files of `size` bytes for done: the other side has them, sent or not."""
        self.files_done += files
        self.bytes_done += size - self.sent
        self._active.clear()
        self.version += 1

    def finish(self, path: str, *, done: bool) -> None:
        """Say that the file at `path` is in its place, or has failed."""
        _size, have = self._active.pop(path, [0, 0])
        if done:
            self.files_done += 1
        else:
            self.bytes_done -= have
        self.version += 1

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

    @property
    def transfers(self) -> tuple[TransferStatus, ...]:
        """Return the files on their way."""
        return tuple(
            TransferStatus(path, size, done, TransferState.ACTIVE) for path, (size, done) in self._active.items()
        )
