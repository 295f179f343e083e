"""The parser, the commands, and how a run ends."""

import asyncio
import io
import json
import shlex
import string
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafsync import __version__
from leafsync.engine.core.address import Address
from leafsync.engine.core.events import PassFinished, ServeStarted, Warned
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import (
    ConnectStatus,
    PassState,
    PassSummary,
    Snapshot,
    Totals,
)
from leafsync.errors import ConnectTimedOut, ExitCode, FolderMissing, LeafSyncError, UsageError
from tests.cli.conftest import Ran, Run
from tests.cli.fake_engine import Script, raising, returning

FINGERPRINT = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


def lines_of(ran: Ran) -> list[dict[str, object]]:
    return [json.loads(line) for line in ran.out.splitlines()]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("bogus", "bogus"),
        ("--bogus", "--bogus"),
        ("serve", "FOLDER"),
        ("serve a b", "b"),
        ("serve ''", "empty"),
        ("serve a --port", "--port"),
        ("serve a --port x", "'x' is not a whole number from 0 to 65535"),
        ("serve a --port -1", "--port"),
        ("serve a --port 65536", "0 to 65535"),
        ("serve a --port 4_455", "0 to 65535"),
        ("serve a --port 99999999999999999999", "0 to 65535"),
        ("serve a --port 4455.0", "0 to 65535"),
        ("serve a --host ''", "empty"),
        ("serve a --file ''", "empty"),
        ("connect '' a", "argument ADDR: it must not be empty"),
        ("trust add ''", "argument FINGERPRINT: it must not be empty"),
        (f"trust add {FINGERPRINT} --name ''", "empty"),
        (f"trust add {FINGERPRINT} --address ''", "empty"),
        ("trust rename '' b", "argument NAME: it must not be empty"),
        ("trust permit '' read", "empty"),
        ("trust remove ''", "empty"),
        (f"trust replace '' {FINGERPRINT}", "empty"),
        ("trust replace a ''", "argument NEWFP: it must not be empty"),
        ("serve a --rate-mbps 0", "megabits"),
        ("serve a --rate-mbps -1", "megabits"),
        ("serve a --rate-mbps nan", "megabits"),
        ("serve a --rate-mbps inf", "megabits"),
        ("serve a --rate-mbps fast", "megabits"),
        ("serve a --fingerprint 1234", "64 hexadecimal digits"),
        ("serve a --file ../x", "cannot be synced"),
        ("serve a --file /etc/passwd", "cannot be synced"),
        ("serve a --file ./", "cannot be synced"),
        ("serve a --file a//b", "cannot be synced"),
        ("serve a --file .leafsync_trash/x", "reserved"),
        ("serve a --once", "--once"),
        ("serve a --mirror", "--mirror"),
        ("serve a --acc", "--acc"),
        ("serve a -q -v", "not allowed"),
        ("connect", "ADDR"),
        ("connect host", "FOLDER"),
        ("connect host ''", "empty"),
        ("connect 'a b' a", "not an address"),
        ("connect host:0 a", "1 to 65535"),
        ("connect host:65536 a", "1 to 65535"),
        ("connect fe80::1 a", "brackets"),
        ("connect host a --streams 0", "1 to 8"),
        ("connect host a --streams 9", "1 to 8"),
        ("connect host a --streams x", "1 to 8"),
        ("connect host a --port 1", "--port"),
        ("connect host a --pull --push", "not allowed"),
        ("connect host a --push --mirror", "not allowed"),
        ("connect host a --read-only", "--read-only"),
        ("serve a --dry-run", "--dry-run"),
        ("history", "FOLDER"),
        ("history a --limit 0", "1 to"),
        ("history a --force", "--force"),
        ("restore a", "PASS"),
        ("restore a last ../x", "cannot be synced"),
        ("restore a last x y", "y"),
        ("conflicts", "FOLDER"),
        ("conflicts a --keep mine", "mine"),
        ("conflicts a --keep this", "given together"),
        ("conflicts a --resolve b", "given together"),
        ("status x", "x"),
        ("connect host a --fingerprint zz", "64 hexadecimal digits"),
        ("trust", "ACTION"),
        ("trust bogus", "bogus"),
        ("trust list x", "x"),
        ("trust add", "FINGERPRINT"),
        ("trust add 1234", "64 hexadecimal digits"),
        (f"trust add {FINGERPRINT} --permission admin", "admin"),
        (f"trust add {FINGERPRINT} --address fe80::1", "brackets"),
        (f"trust add {FINGERPRINT} --name ' x'", "device name"),
        ("trust rename nobody", "NEWNAME"),
        ("trust rename nobody ''", "empty"),
        ("trust rename nobody nas", "No trusted device is called nobody"),
        ("trust permit nobody", "read|read-write"),
        ("trust permit nobody write", "'read', 'read-write'"),
        ("trust permit nobody read", "No trusted device is called nobody"),
        ("trust remove nobody", "No trusted device is called nobody"),
        ("trust replace nobody", "NEWFP"),
        (f"trust replace nobody {OTHER}", "No trusted device is called nobody"),
        ("id x", "x"),
        ("paths x", "x"),
        ("serve a --bad\x1b[31m", r"\x1b[31m"),
    ],
)
def test_a_bad_command_line_is_refused_with_its_reason(run: Run, arguments: str, reason: str) -> None:
    ran = run(*shlex.split(arguments))
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("leafsync: ")
    assert ran.err.count("\n") == 1
    assert reason in ran.err
    assert "\x1b" not in ran.err


def test_without_a_command_the_help_is_shown_and_it_is_an_error(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert ran.out == ""
    assert "serve" in ran.err
    assert "connect" in ran.err


COMMANDS = ["serve", "connect", "history", "restore", "conflicts", "status", "trust", "id", "paths", "completion"]


@pytest.mark.parametrize("command", ["", *COMMANDS, "trust list", "trust add", "trust permit"])
def test_help_is_data(run: Run, command: str) -> None:
    ran = run(*command.split(), "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: leafsync {command}".rstrip())
    assert ran.err == ""


def test_every_command_is_in_the_help(run: Run) -> None:
    listed = [line.split()[0] for line in run("--help").out.splitlines() if line.startswith("    ") and line.split()]
    assert sorted(set(listed) & set(COMMANDS)) == sorted(COMMANDS)


def test_the_help_says_what_becomes_of_deletes(run: Run) -> None:
    words = " ".join(run("connect", "--help").out.split())
    assert "more than 100 entries and 25 % of the folder, or all of it" in words
    assert "bring changes and deletes here and send none" in words
    assert "to the trash here" in words


def test_version(run: Run) -> None:
    ran = run("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"leafsync {__version__}\n", "")


# What the engine is asked for


def test_serve_without_options_takes_the_defaults(run: Run) -> None:
    script = Script()
    assert run("serve", "folder", script=script).code == 0
    assert script.options == ServeOptions(folder="folder")
    assert script.calls == ["enter", "exit"]


def test_serve_passes_every_option_on(run: Run) -> None:
    script = Script()
    arguments = f"serve folder --host ::1 --port 0 --file ./a/b/ --accept-first --fingerprint {FINGERPRINT.upper()}"
    more = ["--rate-mbps", "2.5", "--read-only", "--force", "--reset", "--no-tui", "-vv"]
    assert run(*arguments.split(), *more, script=script).code == 0
    assert script.options == ServeOptions(
        folder="folder",
        host="::1",
        port=0,
        file="a/b",
        accept_first=True,
        fingerprint=FINGERPRINT,
        rate_mbps=2.5,
        read_only=True,
        force=True,
        reset=True,
    )


def test_connect_without_options_takes_the_defaults(run: Run) -> None:
    script = Script()
    assert run("connect", "nas", "folder", script=script).code == 0
    assert script.options == ConnectOptions(address=Address("nas", 4455), folder="folder")


def test_connect_passes_every_option_on(run: Run) -> None:
    script = Script()
    arguments = "connect [::1]:5000 folder --once --mirror --dry-run --allow-deletes --file a --streams 8 --rate-mbps 1"
    more = ["--accept-first", "--fingerprint", FINGERPRINT, "--force", "--reset", "--no-tui", "--json"]
    assert run(*arguments.split(), *more, script=script).code == 0
    assert script.options == ConnectOptions(
        address=Address("::1", 5000),
        folder="folder",
        once=True,
        mode=Mode.MIRROR,
        dry_run=True,
        allow_deletes=True,
        file="a",
        streams=8,
        accept_first=True,
        fingerprint=FINGERPRINT,
        rate_mbps=1.0,
        force=True,
        reset=True,
    )


@pytest.mark.parametrize(
    ("options", "mode"),
    [("", Mode.BOTH), ("--pull", Mode.PULL), ("--push", Mode.PUSH), ("--mirror", Mode.MIRROR)],
)
def test_the_modes(run: Run, options: str, mode: Mode) -> None:
    script = Script()
    assert run("connect", "nas", "folder", *options.split(), script=script).code == 0
    assert script.options == ConnectOptions(address=Address("nas", 4455), folder="folder", mode=mode)


def test_config_gives_defaults_and_options_win(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('name = "anna"\nport = 5000\nstreams = 2\nrate_mbps = 10\n')
    script = Script()
    run("serve", "folder", script=script)
    assert script.options == ServeOptions(folder="folder", port=5000, rate_mbps=10.0)
    assert script.name == "anna"
    assert script.paths is not None
    assert script.paths.trust == home / "trust.toml"
    run("serve", "folder", "--port", "1", "--rate-mbps", "3", script=script)
    assert script.options == ServeOptions(folder="folder", port=1, rate_mbps=3.0)
    connected = Script()
    run("connect", "nas", "folder", script=connected)
    assert connected.options == ConnectOptions(address=Address("nas", 4455), folder="folder", streams=2, rate_mbps=10)


def test_a_bad_config_starts_nothing(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("prot = 5000\n")
    script = Script()
    ran = run("serve", "folder", script=script)
    assert ran.code == 2
    assert "unknown key 'prot'" in ran.err
    assert script.calls == []


# Commands that answer at once


def test_paths_creates_nothing(run: Run, home: Path) -> None:
    ran = run("paths")
    assert ran.code == 0
    assert f"trust     {home}/trust.toml\n" in ran.out
    assert not home.exists()


def test_id_creates_the_identity_once(run: Run, home: Path) -> None:
    first = run("id", "--json")
    assert (home / "identity.pem").stat().st_mode & 0o777 == 0o600
    second = run("id", "--json")
    assert first.out == second.out
    (line,) = lines_of(first)
    fingerprint = str(line["fingerprint"])
    assert len(fingerprint) == 64
    text = run("id").out
    assert fingerprint in text
    assert fingerprint in text.replace(" ", "").replace("\n", "").removeprefix("name").partition(fingerprint)[2]


def test_id_tells_of_a_key_that_others_can_read(run: Run, home: Path) -> None:
    run("id")
    (home / "identity.pem").chmod(0o644)
    ran = run("id")
    assert ran.code == 2
    assert "chmod 600" in ran.err


def test_the_life_of_a_trusted_device(run: Run) -> None:
    added = run("trust", "add", FINGERPRINT, "--name", "nas", "--address", "10.0.0.2", "--permission", "read")
    assert (added.code, added.out) == (0, "")
    assert "trusted: nas (read)" in added.err
    (line,) = lines_of(run("trust", "list", "--json"))
    assert line["type"] == "device"
    assert line["v"] == 1
    assert line["fingerprint"] == FINGERPRINT
    assert line["addresses"] == ["10.0.0.2:4455"]
    assert line["permission"] == "read"
    assert line["confirmed"] == "command line"
    assert run("trust", "replace", "nas", OTHER).code == 0
    table = run("trust", "list").out.splitlines()
    assert len(table) == 2
    assert OTHER in table[1]
    assert run("trust", "remove", OTHER[:8]).code == 0
    gone = run("trust", "list")
    assert (gone.code, gone.out) == (0, "")
    assert "no device is trusted yet" in gone.err


def test_a_home_that_cannot_be_told_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAFSYNC_HOME", "~nobody-is-called-so")
    ran = run("paths")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("leafsync: That cannot be done: LEAFSYNC_HOME is ~nobody-is-called-so")


def test_this_device_cannot_be_trusted_by_itself(run: Run) -> None:
    """A slip on the way from `leafsync id` to the other machine: it would let nobody in, and look as if it had."""
    (identity,) = lines_of(run("id", "--json"))
    own = str(identity["fingerprint"])
    run("trust", "add", FINGERPRINT, "--name", "nas")
    for arguments in (("add", own.upper(), "--name", "lap"), ("replace", "nas", own)):
        refused = run("trust", *arguments)
        assert refused.code == 2
        assert f"{own} is the fingerprint of this device itself" in refused.err
    assert [line["fingerprint"] for line in lines_of(run("trust", "list", "--json"))] == [FINGERPRINT]


def test_trusting_a_device_again_leaves_what_it_may_do(run: Run) -> None:
    run("trust", "add", FINGERPRINT, "--permission", "read")
    assert "trusted: nas (read)," in run("trust", "add", FINGERPRINT, "--name", "nas").err
    assert "trusted: nas (read-write)," in run("trust", "add", FINGERPRINT, "--permission", "read-write").err


def test_a_device_gets_another_name(run: Run) -> None:
    run("trust", "add", FINGERPRINT, "--name", "nas", "--permission", "read")
    run("trust", "add", OTHER, "--name", "lap")
    ran = run("trust", "rename", "nas", "attic box")
    assert (ran.code, ran.out, ran.err) == (0, "", f"now called attic box: {FINGERPRINT}\n")
    first, second = lines_of(run("trust", "list", "--json"))
    assert (first["name"], first["permission"], second["name"]) == ("attic box", "read", "lap")
    taken = run("trust", "rename", "attic box", "lap")
    assert (taken.code, taken.out) == (2, "")
    assert "called lap already" in taken.err
    hidden = run("trust", "rename", FINGERPRINT[:8], "a\u202eb")
    assert hidden.code == 2
    assert lines_of(run("trust", "list", "--json"))[0]["name"] == "attic box"


def test_a_device_may_do_more_or_less(run: Run) -> None:
    run("trust", "add", FINGERPRINT, "--name", "nas")
    for permission in ("read", "read", "read-write"):
        ran = run("trust", "permit", "nas", permission)
        assert (ran.code, ran.out, ran.err) == (0, "", f"trusted: nas ({permission}), {FINGERPRINT}\n")
        (line,) = lines_of(run("trust", "list", "--json"))
        assert (line["name"], line["permission"], line["confirmed"]) == ("nas", permission, "command line")


def test_quiet_silences_narration(run: Run) -> None:
    ran = run("trust", "add", FINGERPRINT, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_malformed_trust_file_is_kept_and_told(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "trust.toml").write_text("version = 99\n")
    ran = run("trust", "list")
    assert ran.code == 2
    assert "trust.toml" in ran.err
    assert (home / "trust.toml").read_text() == "version = 99\n"


# How a run ends


def every_error(base: type[LeafSyncError] = LeafSyncError) -> Iterator[type[LeafSyncError]]:
    yield base
    for child in base.__subclasses__():
        yield from every_error(child)


def an_error(kind: type[LeafSyncError]) -> LeafSyncError:
    fields = {name for _, name, _, _ in string.Formatter().parse(kind.__doc__ or "") if name}
    return kind(**dict.fromkeys(fields, "x\x1b[2Jx"))


@pytest.mark.parametrize("kind", list(every_error()))
@pytest.mark.parametrize("when", ["entering", "starting", "working"])
def test_every_error_is_one_sentence_and_its_exit_code(run: Run, kind: type[LeafSyncError], when: str) -> None:
    error = an_error(kind)
    script = {
        "entering": Script(entering=error),
        "starting": Script(starting=error),
        "working": Script(work=raising(error)),
    }[when]
    ran = run("connect", "nas", "folder", script=script)
    assert ran.code == kind.exit_code
    assert ran.err == f"leafsync: {error}\n"
    assert ran.out == ""
    assert "\x1b" not in ran.err
    assert script.calls == ([] if when == "entering" else ["enter", "exit"])


def test_exit_codes_are_the_documented_ones() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 130, 143]


def test_an_error_inside_a_group_is_found(run: Run) -> None:
    group = ExceptionGroup("tasks", [ValueError("x"), ExceptionGroup("more", [FolderMissing(path="/gone")])])
    ran = run("serve", "/gone", script=Script(starting=group))
    assert ran.code == 2
    assert ran.err == f"leafsync: {FolderMissing(path='/gone')}\n"


def test_an_unexpected_error_is_a_sentence(run: Run) -> None:
    ran = run("serve", "folder", script=Script(work=raising(RuntimeError("boom\x1b[2J"))))
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert r"boom\x1b[2J" in ran.err
    assert "Traceback" not in ran.err


def test_with_v_an_unexpected_error_has_its_traceback(run: Run) -> None:
    ran = run("serve", "folder", "-v", script=Script(work=raising(RuntimeError("boom"))))
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "fake_engine.py" in ran.err


def test_an_os_error_names_its_file(run: Run) -> None:
    ran = run("serve", "folder", script=Script(entering=PermissionError(13, "Permission denied", "/state")))
    assert (ran.code, ran.err) == (1, "leafsync: /state: Permission denied.\n")


def test_an_interrupt_outside_of_the_loop_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leafsync.commands.devices.load_config", interrupted)
    assert run("id").code == 130


PARTIAL = PassSummary(Totals(), 0.1, problems=(("a", "busy"),))
HELD = PassSummary(Totals(), 0.1, held=("a b",))


def test_a_pass_that_is_done_exits_0(run: Run) -> None:
    ran = run("connect", "nas", "folder", "--once", script=Script(work=returning(PassSummary(Totals(), 0.1))))
    assert ran.code == 0
    assert "in sync: nothing to do, 0.1 s\n" in ran.err


def test_a_partial_pass_exits_3(run: Run) -> None:
    ran = run("connect", "nas", "folder", "--once", script=Script(work=returning(PARTIAL)))
    assert ran.code == 3
    assert "    a: busy\n" in ran.err


def test_held_deletes_come_with_the_command_that_allows_them(run: Run) -> None:
    ran = run("connect", "nas", "my folder", "--mirror", "--once", script=Script(work=returning(HELD)))
    assert ran.code == 3
    assert "    a b\n" in ran.err
    assert "run: leafsync connect nas 'my folder' --mirror --once --allow-deletes\n" in ran.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("connect nas folder", "stop this one and run: leafsync connect nas folder --once --allow-deletes"),
        ("connect nas folder --dry-run", "run: leafsync connect nas folder --once --allow-deletes"),
        ("connect --once -- nas -folder", "run: leafsync connect --once --allow-deletes -- nas -folder"),
    ],
)
def test_deletes_are_allowed_for_one_pass_only(run: Run, arguments: str, hint: str) -> None:
    ran = run(*arguments.split(), script=Script(work=returning(HELD)))
    assert f"  to allow it, {hint}\n" in ran.err


CONFLICT = PassSummary(Totals(), 0.1, sent=("a",), conflicts=(("a", "a.conflict-20260102-030405-nas"),))


def test_a_conflict_exits_3_and_comes_with_the_command_that_shows_it(run: Run) -> None:
    ran = run("connect", "nas", "my folder", "--once", script=Script(work=returning(CONFLICT)))
    assert ran.code == 3
    assert "    a: also as a.conflict-20260102-030405-nas\n" in ran.err
    assert "run: leafsync conflicts 'my folder'\n" in ran.err


PLAN = PassSummary(Totals(), 0.1, fetched=("a",), sent=("b",), planned=True)


def test_a_plan_is_data(run: Run) -> None:
    ran = run("connect", "nas", "folder", "--dry-run", "--quiet", script=Script(work=returning(PLAN)))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "dry run, nothing was changed: 1 file would come, 1 would go"
    ran = run("connect", "nas", "folder", "--dry-run", "--json", script=Script(work=returning(PLAN)))
    (line,) = lines_of(ran)
    assert (line["type"], line["fetched_paths"], line["sent_paths"]) == ("plan", ["a"], ["b"])


def test_quiet_still_says_what_is_not_the_same(run: Run) -> None:
    ran = run("connect", "nas", "folder", "--once", "--quiet", script=Script(work=returning(PARTIAL)))
    assert ran.code == 3
    assert ran.err == ("leafsync: warning: the folders need a look:\n  1 entry could not be synced:\n    a: busy\n")


def test_a_summary_that_was_an_event_is_told_once(run: Run) -> None:
    script = Script(work=returning(PARTIAL), events=[PassFinished(1, PARTIAL)])
    assert run("connect", "nas", "folder", "--once", script=script).err.count("partly in sync") == 1
    ran = run("connect", "nas", "folder", "--once", "--json", script=script)
    assert [line["type"] for line in lines_of(ran)] == ["summary"]


def test_json_replaces_narration_and_keeps_warnings(run: Run) -> None:
    started = ServeStarted(1, "/folder", 40000, ("10.0.0.1",), FINGERPRINT)
    script = Script(events=[started, Warned(1, "look \x1b out")])
    ran = run("serve", "folder", "--port", "0", "--json", script=script)
    assert ran.code == 0
    serving, warning = lines_of(ran)
    assert serving["type"] == "serving"
    assert serving["port"] == 40000
    assert serving["fingerprint"] == FINGERPRINT
    assert warning["message"] == "look \x1b out"
    assert ran.err == "leafsync: warning: look \\x1b out\n"


def test_json_has_the_error_too(run: Run) -> None:
    error = ConnectTimedOut(address="nas:4455", seconds=8, port=4455)
    ran = run("connect", "nas", "folder", "--json", script=Script(work=raising(error)))
    assert ran.code == 4
    (line,) = lines_of(ran)
    assert line == {"v": 1, "type": "error", "kind": "ConnectTimedOut", "message": str(error), "exit_code": 4}
    assert ran.err == f"leafsync: {error}\n"


def test_serving_tells_how_to_connect(run: Run) -> None:
    started = ServeStarted(1, "/my\x1bfolder", 40000, ("10.0.0.1", "fd00::2", "[fd00::3]", "nas:1"), FINGERPRINT)
    ran = run("serve", "folder", script=Script(events=[started]))
    assert ran.out == ""
    assert ran.err.splitlines() == [
        r"serving /my\x1bfolder on UDP port 40000",
        "this device's fingerprint:",
        "  0123 4567 89ab cdef 0123 4567 89ab cdef",
        "  0123 4567 89ab cdef 0123 4567 89ab cdef",
        "on the other device, run:",
        "  leafsync connect 10.0.0.1:40000 FOLDER",
        "  leafsync connect [fd00::2]:40000 FOLDER",
        "  leafsync connect [fd00::3]:40000 FOLDER",
        "  leafsync connect nas:1 FOLDER",
    ]


# While it runs


class StallingStream(io.StringIO):
    """A terminal that takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        if not self.released.wait(timeout=5):
            raise AssertionError("the event loop was held by a write")
        return super().write(text)


@pytest.mark.parametrize(("name", "options"), [("stderr", []), ("stdout", ["--json"])])
def test_a_stalled_reader_does_not_stall_the_loop(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, options: list[str]
) -> None:
    stream = StallingStream()
    monkeypatch.setattr(sys, name, stream)

    async def work() -> PassSummary | None:
        await asyncio.to_thread(stream.entered.wait, 5)
        for _ in range(100):
            await asyncio.sleep(0)
        stream.released.set()
        return None

    started = ServeStarted(1, "/folder", 40000, (), FINGERPRINT)
    assert run("serve", "folder", *options, script=Script(work=work, events=[started])).code == 0
    assert "/folder" in stream.getvalue()


def test_the_state_is_told_where_there_is_no_terminal(run: Run) -> None:
    states = [PassState.CONNECTING, PassState.SCANNING]
    script = Script(
        work=raising(UsageError(reason="late")),
        snapshots=[
            Snapshot(at, connecting=(ConnectStatus(1, "f", "nas:1", state),)) for at, state in enumerate(states)
        ],
    )
    ran = run("connect", "nas", "folder", script=script)
    assert ran.err == "connecting to nas:1\nleafsync: That cannot be done: late.\n"
    assert ran.code == 2
