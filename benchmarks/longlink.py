"""A long link for measurements: two namespaces with a delay line between them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.delayline import DEVICE, Shape
from benchmarks.namespaces import End, Namespace, NamespacesRefusedError, namespace
from benchmarks.processes import server
from benchmarks.shaping import ADDRESSES, MTU

TRANSMIT_QUEUE = 2000
"""Packets that wait for the delay line to read them; it is the delay line that has the queue of the link."""

CONGESTION = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


@dataclass(frozen=True)
class LongLink:
    """Two namespaces with TUN devices that a delay line serves."""

    there: End
    here: End
    description: str
    spaces: tuple[Namespace, Namespace]
    line: int
    """The process of the delay line."""

    def wire_bytes(self) -> int:
        """Return what both ends have sent: what got lost too."""
        return self.there.sent_bytes(DEVICE) + self.here.sent_bytes(DEVICE)

    def begin(self) -> None:
        """Begin the dark periods and the random losses anew, so that all tools meet the same ones."""
        os.kill(self.line, signal.SIGUSR1)

    def use_congestion(self, algorithm: str) -> None:
        """Have TCP connections over it use `algorithm` from now on, at both ends."""
        for space, own, other in zip(self.spaces, ADDRESSES, reversed(ADDRESSES), strict=True):
            space.run(f"ip route replace {other}/32 dev {DEVICE} scope link src {own} congctl {algorithm}")


def congestion_algorithms() -> list[str]:
    """Return what TCP of this kernel has."""
    return CONGESTION.read_text().split() if CONGESTION.exists() else []


@contextmanager
def open_long_link(shape: Shape, place: Path, seed: int) -> Iterator[LongLink]:
    """Make a link of `shape`; NamespacesRefusedError where there can be none."""
    if not Path("/dev/net/tun").exists():
        raise NamespacesRefusedError("there is no /dev/net/tun")
    with namespace() as one, namespace() as other:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(shape).items()]
        line = [sys.executable, "-m", "benchmarks.delayline", str(one.holder), str(other.holder), f"--seed={seed}"]
        log = place / "delayline.log"
        with server([*line, *options], lambda: "up" in log.read_text(), log) as process:
            for space, own, peer in zip((one, other), ADDRESSES, reversed(ADDRESSES), strict=True):
                space.run(f"ip link set {DEVICE} mtu {MTU} txqueuelen {TRANSMIT_QUEUE} addrgenmode none")
                space.run(f"ip address add {own}/32 peer {peer} dev {DEVICE}")
                space.run(f"ip link set {DEVICE} up")
            ends = End(ADDRESSES[0], one), End(ADDRESSES[1], other)
            yield LongLink(*ends, f"delay line between two network namespaces, MTU {MTU}", (one, other), process.pid)
