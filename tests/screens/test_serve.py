"""Serve, driven by the keyboard: the form, the cards, and what both say when something is wrong."""

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets import Button, HelpPanel

from leafsync import forms
from leafsync.bridge import EndedJob, PeerStatus, ServeOptions, ServeStatus
from leafsync.errors import (
    ConnectTimedOut,
    FolderIdentityLost,
    FolderInUse,
    FolderRefused,
    FolderUnreadable,
    LeafSyncError,
    PathRefused,
    PortInUse,
)
from leafsync.screens.serve import ServeScreen
from leafsync.themes import OURS
from leafsync.widgets.field import Field
from leafsync.widgets.job_card import JobCard
from leafsync.widgets.key_line import KeyLine
from tests.support.job_screens import (
    HOSTILE,
    SHOWN,
    an_error_is_said,
    bad_input_is_said,
    can_start,
    everything_is_reached,
    field,
    fill,
    is_escaped_and_fits,
    said,
    show,
    shown_modal,
    why,
)
from tests.support.looking import SIZES, says, shows, toasted, toasts, until, words
from tests.support.ui import Desk, hosted, screen_text
from tests.test_themes import READABLE, contrast

SERVING = ServeStatus(1, "/srv/music", 4455, ("10.0.0.2:4455",), read_only=False)
PEER = PeerStatus("ab" * 32, "laptop", "10.0.0.3:5", "sending")
LOST = ConnectTimedOut(address="nas:4455", seconds=8, port=4455)


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that are in use; none, whatever else runs on this machine."""
    taken: set[int] = set()
    monkeypatch.setattr(forms, "port_in_use_reason", lambda port: forms.in_use(port) if port in taken else "")
    return taken


@asynccontextmanager
async def serving(tmp_path: Path, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Desk]:
    async with hosted(tmp_path / "home", ServeScreen(), size) as desk:
        await desk.pilot.pause()
        yield desk


def offered(desk: Desk) -> set[str]:
    """The actions whose keys would do something now."""
    return {active.binding.action for active in desk.app.screen.active_bindings.values() if active.enabled}


# The form


async def test_the_cursor_is_where_something_is_needed(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        assert desk.app.focused is field(desk, "folder").line
        assert not can_start(desk)
        assert why(desk) == "Folder: name a folder"
        assert "! name a folder" not in screen_text(desk.app)  # nobody has been there yet


async def test_a_folder_is_served_as_the_form_says(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await fill(desk, "file", "./notes/a.txt")
        await fill(desk, "port", "5000")
        await desk.pilot.press("tab", "space", "tab", "space")
        assert why(desk) == ""
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        assert desk.engine.jobs[1].options == ServeOptions(
            str(folder), port=5000, file="notes/a.txt", read_only=True, accept_first=True
        )


async def test_what_is_started_is_what_the_form_said_then(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await fill(desk, "port", "5000")
        assert await desk.app.run_action("start", desk.app.screen)
        field(desk, "port").value = "5000t"
        await until(desk, lambda: desk.engine.jobs)
        assert desk.engine.jobs[1].options == ServeOptions(str(folder), port=5000)


async def test_enter_on_start_starts(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await desk.pilot.press("tab", "tab", "tab", "tab", "tab")
        assert isinstance(desk.app.focused, Button)
        await desk.pilot.press("enter")
        await until(desk, lambda: desk.engine.jobs)


async def test_what_was_served_is_remembered(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        kept: list[tuple[str, int | None]] = []
        desk.app.settings.keep = lambda state: kept.append((state.serve_folder, state.serve_port))
        await fill(desk, "folder", str(folder))
        await fill(desk, "port", "5000")
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: kept)
        assert kept == [(str(folder), 5000)]


async def test_the_form_is_filled_with_what_is_remembered(tmp_path: Path, folder: Path) -> None:
    screen = ServeScreen()
    async with hosted(tmp_path / "home", screen) as desk:
        desk.app.settings.state.served(str(folder), 5001)
        desk.app.push_screen(again := ServeScreen())
        await until(desk, lambda: again.query("#start"))
        assert [again.query_one(f"#{name}", Field).value for name in ("folder", "port")] == [str(folder), "5001"]


async def test_nobody_is_let_in_unasked_twice(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await fill(desk, "port", "0")
        await desk.pilot.press("tab", "tab", "space", "ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        await desk.pilot.pause()
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: len(desk.engine.jobs) == 2)
        assert [job.options.accept_first for job in desk.engine.jobs.values()] == [True, False]


@pytest.mark.parametrize(
    ("name", "label", "text", "reason"),
    [
        ("folder", "Folder", "/none", "it does not exist"),
        ("folder", "Folder", "", "name a folder"),
        ("file", "File", "../x", "the name is empty, '.' or '..'"),
        ("port", "Port", "65536", "give a number from 0 (any free one) to 65535"),
        ("port", "Port", "x", "give a number from 0 (any free one) to 65535"),
        ("port", "Port", "4455", "UDP port 4455 is in use; 0 picks a free one"),
    ],
)
async def test_bad_input_is_said_beside_the_field_and_beside_start(
    tmp_path: Path, folder: Path, no_sockets: set[int], name: str, label: str, text: str, reason: str
) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await fill(desk, "port", "5000")
        await until(desk, lambda: can_start(desk))
        no_sockets.add(4455)
        await bad_input_is_said(desk, name, label, text, reason)


async def test_a_port_that_is_let_go_of_can_be_used(tmp_path: Path, folder: Path, no_sockets: set[int]) -> None:
    no_sockets.add(4455)
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await until(desk, lambda: said(desk, "port") == f"! {forms.in_use(4455)}")
        no_sockets.clear()
        assert isinstance(desk.app.screen, ServeScreen)
        desk.app.screen.look_again()
        await until(desk, lambda: can_start(desk))
        assert said(desk, "port") == why(desk) == ""


async def test_a_folder_that_comes_to_be_can_be_used(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(tmp_path / "later"))
        await shows(desk, "! it does not exist")
        (tmp_path / "later").mkdir()
        assert isinstance(desk.app.screen, ServeScreen)
        desk.app.screen.look_again()
        await until(desk, lambda: can_start(desk))


@pytest.mark.parametrize(
    ("error", "name", "sentence"),
    [
        (PortInUse(port=4455), "port", "UDP port 4455 is in use; 0 picks a free one"),
        (FolderInUse(path="/f", holder=" (process 7)"), "folder", "is in use by another LeafSync (process 7)"),
        (FolderUnreadable(path="/f", reason="Permission denied"), "folder", "cannot be opened (Permission denied)"),
        (PathRefused(path="a", reason="it is a device"), "file", "The path a cannot be synced: it is a device."),
    ],
)
async def test_an_error_is_said_beside_its_field_and_in_one_toast(
    tmp_path: Path, folder: Path, error: LeafSyncError, name: str, sentence: str
) -> None:
    async with serving(tmp_path, (120, 36)) as desk:
        await fill(desk, "folder", str(folder))
        await an_error_is_said(desk, error, name, sentence)
        assert "--port" not in words(desk.app)  # what the command line would say
        desk.engine.failure = None
        await desk.pilot.press("ctrl+s")  # it may work now
        await until(desk, lambda: desk.engine.jobs)


@pytest.mark.parametrize(
    ("error", "question", "option"),
    [
        (FolderRefused(path="/home/anna", what="your home directory"), "your home directory", "force"),
        (FolderIdentityLost(path="/mnt/disk"), "Is its disk mounted?", "reset"),
    ],
)
async def test_an_odd_folder_is_served_after_a_question(
    tmp_path: Path, folder: Path, error: LeafSyncError, question: str, option: str
) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        for key in ("n", "y"):
            desk.engine.failure = error
            await desk.pilot.press("ctrl+s")
            await says(desk, question)
            assert "--" not in words(desk.app).replace("─", "")
            desk.engine.failure = None
            await desk.pilot.press(key)
            await until(desk, lambda: isinstance(desk.app.screen, ServeScreen))
            await desk.pilot.pause()
            assert len(desk.engine.jobs) == (key == "y")
        assert getattr(desk.engine.jobs[1].options, option) is True
        assert toasts(desk.app) == []


# From the form to the cards


async def test_the_new_card_has_the_focus_and_its_keys_work(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        await show(desk, SERVING)
        assert isinstance(desk.app.focused, JobCard)
        await desk.pilot.press("p")
        assert desk.engine.calls == ["pause 1"]
        await show(desk, replace(SERVING, paused=True))
        await desk.pilot.press("p")
        assert desk.engine.calls == ["pause 1", "resume 1"]
        await desk.pilot.press("x")
        await until(desk, lambda: desk.engine.calls[-1] == "stop 1")
        await show(desk)
        await shows(desk, "Nothing is served yet.")


async def test_a_job_that_was_there_before_has_the_focus(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        await show(desk, SERVING, replace(SERVING, id=2))
        assert desk.app.focused is field(desk, "folder").line  # nobody loses the cursor while typing
        desk.app.push_screen(again := ServeScreen())
        await until(desk, lambda: list(again.query(JobCard)))
        await until(desk, lambda: again.focused is again.query(JobCard).first())
        assert "! name a folder" not in screen_text(desk.app)


async def test_letters_are_typed_in_the_form_and_keys_after_escape(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        await show(desk, SERVING)
        await desk.pilot.press(*"pxnhcdy")
        assert field(desk, "folder").value == "pxnhcdy"
        assert desk.engine.calls == []
        await desk.pilot.press("escape", "y")
        await toasted(desk, "copied: 10.0.0.2:4455")
        assert desk.app.clipboard == "10.0.0.2:4455"
        await desk.pilot.press("escape")
        assert desk.app.focused is field(desk, "folder").line


async def test_escape_without_a_job_leaves_the_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        await desk.pilot.press("escape")
        assert desk.app.focused is None
        await desk.pilot.press("x", "p")
        assert field(desk, "folder").value == ""
        await desk.pilot.press("f")
        assert desk.app.focused is field(desk, "folder").line


async def test_only_keys_that_would_do_something_are_offered(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        assert {"browse", "leave_form"} <= offered(desk)
        assert not {"start", "stop_job", "pause", "to_form"} & offered(desk)
        await fill(desk, "folder", str(folder))
        await until(desk, lambda: "start" in offered(desk))
        await show(desk, SERVING)
        await desk.pilot.press("escape")
        assert {"start", "stop_job", "pause", "history", "conflicts", "copy", "to_form"} <= offered(desk)
        assert not {"sync_now", "held", "browse", "leave_form"} & offered(desk)


async def test_the_keys_are_not_drawn_anew_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as desk:
        await desk.pilot.press("escape")
        for _tick in range(3):
            await show(desk, SERVING)
        drawn: list[int] = []
        line = desk.app.screen.query_one(KeyLine)
        monkeypatch.setattr(line, "refresh", lambda: drawn.append(1))
        for files in range(5):
            await show(desk, replace(SERVING, files=files))
        assert drawn == []
        await show(desk)
        await show(desk)  # its card is gone by now
        assert drawn != []


async def test_history_and_conflicts_of_the_card_are_shown(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await show(desk, replace(SERVING, folder=str(folder)))
        await desk.pilot.press("escape", "h")
        await shown_modal(desk, "HistoryModal")
        await desk.pilot.press("escape", "c")
        await shown_modal(desk, "ConflictsModal")


async def test_a_folder_is_chosen_in_a_tree(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        await fill(desk, "folder", str(folder))
        await desk.pilot.press("ctrl+o")
        await shown_modal(desk, "PickerModal")
        desk.app.screen.dismiss(str(tmp_path))
        await until(desk, lambda: isinstance(desk.app.screen, ServeScreen))
        assert field(desk, "folder").value == str(tmp_path)
        assert desk.app.focused is field(desk, "folder").line
        await desk.pilot.press("tab", "ctrl+o")
        await shown_modal(desk, "PickerModal")
        await desk.pilot.press("escape")
        await until(desk, lambda: isinstance(desk.app.screen, ServeScreen))
        assert desk.app.focused is field(desk, "file").line


async def test_help_is_about_what_has_the_focus(tmp_path: Path) -> None:
    async with serving(tmp_path, (120, 36)) as desk:
        await desk.app.screen.mount(HelpPanel())
        await shows(desk, "The folder to offer.")
        await desk.pilot.press("tab", "tab")
        await shows(desk, "UDP port that the other machines")


# The cards


async def test_a_card_says_what_the_other_machine_needs(tmp_path: Path) -> None:
    async with serving(tmp_path, (120, 36)) as desk:
        await show(desk, replace(SERVING, peers=(PEER,), files=7))
        shown = words(desk.app)
        groups = " ".join(re.findall("....", desk.bridge.fingerprint)[:8])
        for text in ("● serving /srv/music", "10.0.0.2:4455", groups, "holds 7 files", "● laptop 10.0.0.3:5 sending"):
            assert text in shown


async def test_a_job_that_failed_says_why_until_it_is_put_away(tmp_path: Path, folder: Path) -> None:
    async with serving(tmp_path) as desk:
        desk.bridge.ended[1] = EndedJob(1, "/srv/music", "", LOST)
        desk.bridge.ended[2] = EndedJob(2, "/f", "nas:4455", LOST)  # of the other screen
        await show(desk)
        await shows(desk, "× failed  /srv/music")
        assert "did not answer within 8 s" in words(desk.app)
        assert "nas:4455  /f" not in screen_text(desk.app)
        await desk.pilot.press("escape")
        await shows(desk, "x Put away")
        assert "Stop" not in screen_text(desk.app)
        await desk.pilot.press("x")
        await until(desk, lambda: 1 not in desk.bridge.ended)
        await show(desk)
        assert "failed" not in screen_text(desk.app)
        assert 2 in desk.bridge.ended


@pytest.mark.parametrize("size", SIZES)
async def test_everything_is_reached_at_every_size(tmp_path: Path, folder: Path, size: tuple[int, int]) -> None:
    async with serving(tmp_path, size) as desk:
        await fill(desk, "folder", str(folder))
        jobs = tuple(replace(SERVING, id=at, folder=f"/srv/{at}") for at in (1, 2, 3))
        await show(desk, *jobs)
        labels = ("Folder", "File", "Port", "Read-only", "Accept a new", "Start")
        await everything_is_reached(desk, "folder", labels, tuple(f"serving  {job.folder}" for job in jobs))


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_are_escaped_and_aligned(tmp_path: Path, size: tuple[int, int]) -> None:
    async with serving(tmp_path, size) as desk:
        peer = replace(PEER, name=HOSTILE, address=HOSTILE, activity=HOSTILE)
        await show(desk, replace(SERVING, folder=f"/{HOSTILE}", addresses=(HOSTILE,), peers=(peer,)))
        await desk.pilot.press("escape")
        await desk.pilot.pause()
        is_escaped_and_fits(desk, SHOWN[:9])


async def test_a_hostile_folder_in_the_form_is_harmless(tmp_path: Path) -> None:
    hostile = tmp_path / HOSTILE
    hostile.mkdir()
    async with serving(tmp_path) as desk:
        field(desk, "folder").take(str(hostile))
        await until(desk, lambda: can_start(desk))
        assert "\x1b" not in screen_text(desk.app)
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        assert desk.engine.jobs[1].options.folder == str(hostile)


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
async def test_every_word_on_the_screen_can_be_read(tmp_path: Path, folder: Path, theme: object) -> None:
    async with serving(tmp_path, (120, 36)) as desk:
        for ours in OURS:
            desk.app.register_theme(ours)
        desk.app.theme = theme.name  # type: ignore[attr-defined]
        await fill(desk, "folder", str(folder))
        await fill(desk, "port", "x")
        await show(desk, replace(SERVING, peers=(PEER,), problems=1), replace(SERVING, id=2, paused=True))
        await desk.pilot.press("escape")
        await desk.pilot.pause()
        poor = dict(_poor(desk))
        assert poor == {}


def _poor(desk: Desk) -> Iterator[tuple[str, float]]:
    """Yield the words that are hard to read; what is greyed out may be, and so may what hints at an empty line."""
    from textual.color import Color

    for strip in desk.app.screen._compositor.render_strips():
        for segment in strip:
            text, style = segment.text.strip(), segment.style
            if not re.search(r"\w", text) or style is None or style.color is None or style.bgcolor is None:
                continue
            front, back = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
            if style.reverse:
                front, back = back, front
            ratio = contrast(front, back)
            if ratio < READABLE and text not in ("Start", "^s", "all of the folder", "ctrl+o chooses one"):
                yield text, round(ratio, 2)


async def test_a_real_port_is_looked_at(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        async with serving(tmp_path) as desk:
            await fill(desk, "folder", str(folder))
            await fill(desk, "port", str(port))
            await until(desk, lambda: said(desk, "port") == f"! {forms.in_use(port)}")
