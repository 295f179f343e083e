"""This device: folders that are gone or odd, clocks that are wrong, and processes that are killed."""

import errno
import fcntl
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from leafsync.engine.core.events import PeerLeft
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.disk import system
from leafsync.engine.disk.staging import MAX_ORPHAN_AGE
from leafsync.engine.disk.store import Store
from leafsync.errors import (
    FolderIdentityLost,
    FolderMissing,
    FolderUnreadable,
    FolderUnready,
    PeerClosed,
)
from tests.faults.cases import Case
from tests.support import program
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.faults import OLD, Faults, in_use
from tests.support.hostile import pull_from
from tests.support.mounts import need_mounts, tmpfs

TITLE = "This device: its folders, clock and power"

CASES = (
    Case(
        72,
        "the folder is gone, moved, unmounted, or another one is in its place",
        "nothing is synced or deleted, here or there, until it is back or somebody says `--reset`",
    ),
    Case(
        73,
        "a directory cannot be listed",
        "it is a problem, and nothing in it counts as absent: neither side deletes any of it",
    ),
    Case(
        74,
        "more than a quarter and more than 100 entries of a folder are gone, or all",
        "the deletes are held on both sides, said, remembered, and done only when somebody allows them",
    ),
    Case(
        75,
        "times before 1970 or centuries ahead, a clock that jumps",
        "content is what counts; a time that the filesystem cannot hold is no reason for another pass, and deadlines "
        "do not follow the clock",
    ),
    Case(
        76,
        "the process is killed at any step",
        "every name has its old or its new content; staged chunks are hashed again before they count, and what nobody "
        "knows of is removed after a day",
    ),
    Case(
        77,
        "the power fails",
        "a file gets its name only after its content was flushed, then the directory is flushed, and the records are "
        "last",
        where="the order of the steps; macOS empties the drive's cache too",
    ),
    Case(
        78,
        "another filesystem is mounted inside the folder",
        "it is a problem and what is in it is withheld, so nothing there is deleted; one over the staging directory "
        "is refused",
        where="Linux (real mounts), everywhere else by the same check",
    ),
)

BIG = b"".join(bytes([number + 1]) * CHUNK_SIZE for number in range(3)) + b"tail"


# 72: a folder that is not there, or not the one it was


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
async def test_case_72_a_server_whose_folder_vanishes_deletes_nothing(
    mirrored: Pair, emptied: bool, mirror: bool
) -> None:
    """As when a disk is unmounted: the directory is gone, or there is an empty one in its place."""
    server = await mirrored.server.serve()
    before = mirrored.client.tree()
    shutil.move(mirrored.server.folder, mirrored.server.home / "moved")
    if emptied:
        mirrored.server.folder.mkdir()
    with pytest.raises(PeerClosed, match="folder"):
        await (mirrored.client.pull if mirror else mirrored.client.sync)(server, allow_deletes=True, mirror=mirror)
    assert mirrored.client.tree() == before
    await until(lambda: any("does not exist" in left.reason for left in mirrored.server.seen(PeerLeft)))


async def test_case_72_a_client_whose_folder_vanishes_deletes_nothing(mirrored: Pair) -> None:
    server = await mirrored.server.serve()
    before = mirrored.server.tree()
    job = await mirrored.client.connect(server, once=True, mode=Mode.BOTH, allow_deletes=True)
    mirrored.client.folder.rename(mirrored.client.home / "moved")
    mirrored.client.folder.mkdir()
    with pytest.raises(FolderMissing, match="does not exist"):
        await job.wait()
    assert mirrored.server.tree() == before
    assert list(mirrored.client.folder.iterdir()) == []


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("other", ["empty", "full"])
async def test_case_72_a_mount_point_is_not_the_folder(mirrored: Pair, side: str, other: str) -> None:
    """Begun while the disk is not mounted: what is at the path is an empty directory, or some other folder."""
    bad = mirrored.server if side == "server" else mirrored.client
    before = mirrored.server.tree(), mirrored.client.tree()
    moved = bad.folder.rename(bad.home / "moved")
    bad.folder.mkdir()
    if other == "full":
        (bad.folder / ".leafsync_tmp").mkdir()
        (bad.folder / ".leafsync_tmp" / "folder-id").write_text("5" * 32)
        bad.write("something else", "x", mtime=OLD)
    there = {path.name for path in bad.folder.iterdir()} | {".leafsync_tmp"}
    for _attempt in range(2):
        job = await mirrored.server.serve()
        with pytest.raises(FolderUnready if side == "server" else FolderIdentityLost, match="not the one it was"):
            await mirrored.client.sync(job, allow_deletes=True)
        await job.stop()
    assert {path.name for path in bad.folder.iterdir()} <= there
    for path in bad.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    bad.folder.rmdir()
    moved.rename(bad.folder)
    await mirrored.client.sync(await mirrored.server.serve())
    assert (mirrored.server.tree(), mirrored.client.tree()) == before


async def test_case_72_a_new_folder_is_one_when_somebody_says_so(mirrored: Pair) -> None:
    """Without a base nothing is deleted: what is missing is fetched."""
    before = mirrored.server.tree()
    shutil.rmtree(mirrored.client.folder)
    mirrored.client.folder.mkdir()
    job = await mirrored.server.serve()
    with pytest.raises(FolderIdentityLost, match="--reset"):
        await mirrored.client.sync(job)
    await mirrored.client.sync(job, reset=True)
    assert mirrored.server.tree() == before == mirrored.client.tree()


@pytest.mark.parametrize("replaced", [False, True])
async def test_case_72_a_running_connect_touches_no_folder_that_was_moved_away(mirrored: Pair, replaced: bool) -> None:
    """What was moved is a copy somebody keeps: later deletes must not reach it."""
    server = await mirrored.server.serve()
    job = await mirrored.client.connect(server, mode=Mode.BOTH)
    await until(lambda: bool(mirrored.client.passes()))
    moved = mirrored.client.folder.rename(mirrored.client.home / "moved")
    if replaced:
        mirrored.client.folder.mkdir()
    (mirrored.server.folder / "a").unlink()
    mirrored.server.write("b", "changed", mtime=OLD + 5)
    before = mirrored.server.tree()
    with pytest.raises(FolderMissing, match="does not exist"):
        await job.wait()
    assert (moved / "a").read_bytes() == b"content of a"
    assert (moved / "b").read_bytes() == b"content of b"
    assert mirrored.server.tree() == before


# 73: directories that cannot be listed


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENOMEM])
async def test_case_73_what_cannot_be_listed_is_not_deleted(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch, side: str, mirror: bool, code: int
) -> None:
    """A directory, and one in another one; the rest goes on, deletes too."""
    bad, other = (mirrored.server, mirrored.client) if side == "server" else (mirrored.client, mirrored.server)
    (mirrored.server.folder / "b").unlink()
    other.write("d/c", "edited", mtime=OLD + 5)
    before = mirrored.client.tree(), mirrored.server.tree()
    faults = Faults(monkeypatch, bad)
    faults.fail("list_directory", code, "'many'")
    faults.fail("list_directory", code, "'d/e'")
    job = await mirrored.server.serve()
    summary = await (mirrored.client.pull(job, mirror=True) if mirror else mirrored.client.sync(job))
    assert faults.calls
    assert summary.partial
    after = mirrored.client.tree(), mirrored.server.tree()
    for now, then in zip(after, before, strict=True):
        assert then.keys() - now.keys() <= {"b"}
    assert "b" not in after[0]
    if side == "client":
        assert {path for path, _reason in summary.problems} == {"many", "d/e"}
        assert all(os.strerror(code) in reason for _path, reason in summary.problems)
    else:
        assert summary.remote_problems == 2
    faults.mend()
    await (mirrored.client.pull(job, mirror=True) if mirror else mirrored.client.sync(job))
    assert mirrored.client.tree() == mirrored.server.tree()


async def test_case_73_a_root_that_cannot_be_listed_ends_the_pass(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch, mirrored.client)
    faults.fail("list_directory", errno.EIO, "''")
    before = mirrored.server.tree()
    with pytest.raises(FolderUnreadable, match="Input/output error"):
        await mirrored.client.sync(await mirrored.server.serve(), allow_deletes=True)
    assert mirrored.server.tree() == before


# 74: mass deletes


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("rest", [0, 40])
async def test_case_74_a_mass_delete_waits_for_somebody(pair: Pair, side: str, rest: int) -> None:
    """Of everything, or of more than 100 entries and a quarter of a folder; small deletes before that are done."""
    for number in range(103 + rest):
        pair.server.write(f"{number:03}", f"{number}", mtime=OLD)
    job = await pair.server.serve()
    await pair.client.sync(job)
    emptied, kept = (pair.server, pair.client) if side == "server" else (pair.client, pair.server)
    for number in range(103):
        (emptied.folder / f"{number:03}").unlink()
    for _again in range(2):
        summary = await pair.client.sync(job)
        assert len(summary.held if side == "server" else summary.remote_held) == 103
        assert summary.partial
        assert len(kept.tree()) == 103 + rest
        assert not kept.trash()
    summary = await pair.client.sync(job, allow_deletes=True)
    assert not summary.partial
    assert len(kept.tree()) == len(emptied.tree()) == rest
    assert len(kept.trash()) == 103, "they can be restored"


async def test_case_74_deletes_that_wait_are_not_done_because_the_folder_grew(pair: Pair) -> None:
    for number in range(3):
        pair.server.write(f"{number}", f"{number}", mtime=OLD)
    job = await pair.server.serve()
    await pair.client.sync(job)
    for number in range(3):
        (pair.server.folder / f"{number}").unlink()
    assert len((await pair.client.sync(job)).held) == 3
    for number in range(30):
        pair.server.write(f"new {number}", f"new {number}", mtime=OLD)
    assert len((await pair.client.sync(job)).held) == 3
    assert {"0", "1", "2"} <= pair.client.tree().keys()


# 75: clocks and times


TIMES = {
    "before 1970": -5,
    "in 1901": -(1 << 31),
    "in 1677": -(1 << 63) // 10**9 + 1,
    "in 2038": 1 << 31,
    "in 2262": (1 << 63) // 10**9 - 1,
    "in 2446": 15_032_385_536,
    "beyond 64 bits of nanoseconds": 1 << 34,
}
"""Seconds since 1970: what is at the edge of what filesystems, and 64 bits of nanoseconds, can hold."""


@pytest.mark.parametrize("when", TIMES)
async def test_case_75_strange_times_come_to_rest(pair: Pair, when: str) -> None:
    """Files and directories, both ways; the second pass finds nothing to do."""
    seconds = TIMES[when]
    pair.server.write("d/down", "x")
    pair.client.write("up", "y")
    for device, path in ((pair.server, "d/down"), (pair.server, "d"), (pair.client, "up")):
        os.utime(device.folder / path, ns=(seconds * 10**9, seconds * 10**9))
    job = await pair.server.serve()
    first = await pair.client.sync(job)
    assert not first.problems
    for device in (pair.server, pair.client):
        assert (device.read("d/down"), device.read("up")) == (b"x", b"y")
    if abs(seconds) * 10**9 < 1 << 63:
        assert pair.client.tree() == pair.server.tree()
    second = await pair.client.sync(job)
    assert not second.changed
    assert not second.problems


async def test_case_75_a_time_from_the_future_never_costs_the_other_version(pair: Pair) -> None:
    pair.server.write("a", "from the future", mtime=4_000_000_000.0)
    pair.client.write("a", "of today", mtime=OLD)
    summary = await pair.client.sync(await pair.server.serve())
    ((path, copy),) = summary.conflicts
    assert path == "a"
    assert {pair.client.read("a"), pair.client.read(copy)} == {b"from the future", b"of today"}
    assert pair.client.tree() == pair.server.tree()


@pytest.mark.parametrize("jump", [10 * 365 * 86400.0, -10 * 365 * 86400.0])
async def test_case_75_a_clock_that_jumps_ends_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """In the middle of a transfer, by ten years; the connection, its deadlines and the next passes do not care."""
    real, real_ns = time.time, time.time_ns
    pair.server.write("big", BIG, mtime=OLD)
    pair.server.write("small", "x", mtime=OLD)
    pair.client.write("up", "y", mtime=OLD)
    await in_use(pair.client)
    faults = Faults(monkeypatch, pair.client)

    def jumping(create: Any, arguments: tuple[Any, ...]) -> Any:
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(jump * 10**9))
        return create(*arguments)

    faults.at("create_staged", jumping, times=1)
    job = await pair.server.serve()
    summary = await pair.client.sync(job)
    assert faults.calls
    assert not summary.problems
    assert pair.client.tree() == pair.server.tree()
    pair.server.write("small", "changed", mtime=OLD + 5)
    assert not (await pair.client.sync(job)).problems
    assert pair.client.read("small") == b"changed"
    assert not (await pair.client.sync(job)).changed


# 76 and 77: killed, and without power


KILLED = """
import os, signal, sys
from leafsync.cli import main
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.store import Store
step, skip = sys.argv[1], int(sys.argv[2])
owner = Store if hasattr(Store, step) else Folder
original = getattr(owner, step)
def killed(self, *arguments, **options):
    global skip
    skip -= 1
    if skip < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *arguments, **options)
setattr(owner, step, killed)
sys.exit(main(sys.argv[3:]))
"""
"""The program, but killed just before a step."""

STEPS = {
    "after the stage file was made": ("resize", 0),
    "in the middle of writing": ("write_at", 2),
    "before the flush": ("sync_all", 0),
    "after the flush, before the trash": ("link", 0),
    "between the trash and the rename": ("exchange", 0),
    "between two renames": ("exchange", 1),
    "before the records": ("finish_staged", 1),
    "before the history": ("put_pass", 0),
}
"""The step that is not done any more, and how often it was done before."""


@pytest.mark.parametrize("moment", STEPS)
async def test_case_76_killed_at_a_step_every_name_is_old_or_new(pair: Pair, moment: str) -> None:
    new = {"big": BIG, "one": b"one", "two": b"two"}
    for path, data in new.items():
        pair.server.write(path, data, mtime=OLD)
    job = await pair.server.serve()
    for path in new:
        pair.client.write(path, f"old {path}", mtime=OLD - 5)
    command = program.connecting(pair.client, job, "--mirror")
    at = command.index("-m")
    step, skip = STEPS[moment]
    killed = await program.run(pair.client, [*command[:at], "-c", KILLED, step, str(skip), *command[at + 2 :]])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    trash = pair.client.folder / ".leafsync_trash"
    for path, data in new.items():
        there = pair.client.read(path)
        assert there in (data, b"old " + path.encode())
        if there == data:
            assert [kept.read_bytes() for kept in trash.glob(f"*/{path}")] == [b"old " + path.encode()]
    assert not (await pair.client.pull(job, mirror=True)).problems
    assert {path: pair.client.read(path) for path in new} == new
    assert all(list(trash.glob(f"*/{path}")) for path in new)


async def test_case_76_killed_in_a_transfer_it_goes_on_and_believes_nothing(pair: Pair) -> None:
    """A real process, killed while a file arrives; then a chunk that it had written is damaged."""
    size = 12 * CHUNK_SIZE
    pair.server.write("big", os.urandom(size), mtime=OLD)
    job = await pair.server.serve()
    pair.client.write("big", "old", mtime=OLD - 5)
    own = pair.client.folder / ".leafsync_tmp"

    def size_on_disk(path: Path) -> int:
        with suppress(FileNotFoundError):  # what the process tries the disk with comes and goes
            return path.stat().st_blocks * 512
        return 0

    def arrived() -> list[Path]:
        staged = [path for path in own.glob("*") if path.name not in ("lock", "folder-id")]
        return [path for path in staged if size_on_disk(path) >= 3 * CHUNK_SIZE]

    command = program.connecting(pair.client, job, "--mirror", "--rate-mbps", "50")
    with program.started(pair.client, command) as process:
        await until(lambda: bool(arrived()))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert pair.client.read("big") == b"old"
    (half,) = arrived()
    with half.open("r+b") as file:
        file.write(b"damaged")
    totals = (await pair.client.pull(job, mirror=True)).totals
    assert pair.client.read("big") == pair.server.read("big")
    assert CHUNK_SIZE <= totals.reused < size
    assert totals.fetched + totals.reused == size


async def test_case_76_what_killed_runs_left_is_removed_after_a_day(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_use(pair.client)
    orphan = pair.client.folder / ".leafsync_tmp" / ("0" * 32)
    orphan.write_bytes(BIG)
    real = time.time
    for age, there in ((MAX_ORPHAN_AGE - 60, True), (MAX_ORPHAN_AGE + 60, False)):
        monkeypatch.setattr(time, "time", lambda age=age: real() + age)
        await in_use(pair.client)
        assert orphan.exists() is there


@pytest.mark.parametrize(("data", "flush"), [(b"small", "sync_all"), (BIG, "sync_file")])
@pytest.mark.parametrize("replaces", [False, True])
async def test_case_77_the_order_that_a_power_cut_cannot_break(
    client: Device, hostile: MakeHostile, faults: Faults, data: bytes, flush: str, replaces: bool
) -> None:
    server = await hostile({"d/file": data})
    if replaces:
        client.write("d/file", "old", mtime=OLD)
    rename = "exchange" if replaces else "rename_new"
    faults.watch("write_at", "dress", "sync_file", "sync_all", "link", "exchange", "rename_new", "sync_directory")
    with pytest.MonkeyPatch.context() as patched:
        finish = Store.finish_staged

        def recorded(store: Store, names: Any, rows: Any) -> None:
            rows = list(rows)
            faults.steps.append(("records", "".join(names) or ("hashes" if rows else "")))
            finish(store, names, rows)

        patched.setattr(Store, "finish_staged", recorded)
        await pull_from(client, server, mirror=True)
    steps = [step for step, _about in faults.steps]
    last = max(number for number, step in enumerate(steps) if step == "write_at")
    flushed = steps.index(flush, last)
    placed = steps.index(rename)
    named = faults.steps.index(("sync_directory", "'d'"), placed)
    recorded_at = steps.index("records", placed)
    assert last < steps.index("dress") < flushed < placed < named < recorded_at
    if replaces:
        assert flushed < steps.index("link") < placed, "the old version is in the trash first"
        trash = [
            number for number, (step, about) in enumerate(faults.steps) if step == "sync_directory" and "trash" in about
        ]
        assert placed < min(trash) < recorded_at


def test_case_77_macos_empties_the_cache_of_the_drive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There fsync leaves it full."""
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _descriptor, command: asked.append(command))
    with (tmp_path / "file").open("wb") as file:
        system.flush_file(file.fileno())
    assert asked == [51]


# 78: other filesystems inside the folder


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("mirror", [False, True])
async def test_case_78_what_is_mounted_inside_is_withheld(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch, side: str, mirror: bool
) -> None:
    """An empty mount point hides what was there: that is no reason to delete it on the other side."""
    bad, other = (mirrored.server, mirrored.client) if side == "server" else (mirrored.client, mirrored.server)
    faults = Faults(monkeypatch, bad)

    def listed(list_directory: Any, arguments: tuple[Any, ...]) -> list[tuple[str, os.stat_result]]:
        def elsewhere(stat: os.stat_result) -> os.stat_result:
            numbers, names = cast("tuple[tuple[int, ...], dict[str, Any]]", stat.__reduce__()[1])
            return os.stat_result((*numbers[:2], numbers[2] + 1, *numbers[3:]), names)

        return [(name, elsewhere(stat) if name == "many" else stat) for name, stat in list_directory(*arguments)]

    faults.at("list_directory", listed, "''")
    (bad.folder / "many" / "03").unlink()
    other.write("many/new", "x", mtime=OLD)
    other.write("new", "x", mtime=OLD)
    before = other.tree()
    if mirror and side == "server":
        del before["new"]
    job = await mirrored.server.serve()
    summary = await (mirrored.client.pull(job, mirror=True) if mirror else mirrored.client.sync(job))
    assert summary.partial
    assert other.tree() == before
    assert "many/new" not in bad.tree()
    if side == "client":
        assert ("many", "another filesystem is mounted here") in summary.problems
    if side == "client" or not mirror:
        assert bad.read("new") == b"x"


async def test_case_78_real_mounts_inside_the_folder(pair: Pair) -> None:
    need_mounts()
    for path in ("a", "inside/b", "inside/c"):
        pair.server.write(path, "x", mtime=OLD)
    job = await pair.server.serve()
    (pair.client.folder / "inside").mkdir()
    (pair.client.folder / ".leafsync_tmp").mkdir()
    with tmpfs(pair.client.folder / "inside", "size=64k") as disk:
        inside = disk.seen(pair.client.folder)
        (inside / "inside" / "mine").write_text("y")
        done = await program.connect(pair.client, job, "-v", prefix=disk.prefix())
        assert done.returncode == 3, done.stderr
        assert "inside: another filesystem is mounted here" in done.stderr
        assert [path.name for path in (inside / "inside").iterdir()] == ["mine"]
        assert (inside / "a").read_text() == "x"
        disk.run("mount", "-t", "tmpfs", "none", pair.client.folder / ".leafsync_tmp")
        done = await program.connect(pair.client, job, prefix=disk.prefix())
        assert done.returncode == 1, done.stderr
        assert ".leafsync_tmp is not a regular file or directory inside the folder" in done.stderr
    assert set(pair.server.tree()) == {"a", "inside", "inside/b", "inside/c"}
