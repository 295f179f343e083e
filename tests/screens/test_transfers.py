"""The Transfers screen on a fake engine, with the keyboard."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from textual.screen import ModalScreen
from textual.widgets import Sparkline

from leafsync.bridge import (
    CHUNK_SIZE,
    NO_CHANGES,
    ConnectOptions,
    ConnectStatus,
    Direction,
    PassState,
    PassSummary,
    PeerStatus,
    ServeOptions,
    ServeStatus,
    Snapshot,
    Totals,
    TransferChanges,
    parse_address,
)
from leafsync.engine.core.transfers import TransferKey, TransferLog
from leafsync.screens.transfer_details import TransferDetails
from leafsync.screens.transfers import FilterInput, TransfersScreen
from leafsync.widgets.transfer_rows import Sort
from tests.support.ui import Desk, hosted, screen_text

SIZES = [(40, 12), (60, 20), (80, 24), (120, 36), (200, 60)]


@dataclass
class Scene:
    """A screen, its clock, and what its jobs do."""

    desk: Desk
    screen: TransfersScreen
    clock: list[float]
    states: dict[int, PassState] = field(default_factory=dict)
    totals: dict[int, Totals] = field(default_factory=dict)
    wire: int = 0
    serving: tuple[ServeStatus, ...] = ()

    async def connect(self, folder: str = "/home/me/photos") -> int:
        job = await self.desk.bridge.connect(ConnectOptions(folder=folder, address=parse_address("nas:4455")))
        self.states[job] = PassState.TRANSFERRING
        return job

    def log(self, job: int = 1) -> TransferLog:
        return self.desk.engine.jobs[job].transfers

    async def tick(self, seconds: float = 0.125) -> None:
        """Let time pass and the screen look."""
        self.clock[0] += seconds
        peer = PeerStatus("ab" * 32, "nas", "192.168.1.5:4455", "receiving", self.wire, self.wire // 2)
        connecting = tuple(
            ConnectStatus(job, f"/folder/{job}", "nas:4455", state, peer=peer, totals=self.totals.get(job, Totals()))
            for job, state in self.states.items()
        )
        self.desk.engine.shown = Snapshot(1, serving=self.serving, connecting=connecting)
        self.screen.show(self.desk.bridge.snapshot())
        await self.until(lambda: not self.screen.model.work(time.perf_counter, 1.0))
        self.screen._list.renew()
        await self.desk.pilot.pause()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await self.desk.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.desk.pilot.press(*keys)
        await self.desk.pilot.pause()

    @property
    def text(self) -> str:
        return screen_text(self.desk.app)

    def paths(self) -> list[str]:
        """The paths in view, from the top."""
        words = [line.removeprefix("›").split() for line in self.text.split("\n")]
        return [line[1] for line in words if len(line) > 2 and line[0] in "↓↑" and "B/s" not in line[2]]

    def line(self, path: str) -> str:
        return next(line for line in self.text.split("\n") if f" {path} " in line)

    def able(self, name: str) -> bool | None:
        return self.screen.check_action(name, ())


def key(path: str, *, peer: str = "nas", direction: Direction = Direction.IN) -> TransferKey:
    return TransferKey(peer, direction, path)


@contextlib.asynccontextmanager
async def scene(home: Path, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Scene]:
    """Run the screen."""
    clock = [100.0]
    screen = TransfersScreen(clock=lambda: clock[0])
    async with hosted(home, screen, size) as desk:
        yield Scene(desk, screen, clock)


# What is shown


async def test_without_a_job_it_says_how_to_get_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.tick()
        assert "Nothing moves yet." in it.text
        assert "1 serves a folder." in it.text
        assert "2 connects to another device." in it.text
        await it.connect()
        await it.tick()
        assert "Nothing to transfer." in it.text


async def test_a_file_from_its_plan_to_its_end(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().expect("nas", Direction.IN, [("a.txt", 1_000_000)])
        await it.tick()
        assert it.line("a.txt").split() == ["›", "↓", "a.txt", "─" * 10, "0", "%", "1.0", "MB", "·", "waiting"]
        it.log().start(key("a.txt"), 1_000_000)
        await it.tick(0.5)
        it.log().add(key("a.txt"), 400_000)
        await it.tick(1.0)
        moving = ["━" * 4 + "─" * 6, "40", "%", "1.0", "MB", "400.0", "kB/s", "0:02", "▸", "active"]
        assert it.line("a.txt").split()[3:] == moving
        it.log().settle(key("a.txt"))
        await it.tick()
        assert it.line("a.txt").split()[3:] == ["━" * 10, "100", "%", "1.0", "MB", "✓", "done"]


async def test_totals_are_of_all_jobs(tmp_path: Path) -> None:
    async with scene(tmp_path, (120, 30)) as it:
        for _job in range(2):
            job = await it.connect()
            it.totals[job] = Totals(files=10, files_done=0, bytes=10_000_000)
        await it.tick()
        for job in it.totals:
            it.totals[job] = Totals(files=10, files_done=3, bytes=10_000_000, bytes_done=4_000_000)
        it.wire = 2_000_000
        await it.tick(2.0)
        line = it.text.split("\n")[1]
        assert line.split("   ") == [
            *("  ↓ 2.0 MB/s", "↑ 1.0 MB/s", "40 %", "0:03 left", "6 of 20 files", "8.0 MB of 20.0 MB")
        ]


async def test_what_was_sent_from_a_served_folder_counts(tmp_path: Path) -> None:
    async with scene(tmp_path, (120, 30)) as it:
        job = await it.desk.bridge.serve(ServeOptions(folder="/srv"))
        it.serving = (ServeStatus(job, "/srv", 4455, (), read_only=False, problems=2),)
        it.log().start(key("a", peer="lap", direction=Direction.OUT), 100)
        it.log().add(key("a", peer="lap", direction=Direction.OUT), 25)
        await it.tick()
        assert "25 %   0 of 1 file   25 B of 100 B" in it.text
        assert "! 2 problems" in it.text
        assert it.line("a").split()[1] == "↑"


async def test_what_needs_attention_has_a_line_only_while_there_is_some(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        job = await it.connect()
        await it.tick()
        assert "!" not in it.text
        it.desk.bridge.conflict_copies[job] = {"b"}  # of a pass before the last one
        it.desk.bridge.summaries[job] = PassSummary(Totals(), 1.0, held=("x", "y"))
        await it.tick()
        assert "! 1 conflict · 2 held deletes" in it.text
        it.desk.bridge.conflict_copies[job] = set()
        it.desk.bridge.summaries[job] = PassSummary(Totals(), 1.0)
        await it.tick()
        assert "!" not in it.text


async def test_throughput_is_sampled_twice_a_second(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        for moved in (0, 1000, 1000, 1000, 1000, 1000):
            it.wire += moved
            await it.tick(0.25)
        data = it.screen.query_one(Sparkline).data
        assert data is not None
        assert list(data)[-3:] == [0.0, 6000.0, 6000.0]
        assert len(data) == 121


@pytest.mark.parametrize("size", SIZES)
async def test_every_size_has_the_list_and_a_small_one_no_chart(tmp_path: Path, size: tuple[int, int]) -> None:
    async with scene(tmp_path, size) as it:
        job = await it.connect()
        it.log().expect("nas", Direction.IN, [(f"file-{number}", number) for number in range(200)])
        it.desk.bridge.summaries[job] = PassSummary(Totals(), 1.0, held=("x",))
        await it.tick()
        assert ("▁▁▁▁▁▁" in it.text) is (size[0] >= 80 and size[1] >= 24)
        assert len(it.paths()) >= size[1] // 2
        assert "1 held delete" in it.text
        assert "all 200" in it.text
        assert ("waiting 200" in it.text) is (size[0] >= 80)
        await it.press("slash", "9", "enter", "f", "s", "end", "enter")
        assert isinstance(it.desk.app.screen, ModalScreen) is False
        await it.press("f", "f", "end", "enter")
        assert isinstance(it.desk.app.screen, ModalScreen)
        assert "Transfer" in it.text


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "nord"])
async def test_other_colours_change_no_text(tmp_path: Path, theme: str) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().expect("nas", Direction.IN, [("a", 5), ("b", 5)])
        it.log().start(key("b"), 5)
        await it.tick()
        before = it.text
        it.desk.app.theme = theme
        await it.desk.pilot.pause()
        assert it.text == before


async def test_no_colour_needs_no_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().start(key("b"), 5)
        await it.tick()
        assert it.line("b").startswith("› ↓ b")
        assert "▸ active" in it.line("b")


async def test_hostile_names_are_escaped_everywhere(tmp_path: Path) -> None:
    async with scene(tmp_path, (120, 36)) as it:
        job = await it.connect()
        name = "\x1b[2J[red]\u202eevil"
        it.log(job).start(key(name, peer="[b]\x07"), 5)
        it.log(job).settle(key(name, peer="[b]\x07"), "\x1b]0;title\x07 [i]")
        await it.tick()
        assert "\\x1b[2J[red]\\u202eevil" in it.text
        assert "\\x1b]0;title\\x07 [i]" in it.text
        await it.press("enter")
        assert "comes from [b]\\x07" in it.text
        assert "\x1b" not in it.text


# Sorting and finding


async def test_what_it_was_sorted_by_is_remembered(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        kept: list[str] = []
        it.desk.app.settings.keep = lambda state: kept.append(state.sort)
        await it.press("s")
        assert kept == ["path"]
        again = TransfersScreen(clock=lambda: 0.0)
        await it.desk.app.push_screen(again)
        assert again.model.sort is Sort.PATH
        it.desk.app.settings.state.sort = "by the moon"
        other = TransfersScreen(clock=lambda: 0.0)
        await it.desk.app.push_screen(other)
        assert other.model.sort is Sort.STATE


async def test_s_sorts_and_f_shows_one_state(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().expect("nas", Direction.IN, [("bb", 10), ("cc", 30), ("aa", 20)])
        it.log().start(key("cc"), 30)
        await it.tick()
        assert it.paths() == ["cc", "bb", "aa"]
        await it.press("s")
        assert it.paths() == ["aa", "bb", "cc"]
        assert "File▾" in it.text
        await it.press("s")
        assert it.paths() == ["cc", "aa", "bb"]
        await it.press("f")
        assert it.paths() == ["cc"]
        await it.press("f")
        assert it.paths() == []
        assert "No transfer is like that." in it.text
        await it.press("f")
        assert it.paths() == ["aa", "bb"]
        assert " · waiting 2 " in it.text


async def test_slash_finds_and_escape_leaves(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().expect("nas", Direction.IN, [("photos/one", 10), ("photos/two", 30), ("music/sfp", 20)])
        await it.tick()
        await it.press("slash")
        assert "part of a path" in it.text
        await it.press("s", "f")  # letters, not keys
        assert it.paths() == ["music/sfp"]
        await it.press("enter")
        assert it.screen.focused is it.screen._list
        assert "/ sf" in it.text
        await it.press("slash", "escape")
        assert it.screen.focused is it.screen._list
        assert len(it.paths()) == 3
        assert it.screen.query_one("#search").display is False
        await it.press("slash", "escape")
        assert it.screen.query_one(FilterInput).value == ""


# The cursor and what the keys do


async def test_enter_shows_all_there_is_to_know_and_goes_on_showing_it(tmp_path: Path) -> None:
    async with scene(tmp_path, (100, 36)) as it:
        await it.connect()
        path = "a/very/long/path/" * 8 + "end.bin"
        it.log().start(key(path, direction=Direction.OUT), 10 * CHUNK_SIZE + 1)
        it.log().add(key(path, direction=Direction.OUT), 4 * CHUNK_SIZE)
        await it.tick()
        await it.press("enter")
        assert isinstance(it.desk.app.screen, TransferDetails)
        squeezed = "".join(it.text.split())
        assert "end.bin" in squeezed
        for fact in ("/folder/1", "goestonas", "▸active", "10.5MB(10,485,761bytes)", "4.2MB(39%)", "4of11"):
            assert fact in squeezed
        it.log().settle(key(path, direction=Direction.OUT), "no space left")
        await it.tick()
        await it.until(lambda: "no space left" in it.text)
        assert "× failed" in it.text
        await it.press("escape")
        assert len(it.desk.app.screen_stack) == 2


async def test_details_of_an_empty_file(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().start(key("empty"), 0)
        it.log().settle(key("empty"))
        await it.tick()
        await it.press("enter")
        assert "0 B (100 %)" in it.text


async def test_p_pauses_and_resumes_the_job_of_the_row(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        one, two = await it.connect(), await it.connect()
        it.log(one).start(key("first"), 9)
        it.log(two).start(key("second"), 9)
        await it.tick()
        await it.press("down", "p")
        assert it.desk.engine.calls == [f"pause {two}"]
        it.states[two] = PassState.PAUSED
        await it.tick()
        assert "‖ paused" in it.line("second")
        assert "▸ active" in it.line("first")
        await it.press("p")
        assert it.desk.engine.calls == [f"pause {two}", f"resume {two}"]


async def test_a_folder_that_is_served_is_paused_too(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        job = await it.desk.bridge.serve(ServeOptions(folder="/srv"))
        it.serving = (ServeStatus(job, "/srv", 4455, (), read_only=False),)
        await it.tick()
        await it.press("p")  # there is no row, but only this job
        it.serving = (ServeStatus(job, "/srv", 4455, (), read_only=False, paused=True),)
        await it.tick()
        await it.press("p")
        assert it.desk.engine.calls == [f"pause {job}", f"resume {job}"]


class Stand(ModalScreen[None]):
    """Stands for a modal that is made elsewhere."""

    def __init__(self, *about: object) -> None:
        super().__init__()
        self.about = about


@pytest.mark.parametrize(
    ("pressed", "module", "name", "about"),
    [
        ("h", "history", "HistoryModal", "/folder/1"),
        ("c", "conflicts", "ConflictsModal", "/folder/1"),
        ("d", "held", "HeldModal", 1),
    ],
)
async def test_keys_lead_to_what_is_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pressed: str, module: str, name: str, about: object
) -> None:
    stand_in = ModuleType(f"leafsync.screens.{module}")
    setattr(stand_in, name, Stand)
    monkeypatch.setitem(sys.modules, f"leafsync.screens.{module}", stand_in)
    async with scene(tmp_path) as it:
        await it.tick()
        await it.press(pressed)
        assert it.desk.app.screen is it.screen  # there is no job yet
        job = await it.connect()
        it.log().start(key("a"), 9)
        it.desk.bridge.summaries[job] = PassSummary(Totals(), 1.0, remote_held=("x",))
        await it.tick()
        await it.press(pressed)
        opened = it.desk.app.screen
        assert isinstance(opened, Stand)
        assert opened.about == (about,)


async def test_what_does_nothing_now_is_greyed(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.tick()
        names = ("details", "pause", "history", "conflicts", "held", "put_away", "sort")
        assert [it.able(name) for name in names] == [None, None, None, None, None, False, True]
        job = await it.connect()
        await it.tick()
        assert [it.able(name) for name in names] == [None, True, True, True, None, False, True]
        it.log().start(key("a"), 9)
        it.desk.bridge.summaries[job] = PassSummary(Totals(), 1.0, held=("x",))
        await it.tick()
        assert [it.able(name) for name in names] == [True, True, True, True, True, False, True]


async def test_the_rows_of_a_job_that_ended_stay_until_it_is_put_away(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        job = await it.connect()
        it.log().start(key("a"), 9)
        it.log().settle(key("a"))
        await it.tick()
        it.desk.engine.jobs[job].end.set_result(None)
        await it.until(lambda: job in it.desk.bridge.ended)
        await it.tick()  # the engine still has it
        it.states.clear()
        await it.tick()
        assert it.paths() == ["a"]
        assert it.able("pause") is None
        assert it.able("put_away") is True
        await it.press("x")
        await it.until(lambda: not it.desk.bridge.ended)
        await it.tick()
        assert it.paths() == []
        assert "Nothing moves yet." in it.text


async def test_the_rows_of_a_job_that_was_stopped_go(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        it.desk.engine.keep = 1
        one, two = await it.connect(), await it.connect()
        for path in ("before", "first"):
            it.log(one).expect("nas", Direction.IN, [(path, 9)])
            it.log(one).settle(key(path))
        it.log(two).expect("nas", Direction.IN, [("second", 9)])
        it.log(two).settle(key("second"))
        await it.tick()
        await it.desk.bridge.stop(one)
        await it.tick()  # the engine still has it: nothing new is heard of it
        assert it.paths() == ["first", "second"]
        del it.states[one]
        await it.tick()
        assert it.paths() == ["second"]


async def test_a_log_that_made_room_shows_what_it_has_left(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        it.desk.engine.keep = 3
        small = it.log(await it.connect())
        for path in ("aa", "bb", "cc"):
            small.start(key(path), 9)
            small.settle(key(path))
        await it.tick()
        small.expect("nas", Direction.IN, [("dd", 9), ("ee", 9)])
        await it.tick()
        assert it.paths() == ["dd", "ee", "cc"]


# Many rows


async def test_many_rows_are_taken_in_without_stopping_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as it:
        job = await it.connect()
        it.log().expect("nas", Direction.IN, [(f"file-{number:05}", number) for number in range(20_000)])
        it.desk.engine.shown = Snapshot(1, connecting=(ConnectStatus(job, "/f", "nas", PassState.TRANSFERRING),))
        it.screen.show(it.desk.bridge.snapshot())
        assert 0 < len(it.screen.model.view.order) < 20_000  # not all at once
        asked: list[int] = []

        def ask(job: int, _version: int, _epoch: int) -> TransferChanges:
            asked.append(job)
            return NO_CHANGES

        with monkeypatch.context() as patch:
            patch.setattr(it.desk.bridge, "transfers", ask)
            it.screen.show(it.desk.bridge.snapshot())
        assert asked == []  # one thing after the other
        await it.until(lambda: len(it.screen.model.view.order) == 20_000)
        await it.until(lambda: "all 20,000" in it.text)
        before = it.screen.model.view
        await it.press("s", "s")
        await it.until(lambda: it.screen.model.view is not before)
        await it.press("home")
        await it.until(lambda: it.paths()[:1] == ["file-19999"])


async def test_a_tick_costs_by_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path) as it:
        await it.connect()
        it.log().expect("nas", Direction.IN, [(f"file-{number:05}", number) for number in range(10_000)])
        await it.tick()
        placed: list[str] = []
        place = it.screen.model._place

        def counted(row: Any) -> None:
            placed.append(row.path)
            place(row)

        monkeypatch.setattr(it.screen.model, "_place", counted)
        it.log().start(key("file-00100"), 9)
        it.log().settle(key("file-00200"))
        await it.tick()
        assert placed == ["file-00100", "file-00200"]
        await it.tick()
        assert len(placed) == 2


async def test_help_is_there() -> None:
    for screen in (TransfersScreen, TransferDetails):
        assert screen.HELP is not None
        assert screen.HELP.startswith("## ")


async def test_rates_are_measured_by_the_clock_of_the_app(tmp_path: Path) -> None:
    screen = TransfersScreen()
    async with hosted(tmp_path, screen) as desk:
        desk.app.clock = lambda: 5.0
        assert screen._clock() == 5.0


async def test_a_long_reason_stays_beside_its_label(tmp_path: Path) -> None:
    async with scene(tmp_path, (60, 20)) as it:
        await it.connect()
        it.log().expect("nas", Direction.IN, [("a.txt", 10)])
        it.log().settle(key("a.txt"), "a reason that is longer than a line of the window can be, whatever it is")
        await it.tick()
        await it.press("enter")
        lines = it.text.split("\n")
        at = next(number for number, line in enumerate(lines) if "Reason" in line)
        column = lines[at].index("a reason")
        assert lines[at + 1].strip("│ ").split()[0] == lines[at + 1][column:].split()[0]
        assert lines[at + 1][column - 1] == " "


async def test_the_lines_fit_as_soon_as_the_window_is_another(tmp_path: Path) -> None:
    async with scene(tmp_path, (100, 30)) as it:
        await it.connect()
        await it.tick()
        assert "▸ active 0" in it.text
        await it.desk.pilot.resize_terminal(60, 20)
        await it.until(lambda: "▸ active 0" not in it.text)
        assert "▸ 0" in it.text
