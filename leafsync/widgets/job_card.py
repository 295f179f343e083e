"""A card for each job: where it stands, what it asks for, and the keys that act on it."""

from datetime import date
from typing import ClassVar

import msgspec
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from leafsync.bridge import Bridge, ConnectStatus, EndedJob, ServeStatus
from leafsync.progress import Progress
from leafsync.widgets.job_lines import (
    NO_FIGURES,
    NOTHING_KNOWN,
    Figures,
    Known,
    connect_lines,
    ended_lines,
    serve_lines,
)
from leafsync.widgets.pane import Pane

Shown = ServeStatus | ConnectStatus | EndedJob


NARROWEST = 20
"""Cells that lines are laid out for at least: below that nothing can be read anyway."""


class JobCard(Widget, can_focus=True):
    """One job."""

    DEFAULT_CSS: ClassVar[str] = """
    JobCard {
        height: auto;
        padding: 0 1;
        margin-bottom: 1;
        border-left: vkey $foreground 30%;
        text-wrap: nowrap;

        &:focus { border-left: outer $primary; background: $surface; }
        &:ansi:focus { border-left: outer ansi_green; }
    }
    """
    HELP: ClassVar[str | None] = """## A job
**p** pauses it and goes on, **x** stops it, **n** syncs now. **h** shows what its passes did, **c** its conflicts,
**d** the deletes it holds back. **y** copies what the other machine needs.

**Up** and **down** go to the next card, **escape** goes to the form.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "near(-1)", "Previous job", show=False),
        Binding("down", "near(1)", "Next job", show=False),
    ]

    def __init__(self, job: Shown) -> None:
        super().__init__()
        self.job = job
        """As it was shown last."""
        self._told: _Told | None = None
        """What the lines are made of."""
        self._laid_out: tuple[int, list[Content]] = 0, []
        """The lines, and for how many cells they are."""

    def show(self, job: Shown, bridge: Bridge, progress: Progress) -> None:
        """Show where the job stands; repaints only when something is another than before."""
        self.job = job
        told = _told(job, bridge, progress)
        if told == self._told:
            return
        before, width = len(self._laid_out[1]), self.content_size.width
        self._told, self._laid_out = told, (0, [])
        if width and len(self._lines(width)) == before:
            self.refresh()
            return
        self.refresh(layout=True)
        if self.has_focus:
            self.call_after_refresh(self.scroll_visible, animate=False)  # it may be higher than before

    def _lines(self, width: int) -> list[Content]:
        """Lay the lines out for a width."""
        if self._told is not None and self._laid_out[0] != width:
            self._laid_out = width, _lines(self._told, max(NARROWEST, width))
        return self._laid_out[1]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines there are in that width, before anything is drawn."""
        return len(self._lines(width)) if width else 0

    def render(self) -> Content:
        """Return the lines for the width there is."""
        return Content("\n").join(self._lines(self.content_size.width))

    def action_near(self, by: int) -> None:
        """Go to the next card, or to the one before; where there is none, whatever can be scrolled is."""
        if not self.is_attached:
            raise SkipAction  # its job was put away while the key was on its way
        cards = list(self.screen.query(JobCard))
        at = cards.index(self) + by
        if not 0 <= at < len(cards):
            raise SkipAction
        cards[at].focus()


class _Told(msgspec.Struct, frozen=True):
    """All that the lines of a card are made of."""

    job: Shown
    figures: Figures
    known: Known
    fingerprint: str
    day: date
    """What day it is: moments of another one are told with their date."""


def _told(job: Shown, bridge: Bridge, progress: Progress) -> _Told:
    figures, known = NO_FIGURES, NOTHING_KNOWN
    if isinstance(job, ServeStatus):
        figures = Figures(peers=tuple(progress.peer_rate(job, peer) for peer in job.peers))
    elif isinstance(job, ConnectStatus):
        figures = Figures(progress.rate(job), progress.eta(job))
        conflicts = len(bridge.conflict_copies.get(job.id, ()))
        known = Known(bridge.summaries.get(job.id), bridge.in_sync_since.get(job.id), conflicts)
    return _Told(job, figures, known, bridge.fingerprint, bridge.now().astimezone().date())


def _lines(told: _Told, width: int) -> list[Content]:
    match told.job:
        case ServeStatus():
            return serve_lines(told.job, told.figures, told.fingerprint, width)
        case ConnectStatus():
            return connect_lines(told.job, told.figures, told.known, told.day, width)
        case EndedJob():
            return ended_lines(told.job, width)


class JobList(Pane):
    """The cards of all jobs of one kind, in the order they began."""

    DEFAULT_CSS: ClassVar[str] = """
    JobList {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        .empty { color: $text-muted; padding: 1 2; }
    }
    """

    def __init__(self, empty: str) -> None:
        """`empty` is said while there is no job."""
        super().__init__()
        self._empty = empty

    def compose(self) -> ComposeResult:
        """Begin without jobs."""
        yield Static(self._empty, classes="empty", markup=False)

    @property
    def cards(self) -> dict[int, JobCard]:
        """The cards by the id of their job."""
        return {card.job.id: card for card in self.query(JobCard)}

    @property
    def focused_card(self) -> JobCard | None:
        """The card that keys act on: the focused one, or the only one."""
        cards = list(self.cards.values())
        return next((card for card in cards if card.has_focus), cards[0] if len(cards) == 1 else None)

    def show(self, jobs: "tuple[Shown, ...]", bridge: Bridge, progress: Progress) -> None:
        """Show exactly these jobs."""
        cards = self.cards
        for job_id in cards.keys() - {job.id for job in jobs}:
            cards[job_id].remove()
        for job in jobs:
            card = cards.get(job.id)
            if card is None:
                card = JobCard(job)
                self.mount(card)
            card.show(job, bridge, progress)
        self.query_one(".empty").display = not jobs
