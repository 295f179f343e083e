"""What scrolls because there is more than fits, and is no list to choose from."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll


class Pane(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Scrolls by the usual keys. The help panel does not list them: there would be no room for what matters."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Scroll up", show=False, system=True),
        Binding("down", "scroll_down", "Scroll down", show=False, system=True),
        Binding("home", "scroll_home", "First", show=False, system=True),
        Binding("end", "scroll_end", "Last", show=False, system=True),
        Binding("pageup", "page_up", "Page up", show=False, system=True),
        Binding("pagedown", "page_down", "Page down", show=False, system=True),
    ]
