"""One run of the app: the engine around it, signals, a log file, and the terminal given back at the end."""

import asyncio
import contextlib
import gc
import logging
import logging.handlers
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType

from leafsync.app import LeafSyncApp
from leafsync.bridge import Ask, Bridge, Event, PassFinished, Snapshot
from leafsync.config import Config
from leafsync.diagnostics import exit_code_of_signal
from leafsync.engine import Engine, EngineConfig
from leafsync.instances import Instance
from leafsync.keeper import Keeper
from leafsync.paths import Paths
from leafsync.progress import Progress
from leafsync.run import STOP_DEADLINE, collect_from_now_on
from leafsync.settings import Settings
from leafsync.terminal import PatientDriver
from leafsync.text import printable
from leafsync.ui_state import UiState, load_state, save_state

KEEP_TRANSFERS = 100_000
"""Transfers of a job in the list: more than anybody scrolls through, some tens of megabytes."""

LOG_SIZE = 1 << 20
LOG_FILES = 3
"""Bytes of a log file before the next one begins, and how many older ones are kept."""

FULL_COLLECTIONS = 100
"""Collections of the middle generation before a full one is thought of; Python's own is 10."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
"""As `sys.exc_info` has it."""

Begin = Callable[[Bridge], Awaitable[int]]
"""Begins the job that the command line named, and returns its id."""


def run_app(paths: Paths, config: Config, *, first: str = "serve", begin: Begin | None = None) -> int:
    """Run the app until it is quit and return the exit code.

    `first` is the screen to begin with. `begin` begins a job before that: what it raises is raised here, before the
    terminal is touched. Raises IdentityUnusable or TrustMalformed.
    """
    with logging_to_file(paths.logs / "leafsync.log"), Instance(paths.runs) as instance:
        return asyncio.run(_AppRun(paths, config, instance).main(first, begin))


class _AppRun:
    """The app in an engine."""

    def __init__(self, paths: Paths, config: Config, instance: Instance) -> None:
        self._paths = paths
        self._config = config
        self._keeper = Keeper(instance, time.monotonic)
        self._state_path = paths.state / "ui.json"
        self._writing: set[asyncio.Future[None]] = set()
        self._left_by: int | None = None
        """The exit code of the signal that the app was left on."""

    async def main(self, first: str, begin: Begin | None) -> int:
        state = await asyncio.to_thread(load_state, self._state_path)
        settings = Settings(self._config, state, self._save)
        async with Bridge(self._make_engine, device_name=self._config.name) as bridge:
            app = LeafSyncApp(
                bridge,
                settings,
                first=first,
                driver_class=_driver_for(bridge),
                on_tick=self._tick,
                on_event=self._event,
            )
            if begin is not None:
                await begin(bridge)
            self._catch_signals(app)
            _spare_the_collector()
            result = await app.run_async()
            await asyncio.gather(*self._writing)
        return result or self._left_by or app.return_code or 0

    def _make_engine(self, on_event: Callable[[Event], None], ask: Ask) -> Engine:
        paths = self._paths
        config = EngineConfig(
            paths.identity, paths.trust, paths.state, device_name=self._config.name, keep_transfers=KEEP_TRANSFERS
        )
        return Engine(config, on_event=on_event, ask=ask)

    def _catch_signals(self, app: LeafSyncApp) -> None:
        """Leave the app on the first signal, with its exit code. Nothing waits for ever after that, not even for a
        terminal that is not read.
        """
        loop = asyncio.get_running_loop()

        def leave(number: signal.Signals) -> None:
            if self._left_by is None:
                self._left_by = exit_code_of_signal(number)
                last = threading.Timer(STOP_DEADLINE, os._exit, (self._left_by,))
                last.daemon = True
                last.start()
                app.exit(self._left_by)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, leave, number)

    def _event(self, event: Event) -> None:
        if isinstance(event, PassFinished) and not event.summary.planned:
            self._keeper.finished(event.job, event.summary)

    def _tick(self, snapshot: Snapshot, progress: Progress) -> None:
        self._keeper.take(snapshot, progress)
        if self._keeper.pending:
            self._off_loop(self._keeper.flush)

    def _save(self, state: UiState) -> None:
        self._off_loop(lambda: save_state(self._state_path, state))

    def _off_loop(self, call: Callable[[], None]) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(call))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)


def _driver_for(bridge: Bridge) -> type[PatientDriver]:
    """Return the driver that has the engine give way while somebody waits for a frame."""

    class Driver(PatientDriver):
        def on_waiting(self, *, waiting: bool) -> None:
            bridge.give_way(waiting=waiting)

    return Driver


def _spare_the_collector() -> None:
    """Leave what start-up made out of garbage collections, and have full ones rarely: with many rows in a list one
    takes longer than a key press may.
    """
    gc.collect()
    collect_from_now_on()
    young, middle, _old = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTIONS)


class _Escaping(logging.Formatter):
    """A log line can be looked at with anything: what came from outside is escaped, and begins no line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: ExcInfo) -> str:
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).splitlines())


@contextlib.contextmanager
def logging_to_file(path: Path) -> Iterator[None]:
    """Send the log to a file: anything on stderr would be painted over the screen."""
    root, quic = logging.getLogger(), logging.getLogger("quic")
    before, levels = list(root.handlers), (root.level, quic.level)
    handlers: list[logging.Handler] = []
    with contextlib.suppress(OSError):
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        handlers.append(logging.handlers.RotatingFileHandler(path, maxBytes=LOG_SIZE, backupCount=LOG_FILES))
        handlers[0].setFormatter(_Escaping("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.handlers[:] = handlers or [logging.NullHandler()]
    root.setLevel(logging.INFO)
    quic.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(levels[0])
        quic.setLevel(levels[1])
        for handler in handlers:
            handler.close()
