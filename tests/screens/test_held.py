"""Deletes that are held back, and letting them happen."""

from pathlib import Path
from typing import Any

import pytest

from leafsync.bridge import (
    ConnectOptions,
    ConnectStatus,
    PassState,
    PassSummary,
    PeerStatus,
    Snapshot,
    Totals,
    parse_address,
)
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.held import HeldModal
from tests.support.looking import SIZES, says, shows, toasted, toasts, until, words
from tests.support.ui import Desk, hosted, screen_text

HERE = ("d", "d/a.txt", "b.txt")
THERE = ("x/y.txt",)


def summary(here: tuple[str, ...] = HERE, there: tuple[str, ...] = THERE) -> PassSummary:
    return PassSummary(Totals(), 1.0, held=here, remote_held=there)


class Held(HeldModal):
    """The window, on a job that has held deletes back before it opens."""

    def __init__(self, held: PassSummary | None) -> None:
        super().__init__(1)
        self.held = held

    async def read(self) -> Any:
        if self.held is not None:
            self.bridge.summaries[1] = self.held
            self.held = None
        return await super().read()


async def begin(desk: Desk, *, peer: str | None = "nas") -> None:
    """Have job 1 run."""
    options = ConnectOptions(parse_address("nas.local"), "/folder")
    await desk.bridge.connect(options)
    status = PeerStatus("ab" * 32, peer, "nas.local:4455", "") if peer is not None else None
    job = ConnectStatus(1, "/folder", "nas.local:4455", PassState.IN_SYNC, peer=status)
    desk.engine.shown = Snapshot(1, (), (job,))
    modal(desk).reload()


def modal(desk: Desk) -> HeldModal:
    screen = desk.app.screen_stack[1]
    assert isinstance(screen, HeldModal)
    return screen


def rows(desk: Desk) -> list[str]:
    lines = [line.strip("│▄▆█▁▂▃▅▇ ").removeprefix("› ").strip() for line in screen_text(desk.app).split("\n")]
    return [line for line in lines if line]


async def test_both_sides_with_their_counts(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", Held(summary())) as desk:
        await begin(desk)
        await shows(desk, "3 entries here, gone on nas")
        shown = rows(desk)
        at = shown.index("3 entries here, gone on nas")
        assert shown[at : at + 6] == [
            "3 entries here, gone on nas",
            "d",
            "d/a.txt",
            "b.txt",
            "1 entry on nas, gone here",
            "x/y.txt",
        ]


async def test_one_side_alone(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", Held(summary(here=()))) as desk:
        await begin(desk, peer=None)
        await shows(desk, "1 entry on nas.local:4455, gone here")
        assert "entries here" not in screen_text(desk.app)


async def test_exactly_these_are_allowed_after_a_yes(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", Held(summary())) as desk:
        await begin(desk)
        await shows(desk, "3 entries here")
        await desk.pilot.press("a")
        await says(desk, "3 entries go to the trash here and 1 entry goes to the trash on nas.")
        assert desk.engine.jobs[1].allowed == frozenset()
        await desk.pilot.press("y")
        await toasted(desk, "Allowed")
        assert desk.engine.jobs[1].allowed == frozenset(HERE + THERE)
        await until(desk, lambda: desk.app.results == [None])


@pytest.mark.parametrize("key", ["n", "escape", "enter"])
async def test_a_no_leaves_them_held(tmp_path: Path, key: str) -> None:
    async with hosted(tmp_path / "home", Held(summary())) as desk:
        await begin(desk)
        await shows(desk, "3 entries here")
        await desk.pilot.press("a")
        await until(desk, lambda: isinstance(desk.app.screen, ConfirmModal))
        await desk.pilot.press(key)
        await until(desk, lambda: desk.app.screen is modal(desk))
        await desk.pilot.press("escape")
        await until(desk, lambda: desk.app.results == [None])
        assert "allow 1" not in desk.engine.calls
        assert toasts(desk.app) == []


async def test_other_deletes_than_were_shown_are_not_allowed(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", Held(summary())) as desk:
        await begin(desk)
        await shows(desk, "3 entries here")
        await desk.pilot.press("a")
        await until(desk, lambda: isinstance(desk.app.screen, ConfirmModal))
        desk.bridge.summaries[1] = summary(here=(*HERE, "precious.txt"))
        await desk.pilot.press("y")
        await toasted(desk, "Another pass found other deletes meanwhile.")
        assert "allow 1" not in desk.engine.calls
        await shows(desk, "4 entries here")
        await shows(desk, "precious.txt")
        await desk.pilot.press("a")
        await says(desk, "4 entries go to the trash here")
        await desk.pilot.press("y")
        await toasted(desk, "Allowed")
        assert "precious.txt" in desk.engine.jobs[1].allowed


async def test_a_job_that_has_ended_deletes_nothing(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", Held(summary())) as desk:
        await shows(desk, "3 entries here, gone on the other device")
        await desk.pilot.press("a")
        await until(desk, lambda: isinstance(desk.app.screen, ConfirmModal))
        await desk.pilot.press("y")
        await toasted(desk, "The job has ended, so nothing is deleted.")
        assert desk.app.screen is modal(desk)


@pytest.mark.parametrize("held", [None, summary(here=(), there=())])
async def test_nothing_is_held(tmp_path: Path, held: PassSummary | None) -> None:
    async with hosted(tmp_path / "home", Held(held)) as desk:
        await says(desk, "Nothing is held back: the last pass deleted all it had to.")
        await desk.pilot.press("a")
        await desk.pilot.pause()
        assert desk.app.screen is modal(desk)


async def test_names_are_escaped_and_no_markup(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", Held(summary(here=("[b]x\x1b[2J",), there=()))) as desk:
        await begin(desk, peer="[red]\x1bnas")
        await shows(desk, r"1 entry here, gone on [red]\x1bnas")
        assert r"[b]x\x1b[2J" in screen_text(desk.app)
        assert "\x1b" not in screen_text(desk.app)
        await desk.pilot.press("a")
        await says(desk, "1 entry goes to the trash here.")


async def test_thousands(tmp_path: Path) -> None:
    many = tuple(f"photos/{number:06}.jpg" for number in range(50_000))
    async with hosted(tmp_path / "home", Held(summary(here=many))) as desk:
        await begin(desk)
        await shows(desk, "50,000 entries here, gone on nas")
        await desk.pilot.press("end")
        await shows(desk, "x/y.txt")
        await desk.pilot.press("up", "up")
        await shows(desk, "› ")
        assert modal(desk).selected == ("photos/049999.jpg", "path")


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with hosted(tmp_path / "home", Held(summary()), size) as desk:
        await begin(desk)
        await shows(desk, "3 entries here, gone on nas")
        await shows(desk, "a Allow")
        assert ("So much at once waits for a yes." in words(desk.app)) == (size[1] >= 18)
        await desk.pilot.press("a")
        await shows(desk, "Delete these?")
