"""What the ignore rules of the other side leave out, as far as its refusals have told.

Known for as long as a connection lasts, and not kept with the base: the rules are the other device's own, and not all
that decides can be seen from here (an ignore file that is itself ignored, what is served with --file, what a version
ignores by default). To ask again costs a refusal for each path once a connection, never its content.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from leafsync.engine.core.index import Entry, Kind, find
from leafsync.engine.core.messages import Refusal, RefusalKind
from leafsync.engine.core.names import IGNORE_FILE, parent
from leafsync.engine.core.steps import Steps

Listings = Mapping[str, Sequence[Entry]]


class IgnoredThere:
    """Paths that the other side refused because its rules leave them out."""

    def __init__(self) -> None:
        """Know of none."""
        self._refused: dict[tuple[str, bool], tuple[Entry | None, ...]] = {}
        """(path, whether it was a directory) -> the ignore files that governed it."""

    def __call__(self, path: str, directory: bool) -> bool:
        """Whether the path was refused. What is below a directory that was is not asked about."""
        return (path, directory) in self._refused

    def learn(self, steps: Steps, refusals: Iterable[Refusal], listings: Listings) -> None:
        """Take over what was refused of `steps`; `listings` are those that the other side judged by."""
        moves = (*steps.asides, *steps.moves)
        directories = {*steps.directories, *(move.target for move in moves if move.entry.kind is Kind.DIRECTORY)}
        for refusal in refusals:
            if refusal.kind is RefusalKind.IGNORED:
                self._refused[refusal.path, refusal.path in directories] = _governing(refusal.path, listings)

    def review(self, listings: Listings) -> None:
        """Forget what the other side may judge otherwise by now: an ignore file is another one than it was."""
        self._refused = {key: files for key, files in self._refused.items() if files == _governing(key[0], listings)}


def _governing(path: str, listings: Listings) -> tuple[Entry | None, ...]:
    """Return the ignore file of each directory that leads to `path`.

    One that is withheld counts as none: a listing that is known from the base does not have it.
    """
    found = (find(listings.get(directory, ()), IGNORE_FILE) for directory in _above(path))
    return tuple(entry if entry is not None and entry.kind is not Kind.WITHHELD else None for entry in found)


def _above(path: str) -> Iterator[str]:
    while path:
        path = parent(path)
        yield path
