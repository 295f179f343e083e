"""Socket addresses as people read them, and the networks they belong to."""

import ipaddress
import socket
from typing import Any, TypeAlias

SocketAddress: TypeAlias = tuple[Any, ...]
"""What the socket module calls an address: (host, port), and flow and scope besides for IPv6."""

_MAPPED = "::ffff:"
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket to one sends nothing, and picks the
interface that leads outside."""


def plain(address: SocketAddress) -> tuple[str, int]:
    """Return host and port, an IPv4 peer of a dual-stack socket as plain IPv4."""
    return str(address[0]).removeprefix(_MAPPED), int(address[1])


def display(host: str, port: int) -> str:
    """Return "host:port" as a person would type it, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def network_of(address: SocketAddress) -> str:
    """Return the IPv4 /24 or IPv6 /64 an address is in: what one stranger can easily have many addresses of."""
    host = ipaddress.ip_address(plain(address)[0].partition("%")[0])
    prefix = 24 if host.version == 4 else 64
    return str(ipaddress.ip_network((host, prefix), strict=False))


def outward_hosts() -> list[str]:
    """Return this device's addresses on the interfaces that lead outside, as well as they can be told cheaply."""
    hosts = []
    for family, probe in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as outward:
                outward.connect((probe, 9))
                host = str(outward.getsockname()[0])
        except OSError:
            continue
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            hosts.append(host)
    return hosts
