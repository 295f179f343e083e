"""Fault cases 48 to 54: versions, replays, what is not on offer, bombs, and edits on both sides."""

import asyncio
import datetime
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicTransportParameters, push_quic_transport_parameters
from zstandard import ZstdCompressor

from leafsync.engine.core.address import Address
from leafsync.engine.core.conflicts import MAX_COPIES
from leafsync.engine.core.events import PeerConnected
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import (
    LENGTH_SIZE,
    MAX_BUNDLE,
    Abort,
    AbortReason,
    Bundle,
    Changed,
    ChangeKind,
    ChangeRequest,
    Chunk,
    CloseCode,
    Digest,
    DigestRequest,
    Encoding,
    End,
    Fetch,
    FetchItem,
    Hello,
    RefusalKind,
    Welcome,
    data_replies,
    frame,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.net import dialing, endpoint
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import Limits
from leafsync.engine.net.quic import PinnedQuic, configuration_for
from leafsync.engine.sync.packing import PackingMalformed, unpack
from leafsync.errors import LeafSyncError, PeerUnknown, RefusedByPeer, VersionMismatch
from tests.faults.cases import Case
from tests.support.attacks import OLD, both_ways, listed, put, served, unharmed, victim
from tests.support.devices import Device, Pair, connect_options, introduce
from tests.support.engines import MakeDevice, MakeHostile
from tests.support.hostile import FakeFolder, HostileClient, HostileServer, Talk, pull_from, root_of, says

TITLE = "Versions, replays, offers, conflicts"

CASES = (
    Case(48, "no version in common", "both users read which side speaks which version; nothing is exchanged"),
    Case(49, "another protocol on the port", "the handshake ends, and the user reads that this is not LeafSync"),
    Case(
        50,
        "a recorded session, an old session ticket, an older state of the folder",
        "recorded datagrams do nothing; no ticket is given or used, so there is no resumption and no early data, and "
        "every connection is judged anew; an older state is an edit like any other: what it replaces is in the trash",
    ),
    Case(
        51,
        "another folder under a known name",
        "what was agreed on holds for one device and one folder: anything else is a first contact, which deletes "
        "nothing; of a folder no more is on offer than what is served",
    ),
    Case(
        52,
        "a request for a file that is ignored, outside, or was never listed",
        "the same answer as for one that does not exist; without an offer there is none",
    ),
    Case(
        53,
        "a little that unpacks to a lot",
        "not a byte more is unpacked than was announced, at most 1 MiB of a chunk and 2 MiB of a bundle; the "
        "connection ends, over a chunk after a second try",
    ),
    Case(
        54,
        "edits, deletes and renames on both sides",
        "both versions are kept, an edit wins over a delete; with 10 copies of a file both stay where they are until "
        "some are decided",
    ),
)


@pytest.fixture(autouse=True)
def _unharmed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    unharmed(tmp_path, caplog)


# 48: versions


async def test_case_48_a_client_of_other_versions(make_device: MakeDevice) -> None:
    async with served(make_device, {"a": b"x"}) as under:
        told: list[LeafSyncError] = []

        async def hello(attacker: HostileClient) -> None:
            await (await attacker.open()).say(Hello([7, 8], [], "from the future", "test"))
            told.append(await attacker.closed())

        assert "version 7, 8, this device version 1" in await under.refused(hello, CloseCode.VERSION)
        assert "version 1" in str(told[0])


async def test_case_48_a_server_of_another_version(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    server.hello = says(Welcome(7, [], "hostile", "test", "0" * 32, True))
    with pytest.raises(VersionMismatch, match=r"speaks version 7, this device version 1\. Update the older one"):
        await pull_from(client, server)
    await server.connections[0].wait_closed()
    assert "version" in str(server.connections[0].error)
    assert not client.tree()
    assert not server.asked[1:]


async def test_case_48_a_server_that_ends_it_over_the_version(client: Device, hostile: MakeHostile) -> None:
    """As ours does when it has no version in common."""
    server = await hostile({"a": b"x"})

    async def close(talk: Talk, _request: Hello) -> None:
        talk.connection.close(CloseCode.VERSION, "version 7")

    server.hello = close
    with pytest.raises(VersionMismatch, match="version 7, this device version 1"):
        await pull_from(client, server)


# 49: another protocol


def speaking(protocol: str) -> Any:
    """Return what makes the settings of a peer that speaks another protocol."""

    def configuration(identity: Identity, limits: Limits, *, is_client: bool) -> QuicConfiguration:
        made = configuration_for(identity, limits, is_client=is_client)
        made.alpn_protocols = [protocol]
        return made

    return configuration


@pytest.mark.parametrize("protocol", ["h3", "leafsync/2"])
async def test_case_49_a_server_of_another_protocol(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(endpoint, "configuration_for", speaking(protocol))
    server = await hostile({"a": b"x"})
    with pytest.raises(VersionMismatch, match=r"not LeafSync, or one too old\), this device leafsync/1"):
        await pull_from(client, server)
    assert not client.tree()


@pytest.mark.parametrize("protocol", ["h3", "leafsync/2"])
async def test_case_49_a_client_of_another_protocol(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    async with served(make_device, {"a": b"x"}) as under:
        with monkeypatch.context() as patched:
            patched.setattr(dialing, "configuration_for", speaking(protocol))
            with pytest.raises(VersionMismatch):
                async with under.attacker():
                    pytest.fail("it was let in")
        assert not under.device.seen(PeerConnected)


# 50: what was once said


class Relay(asyncio.DatagramProtocol):
    """Stands between a client and a server, and remembers what the client sends; each datagram goes `copies` times."""

    def __init__(self, server: int, *, copies: int = 1) -> None:
        self.recorded: list[bytes] = []
        self._server = "127.0.0.1", server
        self._client: Any = None
        self._copies = copies
        self._transport: asyncio.DatagramTransport

    async def start(self) -> int:
        """Return the port that the client connects to."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self._server:
            self._transport.sendto(data, self._client)
            return
        self._client = addr
        self.recorded.append(data)
        for _copy in range(self._copies):
            self._transport.sendto(data, self._server)

    def replay(self) -> None:
        """Send all again, from the same address."""
        for data in self.recorded:
            self._transport.sendto(data, self._server)

    def close(self) -> None:
        self._transport.close()


async def push_through(relay: Relay, pair: Pair) -> None:
    port = await relay.start()
    job = await pair.client.engine.connect(
        connect_options(Address("127.0.0.1", port), pair.client.folder, once=True, mode=Mode.PUSH)
    )
    assert await job.wait() is not None


async def test_case_50_a_recorded_session_changes_nothing(pair: Pair) -> None:
    pair.client.write("new", "sent", mtime=OLD)
    pair.server.write("other", "y", mtime=OLD)
    server = await pair.server.serve()
    relay = Relay(server.status().port)
    await push_through(relay, pair)
    assert pair.server.read("new") == b"sent"
    (pair.server.folder / "new").unlink()
    before = pair.server.tree()
    relay.replay()
    await pair.client.pull(server)  # what was replayed came before this
    relay.close()
    assert len(relay.recorded) > 5
    assert pair.server.tree() == before
    assert len(pair.server.seen(PeerConnected)) == 2


async def test_case_50_datagrams_that_come_twice_do_it_once(pair: Pair) -> None:
    for number in range(20):
        pair.client.write(f"{number}", b"%d" % number * 10_000, mtime=OLD)
    server = await pair.server.serve()
    relay = Relay(server.status().port, copies=2)
    await push_through(relay, pair)
    relay.close()
    assert pair.server.tree() == pair.client.tree()
    assert not pair.server.trash()
    assert len(pair.server.seen(PeerConnected)) == 1


def old_ticket() -> tls.SessionTicket:
    """Return a ticket as another server might have given it, that allows early data."""
    parameters = Buffer(capacity=512)
    allowed = QuicTransportParameters(
        initial_max_data=1 << 20, initial_max_stream_data_bidi_remote=1 << 20, initial_max_streams_bidi=8
    )
    push_quic_transport_parameters(parameters, allowed)
    now = datetime.datetime.now(datetime.UTC)
    return tls.SessionTicket(
        age_add=0,
        cipher_suite=tls.CipherSuite.AES_128_GCM_SHA256,
        not_valid_after=now + datetime.timedelta(days=1),
        not_valid_before=now - datetime.timedelta(hours=1),
        resumption_secret=bytes(32),
        server_name="leafsync",
        ticket=b"a ticket of yesterday",
        max_early_data_size=0xFFFFFFFF,
        other_extensions=[(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, parameters.data)],
    )


class Resuming(PinnedQuic):
    """A client that has a ticket, sends its first words with it, and takes any ticket that it gets."""

    def __init__(self, configuration: QuicConfiguration, **arguments: Any) -> None:
        super().__init__(configuration, **arguments)
        configuration.session_ticket = old_ticket()
        self.tickets: list[tls.SessionTicket] = []
        self._session_ticket_handler = self.tickets.append

    def connect(self, addr: Any, now: float) -> None:
        super().connect(addr, now)
        assert self._cryptos[tls.Epoch.ZERO_RTT].send.is_valid(), "it can send early data"


async def test_case_50_a_ticket_opens_nothing(make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole handshake is done, with both certificates; no ticket comes of it, and a stranger stays one."""
    async with served(make_device, {"a": b"x"}) as under:
        with monkeypatch.context() as patched:
            patched.setattr(dialing, "PinnedQuic", Resuming)
            async with under.attacker() as attacker:
                quic = attacker.connection._quic
                assert isinstance(quic, Resuming)
                assert isinstance(await attacker.ask(await attacker.greeted(), DigestRequest()), Digest)
                assert not quic.tickets
                assert not quic.tls.session_resumed
                assert not quic.tls.early_data_accepted
            under.device.engine.trust.remove(under.identity.fingerprint)
            with pytest.raises(RefusedByPeer):
                async with under.attacker():
                    pytest.fail("it was let in")
        assert [event.fingerprint for event in under.device.seen(PeerConnected)] == [under.identity.fingerprint]


class Ticketing(PinnedQuic):
    """A server that gives tickets to whoever takes them."""

    given: list[tls.SessionTicket]

    def __init__(self, configuration: QuicConfiguration, **arguments: Any) -> None:
        super().__init__(configuration, **arguments)
        self._session_ticket_handler = self.given.append
        self._session_ticket_fetcher = lambda _ticket: self.given[-1] if self.given else None


async def test_case_50_no_ticket_is_taken(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was trusted once is not let in by it."""
    monkeypatch.setattr(Ticketing, "given", [], raising=False)
    monkeypatch.setattr(endpoint, "PinnedQuic", Ticketing)
    server = await hostile({"a": b"x"})
    await pull_from(client, server)
    await pull_from(client, server)
    assert len(server.connections) == 2
    assert all(isinstance(made._quic, Ticketing) for made in server.connections)
    assert not any(made._quic.tls.session_resumed for made in server.connections)
    assert not Ticketing.given
    client.engine.trust.remove(server.identity.fingerprint)
    with pytest.raises(PeerUnknown):
        await pull_from(client, server)


async def test_case_50_an_older_state_loses_nothing(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"old", "b": b"other"})
    await pull_from(client, server, mode=Mode.BOTH)
    old = server.folder
    server.folder = FakeFolder.of({"a": b"newer", "b": b"other", "c": b"new"})
    await pull_from(client, server, mode=Mode.BOTH)
    server.folder = old
    await pull_from(client, server, mode=Mode.BOTH)
    assert client.read("a") == b"old"
    assert client.trash() == {"a", "c"}
    kept = {path.name: path.read_bytes() for path in (client.folder / ".leafsync_trash").rglob("*") if path.is_file()}
    assert kept["c"] == b"new"
    assert b"newer" in {path.read_bytes() for path in (client.folder / ".leafsync_trash").rglob("a")}


# 51: another folder


async def both(client: Device, server: HostileServer) -> set[str]:
    """Do a pass in both directions; return the paths that the server was asked to take."""
    server.asked.clear()
    await pull_from(client, server, mode=Mode.BOTH)
    requests = [request for request in server.asked if isinstance(request, ChangeRequest)]
    assert all(change.kind is ChangeKind.PUT for request in requests for change in request.changes)
    return {change.path for request in requests for change in request.changes}


@pytest.mark.parametrize("same", [False, True], ids=["another folder", "the same folder"])
async def test_case_51_the_same_device_with_another_folder(client: Device, hostile: MakeHostile, same: bool) -> None:
    """A file that is gone from the folder it was agreed on with is deleted; to another folder it is new."""
    server = await hostile({"a": b"x", "b": b"y"})
    await both(client, server)
    server.folder = FakeFolder.of({"b": b"y"})
    server.hello = says(Welcome(1, [], "hostile", "test", "0" * 32 if same else "1" * 32, True))
    assert await both(client, server) == (set() if same else {"a"})
    assert set(client.tree()) == ({"b"} if same else {"a", "b"})


async def test_case_51_another_device_with_the_id_of_a_known_folder(
    make_device: MakeDevice, client: Device, hostile: MakeHostile
) -> None:
    real = await make_device("server")
    introduce(real, client)
    real.write("a", "x", mtime=OLD)
    real.write("b", "y", mtime=OLD)
    await client.sync(await real.serve())
    known = (real.folder / ".leafsync_tmp/folder-id").read_text().strip()
    server = await hostile({"b": b"y"})
    server.hello = says(Welcome(1, [], "hostile", "test", known, True))
    assert "a" in await both(client, server)
    assert {"a", "b"} <= set(client.tree())


async def test_case_51_no_more_than_what_is_served(make_device: MakeDevice) -> None:
    """Of one file that is served, nothing else of the folder can be seen, taken or changed."""
    async with served(make_device, {"a": b"x", "secret": b"y"}, file="a") as under, under.attacker() as attacker:
        talk = await attacker.greeted()
        answers = [await attacker.ask(talk, DigestRequest(path)) for path in ("secret", "nowhere")]
        assert answers[0] == answers[1]
        assert isinstance(await attacker.ask(talk, DigestRequest()), Digest)
        assert set(await listed(attacker, talk)) == {"a"}
        asked = [FetchItem("secret", 1, root_of(b"y"), [(0, 1)]), FetchItem("nowhere", 1, root_of(b"y"), [(0, 1)])]
        assert await attacker.fetch(*asked) == [Abort(AbortReason.GONE)] * 2
        (refusal,) = await attacker.change(talk, put("secret", b"mine"), contents={"secret": b"mine"})
        assert refusal.kind is RefusalKind.IGNORED
        assert under.device.read("secret") == b"y"


# 52: what is not on offer

HIDDEN = {"secret.log": b"of no concern to anybody", ".leafsyncignore": b"*.log\n"}

NOT_THERE = [
    "nowhere",
    "dir",
    "secret.log",
    "dir/../secret.log",
    "../victim-home/identity.pem",
    "../client-home/identity.pem",
    "/etc/passwd",
    ".leafsync_tmp/lock",
    ".leafsync_tmp/folder-id",
    "dir/inside/",
    "./dir/inside",
]


def wanted(path: str) -> FetchItem:
    data = HIDDEN.get(path, b"x")
    return FetchItem(path, len(data), root_of(data), [(0, 1)])


async def test_case_52_a_client_gets_nothing_else(make_device: MakeDevice) -> None:
    contents = {"dir/inside": b"x", **HIDDEN}
    async with served(make_device, contents) as under, under.attacker() as attacker:
        talk = await attacker.greeted()
        assert await attacker.fetch(wanted("dir/inside")) == [Abort(AbortReason.GONE)], "no offer yet"
        await attacker.ask(talk, DigestRequest())
        assert await attacker.fetch(*map(wanted, NOT_THERE)) == [Abort(AbortReason.GONE)] * len(NOT_THERE)
        assert await attacker.fetch(wanted("dir/inside")) == [Chunk(0, 1, Encoding.RAW), b"x", End()]


@pytest.mark.parametrize("asks", ["digest", "change"])
async def test_case_52_a_server_gets_nothing_else(client: Device, hostile: MakeHostile, asks: str) -> None:
    """While it is to be changed, it may take what is on offer to it; at any other time it is not even answered."""
    for path, data in {"dir/inside": b"x", **HIDDEN}.items():
        client.write(path, data, mtime=OLD)
    server = await hostile({})
    came: list[object] = []
    asking: list[asyncio.Task[None]] = []

    async def ask(connection: Any) -> None:
        stream = Talk(connection, await connection.open_stream())
        await stream.say(Fetch([*map(wanted, NOT_THERE), wanted("dir/inside")]))
        while (reply := await stream.hear(data_replies)) is not None and not isinstance(reply, End):
            came.append(reply)
            if isinstance(reply, Chunk):
                came.append(await stream.stream.read_exactly(reply.length))

    async def change(talk: Talk, _request: ChangeRequest) -> None:
        if asks == "change":
            await ask(talk.connection)
        await talk.say(Changed([], True))

    async def digest(talk: Talk, request: DigestRequest) -> None:
        if asks == "digest" and not asking:
            asking.append(asyncio.create_task(ask(talk.connection)))
        await server.honest_digest(talk, request)

    server.change, server.digest = change, digest
    await pull_from(client, server, mode=Mode.PUSH if asks == "change" else Mode.PULL)
    await asyncio.gather(*asking, return_exceptions=True)
    gone: list[object] = [Abort(AbortReason.GONE)] * len(NOT_THERE)
    assert came == ([*gone, Chunk(0, 1, Encoding.RAW), b"x"] if asks == "change" else [])


# 53: bombs

BOMB = ZstdCompressor().compress(bytes(64 << 20))
CONTENT_SIZE = slice(6, 10)
"""Where the header of a Zstandard frame of 64 MiB says so (RFC 8878 section 3.1.1.1)."""


def lying(length: int) -> bytes:
    """Return the bomb with a header that says it is of this length."""
    assert int.from_bytes(BOMB[CONTENT_SIZE], "little") == 64 << 20
    return BOMB[: CONTENT_SIZE.start] + length.to_bytes(4, "little") + BOMB[CONTENT_SIZE.stop :]


def bombs(length: int) -> list[bytes]:
    """Return what must not be unpacked to `length` bytes."""
    packed = ZstdCompressor().compress(bytes(length))
    return [
        BOMB,
        lying(length),
        ZstdCompressor(write_content_size=False).compress(bytes(length)),
        ZstdCompressor().compress(bytes(length - 1)),
        packed + packed,
        packed[:-1],
        b"nonsense",
    ]


def test_case_53_not_more_memory_than_was_announced() -> None:
    for length in (CHUNK_SIZE, MAX_BUNDLE):
        for bomb in bombs(length):
            tracemalloc.start()
            try:
                with pytest.raises(PackingMalformed):
                    unpack(bomb, length)
                assert tracemalloc.get_traced_memory()[1] < length + 100_000
            finally:
                tracemalloc.stop()


@both_ways
async def test_case_53_bundles(make_device: MakeDevice, way: str) -> None:
    answer = frame(Chunk(0, 4, Encoding.RAW)) + b"good" + frame(End())
    packed = ZstdCompressor().compress(answer)
    async with victim(way, make_device, {"a": b"good"}, old={"a": b"mine"}, features=("zstd",)) as under:
        for length, stored in (
            *((MAX_BUNDLE, bomb) for bomb in bombs(MAX_BUNDLE)),
            (len(answer), packed),  # no gain
            (MAX_BUNDLE + 1, packed),
            (100, ZstdCompressor().compress(frame(Bundle(50, 20)) + bytes(90))),
        ):
            bundle = frame(Bundle(length, len(stored))) + stored

            async def item(talk: Talk, _item: FetchItem, sent: bytes = bundle) -> None:
                await talk.raw(sent)

            under.source.item = item
            await under.refused(CloseCode.PROTOCOL)
        await under.mended()


@both_ways
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_case_53_chunks(make_device: MakeDevice, way: str, large: bool) -> None:
    """As wrong as any other bytes: asked for once more."""
    data = b"x" * CHUNK_SIZE * (2 if large else 1)
    async with victim(way, make_device, {"a": data}, old={"a": b"mine"}, features=("zstd",)) as under:
        for bomb in bombs(CHUNK_SIZE):
            sent = frame(Chunk(0, CHUNK_SIZE, Encoding.ZSTD)) + len(bomb).to_bytes(LENGTH_SIZE, "big") + bomb

            async def item(talk: Talk, item: FetchItem, sent: bytes = sent) -> None:
                if not item.ranges:
                    await under.source.honest_item(talk, item)
                    return
                await under.source.leaves(talk, item)
                await talk.raw(sent)
                if item.ranges == [(0, 2)]:
                    await talk.chunk(1, data[:CHUNK_SIZE])
                await talk.say(End())

            under.source.item = item
            under.source.asked.clear()
            await under.refused(CloseCode.INTEGRITY)
            assert under.source.indexes().count(0) == 2
        await under.mended()


@both_ways
async def test_case_53_packing_that_was_not_agreed_on(make_device: MakeDevice, way: str) -> None:
    data = b"x" * 5000
    packed = ZstdCompressor().compress(data)
    answer = frame(Chunk(0, 5000, Encoding.RAW)) + data + frame(End())
    bundle = ZstdCompressor().compress(answer)
    async with victim(way, make_device, {"a": data}, old={"a": b"mine"}) as under:
        for sent in (
            frame(Chunk(0, 5000, Encoding.ZSTD)) + len(packed).to_bytes(LENGTH_SIZE, "big") + packed + frame(End()),
            frame(Bundle(len(answer), len(bundle))) + bundle,
        ):

            async def item(talk: Talk, _item: FetchItem, sent: bytes = sent) -> None:
                await talk.raw(sent)

            under.source.item = item
            await under.refused(CloseCode.PROTOCOL)
        await under.mended()


# 54: both sides


@pytest.fixture
async def agreed(pair: Pair) -> Any:
    """Two devices that have agreed on some files; returns the job that serves."""
    for name in ("a.txt", "b.txt", "dir/c.txt"):
        pair.server.write(name, f"content of {name}", mtime=OLD)
    job = await pair.server.serve()
    await pair.client.sync(job)
    return job


def contents(device: Device) -> set[bytes]:
    return {entry[1] for entry in device.tree().values() if entry[0] == "file"}


async def test_case_54_edits_on_both_sides(pair: Pair, agreed: Any) -> None:
    pair.server.write("a.txt", "theirs", mtime=OLD + 50)
    pair.client.write("a.txt", "ours", mtime=OLD + 5)
    summary = await pair.client.sync(agreed)
    ((path, copy),) = summary.conflicts
    assert path == "a.txt"
    for device in (pair.client, pair.server):
        assert (device.read("a.txt"), device.read(copy)) == (b"theirs", b"ours")
    assert summary.partial
    assert not (await pair.client.sync(agreed)).changed, "and that is that"


@pytest.mark.parametrize("editor", ["client", "server"])
async def test_case_54_an_edit_wins_over_a_delete(pair: Pair, agreed: Any, editor: str) -> None:
    edits, deletes = (pair.client, pair.server) if editor == "client" else (pair.server, pair.client)
    edits.write("a.txt", "edited", mtime=OLD + 50)
    (deletes.folder / "a.txt").unlink()
    summary = await pair.client.sync(agreed)
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.read("a.txt") == b"edited"
    assert [path for path, _said in summary.notes] == ["a.txt"]
    assert not (await pair.client.sync(agreed)).changed


async def test_case_54_a_file_renamed_differently_on_both_sides(pair: Pair, agreed: Any) -> None:
    (pair.client.folder / "a.txt").rename(pair.client.folder / "ours.txt")
    (pair.server.folder / "a.txt").rename(pair.server.folder / "theirs.txt")
    await pair.client.sync(agreed)
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.read("ours.txt") == pair.client.read("theirs.txt") == b"content of a.txt"
    assert not (await pair.client.sync(agreed)).changed


@pytest.mark.parametrize("edited", [False, True], ids=["renamed", "renamed and edited"])
async def test_case_54_names_that_go_round(pair: Pair, agreed: Any, edited: bool) -> None:
    """Two files change names here, and on the other side one of them may be edited meanwhile."""
    for source, target in (("a.txt", "t"), ("b.txt", "a.txt"), ("t", "b.txt")):
        (pair.client.folder / source).rename(pair.client.folder / target)
    if edited:
        pair.server.write("a.txt", "edited", mtime=OLD + 50)
    await pair.client.sync(agreed)
    assert pair.client.tree() == pair.server.tree()
    assert {b"content of a.txt", b"content of b.txt"} <= contents(pair.client)
    assert not edited or b"edited" in contents(pair.client)
    assert not (await pair.client.sync(agreed)).changed


async def test_case_54_directories_renamed_into_each_other(pair: Pair, agreed: Any) -> None:
    (pair.client.folder / "other").mkdir()
    (pair.client.folder / "dir").rename(pair.client.folder / "other/dir")
    (pair.server.folder / "dir").rename(pair.server.folder / "other")
    await pair.client.sync(agreed)
    await pair.client.sync(agreed)
    assert pair.client.tree() == pair.server.tree()
    assert b"content of dir/c.txt" in contents(pair.client)
    assert not (await pair.client.sync(agreed)).changed


async def test_case_54_copies_have_an_end(pair: Pair, agreed: Any) -> None:
    for number in range(MAX_COPIES):
        pair.client.write(f"a.conflict-20260101-00000{number}-nas.txt", f"copy {number}", mtime=OLD)
    await pair.client.sync(agreed)
    pair.server.write("a.txt", "theirs", mtime=OLD + 50)
    pair.client.write("a.txt", "ours", mtime=OLD + 5)
    pair.server.write("b.txt", "goes on", mtime=OLD + 50)
    summary = await pair.client.sync(agreed)
    assert (pair.server.read("a.txt"), pair.client.read("a.txt")) == (b"theirs", b"ours")
    assert pair.client.read("b.txt") == b"goes on"
    ((path, reason),) = summary.problems
    assert path == "a.txt"
    assert "decide" in reason
    (pair.client.folder / "a.conflict-20260101-000000-nas.txt").unlink()
    await pair.client.sync(agreed)  # there is one less on both sides now
    assert len((await pair.client.sync(agreed)).conflicts) == 1
    assert pair.client.tree() == pair.server.tree()
