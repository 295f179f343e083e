"""All 82 cases are there, each has tests or a reason, and SECURITY.md has what they say."""

from collections import Counter
from pathlib import Path

from tests.faults.cases import NUMBERS, groups, renewed

SECURITY = Path(__file__).parents[2] / "SECURITY.md"


def test_every_number_is_one_case() -> None:
    assert Counter(case.number for group in groups() for case in group.cases) == Counter(NUMBERS)


def test_every_case_has_tests_or_a_reason() -> None:
    for group in groups():
        for case in group.cases:
            assert bool(group.tests[case.number]) is not bool(case.exempt), f"case {case.number}"


def test_no_test_is_of_a_case_of_another_module() -> None:
    for group in groups():
        assert set(group.tests) == {case.number for case in group.cases}


def test_the_table_in_security_is_the_one_of_the_tests() -> None:
    text = SECURITY.read_text(encoding="utf-8")
    assert renewed(text) == text, "run: python -m tests.faults.cases"
