"""The README lists what the command line has: every command, option and JSON line."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafsync.output import _EVENT_TYPES
from leafsync.parser import build_parser
from leafsync.standing import MAX_PATHS

README = (Path(__file__).parents[2] / "README.md").read_text()
OUTPUT = (Path(__file__).parents[2] / "leafsync" / "output.py").read_text()


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
