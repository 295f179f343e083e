"""What every screen has: the bridge, and errors said where the user looks."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen

from leafsync.actions import bind
from leafsync.bridge import Bridge, Snapshot
from leafsync.errors import LeafSyncError
from leafsync.settings import Settings

if TYPE_CHECKING:
    from textual.app import App

R = TypeVar("R")
T = TypeVar("T")

TABS: list[BindingType] = [
    Binding("tab", "app.focus_next", show=False, priority=True),
    Binding("shift+tab", "app.focus_previous", show=False, priority=True),
]
"""For screens with fields: keys that are typed ahead of a slow screen reach the next field, not the one before."""

TOAST_SECONDS = 6.0
"""How long a toast stays: long enough for two lines, and soon out of the way."""


class OurApp(Protocol):
    """What screens need of the app they are on."""

    bridge: Bridge
    settings: Settings
    clock: Callable[[], float]
    """Seconds, for rates and deadlines."""


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


class MainScreen(Screen[None]):
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


class Modal(ModalScreen[R], Generic[R]):
    """A modal whose result is None when it is closed without a decision."""

    BINDINGS: ClassVar[list[BindingType]] = [
        bind("modal.close", "close"),
        bind("app.help", "app.help", shown=False),  # what the app declares does not reach into windows
    ]

    @property
    def bridge(self) -> Bridge:
        """The way to the engine."""
        return bridge_of(self.app)

    def action_close(self) -> None:
        """Close without a decision."""
        self.dismiss(None)
