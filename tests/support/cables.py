"""Two devices at the ends of a real cable between network namespaces, which reach nothing outside: for root alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from benchmarks.devices import Device
from benchmarks.namespaces import NamespacesRefusedError, namespace
from benchmarks.shaping import Cable, open_link

MARKS = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces"),
]
"""Of tests that need a cable."""


@cache
def allowed() -> bool:
    """Whether this user may make namespaces and shape links here."""
    try:
        with namespace(), open_link(None) as link:
            return isinstance(link, Cable)
    except (NamespacesRefusedError, RuntimeError, FileNotFoundError):
        return False


class WiredPair:
    """Two devices that trust each other, with a folder each."""

    def __init__(self, cable: Cable, place: Path) -> None:
        self.cable = cable
        self.server = Device(place / "server-home", tuple(cable.there.command()))
        self.client = Device(place / "client-home", tuple(cable.here.command()))
        self.there, self.here = place / "there", place / "here"
        for folder in (self.there, self.here):
            folder.mkdir()
        self.server.trust(self.client, "client")
        self.client.trust(self.server, "server")


@contextmanager
def cabled(rate_mbit: float, loss: float = 0.0) -> Iterator[Cable]:
    """Lay a cable of so many megabits per second that loses this part of the packets, or skip the test."""
    if not allowed():
        pytest.skip("no network namespaces here")
    with open_link(rate_mbit, loss) as link:
        assert isinstance(link, Cable)
        yield link
