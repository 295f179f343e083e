"""rsync over ssh, with an sshd of the run's own: its keys, settings and run directory are thrown away after it."""

import getpass
import os
import subprocess
from pathlib import Path

from benchmarks.measure import Meter
from benchmarks.peers import Pair
from benchmarks.peers.program import ProgramPeer, Programs, Words, needed
from benchmarks.processes import free_port, server

PULL = ("rsync", "-a", "--delete")
"""Everything a copy has, deletes too: what the other tools do."""

PRIVATE_RUN = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'
"""sshd of root wants /run/sshd: it gets one in a mount namespace of its own, and the machine's /run stays as it is."""


class RsyncSsh(ProgramPeer):
    """`rsync -a --delete -e ssh`, run at the copy's end."""

    name = "rsync over ssh"
    programs: Programs = (("rsync", "rsync"), ("ssh", "openssh-client"), ("sshd", "openssh-server"))
    version_of: Words = ("rsync", "--version")
    options: Words = ()

    def prepare(self, pair: Pair) -> None:
        """Start sshd."""
        port, keys = free_port(), pair.place / "ssh"
        keys.mkdir(mode=0o700)
        for key in ("host", "user"):
            subprocess.run([needed("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", keys / key], check=True)
        settings = keys / "sshd_config"
        settings.write_text(
            f"Port {port}\nListenAddress {self.link.there.address}\nHostKey {keys / 'host'}\n"
            f"AuthorizedKeysFile {keys / 'user.pub'}\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\nPidFile none\n"
        )
        daemon = [needed("sshd"), "-D", "-e", "-f", str(settings)]
        if os.geteuid() == 0:
            daemon = [needed("unshare"), "--mount", "--", "sh", "-c", PRIVATE_RUN, "sh", *daemon]
        there = self.link.there
        process = self._stack.enter_context(server(there.command(*daemon), lambda: there.listens(port), keys / "log"))
        self._there = [process.pid]
        self._command = self.link.here.command(
            *PULL, *self.options, "-e", self._shell(keys, port), f"{there.address}:{pair.source}/", f"{pair.copy}/"
        )

    def _shell(self, keys: Path, port: int) -> str:
        known = keys / "known"
        known.write_text(f"[{self.link.there.address}]:{port} {(keys / 'host.pub').read_text()}")
        return (
            f"{needed('ssh')} -F none -p {port} -i {keys / 'user'} -o IdentitiesOnly=yes -o IdentityAgent=none "
            f"-o BatchMode=yes -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null "
            f"-o StrictHostKeyChecking=yes -o LogLevel=ERROR -l {getpass.getuser()}"
        )

    def sync(self, meter: Meter) -> None:
        """Run rsync once."""
        meter.run(self._command)


class RsyncSshCompressed(RsyncSsh):
    """The same with `-z`, for content that compresses."""

    name = "rsync -z over ssh"
    options: Words = ("-z",)
