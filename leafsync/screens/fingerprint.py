"""Windows about keys: whether to trust a device that nobody has confirmed, and that a known one shows another key.

Nothing here is decided by accident: the answer is no unless somebody types what the other screen shows.
"""

import math
import string
import time
from asyncio import Future
from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.events import Key
from textual.widgets import Button, Input, Static

from leafsync.actions import bind
from leafsync.bridge import Direction, TrustQuestion
from leafsync.errors import PeerChanged
from leafsync.progress import truncate_middle
from leafsync.screens.base import TABS, Modal, toast
from leafsync.text import printable
from leafsync.widgets.fingerprint_grid import FingerprintGrid
from leafsync.widgets.window import Body, Choices, Window

ANSWER_SECONDS = 120.0
"""How long the question stands: as long as the engine waits for an answer."""

GUARD_SECONDS = 0.7
"""How long all input is ignored at first: a key that was meant for something else must not decide."""

TICK = 0.1
"""Seconds between two looks at the clock and at whether the question still stands."""

TYPED_DIGITS = 4
"""Digits to type: the first group, few enough to type and enough that nobody hits them by chance."""

MAX_NAMED = 100
"""Cells of an address, folder or name in a sentence: a longer one would push the fingerprint out of sight."""

QUESTION_ROWS: list[tuple[int, str]] | None = [(0, "-low"), (26, "-high")]
"""Rows from which on the question fits with air around it."""


def _named(text: object) -> str:
    return truncate_middle(printable(str(text)), MAX_NAMED)


class FingerprintModal(Modal[bool]):
    """Asks whether to trust a device; False unless somebody typed the first digits that the other screen shows."""

    HELP: ClassVar[str | None] = """## An unknown device
Every device has a key, and the fingerprint stands for it. Compare all of it with what the **other** device shows as its
own: in its window like this one, on its screens, or by `leafsync id`. Do not trust what a message or a mail says.

Type the first group **as the other screen shows it**, then **enter** accepts. **enter** on Reject, **escape** and the
end of the time reject; the job does not ask about this device again. **y** copies the fingerprint.
"""
    AUTO_FOCUS: ClassVar[str | None] = ""
    BINDINGS: ClassVar[list[BindingType]] = [*TABS, bind("trust.copy", "copy")]
    VERTICAL_BREAKPOINTS = QUESTION_ROWS
    DEFAULT_CSS: ClassVar[str] = """
    FingerprintModal {
        .top { height: 1; margin-bottom: 1; }
        .top .heading { width: 1fr; }
        .top .left { width: auto; color: $text-muted; }
        .label { margin-top: 1; color: $text-muted; }
        .typing { height: auto; padding: 0 0 1 2; }
        Input { width: 10; padding: 0 1; background: $panel; }
        Input:focus { background: $boost; }
        .said { width: 1fr; padding-left: 2; }
        .said.good { color: $success; }
        .said.bad { color: $error; }
        &.-low .top { margin-bottom: 0; }
        &.-low .typing { padding: 0 0 0 2; }
    }
    """

    def __init__(
        self,
        question: TrustQuestion,
        *,
        own_fingerprint: str,
        seconds: float = ANSWER_SECONDS,
        answer: Future[bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `question` for `seconds`, or until `answer` is done: then nobody waits for an answer any more."""
        super().__init__()
        self._question = question
        self._own = own_fingerprint
        self._seconds = seconds
        self._answer = answer
        self._clock = clock
        self._deadline = math.inf
        self._shown = math.inf
        """When it could be seen first."""
        self._left = -1
        self._armed = False
        """Whether input counts."""

    def compose(self) -> ComposeResult:
        """Lay out the question; everything in it is out of order until somebody can have read it."""
        with Window(classes="warning", disabled=True):
            with Body():
                with Horizontal(classes="top"):
                    yield Static("? Unknown device", classes="heading", markup=False)
                    yield Static(classes="left", markup=False)
                yield Static(self._sentence(), markup=False)
                yield Static("Its fingerprint. Compare all of it with the other screen:", classes="label", markup=False)
                yield FingerprintGrid(self._question.fingerprint)
                yield Static("This device's own, as the other screen should show it:", classes="label", markup=False)
                yield FingerprintGrid(self._own, classes="quiet")
                yield Static("Type the first group as the other screen shows it:", classes="label", markup=False)
            with Horizontal(classes="typing"):
                yield Input(
                    restrict=f"[0-9A-Fa-f]{{0,{TYPED_DIGITS}}}",
                    max_length=TYPED_DIGITS,
                    compact=True,
                    placeholder="____",
                    select_on_focus=False,
                )
                yield Static(classes="said", markup=False)
            with Choices():
                yield Button("esc  Reject", id="reject", compact=True)
                yield Button("enter  Accept", id="accept", variant="success", compact=True, disabled=True)

    def _sentence(self) -> str:
        """Say who claims what."""
        address, folder = _named(self._question.address), _named(self._question.folder)
        if self._question.direction is Direction.IN:
            who = f"A device at {address} wants to connect to {folder}."
        else:
            who = f"The device that answers at {address} shows this fingerprint. It would share {folder}."
        return f"{who} Its name is not known before it is trusted."

    # Time

    def on_mount(self) -> None:
        """Begin to count."""
        self._deadline = self._clock() + self._seconds
        self.call_after_refresh(self._seen)
        self.set_interval(TICK, self._tick)
        self._tick()

    def _seen(self) -> None:
        self._shown = self._clock()

    def _tick(self) -> None:
        now = self._clock()
        if now >= self._deadline or (self._answer is not None and self._answer.done()):
            self.dismiss(False)  # at the next tick, when something lies on top of it
            return
        if not self._armed and now - self._shown >= GUARD_SECONDS:
            self._arm()
        left = math.ceil(self._deadline - now)
        if left != self._left:
            self._left = left
            self.query_one(".left", Static).update(f"{left} s left")

    def _arm(self) -> None:
        self._armed = True
        self.query_one(Window).disabled = False
        self.query_one("#reject").focus()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let no key of this window work before somebody can have read it."""
        return self._armed and super().check_action(action, parameters)

    # The answer

    def on_key(self, event: Key) -> None:
        """Take digits that are typed while Reject has the focus, as it has at first: enter would reject after them."""
        digits = self.query_one(Input)
        if self._armed and not digits.has_focus and event.character and event.character in string.hexdigits:
            self.set_focus(digits)  # at once, so that an enter which is typed already goes there
            digits.insert_text_at_cursor(event.character)
            event.stop()

    @property
    def _matches(self) -> bool:
        return self.query_one(Input).value.lower() == self._question.fingerprint[:TYPED_DIGITS]

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#accept", Button).disabled = not self._matches
        if len(event.value) < TYPED_DIGITS:
            self._say("")
        elif self._matches:
            self._say("✓ the same", "good")
        else:
            self._say("× not its first group: reject it", "bad")

    def _say(self, text: str, kind: str = "") -> None:
        said = self.query_one(".said", Static)
        said.set_classes(f"said {kind}")
        said.update(text)

    @on(Input.Submitted)
    @on(Button.Pressed, "#accept")
    def _accept(self) -> None:
        if self._matches:
            self.dismiss(True)
        elif len(self.query_one(Input).value) < TYPED_DIGITS:
            self._say(f"× it has {TYPED_DIGITS} digits", "bad")

    @on(Button.Pressed, "#reject")
    def action_close(self) -> None:
        """Reject the device."""
        self.dismiss(False)

    def action_copy(self) -> None:
        """Copy the fingerprint to the clipboard."""
        self.app.copy_to_clipboard(self._question.fingerprint)
        toast(self.app, "The fingerprint was copied.")


class ChangedKeyModal(Modal[None]):
    """Says that a known device shows another key. There is nothing to accept here."""

    HELP: ClassVar[str | None] = """## The key has changed
A device that was confirmed shows another fingerprint now. That happens when LeafSync was set up anew there, and it
happens when somebody listens in. Only the other device's own screen can tell which: `leafsync id` there.

**escape** and **enter** close this. Nothing was exchanged, and nothing will be until the new key is confirmed.
"""
    AUTO_FOCUS: ClassVar[str | None] = "#close"
    VERTICAL_BREAKPOINTS = QUESTION_ROWS
    DEFAULT_CSS: ClassVar[str] = """
    ChangedKeyModal {
        Window { max-width: 76; }
        .label { margin-top: 1; color: $text-muted; }
        .text { margin-top: 1; }
        .command { padding-left: 2; color: $text-muted; }
        Choices { padding-top: 1; }
        &.-low Choices { padding-top: 0; }
    }
    """

    def __init__(self, error: PeerChanged) -> None:
        """Tell of `error`."""
        super().__init__()
        fields = {name: str(value) for name, value in error.fields.items()}
        self._device, self._address, self._typed = fields["name"], fields["address"], fields["device"]
        self._expected, self._fingerprint = fields["expected"], fields["fingerprint"]

    def compose(self) -> ComposeResult:
        """Lay out the notice."""
        name, address = _named(self._device), _named(self._address)
        command = f"leafsync trust replace {printable(self._typed)} {printable(self._fingerprint)}"
        with Window(classes="danger"):
            with Body():
                yield Static("! The key has changed", classes="heading", markup=False)
                yield Static(
                    f"{address} was {name}, and shows another fingerprint now. Nothing was exchanged.",
                    classes="text",
                    markup=False,
                )
                yield Static("Confirmed was:", classes="label", markup=False)
                yield FingerprintGrid(self._expected, classes="good")
                yield Static("It shows now:", classes="label", markup=False)
                yield FingerprintGrid(self._fingerprint, classes="bad")
                yield Static(
                    "Either LeafSync was set up anew there, or somebody listens in or pretends to be that device. Look "
                    "at the other screen: only if leafsync id there shows the new one, go to the Trust screen (3), "
                    f"mark {name} and press k. Or run:",
                    classes="text",
                    markup=False,
                )
                yield Static(command, classes="command", markup=False)
            with Choices():
                yield Button("esc  Close", id="close", compact=True)

    @on(Button.Pressed, "#close")
    def action_close(self) -> None:
        """Close the notice."""
        self.dismiss(None)
