"""The figures above the list of transfers: sums over all jobs, how fast they move, what needs a decision. Pure."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from leafsync.bridge import Direction, PassSummary, Snapshot
from leafsync.progress import Meter, format_bytes, format_count, format_eta, format_rate, percent
from leafsync.widgets.transfer_rows import JobRows

SAMPLE = 0.5
"""Seconds of a sample of the throughput: what a person can follow."""

SAMPLES = 120
"""Samples that are kept: a minute, a cell each on a wide screen."""


class Sums(msgspec.Struct, frozen=True):
    """Over all jobs that run, what their passes, or the devices they serve, move."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0


def sums(snapshot: Snapshot, jobs: Iterable[JobRows]) -> Sums:
    """Add up: a job that connects knows its plan, one that serves only what it was asked for so far."""
    serving = {job.id for job in snapshot.serving}
    asked = [job for job in jobs if job.standing.id in serving]
    totals = [job.totals for job in snapshot.connecting]
    return Sums(
        sum(one.files for one in totals) + sum(len(job.rows) for job in asked),
        sum(one.files_done for one in totals) + sum(job.done for job in asked),
        sum(one.bytes for one in totals) + sum(job.bytes for job in asked),
        sum(one.bytes_done for one in totals) + sum(job.bytes_done for job in asked),
    )


_Key = tuple[Direction, int, str]
"""A way, a job and the address of its peer."""


class Throughput:
    """How fast bytes move on the wire, each way and over time, and when all of them will be there."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self.samples: deque[float] = deque([0.0] * SAMPLES, maxlen=SAMPLES)
        """Bytes per second in each `SAMPLE` seconds, both ways together, the latest last."""
        self.eta: float | None = None
        """Seconds until all is done."""
        self._wire: dict[_Key, int] = {}
        self._meters: dict[_Key, Meter] = {}
        self._done = Meter()
        self._at: float | None = None

    def observe(self, snapshot: Snapshot, total: Sums, now: float) -> None:
        """Take a sample, `SAMPLE` seconds or more after the last one. Connections that are gone are forgotten."""
        wire = dict(_wire(snapshot))
        if self._at is not None:
            moved = sum(max(0, count - self._wire.get(key, count)) for key, count in wire.items())
            missed = min(SAMPLES, int((now - self._at) / SAMPLE))
            self.samples.extend([moved / (now - self._at)] * max(1, missed))
        self._wire, self._at = wire, now
        self._meters = {key: self._meters.get(key) or Meter() for key in wire}
        for key, count in wire.items():
            self._meters[key].add(now, count)
        self._done.add(now, total.bytes_done)
        self.eta = self._done.eta(total.bytes - total.bytes_done)

    def rate(self, direction: Direction) -> float:
        """Return how many bytes per second go over the wire in a direction."""
        return sum(meter.rate or 0.0 for (way, *_peer), meter in self._meters.items() if way is direction)


def _wire(snapshot: Snapshot) -> Iterator[tuple[_Key, int]]:
    """Return how many bytes each connection moved each way."""
    peers = [(job.id, peer) for job in snapshot.serving for peer in job.peers]
    peers += [(job.id, job.peer) for job in snapshot.connecting if job.peer is not None]
    for job_id, peer in peers:
        yield (Direction.IN, job_id, peer.address), peer.wire_in
        yield (Direction.OUT, job_id, peer.address), peer.wire_out


def figures(total: Sums, throughput: Throughput, width: int) -> str:
    """Return as many figures as fit, the most important first; of the files only if there are any."""
    said = [f"↓ {format_rate(throughput.rate(Direction.IN))}", f"↑ {format_rate(throughput.rate(Direction.OUT))}"]
    if total.files:
        said.append(f"{percent(total.bytes_done, total.bytes)} %" if total.bytes else "")
        known = throughput.eta is not None and total.bytes_done < total.bytes
        said.append(f"{format_eta(throughput.eta)} left" if known else "")
        said.append(f"{total.files_done:,} of {format_count(total.files, 'file')}")
        said.append(f"{format_bytes(total.bytes_done)} of {format_bytes(total.bytes)}")
    said = [figure for figure in said if figure]
    while len(said) > 1 and len("   ".join(said)) > width:
        said.pop()
    return "   ".join(said)


def attention(
    snapshot: Snapshot, summaries: Mapping[int, PassSummary], conflict_copies: Mapping[int, Collection[str]]
) -> str:
    """Return what went wrong or waits for a decision, "" for nothing; conflict copies wait longer than a pass."""
    jobs = [job.id for job in snapshot.serving] + [job.id for job in snapshot.connecting]
    passes = [summaries[job_id] for job_id in jobs if job_id in summaries]
    problems = sum(job.problems for job in snapshot.serving)
    problems += sum(len(one.problems) + one.remote_problems for one in passes)
    conflicts = sum(len(conflict_copies.get(job_id, ())) for job_id in jobs)
    held = sum(len(one.held) + len(one.remote_held) for one in passes)
    said = [(problems, "problem"), (conflicts, "conflict"), (held, "held delete")]
    return " · ".join(format_count(count, name) for count, name in said if count)
