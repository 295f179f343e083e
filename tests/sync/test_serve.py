"""What a serving device says to those that have to wait for it."""

import asyncio

import pytest

from leafsync.engine.core.messages import Change, Changed, ChangeKind, ChangeRequest, Pending, control_replies
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassState
from leafsync.engine.net.identity import Identity
from leafsync.engine.sync import serve
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.serving import ServeJob
from tests.support.devices import Pair, until
from tests.support.hostile import HostileClient

OLD = 1_700_000_000.0


def changing(job: ServeJob) -> asyncio.Lock:
    """Held by whoever changes the folder."""
    return job._context.share.changing


async def test_a_device_that_waits_for_its_turn_is_told_so(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PENDING_FIRST", 0.01)
    monkeypatch.setattr(serve, "PENDING_INTERVAL", 0.01)
    identity = Identity.generate()
    pair.server.engine.trust.add(identity.fingerprint, name="second", confirmed="test")
    job = await pair.server.serve()
    async with HostileClient.connected(identity, job) as second:
        talk = await second.shown()
        async with changing(job):
            await talk.say(ChangeRequest([Change(ChangeKind.MAKE_DIRECTORY, "new")], True))
            for _time in range(3):
                assert await talk.hear(control_replies) == Pending()
            assert "new" not in pair.server.tree()
            assert [peer.activity for peer in job.status().peers] == ["waiting for its turn"]
        while isinstance(answer := await talk.hear(control_replies), Pending):
            pass
        assert answer == Changed([], True)
        assert "new" in pair.server.tree()


async def test_a_device_shows_that_it_waits_for_its_turn(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PENDING_FIRST", 0.01)
    pair.client.write("new", "x", mtime=OLD)
    job = await pair.server.serve()
    async with changing(job):
        ours = await pair.client.connect(job, mode=Mode.PUSH)
        await until(lambda: ours.status().state is PassState.WAITING)
        assert not pair.server.tree()
    await until(lambda: ours.status().state is PassState.IN_SYNC)
    assert pair.server.read("new") == b"x"
    await ours.stop()


def test_a_device_that_is_taken_from_does_not_show_that_it_waits() -> None:
    progress = Progress(lambda: (0, 0))
    seen = [progress.pending]
    progress.pend()
    seen.append(progress.pending)
    progress.send("new", 2, 1)
    assert [*seen, progress.pending] == [False, True, False]


async def test_nothing_is_said_between_changes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not wait for changes would not know what it means."""
    monkeypatch.setattr(serve, "PENDING_FIRST", 0.001)
    monkeypatch.setattr(serve, "PENDING_INTERVAL", 0.001)
    pair.client.write("mine", "x", mtime=OLD)
    pair.server.write("theirs", "y", mtime=OLD)
    job = await pair.server.serve()
    for number in range(3):
        pair.client.write(f"mine-{number}", "x", mtime=OLD)
        await pair.client.sync(job)
    assert pair.server.tree() == pair.client.tree()
