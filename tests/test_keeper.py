"""What a run writes down for `leafsync status`: when something has changed, and not too often."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.status import ConnectStatus, PassState, PassSummary, ServeStatus, Snapshot, Totals
from leafsync.instances import Instance, running
from leafsync.keeper import PERIOD, Keeper, utc_now
from leafsync.progress import Progress

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SERVING = Snapshot(1, serving=(ServeStatus(1, "/s", 4455, ("10.0.0.2",), read_only=False),))


class Desk:
    """A keeper, and the clocks it looks at."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seconds = 100.0
        self.instance = Instance(directory)
        self.keeper = Keeper(self.instance, lambda: self.seconds, self.now)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 100)

    def take(self, snapshot: Snapshot, after: float = PERIOD) -> bool:
        """Look at the jobs `after` seconds and say whether there is something to write."""
        self.seconds += after
        progress = Progress()
        progress.observe(snapshot, self.seconds)
        self.keeper.take(snapshot, progress)
        return self.keeper.pending

    def written(self) -> dict[str, Any]:
        """What stands in the file."""
        self.keeper.flush()
        content: dict[str, Any] = json.loads((self.directory / f"{os.getpid()}.json").read_bytes())
        return content


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_run_without_jobs_writes_nothing(desk: Desk) -> None:
    assert not desk.take(Snapshot(0))
    desk.keeper.flush()
    assert list(desk.directory.iterdir()) == []


def test_a_job_is_written_down(desk: Desk) -> None:
    assert desk.take(SERVING)
    written = desk.written()
    assert written["started"] == "2026-01-02T03:04:05Z"
    assert [job["folder"] for job in written["jobs"]] == ["/s"]
    assert not desk.keeper.pending


def test_what_was_written_can_be_asked_for(desk: Desk) -> None:
    desk.take(SERVING)
    desk.keeper.flush()
    (state,) = running(desk.directory)
    assert state["pid"] == os.getpid()
    desk.instance.close()
    assert running(desk.directory) == []


def test_nothing_is_written_twice(desk: Desk) -> None:
    assert desk.take(SERVING)
    desk.keeper.flush()
    assert not desk.take(SERVING)
    assert desk.take(Snapshot(2, serving=(ServeStatus(1, "/s", 4455, (), read_only=True),)))


def test_it_writes_at_most_once_a_second(desk: Desk) -> None:
    assert desk.take(SERVING)
    desk.keeper.flush()
    other = Snapshot(2, serving=(ServeStatus(1, "/other", 4455, (), read_only=False),))
    assert not desk.take(other, PERIOD / 2)
    assert desk.take(other, PERIOD / 2)


def test_the_newest_state_is_written_when_writing_is_late(desk: Desk) -> None:
    desk.take(SERVING)
    desk.take(Snapshot(2, serving=(ServeStatus(1, "/other", 4455, (), read_only=False),)))
    assert [job["folder"] for job in desk.written()["jobs"]] == ["/other"]


def test_when_the_last_job_is_gone_it_is_not_told_of_any_more(desk: Desk) -> None:
    desk.take(SERVING)
    assert desk.written()["jobs"] != []
    assert desk.take(Snapshot(2))
    assert desk.written()["jobs"] == []
    assert not desk.take(Snapshot(2))


def test_what_passes_did_is_told_with_the_job(desk: Desk) -> None:
    snapshot = Snapshot(1, connecting=(ConnectStatus(1, "/f", "nas:1", PassState.IN_SYNC),))
    desk.seconds += 7
    desk.keeper.finished(1, PassSummary(Totals(), 0.1, conflicts=(("a", "a.conflict"),)))
    desk.keeper.finished(1, PassSummary(Totals(), 0.1))
    assert desk.take(snapshot)
    (job,) = desk.written()["jobs"]
    assert job["in_sync_since"] == "2026-01-02T03:04:12Z"
    assert job["conflicts"] == [{"path": "a", "copy": "a.conflict"}]


def test_where_nothing_is_written_down_nothing_waits() -> None:
    keeper = Keeper(None, lambda: 1e9, lambda: START)
    keeper.finished(1, PassSummary(Totals(), 0.1))
    keeper.take(SERVING, Progress())
    assert not keeper.pending
    keeper.flush()


def test_the_time_of_day_is_utc() -> None:
    assert utc_now().tzinfo is UTC
