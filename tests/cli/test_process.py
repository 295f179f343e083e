"""The process: no garbage is looked for while code is loaded, and none at the end, but as long as a job runs."""

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafsync import cli, tui
from leafsync.__main__ import main
from leafsync.errors import ExitCode
from leafsync.run import YOUNG_OBJECTS
from tests.cli.conftest import Run
from tests.cli.fake_engine import Script


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_runs_without_collections(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    seen: list[tuple[bool, int]] = []
    before = gc.get_freeze_count()  # Python 3.12 begins with some

    def command() -> int:
        seen.append((gc.isenabled(), gc.get_freeze_count()))
        return code

    monkeypatch.setattr(cli, "main", command)
    assert main() == code
    assert seen == [(False, before)]
    assert gc.get_freeze_count() > before


def test_what_is_left_is_frozen_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise MemoryError

    before = gc.get_freeze_count()
    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(MemoryError):
        main()
    assert gc.get_freeze_count() > before


def test_an_interrupt_while_code_is_loaded_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert main() == ExitCode.INTERRUPTED


def test_the_process_is_the_command_line(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leafsync", "paths"],
        env={"LEAFSYNC_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert str(home) in done.stdout


@pytest.mark.parametrize("options", [[], ["-X", "utf8=0"]])
def test_names_are_utf8_whatever_the_locale_says(home: Path, tmp_path: Path, options: list[str]) -> None:
    """In another encoding a name would travel spelled otherwise, or could not be opened at all."""
    (tmp_path / "ä.conflict-20260102-030405-nas").touch()
    done = subprocess.run(
        [sys.executable, *options, "-m", "leafsync", "conflicts", "--json", str(tmp_path)],
        env={"LEAFSYNC_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == ([] if options else ["ä"])


def test_what_is_written_is_in_the_encoding_of_the_locale(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leafsync", "conflicts", "ä"],
        env={"LEAFSYNC_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.stderr == b"leafsync: The folder \\xe4 does not exist. Create it, or name another one.\n"


@pytest.mark.parametrize("before", [False, True])
def test_a_job_runs_with_collections(run: Run, tmp_path: Path, before: bool) -> None:
    seen: list[tuple[bool, bool, bool]] = []

    async def work() -> None:
        for _turn in range(10):  # of the loop: the run goes on beside it
            await asyncio.sleep(0)
        seen.append((gc.isenabled(), gc.get_freeze_count() > 0, gc.get_threshold()[0] == YOUNG_OBJECTS))

    if not before:
        gc.disable()
    assert run("connect", "nas", str(tmp_path), script=Script(work)).code == 0
    assert seen == [(True, not before, not before)]


def test_the_app_runs_with_collections() -> None:
    gc.disable()
    tui._spare_the_collector()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (YOUNG_OBJECTS, 10, tui.FULL_COLLECTIONS)
