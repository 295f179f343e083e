"""Steps as values: their order, and when there is nothing to do."""

import pytest

from leafsync.engine.core.index import Entry, Kind, Problem
from leafsync.engine.core.steps import Conflict, Fetch, Link, Move, Plan, Steps, Touch, Trash

FILE = Entry("a", Kind.FILE, 1, 0, False, b"a" * 32)
LINK = Entry("a", Kind.SYMLINK, target="b")


def test_the_fields_stand_in_the_order_in_which_they_are_carried_out() -> None:
    assert list(Steps.__struct_fields__) == [
        "asides",
        "clearings",
        "directories",
        "moves",
        "fetches",
        "links",
        "touches",
        "deletes",
        "held",
    ]


@pytest.mark.parametrize(
    "steps",
    [
        Steps(asides=[Move("a", "b", FILE)]),
        Steps(clearings=[Trash("a", FILE)]),
        Steps(directories=["a"]),
        Steps(moves=[Move("a", "b", FILE)]),
        Steps(fetches=[Fetch("a", FILE)]),
        Steps(links=[Link("a", LINK)]),
        Steps(touches=[Touch("a", FILE, FILE)]),
        Steps(deletes=[Trash("a", FILE)]),
    ],
)
def test_anything_to_do_makes_steps_and_plan_not_empty(steps: Steps) -> None:
    assert not steps.empty
    assert not Plan(local=steps).empty
    assert not Plan(remote=steps).empty


def test_what_is_held_or_only_said_is_nothing_to_do() -> None:
    held = Steps(held=[Trash("a", FILE)])
    assert held.empty
    plan = Plan(held, held, [Conflict("a", "b", "local", FILE, LINK)], [Problem("a", "why")], [("a", "note")])
    assert plan.empty


def test_each_plan_has_lists_of_its_own() -> None:
    Plan().local.directories.append("a")
    assert Plan() == Plan(Steps(), Steps(), [], [], [])
    assert Plan().empty


def test_a_fetch_is_from_its_own_path_unless_said_otherwise() -> None:
    assert (Fetch("a", FILE).local, Fetch("a", FILE).source) == (None, "")
