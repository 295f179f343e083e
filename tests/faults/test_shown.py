"""Text from outside as people see it: on stdout and stderr, as JSON, in the log, and on every screen of the app."""

import io
import json
import logging
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from wcwidth import wcswidth

from leafsync import tui
from leafsync.bridge import (
    ActionKind,
    ActionRecord,
    ConflictCopy,
    PassRecord,
    PassSummary,
    Snapshot,
    Totals,
    Undone,
)
from leafsync.cli import main
from leafsync.diagnostics import Diagnostics, logging_to
from leafsync.engine.core.events import Event, PeerLeft
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.messages import (
    Changed,
    DigestRequest,
    Hello,
    Refusal,
    RefusalKind,
    Unready,
    Welcome,
    control_replies,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import TransferState, TransferStatus
from leafsync.engine.net.trust import TrustStore
from leafsync.errors import FolderUnready, LeafSyncError, PeerClosed, UsageError
from leafsync.output import Output
from leafsync.paths import find_paths
from leafsync.progress import Progress, Screen
from leafsync.run import Front, Session, make_engine
from leafsync.standing import Standing
from leafsync.text import printable
from tests.faults.cases import Case
from tests.support import cast
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.harm import (
    BIDI,
    CONTROL,
    MARKUP,
    Look,
    Shown,
    evil_start,
    forms,
    harmless,
    looked_at,
    moving,
    windows,
)
from tests.support.hostile import Talk, link_entry, pull_from, says
from tests.support.names import GOOD, HASH, OLD, Attacked, both_ways, skipped, stays_here
from tests.support.stage import staged
from tests.support.ui import NOW, screen_text

TITLE = "Names as they are shown"

pytestmark = pytest.mark.usefixtures("bystanders")

ESCAPED = "wherever text from outside is shown or logged, it is escaped; in JSON it is what it was, as an escape"

CASES = (
    Case(
        7,
        "control characters in a name, a device's name, an error or a reason",
        f"a name with one does not travel: as in case 1, and a file here stays here; {ESCAPED}",
    ),
    Case(
        8,
        "characters that turn the direction of text, or break lines",
        f"as in case 7; {ESCAPED}",
    ),
    Case(
        19,
        "emoji, combining characters, wide ones, scripts from right to left",
        "ordinary names, shown as they are; lines are measured in cells and cut in the middle, with a mark",
    ),
    Case(20, "markup in a name or a reason", "shown as it is: nothing on the screen or in the log reads markup"),
)


# Names that do not travel


async def test_case_07_control_characters_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "\x1b[31m", "a\nb", "\x7f", "\x80\x9f", "\r")


async def test_case_07_control_characters_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("\x1b[31m", "a\nb/c", "\x9b2J")


async def test_case_07_control_characters_on_the_disk(pair: Pair) -> None:
    await stays_here(pair, "\x1b]0;owned\x07", "a\nb", "\x9b", " \x7f")


async def test_case_08_directions_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "gpj.\u202eexe", "\u2066", "a\u2028", "\u2029", "\u2069")


async def test_case_08_directions_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("gpj.\u202eexe", "\u2066/x", "a\u2028")


async def test_case_08_directions_on_the_disk(pair: Pair) -> None:
    await stays_here(pair, *(chr(code) for code in (0x202A, 0x202B, 0x202D, 0x2067, 0x2068, 0x2028)))


# A peer that says such things, and what a run makes of it


async def said_by_a_server(client: Device, hostile: MakeHostile, evil: str) -> tuple[list[Event], list[LeafSyncError]]:
    """Meet a server that puts a text wherever it may say something; return what that made the engine say."""
    server = await hostile({"good": GOOD})
    client.engine.trust.remove(server.identity.fingerprint)
    client.engine.trust.add(server.identity.fingerprint, confirmed="test")
    server.hello = says(Welcome(1, [], evil, evil, "0" * 32, True))
    refusals = [Refusal("mine", RefusalKind.FAILED, evil), Refusal(evil, RefusalKind.CHANGED, evil)]
    server.change = says(Changed(refusals, True))
    bad = [Entry(evil, Kind.FILE, 3, hash=HASH), Entry("held", Kind.WITHHELD, target=evil), link_entry("link", evil)]
    server.folder.listings[""] = sorted([*bad, *server.folder.listings[""]], key=lambda entry: entry.name)
    client.write("mine", "mine", mtime=OLD)
    await pull_from(client, server, mode=Mode.BOTH)
    assert client.read("good") == GOOD
    errors: list[LeafSyncError] = []

    async def leave(talk: Talk, _request: DigestRequest) -> None:
        talk.connection.close(1, evil)

    for answer, expected in ((says(Unready(evil)), FolderUnready), (leave, PeerClosed)):
        server.digest = answer
        with pytest.raises(expected) as raised:
            await pull_from(client, server, mode=Mode.BOTH)
        errors.append(raised.value)
    return client.events, errors


async def said_by_a_client(attacked: Attacked, evil: str) -> list[Event]:
    """Have a client say it: what it is called, what it asks for, why it leaves."""
    device = attacked.pair.server
    device.engine.trust.remove(attacked.identity.fingerprint)
    device.engine.trust.add(attacked.identity.fingerprint, confirmed="test")
    async with attacked.attacker() as attacker:
        talk = await attacker.open()
        await talk.say(Hello([1], [evil], evil, evil))
        welcome = await talk.hear(control_replies)
        assert isinstance(welcome, Welcome)
        attacker.connection.close(1, evil)
        await until(lambda: bool(device.seen(PeerLeft)))
    return device.events


class Run:
    """Where a headless run writes."""

    def __init__(self, home: Path, *, as_json: bool = False, verbose: int = 0) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.diagnostics = Diagnostics(self.err, {})
        self.diagnostics.verbose = verbose
        self.diagnostics.narrating = not as_json
        paths = find_paths({"LEAFSYNC_HOME": str(home)})
        session = Session(["connect"], paths, Output(self.out, json=as_json), self.diagnostics, make_engine)
        self.front = Front(session, lambda: 0.0, folder="folder")

    def tell(self, events: list[Event], errors: list[LeafSyncError]) -> None:
        for event in events:
            self.front.event(event)
        for error in errors:
            self.diagnostics.report(error)
            self.front.output.error("error", str(error), 1)
        self.front.flush()


def read_by_people(home: Path, events: list[Event], errors: list[LeafSyncError], evil: str) -> str:
    """Expect what a run says for people to be harmless, and to have the text where it was; return it."""
    said = ""
    for verbose in (0, 2):
        run = Run(home, verbose=verbose)
        run.tell(events, errors)
        said += run.err.getvalue()
    assert harmless(said)
    assert printable(evil) in said or printable(printable(evil)) in said
    return said


def read_by_programs(home: Path, events: list[Event], errors: list[LeafSyncError], evil: str) -> None:
    """Expect JSON to be of plain characters, a line each, and to hold the text as it was."""
    run = Run(home, as_json=True)
    run.tell(events, errors)
    lines = run.out.getvalue().splitlines()
    assert all(set(map(ord, one)) <= set(range(0x20, 0x7F)) for one in lines)
    records = [json.loads(one) for one in lines]
    assert all(record["v"] == 1 for record in records)
    assert any(_has(record, evil) for record in records)
    assert harmless(run.err.getvalue())


def _has(value: object, text: str) -> bool:
    """Say whether some value in a JSON record is this text."""
    if isinstance(value, dict):
        return any(_has(inner, text) for inner in value.values())
    if isinstance(value, list):
        return any(_has(inner, text) for inner in value)
    return value == text


async def a_server_says(client: Device, hostile: MakeHostile, text: str, told: str) -> None:
    events, errors = await said_by_a_server(client, hostile, text)
    assert told in read_by_people(client.home, events, errors, text)
    read_by_programs(client.home, events, errors, text)


async def a_client_says(attacked: Attacked, text: str) -> None:
    """It is not called what it calls itself when that can be no name; why it left is told."""
    events = await said_by_a_client(attacked, text)
    said = read_by_people(attacked.pair.server.home, events, [], text)
    assert "connected: device-" in said
    assert "disconnected: device-" in said


async def test_case_07_what_a_server_says(client: Device, hostile: MakeHostile) -> None:
    await a_server_says(client, hostile, CONTROL, f"    {printable(CONTROL)}: the name contains control characters\n")


async def test_case_07_what_a_client_says(attacked: Attacked) -> None:
    await a_client_says(attacked, CONTROL)


async def test_case_08_what_a_server_says(client: Device, hostile: MakeHostile) -> None:
    await a_server_says(client, hostile, BIDI, f"    {printable(BIDI)}: the name contains control characters\n")


async def test_case_08_what_a_client_says(attacked: Attacked) -> None:
    await a_client_says(attacked, BIDI)


async def test_case_20_what_a_server_says(client: Device, hostile: MakeHostile) -> None:
    await a_server_says(client, hostile, MARKUP, f"    {MARKUP}: the name contains a slash")


async def test_case_20_names_travel(pair: Pair) -> None:
    await both_ways(pair, ["[red]x", "[", "]", "[@click=app.quit]y", "[]", "$x{y}%s", "&lt;b&gt;"])


def live_area(evil: str, width: int) -> list[str]:
    """Return what is drawn on a terminal while files of this name move, with a device of this name."""
    moving = TransferStatus(evil, 100, 50, TransferState.ACTIVE)
    failed = TransferStatus(f"2{evil}", 100, 50, TransferState.FAILED, evil)
    nas = cast.peer(evil, evil, evil)
    state = replace(cast.transferring(), peer=nas, transfers=(moving, failed), folder=evil, address=evil)
    again = replace(cast.reconnecting(), reason=evil, folder=evil, address=evil)
    serving = replace(cast.serving(), folder=evil, peers=(nas,))
    progress = Progress()
    progress.observe(Snapshot(1, (serving,), (state, again)), 0.0)
    return progress.area(Screen(width, 40))


@pytest.mark.parametrize("width", [200, 80, 20])
def test_case_07_the_live_area(width: int) -> None:
    text = "\n".join(live_area(CONTROL, width))
    assert harmless(text)
    assert text.count(r"\x1b]0") >= (6 if width == 200 else 1)


@pytest.mark.parametrize("width", [200, 80, 20])
def test_case_08_the_live_area(width: int) -> None:
    text = "\n".join(live_area(BIDI, width))
    assert harmless(text)
    assert width < 200 or text.count(r"gpj.\u202eexe") >= 6


def logged(directory: Path, evil: str) -> str:
    """Return what is on stderr, and in the log of the app, when code of ours or of aioquic logs a text."""
    stream = io.StringIO()
    quic = logging.getLogger("quic")
    for verbose in (0, 2):
        diagnostics = Diagnostics(stream, {})
        diagnostics.verbose = verbose
        with logging_to(diagnostics):
            _log_it(evil)
            quic.error("Connection close received (reason %s)", evil)
        diagnostics.flush()
    path = directory / "client-home/log/leafsync.log"
    with tui.logging_to_file(path):
        _log_it(evil)
        quic.error("Connection close received (reason %s)", evil)
    return stream.getvalue() + path.read_text(encoding="utf-8")


def _log_it(evil: str) -> None:
    log = logging.getLogger("leafsync.test")
    log.warning("of a peer: %s", evil)
    try:
        raise ValueError(evil)
    except ValueError:
        log.exception("a bug with %s", evil)


def test_case_07_the_log(tmp_path: Path) -> None:
    """A name cannot make a line that looks like another record."""
    text = logged(tmp_path, CONTROL)
    assert harmless(text)
    assert text.count(f"of a peer: {printable(CONTROL)}\n") == 3
    assert not [one for one in text.split("\n") if one.startswith("root#")]


def test_case_08_the_log(tmp_path: Path) -> None:
    text = logged(tmp_path, BIDI)
    assert harmless(text)
    assert text.count(f"of a peer: {printable(BIDI)}\n") == 3


def test_case_20_the_log(tmp_path: Path) -> None:
    text = logged(tmp_path, MARKUP)
    assert text.count(f"of a peer: {MARKUP}\n") == 3


@pytest.mark.parametrize("evil", [CONTROL, BIDI, "bad\udcff"], ids=["control", "direction", "not UTF-8"])
def test_case_07_what_was_typed(
    evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """People paste: what they gave comes back in a sentence, escaped."""
    monkeypatch.setenv("LEAFSYNC_HOME", str(tmp_path / "client-home"))
    for arguments in (
        ["serve", f"{tmp_path}/{evil}", "--no-tui"],
        ["connect", evil, "folder"],
        ["connect", "nas", "folder", "--file", evil],
        ["connect", "nas", "folder", "--streams", evil],
        ["trust", "remove", evil],
        ["trust", "add", evil],
        ["trust", "add", "ab" * 32, "--name", evil],
        ["history", f"{tmp_path}/{evil}"],
        [evil],
        [f"--{evil}"],
    ):
        assert main(arguments) == 2, arguments
        captured = capsys.readouterr()
        assert not captured.out
        assert harmless(captured.err)
        assert captured.err.count("\n") == 1


def told_by_commands(evil: str) -> str:
    """Return what `history`, `conflicts`, `restore` and `status` say when all that is recorded has this text in it."""
    actions = tuple(ActionRecord(kind, evil, evil, evil) for kind in ActionKind)
    where = cast.peer(evil, evil, evil)
    snapshot = Snapshot(
        1,
        (replace(cast.serving(), folder=evil, peers=(where,)),),
        (replace(cast.reconnecting(), folder=evil, address=evil, peer=where, reason=evil),),
    )
    summary = PassSummary(Totals(), 0.1, held=(evil,), remote_held=(evil,), conflicts=((evil, evil),))
    standing = Standing("2026-01-02T03:04:05Z")
    standing.finished(3, summary, "2026-01-02T03:04:05Z")
    said = ""
    for as_json in (False, True):
        stream = io.StringIO()
        output = Output(stream, json=as_json)
        output.verbose = True
        output.passes([PassRecord(evil, evil, evil, actions)])
        output.conflicts([ConflictCopy(evil, evil, 3, 0)])
        output.undone(Undone("id", ((evil, ""), (f"2{evil}", evil))))
        for job in standing.state(snapshot, Progress())["jobs"]:
            output.job({"pid": 1, **job})
        output.flush()
        said += stream.getvalue()
        assert not as_json or all(_has(json.loads(one), evil) for one in stream.getvalue().splitlines())
    return said


def test_case_07_commands_about_the_past() -> None:
    said = told_by_commands(CONTROL)
    assert harmless(said)
    assert said.count(printable(CONTROL)) >= 20


def test_case_08_commands_about_the_past() -> None:
    said = told_by_commands(BIDI)
    assert harmless(said)
    assert said.count(printable(BIDI)) >= 20


# Screens of the app


LOOKS = pytest.mark.parametrize("look", [windows, moving, forms], ids=lambda look: look.__name__)


@LOOKS
async def test_case_07_the_app(tmp_path: Path, look: Look) -> None:
    screens = await looked_at(tmp_path / "client-home", look, CONTROL)
    assert [name for name, text in screens.items() if not harmless(text)] == []
    assert [name for name, text in screens.items() if evil_start(CONTROL) not in text] == []


@LOOKS
async def test_case_08_the_app(tmp_path: Path, look: Look) -> None:
    screens = await looked_at(tmp_path / "client-home", look, BIDI)
    assert [name for name, text in screens.items() if not harmless(text)] == []
    assert [name for name, text in screens.items() if evil_start(BIDI) not in text] == []


@LOOKS
async def test_case_20_the_app(tmp_path: Path, look: Look) -> None:
    screens = await looked_at(tmp_path / "client-home", look, MARKUP)
    assert [name for name, text in screens.items() if MARKUP[:16] not in text] == []


@pytest.mark.parametrize("name", [CONTROL, BIDI, "bad\udcff"], ids=["control", "direction", "not UTF-8"])
def test_case_07_no_device_is_called_so(name: str, tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "client-home/trust.toml")
    with pytest.raises(UsageError):
        store.add("ab" * 32, name=name, confirmed="test")
    store.add("ab" * 32, confirmed="test")
    store.suggest_name("ab" * 32, name)
    assert [device.name for device in store.devices] == ["device-abababab"]


async def test_case_20_trusted_devices_in_the_app(tmp_path: Path) -> None:
    async with staged(tmp_path / "client-home", size=(140, 40)) as stage:
        stage.trust(NOW, MARKUP[:64], confirmed=MARKUP)
        await stage.open("trust")
        await stage.until(lambda: screen_text(stage.app).count(MARKUP[:16]) >= 3)  # in the table, as a title, confirmed
        shown = Shown()
        shown.take("trust", stage)
        assert not shown.acted


# Names that take more or fewer cells than they have characters


SCRIPTS = [
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.heic",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\u65e5\u672c\u8a9e\u306e\u5199\u771f.jpg",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd.docx",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u0915\u094d\u200d\u0937",
    "x\u0300\u0301\u0302\u0303.txt",
    "\uff21\uff22\uff23",
    "\U0001f1e9\U0001f1ea \u00df \u0130 \u01c6",
    "a\u200d",
    "\u4dc0\u4dc1\u2630.txt",
]


async def test_case_19_names_of_all_scripts_travel(pair: Pair) -> None:
    await both_ways(pair, SCRIPTS)


@pytest.mark.parametrize("width", [16, 40, 80, 120])
def test_case_19_lines_fit_whatever_is_in_them(width: int) -> None:
    """By the measure of terminals, which is not ours."""
    for name in SCRIPTS:
        for text in (name, name * 20):
            lines = live_area(text, width)
            assert all(0 <= wcswidth(one) <= width for one in lines), lines
            assert width < 80 or any(printable(text) in one or "…" in one for one in lines)


@pytest.mark.parametrize("width", [60, 80, 200])
async def test_case_19_columns_stay_below_each_other(width: int, tmp_path: Path) -> None:
    async with staged(tmp_path / "client-home", size=(width, 50)) as stage:
        await stage.jobs(cast.serving(), cast.transferring())
        await stage.open("serve")
        await stage.press("f5")
        names = [*SCRIPTS, *(name * 20 for name in SCRIPTS), "plain"]
        for name in names:
            cast.start(stage.engine.jobs[2].transfers, name, 100, 50)
        await stage.tick()
        await stage.sees("plain")
        strips = stage.app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {width}
        rows = [strip.text for strip in strips if "↓ " in strip.text and strip.text.rstrip().endswith("▸ active")]
        assert len(rows) == len(names)
        assert len({cell_len(one.rstrip()) for one in rows}) == 1
        assert sum("…" in one for one in rows) >= len(SCRIPTS) // 2
