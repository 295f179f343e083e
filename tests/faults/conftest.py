"""Fixtures of the fault cases: real engines in one process, and peers that break the protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, Pair
from tests.support.engines import (
    _no_leaked_descriptors,
    _no_leaked_tasks,
    client,
    hostile,
    make_device,
    pair,
)
from tests.support.faults import Faults, agreed, in_use
from tests.support.names import Attacked, attack, nothing_outside
from tests.support.races import instants, no_flushes, scene

__all__ = [
    "_no_leaked_descriptors",
    "_no_leaked_tasks",
    "client",
    "hostile",
    "instants",
    "make_device",
    "no_flushes",
    "pair",
    "scene",
]


@pytest.fixture
def bystanders(tmp_path: Path) -> Iterator[None]:
    """Nothing outside of the folders and homes is written to."""
    with nothing_outside(tmp_path):
        yield


@pytest.fixture
async def attacked(bystanders: None, pair: Pair) -> Attacked:
    """A serving device with a hostile client that it trusts."""
    return await attack(pair)


@pytest.fixture
async def faults(monkeypatch: pytest.MonkeyPatch, client: Device) -> Faults:
    """Lets the disk of the client fail."""
    return Faults(monkeypatch, await in_use(client))


@pytest.fixture
async def mirrored(pair: Pair) -> Pair:
    """Two devices that have agreed on a folder."""
    return await agreed(pair)
