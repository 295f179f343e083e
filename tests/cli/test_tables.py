"""Passes, conflicts and jobs as lines."""

import time
from collections.abc import Iterator

import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.sync.records import ConflictCopy
from leafsync.tables import conflicts_lines, local_time, passes_lines, table


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two hours east of Greenwich (POSIX counts the other way round)."""
    monkeypatch.setenv("TZ", "XXX-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


PASSES = [
    PassRecord(
        "20260102-030405-ab12",
        "2026-01-02T03:04:05+00:00",
        "nas\x1b",
        (
            ActionRecord(ActionKind.CREATED, "a"),
            ActionRecord(ActionKind.REPLACED, "b\x07", kept=".leafsync_trash/p/b"),
            ActionRecord(ActionKind.CREATED, "c"),
            ActionRecord(ActionKind.MOVED, "to", "from"),
        ),
    ),
    PassRecord("20260101-000000-cd34", "2026-01-01T00:00:00Z", "", (ActionRecord(ActionKind.TRASHED, "d"),)),
]


def test_passes() -> None:
    assert passes_lines(PASSES, verbose=False) == [
        "PASS                  TIME                 DEVICE   DID",
        "20260102-030405-ab12  2026-01-02 05:04:05  nas\\x1b  2 created, 1 replaced, 1 moved",
        "20260101-000000-cd34  2026-01-01 02:00:00  -        1 trashed",
    ]


def test_passes_with_what_they_did() -> None:
    assert passes_lines(PASSES, verbose=True)[2:7] == [
        "    created  a",
        "    replaced b\\x07  (kept as .leafsync_trash/p/b)",
        "    created  c",
        "    moved    from -> to",
        "20260101-000000-cd34  2026-01-01 02:00:00  -        1 trashed",
    ]


def test_no_passes_are_no_lines() -> None:
    assert passes_lines([], verbose=True) == []
    assert conflicts_lines([]) == []


def test_conflicts() -> None:
    copies = [
        ConflictCopy("a.txt", "a.conflict-20260102-030405-nas.txt", 1500, 1_767_323_045_000_000_000),
        ConflictCopy("b\x1b", "b\x1b.conflict-20260102-030405-nas", 0, 2**63 - 1),
        ConflictCopy("c", "c.conflict-20260102-030405-nas", 0, 10**20),
    ]
    assert conflicts_lines(copies) == [
        "MODIFIED             SIZE    COPY                                OF",
        "2026-01-02 05:04:05  1.5 kB  a.conflict-20260102-030405-nas.txt  a.txt",
        "2262-04-12 01:47:16  0 B     b\\x1b.conflict-20260102-030405-nas  b\\x1b",
        "5138-11-16 11:46:40  0 B     c.conflict-20260102-030405-nas      c",
    ]


def test_a_year_no_calendar_has() -> None:
    assert conflicts_lines([ConflictCopy("c", "c.copy", 0, 10**22)])[1].startswith("-  ")


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02 05:04:05"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02 03:04:05"),
        ("nonsense\x1b", "nonsense\\x1b"),
    ],
)
def test_local_time(moment: str, text: str) -> None:
    assert local_time(moment) == text


def test_columns_are_aligned_by_width_on_the_screen() -> None:
    assert table([("A", "B"), ("写真", "x")]) == ["A     B", "写真  x"]
