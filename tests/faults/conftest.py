"""Fixtures of the fault cases: real engines in one process, and peers that break the protocol."""

from tests.support.engines import (
    _no_leaked_descriptors,
    _no_leaked_tasks,
    client,
    hostile,
    make_device,
    pair,
)
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
