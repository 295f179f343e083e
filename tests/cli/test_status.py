"""`leafsync status`, and what runs keep for it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.events import PassFinished
from leafsync.engine.core.status import ConnectStatus, PassState, PassSummary, Snapshot, Totals
from leafsync.instances import Instance, running
from leafsync.standing import STATE_VERSION
from tests.cli.conftest import Run
from tests.cli.fake_engine import Script

JOB = {
    "job": 1,
    "kind": "connect",
    "folder": "/f\x1b",
    "address": "nas:4455",
    "peer": "nas\x07",
    "fingerprint": "ab",
    "state": "in sync",
    "reason": "",
    "in_sync_since": "not a date",
    "rate": None,
    "eta": None,
    "files": 0,
    "files_done": 0,
    "bytes": 0,
    "bytes_done": 0,
    "held": [],
    "held_count": 0,
    "remote_held": [],
    "remote_held_count": 0,
    "problems": 0,
    "conflicts": [],
}
SERVE = {
    "job": 1,
    "kind": "serve",
    "folder": "/s",
    "port": 4455,
    "addresses": [],
    "read_only": True,
    "state": "serving",
    "files": 1,
    "bytes": 2,
    "problems": 3,
    "peers": [{"name": "lap\x1b", "fingerprint": "ab", "address": "h:1", "activity": "sending", "rate": 1500}],
}


def told(home: Path, run: Run, *jobs: dict[str, object], options: str = "") -> tuple[list[str], str]:
    with Instance(home / "state" / "run") as instance:
        instance.write({"v": STATE_VERSION, "pid": 42, "started": "2026-01-02T03:04:05Z", "jobs": list(jobs)})
        ran = run("status", *options.split())
    assert ran.code == 0
    return ran.out.splitlines(), ran.err


def test_nothing_runs(run: Run) -> None:
    ran = run("status")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing is running" in ran.err


def test_a_job_that_is_in_sync(home: Path, run: Run) -> None:
    assert told(home, run, JOB) == (
        ["process 42: /f\\x1b with nas\\x07 (nas:4455): in sync since not a date"],
        "",
    )


def test_a_job_whose_last_pass_left_something(home: Path, run: Run) -> None:
    lines, _ = told(home, run, {**JOB, "in_sync_since": None, "problems": 1})
    assert lines == [
        "process 42: /f\\x1b with nas\\x07 (nas:4455): partly in sync",
        "  1 entry could not be synced",
    ]


def test_a_job_that_waits(home: Path, run: Run) -> None:
    waiting = {**JOB, "peer": "", "state": "reconnecting", "reason": "it is gone\x1b", "in_sync_since": None}
    lines, _ = told(home, run, waiting)
    assert lines == ["process 42: /f\\x1b with nas:4455: reconnecting: it is gone\\x1b"]


def test_a_job_that_moves_files_and_needs_a_look(home: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.copy").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    copies = ["a.copy", "dangling", "resolved.copy"]
    job = {
        **JOB,
        "folder": str(tmp_path),
        "state": "sending",
        "rate": 1500,
        "eta": 61,
        "bytes": 2000,
        "bytes_done": 1000,
        "held_count": 1,
        "remote_held_count": 2000,
        "problems": 1,
        "conflicts": [{"path": "a", "copy": copy} for copy in copies],
    }
    lines, _ = told(home, run, job)
    assert lines[1:] == [
        "  1.0 kB of 2.0 kB, 1.5 kB/s, 1:01 left",
        "  1 delete held back here; --allow-deletes lets them happen",
        "  2,000 deletes held back on the other side; --allow-deletes lets them happen",
        "  1 entry could not be synced",
        "  2 conflicts to resolve, see `leafsync conflicts`:",
        "    a: also as a.copy",
        "    a: also as dangling",
    ]


def test_a_served_folder(home: Path, run: Run) -> None:
    lines, _ = told(home, run, SERVE)
    assert lines == [
        "process 42: serving /s read-only on UDP port 4455, 1 device",
        "  lap\\x1b (h:1): sending, 1.5 kB/s",
        "  3 entries could not be synced",
    ]


def test_json_has_every_field(home: Path, run: Run) -> None:
    lines, err = told(home, run, JOB, SERVE, options="--json")
    head = {"v": 1, "type": "job", "pid": 42, "started": "2026-01-02T03:04:05Z"}
    assert [json.loads(line) for line in lines] == [{**head, **JOB}, {**head, **SERVE}]
    assert err == ""


def test_another_version_is_told_of(home: Path, run: Run) -> None:
    with Instance(home / "state" / "run") as instance:
        instance.write({"v": STATE_VERSION + 1, "pid": 42})
        ran = run("status")
    assert (ran.code, ran.out) == (0, "")
    assert "process 42" in ran.err


def test_a_run_keeps_its_state_and_takes_it_away(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leafsync.run.LINE_PERIOD", 0.01)
    directory = home / "state" / "run"
    seen: list[dict[str, Any]] = []

    async def work() -> PassSummary | None:
        async with asyncio.timeout(5):
            while not seen or not seen[-1]["jobs"][0]["held"]:
                seen.extend(running(directory))
                await asyncio.sleep(0.001)
        return None

    held = PassSummary(Totals(), 0.1, held=("a",))
    status = ConnectStatus(1, "/f", "nas:1", PassState.IN_SYNC)
    script = Script(work=work, events=[PassFinished(1, held)], snapshots=[Snapshot(1, connecting=(status,))])
    assert run("connect", "nas", "folder", script=script).code == 0
    (job,) = seen[-1]["jobs"]
    assert (job["folder"], job["state"], job["held"]) == ("/f", "in sync", ["a"])
    assert list(directory.iterdir()) == []
