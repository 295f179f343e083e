"""What is in a directory: the order, the bounds, the reasons, and threads that hang."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from leafsync.widgets.listing import (
    LOOK_EVERY,
    MAX_LINKS,
    MAX_READ,
    MAX_SHOWN,
    Found,
    Listing,
    Stopped,
    Wanted,
    folder_problem,
    in_thread,
    is_offered,
    is_own,
    list_directory,
    never,
    reason_of,
    sift,
)


@dataclass
class Entry:
    """What os.scandir gives, without a disk. `kind` is of what a link leads to."""

    name: str
    kind: str = "directory"
    link: bool = False
    asked: int = 0

    def is_symlink(self) -> bool:
        return self.link

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        if self.kind == "error":
            raise OSError(errno.EIO, "Input/output error")
        if self.link:
            self.asked += follow_symlinks
            return follow_symlinks and self.kind == "directory"
        return self.kind == "directory"


def sifted(entries: Iterator[Entry] | list[Entry], wanted: Wanted | None = None, stopped: Stopped = never) -> Listing:
    return sift(entries, wanted or Wanted(), stopped)  # type: ignore[arg-type]  # it only looks like one


def names(found: Listing) -> list[str]:
    return [entry.name for entry in found.entries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("beta", "Alpha", ".git", ".leafsync_tmp", ".leafsync_trash", "gamma"):
        (tmp_path / name).mkdir()
    for name in ("one.txt", ".profile", "Two.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "to beta").symlink_to("beta")
    (tmp_path / "to nothing").symlink_to("nothing")
    return tmp_path


def test_directories_alone_are_listed_and_files_counted(folder: Path) -> None:
    found = list_directory(str(folder), Wanted())
    assert names(found) == ["Alpha", "beta", "gamma", "to beta"]
    assert (found.files, found.left_off, found.cut, found.reason) == (3, 0, False, "")
    assert [entry.link for entry in found.entries] == [False, False, False, True]


def test_files_come_after_directories_whatever_their_names(folder: Path) -> None:
    found = list_directory(str(folder), Wanted(files=True, follow=False))
    assert names(found) == ["Alpha", "beta", "gamma", "one.txt", "to beta", "to nothing", "Two.txt"]
    assert not next(entry for entry in found.entries if entry.name == "to beta").directory


def test_hidden_entries_are_shown_when_they_are_wanted_and_ours_never(folder: Path) -> None:
    found = list_directory(str(folder), Wanted(files=True, hidden=True))
    assert {".git", ".profile"} <= set(names(found))
    assert not [name for name in names(found) if "leafsync" in name]


@pytest.mark.parametrize(
    "name", [".leafsync_tmp", ".LeafSync_Trash", ".leafsync_trash.", "LEAFSY~1", ".leaf\u200dsync_tmp"]
)
def test_every_spelling_of_our_own_directories_is_ours(name: str) -> None:
    assert is_own(name)
    assert is_own(f"/a/{name}/b")
    assert not is_offered(name, hidden=True)


@pytest.mark.parametrize("name", ["leafsync", ".leaf", "leaf", "a.leafsync_tmp", ".leafsync_tmp2", "\udcff", "写真"])
def test_other_names_are_not_ours(name: str) -> None:
    assert not is_own(name)


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8), unique=True, max_size=30))
def test_every_order_of_the_entries_gives_the_same_listing(all_names: list[str]) -> None:
    entries = [Entry(name, "file" if at % 3 else "directory") for at, name in enumerate(all_names)]
    wanted = Wanted(files=True)
    assert sifted(entries, wanted) == sifted(entries[::-1], wanted)
    assert len(names(sifted(entries, wanted))) == sum(is_offered(name, hidden=False) for name in all_names)


def test_no_more_is_listed_than_is_shown_and_the_first_ones_are() -> None:
    found = sifted([Entry(f"{at:05}") for at in reversed(range(MAX_SHOWN + 20))])
    assert names(found) == [f"{at:05}" for at in range(MAX_SHOWN)]
    assert found.left_off == 20


def test_what_is_looked_for_is_listed_although_it_comes_last_or_is_hidden() -> None:
    entries = [Entry(f"{at:05}") for at in range(MAX_SHOWN + 20)]
    found = sifted(entries, Wanted(also=entries[-1].name))
    assert len(found.entries) == MAX_SHOWN
    assert names(found)[-1] == entries[-1].name
    assert names(sifted([Entry(".x"), Entry(".y")], Wanted(also=".x"))) == [".x"]
    assert names(sifted([Entry(".leafsync_tmp")], Wanted(also=".leafsync_tmp"))) == []


def test_only_names_that_begin_as_wanted_are_listed() -> None:
    entries = [Entry("Documents"), Entry("Downloads"), Entry("Music")]
    assert names(sifted(entries, Wanted(beginning="Do"))) == ["Documents", "Downloads"]


def test_a_directory_without_end_is_read_to_a_limit() -> None:
    read = 0

    def endless() -> Iterator[Entry]:
        nonlocal read
        while True:
            read += 1
            yield Entry(f"{read:07}")

    found = sifted(endless())
    assert found.cut
    assert len(found.entries) == MAX_SHOWN
    assert read == MAX_READ + 1


def test_reading_ends_when_nobody_waits_for_it() -> None:
    read = 0

    def endless() -> Iterator[Entry]:
        nonlocal read
        while True:
            read += 1
            yield Entry(f"{read:07}")

    assert sifted(endless(), stopped=lambda: read > 5).cut
    assert read <= LOOK_EVERY + 1


def test_only_so_many_links_are_looked_through() -> None:
    entries = [Entry(f"{at:04}", link=True) for at in range(MAX_LINKS + 10)]
    found = sifted(entries)
    assert len(found.entries) == MAX_LINKS
    assert sum(entry.asked for entry in entries) == MAX_LINKS


def test_what_cannot_be_looked_at_is_no_directory() -> None:
    assert sifted([Entry("x", "error")], Wanted(files=True)).entries == (Found("x", directory=False),)


def test_a_directory_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert list_directory(str(tmp_path / "none"), Wanted()) == Listing(reason="it does not exist")
    for impossible in ("/a\0b", "/a\ud800b"):
        assert list_directory(impossible, Wanted()).reason == "no file can be called so"


def test_an_error_while_reading_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(path: str) -> Iterator[Entry]:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", broken)
    assert list_directory(str(tmp_path), Wanted()).reason == "you may not read it"


def test_reasons_are_escaped() -> None:
    assert reason_of(OSError(5, "bad \x1b[31mdisk")) == "bad \\x1b[31mdisk"
    assert reason_of(RuntimeError()) == "RuntimeError"
    assert "15 s" in reason_of(TimeoutError())


# Threads


async def test_a_call_gives_its_result_from_another_thread() -> None:
    assert await in_thread(lambda _stopped: threading.current_thread()) is not threading.main_thread()
    assert await in_thread(lambda stopped: stopped()) is False


async def test_a_call_gives_its_error() -> None:
    def fail(_stopped: Stopped) -> None:
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        await in_thread(fail)


async def test_a_call_that_hangs_is_left_behind_and_told() -> None:
    told = threading.Event()

    def hang(stopped: Stopped) -> None:
        end = time.monotonic() + 10
        while not stopped() and time.monotonic() < end:
            threading.Event().wait(0.001)
        told.set()

    with pytest.raises(TimeoutError):
        await in_thread(hang, 0.01)
    assert await asyncio.to_thread(told.wait, 10)


async def test_a_cancelled_call_is_told() -> None:
    told = threading.Event()

    def hang(stopped: Stopped) -> None:
        while not stopped():
            threading.Event().wait(0.001)
        told.set()

    task = asyncio.create_task(in_thread(hang))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(told.wait, 10)


def test_a_call_may_outlive_the_loop() -> None:
    go, ended = threading.Event(), threading.Event()

    def late(_stopped: Stopped) -> None:
        go.wait(10)
        ended.set()

    with pytest.raises(TimeoutError):
        asyncio.run(in_thread(late, 0.01))
    go.set()
    assert ended.wait(10)


async def test_listing_works_in_a_thread(folder: Path) -> None:
    assert names(await in_thread(partial(list_directory, str(folder), Wanted())))[0] == "Alpha"


# A directory as a folder


def test_a_directory_can_be_taken_and_other_things_say_why_not(tmp_path: Path) -> None:
    (tmp_path / "Music").mkdir()
    (tmp_path / "Document.txt").write_text("")
    assert folder_problem(str(tmp_path / "Music")) == ""
    assert folder_problem(str(tmp_path / "nothing")) == "it does not exist"
    assert folder_problem(str(tmp_path / "Document.txt")) == "it is not a directory"
    assert folder_problem(str(tmp_path / ".leafsync_trash")) == "LeafSync keeps its own files there"
    assert folder_problem(str(tmp_path / ".leafsync_trash/x/y")) == "LeafSync keeps its own files there"


def test_a_directory_that_may_not_be_opened_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert folder_problem(str(tmp_path)) == "you may not read it"


def test_a_directory_whose_entries_may_not_be_looked_at_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.X_OK)
    assert folder_problem(str(tmp_path)) == "you may not read it"
