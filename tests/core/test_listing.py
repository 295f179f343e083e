"""What another device lists is taken entry by entry, or not at all."""

from collections.abc import Sequence

import pytest

from leafsync.engine.core import listing
from leafsync.engine.core.index import Entry, Index, Kind, directory_digest
from leafsync.engine.core.listing import ListingCheck, ListingMalformed
from leafsync.engine.core.names import MAX_DEPTH, join
from leafsync.engine.core.reconcile import Mode, reconcile

ROOT = bytes(32)


def file(name: str) -> Entry:
    return Entry(name, Kind.FILE, 1, 0, False, ROOT)


def link(name: str, target: str) -> Entry:
    return Entry(name, Kind.SYMLINK, target=target)


def taken(check: ListingCheck, path: str, entries: Sequence[Entry]) -> list[Entry]:
    return check.directory(path, entries, directory_digest(entries))


def test_an_honest_listing_is_taken_whole() -> None:
    entries = [
        Entry("d", Kind.DIRECTORY, hash=ROOT),
        file("f"),
        link("l", "../f"),
        Entry("w", Kind.WITHHELD, target="ignored"),
    ]
    check = ListingCheck()
    assert taken(check, "dir", entries) == entries
    assert taken(check, "empty", []) == []
    assert check.problems == []


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("a", "c", "b"), ("a", "B")])
def test_a_listing_out_of_order_is_malformed(names: tuple[str, ...]) -> None:
    """Fault case 44."""
    with pytest.raises(ListingMalformed, match="order"):
        taken(ListingCheck(), "", [file(name) for name in names])


def test_a_listing_that_is_not_what_its_parent_said_is_malformed() -> None:
    with pytest.raises(ListingMalformed, match="digest"):
        ListingCheck().directory("", [file("a")], directory_digest([file("b")]))


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", Kind.FILE),
        Entry("a", Kind.FILE, hash=ROOT[:31]),
        Entry("a", Kind.DIRECTORY),
        Entry("a", Kind.SYMLINK, hash=ROOT, target="b"),
        Entry("a", Kind.WITHHELD, hash=ROOT),
    ],
)
def test_a_hash_of_the_wrong_length_is_malformed(entry: Entry) -> None:
    """Fault case 37."""
    with pytest.raises(ListingMalformed, match="hash"):
        taken(ListingCheck(), "", [entry])


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", Kind.DIRECTORY, size=1, hash=ROOT),
        Entry("a", Kind.SYMLINK, mtime_ns=1, target="b"),
        Entry("a", Kind.WITHHELD, executable=True),
    ],
)
def test_only_files_have_a_size_a_time_and_an_executable_bit(entry: Entry) -> None:
    """What no scan here can produce would differ in every pass."""
    with pytest.raises(ListingMalformed, match="does not have"):
        taken(ListingCheck(), "", [entry])


def test_too_many_entries_are_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault case 42: the cap is on the whole pass."""
    monkeypatch.setattr(listing, "MAX_ENTRIES", 4)
    check = ListingCheck()
    taken(check, "", [file("a"), file("b")])
    taken(check, "d", [file("a"), file("b")])
    with pytest.raises(ListingMalformed, match="more than 4"):
        taken(check, "e", [file("a")])


def test_published_caps() -> None:
    assert (listing.MAX_ENTRIES, listing.MAX_BAD_NAMES) == (2_000_000, 10)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\n", "\x1b", "e\u0301", ".leafsync_tmp"]
)
def test_a_name_that_cannot_travel_is_a_problem_and_the_others_are_taken(name: str) -> None:
    entries = sorted([file(name), file("good")], key=lambda entry: entry.name)
    check = ListingCheck()
    assert taken(check, "d", entries) == [file("good")]
    assert [problem.path for problem in check.problems] == [join("d", name)]


def test_more_than_ten_of_them_are_malformed() -> None:
    """Fault case 1: counted over the whole pass."""
    check = ListingCheck()
    taken(check, "", [file(f"a\\{number}") for number in range(9)])
    taken(check, "d", [file("b\\")])
    with pytest.raises(ListingMalformed, match="never travel"):
        taken(check, "e", [file("c\\")])


def test_what_lies_too_deep_or_has_too_long_a_path_is_a_problem() -> None:
    """Fault case 11."""
    check = ListingCheck()
    deepest = "/".join(["d"] * (MAX_DEPTH - 1))
    assert taken(check, deepest, [file("a")]) == [file("a")]
    assert taken(check, f"{deepest}/d", [file("a")]) == []
    longest = "/".join(["n" * 255] * 16)
    assert taken(check, longest, [file("a")]) == []
    assert taken(check, longest[:-1], [file("a")]) == [file("a")]
    assert len(check.problems) == 2


def test_many_deep_paths_are_no_sign_of_hostility() -> None:
    check = ListingCheck()
    assert taken(check, "/".join(["d"] * MAX_DEPTH), [file(f"{number:02}") for number in range(50)]) == []
    assert len(check.problems) == 50


@pytest.mark.parametrize("target", ["", "/etc/passwd", "..", "../../x", "a/../../x", "\x1b", ".leafsync_trash"])
def test_a_link_that_cannot_be_taken_is_withheld_with_a_problem(target: str) -> None:
    check = ListingCheck()
    entries = taken(check, "", [link("l", target)])
    assert [(entry.name, entry.kind) for entry in entries] == [("l", Kind.WITHHELD)]
    assert [problem.path for problem in check.problems] == ["l"]


def test_a_link_that_cannot_be_taken_is_no_reason_to_delete() -> None:
    local = Index({"": [file("keep"), file("l")]})
    remote = [file("keep"), link("l", "/etc")]
    listings = {"": taken(ListingCheck(), "", remote)}
    plan = reconcile(None, local, listings, Mode.MIRROR, copy_name=lambda path, _side: path, remote_total=2)
    assert plan.empty
