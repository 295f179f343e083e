"""Renames: what goes at one path and comes at another with the same content is moved, so that no bytes travel."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence

import msgspec

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.names import join, parent
from leafsync.engine.core.steps import Fetch, Link, Move, Steps, Touch


def with_moves(steps: Steps, digests: Mapping[str, bytes], exists: Callable[[str], bool]) -> Steps:
    """Return `steps` with each delete that has an equal creation made into a move.

    `digests` are those of the directories to be made, as the other side has them; `exists(path)` says whether the
    side has something at `path` now. Whole directories go first, from the top; then files that are not empty. Of
    several candidates the one with the same name is taken, then one of the same directory, then the first path.
    """
    if not steps.deletes:
        return steps
    return _move_files(_move_directories(steps, digests, exists), exists)


def _move_directories(steps: Steps, digests: Mapping[str, bytes], exists: Callable[[str], bool]) -> Steps:
    entries = {trash.path: trash.entry for trash in steps.deletes}
    brought: list[Fetch | Link] = [*steps.fetches, *steps.links]
    created = sorted([*steps.directories, *(new.path for new in brought if new.local is None)])
    deleted = sorted(entries)
    waiting: dict[Hashable, list[str]] = defaultdict(list)
    for source in reversed(deleted):
        if entries[source].kind is Kind.DIRECTORY:
            for likeness in _LIKENESSES:
                waiting[entries[source].hash, likeness, likeness(source)].append(source)
    moves: list[Move] = []
    made: set[str] = set()
    gone: set[str] = set()
    broken: set[str] = set()
    """Directories of which a part is gone already."""
    for target in sorted(steps.directories):
        if target in made or exists(target):
            continue
        lists = [waiting.get((digests[target], likeness, likeness(target)), []) for likeness in _LIKENESSES]
        source = next((found for sources in lists if (found := _last_of(sources, gone, broken))), "")
        # Equal digests say that both hold the same, equal names that all of it goes here and comes there.
        content = _below(created, target) if source else []
        if content and _below(deleted, source) == content:
            moves.append(Move(source, target, entries[source]))
            made.update(_tree(target, content))
            gone.update(_tree(source, content))
            broken.update(_above(source))
    return msgspec.structs.replace(
        steps,
        moves=[*steps.moves, *moves],
        directories=[path for path in steps.directories if path not in made],
        fetches=[fetch for fetch in steps.fetches if fetch.path not in made],
        links=[link for link in steps.links if link.path not in made],
        deletes=[trash for trash in steps.deletes if trash.path not in gone],
    )


def _move_files(steps: Steps, exists: Callable[[str], bool]) -> Steps:
    sources = {
        trash.path: trash.entry for trash in steps.deletes if trash.entry.kind is Kind.FILE and trash.entry.size > 0
    }
    targets = {fetch.path: fetch for fetch in steps.fetches if fetch.local is None and not exists(fetch.path)}
    moves: list[Move] = []
    touches: list[Touch] = []
    for likeness in _LIKENESSES:
        waiting: dict[Hashable, list[str]] = defaultdict(list)
        for source in sorted(sources, reverse=True):
            waiting[_content(sources[source]), likeness(source)].append(source)
        for target in sorted(targets):
            wanted = targets[target].entry
            found = waiting.get((_content(wanted), likeness(target)))
            if not found:
                continue
            entry = sources.pop(found[-1])
            moves.append(Move(found.pop(), target, entry))
            del targets[target]
            if not entry.same(wanted):
                touches.append(Touch(target, wanted, msgspec.structs.replace(entry, name=wanted.name)))
    gone, made = {move.source for move in moves}, {move.target for move in moves}
    return msgspec.structs.replace(
        steps,
        moves=[*steps.moves, *moves],
        fetches=[fetch for fetch in steps.fetches if fetch.path not in made],
        touches=[*steps.touches, *touches],
        deletes=[trash for trash in steps.deletes if trash.path not in gone],
    )


def _content(entry: Entry) -> tuple[int, bytes]:
    return entry.size, entry.hash


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _nothing(_path: str) -> str:
    return ""


_LIKENESSES = (_name, parent, _nothing)
"""What a source should share with its target, the best first."""


def _last_of(sources: list[str], gone: Collection[str], broken: Collection[str]) -> str:
    """Return the last of `sources` that can still be moved, "" when there is none; the others are dropped for good."""
    while sources and (sources[-1] in gone or sources[-1] in broken):
        sources.pop()
    return sources[-1] if sources else ""


def _above(path: str) -> Iterator[str]:
    while path := parent(path):
        yield path


def _below(paths: Sequence[str], directory: str) -> list[str]:
    """Return what the sorted `paths` have below `directory`, relative to it."""
    prefix = f"{directory}/"
    start, end = bisect_left(paths, prefix), bisect_left(paths, f"{directory}0")  # "0" is what follows "/"
    return [path.removeprefix(prefix) for path in paths[start:end]]


def _tree(directory: str, content: Collection[str]) -> list[str]:
    return [directory, *(join(directory, name) for name in content)]
