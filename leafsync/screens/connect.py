"""The Connect screen: keep a folder the same as one that another device serves."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Label, OptionList, Select, Static

from leafsync import forms
from leafsync.actions import bind
from leafsync.bridge import ConnectOptions, ConnectStatus, EndedJob, Mode, Snapshot, parse_address
from leafsync.progress import cell_width, pad, truncate_middle
from leafsync.screens.base import Modal
from leafsync.screens.jobs import JobsScreen
from leafsync.text import printable
from leafsync.ui_state import Recent, UiState
from leafsync.widgets.field import LABEL_WIDTH, Field
from leafsync.widgets.folder_field import FolderField
from leafsync.widgets.job_lines import MODES
from leafsync.widgets.tick import Tick

MAX_ADDRESS = 30
"""Cells of an address in the list of recent ones: what is longer is a long host name."""

BESIDE_LIST = 8
"""Rows that the list of recent ones leaves to the frame around it, to its title and to the screen."""

DIRECTIONS = (
    ("both ways", Mode.BOTH),
    ("pull: only bring here", Mode.PULL),
    ("push: only send", Mode.PUSH),
    ("mirror: pull, delete", Mode.MIRROR),
)
"""What the modes are called where one is chosen."""


class DirectionSelect(Select[Mode]):
    """Which way files go."""

    HELP: ClassVar[str | None] = """## Direction
**both ways** brings the changes of each side to the other. **pull** brings here and sends nothing, **push** sends and
brings nothing here, deletes as well; neither takes away what was made on one side alone. **mirror** makes this folder
exactly like the other one: what is only here goes to the trash.

**Enter** or **down** opens the list.
"""

    def __init__(self, value: Mode) -> None:
        super().__init__(DIRECTIONS, value=value, allow_blank=False, id="direction", compact=True)


class RecentAddresses(Suggester):
    """Completes an address that was connected to before."""

    def __init__(self, state: UiState) -> None:
        super().__init__(use_cache=False, case_sensitive=False)
        self._state = state

    async def get_suggestion(self, value: str) -> str | None:
        """Return the last address that begins like that."""
        found = (one.address for one in self._state.recent if one.address.casefold().startswith(value))
        return next((address for address in found if printable(address) == address), None)


class ConnectScreen(JobsScreen[ConnectOptions]):
    """Keep a folder the same as one that another device serves."""

    DEFAULT_CSS: ClassVar[str] = f"""
    ConnectScreen {{
        .choice {{ height: 1; }}
        .choice Label {{ width: {LABEL_WIDTH}; color: $text-muted; }}
        .choice Select {{ width: 1fr; }}
        .choice SelectCurrent {{ background: $panel; }}
        .choice Select:focus SelectCurrent {{ background: $primary 15%; }}
        .choice:focus-within {{ height: 1; }}  /* as in Field */
        .choice:focus-within Label {{ color: $primary; text-style: bold; }}
    }}
    """

    NAME: ClassVar[str] = "connect"
    HEADING: ClassVar[str] = "Keep a folder like another one"
    EMPTY: ClassVar[str] = (
        "Not connected to anything yet.\n\n"
        "Name the address that the other machine shows on its Serve screen and a folder here, and press Start "
        "(ctrl+s). ctrl+r shows what would happen first, ctrl+l what you connected to before."
    )
    HELP: ClassVar[str | None] = """# Connect
Keep a folder here and one that another device serves the same. The first pass deletes nothing: what only one side has
goes to the other. Preview (**ctrl+r**) shows the plan before anything moves. **escape** goes from the form to the cards
and back.
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
            suggester=RecentAddresses(self.settings.state),
            help_text="Where the other device serves: its Serve screen shows it. **ctrl+l** lists recent ones.",
        )
        yield FolderField(value=last.folder, help_text="The folder here. **ctrl+o** chooses it in a tree.")
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
            yield DirectionSelect(_mode(last.mode))
        yield Field(
            "Streams",
            id="streams",
            value=str(config.streams),
            check=forms.streams_reason,
            help_text="Files on their way at once. More help on fast links with many files.",
        )
        yield Field(
            "Rate limit",
            id="rate",
            value="" if config.rate_mbps is None else f"{config.rate_mbps:g}",
            placeholder="none (Mbit/s each way)",
            check=forms.rate_reason,
            help_text="At most so many megabits per second in each direction.",
        )
        yield Tick(
            "Accept a new device unasked",
            id="accept-first",
            help_text="Trust whatever device answers at the address, if none is known there. Only where you trust the "
            "network too.",
        )

    def options(self) -> ConnectOptions:
        """Return what the form says, which has to be usable."""
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

    async def begin(self, options: ConnectOptions) -> int:
        """Connect, and remember to what."""
        job = await self.bridge.connect(options)
        self._remember(options)
        return job

    def _remember(self, options: ConnectOptions) -> None:
        recent = Recent(str(options.address), options.folder, str(options.mode), options.file)
        self.settings.state.connected(recent)
        self.settings.save()

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

        options = msgspec.structs.replace(self.options(), dry_run=True)
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
    RecentModal OptionList {
        height: auto;
        margin-top: 1;
        background: transparent;
        border: none;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """
    HELP: ClassVar[str | None] = "## Recent connections\n**Enter** takes the marked one into the form, **escape** none."

    def __init__(self, recent: Iterable[Recent]) -> None:
        super().__init__()
        self._recent = list(recent)

    def compose(self) -> ComposeResult:
        """List them, the last one first."""
        with Vertical(classes="dialog"):
            yield Static("Recent connections", classes="title", markup=False)
            yield OptionList(*self._lines(MAX_ADDRESS), markup=False, compact=True)

    def _lines(self, most: int) -> Iterator[str]:
        """Yield a line for each, with the addresses in `most` cells at most."""
        addresses = [truncate_middle(printable(one.address), most) for one in self._recent]
        width = max(map(cell_width, addresses), default=0)
        for address, one in zip(addresses, self._recent, strict=True):
            yield f"{pad(address, width)}  {_what(one)}"

    def on_resize(self) -> None:
        """Leave the list what the screen has beside frame and title, and the folders as much as the addresses."""
        choices = self.query_one(OptionList)
        choices.styles.max_height = max(1, self.size.height - BESIDE_LIST)
        for at, line in enumerate(self._lines(min(MAX_ADDRESS, self.size.width // 3))):
            choices.replace_option_prompt_at_index(at, line)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._recent[event.option_index])


def _what(recent: Recent) -> str:
    """Say which folder was kept like what, and how."""
    only = f", only {printable(recent.file)}" if recent.file else ""
    return f"{printable(recent.folder)}  ({MODES[_mode(recent.mode)]}{only})"
