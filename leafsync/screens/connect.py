"""The Connect screen: keep a folder the same as one that another device serves."""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Label, OptionList, Select, Static

from leafsync import forms
from leafsync.actions import bind
from leafsync.bridge import ConnectOptions, ConnectStatus, EndedJob, Mode, Snapshot, parse_address
from leafsync.errors import AddressMalformed, FolderInUse, LeafSyncError, UsageError
from leafsync.screens.base import Modal
from leafsync.screens.jobs import JobsScreen
from leafsync.text import printable
from leafsync.ui_state import Recent
from leafsync.widgets.field import LABEL_WIDTH, Field
from leafsync.widgets.folder_field import FolderField
from leafsync.widgets.tick import Tick

DIRECTIONS = (
    ("both ways", Mode.BOTH),
    ("pull: bring here, send nothing", Mode.PULL),
    ("push: send, bring nothing here", Mode.PUSH),
    ("mirror: make this folder exactly like the other", Mode.MIRROR),
)
"""What the modes are called where one is chosen."""


class ConnectScreen(JobsScreen):
    """Keep a folder the same as one that another device serves."""

    DEFAULT_CSS: ClassVar[str] = f"""
    ConnectScreen {{
        .choice {{ height: 1; }}
        .choice Label {{ width: {LABEL_WIDTH}; color: $text-muted; }}
        .choice Select {{ width: 1fr; }}
    }}
    """

    NAME: ClassVar[str] = "connect"
    HEADING: ClassVar[str] = "Keep a folder like another one"
    EMPTY: ClassVar[str] = (
        "Not connected to anything yet.\n\n"
        "Name the address that the other machine shows on its Serve screen and a folder here, and press Start\n"
        "(ctrl+s). ctrl+r shows what would happen first, ctrl+e what you connected to before."
    )
    HELP: ClassVar[str | None] = """# Connect
Keep a folder here and one that another device serves the same. The first pass deletes nothing: what only one side has
goes to the other. Preview (`ctrl+r`) shows the plan before anything moves.
"""

    BINDINGS: ClassVar[list[BindingType]] = [bind("form.preview", "preview"), bind("form.recent", "recent")]

    def fields(self) -> Iterable[Widget]:
        """Yield the form, filled with what was connected to last."""
        config, recent = self.settings.config, self.settings.state.recent
        last = recent[0] if recent else Recent("", "")
        yield Field(
            "Address",
            id="address",
            value=last.address,
            placeholder="host, host:port or [IPv6]:port",
            check=forms.address_reason,
            suggester=SuggestFromList([one.address for one in recent]),
            help_text="Where the other device serves: its Serve screen shows it. `ctrl+e` lists recent ones.",
        )
        yield FolderField(value=last.folder, help_text="The folder here. `ctrl+o` chooses it in a tree.")
        yield Field(
            "File",
            id="file",
            value=last.file,
            placeholder="all of the folder",
            check=forms.file_reason,
            help_text="Keep this path of the folder alone the same; empty for all of it.",
        )
        with Horizontal(classes="choice"):
            yield Label("Direction")
            yield Select(DIRECTIONS, value=_mode(last.mode), allow_blank=False, id="direction", compact=True)
        yield Field(
            "Streams",
            id="streams",
            value=str(config.streams),
            check=forms.streams_reason,
            help_text="Data streams at once.",
        )
        yield Field(
            "Rate limit",
            id="rate",
            value="" if config.rate_mbps is None else f"{config.rate_mbps:g}",
            placeholder="megabits per second; empty for no limit",
            check=forms.rate_reason,
            help_text="At most so many megabits per second in each direction.",
        )
        yield Tick("Trust whatever device answers", id="accept-first")

    def options(self) -> ConnectOptions:
        """Return what the form says. Raises AddressMalformed."""
        return ConnectOptions(
            address=parse_address(self._field("address").value),
            folder=self.query_one(FolderField).path,
            mode=Mode(str(self.query_one("#direction", Select).value)),
            file=forms.inner_path(self._field("file").value),
            streams=int(self._field("streams").value),
            rate_mbps=forms.rate_of(self._field("rate").value),
            accept_first=self.query_one("#accept-first", Tick).value,
        )

    def _field(self, name: str) -> Field:
        return self.query_one(f"#{name}", Field)

    async def begin(self) -> None:
        """Connect as the form says."""
        options = self.options()
        await self.bridge.connect(options)
        self._remember(options)

    def _remember(self, options: ConnectOptions) -> None:
        recent = Recent(str(options.address), options.folder, str(options.mode), options.file)
        self.settings.state.connected(recent)
        self.settings.save()

    def refused(self, error: LeafSyncError) -> None:
        """Say an error beside its field."""
        if isinstance(error, AddressMalformed):
            self._field("address").refuse(str(error))
        elif isinstance(error, UsageError | FolderInUse):
            self.query_one(FolderField).refuse(str(error))

    def jobs(self, snapshot: Snapshot) -> "tuple[ConnectStatus | EndedJob, ...]":
        """Return the connections, and those that ended by themselves."""
        ended = tuple(job for job in self.bridge.ended.values() if job.address)
        known = {job.id for job in ended} | self.bridge.previewing
        return (*ended, *(job for job in snapshot.connecting if job.id not in known))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what would do something now."""
        if action == "preview":
            return super().check_action("start", parameters)
        if action == "recent":
            return bool(self.settings.state.recent)
        return super().check_action(action, parameters)

    def action_preview(self) -> None:
        """Show what a pass would do; from there it can be started."""
        from leafsync.screens.preview import PreviewModal

        options = dataclasses.replace(self.options(), dry_run=True)
        self.app.push_screen(PreviewModal(options), self._previewed)

    def _previewed(self, start: bool | None) -> None:
        if start:
            self.action_start()

    def action_recent(self) -> None:
        """Choose from what was connected to before."""
        self.app.push_screen(RecentModal(self.settings.state.recent), self._take_recent)

    def _take_recent(self, recent: Recent | None) -> None:
        if recent is None:
            return
        self._field("address").value = recent.address
        self.query_one(FolderField).value = recent.folder
        self._field("file").value = recent.file
        self.query_one("#direction", Select).value = _mode(recent.mode)


def _mode(text: str) -> Mode:
    return Mode(text) if text in list(Mode) else Mode.BOTH


class RecentModal(Modal[Recent]):
    """Choose a connection that was made before."""

    DEFAULT_CSS: ClassVar[str] = """
    RecentModal OptionList { height: auto; max-height: 14; background: transparent; border: none; }
    """
    HELP: ClassVar[str | None] = "# Recent connections\nEnter takes the marked one into the form, escape none."

    def __init__(self, recent: Iterable[Recent]) -> None:
        super().__init__()
        self._recent = list(recent)

    def compose(self) -> ComposeResult:
        """List them, the last one first."""
        with Static(classes="dialog"):
            yield Static("Recent connections", classes="title", markup=False)
            yield OptionList(
                *(f"{printable(one.address)}  {printable(one.folder)}  ({one.mode})" for one in self._recent),
                markup=False,
                compact=True,
            )

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._recent[event.option_index])
