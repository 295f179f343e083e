"""What Serve and Connect share: a form that starts a job, and a card for each job with the keys that act on it."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button, Static

from leafsync import forms
from leafsync.actions import bind
from leafsync.bridge import ConnectOptions, ConnectStatus, EndedJob, PassState, ServeOptions, ServeStatus, Snapshot
from leafsync.errors import (
    AddressMalformed,
    FolderIdentityLost,
    FolderInUse,
    FolderRefused,
    LeafSyncError,
    PathRefused,
    PortInUse,
    UsageError,
)
from leafsync.screens.base import TABS, MainScreen, ours, toast
from leafsync.text import printable
from leafsync.widgets.field import LABEL_WIDTH, Field
from leafsync.widgets.folder_field import FolderField
from leafsync.widgets.job_card import JobCard, JobList
from leafsync.widgets.key_line import KeyLine
from leafsync.widgets.pane import Pane
from leafsync.widgets.tick import Tick
from leafsync.widgets.top_bar import TopBar

Options = TypeVar("Options", ServeOptions, ConnectOptions)

BESIDE: dict[type[LeafSyncError], str] = {
    AddressMalformed: "address",
    PathRefused: "file",
    PortInUse: "port",
    UsageError: "folder",
    FolderInUse: "folder",
}
"""Beside which field an error is said, the first one that fits."""

WIDTHS = [(0, "-narrow"), (90, "-normal"), (140, "-wide")]
"""Cells from which on form and cards stand side by side."""

HEIGHTS = [(0, "-low"), (24, "-high")]
"""Rows from which on there is room for a heading."""


_OF_FORMS = ("start", "preview", "recent", "browse")
_OF_JOBS = ("stop_job", "put_away", "pause", "sync_now", "history", "conflicts", "held", "copy")

KEYS = (*_OF_FORMS, *_OF_JOBS)
"""The actions that are offered at times only."""

LOOK_AGAIN = 2.0
"""Seconds between two looks whether what could not be used can be by now: a disk was mounted, a port let go of."""


class JobsScreen(MainScreen, Generic[Options]):
    """A form and cards. Subclasses say what is in the form, how it starts, and which jobs they show."""

    DEFAULT_CSS: ClassVar[str] = f"""
    JobsScreen {{
        .body {{ height: 1fr; layout: horizontal; overflow: hidden; }}
        .form {{ width: 2fr; max-width: 64; padding: 0 1; height: 1fr; border-right: vkey $panel; }}
        .form .row {{ height: auto; margin-top: 1; }}
        .form .row Button {{ min-width: 9; margin-right: {LABEL_WIDTH - 9}; }}
        /* As in Choices: one line high in the colours of the terminal too. */
        .form Button.-textual-compact.-textual-compact:ansi:disabled {{ border: none !important; }}
        .form Button.-textual-compact.-textual-compact:ansi.-active {{ border: none !important; }}
        .form Tick {{ background: transparent; width: 1fr; }}
        .form .why {{ color: $text-muted; width: 1fr; height: auto; }}
        .form .heading {{ text-style: bold; color: $primary; margin-bottom: 1; }}
        JobList {{ width: 3fr; }}

        &.-narrow .body {{ layout: vertical; overflow-y: auto; scrollbar-size-vertical: 1; }}
        &.-narrow .form {{ width: 1fr; max-width: 100%; height: auto; border-right: none; }}
        &.-narrow JobList {{ width: 1fr; height: auto; overflow-y: hidden; margin-top: 1; }}
        &.-low .heading {{ display: none; }}
        &.-low .row {{ margin-top: 0; }}
    }}
    """

    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = WIDTHS
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = HEIGHTS

    AUTO_FOCUS: ClassVar[str | None] = ""  # `on_mount` knows which field comes first

    BINDINGS: ClassVar[list[BindingType]] = [
        *TABS,
        bind("form.start", "start"),
        bind("form.browse", "browse"),
        bind("form.leave", "leave_form"),
        bind("job.pause", "pause"),
        bind("job.stop", "stop_job"),
        bind("job.stop", "put_away", label="Put away"),
        bind("job.sync", "sync_now"),
        bind("job.history", "history"),
        bind("job.conflicts", "conflicts"),
        bind("job.held", "held"),
        bind("job.copy", "copy"),
        bind("job.form", "to_form"),
    ]

    NAME: ClassVar[str]
    """The screen's name in the app."""
    HEADING: ClassVar[str]
    EMPTY: ClassVar[str]
    """Said while there is no job."""

    def __init__(self) -> None:
        super().__init__()
        self._starting = False
        self._go_to: int | None = None
        """The job whose card gets the focus once it is there."""
        self._offered: list[bool | None] = []
        """What the keys could do when the footer was made."""

    # Layout

    def compose(self) -> ComposeResult:
        """Lay out the form beside the cards, or above them where the screen is narrow."""
        yield TopBar(self.NAME, self.bridge.device_name)
        with Pane(classes="body"):
            with Pane(classes="form"):
                yield Static(self.HEADING, classes="heading", markup=False)
                yield from self.fields()
                with Horizontal(classes="row"):
                    yield Button("Start", id="start", variant="primary", compact=True)
                    yield Static(classes="why", markup=False)
            yield JobList(self.EMPTY)
        yield KeyLine()

    def fields(self) -> Iterable[Widget]:
        """Yield what is in the form."""
        return ()

    def on_mount(self) -> None:
        """Put the cursor into the first field that needs something, or on a job that was there before the screen."""
        self.set_interval(LOOK_AGAIN, self.look_again)
        snapshot = self.bridge.snapshot()
        jobs = self.jobs(snapshot)
        if jobs:
            self._go_to = jobs[0].id
            self.show(snapshot)
        else:
            self._first_field.focus_line()
        self._weigh()

    # The form

    @property
    def _first_field(self) -> Field:
        """The first field that needs something, or the first one."""
        fields = list(self.query(Field))
        return next((field for field in fields if not field.usable), fields[0])

    def look_again(self) -> None:
        """Look whether what could not be used can be by now."""
        if self.is_current:
            self.query_one(FolderField).look_again()

    @on(Field.Changed)
    def _changed(self) -> None:
        self._weigh()

    def _weigh(self) -> None:
        """Enable Start, or say what it waits for."""
        wrong = [field for field in self.query(Field) if field.reason]
        self.query_one("#start", Button).disabled = bool(wrong) or self._starting
        if not self.query_one(FolderField).unknown or wrong:
            self.query_one(".why", Static).update(f"{wrong[0].label}: {wrong[0].reason}" if wrong else "")
        self._offer()

    def _offer(self) -> None:
        """Have the footer made anew if other keys work now than when it was made."""
        offered = [self.check_action(key, ()) for key in KEYS]
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    @property
    def _ready(self) -> bool:
        """Whether what the form says now can be started; Start learns of what was typed last a moment later."""
        return not self.query_one("#start", Button).disabled and all(field.usable for field in self.query(Field))

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start what the form says."""
        if self._ready:
            self._start(self.options())

    @work(exclusive=True, exit_on_error=False, group="start")
    async def _start(self, options: Options) -> None:
        self._starting = True
        self._weigh()
        try:
            self._go_to = await self.begin(options)
            self._begun()
        except LeafSyncError as error:
            if not self._ask_to_go_on(error, options):
                self.refused(error)
                toast(self.app, forms.said_in_form(error), severity="error")
        finally:
            self._starting = False
            self._weigh()

    def _begun(self) -> None:
        """Show the job at once, and let nobody in unasked twice."""
        for tick in self.query("#accept-first").results(Tick):
            tick.value = False
        self.show(self.bridge.snapshot())

    def _ask_to_go_on(self, error: LeafSyncError, options: Options) -> bool:
        """Ask whether a folder that is an odd choice is meant; say whether there was something to ask."""
        from leafsync.screens.confirm import ConfirmModal

        if isinstance(error, FolderRefused) and not options.force:
            options, title, yes = replace(options, force=True), "Sync all of it?", "Sync all of it"
        elif isinstance(error, FolderIdentityLost) and not options.reset:
            options, title, yes = replace(options, reset=True), "Take it for a new folder?", "Take it for new"
        else:
            return False

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self._start(options)

        self.app.push_screen(ConfirmModal(title, forms.said_in_form(error), yes=yes), answered)
        return True

    @abstractmethod
    def options(self) -> Options:
        """Return what the form says, which has to be usable."""

    @abstractmethod
    async def begin(self, options: Options) -> int:
        """Begin that job and return its id. Raises LeafSyncError."""

    def refused(self, error: LeafSyncError) -> None:
        """Say an error beside the field that it is about, if it is about one."""
        for kind, name in BESIDE.items():
            if isinstance(error, kind):
                for field in self.query(f"#{name}").results(Field):
                    field.complain(forms.said_in_form(error))
                return

    def action_leave_form(self) -> None:
        """Go to the cards; where there is none, letters are keys too."""
        cards = list(self.query(JobCard))
        self.set_focus(cards[0] if cards else None)

    def action_to_form(self) -> None:
        """Go back to the form."""
        self._first_field.focus_line()

    def action_browse(self) -> None:
        """Choose what the focused field needs in a tree."""
        from leafsync.screens.picker import PickerModal

        field, folder = self.focused_field, self.query_one(FolderField)
        if field is folder:
            self.app.push_screen(PickerModal(folder.path, files=False), folder.take)
        elif field is not None and folder.usable:
            inside = forms.inner_path(field.value)
            self.app.push_screen(PickerModal(inside, files=True, root=folder.path), field.take)

    # The cards

    def jobs(self, snapshot: Snapshot) -> "tuple[ServeStatus | ConnectStatus | EndedJob, ...]":
        """Return the jobs that have a card here."""
        return ()

    def show(self, snapshot: Snapshot) -> None:
        """Take in where the jobs stand."""
        self.query_one(JobList).show(self.jobs(snapshot), self.bridge, ours(self.app).progress)
        self._go_to_card()
        self._offer()

    def _go_to_card(self) -> None:
        """Give the focus to the card of the job that has just begun, once it is there."""
        card = self.query_one(JobList).cards.get(self._go_to or 0)
        if card is not None:
            self._go_to = None
            self.set_focus(card)

    @property
    def _card(self) -> JobCard | None:
        return self.query_one(JobList).focused_card if self.is_mounted else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only the keys that would do something now."""
        job = self._card.job if self._card is not None else None
        match action:
            case "start":
                return True if self._ready else None if self._in_form else False
            case "browse":
                return self.focused_field is not None and self.focused_field.id in ("folder", "file")
            case "leave_form":
                return self._in_form
            case "to_form":
                return not self._in_form
            case "put_away":
                return isinstance(job, EndedJob)
            case "stop_job" | "pause" | "history" | "conflicts" | "copy":
                return job is not None and not isinstance(job, EndedJob)
            case "sync_now":
                return isinstance(job, ConnectStatus)
            case "held":
                summary = self.bridge.summaries.get(job.id) if isinstance(job, ConnectStatus) else None
                return summary is not None and bool(summary.held or summary.remote_held)
        return super().check_action(action, parameters)

    @property
    def _in_form(self) -> bool:
        return self.focused is not None and any(node.has_class("form") for node in self.focused.ancestors)

    @property
    def focused_field(self) -> Field | None:
        """The field whose line has the cursor."""
        return (
            next((node for node in self.focused.ancestors if isinstance(node, Field)), None) if self.focused else None
        )

    def action_pause(self) -> None:
        """Pause the job of the card, or have it go on."""
        job = self._card.job if self._card is not None else None
        paused = isinstance(job, ServeStatus) and job.paused
        paused = paused or (isinstance(job, ConnectStatus) and job.state is PassState.PAUSED)
        if job is not None:
            (self.bridge.resume if paused else self.bridge.pause)(job.id)

    def action_stop_job(self) -> None:
        """Stop the job of the card."""
        if self._card is not None:
            self._stop(self._card.job.id)

    def action_put_away(self) -> None:
        """Dismiss the card of a job that has ended."""
        self.action_stop_job()

    @work(exit_on_error=False, group="stop")
    async def _stop(self, job_id: int) -> None:
        await self.bridge.stop(job_id)

    def action_sync_now(self) -> None:
        """Have the job of the card do a pass."""
        if self._card is not None:
            self.bridge.sync_now(self._card.job.id)

    def action_history(self) -> None:
        """Show what passes did to the folder of the card."""
        from leafsync.screens.history import HistoryModal

        if self._card is not None:
            self.app.push_screen(HistoryModal(self._card.job.folder))

    def action_conflicts(self) -> None:
        """Show the conflict copies in the folder of the card."""
        from leafsync.screens.conflicts import ConflictsModal

        if self._card is not None:
            self.app.push_screen(ConflictsModal(self._card.job.folder))

    def action_held(self) -> None:
        """Show the deletes that the job of the card holds back."""
        from leafsync.screens.held import HeldModal

        if self._card is not None:
            self.app.push_screen(HeldModal(self._card.job.id))

    def action_copy(self) -> None:
        """Copy what is needed on the other machine: the address that is served at, or the fingerprint."""
        job = self._card.job if self._card is not None else None
        text = job.addresses[0] if isinstance(job, ServeStatus) and job.addresses else self.bridge.fingerprint
        self.app.copy_to_clipboard(text)
        toast(self.app, f"copied: {printable(text)}")
