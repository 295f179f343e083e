"""An index says what a folder holds; its digest changes exactly when something that is synced changes."""

import random

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, strategies as st

from leafsync.engine.core.index import NANOSECONDS, Entry, Index, Kind, Problem, directory_digest, find
from leafsync.engine.core.merkle import EMPTY_ROOT, file_root, leaf_hash
from leafsync.engine.core.names import join

A_ROOT = file_root(3, leaf_hash(b"abc"))
A_FILE = Entry("a.txt", Kind.FILE, 3, 1_700_000_000 * NANOSECONDS, False, A_ROOT)


def file(name: str, content: bytes = b"abc") -> Entry:
    root = file_root(len(content), leaf_hash(content)) if content else EMPTY_ROOT
    return Entry(name, Kind.FILE, len(content), 1_700_000_000 * NANOSECONDS, False, root)


def directory(name: str) -> Entry:
    return Entry(name, Kind.DIRECTORY)


def link(name: str, target: str = "a.txt") -> Entry:
    return Entry(name, Kind.SYMLINK, target=target)


def withheld(name: str) -> Entry:
    return Entry(name, Kind.WITHHELD, target="ignored")


def sample() -> dict[str, list[Entry]]:
    return {
        "": [file("z"), directory("d"), link("l"), withheld("secret"), directory("empty")],
        "d": [file("x"), directory("e"), file("x-y")],
        "d/e": [file("deep"), withheld("socket")],
        "empty": [],
    }


def changed(**fields: object) -> Entry:
    return msgspec.structs.replace(A_FILE, **fields)


def test_the_canonical_encoding_is_published() -> None:
    """In PROTOCOL.md: another value is another protocol."""
    root = Index({"": [A_FILE, link("l", "a.txt"), directory("d")], "d": []})
    assert directory_digest(()).hex() == "1595ff809d757f942dcfe01f7730bfc1a628b548785deee2aa2a54c51d23ccf9"
    assert root.digest.hex() == "ec4708ab50143552970de64b36133c561bf41878cbcf442db8242da20e468cc9"


def test_the_canonical_encoding_by_hand() -> None:
    encoded = bytes.fromhex(
        "0005 01 0000000000000003 000000006553f100 00 0020 612e747874"
        + A_ROOT.hex()
        + "0001 03 0000000000000000 0000000000000000 00 0005 6c 612e747874"
    )
    expected = blake3(encoded, derive_key_context="leafsync/1 directory").digest()
    assert directory_digest([A_FILE, link("l", "a.txt")]) == expected


@pytest.mark.parametrize(
    "other",
    [
        changed(name="b.txt"),
        changed(kind=Kind.SYMLINK, target="x"),
        changed(size=4),
        changed(mtime_ns=A_FILE.mtime_ns + NANOSECONDS),
        changed(mtime_ns=A_FILE.mtime_ns - 1),
        changed(mtime_ns=-1),
        changed(executable=True),
        changed(hash=EMPTY_ROOT),
    ],
)
def test_a_synced_change_changes_the_digest(other: Entry) -> None:
    assert Index({"": [A_FILE]}).digest != Index({"": [other]}).digest


@pytest.mark.parametrize("nanoseconds", [1, NANOSECONDS - 1])
def test_a_change_below_a_second_does_not(nanoseconds: int) -> None:
    other = changed(mtime_ns=A_FILE.mtime_ns + nanoseconds)
    assert Index({"": [A_FILE]}).digest == Index({"": [other]}).digest
    assert A_FILE.same(other)


def test_withheld_entries_do_not_count() -> None:
    listed = Index({"": [A_FILE, withheld("w")]})
    assert listed.digest == Index({"": [A_FILE]}).digest
    assert listed.entry("w") == withheld("w")
    assert Index({"": [withheld("w")]}).digest == Index({}).digest == directory_digest(())


def test_the_target_of_a_link_counts() -> None:
    assert Index({"": [link("l", "a")]}).digest != Index({"": [link("l", "b")]}).digest


def test_names_cannot_flow_into_each_other() -> None:
    assert directory_digest([link("ab", "c")]) != directory_digest([link("a", "bc")])
    assert directory_digest([link("a", "b"), link("c", "d")]) != directory_digest([link("a", "bcd")])


def test_a_change_deep_down_changes_every_digest_above() -> None:
    before, tree = Index(sample()), sample()
    tree["d/e"][0] = file("deep", b"new")
    after = Index(tree)
    for path in ("d", "d/e"):
        old, new = before.entry(path), after.entry(path)
        assert old is not None
        assert new is not None
        assert not old.same_content(new)
    assert before.digest != after.digest
    assert before.entry("empty") == after.entry("empty")


@given(st.randoms(use_true_random=False))
def test_the_order_of_a_scan_does_not_matter(shuffle: random.Random) -> None:
    tree = list(sample().items())
    for _path, entries in tree:
        shuffle.shuffle(entries)
    shuffle.shuffle(tree)
    index = Index(dict(tree))
    assert index.digest == Index(sample()).digest
    assert list(index.walk()) == list(Index(sample()).walk())


def test_listings_are_in_the_order_of_their_bytes() -> None:
    names = ["a", "B", "é", "\uffee", "\U0001f600", "a.b", "a-b", "ab"]
    listed = [entry.name for entry in Index({"": [file(name) for name in names]}).children("")]
    assert listed == sorted(names, key=str.encode)


def test_directories_get_their_digests() -> None:
    index = Index(sample())
    entry = index.entry("d/e")
    assert entry is not None
    assert entry.hash == directory_digest(index.children("d/e"))


def states(marks: dict[str, int]) -> dict[str, list[int]]:
    """Return the marks by directory, in the order of the sample's entries."""
    return {
        directory: [marks.get(join(directory, entry.name), 0) for entry in entries]
        for directory, entries in sample().items()
    }


def test_a_directory_without_a_listing_is_an_error() -> None:
    with pytest.raises(KeyError):
        Index({"": [directory("d")]})


def test_a_walk_meets_everything_once_parents_first() -> None:
    paths = [path for path, _entry in Index(sample()).walk()]
    assert sorted(paths) == sorted(["d", "d/e", "d/e/deep", "d/e/socket", "d/x", "d/x-y", "empty", "l", "secret", "z"])
    seen = {""}
    for path in paths:
        assert path.rpartition("/")[0] in seen
        seen.add(path)


def test_looking_up() -> None:
    index = Index(sample())
    assert index.entry("d/x") == file("x")
    assert [index.entry(path) for path in ("", "nothing", "d/nothing", "z/below", "nothing/below", "d/")] == [None] * 6
    assert index.children("nothing") == ()
    assert [entry.name for entry in index.children("d")] == ["e", "x", "x-y"]


def test_listings_are_told_by_their_digest() -> None:
    index = Index(sample())
    digests = {path: entry.hash for path, entry in index.walk() if entry.kind is Kind.DIRECTORY} | {"": index.digest}
    for path, digest in digests.items():
        told = path not in ("", "d/e")  # their digests say nothing of what is withheld there
        assert index.listing(path, digest) is (index.directories[path] if told else None)
        assert index.listing(path, bytes(32)) is None
    assert Index({"": []}).listing("", Index({"": []}).digest) == ()
    for path in ("z", "nothing", "d/nothing"):
        assert index.listing(path, index.digest) is None


def test_what_is_withheld_and_what_is_below_it() -> None:
    index = Index(sample())
    withheld = ["secret", "secret/below/it", "d/e/socket", "d/e/socket/below"]
    assert all(index.withholds(path) for path in withheld)
    assert not any(index.withholds(path) for path in ("", "z", "d", "d/e", "d/e/deep", "nothing", "d/nothing/below"))


@given(st.sets(st.text("abc", min_size=1, max_size=3)), st.text("abc", max_size=3))
def test_find_agrees_with_a_search(names: set[str], name: str) -> None:
    found = find([file(each) for each in sorted(names)], name)
    assert (found.name if found else None) == (name if name in names else None)


def test_counts_are_of_files_alone() -> None:
    index = Index(sample())
    assert (index.files, index.bytes) == (4, 12)


def test_states_and_problems_are_kept() -> None:
    problems = [Problem("z", "busy"), Problem("d/x", "unreadable")]
    index = Index(sample(), states=states({"z": 7, "d/x": 1 << 63}), problems=problems)
    assert [index.state(path) for path in ("z", "d/x", "l", "d/e/deep", "nothing/x")] == [7, 1 << 63, None, None, None]
    assert index.problems == (Problem("d/x", "unreadable"), Problem("z", "busy"))


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("z", ["z"]),
        ("d/x", ["d", "d/x"]),
        ("d/e/deep", ["d", "d/e", "d/e/deep"]),
        ("d", ["d", "d/e", "d/e/deep", "d/e/socket", "d/x", "d/x-y"]),
        ("empty", ["empty"]),
        ("secret", ["secret"]),
        ("d/nothing", ["d"]),
        ("d/e/nothing/below", ["d", "d/e"]),
        ("nothing", []),
        ("nothing/below", []),
    ],
)
def test_only_keeps_a_path_and_what_leads_to_it(path: str, kept: list[str]) -> None:
    whole = Index(sample(), states=states({"z": 7, "d/x": 8}), problems=[Problem("z", "busy"), Problem("z-z", "busy")])
    index = whole.only(path)
    assert sorted(found for found, _entry in index.walk()) == kept
    assert index.entry(path) == whole.entry(path)
    assert index.state("z") == (7 if "z" in kept else None)
    assert index.state("d/x") == (8 if "d/x" in kept else None)
    assert index.problems == ((Problem("z", "busy"),) if path == "z" else ())


def test_only_of_nothing_is_everything() -> None:
    index = Index(sample())
    assert index.only("") is index


@pytest.mark.parametrize("path", ["z/below", "l/below/more"])
def test_what_is_in_the_way_of_the_asked_path_is_withheld(path: str) -> None:
    index = Index(sample()).only(path)
    at = path.partition("/")[0]
    assert index.entry(at) == Entry(at, Kind.WITHHELD, target="not a directory")
    assert [problem.path for problem in index.problems] == [at]
    assert (index.files, index.digest) == (0, directory_digest(()))


def test_only_of_equal_parts_is_equal() -> None:
    tree = sample()
    tree[""][0] = file("z", b"new")
    assert Index(tree).only("d/x").digest == Index(sample()).only("d/x").digest
    assert Index(tree).only("z").digest != Index(sample()).only("z").digest


def test_a_deep_tree_needs_no_deep_stack() -> None:
    depth = 3000
    tree: dict[str, list[Entry]] = {"/".join("d" * level): [directory("d")] for level in range(depth)}
    tree["/".join("d" * depth)] = [file("bottom")]
    index = Index(tree)
    assert index.files == 1
    assert len(list(index.walk())) == depth + 1


@pytest.mark.parametrize(
    ("other", "content", "same"),
    [
        (A_FILE, True, True),
        (changed(mtime_ns=A_FILE.mtime_ns + 5), True, True),
        (changed(mtime_ns=0), True, False),
        (changed(executable=True), True, False),
        (changed(hash=EMPTY_ROOT), False, False),
        (changed(size=4), False, False),
        (changed(kind=Kind.DIRECTORY), False, False),
        (changed(target="x"), False, False),
    ],
)
def test_same_content_and_same(other: Entry, content: bool, same: bool) -> None:
    assert (A_FILE.same_content(other), A_FILE.same(other)) == (content, same)


@pytest.mark.parametrize(("mtime_ns", "seconds"), [(0, 0), (-1, -1), (NANOSECONDS - 1, 0), (-NANOSECONDS, -1)])
def test_times_are_rounded_down(mtime_ns: int, seconds: int) -> None:
    assert changed(mtime_ns=mtime_ns).mtime == seconds


@pytest.mark.parametrize("extreme", [-(1 << 63), (1 << 63) - 1])
def test_any_time_a_filesystem_can_hold_has_a_digest(extreme: int) -> None:
    assert directory_digest([changed(mtime_ns=extreme)]) != directory_digest([changed(mtime_ns=0)])
