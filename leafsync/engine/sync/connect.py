"""The pulling side of one connection: HELLO, then passes that make this folder like the other one."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from leafsync import __version__
from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.listing import MAX_ENTRIES, ListingCheck, ListingMalformed
from leafsync.engine.core.messages import (
    FEATURES,
    MAX_FRAME,
    MAX_ITEMS,
    PROTOCOL_VERSION,
    CloseCode,
    ControlReply,
    Digest,
    DigestRequest,
    Hello,
    Listing,
    ListRequest,
    Welcome,
    control_replies,
)
from leafsync.engine.core.names import join
from leafsync.engine.core.options import ConnectOptions
from leafsync.engine.core.plan import plan_pull
from leafsync.engine.core.status import PassState, PassSummary
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.apply import Application
from leafsync.engine.sync.channel import REPLY_DEADLINE, SCAN_DEADLINE, Channel, patiently, violated
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.share import Share
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import VersionMismatch

HELLO_DEADLINE = 10.0
"""Seconds for the answer to HELLO, which needs no work on the other side."""

REQUEST_BYTES = MAX_FRAME // 2
"""Bytes of paths in one LIST, well below the frame's cap."""

MAX_LISTED_TEXT = 256 << 20
"""Characters of names and link targets that one pass takes in (fault case 42)."""


class Puller:
    """Passes over one connection."""

    def __init__(
        self,
        connection: Connection,
        share: Share,
        options: ConnectOptions,
        *,
        device_name: str,
        on_state: Callable[[PassState, Progress], None],
    ) -> None:
        """Pull into `share`; `on_state` is told what the pass does whenever that changes."""
        self.peer_name = ""
        self._connection = connection
        self._share = share
        self._options = options
        self._device_name = device_name
        self._on_state = on_state
        self._round_trips = 0
        self._listed_entries = self._listed_text = 0
        self._control: Channel[ControlReply]

    async def greet(self) -> None:
        """Say HELLO; afterwards the other side is known to have accepted this device.

        Raises RefusedByPeer, VersionMismatch, PeerStalled, PeerClosed, ProtocolViolated.
        """
        stream = await self._connection.open_stream()
        self._control = Channel(self._connection, stream, control_replies)
        await self._control.send(
            Hello([PROTOCOL_VERSION], list(FEATURES), self._device_name, f"leafsync {__version__}")
        )
        welcome = await self._control.receive(deadline=HELLO_DEADLINE)
        if not isinstance(welcome, Welcome):
            raise violated(self._connection, "it did not answer HELLO with WELCOME")
        if welcome.version != PROTOCOL_VERSION:
            self._connection.close(CloseCode.VERSION, "no version in common")
            raise VersionMismatch(
                peer=self._connection.address,
                theirs=f"version {welcome.version}",
                ours=f"version {PROTOCOL_VERSION}",
            )
        self.peer_name = welcome.name

    async def run_pass(self) -> PassSummary:
        """Do one pass: compare, plan, bring what is missing, and say what was done.

        Raises Unreachable, IntegrityFailed or DiskFailed when it could not be done to the end.
        """
        started = time.monotonic()
        self._round_trips = 0
        self._listed_entries = self._listed_text = 0
        connection = self._connection
        progress = Progress(lambda: (connection.bytes_received, connection.bytes_sent))
        self._on_state(PassState.SCANNING, progress)
        async with task_group() as tasks:
            asking = tasks.create_task(self._digest())
            scanning = tasks.create_task(self._share.scan())
        remote, scan = asking.result(), scanning.result()
        local = scan.index.only(self._options.file) if self._options.file else scan.index
        application = Application(connection, self._share, local, progress, self._options)
        check = ListingCheck()
        if remote.digest != local.digest:
            self._on_state(PassState.COMPARING, progress)
            listings = await self._listings(local, remote, check)
            plan = plan_pull(
                local,
                listings,
                mirror=self._options.mirror,
                allow_deletes=self._options.allow_deletes,
                ignored=scan.ignore.ignored,
                folds_names=self._share.folder.folds_names,
            )
            self._on_state(PassState.TRANSFERRING, progress)
            await application.carry_out(plan, now=datetime.now().astimezone())
        problems = [*local.problems, *check.problems, *application.problems]
        self._on_state(PassState.IN_SYNC, progress)
        return PassSummary(
            totals=progress.totals,
            seconds=time.monotonic() - started,
            directories=application.directories,
            links=application.links,
            touched=application.touched,
            trashed=tuple(application.trashed),
            held=tuple(application.held),
            problems=tuple((problem.path, problem.reason) for problem in problems),
            remote_problems=remote.problems,
            round_trips=self._round_trips,
        )

    async def _digest(self) -> Digest:
        await self._control.send(DigestRequest(self._options.file))
        self._round_trips += 1
        reply = await self._control.receive(deadline=SCAN_DEADLINE)
        if not isinstance(reply, Digest):
            raise violated(self._connection, "it did not answer DIGEST")
        return reply

    async def _listings(self, local: Index, remote: Digest, check: ListingCheck) -> dict[str, Sequence[Entry]]:
        """Ask for the directories that differ, all of one level per round trip (DESIGN section 4)."""
        listings: dict[str, Sequence[Entry]] = {}
        level = {"": remote.digest}
        while level:
            self._round_trips += 1
            received = await self._level(list(level))
            below: dict[str, bytes] = {}
            for (path, digest), entries in zip(level.items(), received, strict=True):
                try:
                    listings[path] = check.directory(path, entries, digest)
                except ListingMalformed as error:
                    raise violated(self._connection, str(error)) from error
                below |= _differing(local, path, listings[path])
            level = below
        return listings

    async def _level(self, paths: Sequence[str]) -> list[list[Entry]]:
        """Ask for all `paths` while reading the answers: neither side ever waits for the other to read."""
        async with task_group() as tasks:
            tasks.create_task(self._ask(paths))
            answers = tasks.create_task(self._read(len(paths)))
        return answers.result()

    async def _ask(self, paths: Sequence[str]) -> None:
        for batch in _requests(paths):
            await self._control.send(ListRequest(batch))

    async def _read(self, directories: int) -> list[list[Entry]]:
        received: list[list[Entry]] = []
        for _directory in range(directories):
            entries: list[Entry] = []
            last = False
            while not last:
                page = await patiently(self._connection, lambda: self._control.receive(deadline=REPLY_DEADLINE))
                if not isinstance(page, Listing) or not (page.last or page.entries):
                    raise violated(self._connection, "it did not answer LIST")
                self._count(page.entries)
                entries += page.entries
                last = page.last
            received.append(entries)
        return received

    def _count(self, entries: Sequence[Entry]) -> None:
        """Bound what a server can make this device hold, before a listing is complete and can be checked."""
        self._listed_entries += len(entries)
        self._listed_text += sum(len(entry.name) + len(entry.target) for entry in entries)
        if self._listed_entries > MAX_ENTRIES or self._listed_text > MAX_LISTED_TEXT:
            raise violated(self._connection, "it lists more than a folder may hold")


def _differing(local: Index, path: str, entries: Sequence[Entry]) -> Iterator[tuple[str, bytes]]:
    """Yield the directories in the listing of `path` that are not the same here, with their digests."""
    for entry in entries:
        if entry.kind is Kind.DIRECTORY:
            child = join(path, entry.name)
            mine = local.entry(child)
            if mine is None or mine.kind is not Kind.DIRECTORY or mine.hash != entry.hash:
                yield child, entry.hash


def _requests(paths: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for path in paths:
        length = len(path.encode())
        if batch and (len(batch) >= MAX_ITEMS or size + length > REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch
