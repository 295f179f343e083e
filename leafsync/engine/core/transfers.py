"""The transfers of one job: every file that waits, moves, has moved or has failed, for whoever shows them.

Rows are mutable on purpose: counting must cost the transfer nothing. Readers pull what has changed since they looked
last, so a list of 100,000 files costs a reader only what moved.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice, takewhile
from typing import NamedTuple, overload

import msgspec

from leafsync.engine.core.status import Direction, TransferState, TransferStatus

SETTLED = frozenset({TransferState.DONE, TransferState.FAILED})
"""States that a transfer does not leave by itself."""


ROOM_SHARE = 10
"""Of the transfers that are kept, one in so many is dropped when the log is full: readers start anew each time, which
must be rare.
"""


class TransferKey(NamedTuple):
    """What makes a transfer this one: a folder may send one file to several devices at once."""

    peer: str
    direction: Direction
    path: str


class _Row(msgspec.Struct):
    size: int
    done: int
    state: TransferState
    error: str
    version: int


class _Rows(Sequence[TransferStatus]):
    """Rows as values, made when they are asked for."""

    def __init__(self, rows: "Sequence[tuple[TransferKey, _Row]]") -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> TransferStatus: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[TransferStatus]: ...

    def __getitem__(self, at: int | slice) -> TransferStatus | Sequence[TransferStatus]:
        return _Rows(self._rows[at]) if isinstance(at, slice) else _status(*self._rows[at])


class TransferChanges(msgspec.Struct, frozen=True):
    """What has changed in a log since a reader looked last."""

    epoch: int
    """Another number than before means that rows were dropped, and that `rows` are all there are."""
    version: int
    """To be named at the next look."""
    rows: Sequence[TransferStatus]
    """Made as they are read, so that a reader of many can take its time: then they may be newer than `version`."""


class TransferLog:
    """Keeps at most `keep` transfers that are not under way; with 0, which is enough for a live area, none."""

    def __init__(self, keep: int = 0) -> None:
        """Start empty."""
        self._keep = keep
        self._rows: OrderedDict[TransferKey, _Row] = OrderedDict()
        """In the order of their last change."""
        self._active: dict[TransferKey, _Row] = {}
        self._settled: dict[TransferKey, None] = {}
        """Keys of the rows that are over, in their order."""
        self._version = 0
        self._epoch = 0

    def expect(self, peer: str, direction: Direction, files: Iterable[tuple[str, int]]) -> None:
        """Add files, as (path, size in bytes), that will move; as many as there is room for."""
        files = list(files)
        self._make_room(len(files))
        for path, size in files:
            key = TransferKey(peer, direction, path)
            if key in self._active:
                continue
            if key not in self._rows and self._idle >= self._keep:
                return
            self._put(key, _Row(size, 0, TransferState.WAITING, "", 0))

    def start(self, key: TransferKey, size: int, done: int = 0) -> None:
        """Say that a file is on its way, and how many bytes of it have moved; one that is already goes on."""
        if key not in self._active:
            self._put(key, _Row(size, done, TransferState.ACTIVE, "", 0))

    def add(self, key: TransferKey, count: int) -> None:
        """Count bytes of a file that is on its way."""
        row = self._active.get(key)
        if row is not None:
            row.done = min(row.size, row.done + count)
            self._put(key, row)

    def settle(self, key: TransferKey, error: str = "") -> None:
        """Say that a file is in its place, or why it is not."""
        row = self._rows.get(key)
        if row is None:
            return
        row.state, row.error = (TransferState.FAILED, error) if error else (TransferState.DONE, "")
        if not error:
            row.done = row.size
        self._put(key, row)

    def settle_all(self, peer: str, error: str = "") -> None:
        """Settle everything with `peer` that waits or moves: its pass or connection is over."""
        for key in [key for key, row in self._rows.items() if key.peer == peer and row.state not in SETTLED]:
            self.settle(key, error)

    def done(self, key: TransferKey) -> int:
        """Return the bytes of a file under way that have moved."""
        row = self._active.get(key)
        return row.done if row is not None else 0

    @property
    def active_count(self) -> int:
        """How many files are on their way."""
        return len(self._active)

    def moving(self, most: int) -> tuple[TransferStatus, ...]:
        """Return some of the files on their way: those that are not whole yet first, the others only wait."""
        ordered = sorted(self._active.items(), key=lambda item: item[1].done >= item[1].size)
        return tuple(_status(key, row) for key, row in ordered[:most])

    def since(self, version: int, epoch: int) -> TransferChanges:
        """Return the rows that have changed since `version`, least recently changed first; all of them to a reader
        of another epoch.
        """
        if epoch != self._epoch:
            version = 0
        rows = list(takewhile(lambda item: item[1].version > version, reversed(self._rows.items())))
        rows.reverse()
        return TransferChanges(self._epoch, self._version, _Rows(rows))

    @property
    def _idle(self) -> int:
        return len(self._rows) - len(self._active)

    def _put(self, key: TransferKey, row: _Row) -> None:
        """Make `row` the one that changed last, and keep only as many as are wanted."""
        self._version += 1
        row.version = self._version
        self._rows[key] = row
        self._rows.move_to_end(key)
        self._settled.pop(key, None)
        if row.state is TransferState.ACTIVE:
            self._active[key] = row
        else:
            self._active.pop(key, None)
            if row.state in SETTLED:
                self._settled[key] = None
            if self._idle > self._keep:
                self._make_room(self._keep // ROOM_SHARE)

    def _make_room(self, count: int) -> None:
        """Drop the transfers that were settled longest ago, if new ones need their room."""
        surplus = self._idle + count - self._keep
        if surplus <= 0:
            return
        settled = list(islice(self._settled, surplus))
        for key in settled:
            del self._rows[key], self._settled[key]
        if settled:
            self._epoch += 1


def _status(key: TransferKey, row: _Row) -> TransferStatus:
    return TransferStatus(key.path, row.size, row.done, row.state, row.error, key.direction, key.peer)
