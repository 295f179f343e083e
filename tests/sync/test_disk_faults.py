"""Disks that fail on either side of a pass: old files stay, what can be done is done, the rest is told."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.events import PeerLeft
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import AbortReason
from leafsync.engine.disk import staged as staged_file
from leafsync.engine.disk.buffers import read_chunk
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.sync import committer, sender
from leafsync.errors import DiskFull, FolderMissing, PeerClosed
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.hostile import HostileServer, pull_from

OLD = 1_700_000_000.0
BIG = b"".join(bytes([number + 1]) * CHUNK_SIZE for number in range(3)) + b"tail"


class Faults:
    """Lets methods of every Folder below a directory fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
        self._monkeypatch = monkeypatch
        self._root = str(device.folder)
        self._watched: dict[str, tuple[int, str, int]] = {}
        self.calls = 0

    def fail(self, step: str, code: int, about: str = "", *, skip: int = 0) -> None:
        """Let calls of `step` that name `about` raise OSError, after `skip` that go well."""
        original = getattr(Folder, step)
        left = skip

        def failing(folder: Folder, *arguments: Any, **options: Any) -> Any:
            nonlocal left
            if folder.path == self._root and about in repr(arguments):
                self.calls += 1
                if left == 0:
                    raise OSError(code, os.strerror(code))
                left -= 1
            return original(folder, *arguments, **options)

        self._monkeypatch.setattr(Folder, step, failing)

    def mend(self) -> None:
        self._monkeypatch.undo()


@pytest.fixture
async def faults(monkeypatch: pytest.MonkeyPatch, client: Device) -> Faults:
    """The folder was in use before, so that it has its marker already."""
    await (await client.serve()).stop()
    return Faults(monkeypatch, client)


def staged(device: Device) -> list[str]:
    """Return what is in the staging directory."""
    return [name for name in os.listdir(device.folder / ".leafsync_tmp") if name not in ("lock", "folder-id")]  # noqa: PTH208


# The pulling side is full


async def full_then_mended(client: Device, server: HostileServer, faults: Faults) -> None:
    before = client.tree()
    with pytest.raises(DiskFull):
        await pull_from(client, server, mirror=True)
    assert faults.calls
    assert client.tree() == before
    faults.mend()
    server.asked.clear()
    await pull_from(client, server, mirror=True)
    for path, data in server.folder.contents.items():
        assert client.read(path) == data
    assert not staged(client)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("create_staged", errno.ENOSPC),
        ("write_at", errno.EDQUOT),
        ("resize", errno.ENOSPC),
        ("dress", errno.EDQUOT),
        ("sync_file", errno.ENOSPC),
        ("sync_all", errno.EDQUOT),
        ("rename_new", errno.ENOSPC),
        ("link", errno.EDQUOT),
        ("exchange", errno.ENOSPC),
    ],
)
async def test_a_full_disk_ends_the_pass(
    client: Device, hostile: MakeHostile, faults: Faults, step: str, code: int
) -> None:
    """A single large file is flushed by itself; an old version is linked into the trash, then exchanged."""
    contents = {"big": BIG} if step == "sync_file" else {"big": BIG, "one": b"one", "two": b"two"}
    server = await hostile(contents)
    if step in ("link", "exchange"):
        for path in contents:
            client.write(path, "the old one", mtime=OLD)
    faults.fail(step, code)
    await full_then_mended(client, server, faults)


async def test_chunks_that_fitted_are_not_fetched_again(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    server = await hostile({"big": BIG})
    client.write("big", "the old one")
    faults.fail("write_at", errno.ENOSPC, skip=2)
    await full_then_mended(client, server, faults)
    assert len(server.indexes()) == 2


async def test_too_large_for_what_is_free(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "free_space", lambda _folder: (64 << 20) + len(BIG) - 1)
    server = await hostile({"big": BIG})
    with pytest.raises(DiskFull):
        await pull_from(client, server, mirror=True)
    assert not server.indexes(), "not one chunk was asked for"
    assert not staged(client)


async def test_a_full_disk_while_resuming(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    server = await hostile({"big": BIG})
    faults.fail("write_at", errno.ENOSPC, skip=2)
    with pytest.raises(DiskFull):
        await pull_from(client, server, mirror=True)
    faults.mend()
    faults.fail("resize", errno.ENOSPC)
    server.asked.clear()
    await full_then_mended(client, server, faults)
    assert len(server.indexes()) == 2, "what was staged outlived both"


async def test_files_of_earlier_groups_stay(
    client: Device, hostile: MakeHostile, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "GROUP_FILES", 4)
    contents = {f"{number:02}": b"%d" % number for number in range(12)}
    server = await hostile(contents)
    faults.fail("create_staged", errno.ENOSPC, skip=4)
    with pytest.raises(DiskFull):
        await pull_from(client, server, streams=1)
    assert len(client.tree()) == 4
    faults.mend()
    await pull_from(client, server, mirror=True)
    assert set(client.tree()) == contents.keys()


async def test_a_disk_without_room_for_a_name(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    server = await hostile({"d/a": b"x"})
    faults.fail("make_directory", errno.ENOSPC)
    await full_then_mended(client, server, faults)


# The pulling side fails otherwise


async def test_a_directory_that_cannot_be_made(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    server = await hostile({"a": b"x", "d/in/it": b"y", "d/too": b"z", "e/b": b"w"})
    faults.fail("make_directory", errno.EACCES, "'d'")
    summary = await pull_from(client, server, mirror=True)
    assert {path for path in client.tree() if "/" not in path or path.startswith("e")} == {"a", "e", "e/b"}
    assert {path for path, _reason in summary.problems} == {"d", "d/in", "d/in/it", "d/too"}
    assert dict(summary.problems)["d"] == "d: Permission denied."
    faults.mend()
    assert not (await pull_from(client, server, mirror=True)).problems
    assert client.read("d/in/it") == b"y"


@pytest.mark.parametrize(
    ("step", "about"),
    [("create_staged", ""), ("write_at", ""), ("dress", ""), ("rename_new", "one"), ("sync_all", "")],
)
async def test_other_errors_are_problems(
    client: Device, hostile: MakeHostile, faults: Faults, step: str, about: str
) -> None:
    server = await hostile({"one": b"one", "two": b"two"})
    faults.fail(step, errno.EIO, about)
    summary = await pull_from(client, server, mirror=True)
    assert faults.calls
    if about:
        assert [path for path, _reason in summary.problems] == ["one"]
        assert client.read("two") == b"two"
    else:
        assert {path for path, _reason in summary.problems} == {"one", "two"}
    faults.mend()
    assert not (await pull_from(client, server, mirror=True)).problems
    assert set(client.tree()) == {"one", "two"}
    assert not staged(client)


async def test_a_large_file_that_cannot_be_written(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    """It is one entry's trouble: the others come all the same."""
    server = await hostile({"big": BIG, "one": b"one"})
    client.write("big", "the old one")
    faults.fail("write_at", errno.EIO, str(CHUNK_SIZE))
    summary = await pull_from(client, server, mirror=True)
    assert [path for path, _reason in summary.problems] == ["big"]
    assert (client.read("big"), client.read("one")) == (b"the old one", b"one")


async def test_a_staging_file_that_cannot_be_opened(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    server = await hostile({"big": BIG, "one": b"one"})
    faults.fail("create_staged", errno.EIO)
    summary = await pull_from(client, server, mirror=True)
    assert {path for path, _reason in summary.problems} == {"big", "one"}


async def test_a_file_here_that_cannot_be_read(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    """Nobody knows what would be lost, so it is not replaced."""
    server = await hostile({"big": BIG, "one": b"one"})
    client.write("big", "the old one", mtime=OLD)
    faults.fail("open_file", errno.EIO, "big")
    summary = await pull_from(client, server, mirror=True)
    assert [path for path, _reason in summary.problems] == ["big"]
    assert (client.read("big"), client.read("one")) == (b"the old one", b"one")
    assert not server.indexes().count(1)


async def test_a_bad_sector_in_the_old_version(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.server.write("big", BIG, mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.server.write("big", BIG[:-4] + b"edit", mtime=OLD + 5)
    inode = (pair.client.folder / "big").stat().st_ino

    def failing(descriptor: int, length: int, offset: int) -> memoryview:
        if offset == CHUNK_SIZE and os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_chunk(descriptor, length, offset)

    monkeypatch.setattr(staged_file, "read_chunk", failing)
    summary = await pair.client.pull(server)
    assert pair.client.read("big") == BIG[:-4] + b"edit"
    assert summary.totals.fetched == CHUNK_SIZE + 4
    assert not summary.problems


async def test_a_file_that_vanishes_before_it_is_replaced(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"new", "b": b"new"})
    client.write("a", "the old one")

    async def vanishing(talk: Any, item: Any) -> None:
        (client.folder / "a").unlink(missing_ok=True)
        await server.honest_item(talk, item)

    server.item = vanishing
    summary = await pull_from(client, server, mirror=True)
    assert [path for path, _reason in summary.problems] == ["a"]
    assert set(client.tree()) == {"b"}
    server.item = server.honest_item
    await pull_from(client, server, mirror=True)
    assert client.read("a") == b"new"


async def test_the_root_vanishes_while_pulling(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"new"})
    moved = client.home / "moved"

    async def vanishing(talk: Any, request: Any) -> None:
        client.folder.rename(moved)
        await server.honest_digest(talk, request)

    server.digest = vanishing
    with contextlib.suppress(FolderMissing):
        await pull_from(client, server, mirror=True)
        # The scan was faster: the held directory is written to, whatever it is called now.
        assert (moved / "a").read_bytes() == b"new"
    assert not client.folder.exists()


# The serving side


async def test_a_server_that_is_full_still_serves(mirrored: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_folder: Folder, *_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for step in ("create_file", "create_staged", "make_directory", "write_at"):
        on_server(mirrored, step, full, monkeypatch)
    mirrored.server.write("new", "x", mtime=OLD)
    await mirrored.client.pull(await mirrored.server.serve())
    assert mirrored.client.read("new") == b"x"


@pytest.fixture
async def mirrored(pair: Pair) -> Pair:
    """A pair whose folders are the same, with a few files."""
    for name in ("a", "b", "d/c"):
        pair.server.write(name, f"content of {name}", mtime=OLD)
        pair.client.write(name, f"content of {name}", mtime=OLD)
    return pair


def on_server(pair: Pair, step: str, failing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(Folder, step)

    def either(folder: Folder, *arguments: Any, **options: Any) -> Any:
        chosen = failing if folder.path == str(pair.server.folder) else original
        return chosen(folder, *arguments, **options)

    monkeypatch.setattr(Folder, step, either)


@pytest.mark.parametrize("step", ["open_file", "list_directory", "read_link"])
async def test_what_the_server_cannot_read_is_never_deleted(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (mirrored.server.folder / "link").symlink_to("a")
    (mirrored.client.folder / "link").symlink_to("a")
    mirrored.client.write("only here", "x", mtime=OLD)
    original = getattr(Folder, step)

    def failing(folder: Folder, path: str, *rest: Any) -> Any:
        if path in ("a", "d", "link"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(folder, path, *rest)

    on_server(mirrored, step, failing, monkeypatch)
    server = await mirrored.server.serve()
    before = mirrored.client.tree()
    summary = await mirrored.client.pull(server, mirror=True, allow_deletes=True)
    assert summary.remote_problems == 1
    assert summary.partial
    del before["only here"]
    assert mirrored.client.tree() == before


async def test_a_file_that_became_unreadable_after_the_scan(mirrored: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored.server.write("a", "changed", mtime=OLD + 5)
    server = await mirrored.server.serve()

    def refused(_offer: sender.Offer, _item: Any) -> sender.Source:
        raise sender.Unavailable(AbortReason.UNREADABLE)

    monkeypatch.setattr(sender.Offer, "open", refused)
    summary = await mirrored.client.pull(server, mirror=True, allow_deletes=True)
    assert summary.problems == (("a", "the other side cannot read it"),)
    assert mirrored.client.read("a") == b"content of a"


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_root_that_vanished_deletes_nothing(mirrored: Pair, emptied: bool) -> None:
    """As when a disk is unmounted: the directory is gone, or there is an empty one in its place."""
    server = await mirrored.server.serve()
    before = mirrored.client.tree()
    shutil.move(mirrored.server.folder, mirrored.server.home / "moved")
    if emptied:
        mirrored.server.folder.mkdir()
    with pytest.raises(PeerClosed, match="folder"):
        await mirrored.client.pull(server, mirror=True, allow_deletes=True)
    assert mirrored.client.tree() == before
    await until(lambda: bool(mirrored.server.seen(PeerLeft)))
    assert "does not exist" in mirrored.server.seen(PeerLeft)[0].reason


async def test_a_server_whose_hashing_fails_keeps_serving(mirrored: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one session is logged and ends that session alone."""
    server = await mirrored.server.serve()
    broken = True
    original = Hasher.hash_many

    def failing(hasher: Hasher, folder: Folder, *arguments: Any, **options: Any) -> Any:
        if broken and folder.path == str(mirrored.server.folder):
            raise ZeroDivisionError
        return original(hasher, folder, *arguments, **options)

    monkeypatch.setattr(Hasher, "hash_many", failing)
    with pytest.raises(PeerClosed):
        await mirrored.client.pull(server)
    broken = False
    await mirrored.client.pull(server)
    assert mirrored.client.tree() == mirrored.server.tree()


async def test_a_folder_that_cannot_be_written_is_served(
    mirrored: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_folder: Folder, *_arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for step in ("prepare", "create_file", "make_directory", "write_at"):
        on_server(mirrored, step, read_only, monkeypatch)
    mirrored.server.write("new", "x", mtime=OLD)
    server = await mirrored.server.serve()
    await mirrored.client.pull(server)
    assert mirrored.client.read("new") == b"x"
