"""Every error can be shown, says what its class docstring says, and ends the process as the module's table says."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import leafsync
from leafsync import errors
from leafsync.errors import ExitCode, LeafSyncError

PACKAGE = Path(leafsync.__file__).parent
HOSTILE = "\x1b]0;owned\x07\r\n\u202e{reason} {0} %s [red]"


def tree(base: type[LeafSyncError] = LeafSyncError) -> Iterator[type[LeafSyncError]]:
    yield base
    for child in base.__subclasses__():
        yield from tree(child)


CLASSES = {error.__name__: error for error in tree() if error.__module__ == errors.__name__}


def fields_of(error: type[LeafSyncError]) -> set[str]:
    parsed = Formatter().parse(inspect.cleandoc(error.__doc__ or ""))
    return {name for _text, name, _format, _conversion in parsed if name is not None}


def documented() -> Iterator[tuple[str, str, int]]:
    """Read (class, parent, exit code) out of the table in the module docstring."""
    parent, code = "", -1
    for line in (errors.__doc__ or "").splitlines():
        if head := re.match(r"    (├── |└── )?(\w+) +(\d+)  ", line):
            parent, code = head[2], int(head[3])
            yield parent, "LeafSyncError" if head[1] else "Exception", code
        elif re.match(r"    [│ ]  ", line):
            for name, below in re.findall(r"(\w+)(?: \(([\w, ]+)\))?", line):
                yield name, parent, code
                yield from ((each, name, code) for each in re.findall(r"\w+", below))


def test_the_table_in_the_docstring_is_the_tree() -> None:
    actual = {(name, error.__bases__[0].__name__, int(error.exit_code)) for name, error in CLASSES.items()}
    table = list(documented())
    assert len(table) == len(set(table))
    assert set(table) == actual


@pytest.mark.parametrize("error", CLASSES.values(), ids=CLASSES)
class TestEveryError:
    def test_its_docstring_is_a_sentence_of_its_own_fields(self, error: type[LeafSyncError]) -> None:
        assert "__doc__" in vars(error)
        fields = {name: f"<{name}>" for name in fields_of(error)}
        shown = str(error(**fields))
        assert all(value in shown for value in fields.values())
        assert not set("{}\n") & set(shown)
        assert "  " not in shown
        assert shown.endswith((".", "?", ">"))

    def test_its_fields_are_plain_names(self, error: type[LeafSyncError]) -> None:
        assert all(name.isidentifier() for name in fields_of(error))

    def test_hostile_values_are_escaped_and_never_formatted_again(self, error: type[LeafSyncError]) -> None:
        shown = str(error(**dict.fromkeys(fields_of(error), HOSTILE)))
        assert shown.isprintable()
        assert shown.count("\\x1b]0;owned\\x07\\x0d\\x0a\\u202e{reason} {0} %s [red]") >= len(fields_of(error))

    def test_it_keeps_its_fields(self, error: type[LeafSyncError]) -> None:
        fields = dict.fromkeys(fields_of(error), 7)
        assert error(**fields).fields == fields


def test_without_docstrings_there_still_is_something_to_read() -> None:
    """`python -OO`, and PYTHONOPTIMIZE=2 in an image, leave them out."""
    script = "from leafsync.errors import FolderMissing; print(FolderMissing(path='/a\\x1bb', reason='x'))"
    done = subprocess.run([sys.executable, "-OO", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "FolderMissing: path /a\\x1bb, reason x\n"


@pytest.mark.parametrize(
    ("error", "behind"),
    [
        (errors.DiskFailed(path="d/f", reason="Input/output error"), "Input/output error."),
        (errors.EntryNewer(path="d/f"), "it is newer than what would come back"),
        (errors.DiskFull(path="d/f"), "There is no space left for it;"),
        (errors.EntryNewer(path="d/another"), "d/another is newer"),
        (errors.FolderInUse(path="d", holder=""), "The folder d is in use"),
        (errors.PeerStalled(peer="it: d/f", seconds="8"), "it: d/f sent nothing"),
    ],
)
def test_what_stands_behind_its_path_does_not_name_it_again(error: LeafSyncError, behind: str) -> None:
    assert error.behind("d/f").startswith(behind)


def test_other_values_than_texts_are_shown_too() -> None:
    assert "within 8 s" in str(errors.ConnectTimedOut(address="host", seconds=8, port=4455))
    assert str(errors.FolderMissing(path=Path("/a b"))).startswith("The folder /a b does not exist")


def test_exit_codes_are_published() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "PARTIAL": 3,
        "UNREACHABLE": 4,
        "TRUST": 5,
        "BUSY": 6,
        "INTEGRITY": 7,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


def raised(module: ast.Module) -> Iterator[tuple[int, str, set[str]]]:
    """Yield (line, class, keywords) of each error that is built with its fields spelled out."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in CLASSES and all(keyword.arg for keyword in node.keywords):
            yield node.lineno, name, {keyword.arg or "" for keyword in node.keywords}


def test_every_error_is_raised_with_its_fields() -> None:
    """A missing field would only show as a KeyError when the sentence is printed; more than it names is data."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} {name} lacks {sorted(fields_of(CLASSES[name]) - keywords)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name, keywords in raised(ast.parse(path.read_text(encoding="utf-8")))
        if not fields_of(CLASSES[name]) <= keywords
    ]
    assert not wrong


def test_commands_named_in_sentences_keep_their_quoting() -> None:
    shown = str(errors.PeerUnknown(address="a:1", fingerprint="ab" * 32))
    assert shown.endswith(f"run: leafsync trust add {'ab' * 32}")


def test_the_module_needs_only_the_escaping() -> None:
    imported = {name for name in vars(importlib.import_module("leafsync.errors")) if not name.startswith("_")}
    assert imported - CLASSES.keys() == {"enum", "ClassVar", "printable", "ExitCode"}
