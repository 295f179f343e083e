"""The app as people meet it: real processes on real terminals, keys alone."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.terminal import Terminal, terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ESCAPE, TAB, ENTER, START, QUIT = "\x1b", "\t", "\r", "\x13", "\x11"
LEAVE_ALTERNATE_SCREEN, SHOW_CURSOR = b"\x1b[?1049l", b"\x1b[?25h"


def groups(screen: str) -> str:
    """The first group of the fingerprint on a card."""
    found = re.search(r"fingerprint ((?:[0-9a-f]{4} ){3}[0-9a-f]{4})", screen)
    assert found, screen
    return found[1].split()[0]


def sane(one: Terminal) -> None:
    """The terminal is as it was before."""
    assert LEAVE_ALTERNATE_SCREEN in one.output
    assert SHOW_CURSOR in one.output[one.output.rindex(LEAVE_ALTERNATE_SCREEN) - 64 :]
    assert one.modes == one.before


def test_leafsync_opens_and_quits(tmp_path: Path) -> None:
    with terminal(home=str(tmp_path / "home")) as one:
        one.shows("Offer a folder")
        one.send("\x1bOR")  # F3: it works from inside a field too
        one.shows("Keep a folder")
        one.send("\x1bOS")
        one.shows("fingerprint")
        one.send(QUIT)
        assert one.end() == 0
        sane(one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_a_sane_terminal_and_a_closed_engine(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with terminal("serve", str(folder), "--port", "0", home=str(tmp_path / "home")) as one:
        one.shows("● serving")
        run = tmp_path / "home" / "state" / "run" / f"{one.process.pid}.json"
        one.until(lambda _screen: run.exists())
        assert one.end(number) == 128 + number
        sane(one)
        assert not run.exists()


def test_a_folder_that_cannot_be_served_is_said_without_touching_the_terminal(tmp_path: Path) -> None:
    with terminal("serve", str(tmp_path / "nowhere"), home=str(tmp_path / "home")) as one:
        assert one.end() == 2
        assert "doesnotexist" in "".join(one.text().split())  # the terminal breaks the sentence where it likes
        assert LEAVE_ALTERNATE_SCREEN not in one.output


def test_no_tui_stays_headless_on_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with terminal("serve", str(folder), "--port", "0", "--no-tui", home=str(tmp_path / "home")) as one:
        one.shows("serving")
        assert one.end(signal.SIGINT) == 130
        assert LEAVE_ALTERNATE_SCREEN not in one.output


def test_two_people_confirm_each_other_and_sync(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "letter.txt").write_text("content")
    with (
        terminal("serve", str(there), "--port", "0", home=str(tmp_path / "desk")) as desk,
        terminal(home=str(tmp_path / "lap")) as lap,
    ):
        card = desk.shows("● serving")
        port = re.search(r"address +\S+:(\d+)", card)
        assert port
        lap.shows("Offer a folder")
        lap.send("\x1bOR")
        lap.shows("Keep a folder")
        lap.enter(f"127.0.0.1:{port[1]}")
        lap.send(TAB)
        lap.send(str(here))
        lap.shows("/here")
        lap.send(START)
        confirm(lap, groups(card))
        lap.shows("waits to be accepted")
        desk.shows("wants to connect")
        lap.send("\x1bOQ")
        lap.send("\x1bOR")
        confirm(desk, fingerprint_of(tmp_path / "lap")[:4])
        lap.shows("in sync")
        assert (here / "letter.txt").read_text() == "content"
        (here / "answer.txt").write_text("mine")
        end = time.monotonic() + 20
        while not (there / "answer.txt").exists():
            assert time.monotonic() < end
            lap.read()
            desk.read()
        for one in (lap, desk):
            one.send(QUIT)
            if one.shows_soon("Quit?"):  # the pass that brought the file need not be over
                one.send("y")
            assert one.end() == 0
            sane(one)


def fingerprint_of(home: Path) -> str:
    """The fingerprint of the device at `home`, which has its key by now."""
    from leafsync.engine.net.identity import load_or_create_identity

    return load_or_create_identity(home / "identity.pem").fingerprint


def confirm(one: Terminal, first_group: str) -> None:
    """Confirm a fingerprint in the modal, by keyboard. Keys that come too soon for it are ignored, so try again."""
    one.shows("Reject")
    one.send("\x1b[Z" + first_group)
    while not one.shows_soon("the same"):
        one.send("\x1b[Z" + first_group)
    one.send(ENTER)


def test_a_terminal_that_is_not_read_stops_nothing(tmp_path: Path) -> None:
    """Both apps paint into terminals that nobody reads for ten seconds; the connection lives, and so do edits."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    desk_home, lap_home = tmp_path / "desk", tmp_path / "lap"
    fingerprints = fingerprint_of(desk_home), fingerprint_of(lap_home)
    with terminal("serve", str(there), "--port", "0", "--fingerprint", fingerprints[1], home=str(desk_home)) as desk:
        port = re.search(r"address +\S+:(\d+)", desk.shows("● serving"))
        assert port
        address = f"127.0.0.1:{port[1]}"
        with terminal("connect", address, str(here), "--fingerprint", fingerprints[0], home=str(lap_home)) as lap:
            lap.shows("in sync")
            end = time.monotonic() + 10
            count = 0
            while time.monotonic() < end:  # edits make both screens change all the time
                count += 1
                (here / f"{count}").write_text("x" * count)
                time.sleep(0.05)
            while not (there / str(count)).exists():
                assert time.monotonic() < end + 5, "edits do not travel while the terminals stall"
                time.sleep(0.05)
            lap.shows("in sync")
            assert "reconnecting" not in lap.text()
            log = (lap_home / "state" / "log" / "leafsync.log").read_text()
            assert "lost" not in log
            assert desk.process.poll() is None
