"""A box to tick whose state is a character, so that it can be told without colours."""

from textual.content import Content
from textual.widgets import Checkbox


class Tick(Checkbox):
    """`[x]` or `[ ]` before its label."""

    def __init__(self, label: str, *, id: str) -> None:  # noqa: A002  textual's own name
        super().__init__(Content(label), id=id, compact=True)

    @property
    def _button(self) -> Content:
        """The box, reflecting the current value."""
        return Content.styled("[x]" if self.value else "[ ]", "bold $primary" if self.value else "$text-muted")
