"""Runs work with tools, in turn, and checks every copy; a tool that fails at something is a note in the results."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Figures, Meter
from benchmarks.peers import Pair, Peer
from benchmarks.trees import differences
from benchmarks.work import Step, Work, make

REST = 2.5
"""Seconds of rest before a change: tools look again at what has been written within the last two seconds, and nobody
syncs that fast by hand."""


class CopyDiffersError(RuntimeError):
    """A tool said it was done, and the copy is not like the folder."""


@dataclass
class Results:
    """What was measured, by work and tool in the order of the first run."""

    figures: dict[tuple[str, str], list[Figures]] = field(default_factory=dict)
    failures: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Why runs have no figures."""


def interleaved(
    results: Results, work: Work, peers: Sequence[Peer], place: Path, *, runs: int, deadline: float, unseen: bool
) -> None:
    """Run `work` with each peer `runs` times, A B A B: what slows the machine down for a while hits all alike.

    Numerous files are not removed before the end: ext4 looks at every inode that was freed within the last minutes
    before it takes one for a new file, which makes 10,000 new files cost seconds, and most to whoever comes after the
    most removals. Other folders are: a virtual machine pays for memory that its host has not given it yet, and a page
    cache that only grows is made of such.
    """
    master = place / f"master-{work.name}"
    make(work, master)
    used = [master]
    try:
        for number in range(runs):
            for peer in peers:
                used.append(place / f"run-{len(used)}")
                used[-1].mkdir()
                _one(results, work, peer, master, used[-1], deadline, unseen=unseen)
                if not work.numerous:
                    shutil.rmtree(used[-1], ignore_errors=True)
                print(f"{work.name}, run {number + 1} of {runs}, {peer.name}", file=sys.stderr, flush=True)
    finally:
        for each in used:
            shutil.rmtree(each, ignore_errors=True)


def _one(results: Results, work: Work, peer: Peer, master: Path, place: Path, deadline: float, *, unseen: bool) -> None:
    pair = Pair(place / "there", place / "here", place / "own")
    for folder in (pair.source, pair.copy, pair.place):
        folder.mkdir()
    ready = place / "ready"
    ready.mkdir()
    subprocess.run(["cp", "-a", "--reflink=auto", f"{master}/.", ready if unseen else pair.source], check=True)
    _settle()
    left = list(work.steps)
    try:
        peer.prepare(pair)
        if unseen:
            _settle()
            left[0] = Step(left[0].label, lambda folder: _appear(ready, folder))
        while left:
            figures = _step(left[0], peer, pair, deadline)
            results.figures.setdefault((left.pop(0).label, peer.name), []).append(figures)
            _settle()
    except Exception as error:  # whatever a tool does, hours of other figures are not lost
        for step in left:
            results.failures.setdefault((step.label, peer.name), []).append(_reason(error))
        print(f"{work.name}, {peer.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        peer.stop()


def _step(step: Step, peer: Peer, pair: Pair, deadline: float) -> Figures:
    if step.change:
        step.change(pair.source)
    meter = Meter(peer.link, *peer.servers, deadline)
    with meter:
        peer.sync(meter)
    figures = meter.figures()
    if different := differences(pair.source, pair.copy, slack=peer.slack):
        raise CopyDiffersError(f"{len(different)} paths, {different[:3]}")
    return figures


def _settle() -> None:
    subprocess.run(["sync"], check=True)
    time.sleep(REST)


def _appear(ready: Path, folder: Path) -> None:
    for entry in ready.iterdir():
        entry.rename(folder / entry.name)


def _reason(error: Exception) -> str:
    """Say why in a few words that show nothing of this machine."""
    if isinstance(error, TimeoutError):
        return "not done in time"
    return "made a different copy" if isinstance(error, CopyDiffersError) else "failed"


def present(peers: Sequence[Peer], say: Callable[[str], None]) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can run here, and why the others cannot."""
    reasons = {peer.name: peer.missing() for peer in peers}
    for name, reason in reasons.items():
        if reason:
            say(f"{name}: skipped, {reason}")
    return [peer for peer in peers if not reasons[peer.name]], {name: why for name, why in reasons.items() if why}
