"""The private key and what peers send: neither gets to where it does not belong, be it a log, a traceback or a core."""

import contextlib
import io
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from leafsync.cli import main
from leafsync.diagnostics import Diagnostics, Narrator, logging_to
from leafsync.engine.core.events import (
    DeviceTrusted,
    PeerConnected,
    PeerLeft,
    PeerRefused,
    Reconnecting,
    ServeStarted,
    Warned,
)
from leafsync.engine.core.messages import Hello
from leafsync.engine.core.status import PassSummary, Totals
from leafsync.engine.net.identity import Identity, load_or_create_identity
from leafsync.errors import IdentityUnusable, LeafSyncError
from leafsync.output import Output
from leafsync.tui import logging_to_file
from tests.support.devices import Pair, until
from tests.support.engines import MakeDevice
from tests.support.hostile import HostileClient

HOSTILE = "\x1b[31m\x07\r\n\x9b2J\u202e\u2066\udcff[@click=app.quit]x[/]\x00"
"""What a peer could send to move a cursor, to reorder text, to forge a line, or to crash an encoder."""

RAW = "\x1b\x07\r\x9b\u202e\u2066\udcff\x00"


def shows(identity: Identity, text: str) -> bool:
    """Whether any form of the private key is in a text: PEM, base64, hexadecimal, Python."""
    pem = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    body = pem.splitlines()[1]
    raw = identity.private_key.private_bytes_raw()
    return any(form in text for form in (body, body[20:], raw.hex(), repr(raw)[2:-1], "PRIVATE KEY", str(list(raw))))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEAFSYNC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# The key


def test_the_measure_itself() -> None:
    """A test that looks for the key finds it where it is."""
    identity = Identity.generate()
    key = identity.private_key
    assert shows(identity, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    assert shows(identity, key.private_bytes_raw().hex())
    assert not shows(identity, identity.fingerprint)


def test_an_identity_shows_its_fingerprint_alone() -> None:
    identity = Identity.generate()
    fields = msgspec.structs.fields(identity)
    for text in (repr(identity), str(identity), f"{identity}", repr([identity]), repr(fields)):
        assert not shows(identity, text)
    assert identity.fingerprint in repr(identity)
    with pytest.raises(TypeError):
        pickle.dumps(identity)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_key_file_is_private_at_every_instant(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask; also under the name that it has while it is written."""
    modes: list[int] = []
    real = os.open

    def watched(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT and "identity" in str(path):
            modes.append(os.fstat(descriptor).st_mode & 0o777)
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(umask)
    try:
        load_or_create_identity(tmp_path / "identity.pem")
    finally:
        os.umask(before)
    assert modes
    assert all(mode & 0o177 == 0 for mode in modes)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "identity.pem": 0o600,
        "identity.fingerprint": 0o600,
    }


async def test_no_log_of_a_pass_has_the_key(make_device: MakeDevice, caplog: pytest.LogCaptureFixture) -> None:
    """Down to debugging, with aioquic's own; nor has any event, snapshot or record."""
    caplog.set_level(logging.DEBUG)
    server, client = await make_device("server"), await make_device("client")
    for one, other in ((server, client), (client, server)):
        one.engine.trust.add(other.engine.identity.fingerprint, name=other.name, confirmed="test")
    server.write("a", "x")
    job = await server.serve()
    await client.pull(job)
    said = "\n".join(f"{record.getMessage()} {record.args!r}" for record in caplog.records)
    for device in (server, client):
        shown = repr((device.events, device.engine.snapshot(), device.engine.trust.devices, device.engine))
        assert not shows(device.engine.identity, said + shown)
        for path in [*device.home.rglob("*"), *device.folder.rglob("*")]:
            if path.is_file() and path.name != "identity.pem":
                assert not shows(device.engine.identity, path.read_bytes().decode("latin-1")), path


async def test_session_secrets_are_not_logged_where_the_environment_asks_for_it(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("QUICLOGDIR", str(tmp_path))
    pair.server.write("a", "x")
    await pair.client.pull(await pair.server.serve())
    assert sorted(os.listdir(tmp_path)) == ["client", "client-home", "server", "server-home"]  # noqa: PTH208


@pytest.mark.parametrize("cut", [10, 5])
def test_a_damaged_key_is_not_in_what_is_said_of_it(home: Path, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    """Nor with -vv, which adds the traceback of every cause."""
    identity = load_or_create_identity(home / "identity.pem")
    key = home / "identity.pem"
    key.write_bytes(key.read_bytes().replace(b"-----END", b"-----EN")[:-cut])
    assert main(["id", "-vv"]) == 2
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert not shows(identity, (captured.out + captured.err).replace("it is not a private key", ""))
    with pytest.raises(IdentityUnusable) as raised:
        load_or_create_identity(key)
    chain: BaseException | None = raised.value
    while chain is not None:
        assert not shows(identity, f"{chain} {chain!r} {chain.args!r}")
        chain = chain.__cause__ or chain.__context__


def test_no_command_shows_the_key(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    identity = load_or_create_identity(home / "identity.pem")
    for command in ("id", "paths", "status", "trust list", f"history {tmp_path}"):
        for options in ("", "--json", "-vv"):
            main([*command.split(), *options.split()])
    captured = capsys.readouterr()
    assert identity.fingerprint in captured.out
    assert not shows(identity, captured.out + captured.err)


# Core dumps


CORE = """
import os, resource, signal, sys
_soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1:]:
    from leafsync.cli import main
    main(sys.argv[1:])
print(*resource.getrlimit(resource.RLIMIT_CORE), hard, flush=True)
os.kill(os.getpid(), signal.SIGQUIT)
"""
"""A process that asks for a core, runs the program, and crashes."""


def crashed(place: Path, *arguments: str) -> tuple[str, bool]:
    """Return the core limits of a process that crashed, and whether it left a core."""
    process = subprocess.Popen(
        [sys.executable, "-c", CORE, *arguments],
        cwd=place,
        env={**os.environ, "LEAFSYNC_HOME": str(place), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.read().splitlines()[-1]
        _pid, status = os.waitpid(process.pid, 0)
        process.returncode = -os.WTERMSIG(status)
    assert process.returncode == -signal.SIGQUIT
    return said, os.WCOREDUMP(status)


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    """The hard limit stays, so that whoever has to debug one can ask for it again."""
    before, _left = crashed(tmp_path)
    assert before.split()[0] == before.split()[1]
    said, left = crashed(tmp_path, "id")
    soft, hard, was = said.split()
    assert (soft, hard) == ("0", was)
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not pattern.exists() or not pattern.read_text().startswith("|"):
        assert not left


def test_a_limit_that_cannot_be_set_ends_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_what: int, _limits: tuple[int, int]) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "setrlimit", refused)
    assert main(["--version"]) == 0
    assert "leafsync" in capsys.readouterr().out
    assert not home.exists()


# What a peer sends


EVENTS = (
    ServeStarted(1, HOSTILE, 4455, (HOSTILE,), "0" * 64),
    PeerConnected(1, "0" * 64, HOSTILE, HOSTILE, HOSTILE),
    PeerLeft(1, "0" * 64, HOSTILE, HOSTILE),
    PeerRefused(1, "0" * 64, HOSTILE, HOSTILE),
    DeviceTrusted(1, "0" * 64, HOSTILE, HOSTILE, HOSTILE),
    Reconnecting(1, 1.0, HOSTILE),
    Warned(1, HOSTILE),
)

SUMMARY = PassSummary(
    Totals(),
    0.0,
    trashed=(HOSTILE,),
    moved=((HOSTILE, HOSTILE),),
    fetched=(HOSTILE,),
    sent=(HOSTILE,),
    held=(HOSTILE,),
    remote_held=(HOSTILE,),
    conflicts=((HOSTILE, HOSTILE),),
    notes=((HOSTILE, HOSTILE),),
    problems=((HOSTILE, HOSTILE),),
)


@pytest.mark.parametrize("terminal", [False, True])
def test_every_event_is_told_escaped(terminal: bool) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Screen()
    diagnostics = Diagnostics(stream, {"TERM": "xterm", "NO_COLOR": "1"})
    diagnostics.verbose = 1
    narrator = Narrator(diagnostics)
    for event in EVENTS:
        narrator.tell(event, 0.0)
    narrator.finished(SUMMARY)
    with logging_to(diagnostics):
        logging.getLogger("leafsync").warning("a device said %s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("leafsync").exception("a session ended by %s", HOSTILE)
    diagnostics.flush()
    said = stream.getvalue()
    assert said.count(r"\x1b[31m") > 2 * len(EVENTS)
    assert not set(RAW) & set(said)
    assert said.encode()


def test_json_lines_are_ascii_that_nobody_can_forge() -> None:
    stream = io.StringIO()
    output = Output(stream)
    output.json = True
    for event in EVENTS:
        output.event(event)
    output.summary(1, SUMMARY)
    output.flush()
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(EVENTS) + 1
    assert not set(RAW) & set(stream.getvalue())


def test_the_log_of_the_app_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "log" / "leafsync.log"
    with logging_to_file(path):
        logging.getLogger("leafsync").warning("a device said %s", HOSTILE)
    text = path.read_text()
    assert r"\x1b[31m" in text
    assert not set(RAW) & set(text)
    assert path.parent.stat().st_mode & 0o777 == 0o700, "it names files and devices"


@pytest.mark.parametrize("name", [HOSTILE[:-1].replace("\udcff", ""), "x" * 65, "\x1b]0;title\x07", "a\u202eb", ""])
async def test_a_device_that_calls_itself_something_hostile(pair: Pair, name: str) -> None:
    """It keeps the name that this side gave it, and what is said of it is escaped."""
    server = await pair.server.serve()
    identity = pair.client.engine.identity
    async with HostileClient.connected(identity, server) as hostile:
        with contextlib.suppress(LeafSyncError, AssertionError):
            talk = await hostile.open()
            await talk.say(Hello([1], [], name, "test"))
            await talk.stream.read_frame(cap=1 << 20, deadline=5)
    await until(lambda: bool(pair.server.seen(PeerLeft)))
    for event in pair.server.seen(PeerConnected):
        assert event.name == "client"
    for left in pair.server.seen(PeerLeft):
        assert not set(RAW) & set(left.reason)
    assert [device.name for device in pair.server.engine.trust.devices] == ["client"]
