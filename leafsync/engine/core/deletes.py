"""Mass deletes: when a pass would remove so much of a side that somebody has to confirm it."""

from collections.abc import Container, Iterable, Sequence

import msgspec

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import parent
from leafsync.engine.core.steps import Steps, Trash

MAX_DELETES = 100
"""Deletes that one pass may always do on a side; beyond it `MAX_DELETE_SHARE` decides."""

MAX_DELETE_SHARE = 0.25
"""Share of a side's entries that one pass may delete without being asked again."""


def is_mass_delete(removed: Sequence[Trash], entries: Iterable[Entry], total: int | None = None) -> bool:
    """Whether so much of a side would go that somebody has to confirm it (fault case 74).

    `entries` is all that the side has, `total` their number where the side says it itself. A side without any of its
    files counts as emptied even where directories stay because they hold withheld entries: an unmounted disk on the
    other side looks just like that.
    """
    if not removed:
        return False
    present = [entry for entry in entries if entry.kind is not Kind.WITHHELD]
    files = _files(present)
    emptied = len(removed) == len(present) or 0 < files == _files(trash.entry for trash in removed)
    return emptied or len(removed) > max(MAX_DELETES, MAX_DELETE_SHARE * (len(present) if total is None else total))


def _files(entries: Iterable[Entry]) -> int:
    return sum(entry.kind is not Kind.DIRECTORY for entry in entries)


def without_replacements(steps: Steps) -> Steps:
    """Leave out what would take the place of something that is to be cleared away."""
    cleared = {trash.path for trash in steps.clearings}
    return msgspec.structs.replace(
        steps,
        directories=[path for path in steps.directories if not within(path, cleared)],
        fetches=[fetch for fetch in steps.fetches if not within(fetch.path, cleared)],
        links=[link for link in steps.links if not within(link.path, cleared)],
    )


def within(path: str, directories: Container[str]) -> bool:
    """Whether `path` is one of `directories` or below one."""
    while path:
        if path in directories:
            return True
        path = parent(path)
    return False
