"""What a run tells `leafsync status`."""

import json
import os

import pytest
from msgspec.structs import replace

from leafsync.engine.core.status import (
    ConnectStatus,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    Snapshot,
    Totals,
)
from leafsync.progress import Progress
from leafsync.standing import MAX_PATHS, STATE_VERSION, Standing

NOTHING = PassSummary(Totals(), 0.1)
CHANGED = replace(NOTHING, sent=("a",))
HELD = replace(NOTHING, held=("a", "b"), remote_held=("c",), problems=(("d", "busy"),), remote_problems=1)
CONNECTED = ConnectStatus(1, "/f", "nas:1", PassState.IN_SYNC, peer=PeerStatus("ab", "nas", "10.0.0.2:1", "in sync"))


def job_of(standing: Standing, status: ConnectStatus = CONNECTED) -> dict[str, object]:
    snapshot = Snapshot(1, connecting=(status,))
    progress = Progress()
    progress.observe(snapshot, 0.0)
    state = standing.state(snapshot, progress)
    json.dumps(state)
    (job,) = state["jobs"]
    return dict(job)


def test_a_run_without_jobs() -> None:
    assert Standing("2026-01-02T03:04:05Z").state(Snapshot(0), Progress()) == {
        "v": STATE_VERSION,
        "pid": os.getpid(),
        "started": "2026-01-02T03:04:05Z",
        "jobs": [],
    }


def test_since_when_it_is_in_sync() -> None:
    standing = Standing("start")
    assert job_of(standing)["in_sync_since"] is None
    for summary, moment, since in (
        (NOTHING, "1", "1"),
        (NOTHING, "2", "1"),
        (CHANGED, "3", "3"),
        (NOTHING, "4", "3"),
        (HELD, "5", None),
        (NOTHING, "6", "6"),
    ):
        standing.finished(1, summary, moment)
        assert job_of(standing)["in_sync_since"] == since


def test_a_lost_connection_is_not_in_sync() -> None:
    standing = Standing("start")
    standing.finished(1, NOTHING, "1")
    lost = replace(CONNECTED, state=PassState.RECONNECTING, reason="gone", peer=None)
    job = job_of(standing, lost)
    assert (job["in_sync_since"], job["reason"], job["peer"]) == (None, "gone", "")
    assert job_of(standing)["in_sync_since"] is None


def test_a_paused_job_is_not_in_sync() -> None:
    standing = Standing("start")
    standing.finished(1, NOTHING, "1")
    assert job_of(standing, replace(CONNECTED, state=PassState.PAUSED, peer=None))["in_sync_since"] is None
    assert job_of(standing)["in_sync_since"] is None, "somebody may have changed anything meanwhile"


@pytest.mark.parametrize("state", [state for state in PassState if state is not PassState.IN_SYNC])
def test_since_when_is_told_in_no_other_state(state: PassState) -> None:
    standing = Standing("start")
    standing.finished(1, NOTHING, "1")
    assert job_of(standing, replace(CONNECTED, state=state))["in_sync_since"] is None


def test_a_pass_that_finds_nothing_ends_no_time_in_sync() -> None:
    standing = Standing("start")
    standing.finished(1, NOTHING, "1")
    for state in (PassState.SCANNING, PassState.COMPARING):
        job_of(standing, replace(CONNECTED, state=state))
    assert job_of(standing)["in_sync_since"] == "1"


def test_what_is_held_and_what_conflicts() -> None:
    standing = Standing("start")
    standing.finished(1, replace(NOTHING, conflicts=(("x", "y"),)), "1")
    standing.finished(1, HELD, "2")
    job = job_of(standing)
    assert (job["held"], job["held_count"]) == (["a", "b"], 2)
    assert (job["remote_held"], job["remote_held_count"]) == (["c"], 1)
    assert job["problems"] == 2
    assert job["conflicts"] == [{"path": "x", "copy": "y"}]


def test_lists_are_capped_and_counted() -> None:
    standing = Standing("start")
    many = tuple(f"p{at}" for at in range(MAX_PATHS + 5))
    for at in range(3):
        conflicts = tuple((f"{at}", path) for path in many)
        standing.finished(1, replace(NOTHING, held=many, conflicts=conflicts), "1")
    job = job_of(standing)
    assert job["held_count"] == MAX_PATHS + 5
    assert len(job["held"]) == MAX_PATHS  # type: ignore[arg-type]
    assert len(job["conflicts"]) == MAX_PATHS  # type: ignore[arg-type]


def test_rates_are_of_what_moves() -> None:
    standing, progress, snapshot = Standing("start"), Progress(), Snapshot(0)
    for second in range(3):
        totals = Totals(files=1, bytes=1000, bytes_done=second * 100, sent=second * 100)
        moving = replace(CONNECTED, state=PassState.SENDING, totals=totals)
        snapshot = Snapshot(1, connecting=(moving,))
        progress.observe(snapshot, second)
    (job,) = standing.state(snapshot, progress)["jobs"]
    assert (job["rate"], job["eta"], job["bytes_done"]) == (100, 8, 200)
    assert job_of(standing)["rate"] is None


def test_a_served_folder() -> None:
    peer = PeerStatus("ab", "lap", "10.0.0.3:5", "sending")
    status = ServeStatus(2, "/s", 4455, ("10.0.0.2",), read_only=True, peers=(peer,), files=7, bytes=8, problems=1)
    snapshot, progress = Snapshot(1, serving=(status,)), Progress()
    progress.observe(snapshot, 0.0)
    (job,) = Standing("start").state(snapshot, progress)["jobs"]
    assert job == {
        "job": 2,
        "kind": "serve",
        "folder": "/s",
        "port": 4455,
        "addresses": ["10.0.0.2"],
        "read_only": True,
        "state": "serving",
        "files": 7,
        "bytes": 8,
        "problems": 1,
        "peers": [{"name": "lap", "fingerprint": "ab", "address": "10.0.0.3:5", "activity": "sending", "rate": None}],
    }
