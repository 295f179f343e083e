"""What every screen has: the bridge, and errors said where the user looks."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.geometry import Offset
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from leafsync.actions import bind
from leafsync.bridge import Bridge, Snapshot
from leafsync.errors import LeafSyncError
from leafsync.progress import Progress
from leafsync.settings import Settings
from leafsync.widgets.kept import Kept

if TYPE_CHECKING:
    from textual.app import App

R = TypeVar("R")
T = TypeVar("T")

TABS: list[BindingType] = [
    Binding("tab", "app.focus_next", "Next", show=False, priority=True),
    Binding("shift+tab", "app.focus_previous", "Previous", show=False, priority=True),
]
"""For screens with fields: keys that are typed ahead of a slow screen reach the next field, not the one before."""

LEAVE: BindingType = Binding("ctrl+q,ctrl+c", "app.leave", show=False, system=True)
"""For windows, into which what the app declares does not reach: the keys that end a program wherever one is in it."""

TOAST_SECONDS = 6.0
"""How long a toast stays: long enough for two lines, and soon out of the way."""


LOW: list[tuple[int, str]] | None = [(0, "-low"), (18, "-high")]
"""Rows from which on a window has some air around it."""


class OurApp(Protocol):
    """What screens need of the app they are on."""

    bridge: Bridge
    settings: Settings
    clock: Callable[[], float]
    """Seconds, for rates and deadlines."""
    progress: Progress
    """The rates of the jobs, as of the last look at the engine."""


def ours(app: "App[Any]") -> OurApp:
    """Return what screens need of the app."""
    return cast("OurApp", app)


def bridge_of(app: "App[Any]") -> Bridge:
    """Return the app's way to the engine."""
    return ours(app).bridge


async def attempt(app: "App[Any]", work: Callable[[], Awaitable[T]]) -> T | None:
    """Do something that may fail: its error is one toast, and the result None."""
    try:
        return await work()
    except LeafSyncError as error:
        toast(app, str(error), severity="error")
        return None


def toast(app: "App[Any]", sentence: str, *, severity: str = "information") -> None:
    """Show a sentence, escaped by whoever made it; it is never read as markup."""
    app.notify(sentence, severity=severity, timeout=TOAST_SECONDS, markup=False)  # type: ignore[arg-type]


class Steady(Screen[R], Generic[R]):
    """A screen that takes no harm from what comes too late: people type ahead, and click at what is just going."""

    def dismiss(self, result: R | None = None) -> AwaitComplete:
        """Close with a result, unless something lies on top or this has been closed: that would close another one."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def get_widget_and_offset_at(self, x: int, y: int) -> tuple[Widget | None, Offset | None]:
        """Return what text can be selected in; what is removed is laid out until the next frame, and is in nothing."""
        widget, offset = super().get_widget_and_offset_at(x, y)
        return (widget, offset) if widget is None or widget.is_attached else (None, None)


class MainScreen(Steady[None], Kept):
    """One of the four screens."""

    @property
    def bridge(self) -> Bridge:
        """The way to the engine."""
        return bridge_of(self.app)

    @property
    def settings(self) -> Settings:
        """What is configured and remembered."""
        return ours(self.app).settings

    def show(self, snapshot: Snapshot) -> None:
        """Take in a snapshot; called a few times a second while this screen is the one that is looked at."""


class Modal(ModalScreen[R], Steady[R], Generic[R]):
    """A modal whose result is None when it is closed without a decision."""

    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = LOW

    BINDINGS: ClassVar[list[BindingType]] = [
        bind("modal.close", "close"),
        bind("app.help", "app.help", shown=False),  # what the app declares does not reach into windows
        LEAVE,
    ]

    @property
    def bridge(self) -> Bridge:
        """The way to the engine."""
        return bridge_of(self.app)

    def action_close(self) -> None:
        """Close without a decision."""
        self.dismiss(None)
