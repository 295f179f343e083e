"""Which command lines open the app on a terminal, and which stay headless there."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.fake_engine import Script


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first screens of the apps that were run, on a machine whose streams are a terminal."""
    screens: list[str] = []

    def run_app(_paths: object, _config: object, *, first: str, **_begin: Any) -> int:
        screens.append(first)
        return 0

    monkeypatch.setattr("leafsync.tui.run_app", run_app)
    monkeypatch.setattr("leafsync.cli._interactive", lambda: True)
    return screens


@pytest.mark.parametrize(
    ("arguments", "screen"),
    [
        ("", "serve"),
        ("serve folder", "serve"),
        ("serve folder --read-only --accept-first", "serve"),
        ("connect nas folder", "connect"),
        ("connect nas folder --mirror --allow-deletes", "connect"),
    ],
)
def test_the_app_opens(run: Run, opened: list[str], arguments: str, screen: str) -> None:
    script = Script()
    assert run(*arguments.split(), script=script).code == 0
    assert opened == [screen]
    assert script.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        *(f"serve folder {option}" for option in ("--no-tui", "--json", "-q", "-v", "-vv")),
        *(f"connect nas folder {option}" for option in ("--no-tui", "--once", "--dry-run", "--json", "-q", "-v")),
    ],
)
def test_a_run_stays_headless(run: Run, opened: list[str], arguments: str) -> None:
    script = Script()
    assert run(*arguments.split(), script=script).code == 0
    assert opened == []
    assert script.calls == ["enter", "exit"]


@pytest.mark.parametrize("arguments", ["--version", "--help", "id", "paths", "trust list", "status", "completion bash"])
def test_commands_that_answer_at_once_open_nothing(run: Run, opened: list[str], arguments: str) -> None:
    assert run(*arguments.split()).code == 0
    assert opened == []


def test_a_config_that_cannot_be_used_is_told_instead_of_the_app(run: Run, opened: list[str], home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('[keymap]\n"form.strat" = "f9"\n')
    ran = run()
    assert (ran.code, ran.out, opened) == (2, "", [])
    assert "nothing is called 'form.strat'" in ran.err


def test_what_a_pipe_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, opened: list[str]) -> None:
    monkeypatch.setattr("leafsync.cli._interactive", lambda: False)
    ran = run()
    assert (ran.code, ran.out, opened) == (2, "", [])
    assert ran.err.startswith("usage: leafsync")
    assert run("serve", "folder").code == 0
    assert opened == []
