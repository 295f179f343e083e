"""A box to tick whose state is a character, so that it can be told without colours."""

from textual.content import Content
from textual.widgets import Checkbox


class Tick(Checkbox):
    """`[x]` or `[ ]` before its label."""

    def __init__(self, label: str, *, id: str, help_text: str = "") -> None:  # noqa: A002  textual's own name
        """`help_text` is shown in the help panel."""
        super().__init__(Content(label), id=id, compact=True)
        self._help = f"## {label}\n{help_text}" if help_text else None

    @property
    def HELP(self) -> str | None:  # type: ignore[override]
        """What the help panel says while it has the focus."""
        return self._help

    @property
    def _button(self) -> Content:
        """The box, reflecting the current value."""
        return Content.styled("[x]" if self.value else "[ ]", "bold $primary" if self.value else "auto 60%")
