"""Quick places of the picker: the user's own directories, drives and mounts. Reads files, never the places themselves.

A mount whose server is gone answers no stat for minutes, so mounts are offered as the system lists them, unvisited.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

MAX_MOUNTS = 12
"""Drives and mounts offered: machines with more mount them for programs, not for people."""

MAX_SYSTEM_FILE = 256 * 1024
"""Bytes read of a file that lists places: real ones have a few thousand."""

USER_DIRECTORIES = ("Desktop", "Downloads", "Documents", "Music", "Pictures", "Videos")
"""The directories of a home that people know, by the names they have when nothing else is said."""

_XDG_NAMES = {"DOWNLOAD": "Downloads"} | {name.upper(): name for name in USER_DIRECTORIES}
"""What user-dirs.dirs calls them."""

_XDG_LINE = re.compile(r'\s*XDG_([A-Z]+)_DIR\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SHELL_ESCAPE = re.compile(r"\\(.)")
_MOUNT_ESCAPE = re.compile(r"\\([0-7]{3})")

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "virtiofs", "zfs", "bcachefs"})
"""Filesystems that hold people's files although no device file stands behind them."""

_IMAGES = frozenset({"squashfs", "erofs", "overlay", "tmpfs", "ramfs", "devtmpfs", "autofs"})
"""Filesystems of packages, containers and memory."""

_DRIVES = ("/media/", "/run/media/", "/mnt/", "/Volumes/")
"""Where people and desktops mount: whatever is mounted there is offered, unless it is an image."""

_SYSTEM = re.compile(r"/(proc|sys|dev|run|boot|efi|snap|etc|usr|var/(lib|snap|run|tmp)|tmp)(/.*)?")
"""Where systems mount for themselves."""


class Place(msgspec.Struct, frozen=True):
    """A directory that is one key away."""

    name: str
    path: str
    drive: bool = False
    """Whether it is a drive or mount and not one of the user's own directories."""


def quick_places(home: str, environ: Mapping[str, str], mounts: str = "/proc/mounts") -> tuple[Place, ...]:
    """Return what is worth a key here, own directories first. Blocks on the disk; an unreadable source adds nothing."""
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    named = parse_user_dirs(_read(f"{config}/user-dirs.dirs"), home)
    own = [Place("Home", home)]
    for name in USER_DIRECTORIES:
        path = named.get(name, f"{home}/{name}")
        if path and _is_directory(path):
            own.append(Place(name, path))
    drives = parse_mounts(_read(mounts)) or tuple(_volumes())
    seen = {place.path for place in own}
    return (*own, *(drive for drive in drives if drive.path not in seen))


def parse_user_dirs(text: str, home: str) -> dict[str, str]:
    """Return the directories that user-dirs.dirs names, "" for one that is switched off (it names the home itself)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _XDG_LINE.fullmatch(line)
        name = _XDG_NAMES.get(match[1]) if match else None
        if match is None or name is None:
            continue
        value = match[2]
        if value.startswith("$HOME/"):
            value = home + value[len("$HOME") :]
        elif value == "$HOME" or not value.startswith("/"):
            value = home
        path = os.path.normpath(_SHELL_ESCAPE.sub(r"\1", value))
        found[name] = "" if path == os.path.normpath(home) else path
    return found


def parse_mounts(text: str) -> tuple[Place, ...]:
    """Return the drives and mounts that people keep files on, from the text of /proc/mounts; the root comes first."""
    found: dict[str, Place] = {}
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        device, path, kind = _unescape(fields[0]), _unescape(fields[1]), fields[2]
        if _is_for_people(device, path, kind):
            found[path] = Place(path.rpartition("/")[2] or "Filesystem", path, drive=True)
    ordered = sorted(found.values(), key=lambda place: (place.path != "/", not _is_drive(place.path), place.path))
    return tuple(ordered[:MAX_MOUNTS])


def _is_for_people(device: str, path: str, kind: str) -> bool:
    if path == "/":
        return True
    if kind in _IMAGES or not path.startswith("/"):
        return False
    if _is_drive(path):
        return True
    real = device.startswith("/dev/") or kind in _NETWORK or kind.startswith("fuse.")
    return real and not _SYSTEM.fullmatch(path)


def _is_drive(path: str) -> bool:
    return path.startswith(_DRIVES)


def _unescape(field: str) -> str:
    r"""Take the kernel's octal escapes (`\040`: of blanks and the backslash alone) out of a field."""
    return _MOUNT_ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def _is_directory(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def _volumes() -> Iterator[Place]:
    """Yield what macOS mounts, where no file lists it."""
    try:
        with os.scandir("/Volumes") as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return
    for name in names[:MAX_MOUNTS]:
        yield Place(name, f"/Volumes/{name}", drive=True)


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return os.fsdecode(file.read(MAX_SYSTEM_FILE))
    except OSError:
        return ""
