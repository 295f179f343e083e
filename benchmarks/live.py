"""How long an edit takes to show on the other side while `connect` runs, and what a moved directory costs.

    python -m benchmarks.live [--saves 50] [--files 5000]

Two processes over loopback. A save counts as there when the other side's file has the new content; the clock is read
every millisecond.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.devices import Device, summary_of

DEADLINE = 30.0
"""Seconds for one edit to show, before the measurement is given up."""

PAUSE = 0.15
"""Seconds between two saves, so that one does not ride on the pass of the one before."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--files", type=int, default=5000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), arguments.saves, arguments.files)
    return 0


def measure(place: Path, saves: int, files: int) -> None:
    """Do both measurements in one pair of folders."""
    server, client = Device(place / "server-home"), Device(place / "client-home")
    server.trust(client, "client")
    client.trust(server, "server")
    here, there = place / "here", place / "there"
    (there / "album").mkdir(parents=True)
    here.mkdir()
    for number in range(files):
        (there / "album" / f"{number}.txt").write_text(f"file {number} " * 30)
    with server.serving(there) as serving:
        address = f"127.0.0.1:{serving['port']}"
        client.run("connect", address, here, "--once", "--quiet")
        with connected(client, address, here):
            for label, source, target in (("client to server", here, there), ("server to client", there, here)):
                times = [save(source, target, number) for number in range(saves)]
                print(
                    f"save, {label}: median {1000 * statistics.median(times):.0f} ms, "
                    f"95 % {1000 * sorted(times)[int(0.95 * len(times))]:.0f} ms, most {1000 * max(times):.0f} ms"
                )
        (there / "album").rename(there / "moved")
        started = time.perf_counter()
        summary = summary_of(client.run("connect", address, here, "--once", "--json").stdout)
        print_move(f"{files} files moved there", summary, time.perf_counter() - started)
        (here / "moved").rename(here / "moved again")
        started = time.perf_counter()
        summary = summary_of(client.run("connect", address, here, "--once", "--json").stdout)
        print_move(f"{files} files moved here", summary, time.perf_counter() - started)


class Connected(NamedTuple):
    """A running `connect`."""

    pid: int
    events: list[dict[str, Any]]
    """Those since its first pass, as they come."""


@contextmanager
def connected(client: Device, address: str, folder: Path) -> Iterator[Connected]:
    """Keep `folder` in sync meanwhile; begins after the first pass."""
    command = client.command("connect", address, folder, "--json", "--no-tui")
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE, text=True) as process:
        lines = process.stdout or iter(())
        events: list[dict[str, Any]] = []
        try:
            next(line for line in lines if json.loads(line)["type"] == "summary")
            threading.Thread(target=lambda: events.extend(map(json.loads, lines)), daemon=True).start()
            yield Connected(process.pid, events)
        finally:
            process.terminate()
            process.wait(DEADLINE)


def save(source: Path, target: Path, number: int) -> float:
    """Save a small file in one folder; return the seconds until the other has it."""
    time.sleep(PAUSE)
    content = f"edit {number} of {source.name}"
    started = time.perf_counter()
    (source / "note.txt").write_text(content)
    wait_until(lambda: (target / "note.txt").exists() and (target / "note.txt").read_text() == content)
    return time.perf_counter() - started


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll every millisecond."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the edit did not arrive")
        time.sleep(0.001)


def print_move(label: str, summary: dict[str, Any], seconds: float) -> None:
    """Print what a move cost."""
    wire = summary["wire_in"] + summary["wire_out"]
    print(f"{label}: {seconds:.2f} s for the process, {summary['seconds']:.2f} s for the pass, {wire / 1e6:.3f} MB")


if __name__ == "__main__":
    sys.exit(main())
