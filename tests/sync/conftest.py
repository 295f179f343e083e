"""Fixtures of these tests: real engines in one process, and peers that break the protocol."""

from tests.support.engines import (
    MakeDevice,
    MakeHostile,
    _no_leaked_descriptors,
    _no_leaked_tasks,
    client,
    hostile,
    make_device,
    pair,
)

__all__ = [
    "MakeDevice",
    "MakeHostile",
    "_no_leaked_descriptors",
    "_no_leaked_tasks",
    "client",
    "hostile",
    "make_device",
    "pair",
]
