"""Passes that were cut off: who is killed has no time to write down what was thrown away, but the trash has it.

What is found is listed in the history like any other pass, so that it can be restored. So it is where the records were
lost.
"""

import os
import re
import stat as modes
from collections.abc import Iterator
from datetime import datetime

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.core.names import TRASH, join, path_problem
from leafsync.engine.disk.folder import Folder, disk_errors
from leafsync.engine.disk.retention import MAX_PASSES
from leafsync.engine.disk.store import Store

UNKNOWN = "unknown"
"""What the other device of such a pass is called: that was not written down either."""

_ASIDE = re.compile(r"\.[0-9a-f]{16}")
"""What exchange.take calls a file for an instant; the trash has it under its own name too."""

Found = tuple[str, os.stat_result]


def list_interrupted(folder: Folder, store: Store) -> list[str]:
    """Put the passes that only the trash knows into the history, and return their names.

    The caller holds the folder's lock, so no pass is under way; an undo may be, and replaces what is said of it here
    when it ends. Raises DiskFailed and what the store raises.
    """
    with disk_errors(TRASH), folder.handles():
        unknown = _unknown(folder, store)
        records = [_record(folder, name, stat.st_mtime) for name, stat in unknown]
    found = [record for record in records if record.actions]
    for record in found:
        store.put_pass(record)
    return [record.id for record in found]


def _unknown(folder: Folder, store: Store) -> list[Found]:
    """Return the directories of passes that are not in the history, but for those that it has forgotten because there
    were too many."""
    trash = folder.stat(TRASH)
    if trash is None or not modes.S_ISDIR(trash.st_mode):
        return []
    known = set(store.pass_ids())
    oldest = min(known) if len(known) >= MAX_PASSES else ""
    found = folder.list_directory(TRASH)
    return sorted(
        (name, stat)
        for name, stat in found
        if modes.S_ISDIR(stat.st_mode) and name not in known and name > oldest and path_problem(name) is None
    )


def _record(folder: Folder, name: str, changed: float) -> PassRecord:
    moment = datetime.fromtimestamp(changed).astimezone().isoformat(timespec="seconds")
    top = join(TRASH, name)
    actions: list[ActionRecord] = []
    seen: set[int] = set()
    for kept, stat in _below(folder, top):
        path = kept.removeprefix(f"{top}/")
        there = folder.stat(path) if path_problem(path) is None else stat
        twice = stat.st_ino in seen and _ASIDE.fullmatch(path.rpartition("/")[2]) is not None
        if _is_displaced(stat, there) and not twice:
            actions.append(ActionRecord(ActionKind.TRASHED, path, kept=kept))
        seen.add(stat.st_ino)
    return PassRecord(name, moment, UNKNOWN, tuple(actions))


def _is_displaced(kept: os.stat_result, there: os.stat_result | None) -> bool:
    """Say whether what the trash keeps is not in its place any more. A file that was about to be replaced is there
    under both names."""
    return there is None or not (modes.S_ISDIR(kept.st_mode) or os.path.samestat(kept, there))


def _below(folder: Folder, directory: str) -> Iterator[Found]:
    """Yield (path, lstat) of everything below a directory of the trash; files taken aside come after their siblings."""
    found = folder.list_directory(directory)
    for name, stat in sorted(found, key=lambda one: (_ASIDE.fullmatch(one[0]) is not None, one[0])):
        path = join(directory, name)
        yield path, stat
        if modes.S_ISDIR(stat.st_mode):
            yield from _below(folder, path)
