"""The records of a folder on a real disk: conflict copies found and resolved, passes found and taken back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.conflicts import conflict_name, conflict_of, free_name
from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.names import MAX_NAME, TRASH, collision_key
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.store import Store
from leafsync.engine.sync.records import Keep, Records, record_name
from leafsync.errors import (
    ConflictUnknown,
    EntryChanged,
    FolderMissing,
    PassAmbiguous,
    PassUnknown,
    PathUnrestorable,
    UsageError,
)

COPY = "a.conflict-20260102-030405-nas.txt"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    """A second later each time."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
def records(tmp_path: Path, folder: Path) -> Iterator[Records]:
    with Records.open(str(folder), tmp_path / "state", now=Clock()) as records:
        yield records


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tree(folder: Path) -> dict[str, str]:
    """Everything but our own directories: path -> content, `-> target` or `/`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not name.startswith(".leafsync_"):
            found[name] = f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()
    return found


def trashed(folder: Path) -> dict[str, str]:
    """What is in the trash, by the path it had."""
    trash = folder / TRASH
    return {
        str(path.relative_to(trash)).partition("/")[2]: path.read_text()
        for path in sorted(trash.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def put_pass(tmp_path: Path, folder: Path, *names: str) -> None:
    with Store.open(tmp_path / "state" / "folders" / record_name(str(folder)) / "store.sqlite") as store:
        for name in names:
            store.put_pass(PassRecord(name, NOW.isoformat(), "nas", (ActionRecord(ActionKind.CREATED, "a"),)))


# Names


@pytest.mark.parametrize(
    ("copy", "path"),
    [
        (COPY, "a.txt"),
        ("a.conflict-20260102-030405-nas", "a"),
        ("a.conflict-20260102-030405-nas-2.tar.gz", "a.tar.gz"),
        ("d/.hidden.conflict-20260102-030405-nas", "d/.hidden"),
        ("a.txt", None),
        (".conflict-20260102-030405-nas", None),
        ("a.conflict-20260102-nas.txt", None),
        ("a.conflict-20260102-030405-.txt", None),
        ("a.conflict-20260102-030405-nas.t x", None),
        ("x.conflict-20260102-030405-nas/a", None),
        ("", None),
    ],
)
def test_conflict_of(copy: str, path: str | None) -> None:
    assert conflict_of(copy) == path


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(NAMES, st.text(max_size=40), st.integers(1, 3))
def test_conflict_of_inverts_conflict_name(name: str, device: str, taken: int) -> None:
    path = f"d/{name}"
    copy = conflict_name(path, "20260102-030405", device)
    used: set[str] = set()
    for _ in range(taken):
        copy = free_name(copy, used)
        used.add(collision_key(copy.rpartition("/")[2]))
    original = conflict_of(copy)
    if conflict_of(path) is not None:
        assert original == conflict_of(path)
    elif len(copy.encode()) < MAX_NAME:
        assert original == path


# Opening


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing):
        Records.open(str(tmp_path / "gone"), tmp_path)


def test_looking_makes_nothing(tmp_path: Path, folder: Path, records: Records) -> None:
    assert records.passes() == []
    assert records.conflicts() == []
    with pytest.raises(PassUnknown):
        records.find("last")
    with pytest.raises(PassUnknown):
        records.find("2026")
    assert not (tmp_path / "state").exists()
    assert list(folder.iterdir()) == []


def test_it_works_while_the_folder_is_locked(folder: Path, records: Records) -> None:
    write(folder / COPY, "other")
    with Folder.open(str(folder)) as held:
        held.lock()
        records.resolve(COPY, Keep.OTHER)
    assert tree(folder) == {"a.txt": "other"}


def test_it_loads_no_loop() -> None:
    code = "import sys, leafsync.engine.sync.records; print({'asyncio', 'aioquic', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "set()\n"


# Passes


def test_passes_are_found_by_their_beginning(tmp_path: Path, folder: Path, records: Records) -> None:
    put_pass(tmp_path, folder, "20260101-000000-aaaa", "20260102-000000-bbbb")
    assert [one.id for one in records.passes()] == ["20260102-000000-bbbb", "20260101-000000-aaaa"]
    assert [one.id for one in records.passes(1)] == ["20260102-000000-bbbb"]
    assert records.find("20260101").id == "20260101-000000-aaaa"
    assert records.find("last").id == "20260102-000000-bbbb"
    with pytest.raises(PassAmbiguous):
        records.find("2026")
    with pytest.raises(PassUnknown):
        records.find("2025")


# Conflicts found


def test_conflicts_are_found_anywhere_but_in_our_own_directories(folder: Path, records: Records) -> None:
    write(folder / "z" / "deep" / COPY, "12345")
    write(folder / COPY, "")
    write(folder / ".leafsync_tmp" / COPY, "")
    write(folder / TRASH / "20260101-000000-aaaa" / COPY, "")
    write(folder / "plain.txt", "")
    (folder / "link.conflict-20260102-030405-nas").symlink_to("nowhere")
    write(folder / "dir.conflict-20260102-030405-nas" / COPY, "")
    os.utime(folder / COPY, ns=(1, 7_000_000_001))
    found = records.conflicts()
    assert [(one.path, one.copy, one.size) for one in found] == [
        ("a.txt", COPY, 0),
        ("dir", "dir.conflict-20260102-030405-nas", 0),
        ("link", "link.conflict-20260102-030405-nas", 0),
        ("z/deep/a.txt", f"z/deep/{COPY}", 5),
    ]
    assert found[0].mtime_ns == 7_000_000_001


def test_which_of_some_copies_are_still_there(tmp_path: Path, folder: Path, records: Records) -> None:
    write(folder / "d" / COPY, "")
    write(tmp_path / "outside" / COPY, "")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "dangling").symlink_to("nowhere")
    write(folder / "file", "")
    copies = [f"d/{COPY}", f"d/x/{COPY}", f"link/{COPY}", f"file/{COPY}", "dangling", "gone"]
    assert records.still_there(copies) == {f"d/{COPY}", "dangling"}


def test_a_copy_that_cannot_be_looked_at_is_still_there(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_folder: Folder, path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Folder, "stat", refused)
    assert records.still_there([COPY]) == {COPY}


def test_names_that_cannot_travel_are_no_conflicts(folder: Path, records: Records) -> None:
    (folder / "bad\x1b.conflict-20260102-030405-nas").touch()
    write(folder / "bad\x1b" / COPY, "")
    os.close(os.open(os.fsencode(folder) + b"/\xff.conflict-20260102-030405-nas", os.O_CREAT))
    assert records.conflicts() == []


def test_links_are_not_followed(tmp_path: Path, folder: Path, records: Records) -> None:
    write(tmp_path / "outside" / COPY, "")
    (folder / "link").symlink_to(tmp_path / "outside")
    assert records.conflicts() == []


def test_what_cannot_be_read_is_told(
    folder: Path, records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder / COPY, "")
    write(folder / "closed" / COPY, "")
    write(folder / "gone" / COPY, "")
    listed = Folder.list_directory
    errors = {"closed": PermissionError(13, "Permission denied"), "gone": FileNotFoundError(2, "gone")}

    def list_directory(self: Folder, path: str) -> list[tuple[str, os.stat_result]]:
        if path in errors:
            raise errors[path]
        return listed(self, path)

    monkeypatch.setattr(Folder, "list_directory", list_directory)
    assert [one.copy for one in records.conflicts()] == [COPY]
    assert [record.getMessage() for record in caplog.records] == [
        "conflict copies below closed are not shown: Permission denied"
    ]


# Conflicts resolved


def test_keep_this(folder: Path, records: Records) -> None:
    write(folder / "a.txt", "this")
    write(folder / COPY, "other")
    undone = records.resolve(COPY, Keep.THIS)
    assert tree(folder) == {"a.txt": "this"}
    assert trashed(folder) == {COPY: "other"}
    assert undone.outcomes == ((COPY, ""),)
    assert not undone.partial
    (record,) = records.passes()
    assert (record.id, record.peer, record.moment) == (undone.id, "", "2026-01-02T03:04:07+00:00")
    (action,) = record.actions
    assert (action.kind, action.path) == (ActionKind.TRASHED, COPY)
    assert (folder / action.kept).read_text() == "other"


def test_keep_other(folder: Path, records: Records) -> None:
    write(folder / "a.txt", "this")
    write(folder / COPY, "other")
    records.resolve(COPY, Keep.OTHER)
    assert tree(folder) == {"a.txt": "other"}
    assert trashed(folder) == {"a.txt": "this"}
    (record,) = records.passes()
    assert [(action.kind, action.path, action.source) for action in record.actions] == [
        (ActionKind.TRASHED, "a.txt", ""),
        (ActionKind.MOVED, "a.txt", COPY),
    ]
    assert (folder / record.actions[0].kept).read_text() == "this"
    assert record.actions[1].mark is not None


def test_keep_both(folder: Path, records: Records) -> None:
    write(folder / "d" / "a.txt", "this")
    write(folder / "d" / "A-2.TXT", "taken on a filesystem that folds case")
    write(folder / "d" / COPY, "other")
    records.resolve(f"d/{COPY}", Keep.BOTH)
    assert tree(folder) == {"d": "/", "d/A-2.TXT": tree(folder)["d/A-2.TXT"], "d/a.txt": "this", "d/a-3.txt": "other"}
    assert trashed(folder) == {}
    (record,) = records.passes()
    assert [(action.kind, action.path, action.source) for action in record.actions] == [
        (ActionKind.MOVED, "d/a-3.txt", f"d/{COPY}")
    ]


@pytest.mark.parametrize("keep", [Keep.OTHER, Keep.BOTH])
def test_a_name_that_nothing_has_is_free(folder: Path, records: Records, keep: Keep) -> None:
    write(folder / COPY, "other")
    records.resolve(COPY, keep)
    assert tree(folder) == {"a.txt": "other"}


def test_keep_this_needs_a_version_that_has_the_name(folder: Path, records: Records) -> None:
    write(folder / COPY, "other")
    with pytest.raises(UsageError, match=r"nothing is called a\.txt"):
        records.resolve(COPY, Keep.THIS)
    assert tree(folder) == {COPY: "other"}
    assert records.passes() == []


def test_a_directory_that_has_the_name_goes_with_all_that_is_in_it(folder: Path, records: Records) -> None:
    write(folder / "a.txt" / "deep" / "x", "x")
    (folder / "a.txt" / "link").symlink_to("deep/x")
    write(folder / COPY, "other")
    records.resolve(COPY, Keep.OTHER)
    assert tree(folder) == {"a.txt": "other"}
    assert trashed(folder) == {"a.txt/deep/x": "x"}
    (record,) = records.passes()
    assert [(action.kind, action.path) for action in record.actions] == [
        (ActionKind.TRASHED, "a.txt/deep/x"),
        (ActionKind.TRASHED, "a.txt/deep"),
        (ActionKind.TRASHED, "a.txt/link"),
        (ActionKind.TRASHED, "a.txt"),
        (ActionKind.MOVED, "a.txt"),
    ]


def test_a_directory_can_be_the_copy(folder: Path, records: Records) -> None:
    copy = "d.conflict-20260102-030405-nas"
    for keep, left in ((Keep.THIS, {"d": "file"}), (Keep.OTHER, {"d": "/", "d/x": "x"})):
        write(folder / copy / "x", "x")
        write(folder / "d", "file")
        records.resolve(copy, keep)
        assert tree(folder) == left


def test_links_take_part(folder: Path, records: Records) -> None:
    (folder / "a.txt").symlink_to("this")
    (folder / COPY).symlink_to("other")
    records.resolve(COPY, Keep.OTHER)
    assert tree(folder) == {"a.txt": "-> other"}


@pytest.mark.parametrize("copy", ["a.txt", COPY, "../x", ".leafsync_trash/p/" + COPY, "", "/etc/passwd"])
def test_what_is_no_copy_is_refused(folder: Path, records: Records, copy: str) -> None:
    write(folder / "a.txt", "this")
    write(folder / TRASH / "p" / COPY, "")
    with pytest.raises(ConflictUnknown):
        records.resolve(copy, Keep.THIS)


@pytest.mark.parametrize("keep", Keep)
def test_a_version_saved_in_the_last_instant_is_not_lost(
    folder: Path, records: Records, monkeypatch: pytest.MonkeyPatch, keep: Keep
) -> None:
    this, copy = write(folder / "a.txt", "this"), write(folder / COPY, "other")
    looked = Folder.stat
    looks: list[str] = []

    def stat(self: Folder, path: str) -> os.stat_result | None:
        found = looked(self, path)
        looks.append(path)
        if looks.count(COPY) == 1 and looks.count("a.txt") == 1 and path == "a.txt":  # both were just looked at
            this.write_text("newer this")
            copy.write_text("newer other")
        return found

    monkeypatch.setattr(Folder, "stat", stat)
    with pytest.raises(EntryChanged):
        records.resolve(COPY, keep)
    assert tree(folder) == {"a.txt": "newer this", COPY: "newer other"}
    assert records.passes() == []


# Taken back


@pytest.mark.parametrize("keep", Keep)
@pytest.mark.parametrize("kind", ["files", "links", "directory has the name", "directory is the copy"])
def test_what_was_decided_can_be_taken_back_and_that_too(folder: Path, records: Records, keep: Keep, kind: str) -> None:
    copy = folder / COPY
    if kind == "links":
        (folder / "a.txt").symlink_to("this")
        copy.symlink_to("other")
    else:
        write(folder / "a.txt" / "x" if kind == "directory has the name" else folder / "a.txt", "this")
        write(copy / "x" if kind == "directory is the copy" else copy, "other")
    before = tree(folder)
    records.resolve(COPY, keep)
    decided = tree(folder)
    assert decided != before
    assert not records.undo("last").partial
    assert tree(folder) == before
    assert not records.undo("last").partial
    assert tree(folder) == decided
    assert len(records.passes()) == 3


def test_nothing_newer_is_touched(folder: Path, records: Records) -> None:
    write(folder / "a.txt", "this")
    write(folder / COPY, "other")
    records.resolve(COPY, Keep.OTHER)
    (folder / "a.txt").write_text("newer")
    undone = records.undo("last")
    assert undone.partial
    assert all("a.txt" in error for path, error in undone.outcomes)
    assert tree(folder) == {"a.txt": "newer"}
    assert len(records.passes()) == 1


def test_one_path_is_restored(folder: Path, records: Records) -> None:
    write(folder / "a.txt", "this")
    write(folder / COPY, "other")
    decided = records.resolve(COPY, Keep.THIS)
    assert records.restore(decided.id[:15], COPY).outcomes == ((COPY, ""),)
    assert tree(folder) == {"a.txt": "this", COPY: "other"}
    with pytest.raises(PathUnrestorable):
        records.restore(decided.id, "a.txt")
    assert [one.peer for one in records.passes()] == ["", ""]
