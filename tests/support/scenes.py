"""Scenes: what people see of the app, each brought about by the keyboard. Golden screens and screenshots show them."""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from textual.command import CommandPalette
from textual.widgets import OptionList

from leafsync.bridge import Direction, PassFinished, Permission, TrustQuestion
from leafsync.errors import PeerChanged
from leafsync.screens.confirm import ConfirmModal
from leafsync.screens.fingerprint import ChangedKeyModal, FingerprintModal
from leafsync.screens.list_modal import ListModal
from leafsync.screens.transfers import TransfersScreen
from leafsync.widgets.device_table import DeviceTable
from leafsync.widgets.folder_tree import FolderTree
from tests.support import cast
from tests.support.stage import HOME, Stage, fingerprint_of, staged
from tests.support.ui import NOW

Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Scene:
    """Something to be seen."""

    name: str
    title: str
    """In a window's title bar."""
    play: Play


SCENES: dict[str, Scene] = {}
"""All scenes by name."""


def scene(title: str) -> Callable[[Play], Play]:
    """Make a scene of a function that plays it; its name is the function's, with dashes."""

    def note(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        SCENES[name] = Scene(name, title, play)
        return play

    return note


@asynccontextmanager
async def played(name: str, home: Path, **options: Any) -> AsyncIterator[Stage]:
    """Play a scene; see `staged` for the options. What is to be seen stays until the end."""
    async with staged(home, **options) as stage:
        await SCENES[name].play(stage)
        yield stage


# The four screens


@scene("leafsync: serve")
async def serve_empty(stage: Stage) -> None:
    """The first thing that anybody sees."""
    await stage.open("serve")


@scene("leafsync: serve")
async def serve(stage: Stage) -> None:
    """A folder that two devices use."""
    stage.state.serve_folder = cast.PICTURES
    await stage.jobs(cast.serving())
    await stage.open("serve")
    await stage.forward(2.0, cast.serving(wire=46 * cast.MB))


@scene("leafsync: connect")
async def connect_form(stage: Stage) -> None:
    """The form as it was left, with the cursor in the address."""
    stage.state.recent = list(cast.RECENT)
    await stage.open("serve")
    await stage.press("f3")


@scene("leafsync: connect")
async def connect(stage: Stage) -> None:
    """Two jobs; the one that transfers has the cursor."""
    stage.state.recent = list(cast.RECENT)
    await stage.jobs(cast.in_sync(), cast.transferring())
    stage.bridge.in_sync_since[1] = NOW - timedelta(minutes=42)
    await stage.open("connect")
    await stage.press("down")
    await stage.forward(2.0, cast.in_sync(), cast.transferring(2.0))


@scene("leafsync: connect")
async def connect_states(stage: Stage) -> None:
    """Jobs of all sorts, an ended one among them."""
    stage.state.recent = list(cast.RECENT)
    jobs = (cast.in_sync(), cast.transferring(), cast.reconnecting(), cast.partly())
    await stage.jobs(*jobs, cast.mirrored())
    await stage.end(5, PeerChanged(address="[2001:db8::5]:4455", name="studio", device="studio", **_keys()))
    stage.show(*jobs)
    stage.bridge.in_sync_since[1] = NOW - timedelta(days=2)
    stage.engine.tell(PassFinished(4, cast.LEFT_TO_DECIDE))
    await stage.open("connect")
    await stage.press("down", "down")
    await stage.forward(2.0, jobs[0], cast.transferring(2.0), *jobs[2:])
    await stage.press("down")


@scene("leafsync: trust")
async def trust(stage: Stage) -> None:
    """Three devices, one of them with the cursor."""
    _trust_three(stage)
    await stage.open("trust")
    await stage.until(lambda: stage.app.screen.query_one(DeviceTable).row_count == 3)
    await stage.press("down")


@scene("leafsync: trust")
async def trust_empty(stage: Stage) -> None:
    """Nobody is trusted yet."""
    await stage.open("serve")
    await stage.press("f4")
    await stage.sees("No device is trusted yet.")


@scene("leafsync: transfers")
async def transfers(stage: Stage) -> None:
    """Some forty files in all states, both ways."""
    await _transferring(stage)


@scene("leafsync: transfers")
async def transfers_names(stage: Stage) -> None:
    """Those whose names mean harm, or are of many scripts."""
    await _transferring(stage, cast.HOSTILE)


@scene("leafsync: transfers")
async def transfers_empty(stage: Stage) -> None:
    """Nothing moves."""
    await stage.open("serve")
    await stage.press("f5")


@scene("leafsync: transfers")
async def transfers_filtered(stage: Stage) -> None:
    """Only what failed, of the paths with a text in them."""
    await _transferring(stage)
    await stage.press("f", "f", "slash", "a", "enter")


# Windows about transfers and jobs


@scene("leafsync: a transfer")
async def transfer_details(stage: Stage) -> None:
    """A file on its way."""
    await _transferring(stage)
    await stage.press("home", "down", "enter")


@scene("leafsync: a transfer that failed")
async def transfer_failed(stage: Stage) -> None:
    """A file with a name and an error that mean harm."""
    await _transferring(stage, cast.HOSTILE)
    await stage.press("f", "f", "down", "enter")


@scene("leafsync: recent connections")
async def recent(stage: Stage) -> None:
    """What was connected to before."""
    await connect_form(stage)
    await stage.press("ctrl+l")


@scene("leafsync: preview")
async def preview(stage: Stage) -> None:
    """What a pass would do."""
    stage.engine.ending = cast.PLAN
    await connect_form(stage)
    await stage.press("ctrl+r")
    await _rows(stage)


@scene("leafsync: history")
async def history(stage: Stage) -> None:
    """The passes in a folder."""
    await _folder(stage)
    await stage.press("h")
    await _rows(stage)


@scene("leafsync: a pass")
async def pass_actions(stage: Stage) -> None:
    """What a pass did."""
    await history(stage)
    await stage.press("enter")
    await _rows(stage)
    await stage.press(*["down"] * 7)


@scene("leafsync: conflicts")
async def conflicts(stage: Stage) -> None:
    """Versions to decide about."""
    await _folder(stage)
    await stage.press("c")
    await _rows(stage)


@scene("leafsync: held deletes")
async def held(stage: Stage) -> None:
    """Deletes that wait for a yes."""
    await stage.jobs(cast.in_sync(), cast.quiet(cast.transferring()), cast.reconnecting(), cast.partly())
    stage.engine.tell(PassFinished(4, cast.LEFT_TO_DECIDE))
    await stage.open("connect")
    await stage.press("down", "down", "down", "d")
    await _rows(stage)


@scene("leafsync: quit?")
async def confirm(stage: Stage) -> None:
    """The question before something that is not meant at times."""
    await stage.jobs(cast.in_sync(), cast.transferring())
    await stage.open("connect")
    await stage.press("q")
    await stage.until(lambda: isinstance(stage.app.screen, ConfirmModal))


# Windows about devices


@scene("leafsync: an unknown device")
async def fingerprint(stage: Stage) -> None:
    """A device that nobody has confirmed, as soon as it can be answered."""
    await _asked(stage)


@scene("leafsync: an unknown device")
async def fingerprint_compared(stage: Stage) -> None:
    """The same with its first group typed."""
    await _asked(stage)
    await stage.press("shift+tab", *fingerprint_of("nas")[:4])
    await stage.sees("the same")


@scene("leafsync: the key has changed")
async def changed_key(stage: Stage) -> None:
    """A known device with another key."""
    await stage.jobs(cast.in_sync())
    await stage.open("serve")
    await stage.end(1, PeerChanged(address="nas.local:4455", name="nas", device="nas", **_keys()))
    await stage.until(lambda: isinstance(stage.app.screen, ChangedKeyModal))


@scene("leafsync: trust a device")
async def device_form(stage: Stage) -> None:
    """A device that is added by hand, with a mistake in its fingerprint."""
    _trust_three(stage)
    await stage.open("trust")
    await stage.press("a", *"4fa2 77", "tab")
    await stage.sees("64 digits")


# What helps


@scene("leafsync: choose a folder")
async def picker(stage: Stage) -> None:
    """A tree of folders with some of them open."""
    cast.furnish(stage.disk)
    stage.state.serve_folder = HOME
    await stage.open("serve")
    await stage.press("ctrl+o")
    tree = stage.app.screen.query_one(FolderTree)
    await stage.until(lambda: tree.last_line == 7)
    await stage.press(*["down"] * 5, "right")
    await stage.until(lambda: tree.last_line == 12)
    await stage.press(*["down"] * 4, "right")
    await stage.until(lambda: tree.last_line == 13)
    await stage.press("up")


@scene("leafsync: commands")
async def palette(stage: Stage) -> None:
    """All that can be done here, by name."""
    await serve(stage)
    await stage.press("ctrl+p")
    await stage.until(lambda: isinstance(stage.app.screen, CommandPalette))
    await stage.until(lambda: stage.app.screen.query_one(OptionList).option_count > 8)


@scene("leafsync: help")
async def help_panel(stage: Stage) -> None:
    """What the focused thing is for, and the keys."""
    await serve(stage)
    await stage.press("f1")


# Parts of scenes


def _keys() -> dict[str, str]:
    return {"expected": fingerprint_of("nas"), "fingerprint": fingerprint_of("somebody else")}


def _trust_three(stage: Stage) -> None:
    stage.trust(NOW - timedelta(days=412, hours=5), "nas", address="nas.local:4455", confirmed="compared on screen")
    stage.trust(NOW - timedelta(days=3), "laptop", address="192.168.1.31:51820", confirmed="command line")
    stage.trust(
        NOW - timedelta(hours=9),
        "Marie's studio",
        address="[2001:db8::5]:40112",
        permission=Permission.READ,
        confirmed="first connection accepted without asking",
    )


async def _transferring(stage: Stage, names: tuple[str, ...] = cast.LETTERS) -> None:
    """Have files on their way in two jobs, with rates of the last minute; with other names, these alone come."""

    def fill(seconds: float) -> None:
        goes, comes = (stage.engine.jobs[number].transfers for number in (1, 2))
        cast.fill(comes, names, seconds)
        if names is cast.LETTERS:
            cast.fill_photos(comes, seconds)
            cast.fill_sending(goes, seconds)

    await stage.jobs(cast.serving(), cast.transferring())
    await stage.open("serve")
    await stage.press("f5")
    for at in range(1, 31):
        burst = at + 3.0 * math.sin(at / 4) + math.sin(at * 2.3)
        await stage.forward(2.0, cast.serving(int(burst * 9 * cast.MB)), cast.transferring(2 * burst))
    screen = stage.app.screen
    assert isinstance(screen, TransfersScreen)
    for seconds in (0.0, 1.0):
        fill(seconds)
        await stage.tick()
        await stage.until(lambda: not screen.model.work(time.perf_counter, 1.0))
        await stage.forward(1.0)  # rates are of the bytes that the rows have by now


async def _folder(stage: Stage) -> None:
    """Open the cards of a folder with a past."""
    stage.engine.memory.history = cast.PASSES
    stage.engine.memory.copies = cast.COPIES
    stage.disk.versions = cast.VERSIONS
    stage.state.serve_folder = cast.PICTURES
    await stage.jobs(cast.serving())
    await stage.open("serve")


async def _rows(stage: Stage) -> None:
    """Wait until a list has been read."""
    screen = stage.app.screen
    await stage.until(lambda: isinstance(screen, ListModal) and screen.selected is not None)


async def _asked(stage: Stage) -> None:
    """Have the engine ask about a device, and wait until there can be an answer."""
    await stage.jobs(cast.in_sync())
    await stage.open("connect")
    stage.ask(TrustQuestion(1, fingerprint_of("nas"), "192.168.1.10:4455", cast.PICTURES, Direction.OUT))
    await stage.until(lambda: isinstance(stage.app.screen, FingerprintModal))
    modal = stage.app.screen
    assert isinstance(modal, FingerprintModal)
    await stage.until(lambda: not math.isinf(modal._shown))
    await stage.forward(1.0)
    await stage.until(lambda: modal._armed)
