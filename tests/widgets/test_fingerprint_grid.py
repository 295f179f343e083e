"""Fingerprints in rows of groups."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from textual.app import App, ComposeResult

from leafsync.widgets.fingerprint_grid import FingerprintGrid, grid
from tests.support.ui import screen_text

FINGERPRINT = "0123456789abcdef" * 4


@pytest.mark.parametrize(("width", "columns"), [(200, 8), (46, 8), (45, 4), (22, 4), (21, 2), (10, 2), (9, 1), (1, 1)])
def test_rows_are_as_long_as_fits(width: int, columns: int) -> None:
    rows = grid(FINGERPRINT, width)
    assert {len(row) for row in rows} == {columns}
    assert rows[0][0] == "0123"


@given(st.integers(min_value=-5, max_value=300), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_no_digit_is_lost(width: int, fingerprint: str) -> None:
    assert "".join("".join(row) for row in grid(fingerprint, width)) == fingerprint


def test_what_is_no_fingerprint_is_escaped() -> None:
    assert not {"\x1b", "\n"} & set("".join("".join(row) for row in grid("\x1b[31m\n" * 8, 46)))


class Grids(App[None]):
    """Two fingerprints below each other."""

    def compose(self) -> ComposeResult:
        yield FingerprintGrid(FINGERPRINT)
        yield FingerprintGrid("f" * 64, classes="quiet")


@pytest.mark.parametrize(("width", "rows"), [(80, 2), (40, 4), (20, 8)])
async def test_each_has_the_height_it_needs(width: int, rows: int) -> None:
    app = Grids()
    async with app.run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        lines = screen_text(app).splitlines()
        assert lines[0].split()[0] == "0123"
        assert lines[rows].split()[0] == "ffff"
        shown = "".join("".join(line.split()) for line in lines[: 2 * rows])
        assert shown == FINGERPRINT + "f" * 64


async def test_groups_next_to_each_other_look_different() -> None:
    app = Grids()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        text = app.query_one(FingerprintGrid).render()
        styles = [str(span.style) for span in text.spans if text.plain[span.start : span.end].strip()]
        assert len(styles) == 16
        assert all(one != other for one, other in pairwise(styles[:8]))
