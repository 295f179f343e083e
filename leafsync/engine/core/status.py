"""What the engine shows of itself: frozen snapshots for the headless output, `--json` and the screens.

No keys and nothing secret is ever in here. Texts that came from a peer are raw: whoever shows them escapes them.
"""

import enum

import msgspec

from leafsync.engine.core.reconcile import Mode


class TransferState(enum.StrEnum):
    """Where one file's bytes are."""

    WAITING = "waiting"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"

    __hash__ = str.__hash__  # Enum would hash its name in Python, several times a file


MAX_MOVING = 32
"""Files in a snapshot: more than a live area shows. A list of all of them follows the job's log instead."""


class Direction(enum.StrEnum):
    """Which way content goes, as seen from this device."""

    IN = "in"
    OUT = "out"

    __hash__ = str.__hash__  # Enum would hash its name in Python, several times a file


class TransferStatus(msgspec.Struct, frozen=True):
    """One file on its way, or one that waits, has moved or has failed."""

    path: str
    size: int
    """Bytes of the whole file."""
    done: int
    """Bytes that are there and verified, wherever they came from."""
    state: TransferState
    error: str = ""
    direction: Direction = Direction.IN
    peer: str = ""
    """The name of the other device."""


class Totals(msgspec.Struct, frozen=True):
    """Sums over one pass."""

    files: int = 0
    """Files that the plan moves, in both directions."""
    files_done: int = 0
    bytes: int = 0
    """Bytes of those files."""
    bytes_done: int = 0
    """Bytes of them that are there and verified."""
    fetched: int = 0
    """Bytes of chunks that came over the wire."""
    sent: int = 0
    """Bytes of chunks that went over the wire."""
    reused: int = 0
    """Bytes of chunks that were here already: resumed, unchanged or holes."""
    wire_in: int = 0
    """UDP payload bytes received in this pass."""
    wire_out: int = 0
    """UDP payload bytes sent in this pass."""


class PassState(enum.StrEnum):
    """What a connecting job does now."""

    CONNECTING = "connecting"
    ASKING = "asking you about the other device"
    AWAITING = "waiting to be accepted there"
    SCANNING = "scanning"
    COMPARING = "comparing"
    TRANSFERRING = "transferring"
    SENDING = "sending"
    WAITING = "waiting for the other device"
    IN_SYNC = "in sync"
    RECONNECTING = "reconnecting"
    PAUSED = "paused"


class PeerStatus(msgspec.Struct, frozen=True):
    """A device this job talks to."""

    fingerprint: str
    name: str
    address: str
    activity: str
    """What it does now, in a word or two."""
    wire_in: int = 0
    wire_out: int = 0


class ServeStatus(msgspec.Struct, frozen=True):
    """A folder being served."""

    id: int
    folder: str
    port: int
    addresses: tuple[str, ...]
    read_only: bool
    file: str = ""
    """The path that is offered alone, "" for all of the folder."""
    paused: bool = False
    peers: tuple[PeerStatus, ...] = ()
    files: int | None = None
    """None until the folder was looked at, which the first device that connects has done."""
    bytes: int = 0
    problems: int = 0


class ConnectStatus(msgspec.Struct, frozen=True):
    """A folder being kept like another device's."""

    id: int
    folder: str
    address: str
    state: PassState
    mode: Mode = Mode.BOTH
    file: str = ""
    """The path that is kept the same alone, "" for all of the folder."""
    reason: str = ""
    """Why, in words, where the state alone does not say it."""
    peer: PeerStatus | None = None
    totals: Totals = msgspec.field(default_factory=Totals)
    transfers: tuple[TransferStatus, ...] = ()
    """Some of the files moving now: those that are not whole yet first, MAX_MOVING at most."""
    moving: int = 0
    """How many files are moving now."""
    retry_in: float = 0.0
    """Seconds until the next attempt while reconnecting."""


class Snapshot(msgspec.Struct, frozen=True):
    """Everything, at one time."""

    version: int
    """Rises with every change, so that a reader can skip what it has seen."""
    serving: tuple[ServeStatus, ...] = ()
    connecting: tuple[ConnectStatus, ...] = ()


class PassSummary(msgspec.Struct, frozen=True):
    """What one pass did."""

    totals: Totals
    seconds: float
    fetched: tuple[str, ...] = ()
    """Paths of files that were brought here."""
    directories: int = 0
    """Directories made here."""
    links: int = 0
    """Symlinks made here."""
    touched: int = 0
    """Files whose time or executable bit alone was set."""
    trashed: tuple[str, ...] = ()
    """Paths that went to the trash because the other side does not have them."""
    moved: tuple[tuple[str, str], ...] = ()
    """(from, to) of what was renamed here."""
    sent: tuple[str, ...] = ()
    """Paths of files and links that were brought to the other side."""
    remote_trashed: tuple[str, ...] = ()
    """Paths that went to the other side's trash."""
    remote_moved: tuple[tuple[str, str], ...] = ()
    """(from, to) of what was renamed on the other side."""
    remote_changes: int = 0
    """Everything else that was done on the other side: directories made, times set."""
    held: tuple[str, ...] = ()
    """Paths here that would have gone to the trash, held back because they are too many."""
    remote_held: tuple[str, ...] = ()
    """The same on the other side."""
    conflicts: tuple[tuple[str, str], ...] = ()
    """(path, conflict copy) of what both sides had changed."""
    notes: tuple[tuple[str, str], ...] = ()
    """(path, sentence) of what somebody may wonder about."""
    planned: bool = False
    """Whether this is only what a pass would do (--dry-run): then nothing was done."""
    problems: tuple[tuple[str, str], ...] = ()
    """(path, reason) of what could not be synced."""
    remote_problems: int = 0
    """Entries that the other side could not offer."""
    round_trips: int = 0
    """Questions on the control stream that waited for an answer."""

    @property
    def partial(self) -> bool:
        """Whether something that should be the same is not."""
        return bool(self.held or self.remote_held or self.conflicts or self.problems or self.remote_problems)

    @property
    def changed(self) -> bool:
        """Whether the pass changed anything, on either side."""
        here = self.directories or self.links or self.touched or self.trashed or self.moved
        there = self.sent or self.remote_trashed or self.remote_moved or self.remote_changes
        return bool(self.totals.files_done or here or there)
