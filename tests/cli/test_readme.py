"""The README lists what there is: every command, option, JSON line, key, default and file."""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.theme import BUILTIN_THEMES

from leafsync import tui
from leafsync.actions import ACTIONS, keymap_problem
from leafsync.commands.completion import SHELLS
from leafsync.config import Config, load_config
from leafsync.errors import ExitCode
from leafsync.output import _EVENT_TYPES
from leafsync.parser import build_parser
from leafsync.paths import find_paths
from leafsync.screens.jobs import WIDTHS
from leafsync.standing import MAX_PATHS
from leafsync.themes import OURS

README = (Path(__file__).parents[2] / "README.md").read_text()
OUTPUT = (Path(__file__).parents[2] / "leafsync" / "output.py").read_text()

SIGNS = {"question_mark": "?", "slash": "/"}
"""Keys whose character says more than their name."""


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for child in action.choices.values():
            yield from leaves(child)


COMMANDS = {command.prog.removeprefix("leafsync "): command for command in leaves(build_parser())}
OPTIONS = sorted(
    {
        option
        for command in COMMANDS.values()
        for action in command._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
)
TYPES = sorted(
    {*re.findall(r'record\("(\w+)"', OUTPUT), *re.findall(r'"(\w+)" if planned', OUTPUT), "summary"}
) + sorted(_EVENT_TYPES.values())


def test_there_is_something_to_look_for() -> None:
    assert {"serve", "connect", "restore", "trust add"} <= COMMANDS.keys()
    assert {"--dry-run", "--keep", "--permission"} <= set(OPTIONS)
    assert {"plan", "summary", "pass", "job", "warning"} <= set(TYPES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"^\| `leafsync {command}( |`)", README, re.MULTILINE)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_documented(option: str) -> None:
    assert re.search(rf"{option}\b", README)


@pytest.mark.parametrize("kind", TYPES)
def test_every_json_line_is_documented(kind: str) -> None:
    assert re.search(rf"^\| `{kind}` \|", README, re.MULTILINE)


def test_the_cap_of_lists_is_documented() -> None:
    assert f"The lists of `job` have {MAX_PATHS:,} entries at most" in README


# Keys, defaults and files


def test_the_keys_are_those_of_the_app() -> None:
    """The table has every action in its order, with the keys it has and what it does."""
    table = re.search(r"^\| action \| keys \| what it does \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table
    assert table[1].splitlines() == [
        f"| `{action.id}` | {' '.join(f'`{SIGNS.get(key, key)}`' for key in action.keys.split(','))} | {action.help} |"
        for action in ACTIONS.values()
    ]


def test_the_keys_are_written_as_a_keymap_takes_them() -> None:
    for action in ACTIONS.values():
        assert not keymap_problem(action.id, ",".join(SIGNS.get(key, key) for key in action.keys.split(",")))


def test_keys_that_are_named_in_passing_are_keys() -> None:
    sentence = re.search(r"A key is a character, or a word like (.*?); (.*?)\.", README, re.DOTALL)
    assert sentence
    keys = re.findall(r"`([^`]+)`", f"{sentence[1]} {sentence[2]}")
    assert len(keys) > 8
    assert [keymap_problem("app.quit", key) for key in keys] == [""] * len(keys)


def test_the_example_of_a_config_is_one(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert block
    path = tmp_path / "config.toml"
    path.write_text(block[1])
    config = load_config(path)
    assert set(tomllib.loads(block[1])) == set(Config.__struct_fields__)
    assert config.keymap
    assert config.theme in {theme.name for theme in OURS}


@pytest.mark.parametrize("theme", [*(theme.name for theme in OURS), "ansi-dark", "ansi-light"])
def test_the_themes_there_are(theme: str) -> None:
    assert theme in BUILTIN_THEMES or theme in {ours.name for ours in OURS}
    assert f"`{theme}`" in README


def test_no_tui_is_said_to_be_what_its_help_says() -> None:
    said = re.search(r"^\| `--no-tui` \| both \| (.*) \|$", README, re.MULTILINE)
    assert said
    for command in ("serve", "connect"):
        action = next(one for one in COMMANDS[command]._actions if "--no-tui" in one.option_strings)
        assert action.help == said[1].replace("`", "")


def test_the_shells_that_are_completed() -> None:
    line = re.search(r"^\| `leafsync completion SHELL` \|.*$", README, re.MULTILINE)
    assert line
    assert re.findall(r"`([a-z]+)`", line[0]) == list(SHELLS)


def test_the_exit_codes() -> None:
    codes = re.findall(r"^\| ((?:\d+(?:, )?)+) \|", README.partition("## Exit codes")[2], re.MULTILINE)
    listed = {int(code) for row in codes for code in row.split(", ")}
    assert {int(code) for code in ExitCode} <= listed


def test_the_files_of_the_app(tmp_path: Path) -> None:
    """What the app writes where, as the README says, is where it is looked for."""
    paths = find_paths({"LEAFSYNC_HOME": str(tmp_path)})
    source = Path(tui.__file__).read_text()
    assert 'paths.state / "ui.json"' in source
    assert 'paths.logs / "leafsync.log"' in source
    assert paths.state != paths.logs
    assert re.search(r"^\| `ui\.json` in the state directory \|", README, re.MULTILINE)
    assert re.search(r"^\| `leafsync\.log` in the log directory \|", README, re.MULTILINE)
    assert f"{tui.LOG_SIZE >> 20} MiB and {['no', 'one', 'two', 'three'][tui.LOG_FILES]} older ones" in README


def test_figures_of_the_app() -> None:
    assert f"with {tui.KEEP_TRANSFERS:,} of them" in README
    assert f"Below {WIDTHS[1][0]} columns the form is above the cards" in README


def test_what_the_app_does_has_a_command() -> None:
    """Whoever cannot use a screen can do everything: each name in the left column is a key's label or a sentence."""
    table = re.search(r"^\| in the app \| as a command \|\n\|---\|---\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table
    labels = {action.label for action in ACTIONS.values()} | {"Transfers", "Restore", "and go on", "accepting a device"}
    for row in table[1].splitlines():
        name, command = row.strip("|").split("|")
        assert {part.strip() for part in name.split(",")} <= labels
        for words in re.findall(r"`([a-z][a-z ]*)", command):
            assert words.strip() in COMMANDS
