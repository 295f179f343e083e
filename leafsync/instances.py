"""The runs of this user: each keeps a file that says where it stands, for `leafsync status` in another process.

A run's file is `PID.json` in one directory. It is replaced as a whole, and whoever wrote it holds a lock (flock) on it,
which the kernel lets go of when the process ends, however that happens: a file without a lock is a dead run's.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

logger = logging.getLogger("leafsync.instances")

MAX_FILE = 4 * 1024 * 1024
"""Bytes read of one run's file: more than the capped lists in it can fill."""

MAX_TRIES = 10
"""Times that a file is opened again because it was replaced in between; a run writes at most once a second."""


class Instance:
    """This run's file. Nothing is raised: a run goes on where nobody can be told of it."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in `directory`, which is made when the first state is written."""
        self._path = directory / f"{os.getpid()}.json"
        self._lock: int | None = None
        self._failed = False

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file by one that holds `state`. The new one is locked before it can be seen."""
        staged = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        fd = None
        try:
            self._path.parent.mkdir(0o700, parents=True, exist_ok=True)
            fd = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = memoryview(json.dumps(state).encode())
            while content:
                content = content[os.write(fd, content) :]
            staged.replace(self._path)
            fd, self._lock = self._lock, fd
        except OSError as error:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            if not self._failed:
                logger.warning("`leafsync status` cannot show this run: %s: %s", self._path.parent, error.strerror)
            self._failed = True
        finally:
            if fd is not None:
                os.close(fd)

    def close(self) -> None:
        """Remove the file."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()


def running(directory: Path) -> list[dict[str, Any]]:
    """Return what the runs that are alive have written, by process. Files of dead ones are removed."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(directory.glob("*.json"), key=lambda path: (len(path.name), path.name)):
            state = _read(path)
            if state is not None:
                found.append(state)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """Return what is in a run's file; None, and it is removed, when the run is dead."""
    for _try in range(MAX_TRIES):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _parsed(fd)
        except OSError:
            return None
        else:
            # No lock: the run is dead, or it has put another file here since this one was opened.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(fd), path.lstat()):
                    path.unlink()
                    return None
        finally:
            os.close(fd)
    return None


def _parsed(fd: int) -> dict[str, Any] | None:
    try:
        with open(fd, "rb", closefd=False) as file:
            state = json.loads(file.read(MAX_FILE))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None
