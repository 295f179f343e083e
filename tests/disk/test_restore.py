"""Undo: the folder is as it was before the pass, an undo can be undone, and what is newer is never touched."""

import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import TRASH
from leafsync.engine.disk.folder import lasting_mark, state_mark
from leafsync.engine.disk.restore import _STEPS, Outcome, restore, undo
from leafsync.engine.disk.staging import Commit, Staged, Staging
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from leafsync.errors import (
    DiskFailed,
    DiskFull,
    EntryChanged,
    EntryNewer,
    EntryNotKept,
    EntryRefused,
    LeafSyncError,
    PathUnrestorable,
)
from tests.disk.faults import TIME, FaultyFolder, below, file_entry, small, tree, write

MOMENT = "2026-11-22T13:45:01+00:00"
DIRECTORY = Entry("d", Kind.DIRECTORY)
Content = bytes | str | None


class Past:
    """Passes on a folder, done the way the engine does them and written down."""

    def __init__(self, folder: FaultyFolder, store: Store) -> None:
        self.folder, self.store = folder, store
        self.staging = Staging(folder, store, reserve=0)
        self.numbers = itertools.count(1)
        self.begin()

    def begin(self) -> None:
        self.trash = Trash(self.folder, f"pass-{next(self.numbers)}")
        self.actions: list[ActionRecord] = []

    def end(self) -> PassRecord:
        """Finish the pass and write it down."""
        self.trash.sync()
        record = PassRecord(self.trash.pass_name, MOMENT, "peer", tuple(self.actions))
        self.store.put_pass(record)
        self.begin()
        return record

    def mark(self, path: str) -> int | None:
        stat = self.folder.stat(path)
        return state_mark(stat) if stat is not None else None

    def seen(self, path: str) -> Entry:
        stat = self.folder.stat(path)
        assert stat is not None
        if os.path.islink(f"{self.folder.path}/{path}"):  # noqa: PTH114
            return Entry("", Kind.SYMLINK, target=self.folder.read_link(path))
        return Entry("", Kind.DIRECTORY if stat.st_mode & 0o040000 else Kind.FILE)

    def known(self, path: str) -> tuple[Entry | None, int | None]:
        """Return what a plan would have seen at `path`: entry and mark."""
        if self.folder.stat(path) is None:
            return None, None
        entry = self.seen(path)
        return entry, self.mark(path) if entry.kind is Kind.FILE else None

    def fetch(self, path: str, data: bytes) -> None:
        local, mark = self.known(path)
        (staged,) = self.staging.stage_small([small(path, data)])
        assert isinstance(staged, Staged)
        (done,) = self.staging.commit([Commit(path, file_entry(path, data), staged, mark, local)], self.trash)
        assert done.error is None
        assert done.stat is not None
        kind, kept = (ActionKind.REPLACED, self.trash.kept[path]) if local else (ActionKind.CREATED, "")
        self.actions.append(ActionRecord(kind, path, kept=kept, mark=state_mark(done.stat)))

    def link(self, path: str, target: str) -> None:
        local, mark = self.known(path)
        self.staging.replace_link(path, target, local, self.trash, expected=mark)
        kept = self.trash.kept[path] if local else ""
        self.actions.append(ActionRecord(ActionKind.LINKED, path, kept=kept, mark=self.mark(path)))

    def remove(self, path: str) -> None:
        entry, mark = self.known(path)
        assert entry is not None
        self.trash.remove(path, entry, mark)
        self.actions.append(ActionRecord(ActionKind.TRASHED, path, kept=self.trash.kept[path]))

    def move(self, source: str, target: str) -> None:
        entry, mark = self.known(source)
        assert entry is not None
        moved = self.trash.move(source, target, entry, mark)
        self.actions.append(ActionRecord(ActionKind.MOVED, target, source=source, mark=lasting_mark(moved)))

    def make(self, path: str) -> None:
        self.folder.make_directory(path)
        self.actions.append(ActionRecord(ActionKind.MADE, path))

    def touch(self, path: str) -> None:
        mark = self.mark(path)
        assert mark is not None
        touched = self.folder.touch(path, mark, executable=True, mtime_ns=TIME)
        self.actions.append(ActionRecord(ActionKind.TOUCHED, path, mark=state_mark(touched)))

    def undo(self, record: PassRecord) -> list[Outcome]:
        """Undo a pass; the undo is a pass too, the newest then."""
        trash = self.trash
        self.begin()
        return undo(self.folder, self.store, record, trash, moment=MOMENT)

    def restore(self, record: PassRecord, path: str) -> list[Outcome]:
        trash = self.trash
        self.begin()
        return restore(self.folder, self.store, record, path, trash, moment=MOMENT)

    def last(self) -> PassRecord:
        return self.store.passes(1)[0]


@pytest.fixture
def past(folder: FaultyFolder, store: Store) -> Past:
    return Past(folder, store)


def errors(outcomes: list[Outcome]) -> dict[str, type[LeafSyncError]]:
    return {path: type(error) for path, error in outcomes if error is not None}


def everything(past: Past) -> None:
    """Do something of each kind."""
    past.make("new")
    past.make("new/inner")
    past.fetch("new/inner/f", b"created")
    past.fetch("replaced", b"newer")
    past.remove("d/gone")
    past.remove("d/link")
    past.remove("d")
    past.move("dir", "new/dir")
    past.fetch("new/dir/f", b"changed after the move")
    past.move("file", "moved")
    past.touch("moved")
    past.link("l", "new")
    past.link("replaced-by-link", "file")
    past.link("relinked", "b")
    past.actions.append(ActionRecord(ActionKind.CONFLICT, "replaced", source="copy"))


@pytest.fixture
def before(root: Path) -> dict[str, Content]:
    for path in ("replaced", "d/gone", "dir/f", "dir/e/g", "file", "replaced-by-link"):
        write(root, path, path.encode())
    (root / "d/link").symlink_to("gone")
    (root / "relinked").symlink_to("a")
    return tree(root)


class TestUndo:
    def test_everything(self, past: Past, root: Path, before: dict[str, Content]) -> None:
        everything(past)
        record = past.end()
        assert tree(root) != before
        outcomes = past.undo(record)
        assert errors(outcomes) == {}
        assert len(outcomes) == len(record.actions) - 2  # a touch and a note bring nothing back
        assert tree(root) == before

    def test_can_be_undone(self, past: Past, root: Path, before: dict[str, Content]) -> None:
        everything(past)
        record = past.end()
        after = tree(root)
        for wanted in (before, after, before, after):
            assert errors(past.undo(record)) == {}
            assert tree(root) == wanted
            record = past.last()
            assert (record.moment, record.peer) == (MOMENT, "")

    def test_again_changes_nothing(self, past: Past, root: Path, before: dict[str, Content]) -> None:
        everything(past)
        record = past.end()
        past.undo(record)
        passes = len(past.store.passes())
        past.undo(past.store.find_pass(record.id))
        assert tree(root) == before
        assert len(past.store.passes()) == passes

    def test_times_and_permissions_come_back(self, past: Past, root: Path) -> None:
        file = write(root, "f", b"old")
        file.chmod(0o640)
        stat = file.stat()
        past.fetch("f", b"new")
        assert errors(past.undo(past.end())) == {}
        again = file.stat()
        assert (again.st_mode, again.st_mtime_ns, again.st_ino) == (stat.st_mode, stat.st_mtime_ns, stat.st_ino)

    def test_what_is_displaced_is_kept(self, past: Past, root: Path) -> None:
        write(root, "f", b"old")
        past.fetch("f", b"new")
        past.fetch("g", b"created")
        past.undo(past.end())
        assert below(root, f"{TRASH}/{past.last().id}") == {"f": b"new", "g": b"created"}

    def test_the_history_says_that_it_came_back(self, past: Past, root: Path) -> None:
        write(root, "f")
        write(root, "g")
        past.remove("f")
        past.remove("g")
        record = past.end()
        write(root, "g", b"newer")
        past.undo(record)
        kept = {action.path: action.kept for action in past.store.find_pass(record.id).actions}
        assert kept == {"f": "", "g": f"{TRASH}/pass-1/g"}

    def test_several_versions_of_one_path(self, past: Past, root: Path) -> None:
        write(root, "f", b"0")
        for number in range(1, 4):
            past.fetch("f", b"%d" % number)
        past.remove("f")
        past.make("f")
        past.fetch("f/g", b"x")
        assert errors(past.undo(past.end())) == {}
        assert tree(root) == {"f": b"0"}

    def test_a_cycle_of_renames(self, past: Past, root: Path) -> None:
        write(root, "a", b"a")
        write(root, "b", b"b")
        for source, target in (("a", "t"), ("b", "a"), ("t", "b")):
            past.move(source, target)
        assert errors(past.undo(past.end())) == {}
        assert tree(root) == {"a": b"a", "b": b"b"}

    def test_parents_that_are_gone_come_back(self, past: Past, root: Path) -> None:
        write(root, "a/b/f")
        past.remove("a/b/f")
        record = past.end()
        shutil.rmtree(root / "a")
        assert errors(past.undo(record)) == {}
        assert tree(root) == {"a": None, "a/b": None, "a/b/f": b"old"}
        assert errors(past.undo(past.last())) == {}
        assert tree(root) == {}

    def test_nothing_to_undo(self, past: Past) -> None:
        assert past.undo(PassRecord("empty", MOMENT, "peer", ())) == []
        assert past.store.passes() == []


class TestNewer:
    """What somebody did since stays as it is; the rest goes on."""

    @pytest.fixture
    def record(self, past: Past, before: dict[str, Content]) -> PassRecord:
        everything(past)
        past.fetch("other", b"created")
        return past.end()

    @pytest.mark.parametrize("path", ["new/inner/f", "replaced", "moved"])
    @pytest.mark.parametrize("way", ["written", "touched", "copied", "directory", "link"])
    def test_a_file(self, past: Past, root: Path, record: PassRecord, path: str, way: str) -> None:
        file = root / path
        if way == "written":
            file.write_bytes(b"mine")
        elif way == "touched":
            os.utime(file)
        elif way == "copied":
            shutil.copy2(file, root / "copy")
            (root / "copy").rename(file)
        else:
            file.unlink()
        if way == "directory":
            file.mkdir()
        elif way == "link":
            file.symlink_to("mine")
        mine = tree(root)[path]
        found = errors(past.undo(record))
        assert found[path] is EntryNewer
        assert tree(root)[path] == mine
        assert not (root / "other").exists()
        assert (root / "d/gone").read_bytes() == b"d/gone"

    def test_the_place_is_taken(self, past: Past, root: Path, record: PassRecord) -> None:
        write(root, "d/gone", b"mine")
        write(root, "file", b"mine")
        assert errors(past.undo(record)) == {"d/gone": EntryNewer, "moved": EntryNewer}
        assert (root / "d/gone").read_bytes() == (root / "file").read_bytes() == b"mine"
        assert (root / "moved").read_bytes() == b"file"

    def test_a_file_where_a_directory_was(self, past: Past, root: Path, record: PassRecord) -> None:
        write(root, "d", b"mine")
        assert errors(past.undo(record)) == {"d": EntryNewer, "d/gone": EntryNewer, "d/link": EntryNewer}
        assert (root / "d").read_bytes() == b"mine"

    def test_something_in_a_new_directory(self, past: Past, root: Path, record: PassRecord) -> None:
        write(root, "new/mine", b"mine")
        assert errors(past.undo(record)) == {"new": EntryNewer}
        assert (root / "new/mine").read_bytes() == b"mine"
        assert not (root / "new/inner").exists()

    def test_another_directory_where_one_was_moved_to(self, past: Past, root: Path) -> None:
        write(root, "old/f")
        past.move("old", "new")
        record = past.end()
        (root / "new").rename(root / "elsewhere")
        write(root, "new/another")
        ((path, error),) = past.undo(record)
        assert (path, type(error)) == ("new", EntryNewer)
        assert set(tree(root)) == {"new", "new/another", "elsewhere", "elsewhere/f"}

    def test_a_moved_directory_comes_back_with_what_is_new_in_it(
        self, past: Past, root: Path, record: PassRecord
    ) -> None:
        write(root, "new/dir/mine", b"mine")
        assert errors(past.undo(record)) == {}
        assert (root / "dir/mine").read_bytes() == b"mine"

    def test_another_target(self, past: Past, root: Path, record: PassRecord) -> None:
        (root / "l").unlink()
        (root / "l").symlink_to("mine")
        assert errors(past.undo(record)) == {"l": EntryNewer}
        assert tree(root)["l"] == "mine"

    @pytest.mark.parametrize("path", ["new/inner/f", "l"])
    def test_what_was_removed_since_is_fine(self, past: Past, root: Path, record: PassRecord, path: str) -> None:
        (root / path).unlink()
        assert errors(past.undo(record)) == {}

    def test_what_was_replaced_comes_back_where_nothing_is(self, past: Past, root: Path, record: PassRecord) -> None:
        (root / "replaced").unlink()
        assert errors(past.undo(record)) == {}
        assert (root / "replaced").read_bytes() == b"replaced"

    def test_what_was_moved_and_is_gone(self, past: Past, root: Path, record: PassRecord) -> None:
        (root / "moved").unlink()
        assert errors(past.undo(record)) == {"moved": EntryChanged}

    def test_saved_in_the_last_instant(self, folder: FaultyFolder, past: Past, root: Path, record: PassRecord) -> None:
        write(root, "saved", b"saved")
        folder.at("exchange", lambda: (root / "saved").rename(root / "replaced"), about="'replaced'")
        assert errors(past.undo(record)) == {"replaced": EntryChanged}
        assert (root / "replaced").read_bytes() == b"saved"
        again = past.store.find_pass(record.id)
        (action,) = [one for one in again.actions if one.path == "replaced" and one.kept]
        assert (root / action.kept).read_bytes() == b"replaced"

    def test_an_action_without_a_mark_is_left_alone(self, past: Past, root: Path) -> None:
        write(root, "f")
        record = PassRecord("p", MOMENT, "peer", (ActionRecord(ActionKind.CREATED, "f"),))
        assert errors(past.undo(record)) == {"f": EntryNewer}
        assert tree(root) == {"f": b"old"}


class TestRestore:
    def test_a_file(self, past: Past, root: Path) -> None:
        for path in ("a", "b"):
            write(root, path)
            past.remove(path)
        outcomes = past.restore(past.end(), "a")
        assert outcomes == [("a", None)]
        assert tree(root) == {"a": b"old"}

    def test_an_older_version(self, past: Past, root: Path) -> None:
        write(root, "f", b"1")
        past.fetch("f", b"2")
        past.fetch("g", b"created")
        assert past.restore(past.end(), "f") == [("f", None)]
        assert tree(root) == {"f": b"1", "g": b"created"}
        assert errors(past.undo(past.last())) == {}
        assert tree(root) == {"f": b"2", "g": b"created"}

    def test_a_whole_directory(self, past: Past, root: Path) -> None:
        for path in ("d/e/f", "d/g", "dx"):
            write(root, path)
        for path in ("d/e/f", "d/e", "d/g", "d", "dx"):
            past.remove(path)
        assert errors(past.restore(past.end(), "d")) == {}
        assert tree(root) == {"d": None, "d/e": None, "d/e/f": b"old", "d/g": b"old"}

    def test_what_was_moved_away(self, past: Past, root: Path) -> None:
        write(root, "a")
        past.move("a", "b")
        record = past.end()
        with pytest.raises(PathUnrestorable):
            past.restore(record, "b")
        assert past.restore(record, "a") == [("b", None)]
        assert tree(root) == {"a": b"old"}

    def test_a_link(self, past: Past, root: Path) -> None:
        (root / "l").symlink_to("x")
        past.link("l", "y")
        past.restore(past.end(), "l")
        assert tree(root) == {"l": "x"}

    def test_something_newer_is_there(self, past: Past, root: Path) -> None:
        write(root, "f")
        past.remove("f")
        record = past.end()
        write(root, "f", b"mine")
        ((path, error),) = past.restore(record, "f")
        assert path == "f"
        assert "f is newer than what would come back, so it was left as it is" in str(error)
        assert tree(root) == {"f": b"mine"}
        assert past.last().id == record.id

    @pytest.mark.parametrize("path", ["made", "created", "nothing", "", "tras"])
    def test_nothing_of_that_kind(self, past: Past, root: Path, path: str) -> None:
        write(root, "trashed")
        past.make("made")
        past.fetch("created", b"x")
        past.remove("trashed")
        with pytest.raises(PathUnrestorable, match="pass-1"):
            past.restore(past.end(), path)

    def test_a_trash_that_was_emptied(self, past: Past, root: Path) -> None:
        write(root, "f")
        past.remove("f")
        record = past.end()
        shutil.rmtree(root / TRASH)
        assert errors(past.restore(record, "f")) == {"f": EntryNotKept}
        past.store.drop_kept(record.id)
        assert errors(past.restore(past.store.find_pass(record.id), "f")) == {"f": EntryNotKept}

    @pytest.mark.parametrize("kept", ["elsewhere", "../elsewhere", "/etc/passwd", f"{TRASH}/../elsewhere"])
    def test_a_record_that_leads_elsewhere(self, past: Past, root: Path, kept: str) -> None:
        write(root, "elsewhere")
        record = PassRecord("p", MOMENT, "peer", (ActionRecord(ActionKind.TRASHED, "f", kept=kept),))
        assert set(errors(past.undo(record)).values()) <= {EntryNotKept, EntryRefused}
        assert tree(root) == {"elsewhere": b"old"}

    @pytest.mark.parametrize("path", ["../f", "", f"{TRASH}/x"])
    def test_a_record_of_a_path_that_cannot_be(self, past: Past, root: Path, path: str) -> None:
        record = PassRecord("p", MOMENT, "peer", (ActionRecord(ActionKind.MADE, path),))
        assert errors(past.undo(record)) == {path: EntryRefused}


class TestTrouble:
    @pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)])
    def test_one_that_fails_does_not_end_it(
        self, folder: FaultyFolder, past: Past, root: Path, code: int, kind: type[LeafSyncError]
    ) -> None:
        for path in ("a", "b", "c"):
            write(root, path)
            past.remove(path)
        record = past.end()
        folder.fail("rename_new", code, about="/b'")
        assert errors(past.undo(record)) == {"b": kind}
        assert tree(root) == {"a": b"old", "c": b"old"}

    def test_it_is_on_the_disk_before_it_is_written_down(
        self, folder: FaultyFolder, past: Past, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, "d/f")
        past.remove("d/f")
        record = past.end()
        folder.calls.clear()
        put = store.put_pass

        def watched(one: PassRecord) -> None:
            folder.before("store", ())
            put(one)

        monkeypatch.setattr(store, "put_pass", watched)
        past.undo(record)
        steps = [(step, *arguments) for step, arguments in folder.calls if step in ("sync_directory", "store")]
        assert steps == [("sync_directory", f"{TRASH}/pass-1/d"), ("sync_directory", "d"), ("store",)]

    def test_what_was_done_is_written_down_when_it_ends_early(
        self, folder: FaultyFolder, past: Past, root: Path
    ) -> None:
        for path in ("a", "b"):
            write(root, path)
            past.remove(path)
        record = past.end()

        def stop() -> None:
            raise KeyboardInterrupt

        folder.at("rename_new", stop, about="/a'")
        with pytest.raises(KeyboardInterrupt):
            past.undo(record)
        assert [action.path for action in past.last().actions] == ["b"]
        assert errors(past.undo(past.store.find_pass(record.id))) == {"b": EntryNotKept}
        assert tree(root) == {"a": b"old", "b": b"old"}

    def test_a_disk_that_cannot_sync(self, folder: FaultyFolder, past: Past, root: Path) -> None:
        write(root, "f")
        past.remove("f")
        record = past.end()
        folder.fail("sync_directory")
        with pytest.raises(DiskFailed):
            past.undo(record)
        assert [action.path for action in past.last().actions] == ["f"]


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.tuples(st.sampled_from(["fetch", "link", "remove", "move", "make", "touch"]), PATHS, PATHS)


def attempt(past: Past, root: Path, step: tuple[str, str, str]) -> None:
    """Do a step of a pass if it is one that a plan could have."""
    what, path, other = step
    target = root / path
    there = os.path.lexists(target)
    if not target.parent.is_dir() or target.parent.is_symlink() or (root / other).parent.is_symlink():
        return
    is_directory = target.is_dir() and not target.is_symlink()
    if what == "fetch" and not is_directory:
        past.fetch(path, other.encode())
    elif what == "link" and not is_directory:
        past.link(path, f"{'../' * path.count('/')}{other.partition('/')[0]}")
    elif what == "remove" and there and not (is_directory and any(target.iterdir())):
        past.remove(path)
    elif what == "make" and not there:
        past.make(path)
    elif what == "touch" and target.is_file() and not target.is_symlink():
        past.touch(path)
    elif what == "move" and there and (root / other).parent.is_dir() and not f"{other}/".startswith(f"{path}/"):
        if os.path.lexists(root / other):
            return
        past.move(path, other)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(STEPS, max_size=8), second=st.lists(STEPS, min_size=1, max_size=10))
def test_any_pass_can_be_undone_and_done_again(
    first: list[tuple[str, str, str]], second: list[tuple[str, str, str]], root: Path, past: Past
) -> None:
    for child in list(root.iterdir()):
        if child.name != ".leafsync_tmp":
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    for step in first:
        attempt(past, root, step)
    past.end()
    before = tree(root)
    for step in second:
        attempt(past, root, step)
    record = past.end()
    after = tree(root)
    for wanted in (before, after, before):
        outcomes = past.undo(record)
        assert errors(outcomes) == {}
        assert tree(root) == wanted
        record = past.last() if outcomes else record


def test_every_kind_but_notes_has_its_undoing() -> None:
    assert set(ActionKind) - set(_STEPS) == {ActionKind.TOUCHED, ActionKind.CONFLICT}
