"""Unison, without its user interface, over a socket of its own: not encrypted, which spares it ssh."""

import os

from benchmarks.measure import Meter
from benchmarks.peers import Pair
from benchmarks.peers.program import ProgramPeer, Programs, Words, needed
from benchmarks.processes import free_port, server

OPTIONS = ("-ui", "text", "-batch", "-auto", "-silent", "-times", "-confirmbigdel=false", "-log=false")
"""No questions, whatever is deleted; times are synced, as with the others."""


class Unison(ProgramPeer):
    """`unison COPY socket://...`, run at the copy's end."""

    name = "Unison (socket)"
    programs: Programs = (("unison", "unison"),)
    version_of: Words = ("unison", "-version")
    slack = 1_000_000_000

    def prepare(self, pair: Pair) -> None:
        """Start the server."""
        port, there = free_port(), self.link.there
        homes = [pair.place / f"unison-{side}" for side in ("there", "here")]
        for home in homes:
            home.mkdir()
        environments = [{**os.environ, "UNISON": str(home)} for home in homes]
        command = there.command(needed("unison"), "-socket", str(port), "-listen", there.address)
        process = self._stack.enter_context(
            server(command, lambda: there.listens(port), pair.place / "unison.log", environments[0])
        )
        self._there = [process.pid]
        self._environment = environments[1]
        root = f"socket://{there.address}:{port}/{pair.source}"
        self._command = self.link.here.command(needed("unison"), str(pair.copy), root, *OPTIONS)

    def sync(self, meter: Meter) -> None:
        """Run it once."""
        meter.run(self._command, self._environment)
