"""Trusting a device by hand: its fingerprint, what to call it, where it is and what it may do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Button, Input, Static

from leafsync import forms
from leafsync.actions import bind
from leafsync.bridge import Device, Permission, check_device_name, parse_address, parse_fingerprint
from leafsync.errors import DeviceExists, FingerprintMalformed, LeafSyncError, UsageError
from leafsync.screens.base import Modal
from leafsync.screens.confirm import LOW
from leafsync.text import printable
from leafsync.widgets.field import LABEL_WIDTH, Field
from leafsync.widgets.own_code import group_lines
from leafsync.widgets.tick import Tick
from leafsync.widgets.window import Body, Choices, Window

MAX_PASTE = 500
"""Characters of a paste that are taken: a fingerprint in groups has far fewer."""

ABOUT = "Compare the fingerprint by voice or side by side: it alone decides who is let in."
"""Said above the fields."""


def fingerprint_reason(text: str, own: str) -> str:
    """Say why a fingerprint cannot be that of another device; `own` is that of this one."""
    reason = forms.fingerprint_reason(text)
    if not reason and parse_fingerprint(text) == own:
        return "this is the fingerprint of this device itself"
    return reason


def name_reason(text: str, taken: Sequence[str] = ()) -> str:
    """Say why a device cannot be called so; `taken` are the names of the others."""
    try:
        check_device_name(text.strip())
    except UsageError as error:
        return str(error.fields.get("reason", error))
    return "another device is called so" if text.strip() in taken else ""


class FingerprintField(Field):
    """A field that takes a fingerprint of several lines: groups are shown so."""

    def compose(self) -> ComposeResult:
        """Lay out the field, with a line that joins what is pasted."""
        for widget in super().compose():
            if isinstance(widget, Input):
                yield _JoiningInput(
                    highlighter=widget.highlighter,
                    max_length=widget.max_length or 0,
                    placeholder=widget.placeholder,
                    compact=True,
                    select_on_focus=False,
                )
            else:
                yield widget


class _JoiningInput(Input):
    """An input that takes all lines of a paste, not only the first."""

    def on_paste(self, event: events.Paste) -> None:
        """Join the lines."""
        event.prevent_default()
        event.stop()
        self.replace(" ".join(event.text.split())[:MAX_PASTE], *self.selection)


class DeviceForm(Modal[Device]):
    """Asks for a device and trusts it; the result is the device as it is trusted now."""

    HELP: ClassVar[str | None] = """## Trust a device
Paste the **fingerprint** that the other device shows (`leafsync id`, or its Trust screen): any case, with or without
spaces, colons or dashes. Compare it by voice, or side by side; whoever has that key will be let in.

The **name** is how you call it. The **address** is where it was last; it may be empty. **ctrl+s** trusts the device.
"""
    AUTO_FOCUS: ClassVar[str | None] = "Input"
    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS: ClassVar[str] = f"""
    DeviceForm {{
        Window {{ max-width: 100; }}
        .about {{ margin-bottom: 1; }}
        Field {{ margin-bottom: 1; }}
        #grouped {{ display: none; padding-left: {LABEL_WIDTH}; margin-bottom: 1; height: auto; color: $text-muted; }}
        Tick {{ background: transparent; margin: 0 0 1 {LABEL_WIDTH}; }}

        &.-low Field, &.-low #grouped, &.-low Tick, &.-low .about {{ margin-bottom: 0; }}
        &.-low .about {{ display: none; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        replace(bind("form.start", "save"), description="Trust", tooltip="Trust the device as the form says.")
    ]

    def __init__(self, known: Sequence[Device]) -> None:
        """`known` are the devices that are trusted already."""
        super().__init__()
        self._known = {device.fingerprint: device for device in known}
        self._told = ""
        """The fingerprint of the known device whose permission is shown."""

    def compose(self) -> ComposeResult:
        """Lay out the form."""
        with Window():
            with Body():
                yield Static("Trust a device", classes="heading")
                yield Static(ABOUT, classes="about quiet")
                yield FingerprintField(
                    "Fingerprint",
                    id="fingerprint",
                    placeholder="what the other device shows, pasted in any form",
                    check=lambda text: fingerprint_reason(text, self.bridge.fingerprint),
                )
                yield Static(id="grouped", markup=False)
                yield Field("Name", id="name", placeholder="how you call it", check=self._name_reason)
                yield Field("Address", id="address", placeholder="host or host:port, if known", check=_address_reason)
                yield Tick("It may only read", id="only-read")
            with Choices():
                yield Button("esc  Cancel", id="cancel", compact=True)
                yield Button("ctrl+s  Trust", id="save", variant="primary", compact=True, disabled=True)

    def _field(self, name: str) -> Field:
        return self.query_one(f"#{name}", Field)

    def _fingerprint(self) -> str:
        """Return the fingerprint that was typed, "" while it is none."""
        try:
            return parse_fingerprint(self._field("fingerprint").value)
        except FingerprintMalformed:
            return ""

    def _name_reason(self, text: str) -> str:
        if not text.strip():
            return ""
        others = [device.name for key, device in self._known.items() if key != self._fingerprint()]
        return name_reason(text, others)

    @on(Field.Changed)
    def _changed(self) -> None:
        """Show the fingerprint as people compare it, and whether that device is known."""
        fingerprint = self._fingerprint()
        lines: list[str] = []
        grouped = self.query_one("#grouped", Static)
        if fingerprint and self._field("fingerprint").usable:
            lines = group_lines(fingerprint, self._field("fingerprint").line.size.width)
        known = self._known.get(fingerprint)
        if known is not None:
            lines.append(f"Trusted already as {printable(known.name)}: this changes what is said of it.")
            if self._told != fingerprint:
                self.query_one(Tick).value = known.permission is Permission.READ
        self._told = fingerprint
        grouped.update("\n".join(lines))
        grouped.display = bool(lines)
        name = self._field("name")
        if name.value and name.reason != self._name_reason(name.value):
            name.refuse(self._name_reason(name.value))  # whether it is taken depends on the fingerprint
        self.query_one("#save", Button).disabled = not self._usable
        self.refresh_bindings()

    @property
    def _usable(self) -> bool:
        return all(field.usable for field in self.query(Field))

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what waits for the fields."""
        if action == "save":
            return self._usable or None
        return super().check_action(action, parameters)

    @on(Button.Pressed, "#cancel")
    def _cancelled(self) -> None:
        self.action_close()

    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        """Trust the device."""
        self._save()

    @work(exclusive=True, exit_on_error=False, group="save")
    async def _save(self) -> None:
        address = self._field("address").value.strip()
        permission = Permission.READ if self.query_one(Tick).value else Permission.READ_WRITE
        try:
            device = await self.bridge.add_device(
                self._fingerprint(),
                name=self._field("name").value.strip(),
                address=str(parse_address(address)) if address else "",
                permission=permission,
            )
        except DeviceExists as error:
            self._field("name").refuse(str(error))
        except LeafSyncError as error:
            self._field("fingerprint").complain(str(error))
        else:
            self.dismiss(device)


def _address_reason(text: str) -> str:
    return forms.address_reason(text) if text.strip() else ""
