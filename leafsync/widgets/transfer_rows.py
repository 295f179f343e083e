"""What the Transfers screen has of each transfer, and one order of one selection of them. Pure."""

import enum
from typing import TypeAlias

import msgspec

from leafsync.bridge import Direction
from leafsync.progress import Meter
from leafsync.widgets.row_order import RowOrder


class RowState(enum.IntEnum):
    """Where a row is; the order is the one they are shown in."""

    ACTIVE = 0
    FAILED = 1
    PAUSED = 2
    WAITING = 3
    DONE = 4


class Sort(enum.StrEnum):
    """What rows are sorted by."""

    STATE = "state"
    PATH = "path"
    SIZE = "size"
    RATE = "rate"


FILTERS = (None, RowState.ACTIVE, RowState.FAILED, RowState.WAITING, RowState.DONE)
"""What can be looked at alone, one after the other; None is everything. A paused transfer waits, too."""

UNSETTLED = frozenset({RowState.ACTIVE, RowState.WAITING, RowState.PAUSED})
"""States that a transfer leaves by itself while its job runs."""

_LATER = 1 << 48
"""More than there will ever be changes of state: keeps one state's rows behind the other's in one number."""


class JobStanding(msgspec.Struct, frozen=True):
    """What the rows of a job have to know of it."""

    id: int
    folder: str
    paused: bool = False
    ended: bool = False


_Key: TypeAlias = tuple[str, bool, str]
"""The peer, whether the file comes, and its path: strings and numbers, as in `RowOrder`."""


class JobRows(msgspec.Struct, eq=False):
    """The rows of one job, and how far its log was read."""

    standing: JobStanding
    version: int = 0
    epoch: int = 0
    generation: int = 0
    """Rises when the log was started anew; rows of a lower one are gone."""
    behind: bool = False
    """Whether something that was read is not in the rows yet."""
    gone: bool = False
    rows: "dict[_Key, Row]" = msgspec.field(default_factory=dict)
    done: int = 0
    """Rows whose file is in its place."""
    bytes: int = 0
    bytes_done: int = 0


class Row(msgspec.Struct, eq=False):
    """A transfer as it is shown. Mutable, one object for as long as the transfer is in the list."""

    number: int
    job: JobRows
    peer: str
    direction: Direction
    path: str
    size: int = 0
    done: int = 0
    state: RowState = RowState.WAITING
    error: str = ""
    rate: float | None = None
    """Bytes per second, of active rows."""
    eta: float | None = None
    """Seconds left, of active rows."""
    changed: int = 0
    """Rises with every change of state, of any row: what came into a state first is shown first."""
    version: int = 0
    """Rises with every change of this row."""
    generation: int = 0
    gone: bool = False
    meter: Meter | None = None

    @property
    def shown_state(self) -> RowState:
        """The state, heeding that nothing moves in a job that is paused or has ended."""
        stands = self.job.standing.paused or self.job.standing.ended
        return RowState.PAUSED if stands and self.state in UNSETTLED else self.state


class View:
    """One order of one selection of rows."""

    def __init__(self, sort: Sort, state: RowState | None, text: str) -> None:
        """Show rows in `state` (None: any) whose path has `text` in it, whatever the case."""
        self.sort, self.state, self.text = sort, state, text.casefold()
        self.order: RowOrder[Row] = RowOrder()

    def place(self, row: Row) -> None:
        """Have a row that is new or has changed where it belongs."""
        if self._shows(row):
            self.order.put(self._key(row), row.number, row)
        else:
            self.order.discard(row.number)

    def _shows(self, row: Row) -> bool:
        state = RowState.WAITING if row.state is RowState.PAUSED else row.state
        return (self.state is None or state is self.state) and (not self.text or self.text in row.path.casefold())

    def _key(self, row: Row) -> int | float | str:
        if self.sort is Sort.STATE:
            return row.state * _LATER + row.changed
        if self.sort is Sort.PATH:
            return row.path
        if self.sort is Sort.SIZE:
            return -row.size
        return -1.0 - (row.rate or 0.0) if row.state is RowState.ACTIVE else 0.0
