"""The link that everything is measured over: two namespaces and a cable of a known rate, or else loopback."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from benchmarks.namespaces import End, Namespace, NamespacesRefusedError, namespace

ADDRESSES = ("198.18.0.1", "198.18.0.2")
"""From the range that is set aside for benchmarks (RFC 2544)."""

DEVICE = "cable"
"""The network device in either namespace."""

MTU = 1500
"""Of Ethernet, and of most of the internet."""

BURST = "128kb"
"""What goes out at once after a pause: more than the largest send the kernel hands down whole (64 KiB), so that shaping
costs no processor time for cutting it up, and 1 ms at 1 Gbit/s."""

QUEUE = "10ms"
"""The longest wait in the queue of the cable: about the 1000 packets of an Ethernet device at 1 Gbit/s."""

PLAIN_QUEUE_PACKETS = 10_000
"""Of an unshaped cable: more than is ever under way."""


class Link(Protocol):
    """Two ends, and what went between them."""

    @property
    def there(self) -> End:
        """Where the folder is that is copied."""

    @property
    def here(self) -> End:
        """Where the copy is."""

    @property
    def description(self) -> str:
        """What it is, in words for the report."""

    def wire_bytes(self) -> int:
        """Return the bytes that went over it so far, both directions, with the headers of every packet."""


@dataclass(frozen=True)
class Cable:
    """A pair of veth devices."""

    there: End
    here: End
    description: str

    def wire_bytes(self) -> int:
        """Count in the queues: they count each segment, where the device counts a large send as one packet."""
        return sum(_queued(end.namespace) for end in (self.there, self.here) if end.namespace)


def _queued(space: Namespace) -> int:
    return sum(int(queue["bytes"]) for queue in json.loads(space.run(f"tc -s -j qdisc show dev {DEVICE} root")))


@dataclass(frozen=True)
class Loopback:
    """This machine's loopback: no rate, no MTU of a network, and a counter that counts whatever else uses it."""

    there: End
    here: End
    description: str

    def wire_bytes(self) -> int:
        """Return what loopback has sent since the machine started."""
        return self.here.sent_bytes("lo")


@contextmanager
def open_link(rate_mbit: float | None, loss: float = 0.0) -> Iterator[Link]:
    """Make a cable with `rate_mbit` (None: no limit) that loses a part `loss` of the packets of each direction.

    Where namespaces are refused it is loopback, and its description says why.
    """
    with ExitStack() as stack:
        try:
            spaces = stack.enter_context(namespace()), stack.enter_context(namespace())
        except NamespacesRefusedError as refused:
            end = End("127.0.0.1")
            yield Loopback(end, end, f"loopback, without a rate: no network namespaces here ({refused})")
            return
        how = _connect(*spaces, rate_mbit, loss)
        yield Cable(End(ADDRESSES[0], spaces[0]), End(ADDRESSES[1], spaces[1]), how)


def _connect(one: Namespace, other: Namespace, rate_mbit: float | None, loss: float) -> str:
    one.run(f"ip link add {DEVICE} type veth peer name {DEVICE} netns {other.holder}")
    shape = (
        f"tbf rate {rate_mbit}mbit burst {BURST} latency {QUEUE}" if rate_mbit else f"pfifo limit {PLAIN_QUEUE_PACKETS}"
    )
    for space, address in zip((one, other), ADDRESSES, strict=True):
        space.run(f"ip link set {DEVICE} mtu {MTU} addrgenmode none")
        space.run(f"ip address add {address}/30 dev {DEVICE}")
        space.run(f"ip link set {DEVICE} up")
        space.run(f"tc qdisc replace dev {DEVICE} root handle 1: {shape}")
    rate = f"{rate_mbit:g} Mbit/s (tbf)" if rate_mbit else "no rate limit"
    if not loss:
        return f"two network namespaces, {rate}, MTU {MTU}"
    tools = {_lose(space, loss, shaped=bool(rate_mbit)) for space in (one, other)}
    return f"two network namespaces, {rate}, MTU {MTU}, {100 * loss:g} % random loss ({tools.pop()})"


def _lose(space: Namespace, loss: float, *, shaped: bool) -> str:
    """Lose packets at random by what this kernel has; return its name.

    Each packet by itself: large sends are cut up before they get here, or 64 KiB would be lost at once.
    """
    space.run(f"ip link set {DEVICE} gso_max_segs 1")
    parent = "parent 1:1" if shaped else "root"
    try:
        space.run(
            f"tc qdisc replace dev {DEVICE} {parent} handle 2: netem loss {100 * loss}% limit {PLAIN_QUEUE_PACKETS}"
        )
    except RuntimeError:
        rule = f"iifname {DEVICE} numgen random mod 1000000 < {round(loss * 1_000_000)} drop"
        space.run("nft add table inet bench")
        space.run("nft add chain inet bench lose { type filter hook input priority 0 ; }")
        space.run(f"nft add rule inet bench lose {rule}")
        return "nftables"
    return "netem"
