"""A labelled line to type into, with the reason why what is there cannot be used below it."""

from collections.abc import Callable
from typing import ClassVar

from rich.highlighter import Highlighter
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.suggester import Suggester
from textual.widgets import Input, Label, Static

from leafsync.text import printable

LABEL_WIDTH = 12
"""Cells of the label before the line."""

MAX_TEXT = 4096
"""Characters a line takes: the longest path there is, and no paste of a whole file."""

HIDDEN = "\ufffd"
"""Stands for a character that must not reach the terminal; one for one, so that the cursor stays where it is."""


class Harmless(Highlighter):
    """Has a line show what is in it without what could harm the terminal: names on disks have all sorts."""

    def __call__(self, text: str | Text) -> Text:
        """Return the text to show."""
        plain = str(text)
        if printable(plain) != plain:
            plain = "".join(one if one == "\\" or printable(one) == one else HIDDEN for one in plain)
        return Text(plain, no_wrap=True, overflow="ignore", end="")

    def highlight(self, text: Text) -> None:
        """Leave it at that."""


class Field(Vertical):
    """An input that says what is wrong while it is typed into."""

    DEFAULT_CSS: ClassVar[str] = f"""
    Field {{
        height: auto;

        Horizontal {{ height: 1; }}
        Label {{ width: {LABEL_WIDTH}; color: $text-muted; }}
        Input {{ width: 1fr; background: $panel; }}
        Input:focus {{ background: $primary 15%; }}
        .reason {{ margin-left: {LABEL_WIDTH}; display: none; color: $error; }}
        &.-wrong .reason {{ display: block; }}
        /* Without a rule of its own that says `focus-within`, textual does not look at what is in it again. */
        &:focus-within {{ height: auto; }}
        &:focus-within Label {{ color: $primary; text-style: bold; }}
    }}
    """

    reason: reactive[str] = reactive("")
    """Why the value cannot be used, "" when it can."""

    class Changed(Message):
        """The value or the reason is another one."""

        def __init__(self, field: "Field") -> None:
            super().__init__()
            self.field = field

        @property
        def control(self) -> "Field":
            """The field."""
            return self.field

    def __init__(
        self,
        label: str,
        *,
        id: str,  # noqa: A002  textual's own name
        value: str = "",
        placeholder: str = "",
        check: Callable[[str], str] = lambda _text: "",
        suggester: Suggester | None = None,
        help_text: str = "",
    ) -> None:
        """`check` returns why a text cannot be used; it must not block. `help_text` is shown in the help panel."""
        super().__init__(id=id)
        self._label = label
        self._first = value
        self._placeholder = placeholder
        self._check = check
        self._suggester = suggester
        self._help = help_text
        self._touched = False
        self._complaint = ""
        self.set_reactive(Field.reason, check(value))

    @property
    def label(self) -> str:
        """What the field is called on the screen."""
        return self._label

    @property
    def HELP(self) -> str | None:  # type: ignore[override]
        """What the help panel says while the line has the focus."""
        return f"## {self._label}\n{self._help}" if self._help else None

    def compose(self) -> ComposeResult:
        """Lay out the label, the line and the reason."""
        line = Input(
            self._first,
            highlighter=Harmless(),
            max_length=MAX_TEXT,
            placeholder=self._placeholder,
            compact=True,
            select_on_focus=False,
            suggester=self._suggester,
        )
        with Horizontal():
            yield Label(self._label)
            yield line
        yield Static(classes="reason", markup=False)

    @property
    def value(self) -> str:
        """What was typed."""
        return self.line.value if self.is_mounted else self._first

    @value.setter
    def value(self, text: str) -> None:
        self.line.value = text
        self.line.cursor_position = len(text)

    @property
    def line(self) -> Input:
        """The input itself."""
        return self.query_one(Input)

    @property
    def usable(self) -> bool:
        """Whether there is nothing wrong with the value as it is now: `reason` follows it a moment later."""
        return not self.reason and not self._check(self.value)

    def refuse(self, reason: str) -> None:
        """Say what is wrong with the value until it changes: a check that takes longer has found it."""
        self._touched = True
        self.reason = reason
        self._show()

    def complain(self, complaint: str) -> None:
        """Say what went wrong with the value, which may be tried again as it is."""
        self._complaint = complaint
        self._show()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._touched = self._touched or event.value != self._first
        self._complaint = ""
        self.reason = self._check(event.value)
        self._show()
        self.post_message(self.Changed(self))

    @on(Input.Blurred)
    def _left(self) -> None:
        self._touched = True
        self._show()

    def _show(self) -> None:
        """Show the reason, but not of a field that nobody has come to yet."""
        said = (self.reason if self._touched else "") or self._complaint
        self.set_class(bool(said), "-wrong")
        self.query_one(".reason", Static).update(f"! {said}" if said else "")

    def take(self, text: str | None) -> None:
        """Take over a value that was chosen elsewhere; None is no choice."""
        if text is not None:
            self.value = text
        self.focus_line()

    def focus_line(self) -> None:
        """Put the cursor into the line."""
        self.line.focus()
