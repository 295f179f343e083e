"""LeafSync beside rsync on the same folders in the same run: wall time, medians, ratios.

    python -m benchmarks.compare [--runs 3] [--big-mib 1024] [--place DIRECTORY]

Every run is a new process into an empty (or the prepared) copy over loopback, and every copy is checked with
`rsync -rnc --delete` in both directions. LeafSync's server has hashed the folder before the first measured run, as a
running server has; rsync has nothing to remember.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rsync
from benchmarks.devices import Device
from benchmarks.trees import MIB, copy_standard_library, write_random


@dataclass(frozen=True)
class Row:
    """One measured work."""

    work: str
    peer: str
    seconds: float
    """Median."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--big-mib", type=int, default=1024)
    parser.add_argument("--place", type=Path, default=None, help="where to make the folders (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        rows = measure(Path(place), arguments.runs, arguments.big_mib)
    print_table(rows)
    return 0


def measure(place: Path, runs: int, big_mib: int) -> list[Row]:
    """Measure every work with every peer."""
    big, small = place / "big", place / "small"
    big.mkdir()
    small.mkdir()
    write_random(big / "file", big_mib * MIB, seed=7)
    files = copy_standard_library(small)
    rows: list[Row] = []
    for label, folder in ((f"one file of {big_mib} MiB", big), (f"{files} files, standard library", small)):
        with ExitStack() as stack:
            work = place / f"work-{folder.name}"
            work.mkdir()
            peers: dict[str, list[str] | None] = {
                "rsync over ssh": stack.enter_context(rsync.over_ssh(folder, work)),
                "rsync daemon": stack.enter_context(rsync.daemon(folder, work)),
            }
            for peer, command in peers.items():
                if command is not None:
                    rows += _measure_peer(label, peer, folder, work, runs, _runner(command))
            rows += _measure_peer(label, "leafsync", folder, work, runs, _leafsync(stack, folder, place))
    return rows


def _runner(command: list[str]) -> Callable[[Path], None]:
    def run(copy: Path) -> None:
        subprocess.run([*command, f"{copy}/"], check=True)

    return run


def _leafsync(stack: ExitStack, folder: Path, place: Path) -> Callable[[Path], None]:
    server, client = Device(place / f"{folder.name}-server"), Device(place / f"{folder.name}-client")
    server.trust(client, "client")
    client.trust(server, "server")
    serving = stack.enter_context(server.serving(folder))
    address = f"127.0.0.1:{serving['port']}"
    first = place / f"{folder.name}-first"
    first.mkdir()
    client.run("connect", address, first, "--once", "--quiet", "--file", "there is no such file")
    print(f"{folder.name}: server process {serving['pid']}, port {serving['port']}", file=sys.stderr)

    def run(copy: Path) -> None:
        client.run("connect", address, copy, "--once", "--quiet")

    return run


def _measure_peer(label: str, peer: str, folder: Path, work: Path, runs: int, run: Callable[[Path], None]) -> list[Row]:
    first: list[float] = []
    again: list[float] = []
    for number in range(runs):
        copy = work / f"{peer.replace(' ', '-')}-{number}"
        copy.mkdir()
        first.append(_timed(run, copy))
        again.append(_timed(run, copy))
        _check(folder, copy)
        shutil.rmtree(copy)
    return [
        Row(label, peer, statistics.median(first)),
        Row(f"{label}, nothing changed", peer, statistics.median(again)),
    ]


def _timed(run: Callable[[Path], None], copy: Path) -> float:
    started = time.perf_counter()
    run(copy)
    return time.perf_counter() - started


def _check(folder: Path, copy: Path) -> None:
    """Raise unless rsync finds no difference, in either direction."""
    for source, target in ((folder, copy), (copy, folder)):
        command = ["rsync", "-rnci", "--delete", "--exclude=/.leafsync_t*", f"{source}/", f"{target}/"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        different = [line for line in found.splitlines() if not line.startswith(".d..t")]
        if different:
            raise RuntimeError(f"{source} and {target} differ: {different[:5]}")


def print_table(rows: list[Row]) -> None:
    """Print the rows with the ratio to rsync over ssh, or to its daemon where there is no ssh."""
    by_work: dict[str, dict[str, float]] = {}
    for row in rows:
        by_work.setdefault(row.work, {})[row.peer] = row.seconds
    print("| work | peer | seconds (median) | ratio to rsync over ssh | ratio to rsync daemon |")
    print("|---|---|---|---|---|")
    for work, peers in by_work.items():
        for peer, seconds in peers.items():
            ratios = [
                f"{seconds / peers[other]:.2f}" if other in peers else "-"
                for other in ("rsync over ssh", "rsync daemon")
            ]
            print(f"| {work} | {peer} | {seconds:.2f} | {ratios[0]} | {ratios[1]} |")


if __name__ == "__main__":
    sys.exit(main())
