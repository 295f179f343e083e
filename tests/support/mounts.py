"""Small filesystems of our own, in a mount namespace that nobody else sees and that goes when the test goes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

COMMAND_DEADLINE = 10.0
"""Seconds for one command inside."""

_HOLD = 'mount -t tmpfs -o "$1" tmpfs "$2" && echo && exec cat'
"""Run inside: it holds the namespace until its standard input ends."""


class MountsRefusedError(RuntimeError):
    """This machine or this user may not mount."""


@dataclass(frozen=True)
class Mounted:
    """A tmpfs at `point`, in the mount namespace that the process `holder` holds."""

    holder: int
    point: Path

    def prefix(self) -> tuple[str, ...]:
        """Return what goes before a command that is to run inside."""
        return ("nsenter", f"--mount=/proc/{self.holder}/ns/mnt", f"--wd={Path.cwd()}", "--")

    def seen(self, path: Path) -> Path:
        """Return where this process finds what is at `path` inside."""
        return Path(f"/proc/{self.holder}/root{path}")

    def run(self, *command: str | Path) -> None:
        """Run a short command inside; CalledProcessError when it fails."""
        subprocess.run([*self.prefix(), *map(str, command)], check=True, timeout=COMMAND_DEADLINE, capture_output=True)


@contextmanager
def tmpfs(point: Path, options: str) -> Iterator[Mounted]:
    """Mount a tmpfs at the directory `point`; MountsRefusedError where that is not allowed."""
    command = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _HOLD, "sh", options, str(point)]
    try:
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise MountsRefusedError("there is no unshare (util-linux)") from None
    with holder:
        try:
            if not holder.stdout or not holder.stdout.readline():
                raise MountsRefusedError(holder.stderr.read().decode().strip() if holder.stderr else "no answer")
            yield Mounted(holder.pid, point)
        finally:
            holder.kill()


@cache
def _refused() -> str:
    """Return why nothing can be mounted here, "" when it can."""
    if os.geteuid() != 0:
        return "only root may mount"
    try:
        with TemporaryDirectory() as point, tmpfs(Path(point), "size=64k") as mounted:
            mounted.run("true")
    except (MountsRefusedError, subprocess.SubprocessError, OSError) as error:
        return f"nothing can be mounted here: {error}"
    return ""


def need_mounts() -> None:
    """Skip the test where nothing can be mounted."""
    if reason := _refused():
        pytest.skip(reason)
