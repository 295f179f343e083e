"""Folders that change under a pass, and a bug in it; disks that fail are in tests/faults/test_this_device.py."""

import contextlib
from typing import Any

import pytest

from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.hashing import Hasher
from leafsync.errors import FolderMissing, PeerClosed
from tests.support.devices import Device, Pair
from tests.support.engines import MakeHostile
from tests.support.hostile import pull_from


async def test_a_file_that_vanishes_before_it_is_replaced(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"new", "b": b"new"})
    client.write("a", "the old one")

    async def vanishing(talk: Any, item: Any) -> None:
        (client.folder / "a").unlink(missing_ok=True)
        await server.honest_item(talk, item)

    server.item = vanishing
    summary = await pull_from(client, server, mirror=True)
    assert [path for path, _reason in summary.problems] == ["a"]
    assert set(client.tree()) == {"b"}
    server.item = server.honest_item
    await pull_from(client, server, mirror=True)
    assert client.read("a") == b"new"


async def test_the_root_vanishes_while_pulling(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"new"})
    moved = client.home / "moved"

    async def vanishing(talk: Any, request: Any) -> None:
        client.folder.rename(moved)
        await server.honest_digest(talk, request)

    server.digest = vanishing
    with contextlib.suppress(FolderMissing):
        await pull_from(client, server, mirror=True)
        # The scan was faster: the held directory is written to, whatever it is called now.
        assert (moved / "a").read_bytes() == b"new"
    assert not client.folder.exists()


async def test_a_server_whose_hashing_fails_keeps_serving(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one session is logged and ends that session alone."""
    pair.server.write("a", "x")
    server = await pair.server.serve()
    broken = True
    original = Hasher.hash_many

    def failing(hasher: Hasher, folder: Folder, *arguments: Any, **options: Any) -> Any:
        if broken and folder.path == str(pair.server.folder):
            raise ZeroDivisionError
        return original(hasher, folder, *arguments, **options)

    monkeypatch.setattr(Hasher, "hash_many", failing)
    with pytest.raises(PeerClosed):
        await pair.client.pull(server)
    broken = False
    await pair.client.pull(server)
    assert pair.client.tree() == pair.server.tree()
