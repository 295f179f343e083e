"""A folder on a filesystem that keeps no permissions and rounds times, as FAT does: the other side must not notice."""

import os
import time

import pytest

from leafsync.engine.disk.folder import Folder, Keeps
from leafsync.engine.sync.serving import ServeJob
from tests.support.devices import Device, Pair

ODD = int(time.time()) // 2 * 2 - 3599
"""A time that rounds, outside of the racy window."""

EVEN = 2_000_000_000
SCRIPT, TEXT = 0o755, 0o644


@pytest.fixture(params=["client", "server"])
async def poor(request: pytest.FixtureRequest, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Device:
    """Return the device whose folder is on such a disk, where everything looks executable."""
    device: Device = getattr(pair, request.param)
    dress = Folder.dress

    def on_it(folder: Folder) -> bool:
        return folder.path == str(device.folder)

    def dressed(folder: Folder, fd: int, mode: int, mtime_ns: int) -> None:
        if on_it(folder):
            mode, mtime_ns = 0o777, mtime_ns // EVEN * EVEN
        dress(folder, fd, mode, mtime_ns)

    monkeypatch.setattr(Folder, "dress", dressed)
    monkeypatch.setattr(Folder, "keeps", property(lambda folder: Keeps(*[not on_it(folder)] * 2)))
    return device


@pytest.fixture
def rich(pair: Pair, poor: Device) -> Device:
    """Return the other device."""
    return pair.server if poor is pair.client else pair.client


@pytest.fixture
async def server(pair: Pair, rich: Device) -> ServeJob:
    """Bring some files to the poor disk."""
    rich.write("d/script", "#!", mtime=ODD, mode=SCRIPT)
    rich.write("d/text", "words", mtime=ODD, mode=TEXT)
    rich.write("gone", "x", mtime=ODD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    return server


async def settled(pair: Pair, server: ServeJob) -> None:
    """Expect that nothing is left to do, now and after a restart."""
    for _ in range(2):
        summary = await pair.client.sync(server)
        assert (summary.changed, summary.conflicts, summary.problems) == (False, (), ())


def metadata(device: Device, path: str) -> tuple[int, bool]:
    stat = (device.folder / path).stat()
    return int(stat.st_mtime), bool(stat.st_mode & 0o100)


async def test_what_comes_there_does_not_go_back_changed(
    pair: Pair, server: ServeJob, poor: Device, rich: Device
) -> None:
    await settled(pair, server)
    assert metadata(rich, "d/script") == (ODD, True)
    assert metadata(rich, "d/text") == (ODD, False)
    assert metadata(poor, "d/text") == (ODD - 1, True), "or the disk is not that poor"


async def test_edits_on_either_side(pair: Pair, server: ServeJob, poor: Device, rich: Device) -> None:
    poor.write("d/script", "#! more", mtime=ODD + 11, mode=0o777)
    poor.write("new", "made there", mtime=ODD + 11, mode=0o777)
    rich.write("d/text", "more words", mtime=ODD + 20, mode=TEXT)
    (rich.folder / "gone").unlink()
    await pair.client.sync(server, allow_deletes=True)
    await settled(pair, server)
    assert metadata(rich, "d/script") == (ODD + 11, True)
    assert metadata(rich, "new") == (ODD + 11, False)
    assert metadata(rich, "d/text") == (ODD + 20, False)
    assert not (poor.folder / "gone").exists()


async def test_times_and_permissions_that_are_set(pair: Pair, server: ServeJob, poor: Device, rich: Device) -> None:
    os.utime(rich.folder / "d/text", (ODD + 40, ODD + 40))
    (rich.folder / "d/script").chmod(TEXT)
    await pair.client.sync(server)
    await settled(pair, server)
    assert metadata(rich, "d/script") == (ODD, False)
    assert metadata(rich, "d/text") == (ODD + 40, False)
    os.utime(poor.folder / "d/text", (ODD + 51, ODD + 51))
    await pair.client.sync(server)
    await settled(pair, server)
    assert metadata(rich, "d/text") == (ODD + 51, False)


async def test_renames(pair: Pair, server: ServeJob, poor: Device, rich: Device) -> None:
    (rich.folder / "d").rename(rich.folder / "renamed")
    (rich.folder / "gone").rename(rich.folder / "moved")
    summary = await pair.client.sync(server)
    assert (summary.fetched, summary.sent) == ((), ())
    await settled(pair, server)
    assert metadata(rich, "renamed/script") == (ODD, True)
    assert metadata(rich, "renamed/text") == (ODD, False)
    assert metadata(rich, "moved") == (ODD, False)
    assert (poor.folder / "renamed/script").exists()


async def test_an_undo(pair: Pair, server: ServeJob, poor: Device, rich: Device) -> None:
    rich.write("d/text", "more words", mtime=ODD + 20, mode=TEXT)
    await pair.client.sync(server)
    await poor.engine.with_records(str(poor.folder), lambda records: records.undo("last"))
    await pair.client.sync(server)
    await settled(pair, server)
    assert rich.read("d/text") == b"words"
    assert not metadata(rich, "d/text")[1]
