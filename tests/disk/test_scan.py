"""The scan: everything is listed as what it is, what is known is not read again, and unknown is never absent."""

import errno
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.core.index import IGNORED, Entry, Index, Kind, Problem
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.names import IGNORE_FILE, MAX_DEPTH, STAGING, TRASH, name_problem
from leafsync.engine.disk import walk as walk_module
from leafsync.engine.disk.folder import Folder, state_mark
from leafsync.engine.disk.hashing import Cancelled, Hasher
from leafsync.engine.disk.racy import RACY_NS
from leafsync.engine.disk.scan import Scan, rescan, scan
from leafsync.engine.disk.store import HashRow, Store
from leafsync.engine.disk.walk import MOUNTED
from leafsync.errors import FolderMissing, FolderUnreadable
from tests.disk.faults import TIME, FaultyFolder, content_leaves, content_root, write

LATER = 4_000_000_000_000_000_000
"""A time so far ahead that no file of these tests is racy."""

Scanner = Callable[..., Scan]


@pytest.fixture
def look(folder: FaultyFolder, store: Store, hasher: Hasher) -> Scanner:
    """Return a function that scans the folder."""

    def look(*, now_ns: int = LATER, previous: Index | None = None) -> Scan:
        return scan(folder, store, hasher, now_ns=now_ns, previous=previous)

    return look


def reasons(found: Scan) -> dict[str, str]:
    return {problem.path: problem.reason for problem in found.index.problems}


def withheld(found: Scan) -> dict[str, str]:
    return {path: entry.target for path, entry in found.index.walk() if entry.kind is Kind.WITHHELD}


class TestKinds:
    def test_everything_as_what_it_is(self, root: Path, look: Scanner) -> None:
        write(root, "a/f", b"content")
        write(root, "run").chmod(0o755)
        (root / "empty").mkdir()
        (root / "a/up").symlink_to("../run")
        (root / "dangling").symlink_to("nowhere")
        index = look().index
        assert dict(index.walk()) == {
            "a": Entry("a", Kind.DIRECTORY, hash=index.children("")[0].hash),
            "a/f": Entry("f", Kind.FILE, 7, TIME, False, content_root(b"content")),
            "a/up": Entry("up", Kind.SYMLINK, target="../run"),
            "dangling": Entry("dangling", Kind.SYMLINK, target="nowhere"),
            "empty": Entry("empty", Kind.DIRECTORY, hash=index.children("")[2].hash),
            "run": Entry("run", Kind.FILE, 3, TIME, True, content_root(b"old")),
        }
        assert index.problems == ()

    def test_an_empty_folder(self, look: Scanner) -> None:
        found = look()
        assert found.index.digest == Index({"": ()}).digest
        assert (found.hashed_files, found.hashed_bytes) == (0, 0)

    def test_what_is_no_file(self, root: Path, look: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
        os.mkfifo(root / "fifo")
        monkeypatch.chdir(root)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            found = look()
        assert set(withheld(found)) == set(reasons(found)) == {"fifo", "socket"}

    @pytest.mark.parametrize(
        "target", ["/etc/passwd", "../outside", "a/../../x", f"{STAGING}/x", "back\\slash", "bad\udcff"]
    )
    def test_links_that_cannot_travel(self, root: Path, look: Scanner, target: str) -> None:
        (root / "l").symlink_to(target)
        found = look()
        assert withheld(found) == reasons(found)
        assert set(withheld(found)) == {"l"}

    def test_links_are_not_followed(self, root: Path, tmp_path: Path, look: Scanner) -> None:
        write(tmp_path, "outside/secret")
        (root / "l").symlink_to(tmp_path / "outside")
        assert [path for path, _entry in look().index.walk()] == ["l"]

    def test_our_own_directories_are_not_there(self, root: Path, look: Scanner) -> None:
        write(root, f"{STAGING}/x")
        write(root, f"{TRASH}/run/x")
        found = look()
        assert list(found.index.walk()) == []
        assert found.index.problems == ()

    @pytest.mark.parametrize("path", [f"a/{STAGING}/x", ".LeafSync_TMP/x", ".leafsync_trash./x", "LEAFSY~1/x"])
    def test_spelled_otherwise_or_deeper_they_are_problems(self, root: Path, look: Scanner, path: str) -> None:
        write(root, path)
        found = look()
        assert list(reasons(found).values()) == ["the name is reserved for LeafSync"]
        assert path not in dict(found.index.walk())

    @pytest.mark.parametrize(
        "name", ["bad\udcff", "new\nline", "esc\x1b[2J", "back\\slash", "e\u0301", "\u202egpj.exe"]
    )
    def test_names_that_cannot_travel(self, root: Path, look: Scanner, name: str) -> None:
        write(root, name)
        write(root, f"d/{name}/inner")
        found = look()
        assert [path for path, _entry in found.index.walk()] == ["d"]
        assert set(reasons(found)) == {name, f"d/{name}"}

    @pytest.mark.parametrize("name", ["-rf", "$(x)", "a b", "[red]", "con", "日本", "👨‍👩‍👧", "a" * 255, "...", "x."])
    def test_odd_names_that_can(self, root: Path, look: Scanner, name: str) -> None:
        write(root, name)
        found = look()
        assert [path for path, _entry in found.index.walk()] == [name]
        assert found.index.problems == ()

    def test_two_names_that_are_one_elsewhere(self, root: Path, look: Scanner) -> None:
        write(root, "caf\u00e9")
        write(root, "cafe\u0301")
        write(root, "cafe")
        found = look()
        assert set(reasons(found)) == {"caf\u00e9", "cafe\u0301"}
        assert set(withheld(found)) == {"caf\u00e9"}

    def test_too_deep(self, root: Path, look: Scanner) -> None:
        at, fds = os.open(root, os.O_RDONLY), []
        for _ in range(MAX_DEPTH + 3):
            os.mkdir("d", dir_fd=at)
            fds.append(at)
            at = os.open("d", os.O_RDONLY, dir_fd=at)
        for fd in (*fds, at):
            os.close(fd)
        found = look()
        deepest = "/".join(["d"] * (MAX_DEPTH + 1))
        assert set(withheld(found)) == {deepest}
        assert "deeper" in reasons(found)[deepest]

    def test_too_long(self, root: Path, look: Scanner) -> None:
        name, at, fds = "n" * 255, os.open(root, os.O_RDONLY), []
        for _ in range(17):
            os.mkdir(name, dir_fd=at)
            fds.append(at)
            at = os.open(name, os.O_RDONLY, dir_fd=at)
        for fd in (*fds, at):
            os.close(fd)
        found = look()
        ((path, reason),) = reasons(found).items()
        assert len(path) == 17 * 256 - 1
        assert "longer" in reason
        assert len(found.index.directories) == 17

    def test_too_large(self, folder: FaultyFolder, root: Path, look: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(walk_module, "MAX_FILE_SIZE", 5)
        write(root, "five", b"12345")
        write(root, "six", b"123456")
        found = look()
        assert set(withheld(found)) == {"six"}
        assert found.index.files == 1

    @pytest.mark.parametrize("mtime_ns", [-1, -5_000_000_001, 0, 1 << 62])
    def test_odd_times(self, root: Path, look: Scanner, mtime_ns: int) -> None:
        file = write(root, "f", mtime_ns=mtime_ns)
        entry = look().index.entry("f")
        assert entry is not None
        assert entry.mtime_ns == file.stat().st_mtime_ns

    def test_times_beyond_64_bits_of_nanoseconds(self) -> None:
        class Far:
            st_mtime_ns = 1 << 70

        class Long:
            st_mtime_ns = -(1 << 70)

        assert walk_module.file_time(Far()) == (1 << 63) - 1  # type: ignore[arg-type]
        assert walk_module.file_time(Long()) == -(1 << 63)  # type: ignore[arg-type]


class TestIgnored:
    def test_is_withheld_and_not_descended_into(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, ".git/config")
        write(root, "a/.git/config")
        write(root, "film.part")
        write(root, "kept")
        found = look()
        assert withheld(found) == {".git": IGNORED, "a/.git": IGNORED, "film.part": IGNORED}
        assert found.index.problems == ()
        assert ("list_directory", (".git",)) not in folder.calls
        assert found.ignore.ignored("b/.git", True)

    def test_files_hold_and_are_synced(self, root: Path, look: Scanner) -> None:
        write(root, IGNORE_FILE, b"*.o\n!*.part\n")
        write(root, f"a/{IGNORE_FILE}", b"!x.o\n/y\n")
        for path in ("x.o", "a/x.o", "a/y", "a/b/y", "film.part"):
            write(root, path)
        found = look()
        assert set(withheld(found)) == {"x.o", "a/y"}
        assert found.index.entry(f"a/{IGNORE_FILE}") is not None

    def test_an_ignored_odd_entry_is_no_problem(self, root: Path, look: Scanner) -> None:
        write(root, IGNORE_FILE, b"run/\nbad*\nlink\n")
        os.mkfifo(write(root, "run/x").with_name("fifo"))
        write(root, "bad\udcff")
        (root / "link").symlink_to("/etc")
        found = look()
        assert found.index.problems == ()
        assert set(withheld(found)) == {"run", "link"}

    def test_bad_lines_are_problems(self, root: Path, look: Scanner) -> None:
        write(root, f"a/{IGNORE_FILE}", b"x\n**/**/**/**/**/y\n")
        write(root, "a/x")
        found = look()
        assert reasons(found) == {f"a/{IGNORE_FILE}": "line 2: more than 4 '**'"}
        assert set(withheld(found)) == {"a/x"}

    def test_a_linked_file_is_not_read(self, root: Path, tmp_path: Path, look: Scanner) -> None:
        write(tmp_path, "rules", b"*\n")
        write(root, "rules", b"*\n")
        (root / IGNORE_FILE).symlink_to("rules")
        write(root, "kept")
        found = look()
        assert "not a regular file" in reasons(found)[IGNORE_FILE]
        assert withheld(found) == {}

    def test_one_that_cannot_be_read(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, IGNORE_FILE, b"*\n")
        folder.fail("open_file", errno.EACCES, about=IGNORE_FILE, times=1)
        assert "Permission denied" in reasons(look())[IGNORE_FILE]

    def test_a_huge_one(self, root: Path, look: Scanner) -> None:
        write(root, IGNORE_FILE, b"*\n" * 50_000)
        found = look()
        assert "longer than" in reasons(found)[IGNORE_FILE]
        assert withheld(found) == {}


class TestTrouble:
    """Fault cases 70 to 73: whatever cannot be read is unknown, never absent and never empty."""

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOTDIR, errno.ELOOP])
    def test_an_unreadable_directory(self, folder: FaultyFolder, root: Path, look: Scanner, code: int) -> None:
        write(root, "d/f")
        write(root, "e/f")
        folder.fail("list_directory", code, about="'d'")
        found = look()
        assert set(withheld(found)) == set(reasons(found)) == {"d"}
        assert "d" not in found.index.directories
        assert found.index.entry("e/f") is not None

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
    def test_an_unreadable_file(self, folder: FaultyFolder, root: Path, look: Scanner, code: int) -> None:
        write(root, "f")
        folder.fail("open_file", code)
        found = look()
        assert withheld(found) == reasons(found) == {"f": f"it cannot be read: {os.strerror(code)}"}

    def test_a_busy_file(
        self, folder: FaultyFolder, root: Path, look: Scanner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(root, "f", b"")
        preadv, lock = os.preadv, threading.Lock()
        file.write_bytes(b"x")

        def read(fd: int, buffers: list[memoryview], at: int) -> int:
            count = preadv(fd, buffers, at)
            with lock:
                file.write_bytes(file.read_bytes() + b"x")
            return count

        monkeypatch.setattr(os, "preadv", read)
        assert withheld(look()) == {"f": "busy: it changes while it is read"}

    def test_an_unreadable_link(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        (root / "l").symlink_to("x")
        folder.fail("read_link", errno.EIO)
        assert set(withheld(look())) == {"l"}

    def test_what_vanishes_is_absent(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, "d/f")
        write(root, "f")
        (root / "l").symlink_to("f")
        folder.at("list_directory", lambda: shutil.rmtree(root / "d"), about="'d'")
        folder.at("open_file", (root / "f").unlink)
        folder.at("read_link", (root / "l").unlink)
        found = look()
        assert list(found.index.walk()) == []
        assert found.index.problems == ()

    def test_a_directory_swapped_for_a_link(
        self, folder: FaultyFolder, root: Path, tmp_path: Path, look: Scanner
    ) -> None:
        write(root, "d/f")
        write(tmp_path, "outside/secret")

        def swap() -> None:
            (root / "d").rename(root.with_name("moved"))
            (root / "d").symlink_to(tmp_path / "outside")

        folder.at("list_directory", swap, about="'d'")
        found = look()
        assert set(withheld(found)) == {"d"}

    def test_another_filesystem(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, "d/f")
        folder.fail("list_directory", errno.EXDEV, about="'d'")
        assert withheld(look()) == {"d": MOUNTED}

    def test_another_filesystem_by_its_device(self, root: Path, store: Store, hasher: Hasher) -> None:
        write(root, "d/f")
        with Folder.open(str(root)) as folder:
            folder.device += 1
            assert withheld(scan(folder, store, hasher, now_ns=LATER)) == {"d": MOUNTED}

    def test_the_root_is_gone(self, root: Path, look: Scanner) -> None:
        root.rename(root.with_name("elsewhere"))
        with pytest.raises(FolderMissing):
            look()

    def test_the_root_goes_meanwhile(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, "f")
        folder.at("open_file", lambda: root.rename(root.with_name("elsewhere")))
        with pytest.raises(FolderMissing):
            look()

    def test_another_directory_in_the_place_of_the_root(self, root: Path, look: Scanner) -> None:
        root.rename(root.with_name("elsewhere"))
        root.mkdir()
        with pytest.raises(FolderMissing):
            look()

    def test_the_root_is_unreadable(self, folder: FaultyFolder, look: Scanner) -> None:
        folder.fail("list_directory", errno.EACCES, about="''")
        with pytest.raises(FolderUnreadable, match="Permission denied"):
            look()

    def test_cancelled(self, folder: FaultyFolder, root: Path, store: Store, hasher: Hasher) -> None:
        write(root, "f")
        cancelled = threading.Event()
        cancelled.set()
        with pytest.raises(Cancelled):
            scan(folder, store, hasher, now_ns=LATER, cancelled=cancelled)


class TestCache:
    def test_what_is_known_is_not_read(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, "a/f", b"1")
        write(root, "g", b"22")
        first = look()
        assert (first.hashed_files, first.hashed_bytes) == (2, 3)
        folder.fail("open_file")
        second = look()
        assert (second.hashed_files, second.hashed_bytes) == (0, 0)
        assert second.index.digest == first.index.digest
        assert look(previous=second.index).index.digest == first.index.digest

    def test_what_changed_is(self, root: Path, look: Scanner) -> None:
        file = write(root, "f", b"1")
        write(root, "g", b"2")
        first = look()
        file.write_bytes(b"3")
        for previous in (None, first.index):
            found = look(previous=previous)
            entry = found.index.entry("f")
            assert entry is not None
            assert entry.hash == content_root(b"3")
            assert found.hashed_files == (1 if previous is None else 0)

    def test_a_change_that_kept_size_and_time(self, root: Path, look: Scanner) -> None:
        file = write(root, "f", b"1")
        look()
        file.write_bytes(b"2")
        os.utime(file, ns=(TIME, TIME))
        entry = look().index.entry("f")
        assert entry is not None
        assert entry.hash == content_root(b"2")

    def test_a_renamed_file_may_be_read_again_but_is_right(self, root: Path, look: Scanner) -> None:
        file = write(root, "f", b"1")
        first = look()
        file.rename(root / "g")
        found = look(previous=first.index)
        entry = found.index.entry("g")
        assert entry is not None
        assert entry.hash == content_root(b"1")
        assert found.index.entry("f") is None

    @pytest.mark.parametrize("age", [-10_000_000_000, 0, RACY_NS - 1])
    def test_racy_files_are_read_again(self, root: Path, look: Scanner, age: int) -> None:
        file = write(root, "f", b"1")
        changed = max(file.stat().st_ctime_ns, file.stat().st_mtime_ns)
        first = look(now_ns=changed + age)
        assert look(now_ns=LATER, previous=first.index).hashed_files == 1
        assert look(now_ns=LATER, previous=first.index).hashed_files == 0

    def test_old_files_are_not(self, root: Path, look: Scanner) -> None:
        file = write(root, "f", b"1")
        look(now_ns=file.stat().st_ctime_ns + RACY_NS)
        assert look().hashed_files == 0

    def test_a_racy_change_is_seen(self, folder: FaultyFolder, root: Path, store: Store, hasher: Hasher) -> None:
        """The guard itself: a change that left no trace in stat is found, because the file was racy."""
        file = write(root, "f", b"1")
        look_at = file.stat()
        found = scan(folder, store, hasher, now_ns=look_at.st_ctime_ns)
        (mark,) = store.load_racy()
        assert mark == state_mark(look_at) == found.index.state("f")
        assert store.load_roots() == {}

    @pytest.mark.parametrize(("most", "whole"), [(2, 1), (3, 0)])
    def test_beside_an_index_the_cache_is_read_only_for_many(
        self, root: Path, look: Scanner, monkeypatch: pytest.MonkeyPatch, most: int, whole: int
    ) -> None:
        for name in "abcd":
            (root / name).write_text(name)
        before = look()
        for name in "abc":
            (root / name).rename(root / f"{name} renamed")
        read: list[Store] = []
        original = Store.load_roots

        def load_roots(store: Store) -> dict[int, bytes]:
            read.append(store)
            return original(store)

        monkeypatch.setattr(walk_module, "MAX_SINGLE", most)
        monkeypatch.setattr(Store, "load_roots", load_roots)
        after = look(previous=before.index)
        assert (after.index.files, len(read)) == (4, whole)

    @pytest.mark.parametrize("most", [1, 2, 3, 100])
    def test_files_are_hashed_as_they_are_found(
        self, folder: FaultyFolder, root: Path, store: Store, hasher: Hasher, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        """What is found wrong with one of them, and their marks, end up at the right entries."""
        for path in ("a/b/one", "a/b/two", "a/three", "four", "z/five", "z/six", "z/y/seven"):
            write(root, path, path.encode())
        (root / "a/link").symlink_to("three")
        folder.fail("open_file", about="a/b/two")
        monkeypatch.setattr(walk_module, "MAX_UNHASHED", most)
        waiting: list[int] = []
        original = hasher.hash_many

        def hash_many(folder: Folder, files: Sequence[Any], **options: Any) -> Iterator[Any]:
            waiting.append(len(files))
            return original(folder, files, **options)

        monkeypatch.setattr(hasher, "hash_many", hash_many)
        found = scan(folder, store, hasher, now_ns=LATER)
        assert sum(waiting) == 7
        assert (len(waiting) > 2) == (most < 7)
        assert (found.hashed_files, found.index.files) == (6, 6)
        assert [problem.path for problem in found.index.problems] == ["a/b/two"]
        for path, entry in found.index.walk():
            stat = folder.stat(path)
            assert stat is not None
            assert found.index.state(path) == (state_mark(stat) if entry.kind is Kind.FILE else None)
            assert entry.kind is not Kind.FILE or entry.hash == content_root(path.encode())

    def test_what_was_hashed_before_a_scan_was_given_up_is_known(
        self, folder: FaultyFolder, root: Path, store: Store, hasher: Hasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in ("a/one", "b/two", "c/three"):
            write(root, path)
        monkeypatch.setattr(walk_module, "MAX_UNHASHED", 1)
        cancelled = threading.Event()
        with pytest.raises(Cancelled):
            scan(folder, store, hasher, now_ns=LATER, progress=lambda _count: cancelled.set(), cancelled=cancelled)
        cancelled.clear()
        known = len(store.load_roots())
        assert 0 < known < 3
        assert scan(folder, store, hasher, now_ns=LATER).hashed_files == 3 - known

    def test_what_was_just_placed_is_believed_once(
        self, folder: FaultyFolder, root: Path, store: Store, hasher: Hasher
    ) -> None:
        stat = write(root, "f", b"1").stat()
        mark, young = state_mark(stat), stat.st_ctime_ns
        store.put_hashes([HashRow(mark, content_root(b"0"), None, racy=True)])
        found = scan(folder, store, hasher, now_ns=young, placed={mark: content_root(b"0")})
        assert found.hashed_files == 0
        assert found.index.children("")[0].hash == content_root(b"0")
        for again in (
            scan(folder, store, hasher, now_ns=young),
            scan(folder, store, hasher, now_ns=young, previous=found.index),
            rescan(folder, store, hasher, now_ns=young, previous=found, directories=[""]),
        ):
            assert again.hashed_files == 1
            assert again.index.children("")[0].hash == content_root(b"1")

    def test_states_are_those_of_the_files(self, folder: FaultyFolder, root: Path, look: Scanner) -> None:
        write(root, "a/f")
        write(root, "g", bytes(2 * CHUNK_SIZE))
        for index in (look().index, look().index):
            for path in ("a/f", "g"):
                stat = folder.stat(path)
                assert stat is not None
                assert index.state(path) == state_mark(stat)

    def test_leaves_are_kept_of_files_of_more_than_a_chunk(
        self, folder: FaultyFolder, root: Path, store: Store, look: Scanner
    ) -> None:
        data = os.urandom(CHUNK_SIZE + 1)
        write(root, "big", data)
        write(root, "small", data[:CHUNK_SIZE])
        index = look().index
        marks = [index.state("big"), index.state("small")]
        assert marks[0] is not None
        assert marks[1] is not None
        assert store.leaves(marks[0]) == content_leaves(data)
        assert store.leaves(marks[1]) is None

    def test_rows_of_an_unreadable_part_are_not_forgotten(
        self, folder: FaultyFolder, root: Path, look: Scanner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("leafsync.engine.disk.store.PRUNE_SLACK", 0)
        write(root, "d/f")
        look()
        folder.fail("list_directory", errno.EIO, about="'d'", times=1)
        look()
        assert look().hashed_files == 0
        (root / "d/f").unlink()
        look()
        write(root, "d/f")
        assert look().hashed_files == 1

    def test_progress_counts_bytes(self, folder: FaultyFolder, root: Path, store: Store, hasher: Hasher) -> None:
        write(root, "f", b"12345")
        told: list[int] = []
        scan(folder, store, hasher, now_ns=LATER, progress=told.append)
        scan(folder, store, hasher, now_ns=LATER, progress=told.append)
        assert told == [5]


NAMES = st.sampled_from(["a", "b", "c.txt", "é", "日", "x y", "bad\udcff", "e\u0301", ".part", "f.part", "n\n"])
NODES = st.recursive(
    st.binary(max_size=5) | st.sampled_from(["a", "../a", "/abs", "../../up"]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TREES = st.dictionaries(NAMES, NODES, max_size=5)
Node = bytes | str | dict[str, "Node"]


def build(directory: Path, nodes: dict[str, Node]) -> None:
    for name, node in nodes.items():
        if isinstance(node, dict):
            (directory / name).mkdir()
            build(directory / name, node)
        elif isinstance(node, str):
            (directory / name).symlink_to(node)
        else:
            write(directory, name, node)


def walked(directory: Path, path: str = "") -> dict[str, tuple[Kind, str | bytes]]:
    """Walk a folder in another way, with pathlib and the rules in short."""
    found: dict[str, tuple[Kind, str | bytes]] = {}
    for child in (directory / path).iterdir():
        at = f"{path}/{child.name}" if path else child.name
        if name_problem(child.name):
            continue
        if child.name.endswith(".part"):
            found[at] = (Kind.WITHHELD, IGNORED)
        elif child.is_symlink():
            target = os.readlink(child)  # noqa: PTH115
            outside = target.startswith("/") or target.count("../") > at.count("/")
            found[at] = (Kind.WITHHELD, "") if outside else (Kind.SYMLINK, target)
        elif child.is_dir():
            found[at] = (Kind.DIRECTORY, b"")
            found |= walked(directory, at)
        else:
            found[at] = (Kind.FILE, content_root(child.read_bytes()))
    nfc = {"é": "e\u0301"}
    for name, twin in nfc.items():
        at, other = (f"{path}/{part}" if path else part for part in (name, twin))
        if at in found and (directory / path / twin).is_symlink() | (directory / other).exists():
            found = {key: value for key, value in found.items() if not key.startswith(f"{at}/")}
            found[at] = (Kind.WITHHELD, "")
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_agrees_with_an_independent_walk(tree: dict[str, Node], root: Path, look: Scanner) -> None:
    shutil.rmtree(root / "..." / "..", ignore_errors=True)
    for child in list(root.iterdir()):
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    build(root, tree)
    for _ in range(2):
        found: dict[str, tuple[Kind, str | bytes]] = {}
        for path, entry in look().index.walk():
            value: str | bytes = b""
            if entry.kind is Kind.FILE:
                value = entry.hash
            elif entry.kind is Kind.SYMLINK or entry.target == IGNORED:
                value = entry.target
            elif entry.kind is Kind.WITHHELD:
                value = ""
            found[path] = (entry.kind, value)
        assert found == walked(root)


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "content": (lambda root: (root / "d/f").write_bytes(b"other"), True),
    "mtime": (lambda root: os.utime(root / "d/f", ns=(TIME, TIME + 3_000_000_000)), True),
    "mtime below a second": (lambda root: os.utime(root / "d/f", ns=(TIME, TIME + 1000)), False),
    "executable": (lambda root: (root / "d/f").chmod(0o755), True),
    "other permissions": (lambda root: (root / "d/f").chmod(0o664), False),
    "a new file": (lambda root: write(root, "d/new"), True),
    "a new empty directory": (lambda root: (root / "d/new").mkdir(), True),
    "a new link": (lambda root: (root / "new").symlink_to("d"), True),
    "another target": (lambda root: relink(root / "l", "e"), True),
    "a file less": (lambda root: (root / "d/f").unlink(), True),
    "a rename": (lambda root: (root / "d/f").rename(root / "d/g"), True),
    "a directory's time": (lambda root: os.utime(root / "d"), False),
    "an ignored file": (lambda root: write(root, "d/x.part"), False),
    "a fifo": (lambda root: os.mkfifo(root / "d/fifo"), False),
    "the same content again": (lambda root: write(root, "d/f"), False),
    "a copy in its place": (lambda root: (write(root, "d/g"), (root / "d/g").rename(root / "d/f")), False),
    "our own files": (lambda root: write(root, f"{TRASH}/x"), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_when_what_is_synced_does(root: Path, look: Scanner, change: str) -> None:
    write(root, "d/f")
    (root / "l").symlink_to("d")
    before = look().index
    act, changes = CHANGES[change]
    act(root)
    assert (look().index.digest != before.digest) is changes
    assert (look(previous=before).index.digest != before.digest) is changes


def test_problems_are_data(root: Path, look: Scanner) -> None:
    os.mkfifo(root / "b")
    os.mkfifo(root / "a")
    reason = "it is not a file, directory or symbolic link"
    assert look().index.problems == (Problem("a", reason), Problem("b", reason))
