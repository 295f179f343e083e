"""stderr: narration, the live area on an emulated terminal, refusals, the log."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from leafsync.diagnostics import (
    MAX_REFUSALS,
    REFUSAL_PERIOD,
    Diagnostics,
    Narrator,
    exit_code_of_signal,
    logging_to,
    root_cause,
    sentence_of,
)
from leafsync.engine.core.events import (
    DeviceTrusted,
    PassFinished,
    PeerConnected,
    PeerLeft,
    PeerRefused,
    Reconnecting,
    Warned,
)
from leafsync.engine.core.status import ConnectStatus, PassState, PassSummary, Snapshot, Totals
from leafsync.errors import ExitCode, FolderMissing, PortInUse
from leafsync.instances import Instance
from leafsync.output import Output
from leafsync.paths import find_paths
from leafsync.progress import Screen
from leafsync.run import Front, Session
from tests.cli.fake_engine import Script

FP = "ab" * 32


class Terminal(io.StringIO):
    """A terminal that understands what the live area uses, and nothing else."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = [""]
        self.cursor = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for piece in re.findall(r"\x1b\[\d*[A-Za-z]|\x1b\[[\d;]+m|\r|\n|[^\x1b\r\n]+", text):
            self._apply(piece)
        return super().write(text)

    def _apply(self, piece: str) -> None:
        if up := re.fullmatch(r"\x1b\[(\d+)A", piece):
            self.cursor -= int(up[1])
            assert self.cursor >= 0
        elif piece == "\x1b[J":
            self.rows[self.cursor :] = [""]
        elif piece == "\n":
            self.cursor += 1
            if self.cursor == len(self.rows):
                self.rows.append("")
        elif piece == "\r" or piece.endswith("m"):
            pass
        else:
            assert not piece.startswith("\x1b"), piece
            self.rows[self.cursor] += piece

    @property
    def screen(self) -> list[str]:
        return self.rows[:-1]


def plain() -> tuple[Diagnostics, io.StringIO]:
    stream = io.StringIO()
    return Diagnostics(stream, {"TERM": "xterm"}), stream


def written(diagnostics: Diagnostics, stream: io.StringIO) -> str:
    diagnostics.flush()
    return stream.getvalue()


# Where the terminal is, and what it may get


@pytest.mark.parametrize(
    ("environ", "live", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": ""}, False, False),
        ({}, False, False),
    ],
)
def test_terminals(environ: dict[str, str], live: bool, coloured: bool) -> None:
    terminal = Terminal()
    diagnostics = Diagnostics(terminal, environ)
    diagnostics.error("broken")
    diagnostics.draw(["area"])
    text = written(diagnostics, terminal)
    assert diagnostics.live is live
    assert ("\x1b[1;31m" in text) is coloured
    assert ("area" in text) is live


def test_no_terminal_never_gets_an_escape() -> None:
    diagnostics, stream = plain()
    diagnostics.warn("careful")
    diagnostics.error("broken")
    diagnostics.draw(["area"])
    assert written(diagnostics, stream) == "leafsync: warning: careful\nleafsync: broken\n"


def test_quiet_keeps_warnings_and_errors() -> None:
    diagnostics, stream = plain()
    diagnostics.narrating = False
    diagnostics.say("hello")
    diagnostics.warn("careful", "  more")
    diagnostics.error("broken")
    assert written(diagnostics, stream) == "leafsync: warning: careful\n  more\nleafsync: broken\n"


# The live area


def test_the_area_stays_below_what_is_said() -> None:
    terminal = Terminal()
    diagnostics = Diagnostics(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
    diagnostics.say("first")
    diagnostics.draw(["a 1", "total 1"])
    diagnostics.flush()
    assert terminal.screen == ["first", "a 1", "total 1"]
    diagnostics.draw(["a 2", "b 2", "total 2"])
    diagnostics.say("second")
    diagnostics.flush()
    assert terminal.screen == ["first", "second", "a 2", "b 2", "total 2"]
    diagnostics.warn("third")
    diagnostics.flush()
    assert terminal.screen == ["first", "second", "leafsync: warning: third", "a 2", "b 2", "total 2"]
    diagnostics.draw([])
    diagnostics.flush()
    assert terminal.screen == ["first", "second", "leafsync: warning: third"]


def test_an_unchanged_area_is_not_written_again() -> None:
    terminal = Terminal()
    diagnostics = Diagnostics(terminal, {"TERM": "xterm"})
    diagnostics.draw(["a"])
    diagnostics.flush()
    before = terminal.getvalue()
    diagnostics.draw(["a"])
    assert not diagnostics.pending
    diagnostics.flush()
    assert terminal.getvalue() == before


def test_a_terminal_made_narrower_is_cleared_by_its_wrapped_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    diagnostics = Diagnostics(terminal, {"TERM": "xterm"})
    diagnostics.draw(["x" * 70, "short"])
    diagnostics.flush()
    monkeypatch.setattr(Diagnostics, "screen", lambda _self: Screen(30, 24))
    terminal.rows = ["x" * 30, "x" * 30, "x" * 10, "short", ""]
    terminal.cursor = 4
    diagnostics.draw([])
    diagnostics.flush()
    assert terminal.screen == []


def test_a_terminal_that_tells_no_size_is_80_by_24() -> None:
    diagnostics, _ = plain()
    screen = diagnostics.screen()
    assert (screen.width, screen.height, screen.unicode) == (80, 24, False)


def test_a_terminal_that_went_away_is_forgotten() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    diagnostics = Diagnostics(Gone(), {})
    for _ in range(2):
        diagnostics.say("hello")
        diagnostics.flush()
    assert not diagnostics.pending


def test_a_closed_stderr_swallows_everything() -> None:
    diagnostics = Diagnostics(None, {"TERM": "xterm"})
    diagnostics.say("hello")
    diagnostics.flush()
    assert not diagnostics.pending


# Errors


def test_exit_codes_of_signals() -> None:
    assert [exit_code_of_signal(number) for number in (1, 2, 15)] == [129, ExitCode.INTERRUPTED, ExitCode.TERMINATED]


def test_our_own_error_is_the_cause_of_a_group() -> None:
    ours = PortInUse(port=1)
    group = BaseExceptionGroup("g", [ValueError(), BaseExceptionGroup("h", [KeyboardInterrupt(), ours])])
    assert root_cause(group) is ours
    assert isinstance(root_cause(ExceptionGroup("g", [ValueError(), OSError()])), ValueError)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FolderMissing(path="/a"), "The folder /a does not exist. Create it, or name another one."),
        (OSError(28, "No space left on device"), "No space left on device."),
        (OSError(28, "No space left on device", "/a\x1b"), "/a\\x1b: No space left on device."),
    ],
)
def test_sentences(error: Exception, sentence: str) -> None:
    assert sentence_of(error) == sentence


def test_an_unexpected_error_is_called_a_fault() -> None:
    assert "KeyError: 'x'" in sentence_of(KeyError("x"))
    assert "fault of LeafSync" in sentence_of(KeyError("x"))


# Narration


def told(*events: object, clock: Callable[[], float] = lambda: 0.0) -> list[str]:
    diagnostics, stream = plain()
    narrator = Narrator(diagnostics)
    for event in events:
        narrator.tell(event, clock())  # type: ignore[arg-type]
    return written(diagnostics, stream).splitlines()


def test_peers_come_and_go() -> None:
    assert told(
        PeerConnected(1, FP, "anna\x1b", "10.0.0.2:5"),
        PeerLeft(1, FP, "10.0.0.2:5", ""),
        PeerConnected(1, FP, "anna", "10.0.0.2:6", "d/f\x1b"),
        PeerLeft(1, FP, "10.0.0.2:6", "it went\x07 away"),
        PeerLeft(1, FP, "10.0.0.9:9", ""),
    ) == [
        "connected: anna\\x1b (10.0.0.2:5)",
        "disconnected: anna\\x1b (10.0.0.2:5)",
        "connected: anna (10.0.0.2:6), which offers d/f\\x1b alone",
        "disconnected: anna (10.0.0.2:6): it went\\x07 away",
        "disconnected: a device (10.0.0.9:9)",
    ]


def test_a_refused_device_comes_with_the_command_that_trusts_it() -> None:
    assert told(PeerRefused(1, FP, "10.0.0.2:5", "not trusted\x1b")) == [
        "refused: 10.0.0.2:5: not trusted\\x1b",
        f"  if `leafsync id` there shows this fingerprint, let it in with: leafsync trust add {FP}",
    ]


def test_a_reason_that_has_the_command_already_is_enough() -> None:
    (line,) = told(PeerRefused(1, FP, "10.0.0.2:5", f"run: leafsync trust add {FP}"))
    assert line.count(FP) == 1


def test_a_device_without_a_key_has_no_command() -> None:
    assert told(PeerRefused(1, "", "10.0.0.2:5", "no certificate")) == ["refused: 10.0.0.2:5: no certificate"]


def test_refusals_cannot_fill_the_log() -> None:
    diagnostics, stream = plain()
    narrator = Narrator(diagnostics)
    for number in range(1000):
        narrator.tell(PeerRefused(1, "", f"h:{number}", "x"), number / 1000)
    assert len(written(diagnostics, stream).splitlines()) == MAX_REFUSALS
    narrator.tell(PeerRefused(1, "", "late", "x"), REFUSAL_PERIOD + 1)
    assert written(diagnostics, stream).splitlines()[MAX_REFUSALS:] == [
        f"refused: {1000 - MAX_REFUSALS} more, not listed",
        "refused: late: x",
    ]


def test_other_events() -> None:
    trusted, retry, warned = told(
        DeviceTrusted(1, FP, "anna", "10.0.0.2:5", "accept-first"),
        Reconnecting(1, 2.0, "nas did not answer."),
        Warned(1, "look\x1b out"),
    )
    assert FP in trusted
    assert "accept-first" in trusted
    assert retry == "not connected: nas did not answer; next attempt in 2 s"
    assert warned == "leafsync: warning: look\\x1b out"


NOTHING = PassSummary(Totals(), 0.1)
SOMETHING = PassSummary(Totals(files=1, files_done=1), 0.1)
PROBLEM = PassSummary(Totals(), 0.1, problems=(("a", "busy"),))


@pytest.mark.parametrize(
    ("summaries", "count"),
    [
        ([NOTHING], 1),
        ([NOTHING, NOTHING, NOTHING], 1),
        ([NOTHING, SOMETHING, SOMETHING], 3),
        ([PROBLEM, PROBLEM], 1),
        ([PROBLEM, NOTHING, PROBLEM], 3),
    ],
)
def test_repeated_passes_are_told_when_something_is_new(summaries: list[PassSummary], count: int) -> None:
    diagnostics, stream = plain()
    narrator = Narrator(diagnostics)
    for summary in summaries:
        narrator.finished(summary)
    assert written(diagnostics, stream).count("in sync: ") == count


# The pace of a run


def session(diagnostics: Diagnostics, output: Output) -> Session:
    return Session([], find_paths({"LEAFSYNC_HOME": "/h"}), output, diagnostics, Script().factory())


def moving(done: int) -> Snapshot:
    totals = Totals(files=1, bytes=1000, bytes_done=done, fetched=done)
    return Snapshot(done, connecting=(ConnectStatus(1, "/f", "nas:1", PassState.TRANSFERRING, totals=totals),))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_a_second_without_a_terminal() -> None:
    clock = Clock()
    diagnostics, stream = plain()
    front = Front(session(diagnostics, Output(None)), clock)
    for tenth in range(31):
        clock.now = 100 + tenth / 10
        front.tick(moving(tenth * 10))
    front.flush()
    assert stream.getvalue().splitlines() == [
        "transferring: 0 %, --, -- left, 0 B of 1.0 kB, 0 of 1 file",
        "transferring: 10 %, 100 B/s, 0:09 left, 100 B of 1.0 kB, 0 of 1 file",
        "transferring: 20 %, 100 B/s, 0:08 left, 200 B of 1.0 kB, 0 of 1 file",
        "transferring: 30 %, 100 B/s, 0:07 left, 300 B of 1.0 kB, 0 of 1 file",
    ]


def test_a_json_line_a_second_and_only_while_transferring() -> None:
    clock = Clock()
    diagnostics, stream = plain()
    diagnostics.narrating = False
    data = io.StringIO()
    front = Front(session(diagnostics, Output(data, json=True)), clock)
    for tenth in range(21):
        clock.now = 100 + tenth / 10
        front.tick(moving(tenth * 10))
    clock.now = 200
    front.tick(Snapshot(99, connecting=(ConnectStatus(1, "/f", "nas:1", PassState.IN_SYNC),)))
    front.flush()
    assert data.getvalue().count('"type":"progress"') == 3
    assert data.getvalue().count("\n") == 3
    assert stream.getvalue() == ""


def test_at_most_ten_pictures_a_second_on_a_terminal() -> None:
    clock = Clock()
    terminal = Terminal()
    front = Front(session(Diagnostics(terminal, {"TERM": "xterm"}), Output(None)), clock)
    for millisecond in range(1000):
        clock.now = 100 + millisecond / 1000
        front.tick(moving(millisecond))
        front.flush()
    assert terminal.getvalue().count("\x1b[J") <= 10
    assert len(terminal.screen) == 1


def test_the_live_area_says_when_a_pass_has_left_something() -> None:
    clock, terminal = Clock(), Terminal()
    front = Front(session(Diagnostics(terminal, {"TERM": "xterm"}), Output(None)), clock)
    for held, shown in (((), "in sync with nas:1"), (("a",), "partly in sync with nas:1"), ((), "in sync with nas:1")):
        front.event(PassFinished(1, PassSummary(Totals(), 0.1, held=held)))
        clock.now += 1
        front.tick(Snapshot(1, connecting=(ConnectStatus(1, "/f", "nas:1", PassState.IN_SYNC),)))
        front.flush()
        assert terminal.screen[-1] == shown


def test_events_show_at_once_whatever_the_pace() -> None:
    diagnostics, stream = plain()
    front = Front(session(diagnostics, Output(None)), Clock())
    front.event(PassFinished(1, NOTHING))
    front.flush()
    assert stream.getvalue().startswith("in sync")


# The log


def logged(verbose: int, *, narrating: bool = True) -> str:
    diagnostics, stream = plain()
    diagnostics.verbose, diagnostics.narrating = verbose, narrating
    with logging_to(diagnostics):
        for name in ("leafsync.net", "quic"):
            for level in ("debug", "info", "warning", "error"):
                getattr(logging.getLogger(name), level)("%s-%s\x1b[2J", name, level)
    return written(diagnostics, stream)


@pytest.mark.parametrize(
    ("verbose", "narrating", "expected"),
    [
        (0, True, ["leafsync.net-warning", "leafsync.net-error", "quic-error"]),
        (0, False, ["leafsync.net-error", "quic-error"]),
        (1, True, ["leafsync.net-info", "leafsync.net-warning", "leafsync.net-error", "quic-warning", "quic-error"]),
    ],
)
def test_levels(verbose: int, narrating: bool, expected: list[str]) -> None:
    text = logged(verbose, narrating=narrating)
    assert re.findall(r"(?:leafsync\.net|quic)-\w+", text) == expected
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_vv_has_our_details_and_not_the_transports() -> None:
    text = logged(2)
    assert "leafsync.net-debug" in text
    assert "quic-info" not in text


def test_a_traceback_needs_v() -> None:
    for verbose, lines in ((0, 1), (1, 4)):
        diagnostics, stream = plain()
        diagnostics.verbose = verbose
        with logging_to(diagnostics):
            try:
                raise ValueError("boom\x1b[2J")
            except ValueError:
                logging.getLogger("leafsync.x").exception("failed")
        text = written(diagnostics, stream)
        assert ("Traceback" in text) is (verbose > 0)
        assert len(text.splitlines()) >= lines
        assert "\x1b" not in text


def test_warnings_go_to_the_log_and_everything_is_put_back() -> None:
    before = (logging.getLogger().level, list(logging.getLogger().handlers), warnings.showwarning)
    diagnostics, stream = plain()
    with logging_to(diagnostics), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").warning("old thing")
    assert "old thing" in written(diagnostics, stream)
    assert (logging.getLogger().level, list(logging.getLogger().handlers), warnings.showwarning) == before


# What other processes are told


class Kept(Instance):
    """Keeps states in memory."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.states: list[Mapping[str, Any]] = []

    def write(self, state: Mapping[str, Any]) -> None:
        self.states.append(state)


def test_the_state_is_kept_once_a_second_and_only_when_it_changed() -> None:
    clock, kept = Clock(), Kept()
    diagnostics, _ = plain()
    front = Front(session(diagnostics, Output(None)), clock, instance=kept)
    front.tick(Snapshot(0))
    front.flush()
    assert kept.states == []
    for tenth in range(1, 42):
        clock.now = 100 + tenth / 10
        front.tick(moving(min(tenth, 20)))
        front.flush()
    done = [state["jobs"][0]["bytes_done"] for state in kept.states]
    assert done[0] == 10
    assert done[-1] == 20
    assert len(done) <= 4
    for second in range(105, 120):
        clock.now = second
        front.tick(moving(20))
        front.flush()
    settled = len(kept.states)
    clock.now = 130
    front.tick(moving(20))
    assert not front.pending
    front.event(PassFinished(1, PROBLEM))
    clock.now = 131
    front.tick(moving(20))
    front.flush()
    assert len(kept.states) == settled + 1
    assert kept.states[-1]["jobs"][0]["problems"] == 1
