"""A sync over real links that carry less than Ethernet: refused by the kernel, swallowed on the way, shrunk at work.

Root alone may make such links: two network namespaces and a cable between them, which reach nothing outside.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.live import connected
from benchmarks.processes import wait_until
from benchmarks.shaping import DEVICE
from benchmarks.trees import MIB, differences, write_random
from tests.support.cables import MARKS, WiredPair, cabled

SMALL_MTU = 1280
"""The least that IPv6 allows a link to carry."""

RATE_MBIT = 200
"""Slow enough that a transfer is under way when the link shrinks."""

DEADLINE = 25.0
"""Seconds for a file to arrive, many times what it takes: a connection that hangs would be given up only after 30."""


pytestmark = [*MARKS, pytest.mark.timeout(120)]


class Devices(WiredPair):
    """Two devices that trust each other, at the two ends of a cable."""

    def narrow(self, *, there: bool = True, here: bool = True) -> None:
        """Have the devices of one end or both carry less; what is too large for the other end is dropped silently."""
        for end, narrowed in ((self.cable.there, there), (self.cable.here, here)):
            if narrowed and end.namespace:
                end.namespace.run(f"ip link set {DEVICE} mtu {SMALL_MTU}")

    def arrives(self, name: str, size_mib: int, *, up: bool) -> None:
        """Write a file in one folder and wait until the other has it."""
        source, target = (self.here, self.there) if up else (self.there, self.here)
        write_random(source / name, size_mib * MIB, seed=size_mib)
        self.arrived(source / name, target / name)

    def arrived(self, source: Path, target: Path) -> None:
        """Wait until a file is on the other side."""
        wait_until(target.exists, DEADLINE, f"{target} did not arrive")
        assert target.read_bytes() == source.read_bytes()


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    with cabled(RATE_MBIT) as cable:
        for end in (cable.there, cable.here):
            # Each packet by itself: large sends are cut up before they get to the other end, as by a real device.
            assert end.namespace is not None
            end.namespace.run(f"ip link set {DEVICE} gso_max_segs 1")
        yield Devices(cable, tmp_path)


@pytest.mark.parametrize("here", [True, False], ids=["both ends know", "one end knows"])
def test_a_sync_over_the_least_mtu(devices: Devices, here: bool) -> None:
    devices.narrow(here=here)
    write_random(devices.there / "down.bin", 4 * MIB, seed=1)
    write_random(devices.here / "up.bin", 4 * MIB, seed=2)
    host = devices.cable.there.address
    with devices.server.serving(devices.there, host=host) as serving:
        devices.client.run("connect", f"{host}:{serving['port']}", devices.here, "--once", "--quiet")
    assert differences(devices.there, devices.here) == []
    assert len(list(devices.here.glob("*.bin"))) == 2


@pytest.mark.parametrize(
    ("there", "here", "up"),
    [(True, True, True), (True, False, True), (False, True, False)],
    ids=["known", "swallowed up", "swallowed down"],
)
def test_a_link_that_shrinks_under_a_running_sync(devices: Devices, there: bool, here: bool, up: bool) -> None:
    host = devices.cable.there.address
    (devices.there / "first.txt").write_text("first")
    with (
        devices.server.serving(devices.there, host=host) as serving,
        connected(devices.client, f"{host}:{serving['port']}", devices.here),
    ):
        devices.arrives("before.bin", 2, up=up)
        before = devices.cable.wire_bytes()
        source, target = (devices.here, devices.there) if up else (devices.there, devices.here)
        write_random(source / "during.bin", 16 * MIB, seed=3)
        wait_until(lambda: devices.cable.wire_bytes() > before + 4 * MIB, DEADLINE, "no transfer")
        assert not (target / "during.bin").exists(), "the transfer is to be under way"
        devices.narrow(there=there, here=here)
        devices.arrived(source / "during.bin", target / "during.bin")
        devices.arrives("after.bin", 2, up=not up)
