"""This device's own fingerprint, as it is read to somebody."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from leafsync.text import printable
from leafsync.widgets.fingerprint_grid import GAP, FingerprintGrid, grid


def group_lines(fingerprint: str, width: int) -> list[str]:
    """Return a fingerprint as the lines that `FingerprintGrid` shows in `width` cells, as plain text."""
    return [(" " * GAP).join(row) for row in grid(fingerprint, width)]


class OwnCode(Vertical, can_focus=True):
    """Shows name and fingerprint of this device. What copies it is up to the screen."""

    HELP: ClassVar[str | None] = """## This device's fingerprint
Read it to the person at the other device, who sees it there too: when all of it is the same, the connection is really
with this device. **y** copies it. It is no secret.
"""
    SCOPED_CSS: ClassVar[bool] = False  # the screen has the class that says how high it is
    DEFAULT_CSS: ClassVar[str] = """
    OwnCode {
        height: auto;
        padding: 0 1;
        border: round $panel;
        border-title-color: $text-muted;
    }
    OwnCode:focus { border: round $primary; border-title-color: $primary; }
    OwnCode FingerprintGrid { padding: 0; }
    OwnCode .how { height: auto; color: $text-muted; }
    .-low OwnCode { border: none; }
    .-low OwnCode .how { display: none; }
    """

    def __init__(self, name: str, fingerprint: str) -> None:
        """Show the device with this name."""
        super().__init__()
        self._fingerprint = fingerprint
        self.border_title = Text(f"This device: {printable(name)}")

    def compose(self) -> ComposeResult:
        """Lay out the fingerprint, and what it is for."""
        yield FingerprintGrid(self._fingerprint)
        yield Static(classes="how", markup=False)

    def on_mount(self) -> None:
        """Say how it is copied."""
        self._tell(here=False)

    def on_focus(self) -> None:
        """Say that one key copies it now."""
        self._tell(here=True)

    def on_blur(self) -> None:
        """Say that it has to be gone to."""
        self._tell(here=False)

    def _tell(self, *, here: bool) -> None:
        copy = "y copies it." if here else "tab, then y copies it."
        self.query_one(".how", Static).update(f"Read this to the other person. {copy}")
