"""LeafSync processes on this machine, each with a home of its own, as a script would drive them."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_DEADLINE = 30.0
"""Seconds for a server to say where it listens."""

RUN_DEADLINE = 900.0
"""Seconds for one command: many times what the largest transfer of a benchmark takes."""

STOP_DEADLINE = 15.0
"""Seconds for a server to end after SIGTERM."""


class Device:
    """One device: its home directory and the commands run with it."""

    def __init__(self, home: Path, prefix: tuple[str, ...] = ()) -> None:
        """Use `home` for the key, the trust store and the records; `prefix` goes before each of its commands."""
        self.home = home
        self.prefix = prefix

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes. They keep their bytecode, as installed programs do."""
        others = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**others, "LEAFSYNC_HOME": str(self.home)}

    def command(self, *arguments: str | Path, module: str = "leafsync") -> list[str]:
        """Return the command line of one run."""
        return [*self.prefix, sys.executable, "-m", module, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and return its output; CalledProcessError when it fails, TimeoutExpired."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=RUN_DEADLINE,
        )

    def fingerprint(self) -> str:
        """Return this device's fingerprint; its key is made at first use."""
        return str(json.loads(self.run("id", "--json").stdout)["fingerprint"])

    def trust(self, other: "Device", name: str) -> None:
        """Trust another device."""
        self.run("trust", "add", other.fingerprint(), "--name", name)

    @contextmanager
    def serving(self, folder: Path, *options: str, host: str = "127.0.0.1") -> Iterator[dict[str, Any]]:
        """Serve `folder` on a free port of `host`; yields the `serving` event, which has the port."""
        command = self.command("serve", folder, "--host", host, "--port", "0", "--json", *options)
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield {**_first_event(server), "pid": server.pid}
            finally:
                server.terminate()
                server.communicate(timeout=STOP_DEADLINE)


def _first_event(server: "subprocess.Popen[str]") -> dict[str, Any]:
    said = server.stdout and select.select([server.stdout], [], [], START_DEADLINE)[0]
    line = server.stdout.readline() if server.stdout and said else ""
    if not said:
        raise TimeoutError(f"the server said nothing for {START_DEADLINE:.0f} s")
    if not line:
        raise RuntimeError(f"the server ended with exit code {server.wait(START_DEADLINE)}")
    event: dict[str, Any] = json.loads(line)
    return event


def summary_of(output: str) -> dict[str, Any]:
    """Return the last `summary` event of a run with --json."""
    events = [json.loads(line) for line in output.splitlines()]
    summary: dict[str, Any] = next(event for event in reversed(events) if event["type"] == "summary")
    return summary
