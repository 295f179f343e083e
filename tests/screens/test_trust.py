"""The Trust screen."""

import hashlib
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import tomli_w

from leafsync.bridge import Permission, Snapshot
from leafsync.screens.device_form import DeviceForm
from leafsync.screens.trust import READ_SECONDS, TrustScreen
from leafsync.widgets.device_table import DeviceTable
from leafsync.widgets.own_code import OwnCode, group_lines
from tests.support.looking import SIZES, paste, says, shows, toasted, toasts, until, words
from tests.support.ui import Desk, hosted, screen_text


def fingerprint(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@asynccontextmanager
async def trusting(home: Path, *names: str, size: tuple[int, int] = (120, 36)) -> AsyncIterator[Desk]:
    """The screen on a device that trusts those with these names."""
    async with hosted(home, TrustScreen(), size) as desk:
        desk.app.clock = Clock()
        for name in names:
            desk.engine.trust.add(fingerprint(name), name=name, address=f"{len(name)}.example:4455", confirmed="aloud")
        screen(desk).reload()
        if names:
            await until(desk, lambda: isinstance(desk.app.focused, DeviceTable))
        yield desk


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def screen(desk: Desk) -> TrustScreen:
    shown = desk.app.screen_stack[1]
    assert isinstance(shown, TrustScreen)
    return shown


def chosen(desk: Desk) -> str:
    device = screen(desk).selected
    return device.name if device is not None else ""


async def settled(desk: Desk) -> None:
    """Let everything happen that will."""
    groups = ("devices", "change")
    await until(desk, lambda: not any(one.group in groups and not one.is_finished for one in desk.app.workers))


async def tick(desk: Desk, seconds: float = READ_SECONDS) -> None:
    """Let time pass, and a snapshot come."""
    clock = desk.app.clock
    assert isinstance(clock, Clock)
    clock.now += seconds
    screen(desk).show(Snapshot(0))
    await settled(desk)


# What is shown


async def test_own_code_devices_and_details(tmp_path: Path) -> None:
    async with trusting(tmp_path, "laptop", "nas") as desk:
        await shows(desk, "This device: desk")
        text = screen_text(desk.app)
        for line in group_lines(desk.bridge.fingerprint, 80) + group_lines(fingerprint("laptop"), 80):
            assert line in text
        assert "nas" in text
        assert "may read, write · confirmed: aloud" in text
        assert "6.example:4455" in text
        await desk.pilot.press("down")
        for line in group_lines(fingerprint("nas"), 80):
            await shows(desk, line)


async def test_nobody_is_trusted_yet(tmp_path: Path) -> None:
    async with trusting(tmp_path) as desk:
        await says(desk, "No device is trusted yet.")
        await says(desk, "press a and paste the fingerprint that the other device shows")
        assert isinstance(desk.app.focused, OwnCode)
        await desk.pilot.press("r", "e", "x", "k", "enter")
        await settled(desk)
        assert desk.app.screen is screen(desk)
        await desk.pilot.press("a")
        await until(desk, lambda: isinstance(desk.app.screen, DeviceForm))


async def test_a_trust_file_that_cannot_be_used_and_is_mended(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        file = tmp_path / "trust.toml"
        sound = file.read_text()
        file.write_text("no trust file")
        await tick(desk)
        await says(desk, "Nobody is trusted until it is mended or moved away; it was left as it is.")
        assert "aloud" not in screen_text(desk.app)
        await desk.pilot.press("a", "r", "e", "x", "k", "down", "enter")
        await settled(desk)
        assert desk.app.screen is screen(desk)
        assert file.read_text() == "no trust file"
        await desk.pilot.press("y")
        await until(desk, lambda: desk.app.clipboard == desk.bridge.fingerprint)
        file.write_text(sound)
        await tick(desk)
        await shows(desk, "confirmed: aloud")
        assert "Nobody is trusted" not in words(desk.app)
        assert isinstance(desk.app.focused, DeviceTable)


async def test_changes_of_other_processes_come_in_and_leave_the_cursor(tmp_path: Path) -> None:
    async with trusting(tmp_path, "b", "d", "f") as desk:
        await desk.pilot.press("down")
        assert chosen(desk) == "d"
        desk.engine.trust.add(fingerprint("a"), name="a", confirmed="aloud")
        desk.engine.trust.change("b", permission=Permission.READ)
        await tick(desk)
        assert chosen(desk) == "d"
        assert [device.name for device in screen(desk).table._devices] == ["a", "b", "d", "f"]
        await shows(desk, "only read")
        desk.engine.trust.remove("d")
        await tick(desk)
        assert chosen(desk) == "f"


async def test_the_file_is_read_once_a_second(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await settled(desk)
        desk.engine.trust.add(fingerprint("new"), name="new", confirmed="aloud")
        await tick(desk, READ_SECONDS / 2)
        assert "new" not in screen_text(desk.app)
        await tick(desk, READ_SECONDS / 2)
        await shows(desk, "new")


async def test_reading_again_leaves_the_focus(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await desk.pilot.press("shift+tab")
        assert isinstance(desk.app.focused, OwnCode)
        desk.engine.trust.change("nas", permission=Permission.READ)
        await tick(desk)
        await shows(desk, "only read")
        assert isinstance(desk.app.focused, OwnCode)


async def test_hundreds_of_devices(tmp_path: Path) -> None:
    async with trusting(tmp_path, "device 000") as desk:
        file = tmp_path / "trust.toml"
        document = tomllib.loads(file.read_text())
        (one,) = document["devices"].values()
        names = [f"device {number:03}" for number in range(300)]
        document["devices"] = {fingerprint(name): {**one, "name": name, "addresses": []} for name in names}
        file.write_text(tomli_w.dumps(document))
        await tick(desk)
        await desk.pilot.press("end")
        await until(desk, lambda: chosen(desk) == "device 299")
        await shows(desk, "device 299")
        await tick(desk)
        assert chosen(desk) == "device 299"


async def test_names_are_escaped_and_no_markup(tmp_path: Path) -> None:
    async with trusting(tmp_path, "[b]nas[/b]", size=(200, 60)) as desk:
        text = (tmp_path / "trust.toml").read_text()
        (tmp_path / "trust.toml").write_text(text.replace('"aloud"', r'"[red]\u001b[2J"'))
        await tick(desk)
        await shows(desk, r"confirmed: [red]\x1b[2J")
        await desk.pilot.press("y")
        await toasted(desk, "Copied the fingerprint of [b]nas[/b].")
        assert screen_text(desk.app).count("[b]nas[/b]") >= 3  # the row, the title of the details, the toast


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with trusting(tmp_path, "laptop", "nas", size=size) as desk:
        await shows(desk, "laptop")
        text = screen_text(desk.app)
        assert "Fingerprint" in text
        for line in group_lines(desk.bridge.fingerprint, size[0] - 4):
            assert line in text
        assert (group_lines(fingerprint("laptop"), size[0] - 4)[0] in text) == (size[1] >= 18)
        await shows(desk, "a Add")
        assert screen(desk).table.max_scroll_x == 0
        for other in SIZES:
            await desk.pilot.resize_terminal(*other)
            await shows(desk, "laptop")


# What can be done


async def test_a_device_is_added_and_gone_to(tmp_path: Path) -> None:
    async with trusting(tmp_path, "a", "z") as desk:
        await desk.pilot.press("a")
        await until(desk, lambda: isinstance(desk.app.screen, DeviceForm))
        await paste(desk, fingerprint("m"))
        await desk.pilot.press("tab", "m", "ctrl+s")
        await toasted(desk, "m is trusted now.")
        await until(desk, lambda: chosen(desk) == "m")
        assert isinstance(desk.app.focused, DeviceTable)


async def test_the_first_device_is_gone_to(tmp_path: Path) -> None:
    async with trusting(tmp_path) as desk:
        await says(desk, "No device is trusted yet.")
        await desk.pilot.press("a")
        await until(desk, lambda: isinstance(desk.app.screen, DeviceForm))
        await paste(desk, fingerprint("m"))
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: isinstance(desk.app.focused, DeviceTable))
        assert "No device is trusted yet" not in words(desk.app)


async def test_a_device_gets_another_name(tmp_path: Path) -> None:
    async with trusting(tmp_path, "a", "m", "z") as desk:
        await desk.pilot.press("r")
        await shows(desk, "Rename a")
        await desk.pilot.press("backspace", "m")
        await shows(desk, "another device is called so")
        await desk.pilot.press("n", "enter")
        await toasted(desk, "a is called mn now.")
        await settled(desk)
        assert chosen(desk) == "mn"  # further down now
        assert [device.name for device in desk.engine.trust.devices] == ["m", "mn", "z"]


async def test_a_device_may_only_read_and_write_again(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await desk.pilot.press("e")
        await toasted(desk, "nas may only read now.")
        await until(desk, lambda: desk.engine.trust.devices[0].permission is Permission.READ)
        await settled(desk)
        await desk.pilot.press("e")
        await toasted(desk, "nas may read, write now.")
        await until(desk, lambda: desk.engine.trust.devices[0].permission is Permission.READ_WRITE)


async def test_a_device_is_removed_after_a_yes(tmp_path: Path) -> None:
    async with trusting(tmp_path, "a", "nas") as desk:
        await desk.pilot.press("down", "x")
        await shows(desk, "Stop trusting nas?")
        assert "No file is touched." in words(desk.app)
        await desk.pilot.press("y")
        await toasted(desk, "nas is not trusted any more.")
        assert [device.name for device in desk.engine.trust.devices] == ["a"]
        await settled(desk)
        assert chosen(desk) == "a"


@pytest.mark.parametrize("key", ["n", "escape", "enter"])
async def test_a_no_removes_nobody(tmp_path: Path, key: str) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await desk.pilot.press("delete")
        await shows(desk, "Stop trusting nas?")
        await desk.pilot.press(key)
        await until(desk, lambda: desk.app.screen is screen(desk))
        await settled(desk)
        assert [device.name for device in desk.engine.trust.devices] == ["nas"]
        assert toasts(desk.app) == []


async def test_the_last_one_is_removed(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await desk.pilot.press("x")
        await shows(desk, "Stop trusting nas?")
        await desk.pilot.press("y")
        await says(desk, "No device is trusted yet.")
        assert isinstance(desk.app.focused, OwnCode)


async def test_a_changed_key_is_replaced_after_a_warning(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas", "other") as desk:
        await desk.pilot.press("k")
        await shows(desk, "! New key of nas")
        await says(desk, "what somebody shows who pretends to be it")
        await desk.pilot.press(*"abc")
        await shows(desk, "it has 64 digits, this has 3")
        await desk.pilot.press("enter", "backspace", "backspace", "backspace")
        assert desk.engine.trust.devices[0].fingerprint == fingerprint("nas")
        await paste(desk, fingerprint("new").upper())
        await desk.pilot.press("enter")
        await toasted(desk, "nas is trusted with its new key.")
        assert desk.engine.trust.devices[0].fingerprint == fingerprint("new")
        await settled(desk)
        assert chosen(desk) == "nas"


async def test_a_key_of_another_device_is_refused(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas", "other") as desk:
        await desk.pilot.press("k")
        await shows(desk, "! New key of nas")
        await paste(desk, fingerprint("other"))
        await desk.pilot.press("enter")
        await toasted(desk, "A trusted device is called other already.")
        assert [device.fingerprint for device in desk.engine.trust.devices] == [
            fingerprint("nas"),
            fingerprint("other"),
        ]


async def test_a_device_that_is_gone_meanwhile_is_said(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await desk.pilot.press("x")
        await shows(desk, "Stop trusting nas?")
        desk.engine.trust.remove("nas")
        await desk.pilot.press("y")
        await toasted(desk, "No trusted device is called")
        await says(desk, "No device is trusted yet.")


async def test_copying_what_is_looked_at(tmp_path: Path) -> None:
    async with trusting(tmp_path, "nas") as desk:
        await desk.pilot.press("y")
        await toasted(desk, "Copied the fingerprint of nas.")
        assert desk.app.clipboard == fingerprint("nas")
        await desk.pilot.press("shift+tab", "y")
        await toasted(desk, "Copied the fingerprint of this device.")
        assert desk.app.clipboard == desk.bridge.fingerprint


async def test_own_code_is_copied_while_nobody_is_trusted(tmp_path: Path) -> None:
    async with trusting(tmp_path) as desk:
        await shows(desk, "y copies it.")
        await desk.pilot.press("y")
        await until(desk, lambda: desk.app.clipboard == desk.bridge.fingerprint)


async def test_a_reading_does_not_lose_where_the_cursor_is_to_go(tmp_path: Path) -> None:
    async with trusting(tmp_path, "a", "m", "z") as desk:
        screen(desk).reload(fingerprint("z"))
        screen(desk).reload()  # as the timer does, before the first one has come to an end
        await settled(desk)
        assert chosen(desk) == "z"
