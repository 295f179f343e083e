"""The terminal driver: textual's own, but one that never waits for the terminal, nor lets it wait.

Textual reads keys in a thread, writes frames in another one over a short queue, and blocks the event loop when that is
full. A terminal that is not read (a stalled SSH connection, a suspended laptop) would so stop the engine, and its peers
would take it for gone. And a thread gets to run in a busy process only after the interpreter's switch interval (5 ms),
each time it needs the interpreter: during a transfer that costs a key and its frame up to 40 ms. Here the loop itself
reads keys and writes frames, without blocking; frames that do not fit are left out, and all is painted anew once the
terminal reads again.
"""

import asyncio
import os
import select
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual import events
from textual._xterm_parser import XTermParser
from textual.constants import ESCAPE_DELAY
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

if TYPE_CHECKING:
    from textual.app import App

SYNC_START = "\x1b[?2026h"
SYNC_END = "\x1b[?2026l"
"""Around a frame, where the terminal shows frames as a whole (DEC private mode 2026)."""

CONGESTED = 1 << 16
"""Bytes the terminal has not taken from which on frames are left out: a few whole pictures of a large screen."""

ESCAPE_WAIT = ESCAPE_DELAY + 0.01
"""Seconds until a lone escape is looked at again: a little more than the parser waits for the rest of a sequence."""

READ = 4096
"""Bytes of keys taken at once: more is a paste, and comes in pieces."""

PRESSES = (events.Key, events.Paste, events.MouseDown, events.MouseScrollDown, events.MouseScrollUp)
"""What people do and then look at the screen for."""

CLOSE_DEADLINE = 2.0
"""Seconds that a stalled terminal gets to take the last sequences: a process that was told to end must end."""


class TerminalOutput:
    """Writes to a terminal; what it does not take at once follows when it does, and nobody waits for that."""

    def __init__(self, fd: int, on_drained: Callable[[], None]) -> None:
        """Write to the terminal that `fd` is open on; `on_drained` is called when it has taken a backlog."""
        self._loop = asyncio.get_running_loop()
        self._backlog = bytearray()
        self._on_drained = on_drained
        self._shared: int | None = None
        try:
            # Non-blocking is a property of the open file, and the shell's own must stay as it is.
            self._fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:  # the terminal has no name here, as in some containers
            self._fd, self._shared = os.dup(fd), fd
            os.set_blocking(fd, False)

    @property
    def backlog(self) -> int:
        """Bytes that the terminal has not taken yet."""
        return len(self._backlog)

    def write(self, data: bytes) -> None:
        """Write after all that was written before."""
        if not self._backlog:
            data = data[self._send(data) :]
            if data:
                self._loop.add_writer(self._fd, self._drain)
        self._backlog += data

    def close(self) -> None:
        """Give the terminal `CLOSE_DEADLINE` to take what is left, and let go of it."""
        end = time.monotonic() + CLOSE_DEADLINE
        while self._backlog and (left := end - time.monotonic()) > 0:
            select.select([], [self._fd], [], left)
            del self._backlog[: self._send(self._backlog)]
        self._loop.remove_writer(self._fd)
        if self._shared is not None:
            os.set_blocking(self._shared, True)
        os.close(self._fd)

    def _drain(self) -> None:
        del self._backlog[: self._send(self._backlog)]
        if not self._backlog:
            self._loop.remove_writer(self._fd)
            self._on_drained()

    def _send(self, data: bytes | bytearray) -> int:
        """Return how many bytes were taken; a terminal that is gone takes everything: its end is told by a signal."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


class PatientDriver(LinuxDriver):
    """Reads and writes the terminal from the event loop, and leaves frames out instead of waiting."""

    def __init__(
        self, app: "App[Any]", *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        """As the driver this is made from."""
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._output: TerminalOutput | None = None
        self._outward = self._file or sys.stderr
        self._leaving = False
        self._in_frame = False
        self._skipping = False
        self._missed = False
        self._waiting = False

    @property
    def stalled(self) -> bool:
        """Whether the terminal has not taken what it was sent for a while."""
        return self._output is not None and self._output.backlog >= CONGESTED

    def on_waiting(self, *, waiting: bool) -> None:
        """Called when a person has pressed something and waits for a frame, and when one was written."""

    # Writing

    def start_application_mode(self) -> None:
        """Take the terminal over. The thread that upstream starts for writing has nothing to do."""
        self._leaving = self._in_frame = self._skipping = self._missed = False
        self._output = TerminalOutput(self._outward.fileno(), self._painted)
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def write(self, data: str) -> None:
        """Write, unless the terminal is stalled; a frame is written as a whole or not at all."""
        if not self._in_frame:
            self._skipping = self.stalled and not self._leaving
        self._in_frame = data != SYNC_END if self._in_frame else data == SYNC_START
        if self._skipping:
            self._missed = True
        elif self._output is not None:
            self._output.write(data.encode(self._outward.encoding, "replace"))
        if self._waiting and not self._in_frame:
            self._waiting = False
            self.on_waiting(waiting=False)

    def _painted(self) -> None:
        """Paint everything once the terminal has read what it had not."""
        if self._missed and not self._leaving:
            self._missed = False
            self._app.refresh()

    # Keys

    def _run_input_thread(self) -> None:
        """Instead of reading in this thread, have the loop read."""
        self._loop.call_soon_threadsafe(self._listen)

    def _listen(self) -> None:
        if not self._leaving:
            parser = XTermParser(self._debug)
            decode = getincrementaldecoder("utf-8")("replace").decode
            self._loop.add_reader(self.fileno, self._readable, parser, decode)

    def _readable(self, parser: XTermParser, decode: Callable[[bytes], str]) -> None:
        try:
            data = os.read(self.fileno, READ)
        except OSError:
            data = b""
        if not data:  # the terminal is gone; a signal tells
            self._loop.remove_reader(self.fileno)
            return
        self._process(list(parser.feed(decode(data))))
        # A lone escape is known from the beginning of a key's sequence by what does not follow.
        self._loop.call_later(ESCAPE_WAIT, lambda: self._process(list(parser.tick())))

    def _process(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, PRESSES):
                self._waiting = True
                self.on_waiting(waiting=True)
            self.process_message(message)

    def send_message(self, message: Message) -> None:
        """Post a message to the app: without a detour, as this is its loop."""
        self._app.post_message(message)

    # The end

    def disable_input(self) -> None:
        """Read no more keys."""
        self._leaving = True
        self._loop.remove_reader(self.fileno)
        super().disable_input()

    def stop_application_mode(self) -> None:
        """Give the terminal back."""
        self._leaving = True
        super().stop_application_mode()

    def close(self) -> None:
        """Have the last sequences written, if the terminal takes them."""
        output, self._output = self._output, None
        if output is not None:
            output.close()
        super().close()
