"""The deletes that the last pass of a job held back, and letting exactly these happen."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from leafsync.actions import bind
from leafsync.bridge import ConnectStatus
from leafsync.progress import format_count, truncate_middle
from leafsync.screens.base import toast
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.list_modal import ListModal
from leafsync.text import printable
from leafsync.widgets.line_list import Spans

Row = tuple[str, str]
"""A text and the kind of its line: a heading, or a path as it came."""

Held = tuple[tuple[str, ...], tuple[str, ...]]
"""The paths that are held back here, and on the other side."""

PATH = "path"
"""Marks a row that is a path."""


class HeldModal(ListModal[None, Row]):
    """Shows the deletes that are held back."""

    HELP: ClassVar[str | None] = """## Held deletes
So much would be deleted at once that the last pass did not do it: an unmounted disk looks the same as a folder that
somebody emptied.

**a** lets exactly these deletes happen, **escape** leaves them held. What is deleted goes to the trash of its side, and
comes back by the history there.
"""
    BINDINGS: ClassVar[list[BindingType]] = [bind("held.allow", "allow")]
    EMPTY = "Nothing is held back: the last pass deleted all it had to."

    def __init__(self, job_id: int) -> None:
        """Show those of the job with this id."""
        super().__init__()
        self._job_id = job_id
        self._held: Held = ((), ())

    def heading(self) -> str:
        """Name the window."""
        return "Held deletes"

    def about(self) -> str:
        """Say what is about to happen."""
        return (
            "So much at once waits for a yes. a lets exactly these go to the trash, from where they can be restored; "
            "escape leaves them held."
        )

    async def read(self) -> Sequence[Row]:
        """Return the headings and the paths."""
        self._held = here, there = self._now_held()
        other = printable(self._other())
        rows: list[Row] = []
        if here:
            rows.append((f"{format_count(len(here), 'entry', 'entries')} here, gone on {other}", "title"))
            rows += [(path, PATH) for path in here]
        if there:
            rows.append((f"{format_count(len(there), 'entry', 'entries')} on {other}, gone here", "title"))
            rows += [(path, PATH) for path in there]
        return rows

    def _now_held(self) -> Held:
        summary = self.bridge.summaries.get(self._job_id)
        return (summary.held, summary.remote_held) if summary is not None else ((), ())

    def _job(self) -> ConnectStatus | None:
        return next((job for job in self.bridge.snapshot().connecting if job.id == self._job_id), None)

    def _other(self) -> str:
        job = self._job()
        if job is None:
            return "the other device"
        return job.peer.name if job.peer is not None else job.address

    def draw(self, row: Row, width: int) -> Spans:
        """Return a heading, or a path."""
        text, kind = row
        if kind == PATH:
            return [("  ", ""), (truncate_middle(printable(text), width - 2), "")]
        return [(text, kind)]

    def details(self, row: Row) -> str:
        """Return the whole path."""
        return printable(row[0]) if row[1] == PATH else row[0]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what needs something held."""
        if action == "allow" and (self.busy or self.selected is None):
            return None
        return super().check_action(action, parameters)

    def action_allow(self) -> None:
        """Let these deletes happen, after a question."""
        self.carry_out(self._allow(self._held))

    async def _allow(self, held: Held) -> None:
        here, there = held
        other = printable(self._other())
        parts = [
            f"{format_count(len(paths), 'entry goes', 'entries go')} to the trash {where}"
            for paths, where in ((here, "here"), (there, f"on {other}"))
            if paths
        ]
        sentence = f"{' and '.join(parts)}. From there they can be restored by the history."
        if not await self.app.push_screen_wait(ConfirmModal("Delete these?", sentence, yes="Delete")):
            return
        if self._job() is None:
            toast(self.app, "The job has ended, so nothing is deleted. Start it again first.", severity="warning")
            return
        if self._now_held() != held:
            toast(self.app, "Another pass found other deletes meanwhile. Look at them first.", severity="warning")
            return
        self.bridge.allow_deletes(self._job_id)
        toast(self.app, "Allowed: the next pass deletes these, and nothing else.")
        self.dismiss(None)
