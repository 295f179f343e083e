"""What small windows are made of: a frame, a body that scrolls when it must, and choices that are always seen."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll


class Window(Vertical):
    """The frame: as high as what is in it, and no higher than the screen.

    The classes `warning` and `danger` colour it; on a screen of the class `-low` it has no air around it. What stands
    beside the body has no margins: they would not be counted.
    """

    SCOPED_CSS: ClassVar[bool] = False  # the screen has the class that says how high it is
    DEFAULT_CSS: ClassVar[str] = """
    Window {
        width: 90%;
        max-width: 64;
        height: auto;
        max-height: 100%;
        padding: 1 2;
        background: $surface;
        border: round $primary;
    }
    Window .heading { text-style: bold; color: $primary; }
    Window.warning { border: round $warning; }
    Window.warning .heading { color: $warning; }
    Window.danger { border: round $error; }
    Window.danger .heading { color: $error; }
    .-low > Window { width: 100%; padding: 0 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "read('scroll_up')", "Scroll up", show=False),
        Binding("down", "read('scroll_down')", "Scroll down", show=False),
        Binding("pageup", "read('scroll_page_up')", "Page up", show=False),
        Binding("pagedown", "read('scroll_page_down')", "Page down", show=False),
    ]

    def action_read(self, how: str) -> None:
        """Scroll what is to be read, wherever in the window the focus is."""
        getattr(self.query_one(Body), how)(animate=False)

    def on_mount(self) -> None:
        """Look at every layout whether the body still fits."""
        self.screen.screen_layout_refresh_signal.subscribe(self, lambda _screen: self._fit())

    def _fit(self) -> None:
        """Leave the body what the screen has beside everything else: CSS cannot say that of automatic heights."""
        body = self.query_one(Body)
        beside = sum(child.outer_size.height for child in self.children if child is not body)
        room = max(1, self.screen.size.height - self.gutter.height - beside)
        if body.styles.max_height is None or body.styles.max_height.value != room:
            body.styles.max_height = room


class Body(VerticalScroll):
    """What is to be read; it scrolls while there is more of it than fits."""

    DEFAULT_CSS: ClassVar[str] = """
    Body { height: auto; scrollbar-size-vertical: 1; }
    Body:focus { background: $boost; }
    """

    def allow_focus(self) -> bool:
        """Say whether there is anything to scroll."""
        return super().allow_focus() and self.max_scroll_y > 0


class Choices(Horizontal):
    """What a window can be closed with: buttons, one line high, with the arrow keys between them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Previous", show=False),
        Binding("right", "step(1)", "Next", show=False),
    ]
    DEFAULT_CSS: ClassVar[str] = """
    Choices {
        height: auto;
        align-horizontal: right;

        Button { margin-left: 2; min-width: 10; }
        /* Colours of the terminal bring borders that would make a button three lines high. */
        Button.-textual-compact.-textual-compact:ansi:disabled { border: none !important; }
        Button.-textual-compact.-textual-compact:ansi.-active { border: none !important; }
    }
    """

    def action_step(self, by: int) -> None:
        """Go to the next button, or to the one before."""
        usable = [child for child in self.children if child.focusable]
        at = next((index for index, child in enumerate(usable) if child.has_focus), None)
        if at is not None and 0 <= at + by < len(usable):
            usable[at + by].focus()
