"""The question about an unknown device and the notice of a changed key: nothing is accepted by accident."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Button, Input

from leafsync.bridge import Direction, TrustQuestion
from leafsync.engine.sync.jobs import ASK_DEADLINE
from leafsync.errors import PeerChanged
from leafsync.screens import fingerprint
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.fingerprint import ANSWER_SECONDS, GUARD_SECONDS, ChangedKeyModal, FingerprintModal
from tests.support.ui import Desk, hosted, screen_text

THEIRS = "ca97" + "81b2" * 15
OWN = "3e23" + "9f00" * 15
EVIL = "\x1b[31m\x07[bold red]x[/]\u202e写真e\u0301\n"
SHOWN = "\\x1b[31m\\x07[bold red]x[/]\\u202e"
"""How the beginning of `EVIL` must come out."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "TICK", 0.005)


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await pilot.pause(0.005)


async def ticks(pilot: Pilot[Any], count: int = 5) -> None:
    """Let the window look at the clock a few times."""
    for _ in range(count):
        await pilot.pause(0.01)


def asked(
    direction: Direction = Direction.IN, address: str = "192.168.1.20:5000", folder: str = "/srv/f"
) -> TrustQuestion:
    return TrustQuestion(1, THEIRS, address, folder, direction)


@contextlib.asynccontextmanager
async def asking(
    home: Path,
    question: TrustQuestion | None = None,
    *,
    size: tuple[int, int] = (80, 30),
    armed: bool = True,
    answer: "asyncio.Future[bool] | None" = None,
) -> AsyncIterator[tuple[Desk, Clock]]:
    """Ask; unless told otherwise the time in which input is ignored is over."""
    clock = Clock()
    modal = FingerprintModal(question or asked(), own_fingerprint=OWN, answer=answer, clock=clock)
    async with hosted(home, modal, size=size) as desk:
        await ticks(desk.pilot)
        if armed:
            clock.now += GUARD_SECONDS
            await until(desk.pilot, lambda: desk.app.focused is not None)
        yield desk, clock


def accept(desk: Desk) -> Button:
    return desk.app.screen.query_one("#accept", Button)


async def pressed(desk: Desk, *keys: str) -> None:
    await desk.pilot.press(*keys)
    await desk.pilot.pause()


# Rejecting


async def test_the_cursor_starts_on_reject_and_enter_rejects(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        assert desk.app.focused is desk.app.screen.query_one("#reject")
        await pressed(desk, "enter")
        assert desk.app.results == [False]


@pytest.mark.parametrize(
    "keys", [["escape"], ["tab", "escape"], ["tab", "c", "a", "9", "7", "escape"], ["space", "enter"]]
)
async def test_escape_rejects_wherever_the_cursor_is(keys: list[str], tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, *keys)
        assert desk.app.results == [False]


async def test_the_end_of_the_time_rejects_and_the_rest_of_it_is_shown(tmp_path: Path) -> None:
    async with asking(tmp_path, armed=False) as (desk, clock):
        assert "120 s left" in screen_text(desk.app)
        clock.now += 1.5
        await until(desk.pilot, lambda: "119 s left" in screen_text(desk.app))
        clock.now += ANSWER_SECONDS - 1.6
        await until(desk.pilot, lambda: "1 s left" in screen_text(desk.app))
        await ticks(desk.pilot)
        assert desk.app.results == []
        clock.now += 0.1
        await until(desk.pilot, lambda: desk.app.results == [False])


async def test_right_digits_do_not_outlast_the_time(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, clock):
        await pressed(desk, "tab", *THEIRS[:4])
        clock.now += ANSWER_SECONDS
        await until(desk.pilot, lambda: bool(desk.app.results))
        assert desk.app.results == [False]


def test_it_waits_as_long_as_the_engine() -> None:
    assert ANSWER_SECONDS == ASK_DEADLINE


async def test_it_goes_away_when_nobody_waits_for_the_answer_any_more(tmp_path: Path) -> None:
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    async with asking(tmp_path, answer=answer) as (desk, _clock):
        await ticks(desk.pilot)
        assert desk.app.results == []
        answer.cancel()
        await until(desk.pilot, lambda: desk.app.results == [False])


async def test_it_does_not_close_what_lies_on_top_of_it(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, clock):
        top = ConfirmModal("On top?", "", yes="Yes")
        await desk.app.push_screen(top)
        clock.now += ANSWER_SECONDS
        await ticks(desk.pilot)
        assert desk.app.screen is top
        assert desk.app.results == []
        await pressed(desk, "escape")
        await until(desk.pilot, lambda: desk.app.results == [False])


# Keys that were meant for something else


async def test_all_input_is_ignored_at_first(tmp_path: Path) -> None:
    async with asking(tmp_path, armed=False) as (desk, clock):
        for later in (0.0, GUARD_SECONDS - 0.01):
            clock.now = 1000.0 + later
            await ticks(desk.pilot)
            await pressed(desk, "enter", "escape", "y", "tab", *THEIRS[:4], "enter", "space", "n")
            await desk.pilot.click("#reject")
            assert desk.app.results == []
            assert desk.app.clipboard == ""
            assert desk.app.screen.query_one(Input).value == ""
            assert desk.app.focused is None


async def test_input_counts_afterwards(tmp_path: Path) -> None:
    async with asking(tmp_path, armed=False) as (desk, clock):
        await pressed(desk, "enter", "escape")
        clock.now += GUARD_SECONDS
        await until(desk.pilot, lambda: desk.app.focused is not None)
        await pressed(desk, "escape")
        assert desk.app.results == [False]


# Accepting


@pytest.mark.parametrize("typed", ["ca97", "CA97"])
@pytest.mark.parametrize("last", [["enter"], ["tab", "right", "enter"]])
async def test_the_first_group_accepts(typed: str, last: list[str], tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, "shift+tab", *typed)
        assert "✓ the same" in screen_text(desk.app)
        await pressed(desk, *last)
        assert desk.app.results == [True]


async def test_digits_are_typed_where_they_belong_without_going_there_first(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, *THEIRS[:4])
        assert desk.app.screen.query_one(Input).value == THEIRS[:4]
        await pressed(desk, "enter")
        assert desk.app.results == [True]


async def test_an_enter_behind_digits_that_were_typed_at_once_rejects_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        for key in (*THEIRS[:3], "enter"):
            desk.app.post_message(Key(key, None if key == "enter" else key))
        await desk.pilot.pause()
        await until(desk.pilot, lambda: "it has 4 digits" in screen_text(desk.app))
        assert desk.app.results == []


async def test_accept_is_out_of_order_until_the_digits_are_right(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        assert accept(desk).disabled
        await pressed(desk, "shift+tab", "c", "a", "9")
        assert accept(desk).disabled
        await pressed(desk, "7")
        assert not accept(desk).disabled
        await pressed(desk, "backspace")
        assert accept(desk).disabled
        assert "✓" not in screen_text(desk.app)


@pytest.mark.parametrize("typed", ["ca98", "81b2", "3e23", "0000", "79ac"])
async def test_wrong_digits_say_so_and_accept_nothing(typed: str, tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, "shift+tab", *typed)
        assert "× not its first group" in screen_text(desk.app)
        await pressed(desk, "enter", "enter")
        assert accept(desk).disabled
        assert desk.app.results == []


async def test_too_few_digits_say_so(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, "shift+tab", "c", "a", "enter")
        assert "× it has 4 digits" in screen_text(desk.app)
        assert desk.app.results == []


async def test_the_field_takes_four_digits_and_nothing_else(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, "shift+tab", "g", "y", "c", "space", "a", "x", "9", "1", "7", "7")
        line = desk.app.screen.query_one(Input)
        assert line.value == "ca91"
        line.value = ""
        line.insert_text_at_cursor(THEIRS)
        line.insert_text_at_cursor("\x1b[2J")
        assert line.value == ""


async def test_the_digits_are_asked_for_as_the_other_screen_shows_them(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        line = next(line for line in screen_text(desk.app).splitlines() if "Type the first group" in line)
        assert "as the other screen shows it" in line
        assert THEIRS[:4] not in line


# Copying


async def test_y_copies_the_fingerprint(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, "y")
        assert desk.app.clipboard == THEIRS
        assert "was copied" in screen_text(desk.app)
        assert desk.app.results == []


async def test_y_in_the_field_copies_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as (desk, _clock):
        await pressed(desk, "shift+tab", "y")
        assert desk.app.clipboard == ""


# What is shown


@pytest.mark.parametrize(
    ("direction", "sentence"),
    [
        (Direction.IN, "A device at 192.168.1.20:5000 wants to connect to /srv/f."),
        (Direction.OUT, "The device that answers at 192.168.1.20:5000 shows this fingerprint."),
    ],
)
async def test_it_says_who_claims_what(direction: Direction, sentence: str, tmp_path: Path) -> None:
    async with asking(tmp_path, asked(direction)) as (desk, _clock):
        text = " ".join(line.strip("│ ") for line in screen_text(desk.app).splitlines())
        assert sentence in text
        assert "Its name is not known before it is trusted." in text


def groups_shown(text: str) -> str:
    """Return the digits of all groups on the screen, in order."""
    words = [word for line in text.splitlines() for word in line.split()]
    return "".join(word for word in words if len(word) == 4 and set(word) <= set("0123456789abcdef"))


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (80, 30), (120, 36), (200, 60)])
@pytest.mark.parametrize("direction", list(Direction))
async def test_both_fingerprints_are_whole_at_every_size(
    size: tuple[int, int], direction: Direction, tmp_path: Path
) -> None:
    question = asked(direction, "nas.example.org:4455", "/home/ada/Documents/shared photos")
    async with asking(tmp_path, question, size=size) as (desk, _clock):
        text = screen_text(desk.app)
        assert groups_shown(text) == THEIRS + OWN
        for part in ("Unknown device", "s left", "Type the first group", "esc  Reject", "Accept"):
            assert part in text


async def test_a_tiny_screen_scrolls_and_shows_the_choices(tmp_path: Path) -> None:
    async with asking(tmp_path, size=(40, 12)) as (desk, _clock):
        assert "esc  Reject" in screen_text(desk.app)
        await pressed(desk, "tab")
        await pressed(desk, "end")
        assert "Type the first group" in screen_text(desk.app)
        await pressed(desk, "tab", *THEIRS[:4])
        assert "✓ the same" in screen_text(desk.app)
        await pressed(desk, "enter")
        assert desk.app.results == [True]


@pytest.mark.parametrize("direction", list(Direction))
async def test_what_comes_from_outside_is_escaped_and_never_markup(direction: Direction, tmp_path: Path) -> None:
    async with asking(tmp_path, asked(direction, EVIL, f"/srv/{EVIL}"), size=(120, 40)) as (desk, _clock):
        text = "".join(line.strip("│ ") for line in screen_text(desk.app).splitlines())
        assert text.replace(" ", "").count(SHOWN.replace(" ", "")) == 2
        assert not set(text) & {"\x1b", "\x07", "\u202e"}


async def test_a_long_address_or_folder_leaves_the_fingerprint_in_sight(tmp_path: Path) -> None:
    question = asked(Direction.IN, "a" * 5000, "/" + "写" * 5000)
    async with asking(tmp_path, question, size=(80, 30)) as (desk, _clock):
        assert groups_shown(screen_text(desk.app)) == THEIRS + OWN


# The changed key


def changed(name: str = "nas", address: str = "nas.example.org:4455") -> PeerChanged:
    return PeerChanged(address=address, name=name, device=shlex.quote(name), expected=OWN, fingerprint=THEIRS)


@pytest.mark.parametrize("key", ["escape", "enter"])
async def test_the_notice_is_closed_and_nothing_else(key: str, tmp_path: Path) -> None:
    async with hosted(tmp_path, ChangedKeyModal(changed()), size=(80, 30)) as desk:
        await desk.pilot.pause()
        assert [button.id for button in desk.app.screen.query(Button)] == ["close"]
        assert not desk.app.screen.query(Input)
        await pressed(desk, "y", "a", "space")
        assert desk.app.results == []
        await pressed(desk, key)
        assert desk.app.results == [None]


async def test_the_notice_shows_both_fingerprints_and_what_to_do(tmp_path: Path) -> None:
    async with hosted(tmp_path, ChangedKeyModal(changed()), size=(80, 30)) as desk:
        await desk.pilot.pause()
        text = screen_text(desk.app)
        assert groups_shown(text) == OWN + THEIRS
        flat = " ".join(line.strip("│ ") for line in text.splitlines())
        assert "nas.example.org:4455 was nas, and shows another fingerprint now." in flat
        assert "Trust screen (3), mark nas and press k" in flat
        assert f"leafsync trust replace nas {THEIRS}" in flat
        assert flat.index("Confirmed was") < flat.index("It shows now")


@pytest.mark.parametrize("size", [(40, 12), (60, 20), (80, 24), (120, 36), (200, 60)])
async def test_the_notice_can_be_read_at_every_size(size: tuple[int, int], tmp_path: Path) -> None:
    async with hosted(tmp_path, ChangedKeyModal(changed()), size=size) as desk:
        await desk.pilot.pause()
        seen = screen_text(desk.app)
        assert "! The key has changed" in seen
        assert "esc  Close" in seen
        await pressed(desk, "tab")
        for _ in range(20):
            await pressed(desk, "down")
        assert THEIRS[-12:] in "".join(screen_text(desk.app).split())


async def test_names_in_the_notice_are_escaped_and_quoted_for_the_shell(tmp_path: Path) -> None:
    modal = ChangedKeyModal(changed(name="my nas; rm [b]x[/b]", address=EVIL))
    async with hosted(tmp_path, modal, size=(120, 40)) as desk:
        await desk.pilot.pause()
        flat = " ".join(line.strip("│ ") for line in screen_text(desk.app).splitlines())
        assert "leafsync trust replace 'my nas; rm [b]x[/b]'" in flat
        assert SHOWN in flat
        assert not set(flat) & {"\x1b", "\x07", "\u202e"}
