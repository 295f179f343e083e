"""The rescan: what a full scan would find, at the cost of what changed."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.core.index import IGNORED, Kind
from leafsync.engine.core.names import IGNORE_FILE, STAGING, TRASH, parent
from leafsync.engine.disk.hashing import Cancelled, Hasher
from leafsync.engine.disk.scan import Scan, rescan, scan
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.walk import FEW, MOUNTED
from leafsync.errors import FolderMissing, FolderUnreadable
from tests.disk.faults import FaultyFolder, write

LATER = 4_000_000_000_000_000_000
"""A time so far ahead that no file of these tests is racy."""


class Looker:
    """Scans a folder, again and again."""

    def __init__(self, folder: FaultyFolder, store: Store, hasher: Hasher) -> None:
        self.folder, self.store, self.hasher = folder, store, hasher

    def whole(self, now_ns: int = LATER) -> Scan:
        return scan(self.folder, self.store, self.hasher, now_ns=now_ns)

    def again(self, previous: Scan, *directories: str, now_ns: int = LATER) -> Scan:
        self.folder.calls.clear()
        return rescan(self.folder, self.store, self.hasher, previous=previous, directories=directories, now_ns=now_ns)

    def listed(self) -> list[str]:
        """Return the directories that the last call listed."""
        return [arguments[0] for step, arguments in self.folder.calls if step == "list_directory"]


@pytest.fixture
def look(folder: FaultyFolder, store: Store, hasher: Hasher) -> Looker:
    return Looker(folder, store, hasher)


def everything(found: Scan) -> object:
    """Return all that a scan says, to compare it with another."""
    index = found.index
    states = {path: index.state(path) for path, entry in index.walk() if entry.kind is Kind.FILE}
    problems = sorted(found.ignore.problems)
    asked = {path: found.ignore.ignored(f"{path}/x.o" if path else "x.o", False) for path in index.directories}
    return (
        dict(index.directories),
        index.digest,
        index.problems,
        index.files,
        index.bytes,
        states,
        dict(found.marks),
        problems,
        asked,
    )


class TestCost:
    def test_only_what_is_named_is_listed(self, root: Path, look: Looker) -> None:
        for path in ("a/f", "a/b/f", "c/f", "c/d/f", "f"):
            write(root, path)
        before = look.whole()
        write(root, "a/b/f", b"new")
        after = look.again(before, "a/b")
        assert look.listed() == ["a/b"]
        assert after.hashed_files == 1
        assert after.index.children("c/d") is before.index.children("c/d")
        assert everything(after) == everything(look.whole())

    def test_the_cache_is_read_at_once_for_many_files(
        self, root: Path, look: Looker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(FEW + 50):
            write(root, f"old/{number}")
        before = look.whole()
        (root / "old").rename(root / "new")
        asked: list[int] = []
        find_root = Store.find_root

        def noting(store: Store, mark: int) -> bytes | None:
            asked.append(mark)
            return find_root(store, mark)

        monkeypatch.setattr(Store, "find_root", noting)
        after = look.again(before, "")
        assert after.hashed_files == 0
        assert len(asked) == FEW
        assert everything(after) == everything(look.whole())

    def test_nothing_named(self, root: Path, look: Looker) -> None:
        write(root, "a/f")
        before = look.whole()
        after = look.again(before)
        assert look.listed() == []
        assert everything(after) == everything(before)

    def test_named_and_unchanged(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        write(root, "a/f")
        before = look.whole()
        folder.fail("open_file")
        assert everything(look.again(before, "", "a")) == everything(before)

    def test_a_new_directory_is_walked_whole(self, root: Path, look: Looker) -> None:
        write(root, "a/f")
        before = look.whole()
        write(root, "new/x/y/f")
        after = look.again(before, "")
        assert look.listed() == ["", "new", "new/x", "new/x/y"]
        assert everything(after) == everything(look.whole())

    def test_a_moved_directory_is_not_hashed_again(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        for number in range(5):
            write(root, f"a/b/{number}", b"%d" % number)
        before = look.whole()
        (root / "a").rename(root / "c")
        folder.fail("open_file")
        after = look.again(before, "")
        assert after.hashed_files == 0
        assert after.index.files == 5
        assert everything(after) == everything(look.whole())

    def test_the_cache_is_not_read_for_a_few(self, root: Path, look: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
        write(root, "a/f")
        before = look.whole()
        monkeypatch.setattr(Store, "load_roots", lambda _self: pytest.fail("the whole cache was read"))
        write(root, "a/g", b"new")
        (root / "a/f").rename(root / "a/h")
        assert look.again(before, "a").index.files == 2


class TestNamed:
    @pytest.mark.parametrize("named", ["a/b/c", "a/b/c/d/e", "a/b", "a", ""])
    def test_what_is_gone_stands_for_what_is_above(self, root: Path, look: Looker, named: str) -> None:
        write(root, "a/b/c/d/e/f")
        write(root, "a/g")
        before = look.whole()
        shutil.rmtree(root / "a/b")
        assert everything(look.again(before, named, "a")) == everything(look.whole())
        if named:
            assert everything(look.again(before, named)) == everything(look.whole())

    @pytest.mark.parametrize("named", ["x/y", "x", "../..", "/", "a//b", "a/.", "bad\udcff/x", "n\0l"])
    def test_what_never_was(self, root: Path, look: Looker, named: str) -> None:
        write(root, "a/f")
        before = look.whole()
        write(root, "g")
        write(root, "a/h")
        look.again(before, named)
        assert set(look.listed()) <= {"", "a"}
        assert everything(look.again(before, named, "", "a")) == everything(look.whole())

    @pytest.mark.parametrize("named", [".git", ".git/objects/ab", STAGING, TRASH, f"{TRASH}/x/y"])
    def test_what_takes_no_part_costs_nothing(self, root: Path, look: Looker, named: str) -> None:
        write(root, f"{named}/f")
        before = look.whole()
        write(root, f"{named}/g")
        after = look.again(before, named)
        assert look.listed() == []
        assert everything(after) == everything(before)

    def test_a_named_one_below_an_unchanged_one(self, root: Path, look: Looker) -> None:
        write(root, "a/b/c/f")
        before = look.whole()
        write(root, "a/b/c/f", b"changed")
        write(root, "g")
        after = look.again(before, "a/b/c", "")
        assert look.listed() == ["", "a/b/c"]
        assert everything(after) == everything(look.whole())

    def test_one_that_was_unreadable(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        write(root, "a/b/f")
        folder.fail("list_directory", errno.EACCES, about="'a/b'", times=1)
        before = look.whole()
        assert [problem.path for problem in before.index.problems] == ["a/b"]
        after = look.again(before, "a/b")
        assert after.index.problems == ()
        assert everything(after) == everything(look.whole())


class TestChanges:
    def test_a_swap_below_a_named_one(self, root: Path, look: Looker) -> None:
        """Only the directory that holds the two names is told of, and both are there as before."""
        write(root, "d/a/deep/f", b"1")
        write(root, "d/b/deep/g", b"2")
        before = look.whole()
        (root / "d/a").rename(root / "d/t")
        (root / "d/b").rename(root / "d/a")
        (root / "d/t").rename(root / "d/b")
        assert everything(look.again(before, "d")) == everything(look.whole())

    @pytest.mark.parametrize("kind", ["file", "link", "fifo"])
    def test_a_directory_that_is_something_else_now(self, root: Path, look: Looker, kind: str) -> None:
        write(root, "a/d/e/f")
        before = look.whole()
        shutil.rmtree(root / "a/d")
        if kind == "file":
            write(root, "a/d")
        elif kind == "link":
            (root / "a/d").symlink_to("..")
        else:
            os.mkfifo(root / "a/d")
        for named in ("a", "a/d", "a/d/e"):
            assert everything(look.again(before, named)) == everything(look.whole())

    def test_something_that_is_a_directory_now(self, root: Path, look: Looker) -> None:
        (root / "d").symlink_to("x")
        before = look.whole()
        (root / "d").unlink()
        write(root, "d/e/f")
        assert everything(look.again(before, "d/e", "d", "")) == everything(look.whole())

    def test_problems_come_and_go(self, root: Path, look: Looker) -> None:
        write(root, "a/bad\udcff")
        write(root, "b/bad\udcff")
        os.mkfifo(root / "a/p")
        before = look.whole()
        (root / "a/bad\udcff").unlink()
        (root / "b/bad\udcff").unlink()
        os.mkfifo(root / "b/q")
        after = look.again(before, "a")
        assert [problem.path for problem in after.index.problems] == ["a/p", "b/bad\udcff"]
        assert everything(look.again(after, "b")) == everything(look.whole())

    def test_a_directory_that_becomes_unreadable(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        write(root, "a/d/f")
        before = look.whole()
        folder.fail("list_directory", errno.EIO, about="'a/d'")
        after = look.again(before, "a/d")
        entry = after.index.entry("a/d")
        assert entry is not None
        assert entry.kind is Kind.WITHHELD
        assert "a/d" not in after.index.directories
        assert everything(after) == everything(look.whole())

    def test_a_filesystem_mounted_meanwhile(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        write(root, "a/d/f")
        before = look.whole()
        folder.fail("list_directory", errno.EXDEV, about="'a/d'")
        entry = look.again(before, "a/d").index.entry("a/d")
        assert entry is not None
        assert (entry.kind, entry.target) == (Kind.WITHHELD, MOUNTED)

    def test_what_vanishes_meanwhile(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        write(root, "a/b/f", b"1")
        write(root, "a/c/f")
        before = look.whole()
        write(root, "a/b/f", b"22")
        folder.at("list_directory", lambda: shutil.rmtree(root / "a"), about="'a/c'")
        after = look.again(before, "a/b", "a/c")
        assert everything(after) == everything(look.whole())
        assert after.index.files == 0

    def test_racy_files_are_hashed_again_when_named(self, root: Path, look: Looker) -> None:
        file = write(root, "a/f", b"1")
        write(root, "b/f", b"2")
        before = look.whole(now_ns=file.stat().st_ctime_ns)
        assert look.again(before, "a").hashed_files == 1
        assert look.again(before, "a").hashed_files == 0
        assert look.again(before).hashed_files == 0


class TestRules:
    @pytest.fixture(autouse=True)
    def files(self, root: Path) -> None:
        for path in ("x.o", "a/x.o", "a/b/x.o", "a/b/c/x.o", "d/x.o"):
            write(root, path)

    def test_a_new_ignore_file_holds_below(self, root: Path, look: Looker) -> None:
        before = look.whole()
        write(root, f"a/{IGNORE_FILE}", b"*.o\n**/**/**/**/**/bad\n")
        after = look.again(before, "a")
        assert look.listed() == ["a", "a/b", "a/b/c"]
        assert everything(after) == everything(look.whole())
        assert before.ignore.problems == []
        assert not before.ignore.ignored("a/x.o", False)

    def test_a_changed_one(self, root: Path, look: Looker) -> None:
        write(root, IGNORE_FILE, b"*.o\nb/\n")
        before = look.whole()
        write(root, IGNORE_FILE, b"!*.o\n*.part\nd\n")
        after = look.again(before, "")
        assert everything(after) == everything(look.whole())
        assert after.index.entry("a/b/c/x.o") is not None

    @pytest.mark.parametrize("directory", ["", "a"])
    def test_one_that_is_gone(self, root: Path, look: Looker, directory: str) -> None:
        file = write(root, f"{directory}/{IGNORE_FILE}".removeprefix("/"), b"*.o\n!*.part\n**/**/**/**/**/bad\n")
        write(root, "a/film.part")
        before = look.whole()
        file.unlink()
        after = look.again(before, directory)
        assert everything(after) == everything(look.whole())
        entry = after.index.entry("a/film.part")
        assert entry is not None
        assert entry.target == IGNORED

    def test_one_that_only_got_comments_costs_no_walk(self, root: Path, look: Looker) -> None:
        write(root, f"a/{IGNORE_FILE}", b"*.o\n")
        before = look.whole()
        write(root, f"a/{IGNORE_FILE}", b"# objects\n*.o\n")
        after = look.again(before, "a")
        assert look.listed() == ["a"]
        assert everything(after) == everything(look.whole())

    def test_one_in_a_directory_that_goes(self, root: Path, look: Looker) -> None:
        write(root, f"a/b/{IGNORE_FILE}", b"*.o\n**/**/**/**/**/bad\n")
        before = look.whole()
        shutil.rmtree(root / "a")
        after = look.again(before, "")
        assert everything(after) == everything(look.whole())
        assert after.ignore.problems == []


class TestTrouble:
    def test_the_root_is_gone(self, root: Path, look: Looker) -> None:
        before = look.whole()
        root.rename(root.with_name("elsewhere"))
        with pytest.raises(FolderMissing):
            look.again(before, "")

    def test_the_root_goes_meanwhile(self, folder: FaultyFolder, root: Path, look: Looker) -> None:
        write(root, "a/f")
        before = look.whole()
        folder.at("list_directory", lambda: root.rename(root.with_name("elsewhere")))
        with pytest.raises(FolderMissing):
            look.again(before, "a")

    def test_the_root_is_unreadable(self, folder: FaultyFolder, look: Looker) -> None:
        before = look.whole()
        folder.fail("list_directory", errno.EACCES)
        with pytest.raises(FolderUnreadable):
            look.again(before, "")

    def test_cancelled(self, folder: FaultyFolder, store: Store, hasher: Hasher, look: Looker) -> None:
        before, cancelled = look.whole(), threading.Event()
        cancelled.set()
        with pytest.raises(Cancelled):
            rescan(folder, store, hasher, previous=before, directories=[""], now_ns=LATER, cancelled=cancelled)


PATHS = st.lists(st.sampled_from(["a", "b", "c", "é", "x.o", "bad\udcff", ".git"]), min_size=1, max_size=4)
CONTENT = st.sampled_from([b"", b"1", b"22", b"333"])


@st.composite
def edits(draw: st.DrawFn) -> Callable[[Path], list[str]]:
    """Return something that is done to a folder, and returns the directories it touched, as a watcher would."""
    path, other = "/".join(draw(PATHS)), "/".join(draw(PATHS))
    if draw(st.integers(0, 5)) == 0:
        path = f"{parent(path)}/{IGNORE_FILE}".removeprefix("/")
    content = b"*.o\na/\n!b\n" if path.endswith(IGNORE_FILE) and draw(st.booleans()) else draw(CONTENT)
    what = draw(st.sampled_from(["write", "make", "link", "remove", "rename", "chmod", "write", "rename"]))

    def act(root: Path) -> list[str]:
        target = root / path
        if what in ("write", "make", "link"):
            touched = [path, parent(path)]
            touched += [parent(at) for at in _above(path) if not (root / at).exists()]
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if what == "write":
                    target.write_bytes(content)
                elif what == "make":
                    target.mkdir()
                else:
                    target.symlink_to(other)
            except OSError:
                pass
            return touched
        if not os.path.lexists(target):
            return []
        if what == "rename":
            try:
                target.rename(root / other)
            except OSError:
                return []
            return [parent(path), parent(other)]
        if what == "chmod":
            if target.is_file():
                target.chmod(0o755)
            return [parent(path)]
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()
        return [parent(path)]

    return act


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(edits(), max_size=12), later=st.lists(st.lists(edits(), max_size=4), min_size=1, max_size=3))
def test_equals_a_full_scan(
    first: list[Callable[[Path], list[str]]],
    later: list[list[Callable[[Path], list[str]]]],
    root: Path,
    look: Looker,
) -> None:
    for child in list(root.iterdir()):
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    for edit in first:
        edit(root)
    found = look.whole()
    for batch in later:
        named = [directory for edit in batch for directory in edit(root)]
        found = look.again(found, *named)
        assert everything(found) == everything(look.whole())
