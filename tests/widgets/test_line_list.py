"""A list that draws only what is seen."""

from collections.abc import Sequence
from typing import Any

import pytest
from rich.segment import Segment
from textual.app import App, ComposeResult

from leafsync.widgets.line_list import MARK, LineList, Spans
from tests.support.ui import screen_text


class Shown(App[None]):
    """A list of numbers that notes what was drawn and said."""

    def __init__(self, rows: Sequence[int] = ()) -> None:
        super().__init__()
        self.rows = rows
        self.drawn: list[int] = []
        self.widths: set[int] = set()
        self.chosen: list[int | None] = []
        self.moved: list[int | None] = []

    def compose(self) -> ComposeResult:
        yield LineList[int](self.draw)

    def on_mount(self) -> None:
        self.list.set_rows(self.rows)

    @property
    def list(self) -> LineList[int]:
        return self.query_one(LineList)

    def draw(self, row: int, width: int) -> Spans:
        self.drawn.append(row)
        self.widths.add(width)
        return [(f"row {row} ", ""), ("[b]odd[/b]", "warn") if row % 2 else ("even", "quiet")]

    def on_line_list_chosen(self) -> None:
        self.chosen.append(self.list.selected)

    def on_line_list_moved(self) -> None:
        self.moved.append(self.list.selected)


def lines(app: App[Any]) -> list[str]:
    return screen_text(app).split("\n")


async def test_only_what_is_seen_is_drawn() -> None:
    app = Shown(range(100_000))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        assert set(app.drawn) == set(range(10))
        assert app.widths <= {40 - len(MARK), 39 - len(MARK)}  # without and with the scrollbar
        app.drawn.clear()
        await pilot.press("end")
        await pilot.pause()
        assert lines(app)[-1].startswith("› row 99999")
        assert len(set(app.drawn)) <= 12


async def test_text_is_no_markup() -> None:
    app = Shown((1,))
    async with app.run_test(size=(40, 4)) as pilot:
        await pilot.pause()
        assert lines(app)[0] == "› row 1 [b]odd[/b]"


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        (["down"], 1),
        (["down", "up"], 0),
        (["up"], 0),
        (["pagedown"], 9),
        (["pagedown", "pageup"], 0),
        (["end"], 49),
        (["end", "down"], 49),
        (["end", "home"], 0),
    ],
)
async def test_the_cursor_moves_and_stays_in_view(keys: list[str], row: int) -> None:
    app = Shown(range(50))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.list.selected == row
        assert [line.split()[2] for line in lines(app) if line.startswith(MARK)] == [str(row)]
        assert app.moved[-1] == row


async def test_enter_and_two_clicks_choose() -> None:
    app = Shown(range(50))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("down", "enter")
        await pilot.click(LineList, offset=(5, 4), times=2)
        await pilot.pause()
        assert app.chosen == [1, 4]
        await pilot.click(LineList, offset=(5, 6))
        await pilot.pause()
        assert app.list.selected == 6
        assert app.chosen == [1, 4]


async def test_a_click_below_the_rows_is_none() -> None:
    app = Shown(range(2))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("down")
        await pilot.click(LineList, offset=(5, 7), times=2)
        await pilot.pause()
        assert app.list.selected == 1
        assert app.chosen == []


async def test_the_cursor_stays_in_view_when_the_window_shrinks() -> None:
    app = Shown(range(50))
    async with app.run_test(size=(40, 20)) as pilot:
        await pilot.press(*["down"] * 15)
        await pilot.resize_terminal(40, 6)
        await pilot.pause()
        assert any(line.startswith("› row 15") for line in lines(app))


async def test_other_rows_bring_the_cursor_where_it_is_wanted() -> None:
    app = Shown(range(50))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("end")
        app.list.set_rows(range(100, 140), 20)
        await pilot.pause()
        assert app.list.selected == 120
        assert any(line.startswith("› row 120") for line in lines(app))
        app.list.set_rows(range(3), 20)
        await pilot.pause()
        assert app.list.selected == 2
        assert len([line for line in lines(app) if line]) == 3


async def test_a_sentence_instead_of_rows_is_wrapped() -> None:
    app = Shown(range(5))
    async with app.run_test(size=(30, 6)) as pilot:
        app.list.say("There is nothing here [b]at all[/b], and that is fine.")
        await pilot.pause()
        shown = [line for line in lines(app) if line]
        assert shown == ["  There is nothing here [b]at", "  all[/b], and that is fine."]
        await pilot.press("enter", "down", "end")
        await pilot.pause()
        assert app.list.selected is None
        assert app.chosen == []
        app.list.set_rows(range(1))
        await pilot.pause()
        assert [line for line in lines(app) if line] == ["› row 0 even"]


async def test_parts_are_told_apart_and_the_cursor_from_all() -> None:
    app = Shown(range(2))
    async with app.run_test(size=(40, 4)) as pilot:
        await pilot.pause()

        def styles(y: int) -> list[Segment]:
            return [part for part in app.list.render_line(y) if part.text.strip()]

        (_mark, row, rest), (other, other_rest) = styles(0), styles(1)
        assert row.style == rest.style  # the cursor is one bar
        assert other.style != other_rest.style
        assert row.style != other.style


async def test_lines_are_as_wide_as_the_list() -> None:
    app = Shown(range(2))
    async with app.run_test(size=(8, 4)) as pilot:
        await pilot.pause()
        assert [app.list.render_line(y).cell_length for y in range(4)] == [8] * 4
