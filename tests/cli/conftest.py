"""What the tests of the command line share: a home of their own, and a way to run a command."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leafsync.cli import main
from tests.cli.fake_engine import Script

Run = Callable[..., "Ran"]


class Ran:
    """A command that was run: its exit code and what it wrote."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device of its own, on a terminal-less machine."""
    home = tmp_path / "home"
    monkeypatch.setenv("LEAFSYNC_HOME", str(home))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return home


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `leafsync` with these arguments, on a fake engine."""

    def run(*arguments: str, script: Script | None = None) -> Ran:
        code = main(arguments, make_engine=(script or Script()).factory())
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
