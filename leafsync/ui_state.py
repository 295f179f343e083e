"""What the app remembers between runs: recent connections and folders, and how the list was sorted. Never needed:
a file that cannot be read is an empty one."""

import contextlib
import os
import secrets
from pathlib import Path

import msgspec

MAX_RECENT = 12
"""Connections remembered: as many as a list on a small screen shows."""

MAX_FILE = 64 * 1024
"""Bytes read of the file: many times what it can hold."""


class Recent(msgspec.Struct, frozen=True):
    """A connection that was made before."""

    address: str
    folder: str
    mode: str = "both"
    file: str = ""


class UiState(msgspec.Struct):
    """What is remembered."""

    version: int = 1
    serve_folder: str = ""
    serve_port: int | None = None
    sort: str = ""
    theme: str = ""
    recent: list[Recent] = []

    def served(self, folder: str, port: int) -> None:
        """Remember what was served last."""
        if _can_be_kept(folder):
            self.serve_folder = folder
        self.serve_port = port

    def connected(self, recent: Recent) -> None:
        """Put a connection first among the recent ones."""
        if not _can_be_kept(recent.address, recent.folder, recent.file):
            return
        others = [one for one in self.recent if (one.address, one.folder) != (recent.address, recent.folder)]
        self.recent = [recent, *others][:MAX_RECENT]


def load_state(path: Path) -> UiState:
    """Return what was remembered (blocking)."""
    try:
        # Non-blocking, so that a FIFO in its place cannot hold the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = msgspec.json.decode(os.read(descriptor, MAX_FILE), type=UiState)
        finally:
            os.close(descriptor)
    except (OSError, msgspec.DecodeError, RecursionError):
        return UiState()
    if state.version != 1:
        return UiState()
    state.recent = state.recent[:MAX_RECENT]
    return state


def save_state(path: Path, state: UiState) -> None:
    """Remember (blocking): the file is replaced as a whole, and one that cannot be is left."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    content = msgspec.json.encode(state)
    with contextlib.suppress(OSError):
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            staged.replace(path)
        except OSError:
            staged.unlink(missing_ok=True)


def _can_be_kept(*texts: str) -> bool:
    """Say whether JSON can hold the texts: a name on the disk that is not UTF-8 it cannot."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
