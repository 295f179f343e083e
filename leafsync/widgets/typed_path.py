"""Paths that people type: what they mean, whether they can be taken, and how they can go on. All of it may block."""

import os
from pathlib import Path

import msgspec

from leafsync.bridge import path_problem
from leafsync.text import printable
from leafsync.widgets.listing import Stopped, Wanted, list_directory, never, reason_of

TYPED = r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]*"
"""What a field lets in: no control and no bidirectional characters, which a paste may bring along."""

ITSELF = "that is the folder itself: mark something in it"
"""Said of the one directory that is no entry of the folder."""


def is_typable(text: str) -> bool:
    """Say whether a text can stand in a field as it is: nothing in it is escaped but the backslash."""
    return printable(text).replace("\\\\", "\\") == text


def absolute(typed: str, base: str) -> str:
    """Return the absolute path that somebody means who typed `typed`: `~` is the home, the rest is below `base`."""
    expanded = os.path.expanduser(typed)  # noqa: PTH111 - pathlib's raises for a user there is not
    return os.path.abspath(Path(base, expanded))  # noqa: PTH100 - takes `..` out, follows no link


def entry_problem(root: str, path: str, stopped: Stopped = never) -> str:
    """Return why the entry at the relative `path` of the folder at `root` cannot be taken, or ""."""
    del stopped
    if path in ("", "."):
        return ITSELF
    if path == ".." or path.startswith("../"):
        return "that is outside of the folder"
    problem = path_problem(path)
    if problem is not None:
        return printable(problem)
    try:
        Path(root, path).lstat()
    except (OSError, ValueError) as error:
        return reason_of(error)
    return ""


class Completion(msgspec.Struct, frozen=True):
    """How a typed path can go on."""

    text: str
    """The typed text with everything added that there is no choice about."""
    choices: tuple[str, ...] = ()
    """Names it can go on with, when there is more than one."""
    left_off: int = 0
    """How many more choices there are."""
    reason: str = ""
    """Why nothing can be said, or ""."""


def complete(typed: str, base: str, wanted: Wanted, stopped: Stopped = never) -> Completion:
    """Return how `typed` (below `base`, unless it is absolute) can go on with what is wanted.

    Names that cannot be typed are left out; those that begin with a dot are offered to whoever typed the dot.
    """
    if typed == "~":
        return Completion("~/")
    head, slash, start = typed.rpartition("/")
    wanted = msgspec.structs.replace(wanted, beginning=start, hidden=wanted.hidden or start.startswith("."))
    listing = list_directory(absolute(head + slash, base), wanted, stopped)
    if listing.reason:
        return Completion(typed, reason=listing.reason)
    found = [entry for entry in listing.entries if is_typable(entry.name)]
    if not found:
        return Completion(typed, reason="nothing there begins like that" if start else "nothing is in there")
    if len(found) == 1 and not listing.left_off:
        return Completion(head + slash + found[0].name + ("/" if found[0].directory else ""))
    names = tuple(entry.name for entry in found)
    common = start if listing.left_off else os.path.commonprefix(names)  # noqa: RUF071 - what all begin with
    return Completion(head + slash + common, names, listing.left_off)
