"""Start-up time is a feature: commands that answer at once load neither the loop nor the transport nor a UI."""

import subprocess
import sys
from pathlib import Path

import pytest

UI = {"textual", "rich"}
HEAVY = {"asyncio", "aioquic", *UI}
OF_SERVICE_IDENTITY = {"attr", "attrs", "pyasn1"}
"""What that package loads once it is used; its own name is there as soon as aioquic imports it."""
FINGERPRINT = "ab" * 32


def loaded(home: Path, *arguments: str, code: int = 0) -> set[str]:
    """The top-level packages in memory when the command is done."""
    program = (
        "import sys; from leafsync.cli import main; code = main(sys.argv[1:]); "
        "sys.stderr.write('LOADED ' + ' '.join({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"LEAFSYNC_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    "arguments", ["--version", "--help", "serve --help", "paths", "paths --json", "status", "status --json"]
)
def test_light_commands(tmp_path: Path, arguments: str) -> None:
    assert not loaded(tmp_path, *arguments.split()) & (HEAVY | {"cryptography", "shtab"})


def test_completion_alone_loads_what_makes_it(tmp_path: Path) -> None:
    packages = loaded(tmp_path, "completion", "bash")
    assert "shtab" in packages
    assert not packages & (HEAVY | {"cryptography"})


@pytest.mark.parametrize("arguments", ["trust list", "trust list --json", f"trust add {FINGERPRINT}", "id"])
def test_commands_that_know_devices(tmp_path: Path, arguments: str) -> None:
    assert not loaded(tmp_path, *arguments.split()) & (HEAVY | {"shtab"})


@pytest.mark.parametrize("arguments", ["rename DEVICE nas", "permit DEVICE read", f"replace DEVICE {'cd' * 32}"])
def test_commands_that_change_devices(tmp_path: Path, arguments: str) -> None:
    loaded(tmp_path, "trust", "add", FINGERPRINT)
    assert not loaded(tmp_path, "trust", *arguments.replace("DEVICE", FINGERPRINT).split()) & (HEAVY | {"shtab"})


@pytest.mark.parametrize(
    "arguments", ["serve FOLDER", "serve FOLDER --no-tui", "connect nas FOLDER --once", "connect nas FOLDER --json"]
)
def test_headless_runs_have_the_engine_and_no_app(tmp_path: Path, arguments: str) -> None:
    """What they are run on is missing, so that they end; the engine looked for it."""
    packages = loaded(tmp_path, *arguments.replace("FOLDER", str(tmp_path / "missing")).split(), code=2)
    assert {"asyncio", "aioquic"} <= packages
    assert not packages & (UI | {"shtab", "pathspec"} | OF_SERVICE_IDENTITY)


@pytest.mark.parametrize("command", ["history FOLDER", "history FOLDER --json", "conflicts FOLDER"])
def test_commands_that_know_folders(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert not loaded(tmp_path, *command.replace("FOLDER", str(folder)).split()) & (HEAVY | {"cryptography"})


def test_resolving_a_conflict(tmp_path: Path) -> None:
    copy = tmp_path / "a.conflict-20260102-030405-nas"
    copy.touch()
    arguments = ["conflicts", str(tmp_path), "--resolve", copy.name, "--keep", "both"]
    assert not loaded(tmp_path / "home", *arguments) & (HEAVY | {"cryptography"})
    assert (tmp_path / "a").exists()
