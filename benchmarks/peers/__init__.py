"""The tools that are measured beside each other: each brings a copy to be like a folder at the other end of a link."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.measure import Meter
from benchmarks.shaping import Link


@dataclass(frozen=True)
class Pair:
    """A folder, its copy, and a directory of the run's own for keys, settings, records and logs."""

    source: Path
    copy: Path
    place: Path


class Peer(Protocol):
    """One tool on one link. It is prepared for a pair, syncs it as often as asked, and is stopped."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def slack(self) -> int:
        """How coarse the times are that it keeps, in nanoseconds."""

    @property
    def link(self) -> Link:
        """What it syncs over."""

    @property
    def servers(self) -> tuple[Sequence[int], Sequence[int]]:
        """The processes that run all the time: at the folder's end, at the copy's."""

    def missing(self) -> str:
        """Return why it cannot run here; empty when it can."""

    def version(self) -> str:
        """Return which version runs here."""

    def prepare(self, pair: Pair) -> None:
        """Start what runs all the time, and let it see its folder."""

    def sync(self, meter: Meter) -> None:
        """Bring the copy to be like the folder. TimeoutError or RuntimeError when that fails."""

    def stop(self) -> None:
        """End everything; does nothing when nothing runs."""
