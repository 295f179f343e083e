"""Groups: how large they are, how many at once, and what the memory holds."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from leafsync.engine.core.events import Reconnecting
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.messages import FetchItem
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.steps import Fetch
from leafsync.engine.disk.staging import Staging
from leafsync.engine.sync import committer
from leafsync.engine.sync.share import Share
from tests.support.devices import DEADLINE, Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.hostile import Talk, connect_to, pull_from, silence

OLD = 1_700_000_000.0


class Watched:
    """Counts the files of each group, and the groups under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[int] = []
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        commit = Staging.commit

        def watched(staging: Staging, items: Sequence[Any], *rest: Any) -> Any:
            with self._lock:
                self.groups.append(len(items))
                self._running += 1
                self.most = max(self.most, self._running)
            try:
                return commit(staging, items, *rest)
            finally:
                with self._lock:
                    self._running -= 1

        monkeypatch.setattr(Staging, "commit", watched)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


async def test_groups_end_by_number(
    client: Device, hostile: MakeHostile, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "GROUP_FILES", 3)
    contents = {f"{number:02}": b"%d" % number for number in range(10)}
    summary = await pull_from(client, await hostile(contents), streams=1)
    assert sorted(watched.groups) == [1, 3, 3, 3]
    assert {path: client.read(path) for path in contents} == contents
    assert summary.totals.files_done == 10


async def test_groups_end_by_size(
    client: Device, hostile: MakeHostile, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "GROUP_BYTES", 250)
    await pull_from(client, await hostile({f"{number}": b"x" * 100 for number in range(5)}), streams=1)
    assert sorted(watched.groups) == [2, 3]


async def test_few_groups_at_once(
    client: Device, hostile: MakeHostile, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "GROUP_FILES", 1)
    contents = {f"{number:02}": b"%d" % number for number in range(30)}
    await pull_from(client, await hostile(contents))
    assert watched.most <= committer.GROUPS_AT_ONCE
    assert client.tree().keys() == contents.keys()


async def test_nothing_to_fetch_commits_nothing(client: Device, hostile: MakeHostile, watched: Watched) -> None:
    server = await hostile({"a": b""})
    await pull_from(client, server)
    assert watched.groups == [1]
    assert not server.paths(), "an empty file needs no content"
    await pull_from(client, server)
    assert watched.groups == [1]


async def test_a_finished_file_does_not_wait_for_slow_ones(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "GROUP_SECONDS", 0.01)
    server = await hostile({"a": b"quick", "b": b"never comes"})
    honest = server.item

    async def item(talk: Talk, item: FetchItem) -> None:
        await (honest if item.path == "a" else silence)(talk, item)

    server.item = item
    job = await connect_to(client, server, streams=1)
    await until(lambda: job.status().totals.files_done == 1)
    assert client.read("a") == b"quick"
    assert not (client.folder / "b").exists()
    await job.stop()


@pytest.mark.parametrize("stopped", ["client", "server"])
async def test_a_commit_ends_before_its_folder_is_closed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """A job that is paused and then stopped is cancelled twice, and so is a session of a `serve` that is stopped."""
    taker, giver = (pair.client, pair.server) if stopped == "client" else (pair.server, pair.client)
    server = await pair.server.serve()
    taker.write("f", b"old", mtime=OLD)
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: bool(pair.client.passes()))
    committing, go_on = threading.Event(), threading.Event()
    commit = Staging.commit

    def slowly(staging: Staging, items: Sequence[Any], *rest: Any) -> Any:
        committing.set()
        go_on.wait(DEADLINE)
        return commit(staging, items, *rest)

    monkeypatch.setattr(Staging, "commit", slowly)
    closed: list[str] = []
    close = Share._close

    def closing(share: Share) -> None:
        closed.append(share.folder.path)
        close(share)

    monkeypatch.setattr(Share, "_close", closing)
    giver.write("f", b"the new version", mtime=OLD + 5)
    await until(committing.is_set)
    if stopped == "client":
        job.pause()
        await asyncio.sleep(0)
    stopping = asyncio.create_task(taker.engine.stop(job.id if stopped == "client" else server.id))
    await until(lambda: stopped == "client" or bool(pair.client.seen(Reconnecting)))
    for _turn in range(100):
        await asyncio.sleep(0)
    assert not closed
    assert not stopping.done()
    go_on.set()
    await stopping
    assert taker.read("f") == b"the new version"
    assert taker.trash() == {"f"}
    passes = await taker.engine.with_records(str(taker.folder), lambda records: list(records.passes()))
    assert [action.path for one in passes for action in one.actions if action.kept] == ["f"]
    await giver.engine.stop(server.id if stopped == "client" else job.id)


class Inline:
    """Workers that do everything at once."""

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return call(*arguments)


class Closable:
    """A staged file of which nothing matters but that it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


async def test_files_that_wait_for_a_group_are_closed_when_it_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is staged stays for the next pass."""
    monkeypatch.setattr(committer, "GROUPS_AT_ONCE", 0)
    share: Any = SimpleNamespace(workers=Inline())
    unused: Any = None
    collecting = committer.Committer(share, lambda _path: None, unused, unused)
    staged: list[Any] = [Closable(), Closable()]
    for number, file in enumerate(staged):
        entry = Entry(f"{number}", Kind.FILE, 5, 0, False, bytes(32))
        await collecting.add_large(Fetch(entry.name, entry), file)
    closing = asyncio.create_task(collecting.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [file.closed for file in staged] == [1, 1]
