"""What is done to folders: each change is the one its label says, and everything is the same every time."""

import os
from pathlib import Path

import pytest

from benchmarks.trees import MIB, differences
from benchmarks.work import EDIT_BYTES, EDITS, INSERTED, LONG_AGO, Work, make, move, works

SCALE = 0.004
"""2 MiB, 200 files, 1 MB of logs."""


def work(name: str) -> Work:
    return next(one for one in works(SCALE) if one.name == name)


@pytest.mark.parametrize("name", ["large", "many", "logs"])
def test_it_is_the_same_every_time_and_old(tmp_path: Path, name: str) -> None:
    make(work(name), tmp_path / "one")
    make(work(name), tmp_path / "other")
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert files
    assert differences(tmp_path / "one", tmp_path / "other") == []
    assert {path.stat().st_mtime for path in files} == {LONG_AGO}


def test_the_published_sizes_are_those_of_scale_1() -> None:
    labels = [step.label for one in works(1.0) for step in one.steps]
    assert labels == [
        "one random file of 512 MiB",
        "3 edits of 100 bytes in 512 MiB",
        "10 bytes inserted at the front of 512 MiB",
        "10,000 files, 104 MB",
        "nothing changed, 10,000 files",
        "5,000 files moved to another directory",
        "text logs, 273 MB",
    ]


def test_edits_and_an_insertion(tmp_path: Path) -> None:
    large = work("large")
    make(large, tmp_path / "folder")
    file = tmp_path / "folder" / "large.bin"
    before = file.read_bytes()
    _first, edits, insertion = [step.change for step in large.steps]
    assert edits
    assert insertion
    edits(tmp_path / "folder")
    edited = file.read_bytes()
    changed = [at for at, (one, other) in enumerate(zip(before, edited, strict=True)) if one != other]
    assert EDITS * EDIT_BYTES * 0.9 < len(changed) <= EDITS * EDIT_BYTES
    assert len({at // (MIB // 2) for at in changed}) == EDITS
    insertion(tmp_path / "folder")
    assert file.read_bytes() == INSERTED + edited
    assert [path.name for path in file.parent.iterdir()] == ["large.bin"]


def test_half_of_the_files_move(tmp_path: Path) -> None:
    make(work("many"), tmp_path / "folder")
    names = {path.name for path in tmp_path.rglob("*.dat")}
    move(tmp_path / "folder")
    assert len(list((tmp_path / "folder" / "elsewhere").rglob("*.dat"))) == len(names) // 2 == 100
    assert {path.name for path in tmp_path.rglob("*.dat")} == names


def test_a_copy_with_the_same_size_and_time_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    """The standard library's comparison remembers files by path, size and time."""
    for folder in ("one", "other"):
        make(work("large"), tmp_path / folder)
    assert differences(tmp_path / "one", tmp_path / "other") == []
    file = tmp_path / "other" / "large.bin"
    with file.open("r+b") as stream:
        stream.write(b"different")
    times = (tmp_path / "one" / "large.bin").stat()
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert differences(tmp_path / "one", tmp_path / "other") == ["large.bin"]
