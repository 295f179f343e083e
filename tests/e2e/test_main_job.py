"""Real processes over loopback, as a script would run them: `serve` on one side, `connect --once` on the other."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.devices import Device, summary_of
from benchmarks.trees import MIB, copy_standard_library, differences, write_random

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DEADLINE = 60.0
"""Seconds for one run of the program."""


class Pair:
    """Two devices with their folders below one directory."""

    def __init__(self, place: Path) -> None:
        self.server, self.client = Device(place / "server-home"), Device(place / "client-home")
        self.source, self.copy = place / "source", place / "copy"
        self.source.mkdir()
        self.copy.mkdir()

    def introduce(self) -> None:
        self.server.trust(self.client, "client")
        self.client.trust(self.server, "server")

    def connect(self, port: int, *options: str) -> subprocess.CompletedProcess[str]:
        """Do one pass and return how the process ended."""
        command = self.client.command("connect", f"127.0.0.1:{port}", self.copy, "--once", "--json", *options)
        return subprocess.run(
            command, env=self.client.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    def pull(self, port: int, *options: str) -> dict[str, Any]:
        """Do one pass that must succeed and return its summary."""
        done = self.connect(port, *options)
        assert done.returncode == 0, done.stderr
        return summary_of(done.stdout)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def served(pair: Pair) -> Iterator[int]:
    """The port of a server of the pair's source, with both devices trusting each other."""
    pair.introduce()
    with pair.server.serving(pair.source) as serving:
        yield serving["port"]


def test_a_real_tree_arrives_the_same(pair: Pair, served: int) -> None:
    copy_standard_library(pair.source, ("asyncio", "email", "encodings", "json", "unittest"))
    write_random(pair.source / "big", 5 * MIB + 11, seed=3)
    (pair.source / "empty").mkdir()
    (pair.source / "link").symlink_to("json/tool.py")
    (pair.source / "json" / "tool.py").chmod(0o755)
    summary = pair.pull(served)
    assert differences(pair.source, pair.copy) == []
    assert summary["files_done"] == len([path for path in pair.copy.glob("[!.]*/**/*") if path.is_file()]) + 1
    again = pair.pull(served)
    assert not again["changed"]
    assert again["wire_in"] + again["wire_out"] < 10_000


def test_killed_again_and_again_it_resumes(pair: Pair, served: int) -> None:
    """The wire carries no verified byte twice, and nothing partial is ever seen under the final name."""
    size = 24 * MIB
    write_random(pair.source / "big", size, seed=4)
    chance = random.Random(5)
    limit = ("--rate-mbps", "100")
    for _kill in range(4):
        command = pair.client.command("connect", f"127.0.0.1:{served}", pair.copy, "--once", "--json", *limit)
        with subprocess.Popen(command, env=pair.client.environment, stdout=subprocess.PIPE, text=True) as client:
            staged = _wait_until_staged(pair.copy, chance.randrange(1, 4) * MIB)
            client.kill()
        assert not (pair.copy / "big").exists()
        assert staged
    summary = pair.pull(served)
    assert differences(pair.source, pair.copy) == []
    assert summary["reused"] >= 4 * MIB
    assert summary["fetched"] + summary["reused"] == size


def _wait_until_staged(folder: Path, more: int) -> int:
    """Return once `more` bytes have come to the staging directory since the call."""
    before: int | None = None
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        staged = _bytes_in(folder / ".leafsync_tmp")
        before = staged if before is None else before
        if staged >= before + more:
            return staged
        time.sleep(0.005)
    raise TimeoutError("nothing is being staged")


def _bytes_in(directory: Path) -> int:
    size = 0
    for path in directory.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it has just been put in its place
            size += path.stat().st_blocks * 512
    return size


def test_strangers_get_exit_5_and_nothing_else(pair: Pair) -> None:
    (pair.source / "secret name").write_text("secret content")
    pair.client.trust(pair.server, "server")
    with pair.server.serving(pair.source) as serving:
        refused = pair.connect(serving["port"])
        assert refused.returncode == 5
        assert f"leafsync trust add {pair.client.fingerprint()}" in refused.stderr
        pair.server.trust(pair.client, "client")
        pair.client.run("trust", "remove", "server")
        unknown = pair.connect(serving["port"])
        assert unknown.returncode == 5
        assert f"leafsync trust add {pair.server.fingerprint()}" in unknown.stderr
        pair.client.run("trust", "add", "ab" * 32, "--name", "earlier", "--address", f"127.0.0.1:{serving['port']}")
        changed = pair.connect(serving["port"], "--accept-first")
        assert changed.returncode == 5
        assert "earlier" in changed.stderr
    assert list(pair.copy.glob("[!.]*")) == []


def test_accept_first_and_fingerprint(pair: Pair) -> None:
    (pair.source / "file").write_text("x")
    with pair.server.serving(pair.source, "--accept-first") as serving:
        wrong = pair.connect(serving["port"], "--fingerprint", "cd" * 32)
        assert wrong.returncode == 5
        pair.pull(serving["port"], "--fingerprint", pair.server.fingerprint())
        pair.pull(serving["port"])
    assert (pair.copy / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["serve", "{missing}"], 2, "does not exist"),
        (["serve", "{file}"], 2, "not a directory"),
        (["serve", "/"], 2, "--force"),
        (["connect", "127.0.0.1:9", "{missing}", "--once"], 2, "does not exist"),
        (["connect", "127.0.0.1:{closed}", "{copy}", "--once"], 4, "cannot be reached"),
        (["connect", "no.such.host.invalid", "{copy}", "--once"], 4, "cannot be found"),
        (["connect", "1:2:3", "{copy}", "--once"], 2, "is not an address"),
        (["serve", "{copy}", "--port", "{taken}", "--host", "127.0.0.1"], 6, "in use"),
        (["serve", "{copy}", "--port", "70000"], 2, "70000"),
        (["trust", "add", "xyz"], 2, "not a fingerprint"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(
    pair: Pair, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "a file").touch()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        places = {
            "missing": tmp_path / "missing",
            "file": tmp_path / "a file",
            "copy": pair.copy,
            "taken": taken.getsockname()[1],
            "closed": _closed_port(),
        }
        command = pair.client.command(*(argument.format(**places) for argument in arguments))
        done = subprocess.run(
            command, env=pair.client.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def _closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_malformed_trust_file_stops_everything_and_stays(pair: Pair) -> None:
    pair.server.fingerprint()
    trust = next(iter(pair.server.home.rglob("identity.pem"))).with_name("trust.toml")
    trust.write_text("version = 1\n[[[")
    trust.chmod(0o600)
    command = pair.server.command("serve", pair.source, "--port", "0")
    done = subprocess.run(
        command, env=pair.server.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 2
    assert "trust.toml" in done.stderr
    assert trust.read_text() == "version = 1\n[[["


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_cleanly(pair: Pair, served: int, number: int, code: int) -> None:
    write_random(pair.source / "big", 8 * MIB, seed=6)
    command = pair.client.command("connect", f"127.0.0.1:{served}", pair.copy, "--json", "--rate-mbps", "30")
    with subprocess.Popen(
        command, env=pair.client.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        _wait_until_staged(pair.copy, 2 * MIB)
        client.send_signal(number)
        _output, errors = client.communicate(timeout=DEADLINE)
    assert client.returncode == code
    assert "Traceback" not in errors
    assert not (pair.copy / "big").exists()
    assert pair.pull(served)["reused"] >= 2 * MIB


def test_it_connects_again_when_the_server_comes_back(pair: Pair) -> None:
    pair.introduce()
    (pair.source / "one").write_text("1")
    with pair.server.serving(pair.source) as serving:
        port = serving["port"]
        command = pair.client.command("connect", f"127.0.0.1:{port}", pair.copy, "--json")
        client = subprocess.Popen(command, env=pair.client.environment, stdout=subprocess.PIPE, text=True)
        _next_event(client, "summary")
    try:
        _next_event(client, "reconnecting")
        (pair.source / "two").write_text("2")
        with pair.server.serving(pair.source, "--port", str(port)):
            _next_event(client, "summary")
            assert differences(pair.source, pair.copy) == []
    finally:
        client.terminate()
        client.communicate(timeout=DEADLINE)
    assert client.returncode == 143


def _next_event(process: "subprocess.Popen[str]", kind: str) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == kind:
            return event
    raise AssertionError(f"no {kind} event")
