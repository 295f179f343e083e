"""What tests of Serve and Connect share: filling in the form, showing jobs, and what both screens must say."""

import re

from textual.widgets import Button, Static

from leafsync.bridge import ConnectStatus, ServeStatus, Snapshot
from leafsync.errors import LeafSyncError
from leafsync.progress import cell_width
from leafsync.screens.jobs import JobsScreen
from leafsync.widgets.field import Field
from tests.support.looking import paste, toasted, toasts, until
from tests.support.ui import Desk, screen_text

HOSTILE = "a\x1b[31m\u202e[b]\u65e5\u672ce\u0301"
"""A name that means harm."""

SHOWN = "a\\x1b[31m\\u202e[b]\u65e5\u672ce\u0301"
"""The same as it is shown."""


# The form


def field(desk: Desk, name: str) -> Field:
    """Return a field of the form."""
    return desk.app.screen.query_one(f"#{name}", Field)


def why(desk: Desk) -> str:
    """Return what stands beside Start."""
    return str(desk.app.screen.query_one(".why", Static).render())


def said(desk: Desk, name: str) -> str:
    """Return what stands below a field."""
    return str(field(desk, name).query_one(".reason", Static).render())


def can_start(desk: Desk) -> bool:
    """Say whether Start can be pressed."""
    return not desk.app.screen.query_one("#start", Button).disabled


async def fill(desk: Desk, name: str, text: str) -> None:
    """Type into a field, instead of what was there."""
    field(desk, name).focus_line()
    await desk.pilot.press("end", "ctrl+u")
    await paste(desk, text)


async def shown_modal(desk: Desk, name: str) -> None:
    """Wait until a window of that class is on top."""
    await until(desk, lambda: type(desk.app.screen).__name__ == name)


# The jobs


async def show(desk: Desk, *jobs: ServeStatus | ConnectStatus) -> None:
    """Have the app look at these jobs."""
    serving = tuple(job for job in jobs if isinstance(job, ServeStatus))
    connecting = tuple(job for job in jobs if isinstance(job, ConnectStatus))
    desk.engine.shown = Snapshot(desk.engine.shown.version + 1, serving, connecting)
    assert isinstance(desk.app.screen, JobsScreen)
    desk.app.progress.observe(desk.engine.shown, desk.app.clock())
    desk.app.screen.show(desk.bridge.snapshot())
    await desk.pilot.pause()
    await desk.pilot.pause()


# What both screens must do


async def bad_input_is_said(desk: Desk, name: str, label: str, text: str, reason: str) -> None:
    """Type what cannot be used into a form that could be started; it is said twice, and nothing starts."""
    await fill(desk, name, text)
    await until(desk, lambda: field(desk, name).reason == reason)
    assert said(desk, name) == f"! {reason}"
    assert why(desk) == f"{label}: {reason}"
    assert not can_start(desk)
    await desk.pilot.press("ctrl+s", "ctrl+r")
    await desk.pilot.pause()
    assert desk.engine.jobs == {}
    assert isinstance(desk.app.screen, JobsScreen)


async def an_error_is_said(desk: Desk, error: LeafSyncError, name: str, sentence: str) -> None:
    """Start what the form says while the engine refuses: that is said beside the field, and in one toast."""
    await until(desk, lambda: can_start(desk))
    desk.engine.failure = error
    await desk.pilot.press("ctrl+s")
    await toasted(desk, sentence)
    assert len(toasts(desk.app)) == 1
    assert sentence in said(desk, name)


async def everything_is_reached(desk: Desk, first: str, labels: tuple[str, ...], cards: tuple[str, ...]) -> None:
    """Go with tab from the field `first` through the form and all cards: what has the focus is in view."""
    field(desk, first).focus_line()
    for label in labels:
        await desk.pilot.pause()
        lines = [line.strip().removeprefix("[ ] ") for line in screen_text(desk.app).split("\n")]
        assert any(line.startswith(label) for line in lines), label
        await desk.pilot.press("tab")
    for card in cards:
        await desk.pilot.pause()
        assert card in screen_text(desk.app)
        await desk.pilot.press("tab")


def is_escaped_and_fits(desk: Desk, beginning: str) -> None:
    """Check that a name that means harm, of which at least `beginning` is seen, did none."""
    shown = screen_text(desk.app)
    assert beginning in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
    assert all(cell_width(line) <= desk.app.size.width for line in shown.split("\n"))
