"""The Transfers screen: every file that waits, moves, has moved or has failed, in all jobs."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Sparkline, Static

from leafsync.actions import ACTIONS, bind
from leafsync.bridge import NO_CHANGES, PassState, Snapshot
from leafsync.screens.base import MainScreen, attempt, ours
from leafsync.screens.transfer_details import TransferDetails
from leafsync.widgets.kept import Kept
from leafsync.widgets.key_line import KeyLine
from leafsync.widgets.said_line import SaidLine
from leafsync.widgets.top_bar import TopBar
from leafsync.widgets.transfer_line import STATES
from leafsync.widgets.transfer_list import TransferList, TransferTitles
from leafsync.widgets.transfer_model import TransferModel
from leafsync.widgets.transfer_rows import FILTERS, JobRows, JobStanding, RowState
from leafsync.widgets.transfer_totals import SAMPLE, Throughput, attention, figures, sums

SLICE = 0.003
"""Seconds of work on the rows in a turn of the loop: keys and datagrams wait no longer."""

REDRAW = 0.1
"""Seconds between two looks of the list while there is more to do: as often as snapshots come."""

WIDTHS = [(0, "-narrow"), (80, "-normal")]
"""Cells from which on the throughput is drawn."""

HEIGHTS = [(0, "-low"), (24, "-medium"), (36, "-tall")]
"""Rows from which on the throughput is drawn, and drawn with some air around it."""

WORDS = 68
"""Cells from which on the counts have words beside their glyphs."""


class Curve(Sparkline, Kept):
    """The throughput over time."""


class FilterInput(Input):
    """Where the text to look for in paths is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [bind("modal.close", "leave", shown=False)]

    def action_leave(self) -> None:
        """Show all paths again, and go back to the list."""
        self.value = ""
        self.screen.query_one(TransferList).focus()


class TransfersScreen(MainScreen):
    """Shows the transfers of all jobs, what they add up to, and leads to what can be done about them."""

    HELP: ClassVar[str | None] = """## Transfers

Every file of every job: what moves is on top, then what failed, what waits, and what is done. The cursor stays on its
file when files move in the list; **home** goes back to the top and stays there.

**/** finds files by a part of their path, **f** shows one state alone, **s** sorts, **enter** shows all there is to
know. **p**, **h**, **c** and **d** are about the job of the file with the cursor.
"""
    AUTO_FOCUS: ClassVar[str | None] = "TransferList"
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = WIDTHS
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = HEIGHTS
    DEFAULT_CSS: ClassVar[str] = """
    TransfersScreen {
        & #totals { height: 1; padding: 0 2; text-style: bold; }
        & #attention { height: 1; padding: 0 2; color: $text-warning; display: none; }
        & #attention.some { display: block; }
        & #throughput { height: 1; padding: 0 2; }
        & #states { height: 1; padding: 0 2; color: $text-muted; }
        & #search { height: 1; padding: 0 2; display: none; }
        & #search.used { display: block; }
        & #search Static { width: 2; text-style: bold; }
        &.-tall #throughput { height: 2; }
        &.-tall #states { height: 3; padding: 1 2; }
        &.-narrow #throughput, &.-low #throughput { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("transfers.details", "details"),
        bind("transfers.filter", "filter"),
        bind("transfers.state", "state"),
        bind("transfers.sort", "sort"),
        bind("job.pause", "pause"),
        bind("job.history", "history"),
        bind("job.conflicts", "conflicts"),
        bind("job.held", "held"),
        bind("job.stop", "put_away", label="Put away"),
    ]

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        """`clock` tells the seconds that rates are measured in; the app's does unless another is given."""
        super().__init__()
        self.model = TransferModel()
        self._list = TransferList(self.model)
        self._throughput = Throughput()
        self._clock = clock or (lambda: ours(self.app).clock())
        self._measured = float("-inf")
        self._snapshot = Snapshot(0)
        self._totals = SaidLine(id="totals")
        self._attention = SaidLine(id="attention")
        self._curve = Curve(id="throughput")
        self._states = SaidLine(id="states")
        self._titles = TransferTitles(self._list)
        self._able: tuple[bool | None, ...] = ()

    def compose(self) -> ComposeResult:
        """Lay the screen out from top to bottom."""
        yield TopBar("transfers", self.bridge.device_name)
        yield self._totals
        yield self._attention
        yield self._curve
        yield self._states
        with Horizontal(id="search"):
            yield Static("/", markup=False)
            yield FilterInput(placeholder="part of a path", compact=True, select_on_focus=False, id="filter")
        yield self._titles
        yield self._list
        yield KeyLine()

    def on_mount(self) -> None:
        """Sort as it was sorted last, and say what there is before the first snapshot."""
        self.model.sort_by(self.settings.state.sort)
        self._say()

    def on_resize(self) -> None:
        """Say what fits now."""
        self._say()

    # What comes in

    def show(self, snapshot: Snapshot) -> None:
        """Take in a snapshot and what has changed in the logs of its jobs."""
        self._snapshot = snapshot
        self.model.know(self._standings(snapshot))
        for job in self.model.jobs:
            if not job.behind:
                changes = self.bridge.transfers(job.standing.id, job.version, job.epoch)
                if changes is not NO_CHANGES:
                    self.model.take(job, changes)
        self._go_on()

    def _standings(self, snapshot: Snapshot) -> list[JobStanding]:
        ended = self.bridge.ended
        running = [(job.id, job.folder, job.paused) for job in snapshot.serving]
        running += [(job.id, job.folder, job.state is PassState.PAUSED) for job in snapshot.connecting]
        standings = [JobStanding(*job) for job in running if job[0] not in ended]
        return standings + [JobStanding(job.id, job.folder, ended=True) for job in ended.values()]

    def _go_on(self) -> None:
        """Do some of what is left to do with the rows, and show how far it came."""
        if self.model.work(time.perf_counter, SLICE):
            self._work_on()
        if self._clock() - self._measured >= SAMPLE:
            self._measure(self._clock())
        self._list.renew()
        self._say()

    def _measure(self, now: float) -> None:
        """Take a sample of every rate."""
        self._measured = now
        self.model.measure(now)
        self._throughput.observe(self._snapshot, sums(self._snapshot, self.model.jobs), now)
        self._curve.data = [0.0, *self._throughput.samples]  # its floor is none at all

    @work(exclusive=True, exit_on_error=False, group="rows")
    async def _work_on(self) -> None:
        """Do all of it, with a turn of the loop for everybody else in between."""
        due = time.perf_counter() + REDRAW
        while self.model.work(time.perf_counter, SLICE):
            if time.perf_counter() >= due:
                due = time.perf_counter() + REDRAW
                self._list.renew()
                self._say()
            await asyncio.sleep(0)
        self._list.renew()
        self._say()

    # What is said

    def _say(self) -> None:
        """Renew the lines around the list, and which keys do something."""
        width = self._states.content_size.width or max(1, self.size.width - 4)
        waits = attention(self._snapshot, self.bridge.summaries, self.bridge.conflict_copies)
        self._totals.say((figures(sums(self._snapshot, self.model.jobs), self._throughput, width), False))
        self._attention.say((f"! {waits}", False))
        self._attention.set_class(bool(waits), "some")
        self._states.say(*self._counts(width))
        self._titles.show(self.model.sort)
        self._list.say(*self._nothing())
        self._renew_keys()

    def _renew_keys(self) -> None:
        """Say which keys do something now."""
        able = tuple(self.check_action(name, ()) for name in ("details", "pause", "held", "put_away"))
        if able != self._able:
            self._able = able
            self.refresh_bindings()

    def _counts(self, width: int) -> Iterator[tuple[str, bool]]:
        """Yield how many rows are in each state; the one that is shown alone is marked."""
        counts = self.model.counts
        for state in FILTERS:
            here = state is self.model.state
            if state is None:
                word, count = "all", sum(counts.values())
            else:
                glyph, name = STATES[state]
                word = f"{glyph} {name}" if here or width >= WORDS else glyph
                count = counts[state] + (counts[RowState.PAUSED] if state is RowState.WAITING else 0)
            said = f"{word} {count:,}"
            yield (f" {said} " if here else said), here
            if state is not FILTERS[-1]:
                yield "   ", False

    def _nothing(self) -> tuple[str, ...]:
        """Return what to say while no rows are shown."""
        serve, connect = (ACTIONS[name].keys.split(",")[0] for name in ("app.serve", "app.connect"))
        if sum(self.model.counts.values()):
            return ("No transfer is like that.", "f shows other states, / looks for another path.")
        if self.model.jobs:
            return ("Nothing to transfer.", "Files appear here as soon as they move.")
        return ("Nothing moves yet.", f"{serve} serves a folder.", f"{connect} connects to another device.")

    # What the keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what there is nothing for."""
        job = self._job()
        if action == "details":
            return True if self.model.cursor is not None else None
        if action in ("history", "conflicts"):
            return True if job is not None else None
        if action == "pause":
            return True if job is not None and not job.standing.ended else None
        if action == "held":
            return True if job is not None and self._holds(job) else None
        if action == "put_away":
            return job is not None and job.standing.ended
        return True

    def _job(self) -> JobRows | None:
        """Return the job of the row with the cursor; without rows, the only job there is."""
        row = self.model.cursor
        if row is not None:
            return row.job
        jobs = self.model.jobs
        return jobs[0] if len(jobs) == 1 else None

    def _holds(self, job: JobRows) -> bool:
        """Whether the last pass of a job held deletes back."""
        summary = self.bridge.summaries.get(job.standing.id)
        return summary is not None and not job.standing.ended and bool(summary.held or summary.remote_held)

    @on(TransferList.Moved)
    def _moved(self) -> None:
        self._renew_keys()

    @on(TransferList.Chosen)
    def action_details(self) -> None:
        """Show all there is to know of the row with the cursor."""
        row = self.model.cursor
        if row is not None:
            self.app.push_screen(TransferDetails(row))

    def action_filter(self) -> None:
        """Have the text to look for typed."""
        self.query_one("#search").add_class("used")
        self.query_one(FilterInput).focus()

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        self.model.search(event.value)
        self._go_on()

    @on(Input.Submitted, "#filter")
    def _found(self) -> None:
        self._list.focus()

    @on(Input.Blurred, "#filter")
    def _left(self) -> None:
        self.query_one("#search").set_class(bool(self.model.text), "used")

    def action_state(self) -> None:
        """Show the next state alone."""
        self.model.next_state()
        self._go_on()

    def action_sort(self) -> None:
        """Sort by the next thing."""
        self.model.next_sort()
        self.settings.state.sort = self.model.sort.value
        self.settings.save()
        self._go_on()

    def action_pause(self) -> None:
        """Have the job wait, or go on."""
        job = self._job()
        if job is not None and job.standing.paused:
            self.bridge.resume(job.standing.id)
        elif job is not None:
            self.bridge.pause(job.standing.id)

    def action_history(self) -> None:
        """Show what passes did to the job's folder."""
        from leafsync.screens.history import HistoryModal  # loaded when it is wanted: the app starts sooner

        job = self._job()
        if job is not None:
            self.app.push_screen(HistoryModal(job.standing.folder))

    def action_conflicts(self) -> None:
        """Show the conflict copies in the job's folder."""
        from leafsync.screens.conflicts import ConflictsModal  # loaded when it is wanted: the app starts sooner

        job = self._job()
        if job is not None:
            self.app.push_screen(ConflictsModal(job.standing.folder))

    def action_held(self) -> None:
        """Show the deletes that the job's last pass held back."""
        from leafsync.screens.held import HeldModal  # loaded when it is wanted: the app starts sooner

        job = self._job()
        if job is not None:
            self.app.push_screen(HeldModal(job.standing.id))

    @work(exclusive=True, exit_on_error=False, group="stop")
    async def action_put_away(self) -> None:
        """Dismiss a job that has ended, and its rows."""
        job = self._job()
        if job is not None:
            await attempt(self.app, lambda: self.bridge.stop(job.standing.id))
