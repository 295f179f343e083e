"""Which devices this one trusts: `trust.toml`, the only record of it.

Keyed by fingerprint; names and addresses are labels and hints and never decide anything. The file is read strictly:
whatever is odd about it means that nobody is trusted until a person mended it (fault case 80). Everything here
blocks on the disk for a moment; `refresh` costs one stat when nothing changed.
"""

import fcntl
import logging
import os
import re
import secrets
import shlex
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec
import tomli_w

from leafsync.engine.core.ownfiles import file_problem
from leafsync.engine.net.identity import Fingerprint, parse_fingerprint
from leafsync.errors import (
    DeviceAmbiguous,
    DeviceExists,
    DeviceUnknown,
    TrustMalformed,
    TrustUnwritable,
    UsageError,
)
from leafsync.text import printable

logger = logging.getLogger("leafsync.trust")

SCHEMA_VERSION = 1
"""The layout of trust.toml. A file with another number is from another LeafSync, and is not guessed at."""

MAX_NAME = 64
"""Characters of a device name: it has to fit a column of the screen."""

MAX_ADDRESSES = 8
"""Address hints kept per device, the newest first: a device that roams must not grow the file for ever."""

MAX_TRUST_FILE = 1024 * 1024
"""Bytes of trust.toml read at most: thousands of devices."""

MIN_PREFIX = 8
"""Hexadecimal digits of a fingerprint that may stand for the device where a person names one it already trusts."""

_PREFIX = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},64}}")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Permission(StrEnum):
    """What a device may do with the folders it is shown."""

    READ = "read"
    READ_WRITE = "read-write"


class Device(msgspec.Struct, frozen=True):
    """A trusted device. Dates are UTC, RFC 3339. `confirmed` says how a person (or a flag) vouched for it."""

    fingerprint: Fingerprint
    name: str
    addresses: tuple[str, ...]
    permission: Permission
    first_seen: str
    last_seen: str
    confirmed: str

    @property
    def operand(self) -> str:
        """What a command that people copy into a shell calls the device, which may have named itself: its name, quoted,
        or its fingerprint where the name would be taken for an option or is not shown as it is typed (fault case 18).
        """
        typable = printable(self.name) == self.name and not self.name.startswith("-")
        return shlex.quote(self.name) if typable else self.fingerprint


def check_device_name(name: str) -> str:
    """Return `name` if a device may be called so: 1 to 64 visible characters, nothing that moves or hides text.

    Raises:
        UsageError: it may not.
    """
    if not 1 <= len(name) <= MAX_NAME:
        raise UsageError(reason=f"a device name has 1 to {MAX_NAME} characters")
    if name != name.strip() or any(unicodedata.category(character) in _UNSAFE_CATEGORIES for character in name):
        raise UsageError(reason="a device name has no control characters, and no space at its ends")
    return name


class TrustStore:
    """The trusted devices, in memory and in `path`. Changes are made under a lock on a fresh copy of the file, so two
    processes never lose each other's."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now
        self._devices: dict[Fingerprint, Device] = {}
        self._stamp: tuple[int, ...] | None = None

    def load(self) -> None:
        """Read the file; none means that nobody is trusted.

        Raises:
            TrustMalformed: it is not a sound trust file of this version, or others may write it. It is left alone,
                and nobody is trusted.
        """
        devices: dict[Fingerprint, Device] = {}
        stamp = None
        try:
            read, text = self._read()
            devices = self._parse(text) if text is not None else {}
            stamp = read
        except OSError as error:
            raise self._malformed(error.strerror or "it cannot be read") from error
        finally:
            # All at once: other threads look devices up meanwhile.
            self._devices, self._stamp = devices, stamp

    def refresh(self) -> bool:
        """Read the file again if it changed since it was read last, and return whether it did.

        Raises:
            TrustMalformed: as `load`.
        """
        if self._stamp is not None and self._stamp == self._stamp_now():
            return False
        self.load()
        return True

    @property
    def devices(self) -> tuple[Device, ...]:
        """All trusted devices, by name."""
        return tuple(sorted(self._devices.values(), key=lambda device: (device.name, device.fingerprint)))

    def get(self, fingerprint: Fingerprint) -> Device | None:
        """Return the device with exactly this fingerprint."""
        return self._devices.get(fingerprint)

    def find(self, text: str) -> Device:
        """Return the device a person means: by its fingerprint, its name, or 8 or more digits its fingerprint begins
        with.

        Raises:
            DeviceUnknown: there is none.
            DeviceAmbiguous: there are several.
        """
        if text in self._devices:  # before names: a device may be called like another one's fingerprint
            return self._devices[text]
        for device in self._devices.values():
            if device.name == text:
                return device
        digits = re.sub(r"[\s:-]+", "", text).lower()
        found = [device for key, device in self._devices.items() if key.startswith(digits)]
        if not _PREFIX.fullmatch(digits) or not found:
            raise DeviceUnknown(name=text)
        if len(found) > 1:
            raise DeviceAmbiguous(name=text)
        return found[0]

    def at_address(self, address: str) -> Device | None:
        """Return the device last seen at `address` ("host:port"), if one was."""
        return next((device for device in self._devices.values() if address in device.addresses), None)

    def add(
        self,
        fingerprint: Fingerprint,
        *,
        name: str | None = None,
        address: str | None = None,
        permission: Permission | None = None,
        confirmed: str,
    ) -> Device:
        """Trust a device, or change the name, address, permission and confirmation of one that is trusted already.

        What is None stays; a new device may read and write unless `permission` says otherwise.

        Raises:
            DeviceExists: another key has that name.
            UsageError: the name cannot be one.
        """
        fingerprint = parse_fingerprint(fingerprint)
        with self._changing() as devices:
            known = devices.get(fingerprint)
            name = name or (known.name if known else _default_name(fingerprint))
            self._check_free(devices, check_device_name(name), fingerprint)
            moment = self._moment()
            devices[fingerprint] = Device(
                fingerprint=fingerprint,
                name=name,
                addresses=known.addresses if known else (),
                permission=permission or (known.permission if known else Permission.READ_WRITE),
                first_seen=known.first_seen if known else moment,
                last_seen=known.last_seen if known else moment,
                confirmed=confirmed,
            )
            if address is not None:
                _give_address(devices, fingerprint, address)
        return self._devices[fingerprint]

    def change(self, text: str, *, name: str | None = None, permission: Permission | None = None) -> Device:
        """Change the name or the permission of the device `find` finds; what is None stays.

        Raises:
            DeviceUnknown, DeviceAmbiguous: as `find`.
            DeviceExists: another device has that name.
            UsageError: the name cannot be one.
        """
        with self._changing() as devices:
            device = self.find(text)
            changed = msgspec.structs.replace(
                device, name=name or device.name, permission=permission or device.permission
            )
            self._check_free(devices, check_device_name(changed.name), device.fingerprint)
            devices[device.fingerprint] = changed
        return changed

    def suggest_name(self, fingerprint: Fingerprint, name: str) -> Device | None:
        """Call a device what it calls itself, as long as nobody has named it, and return it as it is called then.

        A name that cannot be one, or that is another device's, changes nothing: it is only a claim.
        """
        known = self.get(fingerprint)
        if known is None or known.name != _default_name(fingerprint) or known.name == name:
            return known
        try:
            return self.change(fingerprint, name=name)
        except UsageError:
            return known

    def remove(self, text: str) -> Device:
        """Stop trusting the device `find` finds, and return it."""
        with self._changing() as devices:
            device = self.find(text)
            del devices[device.fingerprint]
        return device

    def replace(self, text: str, fingerprint: Fingerprint, *, confirmed: str = "command line") -> Device:
        """Give the device `find` finds a new key; name, addresses and permission stay.

        Raises:
            DeviceUnknown, DeviceAmbiguous: as `find`.
            DeviceExists: the new key is trusted already, under another name.
        """
        fingerprint = parse_fingerprint(fingerprint)
        with self._changing() as devices:
            old = self.find(text)
            holder = devices.get(fingerprint)
            if holder is not None and holder.fingerprint != old.fingerprint:
                raise DeviceExists(name=holder.name)
            del devices[old.fingerprint]
            moment = self._moment()
            devices[fingerprint] = msgspec.structs.replace(
                old, fingerprint=fingerprint, first_seen=moment, last_seen=moment, confirmed=confirmed
            )
        return self._devices[fingerprint]

    def touch(self, fingerprint: Fingerprint, address: str | None = None) -> None:
        """Note that a trusted device was just talked to, and where. An unknown fingerprint is left unknown.

        These are hints: where they cannot be written, a device that is trusted is not turned away for it.
        """
        with suppress(TrustUnwritable), self._changing() as devices:
            device = devices.get(fingerprint)
            if device is None:
                return
            devices[fingerprint] = msgspec.structs.replace(device, last_seen=self._moment())
            if address is not None:
                _give_address(devices, fingerprint, address)

    def _check_free(self, devices: dict[Fingerprint, Device], name: str, fingerprint: Fingerprint) -> None:
        if any(device.name == name and device.fingerprint != fingerprint for device in devices.values()):
            raise DeviceExists(name=name)

    def _moment(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @contextmanager
    def _changing(self) -> Iterator[dict[Fingerprint, Device]]:
        """Yield the devices as the file has them now; written back, all or nothing, when the block ends well.

        Raises:
            TrustMalformed: as `load`.
            TrustUnwritable: the disk or the system refused.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.load()
            devices = dict(self._devices)
            yield devices
            if devices != self._devices:
                self._write(devices)
                self._devices = devices
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            os.close(lock)

    @property
    def _lock_path(self) -> Path:
        return self._path.with_name(self._path.name + ".lock")

    def _write(self, devices: dict[Fingerprint, Device]) -> None:
        staged = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                tomli_w.dump(_document(devices), file)
                file.flush()
                os.fsync(descriptor)
            staged.replace(self._path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        self._flush_directory()
        self._stamp = self._stamp_now()

    def _flush_directory(self) -> None:
        """Have the new file outlast a power cut. Raises nothing: it has its name already, and nobody may be told that
        all is as it was.
        """
        try:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            logger.warning("%s was changed, but may not be any more after a power cut: %s", self._path, error.strerror)

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            return _stamp(self._path.stat(follow_symlinks=False))
        except OSError:
            return ()

    def _read(self) -> tuple[tuple[int, ...], str | None]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return (), None
        try:
            status = os.fstat(descriptor)
            self._check_file(status)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_TRUST_FILE)
        finally:
            os.close(descriptor)
        try:
            return _stamp(status), content.decode()
        except UnicodeDecodeError as error:
            raise self._malformed("it is not UTF-8") from error

    def _check_file(self, status: os.stat_result) -> None:
        reason = file_problem(self._path, status, os.geteuid())
        if reason is not None:
            raise self._malformed(reason)
        if status.st_size > MAX_TRUST_FILE:
            raise self._malformed("it is too large")

    def _parse(self, text: str) -> dict[Fingerprint, Device]:
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # besides TOMLDecodeError: numbers and tables beyond all measure
            raise self._malformed(f"it is not TOML: {error}") from error
        version = document.get("version")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise self._malformed(f"its version is {version!r}, this LeafSync reads {SCHEMA_VERSION}")
        tables = document.get("devices", {})
        if not isinstance(tables, dict) or set(document) - {"version", "devices"}:
            raise self._malformed("it has entries besides version and [devices.FINGERPRINT]")
        devices: dict[Fingerprint, Device] = {}
        for key, table in tables.items():
            device = self._parse_device(key, table)
            self._refuse_doubles(devices, device)
            devices[device.fingerprint] = device
        return devices

    def _parse_device(self, key: str, table: object) -> Device:
        where = f"device {key[:MIN_PREFIX]}"
        if not re.fullmatch(r"[0-9a-f]{64}", key):
            raise self._malformed(f"{where}: a key is 64 lower-case hexadecimal digits")
        fields = set(Device.__struct_fields__) - {"fingerprint"}
        if not isinstance(table, dict) or set(table) != fields:
            raise self._malformed(f"{where}: it must have exactly {', '.join(sorted(fields))}")
        addresses = table["addresses"]
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise self._malformed(f"{where}: addresses must be a list of strings")
        if not all(isinstance(table[field], str) for field in fields - {"addresses"}):
            raise self._malformed(f"{where}: all but addresses must be strings")
        try:
            check_device_name(table["name"])
            permission = Permission(table["permission"])
            for field in ("first_seen", "last_seen"):
                datetime.fromisoformat(table[field])
        except (UsageError, ValueError) as error:
            raise self._malformed(f"{where}: {error}") from error
        return Device(
            key,
            table["name"],
            tuple(addresses),
            permission,
            table["first_seen"],
            table["last_seen"],
            table["confirmed"],
        )

    def _refuse_doubles(self, devices: dict[Fingerprint, Device], device: Device) -> None:
        for other in devices.values():
            if other.name == device.name:
                raise self._malformed(f"two devices are called {device.name}")
            if set(other.addresses) & set(device.addresses):
                raise self._malformed(f"{other.name} and {device.name} have the same address")

    def _malformed(self, reason: str) -> TrustMalformed:
        return TrustMalformed(path=self._path, reason=reason)

    def _unwritable(self, error: OSError) -> TrustUnwritable:
        return TrustUnwritable(path=self._path, reason=error.strerror or "its directory cannot be written")


def _default_name(fingerprint: Fingerprint) -> str:
    """Return what a device is called that nobody has named."""
    return f"device-{fingerprint[:MIN_PREFIX]}"


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _document(devices: dict[Fingerprint, Device]) -> dict[str, object]:
    tables = {}
    for device in devices.values():
        table = {
            **msgspec.structs.asdict(device),
            "addresses": list(device.addresses),
            "permission": str(device.permission),
        }
        del table["fingerprint"]
        tables[device.fingerprint] = table
    return {"version": SCHEMA_VERSION, "devices": tables}


def _give_address(devices: dict[Fingerprint, Device], fingerprint: Fingerprint, address: str) -> None:
    """Put `address` first in the device's hints, and take it from every other: one address, one device."""
    for key, device in devices.items():
        kept = tuple(known for known in device.addresses if known != address)
        addresses = (address, *kept)[:MAX_ADDRESSES] if key == fingerprint else kept
        devices[key] = msgspec.structs.replace(device, addresses=addresses)
