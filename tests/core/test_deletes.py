"""Mass deletes, at their boundaries, and what must not come in the place of what is held."""

import pytest

from leafsync.engine.core.deletes import is_mass_delete, within, without_replacements
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.steps import Fetch, Link, Steps, Trash

FILE = Entry("f", Kind.FILE, 1, 0, False, b"f" * 32)
DIRECTORY = Entry("d", Kind.DIRECTORY)
WITHHELD = Entry("w", Kind.WITHHELD, target="ignored")


@pytest.mark.parametrize(
    ("removed", "present", "total", "mass"),
    [
        (0, 0, None, False),
        (0, 500, None, False),
        (1, 2, None, False),
        (2, 2, None, True),
        (100, 101, None, False),
        (101, 402, None, True),
        (100, 400, None, False),
        (101, 404, None, False),
        (250, 1000, None, False),
        (251, 1000, None, True),
        (150, 800, 600, False),
        (150, 800, 599, True),
        (99, 800, 1, False),
        (99, 99, 10_000, True),
    ],
)
def test_boundaries(removed: int, present: int, total: int | None, mass: bool) -> None:
    trash = [Trash(f"f{number}", FILE) for number in range(removed)]
    assert is_mass_delete(trash, [FILE] * present + [WITHHELD] * 900, total) is mass


def test_all_files_are_everything_where_directories_stay() -> None:
    entries = [FILE, DIRECTORY, DIRECTORY]
    assert is_mass_delete([Trash("f", FILE)], entries)
    assert not is_mass_delete([Trash("d", DIRECTORY)], entries)
    assert not is_mass_delete([Trash("d", DIRECTORY)], [DIRECTORY, DIRECTORY])


def test_what_would_take_the_place_of_something_is_left_out() -> None:
    steps = Steps(
        clearings=[Trash("x/in", FILE), Trash("x", DIRECTORY), Trash("y", FILE)],
        directories=["new", "y", "y/s"],
        fetches=[Fetch("x", FILE), Fetch("xx", FILE), Fetch("y/s/f", FILE)],
        links=[Link("y/l", FILE), Link("l", FILE)],
    )
    after = without_replacements(steps)
    assert after == Steps(
        clearings=steps.clearings, directories=["new"], fetches=[Fetch("xx", FILE)], links=[Link("l", FILE)]
    )


@pytest.mark.parametrize(
    ("path", "inside"), [("a", True), ("a/b/c", True), ("ab", False), ("b/a", False), ("", False), ("c/d", True)]
)
def test_within(path: str, inside: bool) -> None:
    assert within(path, {"a", "c/d"}) is inside
