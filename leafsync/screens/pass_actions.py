"""What one pass did to each path, and bringing a path back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.binding import BindingType

from leafsync.actions import bind
from leafsync.bridge import ActionKind, ActionRecord, PassRecord
from leafsync.progress import truncate_middle
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.list_modal import ListModal
from leafsync.screens.outcome import tell_outcome
from leafsync.text import printable
from leafsync.widgets.line_list import LineList, Spans

KINDS = {
    ActionKind.CREATED: ("+", "good"),
    ActionKind.REPLACED: ("~", ""),
    ActionKind.TRASHED: ("-", "bad"),
    ActionKind.MOVED: (">", ""),
    ActionKind.MADE: ("+", "good"),
    ActionKind.LINKED: ("+", "good"),
    ActionKind.TOUCHED: ("~", ""),
    ActionKind.CONFLICT: ("!", "warn"),
}
"""A mark for each kind of action, and how its line is coloured."""

KIND_WIDTH = max(len(kind) for kind in ActionKind) + 4
"""Cells of mark and kind."""

GONE = frozenset({ActionKind.REPLACED, ActionKind.TRASHED, ActionKind.MOVED})
"""Kinds after which there is something to bring back."""


class PassActionsModal(ListModal[None, ActionRecord]):
    """Lists the actions of a pass."""

    HELP: ClassVar[str | None] = """## What a pass did
A line for each thing it did to a path, in that order. **u** or **enter** brings back what it replaced, removed or moved
away at that path and below it. Nothing newer is overwritten.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        replace(bind("history.undo", "restore", label="Bring back"), tooltip="Bring this path back; asks first.")
    ]
    EMPTY = "The pass did nothing to this folder."

    def __init__(self, folder: str, record: PassRecord, title: str) -> None:
        """`title` names the pass, escaped."""
        super().__init__()
        self._folder = folder
        self._record = record
        self._title = title

    def heading(self) -> str:
        """Name the pass."""
        return f"Pass {self._title}"

    def about(self) -> str:
        """Say what can be done."""
        return "u or enter brings a path back; nothing newer is overwritten."

    async def read(self) -> Sequence[ActionRecord]:
        """Return the actions."""
        return self._record.actions

    def draw(self, row: ActionRecord, width: int) -> Spans:
        """Return what was done, and to which path."""
        mark, style = KINDS[row.kind]
        path = printable(row.path)
        if row.source:
            path = f"{printable(row.source)} -> {path}"
        return [(f"{mark} {row.kind:<{KIND_WIDTH - 2}}", style), (truncate_middle(path, width - KIND_WIDTH), "")]

    def details(self, row: ActionRecord) -> str:
        """Return the whole path, and where what was there is."""
        lines = [printable(row.path)]
        if row.source:
            lines.append(f"{'copy' if row.kind is ActionKind.CONFLICT else 'was'} {printable(row.source)}")
        if row.kept:
            lines.append(f"kept as {printable(row.kept)}")
        return "\n".join(lines)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what has nothing to bring back."""
        if action == "restore" and (self.busy or not self._restorable):
            return None
        return super().check_action(action, parameters)

    @property
    def _restorable(self) -> bool:
        row = self.selected
        return row is not None and (row.kind in GONE or bool(row.kept))

    @on(LineList.Chosen)
    def _chosen(self) -> None:
        if self.check_action("restore", ()):
            self.action_restore()

    def action_restore(self) -> None:
        """Bring the path back, after a question."""
        row = self.selected
        if row is not None:
            self.carry_out(self._restore(row.source if row.kind is ActionKind.MOVED else row.path))

    async def _restore(self, path: str) -> None:
        question = ConfirmModal(
            "Bring this back?",
            f"{printable(path)} becomes what it was before the pass, with all that is below it. What is there now goes "
            "to the trash, but only if nothing has changed it since: nothing newer is overwritten.",
            yes="Bring back",
        )
        if await self.app.push_screen_wait(question):
            tell_outcome(self.app, await self.bridge.restore(self._folder, self._record.id, path))
