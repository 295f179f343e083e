"""One run of a job, from its start to its clean end: events and progress shown, signals caught.

asyncio and the engine are imported where a run begins, so that commands without one start without them.
"""

import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from leafsync.config import Config
from leafsync.diagnostics import Diagnostics, Narrator, exit_code_of_signal
from leafsync.engine.core.events import Event, PassFinished
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.status import PassSummary, Snapshot
from leafsync.errors import ExitCode
from leafsync.instances import Instance
from leafsync.keeper import Keeper, utc_now
from leafsync.output import Output
from leafsync.paths import Paths
from leafsync.progress import ARROWS, Progress
from leafsync.summary import Hints, command_line, operand, summary_lines

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

LIVE_PERIOD = 0.1
"""Seconds between two pictures of the live area: more often is more than anyone reads."""

LINE_PERIOD = 1.0
"""Seconds between two progress lines where there is no terminal, and between two JSON `progress` lines."""

YOUNG_OBJECTS = 10_000
"""Objects more than there were, after which garbage among them is looked for; Python's own is 700. Every packet under
way is a few, none of them garbage: looking through them again and again is 3 % of a sender's time. So many take half a
millisecond to look through, and a few MiB."""

STOP_DEADLINE = 10.0
"""Seconds a run may take to end cleanly after a signal; what is staged then is resumed by the next run anyway."""


class Job(Protocol):
    """One `serve` or `connect`."""

    @property
    def id(self) -> int: ...

    async def wait(self) -> PassSummary | None: ...

    async def stop(self) -> None: ...


class Engine(Protocol):
    """The engine, as much of it as a run needs."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> bool | None: ...

    async def serve(self, options: ServeOptions) -> Job: ...

    async def connect(self, options: ConnectOptions) -> Job: ...

    def snapshot(self) -> Snapshot: ...


EngineFactory = Callable[[Paths, str, Callable[[Event], None]], Engine]
"""Makes the engine from our paths, this device's name and what to call with events."""


def make_engine(paths: Paths, name: str, on_event: Callable[[Event], None]) -> Engine:
    """Make the real engine, for a run with nobody to ask."""
    from leafsync import engine

    config = engine.EngineConfig(paths.identity, paths.trust, paths.state, device_name=name)
    return engine.Engine(config, on_event=on_event)


class Session(msgspec.Struct, frozen=True):
    """What a command works with."""

    arguments: Sequence[str]
    """As given, to build commands the user can run."""
    paths: Paths
    output: Output
    diagnostics: Diagnostics
    make_engine: EngineFactory
    interactive: bool = False
    """Whether somebody sits at a terminal that the app can use."""


class Front:
    """Shows a run: its events when they come, its progress at a pace. Never blocks, and knows no loop."""

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float],
        *,
        folder: str = "",
        instance: Instance | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`clock` gives seconds, `now` the time of day; `folder` is the job's, as the user named it."""
        self.output = session.output
        self.diagnostics = session.diagnostics
        self.summary: PassSummary | None = None
        """What the last finished pass did."""
        self._clock = clock
        self._hints = _hints(session.arguments, folder)
        self._narrator = Narrator(session.diagnostics, hints=self._hints)
        self._progress = Progress()
        self._keeper = Keeper(instance, clock, now)
        self._live = session.diagnostics.live and session.diagnostics.narrating
        self._next = clock()

    @property
    def period(self) -> float:
        """Seconds between two calls of `tick`."""
        return LIVE_PERIOD if self._live else LINE_PERIOD

    @property
    def pending(self) -> bool:
        """Whether `flush` has something to do."""
        return self.output.pending or self.diagnostics.pending or self._keeper.pending

    def flush(self) -> None:
        """Write what was told. Blocks as long as the readers do."""
        self.diagnostics.flush()
        self.output.flush()
        self._keeper.flush()

    def event(self, event: Event) -> None:
        """Tell an event."""
        if isinstance(event, PassFinished):
            self.finished(event.job, event.summary)
            return
        self._narrator.tell(event, self._clock())
        if self.output.json:
            self.output.event(event)

    def finished(self, job: int, summary: PassSummary) -> None:
        """Tell what a pass did."""
        self.summary = summary
        self._keeper.finished(job, summary)
        self._progress.finished(job, partial=summary.partial)
        if self.output.json:
            self.output.summary(job, summary)
        elif summary.planned:
            for line in summary_lines(summary, verbose=self.diagnostics.verbose > 0, hints=self._hints):
                self.output.line(line)
        else:
            self._narrator.finished(summary)

    def tick(self, snapshot: Snapshot) -> None:
        """Show where the run stands, if it is time to."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self.period
        self._progress.observe(snapshot, now)
        if self.output.json:
            for job in snapshot.connecting:
                if job.state in ARROWS:
                    self.output.progress(job, self._progress.rate(job), self._progress.eta(job))
        elif self._live:
            self.diagnostics.draw(self._progress.area(self.diagnostics.screen()))
        else:
            self._narrator.progress(self._progress.lines())
        self._keeper.take(snapshot, self._progress)


def _hints(arguments: Sequence[str], folder: str) -> Hints:
    """What a user would run next. Deletes are allowed for one pass: a running job must not keep that permission."""
    single = ("--once", "--dry-run")
    kept = [argument for argument in arguments if argument not in single]
    end = kept.index("--") if "--" in kept else len(kept)
    return Hints(
        allow_deletes=command_line(*kept[:end], "--once", "--allow-deletes", *kept[end:]),
        stop_first=not any(option in arguments for option in single),
        conflicts=command_line("conflicts", operand(folder)) if folder else "",
    )


def run_job(session: Session, config: Config, folder: str, start: Callable[[Engine], Awaitable[Job]]) -> int:
    """Run what `start` begins for `folder` in an engine of our own until it ends, and return the exit code."""
    import asyncio

    with Instance(session.paths.runs) as instance:
        front = Front(session, time.monotonic, folder=folder, instance=instance)
        return asyncio.run(_Run(session, front).main(config.name, start))


def collect_from_now_on() -> None:
    """Have garbage collected where the process had none of that until all code was loaded (`__main__`). What is there
    now stays, so that nobody need look at it again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


class _Run:
    """One job in an engine: started, shown, and ended by itself, by a signal or by a stdout that broke."""

    def __init__(self, session: Session, front: Front) -> None:
        self._session = session
        self._front = front
        self._ended = False
        self._wake: asyncio.Event
        self._interrupted: asyncio.Future[int]
        self._showing: asyncio.Task[None]

    async def main(self, name: str, start: Callable[[Engine], Awaitable[Job]]) -> int:
        import asyncio

        self._wake = asyncio.Event()
        self._interrupted = asyncio.get_running_loop().create_future()
        self._catch_signals(asyncio.get_running_loop())
        async with self._session.make_engine(self._session.paths, name, self._event) as engine:
            self._showing = asyncio.create_task(self._show(engine))
            try:
                return await self._work(engine, start)
            finally:
                self._ended = True
                self._wake.set()
                await self._showing

    async def _work(self, engine: Engine, start: Callable[[Engine], Awaitable[Job]]) -> int:
        import asyncio

        starting = asyncio.ensure_future(start(engine))
        if not await self._ends(starting):
            starting.cancel()
            await asyncio.wait([starting])
            return self._signal_code()
        job = starting.result()
        collect_from_now_on()
        waiting = asyncio.create_task(job.wait())
        if not await self._ends(waiting):
            await job.stop()
            waiting.cancel()
            await asyncio.wait([waiting])
            return self._signal_code()
        summary = waiting.result()
        if summary is not None and summary != self._front.summary:
            self._front.finished(job.id, summary)
        return ExitCode.PARTIAL if summary is not None and summary.partial else ExitCode.DONE

    async def _ends(self, task: "asyncio.Future[Any]") -> bool:
        """Wait until `task` ends (True), or something else ends the run: a signal, or nobody to show it to."""
        import asyncio

        await asyncio.wait({task, self._interrupted, self._showing}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    def _signal_code(self) -> int:
        """The exit code of a run that was ended; without a signal it is stdout's failure, which `main` answers."""
        return exit_code_of_signal(self._interrupted.result()) if self._interrupted.done() else ExitCode.FAILED

    def _event(self, event: Event) -> None:
        self._front.event(event)
        self._wake.set()

    async def _show(self, engine: Engine) -> None:
        """Write what there is to tell, in a thread: a terminal or a pipe that stalls must not stall the connection."""
        import asyncio

        while True:
            ended = self._ended
            self._front.tick(engine.snapshot())
            if self._front.pending:
                await asyncio.to_thread(self._front.flush)
            if ended or self._front.output.failure is not None:
                return
            try:
                async with asyncio.timeout(self._front.period):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def _catch_signals(self, loop: "asyncio.AbstractEventLoop") -> None:
        """End cleanly on the first signal. One that was ignored when we started (nohup) stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, loop, number)

    def _on_signal(self, loop: "asyncio.AbstractEventLoop", number: signal.Signals) -> None:
        if self._interrupted.done():
            return
        self._interrupted.set_result(number)
        self._front.diagnostics.say("stopping; once more to stop at once" if number == signal.SIGINT else "stopping")
        self._wake.set()
        code = exit_code_of_signal(number)
        # From here on a signal must work even if the loop does not turn any more.
        for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(caught) is not signal.SIG_IGN:
                loop.remove_signal_handler(caught)
                signal.signal(caught, lambda _number, _frame: os._exit(code))
        loop.call_later(STOP_DEADLINE, os._exit, code)
