"""What a pass would do, before it does it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from leafsync.bridge import (
    ConnectOptions,
    ConnectStatus,
    PassState,
    PassSummary,
    Snapshot,
    Totals,
    parse_address,
)
from leafsync.errors import ConnectTimedOut, FolderMissing
from leafsync.screens.preview import PreviewModal
from tests.support import ui
from tests.support.looking import SIZES, says, shows, until, words
from tests.support.ui import Desk, FakeEngine, FakeJob, hosted, screen_text

OPTIONS = ConnectOptions(parse_address("nas.local"), "/home/me/folder", rate_mbps=5.0)

PLAN = PassSummary(
    Totals(files=2, bytes=3000),
    0.1,
    fetched=("in/a.txt", "in/b.txt"),
    sent=("out.txt",),
    trashed=("[b]gone\x1b[2J",),
    planned=True,
)


@asynccontextmanager
async def previewing(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: PassSummary | Exception | None = PLAN,
    *,
    size: tuple[int, int] = (100, 30),
    failure: Exception | None = None,
    runs: bool = False,
) -> AsyncIterator[Desk]:
    """A preview that ends so, or cannot begin, or goes on."""

    class Engine(FakeEngine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.ending = ending
            self.failure = failure

        async def connect(self, options: ConnectOptions) -> FakeJob:
            job = await super().connect(options)
            if runs:
                job.end = asyncio.get_running_loop().create_future()
            return job

    monkeypatch.setattr(ui, "FakeEngine", Engine)
    async with hosted(home, PreviewModal(OPTIONS), size) as desk:
        yield desk


async def test_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with previewing(tmp_path, monkeypatch) as desk:
        await shows(desk, "dry run, nothing was changed: 2 files would come, 1 would go")
        text = screen_text(desk.app)
        assert "Preview: /home/me/folder and nas.local:4455" in text
        for line in ("2 entries would be brought here:", "in/a.txt", "in/b.txt", "out.txt", r"[b]gone\x1b[2J"):
            assert line in text
        assert "\x1b" not in text
        options = desk.engine.jobs[1].options
        assert isinstance(options, ConnectOptions)
        assert options.dry_run
        assert options.rate_mbps == 5.0
        await until(desk, lambda: desk.engine.calls == ["stop 1"])


@pytest.mark.parametrize(
    ("keys", "result"),
    [(["ctrl+s"], True), (["escape"], None), (["tab", "enter"], None), (["tab", "tab", "enter"], True)],
)
async def test_start_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[str], result: bool | None
) -> None:
    async with previewing(tmp_path, monkeypatch) as desk:
        await shows(desk, "dry run")
        await desk.pilot.press(*keys)
        await until(desk, lambda: desk.app.results == [result])


async def test_nothing_starts_before_there_is_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with previewing(tmp_path, monkeypatch, runs=True) as desk:
        await shows(desk, "Comparing...")
        await desk.pilot.press("ctrl+s")
        await desk.pilot.pause()
        assert desk.app.results == []
        desk.engine.jobs[1].end.set_result(PLAN)
        await shows(desk, "dry run")
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results == [True])


async def test_leaving_ends_the_comparing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with previewing(tmp_path, monkeypatch, runs=True) as desk:
        await shows(desk, "Comparing...")
        await until(desk, lambda: desk.engine.jobs)
        assert desk.engine.calls == []
        await desk.pilot.press("escape")
        await until(desk, lambda: desk.app.results == [None])
        await until(desk, lambda: desk.engine.calls == ["stop 1"])
        assert desk.bridge.previewing == set()


async def test_what_the_comparing_is_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with previewing(tmp_path, monkeypatch, runs=True) as desk:
        await shows(desk, "Comparing...")
        await until(desk, lambda: desk.bridge.previewing == {1})
        other = ConnectStatus(2, "/other", "nas.local:4455", PassState.TRANSFERRING)
        ours = ConnectStatus(1, "/home/me/folder", "nas.local:4455", PassState.AWAITING, reason="[b]why\x1b")
        desk.engine.shown = Snapshot(1, (), (other, ours))
        await shows(desk, r"Comparing... (waiting to be accepted there: [b]why\x1b)")
        desk.engine.jobs[1].end.set_result(PLAN)
        await shows(desk, "dry run")
        assert "Comparing" not in screen_text(desk.app)


@pytest.mark.parametrize("early", [True, False])
async def test_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    error = (
        FolderMissing(path="/home/me/folder") if early else ConnectTimedOut(address="nas.local", seconds=10, port=4455)
    )
    async with previewing(tmp_path, monkeypatch, ending=error, failure=error if early else None) as desk:
        await says(desk, str(error).split("?")[0])
        await desk.pilot.press("ctrl+s")
        await desk.pilot.pause()
        assert desk.app.results == []
        await desk.pilot.press("escape")
        await until(desk, lambda: desk.app.results == [None])


async def test_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with previewing(tmp_path, monkeypatch, ending=None) as desk:
        await shows(desk, "dry run, nothing was changed: no file would move")
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.app.results == [True])


async def test_a_hundred_thousand_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = PassSummary(Totals(), 0.1, fetched=tuple(f"photos/{n:06}.jpg" for n in range(100_000)), planned=True)
    async with previewing(tmp_path, monkeypatch, ending=many) as desk:
        await shows(desk, "100,000 entries would be brought here:")
        await desk.pilot.press("end")
        await shows(desk, "photos/099999.jpg")
        screen = desk.app.screen
        assert isinstance(screen, PreviewModal)
        assert len(screen.lines.rows) == 100_002


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async with previewing(tmp_path, monkeypatch, size=size) as desk:
        await until(desk, lambda: "in/a.txt" in screen_text(desk.app))
        await shows(desk, "^s Start")
        assert ("Nothing has been changed yet." in words(desk.app)) == (size[1] >= 18)
