"""Which names and paths may travel (fault cases 1-18 of SECURITY.md).

A path is relative, UTF-8, NFC, its components joined by `/`; the empty path is the folder itself. Names are checked
when they come from the disk and again when they come from a peer: the same rules, so nothing is sent that the other
side must refuse.
"""

import re
import unicodedata
from itertools import dropwhile

MAX_NAME = 255
"""Bytes of one component: the limit of every common filesystem."""

MAX_PATH = 4096
"""Bytes of a path: PATH_MAX of Linux, so other programs can still open what LeafSync wrote."""

MAX_DEPTH = 64
"""Components of a path: more only occurs in accidents and attacks, and each level costs an open directory."""

STAGING = ".leafsync_tmp"
TRASH = ".leafsync_trash"
IGNORE_FILE = ".leafsyncignore"

_PLAIN = re.compile(r"(?!\.leaf)[ -.0-\[\]-}]{1,255}", re.IGNORECASE | re.ASCII)
"""Names that break no rule, recognised at once because nearly all names are of this kind: what ASCII prints but slashes
and the tilde of short names. ASCII alone: without that flag, ignoring case lets in U+212A and U+017F, which are neither
one byte long nor always in normal form."""

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, line and paragraph separators, and what turns the direction of a text. Which they are is fixed
for all versions of Unicode."""

_SHORT_OWN = re.compile(r"\.?leafsy~\d", re.IGNORECASE)


def name_problem(name: str) -> str | None:
    """Return why the single component `name` cannot travel, or None when it can."""
    if _PLAIN.fullmatch(name) and name not in (".", ".."):
        return None
    if name in ("", ".", ".."):
        return "the name is empty, '.' or '..'"
    if "/" in name or "\\" in name:
        return "the name contains a slash or a backslash"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    if len(encoded) > MAX_NAME:
        return f"the name is longer than {MAX_NAME} bytes"
    if _CONTROL.search(name):
        return "the name contains control characters"
    if not unicodedata.is_normalized("NFC", name):
        return "the name is not in Unicode normal form C"
    if is_own(name):
        return "the name is reserved for LeafSync"
    return None


def is_own(name: str) -> bool:
    """Say whether `name` is one of our own directories on any filesystem.

    HFS+ drops format characters, NTFS drops trailing dots and spaces and makes 8.3 short names, and several fold case:
    all of these spellings mean the same directory there.
    """
    return _folded(name) in (STAGING, TRASH) or _SHORT_OWN.match(name) is not None


def place_key(path: str) -> str:
    """Return what two paths share that some filesystem takes for one place, as `is_own` says it of names."""
    return "/".join(map(_folded, path.split("/")))


def _folded(name: str) -> str:
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf").rstrip(" .")
    return unicodedata.normalize("NFC", visible).casefold()


def path_problem(path: str) -> str | None:
    """Return why the relative path cannot travel, or None. The empty path (the folder itself) can."""
    if not path:
        return None
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        return f"the path is deeper than {MAX_DEPTH} directories"
    for part in parts:
        problem = name_problem(part)
        if problem:
            return problem
    if len(path.encode()) > MAX_PATH:
        return f"the path is longer than {MAX_PATH} bytes"
    return None


def inside(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or below it."""
    return path == directory or path.startswith(f"{directory}/")


def narrower(one: str, other: str) -> str | None:
    """Return what a folder that is restricted to two paths comes down to, where "" restricts nothing; None if the two
    have nothing in common.
    """
    if not one or not other:
        return one or other
    if inside(one, other):
        return one
    return other if inside(other, one) else None


def target_problem(path: str, target: str) -> str | None:
    """Return why the symlink at `path` with this target cannot travel, or None.

    A target must be relative and stay inside the folder: another machine has other files outside of it. `..` may
    stand at its start alone, where it goes up through the real directories that hold the link. After a name it could
    go up from wherever another link leads, and two links that each look harmless would lead outside together.
    """
    if not target or target.startswith("/"):
        return "the link is absolute or empty"
    try:
        encoded = target.encode()
    except UnicodeEncodeError:
        return "the link's target is not valid UTF-8"
    if len(encoded) > MAX_PATH or "\\" in target:
        return "the link's target is too long or contains a backslash"
    if _CONTROL.search(target):
        return "the link's target contains control characters"
    steps = [part for part in target.split("/") if part not in ("", ".")]
    names = list(dropwhile("..".__eq__, steps))
    if ".." in names:
        return "the link goes up again after a name"
    if len(steps) - len(names) > path.count("/"):
        return "the link leaves the folder"
    if any(is_own(name) for name in names):
        return "the link points into LeafSync's own directories"
    return None


def collision_key(name: str) -> str:
    """Return what two names share that are one file on a filesystem which folds case and normal forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def join(directory: str, name: str) -> str:
    """Return the path of `name` in `directory`."""
    return f"{directory}/{name}" if directory else name


def parent(path: str) -> str:
    """Return the directory that holds `path`; the folder itself for a top-level path."""
    return path.rpartition("/")[0]
