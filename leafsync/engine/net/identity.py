"""This device's key pair: made once, kept in one private file, never replaced behind the user's back.

The identity is the key, not the certificate: the fingerprint is the SHA-256 of the public key's SPKI
(PROTOCOL.md, "Terms"), and the certificate TLS wants is made anew in memory at every load. Everything here blocks on
the disk; callers on an event loop use a thread.
"""

import contextlib
import datetime
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from leafsync.errors import FingerprintMalformed, IdentityUnusable

Fingerprint: TypeAlias = str
"""64 lower-case hexadecimal digits: the SHA-256 of a public key's SPKI in DER."""

GROUP_LENGTH = 4
"""Digits a group in what people read aloud and compare."""

MAX_KEY_FILE = 16 * 1024
"""Bytes of a key file read at most: an Ed25519 PEM has 119, and anything long is not one."""

CERTIFICATE_LIFE = datetime.timedelta(days=36500)
"""No one checks the dates of a pinned key; a century keeps other TLS tools quiet."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SEPARATORS = re.compile(r"[\s:-]+")


def fingerprint_of(certificate: x509.Certificate) -> Fingerprint:
    """Return the fingerprint of the key a certificate carries. It survives the certificate being issued again."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def parse_fingerprint(text: str) -> Fingerprint:
    """Return the fingerprint a person typed or pasted: any case, spaces, colons or dashes between the groups.

    Raises:
        FingerprintMalformed: it does not have exactly 64 hexadecimal digits.
    """
    digits = _SEPARATORS.sub("", text).lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise FingerprintMalformed(text=text)
    return digits


def format_groups(fingerprint: Fingerprint) -> str:
    """Return a fingerprint as 16 groups of 4 digits, the form people compare."""
    return " ".join(fingerprint[at : at + GROUP_LENGTH] for at in range(0, len(fingerprint), GROUP_LENGTH))


class Identity(msgspec.Struct, frozen=True, eq=False):
    """A device's key pair, and the self-signed certificate that shows it to peers."""

    fingerprint: Fingerprint
    certificate: x509.Certificate
    private_key: ed25519.Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"

    @classmethod
    def generate(cls) -> "Identity":
        """Return a new identity that exists in memory only."""
        return cls.of(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, private_key: ed25519.Ed25519PrivateKey) -> "Identity":
        """Return the identity of a key, with a fresh certificate."""
        certificate = _self_signed(private_key)
        return cls(fingerprint_of(certificate), certificate, private_key)


def load_or_create_identity(path: Path) -> Identity:
    """Return the identity kept in `path` (PKCS8 PEM, mode 0600), made now if there never was one.

    Two processes that start at once end with one key. An existing file is never replaced, nor one that is gone: a new
    key would silently cost every peer's trust (fault case 81). So the fingerprint is noted beside it.

    Raises:
        IdentityUnusable: the file is a symlink, readable by others, somebody else's, no Ed25519 key, missing, or not
            the key that was noted; or the directory cannot be written. The reason says what to do.
    """
    noted = noted_fingerprint(path)  # before the key: a process that makes it meanwhile notes it after that
    try:
        pem = _read_private(path)
        if pem is None:
            if noted is not None:
                raise IdentityUnusable(path=path, reason=f"it is missing; {_remedy(_note_of(path).name)}")
            _create(path)
            pem = _read_private(path)
    except OSError as error:
        raise IdentityUnusable(path=path, reason=error.strerror or "it cannot be opened") from error
    if pem is None:
        raise IdentityUnusable(path=path, reason="it vanished while it was being read")
    identity = Identity.of(_parse(path, pem))
    if noted and noted != identity.fingerprint:
        raise IdentityUnusable(path=path, reason=f"it is not the key of this device, {noted}; {_remedy(_both(path))}")
    if not noted:
        _note(path, identity.fingerprint)
    return identity


def _note_of(path: Path) -> Path:
    """Return where the fingerprint of the key in `path` is noted."""
    return path.with_suffix(".fingerprint")


def noted_fingerprint(path: Path) -> Fingerprint | None:
    """Return the fingerprint that was noted of the key in `path`, which is not looked at: None if none was, "" if that
    cannot be told any more.
    """
    try:
        descriptor = os.open(_note_of(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:
        text = os.read(descriptor, MAX_KEY_FILE).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return text if _FINGERPRINT.fullmatch(text) else ""


def _note(path: Path, fingerprint: Fingerprint) -> None:
    """Note whose key it is. A directory that cannot be written to has the key alone, which is as good as before."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        _write_private(staged, f"{fingerprint}\n".encode())
        staged.replace(_note_of(path))
    with contextlib.suppress(OSError):
        staged.unlink(missing_ok=True)


def _both(path: Path) -> str:
    return f"it and {_note_of(path).name}"


def _remedy(away: str) -> str:
    return f"restore it from a backup, or move {away} away to get a new key, which every peer must then trust anew"


def _read_private(path: Path) -> bytes | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        if path.is_symlink():
            raise _symlink(path) from None
        return None
    except OSError:
        if path.is_symlink():
            raise _symlink(path) from None
        raise
    try:
        _check_file(path, os.fstat(descriptor))
        return os.read(descriptor, MAX_KEY_FILE)
    finally:
        os.close(descriptor)


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityUnusable(path=path, reason="it is not a regular file; move it away")
    if status.st_uid != os.geteuid():
        raise IdentityUnusable(
            path=path, reason=f"it belongs to another user (uid {status.st_uid}); run: chown {os.geteuid()} {path}"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise IdentityUnusable(path=path, reason=f"other users can reach it; run: chmod 600 {path}")


def _symlink(path: Path) -> IdentityUnusable:
    return IdentityUnusable(path=path, reason="it is a symlink; put the key file itself there")


def _parse(path: Path, pem: bytes) -> ed25519.Ed25519PrivateKey:
    remedy = _remedy(_both(path))
    if not pem.strip():
        raise IdentityUnusable(path=path, reason=f"it is empty; {remedy}")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityUnusable(path=path, reason=f"it is not a private key in PEM; {remedy}") from error
    except Exception as error:
        # cryptography raises its own classes for algorithms it does not know, without a common base.
        raise IdentityUnusable(path=path, reason=f"its kind of key is unknown; {remedy}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise IdentityUnusable(path=path, reason=f"it is not an Ed25519 key; {remedy}")
    return key


def _create(path: Path) -> None:
    """Write a new key beside `path` and link it there: the name appears complete, or another process was first."""
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    staged = directory / f".{path.name}.{secrets.token_hex(8)}"
    try:
        _write_private(staged, pem)
        with contextlib.suppress(FileExistsError):
            os.link(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    _sync_directory(directory)


def _write_private(path: Path, content: bytes) -> None:
    """Write a new file for this user alone, down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _self_signed(private_key: ed25519.Ed25519PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leafsync")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .sign(private_key, None)
    )
