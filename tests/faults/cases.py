"""The fault cases: what goes wrong, what LeafSync does then, and which tests show it.

Each test module here lists its cases in `CASES` and names its tests by their numbers, `test_case_07_...`.
`python -m tests.faults.cases` writes the table of SECURITY.md from them.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

NUMBERS = range(1, 83)
"""There are 82 cases, numbered once and for all: code, tests and documents refer to them."""

BEGIN, END = "<!-- fault cases: begin -->", "<!-- fault cases: end -->"
"""Around the table in SECURITY.md."""

TEST = re.compile(r"test_case_(\d\d)_\w+")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong."""

    number: int
    what: str
    then: str
    """What LeafSync does."""
    where: str = "everywhere"
    """On which platforms that is so and tested."""
    exempt: str = ""
    """Why there is nothing to test."""


@dataclass(frozen=True, slots=True)
class Group:
    """The cases of one test module."""

    title: str
    cases: tuple[Case, ...]
    tests: dict[int, tuple[str, ...]]
    """Names of the tests of each case."""


def modules() -> Iterator[ModuleType]:
    """Yield the test modules here that list cases."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.faults.{path.stem}")
        if hasattr(module, "CASES"):
            yield module


def groups() -> list[Group]:
    """Return all cases with their tests, in the order of their numbers."""
    found = []
    for module in modules():
        tests: dict[int, list[str]] = {case.number: [] for case in module.CASES}
        for name in vars(module):
            if match := TEST.fullmatch(name):
                tests.setdefault(int(match[1]), []).append(name)
        named = {number: tuple(names) for number, names in tests.items()}
        found.append(Group(module.TITLE, tuple(module.CASES), named))
    return sorted(found, key=lambda group: group.cases[0].number)


def table() -> str:
    """Return the table of SECURITY.md."""
    lines = []
    for group in groups():
        lines += [
            f"### {group.title}",
            "",
            "| # | what happens | what LeafSync does | where | tests |",
            "|---|---|---|---|---|",
        ]
        for case in group.cases:
            count = str(len(group.tests[case.number])) if not case.exempt else "-"
            then = case.then if not case.exempt else f"{case.then}; {case.exempt}"
            lines.append(f"| {case.number} | {case.what} | {then} | {case.where} | {count} |")
        lines.append("")
    return "\n".join(lines)


def renewed(text: str) -> str:
    """Return SECURITY.md with the table as it is to be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main() -> int:
    """Write the table."""
    path = Path("SECURITY.md")
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
