"""A field for a folder: what is typed is looked at on the disk, off the loop, while it is typed."""

from textual import work

from leafsync import forms
from leafsync.widgets.field import Field
from leafsync.widgets.listing import in_thread, reason_of


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
        self._looking = False
        """Whether a thread looks at the disk: one at a time, because a dead network mount keeps it."""
        self._looked: str | None = None
        """What the reason was found for."""

    @property
    def path(self) -> str:
        """The folder, with `~` resolved."""
        return forms.folder_path(self.value)

    @property
    def unknown(self) -> bool:
        """Whether it is not known yet if the folder can be used."""
        return bool(self.value.strip()) and self.value != self._looked

    def on_mount(self) -> None:
        """Look at the folder that was remembered."""
        self._look_if_unknown()

    def on_field_changed(self) -> None:
        """Look at what was typed."""
        self._look_if_unknown()

    def look_again(self) -> None:
        """Look whether a folder that could not be used can be by now."""
        if self.reason and self.value.strip() and not self._looking:
            self._look()

    def _look_if_unknown(self) -> None:
        if not self.value.strip():
            self._looked = None
        elif self.unknown and not self._looking:
            self._look()

    @work(exit_on_error=False, group="folder")
    async def _look(self) -> None:
        self._looking = True
        try:
            while True:
                text = self.value
                reason = await self._reason(text)
                if text == self.value:
                    break
        finally:
            self._looking = False
        self._found(text, reason)

    async def _reason(self, text: str) -> str:
        """Say why the folder cannot be used, in a thread that holds neither other work nor the end of the app."""
        try:
            return await in_thread(lambda _stopped: forms.folder_reason(text))
        except TimeoutError as error:
            return reason_of(error)

    def _found(self, text: str, reason: str) -> None:
        self._looked = text
        self._touched = True
        self.reason = reason
        self._show()
        self.post_message(self.Changed(self))

    def _show(self) -> None:
        """Leave what is said until it is known better: it must not flicker while somebody types."""
        if not self.unknown:
            super()._show()
