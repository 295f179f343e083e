"""The connecting side of one connection: what it asks the serving device, and what it makes of the answers."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from leafsync import __version__
from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.listing import MAX_ENTRIES, ListingCheck, ListingMalformed
from leafsync.engine.core.messages import (
    FEATURES,
    MAX_ITEMS,
    PROTOCOL_VERSION,
    Changed,
    ChangeRequest,
    CloseCode,
    ControlReply,
    Digest,
    DigestRequest,
    Hello,
    Hint,
    LeftOut,
    LeftOutRequest,
    Listing,
    ListRequest,
    Pending,
    Refusal,
    Undone,
    UndoneRequest,
    Unready,
    Welcome,
    control_replies,
)
from leafsync.engine.core.names import join, narrower, path_problem
from leafsync.engine.core.paging import paged
from leafsync.engine.core.steps import Steps
from leafsync.engine.net.connection import Connection
from leafsync.engine.sync.changes import pages, to_changes
from leafsync.engine.sync.channel import REPLY_DEADLINE, SCAN_DEADLINE, Channel, Throttle, patiently, violated
from leafsync.engine.sync.progress import Progress
from leafsync.engine.sync.sender import Offer, Sender
from leafsync.engine.sync.tasks import task_group
from leafsync.errors import FolderUnready, PathNotOffered, PeerStalled, StreamReset, StreamStopped, VersionMismatch

Known = Callable[[str, bytes], Sequence[Entry] | None]
"""(directory, digest) -> its listing with that digest, None when it has to be asked for."""

HELLO_DEADLINE = 10.0
"""Seconds for the answer to HELLO, which needs no work on the other side."""

PATH_BYTES = 3
"""Bytes of a path in a LIST beside its text."""

ASKED_BYTES = 5
"""Bytes of an entry in a LEFT OUT REQUEST beside its path."""

MAX_HINTS = 16
"""Hints between two digests, where one says it all: each gives an answer that is owed another deadline."""

MAX_LISTED_TEXT = 256 << 20
"""Characters of paths and targets that a server may list in one pass, as many as of the changes that go the other way.
Whole paths count: they are what this device holds, and short names far down have long ones (fault case 42)."""


class Client:
    """The conversation with one serving device."""

    def __init__(self, connection: Connection, *, device_name: str, rate_mbps: float | None = None) -> None:
        """Talk over `connection` as `device_name`."""
        self.welcome: Welcome
        """What the other side said of itself, after `greet`."""
        self.features: frozenset[str] = frozenset()
        """What both sides can do beyond what the protocol demands, after `greet`."""
        self.round_trips = 0
        self.hinted = False
        """Whether the other side's folder has changed since its last digest."""
        self._connection = connection
        self._device_name = device_name
        self._throttle = Throttle(rate_mbps, lambda: connection.bytes_sent)
        self._listed_entries = self._listed_text = self._hints = 0
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
        welcome = await self._reply(HELLO_DEADLINE)
        if not isinstance(welcome, Welcome):
            raise violated(self._connection, "it did not answer HELLO with WELCOME")
        if welcome.version != PROTOCOL_VERSION:
            self._connection.close(CloseCode.VERSION, "no version in common")
            raise VersionMismatch(
                peer=self._connection.address,
                theirs=f"version {welcome.version}",
                ours=f"version {PROTOCOL_VERSION}",
            )
        if path_problem(welcome.only):
            raise violated(self._connection, "it offers a path that cannot be")
        self.welcome = welcome
        self.features = frozenset(FEATURES).intersection(welcome.features)

    def offered(self, only: str) -> str:
        """Return what of the path `only`, "" for all, the other side offers: that is what passes can be about.

        Raises PathNotOffered.
        """
        offered = narrower(only, self.welcome.only)
        if offered is None:
            raise PathNotOffered(peer=self._connection.address, offered=self.welcome.only, path=only)
        return offered

    async def _reply(self, deadline: float | None) -> ControlReply | None:
        """Return the next answer; a hint may come before it."""
        while isinstance(reply := await self._control.receive(deadline=deadline), Hint):
            self._hint()
        return reply

    def _hint(self) -> None:
        self.hinted = True
        self._hints += 1
        if self._hints > MAX_HINTS:
            raise violated(self._connection, f"it hinted more than {MAX_HINTS} times at the same change")

    async def wait_for_hint(self) -> None:
        """Return when the other side's folder has changed. May be cancelled; nothing else may be asked meanwhile."""
        while not self.hinted:
            if not isinstance(await self._control.receive(), Hint):
                raise violated(self._connection, "it answered what was not asked")
            self._hint()

    # Comparing

    async def digest(self, only: str) -> Digest:
        """Return the digest of the other side's folder, or of the path `only` of it, as it is now.

        Raises FolderUnready when that folder cannot be used now.
        """
        self._listed_entries = self._listed_text = 0
        await self._control.send(DigestRequest(only))
        self.round_trips += 1
        reply = await self._reply(SCAN_DEADLINE)
        if isinstance(reply, Unready):
            raise FolderUnready(peer=self._connection.address, reason=reply.reason)
        if not isinstance(reply, Digest):
            raise violated(self._connection, "it did not answer DIGEST")
        self.hinted = False  # a hint that came before the digest is in it
        self._hints = 0
        return reply

    async def listings(
        self, local: Index, remote: Digest, known: Known, check: ListingCheck
    ) -> dict[str, Sequence[Entry]]:
        """Return the listing of every directory that differs from the local one.

        All directories of one level are asked for in one round trip, but those that are `known`.
        """
        listings: dict[str, Sequence[Entry]] = {}
        level = {"": remote.digest}
        while level:
            found = {path: known(path, digest) for path, digest in level.items()}
            unknown = {path: level[path] for path, entries in found.items() if entries is None}
            listed = await self._level(unknown, check) if unknown else {}
            below: dict[str, bytes] = {}
            for path, entries in found.items():
                listings[path] = listed[path] if entries is None else entries
                below |= _differing(local, path, listings[path])
            level = below
        return listings

    async def _level(self, directories: Mapping[str, bytes], check: ListingCheck) -> dict[str, list[Entry]]:
        """Ask for all directories while reading the answers: neither side ever waits for the other to read."""
        self.round_trips += 1
        async with task_group() as tasks:
            tasks.create_task(self._ask(list(directories)))
            reading = tasks.create_task(self._read(directories, check))
        return reading.result()

    async def _ask(self, paths: Sequence[str]) -> None:
        for batch, _last in paged(paths, _path_cost, MAX_ITEMS):
            await self._control.send(ListRequest(batch))

    async def _read(self, directories: Mapping[str, bytes], check: ListingCheck) -> dict[str, list[Entry]]:
        listed: dict[str, list[Entry]] = {}
        for path, digest in directories.items():
            entries = await self._listing(path)
            try:
                listed[path] = check.directory(path, entries, digest)
            except ListingMalformed as error:
                raise violated(self._connection, str(error)) from error
            await asyncio.sleep(0)  # what has come already keeps nobody from the loop
        return listed

    async def _listing(self, path: str) -> list[Entry]:
        """Read all pages of the directory at `path`."""
        entries: list[Entry] = []
        last = False
        while not last:
            page = await patiently(self._connection, lambda: self._reply(REPLY_DEADLINE))
            if not isinstance(page, Listing) or not (page.last or page.entries):
                raise violated(self._connection, "it did not answer LIST")
            self._count(path, page.entries)
            entries += page.entries
            last = page.last
        return entries

    def _count(self, path: str, entries: Sequence[Entry]) -> None:
        """Bound what a server can make this device hold, before a listing is complete and can be checked."""
        self._listed_entries += len(entries)
        self._listed_text += sum(len(path) + len(entry.name) + len(entry.target) for entry in entries)
        if self._listed_entries > MAX_ENTRIES or self._listed_text > MAX_LISTED_TEXT:
            raise violated(self._connection, "it lists more than a folder may hold")

    async def left_out(self, entries: Iterable[tuple[str, bool]]) -> set[tuple[str, bool]]:
        """Return which of these, (path, whether it is a directory here), the other side leaves out: what a rule of it
        ignores or it withholds does not show whether it is there.
        """
        self.round_trips += 1
        batches = [batch for batch, _last in paged(entries, _asked_cost, MAX_ITEMS)]
        async with task_group() as tasks:
            tasks.create_task(self._ask_about(batches))
            reading = tasks.create_task(self._read_left_out(batches))
        return reading.result()

    async def _ask_about(self, batches: Iterable[list[tuple[str, bool]]]) -> None:
        for batch in batches:
            await self._control.send(LeftOutRequest(batch))

    async def _read_left_out(self, batches: Iterable[Sequence[tuple[str, bool]]]) -> set[tuple[str, bool]]:
        found: set[tuple[str, bool]] = set()
        for batch in batches:
            reply = await patiently(self._connection, lambda: self._reply(REPLY_DEADLINE))
            if not isinstance(reply, LeftOut) or not _ascending(reply.numbers, len(batch)):
                raise violated(self._connection, "it did not answer LEFT OUT REQUEST")
            found.update(batch[number] for number in reply.numbers)
        return found

    async def undone(self, since: int) -> dict[str, Entry]:
        """Return what undos on the other side after the one with this number have brought back, path -> entry."""
        self.round_trips += 1
        await self._control.send(UndoneRequest(since))
        found: dict[str, Entry] = {}
        last = False
        while not last:
            page = await patiently(self._connection, lambda: self._reply(REPLY_DEADLINE))
            if not isinstance(page, Undone) or not (page.last or page.entries):
                raise violated(self._connection, "it did not answer UNDONE REQUEST")
            if any(not path or path_problem(path) for path, _entry in page.entries):
                raise violated(self._connection, "it brought back what cannot be")
            for path, entry in page.entries:
                self._count(path, [entry])
            found.update(page.entries)
            last = page.last
        return found

    # Changing

    async def change(self, steps: Steps, offer: Callable[[], Offer], progress: Progress) -> list[Refusal]:
        """Have `steps` carried out on the other side, which takes content from `offer`; return what was not done.

        Raises Unreachable or IntegrityFailed.
        """
        self.round_trips += 1
        async with task_group() as tasks:
            accepting = tasks.create_task(self._accept(offer, progress))
            asked = 0
            for changes, last in pages(to_changes(steps)):
                asked += len(changes)
                await self._control.send(ChangeRequest(changes, last))
            refusals = await self._refusals(asked, progress)
            accepting.cancel()  # nothing more is owed, whatever streams are left open
        return refusals

    async def _accept(self, offer: Callable[[], Offer], progress: Progress) -> None:
        async with task_group() as tasks:
            while True:
                stream = await self._connection.accept_stream()
                sender = Sender(self._connection, stream, self._throttle, progress, self.features)
                tasks.create_task(_serve(sender, offer))

    async def _refusals(self, asked: int, progress: Progress) -> list[Refusal]:
        """Read what was not done of `asked` changes; the other side owes it once it has all content, which may take its
        time.
        """
        refusals: list[Refusal] = []
        last = False
        while not last:
            page = await self._changed(progress)
            if not isinstance(page, Changed) or not (page.last or page.refusals):
                raise violated(self._connection, "it did not answer CHANGE")
            refusals += page.refusals
            last = page.last
            if len(refusals) > asked + 1:  # one of everything may be among them
                raise violated(self._connection, "it refuses more than was asked for")
        return refusals

    async def _changed(self, progress: Progress) -> ControlReply | None:
        """Return the next answer; before it the other side may say that it is pending, as long as it takes content
        and for PENDING_DEADLINE after that.
        """
        connection, clock = self._connection, asyncio.get_running_loop()
        said, since, sent = 0, clock.time(), progress.sent
        while isinstance(reply := await patiently(connection, lambda: self._reply(CHANGE_DEADLINE)), Pending):
            if progress.sent != sent:
                said, since, sent = 0, clock.time(), progress.sent
            progress.pend()
            said += 1
            if said > MAX_PENDING:
                raise violated(connection, f"it said that the answer is pending more than {MAX_PENDING} times")
            if clock.time() - since > PENDING_DEADLINE:
                raise PeerStalled(peer=connection.address, seconds=f"{PENDING_DEADLINE:g}")
        return reply


CHANGE_DEADLINE = 300.0
"""Seconds in which the other side must move or say something while it changes its folder: a slow disk may have to
flush gigabytes before it does."""

PENDING_DEADLINE = 24 * 3600.0
"""Seconds in which the other side may say that the answer is pending and take nothing: others may have to bring
terabytes there first (10 TB at 1 Gbit/s). One that only ever says so holds up no more than a pass that it could refuse
anyway."""

MAX_PENDING = 10_000
"""Times in a row that it may say so: more than three times as many as come in PENDING_DEADLINE."""


async def _serve(sender: Sender, offer: Callable[[], Offer]) -> None:
    try:
        await sender.run(offer)
    except (StreamReset, StreamStopped):
        sender.give_up()  # as the other device did; what it does not have it says in its answer
    except asyncio.CancelledError:
        sender.give_up()
        raise


def _ascending(numbers: Sequence[int], end: int) -> bool:
    """Whether these are numbers below `end`, each larger than the one before."""
    return all(one < other for one, other in pairwise([*numbers, end]))


def _path_cost(path: str) -> int:
    return PATH_BYTES + len(path.encode())


def _asked_cost(entry: tuple[str, bool]) -> int:
    return ASKED_BYTES + len(entry[0].encode())


def _differing(local: Index, path: str, entries: Sequence[Entry]) -> Iterator[tuple[str, bytes]]:
    """Yield the directories in the listing of `path` that are not the same here, with their digests."""
    for entry in entries:
        if entry.kind is Kind.DIRECTORY:
            child = join(path, entry.name)
            mine = local.entry(child)
            if mine is None or mine.kind is not Kind.DIRECTORY or mine.hash != entry.hash:
                yield child, entry.hash
