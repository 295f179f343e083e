"""A field for a folder: what is typed is looked at on the disk, off the loop, while it is typed."""

from pathlib import Path

from textual import work

from leafsync import forms
from leafsync.widgets.field import Field


class FolderField(Field):
    """A folder on this machine."""

    def __init__(self, *, value: str = "", help_text: str = "") -> None:
        super().__init__(
            "Folder",
            id="folder",
            value=value,
            placeholder="ctrl+o chooses one",
            check=lambda text: "" if text.strip() else "name a folder",
            help_text=help_text,
        )

        self._looked: str | None = None
        """What was looked at last."""

    @property
    def path(self) -> str:
        """The folder, with `~` resolved."""
        return str(Path(self.value.strip()).expanduser())

    def on_mount(self) -> None:
        """Look at the folder that was remembered."""
        if self.value:
            self._look(self.value)

    def on_field_changed(self) -> None:
        """Look at what was typed."""
        if self.value != self._looked:
            self._look(self.value)

    @work(thread=True, exclusive=True, exit_on_error=False, group="folder")
    def _look(self, text: str) -> None:
        self._looked = text
        reason = forms.folder_reason(text)
        if reason:
            self.app.call_from_thread(self._found, text, reason)

    def _found(self, text: str, reason: str) -> None:
        if self.value == text:
            self.refuse(reason)
            self.post_message(self.Changed(self))
