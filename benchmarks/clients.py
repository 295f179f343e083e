"""Several devices at once: how fast all of them together pull from one `serve`, how fairly, and how soon a save shows.

    python -m benchmarks.clients [--clients 1 4 16] [--mib 1024] [--runs 3]

Processes over loopback, all on this machine: its cores are shared by everybody. Takes about 5 minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.command import ends_cleanly, keep_section
from benchmarks.devices import Device
from benchmarks.live import save
from benchmarks.measure import Figures, Meter
from benchmarks.namespaces import End
from benchmarks.report import ENOUGH_RUNS, machine, table
from benchmarks.shaping import Loopback
from benchmarks.trees import MIB, write_random
from leafsync import __version__

CLIENTS = (1, 4, 16)

TOTAL_MIB = 1024
"""What all clients of a run pull together: long enough at any number of them for starts and ends not to count."""

DEADLINE = 300.0
"""Seconds for one run."""

LARGE, SMALL = "large.bin", "note.txt"
"""What all clients pull, and what one more keeps in sync meanwhile."""

HEADING = "Several devices at once"
RULES = (
    "All clients run and are in sync when a file of random bytes appears in the served folder; the clock stops when "
    "the last one has it. Fairness is Jain's index (RFC 5166) of the rates at which each got it: 1 is all alike; one "
    "after the other would be 0.76 for 4 and 0.45 for 16. Saves go into a small file that another client keeps in sync "
    "meanwhile (`--file`). Medians of the runs, of the saves over all of them. Memory is the most that the server had."
)
HEAD = (
    "clients",
    "MB each",
    "MB/s together",
    "fairness",
    "CPU s, server",
    "memory MB, server",
    "save to client, median ms",
    "most ms",
)


def fairness(shares: Sequence[float]) -> float:
    """Return Jain's index of the shares: from 1/n, when one has everything, to 1, when all have the same."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


@dataclass(frozen=True)
class Run:
    """What one run gave."""

    rate: float
    """Bytes a second, of all clients together."""
    fairness: float
    cost: Figures
    saves: tuple[float, ...]
    """Seconds."""


@dataclass
class Client:
    """A running `connect` and what it tells of the large file."""

    folder: Path
    process: "subprocess.Popen[str]"
    ready: threading.Event = field(default_factory=threading.Event)
    """Set when it is in sync for the first time."""
    done: float = 0.0
    """When it had the file, by the monotonic clock."""

    def follow(self) -> None:
        """Take in its events until it ends."""
        for line in self.process.stdout or ():
            event: dict[str, Any] = json.loads(line)
            if event["type"] == "summary":
                if LARGE in event["fetched_paths"]:
                    self.done = time.perf_counter()
                self.ready.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS), metavar="N")
    parser.add_argument("--mib", type=int, default=TOTAL_MIB, help="of all clients together (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=ENOUGH_RUNS, help="default: %(default)s")
    parser.add_argument("--place", type=Path, default=None, help="where to make the folders (default: a temporary one)")
    parser.add_argument("--results", type=Path, default=None, help="write them here (default: RESULTS.md)")
    options = parser.parse_args(arguments)
    rows = []
    with ends_cleanly():
        for count in options.clients:
            runs = []
            size = max(1, options.mib // count) * MIB
            for _run in range(options.runs):
                with tempfile.TemporaryDirectory(dir=options.place, prefix="leafsync-clients-") as place:
                    runs.append(measure(Path(place), count, size))
            rows.append(row(count, size, runs))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    body = f"{machine({'LeafSync': __version__})}.\n\nLink: loopback. {RULES}\n\n{table(HEAD, rows)}"
    complete = options.runs >= ENOUGH_RUNS and options.mib == TOTAL_MIB and set(CLIENTS) <= set(options.clients)
    keep_section(HEADING, body, options.results, complete=complete)
    return 0


def row(count: int, size: int, runs: Sequence[Run]) -> list[str]:
    """Return the line of a number of clients."""
    saves = sorted(seconds for run in runs for seconds in run.saves)
    return [
        str(count),
        f"{size / 1e6:.0f}",
        f"{statistics.median(run.rate for run in runs) / 1e6:.0f}",
        f"{statistics.median(run.fairness for run in runs):.3f}",
        f"{statistics.median(run.cost.cpu_there for run in runs):.1f}",
        f"{statistics.median(run.cost.memory_there for run in runs) / 1e6:.0f}",
        f"{1000 * statistics.median(saves):.0f}" if saves else "-",
        f"{1000 * saves[-1]:.0f}" if saves else "-",
    ]


def measure(place: Path, count: int, size: int) -> Run:
    """Have `count` clients pull a file of `size` bytes at once."""
    there = place / "there"
    there.mkdir()
    write_random(place / LARGE, size, seed=1)
    server = Device(place / "server")
    with ExitStack() as stack:
        (there / SMALL).write_text("at first")
        serving = stack.enter_context(server.serving(there))
        address = f"127.0.0.1:{serving['port']}"
        clients = [
            stack.enter_context(pulling(place, f"client {number}", server, address, LARGE)) for number in range(count)
        ]
        reader = stack.enter_context(pulling(place, "reader", server, address, SMALL))
        for one in (*clients, reader):
            if not one.ready.wait(DEADLINE):
                raise TimeoutError("a client is not in sync")
        end = End("127.0.0.1")
        meter = Meter(Loopback(end, end, "loopback"), [serving["pid"]], [], DEADLINE)
        with meter:
            started = time.perf_counter()
            (place / LARGE).rename(there / LARGE)
            saves = _saves(there, reader.folder, clients, meter)
        cost = meter.figures()
    times = [one.done - started for one in clients]
    return Run(count * size / max(times), fairness([size / seconds for seconds in times]), cost, tuple(saves))


def _saves(there: Path, here: Path, clients: Sequence[Client], meter: Meter) -> list[float]:
    """Save the small file again and again until all clients are done; return how long each save took to show."""
    saves: list[float] = []
    while not all(client.done for client in clients):
        meter.check()
        seconds = save(there, here, len(saves))
        if not all(client.done for client in clients):
            saves.append(seconds)
    return saves


@contextmanager
def pulling(place: Path, name: str, server: Device, address: str, file: str) -> Iterator[Client]:
    """Run a client that keeps one file in sync, in a folder of its own."""
    device, folder = Device(place / f"{name} home"), place / name
    folder.mkdir()
    server.trust(device, name)
    device.trust(server, "server")
    command = device.command("connect", address, folder, "--pull", "--json", "--no-tui", "--file", file)
    with subprocess.Popen(command, env=device.environment, stdout=subprocess.PIPE, text=True) as process:
        client = Client(folder, process)
        follower = threading.Thread(target=client.follow, daemon=True)
        follower.start()
        try:
            yield client
        finally:
            process.terminate()
            process.wait(DEADLINE)
            follower.join()


if __name__ == "__main__":
    sys.exit(main())
