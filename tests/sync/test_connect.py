"""How long a connecting device waits for its changes to be carried out, on a clock that jumps."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest

from leafsync.engine.core.index import Index
from leafsync.engine.core.messages import (
    Changed,
    CloseCode,
    ControlReply,
    Pending,
    Refusal,
    RefusalKind,
    control_replies,
    encode,
)
from leafsync.engine.core.steps import Steps
from leafsync.engine.sync import connect
from leafsync.engine.sync.channel import Channel
from leafsync.engine.sync.connect import CHANGE_DEADLINE, Client
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.sender import Offer
from leafsync.errors import LeafSyncError, PeerStalled, ProtocolViolated
from tests.net.conftest import VirtualLoop

REFUSED = Refusal("new", RefusalKind.FAILED, "no")
LATE = CHANGE_DEADLINE * 0.9
"""Seconds after which a message still is in time."""

Script = Iterable[tuple[float, ControlReply]]
"""What the other side says, each after so many seconds."""


class FakeConnection:
    """Nothing comes over it but what the stream says, and nobody opens a stream."""

    address = "peer:4455"

    def __init__(self) -> None:
        self.bytes_sent = self.bytes_received = 0
        self.closed: list[int] = []

    def wire(self) -> tuple[int, int]:
        return self.bytes_received, self.bytes_sent

    async def accept_stream(self) -> None:
        await asyncio.Event().wait()

    def close(self, code: int = 0, reason: str = "", *, error: LeafSyncError | None = None) -> None:
        self.closed.append(code)


class FakeStream:
    """A control stream whose other side follows a script, and then says nothing more."""

    def __init__(self, script: Script) -> None:
        self._script = iter(script)

    def buffered_frame(self, *, cap: int) -> None:
        return None

    async def read_frame(self, *, cap: int) -> bytes:
        for delay, message in self._script:
            await asyncio.sleep(delay)
            return encode(message)
        await asyncio.sleep(2 * CHANGE_DEADLINE)
        raise AssertionError("waited too long")

    async def write(self, data: bytes) -> None:
        pass


class Waiting:
    """A client that has its changes carried out by a side that follows a script."""

    def __init__(self, script: Callable[[Progress], Script]) -> None:
        self.connection = FakeConnection()
        connection: Any = self.connection
        self.progress = Progress(self.connection.wire)
        stream: Any = FakeStream(script(self.progress))
        self._client = Client(connection, device_name="here")
        self._client._control = Channel(connection, stream, control_replies)

    def change(self) -> tuple[list[Refusal], float]:
        """Return what was refused, and after how many seconds."""
        return on_a_jumping_clock(self._change())

    async def _change(self) -> tuple[list[Refusal], float]:
        share: Any = None
        offer = Offer(share, Index({"": ()}))
        refusals = await self._client.change(Steps(directories=["new"]), lambda: offer, self.progress)
        return refusals, asyncio.get_running_loop().time() - 1000


def on_a_jumping_clock(work: Coroutine[Any, Any, tuple[list[Refusal], float]]) -> tuple[list[Refusal], float]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def pending(seconds: float, times: int = 1_000_000) -> Script:
    return ((seconds, Pending()) for _time in range(times))


def test_a_side_that_says_it_is_pending_is_waited_for() -> None:
    waiting = Waiting(lambda _progress: [*pending(LATE, 5), (LATE, Changed([REFUSED], True))])
    refusals, seconds = waiting.change()
    assert refusals == [REFUSED]
    assert seconds == pytest.approx(6 * LATE, abs=1)
    assert not waiting.connection.closed


@pytest.mark.parametrize("times", [0, 3])
def test_a_side_that_says_nothing_any_more_is_given_up(times: int) -> None:
    with pytest.raises(PeerStalled, match=f"{CHANGE_DEADLINE:g} s"):
        Waiting(lambda _progress: pending(LATE, times)).change()


def test_a_side_that_says_for_ever_that_it_is_pending_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "PENDING_DEADLINE", 1000.0)
    with pytest.raises(PeerStalled, match="1000 s"):
        Waiting(lambda _progress: pending(LATE)).change()


def test_a_side_that_is_pending_and_takes_content_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long upload is no reason to give up, whatever is said beside it."""
    monkeypatch.setattr(connect, "PENDING_DEADLINE", 100.0)
    monkeypatch.setattr(connect, "MAX_PENDING", 3)

    def taking(progress: Progress) -> Iterator[tuple[float, ControlReply]]:
        for _time in range(20):
            yield from pending(40, 2)
            progress.sent += 1
        yield 40, Changed([], True)

    waiting = Waiting(taking)
    refusals, seconds = waiting.change()
    assert not refusals
    assert seconds > 10 * connect.PENDING_DEADLINE


def test_a_side_that_says_too_often_that_it_is_pending_breaks_the_protocol() -> None:
    waiting = Waiting(lambda _progress: pending(0))
    with pytest.raises(ProtocolViolated, match=f"pending more than {connect.MAX_PENDING} times"):
        waiting.change()
    assert waiting.connection.closed == [CloseCode.PROTOCOL]
