"""Trusting a device by hand."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from leafsync.bridge import Device, Permission, check_device_name, parse_fingerprint
from leafsync.errors import LeafSyncError
from leafsync.screens.device_form import MAX_PASTE, DeviceForm, fingerprint_reason, name_reason
from leafsync.widgets.field import Field
from tests.support.looking import SIZES, paste, says, shows, until, words
from tests.support.ui import Desk, hosted, screen_text

DIGITS = "0123456789abcdef" * 4
OTHER = "ff" * 32


def known(name: str = "nas", fingerprint: str = OTHER) -> Device:
    return Device(fingerprint, name, ("nas.local:4455",), Permission.READ, "2026-01-02T03:04:05Z", "", "read aloud")


def reason(desk: Desk, field: str) -> str:
    return desk.app.screen.query_one(f"#{field}", Field).reason


async def type_in(desk: Desk, text: str) -> None:
    await desk.pilot.press(
        *({" ": "space", ":": "colon", "-": "minus", ".": "full_stop"}.get(key, key) for key in text)
    )


# Reasons


@given(st.text("0123456789abcdefABCDEF :-g\tx", max_size=90) | st.text(max_size=90))
def test_a_fingerprint_has_no_reason_exactly_when_it_is_one(text: str) -> None:
    try:
        usable = bool(parse_fingerprint(text))
    except LeafSyncError:
        usable = False
    assert (fingerprint_reason(text, OTHER) == "") == usable


@given(
    st.text("0123456789abcdef", min_size=64, max_size=64), st.sampled_from([" ", ":", "-", "\n", "  "]), st.booleans()
)
def test_any_form_of_a_fingerprint(fingerprint: str, separator: str, upper: bool) -> None:
    groups = [fingerprint[at : at + 4] for at in range(0, 64, 4)]
    text = separator.join(groups)
    assert fingerprint_reason(text.upper() if upper else text, "") == ""


def test_reasons_in_words() -> None:
    assert "not g" in fingerprint_reason("abcg", "")
    assert "64 digits, this has 3" in fingerprint_reason("ab c", "")
    assert "64 digits, this has 65" in fingerprint_reason("a" * 65, "")
    assert "this device itself" in fingerprint_reason("AA:" * 32, "aa" * 32)
    assert "\x1b" not in fingerprint_reason("\x1b", "")


@given(st.text(max_size=70))
def test_a_name_has_no_reason_exactly_when_it_can_be_one(text: str) -> None:
    try:
        usable = bool(check_device_name(text.strip()))
    except LeafSyncError:
        usable = False
    assert (name_reason(text) == "") == usable


def test_a_name_that_is_taken() -> None:
    assert name_reason("nas", ["nas"]) == "another device is called so"
    assert name_reason(" nas ", ["nas"]) != ""
    assert name_reason("nas2", ["nas"]) == ""


# The form


async def test_a_device_is_trusted(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await type_in(desk, DIGITS.upper())
        await shows(desk, "0123  4567  89ab  cdef")
        await desk.pilot.press("enter")
        await type_in(desk, "nas")
        await desk.pilot.press("enter")
        await type_in(desk, "nas.local:99")
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results)
        (device,) = desk.engine.trust.devices
        assert desk.app.results == [device]
        assert (device.fingerprint, device.name) == (DIGITS, "nas")
        assert device.addresses == ("nas.local:99",)
        assert device.permission is Permission.READ_WRITE
        assert device.confirmed == "pasted on the screen"


async def test_the_fingerprint_alone_is_enough(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await paste(desk, DIGITS)
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results)
        (device,) = desk.engine.trust.devices
        assert device.name == f"device-{DIGITS[:8]}"
        assert device.addresses == ()


async def test_by_keyboard_to_the_buttons(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await paste(desk, DIGITS)
        await desk.pilot.press("tab", "tab", "tab", "space", "tab", "right", "enter")
        await until(desk, lambda: desk.app.results)
        (device,) = desk.engine.trust.devices
        assert device.permission is Permission.READ


@pytest.mark.parametrize("keys", [["escape"], ["tab", "tab", "tab", "tab", "enter"]])
async def test_leaving_trusts_nobody(tmp_path: Path, keys: list[str]) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await paste(desk, DIGITS)
        await desk.pilot.press(*keys)
        await until(desk, lambda: desk.app.results == [None])
        assert desk.engine.trust.devices == ()


async def test_a_paste_of_several_lines(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await paste(desk, "0123 4567 89ab cdef 0123 4567\n89AB cdef  " + "0123456789abcdef\n" * 2)
        await shows(desk, "0123  4567  89ab  cdef")
        assert reason(desk, "fingerprint") == ""
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results)
        assert [device.fingerprint for device in desk.engine.trust.devices] == [DIGITS]


async def test_a_paste_of_what_is_no_fingerprint(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await paste(desk, "\x1b[2J\u202e[b]" + "x" * 100_000)
        await says(desk, "it has digits from 0 to 9 and letters from a to f")
        assert not {"\x1b", "\u202e"} & set(screen_text(desk.app))
        assert len(desk.app.screen.query_one("#fingerprint", Field).value) <= MAX_PASTE


async def test_what_is_wrong_is_said_while_it_is_typed(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await type_in(desk, "ab:c")
        await shows(desk, "it has 64 digits, this has 3")
        await type_in(desk, "x")
        await says(desk, "not x")
        await desk.pilot.press("ctrl+s")
        await desk.pilot.pause()
        assert desk.app.results == []
        await desk.pilot.press("tab", "tab")
        await type_in(desk, "a b")
        await until(desk, lambda: reason(desk, "address"))
        await desk.pilot.press("backspace", "backspace", "backspace")
        await until(desk, lambda: not reason(desk, "address"))


async def test_this_device_itself(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        await paste(desk, desk.bridge.fingerprint)
        await says(desk, "this is the fingerprint of this device itself")
        await desk.pilot.press("ctrl+s")
        await desk.pilot.pause()
        assert desk.engine.trust.devices == ()


async def test_a_known_device_is_named_and_keeps_its_name(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm([known("[b]nas")])) as desk:
        desk.engine.trust.add(OTHER, name="[b]nas", permission=Permission.READ, confirmed="read aloud")
        await paste(desk, OTHER)
        await says(desk, "Trusted already as [b]nas")
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results)
        assert [device.name for device in desk.engine.trust.devices] == ["[b]nas"]
        assert [device.permission for device in desk.engine.trust.devices] == [Permission.READ]


async def test_a_name_is_taken_by_another_device_only(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm([known()])) as desk:
        await desk.pilot.press("tab")
        await type_in(desk, "nas")
        await says(desk, "another device is called so")
        await desk.pilot.press("shift+tab")
        await paste(desk, OTHER)  # it is that device
        await until(desk, lambda: not reason(desk, "name"))
        assert "another device is called so" not in words(desk.app)


async def test_a_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        desk.engine.trust.add(OTHER, name="nas", confirmed="read aloud")
        await paste(desk, DIGITS)
        await desk.pilot.press("tab")
        await type_in(desk, "nas")
        await desk.pilot.press("ctrl+s")
        await says(desk, "A trusted device is called nas already.")
        assert desk.app.results == []
        await type_in(desk, "2")
        await until(desk, lambda: not reason(desk, "name"))
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results)


async def test_a_trust_file_that_cannot_be_used(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", DeviceForm(())) as desk:
        (tmp_path / "home" / "trust.toml").write_text("no trust")
        await paste(desk, DIGITS)
        await desk.pilot.press("ctrl+s")
        await says(desk, "Nobody is trusted until it is mended or moved away")
        assert desk.app.results == []
        (tmp_path / "home" / "trust.toml").unlink()
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results)


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with hosted(tmp_path / "home", DeviceForm([known(fingerprint=DIGITS)]), size) as desk:
        await paste(desk, DIGITS)
        await desk.pilot.pause()
        text = screen_text(desk.app)
        assert "Trust a device" in text
        assert "ctrl+s  Trust" in text
        await desk.pilot.press("tab", "tab", "tab")
        await shows(desk, "[x] It may only read")  # as it is trusted already
        await desk.pilot.press("space")
        await shows(desk, "[ ] It may only read")
