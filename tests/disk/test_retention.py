"""The trash is pruned by age and size, the oldest first, and the history says what is gone."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.names import TRASH
from leafsync.engine.disk import retention
from leafsync.engine.disk.retention import MIN_AGE_SECONDS, prune
from leafsync.engine.disk.store import Store
from tests.disk.faults import FaultyFolder, below, tree, write

NOW = 2_000_000_000.0
DAY = 24 * 3600.0

Throw = Callable[..., None]


def place(name: str) -> str:
    return f"{TRASH}/{name}/d/f"


@pytest.fixture
def throw(root: Path, store: Store) -> Throw:
    """Return a function that makes a pass of some age with one file in the trash."""

    def throw(name: str, days: float = 0.0, *, seconds: float = 0.0, size: int = 10) -> None:
        write(root, place(name), os.urandom(size))
        store.put_pass(PassRecord(name, "", "peer", (ActionRecord(ActionKind.TRASHED, "d/f", kept=place(name)),)))
        moment = NOW - days * DAY - seconds
        os.utime(root / TRASH / name, (moment, moment))

    return throw


def left(root: Path) -> set[str]:
    return {path.name for path in (root / TRASH).iterdir()}


def test_no_trash_at_all(folder: FaultyFolder, store: Store, root: Path) -> None:
    assert prune(folder, store, now=NOW) == []
    assert list(root.iterdir()) == []


def test_the_old_go_oldest_first(folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
    for name, days in (("c", 31), ("a", 29.9), ("b", 40)):
        throw(name, days)
    write(root, "kept")
    assert prune(folder, store, now=NOW) == ["b", "c"]
    assert left(root) == {"a"}
    assert tree(root) == {"kept": b"old"}


def test_the_history_says_what_is_gone(folder: FaultyFolder, store: Store, throw: Throw) -> None:
    throw("2026-old", 31)
    throw("2026-new", 1)
    throw("2026", 1)
    prune(folder, store, now=NOW)
    kept = {record.id: record.actions[0].kept for record in store.passes()}
    assert kept == {"2026-old": "", "2026-new": place("2026-new"), "2026": place("2026")}


def test_killed_before_the_files_went(folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
    throw("old", 31)
    folder.at("unlink", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prune(folder, store, now=NOW)
    assert store.find_pass("old").actions[0].kept == ""
    assert prune(folder, store, now=NOW) == ["old"]
    assert left(root) == set()


class TestSize:
    def test_the_oldest_go_until_it_fits(self, folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
        for name, days in (("b", 2), ("c", 1), ("a", 3)):
            throw(name, days, size=100_000)
        assert prune(folder, store, now=NOW, max_bytes=250_000) == ["a"]
        assert prune(folder, store, now=NOW, max_bytes=250_000) == []
        assert prune(folder, store, now=NOW, max_bytes=0) == ["b", "c"]
        assert left(root) == set()

    def test_what_has_another_name_takes_nothing(
        self, folder: FaultyFolder, store: Store, root: Path, throw: Throw
    ) -> None:
        throw("a", 1, size=100_000)
        (root / "still").hardlink_to(root / place("a"))
        assert prune(folder, store, now=NOW, max_bytes=50_000) == []

    def test_holes_take_nothing(self, folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
        throw("a", 1)
        os.truncate(root / place("a"), 1 << 30)
        assert prune(folder, store, now=NOW, max_bytes=1 << 20) == []


class TestSpared:
    def test_the_running_pass(self, folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
        throw("running", 99, size=100_000)
        throw("old", 98)
        assert prune(folder, store, now=NOW, max_bytes=0, running=["running"]) == ["old"]
        assert left(root) == {"running"}

    @pytest.mark.parametrize("seconds", [0.0, MIN_AGE_SECONDS - 1, -DAY])
    def test_the_last_hour(self, folder: FaultyFolder, store: Store, throw: Throw, seconds: float) -> None:
        throw("a", seconds=seconds)
        assert prune(folder, store, now=NOW, max_bytes=0, max_age_days=0) == []

    def test_after_that_it_may_go(self, folder: FaultyFolder, store: Store, throw: Throw) -> None:
        throw("a", seconds=MIN_AGE_SECONDS + 1)
        assert prune(folder, store, now=NOW, max_bytes=0) == ["a"]

    def test_what_is_not_ours(self, folder: FaultyFolder, store: Store, root: Path, tmp_path: Path) -> None:
        outside = write(tmp_path, "outside/f")
        write(root, f"{TRASH}/file")
        (root / TRASH / "link").symlink_to(outside.parent)
        os.utime(root / TRASH, (0, 0))
        assert prune(folder, store, now=1e12, max_bytes=0) == []
        assert left(root) == {"file", "link"}
        assert outside.exists()

    def test_links_in_a_pass_are_not_followed(
        self, folder: FaultyFolder, store: Store, root: Path, tmp_path: Path, throw: Throw
    ) -> None:
        outside = write(tmp_path, "outside/f")
        throw("a", 31)
        (root / TRASH / "a/link").symlink_to(outside.parent)
        os.utime(root / TRASH / "a", (0, 0))
        assert prune(folder, store, now=NOW) == ["a"]
        assert outside.exists()

    def test_a_linked_trash(self, folder: FaultyFolder, store: Store, root: Path, tmp_path: Path, throw: Throw) -> None:
        throw("a", 31)
        (root / TRASH).rename(tmp_path / "elsewhere")
        (root / TRASH).symlink_to(tmp_path / "elsewhere")
        assert prune(folder, store, now=NOW) == []
        assert (tmp_path / "elsewhere/a").exists()


class TestTrouble:
    def test_what_resists_stays_for_the_next_time(
        self, folder: FaultyFolder, store: Store, root: Path, throw: Throw, caplog: pytest.LogCaptureFixture
    ) -> None:
        throw("a", 32)
        throw("b", 31)
        folder.fail("unlink", errno.EACCES, about="/a/", times=1)
        assert prune(folder, store, now=NOW) == ["a", "b"]
        assert "not removed" in caplog.text
        assert below(root, TRASH) == {"a": None, "a/d": None, "a/d/f": (root / place("a")).read_bytes()}
        os.utime(root / TRASH / "a", (0, 0))
        assert prune(folder, store, now=NOW) == ["a"]

    def test_an_unknown_size_counts_as_nothing(
        self, folder: FaultyFolder, store: Store, throw: Throw, caplog: pytest.LogCaptureFixture
    ) -> None:
        throw("a", 1, size=100_000)
        folder.fail("list_directory", errno.EIO, about="/a/d")
        assert prune(folder, store, now=NOW, max_bytes=50_000) == []
        assert "not known" in caplog.text

    def test_a_pass_that_nobody_recorded(self, folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
        throw("a", 31)
        store.drop_passes(["a"])
        assert prune(folder, store, now=NOW) == ["a"]
        assert left(root) == set()

    def test_a_trash_that_is_gone_already(self, folder: FaultyFolder, store: Store, root: Path, throw: Throw) -> None:
        throw("a", 31)
        shutil.rmtree(root / TRASH)
        assert prune(folder, store, now=NOW) == []


def test_the_history_has_an_end(folder: FaultyFolder, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_PASSES", 3)
    for number in range(5):
        store.put_pass(PassRecord(f"{number}", "", "", ()))
    prune(folder, store, now=NOW)
    assert [record.id for record in store.passes()] == ["4", "3", "2"]
