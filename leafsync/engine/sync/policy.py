"""Whom a job accepts: asked inside the handshake, before anything else is exchanged (DESIGN section 10).

A policy only decides. What it accepts for the first time it keeps as a `Pin`, which the job writes to the trust store
before it answers anything.
"""

from dataclasses import dataclass

from leafsync.engine.core.address import Address
from leafsync.engine.net.trust import TrustStore
from leafsync.errors import FingerprintMismatch, LeafSyncError, PeerChanged, PeerUnknown


@dataclass(frozen=True, slots=True)
class Pin:
    """A device accepted for the first time, and on what ground."""

    fingerprint: str
    confirmed: str


BY_FINGERPRINT = "fingerprint"
BY_ACCEPT_FIRST = "accept-first"


class ServePolicy:
    """Who may connect to a served folder."""

    def __init__(self, trust: TrustStore, *, fingerprint: str | None, accept_first: bool) -> None:
        """Accept what `trust` holds, the device `fingerprint`, and with `accept_first` one unknown device."""
        self._trust = trust
        self._fingerprint = fingerprint
        self._accept_first = accept_first
        self._pins: dict[str, Pin] = {}

    def authorize(self, fingerprint: str, address: str) -> None:
        """Accept the device, or raise PeerUnknown. Reads the trust file again when it has changed."""
        self._trust.refresh()
        if self._trust.get(fingerprint) is not None or fingerprint in self._pins:
            return
        if fingerprint == self._fingerprint:
            self._pins[fingerprint] = Pin(fingerprint, BY_FINGERPRINT)
        elif self._accept_first:
            self._accept_first = False
            self._pins[fingerprint] = Pin(fingerprint, BY_ACCEPT_FIRST)
        else:
            raise PeerUnknown(address=address, fingerprint=fingerprint)

    def take_pin(self, fingerprint: str) -> Pin | None:
        """Return the pin that still has to be written for this device, once."""
        return self._pins.pop(fingerprint, None)


class ConnectPolicy:
    """Which device may be at the address that a user named."""

    def __init__(self, trust: TrustStore, address: Address, *, fingerprint: str | None, accept_first: bool) -> None:
        """Accept the device that `trust` knows at `address`, and else what the options allow."""
        self._trust = trust
        self._address = str(address)
        self._fingerprint = fingerprint
        self._accept_first = accept_first
        self._pin: Pin | None = None

    def authorize(self, fingerprint: str, address: str) -> None:
        """Accept the device, or raise PeerChanged, FingerprintMismatch or PeerUnknown.

        A device that is known at this address is never given up for another one, whatever the options say: the
        attacker who can answer there is exactly whom the pin is for.
        """
        refusal = self._refusal(fingerprint, address)
        if refusal is not None:
            raise refusal

    def _refusal(self, fingerprint: str, address: str) -> LeafSyncError | None:
        self._trust.refresh()
        here = self._trust.at_address(self._address)
        if here is not None and here.fingerprint != fingerprint:
            return PeerChanged(
                address=self._address, name=here.name, expected=here.fingerprint, fingerprint=fingerprint
            )
        if self._fingerprint is not None and fingerprint != self._fingerprint:
            return FingerprintMismatch(address=address, fingerprint=fingerprint, expected=self._fingerprint)
        if self._trust.get(fingerprint) is not None:
            return None
        if self._fingerprint is not None:
            self._pin = Pin(fingerprint, BY_FINGERPRINT)
        elif self._accept_first:
            self._pin = Pin(fingerprint, BY_ACCEPT_FIRST)
        else:
            return PeerUnknown(address=address, fingerprint=fingerprint)
        return None

    def take_pin(self) -> Pin | None:
        """Return the pin that still has to be written, once."""
        pin, self._pin = self._pin, None
        return pin
