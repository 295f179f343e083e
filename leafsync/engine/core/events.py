"""Rare events, pushed to whoever runs the engine; everything that changes often is in the snapshot instead.

Texts that came from a peer are raw: whoever shows them escapes them.
"""

import msgspec

from leafsync.engine.core.status import Direction, PassSummary


class Event(msgspec.Struct, frozen=True):
    """Base of all events; `job` is the id of the job it belongs to."""

    job: int


class ServeStarted(Event, frozen=True):
    """The folder is being served."""

    folder: str
    port: int
    addresses: tuple[str, ...]
    fingerprint: str


class PeerConnected(Event, frozen=True):
    """A trusted device is connected and has said HELLO."""

    fingerprint: str
    name: str
    """What it calls itself, or what the trust store calls it."""
    address: str
    only: str = ""
    """The path that it offers alone, "" when that is all of its folder, or it was not asked for one."""


class PeerLeft(Event, frozen=True):
    """A connection ended."""

    fingerprint: str
    address: str
    reason: str
    """Why, empty when it ended as it should."""


class PeerRefused(Event, frozen=True):
    """A device was turned away."""

    fingerprint: str
    address: str
    reason: str


class PeerPending(PeerRefused, frozen=True):
    """A device was turned away for now: a person is asked about it, and it may come again."""


class DeviceTrusted(Event, frozen=True):
    """A device was added to the trust store because of --accept-first or --fingerprint."""

    fingerprint: str
    name: str
    address: str
    confirmed: str


class TrustQuestion(msgspec.Struct, frozen=True):
    """Asked of a person before a device is trusted. What the device says of itself is not known before that."""

    job: int
    fingerprint: str
    address: str
    folder: str
    """The job's folder here."""
    direction: Direction
    """IN: the device wants to connect to this one; OUT: it answers at the address that was named."""


class PassFinished(Event, frozen=True):
    """A pass came to its end."""

    summary: PassSummary


class Reconnecting(Event, frozen=True):
    """The connection was lost or could not be made; it is tried again after `delay` seconds."""

    delay: float
    reason: str


class Warned(Event, frozen=True):
    """Something the user should know, in a sentence."""

    message: str
