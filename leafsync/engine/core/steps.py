"""The steps of a pass: what is to be done on each side, as values.

The local steps come first; their content is what the remote side listed. Then the folder is scanned again, and the
remote steps follow; their content is what the local side has by then.
"""

from collections.abc import Container
from typing import Literal

import msgspec

from leafsync.engine.core.index import Entry, Problem
from leafsync.engine.core.names import parent


class Fetch(msgspec.Struct, frozen=True):
    """Bring the file `entry` to `path`; `local` is what it replaces on the side that fetches."""

    path: str
    entry: Entry
    local: Entry | None = None
    source: str = ""
    """Where the content is on the other side, when that is not `path`."""


class Link(msgspec.Struct, frozen=True):
    """Make the symlink `entry` at `path`; `local` is what it replaces."""

    path: str
    entry: Entry
    local: Entry | None = None


class Touch(msgspec.Struct, frozen=True):
    """Give the file at `path` the time and executable bit of `entry`; its content is right already."""

    path: str
    entry: Entry
    local: Entry


class Trash(msgspec.Struct, frozen=True):
    """Move `entry` at `path` to the trash."""

    path: str
    entry: Entry


class Move(msgspec.Struct, frozen=True):
    """Rename `entry`, a file, a link or a whole directory, from `source` to `target`; nothing is replaced."""

    source: str
    target: str
    entry: Entry


class Steps(msgspec.Struct):
    """What is to be done on one side, carried out in the order of these fields."""

    asides: list[Move] = msgspec.field(default_factory=list)
    """Renames within one directory that all else builds on: a file that gives its name to a directory, and names that
    change in case alone. Parents first; later steps use the new names."""
    clearings: list[Trash] = msgspec.field(default_factory=list)
    """What is in the way of another kind of entry; contents before their directory."""
    directories: list[str] = msgspec.field(default_factory=list)
    """To be made, parents first."""
    moves: list[Move] = msgspec.field(default_factory=list)
    """Conflict copies, and renames that the other side made."""
    fetches: list[Fetch] = msgspec.field(default_factory=list)
    links: list[Link] = msgspec.field(default_factory=list)
    touches: list[Touch] = msgspec.field(default_factory=list)
    deletes: list[Trash] = msgspec.field(default_factory=list)
    """What the other side has no more; contents before their directory."""
    held: list[Trash] = msgspec.field(default_factory=list)
    """Clearings and deletes that are too many to do unasked."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do (what is held is not done)."""
        return not (
            self.asides
            or self.clearings
            or self.directories
            or self.moves
            or self.fetches
            or self.links
            or self.touches
            or self.deletes
        )

    def extend(self, more: "Steps") -> None:
        """Append those of `more`."""
        self.asides += more.asides
        self.clearings += more.clearings
        self.directories += more.directories
        self.moves += more.moves
        self.fetches += more.fetches
        self.links += more.links
        self.touches += more.touches
        self.deletes += more.deletes
        self.held += more.held

    def without(self, paths: Container[str]) -> "Steps":
        """Return those of which the path, for a rename the new one, is not in `paths`; what is held stays held."""
        return Steps(
            asides=[move for move in self.asides if move.target not in paths],
            clearings=[trash for trash in self.clearings if trash.path not in paths],
            directories=[path for path in self.directories if path not in paths],
            moves=[move for move in self.moves if move.target not in paths],
            fetches=[fetch for fetch in self.fetches if fetch.path not in paths],
            links=[link for link in self.links if link.path not in paths],
            touches=[touch for touch in self.touches if touch.path not in paths],
            deletes=[trash for trash in self.deletes if trash.path not in paths],
            held=self.held,
        )

    def directories_touched(self) -> set[str]:
        """Return every directory in which the steps add, change or remove a name."""
        renamed = [path for move in (*self.asides, *self.moves) for path in (move.source, move.target)]
        steps: list[Fetch | Link | Touch | Trash] = [*self.fetches, *self.links, *self.touches]
        steps += [*self.clearings, *self.deletes]
        return {parent(path) for path in (*self.directories, *renamed, *(step.path for step in steps))}

    @property
    def brought(self) -> list[str]:
        """The paths of files and links that are brought to this side."""
        return [fetch.path for fetch in self.fetches] + [link.path for link in self.links]

    @property
    def discarded(self) -> list[str]:
        """The paths that go to the trash."""
        return [trash.path for trash in (*self.clearings, *self.deletes)]

    @property
    def renamed(self) -> list[tuple[str, str]]:
        """(from, to) of all renames."""
        return [(move.source, move.target) for move in (*self.asides, *self.moves)]


class Held(msgspec.Struct, frozen=True):
    """The paths that wait for a confirmation before they go to the trash, by side."""

    local: frozenset[str] = frozenset()
    remote: frozenset[str] = frozenset()


NOTHING_HELD = Held()


class Conflict(msgspec.Struct, frozen=True):
    """Both sides changed `path`: one version keeps the name, the other one goes on as `copy`."""

    path: str
    copy: str
    kept: Literal["local", "remote"]
    """Whose version keeps the name."""
    local: Entry
    remote: Entry


class Plan(msgspec.Struct):
    """What a pass will do on both sides, and what there is to say about it."""

    local: Steps = msgspec.field(default_factory=Steps)
    remote: Steps = msgspec.field(default_factory=Steps)
    conflicts: list[Conflict] = msgspec.field(default_factory=list)
    problems: list[Problem] = msgspec.field(default_factory=list)
    notes: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """(path, sentence) of what somebody may wonder about."""

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done on either side."""
        return self.local.empty and self.remote.empty

    @property
    def held(self) -> Held:
        """What is planned and waits for a confirmation."""
        return Held(*(frozenset(trash.path for trash in steps.held) for steps in (self.local, self.remote)))
