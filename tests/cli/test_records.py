"""`leafsync history`, `restore` and `conflicts` on a real folder."""

import json
from pathlib import Path

import pytest

from leafsync.engine.sync.records import Records, Undone
from leafsync.errors import PathUnrestorable
from tests.cli.conftest import Run

COPY = "a.conflict-20260102-030405-nas.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my folder"
    folder.mkdir()
    return folder


@pytest.fixture
def conflicting(folder: Path) -> Path:
    (folder / "a.txt").write_text("this")
    (folder / COPY).write_text("other")
    return folder


@pytest.mark.parametrize("command", ["history", "restore", "conflicts"])
def test_a_folder_that_is_not_there(run: Run, tmp_path: Path, command: str) -> None:
    ran = run(command, str(tmp_path / "gone"), *(["last"] if command == "restore" else []))
    assert ran.code == 2
    assert "does not exist" in ran.err


def test_a_folder_that_was_never_synced(run: Run, folder: Path, home: Path) -> None:
    assert (run("history", str(folder)).code, run("history", str(folder)).out) == (0, "")
    assert "no pass has changed anything" in run("history", str(folder)).err
    assert (run("conflicts", str(folder)).code, run("conflicts", str(folder)).out) == (0, "")
    assert "no conflict copies" in run("conflicts", str(folder)).err
    ran = run("restore", str(folder), "last")
    assert ran.code == 2
    assert "No pass is called last" in ran.err
    assert not home.exists()


def test_conflicts_are_listed_with_the_command_that_resolves_them(run: Run, conflicting: Path) -> None:
    ran = run("conflicts", str(conflicting))
    assert ran.code == 0
    assert ran.out.splitlines()[1].split()[2:] == ["5", "B", COPY, "a.txt"]
    assert f"leafsync conflicts '{conflicting}' --resolve {COPY} --keep this|other|both" in ran.err
    ran = run("conflicts", str(conflicting), "--json")
    line = json.loads(ran.out)
    mtime_ns = (conflicting / COPY).stat().st_mtime_ns
    assert line == {"v": 1, "type": "conflict", "path": "a.txt", "copy": COPY, "size": 5, "mtime_ns": mtime_ns}
    assert ran.err == ""


def test_a_conflict_is_resolved_and_in_the_history(run: Run, conflicting: Path) -> None:
    ran = run("conflicts", str(conflicting), "--resolve", f"./{COPY}", "--keep", "other")
    assert (ran.code, ran.out) == (0, f"{COPY}\n")
    assert (conflicting / "a.txt").read_text() == "other"
    head, line = run("history", str(conflicting)).out.splitlines()
    assert head.split() == ["PASS", "TIME", "DEVICE", "DID"]
    assert line.endswith("  -       1 trashed, 1 moved")
    pass_id = line.split()[0]
    assert f"to take this back, run: leafsync restore '{conflicting}' {pass_id}\n" in ran.err
    assert f"    moved    {COPY} -> a.txt" in run("history", str(conflicting), "-v").out.splitlines()
    (record,) = (json.loads(line) for line in run("history", str(conflicting), "--json").out.splitlines())
    assert (record["type"], record["id"], record["peer"]) == ("pass", pass_id, "")
    assert [(action["kind"], action["path"], action["source"]) for action in record["actions"]] == [
        ("trashed", "a.txt", ""),
        ("moved", "a.txt", COPY),
    ]
    assert (conflicting / record["actions"][0]["kept"]).read_text() == "this"


def test_history_is_newest_first_and_limited(run: Run, folder: Path) -> None:
    for year in (2024, 2025, 2026):
        copy = f"a.conflict-{year}0102-030405-nas"
        (folder / copy).write_text(str(year))
        assert run("conflicts", str(folder), "--resolve", copy, "--keep", "both").code == 0
    lines = run("history", str(folder), "--limit", "2", "-v").out.splitlines()
    moved = [line.split()[1] for line in lines if line.startswith("    moved")]
    assert moved == ["a.conflict-20260102-030405-nas", "a.conflict-20250102-030405-nas"]


def test_what_is_no_copy(run: Run, folder: Path) -> None:
    ran = run("conflicts", str(folder), "--resolve", "a.txt", "--keep", "this")
    assert ran.code == 2
    assert "a.txt is not a conflict copy" in ran.err


def test_json_of_a_resolved_conflict(run: Run, conflicting: Path) -> None:
    ran = run("conflicts", str(conflicting), "--resolve", COPY, "--keep", "this", "--json")
    line = json.loads(ran.out)
    assert line.pop("id")
    assert line == {"v": 1, "type": "restored", "partial": False, "outcomes": [{"path": COPY, "error": ""}]}
    assert ran.err == ""


# What comes of a restore


def undone_as(monkeypatch: pytest.MonkeyPatch, *outcomes: tuple[str, str]) -> list[tuple[str, ...]]:
    """Let every restore come out like this, and note what was asked for."""
    asked: list[tuple[str, ...]] = []

    def undo(_records: Records, *arguments: str) -> Undone:
        asked.append(arguments)
        return Undone("20260102-030405-ab12", outcomes)

    monkeypatch.setattr(Records, "undo", undo)
    monkeypatch.setattr(Records, "restore", undo)
    return asked


def test_a_pass_or_a_path_is_restored(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = undone_as(monkeypatch, ("b", ""), ("a\x1b", ""), ("b", ""))
    ran = run("restore", str(folder), "last")
    assert (ran.code, ran.out) == (0, "b\na\\x1b\n")
    assert "run: leafsync restore" in ran.err
    assert run("restore", str(folder), "2026", "./d/a/").code == 0
    assert asked == [("last",), ("2026", "d/a")]


def test_paths_that_stay_as_they_are_exit_3(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undone_as(
        monkeypatch, ("a", ""), ("b\x1b", ""), ("b\x1b", "b\\x1b is newer."), ("c", "There is no space left for c.")
    )
    ran = run("restore", str(folder), "last", "--quiet")
    assert (ran.code, ran.out) == (3, "a\n")
    assert ran.err == "leafsync: warning: b\\x1b is newer.\nleafsync: warning: There is no space left for c.\n"
    ran = run("restore", str(folder), "last", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["outcomes"] == [
        {"path": "a", "error": ""},
        {"path": "b\x1b", "error": ""},
        {"path": "b\x1b", "error": "b\\x1b is newer."},
        {"path": "c", "error": "There is no space left for c."},
    ]


def test_a_path_that_the_pass_left_alone(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_records: Records, pass_id: str, path: str) -> Undone:
        raise PathUnrestorable(id=pass_id, path=path)

    monkeypatch.setattr(Records, "restore", refuse)
    ran = run("restore", str(folder), "last", "x")
    assert ran.code == 2
    assert "left nothing of x to restore" in ran.err
