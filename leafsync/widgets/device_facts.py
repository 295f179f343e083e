"""All there is to know of a trusted device, in lines for whatever width there is."""

from typing import ClassVar

from rich.text import Text
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from leafsync.bridge import Device
from leafsync.tables import local_time
from leafsync.text import printable
from leafsync.widgets.device_table import PERMISSIONS, TIME_WIDTH
from leafsync.widgets.own_code import group_lines

NARROWEST = 20
"""Cells that a fingerprint is laid out for at least: four groups in a line."""


def facts(device: Device, width: int) -> list[str]:
    """Return the lines, escaped. The fingerprint is broken between its groups."""
    lines = group_lines(device.fingerprint, max(NARROWEST, width))
    last, first = (local_time(moment)[:TIME_WIDTH] for moment in (device.last_seen, device.first_seen))
    lines.append(f"may {PERMISSIONS[device.permission]} · confirmed: {printable(device.confirmed) or '-'}")
    lines.append(f"last seen {last} · first seen {first}")
    lines.append(", ".join(printable(address) for address in device.addresses) or "no address known")
    return lines


class DeviceFacts(Widget):
    """Shows a device; nothing before there is one."""

    DEFAULT_CSS: ClassVar[str] = """
    DeviceFacts {
        height: auto;
        padding: 0 1;
        border: round $panel;
        border-title-color: $text-muted;
        &.-none { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__(classes="-none")
        self._device: Device | None = None

    def show(self, device: Device | None) -> None:
        """Show this one."""
        self.set_class(device is None, "-none")
        if device != self._device:
            self._device = device
            self._entitle()
            self.refresh(layout=True)

    def on_resize(self) -> None:
        """Have the name stand as the frame asks for that there is now."""
        self._entitle()

    def _entitle(self) -> None:
        beside = "" if self.styles.border_left[0] else " "  # as a frame with corners has it
        self.border_title = Text(f"{beside}{printable(self._device.name)}{beside}") if self._device is not None else ""

    def _content(self, width: int) -> Content:
        return Content("\n".join(facts(self._device, width)) if self._device is not None else "")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines there are in that width."""
        return len(self._content(width).wrap(width)) if width else 0

    def render(self) -> Content:
        """Return the lines for the width there is."""
        return self._content(self.content_size.width)
