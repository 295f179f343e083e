"""How fast one file moves through everything: disk, hash, QUIC, verification, disk. Two processes over loopback.

    python -m benchmarks.stack [MIB] [--runs N] [--place DIR] [--stock]

Prints for each run MB/s (1e6 bytes) of the pass, start-up and connecting left out, and the CPU seconds of both sides.
With `--stock` both processes do without the fast path of the transport, to compare in the same minute.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.devices import Device
from benchmarks.trees import MIB, differences, write_random

WITHOUT_FAST_PATH = (
    "import sys; from leafsync.engine.net import fastpath; fastpath.KNOWN_VERSIONS = ('none',); "
    "from leafsync.cli import main; sys.exit(main())"
)


class Bench(Device):
    """A device whose processes may be told to do without the fast path."""

    stock = False

    def command(self, *arguments: str | Path, module: str = "leafsync") -> list[str]:
        """Return the command line of one run."""
        how = ("-c", WITHOUT_FAST_PATH) if self.stock else ("-m", module)
        return [*self.prefix, sys.executable, *how, *map(str, arguments)]


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a running process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(serving: Bench, connecting: Bench, source: Path, copy: Path) -> dict[str, float]:
    """Bring the folder to an empty `copy` once; return seconds, bytes a second, and CPU seconds of both sides."""
    with serving.serving(source) as event:
        before = cpu_of(event["pid"])
        used = os.times()
        command = connecting.command("connect", f"127.0.0.1:{event['port']}", copy, "--once", "--no-tui", "--json")
        with subprocess.Popen(command, env=connecting.environment, stdout=subprocess.PIPE, text=True) as process:
            begun = time.perf_counter()
            for line in process.stdout or ():
                told = json.loads(line)
                if told["type"] == "peer_connected":
                    begun = time.perf_counter()
                elif told["type"] == "summary":
                    break
            wall = time.perf_counter() - begun
            process.communicate()
        sender = cpu_of(event["pid"]) - before
        now = os.times()
    receiver = now.children_user + now.children_system - used.children_user - used.children_system
    return {"wall": wall, "sender": sender, "receiver": receiver}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("mib", nargs="?", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--place", type=Path, help="directory for the folders (default: a temporary one)")
    parser.add_argument("--stock", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place, prefix="leafsync-stack-") as name:
        place = Path(name)
        one, other = Bench(place / "one-home"), Bench(place / "other-home")
        one.stock = other.stock = options.stock
        one.trust(other, "other")
        other.trust(one, "one")
        source, copy = place / "one", place / "other"
        source.mkdir()
        write_random(source / "file", options.mib * MIB, seed=1)
        for _ in range(options.runs):
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            shutil.rmtree(place / "other-home" / "state", ignore_errors=True)
            figures = measure(one, other, source, copy)
            if differences(source, copy):
                raise SystemExit("the copy differs")
            speed = options.mib * MIB / figures["wall"] / 1e6
            print(f"{speed:.1f} MB/s  sender {figures['sender']:.2f} s  receiver {figures['receiver']:.2f} s of CPU")


if __name__ == "__main__":
    main()
