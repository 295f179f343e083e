"""Asking a person about devices that nobody has confirmed yet."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from leafsync.engine.core.events import DeviceTrusted, PeerConnected, PeerPending, PeerRefused, TrustQuestion
from leafsync.engine.core.status import Direction, PassState
from leafsync.engine.service import Engine
from leafsync.engine.sync import connecting, jobs, serving
from leafsync.errors import PeerUnknown, RefusedByPeer
from tests.support.devices import Device, until

MakeAsking = Callable[[str, "Person"], Awaitable[Device]]


class Person:
    """Answers questions as a test says, and remembers them."""

    def __init__(self, *answers: bool) -> None:
        self.asked: list[TrustQuestion] = []
        self.ready = asyncio.Event()
        self.ready.set()
        self._answers = list(answers)

    async def __call__(self, question: TrustQuestion) -> bool:
        self.asked.append(question)
        await self.ready.wait()
        return self._answers.pop(0)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "ACCEPT_RETRY", 0.02)
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.02)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeAsking]:
    """Make devices with a person each."""
    async with AsyncExitStack() as stack:

        async def make(name: str, person: Person) -> Device:
            device = Device(name, tmp_path / f"{name}-home", tmp_path / name)
            device.folder.mkdir()
            engine = Engine(device.config(), on_event=device.events.append, ask=person)
            device.engine = await stack.enter_async_context(engine)
            return device

        yield make


async def test_two_people_who_say_yes(make: MakeAsking) -> None:
    here, there = Person(True), Person(True)
    server, client = await make("server", there), await make("client", here)
    server.write("a", "content")
    serving = await server.serve()
    job = await client.connect(serving)
    await until(lambda: bool(client.passes()))
    assert client.read("a") == b"content"
    address = f"127.0.0.1:{serving.status().port}"
    folders = str(client.folder), str(server.folder)
    assert here.asked == [TrustQuestion(job.id, server.engine.identity.fingerprint, address, folders[0], Direction.OUT)]
    assert [(one.fingerprint, one.folder, one.direction) for one in there.asked] == [
        (client.engine.identity.fingerprint, folders[1], Direction.IN)
    ]
    assert client.engine.trust.at_address(address) is not None
    assert [event.confirmed for event in client.seen(DeviceTrusted)] == ["compared on the screen"]
    assert [device.name for device in client.engine.trust.devices] == ["server"]  # as it calls itself
    assert [device.name for device in server.engine.trust.devices] == ["client"]
    await job.stop()


async def test_nothing_is_exchanged_before_the_answer(make: MakeAsking) -> None:
    here, there = Person(True), Person(True)
    there.ready.clear()
    server, client = await make("server", there), await make("client", here)
    serving = await server.serve()
    job = await client.connect(serving)
    await until(lambda: job.status().state is PassState.AWAITING and bool(there.asked))
    assert not server.seen(PeerConnected)
    assert "does not trust" in job.status().reason
    there.ready.set()
    await until(lambda: bool(client.passes()))
    assert len(there.asked) == 1
    await job.stop()


async def test_a_no_here_ends_the_job(make: MakeAsking) -> None:
    here, there = Person(False), Person()
    server, client = await make("server", there), await make("client", here)
    serving = await server.serve()
    job = await client.connect(serving)
    with pytest.raises(PeerUnknown):
        await job.wait()
    assert not client.engine.trust.devices
    assert not there.asked


async def test_a_no_there_is_asked_once_however_often_the_device_comes(make: MakeAsking) -> None:
    here, there = Person(True), Person(False)
    server, client = await make("server", there), await make("client", here)
    serving = await server.serve()
    job = await client.connect(serving)
    await until(lambda: len(server.seen(PeerRefused)) >= 4)
    assert server.seen(PeerRefused) == server.seen(PeerPending)
    assert len(there.asked) == 1
    assert not server.engine.trust.devices
    await job.stop()


async def test_nobody_answers(make: MakeAsking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ASK_DEADLINE", 0.01)
    here = Person(True)
    here.ready.clear()
    server, client = await make("server", Person()), await make("client", here)
    serving = await server.serve()
    job = await client.connect(serving)
    with pytest.raises(PeerUnknown):
        await job.wait()
    assert not client.engine.trust.devices


async def test_a_device_is_not_waited_for_for_ever(make: MakeAsking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "ACCEPT_DEADLINE", 0.05)
    server, client = await make("server", Person(False)), await make("client", Person(True))
    job = await client.connect(await server.serve())
    with pytest.raises(RefusedByPeer):
        await job.wait()


async def test_patience_begins_anew_after_a_pass(make: MakeAsking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that was accepted, and is taken out of the trust store much later, is waited for like a new one."""
    monkeypatch.setattr(connecting, "ACCEPT_DEADLINE", 3600.0)
    monkeypatch.setattr(serving, "TRUST_INTERVAL", 0.02)
    later = [0.0]
    monkeypatch.setattr(connecting, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later[0]))
    there = Person(False)
    server, client = await make("server", there), await make("client", Person(True))
    job = await client.connect(await server.serve())
    await until(lambda: job.status().state is PassState.AWAITING)
    fingerprint = client.engine.identity.fingerprint
    server.engine.trust.add(fingerprint, name="client", confirmed="test")
    await until(lambda: bool(client.passes()))
    later[0] = 7200.0
    server.engine.trust.remove("client")
    await until(lambda: job.status().state is PassState.AWAITING)
    server.engine.trust.add(fingerprint, name="client", confirmed="test")
    count = len(client.passes())
    await until(lambda: len(client.passes()) > count)
    await job.stop()


async def test_stopping_takes_a_question_back(make: MakeAsking) -> None:
    here = Person(True)
    here.ready.clear()
    server, client = await make("server", Person()), await make("client", here)
    job = await client.connect(await server.serve())
    await until(lambda: bool(here.asked))
    assert job.status().state is PassState.ASKING
    await job.stop()
    here.ready.set()
    assert not client.engine.trust.devices


async def test_strangers_cannot_queue_up(make: MakeAsking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_QUESTIONS", 2)
    there = Person(True, True)
    there.ready.clear()
    server = await make("server", there)
    serving = await server.serve()
    strangers = [await make(f"stranger-{number}", Person(True)) for number in range(3)]
    going = []
    for number, stranger in enumerate(strangers, 1):
        going.append(await stranger.connect(serving))
        await until(lambda number=number: len({e.fingerprint for e in server.seen(PeerRefused)}) == number)  # type: ignore[misc]
    assert len(there.asked) == 2
    for job in going:
        await job.stop()
