"""The list of transfers on a screen, with the keyboard."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.strip import Strip

from leafsync.bridge import Direction, TransferChanges, TransferState, TransferStatus
from leafsync.widgets.transfer_list import TransferList, TransferTitles
from leafsync.widgets.transfer_model import TransferModel
from leafsync.widgets.transfer_rows import JobStanding
from tests.support.ui import screen_text


class ListApp(App[None]):
    """Nothing but the list."""

    def __init__(self) -> None:
        super().__init__()
        self.animation_level = "none"
        self.model = TransferModel()
        self.model.know([JobStanding(1, "/folder")])
        self.list = TransferList(self.model)
        self.heard: list[str] = []

    def compose(self) -> ComposeResult:
        yield TransferTitles(self.list)
        yield self.list

    def on_transfer_list_chosen(self) -> None:
        self.heard.append("chosen")


@dataclass
class Bench:
    """What a test of the list works with."""

    app: ListApp
    pilot: Pilot[None]
    drawn: list[int] = field(default_factory=list)
    """An entry for each line that was drawn."""

    async def say(self, *changed: tuple[str, TransferState, int]) -> None:
        job = self.app.model.jobs[0]
        rows = tuple(TransferStatus(path, 100, done, state, "", Direction.IN, "nas") for path, state, done in changed)
        self.app.model.take(job, TransferChanges(0, job.version + 1, rows))
        await self.finish()

    async def finish(self) -> None:
        while self.app.model.work(iter(range(10**9)).__next__, 10**6):
            pass
        self.app.list.renew()
        await self.pilot.pause()

    async def waiting(self, paths: Iterable[str]) -> None:
        await self.say(*((path, TransferState.WAITING, 0) for path in paths))

    def lines(self) -> list[str]:
        return screen_text(self.app).split("\n")[1:]

    def line_of(self, path: str) -> int:
        return next(y for y, line in enumerate(self.lines()) if f" {path} " in line)

    def marked(self) -> str:
        return next(line for line in self.lines() if line.startswith("›")).split()[2]


@contextlib.asynccontextmanager
async def bench(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] = (80, 11)) -> AsyncIterator[Bench]:
    app = ListApp()
    async with app.run_test(size=size) as pilot:
        made = Bench(app, pilot)
        draw = app.list._strip

        def counted(*args: object, **options: object) -> Strip:
            made.drawn.append(len(made.drawn))
            return draw(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(app.list, "_strip", counted)
        yield made


NAMES = [f"file-{number:05}" for number in range(10_000)]


async def test_ten_thousand_rows_draw_what_is_in_view(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        assert len(desk.drawn) == 10
        assert desk.line_of("file-00009") == 9


async def test_only_lines_that_look_different_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.say(*((path, TransferState.ACTIVE, 0) for path in NAMES))
        desk.drawn.clear()
        await desk.say(
            (NAMES[3], TransferState.ACTIVE, 50), *((path, TransferState.ACTIVE, 9) for path in NAMES[20:900])
        )
        assert len(desk.drawn) == 1
        assert "50 %" in desk.lines()[3]
        asked: list[int] = []
        monkeypatch.setattr(desk.app.list, "render_line", asked.append)
        await desk.finish()
        assert asked == []


async def test_a_line_that_was_drawn_before_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        await desk.pilot.press("pagedown", "pagedown")
        desk.drawn.clear()
        await desk.pilot.press("pageup")
        assert len(desk.drawn) <= 2  # the rows with the cursor, now and before
        desk.drawn.clear()
        desk.app.theme = "textual-light"
        await desk.pilot.pause()
        assert len(desk.drawn) == 10


async def test_keys_move_the_cursor_and_keep_it_in_view(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        seen = []
        for key in ("down", "down", "up", "pagedown", "pagedown", "pageup", "end", "up", "home", "up"):
            await desk.pilot.press(key)
            await desk.pilot.pause()
            seen.append(int(desk.marked().removeprefix("file-")))
        assert seen == [1, 2, 1, 10, 19, 10, 9999, 9998, 0, 0]


async def test_the_row_with_the_cursor_stays_on_its_line_while_others_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        await desk.pilot.press(*["pagedown"] * 5, "up", "up")
        marked, line = desk.marked(), desk.line_of(desk.marked())
        assert 0 < line < 9
        await desk.say(*((path, TransferState.DONE, 100) for path in NAMES[:30]))
        assert (desk.marked(), desk.line_of(marked)) == (marked, line)
        await desk.say(*((path, TransferState.ACTIVE, 1) for path in NAMES[5000:5007]))
        assert (desk.marked(), desk.line_of(marked)) == (marked, line)


async def test_the_top_is_followed_until_the_cursor_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        await desk.say((NAMES[77], TransferState.ACTIVE, 1))
        assert desk.marked() == NAMES[77]
        await desk.pilot.press("down")
        assert desk.marked() == NAMES[0]
        await desk.say((NAMES[88], TransferState.ACTIVE, 1))
        assert desk.marked() == NAMES[0]
        await desk.pilot.press("home")
        await desk.say((NAMES[77], TransferState.DONE, 100))
        assert desk.marked() == NAMES[88]


async def test_a_list_that_shrinks_is_shown_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        await desk.pilot.press("end")
        desk.app.model.search("file-0000")
        await desk.finish()
        assert [line for line in desk.lines() if "file-" in line] == desk.lines()[:10]
        desk.app.model.search("file-00001")
        await desk.finish()
        assert desk.marked() == "file-00001"
        assert desk.lines()[1:] == [""] * 9


async def test_sentences_stand_where_no_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, (40, 8)) as desk:
        desk.app.list.say("Nothing moves yet.", "Press 1.")
        await desk.finish()
        text = [line.strip() for line in desk.lines() if line]
        assert text == ["Nothing moves yet.", "Press 1."]
        await desk.waiting(["a"])
        assert "Nothing" not in screen_text(desk.app)


async def test_a_second_click_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch) as desk:
        await desk.waiting(NAMES)
        await desk.pilot.click(TransferList, offset=(5, 4))
        assert desk.marked() == NAMES[4]
        assert desk.app.heard == []
        await desk.pilot.click(TransferList, offset=(5, 6), times=2)
        assert desk.marked() == NAMES[6]
        assert desk.app.heard == ["chosen"]


@pytest.mark.parametrize("size", [(40, 12), (60, 20), (80, 24), (120, 36), (200, 60)])
async def test_lines_fit_at_every_size_and_after_another(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    async with bench(monkeypatch, (100, 30)) as desk:
        await desk.waiting(NAMES)
        await desk.pilot.press("end")
        await desk.pilot.resize_terminal(*size)
        await desk.pilot.pause()
        assert desk.marked() == NAMES[-1]
        assert len([line for line in desk.lines() if "· waiting" in line]) == size[1] - 1
        assert {line.index("· waiting") for line in desk.lines()} == {size[0] - 10}
        assert screen_text(desk.app).split("\n")[0].index("State") == size[0] - 10
