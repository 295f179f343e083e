"""Passes in both directions between two engines."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.scan import Scan, rescan, scan
from leafsync.engine.disk.store import Store
from leafsync.engine.net.trust import Permission
from leafsync.engine.sync import connecting, share
from leafsync.errors import FolderIdentityLost, FolderUnready
from tests.support.devices import Device, Pair, until

OLD = time.time() - 3600
"""A modification time outside of the racy window."""


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(device: Device) -> None:
    for number in range(20):
        device.write(f"common/{number}", f"content {number}", mtime=OLD)


def same(pair: Pair) -> bool:
    return pair.client.tree() == pair.server.tree()


async def test_first_contact_unites_both(pair: Pair) -> None:
    fill(pair.server)
    fill(pair.client)
    pair.server.write("there", "x", mtime=OLD)
    pair.client.write("here/deep", content(3 * CHUNK_SIZE + 5), mtime=OLD, mode=0o755)
    (pair.client.folder / "link").symlink_to("here/deep")
    (pair.client.folder / "empty").mkdir()
    server = await pair.server.serve()
    summary = await pair.client.sync(server)
    assert same(pair)
    assert set(summary.sent) == {"here/deep", "link"}
    assert summary.fetched == ("there",)
    assert not summary.partial
    again = await pair.client.sync(server)
    assert not again.changed
    assert again.round_trips == 1


@pytest.mark.parametrize("only", ["", "common"])
async def test_a_pass_that_finds_nothing_writes_no_base(pair: Pair, monkeypatch: pytest.MonkeyPatch, only: str) -> None:
    """Nor does it read one, unless it has to tell a part of it."""
    fill(pair.server)
    server = await pair.server.serve()
    await pair.client.sync(server, file=only)
    used: list[str] = []
    for method in (Store.base, Store.put_base):

        def noting(*arguments: Any, method: Callable[..., Any] = method) -> Any:
            used.append(method.__name__)
            return method(*arguments)

        monkeypatch.setattr(Store, method.__name__, noting)
    assert not (await pair.client.sync(server, file=only)).changed
    assert used == (["base"] if only else [])


def looks_of(device: Device, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return where the scans of a device's folder are noted from now on: which kind, and how many files were hashed."""
    looks: list[tuple[str, int]] = []

    def noted(kind: str, look: Callable[..., Scan]) -> Callable[..., Scan]:
        def noting(folder: Folder, *arguments: Any, **options: Any) -> Scan:
            found = look(folder, *arguments, **options)
            if folder.path == str(device.folder):
                looks.append((kind, found.hashed_files))
            return found

        return noting

    monkeypatch.setattr(share, "scan", noted("scan", scan))
    monkeypatch.setattr(share, "rescan", noted("rescan", rescan))
    return looks


async def test_what_a_pass_has_written_is_not_hashed_by_the_next_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was verified on the way; only a file that was as young over there may change without a new time."""
    fill(pair.server)
    pair.server.write("young", "just saved", mtime=time.time() + 60)
    looks = looks_of(pair.client, monkeypatch)
    server = await pair.server.serve()
    await pair.client.sync(server)
    assert same(pair)
    assert looks == [("scan", 0), ("rescan", 0)]
    await pair.client.sync(server)
    assert looks[2:] == [("scan", 1)]


async def test_a_pass_looks_at_everything_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    await pair.client.sync(server)
    looks = looks_of(pair.client, monkeypatch)
    pair.client.write("common/1", "edited here", mtime=OLD + 5)
    await pair.client.sync(server)
    assert [kind for kind, _hashed in looks] == ["scan"]
    looks.clear()
    pair.server.write("common/2", "edited there", mtime=OLD + 5)
    await pair.client.sync(server)
    assert [kind for kind, _hashed in looks] == ["scan", "rescan"]
    assert same(pair)
    assert not (await pair.client.sync(server)).changed


async def test_edits_and_deletes_travel_both_ways(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.server.write("common/0", "edited there", mtime=OLD + 5)
    pair.client.write("common/1", "edited here", mtime=OLD + 5)
    (pair.server.folder / "common/2").unlink()
    (pair.client.folder / "common/3").unlink()
    summary = await pair.client.sync(server)
    assert same(pair)
    assert summary.trashed == ("common/2",)
    assert summary.remote_trashed == ("common/3",)
    assert summary.sent == ("common/1",)
    assert "common/3" in pair.server.trash()
    assert "common/1" in pair.server.trash(), "what was replaced is kept"


async def test_an_edit_of_a_large_file_sends_little(pair: Pair) -> None:
    data = bytearray(content(8 * CHUNK_SIZE))
    pair.client.write("big", bytes(data), mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    data[3 * CHUNK_SIZE] ^= 1
    pair.client.write("big", bytes(data), mtime=OLD + 5)
    summary = await pair.client.sync(server)
    assert same(pair)
    assert 0 < summary.totals.sent < CHUNK_SIZE // 32
    assert summary.totals.wire_out < CHUNK_SIZE // 16


async def test_a_conflict_keeps_both_versions_on_both_sides(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.server.write("common/0", "the server's", mtime=OLD + 50)
    pair.client.write("common/0", "the client's", mtime=OLD + 5)
    summary = await pair.client.sync(server)
    assert same(pair)
    ((path, copy),) = summary.conflicts
    assert path == "common/0"
    assert summary.partial
    assert pair.client.read("common/0") == b"the server's"
    assert pair.server.read(copy) == b"the client's"
    assert not (await pair.client.sync(server)).changed


@pytest.mark.parametrize("mover", ["client", "server"])
async def test_a_renamed_directory_moves_no_content(pair: Pair, mover: str) -> None:
    for number in range(30):
        pair.server.write(f"album/deep/{number}", content(20_000, number), mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    folder = getattr(pair, mover).folder
    (folder / "archive").mkdir()
    (folder / "album").rename(folder / "archive/2026")
    summary = await pair.client.sync(server)
    assert same(pair)
    assert summary.totals.wire_in + summary.totals.wire_out < 20_000
    moved = summary.remote_moved if mover == "client" else summary.moved
    assert moved == (("album", "archive/2026"),)
    assert not pair.client.trash()
    assert not pair.server.trash()


async def test_a_renamed_directory_is_taken_back(pair: Pair) -> None:
    pair.server.write("album/a", "a", mtime=OLD)
    pair.server.write("album/b", "b", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    before = pair.client.tree()
    (pair.server.folder / "album").rename(pair.server.folder / "archive")
    await pair.client.sync(server)
    undone = await pair.client.engine.with_records(str(pair.client.folder), lambda records: records.undo("last"))
    assert not undone.partial
    assert pair.client.tree() == before


async def test_a_renamed_file_moves_no_content(pair: Pair) -> None:
    pair.client.write("a", content(300_000), mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    (pair.client.folder / "a").rename(pair.client.folder / "b")
    summary = await pair.client.sync(server)
    assert same(pair)
    assert summary.remote_moved == (("a", "b"),)
    assert summary.totals.sent == 0


async def test_a_rename_cycle_moves_no_content(pair: Pair) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        pair.server.write(name, content(300_000, seed), mtime=OLD + seed)
    server = await pair.server.serve()
    await pair.client.sync(server)
    for source, target in (("a", "t"), ("b", "a"), ("t", "b")):
        (pair.server.folder / source).rename(pair.server.folder / target)
    summary = await pair.client.sync(server)
    assert same(pair)
    assert summary.totals.fetched == 0


async def test_file_and_directory_change_places(pair: Pair) -> None:
    fill(pair.server)
    pair.server.write("a", "file", mtime=OLD)
    pair.server.write("b/inside", "directory", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    (pair.client.folder / "a").unlink()
    pair.client.write("a/inside", "now a directory", mtime=OLD)
    (pair.client.folder / "b/inside").unlink()
    (pair.client.folder / "b").rmdir()
    pair.client.write("b", "now a file", mtime=OLD)
    await pair.client.sync(server)
    assert same(pair)
    assert pair.server.read("a/inside") == b"now a directory"
    assert pair.server.read("b") == b"now a file"


async def test_a_mass_delete_is_held_until_allowed(pair: Pair) -> None:
    for number in range(300):
        pair.server.write(f"{number}", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    for number in range(200):
        (pair.client.folder / f"{number}").unlink()
    summary = await pair.client.sync(server)
    assert len(summary.remote_held) == 200
    assert summary.partial
    assert len(pair.server.tree()) == 300
    summary = await pair.client.sync(server, allow_deletes=True)
    assert len(summary.remote_trashed) == 200
    assert same(pair)
    assert len(pair.server.trash()) == 200


async def test_a_read_only_server_takes_nothing(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve(read_only=True)
    await pair.client.sync(server)
    pair.client.write("mine", "x", mtime=OLD)
    pair.server.write("theirs", "x", mtime=OLD)
    before = pair.server.tree()
    summary = await pair.client.sync(server)
    assert pair.server.tree() == before
    assert summary.problems == (("mine", "the other side is read-only"),)
    assert pair.client.read("theirs") == b"x"


async def test_a_device_that_may_only_read(pair: Pair) -> None:
    trust = pair.server.engine.trust
    trust.add(pair.client.engine.identity.fingerprint, permission=Permission.READ, confirmed="test")
    pair.client.write("mine", "x", mtime=OLD)
    summary = await pair.client.sync(await pair.server.serve())
    assert summary.partial
    assert pair.server.tree() == {}


async def test_what_the_server_ignores_is_not_sent_again_and_again(pair: Pair) -> None:
    pair.server.write(".leafsyncignore", "*.log\n", mtime=OLD)
    server = await pair.server.serve()
    pair.client.write("a.log", "x", mtime=OLD)
    pair.client.write("a.txt", "x", mtime=OLD)
    summary = await pair.client.sync(server)
    assert not summary.partial
    assert "a.log" not in pair.server.tree()
    assert "a.txt" in pair.server.tree()
    assert "a.log" in pair.client.tree()


async def test_of_two_names_that_are_one_on_the_server_one_is_sent(pair: Pair) -> None:
    server = await pair.server.serve()
    server._context.share.folder._folds = True
    pair.client.write("Name", "x", mtime=OLD)
    pair.client.write("name", "y", mtime=OLD)
    for _pass in range(2):
        summary = await pair.client.sync(server)
        assert summary.problems == (("name", "another name differs only in case or normal form"),)
        assert pair.server.read("Name") == b"x"
        assert set(pair.server.tree()) == {"Name"}


async def test_a_name_that_changes_its_case_is_renamed_on_a_server_that_folds_names(pair: Pair) -> None:
    pair.server.write("name", "x", mtime=OLD)
    server = await pair.server.serve()
    server._context.share.folder._folds = True
    await pair.client.sync(server)
    (pair.client.folder / "name").unlink()
    pair.client.write("Name", "edited", mtime=OLD + 5)
    summary = await pair.client.sync(server)
    assert (summary.remote_moved, summary.remote_trashed) == ((("name", "Name"),), ())
    assert same(pair)


async def test_a_server_that_takes_no_changes_does_not_try_how_names_fold(pair: Pair) -> None:
    server = await pair.server.serve(read_only=True)
    await pair.client.sync(server)
    assert server._context.share.folder._folds is None


async def test_dry_run_changes_nothing(pair: Pair) -> None:
    fill(pair.server)
    pair.client.write("mine", "x", mtime=OLD)
    server = await pair.server.serve()
    before = pair.client.tree(), pair.server.tree()
    summary = await pair.client.sync(server, dry_run=True)
    assert (pair.client.tree(), pair.server.tree()) == before
    assert summary.planned
    assert len(summary.fetched) == 20
    assert summary.sent == ("mine",)


async def test_push_sends_and_brings_nothing(pair: Pair) -> None:
    pair.server.write("theirs", "x", mtime=OLD)
    pair.client.write("mine", "x", mtime=OLD)
    await pair.client.pull(await pair.server.serve(), mode=Mode.PUSH)
    assert set(pair.server.tree()) == {"theirs", "mine"}
    assert set(pair.client.tree()) == {"mine"}


async def test_an_empty_mount_point_is_not_the_folder(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    await pair.client.sync(server)
    await server.stop()
    full = pair.server.folder.with_name("unmounted")
    pair.server.folder.rename(full)
    pair.server.folder.mkdir()
    server = await pair.server.serve()
    before = pair.client.tree()
    with pytest.raises(FolderUnready, match="marker"):
        await pair.client.sync(server)
    assert pair.client.tree() == before
    assert pair.server.tree() == {}
    await server.stop()
    pair.client.folder.rename(pair.client.folder.with_name("client-unmounted"))
    pair.client.folder.mkdir()
    with pytest.raises(FolderIdentityLost):
        await pair.client.sync(server)


async def test_edits_show_on_the_other_side_while_connected(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 60.0)
    fill(pair.server)
    server = await pair.server.serve()
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: same(pair))
    pair.server.write("common/0", "from the server", mtime=OLD + 9)
    await until(lambda: same(pair))
    pair.client.write("new/file", "from the client", mtime=OLD + 9)
    await until(lambda: same(pair))
    (pair.client.folder / "common/5").unlink()
    await until(lambda: same(pair))
    (pair.server.folder / "common").rename(pair.server.folder / "renamed")
    await until(lambda: same(pair))
    await asyncio.sleep(0)
    await job.stop()
