"""What one piece of work costs: seconds, bytes on the wire, CPU and memory of either side; medians and ratios."""

import contextlib
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Self

from benchmarks.processes import cpu_seconds, resident_bytes, tree
from benchmarks.shaping import Link

SAMPLE_EVERY = 0.025
"""Seconds between two looks at the memory: below 1 % of a CPU, and nothing grows much in that time."""

SETTLE = 1.0
"""The longest time for servers to end what they started for a client. It counts for CPU and bytes, not as time."""

LAST_PACKETS = 0.05
"""Seconds for the last acknowledgements to cross the link."""


@dataclass(frozen=True)
class Figures:
    """One measured run, or the medians of several."""

    seconds: float
    wire: float
    """Bytes."""
    cpu_there: float
    """Seconds, of the side whose folder is copied."""
    cpu_here: float
    memory_there: float
    """Bytes: the most that all its processes had at one time."""
    memory_here: float


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure by itself."""
    return Figures(**{one.name: statistics.median(getattr(run, one.name) for run in runs) for one in fields(Figures)})


def ratio(figure: float, reference: float | None) -> float | None:
    """Return how many times the reference it is; None where there is none to compare with."""
    return figure / reference if reference else None


@dataclass
class _Side:
    """The processes of one side."""

    roots: list[int]
    before: float = 0.0
    finished: float = 0.0
    """CPU seconds of clients that have ended."""
    memory: float = 0.0
    """Sampled: what wait4 tells as the most is at least what this process had when it started the client."""
    rest: frozenset[int] = field(default_factory=frozenset)
    """The processes it had before."""

    def cpu(self) -> float:
        return sum(map(cpu_seconds, tree(self.roots))) + self.finished


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Meter:
    """Measures what happens inside its `with`; a peer runs its clients by `run`."""

    def __init__(self, link: Link, there: Sequence[int], here: Sequence[int], deadline: float) -> None:
        """Watch the processes of both sides and all they start; after `deadline` seconds a run is given up."""
        self._link = link
        self._there, self._here = _Side(list(there)), _Side(list(here))
        self._deadline = deadline
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._started = self._wire = self._seconds = 0.0

    def __enter__(self) -> Self:
        """Start the clock."""
        for side in (self._there, self._here):
            side.before, side.rest = side.cpu(), frozenset(tree(side.roots))
        self._wire = self._link.wire_bytes()
        self._sampler.start()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the clock."""
        self._seconds = time.perf_counter() - self._started
        self._done.set()
        self._sampler.join()

    @property
    def remaining(self) -> float:
        """Seconds until the run is given up."""
        return max(0.0, self._started + self._deadline - time.perf_counter())

    def check(self) -> None:
        """TimeoutError when the time is over; for peers that poll."""
        if not self.remaining:
            raise TimeoutError(f"not done after {self._deadline:.0f} s")

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Run a client to its end on this side and return what it printed.

        TimeoutError when the time is over, RuntimeError with its output when its exit code is not 0.
        """
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            self._here.roots.append(process.pid)
            killer = threading.Timer(self.remaining, _kill, (process.pid,))
            killer.start()
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                _kill(process.pid)
                raise
            finally:
                killer.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
            self._here.roots.remove(process.pid)
            self._here.finished += usage.ru_utime + usage.ru_stime
            self.check()
            output.seek(0)
            text = output.read().decode(errors="replace")
        if process.returncode:
            raise RuntimeError(f"{command[:8]} ended with {process.returncode}: {text[-800:]}")
        return text

    def figures(self) -> Figures:
        """Return what it cost, once the servers are at rest again."""
        self._rest()
        return Figures(
            seconds=self._seconds,
            wire=self._link.wire_bytes() - self._wire,
            cpu_there=self._there.cpu() - self._there.before,
            cpu_here=self._here.cpu() - self._here.before,
            memory_there=self._there.memory,
            memory_here=self._here.memory,
        )

    def _rest(self) -> None:
        time.sleep(LAST_PACKETS)
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline and any(tree(side.roots) - side.rest for side in (self._there, self._here)):
            time.sleep(0.01)

    def _sample(self) -> None:
        while True:
            for side in (self._there, self._here):
                side.memory = max(side.memory, sum(map(resident_bytes, tree(side.roots))))
            if self._done.wait(SAMPLE_EVERY):
                return
