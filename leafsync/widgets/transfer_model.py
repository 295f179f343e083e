"""The rows of the Transfers screen: pure; which there are, which are shown, in which order, and where the cursor is.

Everything that costs by the number of rows (a first look at 100,000 of them, another order, another filter) is work
that `work` does in slices. What changes from tick to tick costs by what has changed alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from leafsync.bridge import Direction, TransferChanges, TransferState, TransferStatus
from leafsync.progress import Meter
from leafsync.widgets.transfer_rows import FILTERS, UNSETTLED, JobRows, JobStanding, Row, RowState, Sort, View

STEPS = 16
"""Rows dealt with between two looks at the clock: some 0.1 ms."""


_STATES = {
    TransferState.WAITING: RowState.WAITING,
    TransferState.ACTIVE: RowState.ACTIVE,
    TransferState.DONE: RowState.DONE,
    TransferState.FAILED: RowState.FAILED,
}


class TransferModel:
    """All rows, the view of them that is shown, and the cursor."""

    def __init__(self) -> None:
        """Start without jobs."""
        self.view = View(Sort.STATE, None, "")
        """What is shown."""
        self.counts = dict.fromkeys(RowState, 0)
        """Rows in each state, shown or not."""
        self._wanted: tuple[str, Sort, RowState | None] = ("", Sort.STATE, None)
        self._coming: View | None = None
        """What will be shown once all rows are in it."""
        self._arranging: Iterator[None] | None = None
        self._intake: deque[Iterator[None]] = deque()
        self._jobs: dict[int, JobRows] = {}
        self._active: dict[int, Row] = {}
        self._numbers = 0
        self._changes = 0
        self._cursor: Row | None = None
        self._cursor_index = 0

    # What comes in

    def know(self, jobs: Iterable[JobStanding]) -> None:
        """Say which jobs there are; the rows of others go."""
        standings = {standing.id: standing for standing in jobs}
        for job_id in [job_id for job_id in self._jobs if job_id not in standings]:
            job = self._jobs.pop(job_id)
            job.gone = True
            self._intake.append(self._drop_all(job))
        for job_id, standing in standings.items():
            if job_id in self._jobs:
                self._jobs[job_id].standing = standing
            else:
                self._jobs[job_id] = JobRows(standing)

    @property
    def jobs(self) -> tuple[JobRows, ...]:
        """The jobs there are."""
        return tuple(self._jobs.values())

    def take(self, job: JobRows, changes: TransferChanges) -> None:
        """Take in what has changed in a job's log. To be called only while the job is not `behind`."""
        anew = changes.epoch != job.epoch
        job.version, job.epoch = changes.version, changes.epoch
        job.generation += anew
        if changes.rows or anew:
            job.behind = True
            self._intake.append(self._take(job, changes.rows, anew=anew))

    def _take(self, job: JobRows, changed: Sequence[TransferStatus], *, anew: bool) -> Iterator[None]:
        for status in changed:
            if job.gone:
                return
            self._change(job, status)
            yield
        if anew:
            yield from self._drop_all(job)
        job.behind = False

    def _drop_all(self, job: JobRows) -> Iterator[None]:
        """Drop the rows of a job that is gone, or those which its log does not have any more."""
        for key, row in list(job.rows.items()):
            if job.gone or row.generation < job.generation:
                del job.rows[key]
                self._drop(row)
            yield

    def _change(self, job: JobRows, status: TransferStatus) -> None:
        key = (status.peer, status.direction is Direction.IN, status.path)
        row = job.rows.get(key)
        if row is None:
            self._numbers += 1
            row = job.rows[key] = Row(self._numbers, job, status.peer, status.direction, status.path)
            row.changed = self._changes = self._changes + 1
        else:
            self._count(row, -1)
        state = _STATES[status.state]
        if state is RowState.FAILED and job.standing.paused and row.version and row.state in UNSETTLED:
            state = RowState.PAUSED  # what a pause interrupts is not a failure: it goes on with the job
        if state is not row.state:
            row.state = state
            row.changed = self._changes = self._changes + 1
            row.meter = row.rate = row.eta = None
        row.size, row.done, row.error = status.size, status.done, status.error
        row.generation = job.generation
        row.version += 1
        self._count(row, 1)
        self._place(row)

    def _count(self, row: Row, by: int) -> None:
        self.counts[row.state] += by
        job = row.job
        job.bytes += by * row.size
        job.bytes_done += by * row.done
        job.done += by * (row.state is RowState.DONE)
        if by > 0 and row.state is RowState.ACTIVE:
            self._active[row.number] = row
        else:
            self._active.pop(row.number, None)

    def _place(self, row: Row) -> None:
        self.view.place(row)
        if self._coming is not None:
            self._coming.place(row)

    def _drop(self, row: Row) -> None:
        row.gone = True
        self._count(row, -1)
        self.view.order.discard(row.number)
        if self._coming is not None:
            self._coming.order.discard(row.number)

    def measure(self, now: float) -> None:
        """Take a sample of each active row's rate, at `now` seconds; twice a second is enough."""
        for row in self._active.values():
            if row.job.standing.ended or row.job.standing.paused:
                row.meter = row.rate = row.eta = None
                continue
            if row.meter is None:
                row.meter = Meter()
            row.meter.add(now, row.done)
            row.rate, row.eta = row.meter.rate, row.meter.eta(row.size - row.done)
            row.version += 1
            if self.view.sort is Sort.RATE or (self._coming and self._coming.sort is Sort.RATE):
                self._place(row)

    # What is shown

    @property
    def sort(self) -> Sort:
        """What rows are sorted by, or will be in a moment."""
        return self._wanted[1]

    @property
    def state(self) -> RowState | None:
        """The state that alone is shown, None for all."""
        return self._wanted[2]

    @property
    def text(self) -> str:
        """What the paths that are shown have in them."""
        return self._wanted[0]

    def next_sort(self) -> None:
        """Sort by the next thing there is to sort by."""
        sorts = list(Sort)
        self._arrange(self.text, sorts[(sorts.index(self.sort) + 1) % len(sorts)], self.state)

    def sort_by(self, name: str) -> None:
        """Sort by what is called so; a name that means nothing changes nothing."""
        if name in list(Sort):
            self._arrange(self.text, Sort(name), self.state)

    def next_state(self) -> None:
        """Show the next state alone, after the last one all."""
        self._arrange(self.text, self.sort, FILTERS[(FILTERS.index(self.state) + 1) % len(FILTERS)])

    def search(self, text: str) -> None:
        """Show only rows whose path has `text` in it, whatever the case."""
        self._arrange(text, self.sort, self.state)

    def _arrange(self, text: str, sort: Sort, state: RowState | None) -> None:
        if (text, sort, state) == self._wanted:
            return
        self._wanted = (text, sort, state)
        self._coming = View(sort, state, text)
        self._arranging = self._fill(self._coming)

    def _fill(self, view: View) -> Iterator[None]:
        for row in [row for job in self._jobs.values() for row in job.rows.values()]:
            if not row.gone:
                view.place(row)
            yield
        self.view, self._coming = view, None

    def work(self, clock: Callable[[], float], seconds: float) -> bool:
        """Do what is left to do, for about so long. Return whether something is left: until then, the rows are those
        of before, in the order of before, as far as they have come.
        """
        until = clock() + seconds
        while clock() < until:
            if self._arranging is not None:
                if not _advance(self._arranging):
                    self._arranging = None
            elif self._intake:
                if not _advance(self._intake[0]):
                    self._intake.popleft()
            else:
                return False
        return self._arranging is not None or bool(self._intake)

    # The cursor

    @property
    def following(self) -> bool:
        """Whether the cursor is on the first row, whichever that is: so it is until somebody moves it."""
        return self._cursor is None

    @property
    def cursor(self) -> Row | None:
        """The row that the cursor is on; it stays on it while rows move. None when nothing is shown."""
        index = self.cursor_index
        return next(self.view.order.slice(index, index + 1), None)

    @property
    def cursor_index(self) -> int:
        """Where the cursor is: the row's place, or, when that is not shown any more, the place where it was."""
        if self._cursor is None:
            return 0
        order = self.view.order
        index = order.index(self._cursor.number)
        if index is None:
            index = max(0, min(self._cursor_index, len(order) - 1))
            self._cursor = next(order.slice(index, index + 1), None)
        self._cursor_index = index
        return index

    def point(self, index: int) -> None:
        """Put the cursor on the row at a place, or on the one that is nearest to it."""
        order = self.view.order
        self._cursor_index = max(0, min(index, len(order) - 1))
        self._cursor = next(order.slice(self._cursor_index, self._cursor_index + 1), None)

    def follow(self) -> None:
        """Have the cursor on the first row, whichever that is."""
        self._cursor = None


def _advance(task: Iterator[None]) -> bool:
    """Do a few steps; return whether there may be more."""
    return sum(1 for _step in islice(task, STEPS)) == STEPS
