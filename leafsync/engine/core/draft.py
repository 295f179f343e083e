"""What a comparison has found so far."""

import msgspec

from leafsync.engine.core.index import Problem
from leafsync.engine.core.steps import Conflict, Steps


class Draft(msgspec.Struct):
    """Steps and remarks found so far; those of a part of the folder can be thrown away again."""

    steps: tuple[Steps, Steps] = msgspec.field(default_factory=lambda: (Steps(), Steps()))
    conflicts: list[Conflict] = msgspec.field(default_factory=list)
    problems: list[Problem] = msgspec.field(default_factory=list)
    notes: list[tuple[str, str]] = msgspec.field(default_factory=list)

    def add(self, other: "Draft") -> None:
        """Append what `other` found."""
        for mine, more in zip(self.steps, other.steps, strict=True):
            mine.extend(more)
        self.conflicts += other.conflicts
        self.problems += other.problems
        self.notes += other.notes
