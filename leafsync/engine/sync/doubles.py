"""Notices one key at two places at once: a key that was copied to a second device (fault case 66).

Both devices are served. Every change is bound to what was seen, whoever asks for it, so nothing gets lost; but the two
cannot be told apart, and taking one out of the trust store takes out both. So the user is told.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

SETTLE = 3.0
"""Seconds in which what is heard of a connection may have been under way. A device that comes from a new address,
because its network has changed, leaves a connection behind from which nothing comes any more."""


class Contact(Protocol):
    """What is looked at of a connection."""

    @property
    def peer_fingerprint(self) -> str: ...
    @property
    def peer_address(self) -> tuple[str, int]: ...
    @property
    def datagrams_received(self) -> int: ...


class _Mark(msgspec.Struct, frozen=True):
    until: float
    heard: Mapping[Contact, int]
    """Datagrams of each connection that do not count."""


class Doubles:
    """Looks at the connections of a job again and again, and finds each device once."""

    def __init__(self) -> None:
        self._marks: dict[str, _Mark] = {}
        self._told: set[str] = set()

    def look(self, contacts: Iterable[Contact], now: float) -> dict[str, list[str]]:
        """Return the fingerprints that are found at more than one host, with these hosts.

        Only hosts count from which something was heard SETTLE seconds after they were first seen together, by the
        clock of `now`. Two devices behind one address are not noticed: to a device with two jobs they are alike.
        """
        by_fingerprint: dict[str, list[Contact]] = {}
        for contact in contacts:
            by_fingerprint.setdefault(contact.peer_fingerprint, []).append(contact)
        marks, found = {}, {}
        for fingerprint, together in by_fingerprint.items():
            if fingerprint in self._told or len({_host(contact) for contact in together}) < 2:
                continue
            mark = self._mark(fingerprint, together, now)
            hosts = {_host(contact) for contact in together if contact.datagrams_received > mark.heard[contact]}
            if len(hosts) > 1:
                found[fingerprint] = sorted(hosts)
            marks[fingerprint] = mark
        self._marks = marks
        self._told |= found.keys()
        return found

    def _mark(self, fingerprint: str, together: Iterable[Contact], now: float) -> _Mark:
        """Return what was heard until everything settled: until now, if it has not."""
        heard = {contact: contact.datagrams_received for contact in together}
        mark = self._marks.get(fingerprint)
        if mark is None or mark.heard.keys() != heard.keys():
            return _Mark(now + SETTLE, heard)
        return mark if now >= mark.until else _Mark(mark.until, heard)


def _host(contact: Contact) -> str:
    return contact.peer_address[0]
