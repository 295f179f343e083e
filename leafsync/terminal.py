"""The terminal driver: textual's own, but one that never waits for the terminal.

Textual hands frames to a thread over a short queue and blocks the event loop when that is full. A terminal that is not
read (a stalled SSH connection, a suspended laptop) would so stop the engine, and its peers would take it for gone. Here
frames that do not fit are left out, and all is painted anew once the terminal reads again.
"""

import threading
from typing import TYPE_CHECKING, Any

from textual.drivers._writer_thread import MAX_QUEUED_WRITES
from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App

SYNC_START = "\x1b[?2026h"
SYNC_END = "\x1b[?2026l"
"""Around a frame, where the terminal shows frames as a whole (DEC private mode 2026)."""

CONGESTED = MAX_QUEUED_WRITES // 2
"""Writes in the queue from which on frames are left out. The rest of it is for what must get through: a frame that
has begun, and the sequences that give the terminal back."""

LOOK_AGAIN = 0.1
"""Seconds between two looks whether a terminal that stalled reads again."""

CLOSE_DEADLINE = 2.0
"""Seconds that a stalled terminal gets to take the last sequences: a process that was told to end must end."""


class PatientDriver(LinuxDriver):
    """Leaves frames out instead of waiting."""

    def __init__(
        self, app: "App[Any]", *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        """As the driver this is made from."""
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._leaving = False
        self._in_frame = False
        self._skipping = False
        self._missed = False

    @property
    def stalled(self) -> bool:
        """Whether the terminal has not taken what it was sent for a while."""
        writer = self._writer_thread
        return writer is not None and writer._queue.qsize() >= CONGESTED

    def write(self, data: str) -> None:
        """Write, unless the terminal is stalled; a frame is written as a whole or not at all."""
        if not self._in_frame:
            self._skipping = self.stalled and not self._leaving
        self._in_frame = data != SYNC_END if self._in_frame else data == SYNC_START
        if not self._skipping:
            super().write(data)
        elif not self._missed:
            self._missed = True
            self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        """Paint everything once the terminal reads again."""
        if self._leaving:
            return
        if self.stalled:
            self._loop.call_later(LOOK_AGAIN, self._look_again)
            return
        self._missed = False
        self._app.refresh()

    def stop_application_mode(self) -> None:
        """Give the terminal back."""
        self._leaving = True
        super().stop_application_mode()

    def close(self) -> None:
        """End the writing thread, if the terminal lets it end; it does not hold the process."""
        writer = self._writer_thread
        if writer is None:
            return
        closing = threading.Thread(target=writer.stop, name="leafsync-terminal-close", daemon=True)
        closing.start()
        closing.join(CLOSE_DEADLINE)
