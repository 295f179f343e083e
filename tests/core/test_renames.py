"""Renames out of deletes and creations, where the whole comparison cannot easily show it."""

from collections.abc import Callable

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.renames import with_moves
from leafsync.engine.core.steps import Fetch, Link, Move, Steps, Touch, Trash


def file(path: str, content: int = 1, *, executable: bool = False) -> Entry:
    return Entry(path.rpartition("/")[2], Kind.FILE, content, 0, executable, bytes([content]) * 32)


def directory(path: str, digest: bytes = b"d") -> Entry:
    return Entry(path.rpartition("/")[2], Kind.DIRECTORY, hash=digest)


def nowhere(_path: str) -> bool:
    return False


def only(*paths: str) -> Callable[[str], bool]:
    return lambda path: path in paths


def test_without_deletes_there_are_no_renames() -> None:
    steps = Steps(directories=["d"], fetches=[Fetch("d/a", file("a"))])
    assert with_moves(steps, {"d": b"d"}, nowhere) is steps


def test_nothing_is_moved_to_where_something_is() -> None:
    steps = Steps(fetches=[Fetch("b", file("b"))], deletes=[Trash("a", file("a"))])
    assert with_moves(steps, {}, only("b")) == steps
    assert with_moves(steps, {}, nowhere) == Steps(moves=[Move("a", "b", file("a"))])
    steps = Steps(fetches=[Fetch("b", file("b"), file("b", 2))], deletes=[Trash("a", file("a"))])
    assert with_moves(steps, {}, nowhere) == steps


def test_a_directory_is_not_moved_to_where_something_is() -> None:
    steps = Steps(
        directories=["n"],
        fetches=[Fetch("n/a", file("a"))],
        deletes=[Trash("o/a", file("a")), Trash("o", directory("o"))],
    )
    assert with_moves(steps, {"n": b"d"}, only("n")).directories == ["n"]
    assert with_moves(steps, {"n": b"d"}, nowhere).directories == []


def test_conflict_copies_are_moved_first() -> None:
    aside = Move("x", "x.conflict", file("x", 2))
    steps = Steps(moves=[aside], fetches=[Fetch("b", file("b"))], deletes=[Trash("a", file("a"))])
    assert with_moves(steps, {}, nowhere).moves == [aside, Move("a", "b", file("a"))]


def test_a_moved_file_gets_the_metadata_that_was_to_come() -> None:
    wanted = file("b", executable=True)
    steps = Steps(fetches=[Fetch("b", wanted)], deletes=[Trash("a", file("a"))])
    assert with_moves(steps, {}, nowhere) == Steps(
        moves=[Move("a", "b", file("a"))], touches=[Touch("b", wanted, file("b"))]
    )


def test_each_delete_is_moved_once() -> None:
    steps = Steps(
        fetches=[Fetch(path, file(path)) for path in ("b", "c", "d")],
        deletes=[Trash(path, file(path)) for path in ("a", "z")],
    )
    after = with_moves(steps, {}, nowhere)
    assert [(move.source, move.target) for move in after.moves] == [("a", "b"), ("z", "c")]
    assert [fetch.path for fetch in after.fetches] == ["d"]
    assert after.deletes == []


def test_a_whole_directory_is_one_move() -> None:
    steps = Steps(
        directories=["n", "n/s"],
        fetches=[Fetch("n/a", file("a")), Fetch("n/s/b", file("b", 2)), Fetch("other", file("other", 3))],
        links=[Link("n/l", Entry("l", Kind.SYMLINK, target="a"))],
        deletes=[
            Trash("o/a", file("a")),
            Trash("o/l", Entry("l", Kind.SYMLINK, target="a")),
            Trash("o/s/b", file("b", 2)),
            Trash("o/s", directory("s", b"s")),
            Trash("o", directory("o")),
        ],
    )
    assert with_moves(steps, {"n": b"d", "n/s": b"s"}, nowhere) == Steps(
        moves=[Move("o", "n", directory("o"))], fetches=[Fetch("other", file("other", 3))]
    )


def test_a_directory_of_which_not_all_comes_is_not_moved_as_a_whole() -> None:
    """Its digest is that of the other side's, but one of its entries is ignored here."""
    steps = Steps(
        directories=["n"],
        fetches=[Fetch("n/a", file("a"))],
        deletes=[Trash("o/a", file("a")), Trash("o/b", file("b", 2)), Trash("o", directory("o"))],
    )
    after = with_moves(steps, {"n": b"d"}, nowhere)
    assert (after.directories, after.moves) == (["n"], [Move("o/a", "n/a", file("a"))])
    assert [trash.path for trash in after.deletes] == ["o/b", "o"]


def test_a_directory_of_which_a_part_went_elsewhere_is_not_whole_any_more() -> None:
    steps = Steps(
        directories=["a", "a/s", "b", "b/s"],
        fetches=[Fetch("a/s/x", file("x")), Fetch("b/s/x", file("x"))],
        deletes=[Trash("o/s/x", file("x")), Trash("o/s", directory("s", b"s")), Trash("o", directory("o"))],
    )
    after = with_moves(steps, {"a": b"other", "a/s": b"s", "b": b"d", "b/s": b"s"}, nowhere)
    assert after.moves == [Move("o/s", "a/s", directory("s", b"s"))]
    assert after.directories == ["a", "b", "b/s"]
    assert [trash.path for trash in after.deletes] == ["o"]


def test_the_likest_directory_is_taken() -> None:
    def moved(target: str) -> str:
        deletes = [
            trash
            for path in ("a/n", "b/m", "c/k")
            for trash in (Trash(f"{path}/x", file("x")), Trash(path, directory(path)))
        ]
        steps = Steps(directories=[target], fetches=[Fetch(f"{target}/x", file("x"))], deletes=deletes)
        (move,) = with_moves(steps, {target: b"d"}, nowhere).moves
        return move.source

    assert moved("c/n") == "a/n"
    assert moved("c/new") == "c/k"
    assert moved("z") == "a/n"
