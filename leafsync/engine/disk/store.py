"""What a device remembers about one folder, in one SQLite file outside of it: hashes, and files that are half there.

All of it can be lost without harm: hashes are worked out again, staged files fetched again. So commits are not
fsynced one by one (WAL with synchronous=NORMAL), and a bad row of the hash cache is a miss, never an error.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from os import O_CLOEXEC, O_CREAT, O_RDWR, close as close_fd, open as open_fd
from pathlib import Path
from types import TracebackType
from typing import Self

from xxhash import xxh3_64_digest

from leafsync.errors import DiskFailed, DiskFull, StoreUnusable

APPLICATION_ID = 0x4C656166
"""In the header of the file ("Leaf"), so that a database of another program is never taken for ours."""

BUSY_SECONDS = 5.0
"""How long to wait for another process that looks at the file; LeafSync itself is there only once (Folder.lock)."""

PRUNE_SLACK = 1000
"""Stale rows that are left alone: deleting few rows costs more than keeping them."""

PRUNE_SHARE = 0.25
"""Stale rows that are left alone, as a share of the rows in use."""

_MIGRATIONS = (
    """
    CREATE TABLE hashes (mark INTEGER PRIMARY KEY, root BLOB NOT NULL, racy INTEGER NOT NULL, checksum BLOB NOT NULL);
    CREATE INDEX racy_hashes ON hashes (mark) WHERE racy;
    CREATE TABLE leaves (mark INTEGER PRIMARY KEY, leaves BLOB NOT NULL, checksum BLOB NOT NULL);
    CREATE TABLE staged (name TEXT PRIMARY KEY, path TEXT NOT NULL, root BLOB NOT NULL, size INTEGER NOT NULL,
                         bitmap BLOB NOT NULL, UNIQUE (path, root));
    """,
)
"""Each brings the tables from one version to the next; only ever append."""

SCHEMA_VERSION = len(_MIGRATIONS)


@dataclass(frozen=True, slots=True)
class HashRow:
    """What hashing a file gave."""

    mark: int
    """`folder.state_mark` of the file when it was hashed."""
    root: bytes
    leaves: bytes | None
    """The leaves of a file of more than one chunk."""
    racy: bool
    """Whether the file may have changed since without a new mark, so that it must be hashed again."""


@dataclass(frozen=True, slots=True)
class StagedRow:
    """A file that is being fetched."""

    path: str
    root: bytes
    size: int
    bitmap: bytes
    """Chunks that were written (core/bitmap.py): a hint, they are hashed again before they count."""
    name: str
    """Of the file in the staging directory."""


class Store:
    """The records of one folder. Thread-safe. Every method raises StoreUnusable, DiskFull or DiskFailed."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Take over an open connection; see `open`."""
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at `path`, or make it, for this user alone.

        Raises StoreUnusable when it is damaged, another program's or a newer version's; the file stays as it is.
        """
        connection = None
        try:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            close_fd(open_fd(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            _prepare(connection)
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
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._translated(error) from error

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _translated(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the high bits only say more about the same error
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(path=self.path)
        if code == sqlite3.SQLITE_IOERR:
            return DiskFailed(path=self.path, reason=error)
        return StoreUnusable(path=self.path, reason=error)

    # Hashes

    def load_roots(self) -> dict[int, bytes]:
        """Return mark -> root of every file whose hash can be relied on."""
        with self._use() as connection:
            rows = connection.execute("SELECT mark, root, checksum FROM hashes WHERE racy = 0").fetchall()
        return {
            _unsigned(mark): root
            for mark, root, checksum in rows
            if isinstance(root, bytes) and checksum == _checksum(mark, root + b"\0")
        }

    def load_racy(self) -> frozenset[int]:
        """Return the marks of the files that have to be hashed again."""
        with self._use() as connection:
            return frozenset(_unsigned(mark) for (mark,) in connection.execute("SELECT mark FROM hashes WHERE racy"))

    def leaves(self, mark: int) -> bytes | None:
        """Return the leaves of a file of more than one chunk, None when they are not known."""
        with self._use() as connection:
            row = connection.execute("SELECT leaves, checksum FROM leaves WHERE mark = ?", (_signed(mark),)).fetchone()
        if row is None or not isinstance(row[0], bytes) or row[1] != _checksum(_signed(mark), row[0]):
            return None
        leaves: bytes = row[0]
        return leaves

    def put_hashes(self, rows: Iterable[HashRow]) -> None:
        """Remember hashes, in one transaction."""
        self.finish_staged((), rows)

    def forget_except(self, marks: Collection[int]) -> None:
        """Drop the hashes of all other files, once there are so many that it pays."""
        with self._use() as connection:
            (count,) = connection.execute("SELECT count(*) FROM hashes").fetchone()
        if count - len(marks) <= max(PRUNE_SLACK, PRUNE_SHARE * len(marks)):
            return
        with self._write() as connection:
            connection.execute("CREATE TEMP TABLE kept (mark INTEGER PRIMARY KEY)")
            connection.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((_signed(mark),) for mark in marks))
            connection.execute("DELETE FROM hashes WHERE mark NOT IN (SELECT mark FROM kept)")
            connection.execute("DELETE FROM leaves WHERE mark NOT IN (SELECT mark FROM kept)")
            connection.execute("DROP TABLE kept")

    # Staged files

    def staged(self, path: str, root: bytes) -> StagedRow | None:
        """Return the row of a file that was being fetched to `path`."""
        with self._use() as connection:
            query = "SELECT path, root, size, bitmap, name FROM staged WHERE path = ? AND root = ?"
            row = connection.execute(query, (path, root)).fetchone()
        return StagedRow(*row) if row else None

    def staged_rows(self) -> list[StagedRow]:
        """Return all rows, by path."""
        with self._use() as connection:
            query = "SELECT path, root, size, bitmap, name FROM staged ORDER BY path, root"
            return [StagedRow(*row) for row in connection.execute(query)]

    def put_staged(self, row: StagedRow) -> None:
        """Remember a staged file; it takes the place of another one for the same path and root."""
        with self._write() as connection:
            values = (row.name, row.path, row.root, row.size, row.bitmap)
            connection.execute("INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?, ?)", values)

    def mark_chunks(self, name: str, bitmap: bytes) -> None:
        """Remember which chunks of the staged file are written."""
        with self._use() as connection:
            connection.execute("UPDATE staged SET bitmap = ? WHERE name = ?", (bitmap, name))

    def drop_staged(self, name: str) -> None:
        """Forget a staged file."""
        with self._use() as connection:
            connection.execute("DELETE FROM staged WHERE name = ?", (name,))

    def finish_staged(self, names: Iterable[str], rows: Iterable[HashRow]) -> None:
        """Forget staged files that are in place now and remember their hashes, in one transaction."""
        hashes, leaves = [], []
        for row in rows:
            mark = _signed(row.mark)
            hashes.append((mark, row.root, row.racy, _checksum(mark, row.root + bytes((row.racy,)))))
            if row.leaves is not None:
                leaves.append((mark, row.leaves, _checksum(mark, row.leaves)))
        with self._write() as connection:
            connection.executemany("DELETE FROM staged WHERE name = ?", [(name,) for name in names])
            connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", hashes)
            connection.executemany("INSERT OR REPLACE INTO leaves VALUES (?, ?, ?)", leaves)


class _Unusable(Exception):
    """Why the file cannot be used."""


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (tables or version) and application != APPLICATION_ID:
        raise _Unusable("it is the database of another program")
    if version > SCHEMA_VERSION:
        raise _Unusable(f"it was written by a newer LeafSync (version {version}, this one knows {SCHEMA_VERSION})")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    for number, migration in enumerate(_MIGRATIONS[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {migration} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {number}; COMMIT;"
        )


def _checksum(mark: int, value: bytes) -> bytes:
    return xxh3_64_digest(value, mark & ((1 << 64) - 1))


def _signed(mark: int) -> int:
    return mark - (1 << 64) if mark >> 63 else mark


def _unsigned(mark: int) -> int:
    return mark & ((1 << 64) - 1)
