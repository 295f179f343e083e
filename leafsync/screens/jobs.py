"""What Serve and Connect share: a form that starts a job, and a card for each job with the keys that act on it."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Footer, Static

from leafsync.actions import bind
from leafsync.bridge import ConnectStatus, EndedJob, PassState, ServeStatus, Snapshot
from leafsync.errors import LeafSyncError
from leafsync.progress import Progress
from leafsync.screens.base import MainScreen, ours, toast
from leafsync.widgets.field import Field
from leafsync.widgets.folder_field import FolderField
from leafsync.widgets.job_card import JobCard, JobList
from leafsync.widgets.top_bar import TopBar

WIDTHS = [(0, "-narrow"), (90, "-normal"), (140, "-wide")]
"""Cells from which on form and cards stand side by side."""

HEIGHTS = [(0, "-low"), (24, "-high")]
"""Rows from which on there is room for a heading."""


class JobsScreen(MainScreen):
    """A form and cards. Subclasses say what is in the form, how it starts, and which jobs they show."""

    DEFAULT_CSS: ClassVar[str] = """
    JobsScreen {
        .body { height: 1fr; }
        .form { width: 2fr; max-width: 64; padding: 0 1; height: 1fr; border-right: vkey $panel; }
        .form .row { height: auto; margin-top: 1; }
        .form Field { margin-bottom: 0; }
        .form Tick { background: transparent; width: 1fr; }
        .form .why { color: $text-muted; padding-left: 1; width: 1fr; height: auto; }
        .form .heading { text-style: bold; color: $primary; margin-bottom: 1; }
        JobList { width: 3fr; }

        &.-narrow .body { layout: vertical; overflow-y: auto; }
        &.-narrow .form { width: 1fr; max-width: 100%; height: auto; border-right: none; }
        &.-narrow JobList { width: 1fr; height: auto; overflow-y: hidden; }
        &.-low .heading { display: none; }
    }
    """

    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = WIDTHS
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = HEIGHTS

    AUTO_FOCUS: ClassVar[str | None] = ""  # `on_mount` knows which field comes first

    BINDINGS: ClassVar[list[BindingType]] = [
        bind("form.start", "start"),
        bind("form.browse", "browse"),
        bind("job.pause", "pause"),
        bind("job.stop", "stop_job"),
        bind("job.sync", "sync_now"),
        bind("job.history", "history"),
        bind("job.conflicts", "conflicts"),
        bind("job.held", "held"),
        bind("job.copy", "copy"),
    ]

    NAME: ClassVar[str]
    """The screen's name in the app."""
    HEADING: ClassVar[str]
    EMPTY: ClassVar[str]
    """Said while there is no job."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress()
        self._starting = False

    # Layout

    def compose(self) -> ComposeResult:
        """Lay out the form beside the cards, or above them where the screen is narrow."""
        yield TopBar(self.NAME, self.bridge.device_name)
        with Horizontal(classes="body"):
            with VerticalScroll(classes="form", can_focus=False):
                yield Static(self.HEADING, classes="heading", markup=False)
                yield from self.fields()
                with Horizontal(classes="row"):
                    yield Button("Start", id="start", variant="primary", compact=True)
                    yield Static(classes="why", markup=False)
            yield JobList(self.EMPTY)
        yield Footer()

    def fields(self) -> Iterable[Widget]:
        """Yield what is in the form."""
        return ()

    def on_mount(self) -> None:
        """Put the cursor into the first field that needs something."""
        self._weigh()
        fields = list(self.query(Field))
        next((field for field in fields if not field.usable), fields[0]).focus_line()

    # The form

    @on(Field.Changed)
    def _changed(self) -> None:
        self._weigh()

    def _weigh(self) -> None:
        """Enable Start, or say what it waits for."""
        wrong = [field for field in self.query(Field) if not field.usable]
        button = self.query_one("#start", Button)
        button.disabled = bool(wrong) or self._starting
        why = f"{wrong[0].id or ''}: {wrong[0].reason}" if wrong else ""
        self.query_one(".why", Static).update(why)
        self.refresh_bindings()

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start what the form says."""
        if not self.query_one("#start", Button).disabled:
            self._start()

    @work(exclusive=True, exit_on_error=False, group="start")
    async def _start(self) -> None:
        self._starting = True
        self._weigh()
        try:
            await self.begin()
        except LeafSyncError as error:
            self.refused(error)
            toast(self.app, str(error), severity="error")
        finally:
            self._starting = False
            self._weigh()

    async def begin(self) -> None:
        """Begin the job that the form says. Raises LeafSyncError."""

    def refused(self, error: LeafSyncError) -> None:
        """Say an error beside the field that it is about, if it is about one."""

    def action_browse(self) -> None:
        """Choose what the focused field needs in a tree."""
        from leafsync.screens.picker import PickerModal

        field, folder = self.focused_field, self.query_one(FolderField)
        if field is folder:
            self.app.push_screen(PickerModal(folder.path, files=False), folder.take)
        elif field is not None and folder.usable:
            picker = PickerModal(folder.path, files=True, root=folder.path)
            self.app.push_screen(picker, field.take)

    # The cards

    def jobs(self, snapshot: Snapshot) -> "tuple[ServeStatus | ConnectStatus | EndedJob, ...]":
        """Return the jobs that have a card here."""
        return ()

    def show(self, snapshot: Snapshot) -> None:
        """Take in where the jobs stand."""
        self._progress.observe(snapshot, ours(self.app).clock())
        self.query_one(JobList).show(self.jobs(snapshot), self.bridge, self._progress)
        self.refresh_bindings()

    @property
    def _card(self) -> JobCard | None:
        return self.query_one(JobList).focused_card if self.is_mounted else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only the keys that would do something now."""
        job = self._card.job if self._card is not None else None
        match action:
            case "start":
                return not self.query_one("#start", Button).disabled or None
            case "browse":
                return self.focused_field is not None and self.focused_field.id in ("folder", "file")
            case "stop_job":
                return job is not None
            case "pause" | "history" | "conflicts" | "copy":
                return job is not None and not isinstance(job, EndedJob)
            case "sync_now" | "held":
                return isinstance(job, ConnectStatus)
        return super().check_action(action, parameters)

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
        toast(self.app, f"copied: {text}")
