"""LeafSync beside other tools on the same work in the same run, over a link of a known rate.

    python -m benchmarks.bench [--runs 3] [--scale 0.1] [--rate-mbit 1000] [--loss 0.001] [--tools leafsync rsync]

As root it makes two network namespaces with a cable of 1 Gbit/s between them; else it uses loopback, and says so. Every
copy is compared with its folder after every sync.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.command import chosen, common_parser, ends_cleanly, publish
from benchmarks.peers import Peer
from benchmarks.peers.leafsync import LeafSync
from benchmarks.peers.rsync_daemon import RsyncDaemon
from benchmarks.peers.rsync_ssh import RsyncSsh, RsyncSshCompressed
from benchmarks.peers.syncthing import Syncthing
from benchmarks.peers.unison import Unison
from benchmarks.report import latency_table, machine, work_table
from benchmarks.rounds import Results, interleaved, present
from benchmarks.running import latencies
from benchmarks.shaping import Link, open_link
from benchmarks.work import works

TOOLS = (RsyncSsh, LeafSync, RsyncDaemon, Syncthing, Unison)

DEADLINE = 300.0
"""Seconds for one sync: ten times what the slowest needs."""

RATE_MBIT = 1000.0
HEADING = "A fast link"

SEEN = "Servers that run all the time have read their folder before the first sync; rsync and Unison have none such."
UNSEEN = "The content appears in the folder at the moment the clock starts: hashing it is part of the time."
RULES = (
    "Medians; tools take turns. The clock starts when the change is in the folder and stops when the tool says that "
    "the copy is complete; then folder and copy are compared byte by byte. Syncthing runs all the time on both sides "
    "and scans when told to; of the others, the copy's side is a new process each time. Bytes on the wire are both "
    "directions with all headers. Memory is the most that all processes of a side had at one time."
)


def main() -> int:
    """Measure, print, and write the results."""
    parser = common_parser((__doc__ or "").partition("\n")[0], deadline=DEADLINE)
    parser.add_argument("--rate-mbit", type=float, default=RATE_MBIT, help="of the link; 0 for no limit")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the packets that is lost at random, 0 to 1")
    parser.add_argument("--work", nargs="+", default=[], metavar="NAME", help="only: large, many, logs, running")
    parser.add_argument("--unseen", action="store_true", help="no server has read the content before the clock starts")
    options = parser.parse_args()
    with (
        ends_cleanly(),
        tempfile.TemporaryDirectory(dir=options.place) as place,
        open_link(options.rate_mbit or None, options.loss) as link,
    ):
        print(f"link: {link.description}", file=sys.stderr)
        peers, skipped = present(_peers(link, options.tools), lambda line: print(line, file=sys.stderr))
        running = ""
        if chosen("running", options.work) and chosen(LeafSync.name, options.tools):
            running = _latencies(link, Path(place) / "running", options.scale)  # before any files are removed
        results = Results()
        for work in works(options.scale):
            if chosen(work.name, options.work):
                zipped = [RsyncSshCompressed(link)] if work.compressible and not options.tools else []
                interleaved(
                    results,
                    work,
                    [*peers, *present(zipped, lambda _line: None)[0]],
                    Path(place),
                    runs=options.runs,
                    deadline=options.deadline,
                    unseen=options.unseen,
                )
        parts = [
            f"{machine({peer.name: peer.version() for peer in peers})}.",
            f"Link: {link.description}. {RULES} {UNSEEN if options.unseen else SEEN}",
            work_table(results, skipped),
        ]
        if running:
            parts.append(running)
        publish(options, HEADING, "\n\n".join(parts))
    return 0


def _latencies(link: Link, place: Path, scale: float) -> str:
    try:
        return latency_table(latencies(link, place, scale))
    except Exception as error:  # the table of hours before is not lost
        print(f"running: {type(error).__name__}: {error}", file=sys.stderr)
        return "What a running LeafSync does could not be measured."


def _peers(link: Link, wanted: list[str]) -> list[Peer]:
    return [tool(link) for tool in TOOLS if chosen(tool.name, wanted)]


if __name__ == "__main__":
    sys.exit(main())
