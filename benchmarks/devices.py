"""LeafSync processes on this machine, each with a home of its own, as a script would drive them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_DEADLINE = 30.0
"""Seconds for a server to say where it listens."""

STOP_DEADLINE = 15.0
"""Seconds for a server to end after SIGTERM."""


class Device:
    """One device: its home directory and the commands run with it."""

    def __init__(self, home: Path) -> None:
        """Use `home` for the key, the trust store and the records."""
        self.home = home

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        return {**os.environ, "LEAFSYNC_HOME": str(self.home)}

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line of one run."""
        return [sys.executable, "-m", "leafsync", *map(str, arguments)]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and return its output; raises CalledProcessError when it fails."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, check=True
        )

    def fingerprint(self) -> str:
        """Return this device's fingerprint; its key is made at first use."""
        return str(json.loads(self.run("id", "--json").stdout)["fingerprint"])

    def trust(self, other: "Device", name: str) -> None:
        """Trust another device."""
        self.run("trust", "add", other.fingerprint(), "--name", name)

    @contextmanager
    def serving(self, folder: Path, *options: str) -> Iterator[dict[str, Any]]:
        """Serve `folder` on a free loopback port; yields the `serving` event, which has the port."""
        command = self.command("serve", folder, "--host", "127.0.0.1", "--port", "0", "--json", *options)
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield {**_first_event(server), "pid": server.pid}
            finally:
                server.terminate()
                server.communicate(timeout=STOP_DEADLINE)


def _first_event(server: "subprocess.Popen[str]") -> dict[str, Any]:
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise RuntimeError(f"the server ended with exit code {server.wait(START_DEADLINE)}")
    event: dict[str, Any] = json.loads(line)
    return event


def summary_of(output: str) -> dict[str, Any]:
    """Return the last `summary` event of a run with --json."""
    events = [json.loads(line) for line in output.splitlines()]
    summary: dict[str, Any] = next(event for event in reversed(events) if event["type"] == "summary")
    return summary
