"""What no single module can show of itself: what importing it costs, how long it is, and who writes to the terminal."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import leafsync

PACKAGE = Path(leafsync.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 600
"""Lines of a module (CONTRIBUTING.md, "Rules of the house")."""

PRINTERS = {"output.py", "diagnostics.py"}
"""The only writers of stdout and stderr."""

HEAVY = ("asyncio", "aioquic", "textual", "rich")
"""What the pure core must never bring along, and start-up pays for."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


CORE = sorted(module_of(path) for path in (PACKAGE / "engine" / "core").glob("*.py"))

LIGHT: dict[str, tuple[str, tuple[str, ...]]] = {
    **{
        f"import {module}": (f"import {module}", HEAVY)
        for module in ["leafsync", "leafsync.text", "leafsync.errors", *CORE]
    },
}
"""What is run -> the code that runs it in a new interpreter, and the packages it must not have loaded by its end."""


@pytest.mark.parametrize(("code", "forbidden"), LIGHT.values(), ids=LIGHT)
def test_it_loads_nothing_heavy(code: str, forbidden: tuple[str, ...]) -> None:
    """A static look at the imports cannot prove it: what counts is what is loaded in the end."""
    report = f"import sys\n{code}\nprint(*sorted({set(forbidden)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_the_check_sees_what_is_loaded() -> None:
    with pytest.raises(AssertionError):
        test_it_loads_nothing_heavy("import asyncio", HEAVY)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_module_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name not in PRINTERS], ids=module_of)
def test_only_two_modules_print(path: Path) -> None:
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
