"""How two flows share a long link: LeafSync beside LeafSync and beside TCP, memory to memory.

    python -m benchmarks.fairness [--runs 3] [--scale 0.2]

As root. The link is a delay line between two network namespaces. The second flow begins a second after the first; what
is counted begins after both have found their places.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import leafsync
from benchmarks.command import chosen, common_parser, ends_cleanly, publish
from benchmarks.delayline import Shape
from benchmarks.flows import LEAFSYNC
from benchmarks.longlink import LongLink, congestion_algorithms, open_long_link
from benchmarks.namespaces import NamespacesRefusedError
from benchmarks.processes import end
from benchmarks.report import machine, table

SHAPE = Shape(rate_mbit=50)
"""Half of what the other long links carry: four processes and the delay line share the processors."""

WARM_UP = 10.0
SECONDS = 20.0
"""Of a run, before and while it counts."""

APART = 1.0
"""Seconds from the beginning of the first flow to that of the second."""

DEADLINE = 60.0
PORT = 4455
SEED = 1
HEADING = "Sharing a link"
PAIRS = ((LEAFSYNC, LEAFSYNC), (LEAFSYNC, "cubic"), ("cubic", LEAFSYNC), ("cubic", "cubic"), ("bbr", "cubic"))
"""The first of each begins first."""


@dataclass(frozen=True)
class Shares:
    """What two flows had, in bytes a second of content."""

    first: float
    second: float

    @property
    def part(self) -> float:
        """The part of the first in what both had."""
        return self.first / (self.first + self.second) if self.first + self.second else 0.0


def main() -> int:
    """Measure, print, and write the results."""
    parser = common_parser((__doc__ or "").partition("\n")[0], deadline=DEADLINE)
    options = parser.parse_args()
    measured: dict[tuple[str, str], list[Shares]] = {}
    available = {LEAFSYNC, *congestion_algorithms()}
    pairs = [pair for pair in PAIRS if available.issuperset(pair) and chosen(name_of(pair), options.tools)]
    with ends_cleanly(), tempfile.TemporaryDirectory(dir=options.place) as place:
        try:
            with open_long_link(SHAPE, Path(place), SEED) as link:
                for number in range(options.runs):
                    for pair in pairs:
                        measured.setdefault(pair, []).append(share(link, pair, options.scale, options.deadline))
                        print(f"{name_of(pair)}, run {number + 1} of {options.runs}", file=sys.stderr, flush=True)
        except NamespacesRefusedError as refused:
            print(f"no long links here: {refused}", file=sys.stderr)
            return 1
    publish(
        options,
        HEADING,
        f"{machine({'LeafSync': leafsync.__version__})}.\n\n{about(options.scale)}\n\n{shares_table(measured)}",
    )
    return 0


def about(scale: float) -> str:
    """Say what was measured."""
    return (
        f"Two flows over {SHAPE.rate_mbit:g} Mbit/s with a round trip of {2000 * SHAPE.delay:g} ms and a queue of "
        f"{1000 * SHAPE.queue:g} ms, the second {APART:g} s after the first. Counted for {scale * SECONDS:g} s, after "
        f"{scale * WARM_UP:g} s. Medians."
    )


def name_of(pair: Sequence[str]) -> str:
    """Return what to call two flows."""
    return " and ".join("LeafSync" if kind == LEAFSYNC else f"TCP {kind}" for kind in pair)


def shares_table(measured: dict[tuple[str, str], list[Shares]]) -> str:
    """Return Mbit/s of each, and the part of the first; the median run is that with the median part."""
    rows = []
    for pair, runs in measured.items():
        middle = statistics.median_low([run.part for run in runs])
        run = next(run for run in runs if run.part == middle)
        first, second = (f"{8 * rate / 1e6:.1f}" for rate in (run.first, run.second))
        rows.append([name_of(pair), str(len(runs)), first, second, f"{100 * run.part:.0f}:{100 * (1 - run.part):.0f}"])
    return table(("flows", "runs", "Mbit/s, first", "Mbit/s, second", "share"), rows)


def share(link: LongLink, pair: Sequence[str], scale: float, deadline: float) -> Shares:
    """Run two flows at once."""
    with ExitStack() as stack:
        for index, kind in enumerate(pair):
            sender = _start(stack, link.there.command(*_command("send", kind, link, index)))
            if sender.stdout is None or sender.stdout.readline().strip() != b"up":
                raise RuntimeError(f"the sender of {kind} is not there")
        link.begin()
        receivers = []
        for index, kind in enumerate(pair):
            times = ("--warm-up", str(scale * WARM_UP - index * APART), "--seconds", str(scale * SECONDS))
            receivers.append(_start(stack, link.here.command(*_command("receive", kind, link, index), *times)))
            time.sleep(APART)
        rates = [json.loads(receiver.communicate(timeout=deadline)[0])["rate"] for receiver in receivers]
    return Shares(*rates)


def _command(role: str, kind: str, link: LongLink, index: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.flows", role, kind, link.there.address, str(PORT + index)]


def _start(stack: ExitStack, command: list[str]) -> "subprocess.Popen[bytes]":
    process = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    )
    stack.callback(end, process)
    return process


if __name__ == "__main__":
    sys.exit(main())
