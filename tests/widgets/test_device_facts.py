"""All there is to know of a device."""

import re

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace
from textual.app import App, ComposeResult

from leafsync.bridge import Device, Permission
from leafsync.widgets.device_facts import DeviceFacts, facts
from leafsync.widgets.own_code import group_lines
from tests.support.ui import screen_text

NAS = Device(
    fingerprint="0123456789abcdef" * 4,
    name="nas",
    addresses=("nas.local:4455", "[2001:db8::5]:40112"),
    permission=Permission.READ_WRITE,
    first_seen="2026-01-02T03:04:05Z",
    last_seen="2026-01-03T03:04:05Z",
    confirmed="compared on screen",
)


class Page(App[None]):
    """The facts alone."""

    CSS = "Screen.bare DeviceFacts { border: none; border-top: solid $panel; }"

    def compose(self) -> ComposeResult:
        yield DeviceFacts()

    @property
    def shown(self) -> list[str]:
        return [line.strip(" │") for line in screen_text(self).split("\n")]


def test_what_is_said() -> None:
    lines = facts(NAS, 80)
    assert lines[:2] == group_lines(NAS.fingerprint, 80)
    assert lines[2] == "may read, write · confirmed: compared on screen"
    assert lines[3].startswith("last seen 2026-01-0")
    assert lines[4] == "nas.local:4455, [2001:db8::5]:40112"
    unknown = facts(replace(NAS, addresses=(), confirmed=""), 80)
    assert unknown[2].endswith("confirmed: -")
    assert unknown[4] == "no address known"


@given(st.text(max_size=40), st.integers(1, 200))
def test_what_comes_from_outside_is_escaped(text: str, width: int) -> None:
    for line in facts(replace(NAS, addresses=(text,), confirmed=text), width):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line)


async def test_nothing_is_shown_without_a_device() -> None:
    app = Page()
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        assert not any(app.shown)
        app.query_one(DeviceFacts).show(NAS)
        await pilot.pause()
        assert "nas.local:4455, [2001:db8::5]:40112" in app.shown
        app.query_one(DeviceFacts).show(None)
        await pilot.pause()
        assert not any(app.shown)


@pytest.mark.parametrize("width", [30, 44, 60, 120])
async def test_it_has_the_height_of_its_lines_at_every_width(width: int) -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        widget = app.query_one(DeviceFacts)
        widget.show(NAS)
        await pilot.pause()
        await pilot.resize_terminal(width, 24)
        await pilot.pause()
        room = width - 4
        for line in group_lines(NAS.fingerprint, room):
            assert line in app.shown
        assert widget.content_size.height == len(widget.render().wrap(room))
        assert app.shown[widget.outer_size.height - 1].startswith("╰")


async def test_the_name_stands_apart_from_the_frame() -> None:
    app = Page()
    async with app.run_test(size=(60, 12)) as pilot:
        app.query_one(DeviceFacts).show(replace(NAS, name="[b]nas\x1b"))
        await pilot.pause()
        assert "─ [b]nas\\x1b ─" in app.shown[0]
        app.screen.add_class("bare")
        await pilot.resize_terminal(61, 12)
        await pilot.pause()
        assert app.shown[0].startswith("─ [b]nas\\x1b ─")
