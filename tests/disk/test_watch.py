"""The watcher, on real directories: every change is told of, in time, and nothing that is not in the folder."""

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leafsync.engine.core.names import STAGING, TRASH
from leafsync.engine.disk import inotify, watch
from leafsync.engine.disk.watch import Source, Watcher
from tests.disk.faults import write

DEADLINE = 5.0
"""Seconds that a test waits at most for what has to come."""

linux = pytest.mark.skipif(not inotify.AVAILABLE, reason="there is no inotify here")


class Seen:
    """What a watcher said."""

    def __init__(self) -> None:
        self.batches: list[frozenset[str] | None] = []
        self.failures: list[str] = []
        self._news = threading.Condition()

    def changed(self, directories: frozenset[str] | None) -> None:
        with self._news:
            self.batches.append(directories)
            self._news.notify_all()

    def failed(self, reason: str) -> None:
        with self._news:
            self.failures.append(reason)
            self._news.notify_all()

    def wait(self, enough: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(enough, DEADLINE), (self.batches, self.failures)

    @property
    def directories(self) -> set[str]:
        return {directory for batch in self.batches for directory in batch or ()}

    def expect(self, *directories: str) -> None:
        """Wait until all of these were named."""
        self.wait(lambda: self.directories >= set(directories))

    def repeat(self, act: Callable[[], object], directory: str) -> None:
        """Do something again until this directory was named: it is watched only some time after it was made."""
        with self._news:
            for _ in range(100):
                act()
                if self._news.wait_for(lambda: directory in self.directories, DEADLINE / 100):
                    return
        self.expect(directory)

    def clear(self) -> None:
        with self._news:
            self.batches.clear()


Start = Callable[..., Seen]


@pytest.fixture(autouse=True)
def _no_leaked_descriptors() -> Iterator[None]:
    """As in conftest.py, but with patience: watchfiles closes its own in a thread that nobody can wait for."""
    before = len(list(Path("/dev/fd").iterdir()))
    yield
    patience, never = time.monotonic() + DEADLINE, threading.Event()
    while len(list(Path("/dev/fd").iterdir())) > before:
        assert time.monotonic() < patience
        never.wait(0.01)


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Return a function that watches the folder and waits until it does."""
    watchers: list[Watcher] = []

    def start(path: Path = root, source: Source | None = None) -> Seen:
        seen = Seen()
        watchers.append(Watcher(str(path), seen.changed, seen.failed, source=source))
        watchers[-1].start()
        seen.wait(lambda: bool(seen.batches or seen.failures))
        return seen

    yield start
    for watcher in watchers:
        watcher.close()


SOURCES: dict[str, Source] = {"watchfiles": watch._notify}
if inotify.AVAILABLE:
    SOURCES["inotify"] = inotify.Changes


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Source:
    found: Source = SOURCES[request.param]
    return found


class TestBoth:
    """What either way of watching has to do."""

    def test_everything_may_have_changed_at_first(self, start: Start, source: Source) -> None:
        assert start(source=source).batches == [None]

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: write(root, "a/b/f", b"changed"),
            lambda root: write(root, "a/b/new"),
            lambda root: (root / "a/b/f").unlink(),
            lambda root: (root / "a/b/f").chmod(0o755),
            lambda root: os.utime(root / "a/b/f", ns=(5, 5)),
            lambda root: (root / "a/b/f").rename(root / "a/b/g"),
            lambda root: (root / "a/b/l").symlink_to("f"),
            lambda root: (root / "a/b/d").mkdir(),
            lambda root: (root / "a/b/f").open("ab").write(b"more"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:unclosed file")
    def test_a_change_names_its_directory(
        self, start: Start, source: Source, root: Path, change: Callable[[Path], object]
    ) -> None:
        write(root, "a/b/f")
        seen = start(source=source)
        change(root)
        seen.expect("a/b")
        assert seen.failures == []

    def test_a_move_names_both_directories(self, start: Start, source: Source, root: Path) -> None:
        write(root, "a/f")
        (root / "b").mkdir()
        seen = start(source=source)
        (root / "a/f").rename(root / "b/f")
        seen.expect("a", "b")

    def test_what_comes_later_is_watched_as_well(self, start: Start, source: Source, root: Path) -> None:
        seen = start(source=source)
        (root / "new/x").mkdir(parents=True)
        seen.expect("")
        seen.repeat(lambda: write(root, "new/x/f"), "new/x")

    def test_our_own_directories_do_not_count(self, start: Start, source: Source, root: Path) -> None:
        for own in (STAGING, TRASH):
            write(root, f"{own}/there/f")
        seen = start(source=source)
        for own in (STAGING, TRASH):
            write(root, f"{own}/there/g")
            write(root, f"{own}/new/g")
            shutil.rmtree(root / own)
        write(root, "d/last")
        seen.expect("")
        assert seen.directories <= {"", "d"}

    def test_a_folder_behind_a_link(self, start: Start, source: Source, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        write(root, "a/f")
        seen = start(tmp_path / "link", source)
        write(root, "a/f", b"changed")
        seen.expect("a")

    def test_a_burst_is_few_calls(self, start: Start, source: Source, root: Path) -> None:
        (root / "d").mkdir()
        seen = start(source=source)
        began = time.monotonic()
        for number in range(2000):
            (root / f"d/{number}").touch()
        took = time.monotonic() - began
        seen.expect("d")
        write(root, "end/f")
        seen.expect("")
        assert len(seen.batches) < 10 + took / (watch.DEBOUNCE_MS / 1000) * 2

    @pytest.mark.parametrize("way", ["removed", "renamed", "replaced"])
    def test_the_folder_goes(self, start: Start, source: Source, root: Path, way: str) -> None:
        write(root, "a/f")
        seen = start(source=source)
        if way == "removed":
            shutil.rmtree(root)
        else:
            root.rename(root.with_name("elsewhere"))
        if way == "replaced":
            root.mkdir()
        seen.wait(lambda: bool(seen.failures))
        assert "it is not there any more" in seen.failures[0]
        assert len(seen.failures) == 1

    def test_it_never_was_there(self, start: Start, source: Source, tmp_path: Path) -> None:
        seen = start(tmp_path / "nowhere", source)
        assert len(seen.failures) == 1
        assert "not there" in seen.failures[0]

    def test_closing_is_quick_and_silent(self, root: Path, source: Source) -> None:
        seen = Seen()
        watcher = Watcher(str(root), seen.changed, seen.failed, source=source)
        watcher.start()
        seen.wait(lambda: bool(seen.batches))
        began = time.monotonic()
        watcher.close()
        assert time.monotonic() - began < 0.5
        seen.clear()
        write(root, "f")
        shutil.rmtree(root)
        watcher.close()
        assert (seen.batches, seen.failures) == ([], [])


@linux
class TestInotify:
    def test_links_are_not_followed(self, start: Start, root: Path, tmp_path: Path) -> None:
        write(tmp_path, "outside/f")
        write(root, "real/f")
        (root / "alias").symlink_to("real")
        (root / "out").symlink_to(tmp_path / "outside")
        seen = start()
        write(tmp_path, "outside/f", b"changed")
        write(root, "real/f", b"changed")
        seen.expect("real")
        assert seen.directories == {"real"}

    def test_directories_that_move(self, start: Start, root: Path, tmp_path: Path) -> None:
        write(root, "a/deep/f")
        write(root, "b/deep/f")
        seen = start()
        (root / "a").rename(root / "t")
        (root / "b").rename(root / "a")
        (root / "t").rename(root / "b")
        seen.expect("", "a", "a/deep", "b", "b/deep")
        seen.clear()
        write(root, "b/deep/f", b"changed")
        seen.expect("b/deep")
        assert seen.directories == {"b/deep"}
        (root / "b").rename(tmp_path / "moved")
        seen.expect("")
        seen.clear()
        write(tmp_path, "moved/deep/f", b"again")
        write(root, "a/deep/f", b"last")
        seen.expect("a/deep")
        assert seen.directories == {"a/deep"}

    def test_a_tree_that_appears_is_named_whole(self, start: Start, root: Path, tmp_path: Path) -> None:
        """What happened in it before it was watched, nobody told."""
        write(tmp_path, "tree/x/y/f")
        seen = start()
        (tmp_path / "tree").rename(root / "tree")
        seen.expect("", "tree", "tree/x", "tree/x/y")

    def test_names_that_are_not_utf8(self, start: Start, root: Path) -> None:
        write(root, "a/f")
        seen = start()
        write(root, "a/bad\udcff")
        write(root, "bad\udcff/f")
        seen.expect("a", "")
        seen.clear()
        write(root, "bad\udcff/g")
        write(root, "a/f", b"changed")
        seen.expect("a")
        assert seen.directories == {"a"}

    def test_an_unreadable_directory_does_not_end_it(
        self, start: Start, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, "closed/f")
        write(root, "open/f")
        add = inotify._Watches._add_one

        def refuse(self: inotify._Watches, directory: str) -> None:
            if directory == "closed":
                raise OSError(errno.EACCES, "Permission denied")
            add(self, directory)

        monkeypatch.setattr(inotify._Watches, "_add_one", refuse)
        seen = start()
        write(root, "open/f", b"changed")
        seen.expect("open")

    def test_paths_that_are_too_long_do_not_end_it(self, start: Start, root: Path) -> None:
        at, fds = os.open(root, os.O_RDONLY), []
        for _ in range(20):
            os.mkdir("n" * 250, dir_fd=at)
            fds.append(at)
            at = os.open("n" * 250, os.O_RDONLY, dir_fd=at)
        for fd in (*fds, at):
            os.close(fd)
        seen = start()
        write(root, "f")
        seen.expect("")
        assert seen.failures == []

    def test_lost_notices(self, start: Start, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kernel's queue was full: anything may have changed, and a new directory is watched all the same."""
        seen = start()
        lost = inotify._EVENT.pack(-1, inotify._OVERFLOW, 0, 0)
        read = inotify._Watches._read
        monkeypatch.setattr(inotify._Watches, "_read", lambda self: lost if read(self) else b"")
        write(root, "new/f")
        seen.wait(lambda: None in seen.batches[1:])
        monkeypatch.undo()
        seen.clear()
        write(root, "new/f", b"changed")
        seen.expect("new")

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM])
    def test_a_limit_reached_later(self, start: Start, root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        seen = start()

        def refuse(self: inotify._Watches, directory: str) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(inotify._Watches, "_add_one", refuse)
        (root / "new").mkdir()
        seen.wait(lambda: bool(seen.failures))
        assert ("fs.inotify.max_user_watches" in seen.failures[0]) == (code == errno.ENOSPC)

    def test_a_limit_of_the_system(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The real call's error becomes an OSError."""
        with pytest.raises(OSError, match="Bad file") as caught:
            inotify._checked(inotify._libc.inotify_add_watch(-1, os.fsencode(root), inotify._MASK), str(root))
        assert caught.value.errno == errno.EBADF

    def test_another_filesystem_is_not_entered(self, start: Start, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "mount").mkdir()
        (root / "d").mkdir()
        lstat = os.lstat

        class Elsewhere:
            st_dev = -1

        def look(path: str) -> object:
            return Elsewhere() if str(path).endswith("/mount") else lstat(path)

        monkeypatch.setattr("leafsync.engine.disk.inotify.os.lstat", look)
        seen = start()
        monkeypatch.undo()
        write(root, "mount/f")
        write(root, "d/f")
        seen.expect("d")
        assert seen.directories == {"d"}


class TestFailure:
    def failing(self, error: Exception) -> Source:
        def source(_path: str, _stop: threading.Event, _debounce: int, _step: int) -> Iterator[frozenset[str] | None]:
            yield frozenset({"d"})
            raise error

        return source

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "fs.inotify.max_user_watches"),
            (OSError('OS file watch limit reached. about ["/x"] (Error { kind: MaxFilesWatch })'), "max_user_watches"),
            (RuntimeError("error in underlying watcher: No space left on device (os error 28)"), "max_user_watches"),
            (OSError(errno.EMFILE, "Too many open files"), "fs.inotify.max_user_instances"),
            (RuntimeError("Error creating recommended watcher: x (os error 24)"), "fs.inotify.max_user_instances"),
            (FileNotFoundError("No such file"), "it is not there any more"),
            (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
            (RuntimeError("it broke"), "it broke"),
            (inotify.Gone(), "it is not there any more"),
        ],
    )
    def test_is_told_in_a_sentence(self, root: Path, start: Start, error: Exception, said: str) -> None:
        seen = start(source=self.failing(error))
        seen.wait(lambda: bool(seen.failures))
        assert seen.batches == [frozenset({"d"})]
        (sentence,) = seen.failures
        assert sentence.startswith(f"Changes in {root} are no longer noticed at once: ")
        assert said in sentence
        assert sentence.endswith(". It is scanned from time to time.")

    def test_a_source_that_just_ends(self, start: Start) -> None:
        def source(_path: str, _stop: threading.Event, _debounce: int, _step: int) -> Iterator[frozenset[str] | None]:
            yield None

        seen = start(source=source)
        seen.wait(lambda: bool(seen.failures))
        assert "stopped giving notices" in seen.failures[0]

    def test_closing_one_that_never_started(self, root: Path) -> None:
        seen = Seen()
        Watcher(str(root), seen.changed, seen.failed).close()
        assert seen.batches == []


class Watching:
    """A watcher, and what it has said."""

    def __init__(self, root: Path, source: Source | None = None) -> None:
        self.seen = Seen()
        self.watcher = Watcher(str(root), self.seen.changed, self.seen.failed, source=source)

    def start(self) -> None:
        self.watcher.start()
        self.seen.wait(lambda: bool(self.seen.batches or self.seen.failures))
        self.seen.clear()


@pytest.fixture
def watching(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    """A watcher on a filesystem that only this machine changes, whatever that of the tests is."""
    monkeypatch.setattr(inotify, "changed_here_alone", lambda _path: True)
    watching = Watching(root)
    watching.start()
    yield watching
    watching.watcher.close()


@linux
class TestCatchingUp:
    """What was changed has been told of when `catch_up` returns: nobody waits for it."""

    def test_every_change_made_before_is_told_of(self, root: Path, watching: Watching) -> None:
        for number in range(30):
            write(root, f"new/{number}/f")
            assert watching.watcher.catch_up()
            assert f"new/{number}" in watching.seen.directories
            write(root, f"new/{number}/f", b"changed")
            watching.seen.clear()
            assert watching.watcher.catch_up()
            assert f"new/{number}" in watching.seen.directories
            watching.seen.clear()

    def test_nothing_is_told_where_nothing_changed(self, watching: Watching) -> None:
        assert watching.watcher.catch_up()
        assert watching.seen.batches == []

    def test_lost_notices(self, root: Path, watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = inotify._EVENT.pack(-1, inotify._OVERFLOW, 0, 0)
        read = inotify._Watches._read
        monkeypatch.setattr(inotify._Watches, "_read", lambda self: lost if read(self) else b"")
        write(root, "new/f")
        assert watching.watcher.catch_up()
        assert None in watching.seen.batches

    def test_a_limit_of_the_system_ends_watching(
        self, root: Path, watching: Watching, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever of the two meets it."""

        def refuse(self: inotify._Watches, directory: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(inotify._Watches, "_add_one", refuse)
        (root / "new").mkdir()
        assert not watching.watcher.catch_up()
        assert not watching.watcher.catch_up()
        watching.seen.wait(lambda: bool(watching.seen.failures))

    def test_not_before_all_is_watched_nor_after_the_end(self, root: Path) -> None:
        watching = Watching(root)
        assert not watching.watcher.catch_up()
        watching.start()
        watching.watcher.close()
        assert not watching.watcher.catch_up()

    def test_not_where_others_change_the_filesystem(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inotify, "changed_here_alone", lambda _path: False)
        watching = Watching(root)
        watching.start()
        assert not watching.watcher.catch_up()
        watching.watcher.close()

    def test_not_where_a_directory_is_not_watched(self, root: Path, watching: Watching) -> None:
        assert watching.watcher.catch_up()
        at, fds = os.open(root, os.O_RDONLY), []
        for _ in range(20):
            os.mkdir("n" * 250, dir_fd=at)
            fds.append(at)
            at = os.open("n" * 250, os.O_RDONLY, dir_fd=at)
        for fd in (*fds, at):
            os.close(fd)
        assert not watching.watcher.catch_up()

    def test_not_for_a_folder_that_is_another_one(self, root: Path, watching: Watching) -> None:
        root.rename(root.with_name("away"))
        root.mkdir()
        assert not watching.watcher.catch_up()

    def test_not_by_watchfiles(self, root: Path) -> None:
        watching = Watching(root, watch._notify)
        watching.start()
        assert not watching.watcher.catch_up()
        watching.watcher.close()


@pytest.mark.parametrize(
    ("changed", "directory"),
    [
        ("/r/f", ""),
        ("/r/a/b/f", "a/b"),
        ("/r", None),
        ("/rest/f", None),
        ("/elsewhere/f", None),
        (f"/r/{STAGING}", None),
        (f"/r/{TRASH}/p/f", None),
        (f"/r/a/{STAGING}/f", None),
        ("/r/bad\n/f", None),
        ("/r/bad\n", ""),
    ],
)
def test_paths_of_watchfiles(changed: str, directory: str | None) -> None:
    assert watch._directory_of(changed, "/r") == directory
    if changed.startswith("/r/"):
        assert watch._directory_of(changed[2:], "/") == directory


def test_polling_is_left_to_watchfiles(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def fake(*_paths: str, **options: object) -> Iterator[set[tuple[int, str]]]:
        asked.append(options)
        yield set()
        yield {(1, f"{root}/d/f")}

    monkeypatch.setattr("watchfiles.watch", fake)
    seen = Seen()
    watcher = Watcher(str(root), seen.changed, seen.failed, polling=True)
    watcher.start()
    seen.wait(lambda: bool(seen.failures))
    watcher.close()
    assert seen.batches == [None, frozenset({"d"})]
    assert asked[0]["force_polling"] is True


@pytest.mark.skipif(sys.platform != "linux", reason="FSEvents takes its time")
def test_a_saved_file_is_told_of_at_once(start: Start, root: Path) -> None:
    seen = start()
    took = []
    for number in range(10):
        seen.clear()
        began = time.monotonic()
        write(root, f"{number}")
        seen.expect("")
        took.append(time.monotonic() - began)
    assert sorted(took)[5] < 0.06 * 3  # three times the target: other tests run on this machine
