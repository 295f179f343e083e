"""Devices for tests: real engines in one process, talking over loopback."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from leafsync.engine.core.address import Address
from leafsync.engine.core.events import Event, PassFinished
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassSummary
from leafsync.engine.service import Engine, EngineConfig
from leafsync.engine.sync.connecting import ConnectJob
from leafsync.engine.sync.serving import ServeJob

E = TypeVar("E", bound=Event)

DEADLINE = 20.0
"""Seconds until a test gives up waiting."""


@dataclass
class Device:
    """One device: its home, its folder and its running engine."""

    name: str
    home: Path
    folder: Path
    events: list[Event] = field(default_factory=list)
    engine: Engine = field(init=False)

    def config(self) -> EngineConfig:
        return EngineConfig(
            identity_path=self.home / "identity.pem",
            trust_path=self.home / "trust.toml",
            state_dir=self.home / "state",
            device_name=self.name,
        )

    def write(self, path: str, content: bytes | str, *, mtime: float | None = None, mode: int = 0o644) -> Path:
        """Write a file of the folder, with parents; an old mtime keeps it out of the racy window."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        if mtime is not None:
            os.utime(target, (mtime, mtime))
        return target

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def tree(self) -> dict[str, tuple[Any, ...]]:
        """Everything below the folder that counts, but for our own directories.

        Tests wait for a state of it while a pass changes it: what goes away while it is looked at is not there.
        """
        found: dict[str, tuple[Any, ...]] = {}
        for directory, directories, files in os.walk(self.folder):
            at = Path(directory)
            if at == self.folder:
                directories[:] = [name for name in directories if not name.startswith(".leafsync_t")]
            for name in directories + files:
                path = at / name
                with suppress(FileNotFoundError, NotADirectoryError):
                    found[str(path.relative_to(self.folder))] = described(path)
        return found

    def trash(self) -> set[str]:
        """Paths in the trash, below the name of their pass."""
        top = self.folder / ".leafsync_trash"
        return {str(Path(*p.relative_to(top).parts[1:])) for p in top.rglob("*") if p.is_file() or p.is_symlink()}

    def seen(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def serve(self, **options: Any) -> ServeJob:
        job = await self.engine.serve(ServeOptions(str(self.folder), host="127.0.0.1", port=0, **options))
        assert isinstance(job, ServeJob)
        return job

    async def connect(self, server: ServeJob, **options: Any) -> ConnectJob:
        address = Address("127.0.0.1", server.status().port)
        job = await self.engine.connect(connect_options(address, self.folder, **options))
        assert isinstance(job, ConnectJob)
        return job

    async def sync(self, server: ServeJob, **options: Any) -> PassSummary:
        """Do one pass in both directions."""
        return await self.pull(server, mode=Mode.BOTH, **options)

    async def pull(self, server: ServeJob, **options: Any) -> PassSummary:
        """Do one pass."""
        job = await self.connect(server, once=True, **options)
        summary = await job.wait()
        assert summary is not None
        return summary

    def passes(self) -> list[PassSummary]:
        return [event.summary for event in self.seen(PassFinished)]


def described(path: Path) -> tuple[Any, ...]:
    """What counts of an entry of a folder."""
    stat = path.lstat()
    if path.is_symlink():
        return ("link", str(path.readlink()))
    if path.is_dir():
        return ("directory",)
    if not path.is_file():
        return ("special",)
    return ("file", path.read_bytes(), stat.st_mtime_ns, bool(stat.st_mode & 0o100))


def connect_options(address: Address, folder: Path, *, mirror: bool = False, **options: Any) -> ConnectOptions:
    """Options of tests that are about one direction, unless they name a mode."""
    options.setdefault("mode", Mode.MIRROR if mirror else Mode.PULL)
    return ConnectOptions(address, str(folder), **options)


async def until(condition: Callable[[], bool], *, deadline: float = DEADLINE) -> None:
    """Return once the engine has come to a state; what it shows of itself is pulled, so there is nothing to wait on."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def introduce(one: Device, other: Device) -> None:
    """Let two devices trust each other."""
    one.engine.trust.add(other.engine.identity.fingerprint, name=other.name, confirmed="test")
    other.engine.trust.add(one.engine.identity.fingerprint, name=one.name, confirmed="test")


@dataclass
class Pair:
    """A serving and a pulling device that trust each other."""

    server: Device
    client: Device
