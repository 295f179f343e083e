"""The table of trusted devices."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, strategies as st
from textual.app import App, ComposeResult

from leafsync.bridge import Device, Permission
from leafsync.progress import cell_width
from leafsync.widgets.device_table import COLUMNS, PADDING, DeviceTable, cell, column_widths
from tests.support.ui import screen_text


def device(number: int, name: str = "", **changes: object) -> Device:
    made = Device(
        fingerprint=f"{number:04x}" * 16,
        name=name or f"device {number:03}",
        addresses=(f"192.168.1.{number}:4455",),
        permission=Permission.READ_WRITE,
        first_seen="2026-01-02T03:04:05Z",
        last_seen="2026-01-03T03:04:05Z",
        confirmed="pasted on the screen",
    )
    return msgspec.structs.replace(made, **changes)


class Shown(App[None]):
    """A table."""

    def __init__(self, devices: Sequence[Device]) -> None:
        super().__init__()
        self.first = devices

    def compose(self) -> ComposeResult:
        yield DeviceTable()

    @property
    def table(self) -> DeviceTable:
        return self.query_one(DeviceTable)

    def on_mount(self) -> None:
        self.table.show_devices(self.first)


def titles(app: Shown) -> str:
    return " ".join(screen_text(app).split("\n")[0].split())


def row(app: Shown, name: str) -> str:
    return next(line for line in screen_text(app).split("\n") if name in line)


# Columns

KEYS = [column.key for column in COLUMNS]
WANTED = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 300))
FULL = {column.key: column.most for column in COLUMNS}


@given(st.integers(1, 300), WANTED)
def test_columns_fit_and_are_of_use(width: int, wanted: dict[str, int]) -> None:
    widths = column_widths(width, wanted)
    assert list(widths) == [key for key in KEYS if key in widths]
    assert "name" in widths
    assert len(widths) == 1 or sum(widths.values()) + 2 * PADDING * len(widths) <= width
    for column in COLUMNS:
        if column.key in widths:
            assert min(column.least, len(column.title)) <= widths[column.key] <= max(column.most, len(column.title))


@given(st.integers(1, 299), WANTED)
def test_more_room_takes_no_column_away(width: int, wanted: dict[str, int]) -> None:
    assert set(column_widths(width, wanted)) <= set(column_widths(width + 1, wanted))


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (37, ["name", "permission", "fingerprint"]),
        (57, ["name", "permission", "fingerprint", "last_seen"]),
        (79, ["name", "permission", "fingerprint", "addresses", "last_seen"]),
        (199, KEYS),
    ],
)
def test_the_most_wanted_columns_stay(width: int, columns: list[str]) -> None:
    assert list(column_widths(width, {**FULL, "name": 9, "addresses": 16})) == columns


def test_names_are_whole_before_there_are_columns_of_less_use() -> None:
    wanted = {**FULL, "name": 14, "addresses": 19}
    for width in range(57, 200):
        widths = column_widths(width, wanted)
        assert widths["name"] == 14 or set(widths) <= {"name", "permission", "fingerprint"}, width
    assert "addresses" in column_widths(119, wanted)


def test_names_use_the_room_there_is() -> None:
    assert column_widths(199, FULL)["name"] == FULL["name"]
    widths = column_widths(79, {**FULL, "name": 200})
    assert list(widths) == ["name", "permission", "fingerprint", "last_seen"]
    assert widths["name"] >= 28


def test_a_column_is_no_wider_than_what_is_in_it() -> None:
    widths = column_widths(300, {**FULL, "name": 3, "addresses": 1})
    assert widths["name"] == len("Device")
    assert widths["addresses"] == len("Address")


TEXT = st.text(max_size=80)


@given(TEXT, TEXT, TEXT, st.sampled_from(Permission), st.sampled_from(KEYS), st.integers(2, 60))
def test_cells_fit_and_are_escaped(
    name: str, address: str, moment: str, permission: Permission, key: str, width: int
) -> None:
    shown = device(1, name or "n", addresses=(address,), last_seen=moment, permission=permission, confirmed=name)
    text = cell(shown, key, width)
    assert cell_width(text) <= width
    assert not any(ord(character) < 32 or ord(character) == 127 for character in text)


# The table


async def test_all_there_is_to_say() -> None:
    app = Shown([device(1, permission=Permission.READ), device(2, addresses=())])
    async with app.run_test(size=(160, 10)) as pilot:
        await pilot.pause()
        assert titles(app) == "Device Permission Fingerprint Address Last seen First seen Confirmed"
        assert "only read" in row(app, "device 001")
        assert "0001 0001 0001 0001…" in row(app, "device 001")
        assert "192.168.1.1:4455" in row(app, "device 001")
        assert "pasted on the screen" in row(app, "device 001")
        assert "read, write" in row(app, "device 002")
        assert "192.168" not in row(app, "device 002")


@pytest.mark.parametrize("width", [12, 40, 60, 80, 120, 200])
async def test_it_fits_its_width(width: int) -> None:
    app = Shown([device(number) for number in range(50)])
    async with app.run_test(size=(width, 10)) as pilot:
        await pilot.pause()
        assert app.table.virtual_size.width <= width
        assert app.table.max_scroll_x == 0


async def test_columns_come_and_go_with_the_width() -> None:
    app = Shown([device(1), device(2)])
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        await pilot.press("down")
        assert titles(app) == "Device Permission Fingerprint"
        await pilot.resize_terminal(160, 10)
        await pilot.pause()
        assert titles(app) == "Device Permission Fingerprint Address Last seen First seen Confirmed"
        assert app.table.selected == device(2)


async def test_text_is_no_markup_and_escaped() -> None:
    app = Shown([device(1, "[b]x[/b]", confirmed="[red]\x1b[2J")])
    async with app.run_test(size=(160, 10)) as pilot:
        await pilot.pause()
        assert r"[red]\x1b[2J" in row(app, "[b]x[/b]")


async def test_the_cursor_stays_on_its_device() -> None:
    devices = [device(number) for number in range(100)]
    app = Shown(devices)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.pause()
        app.table.select(devices[40].fingerprint)
        await pilot.pause()
        assert app.table.selected == devices[40]
        app.table.show_devices([device(500, "a first one"), *devices])
        await pilot.pause()
        assert app.table.selected == devices[40]
        assert "device 040" in screen_text(app)
        app.table.show_devices(devices[30:])
        await pilot.pause()
        assert app.table.selected == devices[40]


async def test_it_goes_to_the_one_in_its_place_when_the_device_is_gone() -> None:
    devices = [device(number) for number in range(3)]
    app = Shown(devices)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down")
        app.table.show_devices([devices[0], devices[2]])
        await pilot.pause()
        assert app.table.selected == devices[2]
        app.table.show_devices([devices[0]])
        await pilot.pause()
        assert app.table.selected == devices[0]
        app.table.show_devices([])
        await pilot.pause()
        assert app.table.row_count == 0
        await pilot.press("up", "down", "enter")
        app.table.show_devices(devices)
        await pilot.pause()
        assert app.table.selected == devices[0]


async def test_a_change_of_one_device_moves_nothing() -> None:
    devices = [device(number) for number in range(100)]
    app = Shown(devices)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.pause()
        app.table.select(devices[40].fingerprint)
        await pilot.pause()
        scrolled = app.table.scroll_y
        assert scrolled > 0
        devices[40] = msgspec.structs.replace(devices[40], permission=Permission.READ)
        app.table.show_devices(devices)
        await pilot.pause()
        assert app.table.scroll_y == scrolled
        assert app.table.selected == devices[40]
        assert "only read" in row(app, "device 040")


async def test_a_fingerprint_that_is_not_there_is_not_gone_to() -> None:
    app = Shown([device(1), device(2)])
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down")
        app.table.select("ff" * 32)
        await pilot.pause()
        assert app.table.selected == device(2)
