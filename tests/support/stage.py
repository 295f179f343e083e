"""The real app on an engine that shows what a scene says, in a world where nothing depends on machine or moment.

The clock stands until a scene moves it on, keys and fingerprints are made of constants, and what the screens find on
the disk is what `Disk` has. So a scene looks the same wherever and whenever it is played.
"""

import asyncio
import contextlib
import hashlib
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ed25519
from msgspec.structs import replace
from textual import events
from textual.filter import Monochrome

from leafsync.app import FAST_TICKS, QUIET_TICKS, LeafSyncApp
from leafsync.bridge import (
    Ask,
    Bridge,
    ConflictCopy,
    ConnectOptions,
    ConnectStatus,
    Event,
    PassRecord,
    ServeOptions,
    ServeStatus,
    Snapshot,
    TrustQuestion,
    TrustStore,
    parse_address,
)
from leafsync.config import Config
from leafsync.engine.net.identity import Identity
from leafsync.engine.sync.records import Records
from leafsync.screens.conflicts import Version
from leafsync.settings import Settings
from leafsync.ui_state import UiState
from leafsync.widgets.listing import Found, Listing, Stopped, Wanted, never
from leafsync.widgets.places import Place
from tests.support.ui import NOW, FakeEngine, screen_text

if TYPE_CHECKING:
    from textual.pilot import Pilot

T = TypeVar("T")

HOME = "/home/ana"
"""The home of whoever looks at the app."""

DEADLINE = 10.0
"""Seconds until a scene gives up waiting for what it wants to see: far more than anything takes."""

EVERY_TICK = math.lcm(QUIET_TICKS, FAST_TICKS)
"""The number of a tick that is never left out."""

FOR_EVER = 86_400.0
"""Seconds that a toast stays: a slow machine must not be too late to see it."""


def fingerprint_of(name: str) -> str:
    """Return the fingerprint of the device that is called so."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass
class Disk:
    """What the screens find on the disk: directories by their path, and the versions of files."""

    listings: dict[str, Listing] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    places: tuple[Place, ...] = ()

    def add(self, path: str, directories: Sequence[str] = (), *, files: int = 0, reason: str = "") -> None:
        """Have a directory, and empty ones in it."""
        entries = tuple(Found(name, directory=True) for name in directories)
        self.listings[path] = Listing(entries, files=files, reason=reason)
        for name in directories:
            self.listings.setdefault(f"{path.rstrip('/')}/{name}", Listing())

    def list_directory(self, path: str, wanted: Wanted, _stopped: Stopped = never) -> Listing:
        """Stands for the picker's reading."""
        listing = self.listings[path]
        shown = tuple(one for one in listing.entries if wanted.hidden or not one.name.startswith("."))
        return replace(listing, entries=shown)

    def folder_problem(self, path: str, _stopped: Stopped = never) -> str:
        """Stands for the picker's look at a directory."""
        return "" if path in self.listings else "it does not exist"

    def folder_reason(self, text: str) -> str:
        """Stands for the forms' look at a folder."""
        return "" if text.strip() else "name a folder"

    def version(self, path: Path) -> Version | None:
        """Stands for the look at a version in a conflict."""
        return self.versions.get(str(path))

    def quick_places(self, *_from: object) -> tuple[Place, ...]:
        """Stands for the search for drives and the user's directories."""
        return self.places


@dataclass
class Memory:
    """Records of a folder, as far as the screens read them."""

    history: list[PassRecord] = field(default_factory=list)
    copies: list[ConflictCopy] = field(default_factory=list)

    def passes(self, limit: int) -> list[PassRecord]:
        """Return the history."""
        return self.history[:limit]

    def conflicts(self) -> list[ConflictCopy]:
        """Return the conflict copies."""
        return self.copies


class SceneEngine(FakeEngine):
    """Has always the same key, and the records that a scene gives it."""

    def __init__(self, home: Path, on_event: Callable[[Event], None], ask: Ask) -> None:
        super().__init__(home, on_event, ask)
        self.identity = Identity.of(ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"desk").digest()))
        self.memory = Memory()

    async def with_records(self, folder: str, call: Callable[[Records], T]) -> T:
        return call(cast("Records", self.memory))


class Stage:
    """Where a scene is played: jobs are put on it, then the app is opened, then keys are pressed."""

    def __init__(self, engine: SceneEngine, bridge: Bridge, disk: Disk, size: tuple[int, int], theme: str) -> None:
        self.engine = engine
        self.bridge = bridge
        self.disk = disk
        self.state = UiState()
        """What the app remembers from before."""
        self.now = 1000.0
        """The seconds of the app's clock."""
        self.app: LeafSyncApp
        self.pilot: Pilot[int]
        self._size = size
        self._theme = theme
        self._open = contextlib.AsyncExitStack()
        self._asked: list[asyncio.Task[bool]] = []

    # Before the app is opened

    async def jobs(self, *jobs: ServeStatus | ConnectStatus) -> None:
        """Begin jobs, which stand where these say. Their ids have to be 1, 2, 3..."""
        for job in jobs:
            if isinstance(job, ServeStatus):
                began = await self.bridge.serve(ServeOptions(job.folder, port=job.port))
            else:
                began = await self.bridge.connect(ConnectOptions(parse_address(job.address), job.folder))
            assert began == job.id
        self.show(*jobs)

    def show(self, *jobs: ServeStatus | ConnectStatus) -> None:
        """Have the jobs stand where these say."""
        serving = tuple(job for job in jobs if isinstance(job, ServeStatus))
        connecting = tuple(job for job in jobs if isinstance(job, ConnectStatus))
        self.engine.shown = Snapshot(self.engine.shown.version + 1, serving, connecting)

    async def end(self, job_id: int, error: Exception | None = None) -> None:
        """Have a job end by itself."""
        end = self.engine.jobs[job_id].end
        if error is not None:
            end.set_exception(error)
        else:
            end.set_result(None)
        deadline = time.monotonic() + DEADLINE
        while job_id not in self.bridge.ended:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)

    def trust(self, when: datetime, name: str, **options: Any) -> None:
        """Have a device trusted at that time."""
        TrustStore(self.engine.trust._path, now=lambda: when).add(fingerprint_of(name), name=name, **options)

    # The app

    async def open(self, first: str, **config: Any) -> None:
        """Open the app on this screen, with what `config.toml` says."""
        settings = Settings(Config("desk", theme=self._theme, **config), self.state)
        self.app = LeafSyncApp(self.bridge, settings, first=first, clock=lambda: self.now)
        self.pilot = await self._open.enter_async_context(self.app.run_test(size=self._size, notifications=True))
        await self.tick()
        await self.pilot.pause()

    async def close(self) -> None:
        """Close the app; nobody answers questions any more."""
        await self._open.aclose()
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)

    async def left(self) -> int | None:
        """Wait until the app has been left, and return its exit code."""
        deadline = time.monotonic() + DEADLINE
        while self.app.is_running:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
        return self.app.return_value

    def ask(self, question: TrustQuestion) -> None:
        """Have the engine ask about a device."""
        self._asked.append(self.engine.question(question))

    async def press(self, *keys: str) -> None:
        """Press keys, and have the app look at the engine."""
        await self.pilot.press(*keys)
        await self.tick()
        await self.pilot.pause()

    def do_ahead(self, *done: str | tuple[int, int]) -> None:
        """Press keys and click at places (a column and a row) that the app has not come to yet, as terminals do."""
        for event in (event for one in done for event in _events(one)):
            self.app.post_message(event)

    async def burst(self, *done: str | tuple[int, int]) -> None:
        """Press keys and click at places all at once, and have the app look at the engine."""
        self.do_ahead(*done)
        await self.tick()
        await self.pilot.pause()

    async def tick(self) -> None:
        """Have the app look at the engine once, and wait until it has."""
        looked = asyncio.Event()

        def look() -> None:
            self.app._ticks = EVERY_TICK - 1
            self.app._tick()
            looked.set()

        self.app.call_later(look)
        async with asyncio.timeout(DEADLINE):
            await looked.wait()

    async def forward(self, seconds: float, *jobs: ServeStatus | ConnectStatus) -> None:
        """Move the clock on; with jobs, they stand elsewhere then."""
        self.now += seconds
        if jobs:
            self.show(*jobs)
        await self.tick()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, screen_text(self.app)
            await self.pilot.pause(0.005)

    async def sees(self, text: str) -> None:
        """Wait until a text is on the screen."""
        await self.until(lambda: text in screen_text(self.app))

    @contextlib.asynccontextmanager
    async def without_colours(self) -> AsyncIterator[None]:
        """Go on as if the app had been started with NO_COLOR, which is a whole start cheaper."""
        grey = Monochrome()
        self.app._filters.append(grey)
        await self._colours_changed(no_color=True)
        yield
        self.app._filters.remove(grey)
        await self._colours_changed(no_color=False)

    async def _colours_changed(self, *, no_color: bool) -> None:
        self.app.no_color = no_color
        self.app.refresh_css(animate=False)
        for screen in self.app.screen_stack:
            for widget in screen.walk_children(with_self=True):
                widget.notify_style_update()  # widgets keep the lines that they rendered
                widget.refresh()
        await self.pilot.pause()


def _events(done: str | tuple[int, int]) -> list[events.Event]:
    """Return what the app hears of a key that is pressed, or of a click at a column and a row."""
    if isinstance(done, str):
        return [events.Key(done, done if len(done) == 1 else None)]
    button, modifiers = 1, (False, False, False)
    return [kind(None, *done, 0, 0, button, *modifiers) for kind in (events.MouseDown, events.MouseUp)]


@contextlib.asynccontextmanager
async def staged(
    home: Path, *, size: tuple[int, int] = (80, 24), theme: str = "", no_color: bool = False
) -> AsyncIterator[Stage]:
    """Set up a stage; `home` is an empty directory for what the engine writes."""
    engines: list[SceneEngine] = []

    def make(on_event: Callable[[Event], None], ask: Ask) -> SceneEngine:
        engines.append(SceneEngine(home, on_event, ask))
        return engines[0]

    disk = Disk()
    with _environment(no_color=no_color), _on_disk(disk):
        async with Bridge(make, device_name="desk", now=lambda: NOW) as bridge:
            stage = Stage(engines[0], bridge, disk, size, theme)
            try:
                yield stage
            finally:
                await stage.close()


@contextlib.contextmanager
def _environment(*, no_color: bool) -> Iterator[None]:
    """Have the environment that is the same everywhere."""
    with patch.dict(os.environ, {"TZ": "UTC", "HOME": HOME}):
        os.environ.pop("NO_COLOR", None)
        if no_color:
            os.environ["NO_COLOR"] = "1"
        time.tzset()
        try:
            yield
        finally:
            os.environ.pop("NO_COLOR", None)
    time.tzset()


@contextlib.contextmanager
def _on_disk(disk: Disk) -> Iterator[None]:
    """Have the screens find `disk` where they look at the real one, and nothing that moves by itself."""
    stands_for = {
        "leafsync.forms.folder_reason": disk.folder_reason,
        "leafsync.forms.port_in_use_reason": lambda _port: "",
        "leafsync.widgets.folder_tree.list_directory": disk.list_directory,
        "leafsync.screens.picker.folder_problem": disk.folder_problem,
        "leafsync.screens.picker.quick_places": disk.quick_places,
        "leafsync.screens.conflicts._version": disk.version,
        "leafsync.screens.base.TOAST_SECONDS": FOR_EVER,
        "textual.widgets.Input._toggle_cursor": lambda _input: None,
    }
    with contextlib.ExitStack() as patches:
        for name, stand_in in stands_for.items():
            patches.enter_context(patch(name, stand_in))
        yield
