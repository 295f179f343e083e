"""Namespaces and links where this machine allows them, and what is said where it does not."""

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import shaping
from benchmarks.namespaces import End, Namespace, NamespacesRefusedError, namespace
from benchmarks.shaping import ADDRESSES, Cable, Loopback, open_link


def allowed() -> bool:
    """Whether this user may make namespaces here."""
    try:
        with namespace():
            return True
    except (NamespacesRefusedError, RuntimeError):
        return False


needs_namespaces = pytest.mark.skipif(os.geteuid() != 0 or not allowed(), reason="no network namespaces here")


def test_an_end_on_loopback_runs_commands_as_they_are() -> None:
    assert End("127.0.0.1").command("rsync", Path("a")) == ["rsync", "a"]


def test_an_end_sees_what_listens() -> None:
    end = End("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert end.listens(port)
    assert not end.listens(port)


def test_where_namespaces_are_refused_it_is_loopback_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> contextlib.AbstractContextManager[Namespace]:
        raise NamespacesRefusedError("Operation not permitted")

    monkeypatch.setattr(shaping, "namespace", refused)
    with open_link(1000) as link:
        assert isinstance(link, Loopback)
        assert "Operation not permitted" in link.description
        assert link.there.address == link.here.address == "127.0.0.1"
        assert link.wire_bytes() >= 0


def test_nothing_is_inside_a_holder_that_is_still_in_our_own_network() -> None:
    """What is inside is killed in the end: a holder interrupted too early must not stand for everybody."""
    with subprocess.Popen(["sleep", "60"]) as holder:
        try:
            assert Namespace(holder.pid).processes() == []
        finally:
            holder.kill()


def test_nothing_is_inside_a_holder_that_has_ended() -> None:
    with subprocess.Popen(["true"]) as holder:
        holder.wait(10)
    assert Namespace(holder.pid).processes() == []


@needs_namespaces
def test_a_namespace_goes_with_what_runs_in_it() -> None:
    with namespace() as space, subprocess.Popen(space.command("sleep", "60")) as process:
        deadline = time.monotonic() + 10
        while process.pid not in space.processes() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.pid in space.processes()
        space.clear()
        assert process.wait(10) != 0
        holder = space.holder
    assert not Path(f"/proc/{holder}").exists()


@needs_namespaces
def test_bytes_on_the_cable_are_counted() -> None:
    with open_link(1000) as link:
        assert isinstance(link, Cable)
        before = link.wire_bytes()
        assert link.there.namespace
        received = "import socket, sys; s = socket.create_server((sys.argv[1], 7)); c, _ = s.accept(); c.recv(9)"
        with subprocess.Popen(link.there.command("python3", "-c", received, ADDRESSES[0])) as server:
            while not link.there.listens(7):
                time.sleep(0.01)
            sent = "import socket, sys; socket.create_connection((sys.argv[1], 7)).sendall(b'x' * 1_000_000)"
            subprocess.run(link.here.command("python3", "-c", sent, ADDRESSES[0]), check=False, timeout=20)
            server.wait(20)
        assert link.wire_bytes() > before
