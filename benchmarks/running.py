"""What only LeafSync is measured at: a pass in a running `connect`, a save, and a key pressed while files move."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.app import fresh, with_app
from benchmarks.live import connected, save
from benchmarks.peers import Pair
from benchmarks.peers.leafsync import LeafSync
from benchmarks.processes import wait_until
from benchmarks.shaping import Link
from benchmarks.trees import MIB, write_random
from benchmarks.work import BIG_MIB, FILES, FILES_A_DIRECTORY, FILES_BYTES, fill_many

PASSES = 3
"""A running `connect` does one every 30 s when nothing changes."""

SAVES = 25
"""In each direction."""

PASSES_DEADLINE = 45.0 * PASSES
"""Seconds for all passes."""


@dataclass(frozen=True)
class Latency:
    """How long something took, many times."""

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """Seconds that 95 % of them did not exceed."""
        return sorted(self.seconds)[max(0, -(-95 * len(self.seconds) // 100) - 1)]


def latencies(link: Link, place: Path, scale: float) -> list[Latency]:
    """Measure them all over `link`."""
    files = max(2 * FILES_A_DIRECTORY, round(FILES * scale))
    pair = Pair(place / "there", place / "here", place / "own")
    for folder in (pair.source, pair.copy, pair.place):
        folder.mkdir(parents=True)
    fill_many(pair.source, files, round(FILES_BYTES * files / FILES))
    peer = LeafSync(link)
    try:
        peer.prepare(pair)
        found = _running(peer, pair, files)
        write_random(pair.source / "large.bin", max(1, round(BIG_MIB * scale)) * MIB, seed=3)
        _seconds, keys = with_app(peer.client, peer.address, fresh(place / "in-app", peer.client))
    finally:
        peer.stop()
    if keys:  # of a small transfer there may be none
        found.append(Latency("key press to its frame, during a transfer at full speed", tuple(keys)))
    return found


def _running(peer: LeafSync, pair: Pair, files: int) -> list[Latency]:
    peer.client.run("connect", peer.address, pair.copy, "--once", "--quiet")
    with connected(peer.client, peer.address, pair.copy) as running:
        passes = _passes(running.events)
        there = [save(pair.copy, pair.source, number) for number in range(SAVES)]
        here = [save(pair.source, pair.copy, number) for number in range(SAVES, 2 * SAVES)]
    return [
        Latency(f"nothing changed, {files:,} files, one pass of a running `connect`", tuple(passes)),
        Latency("save a file, until it is on the other side", tuple(there + here)),
    ]


def _passes(events: Sequence[dict[str, Any]]) -> list[float]:
    """Wait for passes that find nothing, and return the seconds each took."""

    def found() -> list[float]:
        return [event["seconds"] for event in events if event["type"] == "summary" and not event["changed"]]

    wait_until(lambda: len(found()) >= PASSES, PASSES_DEADLINE, "no pass")
    return found()
