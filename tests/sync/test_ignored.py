"""What the other side ignores: known by its refusals, until its ignore files change."""

from collections.abc import Mapping

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.messages import Refusal, RefusalKind
from leafsync.engine.core.names import IGNORE_FILE
from leafsync.engine.core.steps import Fetch, Move, Steps
from leafsync.engine.sync.ignored import IgnoredThere

FILE = Entry("f", Kind.FILE, 1, 0, False, b"r" * 32)
DIRECTORY = Entry("d", Kind.DIRECTORY)


def rules(content: int) -> Entry:
    return Entry(IGNORE_FILE, Kind.FILE, content, 0, False, bytes([content]) * 32)


def refused(*paths: str, kind: RefusalKind = RefusalKind.IGNORED) -> list[Refusal]:
    return [Refusal(path, kind, "no") for path in paths]


def learned(listings: Mapping[str, list[Entry]]) -> IgnoredThere:
    known = IgnoredThere()
    steps = Steps(
        directories=["made"],
        fetches=[Fetch("d/e/f", FILE), Fetch("g", FILE)],
        moves=[Move("old", "d/file", FILE), Move("before", "d/dir", DIRECTORY)],
    )
    known.learn(steps, refused("d/e/f", "made", "d/file", "d/dir"), listings)
    known.learn(steps, refused("g", kind=RefusalKind.CHANGED), listings)
    return known


def test_what_was_refused_is_known_as_what_it_was() -> None:
    known = learned({"": []})
    found = [
        (path, directory)
        for path in ("d/e/f", "made", "d/file", "d/dir", "g", "d", "old")
        for directory in (False, True)
        if known(path, directory)
    ]
    assert found == [("d/e/f", False), ("made", True), ("d/file", False), ("d/dir", True)]


def test_another_ignore_file_above_ends_it() -> None:
    listings: dict[str, list[Entry]] = {"": [rules(1), DIRECTORY], "d": [rules(2)]}
    for other, kept in (
        (listings, [True, True]),
        ({**listings, "x": [rules(3)]}, [True, True]),
        ({**listings, "d": [rules(3)]}, [False, True]),
        ({**listings, "d/e": [rules(3)]}, [False, True]),
        ({**listings, "d": []}, [False, True]),
        ({**listings, "": [DIRECTORY]}, [False, False]),
    ):
        known = learned(listings)
        known.review(other)
        assert [known("d/e/f", False), known("made", True)] == kept


def test_an_ignore_file_that_cannot_be_seen_is_like_none() -> None:
    withheld = Entry(IGNORE_FILE, Kind.WITHHELD, target="ignored")
    known = learned({"": [withheld]})
    for listed in (list[Entry](), [withheld]):
        known.review({"": listed})
        assert known("made", True)


def test_what_was_forgotten_can_be_learned_again() -> None:
    known = learned({"": []})
    known.review({"": [rules(1)]})
    assert not known("made", True)
    known.learn(Steps(directories=["made"]), refused("made"), {"": [rules(1)]})
    known.review({"": [rules(1)]})
    assert known("made", True)
