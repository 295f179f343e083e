"""Whether a file of LeafSync's own can be believed: what is in it decides who gets in, and what counts as deleted.

Files that somebody else could have written are refused, as ssh refuses them (fault case 80).
"""

import stat
from typing import Final, Protocol

ROOT: Final = 0
"""The user id that may have written anything here anyway."""


class Status(Protocol):
    """What is looked at of an `os.stat_result`."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_uid(self) -> int: ...


def file_problem(path: object, status: Status, user: int, *, group_may_write: bool = False) -> str | None:
    """Return why the file at `path` cannot be believed by the user with this id, None when it can."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_uid not in (user, ROOT):
        return f"it belongs to another user (uid {status.st_uid})"
    if group_may_write:
        return f"all users can write it (run: chmod o-w {path})" if status.st_mode & stat.S_IWOTH else None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users can write it (run: chmod 600 {path})"
    return None
