"""What the commands of the benchmarks share: options, a clean end, and where results go."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.report import ENOUGH_RUNS, PAGE, write_section


def common_parser(description: str, *, deadline: float) -> argparse.ArgumentParser:
    """Return a parser with the options that all have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=ENOUGH_RUNS, help="times everything is done (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="sizes, compared with those of the published figures")
    parser.add_argument("--deadline", type=float, default=deadline, help="seconds for one sync (default: %(default)g)")
    parser.add_argument("--tools", nargs="+", default=[], metavar="NAME", help="only tools whose name contains this")
    parser.add_argument("--place", type=Path, default=None, help="where to make the folders (default: a temporary one)")
    parser.add_argument(
        "--results", type=Path, default=None, help="write them here, even those of a quick run (default: RESULTS.md)"
    )
    return parser


def chosen(name: str, wanted: list[str]) -> bool:
    """Return whether a tool or work is among those that were asked for; all are when none was."""
    return not wanted or any(part.casefold() in name.casefold() for part in wanted)


@contextmanager
def ends_cleanly() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the run as Ctrl-C does: by an exception, so that everything is put away.

    SIGINT is among them because a shell starts background jobs with it ignored.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def publish(options: argparse.Namespace, heading: str, body: str) -> None:
    """Print a section, and write it unless the run was too quick to be worth keeping."""
    complete = options.scale == 1 and options.runs >= ENOUGH_RUNS and not options.tools
    keep_section(heading, body, options.results, complete=complete)


def keep_section(heading: str, body: str, results: Path | None, *, complete: bool) -> None:
    """Print a section, and write it to `results`, or to the page of results when the run was `complete`."""
    print(f"## {heading}\n\n{body}")
    path = results or (PAGE if complete else None)
    if path:
        write_section(path, heading, body)
        print(f"\nwritten to {path}", file=sys.stderr)
    else:
        print("\nnot written: a quick or partial run (--results FILE writes it anyway)", file=sys.stderr)
