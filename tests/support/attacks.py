"""A device that takes content from a hostile one, in both directions: it connects to it, or it serves it."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leafsync.engine.core.events import PeerLeft
from leafsync.engine.core.index import Entry, entry_digest
from leafsync.engine.core.messages import (
    Change,
    Changed,
    ChangeKind,
    ChangeRequest,
    CloseCode,
    Listing,
    ListRequest,
    control_replies,
)
from leafsync.engine.net.identity import Identity
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import LeafSyncError, PeerClosed, ProtocolViolated
from tests.support.devices import Device, introduce, until
from tests.support.engines import MakeDevice
from tests.support.hostile import FakeFolder, HostileClient, HostileServer, Talk, file_entry, pull_from, trust

both_ways = pytest.mark.parametrize("way", ["connect", "serve"])
"""Which side the device is on that is attacked."""

OLD = 1_600_000_000.0
"""When what is there before an attack was written, in seconds since 1970."""


@dataclass(frozen=True)
class Outcome:
    """How it went when a device took content."""

    code: int | None = None
    """With which the attacker was put out, None when it was not."""
    sentence: str = ""
    """What the user of the device is told of that."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Entries that could not be had, as the one who asked for the pass is told."""


class Victim(ABC):
    """The device under attack; `source` is where its content comes from."""

    def __init__(self, device: Device, source: HostileServer) -> None:
        self.device = device
        self.source = source

    @abstractmethod
    async def take(self) -> Outcome:
        """Have the device take all that the source has."""

    async def refused(self, code: CloseCode) -> str:
        """Expect the attacker to be put out, and the folder as it was. Return what the user is told."""
        before = self.device.tree()
        outcome = await self.take()
        assert outcome.code == code, outcome
        assert outcome.sentence
        assert "mistake" not in outcome.sentence
        assert self.device.tree() == before
        assert not self.device.trash()
        return outcome.sentence

    async def mended(self) -> Outcome:
        """Let the source answer honestly, and expect all of it to arrive, without what was verified before."""
        source = self.source
        source.item, source.cut, source.parts = source.honest_item, source.honest_cut, source.honest_parts
        source.asked.clear()
        outcome = await self.take()
        assert outcome.code is None, outcome
        assert not outcome.problems
        assert {path: self.device.read(path) for path in source.folder.contents} == source.folder.contents
        return outcome

    def staged(self) -> set[str]:
        """Return the names of the files in the staging directory, but for those that are always there."""
        names = {path.name for path in (self.device.folder / ".leafsync_tmp").iterdir()}
        return names - {"lock", "folder-id"}


class Connecting(Victim):
    """It mirrors the folder of a hostile server."""

    async def take(self) -> Outcome:
        try:
            summary = await pull_from(self.device, self.source, mirror=True)
        except LeafSyncError as error:
            connection = self.source.connections[-1]
            await connection.wait_closed()
            assert isinstance(connection.error, PeerClosed)
            return Outcome(int(str(connection.error.fields["code"])), str(error))
        return Outcome(problems=dict(summary.problems))


class Serving(Victim):
    """It serves a folder that a hostile client changes."""

    def __init__(self, device: Device, source: HostileServer, job: ServeJob, features: tuple[str, ...]) -> None:
        super().__init__(device, source)
        self._job = job
        self._features = features
        device.engine.trust.add(source.identity.fingerprint, name="attacker", confirmed="test")

    async def take(self) -> Outcome:
        left = len(self.device.seen(PeerLeft))
        async with HostileClient.connected(self.source.identity, self._job) as attacker:
            talk = await attacker.shown(*self._features)
            seen = await listed(attacker, talk)
            changes = [
                Change(ChangeKind.PUT, entry.name, entry, entry_digest(seen[entry.name]) if entry.name in seen else b"")
                for entry in self.source.folder.listings[""]
            ]
            await talk.say(ChangeRequest(changes, True))
            serving = asyncio.create_task(self._serve(attacker))
            try:
                answer = await talk.hear(control_replies)
            except LeafSyncError:
                answer = None
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
            if isinstance(answer, Changed):
                return Outcome(problems={refusal.path: refusal.reason for refusal in answer.refusals})
            ended = await attacker.closed()
        await until(lambda: len(self.device.seen(PeerLeft)) > left)
        assert isinstance(ended, PeerClosed)
        return Outcome(int(str(ended.fields["code"])), self.device.seen(PeerLeft)[-1].reason)

    async def _serve(self, attacker: HostileClient) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                stream = await attacker.connection.accept_stream()
                tasks.create_task(self.source._data(Talk(attacker.connection, stream)))


@asynccontextmanager
async def victim(
    way: str,
    make_device: MakeDevice,
    contents: Mapping[str, bytes],
    *,
    old: Mapping[str, bytes] | None = None,
    features: tuple[str, ...] = (),
) -> AsyncIterator[Victim]:
    """A device whose folder has the `old` files, about to take `contents`; `features` are what both sides can do."""
    device = await make_device("victim")
    for path, data in (old or {}).items():
        device.write(path, data, mtime=OLD)
    source = HostileServer(FakeFolder.of(contents))
    async with AsyncExitStack() as stack:
        if way == "serve":
            yield Serving(device, source, await device.serve(), features)
            return
        source.offers(*features)
        await source.start()
        stack.push_async_callback(source.stop)
        trust(device, source)
        yield Connecting(device, source)


async def listed(attacker: HostileClient, talk: Talk, path: str = "") -> dict[str, Entry]:
    """Return what a served directory has, by name."""
    listing = await attacker.ask(talk, ListRequest([path]))
    assert isinstance(listing, Listing)
    return {entry.name: entry for entry in listing.entries}


def put(path: str, data: bytes, seen: Entry | None = None) -> Change:
    """Return the change that puts a file of this content where `seen` was."""
    name = path.rpartition("/")[2]
    return Change(ChangeKind.PUT, path, file_entry(name, data), entry_digest(seen) if seen else b"")


Act = Callable[[HostileClient], Awaitable[object]]


@dataclass
class Served:
    """A served folder, and a trusted device that means no good."""

    device: Device
    job: ServeJob
    identity: Identity

    def attacker(self) -> AbstractAsyncContextManager[HostileClient]:
        """Connect the device that means no good."""
        return HostileClient.connected(self.identity, self.job)

    async def refused(self, act: Act, code: CloseCode = CloseCode.PROTOCOL) -> str:
        """Let it act, and expect it to be put out with this code and the folder to be as it was; return what the user
        is told.
        """
        before, left = self.device.tree(), len(self.device.seen(PeerLeft))
        async with self.attacker() as attacker:
            with contextlib.suppress(LeafSyncError):
                await act(attacker)
            ended = await attacker.closed()
        assert isinstance(ended, PeerClosed)
        assert ended.fields["code"] == code, ended
        await until(lambda: len(self.device.seen(PeerLeft)) > left)
        reason = self.device.seen(PeerLeft)[-1].reason
        assert reason
        assert "mistake" not in reason
        assert self.device.tree() == before
        return reason


@asynccontextmanager
async def served(make_device: MakeDevice, contents: Mapping[str, bytes], **options: object) -> AsyncIterator[Served]:
    """Serve a folder of `contents`, and check in the end that others are still served."""
    device, other = await make_device("victim"), await make_device("other")
    for path, data in contents.items():
        device.write(path, data, mtime=OLD)
    identity = Identity.generate()
    device.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    introduce(device, other)
    job = await device.serve(**options)
    yield Served(device, job, identity)
    await other.pull(job, file=next(iter(contents)))
    assert set(other.tree().items()) <= set(device.tree().items())
    assert other.tree()


async def put_out(client: Device, server: HostileServer, **options: object) -> str:
    """Mirror a hostile server, expect that it is put out for breaking the protocol, and the folder to be as it was;
    return what the user is told.
    """
    before = client.tree()
    with pytest.raises(ProtocolViolated) as raised:
        await pull_from(client, server, **{"mirror": True, **options})
    connection = server.connections[-1]
    await connection.wait_closed()
    assert isinstance(connection.error, PeerClosed)
    assert connection.error.fields["code"] == CloseCode.PROTOCOL
    assert client.tree() == before
    return str(raised.value)


def unharmed(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Check that nothing was written outside of the folders and homes of devices, and that no bug was logged."""
    devices = {"victim", "other", "client", "server"}
    assert {path.name for path in directory.iterdir()} <= devices | {f"{name}-home" for name in devices}
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
