"""What a pass would do, before anything moves."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Button

from leafsync.actions import bind
from leafsync.bridge import ConnectOptions
from leafsync.progress import truncate_middle
from leafsync.screens.list_modal import ListModal
from leafsync.summary import summary_lines
from leafsync.text import printable
from leafsync.widgets.line_list import Spans
from leafsync.widgets.window import Choices

STAGE_SECONDS = 0.5
"""Seconds between two looks at what the comparing is at."""

PATH_INDENT = "    "
"""What begins the lines of a summary that are no headings."""


class PreviewModal(ListModal[bool, str]):
    """Compares both sides and shows the plan; True when it is to be started."""

    HELP: ClassVar[str | None] = """## Preview
What a pass with these settings would do now. Nothing has been changed on either side. **ctrl+s** starts it, **escape**
goes back to the form; while both sides are being compared it ends that.
"""
    DEFAULT_CSS: ClassVar[str] = """
    PreviewModal {
        Choices { padding: 0 2; }
        &.-low Choices { display: none; }
        &.-tall Choices { margin-bottom: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [bind("form.start", "start")]
    READING = "Comparing..."
    EMPTY = "There is nothing to do."

    def __init__(self, options: ConnectOptions) -> None:
        """Preview a pass with these options."""
        super().__init__()
        self._options = msgspec.structs.replace(options, dry_run=True)
        self._comparing = True
        self._planned = False

    def heading(self) -> str:
        """Name both sides."""
        return f"Preview: {printable(self._options.folder)} and {printable(str(self._options.address))}"

    def about(self) -> str:
        """Say that this is safe."""
        return "Nothing has been changed yet. This is what a pass would do."

    def below(self) -> ComposeResult:
        """Yield the buttons."""
        with Choices():
            yield Button("Close", id="close", compact=True)
            yield Button("Start", id="start", variant="primary", compact=True, disabled=True)

    def on_mount(self) -> None:
        """Say from time to time what the comparing is at, which begins right after this."""
        self._timer = self.set_interval(STAGE_SECONDS, self._tell_stage)

    async def read(self) -> Sequence[str]:
        """Compare, and return the plan in lines."""
        try:
            summary = await self.bridge.preview(self._options)
        finally:
            self._comparing = False
            self._timer.stop()
        lines = await asyncio.to_thread(summary_lines, summary, verbose=True)  # there may be 100,000
        self._planned = True
        self.query_one("#start", Button).disabled = False
        return lines

    def _tell_stage(self) -> None:
        for job in self.bridge.snapshot().connecting:
            if self._comparing and job.id in self.bridge.previewing:
                reason = f": {printable(job.reason)}" if job.reason else ""
                self.lines.say(f"{self.READING} ({job.state}{reason})")

    def draw(self, row: str, width: int) -> Spans:
        """Return a line of the plan, headings told from paths."""
        shown = truncate_middle(row, width)
        return [(shown, "" if row.startswith(PATH_INDENT) else "title")]

    def details(self, row: str) -> str:
        """Return the whole line."""
        return row.strip()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out the start until there is a plan."""
        if action == "start" and not self._planned:
            return None
        return super().check_action(action, parameters)

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Say yes to the plan."""
        self.dismiss(True)

    @on(Button.Pressed, "#close")
    def _cancelled(self) -> None:
        self.action_close()
