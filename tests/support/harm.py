"""Text that means harm to a terminal or to whoever reads it, and the screens of the app full of it."""

import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace
from textual.screen import ModalScreen

from leafsync.bridge import (
    ActionKind,
    ActionRecord,
    ConflictCopy,
    Direction,
    PassFinished,
    PassRecord,
    PassState,
    PassSummary,
    Totals,
    TrustQuestion,
)
from leafsync.engine.core.events import DeviceTrusted, PeerConnected, PeerLeft, Warned
from leafsync.engine.core.transfers import TransferKey
from leafsync.errors import PeerChanged, PeerClosed
from leafsync.screens.fingerprint import FingerprintModal
from leafsync.screens.list_modal import ListModal
from leafsync.text import printable
from leafsync.ui_state import Recent
from tests.support import cast
from tests.support.looking import toasts
from tests.support.stage import Stage, fingerprint_of, staged
from tests.support.ui import screen_text

CONTROL = "\x1b]0;owned\x07\x1b[31mred\r\nroot# \x9b2J\x85\x7f"
BIDI = "gpj.\u202eexe\u2066\u2028x\u2029\u200f\u202a"
MARKUP = "[red]x[/red][/][@click=app.quit]y[/][link=file:///etc/passwd]z[/link]$x{y}%s"

TURNING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x61C)}


def harmless(text: str) -> bool:
    """Say whether nothing in a text does anything to a terminal but to stand there, in lines."""
    return not any(
        character in TURNING or (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character != "\n")
        for character in text
    )


Look = Callable[[Stage, "Shown", str], Awaitable[None]]


class Shown:
    """What every screen showed."""

    def __init__(self) -> None:
        self.text: dict[str, str] = {}
        self.acted: list[object] = []
        """What a click would do, or a link would open, that a screen has in it."""

    def take(self, name: str, stage: Stage) -> None:
        app = stage.app
        self.text[name] = screen_text(app)
        for strip in app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                if style is not None and style.link:
                    self.acted.append(style.link)
                if style is not None and "app.quit" in str(style.meta.get("@click", "")):
                    self.acted.append(style.meta)


async def windows(stage: Stage, shown: Shown, evil: str) -> None:
    """Look at the jobs and the windows about their past."""
    await _jobs(stage, evil)
    await stage.open("serve")
    shown.take("serve", stage)
    await stage.press("h")
    await _rows(stage)
    shown.take("history", stage)
    await stage.press("enter")
    await _rows(stage)
    shown.take("pass", stage)
    await stage.press("escape", "escape", "c")
    await _rows(stage)
    shown.take("conflicts", stage)
    await stage.press("escape", "f3")
    shown.take("connect", stage)
    await stage.press("down", "d")
    await _rows(stage)
    shown.take("held deletes", stage)


async def moving(stage: Stage, shown: Shown, evil: str) -> None:
    """Look at files on their way, and at what the engine says and asks meanwhile."""
    await _jobs(stage, evil)
    await stage.open("serve")
    await stage.press("f5")
    await stage.sees(evil_start(evil))
    shown.take("transfers", stage)
    await stage.press("home", "down", "enter")
    shown.take("a transfer", stage)
    await stage.press("escape")
    for event in (
        PeerConnected(1, fingerprint_of("nas"), evil, evil),
        PeerLeft(1, fingerprint_of("nas"), evil, str(PeerClosed(peer=evil, reason=evil, code=1))),
        DeviceTrusted(1, fingerprint_of("nas"), evil, evil, evil),
        Warned(1, evil),
    ):
        stage.engine.tell(event)
    await stage.until(lambda: sum(evil_start(evil) in said for said in toasts(stage.app)) >= 4)
    shown.text["toasts"] = "\n".join(toasts(stage.app))
    shown.take("toasts on the screen", stage)
    fingerprints = {"expected": fingerprint_of("nas"), "fingerprint": fingerprint_of("another")}
    await stage.end(2, PeerChanged(address=evil, name=evil, device=evil, **fingerprints))
    await stage.sees("The key has changed")
    shown.take("another key", stage)
    await stage.press("escape")
    stage.ask(TrustQuestion(1, fingerprint_of("nas"), evil, evil, Direction.OUT))
    await stage.until(lambda: isinstance(stage.app.screen, FingerprintModal))
    await stage.pilot.pause()
    shown.take("a question", stage)


async def forms(stage: Stage, shown: Shown, evil: str) -> None:
    """Look at what is chosen from: folders, recent connections, a preview."""
    stage.state.recent = [Recent("nas:4455", f"/srv/{evil}"), Recent(evil, f"/{evil}", file=evil)]
    stage.state.serve_folder = "/srv"
    stage.disk.add("/", ("srv",))
    stage.disk.add("/srv", (evil,))
    stage.engine.ending = replace(
        cast.PLAN, fetched=(evil,), sent=(evil,), moved=((evil, evil),), trashed=(evil,), conflicts=((evil, evil),)
    )
    await stage.open("serve")
    await stage.press("ctrl+o")
    await stage.sees(evil_start(evil))
    shown.take("folders", stage)
    await stage.press("escape", "f3", "ctrl+l")
    await stage.until(lambda: isinstance(stage.app.screen, ModalScreen))
    await stage.sees(evil_start(evil))
    shown.take("recent connections", stage)
    await stage.press("escape", "ctrl+r")
    await _rows(stage)
    shown.take("preview", stage)


async def looked_at(home: Path, look: Look, evil: str) -> dict[str, str]:
    """Return the text of each screen, after a look at what a click there would do."""
    shown = Shown()
    async with staged(home, size=(140, 40)) as stage:
        await look(stage, shown, evil)
    assert len(shown.text) >= 3
    assert not shown.acted
    return shown.text


def evil_start(evil: str) -> str:
    """Return how a text begins where it is shown."""
    return printable(evil)[:12]


async def _rows(stage: Stage) -> None:
    await stage.until(lambda: isinstance(stage.app.screen, ListModal) and stage.app.screen.selected is not None)


async def _jobs(stage: Stage, evil: str) -> None:
    """Have a folder served and one connected, with a past, and with files on their way."""
    nas = cast.peer(evil, evil, evil)
    serving = replace(cast.serving(), folder=f"/{evil}", peers=(nas,), file=evil, addresses=(evil,))
    connecting = replace(
        cast.transferring(), folder=f"/{evil}", file=evil, peer=nas, state=PassState.RECONNECTING, reason=evil
    )
    await stage.jobs(serving, connecting)
    stage.show(serving, replace(connecting, address=evil))
    actions = tuple(ActionRecord(kind, evil, evil, f".leafsync_trash/{evil}") for kind in ActionKind)
    stage.engine.memory.history = [PassRecord("20260102-030201-9f3c", "2026-01-02T03:02:01+00:00", evil, actions)]
    stage.engine.memory.copies = [ConflictCopy(evil, f"2{evil}", 3, 0)]
    log = stage.engine.jobs[2].transfers
    for path, error in ((evil, ""), (f"2{evil}", evil)):
        key = TransferKey(evil, Direction.IN, path)
        log.expect(evil, Direction.IN, [(path, 100)])
        log.start(key, 100)
        if error:
            log.settle(key, error)
    summary = PassSummary(
        Totals(), 0.1, held=(evil,), remote_held=(evil,), problems=((evil, evil),), conflicts=((evil, evil),)
    )
    stage.engine.tell(PassFinished(2, summary))
