"""Syncthing, two instances without a user interface, driven by their REST API over UNIX sockets.

They know each other's address and nothing else: discovery, relays, NAT traversal, usage reports and upgrades are off.
"""

import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Meter
from benchmarks.namespaces import End
from benchmarks.peers import Pair
from benchmarks.peers.program import ProgramPeer, Programs, Words, needed
from benchmarks.processes import free_port, server, wait_until

POLL_EVERY = 0.02
"""Seconds between two questions whether the copy is complete."""

ANSWER_DEADLINE = 120.0
"""Seconds for one answer: that to a scan comes when the scan is done."""

FOLDER = "bench"

CONFIG = """<configuration version="36">
  <folder id="{folder}" path="{path}" type="sendreceive" rescanIntervalS="0" fsWatcherEnabled="false">
    <device id="{own}"/><device id="{other}"/><minDiskFree unit="">0</minDiskFree>
  </folder>
  <device id="{own}" name="own"><address>dynamic</address></device>
  <device id="{other}" name="other"><address>tcp://{address}</address><paused>{paused}</paused></device>
  <gui enabled="true" tls="false"><address>{gui}</address><apikey>{key}</apikey></gui>
  <options>
    <listenAddress>tcp://{listen}</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled><localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled><stunServer></stunServer>
    <urAccepted>-1</urAccepted><crashReportingEnabled>false</crashReportingEnabled>
    <autoUpgradeIntervalH>0</autoUpgradeIntervalH><startBrowser>false</startBrowser>
    <setLowPriority>false</setLowPriority><reconnectionIntervalS>1</reconnectionIntervalS>
  </options>
</configuration>
"""
"""Both scan when they are told to: scans by the clock or a watcher would fall into other measurements."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket, which is reached from outside a network namespace."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Instance:
    """One Syncthing: its home, address, device id and API."""

    def __init__(self, home: Path, end: End) -> None:
        """Make its key."""
        self.home, self.end = home, end
        self.listen = f"{end.address}:{free_port()}"
        self.key = secrets.token_hex(16)
        self.gui = home / "gui"
        self.environment = {**os.environ, "STNOUPGRADE": "1", "STNORESTART": "1", "HOME": str(home)}
        command = [needed("syncthing"), "generate", f"--home={home}", "--no-default-folder", "--skip-port-probing"]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        found = re.search(r'<device id="([A-Z0-9-]+)"', (home / "config.xml").read_text())
        if not found:
            raise RuntimeError("syncthing generate made no device")
        self.device = found[1]

    def configure(self, folder: Path, other: "Instance", *, paused: bool) -> None:
        """Share `folder` with `other`; paused means not to connect yet."""
        config = CONFIG.format(
            folder=FOLDER,
            path=folder,
            own=self.device,
            other=other.device,
            address=other.listen,
            paused=str(paused).lower(),
            gui=self.gui,
            key=self.key,
            listen=self.listen,
        )
        (self.home / "config.xml").write_text(config)

    def command(self) -> list[str]:
        """Return the command line that runs it."""
        return self.end.command(needed("syncthing"), "serve", f"--home={self.home}", "--no-browser", "--no-restart")

    def ready(self) -> bool:
        """Return whether its API answers."""
        try:
            self.ask("GET", "system/ping")
        except (OSError, RuntimeError):
            return False
        return True

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """Ask its API; RuntimeError when it answers with an error."""
        connection = _Connection(self.gui)
        try:
            connection.request(method, f"/rest/{path}", headers={"X-API-Key": self.key})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        return dict(json.loads(body)) if body.strip().startswith(b"{") else {}

    def scan(self) -> None:
        """Look for changes; ends when that is done."""
        self.ask("POST", f"db/scan?folder={FOLDER}")


class Syncthing(ProgramPeer):
    """Two instances that run all the time; a sync is a scan on both sides, and what follows from it."""

    name = "Syncthing"
    programs: Programs = (("syncthing", "syncthing"),)
    version_of: Words = ("syncthing", "--version")

    def prepare(self, pair: Pair) -> None:
        """Start both; they have scanned their folders, and do not connect before the first sync."""
        homes = [pair.place / f"syncthing-{side}" for side in ("there", "here")]
        for home in homes:
            home.mkdir()
        self._source, self._copy = (
            Instance(home, end) for home, end in zip(homes, (self.link.there, self.link.here), strict=True)
        )
        self._source.configure(pair.source, self._copy, paused=False)
        self._copy.configure(pair.copy, self._source, paused=True)
        for instance, folder in ((self._source, pair.source), (self._copy, pair.copy)):
            (folder / ".stfolder").mkdir(exist_ok=True)
            process = self._stack.enter_context(
                server(instance.command(), instance.ready, instance.home / "log", instance.environment)
            )
            (self._there if instance is self._source else self._here).append(process.pid)
        for instance in (self._source, self._copy):
            instance.scan()
        self._connected = False

    def sync(self, meter: Meter) -> None:
        """Let them connect, or have both scan; done when the source knows that the copy has everything."""
        if self._connected:
            self._source.scan()
            self._copy.scan()
        else:
            self._copy.ask("POST", f"system/resume?device={self._source.device}")
            wait_until(self._meet, meter.remaining, "they did not connect")
            self._connected = True
        while not self._complete():
            meter.check()
            time.sleep(POLL_EVERY)

    def _meet(self) -> bool:
        connections = self._source.ask("GET", "system/connections")["connections"]
        return bool(connections.get(self._copy.device, {}).get("connected"))

    def _complete(self) -> bool:
        state = self._source.ask("GET", f"db/completion?folder={FOLDER}&device={self._copy.device}")
        left = state["needItems"] + state["needBytes"] + state["needDeletes"]
        return not left and state.get("remoteState", "valid") == "valid"
