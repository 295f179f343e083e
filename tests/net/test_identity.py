"""The key file: made once, by one process, and never replaced."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given, strategies as st

from leafsync.engine.net.identity import (
    Identity,
    fingerprint_of,
    format_groups,
    load_or_create_identity,
    parse_fingerprint,
)
from leafsync.errors import FingerprintMalformed, IdentityUnusable

fingerprints = st.text("0123456789abcdef", min_size=64, max_size=64)


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def names_in(directory: Path) -> list[str]:
    """What a directory holds."""
    return sorted(entry.name for entry in directory.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "identity.pem"


@pytest.fixture
def sound(path: Path) -> Path:
    """A key file as it should be."""
    load_or_create_identity(path)
    return path


# Fingerprints


def test_the_fingerprint_is_of_the_key_not_of_the_certificate() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    one, two = Identity.of(key), Identity.of(key)
    assert one.certificate != two.certificate
    assert one.fingerprint == two.fingerprint == fingerprint_of(two.certificate)
    assert Identity.generate().fingerprint != one.fingerprint


@given(fingerprints)
def test_a_fingerprint_is_read_back_however_it_was_written(fingerprint: str) -> None:
    groups = format_groups(fingerprint)
    assert len(groups.split()) == 16
    pairs = [fingerprint[at : at + 2] for at in range(0, 64, 2)]
    for text in (fingerprint, groups, groups.upper(), ":".join(pairs), "-".join(pairs), f"  {groups}\n"):
        assert parse_fingerprint(text) == fingerprint


@pytest.mark.parametrize("text", ["", "f" * 63, "f" * 65, "g" * 64, "0x" + "f" * 62, "f" * 63 + "\u0661", "\x1b" * 64])
def test_anything_else_is_no_fingerprint(text: str) -> None:
    with pytest.raises(FingerprintMalformed) as raised:
        parse_fingerprint(text)
    assert "\x1b" not in str(raised.value)


def test_an_identity_never_shows_its_key() -> None:
    identity = Identity.generate()
    assert repr(identity) == f"Identity({identity.fingerprint})"
    with pytest.raises(AttributeError):
        identity.fingerprint = "x"  # type: ignore[misc]


# The file


def test_the_key_is_made_once_in_a_private_file(path: Path) -> None:
    first = load_or_create_identity(path)
    assert load_or_create_identity(path).fingerprint == first.fingerprint
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert names_in(path.parent) == ["identity.fingerprint", "identity.pem"]


def test_a_loose_umask_does_not_loosen_the_key(path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create_identity(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_directory_of_an_existing_key_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    load_or_create_identity(tmp_path / "key.pem")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def load_and_report(path: Path, results: "multiprocessing.SimpleQueue[str]") -> None:
    results.put(load_or_create_identity(path).fingerprint)


def test_processes_that_start_at_once_end_with_one_key(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    processes = [context.Process(target=load_and_report, args=(path, results)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert len({results.get() for _ in processes}) == 1
    assert names_in(path.parent) == ["identity.fingerprint", "identity.pem"]


def test_losing_the_race_means_using_the_winners_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = ed25519.Ed25519PrivateKey.generate()
    link = os.link

    def late_link(source: Path, target: Path) -> None:
        path.write_bytes(pem_of(winner))
        path.chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", late_link)
    assert load_or_create_identity(path).fingerprint == Identity.of(winner).fingerprint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o777])
def test_a_key_others_can_reach_is_refused_with_the_remedy(sound: Path, mode: int) -> None:
    sound.chmod(mode)
    with pytest.raises(IdentityUnusable) as raised:
        load_or_create_identity(sound)
    assert f"chmod 600 {sound}" in str(raised.value)


CONTENTS = {
    "empty": (b"", "empty"),
    "blank": (b" \n\n", "empty"),
    "no PEM": (b"hello world\n", "not a private key"),
    "cut short": (pem_of(ed25519.Ed25519PrivateKey.generate())[:60], "not a private key"),
    "binary": (bytes(range(256)) * 10, "not a private key"),
    "another kind": (pem_of(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key"),
    "encrypted": (
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        ),
        "not a private key",
    ),
    "a certificate": (Identity.generate().certificate.public_bytes(Encoding.PEM), "not a private key"),
    "huge": (b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 10_000_000, "not a private key"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_that_is_no_ed25519_key_is_refused_and_kept(sound: Path, kind: str) -> None:
    content, words = CONTENTS[kind]
    sound.write_bytes(content)
    with pytest.raises(IdentityUnusable, match=words):
        load_or_create_identity(sound)
    assert sound.read_bytes() == content


@pytest.mark.parametrize("dangling", [True, False])
def test_a_symlink_is_refused(sound: Path, tmp_path: Path, dangling: bool) -> None:
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "nowhere" if dangling else sound)
    with pytest.raises(IdentityUnusable, match="symlink"):
        load_or_create_identity(link)
    assert link.is_symlink()


def test_a_directory_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        with pytest.raises(IdentityUnusable):
            load_or_create_identity(tmp_path / name)


def test_somebody_elses_key_is_refused(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(IdentityUnusable, match="run: chown 4242"):
        load_or_create_identity(sound)


def test_a_key_that_is_gone_is_not_made_anew(sound: Path) -> None:
    sound.unlink()
    with pytest.raises(IdentityUnusable, match="missing; restore it from a backup, or move identity"):
        load_or_create_identity(sound)
    assert names_in(sound.parent) == ["identity.fingerprint"]


def test_another_key_is_not_taken_for_this_devices(sound: Path) -> None:
    mine = load_or_create_identity(sound).fingerprint
    sound.write_bytes(pem_of(ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(IdentityUnusable, match=mine):
        load_or_create_identity(sound)


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "a link", "a directory", "a pipe"])
def test_the_key_counts_where_the_note_is_damaged(sound: Path, tmp_path: Path, damage: str) -> None:
    mine = load_or_create_identity(sound).fingerprint
    note = sound.with_name("identity.fingerprint")
    note.unlink()
    match damage:
        case "empty":
            note.touch()
        case "garbage":
            note.write_bytes(bytes(range(256)) * 100)
        case "a link":
            note.symlink_to(tmp_path / "nowhere")
        case "a directory":
            note.mkdir()
        case "a pipe":
            os.mkfifo(note)
    assert load_or_create_identity(sound).fingerprint == mine
    if damage != "a directory":
        assert note.read_text() == f"{mine}\n"
    assert not (tmp_path / "nowhere").exists()
    assert len(names_in(sound.parent)) == 2


def test_a_note_that_cannot_be_written_costs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the key is mounted read-only."""
    fingerprint = load_or_create_identity(path).fingerprint
    path.with_name("identity.fingerprint").unlink()

    def refused(_source: Path, _target: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refused)
    assert load_or_create_identity(path).fingerprint == fingerprint
    assert names_in(path.parent) == ["identity.pem"]


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityUnusable, match="Not a directory"):
        load_or_create_identity(tmp_path / "file" / "identity.pem")


def test_a_failed_creation_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityUnusable, match="No space left"):
        load_or_create_identity(path)
    assert names_in(path.parent) == []


def test_no_descriptor_is_left_open(path: Path) -> None:
    load_or_create_identity(path)
    before = len(names_in(Path("/proc/self/fd")))
    for _ in range(5):
        load_or_create_identity(path)
    path.chmod(0o644)
    for _ in range(5):
        with pytest.raises(IdentityUnusable):
            load_or_create_identity(path)
    assert len(names_in(Path("/proc/self/fd"))) == before
