"""What happens to the two sides of a crash: a change of every kind on each, after an earlier run that was cut off."""

import os
import random
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_digest

from leafsync.engine.core.merkle import CHUNK_SIZE, file_root, leaf_hash
from leafsync.engine.core.names import STAGING, TRASH
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.staging import Staging
from leafsync.engine.disk.store import StagedRow, Store
from leafsync.engine.sync.records import record_name
from tests.support.devices import Device

NAMES = ("server", "client")
OLD = 1_600_000_000
"""When the files of the first pass were written, in seconds since 1970."""

ANCIENT = "20200101-000000-dead"
"""A pass in the trash that has been kept for long enough."""


def noise(seed: str, size: int) -> bytes:
    """Return bytes that no other file has."""
    return random.Random(seed).randbytes(size)


def lines(text: str, size: int) -> bytes:
    """Return content that travels in few bytes: a trial is about disks."""
    return (text.encode() * (size // len(text) + 1))[:size]


BIG = CHUNK_SIZE + 5000
RESUMED = 2 * CHUNK_SIZE + 7


def first_files(device: Device) -> None:
    """Write what both sides agree on before anything happens: below a directory for what each side will change."""
    for side in NAMES:
        for name in ("edited", "renamed", "folder/a", "folder/b", "gone", "gone-folder/in", "script", "now-a-link"):
            device.write(f"{side}/{name}", f"{side} {name} before", mtime=OLD)
        for name in ("now-a-folder", "now-a-file/in"):
            device.write(f"{side}/{name}", f"{side} {name} before", mtime=OLD)
        device.write(f"{side}/edited.bin", noise(f"{side} edited", BIG), mtime=OLD)
        (device.folder / side / "link").symlink_to("edited")
        (device.folder / side / "gone-link").symlink_to("edited")
        device.write(f"{side} wins", "both before", mtime=OLD)
        device.write(f"{side} edits, the other deletes", "before", mtime=OLD)


def change(device: Device, other: str) -> None:
    """Do one thing of every kind to the device's folder; `other` is the name of the other device."""
    side, top = device.name, device.folder / device.name
    for name in ("new/one", "new/two", "new/deep/three"):
        device.write(f"{side}/{name}", f"{side} {name}", mtime=OLD + 10)
    device.write(f"{side}/new/empty", "", mtime=OLD + 10)
    device.write(f"{side}/new/program", f"{side} program", mtime=OLD + 10, mode=0o755)
    device.write(f"{side}/new.bin", lines(side, CHUNK_SIZE) + bytes(CHUNK_SIZE) + b"end", mtime=OLD + 10)
    device.write(f"{side}/resumed.bin", resumed(side), mtime=OLD + 10)
    device.write(f"{side}/edited", f"{side} edited after", mtime=OLD + 10)
    edited = bytearray(noise(f"{side} edited", BIG))
    edited[CHUNK_SIZE // 2 : CHUNK_SIZE // 2 + 10] = b"ten bytes!"
    device.write(f"{side}/edited.bin", bytes(edited), mtime=OLD + 10)
    (top / "renamed").rename(top / "renamed to")
    (top / "folder").rename(top / "folder to")
    (top / "gone").unlink()
    (top / "gone-link").unlink()
    shutil.rmtree(top / "gone-folder")
    (top / "script").chmod(0o755)
    os.utime(top / "script", (OLD + 10, OLD + 10))
    for name in ("link", "now-a-link"):
        (top / name).unlink()
        (top / name).symlink_to("renamed to")
    (top / "now-a-folder").unlink()
    device.write(f"{side}/now-a-folder/in", f"{side} folder after", mtime=OLD + 10)
    shutil.rmtree(top / "now-a-file")
    device.write(f"{side}/now-a-file", f"{side} file after", mtime=OLD + 10)
    device.write(f"{side} wins", f"{side} both after", mtime=OLD + 20)
    device.write(f"{other} wins", f"{side} both after", mtime=OLD + 10)
    device.write(f"{side} edits, the other deletes", f"{side} after", mtime=OLD + 10)
    (device.folder / f"{other} edits, the other deletes").unlink()


def resumed(side: str) -> bytes:
    """Return the content of a large file of which the other side has half."""
    return b"".join(lines(f"{side} resumed {index}", CHUNK_SIZE) for index in range(3))[:RESUMED]


def cut_off(device: Device, other: str) -> None:
    """Leave what a run that was killed earlier leaves: a large file half there, a row without its file, and a trash
    that has been kept for long enough."""
    data = resumed(other)
    leaves = b"".join(leaf_hash(data[start : start + CHUNK_SIZE]) for start in range(0, RESUMED, CHUNK_SIZE))
    with Folder.open(str(device.folder)) as folder, Store.open(records(device)) as store:
        file = Staging(folder, store).open(f"{other}/resumed.bin", RESUMED, file_root(RESUMED, leaves))
        for index in (0, 2):
            file.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE], leaves)
        file.close()
        store.put_staged(StagedRow("lost", bytes(32), 1, b"\0", secrets.token_hex(16)))
    kept = device.write(f"{TRASH}/{ANCIENT}/d/kept", "kept for long enough", mtime=OLD)
    for directory in (kept.parent, kept.parent.parent):
        os.utime(directory, (OLD, OLD))


def records(device: Device) -> Path:
    """Return where the device remembers its folder."""
    return device.home / "state" / "folders" / record_name(str(device.folder)) / "store.sqlite"


@dataclass(frozen=True, slots=True)
class Place:
    """A directory with both devices in it."""

    path: Path

    @classmethod
    def made_at(cls, path: Path) -> "Place":
        """Make both devices with empty folders."""
        place = cls(path)
        for device in map(place.device, NAMES):
            device.folder.mkdir(parents=True)
            device.home.mkdir()
        return place

    def device(self, name: str) -> Device:
        """Return a device, not yet running."""
        return Device(name, self.path / f"{name}-home", self.path / name)

    def copied_to(self, path: Path) -> "Place":
        """Return a copy of both folders with all that is remembered of them."""
        shutil.copytree(self.path, path, symlinks=True)
        copy = Place(path)
        for name in NAMES:
            here, there = records(self.device(name)).parent.name, records(copy.device(name)).parent
            there.with_name(here).rename(there)
        return copy


Tree = dict[str, tuple[Any, ...]]

_COPY = re.compile(r"\.conflict-\d{8}-\d{6}-")


def without_moment(path: str) -> str:
    """Return the name of a conflict copy without the time of the conflict."""
    return _COPY.sub(".conflict-", path)


@dataclass(frozen=True, slots=True)
class Look:
    """What is in a folder, read once."""

    tree: Tree
    """Kind and, by kind, hash of the content, modification time and executable bit, or target; the moment is left out
    of the names of conflict copies, so copies of one version count once."""
    contents: set[bytes]
    """Hashes of all files, the trash included, but for what was kept there long enough."""

    @classmethod
    def at(cls, *devices: Device) -> "Look":
        """Look at folders; with several, the tree is that of the first."""
        tree: Tree = {}
        contents: set[bytes] = set()
        for number, device in enumerate(devices):
            for path, entry in _entries(device):
                if entry[0] == "file":
                    contents.add(entry[1])
                if not number and not path.startswith(f"{TRASH}/") and path != TRASH:
                    tree[without_moment(path)] = entry
        return cls(tree, contents)


def restorable(device: Device) -> set[bytes]:
    """Return hashes of what the history can bring back."""
    with Store.open(records(device)) as store:
        kept = [device.folder / action.kept for one in store.passes() for action in one.actions if action.kept]
    return {xxh3_128_digest(path.read_bytes()) for path in kept if path.is_file() and not path.is_symlink()}


def _entries(device: Device) -> Iterator[tuple[str, tuple[Any, ...]]]:
    top = device.folder
    for path in top.rglob("*"):
        relative = path.relative_to(top)
        if STAGING in relative.parts or ANCIENT in relative.parts:
            continue
        stat = path.lstat()
        if path.is_symlink():
            yield str(relative), ("link", str(path.readlink()))
        elif path.is_dir():
            yield str(relative), ("directory",)
        else:
            content = xxh3_128_digest(path.read_bytes())
            yield str(relative), ("file", content, stat.st_mtime_ns, bool(stat.st_mode & 0o100))
