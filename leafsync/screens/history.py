"""The history of a folder: its passes, and taking one back."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType

from leafsync.actions import bind
from leafsync.bridge import PassRecord
from leafsync.progress import cell_width, format_count, pad, truncate_middle
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.list_modal import ListModal
from leafsync.screens.outcome import tell_outcome
from leafsync.screens.pass_actions import PassActionsModal
from leafsync.tables import local_time
from leafsync.text import printable
from leafsync.widgets.line_list import LineList, Spans

MAX_PASSES = 100
"""Passes shown: older ones are seldom wanted, and `leafsync history --limit` has them."""

MAX_DEVICE = 24
"""Cells of the device's column."""

SECONDS_FIT = 60
"""Cells of a line from which on the time has seconds."""


class HistoryModal(ListModal[None, PassRecord]):
    """Shows what passes did to a folder."""

    HELP: ClassVar[str | None] = """## History
Every pass that changed something in this folder, the newest on top.

* **enter** shows what it did to each path, and brings one back.
* **u** takes all of it back: what came goes to the trash, what went comes back.

Nothing newer is overwritten: what was changed since stays, and is listed. Taking back is a pass of its own, so it can
be taken back too.
"""
    BINDINGS: ClassVar[list[BindingType]] = [bind("history.undo", "undo")]
    EMPTY = "No pass has changed anything in this folder yet."

    def __init__(self, folder: str) -> None:
        """Show the history of the folder at this path."""
        super().__init__()
        self._folder = folder
        self._device_width = 0

    def heading(self) -> str:
        """Name the folder."""
        return f"History of {printable(self._folder)}"

    def about(self) -> str:
        """Say what can be done."""
        return "enter shows a pass, u undoes it; nothing newer is overwritten."

    async def read(self) -> Sequence[PassRecord]:
        """Return the passes, newest first."""
        passes = await self.bridge.history(self._folder, MAX_PASSES)
        self._device_width = min(MAX_DEVICE, max((cell_width(_who(one)) for one in passes), default=0))
        return passes

    def identity(self, row: PassRecord) -> object:
        """Return the pass's id: what is known of it changes when something comes back."""
        return row.id

    def draw(self, row: PassRecord, width: int) -> Spans:
        """Return time, device and what was done."""
        time = local_time(row.moment)
        if width < SECONDS_FIT:
            time = time[:16]
        who = pad(truncate_middle(_who(row), self._device_width), self._device_width)
        return [(f"{time}  ", "quiet"), (f"{who}  ", ""), (counts(row), "")]

    def details(self, row: PassRecord) -> str:
        """Return all of it in words."""
        return f"{local_time(row.moment)}, {_who(row)}: {counts(row)}\npass {printable(row.id)}"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what needs a pass."""
        if action == "undo" and (self.busy or self.selected is None):
            return None
        return super().check_action(action, parameters)

    @on(LineList.Chosen)
    def _open(self) -> None:
        record = self.selected
        if record is not None:
            self.app.push_screen(PassActionsModal(self._folder, record, _title(record)), self._closed_actions)

    def _closed_actions(self, _none: None) -> None:
        self.reload()

    def action_undo(self) -> None:
        """Take the pass back, after a question."""
        record = self.selected
        if record is not None:
            self.carry_out(self._undo(record))

    async def _undo(self, record: PassRecord) -> None:
        question = ConfirmModal(
            "Take back this pass?",
            f"{_title(record)}: {counts(record)}. What came goes to the trash, what went comes back. Nothing newer is "
            "overwritten: what was changed since stays, and is listed. The next pass shows this to the other devices.",
            yes="Take back",
        )
        if await self.app.push_screen_wait(question):
            tell_outcome(self.app, await self.bridge.undo(self._folder, record.id))


def counts(record: PassRecord) -> str:
    """Return how often a pass did what."""
    counted = Counter(action.kind for action in record.actions)
    return ", ".join(f"{count:,} {kind}" for kind, count in counted.items()) or format_count(0, "change")


def _who(record: PassRecord) -> str:
    return f"with {printable(record.peer)}" if record.peer else "by you"


def _title(record: PassRecord) -> str:
    return f"{local_time(record.moment)} {_who(record)}"
