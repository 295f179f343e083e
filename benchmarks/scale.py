"""What many files cost: scans, the index exchange, passes with little to do, memory and records for each entry.

    python -m benchmarks.scale [--entries 100000 1000000] [--place DIR]

Takes about 3 minutes and 1 GB of disk for 100,000 entries, and 15 minutes and 9 GB for 1,000,000. As root it uses two
network namespaces; else loopback, and says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import ends_cleanly, keep_section
from benchmarks.devices import RUN_DEADLINE, Device
from benchmarks.live import connected, save
from benchmarks.measure import Meter
from benchmarks.processes import resident_bytes
from benchmarks.report import machine, megabytes, table
from benchmarks.shaping import Link, open_link
from benchmarks.trees import write_tiny
from leafsync import __version__

ENTRIES = (100_000, 1_000_000)

SYNCED = 200_000
"""Entries beyond which nobody wants to wait for the first sync of a benchmark: the copy is made by `cp` instead."""

SAVES = 5
"""Edits in a folder that is kept in sync."""

RACY = 2.5
"""Seconds after which a file that was written counts as settled: scans look again at younger ones."""

HEADING = "Many files"
RULES = (
    "One run. Files of a few bytes, no two alike, a hundred to a directory; files and directories are entries. Bytes "
    "on the wire are both directions with all headers. Memory is the most that the processes of a side had at one "
    "time. The second table has what is kept for each entry: of a process its memory at rest, without what it has "
    "when its folder is empty."
)
HEAD = (
    "entries",
    "what",
    "seconds",
    "MB on the wire",
    "CPU s, folder",
    "CPU s, copy",
    "memory MB, folder",
    "memory MB, copy",
)


@dataclass(frozen=True)
class Kept:
    """What is kept for each entry."""

    what: str
    resident: float
    """Bytes."""
    most: float | None = None
    """Bytes at one time meanwhile."""


@dataclass(frozen=True)
class Rest:
    """Resident bytes of both sides at rest."""

    there: int
    here: int


class Scale:
    """Measures folders of one size, all below one place."""

    def __init__(self, link: Link, place: Path, entries: int) -> None:
        """Use `place`, which is empty, and folders of about so many `entries`."""
        self.rows: list[list[str]] = []
        self.kept: list[Kept] = []
        self._entries = entries
        self._link = link
        self._place = place
        self._server = Device(place / "device-there", tuple(link.there.command()))
        self._client = Device(place / "device-here", tuple(link.here.command()))
        self._server.trust(self._client, "here")
        self._client.trust(self._server, "there")

    def run(self) -> None:
        """Measure it all."""
        there, here = self._place / "there", self._place / "here"
        there.mkdir()
        here.mkdir()
        write_tiny(there, self._entries)
        if self._entries > SYNCED:
            subprocess.run(["cp", "-a", f"{there}/.", str(here)], check=True)
        time.sleep(RACY)
        self._scans(there)
        floor = self._floor()
        rest, later = self._passes(there, here)
        self.kept += [
            Kept("`serve` at rest", (rest.there - floor.there) / self._entries),
            Kept("`connect` at rest", (rest.here - floor.here) / self._entries),
            Kept("`serve` after some saves", (later.there - floor.there) / self._entries),
            Kept("`connect` after some saves", (later.here - floor.here) / self._entries),
            Kept("records of `serve`", self._records(self._server)),
            Kept("records of `connect`", self._records(self._client)),
        ]

    def _row(self, what: str, *figures: str) -> None:
        self.rows.append(["" if self.rows else f"{self._entries:,}", what, *figures])
        print(f"{self._entries:,}", what, *figures, sep=" | ", file=sys.stderr, flush=True)

    def _scans(self, folder: Path) -> None:
        for label in ("first scan, everything hashed", "scan with known hashes, new process"):
            command = [sys.executable, "-m", "benchmarks.scanned", str(folder), str(self._place / "scanned.sqlite")]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=RUN_DEADLINE).stdout)
            self._row(label, f"{found['seconds']:.2f}", "-", f"{found['cpu']:.2f}", "-", _memory(found["peak"]), "-")
            before, entries = found["before"], found["entries"]
            self.kept.append(Kept(label, (found["after"] - before) / entries, (found["peak"] - before) / entries))

    def _floor(self) -> Rest:
        """Return what both sides have when their folders are empty."""
        for name in ("empty there", "empty here"):
            (self._place / name).mkdir()
        with self._server.serving(self._place / "empty there", host=self._link.there.address) as serving:
            return self._rest(serving["pid"], self._address(serving["port"]), self._place / "empty here")

    def _address(self, port: int) -> str:
        return f"{self._link.there.address}:{port}"

    def _rest(self, pid: int, address: str, folder: Path) -> Rest:
        with connected(self._client, address, folder) as running:
            return Rest(resident_bytes(pid), resident_bytes(running.pid))

    def _passes(self, there: Path, here: Path) -> tuple[Rest, Rest]:
        """Return what both sides have before and after the saves."""
        with self._server.serving(there, host=self._link.there.address) as serving:
            pid, address = serving["pid"], self._address(serving["port"])
            empty = self._place / "empty here"
            self._pass("scan there, and index exchange (dry run, nothing here)", pid, address, empty, "--dry-run")
            self._pass("index exchange alone", pid, address, empty, "--dry-run")
            synced = self._entries <= SYNCED
            self._pass("first sync" if synced else "first pass over equal folders", pid, address, here)
            time.sleep(RACY)
            self._pass("first pass after that, new process", pid, address, here)
            self._pass("nothing changed, new process", pid, address, here)
            (there / "note.txt").write_text("changed")
            self._pass("one file changed, new process", pid, address, here)
            with connected(self._client, address, here) as running:
                rest = Rest(resident_bytes(pid), resident_bytes(running.pid))
                times = [
                    save(one, other, number) for number in range(SAVES) for one, other in ((here, there), (there, here))
                ]
                self._row("save a file while `connect` runs, median", f"{statistics.median(times):.2f}", *["-"] * 5)
                later = Rest(resident_bytes(pid), resident_bytes(running.pid))
        return rest, later

    def _pass(self, what: str, pid: int, address: str, folder: Path, *options: str) -> None:
        command = self._client.command("connect", address, folder, "--once", "--quiet", *options)
        meter = Meter(self._link, [pid], [], RUN_DEADLINE)
        with meter:
            meter.run(command, self._client.environment)
        cost = meter.figures()
        self._row(
            what,
            f"{cost.seconds:.2f}",
            megabytes(cost.wire),
            f"{cost.cpu_there:.2f}",
            f"{cost.cpu_here:.2f}",
            _memory(cost.memory_there),
            _memory(cost.memory_here),
        )

    def _records(self, device: Device) -> float:
        """Return the bytes of the records for each entry; those of the small folders do not count."""
        return max(path.stat().st_size for path in device.home.rglob("store.sqlite")) / self._entries


def _memory(size: float) -> str:
    return f"{size / 1e6:.0f}"


def kept_rows(entries: int, kept: Iterable[Kept]) -> list[list[str]]:
    """Return the rows of what is kept for each of `entries`."""
    return [
        [
            "" if number else f"{entries:,}",
            one.what,
            f"{one.resident:.0f}",
            "-" if one.most is None else f"{one.most:.0f}",
        ]
        for number, one in enumerate(kept)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=list(ENTRIES), metavar="N")
    parser.add_argument("--place", type=Path, default=None, help="where to make the folders (default: a temporary one)")
    parser.add_argument("--results", type=Path, default=None, help="write them here (default: RESULTS.md)")
    options = parser.parse_args(arguments)
    rows: list[list[str]] = []
    kept: list[list[str]] = []
    with ends_cleanly(), open_link(None) as link:
        for entries in options.entries:
            with tempfile.TemporaryDirectory(dir=options.place, prefix="leafsync-scale-") as place:
                scale = Scale(link, Path(place), entries)
                scale.run()
            rows += scale.rows
            kept += kept_rows(entries, scale.kept)
        parts = [
            f"{machine({'LeafSync': __version__})}.",
            f"Link: {link.description}. {RULES}",
            table(HEAD, rows),
            table(("entries", "kept for each", "bytes", "bytes at most meanwhile"), kept),
        ]
    complete = set(ENTRIES) <= set(options.entries)
    keep_section(HEADING, "\n\n".join(parts), options.results, complete=complete)
    return 0


if __name__ == "__main__":
    sys.exit(main())
