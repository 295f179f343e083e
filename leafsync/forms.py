"""What people type into forms, and why it cannot be used: a reason in words, or none. Blocking where it says so."""

import errno
import re
import socket
from collections.abc import Callable
from pathlib import Path

from leafsync import values
from leafsync.bridge import MAX_PORT, MAX_STREAMS, parse_address, parse_fingerprint, path_problem
from leafsync.config import MAX_RATE_MBPS
from leafsync.errors import FolderIdentityLost, FolderNotDirectory, FolderRefused, LeafSyncError, PortInUse
from leafsync.text import printable
from leafsync.widgets.listing import MISSING, folder_problem

_SEPARATORS = re.compile(r"[\s:-]+")
"""What may stand between the groups of a fingerprint."""


def folder_path(text: str) -> str:
    """Return the folder that was typed, with `~` resolved. Spaces at its end are its own."""
    text = text.lstrip()
    try:
        return str(Path(text).expanduser()) if text else ""
    except (RuntimeError, ValueError):  # the home of a user there is not, or who cannot be called so
        return text


def folder_reason(text: str) -> str:
    """Say why a folder cannot be used (blocking)."""
    if not text.strip():
        return "name a folder"
    reason = folder_problem(folder_path(text))
    return f"{reason} (mind the space at its end)" if reason == MISSING and text != text.rstrip() else reason


def inner_path(text: str) -> str:
    """Return the path inside the folder that was typed, "" for all of the folder."""
    return values.inner_path(text.strip())


def file_reason(text: str) -> str:
    """Say why a path inside the folder cannot be one; none is all of the folder."""
    path = inner_path(text)
    return (path_problem(path) or "") if path else ""


def whole(text: str, low: int, high: int) -> int | None:
    """Return the whole number that was typed, None if it is none from `low` to `high`."""
    return values.whole(text.strip(), low, high)


def port_reason(text: str) -> str:
    """Say why a port to serve on cannot be one; 0 picks any free one."""
    return "" if whole(text, 0, MAX_PORT) is not None else f"give a number from 0 (any free one) to {MAX_PORT}"


def in_use(port: object) -> str:
    """Say that a UDP port is taken."""
    return f"UDP port {port} is in use; 0 picks a free one"


def port_in_use_reason(port: int) -> str:
    """Say why a UDP port cannot be listened on now (blocking for a moment)."""
    if port == 0:
        return ""  # any free one
    for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104  as the job will
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return in_use(port)
            if error.errno == errno.EACCES:
                return f"this user may not use UDP port {port}"
    return ""


def address_reason(text: str) -> str:
    """Say why an address cannot be one."""
    if not text.strip():
        return "name the other device"
    return _reason_of(parse_address, text)


def streams_reason(text: str) -> str:
    """Say why a number of streams cannot be one."""
    return "" if whole(text, 1, MAX_STREAMS) is not None else f"give a number from 1 to {MAX_STREAMS}"


def rate_of(text: str) -> float | None:
    """Return the rate in megabits per second that was typed, None for no limit. Raises ValueError."""
    if not text.strip():
        return None
    rate = values.rate(text)
    if rate is None:
        raise ValueError(text)
    return rate


def rate_reason(text: str) -> str:
    """Say why a rate cannot be kept to; none is no limit."""
    try:
        rate_of(text)
    except ValueError:
        return f"give megabits per second, above 0 and up to {MAX_RATE_MBPS:.0f}, or nothing"
    return ""


def fingerprint_reason(text: str) -> str:
    """Say why a fingerprint cannot be one."""
    digits = _SEPARATORS.sub("", text)
    wrong = next((character for character in digits.lower() if character not in "0123456789abcdef"), None)
    if wrong is not None:
        return f"it has digits from 0 to 9 and letters from a to f, not {printable(wrong)}"
    if len(digits) != 64:
        return f"it has 64 digits, this has {len(digits)}"
    return _reason_of(parse_fingerprint, text)


def said_in_form(error: LeafSyncError) -> str:
    """Return what a form says of an error: the sentence of the command line, unless that names options."""
    field = {name: printable(str(value)) for name, value in error.fields.items()}
    match error:
        case PortInUse():
            return in_use(error.fields["port"])
        case FolderRefused():
            return f"{field['path']} is {field['what']}, and syncing all of it is rarely meant."
        case FolderIdentityLost():
            return (
                f"The folder {field['path']} is not the one it was: its marker is gone. Is its disk mounted? If it is "
                "meant to be a new folder, nothing is deleted: the next pass compares everything anew."
            )
        case FolderNotDirectory():
            return f"{field['path']} is not a directory."
    return str(error)


def _reason_of(parse: Callable[[str], object], text: str) -> str:
    try:
        parse(text)
    except LeafSyncError as error:
        return str(error.fields.get("reason", error))
    return ""
