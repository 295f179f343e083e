"""The process that dies: a real engine, or an undo, with its disk watched.

Children are forked from a server that has everything loaded and neither loop nor threads, so one costs milliseconds.
"""

import asyncio
import contextlib
import enum
import multiprocessing
import signal
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path

from leafsync.engine.core.address import Address
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.service import Engine
from leafsync.engine.sync.records import LAST, Records
from tests.crash.points import Call, Fault, Points
from tests.crash.scenario import Place
from tests.support.devices import Device

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tests.crash.child", "leafsync.engine.sync.serving", "leafsync.engine.sync.connecting", "aioquic.quic.connection"]
)

DEADLINE = 30.0
"""Seconds that a child may take."""


class Work(enum.StrEnum):
    """What the process is doing that dies."""

    CLIENT = "client"
    """A pass over both folders, connecting."""
    SERVER = "server"
    """The same pass, serving."""
    UNDO = "undo"
    """Taking back the client's last pass."""

    @property
    def victim(self) -> str:
        """The name of the device that it happens to."""
        return "server" if self is Work.SERVER else "client"


class Child:
    """A child at work."""

    def __init__(self, work: Work, place: Place, fault: Fault | None, port: int = 0) -> None:
        """Start it. A client connects to `port`."""
        self._pipe, theirs = _FORKS.Pipe()
        arguments = (work, str(place.path), fault, port, theirs)
        self._process = _FORKS.Process(target=_run, args=arguments)
        self._process.start()
        theirs.close()

    async def port(self) -> int | None:
        """Return the port that a server listens at, None when it died before."""
        port = await asyncio.to_thread(self._receive)
        return port if isinstance(port, int) else None

    def stop(self) -> None:
        """Let a server come to its end."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)

    async def death(self) -> list[Call] | None:
        """Wait until the child has ended; return the calls of one that came to its end, None of one that was killed."""
        calls = await asyncio.to_thread(self._receive)
        await asyncio.to_thread(self._process.join, DEADLINE)
        code = self._process.exitcode
        if isinstance(calls, list) and code == 0:
            return calls
        if calls is None and code == -signal.SIGKILL:
            return None
        raise RuntimeError(f"the child ended with {code}")

    def _receive(self) -> object:
        if not self._pipe.poll(DEADLINE):
            raise TimeoutError("the child does nothing")
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return None

    def close(self) -> None:
        """Kill it if it is still there."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()


def _run(work: Work, path: str, fault: Fault | None, port: int, pipe: Connection) -> None:
    device = Place(Path(path)).device(work.victim)
    points = Points(fault)
    points.install()
    if work is Work.UNDO:
        with Records.open(str(device.folder), device.home / "state") as records:
            undone = records.undo(LAST)
        assert not undone.partial, undone
    else:
        asyncio.run(_serve(device, pipe) if work is Work.SERVER else _connect(device, port))
    pipe.send(points.calls)


async def _connect(device: Device, port: int) -> None:
    async with _running(device):
        options = ConnectOptions(
            Address("127.0.0.1", port), str(device.folder), mode=Mode.BOTH, once=True, allow_deletes=True
        )
        job = await device.engine.connect(options)
        await job.wait()


async def _serve(device: Device, pipe: Connection) -> None:
    async with _running(device):
        job = await device.engine.serve(ServeOptions(str(device.folder), host="127.0.0.1", port=0))
        pipe.send(job.status().port)
        await asyncio.to_thread(pipe.recv)


@contextlib.asynccontextmanager
async def _running(device: Device) -> AsyncIterator[None]:
    async with Engine(device.config(), on_event=device.events.append) as engine:
        device.engine = engine
        yield
