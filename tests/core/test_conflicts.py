"""Names of conflict copies."""

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.conflicts import MAX_COPIES, MAX_DEVICE, Copies, conflict_name, free_name
from leafsync.engine.core.names import MAX_NAME, MAX_PATH, collision_key, name_problem, parent

MOMENT = "20260102-030405"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("note.txt", "note.conflict-20260102-030405-laptop.txt"),
        ("d/e/note.txt", "d/e/note.conflict-20260102-030405-laptop.txt"),
        ("d.d/Makefile", "d.d/Makefile.conflict-20260102-030405-laptop"),
        (".bashrc", ".bashrc.conflict-20260102-030405-laptop"),
        (".config.json", ".config.conflict-20260102-030405-laptop.json"),
        ("..a", "..a.conflict-20260102-030405-laptop"),
        ("a.tar.gz", "a.conflict-20260102-030405-laptop.tar.gz"),
        (".tar.gz", ".tar.conflict-20260102-030405-laptop.gz"),
        ("report.2026.pdf", "report.2026.conflict-20260102-030405-laptop.pdf"),
        ("Dear Mr. Smith", "Dear Mr. Smith.conflict-20260102-030405-laptop"),
        ("trailing.", "trailing..conflict-20260102-030405-laptop"),
        ("größe.übung", "größe.conflict-20260102-030405-laptop.übung"),
        # A conflict of a conflict
        ("note.conflict-20250101-000000-old-phone.txt", "note.conflict-20260102-030405-laptop.txt"),
        ("note.conflict-20250101-000000-phone-2.txt", "note.conflict-20260102-030405-laptop.txt"),
        ("a.conflict-20250101-000000-phone.tar.gz", "a.conflict-20260102-030405-laptop.tar.gz"),
        ("plain.conflict-20250101-000000-phone", "plain.conflict-20260102-030405-laptop"),
        (".conflict-20250101-000000-phone", ".conflict-20250101-000000-phone.conflict-20260102-030405-laptop"),
        ("a.conflict-soon.txt", "a.conflict-soon.conflict-20260102-030405-laptop.txt"),
    ],
)
def test_the_mark_stands_before_the_extension(path: str, expected: str) -> None:
    assert conflict_name(path, MOMENT, "laptop") == expected


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("Ada's Laptop", "Ada-s-Laptop"),
        ("a_b-c", "a_b-c"),
        ("../../etc", "etc"),
        ("büro", "b-ro"),
        ("", "device"),
        ("???", "device"),
        ("\x1b[31m", "31m"),
        ("x" * 99, "x" * MAX_DEVICE),
    ],
)
def test_a_device_name_is_cleaned(device: str, expected: str) -> None:
    assert conflict_name("a.txt", MOMENT, device) == f"a.conflict-{MOMENT}-{expected}.txt"


@pytest.mark.parametrize(
    "name",
    [
        "x" * 255,
        "x" * 251 + ".txt",
        "ü" * 127,
        "x" + "🌱" * 62 + ".tar.gz",
        "x." + "y" * 253,
        "x.conflict-20260101-000000-d." + "y" * 226,
    ],
)
def test_a_long_name_loses_the_end_of_its_stem(name: str) -> None:
    copy = conflict_name(f"d/{name}", MOMENT, "laptop").removeprefix("d/")
    assert MAX_NAME - 4 < len(copy.encode()) <= MAX_NAME
    assert f".conflict-{MOMENT}-laptop" in copy
    assert name.startswith(copy[: copy.index(".conflict-")])


@pytest.mark.parametrize("left", [5, 40, 100, 254])
def test_a_copy_in_a_long_path_loses_the_end_of_its_stem(left: int) -> None:
    """`left` are the bytes that the directory leaves for a name; the name may use them all."""
    directory = "/".join(["d" * 200] * 19)
    directory += "/" + "e" * (MAX_PATH - len(directory) - 2 - left)
    path = f"{directory}/{'n' * (left - 4)}.txt"
    assert len(path) == MAX_PATH
    copy = conflict_name(path, MOMENT, "laptop")
    mark = f".conflict-{MOMENT}-laptop.txt"
    assert (parent(copy), copy[-len(mark) :]) == (directory, mark)
    assert len(copy) <= max(MAX_PATH, len(f"{directory}/n{mark}"))
    assert len(free_name(copy, {collision_key(copy.rpartition("/")[2])})) <= max(
        MAX_PATH, len(f"{directory}/n{mark}-2")
    )


@given(
    st.lists(st.text(max_size=260).filter(lambda name: name_problem(name) is None), min_size=1, max_size=3),
    st.text(max_size=60),
)
def test_a_copy_of_what_can_travel_can_travel(parts: list[str], device: str) -> None:
    path = "/".join(parts)
    copy = conflict_name(path, MOMENT, device)
    name = copy.rpartition("/")[2]
    assert parent(copy) == parent(path)
    assert name_problem(name) is None
    again = conflict_name(copy, "20270102-030405", device)
    assert again.count(".conflict-2027") == 1
    assert f".conflict-{MOMENT}" not in again
    numbered = free_name(copy, {collision_key(name)})
    assert name_problem(numbered.rpartition("/")[2]) is None
    assert numbered != copy


@pytest.mark.parametrize(
    ("path", "taken", "expected"),
    [
        ("d/a.txt", [], "d/a.txt"),
        ("d/a.txt", ["a.txt"], "d/a-2.txt"),
        ("d/a.txt", ["a.txt", "a-2.txt", "a-3.txt"], "d/a-4.txt"),
        ("A.txt", ["a.TXT"], "A-2.txt"),
        (".rc", [".rc"], ".rc-2"),
        (
            "a.conflict-20260102-030405-b.tar.gz",
            ["a.conflict-20260102-030405-b.tar.gz"],
            "a.conflict-20260102-030405-b-2.tar.gz",
        ),
    ],
)
def test_a_taken_name_gets_a_number(path: str, taken: list[str], expected: str) -> None:
    assert free_name(path, {collision_key(name) for name in taken}) == expected


def test_a_file_has_so_many_copies_and_no_more() -> None:
    copies = Copies(["a.txt", *(f"a.conflict-2026010{day}-000000-d.txt" for day in range(1, 9)), "a.conflict-x.txt"])
    copy = conflict_name("d/a.txt", MOMENT, "laptop")
    assert not copies.full(copy)
    assert [copies.add(copy), copies.add(copy)] == [copy, copy.replace("laptop", "laptop-2")]
    assert copies.full(copy)
    assert copies.full(conflict_name("d/a.conflict-20260101-000000-d.txt", MOMENT, "laptop"))
    assert not copies.full(conflict_name("d/b.txt", MOMENT, "laptop"))
    assert MAX_COPIES == 10


def test_a_number_still_fits_into_a_name_of_full_length() -> None:
    taken = conflict_name("x" * 255, MOMENT, "laptop")
    free = free_name(taken, {taken})
    assert free.endswith(f".conflict-{MOMENT}-laptop-2")
    assert len(free) == MAX_NAME
