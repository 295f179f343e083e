"""Processes of a benchmark: servers that are waited for and ended, and what a tree of processes has used so far."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

START_DEADLINE = 30.0
"""Seconds for a server to be ready."""

STOP_DEADLINE = 10.0
"""Seconds for a server to end after SIGTERM."""

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """Return a TCP port of loopback that is free now: in the namespaces, where only our servers are, it is free too."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(
    command: Sequence[str],
    ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server; begins when it is ready. RuntimeError with what it wrote to `log` when it ends before."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or ready(), START_DEADLINE, f"{command} is not ready")
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended: {log.read_text(errors='replace')[-500:]}")
            yield process
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group: kindly, then not."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            continue
        break


def wait_until(condition: Callable[[], bool], deadline: float, complaint: str, every: float = 0.01) -> None:
    """Poll until `condition` holds; TimeoutError with the complaint after `deadline` seconds."""
    last = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > last:
            raise TimeoutError(f"{complaint} after {deadline:.0f} s")
        time.sleep(every)


def tree(roots: Sequence[int]) -> set[int]:
    """Return the processes in `roots` that live, and all that descend from them."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        try:
            lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        except OSError:  # it has ended
            continue
        found.add(pid)
        waiting += [int(child) for line in lists for child in line.split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its children that were waited for; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in use now; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
