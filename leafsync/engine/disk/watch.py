"""The watcher: tells in which directories of a folder something changed, as soon as the system says so.

It only ever gives hints. What changed is for the scan to find, so LeafSync's own writes need no special treatment: a
directory that is as it was costs one listing.
"""

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator

from leafsync.engine.core.names import STAGING, TRASH, path_problem
from leafsync.engine.disk import inotify

_log = logging.getLogger("leafsync.disk")

DEBOUNCE_MS = 50
"""How long notices are gathered at most: far below what a person calls at once."""

STEP_MS = 10
"""How long it must be quiet for a batch to be whole. An editor saves with several calls within a few milliseconds."""

CLOSE_SECONDS = 2.0
"""How long closing waits for the thread; it looks ten times a second whether it is to end."""

_NOTIFY_STEP_MS = 20
"""watchfiles looks for notices this often, holding the GIL for an instant each time."""

_NOTIFY_TIMEOUT_MS = 100
"""After so long without a notice watchfiles lets us look after the folder; the first time tells that it watches."""

_POLL_DELAY_MS = 1000
"""How often watchfiles looks at every file when it has to poll."""

Source = Callable[[str, threading.Event, int, int], Iterable[frozenset[str] | None]]
"""Gives batches like `inotify.Changes`."""


class Watcher:
    """Watches one folder in a thread of its own."""

    def __init__(
        self,
        path: str,
        on_change: Callable[[frozenset[str] | None], None],
        on_failure: Callable[[str], None],
        *,
        debounce_ms: int = DEBOUNCE_MS,
        step_ms: int = STEP_MS,
        polling: bool = False,
        source: Source | None = None,
    ) -> None:
        """Prepare to watch the folder at `path`, which may be a symlink; nothing happens before `start`.

        `on_change` is told, from the thread, the relative directories in which something changed, None when anything
        may have: always at first, when everything is watched, so what is scanned after that call is never stale.
        `on_failure` is told why in a sentence, once, when watching is not possible or ends by itself; from then on
        only a scan finds changes. `polling` is for filesystems that give no notices. `source` is for tests.
        """
        self._path = os.path.realpath(path)
        self._on_change = on_change
        self._on_failure = on_failure
        self._stop = threading.Event()
        source = source or (_poll if polling else inotify.Changes if inotify.AVAILABLE else _notify)
        self._changes = source(self._path, self._stop, debounce_ms, step_ms)
        self._thread = threading.Thread(target=self._run, name="leafsync-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch. Call it once."""
        self._thread.start()

    def catch_up(self) -> bool:
        """Have `on_change` told of all that changed before this call, by this or the watching thread; blocks for as
        long as notices are gathered at most. False when that cannot be known, so that only a scan finds everything.
        """
        return isinstance(self._changes, inotify.Changes) and self._changes.catch_up(self._on_change)

    def close(self) -> None:
        """Stop watching; neither function is called after this. Not to be called from one of them."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        with contextlib.closing(self._batches()) as batches:
            for directories in batches:
                if self._stop.is_set():
                    return
                self._on_change(directories)

    def _batches(self) -> Generator[frozenset[str] | None, None, None]:
        try:
            yield from self._changes
            reason = "the system stopped giving notices"
        except inotify.Gone:
            reason = "it is not there any more"
        except (OSError, RuntimeError) as error:  # watchfiles has a RuntimeError of its own
            reason = _reason(error)
        if not self._stop.is_set():
            _log.warning("watching ended: %s", reason)
            self._on_failure(
                f"Changes in {self._path} are no longer noticed at once: {reason}. It is scanned from time to time."
            )


def _reason(error: OSError | RuntimeError) -> str:
    text = str(error)
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOSPC or "watch limit" in text or f"os error {errno.ENOSPC}" in text:
        return "the system allows no more watches (raise the sysctl fs.inotify.max_user_watches)"
    if code == errno.EMFILE or f"os error {errno.EMFILE}" in text:
        return "the system allows no more watchers (raise the sysctl fs.inotify.max_user_instances)"
    if isinstance(error, FileNotFoundError):
        return "it is not there any more"
    return os.strerror(code) if code else text


def _poll(path: str, stop: threading.Event, debounce_ms: int, step_ms: int) -> Iterator[frozenset[str] | None]:
    return _notify(path, stop, debounce_ms, step_ms, polling=True)


def _notify(
    path: str, stop: threading.Event, debounce_ms: int, step_ms: int, *, polling: bool = False
) -> Iterator[frozenset[str] | None]:
    """Yield batches as `inotify.Changes` does, by watchfiles."""
    import watchfiles  # only where it is used: it brings an event loop library along

    root = os.stat(path)
    batches = watchfiles.watch(
        path,
        watch_filter=None,
        debounce=debounce_ms,
        step=max(step_ms, _NOTIFY_STEP_MS),
        stop_event=stop,
        rust_timeout=_NOTIFY_TIMEOUT_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
        force_polling=polling,
        poll_delay_ms=_POLL_DELAY_MS,
    )
    with contextlib.closing(batches):
        for number, batch in enumerate(batches):
            if not inotify.same_root(path, root):
                raise inotify.Gone
            if number == 0:
                yield None
            found = {directory for _, changed in batch if (directory := _directory_of(changed, path)) is not None}
            if found:
                yield frozenset(found)


def _directory_of(changed: str, root: str) -> str | None:
    """Return the directory of a changed path, relative to the folder; None when the folder cannot have it."""
    relative = changed.removeprefix(root.rstrip("/") + "/")
    if relative == changed or relative.partition("/")[0] in (STAGING, TRASH):
        return None
    directory = relative.rpartition("/")[0]
    return None if path_problem(directory) is not None else directory
