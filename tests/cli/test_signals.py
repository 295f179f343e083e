"""Signals and broken pipes, on a real process."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 10


@contextmanager
def serving(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has told that it serves."""
    command = [sys.executable, "-m", "tests.cli.signal_process", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert '"serving"' in process.stdout.readline()
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=DEADLINE)
    return process.returncode, err


def wait_for_stop(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == "job stopping\n"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_a_signal_ends_the_engine_cleanly(number: signal.Signals, code: int) -> None:
    with serving("stop", "serve", "folder", "--json") as process:
        process.send_signal(number)
        assert ended(process) == (code, "job stopping\ncalls: enter stop exit\n")


def test_a_second_interrupt_abandons() -> None:
    with serving("hang", "serve", "folder", "--json") as process:
        process.send_signal(signal.SIGINT)
        wait_for_stop(process)
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "")


def test_a_stop_that_hangs_is_abandoned_at_its_deadline() -> None:
    with serving("hang-shortly", "serve", "folder", "--json") as process:
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (143, "job stopping\n")


def test_an_ignored_hangup_stays_ignored() -> None:
    with serving("ignore-hangup", "serve", "folder", "--json") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (143, "hangup is ignored\njob stopping\ncalls: enter stop exit\n")


def test_a_reader_that_goes_away_ends_the_run() -> None:
    command = [sys.executable, "-m", "tests.cli.signal_process", "stop", "serve", "folder", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == "job stopping\ncalls: enter stop exit\n"
        assert process.wait(timeout=DEADLINE) == 141


def test_a_command_whose_reader_is_gone_is_quiet() -> None:
    script = f"{sys.executable} -m leafsync paths | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    assert done.stdout in ("141\n", "0\n")
    assert done.stderr == ""
