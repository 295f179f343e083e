"""Whom a job accepts: every combination, and never again once the user has said no."""

import itertools
from pathlib import Path

import pytest

from leafsync.engine.core.address import Address
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync.policy import BY_ACCEPT_FIRST, BY_FINGERPRINT, ConnectPolicy, Pin, ServePolicy
from leafsync.errors import FingerprintMismatch, LeafSyncError, PeerChanged, PeerUnknown, TrustMalformed

DEVICE, OTHER, THIRD = "a1" * 32, "b2" * 32, "c3" * 32
ADDRESS = Address("host", 4455)


@pytest.fixture
def trust(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "trust.toml")


def known(trust: TrustStore, fingerprint: str, name: str, address: str | None = None) -> None:
    trust.add(fingerprint, name=name, address=address, confirmed="test")


PINNED = {
    "here": (DEVICE, str(ADDRESS)),
    "known": (DEVICE, None),
    "elsewhere": (DEVICE, "other:4455"),
    "unknown": None,
}
"""What the trust store holds of the device that answers."""


def connect_verdict(
    pinned: str, accept_first: bool, fingerprint: str | None, taken: bool
) -> type[LeafSyncError] | str | None:
    """What has to come of it, from the most serious reason down: an error, the ground of a pin, or None."""
    if taken and pinned != "here":
        return PeerChanged
    if fingerprint == OTHER:
        return FingerprintMismatch
    if pinned != "unknown":
        return None
    if fingerprint == DEVICE:
        return BY_FINGERPRINT
    return BY_ACCEPT_FIRST if accept_first else PeerUnknown


@pytest.mark.parametrize(
    ("pinned", "accept_first", "fingerprint", "taken"),
    [
        combination
        for combination in itertools.product(PINNED, (False, True), (None, DEVICE, OTHER), (False, True))
        if combination[0] != "here" or not combination[3]
    ],
)
def test_connecting(trust: TrustStore, pinned: str, accept_first: bool, fingerprint: str | None, taken: bool) -> None:
    """`taken`: another device is known at the address."""
    if held := PINNED[pinned]:
        known(trust, held[0], "device", held[1])
    if taken:
        known(trust, THIRD, "earlier", str(ADDRESS))
    policy = ConnectPolicy(trust, ADDRESS, fingerprint=fingerprint, accept_first=accept_first)
    verdict = connect_verdict(pinned, accept_first, fingerprint, taken)
    if isinstance(verdict, type):
        with pytest.raises(verdict) as raised:
            policy.authorize(DEVICE)
        assert type(raised.value) is verdict
        assert policy.pin(DEVICE) is None
    else:
        policy.authorize(DEVICE)
        assert policy.pin(DEVICE) == (Pin(DEVICE, verdict) if verdict else None)


@pytest.mark.parametrize(
    ("pinned", "accept_first", "fingerprint"),
    list(itertools.product((True, False), (False, True), (None, DEVICE, OTHER))),
)
def test_serving(trust: TrustStore, pinned: bool, accept_first: bool, fingerprint: str | None) -> None:
    if pinned:
        known(trust, DEVICE, "device")
    policy = ServePolicy(trust, fingerprint=fingerprint, accept_first=accept_first)
    if not pinned and fingerprint != DEVICE and not accept_first:
        with pytest.raises(PeerUnknown):
            policy.authorize(DEVICE)
        return
    policy.authorize(DEVICE)
    ground = None if pinned else BY_FINGERPRINT if fingerprint == DEVICE else BY_ACCEPT_FIRST
    assert policy.pin(DEVICE) == (Pin(DEVICE, ground) if ground else None)


def test_the_first_unknown_device_alone_is_let_in(trust: TrustStore) -> None:
    policy = ServePolicy(trust, fingerprint=None, accept_first=True)
    policy.authorize(DEVICE)
    with pytest.raises(PeerUnknown):
        policy.authorize(OTHER)
    policy.authorize(DEVICE)
    assert policy.pin(OTHER) is None


def test_a_named_device_leaves_the_first_place_to_another(trust: TrustStore) -> None:
    policy = ServePolicy(trust, fingerprint=DEVICE, accept_first=True)
    policy.authorize(DEVICE)
    policy.authorize(OTHER)
    assert (policy.pin(DEVICE), policy.pin(OTHER)) == (Pin(DEVICE, BY_FINGERPRINT), Pin(OTHER, BY_ACCEPT_FIRST))


@pytest.mark.parametrize("options", [(DEVICE, False), (None, True), (DEVICE, True)])
def test_a_served_device_that_was_removed_stays_out(trust: TrustStore, options: tuple[str | None, bool]) -> None:
    policy = ServePolicy(trust, fingerprint=options[0], accept_first=False if options[0] else options[1])
    policy.authorize(DEVICE)
    known(trust, DEVICE, "device")
    policy.written(DEVICE)
    policy.authorize(DEVICE)
    trust.remove("device")
    with pytest.raises(PeerUnknown):
        policy.authorize(DEVICE)


@pytest.mark.parametrize("options", [(DEVICE, False), (None, True)])
def test_a_device_that_was_removed_is_not_connected_to_again(
    trust: TrustStore, options: tuple[str | None, bool]
) -> None:
    policy = ConnectPolicy(trust, ADDRESS, fingerprint=options[0], accept_first=options[1])
    policy.authorize(DEVICE)
    policy.authorize(DEVICE)
    known(trust, DEVICE, "device", str(ADDRESS))
    policy.written()
    policy.authorize(DEVICE)
    assert policy.pin(DEVICE) is None
    trust.remove("device")
    with pytest.raises(PeerUnknown):
        policy.authorize(DEVICE)


def test_a_damaged_trust_file_lets_nobody_in(trust: TrustStore, tmp_path: Path) -> None:
    known(trust, DEVICE, "device", str(ADDRESS))
    (tmp_path / "trust.toml").write_text("not = [toml")
    with pytest.raises(TrustMalformed):
        ServePolicy(trust, fingerprint=DEVICE, accept_first=True).authorize(DEVICE)
    with pytest.raises(TrustMalformed):
        ConnectPolicy(trust, ADDRESS, fingerprint=DEVICE, accept_first=True).authorize(DEVICE)
