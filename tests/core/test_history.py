"""The records of what was done survive being written, and stay readable when fields are added."""

import msgspec
import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord, came_back
from leafsync.engine.core.index import Entry, Index, Kind

RECORD = PassRecord(
    "20261122-134501-ab12",
    "2026-11-22T13:45:01+00:00",
    "laptop",
    (
        ActionRecord(ActionKind.CREATED, "a", mark=(1 << 64) - 1),
        ActionRecord(ActionKind.MOVED, "b", source="c"),
        ActionRecord(ActionKind.TRASHED, "d", kept=".leafsync_trash/p/d"),
    ),
)


def test_comes_back_from_messagepack_and_json() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(RECORD), type=PassRecord) == RECORD
    assert msgspec.json.decode(msgspec.json.encode(RECORD), type=PassRecord) == RECORD


def test_older_records_lack_later_fields() -> None:
    assert msgspec.convert(["made", "d"], ActionRecord) == ActionRecord(ActionKind.MADE, "d")


def test_fields_of_a_newer_version_are_skipped() -> None:
    written = ["moved", "b", "a", "", None, "later"]
    assert msgspec.convert(written, ActionRecord) == ActionRecord(ActionKind.MOVED, "b", source="a")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(["vanished", "d"], ActionRecord)


def test_kinds_are_words() -> None:
    assert [str(kind) for kind in ActionKind] == [
        "created", "replaced", "trashed", "moved", "made", "linked", "touched", "conflict",
    ]  # fmt: skip


def test_a_pass_without_another_device_is_the_users_own() -> None:
    assert not RECORD.undo
    assert PassRecord("id", "2026-11-22T13:45:01+00:00", "", ()).undo


INDEX = Index(
    {
        "": [
            Entry("dir", Kind.DIRECTORY),
            Entry("edited", Kind.FILE, 2),
            Entry("file", Kind.FILE, 1),
            Entry("link", Kind.SYMLINK, target="file"),
            Entry("pipe", Kind.WITHHELD, target="not a file"),
        ],
        "dir": [Entry("in", Kind.FILE, 3)],
    },
    states={"": [0, 12, 11, 0, 0], "dir": [13]},
)


@pytest.mark.parametrize(
    ("action", "found"),
    [
        (ActionRecord(ActionKind.CREATED, "file", mark=11), ["file"]),
        (ActionRecord(ActionKind.REPLACED, "dir/in", mark=13), ["dir/in"]),
        (ActionRecord(ActionKind.MOVED, "file", "elsewhere", mark=11), ["file"]),
        (ActionRecord(ActionKind.MOVED, "dir", "elsewhere", mark=99), ["dir"]),
        (ActionRecord(ActionKind.MADE, "dir"), ["dir"]),
        (ActionRecord(ActionKind.LINKED, "link", mark=99), ["link"]),
        (ActionRecord(ActionKind.CREATED, "edited", mark=11), []),
        (ActionRecord(ActionKind.CREATED, "gone", mark=11), []),
        (ActionRecord(ActionKind.CREATED, "pipe", mark=11), []),
        (ActionRecord(ActionKind.TRASHED, "file", kept="k", mark=11), []),
        (ActionRecord(ActionKind.TOUCHED, "file", mark=11), []),
    ],
)
def test_what_has_come_back_is_what_an_undo_left_and_nobody_changed_since(
    action: ActionRecord, found: list[str]
) -> None:
    undo = PassRecord("id", "2026-11-22T13:45:01+00:00", "", (action,))
    assert came_back([undo], INDEX) == {path: INDEX.entry(path) for path in found}


def test_what_has_come_back_twice_is_told_once() -> None:
    undo = PassRecord("id", "2026-11-22T13:45:01+00:00", "", (ActionRecord(ActionKind.MADE, "dir"),))
    assert list(came_back([undo, undo], INDEX)) == ["dir"]
