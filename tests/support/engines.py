"""Two real engines in one process, talking over loopback, and peers that break the protocol."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from leafsync.engine.service import Engine
from tests.support.devices import Device, Pair, introduce, until
from tests.support.hostile import FakeFolder, HostileServer, trust

MakeDevice = Callable[[str], Awaitable[Device]]
MakeHostile = Callable[[Mapping[str, bytes]], Awaitable[HostileServer]]


@pytest.fixture(autouse=True)
def _no_leaked_descriptors() -> Iterator[None]:
    """Every test closes what it opened, however it ended."""
    before = _descriptors()
    yield
    assert _descriptors() <= before


@pytest.fixture(autouse=True)
async def _no_leaked_tasks(_no_leaked_descriptors: None) -> AsyncIterator[None]:
    yield
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, deadline=2)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))  # noqa: PTH110, PTH208


@pytest.fixture
async def make_device(tmp_path: Path) -> AsyncIterator[MakeDevice]:
    async with AsyncExitStack() as stack:

        async def make(name: str) -> Device:
            device = Device(name, tmp_path / f"{name}-home", tmp_path / name)
            device.folder.mkdir()
            device.engine = await stack.enter_async_context(Engine(device.config(), on_event=device.events.append))
            return device

        yield make


@pytest.fixture
async def pair(make_device: MakeDevice) -> Pair:
    server, client = await make_device("server"), await make_device("client")
    introduce(server, client)
    return Pair(server, client)


@pytest.fixture
async def client(make_device: MakeDevice) -> Device:
    return await make_device("client")


@pytest.fixture
async def hostile(client: Device) -> AsyncIterator[MakeHostile]:
    """Make a hostile server that the client trusts."""
    async with AsyncExitStack() as stack:

        async def make(contents: Mapping[str, bytes]) -> HostileServer:
            server = HostileServer(FakeFolder.of(contents))
            await server.start()
            stack.push_async_callback(server.stop)
            trust(client, server)
            return server

        yield make
