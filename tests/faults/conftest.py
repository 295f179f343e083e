"""Fixtures of the fault cases: real engines in one process, and peers that break the protocol."""

from tests.support.engines import (
    _no_leaked_descriptors,
    _no_leaked_tasks,
    client,
    hostile,
    make_device,
    pair,
)

__all__ = [
    "_no_leaked_descriptors",
    "_no_leaked_tasks",
    "client",
    "hostile",
    "make_device",
    "pair",
]
