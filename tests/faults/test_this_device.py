"""This device: disks that are full, read-only, broken or gone, clocks that are wrong, and processes that are killed."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.events import Reconnecting
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.staging import RESERVE
from leafsync.engine.disk.store import Store
from leafsync.engine.sync import committer
from leafsync.errors import (
    DiskFull,
)
from tests.faults.cases import Case
from tests.support import program
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.faults import OLD, READS, WRITES, Faults, in_use, staged
from tests.support.hostile import pull_from
from tests.support.mounts import need_mounts, tmpfs

TITLE = "This device: its disks"

CASES = (
    Case(
        69,
        "the disk or the quota is full, or there is no room for another name",
        "the pass ends and says so; every old file is there and what was received is kept. A running `connect` tries "
        "again, a serving device goes on to be read from. A file that cannot fit beside the reserve is not begun",
    ),
    Case(
        70,
        "a file, directory or the whole folder may not be read or written",
        "each is a problem by name, the rest goes on; no permission is changed to get there. A folder that is "
        "read-only is served",
    ),
    Case(
        71,
        "the disk cannot read or write, or does it in parts",
        "what cannot be read is a problem and never counts as deleted; what could not be flushed is thrown away and "
        "fetched again; short reads and writes are completed",
    ),
)

BIG = b"".join(bytes([number + 1]) * CHUNK_SIZE for number in range(3)) + b"tail"
CHECKOUT = Path(__file__).parents[2]

SENDING = ("pread",)
"""Content is hashed with one call and read to be sent with another."""

FULL = (
    ("create_staged", errno.ENOSPC),
    ("write_at", errno.EDQUOT),
    ("resize", errno.ENOSPC),
    ("dress", errno.EDQUOT),
    ("sync_file", errno.ENOSPC),
    ("sync_all", errno.EDQUOT),
    ("rename_new", errno.ENOSPC),
    ("make_directory", errno.ENOSPC),
    ("link", errno.EDQUOT),
    ("exchange", errno.ENOSPC),
)
"""Every operation that can find the disk full, with one of the two ways it is said."""


def contents(step: str) -> dict[str, bytes]:
    """A single large file is flushed by itself; others are flushed together."""
    return {"big": BIG} if step == "sync_file" else {"big": BIG, "new/one": b"one", "two": b"two"}


def old_versions(step: str) -> tuple[str, ...]:
    """An old version is linked into the trash, then exchanged."""
    return ("big", "two") if step in ("link", "exchange") else ()


# 69: full disks


@pytest.mark.parametrize(("step", "code"), FULL)
async def test_case_69_a_full_disk_ends_the_pass_that_pulls(
    client: Device, hostile: MakeHostile, faults: Faults, step: str, code: int
) -> None:
    server = await hostile(contents(step))
    for path in old_versions(step):
        client.write(path, "the old one", mtime=OLD)
    before = client.tree()
    faults.fail(step, code)
    with pytest.raises(DiskFull, match="no space left"):
        await pull_from(client, server, mirror=True)
    assert faults.calls
    now = client.tree()
    assert {path: now[path] for path in before} == before
    new = {path: now[path][1] for path in now.keys() - before.keys() if path != "new"}
    assert new.items() <= contents(step).items(), "what is there is whole"
    faults.mend()
    await pull_from(client, server, mirror=True)
    assert {path: client.read(path) for path in contents(step)} == contents(step)
    assert not staged(client)


@pytest.mark.parametrize(("step", "code"), FULL)
async def test_case_69_a_full_server_says_so_and_goes_on(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    for path in old_versions(step):
        pair.client.write(path, "the old one", mtime=OLD)
    job = await pair.server.serve()
    await pair.client.sync(job)
    for path, data in contents(step).items():
        pair.client.write(path, data, mtime=OLD + 5)
    before = pair.server.tree()
    full = Faults(monkeypatch, pair.server)
    full.fail(step, code)
    summary = await pair.client.sync(job)
    assert full.calls
    assert summary.partial
    assert any("no space left" in reason for _path, reason in summary.problems)
    now = pair.server.tree()
    assert {path: now[path] for path in before} == before
    full.mend()
    assert not (await pair.client.sync(job)).problems
    assert {path: pair.server.read(path) for path in contents(step)} == contents(step)
    assert not staged(pair.server)


async def test_case_69_a_full_server_can_still_be_read_from(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Faults(monkeypatch, pair.server)
    for step in ("create_file", "create_staged", "make_directory", "write_at"):
        full.fail(step, errno.ENOSPC)
    pair.server.write("new", "x", mtime=OLD)
    await pair.client.pull(await pair.server.serve())
    assert pair.client.read("new") == b"x"


async def test_case_69_chunks_that_fitted_are_not_fetched_again(
    client: Device, hostile: MakeHostile, faults: Faults
) -> None:
    server = await hostile({"big": BIG})
    faults.fail("write_at", errno.ENOSPC, skip=2)
    with pytest.raises(DiskFull):
        await pull_from(client, server)
    faults.mend()
    faults.fail("resize", errno.ENOSPC)  # full again while the staged file is taken up
    with pytest.raises(DiskFull):
        await pull_from(client, server)
    faults.mend()
    server.asked.clear()
    await pull_from(client, server)
    assert client.read("big") == BIG
    assert len(server.indexes()) == 2


async def test_case_69_what_cannot_fit_is_not_begun(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says why, where the disk is not full yet."""
    monkeypatch.setattr(Folder, "free_space", lambda _folder: RESERVE + len(BIG) - 1)
    server = await hostile({"big": BIG})
    with pytest.raises(DiskFull, match=f"the last {RESERVE >> 20} MiB of a disk are left alone"):
        await pull_from(client, server)
    assert not server.indexes(), "not one chunk was asked for"
    assert not staged(client)
    monkeypatch.setattr(Folder, "free_space", lambda _folder: RESERVE + len(BIG))
    await pull_from(client, server)
    assert client.read("big") == BIG


async def test_case_69_small_files_leave_the_reserve_alone(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "free_space", lambda _folder: RESERVE + 9)
    server = await hostile({"a": b"it fits", "b": b"it does not"})
    with pytest.raises(DiskFull, match="b; the last"):
        await pull_from(client, server)
    assert not staged(client)
    assert client.tree().keys() == {"a"}
    monkeypatch.setattr(Folder, "free_space", lambda _folder: RESERVE + 99)
    await pull_from(client, server)
    assert client.read("b") == b"it does not"


async def test_case_69_groups_that_were_committed_stay(
    client: Device, hostile: MakeHostile, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "GROUP_FILES", 4)
    names = {f"{number:02}": b"%d" % number for number in range(12)}
    server = await hostile(names)
    faults.fail("create_staged", errno.ENOSPC, skip=4)
    with pytest.raises(DiskFull):
        await pull_from(client, server, streams=1)
    assert len(client.tree()) == 4
    faults.mend()
    await pull_from(client, server)
    assert set(client.tree()) == names.keys()


async def test_case_69_a_running_connect_goes_on_when_there_is_room(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_use(pair.client)
    full = Faults(monkeypatch, pair.client)
    full.fail("create_staged", errno.ENOSPC)
    pair.server.write("a", "x", mtime=OLD)
    job = await pair.client.connect(await pair.server.serve())
    await until(lambda: bool(pair.client.seen(Reconnecting)))
    assert "no space left" in pair.client.seen(Reconnecting)[0].reason
    assert "no space left" in job.status().reason
    full.mend()
    job.sync_now()
    await until(lambda: "a" in pair.client.tree())
    await job.stop()


async def test_case_69_records_that_are_full_cost_no_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_store: Store, *_arguments: Any) -> None:
        raise DiskFull(path="store.sqlite")

    pair.server.write("a", "x", mtime=OLD)
    job = await pair.server.serve()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "finish_staged", full)
        with pytest.raises(DiskFull):
            await pair.client.sync(job)
    await pair.client.sync(job)
    assert pair.client.read("a") == b"x"


@pytest.mark.parametrize(("options", "size", "count"), [("size=68m", 400_000, 20), ("size=96m,nr_inodes=28", 10, 60)])
async def test_case_69_a_real_disk_without_bytes_or_inodes(pair: Pair, options: str, size: int, count: int) -> None:
    need_mounts()
    for number in range(count):
        pair.server.write(f"{number:02}", os.urandom(size), mtime=OLD)
    job = await pair.server.serve()
    with tmpfs(pair.client.folder, options) as disk:
        inside = disk.seen(pair.client.folder)
        (inside / "00").write_text("the old one")
        os.utime(inside / "00", (OLD - 5, OLD - 5))
        done = await program.connect(pair.client, job, "--mirror", prefix=disk.prefix())
        assert done.returncode == 1, done.stderr
        assert "There is no space left for" in done.stderr
        kept = [path.read_bytes() for path in inside.glob(".leafsync_trash/*/00")]
        names = {path.name: path.read_bytes() for path in inside.iterdir() if path.is_file()}
        assert kept == [b"the old one"] or names.pop("00") == b"the old one"
        assert all(data == pair.server.read(name) for name, data in names.items()), "what is there is whole"
        disk.run("mount", "-o", "remount,size=128m,nr_inodes=1000", pair.client.folder)
        done = await program.connect(pair.client, job, "--mirror", prefix=disk.prefix())
        assert done.returncode == 0, done.stderr
        assert {path.name for path in inside.iterdir() if path.is_file()} == set(pair.server.tree())


# 70: missing rights


async def test_case_70_a_directory_that_cannot_be_made(client: Device, hostile: MakeHostile, faults: Faults) -> None:
    server = await hostile({"a": b"x", "d/in/it": b"y", "d/too": b"z", "e/b": b"w"})
    faults.fail("make_directory", errno.EACCES, "'d'")
    summary = await pull_from(client, server, mirror=True)
    assert set(client.tree()) == {"a", "e", "e/b"}
    assert {path for path, _reason in summary.problems} == {"d", "d/in", "d/in/it", "d/too"}
    assert dict(summary.problems)["d"] == "Permission denied."
    faults.mend()
    assert not (await pull_from(client, server, mirror=True)).problems
    assert client.read("d/in/it") == b"y"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("step", ["rename_new", "exchange", "make_link"])
async def test_case_70_one_entry_that_may_not_be_changed(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    """Either side: the client is refused what the server has, and the server what the client has."""
    job = await mirrored.server.serve()
    sides = (mirrored.client, mirrored.server)
    faulty = [Faults(monkeypatch, device) for device in sides]
    for device, name in zip((mirrored.server, mirrored.client), ("here", "there"), strict=True):
        if step == "make_link":
            (device.folder / f"bad {name}").symlink_to("a")
        elif step == "exchange":
            device.write({"here": "a", "there": "b"}[name], f"new {name}", mtime=OLD + 5)
        else:
            device.write(f"bad {name}", "x", mtime=OLD)
        device.write(f"good {name}", "x", mtime=OLD)
    for one in faulty:
        one.fail(step, code, "bad " if step != "exchange" else "")
        if step == "make_link":
            one.fail("rename_new", code, "bad ")
    before = [device.tree() for device in sides]
    summary = await mirrored.client.sync(job)
    assert all(one.calls for one in faulty)
    assert len(summary.problems) == 2, summary.problems
    assert all(os.strerror(code) in reason for _path, reason in summary.problems)
    for device, then in zip(sides, before, strict=True):
        assert device.tree().items() >= then.items()
        assert device.read("good here") == device.read("good there") == b"x"
    for one in faulty:
        one.mend()
    assert not (await mirrored.client.sync(job)).problems
    assert mirrored.client.tree() == mirrored.server.tree()


async def test_case_70_a_folder_that_is_read_only_is_served(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client sends is refused in a sentence."""
    read_only = Faults(monkeypatch, pair.server)
    for step in ("prepare", "create_file", "make_directory", "write_at"):
        read_only.fail(step, errno.EROFS)
    pair.server.write("new", "x", mtime=OLD)
    pair.client.write("other", "y", mtime=OLD)
    summary = await pair.client.sync(await pair.server.serve())
    assert pair.client.read("new") == b"x"
    assert any("Read-only file system" in reason for _path, reason in summary.problems)


async def test_case_70_a_real_disk_that_is_read_only(pair: Pair) -> None:
    need_mounts()
    pair.server.write("new", "x", mtime=OLD)
    job = await pair.server.serve()
    with tmpfs(pair.client.folder, "size=4m") as disk:
        inside = disk.seen(pair.client.folder)
        (inside / "old").write_text("y")
        disk.run("mount", "-o", "remount,ro", pair.client.folder)
        done = await program.connect(pair.client, job, prefix=disk.prefix())
        assert done.returncode in (1, 3), done.stderr
        assert "Read-only file system" in done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in inside.iterdir()] == ["old"]


async def test_case_70_what_this_user_may_not_read_stays_as_it_is(pair: Pair) -> None:
    """Real permissions: root without the right to overlook them, else the user of the tests."""
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("there is no setpriv (util-linux)")
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    for place in (pair.client.folder, pair.server.folder):
        for name in ("closed/in", "file", "open"):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text("x")
            os.utime(place / name, (OLD, OLD))
    (pair.client.folder / "closed").chmod(0)
    (pair.client.folder / "file").chmod(0)
    pair.server.write("open", "new", mtime=OLD + 5)
    (pair.server.folder / "file").unlink()
    done = await program.connect(pair.client, await pair.server.serve(), "--mirror", "-v", prefix=prefix)
    assert done.returncode == 3, done.stderr
    assert "closed: the directory cannot be read: Permission denied" in done.stderr
    assert "file: it cannot be read: Permission denied" in done.stderr
    assert [oct((pair.client.folder / name).stat().st_mode & 0o777) for name in ("closed", "file")] == ["0o0", "0o0"]
    (pair.client.folder / "closed").chmod(0o755)
    assert (pair.client.folder / "closed" / "in").read_text() == "x"
    assert (pair.client.folder / "open").read_text() == "new"
    assert (pair.client.folder / "file").stat().st_size == 1


# 71: what cannot be read, written or flushed


@pytest.mark.parametrize(
    ("step", "about"),
    [("create_staged", ""), ("write_at", ""), ("dress", ""), ("rename_new", "one"), ("sync_all", "")],
)
async def test_case_71_what_cannot_be_written_is_a_problem(
    client: Device, hostile: MakeHostile, faults: Faults, step: str, about: str
) -> None:
    """A failed flush leaves nothing that could be taken up again: what of it reached the disk is unknown."""
    server = await hostile({"one": b"one", "two": b"two"})
    client.write("one", "the old one", mtime=OLD)
    if step == "rename_new":
        (client.folder / "one").unlink()
    faults.fail(step, errno.EIO, about)
    summary = await pull_from(client, server, mirror=True)
    assert faults.calls
    assert {path for path, _reason in summary.problems} == ({about} if about else {"one", "two"})
    assert all("Input/output error" in reason for _path, reason in summary.problems)
    assert client.tree().get("one", ("file", b"the old one"))[1] == b"the old one"
    assert ("two" in client.tree()) is bool(about)
    assert not staged(client)
    faults.mend()
    server.asked.clear()
    assert not (await pull_from(client, server)).problems
    assert "one" in server.paths(), "it was fetched again"
    assert (client.read("one"), client.read("two")) == (b"one", b"two")


async def test_case_71_a_flush_that_failed_is_never_tried_again(
    client: Device, hostile: MakeHostile, faults: Faults
) -> None:
    """The second one would succeed and prove nothing."""
    server = await hostile({"big": BIG})
    client.write("big", "the old one", mtime=OLD)
    faults.fail("sync_file", errno.EIO, times=1)
    summary = await pull_from(client, server, mirror=True)
    assert [path for path, _reason in summary.problems] == ["big"]
    assert client.read("big") == b"the old one"
    assert not staged(client)
    server.asked.clear()
    await pull_from(client, server, mirror=True)
    assert client.read("big") == BIG
    assert len(server.indexes()) == 4, "every chunk was fetched again"


@pytest.mark.parametrize("step", ["write_at", "create_staged"])
async def test_case_71_a_large_file_is_one_entry_of_many(
    client: Device, hostile: MakeHostile, faults: Faults, step: str
) -> None:
    server = await hostile({"big": BIG, "one": b"one"})
    client.write("big", "the old one")
    faults.fail(step, errno.EIO, str(CHUNK_SIZE) if step == "write_at" else "", times=1)
    summary = await pull_from(client, server, streams=1)
    assert len(summary.problems) == 1
    assert client.read("one") == b"one" or client.read("big") == BIG


async def test_case_71_a_bad_sector_in_the_old_version_is_fetched(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.server.write("big", BIG, mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.server.write("big", BIG[:-4] + b"edit", mtime=OLD + 5)
    faults = Faults(monkeypatch, pair.client)
    faults.fail_reading(errno.EIO, "/big", skip=1)  # when chunk 0 was read

    def mended(exchange: Any, arguments: tuple[Any, ...]) -> Any:
        faults.mend()
        return exchange(*arguments)

    faults.at("exchange", mended)
    summary = await pair.client.pull(server)
    assert pair.client.read("big") == BIG[:-4] + b"edit"
    assert summary.totals.fetched == 2 * CHUNK_SIZE + 4
    assert not summary.problems


async def test_case_71_what_cannot_be_read_here_is_not_replaced(
    client: Device, hostile: MakeHostile, faults: Faults
) -> None:
    """Nobody knows what would be lost."""
    server = await hostile({"big": BIG, "one": b"one"})
    client.write("big", "the old one", mtime=OLD)
    faults.fail_reading(errno.EIO, "/big")
    summary = await pull_from(client, server, mirror=True)
    assert summary.problems == (("big", "it cannot be read: Input/output error"),)
    assert (client.read("big"), client.read("one")) == (b"the old one", b"one")


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("step", ["reading", "open_file", "read_link"])
async def test_case_71_what_cannot_be_read_is_never_deleted(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch, side: str, step: str
) -> None:
    bad, other = (mirrored.server, mirrored.client) if side == "server" else (mirrored.client, mirrored.server)
    bad.write("a", "changed", mtime=OLD + 5)
    if step == "read_link":
        (bad.folder / "a").unlink()
        (bad.folder / "a").symlink_to("b")
    other.write("new", "x", mtime=OLD)
    faults = Faults(monkeypatch, bad)
    if step == "reading":
        faults.fail_reading(errno.EIO, "/a")
    else:
        faults.fail(step, errno.EIO, "'a'")
    before = mirrored.client.tree(), mirrored.server.tree()
    summary = await mirrored.client.sync(await mirrored.server.serve(), allow_deletes=True)
    assert faults.calls
    assert summary.partial
    assert mirrored.client.tree().items() >= before[0].items()
    assert mirrored.server.tree().items() >= before[1].items()
    assert bad.read("new") == b"x"


async def test_case_71_a_file_that_cannot_be_read_any_more_when_it_is_sent(
    mirrored: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was hashed, and is broken when its content is asked for."""
    mirrored.server.write("a", "changed", mtime=OLD + 5)
    mirrored.server.write("big", BIG, mtime=OLD)
    job = await mirrored.server.serve()
    faults = Faults(monkeypatch, mirrored.server)
    faults.fail_reading(errno.EIO, "/a", calls=SENDING)
    faults.fail_reading(errno.EIO, "/big", calls=SENDING, skip=1)
    summary = await mirrored.client.pull(job)
    assert dict(summary.problems) == dict.fromkeys(("a", "big"), "the other side cannot read it")
    assert mirrored.client.read("a") == b"content of a"
    assert "big" not in mirrored.client.tree()
    faults.mend()
    await mirrored.client.pull(job)
    assert mirrored.client.tree() == mirrored.server.tree()


@pytest.mark.parametrize(("calls", "most"), [(READS, 50_000), (WRITES, 50_000), (READS + WRITES, CHUNK_SIZE - 1)])
async def test_case_71_short_reads_and_writes_are_completed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...], most: int
) -> None:
    for device in (pair.server, pair.client):
        Faults(monkeypatch, device).short(calls, most)
    pair.server.write("big", BIG, mtime=OLD)
    pair.server.write("small", BIG[: CHUNK_SIZE - 7], mtime=OLD)
    pair.client.write("up", BIG[5:], mtime=OLD)
    job = await pair.server.serve()
    summary = await pair.client.sync(job)
    assert not summary.problems
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.read("big") == BIG
    assert pair.server.read("up") == BIG[5:]


async def test_case_71_a_disk_that_writes_nothing_is_an_error_not_a_loop(
    client: Device, hostile: MakeHostile, faults: Faults
) -> None:
    server = await hostile({"one": b"one"})
    faults.short(WRITES, 0)
    summary = await pull_from(client, server)
    assert [path for path, _reason in summary.problems] == ["one"]
