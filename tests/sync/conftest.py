"""Two real engines in one process, talking over loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from leafsync.engine.service import Engine
from tests.support.devices import Device, Pair, introduce

MakeDevice = Callable[[str], Awaitable[Device]]


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
