"""The Trust screen: this device's fingerprint, the devices that are trusted, and changing that."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Static

from leafsync.actions import bind
from leafsync.bridge import Device, Permission, Snapshot
from leafsync.errors import LeafSyncError
from leafsync.screens.base import MainScreen, attempt, ours, toast
from leafsync.screens.confirm import ConfirmModal, PromptModal
from leafsync.screens.device_form import DeviceForm, fingerprint_reason, name_reason
from leafsync.screens.list_modal import HEIGHTS, WIDTHS
from leafsync.text import printable
from leafsync.widgets.device_facts import DeviceFacts
from leafsync.widgets.device_table import PERMISSIONS, DeviceTable
from leafsync.widgets.key_line import KeyLine
from leafsync.widgets.own_code import OwnCode
from leafsync.widgets.top_bar import TopBar

READ_SECONDS = 1.0
"""Seconds between two looks at the trust file: as often as a connection asks it."""

EMPTY = (
    "No device is trusted yet.\n\n"
    "Connect to one and compare the fingerprints that both show, or press a and paste the fingerprint that the other "
    "device shows on this screen."
)

REPLACING = (
    "A new key is what a reinstalled device has, and what somebody shows who pretends to be it. Ask the person at that "
    "device, not over this connection, and paste the fingerprint they read to you."
)
"""Said before a key is replaced."""


class TrustScreen(MainScreen):
    """Shows whom this device trusts."""

    HELP: ClassVar[str | None] = """# Trust
The devices that may connect, and what each may do. A device is its key: the **fingerprint** alone decides, name and
address are labels.

On top is the fingerprint of this device, for the other person to compare.
"""
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS
    AUTO_FOCUS: ClassVar[str | None] = None
    DEFAULT_CSS: ClassVar[str] = """
    TrustScreen {
        OwnCode { margin: 0 1; }
        DeviceTable { margin: 0 1; display: none; }
        #empty, #problem { padding: 1 3; height: 1fr; display: none; }
        #problem { color: $text-error; }
        DeviceFacts { margin: 0 1; }
        &.-tall OwnCode { margin: 1 1 1 1; }
        &.-low DeviceFacts { display: none; }
        &.-narrow.-short DeviceFacts { border: none; border-top: solid $panel; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("trust.add", "add"),
        bind("trust.rename", "rename"),
        bind("trust.permission", "permission"),
        bind("trust.remove", "remove"),
        bind("trust.replace", "replace"),
        bind("trust.copy", "copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._devices: tuple[Device, ...] = ()
        self._problem = ""
        """Why the trust file cannot be used."""
        self._shown = False
        """Whether what the file says has been shown."""
        self._read_at: float | None = None
        self._wanted = ""
        """Fingerprint of the device that the cursor is to go to."""

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield TopBar("trust", self.bridge.device_name)
        yield OwnCode(self.bridge.device_name, self.bridge.fingerprint)
        yield Static(id="problem", markup=False)
        yield Static(EMPTY, id="empty", classes="quiet", markup=False)
        yield DeviceTable()
        yield DeviceFacts()
        yield KeyLine()

    @property
    def table(self) -> DeviceTable:
        """The table of devices."""
        return self.query_one(DeviceTable)

    @property
    def selected(self) -> Device | None:
        """The device with the cursor."""
        return self.table.selected if self.is_mounted and not self._problem else None

    # What is shown

    def on_screen_resume(self) -> None:
        """Read the trust file when the screen comes into view."""
        self.reload()

    def show(self, snapshot: Snapshot) -> None:
        """Read the trust file from time to time: other processes change it too."""
        now = ours(self.app).clock()
        if self._read_at is None or now - self._read_at >= READ_SECONDS:
            self.reload()

    def reload(self, select: str = "") -> None:
        """Show the devices as the file has them, with the cursor on the one with the fingerprint `select`."""
        self._wanted = select or self._wanted
        self._read_at = ours(self.app).clock()
        self._reload()

    @work(exclusive=True, exit_on_error=False, group="devices")
    async def _reload(self) -> None:
        try:
            devices, problem = await self.bridge.devices(), ""
        except LeafSyncError as error:
            devices, problem = (), str(error)
        if not self._shown or (devices, problem) != (self._devices, self._problem):
            self._shown, self._devices, self._problem = True, devices, problem
            self.table.show_devices(devices)
            self._arrange()
        if self._wanted and devices:
            self.table.select(self._wanted)
            self.table.focus()
        self._wanted = ""

    def _arrange(self) -> None:
        """Show the table, or the sentence there is instead of one."""
        table, problem = self.table, self.query_one("#problem", Static)
        problem.update(self._problem)
        problem.display = bool(self._problem)
        self.query_one("#empty").display = not self._devices and not self._problem
        appears = bool(self._devices) and not table.display
        table.display = bool(self._devices)
        if appears:
            table.focus()
        elif not table.display:
            self.query_one(OwnCode).focus()
        self._show_details()

    @on(DataTable.RowHighlighted)
    def _show_details(self) -> None:
        """Show all there is to know of the device with the cursor."""
        self.query_one(DeviceFacts).show(self.selected)
        self.refresh_bindings()

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what needs a device, and all changes while the trust file cannot be used."""
        if action == "add":
            return None if self._problem else True
        if action in ("rename", "permission", "remove", "replace"):
            return None if self.selected is None else True
        return super().check_action(action, parameters)

    def action_copy(self) -> None:
        """Copy the fingerprint of what is looked at: this device's, or the one with the cursor."""
        device = None if isinstance(self.focused, OwnCode) else self.selected
        self.app.copy_to_clipboard(self.bridge.fingerprint if device is None else device.fingerprint)
        toast(self.app, f"Copied the fingerprint of {'this device' if device is None else printable(device.name)}.")

    def action_add(self) -> None:
        """Trust another device."""

        def added(device: Device | None) -> None:
            if device is not None:
                toast(self.app, f"{printable(device.name)} is trusted now.")
                self.reload(device.fingerprint)

        self.app.push_screen(DeviceForm(self._devices), added)

    def action_permission(self) -> None:
        """Let the device write too, or only read."""
        if (device := self.selected) is not None:
            self._change_permission(device)

    def action_rename(self) -> None:
        """Give the device another name."""
        if (device := self.selected) is not None:
            self._rename(device)

    def action_replace(self) -> None:
        """Give the device its new key."""
        if (device := self.selected) is not None:
            self._replace(device)

    def action_remove(self) -> None:
        """Stop trusting the device, after a question."""
        if (device := self.selected) is not None:
            self._remove(device)

    @work(exclusive=True, exit_on_error=False, group="change")
    async def _change_permission(self, device: Device) -> None:
        other = Permission.READ if device.permission is Permission.READ_WRITE else Permission.READ_WRITE
        await self._change(
            lambda: self.bridge.change_device(device.fingerprint, permission=other),
            f"{printable(device.name)} may {PERMISSIONS[other]} now.",
        )

    @work(exclusive=True, exit_on_error=False, group="change")
    async def _rename(self, device: Device) -> None:
        others = [one.name for one in self._devices if one.fingerprint != device.fingerprint]
        prompt = PromptModal(
            f"Rename {printable(device.name)}",
            value=device.name,
            yes="Rename",
            validate=lambda text: name_reason(text, others),
        )
        name = await self.app.push_screen_wait(prompt)
        if name:
            await self._change(
                lambda: self.bridge.change_device(device.fingerprint, name=name.strip()),
                f"{printable(device.name)} is called {printable(name.strip())} now.",
            )

    @work(exclusive=True, exit_on_error=False, group="change")
    async def _replace(self, device: Device) -> None:
        own = self.bridge.fingerprint
        prompt = PromptModal(
            f"! New key of {printable(device.name)}",
            REPLACING,
            placeholder="the new fingerprint, in any form",
            validate=lambda text: fingerprint_reason(text, own),
            yes="Replace",
        )
        text = await self.app.push_screen_wait(prompt)
        if text:
            await self._change(
                lambda: self.bridge.replace_key(device.fingerprint, text),
                f"{printable(device.name)} is trusted with its new key.",
            )

    @work(exclusive=True, exit_on_error=False, group="change")
    async def _remove(self, device: Device) -> None:
        question = ConfirmModal(
            f"Stop trusting {printable(device.name)}?",
            "Its connections end within a second, and nothing is exchanged until somebody trusts it again. No file is "
            "touched.",
            yes="Stop trusting",
        )
        if await self.app.push_screen_wait(question):
            await self._change(
                lambda: self.bridge.remove_device(device.fingerprint),
                f"{printable(device.name)} is not trusted any more.",
            )

    async def _change(self, change: Callable[[], Awaitable[Device]], sentence: str) -> None:
        """Make a change; say that it was made, or why not; show what is trusted now."""
        device = await attempt(self.app, change)
        if device is not None:
            toast(self.app, sentence)
        self.reload(device.fingerprint if device is not None else "")
