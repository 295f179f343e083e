"""The trusted devices in a table: columns drop where there is no room, and the cursor stays on its device."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from leafsync.bridge import Device, Permission, format_groups
from leafsync.progress import cell_width, truncate_middle
from leafsync.tables import local_time
from leafsync.text import printable

PERMISSIONS = {Permission.READ: "only read", Permission.READ_WRITE: "read, write"}
"""What a device may do, in words."""

TIME_WIDTH = 16
"""Cells of a date with hours and minutes."""

FINGERPRINT_WIDTH = 20
"""Cells of the first four groups of a fingerprint, which tell devices apart but prove nothing."""

PADDING = 1
"""Cells beside each column, on both sides."""


class Column(msgspec.Struct, frozen=True):
    """A column that may be there."""

    key: str
    title: str
    least: int
    """Cells below which it is of no use."""
    most: int
    """Cells it makes use of."""
    rank: int
    """Those with a lower one are wanted more."""


ESSENTIAL = 2
"""Rank up to which columns are there even where names have to be cut for them."""

WHOLE_NAME = 28
"""Cells of a name that other columns are not worth cutting it for."""

COLUMNS = (
    Column("name", "Device", 9, 44, 0),
    Column("permission", "Permission", 11, 11, 1),
    Column("fingerprint", "Fingerprint", 11, FINGERPRINT_WIDTH, 2),
    Column("addresses", "Address", 21, 44, 4),
    Column("last_seen", "Last seen", TIME_WIDTH, TIME_WIDTH, 3),
    Column("first_seen", "First seen", TIME_WIDTH, TIME_WIDTH, 6),
    Column("confirmed", "Confirmed", 20, 44, 5),
)
"""All columns, from left to right."""


def column_widths(width: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the columns that fit into `width` cells, and how wide each one is without its padding.

    `wanted` says how wide the columns would like to be.
    """
    needed = {one.key: max(len(one.title), min(one.most, wanted.get(one.key, 0))) for one in COLUMNS}
    room = width
    widths: dict[str, int] = {}

    def widen(key: str, wish: int) -> None:
        nonlocal room
        more = max(0, min(room, wish - widths[key]))
        widths[key] += more
        room -= more

    for column in sorted(COLUMNS, key=lambda column: column.rank):
        least = min(column.least, needed[column.key])
        if column.rank > ESSENTIAL:
            widen("name", min(WHOLE_NAME, needed["name"]))
        if widths and room < least + 2 * PADDING:
            break
        widths[column.key] = least
        room -= least + 2 * PADDING
    for column in COLUMNS:
        if column.key in widths:
            widen(column.key, needed[column.key])
    return {column.key: widths[column.key] for column in COLUMNS if column.key in widths}


def cell(device: Device, key: str, width: int) -> str:
    """Return what a column says of a device, escaped, in at most `width` cells."""
    if key == "fingerprint":
        return format_groups(device.fingerprint)[: width - 1].rstrip() + "…"
    return truncate_middle(_text(device, key), width)


def _text(device: Device, key: str) -> str:
    texts = {
        "name": device.name,
        "permission": PERMISSIONS[device.permission],
        "addresses": ", ".join(device.addresses) or "-",
        "last_seen": local_time(device.last_seen)[:TIME_WIDTH],
        "first_seen": local_time(device.first_seen)[:TIME_WIDTH],
        "confirmed": device.confirmed or "-",
    }
    return printable(texts[key])


def _wanted(devices: Sequence[Device]) -> dict[str, int]:
    """Return how wide the columns would like to be."""
    widths = {"fingerprint": FINGERPRINT_WIDTH}
    for column in COLUMNS:
        if column.key not in widths:
            widths[column.key] = max((cell_width(_text(device, column.key)) for device in devices), default=0)
    return widths


class DeviceTable(DataTable[Text]):
    """Shows devices."""

    DEFAULT_CSS: ClassVar[str] = """
    DeviceTable {
        height: 1fr;
        background: transparent;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;

        & > .datatable--header { background: transparent; color: $text-muted; text-style: none; }
        & > .datatable--header-cursor { background: transparent; color: $text-muted; text-style: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", "First", show=False),
        Binding("end", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=PADDING, header_height=1)
        self._devices: tuple[Device, ...] = ()
        self._widths: dict[str, int] = {}

    @property
    def selected(self) -> Device | None:
        """The device with the cursor."""
        return self._devices[self.cursor_row] if 0 <= self.cursor_row < len(self._devices) else None

    def show_devices(self, devices: Sequence[Device]) -> None:
        """Show these; the cursor stays on its device, or where that was."""
        before, self._devices = self._devices, tuple(devices)
        moved = [one.fingerprint for one in before] != [one.fingerprint for one in devices]
        if moved or column_widths(self._room, _wanted(devices)) != self._widths:
            at = self.cursor_row
            chosen = before[at].fingerprint if at < len(before) else ""
            self._build(self._index(chosen, at))
            return
        for old, new in zip(before, devices, strict=True):
            if old != new:
                for key, width in self._widths.items():
                    self.update_cell(new.fingerprint, key, Text(cell(new, key, width)))

    def select(self, fingerprint: str) -> None:
        """Put the cursor on a device, if it is shown."""
        self.move_cursor(row=self._index(fingerprint, self.cursor_row), animate=False)

    def _index(self, fingerprint: str, otherwise: int) -> int:
        found = (index for index, one in enumerate(self._devices) if one.fingerprint == fingerprint)
        return next(found, max(0, min(otherwise, len(self._devices) - 1)))

    def on_resize(self) -> None:
        """Give the columns the room there is."""
        if column_widths(self._room, _wanted(self._devices)) != self._widths:
            self._build(self.cursor_row)

    @property
    def _room(self) -> int:
        return self.size.width - 1  # a scrollbar may come

    def _build(self, cursor: int) -> None:
        scroll = self.scroll_y
        self.clear(columns=True)
        self._widths = column_widths(self._room, _wanted(self._devices))
        titles = {column.key: column.title for column in COLUMNS}
        for key, width in self._widths.items():
            self.add_column(Text(truncate_middle(titles[key], width)), width=width, key=key)
        for device in self._devices:
            cells = [Text(cell(device, key, width)) for key, width in self._widths.items()]
            self.add_row(*cells, key=device.fingerprint)
        self.scroll_to(y=scroll, animate=False)
        self.move_cursor(row=cursor, animate=False)
