"""The base between passes: read when it is needed, written where it changed, and believed only if still stored."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.base import Look
from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.merge import never
from leafsync.engine.core.steps import NOTHING_HELD, Held, Plan
from leafsync.engine.disk.store import Store
from leafsync.engine.sync.base import Base
from leafsync.engine.sync.share import Share, Workers

PEER, REMOTE = "f" * 64, "a" * 32


def file(name: str, size: int) -> Entry:
    return Entry(name, Kind.FILE, size, hash=bytes([size]) * 32)


def index(*, top: int, below: int) -> Index:
    """A file of one size at the top, and one of another size in a directory."""
    return Index({"": [Entry("d", Kind.DIRECTORY), file("f", top)], "d": [file("g", below)]})


@pytest.fixture
async def share(tmp_path: Path) -> AsyncIterator[Share]:
    (tmp_path / "folder").mkdir()
    workers = Workers()
    share = await Share.open(str(tmp_path / "folder"), tmp_path / "records", workers)
    yield share
    await share.close()
    workers.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose base was read, each time one was."""
    asked: list[str] = []
    original = Store.base

    def base(self: Store, peer: str, remote: str) -> Any:
        asked.append(peer)
        return original(self, peer, remote)

    monkeypatch.setattr(Store, "base", base)
    return asked


def of(share: Share, only: str = "") -> Base:
    return Base(share, PEER, REMOTE, only=only)


async def loaded(share: Share, only: str = "") -> dict[str, Any] | None:
    """What a new process would find."""
    found = await of(share, only).load()
    return dict(found.directories) if found is not None else None


async def advanced(base: Base, local: Index, remote: dict[str, Any]) -> None:
    """Let it advance after a pass that had nothing to do."""
    await base.advance(Look(local, remote), Look(local, remote), Plan(), never)


async def test_there_is_none_at_first(share: Share) -> None:
    assert await of(share).load() is None


async def test_what_was_agreed_on_is_not_read_again(share: Share, reads: list[str]) -> None:
    base, agreed = of(share), index(top=1, below=2)
    await base.agree(agreed)
    assert await base.load() is agreed
    assert reads == []
    assert await loaded(share) == agreed.directories


async def test_agreeing_on_the_same_writes_nothing(
    share: Share, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await of(share).agree(index(top=1, below=2))
    monkeypatch.setattr(Store, "put_base", lambda *_args, **_kwargs: pytest.fail("it was written"))
    again, base = index(top=1, below=2), of(share)
    await base.agree(again)
    assert await base.load() is again
    assert reads == []


async def test_what_is_read_is_kept(share: Share, reads: list[str]) -> None:
    await of(share).agree(index(top=1, below=2))
    base = of(share)
    first = await base.load()
    assert first is not None
    assert await base.load() is first
    assert reads == [PEER]


async def test_what_somebody_else_has_written_meanwhile_is_read(share: Share) -> None:
    base, newer = of(share), index(top=3, below=2)
    await base.agree(index(top=1, below=2))
    await of(share).agree(newer)
    found = await base.load()
    assert found is not None
    assert found.directories == newer.directories


async def test_it_advances_where_both_sides_are_the_same(share: Share) -> None:
    base = of(share)
    await base.agree(index(top=1, below=2))
    local, remote = index(top=3, below=4), index(top=5, below=4)
    await advanced(base, local, {"": remote.children("")})
    expected = index(top=1, below=4)
    assert await loaded(share) == expected.directories
    kept = await base.load()
    assert kept is not None
    assert (dict(kept.directories), kept.digest) == (expected.directories, expected.digest)


async def test_it_advances_from_nothing(share: Share) -> None:
    local, remote = index(top=3, below=4), index(top=5, below=4)
    await advanced(of(share), local, {"": remote.children("")})
    found = await of(share).load()
    assert found is not None
    assert [path for path, _entry in found.walk()] == ["d", "d/g"]


@pytest.mark.parametrize("advancing", [True, False])
async def test_passes_about_one_path_leave_the_rest(share: Share, advancing: bool) -> None:
    await of(share).agree(index(top=1, below=2))
    base, local = of(share, only="d"), index(top=3, below=4).only("d")
    if advancing:
        await advanced(base, local, {"": local.children("")})
    else:
        await base.agree(local)
    assert await loaded(share) == index(top=1, below=4).directories
    assert await loaded(share, only="d") == local.directories


async def test_deletes_that_wait_are_there_once_loaded(share: Share) -> None:
    held = Held(frozenset({"f"}), frozenset({"d"}))
    await of(share).hold(held)
    base = of(share)
    assert base.held == NOTHING_HELD
    await base.load_held()
    assert base.held == held


async def test_damaged_waiting_deletes_take_the_base_with_them(share: Share) -> None:
    await of(share).agree(index(top=1, below=2))
    base = of(share)
    await base.hold(Held(frozenset({"f"}), frozenset()))
    assert await base.load() is not None
    with share.store._write() as connection:
        connection.execute("UPDATE held SET paths = x'00'")
    await base.load_held()
    assert base.held == NOTHING_HELD
    assert await base.load() is None
