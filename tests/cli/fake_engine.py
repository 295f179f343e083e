"""An engine that does what a test wrote down, with the shape of the real one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from leafsync.engine.core.events import Event
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.status import PassSummary, Snapshot
from leafsync.paths import Paths
from leafsync.run import Engine, EngineFactory


async def at_once() -> PassSummary | None:
    """A job that has nothing to do."""
    return None


async def for_ever() -> PassSummary | None:
    """A job that ends when it is stopped."""
    await asyncio.Event().wait()
    return None


def raising(error: BaseException) -> Callable[[], Awaitable[PassSummary | None]]:
    """A job that fails."""

    async def work() -> PassSummary | None:
        raise error

    return work


def returning(summary: PassSummary) -> Callable[[], Awaitable[PassSummary | None]]:
    """A job that does one pass."""

    async def work() -> PassSummary | None:
        return summary

    return work


@dataclass
class Script:
    """What the engine does, and what was asked of it."""

    work: Callable[[], Awaitable[PassSummary | None]] = at_once
    """The job."""
    events: list[Event] = field(default_factory=list)
    """Told when the job starts."""
    snapshots: Iterable[Snapshot] = ()
    """Given one after the other, the last one for ever."""
    starting: BaseException | None = None
    """Raised instead of starting the job."""
    entering: BaseException | None = None
    """Raised instead of starting the engine."""
    stop_hangs: bool = False
    on_stop: Callable[[], None] = lambda: None
    options: ServeOptions | ConnectOptions | None = None
    paths: Paths | None = None
    name: str = ""
    calls: list[str] = field(default_factory=list)

    def factory(self) -> EngineFactory:
        def make(paths: Paths, name: str, on_event: Callable[[Event], None]) -> Engine:
            self.paths, self.name = paths, name
            return FakeEngine(self, on_event)

        return make


class FakeJob:
    def __init__(self, script: Script) -> None:
        self.id = 1
        self._script = script
        self._task = asyncio.ensure_future(script.work())

    async def wait(self) -> PassSummary | None:
        return await asyncio.shield(self._task)

    async def stop(self) -> None:
        self._script.calls.append("stop")
        self._script.on_stop()
        if self._script.stop_hangs:
            await asyncio.Event().wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class FakeEngine:
    def __init__(self, script: Script, on_event: Callable[[Event], None]) -> None:
        self._script = script
        self._on_event = on_event
        self._snapshots: Iterator[Snapshot] = iter(script.snapshots)
        self._snapshot = Snapshot(0)

    async def __aenter__(self) -> Self:
        if self._script.entering is not None:
            raise self._script.entering
        self._script.calls.append("enter")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._script.calls.append("exit")

    async def serve(self, options: ServeOptions) -> FakeJob:
        return await self._start(options)

    async def connect(self, options: ConnectOptions) -> FakeJob:
        return await self._start(options)

    def snapshot(self) -> Snapshot:
        self._snapshot = next(self._snapshots, self._snapshot)
        return self._snapshot

    async def _start(self, options: ServeOptions | ConnectOptions) -> FakeJob:
        self._script.options = options
        if self._script.starting is not None:
            raise self._script.starting
        for event in self._script.events:
            self._on_event(event)
        return FakeJob(self._script)
