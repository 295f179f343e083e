"""Completion of command lines, asked of the shells themselves."""

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import shtab

from leafsync.commands.completion import SHELLS
from leafsync.engine.net.trust import Permission
from leafsync.parser import PERMISSIONS, build_parser
from tests.cli.conftest import Run

COMMANDS = next(action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))


def script_for(run: Run, shell: str) -> str:
    ran = run("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def complete(run: Run, where: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words; it parts them at colons, as it does for a person."""
    parts = [part for word in ("leafsync", *words[:-1]) for part in re.split("(:+)", word) if part]
    line = shlex.join([*parts, words[-1]])
    asking = f"COMP_WORDS=({line}); COMP_CWORD={len(parts)}; _leafsync; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script_for(run, 'bash')}\n{asking}"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return sorted(set(done.stdout.split("\n")) - {""})


def test_shtab_knows_the_shells() -> None:
    assert set(SHELLS) <= set(shtab.SUPPORTED_SHELLS)


def test_a_permission_is_what_the_trust_store_calls_it() -> None:
    assert tuple(Permission) == PERMISSIONS


def test_commands_are_completed(run: Run, tmp_path: Path) -> None:
    assert complete(run, tmp_path, "") == sorted(COMMANDS)
    assert complete(run, tmp_path, "se") == ["serve"]
    assert complete(run, tmp_path, "trust", "re") == ["remove", "rename", "replace"]


def test_bash_asks_the_function_that_joins_addresses(run: Run) -> None:
    script = script_for(run, "bash")
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p leafsync"], capture_output=True, text=True, check=True
    )
    assert "-F _leafsync leafsync" in done.stdout


def test_options_are_completed(run: Run, tmp_path: Path) -> None:
    assert complete(run, tmp_path, "connect", "--m") == ["--mirror"]
    assert complete(run, tmp_path, "serve", "--m") == []
    assert complete(run, tmp_path, "trust", "permit", "nas", "read-") == ["read-write"]


@pytest.mark.parametrize(
    "words",
    [
        "serve",
        "connect nas",
        "connect nas:4455",
        "connect [fd00::2]:4455 --once",
        "history",
        "restore",
        "conflicts",
        "serve --read-only",
    ],
)
def test_folders_are_directories(run: Run, tmp_path: Path, words: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "phone").touch()
    assert complete(run, tmp_path, *words.split(), "ph") == ["photos"]


@pytest.mark.parametrize("words", ["connect", "restore photos", "trust remove"])
def test_what_is_no_folder_is_not_completed(run: Run, tmp_path: Path, words: str) -> None:
    (tmp_path / "photos").mkdir()
    assert complete(run, tmp_path, *words.split(), "ph") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command(run: Run, shell: str) -> None:
    script = script_for(run, shell)
    assert all(name in script for name in COMMANDS)
    assert "\x1b" not in script


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_one_for_its_shell(run: Run, tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    path = tmp_path / "script"
    path.write_text(script_for(run, shell))
    done = subprocess.run([program, "-n", path], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_shell_is_refused(run: Run) -> None:
    ran = run("completion", "cmd.exe")
    assert (ran.code, ran.out) == (2, "")
    assert "bash" in ran.err
