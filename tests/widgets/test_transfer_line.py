"""What a transfer looks like in a line."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rich.cells import cell_len

from leafsync.bridge import Direction
from leafsync.progress import cell_width
from leafsync.widgets.transfer_line import KINDS, columns, fit, line, titles
from leafsync.widgets.transfer_rows import JobRows, JobStanding, Row, RowState, Sort

WIDTHS = (40, 60, 79, 80, 99, 120, 200)


def row(path: str = "a/b.txt", *, paused: bool = False, direction: Direction = Direction.IN, **fields: Any) -> Row:
    job = JobRows(JobStanding(1, "/folder", paused=paused))
    made = Row(1, job, "nas", direction, path, size=2_000_000, done=900_000, state=RowState.ACTIVE)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def text(one: Row, width: int, *, here: bool = False) -> str:
    return "".join(part for part, _kind in line(one, width, here=here))


def kinds(one: Row, width: int) -> dict[str, str]:
    return {kind: part.strip() for part, kind in line(one, width, here=False)}


ROWS = st.builds(
    row,
    st.text(max_size=80),
    paused=st.booleans(),
    direction=st.sampled_from(Direction),
    peer=st.text(max_size=30),
    size=st.integers(0, 10**13),
    done=st.integers(0, 10**13),
    state=st.sampled_from(RowState),
    error=st.text(max_size=40),
    rate=st.one_of(st.none(), st.floats(0, 1e12)),
    eta=st.one_of(st.none(), st.floats(0, 99 * 3600)),
)


@settings(deadline=None)
@given(ROWS, st.integers(36, 220), st.booleans())
def test_a_line_fills_its_width_exactly_whatever_the_row_says(one: Row, width: int, here: bool) -> None:
    parts = line(one, width, here=here)
    assert sum(cell_len(part) for part, _kind in parts) == width
    assert all(kind in ("", *KINDS) for _part, kind in parts)


@settings(deadline=None)
@given(st.integers(1, 220), st.sampled_from(Sort))
def test_the_titles_are_as_wide_as_the_lines(width: int, sort: Sort) -> None:
    shape = columns(width)
    assert min(shape.path, shape.state) > 0
    if width >= 36:
        assert sum(cell_len(part) for part, _kind in titles(width, sort)) == width


def test_a_wide_line_says_all_and_a_narrow_one_the_path_and_the_state() -> None:
    one = row(rate=3_400_000.0, eta=65.0)
    assert text(one, 160).split() == [
        *("↓", "a/b.txt", "━" * 10 + "─" * 14, "45", "%", "2.0", "MB", "3.4", "MB/s", "1:05", "nas", "▸", "active")
    ]
    assert text(one, 100).split()[-4:] == ["MB/s", "1:05", "▸", "active"]
    assert text(one, 80).split()[-4:] == ["3.4", "MB/s", "▸", "active"]
    assert text(one, 70).split()[-4:] == ["2.0", "MB", "▸", "active"]
    assert text(one, 40).split() == ["↓", "a/b.txt", "45", "%", "▸", "active"]
    assert text(one, 30).split() == ["↓", "a/b.txt", "▸", "active"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_state_is_in_one_column_for_all_rows(width: int) -> None:
    names = ["short", "x" * 300, "東京/写真-" * 20, "cafe\u0301/" * 30, "evil\x1b[31m[bold]\u202e"]
    ends = set()
    for name in names:
        for state, word in ((RowState.ACTIVE, "▸ active"), (RowState.DONE, "✓ done"), (RowState.FAILED, "× failed")):
            said = text(row(name, state=state, error="no space left on this device " * 9), width)
            ends.add(cell_width(said[: said.rindex(word)]))
    assert ends == {width - 9}


def test_a_title_is_above_its_column() -> None:
    for width in (80, 100, 160):
        head = "".join(part for part, _kind in titles(width, Sort.PATH))
        body = text(row(rate=3_400_000.0, eta=65.0), width)
        assert head.index("File▾") == body.index("a/b.txt")
        assert head.index("Progress") == body.index("━")
        assert head.index("Size") + 4 == body.index("2.0 MB") + 6
        assert head.index("Rate") + 4 == body.index("3.4 MB/s") + 8
        assert head.index("State") == body.index("▸")


@pytest.mark.parametrize(
    ("sort", "mark"), [("path", "File▾"), ("size", "Size▾"), ("rate", "Rate▾"), ("state", "State▾")]
)
def test_what_rows_are_sorted_by_is_marked(sort: str, mark: str) -> None:
    parts = titles(120, Sort(sort))
    assert [part.strip() for part, kind in parts if kind == "active"] == [mark]
    assert "".join(part for part, _kind in parts).count("▾") == 1


def test_each_state_has_a_glyph_a_word_and_a_kind() -> None:
    for state, said in (
        (RowState.ACTIVE, "▸ active"),
        (RowState.FAILED, "× failed"),
        (RowState.PAUSED, "‖ paused"),
        (RowState.WAITING, "· waiting"),
        (RowState.DONE, "✓ done"),
    ):
        assert kinds(row(state=state), 40)[state.name.lower()] == said


def test_rows_of_a_paused_job_say_so_and_have_no_rate() -> None:
    said = text(row(paused=True, rate=5.0, eta=1.0), 120)
    assert "‖ paused" in said
    assert "B/s" not in said
    assert "✓ done" in text(row(paused=True, state=RowState.DONE), 120)


def test_a_failure_says_why_where_its_figures_would_be() -> None:
    failed = row("a/b.txt", state=RowState.FAILED, error="a/b.txt: permission denied")
    assert text(failed, 120).split() == ["↓", "a/b.txt", "permission", "denied", "×", "failed"]
    assert text(failed, 40).split() == ["↓", "a/b.txt", "45", "%", "×", "failed"]


def test_text_from_outside_is_escaped() -> None:
    hostile = row("\x1b[2Jevil\u202e", state=RowState.FAILED, error="\x07bell\n", peer="\x1b]0;x")
    said = text(hostile, 200)
    assert "\\x1b[2Jevil\\u202e" in said
    assert "\\x07bell\\x0a" in said
    assert "\\x1b]0;x" in text(row(peer="\x1b]0;x"), 200)


def test_arrows_say_which_way_and_a_mark_where_the_cursor_is() -> None:
    assert text(row(), 80).startswith("  ↓ ")
    assert text(row(direction=Direction.OUT), 80, here=True).startswith("› ↑ ")


def test_an_empty_file_is_done_when_it_is_done() -> None:
    assert " 0 %" in text(row(size=0, done=0, state=RowState.WAITING), 80)
    assert "100 %" in text(row(size=0, done=0, state=RowState.DONE), 80)


@settings(deadline=None)
@given(st.text(max_size=40), st.integers(1, 40))
def test_what_is_fitted_has_its_width(name: str, width: int) -> None:
    from leafsync.text import printable

    assert cell_len(fit(printable(name), width)) == width
