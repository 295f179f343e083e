"""Cards of jobs: one for each, painted when something has changed, gone through with the keyboard."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from textual.actions import SkipAction
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from leafsync.bridge import (
    Bridge,
    ConnectStatus,
    EndedJob,
    Mode,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    Snapshot,
    Totals,
)
from leafsync.errors import ConnectTimedOut
from leafsync.progress import Progress
from leafsync.widgets.job_card import JobCard, JobList, Shown
from tests.support.ui import NOW, FakeEngine, screen_text

LOST = ConnectTimedOut(address="nas:4455", seconds=8, port=4455)
SERVING = ServeStatus(1, "/srv/one", 4455, ("10.0.0.2:4455",), read_only=False)
CONNECTED = ConnectStatus(2, "/srv/two", "nas:4455", PassState.IN_SYNC)
ENDED = EndedJob(3, "/srv/three", "nas:4455", LOST)


class Cards(App[None]):
    """A list of cards below a line to type into."""

    CSS = "JobList { height: 1fr; }"

    def on_mount(self) -> None:
        self.animation_level = "none"

    def compose(self) -> ComposeResult:
        yield Input(compact=True)
        yield JobList("Nothing here yet.")


@dataclass
class Desk:
    """Cards, and what they are made of."""

    app: Cards
    pilot: Pilot[None]
    bridge: Bridge
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0

    @property
    def list(self) -> JobList:
        return self.app.query_one(JobList)

    @property
    def text(self) -> str:
        return screen_text(self.app)

    async def show(self, *jobs: Shown) -> None:
        """Show exactly these jobs, a second after the ones before."""
        self.seconds += 1
        serving = tuple(job for job in jobs if isinstance(job, ServeStatus))
        connecting = tuple(job for job in jobs if isinstance(job, ConnectStatus))
        self.progress.observe(Snapshot(1, serving, connecting), self.seconds)
        self.list.show(jobs, self.bridge, self.progress)
        await self.pilot.pause()
        await self.pilot.pause()

    @property
    def focused(self) -> int | None:
        """The id of the job whose card has the focus."""
        card = self.app.focused
        return card.job.id if isinstance(card, JobCard) else None


@asynccontextmanager
async def cards(home: Path, size: tuple[int, int] = (80, 30)) -> AsyncIterator[Desk]:
    def make(tell: Callable[..., None], ask: Callable[..., Any]) -> FakeEngine:
        return FakeEngine(home, tell, ask)

    async with Bridge(make, device_name="desk", now=lambda: NOW) as bridge:
        app = Cards()
        async with app.run_test(size=size) as pilot:
            yield Desk(app, pilot, bridge)


async def test_without_jobs_it_says_what_to_do(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show()
        assert "Nothing here yet." in desk.text
        await desk.show(SERVING)
        assert "Nothing here yet." not in desk.text
        await desk.show()
        assert "Nothing here yet." in desk.text


async def test_every_job_has_a_card(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING, CONNECTED, ENDED)
        for shown in ("● serving  /srv/one", "✓ in sync  /srv/two", "× failed  /srv/three"):
            assert shown in desk.text
        assert list(desk.list.cards) == [1, 2, 3]
        await desk.show(SERVING, ENDED)
        assert list(desk.list.cards) == [1, 3]
        assert "/srv/two" not in desk.text


async def test_a_job_that_ends_keeps_its_place(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING, CONNECTED)
        await desk.show(EndedJob(1, "/srv/one", "", LOST), CONNECTED)
        assert list(desk.list.cards) == [1, 2]
        assert "× failed  /srv/one" in desk.text


async def test_this_device_shows_its_own_fingerprint(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING)
        assert desk.bridge.fingerprint[:4] in desk.text


async def test_it_tells_what_passes_told(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        desk.bridge.summaries[2] = PassSummary(Totals(), 0.1, held=("a",))
        desk.bridge.conflict_copies[2] = {"x", "y"}
        await desk.show(CONNECTED)
        assert "! 2 conflicts, both versions kept (c decides)" in desk.text
        assert "! 1 delete held back (d shows them)" in desk.text
        desk.bridge.summaries[2] = PassSummary(Totals(), 0.1)
        desk.bridge.conflict_copies[2] = set()
        desk.bridge.in_sync_since[2] = NOW
        await desk.show(CONNECTED)
        assert f"✓ in sync since {NOW.astimezone():%H:%M:%S}" in desk.text


async def test_rates_are_measured(tmp_path: Path) -> None:
    peer = PeerStatus("ab" * 32, "laptop", "10.0.0.3:5", "sending")
    moving = replace(CONNECTED, state=PassState.TRANSFERRING, totals=Totals(1, 0, 10**8))
    async with cards(tmp_path) as desk:
        for second in range(3):
            totals = replace(moving.totals, bytes_done=second * 10**6, fetched=second * 10**6)
            await desk.show(
                replace(SERVING, peers=(replace(peer, wire_out=second * 2 * 10**6),)), replace(moving, totals=totals)
            )
        assert "sending, 2.0 MB/s" in desk.text
        assert "1.0 MB/s  1:38 left" in desk.text


async def test_it_is_painted_only_when_something_has_changed(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING)
        card = desk.list.cards[1]
        painted: list[bool] = []
        card.refresh = lambda *, layout=False: painted.append(layout)  # type: ignore[method-assign,assignment,misc]
        await desk.show(replace(SERVING))
        assert painted == []
        await desk.show(replace(SERVING, files=1))
        assert painted == [False]  # as high as before: nothing around it moves
        await desk.show(replace(SERVING, files=1, problems=1))
        assert painted == [False, True]


async def test_it_is_laid_out_anew_when_the_terminal_changes(tmp_path: Path) -> None:
    job = replace(SERVING, folder="/srv/" + "long/" * 14)
    async with cards(tmp_path, (120, 30)) as desk:
        await desk.show(job)
        assert job.folder in desk.text
        await desk.pilot.resize_terminal(60, 20)
        await desk.pilot.pause()
        assert job.folder not in desk.text
        assert "…" in desk.text


async def test_it_is_as_high_as_its_lines_at_every_width(tmp_path: Path) -> None:
    peer = PeerStatus("ab" * 32, "laptop", "[2001:db8::5]:40112", "receiving")
    job = replace(SERVING, peers=(peer,), addresses=("10.0.0.2:4455", "[2001:db8:1:2:3:4:5:6]:4455"))
    async with cards(tmp_path, (60, 20)) as desk:
        await desk.show(job)
        card = desk.list.cards[1]
        for width in (30, 40, 60, 34, 28, 120, 46, 60):
            await desk.pilot.resize_terminal(width, 20)
            await desk.pilot.pause()
            lines = [line.strip(" ▏") for line in desk.text.split("\n")[1:]]
            assert lines[: card.size.height + 1] == [*(str(line).strip() for line in card.render().split("\n")), ""]


async def test_markup_and_escapes_are_shown_as_text(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(replace(SERVING, folder="/srv/[b]a\x1b[31m\u202e[/b]"), replace(CONNECTED, mode=Mode.PULL))
        assert "/srv/[b]a\\x1b[31m\\u202e[/b]" in desk.text
        assert "\x1b" not in desk.text


# Keys


async def test_tab_and_arrows_go_through_the_cards(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING, CONNECTED, ENDED)
        went = []
        for key in ("tab", "down", "down", "down", "up", "shift+tab", "shift+tab"):
            await desk.pilot.press(key)
            went.append(desk.focused)
        assert went == [1, 2, 3, 3, 2, 1, None]


async def test_a_card_that_gets_the_focus_is_scrolled_into_view(tmp_path: Path) -> None:
    many = tuple(replace(SERVING, id=at, folder=f"/srv/{at}") for at in range(1, 8))
    async with cards(tmp_path, (60, 20)) as desk:
        await desk.show(*many)
        await desk.pilot.press("tab")
        for job in many:
            await desk.pilot.pause()
            assert desk.focused == job.id
            assert any(line.split()[1:4] == ["●", "serving", job.folder] for line in desk.text.split("\n"))
            await desk.pilot.press("down")


async def test_the_focus_can_be_told_without_colours(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING, CONNECTED)
        await desk.pilot.press("tab")
        await desk.pilot.pause()
        one, two = (next(line for line in desk.text.split("\n") if name in line) for name in ("/srv/one", "/srv/two"))
        assert one.index("●") == two.index("✓")
        assert one[: one.index("●")] != two[: two.index("✓")]


async def test_keys_act_on_the_focused_card_or_the_only_one(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show()
        chosen = [desk.list.focused_card]
        await desk.show(SERVING)
        chosen.append(desk.list.focused_card)
        await desk.show(SERVING, CONNECTED)
        chosen.append(desk.list.focused_card)
        await desk.pilot.press("tab", "down")
        chosen.append(desk.list.focused_card)
        assert [card.job.id if card else None for card in chosen] == [None, 1, None, 2]


async def test_when_a_card_goes_the_focus_goes_to_another(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING, CONNECTED)
        await desk.pilot.press("tab", "down")
        await desk.show(SERVING)
        assert desk.focused == 1
        await desk.show()
        assert desk.focused is None


async def test_a_key_that_comes_when_the_card_has_gone_does_nothing(tmp_path: Path) -> None:
    async with cards(tmp_path) as desk:
        await desk.show(SERVING, CONNECTED)
        await desk.pilot.press("tab")
        card = desk.list.focused_card
        assert card is not None
        await card.remove()
        with pytest.raises(SkipAction):
            card.action_near(1)
