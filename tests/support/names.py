"""Names that must not travel, and odd ones that must: what every test of them expects of LeafSync."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from leafsync.engine.core.events import PeerLeft
from leafsync.engine.core.index import Entry, Kind, entry_digest
from leafsync.engine.core.messages import (
    Abort,
    AbortReason,
    Change,
    ChangeKind,
    ChangeRequest,
    CloseCode,
    DigestRequest,
    FetchItem,
    ListRequest,
    Message,
    frame,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassSummary
from leafsync.engine.net.identity import Identity
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import PeerClosed
from leafsync.summary import attention_lines
from leafsync.text import printable
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.hostile import HostileClient, HostileServer, directory_entry, file_entry, link_entry, pull_from

OLD = 1_700_000_000.0
"""When files are written: too long ago to be racy."""

GOOD = b"good"
"""The content of files that nothing is wrong with."""

HASH = file_entry("any", b"any").hash


@contextmanager
def nothing_outside(directory: Path) -> Iterator[None]:
    """Expect that nothing but the folders and the homes of the devices is written to, whatever a name says."""
    bystander = directory / "x"
    bystander.write_bytes(b"mine")
    yield
    allowed = {"x", "client", "client-home", "server", "server-home"}
    assert {path.name for path in directory.iterdir()} <= allowed
    assert bystander.read_bytes() == b"mine"


def told(summary: PassSummary, *paths: str) -> None:
    """Expect a sentence about each path, the path escaped, and nothing else."""
    assert sorted(path for path, _reason in summary.problems) == sorted(paths)
    text = "\n".join(attention_lines(summary))
    assert text.isprintable() or not set(text.replace("\n", "")) & {chr(code) for code in range(32)}
    for path, reason in summary.problems:
        assert reason
        assert f"{printable(path)}: {reason}" in text


async def skipped(client: Device, hostile: MakeHostile, *names: str) -> HostileServer:
    """Mirror a folder whose listing has these names in it: all else comes, and nothing is asked for these."""
    server = await hostile({"zz": GOOD, "dir/zz": GOOD})
    bad = [Entry(name, Kind.FILE, 3, hash=HASH) for name in names]
    for directory in ("", "dir"):
        entries = {entry.name: entry for entry in [*server.folder.listings[directory], *bad]}
        server.folder.listings[directory] = [entries[name] for name in sorted(entries)]
    top = {entry.name: entry for entry in server.folder.listings[""]}
    top["dir"] = directory_entry("dir", server.folder.listings["dir"])
    server.folder.listings[""] = [top[name] for name in sorted(top)]
    client.write("zz", "the old one", mtime=OLD)
    summary = await pull_from(client, server, mirror=True, allow_deletes=True)
    told(summary, *names, *(f"dir/{name}" for name in names))
    assert set(client.tree()) == {"zz", "dir", "dir/zz"}
    assert client.read("zz") == client.read("dir/zz") == GOOD
    assert client.trash() == {"zz"}
    assert sorted(server.paths()) == ["dir/zz", "zz"]
    return server


@dataclass
class Attacked:
    """A served folder, and a trusted device that may change it and means no good."""

    pair: Pair
    job: ServeJob
    identity: Identity

    @asynccontextmanager
    async def attacker(self) -> AsyncIterator[HostileClient]:
        async with HostileClient.connected(self.identity, self.job) as attacker:
            yield attacker

    async def closed_on(self, *messages: Message | bytes) -> None:
        """Expect each of these to be the last thing that is heard of the device that says it."""
        device = self.pair.server
        before = device.tree(), device.trash()
        for message in messages:
            left = len(device.seen(PeerLeft))
            async with self.attacker() as attacker:
                talk = await attacker.shown()
                await talk.raw(message if isinstance(message, bytes) else frame(message))
                error = await attacker.closed()
            assert isinstance(error, PeerClosed), message
            assert error.fields["code"] == CloseCode.PROTOCOL, message
            await until(lambda left=left: len(device.seen(PeerLeft)) == left + 1)  # type: ignore[misc]
            assert device.seen(PeerLeft)[-1].reason.isprintable()
            assert (device.tree(), device.trash()) == before

    async def refuses(self, *paths: str) -> None:
        """Expect every change that names one of these paths to end the connection, and nothing to be served for it.

        All kinds of changes are tried with the first path, one with the others: it is the same check.
        """
        await self.closed_on(*(ChangeRequest([change], True) for change in _naming(paths[0])))
        for path in paths[1:]:
            await self.closed_on(ChangeRequest(_naming(path)[:1], True))
        await self.closed_on(*(DigestRequest(path) for path in paths if path))
        await self.closed_on(*(ListRequest([path]) for path in paths if path))
        async with self.attacker() as attacker:
            await attacker.shown()
            wanted = [FetchItem(path, 3, HASH, [(0, 1)]) for path in paths if path]
            assert await attacker.fetch(*wanted) == [Abort(AbortReason.GONE)] * len(wanted)
        summary = await self.pair.client.pull(self.job)
        assert not summary.problems
        assert self.pair.client.read("file") == b"content"


def _naming(path: str) -> list[Change]:
    """Return changes that name a path: to make something there, to take it away, and as what something comes from."""
    file, link = file_entry(path.rpartition("/")[2], b"any"), link_entry(path.rpartition("/")[2], "file")
    seen = entry_digest(file_entry("file", b"content"))
    changes = [
        Change(ChangeKind.PUT, path, file),
        Change(ChangeKind.LINK, path, link),
        Change(ChangeKind.MAKE_DIRECTORY, path),
        Change(ChangeKind.MOVE, path, expected=seen, source="file"),
        Change(ChangeKind.DELETE, path, expected=seen),
    ]
    if path:  # an empty source is none
        changes.append(Change(ChangeKind.MOVE, "new", expected=seen, source=path))
        changes.append(Change(ChangeKind.PUT, "new", file_entry("new", b"any"), source=path))
    return changes


async def attack(pair: Pair) -> Attacked:
    """Serve a folder that a device may change that means no good."""
    device = pair.server
    device.write("file", b"content", mtime=OLD)
    identity = Identity.generate()
    device.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    return Attacked(pair, await device.serve(), identity)


async def both_ways(pair: Pair, names: Sequence[str]) -> None:
    """Have files of these names on both sides, and each of them come to the other side and back changed."""
    for name in names:
        pair.server.write(f"from the server/{name}", f"1 {name}", mtime=OLD)
        pair.client.write(f"from the client/{name}", f"1 {name}", mtime=OLD)
    server = await pair.server.serve()
    summary = await pair.client.sync(server)
    assert not summary.partial
    assert pair.client.tree() == pair.server.tree()
    assert {entry for entry in pair.client.tree() if "/" in entry} == {
        f"from the {side}/{name}" for side in ("server", "client") for name in names
    }
    for name in names:
        pair.server.write(f"from the client/{name}", f"2 {name}", mtime=OLD + 5)
        pair.client.write(f"from the server/{name}", f"2 {name}", mtime=OLD + 5)
    assert not (await pair.client.sync(server)).partial
    assert pair.client.tree() == pair.server.tree()
    assert all(pair.client.read(f"from the client/{name}") == f"2 {name}".encode() for name in names)
    assert {Path(path).name for path in pair.client.trash() | pair.server.trash()} == set(names)


async def stays_here(pair: Pair, *names: str | bytes) -> None:
    """Have files of these names on either side: each stays there, the other files go on, and both sides are told."""
    shown = [os.fsdecode(name) for name in names]
    for device in (pair.server, pair.client):
        device.write(f"from the {device.name}", GOOD, mtime=OLD)
        (device.folder / "dir").mkdir()
        for name in shown:
            device.write(name, f"of the {device.name}", mtime=OLD)
            device.write(f"dir/{name}", f"of the {device.name}", mtime=OLD)
    server = await pair.server.serve()
    for mode in (Mode.BOTH, Mode.MIRROR):
        summary = await pair.client.pull(server, mode=mode, allow_deletes=True)
        told(summary, *shown, *(f"dir/{name}" for name in shown))
        assert summary.remote_problems == server.status().problems == 2 * len(shown)
        for device in (pair.server, pair.client):
            assert all(device.read(name) == f"of the {device.name}".encode() for name in shown)
            assert all(device.read(f"dir/{name}") == f"of the {device.name}".encode() for name in shown)
            assert device.read("from the client") == device.read("from the server") == GOOD
            assert len(device.tree()) == 3 + 2 * len(shown)
            assert not device.trash()
