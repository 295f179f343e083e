"""Real processes over real links that lose packets or go away for a while: the folders become the same all the same.

Root alone may make such links: two network namespaces and a cable between them, which reach nothing outside.
LEAFSYNC_EXAMPLES makes the file as large as people's.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.live import connected
from benchmarks.processes import wait_until
from benchmarks.shaping import DEVICE
from benchmarks.trees import MIB, differences, write_random
from tests.support.cables import MARKS, WiredPair, cabled

FULL = "LEAFSYNC_EXAMPLES" in os.environ
"""Whether the file has its full size."""

SIZE_MIB = 256 if FULL else 12
RATE_MBIT = 200 if FULL else 50
"""Megabits per second: slow enough that the link goes away several times while the file is on its way."""

DEADLINE = 240.0 if FULL else 30.0
"""Seconds for the file to arrive: many times what the rate allows."""

UP_SECONDS, DOWN_SECONDS = (3.0, 0.5) if FULL else (0.6, 0.3)
"""How long the link stays there, and how long it is gone."""

WINDOW = 0.3
"""Seconds over which a rate is measured."""

RECOVERY_SECONDS = 5.0
"""Seconds after the link has come back until the transfer is as fast as before: a few timeouts, which have doubled."""


pytestmark = [*MARKS, pytest.mark.timeout(300 if FULL else 120)]


class Devices(WiredPair):
    """Two devices that trust each other, at the two ends of a cable; the served one has a large file."""

    def wait_until_same(self) -> None:
        """Wait until the file is here, and compare the folders."""
        wait_until((self.here / "large.bin").exists, DEADLINE, "the file did not arrive")
        assert differences(self.there, self.here) == []

    def set_link(self, state: str) -> None:
        """Take the cable away, or bring it back."""
        assert self.cable.there.namespace
        self.cable.there.namespace.run(f"ip link set {DEVICE} {state}")

    def rate(self) -> float:
        """Return the bytes a second that the server sends now."""
        before, began = self.cable.there.sent_bytes(DEVICE), time.monotonic()
        time.sleep(WINDOW)
        return (self.cable.there.sent_bytes(DEVICE) - before) / (time.monotonic() - began)


@contextmanager
def made(place: Path, loss: float = 0.0) -> Iterator[Devices]:
    with cabled(RATE_MBIT, loss) as cable:
        devices = Devices(cable, place)
        write_random(devices.there / "large.bin", SIZE_MIB * MIB, seed=1)
        yield devices


@pytest.mark.parametrize("loss", [0.01, 0.05], ids=["1 %", "5 %"])
def test_a_sync_over_a_link_that_loses_packets(tmp_path: Path, loss: float) -> None:
    with made(tmp_path, loss) as devices:
        (devices.here / "up.txt").write_text("up")
        host = devices.cable.there.address
        with devices.server.serving(devices.there, host=host) as serving:
            began = time.monotonic()
            devices.client.run("connect", f"{host}:{serving['port']}", devices.here, "--once", "--quiet")
            assert time.monotonic() - began < DEADLINE
        assert differences(devices.there, devices.here) == []
        assert (devices.there / "up.txt").read_text() == "up"


def test_a_sync_over_a_link_that_flaps(tmp_path: Path) -> None:
    """The link goes away every few moments, until the file is here."""
    done = threading.Event()
    gone = 0
    with made(tmp_path) as devices:
        host = devices.cable.there.address

        def flap() -> None:
            nonlocal gone
            while not done.wait(UP_SECONDS):
                devices.set_link("down")
                gone += 1
                done.wait(DOWN_SECONDS)
                devices.set_link("up")

        flapping = threading.Thread(target=flap)
        (devices.there / "large.bin").rename(tmp_path / "large.bin")
        with (
            devices.server.serving(devices.there, host=host) as serving,
            connected(devices.client, f"{host}:{serving['port']}", devices.here),
        ):
            flapping.start()
            try:
                (tmp_path / "large.bin").rename(devices.there / "large.bin")
                devices.wait_until_same()
            finally:
                done.set()
                flapping.join()
    assert gone >= 2, "it was to go away while the file was on its way"


def test_the_rate_recovers_when_the_link_is_back(tmp_path: Path) -> None:
    with made(tmp_path) as devices:
        host = devices.cable.there.address
        (devices.there / "large.bin").rename(tmp_path / "large.bin")
        with (
            devices.server.serving(devices.there, host=host) as serving,
            connected(devices.client, f"{host}:{serving['port']}", devices.here),
        ):
            (tmp_path / "large.bin").rename(devices.there / "large.bin")
            enough = RATE_MBIT * 1e6 / 8 / 2
            wait_until(lambda: devices.rate() > enough, DEADLINE, "the transfer did not get half of the link")
            devices.set_link("down")
            assert devices.rate() < enough / 10
            devices.set_link("up")
            wait_until(lambda: devices.rate() > enough, RECOVERY_SECONDS, "the transfer is slow")
            devices.wait_until_same()
