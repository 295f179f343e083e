"""The terminal app: four screens, the timer that pulls snapshots, and what the engine says and asks."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.geometry import Size
from textual.screen import Screen
from textual.theme import ThemeProvider

from leafsync.actions import ACTIONS, bind, named
from leafsync.bridge import (
    Bridge,
    DeviceTrusted,
    EngineEvent,
    Event,
    JobEnded,
    PassFinished,
    PassState,
    PeerConnected,
    PeerLeft,
    PeerPending,
    PeerRefused,
    Snapshot,
    TrustAsked,
    Warned,
)
from leafsync.errors import PeerChanged
from leafsync.progress import ARROWS, Meter, Progress, format_count
from leafsync.screens.base import MainScreen, toast
from leafsync.screens.palette import Palette
from leafsync.settings import Settings
from leafsync.text import printable
from leafsync.themes import DEFAULT, OURS
from leafsync.widgets.top_bar import SCREENS, TopBar, state_text, wire_bytes

TICK = 0.2
"""Seconds between two looks at the engine: as live as anybody reads, and each one takes the loop from a transfer."""

QUIET_TICKS = 5
"""Ticks of which one is taken while nothing changes, or while the terminal says that nobody looks at it."""

FAST_RATE = 20e6
FAST_TICKS = 2
"""Bytes per second on the wire from which on one tick of so many is taken: a picture costs a fast transfer more than it
tells, and keys are answered between pictures.
"""

MOVING = (*ARROWS, PassState.WAITING)
"""What jobs do that are asked about before they are left."""

REFUSALS_TOLD = 60.0
"""Seconds in which one toast tells of refused devices: strangers must not be able to fill the screen."""

MIN_SIZE = Size(20, 6)
"""Columns and lines that screens have at least. Nobody reads less, and below a few cells textual fails: it wraps text
at no width and pages through lists of no height. What a smaller terminal has no room for is cut off by the terminal.
"""


def _serve_screen() -> Screen[Any]:
    from leafsync.screens.serve import ServeScreen

    return ServeScreen()


def _connect_screen() -> Screen[Any]:
    from leafsync.screens.connect import ConnectScreen

    return ConnectScreen()


def _trust_screen() -> Screen[Any]:
    from leafsync.screens.trust import TrustScreen

    return TrustScreen()


def _transfers_screen() -> Screen[Any]:
    from leafsync.screens.transfers import TransfersScreen

    return TransfersScreen()


class LeafSyncApp(App[int]):
    """The app; its result is the exit code. It runs inside of `bridge`."""

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = "app.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "serve": _serve_screen,
        "connect": _connect_screen,
        "trust": _trust_screen,
        "transfers": _transfers_screen,
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        *(bind(f"app.{name}", f"show_screen('{name}')") for name, _title in SCREENS),
        bind("app.help", "help"),
        bind("app.quit", "leave"),
        Binding("ctrl+c", "leave", show=False, system=True),
    ]

    def __init__(
        self,
        bridge: Bridge,
        settings: Settings,
        *,
        first: str = "serve",
        clock: Callable[[], float] = time.monotonic,
        driver_class: type[Driver] | None = None,
        on_tick: Callable[[Snapshot, Progress], None] = lambda _snapshot, _progress: None,
        on_event: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """`first` is the screen to begin with; `on_tick` and `on_event` hear what the screens are shown."""
        super().__init__(driver_class=driver_class)
        self.bridge = bridge
        self.settings = settings
        self.clock = clock
        self._first = first
        self._on_tick, self._on_event = on_tick, on_event
        self.progress = Progress()
        self._wire = Meter()
        self._ticks = 0
        self._shown: tuple[Snapshot, Screen[Any] | None] = Snapshot(-1), None
        """What was shown last, and on which screen."""
        self._asking = asyncio.Lock()
        self._asks_to_leave = False
        self._refusals_told = 0.0
        self._theme_at_start = DEFAULT
        bridge.post = self.post_message

    @property
    def size(self) -> Size:
        """Columns and lines that screens have: the terminal's, but for `MIN_SIZE`."""
        return _legible(super().size)

    def on_resize(self, event: events.Resize) -> None:
        """Lay out at `MIN_SIZE` at least, before textual does; below it, a terminal that grows only shows more."""
        event.size = _legible(event.size)
        if event.size == self.size:
            self.refresh()

    def get_default_screen(self) -> Screen[Any]:
        """Below the modes there is an empty one."""
        return Screen(id="_default")

    def on_mount(self) -> None:
        """Set up colours and keys, and begin to look at the engine."""
        for theme in OURS:
            self.register_theme(theme)
        wanted = self.settings.config.theme or self.settings.state.theme
        self.theme = self._theme_at_start = wanted if wanted in self.available_themes else DEFAULT
        self.set_keymap({action: named(keys) for action, keys in self.settings.config.keymap.items()})
        self.animation_level = "none"
        self.switch_mode(self._first)
        self.set_interval(TICK, self._tick)
        self.call_after_refresh(self._load)
        self.theme_changed_signal.subscribe(self, lambda theme: self._keep_theme(theme.name))

    @work(exit_on_error=False, group="load")
    async def _load(self) -> None:
        await self.bridge.load()

    def _keep_theme(self, name: str) -> None:
        """Remember a theme that was chosen here; the one that was begun with comes from elsewhere."""
        if name != (self.settings.state.theme or self._theme_at_start):
            self.settings.state.theme = name
            self.settings.save()

    # Looking at the engine

    def _tick(self) -> None:
        self._ticks += 1
        due = self._ticks % QUIET_TICKS == 0
        if not self.is_running or not (due or self.app_focus):
            return  # the last ticks come while the screens are taken down
        if self._ticks % FAST_TICKS and (self._wire.rate or 0) > FAST_RATE:
            return
        snapshot, now = self.bridge.snapshot(), self.clock()
        screen = next((screen for screen in reversed(self.screen_stack) if isinstance(screen, MainScreen)), None)
        if (snapshot, screen) == self._shown and not due:
            return
        self.progress.observe(snapshot, now)
        self._wire.add(now, wire_bytes(snapshot))
        self._on_tick(snapshot, self.progress)
        if screen is not None and screen.is_mounted:
            screen.query_one(TopBar).state = state_text(snapshot, self._wire)
            screen.show(snapshot)
            self._shown = snapshot, screen

    # What the engine says

    @on(EngineEvent)
    def _engine_said(self, message: EngineEvent) -> None:
        event = message.event
        self._on_event(event)
        match event:
            case PeerConnected():
                toast(self, f"{printable(event.name)} is connected")
            case PeerLeft() if event.reason:
                toast(self, f"a device left: {event.reason}", severity="warning")
            case DeviceTrusted():
                toast(self, f"{printable(event.name)} is trusted now")
            case PeerRefused() if not isinstance(event, PeerPending):
                self._refused(event)
            case Warned():
                toast(self, printable(event.message), severity="warning")
            case PassFinished():
                self._passed(event)

    def _refused(self, event: PeerRefused) -> None:
        now = self.clock()
        if now - self._refusals_told > REFUSALS_TOLD or not self._refusals_told:
            self._refusals_told = now
            toast(self, f"a device was refused: {event.reason}", severity="warning")

    def _passed(self, event: PassFinished) -> None:
        summary = event.summary
        if summary.planned:
            return
        held = len(summary.held) + len(summary.remote_held)
        if summary.conflicts:
            conflicts = format_count(len(summary.conflicts), "conflict")
            toast(self, f"{conflicts}: both versions were kept; c on the job decides", severity="warning")
        if held and summary.changed:
            toast(self, f"{format_count(held, 'delete')} held back; d on the job shows them", severity="warning")
        if summary.notes and summary.changed:  # the next pass takes them off the card
            (path, note), *others = summary.notes
            more = f"; and {format_count(len(others), 'more', 'more')}" if others else ""
            toast(self, f"{printable(path)}: {printable(note)}{more}")

    @on(JobEnded)
    def _job_ended(self, message: JobEnded) -> None:
        error = message.job.error
        if isinstance(error, PeerChanged):
            from leafsync.screens.fingerprint import ChangedKeyModal

            self.push_screen(ChangedKeyModal(error))
        elif error is not None:
            toast(self, str(error), severity="error")

    @on(TrustAsked)
    def _trust_asked(self, message: TrustAsked) -> None:
        self._ask_about(message)

    @work(exit_on_error=False, group="trust")
    async def _ask_about(self, message: TrustAsked) -> None:
        """Ask one question at a time; one whose time is over meanwhile is not asked any more."""
        from leafsync.screens.fingerprint import FingerprintModal

        async with self._asking:
            if message.answer.done():
                return
            modal = FingerprintModal(
                message.question, own_fingerprint=self.bridge.fingerprint, answer=message.answer, clock=self.clock
            )
            accepted = await self.push_screen_wait(modal)
            if not message.answer.done():
                message.answer.set_result(bool(accepted))

    # Keys

    @property
    def _open(self) -> bool:
        """Whether the app has not been left: what is shown after that is never laid out, and fails."""
        return self.return_value is None

    async def on_event(self, event: events.Event) -> None:
        """Hear what people do until the app has been left."""
        if self._open or not isinstance(event, events.InputEvent):
            await super().on_event(event)

    def action_show_screen(self, name: str) -> None:
        """Go to one of the four screens."""
        if self._open and (len(self.screen_stack) == 1 or isinstance(self.screen, MainScreen)):
            self.switch_mode(name)

    def action_help(self) -> None:
        """Show what the focused thing is for and which keys work, or hide that."""
        from textual.widgets import HelpPanel

        if self.screen.query(HelpPanel):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()

    def action_show_help_panel(self) -> None:
        """Show what the focused thing is for and which keys work."""
        if self._open:
            super().action_show_help_panel()

    def action_leave(self) -> None:
        """Quit; ask first while files move."""
        if not self._moving():
            self.exit(0)
        elif not self._asks_to_leave:
            self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        from leafsync.screens.confirm import ConfirmModal

        self._asks_to_leave = True
        sentence = "Files are on their way. They are kept as far as they came, and the next pass goes on from there."
        self.push_screen(ConfirmModal("Quit?", sentence, yes="Quit", no="Stay"), self._leave)

    def _leave(self, leaving: bool | None) -> None:
        self._asks_to_leave = False
        if leaving:
            self.exit(0)

    def _moving(self) -> bool:
        snapshot = self.bridge.snapshot()
        here = any(job.state in MOVING for job in snapshot.connecting)
        return here or any(peer.activity in ("sending", "receiving") for job in snapshot.serving for peer in job.peers)

    def action_command_palette(self) -> None:
        """Find a command by its name."""
        self._find(Palette())

    def search_themes(self) -> None:
        """Find a theme by its name."""
        self._find(Palette([ThemeProvider], placeholder="Search for themes…"))

    def _find(self, palette: Palette) -> None:
        if self._open and not any(isinstance(screen, Palette) for screen in self.screen_stack):
            self.push_screen(palette)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer in the palette what the keys do, and textual's own commands without what makes no sense here."""
        for name, title in SCREENS:
            action = ACTIONS[f"app.{name}"]
            yield SystemCommand(f"go: {title}", action.help, lambda name=name: self.action_show_screen(name))
        yield from self._screen_commands(screen)
        for command in super().get_system_commands(screen):
            if command.title not in ("Screenshot", "Maximize", "Minimize", "Quit"):
                yield command
        yield SystemCommand("quit", ACTIONS["app.quit"].help, self.action_leave)

    def _screen_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield what keys do on this screen now."""
        for _node, binding, enabled, _tooltip in screen.active_bindings.values():
            action = ACTIONS.get(binding.id or "")
            if action is None or not enabled or action.id.startswith("app."):
                continue
            group, _, _name = action.id.partition(".")

            def run(name: str = binding.action) -> None:
                self.call_later(screen.run_action, name)

            yield SystemCommand(f"{group}: {action.label.lower()}", action.help, run)


def _legible(size: Size) -> Size:
    return Size(max(size.width, MIN_SIZE.width), max(size.height, MIN_SIZE.height))
