"""The error tree. The class carries the exit code, its docstring is the sentence the user reads.

    LeafSyncError                      1  anything that failed
    ├── UsageError                     2  what was asked for cannot be done as asked
    │   ├── FolderMissing, FolderNotDirectory, FolderUnreadable, FolderRefused, FolderOwn, FolderIdentityLost,
    │   │   PathRefused
    │   ├── AddressMalformed, AddressUnusable, FingerprintMalformed, FingerprintOwn, DeviceUnknown, DeviceAmbiguous,
    │   │   DeviceExists
    │   ├── PathNotOffered, PassUnknown, PassAmbiguous, PathUnrestorable, ConflictUnknown
    │   └── ConfigMalformed, TrustMalformed, TrustUnwritable, IdentityUnusable, StoreUnusable
    ├── Unreachable                    4  the other device cannot be talked to (any more)
    │   └── AddressUnresolvable, ConnectTimedOut, ConnectionLost, PeerClosed, PeerStalled, StreamReset,
    │       StreamStopped, FolderUnready
    ├── TrustRefused                   5  one side does not accept the other
    │   └── PeerUnknown, PeerChanged, FingerprintMismatch, RefusedByPeer, TrustWithdrawn, SelfConnection
    ├── Busy                           6  something of ours is taken
    │   └── PortInUse, FolderInUse
    ├── IntegrityFailed                7  what arrived is not what it claims to be
    │   └── ProtocolViolated, RootMismatch, SentMismatch, VersionMismatch
    └── DiskFailed                     1  this device's disk refused
        └── DiskFull, EntryChanged (DirectoryNotEmpty), EntryRefused, EntryNewer, EntryNotKept

A docstring names its fields in braces; they are the keyword arguments of the constructor. Values are escaped when
they are put in, so a hostile name can never reach a terminal raw.
"""

import enum
from typing import ClassVar

from leafsync.text import printable


class ExitCode(enum.IntEnum):
    """What the process ends with. Scripts must take an unknown code as a failure."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    UNREACHABLE = 4
    TRUST = 5
    BUSY = 6
    INTEGRITY = 7
    INTERRUPTED = 130
    TERMINATED = 143


class LeafSyncError(Exception):
    """LeafSync failed: {reason}."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, **fields: object) -> None:
        super().__init__(fields)
        self.fields = fields

    def __str__(self) -> str:
        return self._sentence({name: printable(str(value)) for name, value in self.fields.items()})

    def behind(self, path: str) -> str:
        """Return the sentence as it reads behind `path` and a colon: if it is about that, it does not name it again."""
        if self.fields.get("path") != path:
            return str(self)
        shown = {name: printable(str(value)) for name, value in self.fields.items()}
        return self._sentence(shown | {"path": "it"}).removeprefix("it: ")

    def _sentence(self, shown: dict[str, str]) -> str:
        sentence = type(self).__doc__
        if sentence is None:  # python -OO leaves them out
            return f"{type(self).__name__}: {', '.join(f'{name} {value}' for name, value in shown.items())}"
        return " ".join(sentence.split()).format_map(shown)


class UsageError(LeafSyncError):
    """That cannot be done: {reason}."""

    exit_code = ExitCode.USAGE


class FolderMissing(UsageError):
    """The folder {path} does not exist. Create it, or name another one."""


class FolderNotDirectory(UsageError):
    """{path} is not a directory. Name a folder; for one file of it, add --file."""


class FolderUnreadable(UsageError):
    """The folder {path} cannot be opened ({reason}). Give this user the right to read it."""


class FolderRefused(UsageError):
    """{path} is {what}, and syncing all of it is rarely meant. Name a folder inside it, or add --force."""


class FolderOwn(UsageError):
    """{path} cannot be synced: {own} is LeafSync's own, and no other device may have or change that. Name another
    folder, or keep what is LeafSync's own elsewhere with LEAFSYNC_HOME."""


class FolderIdentityLost(UsageError):
    """The folder {path} is not the one it was: its marker is gone. Is its disk mounted? If it is meant to be a new
    folder, add --reset (nothing is deleted, the next pass compares everything anew)."""


class PathRefused(UsageError):
    """The path {path} cannot be synced: {reason}."""


class PathNotOffered(UsageError):
    """{peer} offers {offered} alone, not {path}. Give --file a path inside {offered}, or leave it out."""


class AddressMalformed(UsageError):
    """{address} is not an address: {reason}. Write host, host:port or [IPv6]:port."""


class AddressUnusable(UsageError):
    """This device cannot listen on {address}: {reason}."""


class FingerprintMalformed(UsageError):
    """{text} is not a fingerprint: it has 64 hexadecimal digits, shown by `leafsync id` on the other device."""


class FingerprintOwn(UsageError):
    """{fingerprint} is the fingerprint of this device itself. Trust the one that `leafsync id` shows on the other
    device."""


class DeviceUnknown(UsageError):
    """No trusted device is called {name}. `leafsync trust list` shows all."""


class DeviceAmbiguous(UsageError):
    """{name} stands for more than one trusted device. Give more of the fingerprint."""


class DeviceExists(UsageError):
    """A trusted device is called {name} already. Choose another name, or use `leafsync trust replace`."""


class PassUnknown(UsageError):
    """No pass is called {id}. `leafsync history` shows all."""


class PassAmbiguous(UsageError):
    """{id} stands for more than one pass. Give more of its name."""


class PathUnrestorable(UsageError):
    """The pass {id} left nothing of {path} to restore. `leafsync history` shows what it did."""


class ConflictUnknown(UsageError):
    """{copy} is not a conflict copy in this folder. `leafsync conflicts` shows all."""


class ConfigMalformed(UsageError):
    """The file {path} cannot be used: {reason}. It was left as it is; mend it or move it away."""


class TrustMalformed(UsageError):
    """The trust file {path} cannot be used: {reason}. Nobody is trusted until it is mended or moved away; it was left
    as it is."""


class TrustUnwritable(UsageError):
    """The trust file {path} could not be changed ({reason}), so it is as it was. See that its directory can be written,
    and try again."""


class IdentityUnusable(UsageError):
    """This device's key {path} cannot be used: {reason}."""


class StoreUnusable(UsageError):
    """The folder's records {path} cannot be used: {reason}. They were left as they are; move them away to start anew
    (nothing in the folder is touched, the next pass reads every file again)."""


class Unreachable(LeafSyncError):
    """{address} cannot be reached: {reason}."""

    exit_code = ExitCode.UNREACHABLE


class AddressUnresolvable(Unreachable):
    """{address} cannot be found: {reason}. Check the name."""


class ConnectTimedOut(Unreachable):
    """{address} did not answer within {seconds} s. Is `leafsync serve` running there, and UDP port {port} open?"""


class ConnectionLost(Unreachable):
    """The connection to {peer} was lost: {reason}. What was received is kept; run again to go on."""


class PeerClosed(Unreachable):
    """{peer} ended the connection: {reason}. What was received is kept; run again to go on."""


class PeerStalled(Unreachable):
    """{peer} sent nothing for {seconds} s. What was received is kept; run again to go on."""


class StreamReset(Unreachable):
    """{peer} gave up sending (code {code}). What was received is kept; run again to go on."""


class StreamStopped(Unreachable):
    """{peer} does not want what was being sent (code {code}). Run again to go on."""


class FolderUnready(Unreachable):
    """{peer} cannot use its folder now: {reason} Nothing was changed here."""


class TrustRefused(LeafSyncError):
    """The other device is not trusted: {reason}."""

    exit_code = ExitCode.TRUST


class PeerUnknown(TrustRefused):
    """The device at {address} is not trusted. If `leafsync id` there shows {fingerprint}, run:
    leafsync trust add {fingerprint}"""


class PeerChanged(TrustRefused):
    """WARNING: {address} was {name} with the fingerprint {expected}, and now shows {fingerprint}. Someone may be
    listening in. If that device really has a new key, run: leafsync trust replace {device} {fingerprint}"""


class FingerprintMismatch(TrustRefused):
    """{address} shows the fingerprint {fingerprint}, not {expected} as was asked for. Nothing was exchanged."""


class RefusedByPeer(TrustRefused):
    """{address} does not trust this device. Run there: leafsync trust add {fingerprint}"""


class TrustWithdrawn(TrustRefused):
    """{name} at {address} is not trusted any more, so the connection was closed."""


class SelfConnection(TrustRefused):
    """{address} is this device itself. Name the address of the other one."""


class Busy(LeafSyncError):
    """{what} is in use."""

    exit_code = ExitCode.BUSY


class PortInUse(Busy):
    """UDP port {port} is in use. Choose another with --port, or --port 0 for any free one."""


class FolderInUse(Busy):
    """The folder {path} is in use by another LeafSync{holder}. Stop that one first."""


class IntegrityFailed(LeafSyncError):
    """What {peer} sent is not what it claims to be: {reason}."""

    exit_code = ExitCode.INTEGRITY


class ProtocolViolated(IntegrityFailed):
    """{peer} broke the protocol: {reason}. The connection was closed, and nothing of it was kept."""


class RootMismatch(IntegrityFailed):
    """{path} from {peer} does not match its hash. It was not written."""


class SentMismatch(IntegrityFailed):
    """What this device sent to {peer} did not match its hash, and was not written there. Is a disk or memory here
    damaged?"""


class VersionMismatch(IntegrityFailed):
    """{peer} speaks {theirs}, this device {ours}. Update the older one."""


class DiskFailed(LeafSyncError):
    """{path}: {reason}."""


class DiskFull(DiskFailed):
    """There is no space left for {path}; the last 64 MiB of a disk are left alone. Old files are untouched, what was
    received is kept; free some space and run again."""


class EntryChanged(DiskFailed):
    """{path} was changed here meanwhile, so it was not replaced. The next pass looks at it again."""


class DirectoryNotEmpty(EntryChanged):
    """{path} was to be removed, but something is in it that came meanwhile or is not synced, so it was left as it
    is."""


class EntryRefused(DiskFailed):
    """{path} is not a regular file or directory inside the folder, so it was not touched."""


class EntryNewer(DiskFailed):
    """{path} is newer than what would come back, so it was left as it is. Move it away and restore again."""


class EntryNotKept(DiskFailed):
    """{path} is not in the trash any more, so it cannot come back."""
