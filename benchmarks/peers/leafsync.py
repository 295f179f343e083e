"""LeafSync: `serve` runs all the time, and every sync is a new `connect --once`."""

import leafsync
from benchmarks.devices import Device
from benchmarks.measure import Meter
from benchmarks.peers import Pair
from benchmarks.peers.program import ProgramPeer


class LeafSync(ProgramPeer):
    """`leafsync connect ADDR COPY --once`, run at the copy's end."""

    name = "LeafSync"

    def version(self) -> str:
        """Return the version of this checkout."""
        return leafsync.__version__

    def prepare(self, pair: Pair) -> None:
        """Serve the folder, and have it looked at: a server that runs has done so."""
        there, here = self.link.there, self.link.here
        server = Device(pair.place / "device-there", tuple(there.command()))
        self.client = Device(pair.place / "device-here", tuple(here.command()))
        server.trust(self.client, "here")
        self.client.trust(server, "there")
        serving = self._stack.enter_context(server.serving(pair.source, host=there.address))
        self._there = [serving["pid"]]
        self.address = f"{there.address}:{serving['port']}"
        elsewhere = pair.place / "elsewhere"
        elsewhere.mkdir()
        self.client.run("connect", self.address, elsewhere, "--dry-run", "--quiet")
        self._command = self.client.command("connect", self.address, pair.copy, "--once", "--quiet")

    def sync(self, meter: Meter) -> None:
        """Do one pass."""
        meter.run(self._command, self.client.environment)
