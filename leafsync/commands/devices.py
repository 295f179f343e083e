"""The commands about this device and the trusted ones: `id`, `paths` and `trust`."""

import argparse
from typing import TYPE_CHECKING

from leafsync.config import load_config
from leafsync.errors import ExitCode, FingerprintOwn
from leafsync.run import Session
from leafsync.text import printable

if TYPE_CHECKING:
    from leafsync.engine.net.trust import TrustStore


def show_paths(_arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync paths`."""
    session.output.paths(session.paths)
    return ExitCode.DONE


def show_identity(_arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync id`: make the key at first use. Raises IdentityUnusable, ConfigMalformed."""
    from leafsync.engine.net.identity import format_groups, load_or_create_identity

    config = load_config(session.paths.config)
    identity = load_or_create_identity(session.paths.identity)
    session.output.identity(config.name, identity.fingerprint, format_groups(identity.fingerprint))
    return ExitCode.DONE


def list_devices(_arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync trust list`. Like the other `trust` commands it raises TrustMalformed.

    Those that change it raise TrustUnwritable too.
    """
    devices = _trust_store(session).devices
    session.output.devices(devices)
    if not devices:
        session.diagnostics.say("no device is trusted yet; run `leafsync id` on the other one, and here:")
        session.diagnostics.say("  leafsync trust add FINGERPRINT --name NAME")
    return ExitCode.DONE


def add_device(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync trust add`. Raises FingerprintMalformed, FingerprintOwn, DeviceExists."""
    from leafsync.engine.net.trust import Permission

    device = _trust_store(session).add(
        _of_another(arguments.fingerprint, session),
        name=arguments.name,
        address=arguments.address and str(arguments.address),
        permission=None if arguments.permission is None else Permission(arguments.permission),
        confirmed="command line",
    )
    session.diagnostics.say(f"trusted: {printable(device.name)} ({device.permission}), {device.fingerprint}")
    return ExitCode.DONE


def rename_device(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync trust rename`. Raises DeviceUnknown, DeviceAmbiguous, DeviceExists, UsageError."""
    device = _trust_store(session).change(arguments.device, name=arguments.name)
    session.diagnostics.say(f"now called {printable(device.name)}: {device.fingerprint}")
    return ExitCode.DONE


def permit_device(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync trust permit`. Raises DeviceUnknown, DeviceAmbiguous."""
    from leafsync.engine.net.trust import Permission

    device = _trust_store(session).change(arguments.device, permission=Permission(arguments.permission))
    session.diagnostics.say(f"trusted: {printable(device.name)} ({device.permission}), {device.fingerprint}")
    return ExitCode.DONE


def remove_device(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync trust remove`. Raises DeviceUnknown, DeviceAmbiguous."""
    device = _trust_store(session).remove(arguments.device)
    session.diagnostics.say(f"not trusted any more: {printable(device.name)}, {device.fingerprint}")
    return ExitCode.DONE


def replace_device(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync trust replace`. Raises DeviceUnknown, DeviceAmbiguous, FingerprintMalformed, FingerprintOwn."""
    device = _trust_store(session).replace(arguments.device, _of_another(arguments.fingerprint, session))
    session.diagnostics.say(f"trusted: {printable(device.name)} with its new key, {device.fingerprint}")
    return ExitCode.DONE


def _of_another(text: str, session: Session) -> str:
    """Return the fingerprint in `text`, which is not this device's. Raises FingerprintMalformed, FingerprintOwn."""
    from leafsync.engine.net.identity import noted_fingerprint, parse_fingerprint

    fingerprint = parse_fingerprint(text)
    if fingerprint == noted_fingerprint(session.paths.identity):
        raise FingerprintOwn(fingerprint=fingerprint)
    return fingerprint


def _trust_store(session: Session) -> "TrustStore":
    from leafsync.engine.net.trust import TrustStore

    store = TrustStore(session.paths.trust)
    store.load()
    return store
