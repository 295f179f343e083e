"""LeafSync's own files in a folder that is synced: no other device sees or changes them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from leafsync.engine.core.index import IGNORED, Entry, Kind, entry_digest
from leafsync.engine.core.messages import (
    Abort,
    AbortReason,
    Change,
    ChangeKind,
    FetchItem,
    LeftOut,
    LeftOutRequest,
    RefusalKind,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.net.identity import Identity
from leafsync.engine.service import Engine
from tests.support.attacks import listed, put
from tests.support.devices import Device, Pair, introduce
from tests.support.hostile import HostileClient, root_of

OLD = 1_700_000_000
OWN = "etc/leafsync"


@pytest.fixture
async def homes(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two devices that sync a directory with their own files in it, as a home directory or ~/.config has them."""
    async with AsyncExitStack() as stack:
        devices = []
        for name in ("server", "client"):
            device = Device(name, tmp_path / name / OWN, tmp_path / name)
            device.home.mkdir(parents=True)
            device.engine = await stack.enter_async_context(Engine(device.config(), on_event=device.events.append))
            device.write("etc/other", f"of {name}", mtime=OLD)
            device.write(name, "x", mtime=OLD)
            devices.append(device)
        introduce(*devices)
        yield Pair(*devices)


def own(device: Device) -> dict[str, bytes]:
    """Return the key and whom the device trusts, which a run does not change."""
    return {path.name: path.read_bytes() for path in device.home.glob("identity.*")}


@pytest.mark.parametrize("rules", ["", "!etc/leafsync/\n!**\n"], ids=["no rules", "rules that take all back"])
@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.MIRROR, Mode.PUSH])
async def test_they_take_no_part(homes: Pair, mode: Mode, rules: str) -> None:
    for device in (homes.server, homes.client):
        device.write(".leafsyncignore", rules, mtime=OLD)
    keys = [own(homes.server), own(homes.client)]
    server = await homes.server.serve()
    for _ in range(2):
        summary = await homes.client.pull(server, mode=mode, allow_deletes=True)
        assert summary.problems == ()
    assert [own(homes.server), own(homes.client)] == keys
    receiver, giver = (homes.client, "server") if mode is not Mode.PUSH else (homes.server, "client")
    assert (receiver.folder / giver).exists()
    assert not (receiver.folder / OWN / "state" / giver).exists()
    assert not [path for device in (homes.server, homes.client) for path in device.trash() if path.startswith(OWN)]


async def test_another_device_cannot_get_at_them(homes: Pair) -> None:
    device, identity = homes.server, Identity.generate()
    device.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    job = await device.serve()
    before = own(device)
    key = (device.home / "identity.pem").read_bytes()
    async with HostileClient.connected(identity, job) as attacker:
        talk = await attacker.shown()
        etc = (await listed(attacker, talk))["etc"]
        assert (await listed(attacker, talk, "etc"))["leafsync"] == Entry("leafsync", Kind.WITHHELD, target=IGNORED)
        wanted = FetchItem(f"{OWN}/identity.pem", len(key), root_of(key), [(0, 1)])
        assert await attacker.fetch(wanted) == [Abort(AbortReason.GONE)]
        asked = [(f"{OWN}/trust.toml", False), ("ETC/LeafSync", True), ("etc/leafsync-2", True), ("etc", True)]
        assert await attacker.ask(talk, LeftOutRequest(asked)) == LeftOut([0, 1])
        written = ["trust.toml", "config.toml", "state/x"]
        changes = [
            put(f"{place}/{name}", b"mine") for place in (OWN, "ETC/LEAFSYNC", "etc/leafsync.") for name in written
        ]
        refusals = await attacker.change(talk, *changes)
        assert {refusal.kind for refusal in refusals} == {RefusalKind.IGNORED}
        assert len(refusals) == len(changes)
        renamed = Change(ChangeKind.MOVE, "elsewhere", None, entry_digest(etc), "etc")
        (refusal,) = await attacker.change(talk, renamed)
        assert refusal.path == "elsewhere"
    assert own(device) == before
    assert not (device.folder / "elsewhere").exists()
