"""How fast bytes move through the transport: two processes over loopback, memory to memory.

    python -m benchmarks.net_throughput [MIB] [--profile]

Prints MB/s (1e6 bytes), CPU seconds of both sides, and how many datagrams a receive brought in on average. With
`--profile`, the ten functions either side spent most of its time in: cProfile costs about half the speed.
"""

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from leafsync.engine.net.endpoint import connect, listen
from leafsync.engine.net.identity import Fingerprint, Identity

if TYPE_CHECKING:
    from leafsync.engine.net.connection import Connection

MIB = 1024 * 1024
DEADLINE = 300.0


def accept_anyone(fingerprint: Fingerprint) -> None:
    """A benchmark has no trust store."""


async def serve(size: int) -> None:
    """Send `size` bytes on the first stream of the first connection, then say what that took."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()
    endpoint = await listen(
        Identity.generate(), host="127.0.0.1", port=0, authorize=accept_anyone, on_connection=arrived.put_nowait
    )
    print(endpoint.port, flush=True)
    connection = await arrived.get()
    stream = await connection.accept_stream()
    await stream.read(16)
    before = time.process_time()
    block = os.urandom(MIB)
    for _ in range(size // MIB):
        await stream.write(block)
    stream.finish()
    await connection.wait_closed()
    cpu = time.process_time() - before
    print(json.dumps({"cpu": cpu, "batch": endpoint.batching, "sent": connection.datagrams_sent}), flush=True)
    await endpoint.close()


async def fetch(port: int, size: int) -> dict[str, float]:
    """Receive `size` bytes and return what that took."""
    connection = await connect(Identity.generate(), "127.0.0.1", port, authorize=accept_anyone)
    stream = await connection.open_stream()
    cpu, wall = time.process_time(), time.perf_counter()
    await stream.write(b"go")
    for _ in range(size // MIB):
        await stream.read_exactly(MIB, deadline=DEADLINE)
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "datagrams": connection.datagrams_received,
        "batch": connection.datagrams_received / max(1, connection.batches_received),
    }
    connection.close()
    await connection.wait_closed()
    return figures


def show(name: str, profile: cProfile.Profile | None) -> None:
    """Print the ten functions that took the most time themselves."""
    if profile is not None:
        profile.disable()
        print(f"--- {name}", file=sys.stderr)
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(10)


def main() -> None:
    """Run both sides, the server in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("mib", nargs="?", type=int, default=512)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = options.mib * MIB
    profile = cProfile.Profile() if options.profile else None
    if profile is not None:
        profile.enable()
    if options.serve:
        asyncio.run(serve(size))
        show("sender", profile)
        return
    command = [sys.executable, "-m", "benchmarks.net_throughput", str(options.mib), "--serve"]
    if options.profile:
        command.append("--profile")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise SystemExit("the server has no output")
        port = int(server.stdout.readline())
        mine = asyncio.run(fetch(port, size))
        theirs = json.loads(server.stdout.readline())
    show("receiver", profile)
    speed = size / mine["wall"] / 1e6
    print(f"{speed:.1f} MB/s  ({options.mib} MiB in {mine['wall']:.2f} s)")
    print(f"receiver  cpu {mine['cpu']:.2f} s  {mine['batch']:.1f} datagrams a batch  {mine['datagrams']:.0f} received")
    print(f"sender    cpu {theirs['cpu']:.2f} s  {theirs['batch']:.1f} datagrams a batch  {theirs['sent']} sent")


if __name__ == "__main__":
    main()
