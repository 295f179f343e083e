"""Windows that ask: for a yes, or for a line of text."""

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Button, Input, Static

from leafsync.actions import bind
from leafsync.screens.base import Modal
from leafsync.widgets.typed_path import TYPED
from leafsync.widgets.window import Body, Choices, Window

LOW: list[tuple[int, str]] | None = [(0, "-low"), (16, "-high")]
"""Rows from which on a question fits with air around it."""

MAX_TYPED = 4096
"""Characters a line takes: the longest path there is, and no paste of a whole file."""


class ConfirmModal(Modal[bool]):
    """Asks whether to do something; False unless somebody says yes."""

    HELP: ClassVar[str | None] = """## A question
The button that does it names what happens.

**y** does it, **n** and **escape** leave everything as it is. The cursor starts on the button that does nothing, so
that enter is harmless.
"""
    AUTO_FOCUS: ClassVar[str | None] = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("modal.yes", "yes"),
        Binding("n", "close", "No", show=False),
    ]
    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS: ClassVar[str] = """
    ConfirmModal .sentence { margin: 1 0; }
    """

    def __init__(self, title: str, sentence: str, *, yes: str, no: str = "Cancel") -> None:
        """`title` and `sentence` are escaped by whoever made them; `yes` and `no` are words on buttons."""
        super().__init__()
        self._texts = title, sentence
        self._labels = yes, no

    def compose(self) -> ComposeResult:
        """Lay out the question."""
        title, sentence = self._texts
        yes, no = self._labels
        with Window(classes="warning"):
            with Body():
                yield Static(f"? {title}", classes="heading", markup=False)
                yield Static(sentence, classes="sentence", markup=False)
            with Choices():
                yield Button(Content(f"n  {no}"), id="no", compact=True)
                yield Button(Content(f"y  {yes}"), id="yes", variant="warning", compact=True)

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        """Do it."""
        self.dismiss(True)

    @on(Button.Pressed, "#no")
    def action_close(self) -> None:
        """Leave everything as it is."""
        self.dismiss(False)


class PromptModal(Modal[str]):
    """Asks for a line of text; None when nothing was given."""

    HELP: ClassVar[str | None] = """## A line of text
Type it and press **enter**. What cannot be used is said below while it is typed, and enter waits until it can.
**escape** changes nothing.
"""
    AUTO_FOCUS: ClassVar[str | None] = "Input"
    VERTICAL_BREAKPOINTS = LOW
    DEFAULT_CSS: ClassVar[str] = """
    PromptModal {
        .sentence { margin-top: 1; }
        Input { margin-top: 1; padding: 0 1; background: $panel; }
        Input:focus { background: $boost; }
        .reason { min-height: 1; }
    }
    """

    def __init__(
        self,
        title: str,
        sentence: str = "",
        *,
        value: str = "",
        placeholder: str = "",
        validate: Callable[[str], str] = lambda _text: "",
        yes: str = "OK",
    ) -> None:
        """`title` and `sentence` are escaped by whoever made them; `value` is what the line begins with.

        `validate` returns why a text cannot be used, escaped, or ""; it must not block. Blanks around the text are
        taken off before it is asked and before the text is given back.
        """
        super().__init__()
        self._texts = title, sentence
        self._first = value
        self._placeholder = placeholder
        self._validate = validate
        self._yes = yes

    def compose(self) -> ComposeResult:
        """Lay out the line and what is said about it."""
        title, sentence = self._texts
        with Window():
            with Body():
                yield Static(title, classes="heading", markup=False)
                if sentence:
                    yield Static(sentence, classes="sentence quiet", markup=False)
            yield Input(
                self._first,
                placeholder=self._placeholder,
                restrict=TYPED,
                max_length=MAX_TYPED,
                select_on_focus=False,
                compact=True,
            )
            yield Static(classes="reason", markup=False)
            with Choices():
                yield Button("esc  Cancel", id="cancel", compact=True)
                yield Button(Content(f"enter  {self._yes}"), id="take", variant="primary", compact=True)

    def on_mount(self) -> None:
        """Look at what the line begins with."""
        self._look(self._first, touched=False)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._look(event.value, touched=event.value != self._first)

    def _look(self, value: str, *, touched: bool) -> None:
        """Say why a text cannot be used, but not of one that nobody has changed yet."""
        reason = self._validate(value.strip())
        self.query_one("#take", Button).disabled = bool(reason)
        self.query_one(".reason", Static).update(f"× {reason}" if reason and touched else "")

    @on(Input.Submitted)
    @on(Button.Pressed, "#take")
    def _take(self) -> None:
        value = self.query_one(Input).value.strip()
        reason = self._validate(value)
        if reason:
            self._look(value, touched=True)
        else:
            self.dismiss(value)

    @on(Button.Pressed, "#cancel")
    def action_close(self) -> None:
        """Close without a text."""
        self.dismiss(None)
