"""What cards say of jobs: the right words, no line wider than the card, nothing from outside raw."""

from datetime import date, timedelta

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace
from textual.content import Content

from leafsync.bridge import (
    ConnectStatus,
    EndedJob,
    Mode,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    Totals,
)
from leafsync.errors import ConnectTimedOut, PeerUnknown
from leafsync.progress import cell_width
from leafsync.text import printable
from leafsync.widgets.job_lines import (
    MAX_ADDRESSES,
    MAX_PEERS,
    MAX_PROBLEMS,
    MODES,
    NO_FIGURES,
    NOTHING_KNOWN,
    STATES,
    Figures,
    Known,
    connect_lines,
    ended_lines,
    serve_lines,
)
from tests.support.ui import NOW

KEY = "0123456789abcdef" * 4
WIDTHS = [33, 46, 54, 74, 134]
"""Cells of a card on screens of 40, 60, 80, 120 and 200 columns, about."""

HOSTILE = "a\x1b[31m\u202e[b]\n日本e\u0301"
PEER = PeerStatus("ab" * 32, "laptop", "192.168.1.23:51234", "sending")
SERVING = ServeStatus(1, "/home/anna/Music", 4455, ("10.0.0.2:4455", "[2001:db8::1]:4455"), read_only=False)
CONNECTED = ConnectStatus(1, "/home/anna/Music", "nas:4455", PassState.IN_SYNC, peer=replace(PEER, name="nas"))
MOVING = replace(
    CONNECTED,
    state=PassState.TRANSFERRING,
    totals=Totals(files=120, files_done=30, bytes=10**9, bytes_done=3 * 10**8),
)
TODAY = NOW.astimezone().date()
NOTHING = PassSummary(Totals(), 0.1)

texts = st.one_of(st.text(max_size=60), st.sampled_from([HOSTILE, "x" * 2000, "日" * 200, ""]))
peers = st.builds(PeerStatus, st.just(KEY), texts, texts, texts)


def plain(lines: list[Content]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def served(job: ServeStatus = SERVING, width: int = 74, figures: Figures = NO_FIGURES) -> list[str]:
    return plain(serve_lines(job, figures, KEY, width))


def connected(
    job: ConnectStatus = CONNECTED,
    known: Known = NOTHING_KNOWN,
    width: int = 74,
    figures: Figures = NO_FIGURES,
    today: date = TODAY,
) -> list[str]:
    return plain(connect_lines(job, figures, known, today, width))


# Serving


def test_a_served_folder_says_what_the_other_machine_needs() -> None:
    assert served(replace(SERVING, files=12_345, bytes=123_456_789)) == [
        "● serving  /home/anna/Music",
        "  address     10.0.0.2:4455",
        "              [2001:db8::1]:4455",
        "  fingerprint 0123 4567 89ab cdef 0123 4567 89ab cdef",
        "              0123 4567 89ab cdef 0123 4567 89ab cdef",
        "  holds       12,345 files, 123.5 MB",
        "  ○ nobody is connected",
    ]


def test_what_is_special_about_it_is_said() -> None:
    assert served(replace(SERVING, read_only=True))[0] == "● serving  /home/anna/Music  (read-only)"
    both = replace(SERVING, read_only=True, file="a/notes.txt")
    assert served(both)[0] == "● serving  /home/anna/Music  (read-only, only a/notes.txt)"
    assert served(both, 46)[:2] == ["● serving  /home/anna/Music", "  mode        read-only, only a/notes.txt"]
    assert served(replace(SERVING, paused=True))[0].startswith("‖ paused  ")


def test_nothing_is_said_of_files_before_they_were_read() -> None:
    assert "  holds       not looked at yet" in served()
    assert "  holds       0 files, 0 B" in served(replace(SERVING, files=0))
    assert "  holds       1 file, 0 B" in served(replace(SERVING, files=1))


def test_problems_are_counted() -> None:
    assert "  ! 1 entry cannot be synced" in served(replace(SERVING, problems=1))
    assert "  ! 1,234 entries cannot be synced" in served(replace(SERVING, problems=1234))


def test_devices_stand_in_columns_with_what_they_do() -> None:
    others = (PEER, PeerStatus(KEY, "nas", "10.0.0.2:1", "in sync"), PeerStatus(KEY, "日本", "[::1]:5", "receiving"))
    lines = served(replace(SERVING, peers=others), figures=Figures(peers=(3_400_000.0, None, 0.0)))
    assert lines[-3:] == [
        "  ● laptop  192.168.1.23:51234  sending, 3.4 MB/s",
        "  ● nas     10.0.0.2:1          in sync",
        "  ● 日本    [::1]:5             receiving",
    ]


def test_what_a_device_does_is_seen_where_its_address_must_be_cut() -> None:
    long = PeerStatus(KEY, "x" * 64, "[2001:db8:1111:2222:3333:4444:5555:6666]:51234", "sending")
    for width in WIDTHS[1:]:
        assert "sending" in served(replace(SERVING, peers=(long,)), width)[-1]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "  ● laptop  192.168.1.23:51234  receiving, 23.0 MB/s"),
        (47, "  ● laptop  192.16…:51234  receiving, 23.0 MB/s"),
        (45, "  ● laptop  receiving, 23.0 MB/s"),
        (32, "  ● laptop  receiving, 23.0 MB/s"),
        (28, "  ● laptop  receiving"),
    ],
)
def test_what_a_device_does_is_whole_before_its_address_is_shown(width: int, line: str) -> None:
    job = replace(SERVING, peers=(replace(PEER, activity="receiving"),))
    assert served(job, width, Figures(peers=(23e6,)))[-1] == line


def test_nothing_of_a_device_is_cut_twice() -> None:
    job = replace(SERVING, peers=(PEER, replace(PEER, name="studio of a long name", address="[2001:db8::5]:40112")))
    for width in range(36, 100):
        for shown in served(job, width, Figures(peers=(23e6, None)))[-2:]:
            name, *others = shown.removeprefix("  ● ").split("  ")
            assert all(column.count("…") <= 1 for column in (name, *others)), (width, shown)
            assert others[-1].strip() in ("sending, 23.0 MB/s", "sending"), (width, shown)


def test_many_devices_and_addresses_are_counted() -> None:
    many = replace(SERVING, peers=(PEER,) * (MAX_PEERS + 1_000), addresses=("10.0.0.2:1",) * (MAX_ADDRESSES + 5))
    lines = served(many)
    assert lines[-1] == "    and 1,000 more"
    assert sum("192.168.1.23" in line for line in lines) == MAX_PEERS
    assert sum("10.0.0.2:1" in line for line in lines) == MAX_ADDRESSES


@pytest.mark.parametrize("width", range(24, 140))
def test_the_fingerprint_is_whole_at_every_width(width: int) -> None:
    lines = served(width=width)
    begin = next(at for at, line in enumerate(lines) if "fingerprint" in line)
    end = next(at for at, line in enumerate(lines) if "holds" in line)
    shown = " ".join(line[14:] for line in lines[begin:end])
    assert shown.replace(" ", "") == KEY
    assert all(len(group) == 4 for group in shown.split())


# Connecting


@pytest.mark.parametrize("state", list(PassState))
def test_every_state_has_a_glyph_and_words(state: PassState) -> None:
    glyph, word, _colour = STATES[state]
    assert connected(replace(CONNECTED, state=state))[0].startswith(f"{glyph} {word}")


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_has_words(mode: Mode) -> None:
    assert connected(replace(CONNECTED, mode=mode))[0].endswith(f"({MODES[mode]})")


def test_whom_it_is_connected_to() -> None:
    assert connected() == ["✓ in sync  /home/anna/Music  (both ways)", "  with        nas at nas:4455"]
    assert connected(replace(CONNECTED, peer=None))[1] == "  with        nas:4455"
    assert connected(replace(CONNECTED, peer=replace(PEER, name="")))[1] == "  with        nas:4455"


def test_since_when_it_is_in_sync() -> None:
    local = NOW.astimezone()
    assert f"✓ in sync since {local:%H:%M:%S}  " in connected(known=Known(NOTHING, NOW))[0]
    assert (
        f"✓ in sync since {local:%Y-%m-%d %H:%M}  "
        in connected(known=Known(NOTHING, NOW), today=TODAY + timedelta(days=2))[0]
    )
    reconnecting = replace(CONNECTED, state=PassState.RECONNECTING)
    assert "since" not in connected(reconnecting, Known(NOTHING, NOW))[0]


def test_when_it_is_tried_again_and_why() -> None:
    reason = str(ConnectTimedOut(address="nas:4455", seconds=8, port=4455))
    job = replace(CONNECTED, state=PassState.RECONNECTING, peer=None, retry_in=11.6, reason=reason)
    assert connected(job, width=54) == [
        "◌ reconnecting in 12 s  /home/anna/Music  (both ways)",
        "  with        nas:4455",
        "  because     nas:4455 did not answer within 8 s. Is",
        "              `leafsync serve` running there, and UDP",
        "              port 4455 open?",
    ]


def test_how_far_it_is() -> None:
    lines = connected(MOVING, width=100, figures=Figures(rate=3_400_000.0, eta=206.0))
    assert lines[0].startswith("↓ receiving  ")
    assert lines[2] == f"  {'━' * 9}{'─' * 21}   30 %  3.4 MB/s  3:26 left  300.0 MB of 1.0 GB  30 of 120 files"
    assert connected(replace(MOVING, state=PassState.SENDING))[0].startswith("↑ sending  ")


def test_what_is_not_known_yet_is_not_said() -> None:
    begun = connected(MOVING, width=100)[2]
    assert begun == f"  {'━' * 9}{'─' * 21}   30 %  300.0 MB of 1.0 GB  30 of 120 files"
    assert connected(MOVING, width=60)[2].endswith("   30 %  300.0 MB of 1.0 GB")
    stalled = connected(MOVING, width=100, figures=Figures(rate=0.0))[2]
    assert "  30 %  0 B/s  300.0 MB" in stalled
    assert "--" not in begun + stalled


def test_the_most_important_figures_stay_on_a_narrow_card() -> None:
    figures = Figures(rate=3_400_000.0, eta=206.0)
    assert connected(MOVING, width=33, figures=figures)[-1] == f"  {'━' * 3}{'─' * 8}   30 %  3.4 MB/s"
    assert "3:26 left" in connected(MOVING, width=46, figures=figures)[-1]


@pytest.mark.parametrize("done", [0, 1, 10**9 - 1, 10**9])
def test_a_bar_is_full_only_at_the_end(done: int) -> None:
    bar = connected(replace(MOVING, totals=replace(MOVING.totals, bytes_done=done)))[2]
    assert ("─" not in bar) is (done == 10**9)
    assert ("━" not in bar) is (done <= 1)


# What waits for a decision


def test_what_waits_for_a_decision_is_said_with_its_key() -> None:
    summary = replace(NOTHING, held=("a", "b"), remote_held=("c",), problems=(("d", "busy"),), remote_problems=1)
    assert connected(known=Known(summary, None, 2))[2:] == [
        "  ! 2 conflicts, both versions kept (c decides)",
        "  ! 3 deletes held back (d shows them)",
        "  ! 2 entries could not be synced",
        "    d: busy",
    ]
    assert connected(known=Known(summary))[0].startswith("! partly in sync  ")


def test_conflicts_are_said_until_they_are_decided() -> None:
    lines = connected(known=Known(NOTHING, NOW, conflicts=1))
    assert lines[0].startswith("✓ in sync since")
    assert lines[2:] == ["  ! 1 conflict, both versions kept (c decides)"]
    assert connected(known=Known(NOTHING, NOW))[2:] == []


def test_the_first_problems_are_named_and_their_reasons_seen() -> None:
    problems = tuple((f"{'long/' * 30}{at}", "the name contains control characters") for at in range(MAX_PROBLEMS + 5))
    lines = connected(known=Known(replace(NOTHING, problems=problems)), width=60)
    assert len(lines) == 2 + 1 + MAX_PROBLEMS
    assert all(line.endswith(": the name contains control characters") for line in lines[3:])


def test_what_is_worth_a_look_is_said_and_is_no_warning() -> None:
    note = "edited here, deleted there: the edit came back"
    lines = connected(known=Known(replace(NOTHING, notes=((f"{'long/' * 30}a", note), ("b", note))), NOW))
    assert lines[0].startswith("✓ in sync since")
    assert lines[2] == "  · 2 entries worth a look"
    assert len(lines) == 5
    assert all(line.endswith(f": {note}") for line in lines[3:])
    many = tuple((str(at), note) for at in range(MAX_PROBLEMS + 5))
    assert len(connected(known=Known(replace(NOTHING, notes=many)))) == 2 + 1 + MAX_PROBLEMS


# Ended


def test_why_a_job_ended() -> None:
    error = PeerUnknown(address="nas:4455", fingerprint=KEY)
    lines = plain(ended_lines(EndedJob(1, "/f", "nas:4455", error), 54))
    assert lines[:2] == ["× failed  /f", "  with        nas:4455"]
    assert lines[-1] == "  x puts this away"
    said = "".join(line[14:] for line in lines[2:-1]).replace(" ", "")
    assert said == str(error).replace(" ", "")  # the fingerprint is there to be copied, whole


def test_a_job_that_is_done_has_nothing_to_explain() -> None:
    assert plain(ended_lines(EndedJob(1, "/f", "", None), 54)) == ["✓ done  /f", "  x puts this away"]


# Layout


def checked(lines: list[Content], width: int) -> None:
    """Nothing is wider than the card, and nothing could harm the terminal."""
    for line in lines:
        assert "\n" not in line.plain
        assert cell_width(line.plain) <= max(width, 24), line.plain
        assert printable(line.plain.replace("\\", "")) == line.plain.replace("\\", "")


@given(st.sampled_from(WIDTHS), texts, texts, st.lists(peers, max_size=3), st.booleans())
def test_any_served_folder_fits(width: int, folder: str, file: str, others: list[PeerStatus], paused: bool) -> None:
    addresses = tuple(peer.address for peer in others)
    job = replace(SERVING, folder=folder, file=file, peers=tuple(others), addresses=addresses, paused=paused)
    checked(serve_lines(job, Figures(peers=(1e9,) * len(others)), KEY, width), width)


@given(
    st.sampled_from(WIDTHS),
    st.sampled_from(list(PassState)),
    st.sampled_from(list(Mode)),
    st.tuples(texts, texts, texts, texts),
    st.none() | peers,
    st.integers(0, 10**15),
)
def test_any_connection_fits(
    width: int, state: PassState, mode: Mode, said: tuple[str, str, str, str], peer: PeerStatus | None, size: int
) -> None:
    folder, address, file, reason = said
    job = ConnectStatus(1, folder, address, state, mode, file, reason, peer, Totals(bytes=size, bytes_done=size // 2))
    summary = replace(
        NOTHING, held=("a",) * 10_000, problems=((folder, reason), (file, address)), notes=((file, reason),)
    )
    checked(connect_lines(job, Figures(1e9, 1e5), Known(summary, NOW, 10_000), TODAY, width), width)


@given(st.sampled_from(WIDTHS), texts, texts)
def test_any_end_fits(width: int, folder: str, address: str) -> None:
    error = ConnectTimedOut(address=address, seconds=8, port=4455)
    checked(ended_lines(EndedJob(1, folder, address, error), width), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_folder_is_always_there(width: int) -> None:
    for state in PassState:
        job = replace(CONNECTED, state=state, folder="/srv/music", mode=Mode.MIRROR, file="a.txt")
        lines = connected(job, Known(None, NOW), width)
        assert any("/srv/music" in line for line in lines[:2])
        assert any("mirror, only a.txt" in line for line in lines[:3])


@given(st.text(max_size=300), st.integers(10, 80))
def test_a_reason_is_never_cut(reason: str, width: int) -> None:
    job = replace(CONNECTED, state=PassState.RECONNECTING, reason=f"!{reason}!")
    lines = connect_lines(job, NO_FIGURES, NOTHING_KNOWN, TODAY, width + 14)
    at = next(index for index, line in enumerate(lines) if line.plain.startswith("  because"))
    said = "".join(line.plain[14:] for line in lines[at:])
    assert said.replace(" ", "") == printable(job.reason).replace(" ", "")
