"""The records of what was done survive being written, and stay readable when fields are added."""

import msgspec
import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord

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
