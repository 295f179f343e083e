"""Waiting for what a screen comes to show, and reading it."""

import time
from collections.abc import Callable
from typing import Any

from textual import events
from textual.app import App

from tests.support.ui import Desk, screen_text

DEADLINE = 10.0
"""Seconds until a test stops waiting: far more than anything takes."""

SIZES = [(40, 12), (60, 20), (80, 24), (120, 36), (200, 60)]
"""Sizes of the terminal that everything has to work at."""


async def until(desk: Desk, condition: Callable[[], object]) -> None:
    """Wait until a condition holds; what is on the screen when it does not in time is in the error."""
    end = time.monotonic() + DEADLINE
    while True:
        await desk.pilot.pause()
        if condition():
            return
        assert time.monotonic() < end, screen_text(desk.app)
        await desk.pilot.pause(0.01)


async def shows(desk: Desk, text: str) -> None:
    """Wait until a text is on the screen."""
    await until(desk, lambda: text in screen_text(desk.app))


async def says(desk: Desk, sentence: str) -> None:
    """Wait until a sentence is on the screen, on however many lines."""
    await until(desk, lambda: sentence in words(desk.app))


async def paste(desk: Desk, text: str) -> None:
    """Paste into what has the focus."""
    assert desk.app.focused is not None
    desk.app.focused.post_message(events.Paste(text))
    await desk.pilot.pause()


async def toasted(desk: Desk, text: str) -> None:
    """Wait until a toast says a text."""
    await until(desk, lambda: any(text in message for message in toasts(desk.app)))


def toasts(app: App[Any]) -> list[str]:
    """Return what the toasts say."""
    return [notification.message for notification in app._notifications]


def words(app: App[Any]) -> str:
    """Return what is on the screen without frames and line breaks."""
    return " ".join("".join(" " if "─" <= character <= "╿" else character for character in screen_text(app)).split())
