"""Passes between two engines: what arrives, what moves, what is kept."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from leafsync.engine.core.events import PeerRefused
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.status import PassSummary
from leafsync.engine.sync import connecting, serving
from leafsync.errors import FolderInUse, PeerChanged, PeerUnknown, RefusedByPeer
from tests.support.devices import Device, Pair, until

OLD = time.time() - 3600
"""A modification time outside of the racy window."""


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(device: Device) -> None:
    """A folder with one of everything."""
    device.write("a.txt", "hello", mtime=OLD)
    device.write("empty", "", mtime=OLD + 0.25)
    device.write("bin/tool", "#!/bin/sh\n", mode=0o755, mtime=OLD)
    device.write("deep/er/and/deeper/file", "x", mtime=OLD)
    device.write("exactly one chunk", content(CHUNK_SIZE), mtime=OLD)
    device.write("several chunks", content(3 * CHUNK_SIZE + 77), mtime=OLD)
    device.write("holes", bytes(CHUNK_SIZE) + content(10) + bytes(2 * CHUNK_SIZE), mtime=OLD)
    device.write("zero", bytes(1000), mtime=OLD)
    device.write("-rf $(x) 'q\"", "odd name", mtime=OLD)
    device.write("naïve/été ☕.txt", "names", mtime=OLD)
    (device.folder / "empty directory").mkdir()
    (device.folder / "link").symlink_to("a.txt")
    (device.folder / "deep" / "up").symlink_to("../bin/tool")
    for number in range(300):
        device.write(f"many/{number % 7}/{number}.txt", f"file {number}" * (number % 50), mtime=OLD + number)


async def test_the_copy_is_the_same_in_every_way(pair: Pair) -> None:
    fill(pair.server)
    summary = await pair.client.pull(await pair.server.serve())
    assert pair.client.tree() == pair.server.tree()
    assert not summary.partial
    assert summary.totals.files == summary.totals.files_done == summary.totals.files_done == 310
    assert summary.totals.bytes_done == summary.totals.bytes
    assert {path.name for path in (pair.client.folder / ".leafsync_tmp").iterdir()} == {"lock", "folder-id"}
    assert not (pair.client.folder / ".leafsync_trash").exists()


async def test_nothing_changed_is_one_round_trip(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 0.01)
    fill(pair.server)
    job = await pair.client.connect(await pair.server.serve())
    summaries = await passes(pair.client, 3)
    await job.stop()
    again = summaries[1]
    assert again.round_trips == 1
    assert again.totals.wire_in + again.totals.wire_out < 2048
    assert not again.changed


async def passes(device: Device, count: int) -> list[PassSummary]:
    await until(lambda: len(device.passes()) >= count)
    return device.passes()


async def test_an_edit_moves_a_piece_of_a_chunk(pair: Pair) -> None:
    size = 8 * CHUNK_SIZE
    pair.server.write("big", content(size), mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    edited = bytearray(content(size))
    edited[5 * CHUNK_SIZE + 17 : 5 * CHUNK_SIZE + 117] = bytes(100)
    pair.server.write("big", bytes(edited), mtime=OLD + 5)
    summary = await pair.client.pull(server)
    assert pair.client.tree() == pair.server.tree()
    assert 0 < summary.totals.fetched < CHUNK_SIZE // 32
    assert summary.totals.reused == size - summary.totals.fetched
    assert summary.totals.wire_in < CHUNK_SIZE // 16
    assert pair.client.trash() == {"big"}, "what was replaced is kept"


async def test_whole_chunks_that_moved_are_found(pair: Pair) -> None:
    first, second = content(2 * CHUNK_SIZE, 1), content(2 * CHUNK_SIZE, 2)
    pair.server.write("big", first + second, mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.server.write("big", second + first + b"tail", mtime=OLD + 5)
    summary = await pair.client.pull(server)
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.fetched == 4


async def test_holes_never_travel(pair: Pair) -> None:
    pair.server.write("holes", bytes(40 * CHUNK_SIZE) + b"end", mtime=OLD)
    summary = await pair.client.pull(await pair.server.serve())
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.wire_in < 100_000
    assert (pair.client.folder / "holes").stat().st_blocks * 512 < 2 * CHUNK_SIZE


async def test_time_and_executable_bit_alone_move_no_content(pair: Pair) -> None:
    pair.server.write("tool", content(500_000), mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    (pair.server.folder / "tool").chmod(0o755)
    summary = await pair.client.pull(server)
    assert (summary.touched, summary.totals.fetched) == (1, 0)
    pair.server.write("tool", content(500_000), mtime=OLD + 60, mode=0o755)
    summary = await pair.client.pull(server)
    assert (summary.touched, summary.totals.fetched) == (1, 0)
    assert pair.client.tree() == pair.server.tree()


async def test_mirror_trashes_what_is_only_here(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.client.write("mine/a", "only here", mtime=OLD)
    pair.client.write("mine/b", "only here", mtime=OLD)
    (pair.client.folder / "my link").symlink_to("a.txt")
    kept = await pair.client.pull(server)
    assert not kept.trashed
    assert pair.client.read("mine/a") == b"only here"
    summary = await pair.client.pull(server, mirror=True)
    assert set(summary.trashed) == {"mine", "mine/a", "mine/b", "my link"}
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.trash() == {"mine/a", "mine/b", "my link"}


async def test_a_mass_delete_is_held(pair: Pair) -> None:
    for number in range(300):
        pair.server.write(f"{number}", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    for number in range(200):
        (pair.server.folder / f"{number}").unlink()
    summary = await pair.client.pull(server, mirror=True)
    assert len(summary.held) == 200
    assert summary.partial
    assert len(pair.client.tree()) == 300
    await pair.client.pull(server, mirror=True, allow_deletes=True)
    assert len(pair.client.tree()) == 100
    assert len(pair.client.trash()) == 200


async def test_an_emptied_folder_deletes_nothing(pair: Pair) -> None:
    pair.server.write("one", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    (pair.server.folder / "one").unlink()
    summary = await pair.client.pull(server, mirror=True)
    assert summary.held == ("one",)
    assert pair.client.read("one") == b"x"


async def test_kinds_that_changed(pair: Pair) -> None:
    for name in ("file to directory", "file to link"):
        pair.server.write(name, "file", mtime=OLD)
    pair.server.write("directory to file/inside", "x", mtime=OLD)
    (pair.server.folder / "link to file").symlink_to("file to link")
    for number in range(20):
        pair.server.write(f"other/{number}", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    for name in ("file to directory", "file to link", "link to file", "directory to file/inside"):
        (pair.server.folder / name).unlink()
    (pair.server.folder / "directory to file").rmdir()
    pair.server.write("file to directory/inside", "now inside", mtime=OLD)
    (pair.server.folder / "file to link").symlink_to("other/1")
    pair.server.write("link to file", "now a file", mtime=OLD)
    pair.server.write("directory to file", "now a file", mtime=OLD)
    summary = await pair.client.pull(server)
    assert not summary.partial
    assert pair.client.tree() == pair.server.tree()


async def test_a_directory_with_something_of_ones_own_gives_way_whole(pair: Pair) -> None:
    for number in range(20):
        pair.server.write(f"other/{number}", "x", mtime=OLD)
    pair.server.write("directory/inside", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.client.write("directory/mine", "only here", mtime=OLD)
    (pair.server.folder / "directory/inside").unlink()
    (pair.server.folder / "directory").rmdir()
    pair.server.write("directory", "now a file", mtime=OLD)
    summary = await pair.client.pull(server)
    ((path, copy),) = summary.conflicts
    assert path == "directory"
    assert pair.client.read(f"{copy}/mine") == b"only here"
    assert pair.client.read("directory") == b"now a file"
    await pair.client.pull(server, mirror=True)
    assert pair.client.tree() == pair.server.tree()
    assert f"{copy}/mine" in pair.client.trash()


async def test_one_file_alone(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    summary = await pair.client.pull(server, file="deep/er/and/deeper/file")
    assert summary.totals.files_done == 1
    assert set(pair.client.tree()) == {
        "deep",
        "deep/er",
        "deep/er/and",
        "deep/er/and/deeper",
        "deep/er/and/deeper/file",
    }


async def test_a_server_offers_one_file_alone(pair: Pair) -> None:
    fill(pair.server)
    pair.client.write("mine", "x", mtime=OLD)
    server = await pair.server.serve(file="a.txt")
    await pair.client.pull(server)
    assert set(pair.client.tree()) == {"a.txt", "mine"}


async def test_ignored_names_neither_travel_nor_vanish(pair: Pair) -> None:
    pair.server.write(".leafsyncignore", "*.log\n", mtime=OLD)
    pair.server.write("a.log", "server's", mtime=OLD)
    pair.server.write("kept", "x", mtime=OLD)
    pair.server.write(".git/HEAD", "ref", mtime=OLD)
    pair.client.write("a.log", "client's", mtime=OLD)
    pair.client.write("b.part", "client's", mtime=OLD)
    pair.client.write(".git/HEAD", "other ref", mtime=OLD)
    summary = await pair.client.pull(await pair.server.serve(), mirror=True)
    assert not summary.held
    assert pair.client.read("a.log") == b"client's"
    assert pair.client.read("b.part") == b"client's"
    assert pair.client.read(".git/HEAD") == b"other ref"
    assert pair.client.read("kept") == b"x"


async def test_several_clients_at_once(pair: Pair, tmp_path: Path) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    other = Device("client", pair.client.home, tmp_path / "second")
    other.folder.mkdir()
    other.engine = pair.client.engine
    await asyncio.gather(pair.client.pull(server), other.pull(server))
    assert pair.client.tree() == other.tree() == pair.server.tree()


async def test_the_rate_is_true_to_its_label(pair: Pair) -> None:
    pair.server.write("big", content(2_000_000), mtime=OLD)
    summary = await pair.client.pull(await pair.server.serve(), rate_mbps=16)
    assert 0.9 < summary.seconds < 2, "2 MB at 2 MB/s"


async def test_a_stopped_pull_goes_on_where_it_was(pair: Pair) -> None:
    size = 12 * CHUNK_SIZE
    pair.server.write("big", content(size), mtime=OLD)
    server = await pair.server.serve()
    job = await pair.client.connect(server, rate_mbps=80)
    await until(lambda: job.status().totals.fetched >= 3 * CHUNK_SIZE)
    await job.stop()
    assert set(pair.client.tree()) == set()
    summary = await pair.client.pull(server)
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.reused >= 3 * CHUNK_SIZE
    assert summary.totals.fetched + summary.totals.reused == size


async def test_a_local_edit_during_the_pass_is_kept(pair: Pair) -> None:
    pair.server.write("big", "the old one", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.server.write("big", content(6 * CHUNK_SIZE), mtime=OLD + 5)
    job = await pair.client.connect(server, once=True, rate_mbps=80)
    await until(lambda: job.status().totals.fetched >= CHUNK_SIZE)
    pair.client.write("big", "edited here meanwhile", mtime=OLD + 9)
    summary = await job.wait()
    assert summary is not None
    assert [path for path, _reason in summary.problems] == ["big"]
    assert pair.client.read("big") == b"edited here meanwhile"


async def test_an_edit_there_during_the_pass_is_a_problem(pair: Pair) -> None:
    pair.server.write("big", content(20 * CHUNK_SIZE), mtime=OLD)
    server = await pair.server.serve()
    job = await pair.client.connect(server, once=True, rate_mbps=80)
    await until(lambda: job.status().totals.fetched >= CHUNK_SIZE)
    pair.server.write("big", content(20 * CHUNK_SIZE, seed=1), mtime=OLD + 1)
    summary = await job.wait()
    assert summary is not None
    assert [path for path, _reason in summary.problems] == ["big"]
    assert "changed" in summary.problems[0][1]
    assert pair.client.tree() == {}
    await pair.client.pull(server)
    assert pair.client.tree() == pair.server.tree()


async def test_strangers_are_refused_on_both_sides(pair: Pair) -> None:
    fill(pair.server)
    server = await pair.server.serve()
    pair.server.engine.trust.remove("client")
    with pytest.raises(RefusedByPeer):
        await pair.client.pull(server)
    (refused,) = pair.server.seen(PeerRefused)
    assert refused.fingerprint == pair.client.engine.identity.fingerprint
    assert refused.address.startswith("127.0.0.1:")
    assert refused.address in refused.reason
    pair.client.engine.trust.remove("server")
    with pytest.raises(PeerUnknown):
        await pair.client.pull(server)
    assert pair.client.tree() == {}


async def test_a_changed_key_is_never_accepted(pair: Pair) -> None:
    server = await pair.server.serve()
    address = f"127.0.0.1:{server.status().port}"
    pair.client.engine.trust.add("ab" * 32, name="earlier", address=address, confirmed="test")
    for options in ({}, {"accept_first": True}, {"fingerprint": pair.server.engine.identity.fingerprint}):
        with pytest.raises(PeerChanged, match="earlier"):
            await pair.client.pull(server, **options)


async def test_accept_first_pins_both_sides_once(pair: Pair) -> None:
    pair.server.engine.trust.remove("client")
    pair.client.engine.trust.remove("server")
    pair.server.write("a", "x", mtime=OLD)
    server = await pair.server.serve(accept_first=True)
    await pair.client.pull(server, accept_first=True)
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.engine.trust.get(pair.server.engine.identity.fingerprint) is not None
    pair.server.engine.trust.remove(pair.client.engine.identity.fingerprint)
    with pytest.raises(RefusedByPeer):
        await pair.client.pull(server)


async def test_a_removed_device_is_disconnected(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TRUST_INTERVAL", 0.01)
    monkeypatch.setattr(connecting, "TRUST_INTERVAL", 0.01)
    server = await pair.server.serve()
    job = await pair.client.connect(server)
    await passes(pair.client, 1)
    pair.server.engine.trust.remove("client")
    async with asyncio.timeout(5):
        with pytest.raises(RefusedByPeer):
            await job.wait()


async def test_a_folder_is_used_by_one_process_at_a_time(pair: Pair) -> None:
    await pair.server.serve()
    pair.client.folder = pair.server.folder
    with pytest.raises(FolderInUse):
        await pair.client.serve()
