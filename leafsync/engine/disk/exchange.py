"""The last step of replacing and removing: no version that is saved in that very instant may be lost (fault case 30).

Between a look at an entry and a rename over it an editor can save a newer one. So the entry is first taken out of its
place, in one step, and looked at where nobody else can change it: what is not the one that was seen goes back.
"""

import contextlib
import os
import secrets

from leafsync.engine.core.names import join
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.seen import same_file
from leafsync.errors import EntryChanged


def put(folder: Folder, source: str, path: str, seen: os.stat_result, trash: str) -> None:
    """Put the staged `source` in the place of the entry `seen` (a lstat), of which the trash has a copy already.

    `trash` is a directory of the trash: what comes out and cannot go back stays there. Raises EntryChanged when
    something else is there by now, which stays, and OSError.
    """
    staged = folder.stat(source)
    if folder.exchange(source, path):
        if same_file(seen, folder.stat(source)):
            folder.unlink(source)
            return
        _give_back(folder, source, path, staged, trash)
    elif same_file(seen, folder.stat(path)):
        folder.rename(source, path)
        return
    raise EntryChanged(path=path)


def take(folder: Folder, path: str, seen: os.stat_result, trash: str) -> None:
    """Remove the entry `seen` (a lstat) from `path`, of which the trash has a copy already.

    `trash` is a directory of the trash: what comes out and cannot go back stays there. Raises EntryChanged when
    something else is there by now, and OSError.
    """
    aside = _aside(trash)
    folder.rename_new(path, aside)
    if same_file(seen, folder.stat(aside)):
        folder.unlink(aside)
        return
    with contextlib.suppress(FileExistsError):  # a third version came up: the second stays in the trash
        folder.rename_new(aside, path)
    raise EntryChanged(path=path)


def _give_back(folder: Folder, source: str, path: str, staged: os.stat_result | None, trash: str) -> None:
    """Undo an exchange of the `staged` file with something that was not the one that was seen."""
    try:
        folder.exchange(source, path)
    except OSError:  # its place was left empty meanwhile
        with contextlib.suppress(OSError):
            folder.rename_new(source, path)
    left = folder.stat(source)
    if left is not None and (staged is None or not same_file(staged, left)):  # a third version, or one without a place
        folder.rename_new(source, _aside(trash))


def _aside(trash: str) -> str:
    return join(trash, f".{secrets.token_hex(8)}")
