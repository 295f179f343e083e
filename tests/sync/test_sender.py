"""The side that has the content: only what was hashed leaves, and it is hashed again when nobody remembers how."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import FetchItem
from leafsync.engine.disk.store import Store
from leafsync.engine.sync import sender
from leafsync.engine.sync.serving import ServeJob
from tests.support.devices import Pair

OLD = 1_700_000_000.0
BIG = random.Random(0).randbytes(3 * CHUNK_SIZE + 9)


@pytest.fixture
async def server(pair: Pair) -> ServeJob:
    pair.server.write("big", BIG, mtime=OLD)
    pair.server.write("small", b"small", mtime=OLD)
    return await pair.server.serve()


async def test_leaves_in_several_pages(pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "MAX_LEAVES_PAGE", 1)
    await pair.client.pull(server)
    assert pair.client.tree() == pair.server.tree()


@pytest.mark.parametrize("known", [None, b"", bytes(4 * 32), bytes(32)], ids=["lost", "empty", "wrong", "too few"])
async def test_leaves_that_the_records_do_not_have(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch, known: bytes | None
) -> None:
    monkeypatch.setattr(Store, "leaves", lambda *_arguments: known)
    summary = await pair.client.pull(server)
    if known == bytes(4 * 32):
        assert [path for path, _reason in summary.problems] == ["big"]
        assert set(pair.client.tree()) == {"small"}
    else:
        assert pair.client.tree() == pair.server.tree()


def truncate(path: Path) -> None:
    os.truncate(path, 2)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, (OLD, OLD))
    other.rename(path)


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = {truncate: "changed", replace: "changed", remove: "gone", link: "cannot read", pipe: "cannot read"}


@pytest.mark.parametrize("name", ["small", "big"])
@pytest.mark.parametrize("change", CHANGES)
async def test_what_changed_after_the_scan_is_not_sent(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch, change: Any, name: str
) -> None:
    """Changed when it is asked for: after the listing, before it is opened."""
    original, path = sender.Offer.open, pair.server.folder / name
    changes = [change]

    def opened(offer: sender.Offer, item: Any) -> sender.Source:
        if item.path == name and changes:
            changes.pop()(path)
        return original(offer, item)

    monkeypatch.setattr(sender.Offer, "open", opened)
    summary = await pair.client.pull(server)
    assert set(pair.client.tree()) == {"big", "small"} - {name}
    if change is not remove or summary.problems:
        assert [path for path, _reason in summary.problems] == [name]
        assert CHANGES[change] in summary.problems[0][1]
    # Else the last look has seen already that neither side has such a file, so nothing is left undone.


def test_batches_are_bounded_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "BATCH_FILES", 3)
    monkeypatch.setattr(sender, "BATCH_BYTES", 100)
    sizes = [10, 10, 10, 10, 90, 90, 200, 5]
    items = [FetchItem(f"{number}", size, bytes(32), []) for number, size in enumerate(sizes)]
    batches = [[item.size for item in batch] for batch in sender._batches(items)]
    assert batches == [[10, 10, 10], [10, 90], [90], [200], [5]]
