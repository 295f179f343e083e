"""Addresses as users type them: `host`, `host:port`, `[IPv6]:port`."""

import re

import msgspec

from leafsync.errors import AddressMalformed

DEFAULT_PORT = 4455
"""The UDP port of `leafsync serve` when none is named."""

MAX_PORT = 65535
"""The highest UDP port (RFC 768)."""

MAX_HOST = 253
"""Characters of a host name (RFC 1035 section 2.3.4)."""

_ADDRESS = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]/@]+))(?::(?P<port>\d{1,5}))?"
)
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?")


class Address(msgspec.Struct, frozen=True):
    """A host name or IP address, and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Read an address; raises AddressMalformed with the reason."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        hint = "write the IPv6 address in brackets" if _BARE_IPV6.fullmatch(text.strip()) else "it cannot be read"
        raise AddressMalformed(address=text, reason=hint)
    host = match["bracketed"] or match["host"]
    if len(host) > MAX_HOST:
        raise AddressMalformed(address=text, reason=f"the host name is longer than {MAX_HOST} characters")
    port = int(match["port"]) if match["port"] else default_port
    if not 1 <= port <= MAX_PORT:
        raise AddressMalformed(address=text, reason=f"a port is a number from 1 to {MAX_PORT}")
    return Address(host, port)
