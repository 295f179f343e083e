"""An engine that shows what a test says, and an app with one screen of ours on it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

import leafsync
from leafsync.bridge import Ask, Bridge, Event, PassSummary, Snapshot, TrustQuestion
from leafsync.config import Config
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.transfers import TransferLog
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync.records import Records
from leafsync.progress import Progress
from leafsync.settings import Settings

T = TypeVar("T")

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""The time of day in every test of a screen."""


@dataclass
class FakeJob:
    """A job that ends when a test says so."""

    id: int
    options: ServeOptions | ConnectOptions
    calls: list[str]
    transfers: TransferLog
    allowed: frozenset[str] = frozenset()
    end: "asyncio.Future[PassSummary | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def pause(self) -> None:
        self.calls.append(f"pause {self.id}")

    def resume(self) -> None:
        self.calls.append(f"resume {self.id}")

    def sync_now(self) -> None:
        self.calls.append(f"sync {self.id}")

    def allow_deletes(self, paths: frozenset[str]) -> None:
        self.calls.append(f"allow {self.id}")
        self.allowed = paths

    async def wait(self) -> PassSummary | None:
        return await asyncio.shield(self.end)


class FakeEngine:
    """Shows `shown`; trust and records are real ones below `home`."""

    def __init__(self, home: Path, on_event: Callable[[Event], None], ask: Ask) -> None:
        home.mkdir(exist_ok=True)
        self.shown = Snapshot(0)
        self.jobs: dict[int, FakeJob] = {}
        self.calls: list[str] = []
        self.waited: list[bool] = []
        """Whether somebody waited for an answer, as the engine was told."""
        self.keep = 100_000
        """Transfers that are kept of each job."""
        self.failure: Exception | None = None
        """Raised instead of beginning a job."""
        self.ending: PassSummary | Exception | None = None
        """What a job that does one pass ends with at once."""
        self.identity = Identity.generate()
        self.trust = TrustStore(home / "trust.toml", now=lambda: NOW)
        self._state = home / "state"
        self.tell = on_event
        self._ask = ask

    async def __aenter__(self) -> Self:
        self.trust.load()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calls.append("exit")

    async def load(self) -> None:
        self.calls.append("load")

    async def serve(self, options: ServeOptions) -> FakeJob:
        return self._begin(options)

    async def connect(self, options: ConnectOptions) -> FakeJob:
        return self._begin(options)

    def _begin(self, options: ServeOptions | ConnectOptions) -> FakeJob:
        if self.failure is not None:
            raise self.failure
        job = FakeJob(len(self.jobs) + 1, options, self.calls, TransferLog(self.keep))
        self.jobs[job.id] = job
        if isinstance(options, ConnectOptions) and (options.once or options.dry_run):
            if isinstance(self.ending, Exception):
                job.end.set_exception(self.ending)
            else:
                job.end.set_result(self.ending)
        return job

    async def stop(self, job_id: int) -> None:
        self.calls.append(f"stop {job_id}")

    def give_way(self, *, waiting: bool) -> None:
        self.waited.append(waiting)

    def snapshot(self) -> Snapshot:
        return self.shown

    async def with_trust(self, call: Callable[[TrustStore], T]) -> T:
        return await asyncio.to_thread(call, self.trust)

    async def with_records(self, folder: str, call: Callable[[Records], T]) -> T:
        def work() -> T:
            with Records.open(folder, self._state, force=True) as records:
                return call(records)

        return await asyncio.to_thread(work)

    def question(self, question: TrustQuestion) -> "asyncio.Task[bool]":
        """Ask whoever uses the app."""
        return asyncio.ensure_future(self._ask(question))


class Host(App[None]):
    """An app with nothing but one screen of ours."""

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = Path(leafsync.__file__).with_name("app.tcss")

    def __init__(self, bridge: Bridge, screen: Screen[Any]) -> None:
        super().__init__()
        self.bridge = bridge
        self.settings = Settings(Config("desk"))
        self.clock = time.monotonic
        self.progress = Progress()
        self.results: list[Any] = []
        """What a modal was dismissed with."""
        self._first = screen
        self.animation_level = "none"

    def on_mount(self) -> None:
        self.push_screen(self._first, self.results.append)


@dataclass
class Desk:
    """What a test of a screen works with."""

    engine: FakeEngine
    bridge: Bridge
    app: Host
    pilot: Pilot[None]


@contextlib.asynccontextmanager
async def hosted(home: Path, screen: Screen[Any], size: tuple[int, int] = (100, 30)) -> AsyncIterator[Desk]:
    """Run an app with one screen of ours on a fake engine."""
    engines: list[FakeEngine] = []

    def make(on_event: Callable[[Event], None], ask: Ask) -> FakeEngine:
        engines.append(FakeEngine(home, on_event, ask))
        return engines[0]

    async with Bridge(make, device_name="desk", now=lambda: NOW) as bridge:
        app = Host(bridge, screen)
        bridge.post = app.post_message
        async with app.run_test(size=size, notifications=True) as pilot:
            yield Desk(engines[0], bridge, app, pilot)


def screen_text(app: App[Any]) -> str:
    """Return what is on the screen as lines of text."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()[:height]  # the same strips that go to the terminal
    return "\n".join("".join(segment.text for segment in strip)[:width].rstrip() for strip in lines)
