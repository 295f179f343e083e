"""What came of something that was taken back: a toast when all of it did, a list of what did not and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from leafsync.bridge import Undone
from leafsync.progress import format_count, truncate_middle
from leafsync.screens.base import toast
from leafsync.screens.list_modal import ListModal
from leafsync.text import printable
from leafsync.widgets.line_list import Spans

if TYPE_CHECKING:
    from textual.app import App

Refused = tuple[str, str]
"""A path, and why it is not as it was."""


def tell_outcome(app: "App[Any]", undone: Undone) -> None:
    """Say what came of an undo or a restore."""
    refused = [(path, error) for path, error in undone.outcomes if error]
    sentence = _came_back(len(undone.outcomes) - len(refused))
    if refused:
        app.push_screen(OutcomeModal(sentence, refused))
    else:
        toast(app, sentence)


def _came_back(count: int) -> str:
    if not count:
        return "Nothing was changed."
    return f"{format_count(count, 'path is', 'paths are')} as before the pass. The history can take this back too."


class OutcomeModal(ListModal[None, Refused]):
    """Lists what did not come back."""

    HELP: ClassVar[str | None] = """## Not all came back
Each line is a path that was left as it is, and why. Nothing newer is ever overwritten: move it away, or keep it.
"""

    def __init__(self, sentence: str, refused: Sequence[Refused]) -> None:
        """`sentence` says what did come back."""
        super().__init__()
        self._sentence = sentence
        self._refused = refused

    def heading(self) -> str:
        """Say how many stay."""
        return f"! {format_count(len(self._refused), 'path stays as it is', 'paths stay as they are')}"

    def about(self) -> str:
        """Say what did come back."""
        return self._sentence

    async def read(self) -> Sequence[Refused]:
        """Return what did not."""
        return self._refused

    def draw(self, row: Refused, width: int) -> Spans:
        """Return the path and the reason."""
        path, error = row
        path = printable(path)
        reason = error.removeprefix(path).lstrip(" :")
        shown = truncate_middle(path, max(8, width // 2))
        return [(f"{shown}  ", "title"), (reason, "")]

    def details(self, row: Refused) -> str:
        """Return the whole reason."""
        return row[1]
