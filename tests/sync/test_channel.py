"""The throttle, patience with slow links, and what a peer is told when it is left."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from leafsync.engine.core.messages import LENGTH_SIZE, CloseCode, ControlReply, Hint, control_replies, frame
from leafsync.engine.sync.channel import (
    FRAMES_A_TURN,
    MAX_SKIPPED,
    STALL_BYTES,
    Channel,
    Throttle,
    close_after,
    patiently,
    violated,
)
from leafsync.errors import (
    ConnectionLost,
    DiskFull,
    FolderMissing,
    LeafSyncError,
    PeerStalled,
    PeerUnknown,
    ProtocolViolated,
    RootMismatch,
    VersionMismatch,
)


class FakeConnection:
    """Counts what comes, and remembers how it was closed."""

    address = "peer:4455"

    def __init__(self) -> None:
        self.bytes_received = 0
        self.closed: list[tuple[int, str]] = []
        self.error: LeafSyncError | None = None

    def close(self, code: int = 0, reason: str = "", *, error: LeafSyncError | None = None) -> None:
        self.closed.append((code, reason))
        self.error = error


@pytest.fixture
def fake() -> Any:
    return FakeConnection()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VersionMismatch(peer="p", theirs="2", ours="1"), CloseCode.VERSION),
        (ProtocolViolated(peer="p", reason="r"), CloseCode.PROTOCOL),
        (RootMismatch(path="secret/path", peer="p"), CloseCode.INTEGRITY),
        (PeerStalled(peer="p", seconds="30"), CloseCode.STALLED),
        (PeerUnknown(address="a", fingerprint="f"), CloseCode.UNTRUSTED),
        (ConnectionLost(peer="p", reason="r"), CloseCode.DONE),
        (DiskFull(path="secret/path"), CloseCode.INTERNAL),
        (FolderMissing(path="secret/path"), CloseCode.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LeafSyncError) else None,
)
def test_what_a_peer_is_told(fake: Any, error: LeafSyncError, code: CloseCode) -> None:
    close_after(fake, error)
    assert [told for told, _reason in fake.closed] == [code]
    assert "secret" not in fake.closed[0][1], "a reason names no paths"
    assert fake.error is error, "whoever waits here learns the reason"


def test_a_broken_protocol_is_the_reason_for_all_who_wait_here(fake: Any) -> None:
    error = violated(fake, "it said nothing")
    assert fake.error is error
    assert fake.closed == [(CloseCode.PROTOCOL, "protocol violated")]


@pytest.mark.parametrize(("each", "rounds"), [(0, 1), (STALL_BYTES - 1, 1), (STALL_BYTES, 3)])
async def test_patience_lasts_as_long_as_bytes_come(fake: Any, each: int, rounds: int) -> None:
    tries = 0

    async def read() -> str:
        nonlocal tries
        tries += 1
        if tries > 2:
            return "all of it"
        fake.bytes_received += each
        raise PeerStalled(peer="p", seconds="1")

    if rounds == 3:
        assert await patiently(fake, read) == "all of it"
    else:
        with pytest.raises(PeerStalled):
            await patiently(fake, read)
    assert tries == rounds


class FakeTime:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_a_throttle_keeps_to_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of before it was made do not count, and streams that share it share the rate."""
    time, wire = FakeTime(), 5_000_000
    monkeypatch.setattr("leafsync.engine.sync.channel.time", time)
    monkeypatch.setattr("leafsync.engine.sync.channel.asyncio", SimpleNamespace(sleep=time.sleep))
    throttle = Throttle(8.0, lambda: wire)
    assert throttle.active
    for _number in range(100):
        wire += 100_000
        await throttle.wait()
    assert time.now - 100 == pytest.approx(10, abs=0.1), "10 MB at 1 MB/s"


async def test_no_throttle_never_waits() -> None:
    throttle = Throttle(None, lambda: 1 << 60)
    assert not throttle.active
    async with asyncio.timeout(1):
        await throttle.wait()


class FakeStream:
    """Has all its frames already, and takes whatever is written: nothing here ever waits."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames

    def buffered_frame(self, *, cap: int) -> bytes | None:
        return self._frames.pop(0)[LENGTH_SIZE:] if self._frames else None

    async def read_frame(self, *, cap: int) -> bytes | None:
        return self.buffered_frame(cap=cap)

    async def write(self, data: bytes) -> None:
        pass


async def turns(work: Coroutine[Any, Any, object]) -> int:
    """Return how many turns of the loop others get during `work`."""
    counted = 0

    async def count() -> None:
        nonlocal counted
        while True:
            await asyncio.sleep(0)
            counted += 1

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    await work
    counting.cancel()
    return counted


def channel_with(fake: Any, frames: list[bytes]) -> Channel[ControlReply]:
    stream: Any = FakeStream(frames)
    return Channel(fake, stream, control_replies)


UNKNOWN = b"\0\0\0\3\x91\xcc\x80"


async def test_frames_that_are_there_already_leave_the_loop_to_others(fake: Any) -> None:
    channel = channel_with(fake, [frame(Hint())] * 1000)

    async def read() -> None:
        while await channel.receive() is not None:
            pass

    async def write() -> None:
        for _number in range(1000):
            await channel.send(Hint())

    assert await turns(read()) >= 1000 // FRAMES_A_TURN - 1
    assert await turns(write()) >= 1000 // FRAMES_A_TURN - 1


async def test_messages_that_are_skipped_are_counted_until_one_is_known(fake: Any) -> None:
    some = [UNKNOWN] * MAX_SKIPPED + [frame(Hint())]
    channel = channel_with(fake, some * 3)
    for _time in range(3):
        assert await channel.receive() == Hint()
    assert not fake.closed


async def test_too_many_skipped_messages_end_the_connection(fake: Any) -> None:
    channel = channel_with(fake, [UNKNOWN] * (MAX_SKIPPED + 1) + [frame(Hint())])
    with pytest.raises(ProtocolViolated, match="say nothing here"):
        await channel.receive()
    assert [code for code, _reason in fake.closed] == [CloseCode.PROTOCOL]
