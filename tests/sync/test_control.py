"""What somebody can do with a job that runs: pause it, have it sync now, allow deletes, change who is trusted."""

import shutil
from typing import Any

import pytest

from leafsync.engine.core.events import PeerConnected, PeerLeft, Reconnecting, ServeStarted, Warned
from leafsync.engine.core.messages import Digest
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import Direction, PassState, PassSummary, TransferState
from leafsync.engine.net.trust import Permission, TrustStore
from leafsync.engine.service import Engine
from leafsync.engine.sync import connecting, serving
from leafsync.engine.sync.connect import Client
from leafsync.engine.sync.passes import Passes
from leafsync.errors import ConnectionLost, RefusedByPeer, TrustWithdrawn
from tests.support.devices import Device, Pair, until

OLD = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 60.0)
    monkeypatch.setattr(connecting, "TRUST_INTERVAL", 0.02)
    monkeypatch.setattr(serving, "TRUST_INTERVAL", 0.02)


# Pausing


async def test_a_paused_connection_lets_go_and_comes_back(pair: Pair) -> None:
    server = await pair.server.serve()
    job = await pair.client.connect(server)
    await until(lambda: bool(pair.client.passes()))
    job.pause()
    await until(lambda: not server.status().peers)
    assert job.status().state is PassState.PAUSED
    pair.server.write("later", "content", mtime=OLD)
    count = len(pair.client.passes())
    job.resume()
    await until(lambda: len(pair.client.passes()) > count)
    assert pair.client.read("later") == b"content"
    await job.stop()


async def test_what_came_before_a_pause_is_not_fetched_again(pair: Pair) -> None:
    pair.server.write("large", bytes(range(256)) * 4096 * 24, mtime=OLD)
    job = await pair.client.connect(await pair.server.serve(), rate_mbps=100.0)
    await until(lambda: job.status().totals.fetched >= 3 << 20)
    job.pause()
    await until(lambda: job.status().peer is None)
    job.resume()
    await until(lambda: bool(pair.client.passes()))
    assert pair.client.passes()[-1].totals.reused >= 2 << 20
    assert pair.client.tree() == pair.server.tree()
    await job.stop()


async def test_a_paused_server_is_gone_and_comes_back_on_its_port(pair: Pair) -> None:
    server = await pair.server.serve()
    port = server.status().port
    job = await pair.client.connect(server)
    await until(lambda: bool(pair.client.passes()))
    server.pause()
    await until(lambda: job.status().state is PassState.RECONNECTING)
    assert server.status().paused
    assert not server.status().peers
    server.resume()
    await until(lambda: len(pair.client.seen(PeerConnected)) == 2)
    assert server.status().port == port
    await job.stop()


async def test_stopping_while_paused(pair: Pair) -> None:
    server = await pair.server.serve()
    job = await pair.client.connect(server)
    job.pause()
    server.pause()
    await pair.client.engine.stop(job.id)
    await pair.server.engine.stop(server.id)
    assert not pair.client.engine.snapshot().connecting
    assert not pair.server.engine.snapshot().serving


# Syncing now


async def test_a_pass_on_demand(pair: Pair) -> None:
    job = await pair.client.connect(await pair.server.serve())
    await until(lambda: bool(pair.client.passes()))
    count = len(pair.client.passes())
    job.sync_now()
    await until(lambda: len(pair.client.passes()) > count)
    await job.stop()


async def test_trying_to_connect_now(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "FIRST_RETRY", 60.0)
    server = await pair.server.serve()
    job = await pair.client.connect(server)
    await until(lambda: bool(pair.client.passes()))
    server.pause()
    await until(lambda: job.status().state is PassState.RECONNECTING)
    server.resume()
    await until(lambda: len(pair.server.seen(ServeStarted)) == 2)
    job.sync_now()
    await until(lambda: len(pair.client.seen(PeerConnected)) == 2)
    await job.stop()


# Deletes


async def held(pair: Pair) -> "connecting.ConnectJob":
    """A connection that holds back the deletes of all that was on the server."""
    for number in range(6):
        pair.server.write(f"d/{number}", "x", mtime=OLD)
    pair.server.write("kept", "x", mtime=OLD)
    job = await pair.client.connect(await pair.server.serve(), mode=Mode.BOTH)
    await until(lambda: bool(pair.client.passes()))
    for number in range(6):
        (pair.server.folder / f"d/{number}").unlink()
    (pair.server.folder / "kept").unlink()
    shutil.rmtree(pair.server.folder / "d")
    await until(lambda: bool(pair.client.passes()[-1].held))
    return job


async def test_held_deletes_are_done_once_they_are_allowed(pair: Pair) -> None:
    job = await held(pair)
    shown = frozenset(pair.client.passes()[-1].held)
    assert (pair.client.folder / "kept").exists()
    job.allow_deletes(shown)
    await until(lambda: not pair.client.tree())
    assert "kept" in pair.client.trash()
    await job.stop()


async def test_deletes_that_are_allowed_during_a_pass_are_done_in_the_next(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await held(pair)
    shown = frozenset(pair.client.passes()[-1].held)
    change = Passes._change
    allowing = [shown]

    async def allowed_meanwhile(passes: Passes, *arguments: Any) -> PassSummary:
        if allowing:
            job.allow_deletes(allowing.pop())
        return await change(passes, *arguments)

    monkeypatch.setattr(Passes, "_change", allowed_meanwhile)
    job.sync_now()
    await until(lambda: not pair.client.tree())
    assert not allowing
    await job.stop()


async def test_more_than_was_shown_is_held_again(pair: Pair) -> None:
    job = await held(pair)
    count = len(pair.client.passes())
    job.allow_deletes(frozenset(pair.client.passes()[-1].held) - {"kept"})
    await until(lambda: len(pair.client.passes()) > count)
    assert "kept" in pair.client.passes()[-1].held
    assert (pair.client.folder / "kept").exists()
    await job.stop()


# Trust


async def test_a_device_that_is_removed_here_is_left_at_once(pair: Pair) -> None:
    job = await pair.client.connect(await pair.server.serve())
    await until(lambda: bool(pair.client.passes()))
    pair.client.engine.trust.remove("server")
    with pytest.raises(TrustWithdrawn, match="server at 127"):
        await job.wait()


async def test_a_device_that_is_removed_there_is_told_and_so_is_whoever_serves(pair: Pair) -> None:
    job = await pair.client.connect(await pair.server.serve())
    await until(lambda: bool(pair.client.passes()))
    pair.server.engine.trust.remove("client")
    with pytest.raises(RefusedByPeer):
        await job.wait()
    await until(lambda: bool(pair.server.seen(PeerLeft)))
    (left,) = pair.server.seen(PeerLeft)
    assert left.reason == str(TrustWithdrawn(name="client", address=left.address))


async def test_a_changed_permission_holds_from_the_next_connection_on(pair: Pair) -> None:
    server = await pair.server.serve()
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: bool(pair.client.passes()))
    pair.server.engine.trust.change("client", permission=Permission.READ)
    await until(lambda: len(pair.server.seen(PeerConnected)) == 2)
    assert "what this device may do" in pair.client.seen(Reconnecting)[0].reason
    assert [left.reason for left in pair.server.seen(PeerLeft)] == ["what it may do was changed"]
    pair.client.write("mine", "x", mtime=OLD)
    await until(lambda: bool(pair.client.passes()[-1].problems) or bool(pair.client.passes()[-1].notes))
    assert not (pair.server.folder / "mine").exists()
    await job.stop()


async def test_a_trust_file_that_cannot_be_written_keeps_no_trusted_device_away(pair: Pair) -> None:
    for device in (pair.server, pair.client):
        lock = device.home / "trust.toml.lock"
        lock.unlink()
        lock.mkdir()
    pair.server.write("a", "content", mtime=OLD)
    await pair.client.sync(await pair.server.serve())
    assert pair.client.read("a") == b"content"


async def test_a_trust_file_that_cannot_be_used_is_told_of_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    refresh = TrustStore.refresh

    def counting(store: TrustStore) -> bool:
        nonlocal looks
        try:
            return refresh(store)
        finally:
            looks += 1

    monkeypatch.setattr(TrustStore, "refresh", counting)
    job = await pair.server.serve()
    path = pair.server.home / "trust.toml"
    sound = path.read_bytes()
    for content, told in ((b"no", 1), (b"no", 1), (b"version = 7", 2), (sound, 2), (b"version = 7", 3)):
        path.write_bytes(content)
        before = looks
        await until(lambda before=before: looks >= before + 5)  # type: ignore[misc]
        assert len(pair.server.seen(Warned)) == told
    await job.stop()


# The list of transfers


async def test_both_sides_list_what_moved(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> None:
    place = tmp_path_factory.mktemp("listing")
    config = pair.client.config()
    listing = Device("listing", place / "home", place / "folder")
    listing.folder.mkdir()
    async with Engine(
        type(config)(
            listing.home / "identity.pem", listing.home / "trust.toml", listing.home / "state", "listing", 1000
        ),
        on_event=listing.events.append,
    ) as engine:
        listing.engine = engine
        pair.server.engine.trust.add(engine.identity.fingerprint, name="listing", confirmed="test")
        engine.trust.add(pair.server.engine.identity.fingerprint, name="server", confirmed="test")
        for number in range(5):
            pair.server.write(f"{number}", f"content {number}", mtime=OLD)
        listing.write("mine", "sent", mtime=OLD)
        job = await listing.connect(await pair.server.serve(), mode=Mode.BOTH)
        await until(lambda: bool(listing.passes()))
        rows = {(row.direction, row.path): row for row in job.transfers.since(0, -1).rows}
        assert set(rows) == {(Direction.IN, str(number)) for number in range(5)} | {(Direction.OUT, "mine")}
        assert {row.state for row in rows.values()} == {TransferState.DONE}
        assert {row.peer for row in rows.values()} == {"server"}
        await job.stop()
    await until(lambda: bool(pair.server.seen(PeerLeft)))
    assert not pair.server.seen(Warned)


async def test_a_connection_that_is_lost_after_the_transfers_leaves_none_waiting(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only while content moves: both sides are looked at once more, and what was sent is not settled before."""
    monkeypatch.setattr(connecting, "FIRST_RETRY", 60.0)
    pair.client.write("mine", "x" * 5000, mtime=OLD)
    server = await pair.server.serve()
    digest, asked = Client.digest, 0

    async def breaking(client: Client, only: str) -> Digest:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise ConnectionLost(peer="server", reason="a test")
        return await digest(client, only)

    monkeypatch.setattr(Client, "digest", breaking)
    job = await pair.client.connect(server, mode=Mode.BOTH)
    log = job.transfers
    settled: list[str] = []
    settle_all = log.settle_all

    def watching(peer: str, error: str = "") -> None:
        settled.append(error)
        settle_all(peer, error)

    monkeypatch.setattr(log, "settle_all", watching)
    await until(lambda: job.status().state is PassState.RECONNECTING)
    assert settled == ["the pass was interrupted"]
    assert log.active_count == 0
    await job.stop()
