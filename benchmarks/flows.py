"""One end of a flow that carries nothing but bytes: what `fairness` runs at both ends of a link.

    python -m benchmarks.flows send leafsync ADDRESS PORT
    python -m benchmarks.flows receive leafsync ADDRESS PORT --warm-up 10 --seconds 20

The sender says "up" when it listens and sends until the receiver goes. The receiver prints the bytes a second that
came after the warm-up, as JSON. A kind that is not leafsync is a congestion control of this kernel's TCP.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from leafsync.engine.net.endpoint import connect, listen
from leafsync.engine.net.identity import Fingerprint, Identity
from leafsync.errors import LeafSyncError

if TYPE_CHECKING:
    from leafsync.engine.net.connection import Connection

LEAFSYNC = "leafsync"
BLOCK = 256 << 10
DEADLINE = 30.0
"""Seconds for anything to happen: no flow is starved for so long."""


class Count:
    """Bytes that came between the end of the warm-up and the end."""

    def __init__(self, warm_up: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now."""
        self._clock = clock
        self._begin = clock() + warm_up
        self._end = self._begin + seconds
        self._seconds = seconds
        self._bytes = 0

    def add(self, size: int) -> bool:
        """Count what has come; return whether there is more to wait for."""
        now = self._clock()
        if self._begin <= now < self._end:
            self._bytes += size
        return now < self._end

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self._bytes / self._seconds


def accept_anyone(fingerprint: Fingerprint) -> None:
    """A flow has no trust store."""


def say_up() -> None:
    """Tell who has started this process that it listens."""
    print("up", flush=True)


async def send(address: str, port: int, listening: Callable[[], None] = say_up) -> None:
    """Send to the first who connects, until it goes."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()
    endpoint = await listen(
        Identity.generate(), host=address, port=port, authorize=accept_anyone, on_connection=arrived.put_nowait
    )
    listening()
    connection = await asyncio.wait_for(arrived.get(), DEADLINE)
    stream = await connection.accept_stream()
    with suppress(LeafSyncError):
        while True:
            await stream.write(bytes(BLOCK))
    await endpoint.close()


async def receive(address: str, port: int, count: Count) -> None:
    """Read until the count is over."""
    connection = await connect(Identity.generate(), address, port, authorize=accept_anyone)
    stream = await connection.open_stream()
    await stream.write(b"go")
    while count.add(len(await stream.read(BLOCK, deadline=DEADLINE))):
        pass
    connection.close()
    await connection.wait_closed()


def tcp_send(address: str, port: int, algorithm: str, listening: Callable[[], None] = say_up) -> None:
    """The same over TCP."""
    with socket.create_server((address, port)) as listener:
        listener.settimeout(DEADLINE)
        listening()
        connection, _ = listener.accept()
    with connection, suppress(ConnectionError):
        connection.settimeout(DEADLINE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
        while True:
            connection.sendall(bytes(BLOCK))


def tcp_receive(address: str, port: int, count: Count) -> None:
    """The same over TCP."""
    with socket.create_connection((address, port), DEADLINE) as connection:
        while count.add(len(connection.recv(BLOCK))):
            pass


def main() -> int:
    """Be one end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("role", choices=("send", "receive"))
    parser.add_argument("kind")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--warm-up", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    if options.role == "send":
        if options.kind == LEAFSYNC:
            asyncio.run(send(options.address, options.port))
        else:
            tcp_send(options.address, options.port, options.kind)
        return 0
    count = Count(options.warm_up, options.seconds)
    if options.kind == LEAFSYNC:
        asyncio.run(receive(options.address, options.port, count))
    else:
        tcp_receive(options.address, options.port, count)
    print(json.dumps({"rate": count.rate}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
