"""What a job is asked to do."""

import msgspec

from leafsync.engine.core.address import DEFAULT_PORT, Address
from leafsync.engine.core.reconcile import Mode

DEFAULT_STREAMS = 4
"""Data streams of a connection: enough to keep the other side's disk busy while one file ends and the next begins."""

MAX_STREAMS = 8
"""Most data streams of a connection: the transport looks at every open one for each datagram."""


class ServeOptions(msgspec.Struct, frozen=True):
    """`leafsync serve`."""

    folder: str
    host: str | None = None
    """Address to listen on, None for all."""
    port: int = DEFAULT_PORT
    """UDP port, 0 for any free one."""
    file: str = ""
    """Offer this path of the folder alone."""
    accept_first: bool = False
    """Trust the first unknown device that connects, then refuse the next ones."""
    fingerprint: str | None = None
    """Let this device in as well, and remember it."""
    rate_mbps: float | None = None
    """Megabits per second in each direction, for each connection."""
    read_only: bool = False
    """Take no changes from anyone."""
    force: bool = False
    """Allow `/` and the home directory."""
    reset: bool = False
    """Take the folder for a new one although its records know another."""


class ConnectOptions(msgspec.Struct, frozen=True):
    """`leafsync connect`."""

    address: Address
    folder: str
    once: bool = False
    """One pass, then stop; otherwise passes repeat and lost connections are made again."""
    mode: Mode = Mode.BOTH
    dry_run: bool = False
    """Plan one pass and change nothing."""
    allow_deletes: bool = False
    """Do not hold back a mass delete."""
    file: str = ""
    """Keep this path alone the same."""
    streams: int = DEFAULT_STREAMS
    accept_first: bool = False
    """Trust the device at this address if none is known there."""
    fingerprint: str | None = None
    """The other device must show this one."""
    rate_mbps: float | None = None
    """Megabits per second in each direction."""
    force: bool = False
    """Allow `/` and the home directory."""
    reset: bool = False
    """Take the folder for a new one although its records know another."""
