"""Names of conflict copies: where the version goes on that does not keep the name."""

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable

from leafsync.engine.core.names import MAX_NAME, MAX_PATH, collision_key, join, parent

MAX_DEVICE = 32
"""Characters of a device's name in a conflict copy's name: enough to tell devices apart."""

MAX_COPIES = 10
"""Conflict copies of one file: what two programs write on both sides all the time would fill the folders with copies
that nobody decides (fault case 54)."""

_MARK = r"\.conflict-\d{8}-\d{6}-[A-Za-z0-9_-]+"
_EXTENSION = r"(\.tar)?\.\w{1,10}"
_COPY = re.compile(rf"(?P<stem>.+?)(?P<mark>{_MARK})(?P<extension>({_EXTENSION})?)", re.DOTALL)
_NAME = re.compile(rf"(?P<stem>\.*[^.].*?)(?P<extension>{_EXTENSION})", re.DOTALL)
"""A name with an extension: `.tar` belongs to the one after it; a dot at the start of the name begins none."""


def conflict_name(path: str, moment: str, device: str) -> str:
    """Return the path of a conflict copy of `path`: `name.conflict-YYYYMMDD-HHMMSS-DEVICE.ext` in the same directory.

    `moment` is written YYYYMMDD-HHMMSS. Characters of `device` outside A-Z a-z 0-9 _ - become `-`. A conflict copy's
    own mark is replaced, never repeated; where the name or the path gets too long the stem loses its end.
    """
    stem, _mark, extension = _parts(path.rpartition("/")[2])
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", device).strip("-")[:MAX_DEVICE] or "device"
    return _fitted(parent(path), stem, f".conflict-{moment}-{cleaned}", extension)


def free_name(path: str, taken: Container[str]) -> str:
    """Return `path`, or with -2, -3, ... before its extension, so that its name's `collision_key` is not in `taken`."""
    stem, mark, extension = _parts(path.rpartition("/")[2])
    free, number = path, 1
    while collision_key(free.rpartition("/")[2]) in taken:
        number += 1
        free = _fitted(parent(path), stem, f"{mark}-{number}", extension)
    return free


def conflict_of(copy: str) -> str | None:
    """Return the path whose conflict copy `copy` is by its name, None when it is none.

    A name that was cut to fit comes back as short as it was made.
    """
    found = _COPY.fullmatch(copy.rpartition("/")[2])
    return join(parent(copy), found["stem"] + found["extension"]) if found else None


class Copies:
    """The conflict copies in one directory, and the names that are free for more."""

    def __init__(self, names: Iterable[str]) -> None:
        """Count those among `names`, all that there are on either side."""
        there = set(names)
        self._taken = {collision_key(name) for name in there}
        self._copies: dict[str, list[str]] = defaultdict(list)
        for name in sorted(there):
            original = conflict_of(name)
            if original is not None:
                self._copies[original].append(name)

    def names(self, copy: str) -> list[str]:
        """Return the names of the copies that there are of the file of which `copy` is to be one."""
        return self._copies.get(_original(copy), [])

    def full(self, copy: str) -> bool:
        """Whether the file of which `copy` is to be one has as many as it may."""
        return len(self.names(copy)) >= MAX_COPIES

    def add(self, copy: str) -> str:
        """Return the path that `copy` gets, see `free_name`; it counts from now on."""
        free = free_name(copy, self._taken)
        name = free.rpartition("/")[2]
        self._taken.add(collision_key(name))
        self._copies[_original(copy)].append(name)
        return free


def _original(copy: str) -> str:
    name = copy.rpartition("/")[2]
    return conflict_of(name) or name


def _parts(name: str) -> tuple[str, str, str]:
    """Split into stem, conflict mark and extension; what is not there is empty."""
    copy = _COPY.fullmatch(name)
    if copy:
        return copy["stem"], copy["mark"], copy["extension"]
    plain = _NAME.fullmatch(name)
    return (plain["stem"], "", plain["extension"]) if plain else (name, "", "")


def _fitted(directory: str, stem: str, mark: str, extension: str) -> str:
    """Return the path of that name in `directory`, with as much of the stem as there is room for, but never none."""
    longest = min(MAX_NAME, MAX_PATH - len(join(directory, "").encode()))
    room = max(longest - len(f"{mark}{extension}".encode()), len(stem[:1].encode()))
    return join(directory, stem.encode()[:room].decode(errors="ignore") + mark + extension)


CopyName = Callable[[str, str], str]
"""(path, whose version: "local" or "remote") -> path of its conflict copy."""
