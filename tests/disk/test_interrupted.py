"""Passes that were cut off are found in the trash, listed, and can be restored."""

import os
from datetime import datetime
from pathlib import Path

import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.names import TRASH
from leafsync.engine.disk import interrupted
from leafsync.engine.disk.interrupted import UNKNOWN, list_interrupted
from leafsync.engine.disk.restore import restore, undo
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from leafsync.errors import EntryNewer
from tests.disk.faults import FaultyFolder, file_entry, tree, write

CUT = "20261122-134501-ab12"
MOMENT = "2026-11-22T13:45:01+00:00"


def place(path: str, name: str = CUT) -> str:
    return f"{TRASH}/{name}/{path}"


def known(store: Store, name: str) -> None:
    store.put_pass(PassRecord(name, MOMENT, "peer", (ActionRecord(ActionKind.MADE, "d"),)))


def listed(store: Store) -> dict[str, str]:
    """What the newest pass can bring back: path -> place in the trash."""
    (record,) = store.passes(1)
    assert {action.kind for action in record.actions} == {ActionKind.TRASHED}
    return {action.path: action.kept for action in record.actions}


def test_no_trash_at_all(folder: FaultyFolder, store: Store, root: Path) -> None:
    assert list_interrupted(folder, store) == []
    write(root, TRASH)
    assert list_interrupted(folder, store) == []
    assert store.passes() == []


def test_what_was_replaced_and_removed_comes_back(folder: FaultyFolder, store: Store, root: Path, trash: Trash) -> None:
    write(root, "d/replaced", b"old")
    removed = write(root, "d/in/removed", b"gone")
    trash.keep("d/replaced")
    trash.remove("d/in/removed", file_entry("d/in/removed", b"gone"), None)
    removed.parent.rmdir()
    (root / "d/replaced").unlink()
    write(root, "d/replaced", b"new")
    assert list_interrupted(folder, store) == [CUT]
    assert listed(store) == {path: place(path) for path in ("d/replaced", "d/in", "d/in/removed")}
    record = store.find_pass(CUT)
    assert record.peer == UNKNOWN
    assert datetime.fromisoformat(record.moment).timestamp() == int((root / TRASH / CUT).stat().st_mtime)
    outcomes = dict(undo(folder, store, record, Trash(folder, "later"), moment=MOMENT))
    assert isinstance(outcomes.pop("d/replaced"), EntryNewer), "the new version stays"
    assert set(outcomes.values()) == {None}
    assert tree(root) == {"d": None, "d/in": None, "d/in/removed": b"gone", "d/replaced": b"new"}
    (root / "d/replaced").unlink()
    restore(folder, store, store.find_pass(CUT), "d/replaced", Trash(folder, "later still"), moment=MOMENT)
    assert (root / "d/replaced").read_bytes() == b"old"


def test_links_and_empty_directories(folder: FaultyFolder, store: Store, root: Path) -> None:
    (root / place("empty")).mkdir(parents=True)
    (root / place("link")).symlink_to("target")
    list_interrupted(folder, store)
    undo(folder, store, store.find_pass(CUT), Trash(folder, "later"), moment=MOMENT)
    assert tree(root) == {"empty": None, "link": "target"}


def test_what_is_still_in_its_place_is_not_listed(folder: FaultyFolder, store: Store, root: Path, trash: Trash) -> None:
    """Killed between keeping and replacing: it is the same file under both names."""
    write(root, "d/f")
    trash.keep("d/f")
    assert list_interrupted(folder, store) == []


def test_two_names_of_one_file_are_two_files(folder: FaultyFolder, store: Store, root: Path) -> None:
    kept = write(root, place("a"))
    os.link(kept, kept.with_name("b"))
    list_interrupted(folder, store)
    assert set(listed(store)) == {"a", "b"}


def test_what_was_taken_aside_counts_once(folder: FaultyFolder, store: Store, root: Path) -> None:
    """Killed in the middle of a removal. What is there under this name alone was saved in that very instant."""
    kept, aside = write(root, place("d/f")), ".0123456789abcdef"
    os.link(kept, kept.with_name(aside))
    list_interrupted(folder, store)
    assert set(listed(store)) == {"d", "d/f"}
    store.drop_passes([CUT])
    write(root, place(f"d/{aside[:-1]}0"), b"newer")
    list_interrupted(folder, store)
    assert set(listed(store)) == {"d", "d/f", f"d/{aside[:-1]}0"}


def test_known_passes_stay_as_they_are(folder: FaultyFolder, store: Store, root: Path) -> None:
    known(store, CUT)
    before = store.passes()
    write(root, place("f"))
    assert list_interrupted(folder, store) == []
    assert store.passes() == before


def test_a_younger_pass_that_is_known_hides_none(folder: FaultyFolder, store: Store, root: Path) -> None:
    """An undo or a decision of a conflict was written down since the pass was killed."""
    known(store, "20261122-134502-ab12")
    write(root, place("f"))
    assert list_interrupted(folder, store) == [CUT]


def test_passes_that_the_history_has_forgotten_are_not_new(
    folder: FaultyFolder, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupted, "MAX_PASSES", 1)
    known(store, CUT)
    write(root, place("f", "20251122-134501-ab12"))
    write(root, place("f", "20261122-134502-ab12"))
    assert list_interrupted(folder, store) == ["20261122-134502-ab12"]


def test_an_undo_that_ends_later_says_it_better(folder: FaultyFolder, store: Store, root: Path) -> None:
    write(root, place("f"))
    list_interrupted(folder, store)
    known(store, CUT)
    (record,) = store.passes()
    assert (record.peer, [action.kind for action in record.actions]) == ("peer", [ActionKind.MADE])


def test_what_is_no_pass(folder: FaultyFolder, store: Store, root: Path) -> None:
    write(root, f"{TRASH}/a file")
    (root / TRASH / "a link").symlink_to("/")
    (root / TRASH / "nothing").mkdir()
    assert list_interrupted(folder, store) == []
