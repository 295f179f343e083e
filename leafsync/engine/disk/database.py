"""The SQLite file below the store: opened with care, brought up to date, used in short transactions.

Several threads and several processes may use it at once (`leafsync restore` while a folder is served): every access is
one short transaction, and one that has to wait does so for `BUSY_SECONDS` at most.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from leafsync.engine.core.ownfiles import file_problem
from leafsync.engine.disk.closing import Closing
from leafsync.errors import DiskFailed, DiskFull, StoreUnusable

APPLICATION_ID = 0x4C656166
"""In the header of the file ("Leaf"), so that a database of another program is never taken for ours."""

BUSY_SECONDS = 5.0
"""How long to wait for another process that writes; its transactions take milliseconds."""

RETRY_SECONDS = 0.01
"""Between two attempts where SQLite does not wait by itself."""

_checking = threading.Lock()
"""Held while a new file is made: see `_check_file`."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE hashes (mark INTEGER PRIMARY KEY, root BLOB NOT NULL, racy INTEGER NOT NULL,"
        " checksum BLOB NOT NULL)",
        "CREATE INDEX racy_hashes ON hashes (mark) WHERE racy",
        "CREATE TABLE leaves (mark INTEGER PRIMARY KEY, leaves BLOB NOT NULL, checksum BLOB NOT NULL)",
        "CREATE TABLE staged (name TEXT PRIMARY KEY, path TEXT NOT NULL, root BLOB NOT NULL, size INTEGER NOT NULL,"
        " bitmap BLOB NOT NULL, UNIQUE (path, root))",
    ),
    (
        "CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, marked INTEGER NOT NULL,"
        " inode INTEGER NOT NULL)",
        "CREATE TABLE bases (number INTEGER PRIMARY KEY, peer TEXT NOT NULL, remote TEXT NOT NULL,"
        " digest BLOB NOT NULL, directories INTEGER NOT NULL, checksum BLOB NOT NULL, UNIQUE (peer, remote))",
        "CREATE TABLE listings (base INTEGER NOT NULL, path TEXT NOT NULL, checksum BLOB NOT NULL,"
        " entries BLOB NOT NULL, UNIQUE (base, path))",
        "CREATE TABLE passes (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
        " record BLOB NOT NULL, checksum BLOB NOT NULL)",
    ),
    (
        "CREATE TABLE held (peer TEXT NOT NULL, remote TEXT NOT NULL, paths BLOB NOT NULL, checksum BLOB NOT NULL,"
        " UNIQUE (peer, remote))",
    ),
    (
        "CREATE TABLE given (path TEXT PRIMARY KEY, mtime INTEGER NOT NULL, executable INTEGER NOT NULL,"
        " stored INTEGER NOT NULL, checksum BLOB NOT NULL)",
    ),
    (
        "ALTER TABLE passes ADD COLUMN undo INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX undos ON passes (number) WHERE undo",
        "CREATE TABLE heeded (peer TEXT NOT NULL, remote TEXT NOT NULL, offered TEXT NOT NULL, undo INTEGER NOT NULL,"
        " UNIQUE (peer, remote, offered))",
    ),
)
"""Each brings the tables from one version to the next, statement by statement; only ever append."""

SCHEMA_VERSION = len(_MIGRATIONS)


class Database(Closing):
    """An open SQLite file. Thread-safe. Every method raises StoreUnusable, DiskFull or DiskFailed."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Take over an open connection; see `open`."""
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at `path`, or make it, for this user alone.

        Raises StoreUnusable when it is damaged, another program's or a newer version's, when others could have
        written it, or this user cannot; the file stays as it is. An empty file is a new one: a run was killed before
        anything was in it.
        """
        connection = None
        try:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            _check_file(path)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            prepare(connection)
        except (OSError, sqlite3.Error, _Unusable) as error:
            if connection is not None:
                connection.close()
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StoreUnusable(path=path, reason=reason) from error
        return cls(path, connection)

    def close(self) -> None:
        """Write everything into the one file and close it. Every later call raises StoreUnusable."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA busy_timeout = 0")  # another process does it when it closes
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for single statements."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._translated(error) from error

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for statements that must see one state."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for changes that are made together or not at all."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._use() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _translated(self, error: sqlite3.Error) -> Exception:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(path=self.path)
        if code == sqlite3.SQLITE_IOERR:
            return DiskFailed(path=self.path, reason=error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DiskFailed(path=self.path, reason=f"another program has held it for {BUSY_SECONDS:.0f} s")
        return StoreUnusable(path=self.path, reason=error)


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's code of an error, 0 if it has none. The high bits only say more about the same error."""
    code: int = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code


class _Unusable(Exception):
    """Why the file cannot be used."""


def _check_file(path: Path) -> None:
    """Make the file if it is not there, and check that nobody else can have written it. Raises OSError, _Unusable.

    What is in it decides what counts as deleted. A file that is there is not opened: closing it would let go of the
    locks that other connections of this process have on it (POSIX; sqlite.org/howtocorrupt.html, section 2.2).
    """
    with _checking:  # nor may a new one be in use before it is closed here
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        status = path.lstat()
    reason = file_problem(path, status, os.geteuid())
    if reason is None and not os.access(path, os.R_OK | os.W_OK):
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        advice = "its filesystem is read-only" if read_only else f"run: chmod 600 {path}"
        reason = f"this user cannot read and write it ({advice})"
    if reason is not None:
        raise _Unusable(reason)


def prepare(connection: sqlite3.Connection) -> None:
    """Check that the file is ours and bring its tables up to date. Raises sqlite3.Error and _Unusable."""
    version = _version(connection)
    _log_ahead(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    while version < len(_MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # another process may have been faster
            if version < len(_MIGRATIONS):
                for statement in _MIGRATIONS[version]:
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Have a write-ahead log. SQLite waits for others by itself, but not here, where two may be waiting for each other:
    while several bring up a file that has none. Raises sqlite3.Error.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def _version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables, all read in one statement: another process may be at work on them."""
    version: int
    version, application, tables = connection.execute(
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    if (tables or version) and application != APPLICATION_ID:
        raise _Unusable("it is the database of another program")
    if version > len(_MIGRATIONS):
        raise _Unusable(f"it was written by a newer LeafSync (version {version}, this one knows {len(_MIGRATIONS)})")
    return version


def signed(number: int) -> int:
    """Return 64 bits as the signed integer that SQLite can store."""
    return number - (1 << 64) if number >> 63 else number


def unsigned(number: int) -> int:
    """Return what `signed` was given."""
    return number & ((1 << 64) - 1)
