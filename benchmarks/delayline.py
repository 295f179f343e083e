"""A link with a rate, a delay, a bounded queue, loss and dark periods, for kernels that have no netem.

    python -m benchmarks.delayline THERE HERE --rate-mbit 100 --delay 0.02 --loss 0.01

THERE and HERE are process ids in two network namespaces. Each gets a TUN device; what is sent into one comes out of the
other as late as on a real link, or not at all. SIGUSR1 begins anew, dark periods and random numbers too; SIGTERM ends.
"""

import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import signal
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

DEVICE = "line"
"""The network device in either namespace."""

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
"""From the kernel's headers."""

LARGEST_PACKET = 65_535
BATCH = 64
"""Packets that are taken from one device before the other, and what is due, has its turn."""

IDLE = 0.5
"""Seconds of sleep when nothing is on its way: signals end it."""


@dataclass(frozen=True)
class Shape:
    """What a link is like, the same in both directions."""

    rate_mbit: float = 100.0
    delay: float = 0.02
    """Seconds one way: half of a round trip."""
    loss: float = 0.0
    """The part of all packets that is lost at random."""
    queue: float = 0.05
    """Seconds a packet waits for the ones before it, at most: what would wait longer is dropped, as in a router."""
    dark_every: float = 0.0
    """Seconds from one dark period to the next; 0 is never."""
    dark_for: float = 0.0
    """Seconds of a dark period, in which everything that is sent is lost."""
    dark_first: float = 0.0
    """Seconds from the beginning to the first one."""

    def dark(self, since: float) -> bool:
        """Return whether it is dark `since` seconds after the beginning."""
        if not self.dark_every or since < self.dark_first:
            return False
        return (since - self.dark_first) % self.dark_every < self.dark_for


class Direction:
    """One direction of a link: says when a packet arrives. Time is a parameter, and the seed decides what is lost."""

    def __init__(self, shape: Shape, seed: int, now: float) -> None:
        """Begin at `now`, in seconds of any clock."""
        self._shape = shape
        self._random = random.Random(seed)
        self._began = self._free = now
        self.carried = self.lost = self.dropped = self.darkened = 0

    def offer(self, size: int, now: float) -> float | None:
        """Take a packet of `size` bytes; return when it arrives, None if it never does.

        What is lost is lost after the queue: it takes its time on the link like all others.
        """
        shape = self._shape
        if shape.dark(now - self._began):
            self.darkened += 1
            return None
        starts = max(now, self._free)
        if starts - now > shape.queue:
            self.dropped += 1
            return None
        self._free = starts + size * 8 / (shape.rate_mbit * 1e6)
        if self._random.random() < shape.loss:
            self.lost += 1
            return None
        self.carried += 1
        return self._free + shape.delay


class Forwarder:
    """Moves packets between two devices as two directions say."""

    def __init__(self, devices: Sequence[int], shape: Shape, seed: int) -> None:
        """Take the file descriptors of two TUN devices."""
        self._devices = devices
        self._shape, self._seed = shape, seed
        self._due: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self.ended = False
        self.begin()

    def begin(self) -> None:
        """Begin anew; what is on its way still arrives."""
        now = time.monotonic()
        self._directions = [Direction(self._shape, self._seed + index, now) for index in range(2)]

    def end(self) -> None:
        """Have `run` return."""
        self.ended = True

    def run(self) -> None:
        """Forward until `end`."""
        while not self.ended:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else IDLE
            for device in select.select(self._devices, [], [], min(wait, IDLE))[0]:
                self._take(self._devices.index(device))
            self._deliver()

    def _take(self, index: int) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(self._devices[index], LARGEST_PACKET)
            except BlockingIOError:
                return
            arrives = self._directions[index].offer(len(packet), time.monotonic())
            if arrives is not None:
                self._number += 1
                heapq.heappush(self._due, (arrives, self._number, self._devices[1 - index], packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _arrives, _number, device, packet = heapq.heappop(self._due)
            try:
                os.write(device, packet)
            except OSError:  # the device is down: a packet lost
                continue


def enter(holder: int) -> None:
    """Move this process to the network namespace of another one (os.setns comes with Python 3.12)."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{holder}/ns/net").open() as namespace:
        if library.setns(namespace.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def tun(holder: int) -> int:
    """Make a TUN device in a namespace; return its file descriptor. It is there as long as that is open."""
    enter(holder)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return device


def main() -> int:
    """Make the devices, say so, and forward."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("there", type=int)
    parser.add_argument("here", type=int)
    parser.add_argument("--seed", type=int, default=1)
    for field in fields(Shape):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    options = parser.parse_args()
    shape = Shape(**{field.name: getattr(options, field.name) for field in fields(Shape)})
    forwarder = Forwarder((tun(options.there), tun(options.here)), shape, options.seed)
    signal.signal(signal.SIGUSR1, lambda *_: forwarder.begin())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: forwarder.end())
    print("up", flush=True)
    forwarder.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
