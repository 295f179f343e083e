"""A folder in use: its lock, its scans, and threads that never outlive what they work on."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leafsync.engine.core.names import TRASH
from leafsync.engine.disk import inotify
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.retention import MIN_AGE_SECONDS
from leafsync.engine.disk.scan import scan
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.watch import Watcher
from leafsync.engine.sync import share as share_module
from leafsync.engine.sync.records import record_name
from leafsync.engine.sync.share import Share, Workers
from leafsync.errors import DiskFailed, FolderInUse, FolderMissing, StoreUnusable


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    root.mkdir()
    return root


@pytest.fixture
async def share(root: Path, tmp_path: Path, workers: Workers) -> AsyncIterator[Share]:
    share = await Share.open(str(root), tmp_path / "records", workers)
    yield share
    await share.close()


class Gate:
    """A blocking call that a test lets go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.left = False

    def __call__(self, result: Any = None) -> Any:
        self.entered.set()
        assert self.opened.wait(5)
        self.left = True
        return result


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, 5)


async def test_a_cancelled_caller_waits_for_the_thread(workers: Workers) -> None:
    gate = Gate()
    running = asyncio.create_task(workers.run(gate))
    await entered(gate)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gate.left


async def test_what_a_cancelled_caller_opened_is_given_back(workers: Workers) -> None:
    gate, given_back = Gate(), list[str]()
    opening = asyncio.create_task(workers.obtain(lambda: gate("opened"), given_back.append))
    await entered(gate)
    opening.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert given_back == ["opened"]


async def test_what_is_obtained_is_kept(workers: Workers) -> None:
    given_back: list[str] = []
    assert await workers.obtain(lambda: "opened", given_back.append) == "opened"
    assert not given_back


async def test_a_call_that_failed_gives_nothing_back(workers: Workers) -> None:
    gate = Gate()

    def fail() -> str:
        gate()
        raise OSError

    given_back: list[str] = []
    opening = asyncio.create_task(workers.obtain(fail, given_back.append))
    await entered(gate)
    opening.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not given_back


async def test_opening_that_is_cancelled_frees_the_folder(
    root: Path, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(share_module, "record_name", lambda path: gate(record_name(path)))
    opening = asyncio.create_task(Share.open(str(root), tmp_path / "records", workers))
    await entered(gate)
    opening.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await (await Share.open(str(root), tmp_path / "records", workers)).close()


async def test_opening_that_fails_frees_the_folder(root: Path, tmp_path: Path, workers: Workers) -> None:
    records = tmp_path / "records"
    records.write_text("a file where a directory should be")
    with pytest.raises(StoreUnusable):
        await Share.open(str(root), records, workers)
    records.unlink()
    await (await Share.open(str(root), records, workers)).close()


async def test_preparing_that_fails_frees_the_folder(
    root: Path, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_store: Store) -> None:
        raise StoreUnusable(path="store", reason="it is damaged")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "staged_rows", damaged)
        with pytest.raises(StoreUnusable):
            await Share.open(str(root), tmp_path / "records", workers)
    await (await Share.open(str(root), tmp_path / "records", workers)).close()


async def test_what_a_killed_pass_threw_away_is_in_the_history(root: Path, tmp_path: Path, workers: Workers) -> None:
    kept = root / ".leafsync_trash" / "20261122-134501-ab12" / "f"
    kept.parent.mkdir(parents=True)
    kept.write_text("old")
    share = await Share.open(str(root), tmp_path / "records", workers)
    try:
        (record,) = share.store.passes()
    finally:
        await share.close()
    assert (record.id, [action.path for action in record.actions]) == ("20261122-134501-ab12", ["f"])


@pytest.mark.usefixtures("share")
async def test_a_folder_is_opened_once(root: Path, tmp_path: Path, workers: Workers) -> None:
    with pytest.raises(FolderInUse):
        await Share.open(str(root), tmp_path / "others", workers)


async def test_a_scan_shows_what_was_there_when_it_was_asked_for(share: Share, root: Path) -> None:
    for number in range(3):
        (root / f"{number}").write_text("x")
        assert (await share.scan()).index.files == number + 1


async def test_calls_that_wait_share_the_next_scan(share: Share, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, scans = Gate(), 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal scans
        scans += 1
        gate()
        return scan(*arguments, **options)

    monkeypatch.setattr(share_module, "scan", counted)
    first = asyncio.create_task(share.scan())
    await entered(gate)
    (root / "late").write_text("x")
    others = [asyncio.create_task(share.scan()) for _number in range(5)]
    await asyncio.sleep(0)
    gate.opened.set()
    await first
    assert [(await other).index.files for other in others] == [1] * 5
    assert scans == 2


async def test_a_cancelled_scan_leaves_the_next_one_alone(share: Share, root: Path) -> None:
    for number in range(200):
        (root / f"{number}").write_bytes(b"%d" % number)
    scanning = asyncio.create_task(share.scan())
    await asyncio.sleep(0)
    scanning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scanning
    assert (await share.scan()).index.files == 200


async def test_a_scan_that_was_cancelled_is_not_taken_for_one(share: Share, root: Path) -> None:
    """What the watcher reported before is still to be looked at."""
    watched = asyncio.Event()
    share.listeners.add(watched.set)
    share.watch()
    await watched.wait()
    await share.scan()
    (root / "new").write_text("x")
    share._on_change(None)
    scanning = asyncio.create_task(share.scan(fresh=False))
    await asyncio.sleep(0)
    scanning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scanning
    assert (await share.scan(fresh=False)).index.files == 1


async def watched(share: Share) -> None:
    """Watch the folder, and return once nothing escapes the watcher."""
    watching = asyncio.Event()
    share.listeners.add(watching.set)
    share.watch()
    await watching.wait()


@pytest.mark.skipif(not inotify.AVAILABLE, reason="there is no inotify here")
async def test_a_watched_folder_is_looked_at_where_it_changed(
    share: Share, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was changed before the call is in the scan all the same."""
    monkeypatch.setattr(inotify, "changed_here_alone", lambda _path: True)
    (root / "d").mkdir()
    await watched(share)
    await share.scan()
    monkeypatch.setattr(share_module, "scan", lambda *_arguments, **_options: pytest.fail("it looked at everything"))
    for number in range(20):
        (root / "d" / f"{number}").write_bytes(b"x")
        assert (await share.scan()).index.files == number + 1
    latest = share.latest
    assert await share.scan() is latest


@pytest.mark.skipif(not inotify.AVAILABLE, reason="there is no inotify here")
@pytest.mark.parametrize("linked", ["before", "after"])
async def test_an_edit_through_another_name_of_a_file(
    share: Share, root: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    """The watcher tells of the directory of the name that was used, whenever that was made."""
    monkeypatch.setattr(inotify, "changed_here_alone", lambda _path: True)
    for name in "ab":
        (root / name).mkdir()
    (root / "a/file").write_bytes(b"x")
    if linked == "before":
        (root / "b/file").hardlink_to(root / "a/file")
    await watched(share)
    await share.scan()
    if linked == "after":
        (root / "b/file").hardlink_to(root / "a/file")
        await share.scan()
    (root / "b/file").write_bytes(b"edited")
    assert (await share.scan()).index.bytes == 2 * len(b"edited")
    latest = share.latest
    (root / "b/other").write_bytes(b"")
    monkeypatch.setattr(share_module, "scan", lambda *_arguments, **_options: pytest.fail("it looked at everything"))
    assert await share.scan() is not latest


async def test_looking_again_without_a_watcher(share: Share, root: Path) -> None:
    """What this process changed is seen, and nothing else is looked at."""
    (root / "d").mkdir()
    assert (await share.look_again()).index.files == 0
    latest = share.latest
    (root / "d" / "mine").write_bytes(b"x")
    (root / "another's").write_bytes(b"x")
    assert await share.look_again() is latest
    share.changed({"d"})
    assert [path for path, _entry in (await share.look_again()).index.walk()] == ["d", "d/mine"]
    assert (await share.scan(fresh=False)).index.files == 2


async def test_looking_again_after_lost_notices(share: Share, root: Path) -> None:
    await share.scan()
    (root / "f").write_bytes(b"x")
    share._on_change(None)
    assert (await share.look_again()).index.files == 1


async def test_everything_is_looked_at_where_the_watcher_may_miss_changes(
    share: Share, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched(share)
    await share.scan()
    monkeypatch.setattr(Watcher, "catch_up", lambda _watcher: False)
    monkeypatch.setattr(share_module, "rescan", lambda *_arguments, **_options: pytest.fail("it looked at a part"))
    (root / "f").write_bytes(b"x")
    assert (await share.scan()).index.files == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
async def test_a_folder_whose_marker_cannot_be_written(
    root: Path, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It has its id in the records, keeps it, and gets its marker when that is possible."""

    def refuse(*_arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    marker, identities = root / ".leafsync_tmp" / "folder-id", list[str]()
    with monkeypatch.context() as broken:
        broken.setattr(Folder, "write_at", refuse)
        for _time in range(2):
            share = await Share.open(str(root), tmp_path / "records", workers)
            identities.append(share.identity)
            assert share.lost is None
            await share.close()
    assert not marker.exists()
    share = await Share.open(str(root), tmp_path / "records", workers)
    identities.append(share.identity)
    await share.close()
    assert len(set(identities)) == 1
    assert marker.read_text().strip() == identities[0]


async def test_a_marker_that_cannot_be_read_is_not_taken_for_none(
    root: Path, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await Share.open(str(root), tmp_path / "records", workers)).close()

    def refuse(*_arguments: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(Folder, "open_file", refuse)
        with pytest.raises(DiskFailed):
            await Share.open(str(root), tmp_path / "other records", workers)
    await (await Share.open(str(root), tmp_path / "records", workers)).close()


async def test_closing_that_is_cancelled_still_closes(root: Path, tmp_path: Path, workers: Workers) -> None:
    share = await Share.open(str(root), tmp_path / "records", workers)
    share.watch()
    closing = asyncio.create_task(share.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await (await Share.open(str(root), tmp_path / "records", workers)).close()


async def test_a_missing_folder(tmp_path: Path, workers: Workers) -> None:
    with pytest.raises(FolderMissing):
        await Share.open(str(tmp_path / "nowhere"), tmp_path / "records", workers)


async def test_a_folder_that_stays_open_prunes_its_trash_daily(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []
    monkeypatch.setattr(share_module, "prune", lambda *_arguments, now, running: looked.append(now))
    await share.scan()
    assert looked == []
    monkeypatch.setattr(share_module, "PRUNE_INTERVAL", 0.0)
    await share.scan()
    assert len(looked) == 1


async def test_the_trash_of_the_last_hour_stays_although_the_clock_is_set(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a clock of its own learns the time after it has begun to sync."""
    top = Path(share.folder.path) / TRASH
    for name in ("at work", "of now", "of an hour ago", "of others"):
        (top / name).mkdir(parents=True)
        os.utime(top / name, (0, 0))
    clock = SimpleNamespace(time=time.time, monotonic=lambda: 10_000.0)
    monkeypatch.setattr("leafsync.engine.sync.share.time", clock)
    for name in ("at work", "of now", "of an hour ago"):
        share.begin_trash(name)
    share.end_trash("of an hour ago")
    clock.monotonic = lambda: 10_000.0 + MIN_AGE_SECONDS + 1
    share.end_trash("of now")
    await share.close()
    assert {path.name for path in top.iterdir()} == {"at work", "of now"}
