"""rsync as the peer to measure against: over ssh and from its own daemon, both on loopback with throw-away settings."""

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_DEADLINE = 10.0
"""Seconds for a daemon to listen."""


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield
        finally:
            process.terminate()


@contextmanager
def daemon(folder: Path, work: Path) -> Iterator[list[str]]:
    """Serve `folder` with rsync's daemon; yields the command line that pulls it, but for the target."""
    port = free_port()
    settings = work / "rsyncd.conf"
    settings.write_text(
        f"use chroot = no\nuid = {getpass.getuser()}\naddress = 127.0.0.1\n[folder]\npath = {folder}\nread only = yes\n"
    )
    command = ["rsync", "--daemon", "--no-detach", f"--port={port}", f"--config={settings}"]
    with _running(command, port):
        yield ["rsync", "-a", f"rsync://127.0.0.1:{port}/folder/"]


@contextmanager
def over_ssh(folder: Path, work: Path) -> Iterator[list[str] | None]:
    """Run an sshd of our own; yields the command line that pulls `folder`, or None where there is no sshd."""
    server = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if server is None:
        yield None
        return
    port, host_key, user_key = free_port(), work / "host_key", work / "user_key"
    for key in (host_key, user_key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (work / "authorized").write_text(user_key.with_suffix(".pub").read_text())
    settings = work / "sshd_config"
    settings.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {work / 'authorized'}\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    shell = (
        f"ssh -p {port} -i {user_key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
        f"-l {getpass.getuser()}"
    )
    with _running([server, "-D", "-f", str(settings)], port):
        yield ["rsync", "-a", "-e", shell, f"127.0.0.1:{folder}/"]
