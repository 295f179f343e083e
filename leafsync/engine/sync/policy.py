"""Whom a job accepts: asked inside the handshake, before anything else is exchanged.

A policy only decides. What it accepts for the first time it keeps as a `Pin`, which the job writes to the trust store
before it answers anything.
"""

import msgspec

from leafsync.engine.core.address import Address
from leafsync.engine.net.trust import TrustStore
from leafsync.errors import FingerprintMismatch, LeafSyncError, PeerChanged, PeerUnknown


class Pin(msgspec.Struct, frozen=True):
    """A device accepted for the first time, and on what ground."""

    fingerprint: str
    confirmed: str


BY_FINGERPRINT = "fingerprint"
BY_ACCEPT_FIRST = "accept-first"
BY_PERSON = "compared on the screen"


class ServePolicy:
    """Who may connect to a served folder."""

    def __init__(self, trust: TrustStore, *, fingerprint: str | None, accept_first: bool) -> None:
        """Accept what `trust` holds, the device `fingerprint`, and with `accept_first` one unknown device."""
        self._trust = trust
        self._fingerprint = fingerprint
        self._accept_first = accept_first
        self._pins: dict[str, Pin] = {}

    def authorize(self, fingerprint: str) -> None:
        """Accept the device, or raise PeerUnknown, whose address the transport fills in.

        Reads the trust file again when it has changed.
        """
        self._trust.refresh()
        if self._trust.get(fingerprint) is not None or fingerprint in self._pins:
            return
        if fingerprint == self._fingerprint:
            self._fingerprint = None  # once: a device that is taken out of the trust store meanwhile stays out
            self._pins[fingerprint] = Pin(fingerprint, BY_FINGERPRINT)
        elif self._accept_first:
            self._accept_first = False
            self._pins[fingerprint] = Pin(fingerprint, BY_ACCEPT_FIRST)
        else:
            raise PeerUnknown(address="", fingerprint=fingerprint)

    def pin(self, fingerprint: str) -> Pin | None:
        """Return the pin that still has to be written for this device."""
        return self._pins.get(fingerprint)

    def written(self, fingerprint: str) -> None:
        """Note that the device's pin is in the trust store, which alone decides from now on."""
        self._pins.pop(fingerprint, None)


class ConnectPolicy:
    """Which device may be at the address that a user named."""

    def __init__(self, trust: TrustStore, address: Address, *, fingerprint: str | None, accept_first: bool) -> None:
        """Accept the device that `trust` knows at `address`, and else what the options allow."""
        self._trust = trust
        self._address = str(address)
        self._fingerprint = fingerprint
        self._accept_first = accept_first
        self._pins: dict[str, Pin] = {}
        self._pinned = False

    def authorize(self, fingerprint: str) -> None:
        """Accept the device, or raise PeerChanged, FingerprintMismatch or PeerUnknown.

        A device that is known at this address is never given up for another one, whatever the options say: the
        attacker who can answer there is exactly whom the pin is for.
        """
        refusal = self._refusal(fingerprint)
        if refusal is not None:
            raise refusal

    def _refusal(self, fingerprint: str) -> LeafSyncError | None:
        self._trust.refresh()
        here = self._trust.at_address(self._address)
        if here is not None and here.fingerprint != fingerprint:
            return PeerChanged(
                address=self._address,
                name=here.name,
                device=here.operand,
                expected=here.fingerprint,
                fingerprint=fingerprint,
            )
        if self._fingerprint is not None and fingerprint != self._fingerprint:
            return FingerprintMismatch(address=self._address, fingerprint=fingerprint, expected=self._fingerprint)
        if self._trust.get(fingerprint) is not None:
            return None
        if self._pinned:
            # It was written to the store, and somebody took it out.
            return PeerUnknown(address=self._address, fingerprint=fingerprint)
        if self._fingerprint is not None:
            self._pins[fingerprint] = Pin(fingerprint, BY_FINGERPRINT)
        elif self._accept_first:
            self._pins[fingerprint] = Pin(fingerprint, BY_ACCEPT_FIRST)
        else:
            return PeerUnknown(address=self._address, fingerprint=fingerprint)
        return None

    def pin(self, fingerprint: str) -> Pin | None:
        """Return the pin that still has to be written for the device that was connected to."""
        return self._pins.get(fingerprint)

    def written(self) -> None:
        """Note that the pin is in the trust store, which alone decides from now on."""
        self._pinned = self._pinned or bool(self._pins)
        self._pins.clear()
