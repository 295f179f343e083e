"""The terminal driver on a pseudo-terminal: keys by the loop, frames whole or not at all, and never a wait."""

import asyncio
import os
import pty
import time
from collections.abc import Iterator
from typing import Self

import pytest
from textual import events
from textual.app import App

from leafsync import terminal
from leafsync.terminal import CONGESTED, SYNC_END, SYNC_START, PatientDriver, TerminalOutput
from tests.support.devices import until

PICTURE = "x" * 1000

ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
"""Take the whole screen, and give it back (xterm)."""


class Pty:
    """Both ends of a pseudo-terminal."""

    def __init__(self) -> None:
        self.outer, self.inner = pty.openpty()
        os.set_blocking(self.outer, False)

    def read(self) -> bytes:
        """Take what has been written to it until now."""
        taken = bytearray()
        while True:
            try:
                taken += os.read(self.outer, 1 << 16)
            except BlockingIOError:
                return bytes(taken)

    def close(self) -> None:
        os.close(self.outer)
        os.close(self.inner)


@pytest.fixture
def tty() -> Iterator[Pty]:
    made = Pty()
    yield made
    made.close()


class Keys(App[None]):
    """Notes which keys are pressed, and ends with q."""

    def __init__(self) -> None:
        super().__init__()
        self.pressed: list[str] = []

    def on_key(self, event: events.Key) -> None:
        self.pressed.append(event.key)
        if event.key == "q":
            self.exit()


class Canvas(App[None]):
    """Notes when all is to be painted anew."""

    painted = 0

    def refresh(self, *_args: object, **_options: object) -> Self:
        self.painted += 1
        return self


class Driver(PatientDriver):
    """The driver, on a given terminal instead of the process's own."""

    def __init__(self, app: "App[None]", tty: Pty) -> None:
        super().__init__(app)
        self.fileno = tty.inner
        self._outward = open(tty.inner, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        self.waits: list[bool] = []

    def on_waiting(self, *, waiting: bool) -> None:
        self.waits.append(waiting)


async def fill(output: TerminalOutput) -> None:
    """Write until the terminal takes no more."""
    while not output.backlog:
        output.write(PICTURE.encode())


async def read_to(tty: Pty, end: bytes) -> bytes:
    """Read until this has come: the kernel passes it on in its own time."""
    seen = bytearray()

    def there() -> bool:
        nonlocal seen
        seen += tty.read()
        return end in seen

    await until(there)
    return bytes(seen)


# Output


async def test_what_the_terminal_does_not_take_at_once_follows(tty: Pty) -> None:
    drained: list[bool] = []
    output = TerminalOutput(tty.inner, lambda: drained.append(True))
    await fill(output)
    output.write(b"the end")
    seen = await read_to(tty, b"the end")
    assert seen.count(b"x") % len(PICTURE) == 0
    await until(lambda: bool(drained))
    assert not output.backlog
    output.close()


async def test_the_shells_own_open_terminal_stays_blocking(tty: Pty) -> None:
    output = TerminalOutput(tty.inner, lambda: None)
    assert os.get_blocking(tty.inner)
    output.write(b"seen")
    output.close()
    assert await read_to(tty, b"seen") == b"seen"


async def test_a_terminal_without_a_name_is_used_and_given_back_blocking(
    tty: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless(fd: int) -> str:
        raise OSError("no such device")

    monkeypatch.setattr(os, "ttyname", nameless)
    output = TerminalOutput(tty.inner, lambda: None)
    await fill(output)
    assert not os.get_blocking(tty.inner)
    output.write(b"end")
    await read_to(tty, b"end")
    output.close()
    assert os.get_blocking(tty.inner)


async def test_a_terminal_that_never_reads_holds_the_end_for_a_deadline_only(
    tty: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "CLOSE_DEADLINE", 0.05)
    output = TerminalOutput(tty.inner, lambda: None)
    await fill(output)
    begun = time.monotonic()
    output.close()
    assert time.monotonic() - begun < 2


async def test_a_terminal_that_is_gone_takes_everything() -> None:
    made = Pty()
    output = TerminalOutput(made.inner, lambda: None)
    made.close()
    output.write(PICTURE.encode())
    assert not output.backlog
    output.close()


# Frames


async def stalled(tty: Pty) -> tuple[Canvas, Driver]:
    """A driver whose terminal does not read."""
    app = Canvas()
    driver = Driver(app, tty)
    driver._output = TerminalOutput(tty.inner, driver._painted)
    while not driver.stalled:
        driver.write(PICTURE)
    app.painted = 0
    return app, driver


async def test_a_frame_is_left_out_as_a_whole_and_all_is_painted_anew_later(tty: Pty) -> None:
    app, driver = await stalled(tty)
    for part in (SYNC_START, "a frame", SYNC_END):
        driver.write(part)
    assert driver._output is not None
    seen = bytearray()

    def painted() -> bool:
        nonlocal seen
        seen += tty.read()
        return app.painted > 0

    await until(painted)
    driver.write("after")
    seen += await read_to(tty, b"after")
    assert b"a frame" not in seen
    assert SYNC_START.encode() not in seen
    driver.close()


async def test_a_frame_that_has_begun_is_written_to_its_end(tty: Pty) -> None:
    driver = Driver(Canvas(), tty)
    driver._output = TerminalOutput(tty.inner, driver._painted)
    driver.write(SYNC_START)
    while not driver.stalled:
        driver.write(PICTURE)
    driver.write("tail")
    driver.write(SYNC_END)
    assert driver._output.backlog > CONGESTED
    await read_to(tty, b"tail" + SYNC_END.encode())
    driver.close()


async def test_what_gives_the_terminal_back_is_never_left_out(tty: Pty) -> None:
    _app, driver = await stalled(tty)
    driver._leaving = True
    driver.write(ALTERNATE_OFF.decode())
    await read_to(tty, ALTERNATE_OFF)
    driver.close()


# Keys


def build(app: Keys, tty: Pty) -> Driver:
    app._driver = Driver(app, tty)
    return app._driver


async def test_keys_reach_the_app(tty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Keys()
    monkeypatch.setattr(app, "_build_driver", lambda **_options: build(app, tty))
    running = asyncio.ensure_future(app.run_async())
    await until(lambda: ALTERNATE_ON in tty.read())
    os.write(tty.outer, "\x1b[Bäb".encode())
    await until(lambda: "b" in app.pressed)
    os.write(tty.outer, b"\x1b")  # alone: known to be the key only after a while
    await until(lambda: "escape" in app.pressed)
    os.write(tty.outer, b"q")
    async with asyncio.timeout(10):
        await running
    assert app.pressed == ["down", "ä", "b", "escape", "q"]
    assert ALTERNATE_OFF in await read_to(tty, b"\x1b[?1004l")


async def test_whoever_presses_a_key_waits_until_the_next_frame_is_written(tty: Pty) -> None:
    app = Canvas()
    driver = Driver(app, tty)
    driver._output = TerminalOutput(tty.inner, driver._painted)
    driver._process([events.Key("a", "a")])
    assert driver.waits == [True]
    driver.write(SYNC_START)
    driver.write("a frame")
    assert driver.waits == [True]
    driver.write(SYNC_END)
    driver.write("more")
    assert driver.waits == [True, False]
    driver.close()


async def test_nobody_waits_for_what_a_terminal_says_of_itself(tty: Pty) -> None:
    driver = Driver(Canvas(), tty)
    driver._process([events.AppFocus()])
    assert not driver.waits
