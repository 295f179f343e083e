"""What a summary says of itself follows from what the pass did."""

import msgspec
import pytest

from leafsync.engine.core.status import ConnectStatus, PassState, PassSummary, Snapshot, Totals, TransferState


def summary(**fields: object) -> PassSummary:
    return msgspec.structs.replace(PassSummary(Totals(), 1.0), **fields)


@pytest.mark.parametrize(
    ("fields", "partial"),
    [
        ({}, False),
        ({"trashed": ("a",), "directories": 1}, False),
        ({"held": ("a",)}, True),
        ({"problems": (("a", "busy"),)}, True),
        ({"remote_problems": 1}, True),
    ],
)
def test_a_pass_is_partial_when_something_stays_different(fields: dict[str, object], partial: bool) -> None:
    assert summary(**fields).partial is partial


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({}, False),
        ({"held": ("a",), "problems": (("b", "busy"),), "remote_problems": 2, "round_trips": 3}, False),
        ({"totals": Totals(files=3, bytes=100, fetched=100)}, False),
        ({"totals": Totals(files_done=1)}, True),
        ({"directories": 1}, True),
        ({"links": 1}, True),
        ({"touched": 1}, True),
        ({"trashed": ("a",)}, True),
    ],
)
def test_a_pass_changed_something_when_something_was_done_here(fields: dict[str, object], changed: bool) -> None:
    assert summary(**fields).changed is changed


def test_states_are_the_words_that_are_shown() -> None:
    assert f"{PassState.IN_SYNC}" == "in sync"
    assert {str(state) for state in TransferState} == {"waiting", "active", "done", "failed"}


def test_a_snapshot_cannot_be_changed_by_its_reader() -> None:
    snapshot = Snapshot(1, connecting=(ConnectStatus(1, "/f", "host:4455", PassState.CONNECTING),))
    with pytest.raises(AttributeError, match="immutable"):
        snapshot.version = 2  # type: ignore[misc]  # that is the point
    assert hash(snapshot) == hash(msgspec.structs.replace(snapshot))
