"""What is in a directory, for the picker and the forms: names or why not, read in threads that may hang.

A directory may be huge and its disk slow or gone. So no entry is looked at one by one where the directory itself says
what it is, what is read and what is shown is bounded, and every read has a deadline.
"""

import asyncio
import contextlib
import heapq
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from leafsync.bridge import path_problem
from leafsync.text import printable

T = TypeVar("T")

MAX_SHOWN = 500
"""Entries of one directory in the tree: more than anybody scrolls through, few enough to lay out in a moment."""

MAX_READ = 100_000
"""Entries of one directory that are read at most: a few tenths of a second on a local disk."""

MAX_LINKS = 200
"""Symlinks of one directory that are looked through: each costs a request to wherever it leads."""

READ_SECONDS = 15.0
"""How long a directory may take before the picker says that it does not answer."""

LOOK_EVERY = 1000
"""Entries between two looks at whether the reading is still wanted."""

MISSING = "it does not exist"
NOT_ALLOWED = "you may not read it"

WORDS: dict[type[Exception], str] = {
    FileNotFoundError: MISSING,
    NotADirectoryError: "it is not a directory",
    PermissionError: NOT_ALLOWED,
    TimeoutError: f"it did not answer within {READ_SECONDS:.0f} s",
    ValueError: "no file can be called so",
}
"""What is said of errors that anybody may meet, and of names that cannot be, on which each Python has words of its own;
of others, what the system says."""

_OWN_BEGIN = (".leaf", "leaf")
"""What every spelling of them in ASCII begins with."""

_RESERVED = path_problem(".leafsync_trash")
"""What the rules say of LeafSync's own directories, in any spelling."""


class Found(msgspec.Struct, frozen=True):
    """An entry of a directory."""

    name: str
    directory: bool
    """Whether it can be opened."""
    link: bool = False


class Listing(msgspec.Struct, frozen=True):
    """What was found in a directory."""

    entries: tuple[Found, ...] = ()
    """Directories first, then by name; at most `MAX_SHOWN`."""
    left_off: int = 0
    """How many more there are."""
    files: int = 0
    """Files that were counted and not listed."""
    cut: bool = False
    """Whether the reading ended early, so that the figures are too low."""
    reason: str = ""
    """Why it cannot be opened, in words, or ""."""


class Wanted(msgspec.Struct, frozen=True):
    """Which entries of a directory are wanted."""

    files: bool = False
    """Files too, and not directories alone."""
    hidden: bool = False
    """Names that begin with a dot too."""
    follow: bool = True
    """Whether a symlink to a directory counts as one. LeafSync follows none inside a folder."""
    beginning: str = ""
    """What the names begin with."""
    also: str = ""
    """A name that is listed in any case: not hidden, and not left off."""


Stopped = Callable[[], bool]
"""Says whether nobody waits for the result any more."""


def never() -> bool:
    """Say that the result is wanted."""
    return False


async def in_thread(call: Callable[[Stopped], T], seconds: float = READ_SECONDS) -> T:
    """Run a call that may hang. Raises TimeoutError after `seconds`, and what the call raises.

    Each call has a daemon thread of its own: one that a dead mount holds keeps neither other work nor the end of the
    program waiting.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # T may be None itself

    def run() -> None:
        result, error = None, None
        try:
            result = call(stop.is_set)
        except Exception as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="leafsync picker", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await done
    finally:
        stop.set()


def list_directory(path: str, wanted: Wanted, stopped: Stopped = never) -> Listing:
    """Return what is wanted of the directory at `path`. Blocks; never raises OSError, the listing has the reason."""
    try:
        with os.scandir(path) as entries:
            return sift(entries, wanted, stopped)
    except (OSError, ValueError) as error:
        return Listing(reason=reason_of(error))


def sift(entries: Iterable["os.DirEntry[str]"], wanted: Wanted, stopped: Stopped = never) -> Listing:
    """Return what is wanted of the entries of a directory, reading at most `MAX_READ` of them."""
    sieve = _Sieve(wanted, stopped)
    best = heapq.nsmallest(MAX_SHOWN, sieve.kept(entries), key=_order)
    left_off = sieve.count - len(best)
    if sieve.also is not None and sieve.also not in best:
        best[-1] = sieve.also  # something was left off, so there is a last one
        best.sort(key=_order)
    return Listing(tuple(best), left_off, sieve.files, sieve.cut)


class _Sieve:
    """Lets through what is wanted, and counts."""

    def __init__(self, wanted: Wanted, stopped: Stopped) -> None:
        self.count = 0
        self.files = 0
        self.cut = False
        self.also: Found | None = None
        self._links = 0
        self._wanted = wanted
        self._stopped = stopped

    def kept(self, entries: Iterable["os.DirEntry[str]"]) -> Iterator[Found]:
        """Yield what is wanted."""
        wanted = self._wanted
        for at, entry in enumerate(entries):
            if at >= MAX_READ or (at % LOOK_EVERY == 0 and self._stopped()):
                self.cut = True
                return
            name = entry.name
            if not name.startswith(wanted.beginning):
                continue
            if not is_offered(name, hidden=wanted.hidden or name == wanted.also):
                continue
            found = self._look(entry)
            if found.directory or wanted.files:
                self.count += 1
                if name == wanted.also:
                    self.also = found
                yield found
            else:
                self.files += 1

    def _look(self, entry: "os.DirEntry[str]") -> Found:
        link = entry.is_symlink()
        self._links += link
        try:
            directory = entry.is_dir(follow_symlinks=self._wanted.follow and self._links <= MAX_LINKS)
        except OSError:
            directory = False  # what cannot even be looked at cannot be opened either
        return Found(entry.name, directory, link)


def _order(found: Found) -> tuple[bool, str, str]:
    return not found.directory, found.name.casefold(), found.name


def is_own(path: str) -> bool:
    """Say whether a component of `path` is one of LeafSync's own directories."""
    return any(_is_own_name(name) for name in path.split("/"))


def _is_own_name(name: str) -> bool:
    if name.isascii() and not name.lower().startswith(_OWN_BEGIN):
        return False  # nearly all names, and there may be very many
    return path_problem(name) == _RESERVED


def is_offered(name: str, *, hidden: bool) -> bool:
    """Say whether an entry of that name is offered at all."""
    return (hidden or not name.startswith(".")) and not is_own(name)


def folder_problem(path: str, _stopped: Stopped = never) -> str:
    """Return why the directory at `path` cannot be taken as a folder, or "". Blocks."""
    if is_own(path):
        return "LeafSync keeps its own files there"
    try:
        with os.scandir(path):
            return "" if os.access(path, os.X_OK) else NOT_ALLOWED
    except (OSError, ValueError) as error:
        return reason_of(error)


def reason_of(error: Exception) -> str:
    """Return what an error says, in words for people and escaped."""
    for kind, words in WORDS.items():
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror)
    return printable(str(error) or type(error).__name__)
