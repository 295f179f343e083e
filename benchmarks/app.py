"""What the app costs a transfer, how soon it answers keys meanwhile, how soon it opens, and what it does when idle.

    python -m benchmarks.app [--mib 1024] [--files 10000] [--runs 3]

Two processes over loopback. The app runs on a pseudo-terminal of 120 by 36; keys move the cursor of its list while a
large file and many small ones come. A key counts as answered when the terminal has got the frame that shows it.
"""

import argparse
import fcntl
import os
import pty
import re
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.devices import Device, summary_of
from benchmarks.processes import cpu_seconds
from benchmarks.trees import MIB, differences, write_random

KEYS = (b"\x1b[B", b"\x1b[A")
"""Down and up."""

PAUSE = 0.1
"""Seconds between two keys: faster than people press them one by one."""

UNANSWERED = 2.0
"""Seconds after which a key counts as pressed for nothing: the list has no row to move to yet."""

DEADLINE = 900.0
"""Seconds for a transfer."""

IDLE_SECONDS = 10.0
"""Seconds over which the CPU time of an idle app is taken."""

ANSWERED = re.compile(rb"\x1b\]777;(\d+)\x07")
FINISHED = re.compile(rb"\x1b\]778;([0-9.]+)\x07")
"""What `benchmarks.timed_app` tells of a frame that shows a moved cursor, and of a pass with its seconds."""


class Screen:
    """A pseudo-terminal that is read, but not looked at."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True
        )
        os.close(inner)
        self.seen = bytearray()

    def read(self, seconds: float) -> bytes:
        """Return what comes within `seconds`; nothing if nothing does."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        try:
            data = os.read(self._fd, 1 << 16) if ready else b""
        except OSError:  # nobody is at the other end any more
            return b""
        self.seen += data
        del self.seen[:-4096]
        return data

    def until(self, text: bytes, deadline: float) -> float:
        """Read until `text` has come; return the seconds that took."""
        started = time.monotonic()
        while text not in self.seen:
            if time.monotonic() - started > deadline:
                raise TimeoutError(f"{text!r} did not come")
            self.read(0.01)
        return time.monotonic() - started

    def send(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._fd, keys)

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        while self.process.poll() is None:
            self.read(0.05)
        os.close(self._fd)


@contextmanager
def screen(device: Device, *arguments: str | Path, module: str = "leafsync") -> Iterator[Screen]:
    """Run the app of a device."""
    environment = {**device.environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    shown = Screen(device.command(*arguments, module=module), environment)
    try:
        yield shown
    finally:
        shown.close()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rest(Device(Path(place) / "rest"))
        transfers(Path(place), arguments.mib, arguments.files, arguments.runs)
    return 0


def rest(device: Device) -> None:
    """Measure the start and the idle app."""
    device.fingerprint()
    starts = []
    for _run in range(5):
        with screen(device) as shown:
            starts.append(shown.until(b"Offer a folder", 30))
    print(f"first usable frame: median {statistics.median(starts):.2f} s of {len(starts)}")
    with screen(device) as shown:
        shown.until(b"Offer a folder", 30)
        settle = time.monotonic() + 3
        while time.monotonic() < settle:
            shown.read(0.1)
        before, end = cpu_seconds(shown.process.pid), time.monotonic() + IDLE_SECONDS
        while time.monotonic() < end:
            shown.read(0.1)
        print(f"idle: {100 * (cpu_seconds(shown.process.pid) - before) / IDLE_SECONDS:.1f} % of a CPU")


def transfers(place: Path, mib: int, files: int, runs: int) -> None:
    """Transfer the same folder headless and in the app, in turn."""
    there = place / "there"
    (there / "many").mkdir(parents=True)
    write_random(there / "large.bin", mib * MIB, seed=1)
    for number in range(files):
        (there / "many" / f"{number:05}.txt").write_text(f"file {number} " * 20)
    server = Device(place / "server-home")
    headless, app, keys = [], [], list[float]()
    with tempfile.TemporaryDirectory() as homes:
        client = Device(Path(homes) / "client-home")
        server.trust(client, "client")
        client.trust(server, "server")
        with server.serving(there) as serving:
            address = f"127.0.0.1:{serving['port']}"
            for run in range(runs):
                headless.append(without_app(client, address, fresh(place / f"headless-{run}", client)))
                seconds, answered = with_app(client, address, fresh(here := place / f"app-{run}", client))
                app.append(seconds)
                keys += answered
                if different := differences(there, here):
                    raise RuntimeError(f"the copy differs in {different[:5]}")
    one, other = statistics.median(headless), statistics.median(app)
    print(f"{mib} MiB and {files} files: headless {one:.1f} s, in the app {other:.1f} s ({100 * one / other:.0f} %)")
    keys.sort()
    print(
        f"key to frame over {len(keys)} keys: median {1000 * statistics.median(keys):.0f} ms, "
        f"95 % {1000 * keys[int(0.95 * len(keys))]:.0f} ms, most {1000 * keys[-1]:.0f} ms"
    )


def fresh(here: Path, client: Device) -> Path:
    """Return a new folder of which nothing is known. None is removed before the end: see `rounds.interleaved`."""
    shutil.rmtree(client.home / "state", ignore_errors=True)
    here.mkdir()
    return here


def without_app(client: Device, address: str, here: Path) -> float:
    """Return the seconds of a headless pass."""
    return float(summary_of(client.run("connect", address, here, "--once", "--json").stdout)["seconds"])


def with_app(client: Device, address: str, here: Path) -> tuple[float, list[float]]:
    """Return the seconds of a pass in the app, and how long each key took to show."""
    answered: list[float] = []
    with screen(client, "connect", address, here, module="benchmarks.timed_app") as shown:
        shown.until(b"Keep a folder", 30)
        shown.send(b"4")
        end = time.monotonic() + DEADLINE
        number = 0
        while time.monotonic() < end:
            pressed = time.monotonic()
            shown.send(KEYS[number % 2])
            waiting = True
            while waiting or time.monotonic() - pressed < PAUSE:
                shown.read(0.005)
                if finished := FINISHED.search(shown.seen):
                    return float(finished[1]), answered
                told = ANSWERED.findall(shown.seen)
                if waiting and told and int(told[-1]) > number:
                    answered.append(time.monotonic() - pressed)
                    number, waiting = int(told[-1]), False
                elif waiting and time.monotonic() - pressed > UNANSWERED:
                    waiting = False
    raise TimeoutError("the transfer did not end")


if __name__ == "__main__":
    sys.exit(main())
