"""Both directions with real processes: deletes that are held, conflicts, undo, a lost folder, two processes at once."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.devices import Device, summary_of
from benchmarks.trees import differences

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DEADLINE = 60.0
"""Seconds for one run of the program."""


class Pair:
    """Two devices that trust each other, each with its copy of a folder."""

    def __init__(self, place: Path) -> None:
        self.server, self.client = Device(place / "server-home"), Device(place / "client-home")
        self.there, self.here = place / "there", place / "here"
        self.there.mkdir()
        self.here.mkdir()
        self.server.trust(self.client, "client")
        self.client.trust(self.server, "server")

    def run(self, device: Device, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            device.command(*arguments),
            env=device.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def sync(self, port: int, *options: str, code: int = 0) -> str:
        """Do one pass that must end with `code`; return what it said."""
        done = self.run(self.client, "connect", f"127.0.0.1:{port}", self.here, "--once", *options)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def port(pair: Pair) -> Iterator[int]:
    with pair.server.serving(pair.there) as serving:
        yield serving["port"]


def test_a_mass_delete_is_held_listed_allowed_and_taken_back(pair: Pair, port: int) -> None:
    for number in range(300):
        (pair.there / f"{number}.txt").write_text(f"file {number}")
    pair.sync(port)
    for number in range(200):
        (pair.here / f"{number}.txt").unlink()
    said = pair.sync(port, code=3)
    assert "--allow-deletes" in said
    assert "0.txt" in said
    assert len(list(pair.there.glob("*.txt"))) == 300
    summary = summary_of(pair.sync(port, "--allow-deletes", "--json"))
    assert len(summary["remote_trashed"]) == 200
    assert len(list(pair.there.glob("*.txt"))) == 100
    undone = pair.run(pair.server, "restore", pair.there, "last")
    assert undone.returncode == 0, undone.stderr
    assert len(list(pair.there.glob("*.txt"))) == 300
    pair.sync(port)
    assert differences(pair.there, pair.here) == []
    assert len(list(pair.here.glob("*.txt"))) == 300


def test_a_conflict_is_kept_listed_and_resolved(pair: Pair, port: int) -> None:
    for number in range(20):
        (pair.there / f"{number}.txt").write_text("agreed")
    pair.sync(port)
    (pair.there / "1.txt").write_text("edited there")
    (pair.here / "1.txt").write_text("edited here!")
    os.utime(pair.here / "1.txt", (1_600_000_000, 1_600_000_000))
    pair.sync(port, code=3)
    assert differences(pair.there, pair.here) == []
    versions = {path.read_text() for path in pair.here.glob("1*.txt") if path.name.startswith(("1.txt", "1.conflict"))}
    assert versions == {"edited there", "edited here!"}
    listed = pair.run(pair.client, "conflicts", pair.here, "--json")
    (conflict,) = [json.loads(line) for line in listed.stdout.splitlines()]
    resolved = pair.run(pair.client, "conflicts", pair.here, "--resolve", conflict["copy"], "--keep", "other")
    assert resolved.returncode == 0, resolved.stderr
    pair.sync(port)
    assert (pair.there / "1.txt").read_text() == "edited here!"
    assert differences(pair.there, pair.here) == []
    assert pair.run(pair.client, "conflicts", pair.here, "--json").stdout == ""


def test_an_empty_mount_point_deletes_nothing(pair: Pair) -> None:
    for number in range(20):
        (pair.there / f"{number}.txt").write_text("content")
    with pair.server.serving(pair.there) as serving:
        pair.sync(serving["port"])
    pair.there.rename(pair.there.with_name("unmounted"))
    pair.there.mkdir()
    with pair.server.serving(pair.there) as serving:
        said = pair.sync(serving["port"], code=4)
        assert "marker" in said
        assert len(list(pair.here.glob("*.txt"))) == 20
    with pair.server.serving(pair.there, "--reset") as serving:
        pair.sync(serving["port"])
    assert len(list(pair.there.glob("*.txt"))) == 20


def test_one_process_at_a_time_uses_a_folder(pair: Pair, port: int) -> None:
    second = pair.run(pair.server, "serve", pair.there, "--port", "0")
    assert second.returncode == 6
    assert "process" in second.stderr


def test_a_dry_run_says_what_it_would_do(pair: Pair, port: int) -> None:
    (pair.there / "theirs").write_text("x")
    (pair.here / "mine").write_text("x")
    said = pair.sync(port, "--dry-run")
    assert "theirs" in said
    assert "mine" in said
    assert not (pair.here / "theirs").exists()
    assert not (pair.there / "mine").exists()
    plan = [json.loads(line) for line in pair.sync(port, "--dry-run", "--json").splitlines()]
    assert any(line["type"] == "plan" and line["sent_paths"] == ["mine"] for line in plan)


def test_strange_times_travel(pair: Pair, port: int) -> None:
    for name, moment in (("before 1970", -1_000_000_000), ("after 2100", 5_000_000_000), ("1970", 0)):
        (pair.here / name).write_text(name)
        os.utime(pair.here / name, (moment, moment))
    pair.sync(port)
    assert differences(pair.there, pair.here) == []
    summary = summary_of(pair.sync(port, "--json"))
    assert not summary["changed"]


def test_history_lists_passes_and_status_finds_what_runs(pair: Pair, port: int) -> None:
    (pair.there / "file").write_text("x")
    pair.sync(port)
    history = [json.loads(line) for line in pair.run(pair.client, "history", pair.here, "--json").stdout.splitlines()]
    assert len(history) == 1
    deadline = time.monotonic() + DEADLINE
    while str(pair.there) not in (said := pair.run(pair.server, "status")).stdout:
        assert said.returncode == 0
        assert time.monotonic() < deadline
