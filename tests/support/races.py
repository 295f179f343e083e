"""Somebody else who changes a folder in the very instant between a look at an entry and what is done about it."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.status import PassSummary
from leafsync.engine.disk import folder as folder_module
from leafsync.engine.disk.folder import Folder
from leafsync.engine.sync.sender import Offer
from leafsync.engine.sync.serving import ServeJob
from tests.support.devices import Device, Pair

OLD = 1_600_000_000.0
"""When everything was written that both sides have in the beginning."""

CANARY = b"canary"

BEGINNING = {
    "d/old": b"the old version",
    "d/gone": b"to be deleted",
    "d/touched": b"to be touched",
    "d/moved": b"to be renamed",
    "d/more/inside": b"deeper",
    "other": b"nothing happens to it",
}


class Instants:
    """Acts just before, or right after, single calls inside of the engines, each once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[str] = []
        """Calls whose instant has not come yet."""
        self._monkeypatch = monkeypatch
        self._lock = threading.Lock()

    def when(
        self,
        owner: Any,
        name: str,
        act: Callable[[], object],
        fits: Callable[..., bool],
        *,
        then: Callable[[], object] = lambda: None,
        skip: int = 0,
    ) -> None:
        """Do `act` before the call of the function `name` of a class or module whose arguments fit, after `skip`
        others, and `then` after it."""
        original = getattr(owner, name)
        left = [None] * (skip + 1)
        self.waiting.append(name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                now = bool(left) and fits(*arguments)
                if now:
                    left.pop()
                now = now and not left
                if now:
                    self.waiting.remove(name)
            if not now:
                return original(*arguments, **options)
            act()
            try:
                return original(*arguments, **options)
            finally:
                then()

        self._monkeypatch.setattr(owner, name, call)

    def at(self, device: Device, step: str, act: Callable[[], object], about: str = "", **options: Any) -> None:
        """As `when`, at a call of this method of the device's Folder whose arguments name `about`."""
        path = os.path.realpath(device.folder)

        def fits(folder: Folder, *arguments: Any, **_options: Any) -> bool:
            return folder.path == path and about in repr(arguments)

        self.when(Folder, step, act, fits, **options)


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    """Return all there is to know of everything below a directory that nobody may touch."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (directory, *sorted(directory.rglob("*"))):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_size, stat.st_mtime_ns, content)
    return found


def versions(*devices: Device) -> set[bytes]:
    """Return the content of every file of these folders, trashes included, but not what is being staged."""
    return {
        path.read_bytes()
        for device in devices
        for path in device.folder.rglob("*")
        if path.is_file() and not path.is_symlink() and ".leafsync_tmp" not in path.parts
    }


def save(path: Path, content: bytes) -> None:
    """Save a file as editors do: another file takes its name."""
    other = path.with_name(f"{path.name}.saving")
    other.write_bytes(content)
    other.rename(path)


def become_link(file: Path, outside: Path) -> None:
    file.unlink()
    file.symlink_to(outside / "old")


def become_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def lead_away(path: Path, outside: Path) -> Path:
    """Put a link to `outside` in the place of `path`, and return where that is now."""
    aside = path.with_name(f"{path.name} aside")
    path.rename(aside)
    path.symlink_to(outside)
    return aside


@pytest.fixture
def no_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush waits for what everybody on the machine has written, and no power fails here."""
    monkeypatch.setattr(folder_module, "flush_filesystem", lambda _fd: True)
    monkeypatch.setattr(folder_module, "flush_file", lambda _fd: None)


@pytest.fixture
def instants(monkeypatch: pytest.MonkeyPatch) -> Instants:
    return Instants(monkeypatch)


@dataclass
class Scene:
    """Two devices that have the same. `here` takes what is changed `there`, and somebody interferes."""

    pair: Pair
    job: ServeJob
    here: Device
    there: Device
    outside: Path
    before: dict[str, tuple[object, ...]]
    instants: Instants

    async def sync(self) -> PassSummary:
        return await self.pair.client.sync(self.job, allow_deletes=True)

    def when_sent(self, path: str, act: Callable[[], object]) -> None:
        """Act when this file is about to be opened to be sent: a watched folder may be looked at any time, and what is
        young is hashed again then."""
        self.instants.when(Offer, "open", act, lambda _offer, item: item.path == path)

    async def both(self) -> None:
        """Sync until nothing changes, and expect both to be the same."""
        summary = await self.sync()
        for _number in range(3):
            if not summary.changed:
                break
            summary = await self.sync()
        assert not summary.changed
        assert not summary.partial
        assert self.here.tree() == self.there.tree()

    def unread(self, summary: PassSummary, *paths: str) -> None:
        """Expect that these files of `there` are problems: of the folder that the other device has, which counts them,
        or named as what could not be fetched; the last look of a pass may have seen what became of them, or not."""
        told = {path for path, _reason in summary.problems} & {*paths}
        counted = summary.remote_problems if self.there is self.pair.server else 0
        assert len(told) + counted == len(paths)

    def untouched(self) -> None:
        """Expect that all instants came, and nothing outside was touched or came in; others files went on."""
        assert not self.instants.waiting
        assert snapshot(self.outside) == self.before
        assert CANARY not in versions(self.here, self.there)
        assert self.here.read("other") == b"changed, and nobody interferes"


@pytest.fixture(params=["received", "served"])
async def scene(
    request: pytest.FixtureRequest, pair: Pair, tmp_path: Path, instants: Instants, no_flushes: None
) -> Scene:
    """`here` is the client, which receives, or the server, which takes the client's changes."""
    here, there = (pair.client, pair.server) if request.param == "received" else (pair.server, pair.client)
    outside = tmp_path / "outside"
    for path, content in BEGINNING.items():
        there.write(path, content, mtime=OLD)
        target = outside / path.removeprefix("d/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(CANARY)
    for directory in (outside, there.folder / "d"):
        (directory / "empty").mkdir()
        (directory / "link").symlink_to("old")
    job = await pair.server.serve()
    await pair.client.sync(job)
    assert here.tree() == there.tree()
    there.write("other", b"changed, and nobody interferes", mtime=OLD + 5)
    return Scene(pair, job, here, there, outside, snapshot(outside), instants)


def change_everything(device: Device) -> None:
    """Make one change of every kind."""
    folder = device.folder / "d"
    device.write("d/old", b"the new version", mtime=OLD + 5)
    device.write("d/new", b"new", mtime=OLD)
    (folder / "gone").unlink()
    (folder / "touched").chmod(0o755)
    (folder / "moved").rename(folder / "renamed")
    (folder / "empty").rmdir()
    (folder / "made").mkdir()
    (folder / "link").unlink()
    (folder / "link").symlink_to("touched")


def paths(summary: PassSummary) -> set[str]:
    return {path for path, _reason in summary.problems}
