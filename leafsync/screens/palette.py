"""The palette of commands: textual's own, which keys that are typed ahead of it do no harm."""

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.command import CommandList, CommandPalette
from textual.widgets import Input, OptionList

from leafsync.screens.base import LEAVE, Steady


class Commands(CommandList, can_focus=False):
    """What was found."""

    def on_click(self, event: events.Click) -> None:
        """Take clicks at what is there: the first of a double click chooses, and nothing is when the second comes."""
        if event.style.meta.get("option", -1) >= self.option_count:
            event.prevent_default()


class Palette(CommandPalette, Steady[None]):
    """Finds commands by their names."""

    BINDINGS: ClassVar[list[BindingType]] = [LEAVE]

    def compose(self) -> ComposeResult:
        """Lay it out with a list of ours."""
        for widget in super().compose():
            yield Commands() if isinstance(widget, CommandList) else widget

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Go through the list once it is laid out: there are no lines to go by before."""
        if action == "command_list":
            return any(commands.scrollable_content_region for commands in self.query(CommandList))
        return super().check_action(action, parameters)

    @on(Input.Changed)
    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _asked(self, event: Input.Changed | Input.Submitted | OptionList.OptionSelected) -> None:
        """Look for nothing and choose nothing any more once something was chosen."""
        if not self.is_active:
            event.stop()
            event.prevent_default()
