"""This device: LeafSync's own files, from the lock to the trash: in use, damaged, somebody else's, in the way."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.devices import Device as Home
from leafsync.cli import main
from leafsync.engine.core.events import PeerLeft, Warned
from leafsync.engine.core.options import ServeOptions
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassState
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.identity import folder_identity
from leafsync.engine.disk.retention import prune
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from leafsync.engine.net.identity import Identity, load_or_create_identity
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync import share
from leafsync.engine.sync.records import LAST, Records, record_name
from leafsync.errors import EntryRefused, FolderInUse, TrustMalformed
from tests.faults.cases import Case
from tests.support import program
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeDevice
from tests.support.faults import OLD, agreed

TITLE = "This device: LeafSync's own files"

CASES = (
    Case(
        79,
        "two processes use one folder, by whatever path",
        "the second one is refused (exit code 6) and names the first; the kernel lets go of the lock when a process "
        "ends, however it does",
    ),
    Case(
        80,
        "`config.toml`, the trust file or a folder's records are damaged, empty, from a newer version, or others may "
        "write them",
        "nothing is begun (exit code 2), nobody is trusted, the sentence names the file and what to do, and the file "
        "stays as it is; running jobs disconnect. Records that are gone or empty are made anew, and nothing is deleted "
        "for want of them",
    ),
    Case(
        81,
        "this device's key is missing, damaged, another one, of another kind, or others can reach it",
        "nothing is begun (exit code 2), the sentence says what to run; a new key is made only where there never was "
        "one",
    ),
    Case(
        82,
        "the trash has the name already, is too large or is a link; a restore finds something newer",
        "everything is kept under another name, the oldest passes go first and those of the last hour stay, a link is "
        "refused, and what is newer is never overwritten. What LeafSync writes itself leads to no further pass",
    ),
)


# 79: one folder, two processes


async def test_case_79_a_folder_in_use_is_refused_by_any_path(make_device: MakeDevice, tmp_path: Path) -> None:
    first, second = await make_device("first"), await make_device("second")
    job = await first.serve()
    (tmp_path / "link").symlink_to(first.folder)
    for path in (first.folder, tmp_path / "link", first.folder / ".." / first.folder.name):
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            await second.engine.serve(ServeOptions(str(path), host="127.0.0.1", port=0))
    await job.stop()
    second.folder = first.folder
    await (await second.serve()).stop()


async def test_case_79_another_process_is_named_until_it_dies(pair: Pair) -> None:
    """Killed, so that it cannot clean up: the kernel does."""
    job = await pair.server.serve()
    command = Home(pair.client.home).command("serve", pair.client.folder, "--host", "127.0.0.1", "--port", "0")
    lock = pair.client.folder / ".leafsync_tmp" / "lock"
    with program.started(pair.client, command) as holder:
        await until(lambda: lock.exists() and lock.read_text() == f"{holder.pid}\n")
        with pytest.raises(FolderInUse, match=f"process {holder.pid}"):
            await pair.client.sync(job)
        done = await program.connect(pair.client, job)
        assert done.returncode == 6, done.stderr
        assert f"in use by another LeafSync (process {holder.pid})" in done.stderr
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert not (await pair.client.sync(job)).problems


# 80: damaged files


class Own:
    """A device that was used before, and its files."""

    def __init__(self, place: Path) -> None:
        self.home, self.folder = place / "home", place / "folder"
        self.folder.mkdir()
        self.key = self.home / "identity.pem"
        self.trust = self.home / "trust.toml"
        self.config = self.home / "config.toml"
        self.records = self.home / "state" / "folders" / record_name(str(self.folder)) / "store.sqlite"
        load_or_create_identity(self.key)
        TrustStore(self.trust).add(Identity.generate().fingerprint, name="peer", confirmed="test")
        self.config.write_text('name = "desk"\n')
        with Folder.open(str(self.folder)) as folder, Store.open(self.records) as store:
            folder_identity(folder, store)

    def file(self, name: str) -> Path:
        path: Path = getattr(self, name)
        return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    own = Own(tmp_path)
    monkeypatch.setenv("LEAFSYNC_HOME", str(own.home))
    return own


def from_a_newer_version(path: Path) -> None:
    if path.suffix == ".sqlite":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        text = path.read_text()
        path.write_text(text.replace("version = 1", "version = 2") if "version" in text else f"{text}future = 1\n")


def in_anothers_hands(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: os.truncate(path, path.stat().st_size * 2 // 3),
    "zero bytes": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "garbage": lambda path: path.write_bytes(b"\xff\x1b[31m garbage \n" * 300),
    "from a newer version": from_a_newer_version,
    "writable by others": lambda path: path.chmod(0o666),
    "somebody else's": in_anothers_hands,
    "a directory": replaced(Path.mkdir),
    "a FIFO": replaced(os.mkfifo),
}
BEGUN = {("config", "zero bytes"), ("records", "zero bytes")}
"""An empty `config.toml` sets nothing; records that were just made when the process was killed are empty."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config", "trust", "records"])
def test_case_80_a_damaged_file_ends_it_before_anything_begins(
    own: Own, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    path = own.file(name)
    DAMAGES[damage](path)
    before = path.lstat(), path.read_bytes() if path.is_file() else b""
    code = main(["connect", "127.0.0.1:9", str(own.folder), "--once", "--no-tui"])
    said = capsys.readouterr().err
    if (name, damage) in BEGUN:
        assert code == 4, "it went on until nobody answered"
        return
    assert code == 2, said
    assert str(path) in said
    assert "\x1b" not in said
    assert "Traceback" not in said
    after = path.lstat(), path.read_bytes() if path.is_file() else b""
    assert (after[0].st_ino, after[0].st_mode, after[1]) == (before[0].st_ino, before[0].st_mode, before[1])


@pytest.mark.parametrize("damage", ["cut short", "zero bytes", "garbage", "from a newer version", "writable by others"])
async def test_case_80_a_trust_file_damaged_meanwhile_disconnects(pair: Pair, damage: str) -> None:
    """Nobody is trusted while it cannot be read, on either side; when it is mended the server goes on."""
    server = await pair.server.serve()
    client = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: bool(pair.client.passes()))
    path = pair.server.home / "trust.toml"
    sound = path.read_bytes()
    DAMAGES[damage](path)
    bad = path.read_bytes()
    await until(lambda: bool(pair.server.seen(PeerLeft)))
    assert any(str(path) in warned.message for warned in pair.server.seen(Warned))
    assert pair.server.engine.trust.devices == ()
    assert path.read_bytes() == bad
    await client.stop()
    path.chmod(0o600)
    path.write_bytes(sound)
    client = await pair.client.connect(server, mode=Mode.BOTH)
    passes = len(pair.client.passes())
    await until(lambda: len(pair.client.passes()) > passes)
    path = pair.client.home / "trust.toml"
    DAMAGES[damage](path)
    with pytest.raises(TrustMalformed):
        await client.wait()


@pytest.mark.parametrize("damage", ["zero bytes", "gone"])
async def test_case_80_records_that_are_lost_delete_nothing(pair: Pair, damage: str) -> None:
    """What the other side deleted comes back: without a base nobody knows that it was."""
    await agreed(pair)
    records = next((pair.client.home / "state").rglob("store.sqlite"))
    (pair.server.folder / "a").unlink()
    pair.server.write("b", "changed", mtime=OLD + 5)
    records.unlink() if damage == "gone" else os.truncate(records, 0)
    summary = await pair.client.sync(await pair.server.serve())
    assert pair.client.read("a") == pair.server.read("a") == b"content of a"
    assert pair.client.tree() == pair.server.tree()
    assert {pair.client.read("b"), *(pair.client.read(copy) for _path, copy in summary.conflicts)} >= {b"changed"}


async def test_case_80_records_damaged_meanwhile_end_it_in_a_sentence(pair: Pair) -> None:
    """The serving side's: the client is told that it cannot serve now, and no file is touched."""
    await agreed(pair)
    before = pair.client.tree(), pair.server.tree()
    records = next((pair.client.home / "state").rglob("store.sqlite"))
    with records.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (records.stat().st_size - 4096))
    pair.server.write("new", "x", mtime=OLD)
    with pytest.raises(Exception, match="move them away") as raised:
        await pair.client.sync(await pair.server.serve())
    assert str(records) in str(raised.value)
    assert pair.client.tree() == before[0]
    assert pair.server.tree().keys() - {"new"} == before[1].keys()


# 81: the key


KEY_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "it is missing; restore it from a backup"),
    "cut short": (DAMAGES["cut short"], "restore it from a backup"),
    "zero bytes": (DAMAGES["zero bytes"], "it is empty; restore it from a backup"),
    "zeros": (DAMAGES["zeros"], "restore it from a backup"),
    "garbage": (DAMAGES["garbage"], "it is not a private key in PEM; restore it from a backup"),
    "readable by others": (lambda path: path.chmod(0o644), "run: chmod 600 {path}"),
    "readable by a group": (lambda path: path.chmod(0o640), "run: chmod 600 {path}"),
    "writable by others": (lambda path: path.chmod(0o602), "run: chmod 600 {path}"),
    "somebody else's": (in_anothers_hands, "belongs to another user (uid 12345); run: chown {uid} {path}"),
    "a directory": (DAMAGES["a directory"], "{path}"),
    "a FIFO": (DAMAGES["a FIFO"], "it is not a regular file"),
}


@pytest.mark.parametrize("damage", KEY_DAMAGES)
@pytest.mark.parametrize("command", ["connect", "id"])
def test_case_81_a_key_that_cannot_be_used_is_never_replaced(
    own: Own, capsys: pytest.CaptureFixture[str], damage: str, command: str
) -> None:
    act, remedy = KEY_DAMAGES[damage]
    act(own.key)
    before = sorted(own.home.iterdir()), own.key.read_bytes() if own.key.is_file() else b""
    arguments = ["connect", "127.0.0.1:9", str(own.folder), "--once", "--no-tui"] if command == "connect" else ["id"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert remedy.format(path=own.key, uid=os.geteuid()) in said
    assert str(own.key) in said
    after = sorted(own.home.iterdir()), own.key.read_bytes() if own.key.is_file() else b""
    assert after == before


def test_case_81_another_key_is_not_taken_for_this_devices(
    own: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its peers trust the other one, and would be told of an attack."""
    mine = load_or_create_identity(own.key).fingerprint
    load_or_create_identity(tmp_path / "other" / "identity.pem")
    shutil.copy(tmp_path / "other" / "identity.pem", own.key)
    assert main(["id"]) == 2
    assert f"it is not the key of this device, {mine}; restore it from a backup" in capsys.readouterr().err


def test_case_81_a_new_key_is_made_where_somebody_wants_one(own: Own, capsys: pytest.CaptureFixture[str]) -> None:
    mine = load_or_create_identity(own.key).fingerprint
    own.key.unlink()
    own.key.with_name("identity.fingerprint").unlink()
    assert main(["id"]) == 0
    assert mine not in capsys.readouterr().out.replace(" ", "").replace("\n", "")
    assert oct(own.key.stat().st_mode & 0o777) == "0o600"


def test_case_81_a_key_of_before_the_fingerprint_was_noted(own: Own) -> None:
    """And one whose note is damaged: the key is what counts."""
    mine = load_or_create_identity(own.key).fingerprint
    note = own.key.with_name("identity.fingerprint")
    for damage in (Path.unlink, DAMAGES["zero bytes"], DAMAGES["garbage"]):
        damage(note)
        assert load_or_create_identity(own.key).fingerprint == mine
        assert note.read_text() == f"{mine}\n"


# 82: the trash


async def test_case_82_every_version_of_a_name_is_kept(pair: Pair) -> None:
    """In passes of one second, and in one pass, where a file stood in the way of a directory of its name."""
    versions = [f"version {number}".encode() for number in range(4)]
    job = await pair.server.serve()
    for number, data in enumerate(versions):
        pair.server.write("a", data, mtime=OLD + number)
        await pair.client.sync(job)
    kept = sorted(path.read_bytes() for path in pair.client.folder.glob(".leafsync_trash/*/a"))
    assert kept == versions[:-1]
    with Folder.open(str(pair.client.folder)) as folder:
        trash = Trash(folder, "20260101-000000-abcd")
        places = [trash.keep("a") for _again in range(3)]
        (pair.client.folder / "a").unlink()
        pair.client.write("a/inside", "x")
        places.append(trash.keep("a/inside"))
    assert [place.partition("abcd/")[2] for place in places] == ["a", "a.1", "a.2", "a.3/inside"]
    assert all((pair.client.folder / place).is_file() for place in places)


@pytest.mark.parametrize("kind", ["link", "file"])
async def test_case_82_a_trash_that_leads_elsewhere_is_refused(pair: Pair, tmp_path: Path, kind: str) -> None:
    """What cannot be kept is not replaced and not deleted."""
    await agreed(pair)
    outside = tmp_path / "outside"
    outside.mkdir()
    trash = pair.client.folder / ".leafsync_trash"
    shutil.rmtree(trash, ignore_errors=True)
    trash.symlink_to(outside) if kind == "link" else trash.write_text("mine")
    pair.server.write("a", "changed", mtime=OLD + 5)
    (pair.server.folder / "b").unlink()
    pair.server.write("new", "x", mtime=OLD)
    summary = await pair.client.sync(await pair.server.serve())
    assert {path for path, _reason in summary.problems} == {"a", "b"}
    assert (pair.client.read("a"), pair.client.read("b")) == (b"content of a", b"content of b")
    assert pair.client.read("new") == b"x"
    assert list(outside.iterdir()) == []


async def test_case_82_a_staging_directory_that_leads_elsewhere_is_refused(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (pair.client.folder / ".leafsync_tmp").symlink_to(tmp_path / "outside")
    with pytest.raises(EntryRefused, match=r"\.leafsync_tmp is not a regular file or directory inside"):
        await pair.client.sync(await pair.server.serve())
    assert list((tmp_path / "outside").iterdir()) == []


async def test_case_82_the_oldest_passes_go_when_the_trash_is_too_large(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the folder is let go, never in a pass; the last hour stays, however large it is."""
    monkeypatch.setattr(share, "prune", partial(prune, max_bytes=150_000))
    real = time.time
    job = await pair.server.serve()
    for number in range(4):
        pair.server.write("a", bytes([number]) * 100_000, mtime=OLD + number)
        await pair.client.sync(job)
    passes = sorted(pair.client.folder.glob(".leafsync_trash/*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(passes) == 3, "all of the last hour"
    for age, path in enumerate(passes):
        os.utime(path, (real() + age, real() + age))
    monkeypatch.setattr(time, "time", lambda: real() + 2 * 3600)
    await pair.client.sync(job)
    assert list(pair.client.folder.glob(".leafsync_trash/*")) == [passes[-1]]
    assert pair.client.read("a") == bytes([3]) * 100_000


async def test_case_82_a_restore_never_overwrites(pair: Pair) -> None:
    await agreed(pair)
    pair.server.write("a", "changed", mtime=OLD + 5)
    (pair.server.folder / "b").unlink()
    job = await pair.server.serve()
    await pair.client.sync(job)
    pair.client.write("a", "newer")
    pair.client.write("b", "made anew")
    undone = await pair.client.engine.with_records(str(pair.client.folder), lambda records: records.undo(LAST))
    assert dict(undone.outcomes).keys() == {"a", "b"}
    assert all("is newer than what would come back" in error for _path, error in undone.outcomes)
    assert (pair.client.read("a"), pair.client.read("b")) == (b"newer", b"made anew")

    def again(records: Records) -> dict[str, str]:
        return dict(records.undo(LAST).outcomes)

    for name in ("a", "b"):
        (pair.client.folder / name).unlink()
    assert await pair.client.engine.with_records(str(pair.client.folder), again) == {"a": "", "b": ""}
    assert (pair.client.read("a"), pair.client.read("b")) == (b"content of a", b"content of b")


async def test_case_82_what_leafsync_writes_leads_to_no_further_pass(pair: Pair) -> None:
    """Its own files, and the files that it has just put in place: both sides watch them come."""
    server = await pair.server.serve()
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: bool(pair.client.passes()))
    edits = 6
    for number in range(edits):
        writer, reader = (pair.server, pair.client) if number % 2 else (pair.client, pair.server)
        writer.write("a", f"edit {number}", mtime=OLD + number)
        await until(_has(reader, f"edit {number}".encode()))
        await until(lambda: job.status().state is PassState.IN_SYNC)
    assert len(pair.client.passes()) <= 1 + 2 * edits
    assert len([summary for summary in pair.client.passes() if summary.changed]) == edits
    await job.stop()


def _has(device: Device, data: bytes) -> Callable[[], bool]:
    def has() -> bool:
        found: Any = device.tree().get("a", ("", b""))
        return bool(found[1] == data)

    return has
