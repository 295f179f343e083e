"""LeafSync beside rsync over ssh on long links: delay, loss, and a link that goes dark.

    python -m benchmarks.wan [--runs 3] [--scale 0.1] [--links dark 5]

As root. The links are delay lines between two network namespaces. TCP is measured with cubic, which most systems use,
and with BBR where the kernel has it.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.command import chosen, common_parser, ends_cleanly, publish
from benchmarks.delayline import Shape
from benchmarks.longlink import LongLink, congestion_algorithms, open_long_link
from benchmarks.namespaces import NamespacesRefusedError
from benchmarks.peers import Pair, Peer
from benchmarks.peers.leafsync import LeafSync
from benchmarks.peers.rsync_ssh import RsyncSsh
from benchmarks.report import machine, throughput_table, work_table
from benchmarks.rounds import Results, interleaved, present
from benchmarks.trees import MIB, write_random
from benchmarks.work import Step, Work

FILE_MIB = 24

DEADLINE = 600.0
"""Seconds for one sync: TCP cubic needs 73 with 1 % loss, and about 240 with 5 %."""

SEED = 1

LINKS = {
    "100 Mbit/s, 40 ms, no loss": Shape(),
    "100 Mbit/s, 40 ms, 0.1 % loss": Shape(loss=0.001),
    "100 Mbit/s, 40 ms, 1 % loss": Shape(loss=0.01),
    "100 Mbit/s, 40 ms, 5 % loss": Shape(loss=0.05),
    "10 Mbit/s, 200 ms": Shape(rate_mbit=10, delay=0.1, queue=0.2),
    "100 Mbit/s, 40 ms, dark 2 s of every 10 s": Shape(dark_every=10, dark_for=2, dark_first=1),
}
"""Milliseconds are of a round trip. The first four are the curve of the throughput over loss. The first dark period
begins while every tool is in the middle of its work."""

CURVE = tuple(LINKS)[:4]

HEADING = "Long links"
REFERENCE = "rsync over ssh, TCP cubic"
RULES = (
    "Medians; tools take turns. Loss is random, in both directions; a packet waits 50 ms in the queue of the link at "
    "most (200 ms on the slow one). Bytes on the wire are all that both sides sent, lost packets too."
)


class RsyncOver(RsyncSsh):
    """rsync over ssh with a congestion control of TCP."""

    def __init__(self, link: LongLink, algorithm: str) -> None:
        """Use `algorithm` for its connections."""
        super().__init__(link)
        self._long = link
        self._algorithm = algorithm
        self.name = f"rsync over ssh, TCP {algorithm}"

    def missing(self) -> str:
        """Return why it cannot run here."""
        if self._algorithm not in congestion_algorithms():
            return f"this kernel's TCP has no {self._algorithm}"
        return super().missing()

    def prepare(self, pair: Pair) -> None:
        """Set the congestion control before any connection is made."""
        self._long.use_congestion(self._algorithm)
        super().prepare(pair)


def main() -> int:
    """Measure, print, and write the results."""
    parser = common_parser((__doc__ or "").partition("\n")[0], deadline=DEADLINE)
    parser.add_argument("--links", nargs="+", default=[], metavar="TEXT", help="only links whose name contains this")
    options = parser.parse_args()
    size = max(1, round(FILE_MIB * options.scale)) * MIB
    results, skipped, versions = Results(), dict[str, str](), dict[str, str]()
    with ends_cleanly(), tempfile.TemporaryDirectory(dir=options.place) as place:
        for name, shape in LINKS.items():
            if not chosen(name, options.links):
                continue
            try:
                with open_long_link(shape, Path(place), SEED) as link:
                    print(f"link: {name}, {link.description}", file=sys.stderr)
                    wanted = [peer for peer in _peers(link) if chosen(peer.name, options.tools)]
                    peers, skipped = present(wanted, lambda line: print(line, file=sys.stderr))
                    versions = {peer.name.partition(",")[0]: peer.version() for peer in peers}
                    work = _work(name, size, link)
                    interleaved(
                        results, work, peers, Path(place), runs=options.runs, deadline=options.deadline, unseen=False
                    )
            except NamespacesRefusedError as refused:
                print(f"no long links here: {refused}", file=sys.stderr)
                return 1
        parts = [
            f"{machine(versions)}.",
            f"One random file of {size // MIB} MiB over a delay line between two network namespaces. {RULES}",
            work_table(results, skipped, REFERENCE),
            "Content a second by loss, connecting and comparing included:",
            throughput_table(results, CURVE, size),
        ]
        publish(options, HEADING, "\n\n".join(parts))
    return 0


def _peers(link: LongLink) -> list[Peer]:
    return [RsyncOver(link, "cubic"), RsyncOver(link, "bbr"), LeafSync(link)]


def _work(name: str, size: int, link: LongLink) -> Work:
    return Work(
        "long link",
        lambda folder: write_random(folder / "large.bin", size, seed=5),
        (Step(name, lambda _folder: link.begin()),),
    )


if __name__ == "__main__":
    sys.exit(main())
