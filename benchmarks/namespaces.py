"""Network namespaces for one run: nothing in them reaches an address outside, and they go when the run goes.

A namespace here has no name. A process holds it, and that process ends when its standard input does: a run that is
killed leaves nothing behind, and nothing of the machine's own network is changed.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_DEADLINE = 5.0
"""Seconds for a namespace to be there: milliseconds on an idle machine."""

COMMAND_DEADLINE = 10.0
"""Seconds for one command that sets something up in a namespace."""

LISTENING = "0A"
"""The state of a socket that takes connections, as /proc/net shows it."""

DEV_SENT_BYTES = 8
"""The column of /proc/net/dev."""


class NamespacesRefusedError(RuntimeError):
    """This machine or this user may not make network namespaces."""


@dataclass(frozen=True)
class Namespace:
    """A network namespace, named by the process that holds it."""

    holder: int

    @property
    def file(self) -> str:
        """The file that stands for it."""
        return f"/proc/{self.holder}/ns/net"

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line that runs `arguments` inside; the process keeps its id."""
        return ["nsenter", f"--net={self.file}", "--", *map(str, arguments)]

    def run(self, line: str) -> str:
        """Run a short command inside and return what it printed; RuntimeError with its complaint when it fails."""
        done = subprocess.run(
            self.command(*line.split()), capture_output=True, text=True, timeout=COMMAND_DEADLINE, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{line}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def processes(self) -> list[int]:
        """Return the processes inside, without the one that holds it; none as long as it is not a namespace of its own.

        What is found here may be killed, so a holder that has ended or is still in this machine's network has nothing.
        """
        mine = _network_of(self.holder)
        if mine in (None, _network_of(os.getpid())):
            return []
        pids = [int(directory.name) for directory in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if pid != self.holder and _network_of(pid) == mine]

    def clear(self) -> None:
        """Kill what still runs inside."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@dataclass(frozen=True)
class End:
    """One end of a link: where its processes run, and the address the other end knows it by."""

    address: str
    namespace: Namespace | None = None
    """None for this machine's own network, where only loopback is used."""

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line that runs `arguments` at this end."""
        return self.namespace.command(*arguments) if self.namespace else [str(argument) for argument in arguments]

    @property
    def net(self) -> Path:
        """What the kernel tells of this end's network."""
        return Path("/proc", str(self.namespace.holder) if self.namespace else "self", "net")

    def sent_bytes(self, device: str) -> int:
        """Return what a network device of this end has sent since there is one; 0 if there is none."""
        for line in (self.net / "dev").read_text().splitlines():
            name, _colon, counters = line.partition(":")
            if name.strip() == device:
                return int(counters.split()[DEV_SENT_BYTES])
        return 0

    def listens(self, port: int) -> bool:
        """Return whether something listens on a TCP port; connecting to find out could be the one time it takes."""
        wanted = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} \S+ {LISTENING} ", re.MULTILINE)
        tables = (self.net / "tcp", self.net / "tcp6")
        return any(wanted.search(table.read_text()) for table in tables if table.exists())


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace whose loopback is up; NamespacesRefusedError where that is not allowed."""
    try:
        holder = subprocess.Popen(
            ["unshare", "--net", "--", "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise NamespacesRefusedError("there is no unshare (util-linux)") from None
    with holder:
        made = Namespace(holder.pid)
        try:
            _wait_for(holder)
            made.run("ip link set lo up")
            yield made
        finally:
            if holder.poll() is None:
                made.clear()
            holder.kill()


def _wait_for(holder: "subprocess.Popen[bytes]") -> None:
    own, deadline = _network_of(os.getpid()), time.monotonic() + START_DEADLINE
    while holder.poll() is None and time.monotonic() < deadline:
        if _network_of(holder.pid) not in (own, None):
            return
        time.sleep(0.002)
    complaint = holder.stderr.read().decode().strip() if holder.stderr and holder.poll() is not None else "no answer"
    raise NamespacesRefusedError(complaint)


def _network_of(pid: int) -> int | None:
    """Return the number of a process's network namespace; None if it has ended or is somebody else's."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None
