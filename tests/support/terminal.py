"""A terminal for tests: a pseudo-terminal with a real `leafsync` on it, and its screen as people see it."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyte

DEADLINE = 30.0
"""Seconds until a test gives up waiting for a screen: a loaded machine takes its time to start."""

READ = 65536


class Terminal:
    """A process on a terminal of `columns` by `rows`."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        columns: int = 100,
        rows: int = 30,
        program: Sequence[str] = (sys.executable, "-m", "leafsync"),
    ) -> None:
        self.output = bytearray()
        """All that was read of what the process wrote."""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(inner)
        self._inner = inner
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
            start_new_session=True,
        )

    @property
    def modes(self) -> list[object]:
        """The terminal's settings now."""
        return list(termios.tcgetattr(self._inner))

    def read(self, seconds: float = 0.05) -> bool:
        """Take what the process has written; say whether there was something."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return False
        data = os.read(self._fd, READ)
        self.output += data
        self._stream.feed(data)
        return True

    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def until(self, condition: Callable[[str], bool], deadline: float = DEADLINE) -> str:
        """Read until the screen is as it should be; return it."""
        end = time.monotonic() + deadline
        while not condition(self.text()):
            assert time.monotonic() < end, f"this is on the screen instead:\n{self.text()}"
            self.read()
        return self.text()

    def shows(self, text: str) -> str:
        """Read until `text` is on the screen; return it."""
        return self.until(lambda screen: text in screen)

    def shows_soon(self, text: str, seconds: float = 1.0) -> bool:
        """Read for a while; say whether `text` came on the screen."""
        end = time.monotonic() + seconds
        while text not in self.text() and self.process.poll() is None and time.monotonic() < end:
            self.read()
        return text in self.text()

    def send(self, keys: str) -> None:
        """Press keys, as a terminal encodes them."""
        os.write(self._fd, keys.encode())

    def enter(self, text: str) -> None:
        """Type text, and read until it is on the screen."""
        self.send(text)
        self.until(lambda screen: text in screen)

    def end(self, number: signal.Signals | None = None, deadline: float = DEADLINE) -> int:
        """Send a signal, if one is given, and read until the process has ended; return its exit code."""
        if number is not None:
            self.process.send_signal(number)
        end = time.monotonic() + deadline
        while self.process.poll() is None:
            assert time.monotonic() < end, f"the process did not end; this is on the screen:\n{self.text()}"
            self.read()
        while self.read(0.0):
            pass
        return self.process.returncode

    def close(self) -> None:
        """Let go of everything."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)
        os.close(self._inner)


@contextlib.contextmanager
def terminal(
    *arguments: str, home: str, columns: int = 100, rows: int = 30, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run `leafsync` with a home of its own on a terminal."""
    made = Terminal(arguments, {"LEAFSYNC_HOME": home, **(environment or {})}, columns=columns, rows=rows)
    try:
        yield made
    finally:
        made.close()
