"""Rare events, pushed to whoever runs the engine; everything that changes often is in the snapshot instead.

Texts that came from a peer are raw: whoever shows them escapes them.
"""

from dataclasses import dataclass

from leafsync.engine.core.status import Direction, PassSummary


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `job` is the id of the job it belongs to."""

    job: int


@dataclass(frozen=True, slots=True)
class ServeStarted(Event):
    """The folder is being served."""

    folder: str
    port: int
    addresses: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class PeerConnected(Event):
    """A trusted device is connected and has said HELLO."""

    fingerprint: str
    name: str
    """What it calls itself, or what the trust store calls it."""
    address: str


@dataclass(frozen=True, slots=True)
class PeerLeft(Event):
    """A connection ended."""

    fingerprint: str
    address: str
    reason: str
    """Why, empty when it ended as it should."""


@dataclass(frozen=True, slots=True)
class PeerRefused(Event):
    """A device was turned away."""

    fingerprint: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerPending(PeerRefused):
    """A device was turned away for now: a person is asked about it, and it may come again."""


@dataclass(frozen=True, slots=True)
class DeviceTrusted(Event):
    """A device was added to the trust store because of --accept-first or --fingerprint."""

    fingerprint: str
    name: str
    address: str
    confirmed: str


@dataclass(frozen=True, slots=True)
class TrustQuestion:
    """Asked of a person before a device is trusted. What the device says of itself is not known before that."""

    job: int
    fingerprint: str
    address: str
    folder: str
    """The job's folder here."""
    direction: Direction
    """IN: the device wants to connect to this one; OUT: it answers at the address that was named."""


@dataclass(frozen=True, slots=True)
class PassFinished(Event):
    """A pass came to its end."""

    summary: PassSummary


@dataclass(frozen=True, slots=True)
class Reconnecting(Event):
    """The connection was lost or could not be made; it is tried again after `delay` seconds."""

    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something the user should know, in a sentence."""

    message: str
