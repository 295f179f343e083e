"""rsync's own daemon: no encryption, so what a link and two disks allow is all that limits it."""

import getpass

from benchmarks.measure import Meter
from benchmarks.peers import Pair
from benchmarks.peers.program import ProgramPeer, Programs, Words, needed
from benchmarks.peers.rsync_ssh import PULL
from benchmarks.processes import free_port, server


class RsyncDaemon(ProgramPeer):
    """`rsync -a --delete rsync://...`, run at the copy's end."""

    name = "rsync daemon"
    programs: Programs = (("rsync", "rsync"),)
    version_of: Words = ("rsync", "--version")

    def prepare(self, pair: Pair) -> None:
        """Start the daemon."""
        port, there = free_port(), self.link.there
        settings = pair.place / "rsyncd.conf"
        settings.write_text(
            f"use chroot = no\nuid = {getpass.getuser()}\ngid = *\naddress = {there.address}\n"
            f"[folder]\npath = {pair.source}\nread only = yes\n"
        )
        command = there.command(needed("rsync"), "--daemon", "--no-detach", f"--port={port}", f"--config={settings}")
        process = self._stack.enter_context(server(command, lambda: there.listens(port), pair.place / "rsyncd.log"))
        self._there = [process.pid]
        self._command = self.link.here.command(*PULL, f"rsync://{there.address}:{port}/folder/", f"{pair.copy}/")

    def sync(self, meter: Meter) -> None:
        """Run rsync once."""
        meter.run(self._command)
