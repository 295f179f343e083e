"""Lines as people see them, at several widths, with the time injected."""

# ruff: noqa: E501 - a picture of a line is as long as the line

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.status import (
    ConnectStatus,
    PassState,
    PeerStatus,
    ServeStatus,
    Snapshot,
    Totals,
    TransferState,
    TransferStatus,
)
from leafsync.progress import (
    WINDOW,
    Meter,
    Progress,
    Screen,
    cell_width,
    format_bytes,
    format_count,
    format_duration,
    format_eta,
    format_rate,
    pad,
    percent,
    truncate_middle,
)
from leafsync.text import printable

MB = 1_000_000

NAMES = (
    "holidays/2026/a very long name that fits no narrow terminal/film of the sea.mov",
    "写真/日本語の長いファイル名がここにあります.jpg",
    "evil\x1b[2J.txt",
)


def transferring(second: float) -> Snapshot:
    """A pass that brings 900 MB at 10 MB/s, 100 MB of which were here already."""
    moved = int(second * 10 * MB)
    return Snapshot(
        version=int(second * 10),
        connecting=(
            ConnectStatus(
                id=1,
                folder="/photos",
                address="nas:4455",
                state=PassState.TRANSFERRING,
                totals=Totals(files=12, files_done=3, bytes=900 * MB, bytes_done=100 * MB + moved, fetched=moved),
                transfers=(
                    TransferStatus(NAMES[0], 400 * MB, 100 * MB + moved * 3 // 4, TransferState.ACTIVE),
                    TransferStatus(NAMES[1], 100 * MB, 20 * MB + moved // 4, TransferState.ACTIVE),
                    TransferStatus(NAMES[2], 5, 0, TransferState.WAITING),
                ),
            ),
        ),
    )


@pytest.fixture
def progress() -> Progress:
    progress = Progress()
    for tenth in range(100):
        progress.observe(transferring(tenth / 10), 1000 + tenth / 10)
    return progress


# Golden pictures


def test_area_at_40_columns(progress: Progress) -> None:
    assert progress.area(Screen(40, 24)) == [
        "↓ holidays/2… the sea.mov ███░░░░  43 %",
        "↓ 写真/日本…あります.jpg  ███░░░░  44 %",
        "↓ evil\\x1b[2J.txt               waiting",
        "22 %  10.0 MB/s  1:10 left",
    ]


def test_area_at_80_columns(progress: Progress) -> None:
    assert progress.area(Screen(80, 24)) == [
        "↓ holidays/202…of the sea.mov ██████░░░░░░░░░  43 %   7.5 MB/s    0:30 400.0 MB",
        "↓ 写真/日本語…にあります.jpg  ██████░░░░░░░░░  44 %   2.5 MB/s    0:22 100.0 MB",
        "↓ evil\\x1b[2J.txt                                                       waiting",
        "22 %  10.0 MB/s  1:10 left  199.0 MB of 900.0 MB  3 of 12 files",
    ]


def test_area_at_120_columns(progress: Progress) -> None:
    assert progress.area(Screen(120, 24)) == [
        "↓ holidays/2026/a very long na…w terminal/film of the sea.mov █████████░░░░░░░░░░░░░░  43 %   7.5 MB/s    0:30 400.0 MB",
        "↓ 写真/日本語の長いファイル名がここにあります.jpg             ██████████░░░░░░░░░░░░░  44 %   2.5 MB/s    0:22 100.0 MB",
        "↓ evil\\x1b[2J.txt                                                                                               waiting",
        "22 %  10.0 MB/s  1:10 left  199.0 MB of 900.0 MB  3 of 12 files",
    ]


def test_area_in_ascii(progress: Progress) -> None:
    first = progress.area(Screen(40, 24, unicode=False))[0]
    assert first == "< holidays/2~ the sea.mov ###....  43 %"


def test_sending_points_the_other_way_and_counts_what_goes() -> None:
    progress = Progress()
    for second in range(3):
        totals = Totals(files=1, bytes=100 * MB, bytes_done=second * 10 * MB, fetched=MB, sent=second * 10 * MB)
        going = (TransferStatus("a", 100 * MB, second * 10 * MB, TransferState.ACTIVE),)
        status = ConnectStatus(1, "/f", "n:1", PassState.SENDING, totals=totals, transfers=going)
        progress.observe(Snapshot(1, connecting=(status,)), second)
    assert progress.area(Screen(40, 24)) == [
        "↑ a                       █░░░░░░  20 %",
        "20 %  10.0 MB/s  0:08 left",
    ]
    assert progress.area(Screen(40, 24, unicode=False))[0].startswith("> a ")
    assert progress.lines() == ["sending: 20 %, 10.0 MB/s, 0:08 left, 20.0 MB of 100.0 MB, 0 of 1 file"]


@pytest.mark.parametrize("state", PassState)
def test_every_state_can_be_shown(state: PassState) -> None:
    progress = Progress()
    progress.observe(Snapshot(1, connecting=(ConnectStatus(1, "/f", "n:1", state),)), 0.0)
    assert len(progress.area(Screen(80, 24))) == 1


def test_line_without_a_terminal(progress: Progress) -> None:
    assert progress.lines() == ["transferring: 22 %, 10.0 MB/s, 1:10 left, 199.0 MB of 900.0 MB, 3 of 12 files"]


@pytest.mark.parametrize(
    ("state", "reason", "text", "line"),
    [
        (PassState.CONNECTING, "", "connecting to nas\\x1b:1", True),
        (PassState.SCANNING, "", "scanning /f\\x07", True),
        (PassState.COMPARING, "", "comparing with nas\\x1b:1", True),
        (PassState.WAITING, "", "waiting for nas\\x1b:1 to write, or for its turn there", True),
        (PassState.IN_SYNC, "", "in sync with nas\\x1b:1", False),
        (PassState.RECONNECTING, "gone\x1b", "connecting to nas\\x1b:1 again in 4 s: gone\\x1b", False),
        (PassState.PAUSED, "", "paused", False),
    ],
)
def test_other_states_are_a_line(state: PassState, reason: str, text: str, line: bool) -> None:
    progress = Progress()
    status = ConnectStatus(1, "/f\x07", "nas\x1b:1", state, reason=reason, retry_in=4.2)
    progress.observe(Snapshot(1, connecting=(status,)), 0.0)
    assert progress.area(Screen(80, 24)) == [text]
    assert progress.lines() == ([text] if line else [])


def test_serving_shows_its_devices() -> None:
    progress = Progress()
    for second in range(3):
        wire = second * 2 * MB
        peer = PeerStatus("ab", "anna\x1b", "10.0.0.2:5", "sending", wire_in=wire // 4, wire_out=wire)
        progress.observe(Snapshot(1, serving=(ServeStatus(1, "/f", 4455, (), read_only=True, peers=(peer,)),)), second)
    assert progress.area(Screen(80, 24)) == [
        "serving /f read-only on UDP port 4455, 1 device",
        "  anna\\x1b (10.0.0.2:5): sending, 2.5 MB/s",
    ]
    assert progress.lines() == []


def test_nothing_observed_shows_nothing() -> None:
    assert Progress().area(Screen(80, 24)) == []
    assert Progress().lines() == []


def many_files(count: int) -> Progress:
    progress = Progress()
    moving = tuple(TransferStatus(f"f{at}", 10, 5, TransferState.ACTIVE) for at in range(count))
    status = ConnectStatus(1, "/f", "nas:1", PassState.TRANSFERRING, transfers=moving)
    progress.observe(Snapshot(1, connecting=(status,)), 0.0)
    return progress


def test_more_files_than_rows_are_counted() -> None:
    area = many_files(20).area(Screen(80, 24))
    assert len(area) == 9
    assert area[7] == "and 13 more files"


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 24])
@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 39, 56, 71, 80, 200])
def test_the_area_fits_any_screen(progress: Progress, width: int, height: int) -> None:
    for one in (progress, many_files(20)):
        area = one.area(Screen(width, height))
        assert len(area) <= max(0, height - 1)
        assert all(cell_width(line) <= max(1, width - 1) for line in area)


def test_a_failed_file_says_why() -> None:
    progress = Progress()
    failed = TransferStatus("a", 10, 5, TransferState.FAILED, error="changed\x1b")
    progress.observe(
        Snapshot(1, connecting=(ConnectStatus(1, "/f", "n:1", PassState.TRANSFERRING, transfers=(failed,)),)), 0.0
    )
    assert progress.area(Screen(60, 24))[0].endswith("failed: changed\\x1b")


# Rates


def test_one_sample_is_no_rate() -> None:
    meter = Meter()
    assert meter.rate is None
    meter.add(5.0, 1000)
    assert meter.rate is None
    assert meter.eta(10) is None


def test_what_was_in_no_snapshot_has_no_rate_and_no_time_left() -> None:
    job = ConnectStatus(7, "/f", "nas:1", PassState.TRANSFERRING, totals=Totals(bytes=10))
    peer = PeerStatus("ab" * 32, "nas", "10.0.0.2:1", "in sync")
    progress = Progress()
    assert (progress.rate(job), progress.eta(job)) == (None, None)
    assert progress.peer_rate(ServeStatus(8, "/s", 1, (), read_only=False, peers=(peer,)), peer) is None


def test_two_samples_too_close_are_no_rate() -> None:
    meter = Meter()
    meter.add(5.0, 0)
    meter.add(5.0, 1000)
    assert meter.rate is None
    meter.add(5.1, 2000)
    assert meter.rate is None


def test_the_rate_is_of_the_window_alone() -> None:
    meter = Meter()
    for second in range(20):
        meter.add(second, second * 100 if second < 10 else 1000 + (second - 10) * 7)
    assert meter.rate == pytest.approx(7)


def test_a_stall_ends_in_rate_zero_and_no_eta() -> None:
    meter = Meter()
    meter.add(0, 0)
    for second in range(1, int(WINDOW) + 2):
        meter.add(second, 100)
    assert meter.rate == 0
    assert meter.eta(1) is None


def test_a_counter_that_falls_starts_anew() -> None:
    meter = Meter()
    meter.add(0, 1000)
    meter.add(1, 2000)
    meter.add(2, 5)
    assert meter.rate is None
    meter.add(3, 15)
    assert meter.rate == 10


def test_eta() -> None:
    meter = Meter()
    meter.add(0, 0)
    meter.add(1, 100)
    assert meter.eta(250) == 2.5
    assert meter.eta(0) == 0
    assert meter.eta(-5) == 0
    assert meter.eta(10**12) is None


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**12)), max_size=50))
def test_a_rate_is_never_negative_and_its_memory_is_bounded_by_the_window(steps: list[tuple[float, int]]) -> None:
    meter, now = Meter(), 0.0
    for step, value in steps:
        now += step
        meter.add(now, value)
        assert meter.rate is None or meter.rate >= 0


def test_meters_of_files_that_are_done_are_dropped(progress: Progress) -> None:
    progress.observe(Snapshot(2), 2000.0)
    progress.observe(transferring(0), 2001.0)
    assert progress.area(Screen(80, 24))[-1].startswith("11 %  --  -- left")


# Texts


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (10**9, "1.0 GB"),
        (5 * 10**12, "5.0 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_format_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "--"), (0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_format_eta(seconds: float | None, text: str) -> None:
    assert format_eta(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (125, "2 min 05 s"), (3599.9, "1 h 00 min")],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_format_others() -> None:
    assert format_rate(None) == "--"
    assert format_rate(1_500_000) == "1.5 MB/s"
    assert format_count(1, "entry", "entries") == "1 entry"
    assert format_count(1234, "entry", "entries") == "1,234 entries"
    assert format_count(0, "file") == "0 files"


@pytest.mark.parametrize(
    ("done", "total", "share"), [(0, 0, 100), (0, 5, 0), (999, 1000, 99), (1000, 1000, 100), (2000, 1000, 100)]
)
def test_percent_is_100_only_at_the_end(done: int, total: int, share: int) -> None:
    assert percent(done, total) == share


def test_cells() -> None:
    assert cell_width("abc") == 3
    assert cell_width("写真") == 4
    assert cell_width("e\u0301") == 1
    assert pad("写", 4) == "写  "


def test_a_combining_mark_is_not_left_without_its_letter() -> None:
    assert truncate_middle("abcdefe\u0301z", 4) == "a…e\u0301z"
    assert truncate_middle("abcde\u0301fz", 4) == "a…fz"


@given(st.text(max_size=60), st.integers(0, 40))
def test_truncated_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    text = printable(text)
    short = truncate_middle(text, width)
    assert cell_width(short) <= width
    if cell_width(text) <= width:
        assert short == text
    elif width:
        head, _, tail = short.partition("…")
        assert text.startswith(head)
        assert text.endswith(tail)
