"""The palette of commands: textual's own, which keys that are typed ahead of it do no harm."""

from textual import on
from textual.command import CommandList, CommandPalette
from textual.widgets import Input, OptionList

from leafsync.screens.base import Steady


class Palette(CommandPalette, Steady[None]):
    """Finds commands by their names."""

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
