"""Jobs: they come back, they wait their turn, and they end without leaving anything behind."""

import asyncio
import errno
import os
import secrets
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from leafsync.engine.core.events import (
    DeviceTrusted,
    PassFinished,
    PeerConnected,
    PeerLeft,
    PeerRefused,
    Reconnecting,
    ServeStarted,
    Warned,
)
from leafsync.engine.core.messages import CloseCode
from leafsync.engine.core.options import ServeOptions
from leafsync.engine.core.status import PassState
from leafsync.engine.disk.folder import Folder
from leafsync.engine.net.limits import Limits
from leafsync.engine.sync import connecting, serving
from leafsync.engine.sync.connecting import ConnectJob
from leafsync.engine.sync.jobs import SMALLEST_WINDOW, limits_for
from leafsync.errors import PeerClosed, RefusedByPeer, TrustWithdrawn, Unreachable
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeDevice, MakeHostile
from tests.support.hostile import HostileServer, Talk, connect_to, pull_from, silence

OLD = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(connecting, "LAST_RETRY", 0.1)
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 0.02)


# Coming back


async def test_a_server_that_is_started_again(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"one"})
    job = await connect_to(client, server)
    await until(lambda: bool(client.passes()))
    port = server.port
    await server.stop()
    await until(lambda: len(client.seen(Reconnecting)) >= 2)
    assert job.status().state in (PassState.RECONNECTING, PassState.CONNECTING)
    assert job.status().peer is None
    again = HostileServer(server.folder)
    again.identity = server.identity
    await again.start(port=port)
    count = len(client.passes())
    await until(lambda: len(client.passes()) > count)
    assert len(client.seen(PeerConnected)) == 2
    await job.stop()
    await again.stop()


async def test_the_delay_grows_and_starts_anew_after_a_pass(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "SystemRandom", FixedRandom)
    server = await hostile({"a": b"x"})
    looks = 0

    async def closing(talk: Talk, request: Any) -> None:
        nonlocal looks
        looks += 1
        if looks in (4, 5):  # a pass that changed something looks twice
            await server.honest_digest(talk, request)
        else:
            talk.connection.close(CloseCode.STOPPING)

    server.digest = closing
    job = await connect_to(client, server)
    await until(lambda: len(client.seen(Reconnecting)) >= 5)
    await job.stop()
    delays = [event.delay for event in client.seen(Reconnecting)]
    assert delays[:5] == [0.02, 0.04, 0.08, 0.02, 0.04]
    assert all(event.reason for event in client.seen(Reconnecting))


class FixedRandom:
    def random(self) -> float:
        return 0.0


async def test_once_does_not_come_back(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    await server.stop()
    with pytest.raises(Unreachable):
        await pull_from(client, server)
    assert not client.seen(Reconnecting)


async def test_a_full_disk_is_tried_again(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await hostile({"a": b"one"})
    full = True
    write_at = Folder.write_at

    def refuse(folder: Folder, *arguments: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_at(folder, *arguments)

    monkeypatch.setattr(Folder, "write_at", refuse)
    job = await connect_to(client, server)
    await until(lambda: len(client.seen(Reconnecting)) >= 2)
    assert "no space" in client.seen(Reconnecting)[0].reason
    assert client.tree() == {}
    full = False
    await until(lambda: bool(client.passes()))
    assert client.read("a") == b"one"
    await job.stop()


async def test_a_refusal_is_final(pair: Pair) -> None:
    server = await pair.server.serve()
    pair.server.engine.trust.remove("client")
    job = await pair.client.connect(server)
    with pytest.raises(RefusedByPeer):
        await job.wait()
    assert not pair.client.seen(Reconnecting)
    refused = pair.server.seen(PeerRefused)
    assert [event.fingerprint for event in refused] == [pair.client.engine.identity.fingerprint]


async def test_a_device_removed_here_is_left_for_good(pair: Pair) -> None:
    """Even with --accept-first, which speaks of the first time alone."""
    pair.client.engine.trust.remove("server")
    job = await pair.client.connect(await pair.server.serve(), accept_first=True)
    await until(lambda: bool(pair.client.passes()))
    pair.client.engine.trust.remove(pair.client.seen(DeviceTrusted)[0].fingerprint)
    async with asyncio.timeout(2):
        with pytest.raises(TrustWithdrawn):
            await job.wait()
    assert len(pair.client.seen(DeviceTrusted)) == 1


async def test_a_damaged_trust_file_puts_everybody_out(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TRUST_INTERVAL", 0.02)
    monkeypatch.setattr(connecting, "TRUST_INTERVAL", 0.02)
    server = await pair.server.serve()
    job = await pair.client.connect(server)
    await until(lambda: bool(pair.client.passes()))
    (pair.server.home / "trust.toml").write_text("not = [toml")
    with pytest.raises(RefusedByPeer):
        await job.wait()
    assert pair.server.seen(Warned)


# Events


async def test_what_is_told_of_a_pass(pair: Pair) -> None:
    pair.server.write("a", "x", mtime=OLD)
    server = await pair.server.serve()
    assert [(event.folder, event.port) for event in pair.server.seen(ServeStarted)] == [
        (str(pair.server.folder), server.status().port)
    ]
    job = await pair.client.connect(server)
    await until(lambda: len(pair.client.passes()) >= 2)
    await job.stop()
    await until(lambda: bool(pair.server.seen(PeerLeft)))
    first, second = pair.client.passes()[:2]
    assert (first.changed, first.totals.files_done) == (True, 1)
    assert (second.changed, second.totals.files) == (False, 0)
    assert [type(event) for event in pair.client.events[:2]] == [PeerConnected, PassFinished]
    assert [event.reason for event in pair.server.seen(PeerLeft)] == [""], "it left as it should"
    assert {event.job for event in pair.client.events} == {job.id}


async def test_the_version_rises_with_every_change(pair: Pair) -> None:
    pair.server.write("a", "x", mtime=OLD)
    versions = [pair.client.engine.snapshot().version]
    server = await pair.server.serve()
    job = await pair.client.connect(server, once=True)
    versions.append(pair.client.engine.snapshot().version)
    await job.wait()
    versions.append(pair.client.engine.snapshot().version)
    assert all(before < after for before, after in pairwise(versions))
    assert pair.client.engine.snapshot().connecting[0].state is PassState.IN_SYNC


# Stopping


def at_once(_job: ConnectJob, _server: HostileServer) -> bool:
    return True


def in_state(state: PassState) -> Callable[[ConnectJob, HostileServer], bool]:
    return lambda job, _server: job.status().state is state


@pytest.mark.parametrize(
    ("silent", "reached"),
    [
        ("", at_once),
        ("hello", lambda _job, server: bool(server.asked)),
        ("digest", in_state(PassState.SCANNING)),
        ("list", in_state(PassState.COMPARING)),
        ("item", in_state(PassState.TRANSFERRING)),
        ("", in_state(PassState.IN_SYNC)),
    ],
    ids=["at once", "greeting", "scanning", "comparing", "transferring", "in sync"],
)
async def test_stopping(
    client: Device,
    hostile: MakeHostile,
    make_device: MakeDevice,
    silent: str,
    reached: Callable[[ConnectJob, HostileServer], bool],
) -> None:
    """The fixtures see whether a task or a descriptor stays behind."""
    server = await hostile({"a": b"x"})
    if silent:
        setattr(server, silent, silence)
    job = await connect_to(client, server)
    await until(lambda: reached(job, server))
    async with asyncio.timeout(1):
        await job.stop()
    other = await make_device("other")
    other.folder = client.folder
    await connect_to(other, server)  # the folder is free again


async def test_stopping_while_reconnecting(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    await server.stop()
    job = await connect_to(client, server)
    await until(lambda: job.status().state is PassState.RECONNECTING)
    await job.stop()
    assert job.status().state is not PassState.CONNECTING


@pytest.mark.parametrize("file", ["nope", "dir/nope", "link/in", "file/nope"])
async def test_one_path_that_is_not_there_is_served_with_a_warning(pair: Pair, file: str) -> None:
    """It may come later, and it may be mistyped."""
    pair.server.write("dir/there", "x")
    pair.server.write("file", "x")
    (pair.server.folder / "link").symlink_to("dir")
    (pair.server.folder / "dangling").symlink_to("nope")
    for there in ("", "dir", "dir/there", "file", "link", "dangling"):
        await (await pair.server.serve(file=there)).stop()
    assert not pair.server.seen(Warned)
    await (await pair.server.serve(file=file)).stop()
    (warned,) = pair.server.seen(Warned)
    assert warned.message == f"{file} is not in {pair.server.folder}: nothing is offered until it is."


async def test_stopping_a_server_at_once_frees_its_port(pair: Pair) -> None:
    job = await pair.server.serve()
    port = job.status().port
    await job.stop()
    again = await pair.server.engine.serve(ServeOptions(str(pair.server.folder), host="127.0.0.1", port=port))
    await again.stop()


async def test_stopping_a_server_tells_its_clients(pair: Pair) -> None:
    pair.server.write("a", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.connect(server)
    await until(lambda: bool(pair.client.passes()))
    await server.stop()
    await until(lambda: bool(pair.client.seen(Reconnecting)))
    assert "shutting down" in pair.client.seen(Reconnecting)[0].reason


async def test_a_disk_that_fails_while_stopping_does_not_begin_anew(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await hostile({"a": b"x", "b": b"y"})

    async def first_alone(talk: Talk, item: Any) -> None:
        if item.path == "a":
            await server.honest_item(talk, item)

    def refuse(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.item = first_alone
    monkeypatch.setattr(Folder, "write_at", refuse)
    job = await connect_to(client, server, streams=1)
    await until(lambda: job.status().totals.bytes_done == 1)
    async with asyncio.timeout(2):
        await job.stop()
    assert not client.seen(Reconnecting)


async def test_stop_twice_and_after_the_end(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    job = await connect_to(client, server, once=True)
    await job.wait()
    await job.stop()
    await job.stop()
    assert client.read("a") == b"x"


async def test_the_end_of_a_connection_ends_once(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})

    async def leave(talk: Talk, _request: object) -> None:
        talk.connection.close(CloseCode.INTERNAL)

    server.digest = leave
    with pytest.raises(PeerClosed):
        await pull_from(client, server)


# Windows of a limited rate


def test_no_limit_has_the_usual_windows() -> None:
    assert limits_for(None) == Limits()


@pytest.mark.parametrize("rate", [0.001, 1.0, 8.0, 100.0, 100_000.0])
def test_windows_hold_a_quarter_of_a_second(rate: float) -> None:
    limits, usual = limits_for(rate), Limits()
    quarter = max(SMALLEST_WINDOW, int(rate * 1e6 / 8 / 4))
    assert limits.stream_window == min(usual.stream_window, quarter)
    assert limits.connection_window == min(usual.connection_window, 2 * quarter)
    assert limits.stream_high_water <= usual.stream_high_water
    assert limits.send_high_water == min(usual.send_high_water, quarter)
