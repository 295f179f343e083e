"""Groups: how large they are, how many at once, and what the memory holds."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from leafsync.engine.core.messages import FetchItem
from leafsync.engine.disk.staging import Staging
from leafsync.engine.sync import committer
from tests.support.devices import Device, until
from tests.support.engines import MakeHostile
from tests.support.hostile import Talk, connect_to, pull_from, silence


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
