"""Connect, driven by the keyboard: the form with what it remembers, and live states with the reason in words."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets import Button, OptionList, Select

from leafsync.bridge import (
    ConnectOptions,
    ConnectStatus,
    EndedJob,
    Mode,
    PassFinished,
    PassState,
    PassSummary,
    PeerStatus,
    Totals,
    parse_address,
)
from leafsync.config import Config
from leafsync.errors import AddressMalformed, ConnectTimedOut, FolderInUse, LeafSyncError
from leafsync.progress import cell_width
from leafsync.screens.connect import DIRECTIONS, ConnectScreen, RecentAddresses, RecentModal
from leafsync.settings import Settings
from leafsync.ui_state import Recent, UiState
from leafsync.widgets.job_card import JobCard
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
    show,
    shown_modal,
    why,
)
from tests.support.looking import SIZES, says, shows, toasted, until, words
from tests.support.scenes import played
from tests.support.ui import NOW, Desk, hosted, screen_text

NAS = Recent("nas:4455", "/", "pull", "notes.txt")
DESK = Recent("[::1]:5000", "/usr", "both", "")
PEER = PeerStatus("ab" * 32, "nas", "10.0.0.2:4455", "in sync")
CONNECTED = ConnectStatus(1, "/srv/music", "nas:4455", PassState.IN_SYNC, peer=PEER)
LOST = ConnectTimedOut(address="nas:4455", seconds=8, port=4455)
NOTHING = PassSummary(Totals(), 0.1)


@asynccontextmanager
async def connecting(
    tmp_path: Path, size: tuple[int, int] = (100, 30), recent: tuple[Recent, ...] = ()
) -> AsyncIterator[Desk]:
    async with hosted(tmp_path / "home", ConnectScreen(), size) as desk:
        if recent:
            desk.app.settings.state.recent = list(recent)
            desk.app.push_screen(again := ConnectScreen())
            await until(desk, lambda: again.query(Select))
        await desk.pilot.pause()
        yield desk


def direction(desk: Desk) -> object:
    return desk.app.screen.query_one(Select).value


async def fill_all(desk: Desk, folder: Path) -> None:
    """Fill in what is needed."""
    await fill(desk, "address", "nas")
    await fill(desk, "folder", str(folder))
    await until(desk, lambda: can_start(desk))


# The form


async def test_it_connects_as_the_form_says(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path, (80, 24)) as desk:
        assert desk.app.focused is field(desk, "address").line
        await desk.pilot.press(*"nas:5000")
        await fill(desk, "folder", str(folder))
        await fill(desk, "file", "a.txt")
        await desk.pilot.press("tab", "down", "down", "enter")
        await fill(desk, "streams", "8")
        await fill(desk, "rate", "2.5")
        await desk.pilot.press("tab", "space", "ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        assert desk.engine.jobs[1].options == ConnectOptions(
            parse_address("nas:5000"),
            str(folder),
            mode=Mode.PULL,
            file="a.txt",
            streams=8,
            rate_mbps=2.5,
            accept_first=True,
        )


async def test_defaults_are_those_of_the_configuration(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        desk.app.settings = Settings(Config("desk", streams=2, rate_mbps=20.0))
        desk.app.push_screen(again := ConnectScreen())
        await until(desk, lambda: again.query(Select))
        await fill_all(desk, folder)
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        options = desk.engine.jobs[1].options
        assert isinstance(options, ConnectOptions)
        assert (options.streams, options.rate_mbps, options.mode) == (2, 20.0, Mode.BOTH)
        assert options.address == parse_address("nas:4455")


@pytest.mark.parametrize(
    ("name", "label", "text", "reason"),
    [
        ("address", "Address", "", "name the other device"),
        ("address", "Address", "nas:0", "a port is a number from 1 to 65535"),
        ("address", "Address", "::1", "write the IPv6 address in brackets"),
        ("address", "Address", "a b", "it cannot be read"),
        ("folder", "Folder", "/none", "it does not exist"),
        ("file", "File", "/etc", "the name is empty, '.' or '..'"),
        ("streams", "Streams", "9", "give a number from 1 to 8"),
        ("rate", "Rate limit", "-1", "give megabits per second, above 0 and up to 1000000, or nothing"),
    ],
)
async def test_bad_input_is_said_beside_the_field_and_beside_start(
    tmp_path: Path, folder: Path, name: str, label: str, text: str, reason: str
) -> None:
    async with connecting(tmp_path, (60, 20)) as desk:
        await fill_all(desk, folder)
        await bad_input_is_said(desk, name, label, text, reason)
        await says(desk, f"Start {label}: {reason}")


async def test_the_first_wrong_field_is_named_until_all_are_right(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        assert why(desk) == "Address: name the other device"
        await fill(desk, "address", "nas")
        assert why(desk) == "Folder: name a folder"
        await fill(desk, "folder", str(folder))
        await until(desk, lambda: can_start(desk) and why(desk) == "")


@pytest.mark.parametrize(
    ("error", "name", "sentence"),
    [
        (AddressMalformed(address="nas", reason="it is odd"), "address", "nas is not an address: it is odd."),
        (FolderInUse(path="/f", holder=" (process 7)"), "folder", "is in use by another LeafSync (process 7)"),
    ],
)
async def test_an_error_is_said_beside_its_field_and_in_one_toast(
    tmp_path: Path, folder: Path, error: LeafSyncError, name: str, sentence: str
) -> None:
    async with connecting(tmp_path) as desk:
        await fill_all(desk, folder)
        await an_error_is_said(desk, error, name, sentence)
        assert desk.app.settings.state.recent == []


# Which way


@pytest.mark.parametrize("size", SIZES)
async def test_the_direction_is_chosen_with_the_keyboard(tmp_path: Path, size: tuple[int, int]) -> None:
    async with connecting(tmp_path, size) as desk:
        field(desk, "file").focus_line()
        await desk.pilot.press("tab")
        assert isinstance(desk.app.focused, Select)
        for label, mode in DIRECTIONS:
            await desk.pilot.press("enter", "home", *["down"] * [one for _, one in DIRECTIONS].index(mode), "enter")
            await desk.pilot.pause()
            assert direction(desk) is mode
            assert re.search(rf"Direction +{label}", screen_text(desk.app))


async def test_escape_closes_the_list_first(tmp_path: Path) -> None:
    async with connecting(tmp_path) as desk:
        field(desk, "file").focus_line()
        await desk.pilot.press("tab", "enter")
        assert desk.app.screen.query_one(Select).expanded
        await desk.pilot.press("escape")
        await desk.pilot.pause()
        assert [desk.app.screen.query_one(Select).expanded, direction(desk)] == [False, Mode.BOTH]
        assert isinstance(desk.app.focused, Select)


# What is remembered


async def test_the_form_begins_with_the_last_connection(tmp_path: Path) -> None:
    async with connecting(tmp_path, recent=(NAS, DESK)) as desk:
        values = [field(desk, name).value for name in ("address", "folder", "file")]
        assert [*values, direction(desk)] == ["nas:4455", "/", "notes.txt", Mode.PULL]
        await until(desk, lambda: can_start(desk))


async def test_what_is_connected_to_is_remembered_with_its_settings(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        kept: list[list[Recent]] = []
        desk.app.settings.keep = lambda state: kept.append(list(state.recent))
        await fill_all(desk, folder)
        await fill(desk, "file", "a.txt")
        await desk.pilot.press("tab", "enter", "end", "enter", "ctrl+s")
        await until(desk, lambda: kept)
        assert kept == [[Recent("nas:4455", str(folder), "mirror", "a.txt")]]


async def test_a_recent_connection_is_chosen_from_a_list(tmp_path: Path) -> None:
    async with connecting(tmp_path, recent=(NAS, DESK)) as desk:
        await desk.pilot.press("ctrl+l")
        await shown_modal(desk, "RecentModal")
        await says(desk, "nas:4455 / (pull only, only notes.txt)")
        await says(desk, "[::1]:5000 /usr (both ways)")
        await desk.pilot.press("down", "enter")
        await until(desk, lambda: isinstance(desk.app.screen, ConnectScreen))
        values = [field(desk, name).value for name in ("address", "folder", "file")]
        assert [*values, direction(desk)] == ["[::1]:5000", "/usr", "", Mode.BOTH]
        await desk.pilot.press("ctrl+l")
        await shown_modal(desk, "RecentModal")
        await desk.pilot.press("escape")
        await until(desk, lambda: isinstance(desk.app.screen, ConnectScreen))
        assert field(desk, "address").value == "[::1]:5000"


async def test_without_recent_connections_there_is_no_list(tmp_path: Path) -> None:
    async with connecting(tmp_path) as desk:
        await desk.pilot.press("ctrl+l")
        await desk.pilot.pause()
        assert isinstance(desk.app.screen, ConnectScreen)
        assert "Recent" not in screen_text(desk.app).split("\n")[-1]


@pytest.mark.parametrize("size", SIZES)
async def test_the_list_of_recent_connections_fits(tmp_path: Path, size: tuple[int, int]) -> None:
    many = [Recent(f"host{at}{'.example' * 8}:1", f"/{'long/' * 30}{at}", "odd", HOSTILE) for at in range(12)]
    async with hosted(tmp_path / "home", RecentModal([Recent(HOSTILE, HOSTILE), *many]), size) as desk:
        await desk.pilot.pause()
        shown = screen_text(desk.app)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
        assert "a\\x1b[31m" in shown
        assert all(cell_width(line) <= size[0] for line in shown.split("\n"))
        assert desk.app.screen.query_one(OptionList).option_count == 13
        await desk.pilot.press("end")
        await shows(desk, "host11")


async def test_a_mode_that_is_not_there_any_more_is_both_ways(tmp_path: Path) -> None:
    async with connecting(tmp_path, recent=(replace_mode(NAS, "sideways"),)) as desk:
        assert direction(desk) is Mode.BOTH


def replace_mode(recent: Recent, mode: str) -> Recent:
    return Recent(recent.address, recent.folder, mode, recent.file)


async def test_addresses_are_completed() -> None:
    state = UiState()
    suggester = RecentAddresses(state)
    assert await suggester.get_suggestion("n") is None
    state.recent = [Recent("nasty\x1b[m", "/"), NAS, Recent("nas2", "/"), DESK]
    for typed, completed in (("n", "nas:4455"), ("nas2", "nas2"), ("[", "[::1]:5000"), ("x", None)):
        assert await suggester.get_suggestion(typed) == completed


async def test_the_right_arrow_takes_the_completion(tmp_path: Path) -> None:
    async with connecting(tmp_path, recent=(NAS,)) as desk:
        await fill(desk, "address", "NA")
        await shows(desk, "NAs:4455")
        await desk.pilot.press("right")
        await until(desk, lambda: field(desk, "address").value == "nas:4455")


# Preview


async def test_a_preview_changes_nothing_and_can_be_started(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        desk.engine.ending = replace(NOTHING, planned=True)
        await fill_all(desk, folder)
        await desk.pilot.press("ctrl+r")
        await shown_modal(desk, "PreviewModal")
        await until(desk, lambda: "stop 1" in desk.engine.calls)
        options = desk.engine.jobs[1].options
        assert isinstance(options, ConnectOptions)
        assert options.dry_run
        await until(desk, lambda: not desk.app.screen.query_one("#start", Button).disabled)
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: len(desk.engine.jobs) == 2)
        assert desk.engine.jobs[2].options == replace(options, dry_run=False)


async def test_what_became_wrong_while_keys_were_typed_ahead_is_not_previewed(tmp_path: Path) -> None:
    async with played("connect", tmp_path) as stage:
        await stage.burst("ctrl+r", "tab", "t")
        await stage.sees("Address: it cannot be read")
        assert isinstance(stage.app.screen, ConnectScreen)


@pytest.mark.parametrize(("name", "text"), [("address", "a b"), ("streams", "4t"), ("rate", "t")])
@pytest.mark.parametrize("action", ["preview", "start"])
async def test_what_is_wrong_counts_before_it_is_said(
    name: str, text: str, action: str, tmp_path: Path, folder: Path
) -> None:
    async with connecting(tmp_path) as desk:
        await fill_all(desk, folder)
        field(desk, name).line.value = text
        assert can_start(desk)  # still
        assert not await desk.app.run_action(action, desk.app.screen)
        await until(desk, lambda: not can_start(desk))
        assert not desk.engine.jobs


async def test_what_is_started_is_what_the_form_said_then(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        await fill_all(desk, folder)
        assert await desk.app.run_action("start", desk.app.screen)
        field(desk, "streams").value = "4t"
        await until(desk, lambda: desk.engine.jobs)
        options = desk.engine.jobs[1].options
        assert isinstance(options, ConnectOptions)
        assert options.streams == Config("desk").streams


async def test_a_preview_that_is_closed_starts_nothing(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        desk.engine.ending = LOST
        await fill_all(desk, folder)
        await desk.pilot.press("ctrl+r")
        await shown_modal(desk, "PreviewModal")
        await desk.pilot.press("escape")
        await until(desk, lambda: isinstance(desk.app.screen, ConnectScreen))
        await desk.pilot.pause()
        assert len(desk.engine.jobs) <= 1


async def test_what_is_only_previewed_has_no_card(tmp_path: Path) -> None:
    async with connecting(tmp_path) as desk:
        desk.bridge.previewing.add(1)
        await show(desk, CONNECTED, replace(CONNECTED, id=2, folder="/srv/two"))
        assert [card.job.id for card in desk.app.screen.query(JobCard)] == [2]


# The cards


async def test_keys_of_the_card_act_on_its_job(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path) as desk:
        await fill_all(desk, folder)
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        await show(desk, replace(CONNECTED, folder=str(folder)))
        assert isinstance(desk.app.focused, JobCard)
        await desk.pilot.press("p", "n")
        await show(desk, replace(CONNECTED, state=PassState.PAUSED))
        await desk.pilot.press("p")
        assert desk.engine.calls == ["pause 1", "sync 1", "resume 1"]
        await desk.pilot.press("y")
        await toasted(desk, f"copied: {desk.bridge.fingerprint}")
        await desk.pilot.press("x")
        await until(desk, lambda: desk.engine.calls[-1] == "stop 1")


async def test_held_deletes_are_shown_when_there_are_any(tmp_path: Path) -> None:
    async with connecting(tmp_path) as desk:
        await show(desk, CONNECTED)
        await desk.pilot.press("escape", "d")
        await desk.pilot.pause()
        assert isinstance(desk.app.screen, ConnectScreen)
        desk.engine.tell(PassFinished(1, replace(NOTHING, held=("a", "b"))))
        await show(desk, CONNECTED)
        await shows(desk, "! 2 deletes held back (d shows them)")
        await desk.pilot.press("d")
        await shown_modal(desk, "HeldModal")


async def test_what_is_worth_a_look_is_on_the_card(tmp_path: Path) -> None:
    async with connecting(tmp_path) as desk:
        await show(desk, CONNECTED)
        desk.engine.tell(PassFinished(1, replace(NOTHING, notes=(("[b]a\x1b", "the edit came back"),))))
        await show(desk, CONNECTED)
        await shows(desk, "· 1 entry worth a look")
        await shows(desk, "[b]a\\x1b: the edit came back")


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (replace(CONNECTED, state=PassState.CONNECTING, peer=None), "◌ connecting /srv/music"),
        (replace(CONNECTED, state=PassState.SCANNING), "◌ comparing /srv/music"),
        (replace(CONNECTED, state=PassState.COMPARING), "◌ comparing /srv/music"),
        (replace(CONNECTED, state=PassState.TRANSFERRING), "↓ receiving /srv/music"),
        (replace(CONNECTED, state=PassState.ASKING), "? asks you about the other device"),
        (replace(CONNECTED, state=PassState.AWAITING), "◌ waits to be accepted on the other screen"),
        (replace(CONNECTED, state=PassState.PAUSED), "‖ paused /srv/music"),
        (
            replace(CONNECTED, state=PassState.RECONNECTING, retry_in=11.0, reason=str(LOST)),
            "◌ reconnecting in 11 s /srv/music",
        ),
    ],
)
async def test_the_state_is_told_in_words(tmp_path: Path, status: ConnectStatus, shown: str) -> None:
    async with connecting(tmp_path, (80, 24)) as desk:
        await show(desk, status)
        await says(desk, shown)
        if status.reason:
            await says(desk, "because nas:4455 did not answer within 8 s.")


async def test_since_when_it_is_in_sync_and_what_is_left_to_decide(tmp_path: Path) -> None:
    async with connecting(tmp_path, (80, 24)) as desk:
        desk.engine.tell(PassFinished(1, NOTHING))
        await show(desk, CONNECTED)
        await says(desk, f"✓ in sync since {NOW.astimezone():%H:%M:%S} /srv/music (both ways)")
        desk.engine.tell(PassFinished(1, replace(NOTHING, conflicts=(("a", "a.conflict"),))))
        desk.engine.tell(PassFinished(1, NOTHING))
        await show(desk, CONNECTED)
        await says(desk, "! 1 conflict, both versions kept (c decides)")


async def test_a_connection_that_failed_says_why_until_it_is_put_away(tmp_path: Path, folder: Path) -> None:
    async with connecting(tmp_path, (80, 24)) as desk:
        await fill_all(desk, folder)
        await desk.pilot.press("ctrl+s")
        await until(desk, lambda: desk.engine.jobs)
        await show(desk, CONNECTED)
        desk.engine.jobs[1].end.set_exception(LOST)
        await until(desk, lambda: desk.bridge.ended)
        await show(desk)
        await says(desk, f"× failed {desk.bridge.ended[1].folder}"[:30])
        await shows(desk, "nas:4455 did not answer within 8 s. Is `leafsync serve`")
        await shows(desk, "running there, and UDP port 4455 open?")
        assert "Traceback" not in screen_text(desk.app)
        await desk.pilot.press("x")
        await until(desk, lambda: not desk.bridge.ended)
        await show(desk)
        await shows(desk, "Not connected to anything yet.")


async def test_what_serves_is_not_shown_here(tmp_path: Path) -> None:
    async with connecting(tmp_path) as desk:
        desk.bridge.ended[7] = EndedJob(7, "/srv/served", "", LOST)
        await show(desk)
        assert "/srv/served" not in screen_text(desk.app)


@pytest.mark.parametrize("size", SIZES)
async def test_everything_is_reached_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with connecting(tmp_path, size, recent=(NAS,)) as desk:
        await until(desk, lambda: can_start(desk))
        await show(desk, CONNECTED, replace(CONNECTED, id=2, folder="/srv/two"))
        labels = ("Address", "Folder", "File", "Direction", "Streams", "Rate limit", "Accept", "Start")
        await everything_is_reached(desk, "address", labels, ("✓ in sync  /srv/music", "✓ in sync  /srv/two"))


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_are_escaped_and_aligned(tmp_path: Path, size: tuple[int, int]) -> None:
    async with connecting(tmp_path, size) as desk:
        desk.bridge.summaries[1] = replace(NOTHING, problems=((HOSTILE, HOSTILE),))
        peer = replace(PEER, name=HOSTILE)
        await show(desk, ConnectStatus(1, HOSTILE, HOSTILE, PassState.IN_SYNC, file=HOSTILE, reason=HOSTILE, peer=peer))
        await desk.pilot.press("escape")
        await desk.pilot.pause()
        is_escaped_and_fits(desk, SHOWN[:8])


async def test_nothing_is_told_by_colour_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with connecting(tmp_path, (80, 24), recent=(NAS,)) as desk:
        await fill(desk, "streams", "99")
        await show(desk, CONNECTED, replace(CONNECTED, id=2, state=PassState.PAUSED))
        await desk.pilot.press("escape")
        await desk.pilot.pause()
        shown = words(desk.app)
        for text in ("! give a number from 1 to 8", "✓ in sync", "‖ paused"):
            assert text in shown
