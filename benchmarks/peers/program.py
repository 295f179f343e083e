"""What the peers have in common that are programs of other people."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.shaping import Link

SYSTEM_PATHS = "/usr/sbin:/usr/local/sbin"
"""Where servers are that an ordinary PATH does not have."""

VERSION_DEADLINE = 10.0
"""Seconds for a program to say its version."""


Programs = tuple[tuple[str, str], ...]
"""Programs, and the Debian packages that have them."""

Words = tuple[str, ...]
"""A part of a command line."""


class ProgramPeer:
    """A peer on a link, with what it has started."""

    name = ""
    programs: Programs = ()
    """What it needs."""
    version_of: Words = ()
    """The command that tells its version."""
    slack = 0
    """How coarse the times are that it keeps, in nanoseconds."""

    def __init__(self, link: Link) -> None:
        """Run over `link`."""
        self.link = link
        self._stack = ExitStack()
        self._there: list[int] = []
        self._here: list[int] = []

    @property
    def servers(self) -> tuple[Sequence[int], Sequence[int]]:
        """The processes that run all the time: at the folder's end, at the copy's."""
        return self._there, self._here

    def missing(self) -> str:
        """Return which programs are not installed."""
        absent = [f"{program} (package {package})" for program, package in self.programs if not find(program)]
        return f"not installed: {', '.join(absent)}" if absent else ""

    def version(self) -> str:
        """Return the first number with a point in what it says of itself."""
        done = subprocess.run(self.version_of, capture_output=True, text=True, timeout=VERSION_DEADLINE, check=False)
        found = re.search(r"\d+\.\d[\w.]*", done.stdout + done.stderr)
        return found[0] if found else "unknown"

    def stop(self) -> None:
        """End everything; does nothing when nothing runs."""
        self._stack.close()
        self._there, self._here = [], []


def find(program: str) -> str | None:
    """Return where a program is."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), SYSTEM_PATHS)))


def needed(program: str) -> str:
    """Return where a program is that `missing` has found."""
    path = find(program)
    if path is None:
        raise RuntimeError(f"{program} is not installed")
    return path
