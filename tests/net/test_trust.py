"""trust.toml: strict to read, atomic to write, shared between processes."""

import multiprocessing
import os
import stat
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.net.trust import MAX_ADDRESSES, MAX_TRUST_FILE, Permission, TrustStore, check_device_name
from leafsync.errors import (
    DeviceAmbiguous,
    DeviceExists,
    DeviceUnknown,
    FingerprintMalformed,
    TrustMalformed,
    TrustUnwritable,
    UsageError,
)

A, B, C = "a" * 64, "b" * 64, "abababab" + "c" * 56
START = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """A clock that is told what time it is."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def names_in(directory: Path) -> list[str]:
    """What a directory holds."""
    return sorted(entry.name for entry in directory.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "trust.toml"


@pytest.fixture
def store(path: Path, clock: Clock) -> TrustStore:
    made = TrustStore(path, now=clock)
    made.load()
    return made


@pytest.fixture
def write(path: Path) -> Callable[[str | bytes], None]:
    """Put a text in the trust file's place."""

    def put(content: str | bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)

    return put


def table(fingerprint: str = A, **changes: str) -> str:
    """A sound device table, with some values replaced by other TOML; an empty one leaves the line out."""
    values = {
        "name": '"box"',
        "addresses": '["10.0.0.1:4455"]',
        "permission": '"read"',
        "first_seen": '"2026-05-01T12:00:00Z"',
        "last_seen": '"2026-05-01T12:00:00Z"',
        "confirmed": '"fingerprint"',
    } | changes
    lines = [f"{key} = {value}" for key, value in values.items() if value]
    return "\n".join([f"[devices.{fingerprint}]", *lines, ""])


# Reading


def test_no_file_means_nobody_is_trusted(store: TrustStore, path: Path) -> None:
    assert store.devices == ()
    assert store.get(A) is None
    assert not path.exists()


def test_a_sound_file_is_read(store: TrustStore, write: Callable[[str], None]) -> None:
    write("version = 1\n" + table())
    assert store.refresh()
    device = store.get(A)
    assert device is not None
    assert (device.name, device.addresses, device.permission) == ("box", ("10.0.0.1:4455",), Permission.READ)


MALFORMED: dict[str, str | bytes] = {
    "empty": "",
    "no TOML": "version = = 1",
    "binary": bytes(range(256)),
    "not UTF-8": b"version = 1\n# \xff\n",
    "no version": table(),
    "a newer version": "version = 2\n" + table(),
    "a version that is text": 'version = "1"\n' + table(),
    "a version that is true": "version = true\n" + table(),
    "an unknown key": "version = 1\ncolour = 2\n" + table(),
    "devices that are no table": "version = 1\ndevices = 3\n",
    "a device that is no table": f"version = 1\n[devices]\n{A} = 1\n",
    "a short fingerprint": "version = 1\n" + table("a" * 63),
    "an upper-case fingerprint": "version = 1\n" + table("A" * 64),
    "a missing field": "version = 1\n" + table(confirmed=""),
    "an unknown field": "version = 1\n" + table(colour='"red"'),
    "a name that is a number": "version = 1\n" + table(name="7"),
    "an empty name": "version = 1\n" + table(name='""'),
    "a name with ESC": "version = 1\n" + table(name='"a\\u001bb"'),
    "a name with a bidi override": "version = 1\n" + table(name='"a\\u202Eb"'),
    "a long name": "version = 1\n" + table(name='"' + "x" * 65 + '"'),
    "an unknown permission": "version = 1\n" + table(permission='"write"'),
    "addresses that are text": "version = 1\n" + table(addresses='"10.0.0.1:4455"'),
    "addresses that are numbers": "version = 1\n" + table(addresses="[1]"),
    "a date that is none": "version = 1\n" + table(last_seen='"yesterday"'),
    "a date that is TOML's": "version = 1\n" + table(last_seen="2026-05-01T12:00:00Z"),
    "two devices of one name": "version = 1\n" + table(A) + table(B, addresses="[]"),
    "two devices at one address": "version = 1\n" + table(A) + table(B, name='"other"'),
    "one device twice": "version = 1\n" + table(A) + table(A),
    "a number of too many digits": "version = " + "9" * 5000,
    "nested too deeply": "version = 1\ndevices = " + "[" * 5000,
    "cut short": ("version = 1\n" + table())[:60],
    "too large": "version = 1\n" + "#" * MAX_TRUST_FILE + "\n" + table(),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_trusts_nobody_and_is_kept(
    store: TrustStore, path: Path, write: Callable[[str | bytes], None], kind: str
) -> None:
    store.add(B, confirmed="command line")
    write(MALFORMED[kind])
    before = path.read_bytes()
    with pytest.raises(TrustMalformed):
        store.refresh()
    assert store.devices == ()
    with pytest.raises(TrustMalformed):
        store.add(A, confirmed="accept-first")
    assert path.read_bytes() == before
    with pytest.raises(TrustMalformed):
        store.refresh()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_others_may_write_trusts_nobody(
    store: TrustStore, path: Path, write: Callable[[str], None], mode: int
) -> None:
    write("version = 1\n" + table())
    path.chmod(mode)
    with pytest.raises(TrustMalformed, match="chmod 600"):
        store.load()


def test_a_symlink_a_pipe_and_a_strangers_file_are_refused(
    store: TrustStore, path: Path, write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("version = 1\n")
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))
    with pytest.raises(TrustMalformed):
        store.load()
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(TrustMalformed, match="regular"):
        store.load()
    path.unlink()
    write("version = 1\n")
    os.chown(path, 4242, 4242) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(TrustMalformed, match="another user"):
        store.load()


# Changing


def test_a_device_is_added_and_written_atomically(store: TrustStore, path: Path) -> None:
    device = store.add(A, name="box", address="10.0.0.1:4455", confirmed="command line")
    assert device.first_seen == device.last_seen == "2026-05-01T12:00:00Z"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tomllib.loads(path.read_text())["devices"][A]["permission"] == "read-write"
    assert names_in(path.parent) == ["trust.toml", "trust.toml.lock"]
    fresh = TrustStore(path)
    fresh.load()
    assert fresh.devices == (device,)


def test_the_name_defaults_to_the_fingerprint_and_stays(store: TrustStore) -> None:
    assert store.add(A, confirmed="accept-first").name == "device-aaaaaaaa"
    store.add(A, name="box", confirmed="command line")
    assert store.add(A, confirmed="fingerprint").name == "box"


def test_adding_a_known_device_updates_it(store: TrustStore, clock: Clock) -> None:
    store.add(A, name="box", address="one:1", confirmed="accept-first")
    clock.now += timedelta(days=1)
    device = store.add(A.upper(), name="crate", address="two:2", permission=Permission.READ, confirmed="command line")
    assert store.devices == (device,)
    assert (device.name, device.addresses) == ("crate", ("two:2", "one:1"))
    assert (device.permission, device.confirmed) == (Permission.READ, "command line")
    assert device.first_seen == "2026-05-01T12:00:00Z"


def test_adding_a_known_device_again_leaves_its_permission(store: TrustStore) -> None:
    assert store.add(A, confirmed="accept-first").permission is Permission.READ_WRITE
    store.add(A, permission=Permission.READ, confirmed="command line")
    assert store.add(A, name="box", address="one:1", confirmed="fingerprint").permission is Permission.READ
    assert store.add(A, permission=Permission.READ_WRITE, confirmed="command line").permission is Permission.READ_WRITE


def test_a_name_belongs_to_one_key(store: TrustStore) -> None:
    store.add(A, name="box", confirmed="command line")
    with pytest.raises(DeviceExists):
        store.add(B, name="box", confirmed="command line")
    assert store.get(B) is None


@pytest.mark.parametrize(
    "name", ["", " x", "x ", "x" * 65, "a\x1b[31m", "a\nb", "\u202eexe", "\u200bx", "\ud800", "\u2028"]
)
def test_some_names_are_refused(store: TrustStore, name: str) -> None:
    with pytest.raises(UsageError):
        check_device_name(name)
    if name:
        with pytest.raises(UsageError):
            store.add(A, name=name, confirmed="command line")


@pytest.mark.parametrize("name", ["x", "x" * 64, "Büro", "日本", "a b", "🖥", "[red]"])
def test_other_names_are_kept_as_they_are(store: TrustStore, path: Path, name: str) -> None:
    store.add(A, name=name, confirmed="command line")
    fresh = TrustStore(path)
    fresh.load()
    assert fresh.find(name).fingerprint == A


def test_only_whole_fingerprints_are_added(store: TrustStore) -> None:
    with pytest.raises(FingerprintMalformed):
        store.add("a" * 63, confirmed="command line")


def test_a_device_is_found_by_name_or_by_the_beginning_of_its_fingerprint(store: TrustStore) -> None:
    for fingerprint, name in ((A, "box"), (B, "crate"), (C, "abababab")):
        store.add(fingerprint, name=name, confirmed="command line")
    assert store.find("box").fingerprint == A
    assert store.find("aaaaaaaa").fingerprint == A
    assert store.find("AAAA AAAA aaaa").fingerprint == A
    assert store.find("abababab").fingerprint == C
    for text in ("aaaaaaa", "Box", "", "cccccccc", "zzzzzzzz"):
        with pytest.raises(DeviceUnknown):
            store.find(text)


def test_a_prefix_of_two_devices_is_ambiguous(store: TrustStore) -> None:
    store.add("12345678" + "0" * 56, confirmed="command line", name="one")
    store.add("12345678" + "1" * 56, confirmed="command line", name="two")
    with pytest.raises(DeviceAmbiguous):
        store.find("12345678")
    assert store.find("123456781").name == "two"


def test_a_device_is_removed(store: TrustStore, path: Path) -> None:
    store.add(A, name="box", confirmed="command line")
    assert store.remove("box").fingerprint == A
    assert store.devices == ()
    with pytest.raises(DeviceUnknown):
        store.remove("box")
    fresh = TrustStore(path)
    fresh.load()
    assert fresh.devices == ()


def test_a_key_is_replaced_and_the_rest_stays(store: TrustStore, clock: Clock) -> None:
    store.add(A, name="box", address="one:1", permission=Permission.READ, confirmed="accept-first")
    clock.now += timedelta(days=1)
    device = store.replace("box", B)
    assert store.devices == (device,)
    assert (device.fingerprint, device.name, device.addresses) == (B, "box", ("one:1",))
    assert device.permission is Permission.READ
    assert device.first_seen == "2026-05-02T12:00:00Z"


def test_a_key_is_not_replaced_by_another_devices(store: TrustStore) -> None:
    store.add(A, name="box", confirmed="command line")
    store.add(B, name="crate", confirmed="command line")
    with pytest.raises(DeviceExists):
        store.replace("box", B)
    with pytest.raises(DeviceUnknown):
        store.replace("barrel", C)
    assert [device.fingerprint for device in store.devices] == [A, B]


def test_an_address_belongs_to_the_device_last_seen_there(store: TrustStore, clock: Clock) -> None:
    store.add(A, name="box", address="one:1", confirmed="command line")
    store.add(B, name="crate", confirmed="command line")
    clock.now += timedelta(hours=1)
    store.touch(B, "one:1")
    found = store.at_address("one:1")
    assert found is not None
    assert (found.fingerprint, found.last_seen) == (B, "2026-05-01T13:00:00Z")
    box = store.get(A)
    assert box is not None
    assert box.addresses == ()
    assert store.at_address("two:2") is None


def test_touching_a_stranger_does_not_make_it_trusted(store: TrustStore) -> None:
    store.touch(A, "one:1")
    assert store.devices == ()


def test_a_roaming_device_keeps_its_newest_addresses(store: TrustStore) -> None:
    store.add(A, confirmed="command line")
    for number in range(20):
        store.touch(A, f"10.0.0.{number}:1")
    device = store.get(A)
    assert device is not None
    assert len(device.addresses) == MAX_ADDRESSES
    assert device.addresses[0] == "10.0.0.19:1"


# More than one process


def test_another_process_is_noticed(store: TrustStore, path: Path) -> None:
    other = TrustStore(path)
    other.load()
    assert not store.refresh()
    other.add(A, confirmed="command line")
    assert store.refresh()
    assert store.get(A) is not None
    assert not store.refresh()
    other.remove("device-aaaaaaaa")
    assert store.refresh()
    assert store.devices == ()


def test_a_deleted_file_is_noticed(store: TrustStore, path: Path) -> None:
    store.add(A, confirmed="command line")
    path.unlink()
    assert store.refresh()
    assert store.devices == ()


def add_some(path: Path, start: int) -> None:
    store = TrustStore(path)
    for number in range(start, start + 10):
        store.add(f"{number:064x}", confirmed="command line", name=f"n{number}")


def test_no_change_of_another_process_is_lost(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add_some, args=(path, start)) for start in (0, 10, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    store = TrustStore(path)
    store.load()
    assert len(store.devices) == 30


def test_a_failed_write_keeps_the_old_file(store: TrustStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(A, confirmed="command line")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrustUnwritable, match=r"No space left.*it is as it was"):
        store.add(B, confirmed="command line")
    assert path.read_bytes() == before
    assert names_in(path.parent) == ["trust.toml", "trust.toml.lock"]
    assert [device.fingerprint for device in store.devices] == [A]


def test_who_may_not_write_changes_nothing_and_reads_on(store: TrustStore, path: Path) -> None:
    store.add(A, confirmed="command line")
    lock = path.with_name("trust.toml.lock")
    lock.unlink()
    lock.mkdir()  # holds for root too, whom no permission stops
    with pytest.raises(TrustUnwritable) as raised:
        store.remove(A)
    assert str(path) in str(raised.value)
    assert "Is a directory" in str(raised.value)
    store.load()
    assert [device.fingerprint for device in store.devices] == [A]


def test_a_hint_that_cannot_be_written_is_no_failure(store: TrustStore, path: Path) -> None:
    """Where a device was last seen lets nobody in: with a full disk the devices that are trusted still get in."""
    store.add(A, confirmed="command line")
    path.with_name("trust.toml.lock").unlink()
    path.with_name("trust.toml.lock").mkdir()
    store.touch(A, "one:1")
    assert store.at_address("one:1") is None
    path.write_text("no")
    path.with_name("trust.toml.lock").rmdir()
    with pytest.raises(TrustMalformed):
        store.touch(A, "one:1")


def test_what_was_changed_is_told_as_changed_even_if_it_may_not_last(
    store: TrustStore, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flush = os.fsync

    def no_directory(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", no_directory)
    store.add(A, confirmed="command line")
    assert [device.fingerprint for device in store.devices] == [A]
    assert A in path.read_text()
    assert "Invalid argument" in caplog.text


def test_a_change_that_changes_nothing_writes_nothing(store: TrustStore, path: Path) -> None:
    store.add(A, address="one:1", confirmed="command line")
    before = path.stat().st_ino
    store.touch(A, "one:1")
    assert path.stat().st_ino == before


names = st.text(min_size=1, max_size=20).filter(lambda text: text == text.strip() and text.isprintable())


@given(
    devices=st.lists(
        st.tuples(
            st.text("0123456789abcdef", min_size=64, max_size=64),
            names,
            st.lists(st.text(max_size=20), max_size=3),
            st.sampled_from(Permission),
        ),
        max_size=5,
        unique_by=(lambda device: device[0], lambda device: device[1]),
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, devices: list[tuple[str, str, list[str], Permission]]
) -> None:
    path = tmp_path_factory.mktemp("trust") / "trust.toml"
    store = TrustStore(path, now=Clock())
    for fingerprint, name, addresses, permission in devices:
        store.add(fingerprint, name=name, permission=permission, confirmed="typed")
        for address in addresses:
            store.touch(fingerprint, address)
    fresh = TrustStore(path)
    fresh.load()
    assert fresh.devices == store.devices


def test_a_fingerprint_goes_before_a_device_that_is_called_so(store: TrustStore) -> None:
    store.add(A, name="nas", confirmed="test")
    store.add(B, name=A, confirmed="test")
    assert store.find(A).name == "nas"
    assert store.remove(A).fingerprint == A
    assert store.find(A).fingerprint == B  # nothing has that fingerprint any more, so it is the name


def test_changing_a_device_leaves_the_rest_as_it_was(store: TrustStore) -> None:
    before = store.add(A, name="nas", address="nas:4455", confirmed="test")
    after = store.change(A, permission=Permission.READ)
    assert (after.name, after.permission, after.confirmed, after.addresses) == (
        "nas",
        Permission.READ,
        before.confirmed,
        ("nas:4455",),
    )
    assert store.change("nas", name="attic").permission is Permission.READ
    store.add(B, name="lap", confirmed="test")
    with pytest.raises(DeviceExists):
        store.change("lap", name="attic")
    with pytest.raises(UsageError):
        store.change("lap", name="\x1b[31m")
    with pytest.raises(DeviceUnknown):
        store.change("nobody", name="x")


def test_a_device_is_called_what_it_calls_itself_until_somebody_names_it(store: TrustStore) -> None:
    store.add(A, confirmed="test")
    assert store.get(A).name == "device-aaaaaaaa"  # type: ignore[union-attr]
    assert store.suggest_name(A, "nas").name == "nas"  # type: ignore[union-attr]
    assert store.suggest_name(A, "other").name == "nas"  # type: ignore[union-attr]


@pytest.mark.parametrize("claimed", ["", "\x1b[31m", "x" * 65, "lap"])
def test_a_claim_that_cannot_be_a_name_changes_nothing(store: TrustStore, claimed: str) -> None:
    store.add(B, name="lap", confirmed="test")
    store.add(A, confirmed="test")
    assert store.suggest_name(A, claimed) == store.get(A)
    assert store.get(A).name == "device-aaaaaaaa"  # type: ignore[union-attr]
    assert store.suggest_name(C, "nas") is None
