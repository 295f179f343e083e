"""The conflict copies in a folder, both versions side by side, and deciding between them."""

import asyncio
import stat as modes
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import msgspec
from textual.binding import BindingType

from leafsync.actions import bind
from leafsync.bridge import ConflictCopy, Keep
from leafsync.progress import cell_width, format_bytes, pad, truncate_middle
from leafsync.screens.base import toast
from leafsync.screens.list_modal import ListModal
from leafsync.text import printable
from leafsync.widgets.line_list import Spans

TIME_FITS = 56
"""Cells of a line from which on there is room for the time."""

SIZE_WIDTH = 9
"""Cells of a size, as `format_bytes` writes it."""

TIME_WIDTH = 19
"""Cells of a time."""


class Version(msgspec.Struct, frozen=True):
    """What the disk says of a version."""

    size: int
    mtime_ns: int


class Conflict(msgspec.Struct, frozen=True):
    """A conflict copy, and the version that has the name, None when nothing has it."""

    copy: ConflictCopy
    this: Version | None


class ConflictsModal(ListModal[None, Conflict]):
    """Shows the conflict copies in a folder, and resolves them."""

    HELP: ClassVar[str | None] = """## Conflicts
Both devices had changed these, so both versions were kept: **this** one has the name, the **other** one is the copy.

* **t** keeps this one; the copy goes to the trash.
* **o** gives the copy the name; the one that had it goes to the trash.
* **b** keeps both; the copy gets an ordinary name.

Each decision is in the history, and can be taken back there.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("conflicts.this", "keep('this')"),
        bind("conflicts.other", "keep('other')"),
        bind("conflicts.both", "keep('both')"),
    ]
    READING = "Looking for conflict copies..."
    EMPTY = "There are no conflict copies in this folder: nothing to decide."

    def __init__(self, folder: str) -> None:
        """Show those of the folder at this path."""
        super().__init__()
        self._folder = folder

    def heading(self) -> str:
        """Name the folder."""
        return f"Conflicts in {printable(self._folder)}"

    def about(self) -> str:
        """Say what can be done."""
        return "Both versions were kept. What you drop goes to the trash."

    async def read(self) -> Sequence[Conflict]:
        """Return the copies, each with the version that has its name."""
        copies = await self.bridge.conflicts(self._folder)
        return await asyncio.to_thread(_with_versions, self._folder, copies)

    def identity(self, row: Conflict) -> object:
        """Return the copy's path: times and sizes may change."""
        return row.copy.copy

    def draw(self, row: Conflict, width: int) -> Spans:
        """Return the path, the copy's size and its time."""
        figures = f"  {format_bytes(row.copy.size):>{SIZE_WIDTH}}"
        if width >= TIME_FITS:
            figures += f"  {local_mtime(row.copy.mtime_ns):<{TIME_WIDTH}}"
        room = max(1, width - cell_width(figures))
        return [(pad(truncate_middle(printable(row.copy.path), room), room), ""), (figures, "quiet")]

    def details(self, row: Conflict) -> str:
        """Return both versions, one below the other."""
        if row.this is None:
            this = f"{'this':<6} nothing is called so any more"
            other = f"{'other':<6} {_facts(row.copy)}"
        else:
            this = f"{'this':<6} {_facts(row.this)}{_newer(row.this, row.copy)}"
            other = f"{'other':<6} {_facts(row.copy)}{_newer(row.copy, row.this)}"
        return f"{this}\n{other}\n{printable(row.copy.copy)}"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what cannot be decided."""
        if action == "keep":
            row = self.selected
            gone = row is not None and row.this is None and parameters == (Keep.THIS.value,)
            return None if self.busy or row is None or gone else True
        return super().check_action(action, parameters)

    def action_keep(self, which: str) -> None:
        """Decide the conflict with the cursor."""
        row = self.selected
        if row is not None:
            self.carry_out(self._resolve(row.copy, Keep(which)))

    async def _resolve(self, copy: ConflictCopy, keep: Keep) -> None:
        await self.bridge.resolve(self._folder, copy.copy, keep)
        path = printable(copy.path)
        sentences = {
            Keep.THIS: f"{path} stays as it is. The other version is in the trash.",
            Keep.OTHER: f"{path} is the other version now. The one before is in the trash.",
            Keep.BOTH: f"Both versions of {path} stay. The copy has an ordinary name now.",
        }
        toast(self.app, sentences[keep])


def local_mtime(mtime_ns: int) -> str:
    """Return a modification time as the local date and time."""
    try:
        return f"{datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return "-"


def _facts(version: Version | ConflictCopy) -> str:
    return f"{format_bytes(version.size):>{SIZE_WIDTH}}  {local_mtime(version.mtime_ns):<{TIME_WIDTH}}"


def _newer(version: Version | ConflictCopy, than: Version | ConflictCopy) -> str:
    return "  newer" if version.mtime_ns > than.mtime_ns else ""


def _with_versions(folder: str, copies: Sequence[ConflictCopy]) -> list[Conflict]:
    """Look the versions up that have the names (blocking)."""
    return [Conflict(copy, _version(Path(folder) / copy.path)) for copy in copies]


def _version(path: Path) -> Version | None:
    try:
        stat = path.lstat()
    except (OSError, ValueError):
        return None
    return Version(stat.st_size if modes.S_ISREG(stat.st_mode) else 0, stat.st_mtime_ns)
