"""Jobs: what the engine does for a folder until it is stopped. They own connections and outlive them."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine

import msgspec

from leafsync.engine.core.events import DeviceTrusted, Event, TrustQuestion, Warned
from leafsync.engine.core.ratelimit import bytes_per_second
from leafsync.engine.core.status import Direction, PassSummary, PeerStatus
from leafsync.engine.core.transfers import TransferLog
from leafsync.engine.net.connection import Connection
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync.policy import BY_PERSON, Pin
from leafsync.engine.sync.share import Share

TRUST_INTERVAL = 1.0
"""Seconds until a device that is not trusted any more is disconnected (fault case 68)."""

ASK_DEADLINE = 120.0
"""Seconds a person has to confirm a fingerprint: enough to walk to the other machine. After that the answer is no."""

MAX_QUESTIONS = 4
"""Questions of one job that wait for a person: strangers cannot queue up more, the next ones are refused unasked."""

RATE_WINDOW = 0.25
"""Seconds of the rate that may be under way at once with --rate-mbps, so that the limit holds from the first second."""

SMALLEST_WINDOW = 64 << 10
"""Bytes: below it a window would hold the transport up at any rate."""

Ask = Callable[[TrustQuestion], Awaitable[bool]]
"""Asks a person whether to trust a device; the answer is only taken while it is awaited."""


class Context(msgspec.Struct, frozen=True):
    """What the engine lends to a job."""

    id: int
    share: Share
    identity: Identity
    trust: TrustStore
    device_name: str
    on_event: Callable[[Event], None]
    release: Callable[[Share], Awaitable[None]]
    transfers: TransferLog
    """The job's own."""
    ask: Ask | None = None
    """None where there is nobody to ask: unknown devices are refused."""


class Job(ABC):
    """Something the engine does until it ends by itself or is stopped."""

    def __init__(self, context: Context) -> None:
        """Make a job of `context`; it begins with `start`."""
        self.id = context.id
        self.version = 0
        self.transfers = context.transfers
        self._context = context
        self._task: asyncio.Task[PassSummary | None] | None = None
        self._stopping = False
        self._pausing = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._questions: dict[str, asyncio.Task[bool]] = {}

    @property
    def paused(self) -> bool:
        """Whether the job does nothing until `resume`."""
        return not self._going.is_set()

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run_and_release(), name=f"leafsync job {self.id}")

    async def wait(self) -> PassSummary | None:
        """Wait until the job ends by itself; return the last pass's summary or raise the job's LeafSyncError."""
        if self._task is None:
            return None
        return await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End the job cleanly: connections are closed with a code, what can be resumed is kept."""
        if self._task is not None:
            self._stopping = True
            await asyncio.sleep(0)  # a task that is cancelled before its first step never cleans up
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def pause(self) -> None:
        """Close the connections and do nothing until `resume`; what was received is kept, and the folder too."""
        self._going.clear()
        self._pausing.set()
        self.version += 1

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._pausing.clear()
        self._going.set()
        self.version += 1

    async def _run_and_release(self) -> PassSummary | None:
        try:
            while True:
                await self._going.wait()
                running = asyncio.create_task(self._run(), name=f"leafsync work of job {self.id}")
                try:
                    await first_of(_finished(running), self._pausing.wait())
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                if not (self.paused or running.cancelled()):  # while pausing, an error is only the way it stopped
                    return running.result()
        finally:
            for question in self._questions.values():
                question.cancel()
            await asyncio.gather(*self._questions.values(), return_exceptions=True)
            await self._context.release(self._context.share)

    @abstractmethod
    async def _run(self) -> PassSummary | None:
        """Do the work; cancelled to stop or pause, and called again to go on."""

    def _watch_folder(self) -> None:
        """Watch the folder, and tell what the user should know of it."""
        share = self._context.share
        share.warn = lambda sentence: self._tell(Warned(self.id, sentence))
        if share.lost is not None:
            share.warn(share.lost)
        share.watch()

    def _tell(self, event: Event) -> None:
        self.version += 1
        self._context.on_event(event)

    async def _keep_pin(self, pin: Pin | None, fingerprint: str, *, address: str, hint: str | None) -> None:
        """Write down who was just accepted, before anything is exchanged with it."""
        context = self._context
        run = context.share.workers.run
        if pin is None:
            await run(context.trust.touch, fingerprint, hint)
            return
        device = await run(context.trust.add, fingerprint, address=hint, confirmed=pin.confirmed)
        self._tell(DeviceTrusted(self.id, fingerprint, device.name, address, pin.confirmed))

    async def _asked(self, fingerprint: str, address: str, direction: Direction, *, hint: str | None) -> bool:
        """Have a person decide about a device that nobody has confirmed yet, and write a yes down.

        Each device is asked about once: a no holds as long as the job, like a question that nobody answered.
        """
        known = self._questions.get(fingerprint)
        if known is None:
            if self._context.ask is None or self._waiting_questions >= MAX_QUESTIONS:
                return False
            question = TrustQuestion(self.id, fingerprint, address, self._context.share.folder.path, direction)
            known = asyncio.create_task(self._answer(self._context.ask(question), question, hint))
            self._questions[fingerprint] = known
        return await asyncio.shield(known)

    @property
    def _waiting_questions(self) -> int:
        return sum(not question.done() for question in self._questions.values())

    async def _answer(self, asking: Awaitable[bool], question: TrustQuestion, hint: str | None) -> bool:
        accepted = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_DEADLINE):
                accepted = await asking
        if accepted:
            pin = Pin(question.fingerprint, BY_PERSON)
            await self._keep_pin(pin, question.fingerprint, address=question.address, hint=hint)
            del self._questions[question.fingerprint]  # taken out of the trust store, it may be asked about again
        return accepted


async def _finished(task: "asyncio.Task[PassSummary | None]") -> None:
    await asyncio.wait([task])


async def first_of(*waits: Coroutine[None, None, object]) -> None:
    """Wait until one of them ends; raise what it raises, end the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def peer_status(connection: Connection, name: str, activity: str) -> PeerStatus:
    """Return what there is to see of the device at the other end of `connection`."""
    return PeerStatus(
        fingerprint=connection.peer_fingerprint,
        name=name,
        address=connection.address,
        activity=activity,
        wire_in=connection.bytes_received,
        wire_out=connection.bytes_sent,
    )


def limits_for(rate_mbps: float | None) -> Limits:
    """Return the windows for a connection that is limited to `rate_mbps` megabits per second."""
    if rate_mbps is None:
        return Limits()
    plain = Limits()
    window = max(SMALLEST_WINDOW, int(bytes_per_second(rate_mbps) * RATE_WINDOW))
    return Limits(
        stream_window=min(plain.stream_window, window),
        connection_window=min(plain.connection_window, 2 * window),
        stream_high_water=min(plain.stream_high_water, window),
        send_high_water=min(plain.send_high_water, window),
    )
