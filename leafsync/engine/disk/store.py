"""What a device remembers about one folder, in one SQLite file outside of it: hashes, files that are half there, what
each other device agreed on, and what was done.

Hashes and staged files can be lost without harm: they are worked out and fetched again. So commits are not fsynced one
by one (WAL with synchronous=NORMAL), and a bad row of the hash cache is a miss, never an error.
"""

from collections.abc import Collection, Iterable

import msgspec
from xxhash import xxh3_64_digest

from leafsync.engine.disk.bases import Bases
from leafsync.engine.disk.database import signed, unsigned
from leafsync.engine.disk.given import GivenFiles
from leafsync.engine.disk.passes import Passes

PRUNE_SLACK = 1000
"""Stale rows that are left alone: deleting few rows costs more than keeping them."""

PRUNE_SHARE = 0.25
"""Stale rows that are left alone, as a share of the rows in use."""


class HashRow(msgspec.Struct, frozen=True):
    """What hashing a file gave."""

    mark: int
    """`folder.state_mark` of the file when it was hashed."""
    root: bytes
    leaves: bytes | None
    """The leaves of a file of more than one chunk."""
    racy: bool
    """Whether the file may have changed since without a new mark, so that it must be hashed again."""


class StagedRow(msgspec.Struct, frozen=True):
    """A file that is being fetched."""

    path: str
    root: bytes
    size: int
    bitmap: bytes
    """Chunks that were written (core/bitmap.py): a hint, they are hashed again before they count."""
    name: str
    """Of the file in the staging directory."""


class Store(Bases, Passes, GivenFiles):
    """The records of one folder. Thread-safe. Every method raises StoreUnusable, DiskFull or DiskFailed."""

    # Hashes

    def load_roots(self) -> dict[int, bytes]:
        """Return mark -> root of every file whose hash can be relied on."""
        with self._use() as connection:
            rows = connection.execute("SELECT mark, root, checksum FROM hashes WHERE racy = 0")
            return {
                number: root
                for mark, root, checksum in rows
                if isinstance(root, bytes) and checksum == xxh3_64_digest(root + b"\0", number := unsigned(mark))
            }

    def load_racy(self) -> frozenset[int]:
        """Return the marks of the files that have to be hashed again."""
        with self._use() as connection:
            return frozenset(unsigned(mark) for (mark,) in connection.execute("SELECT mark FROM hashes WHERE racy"))

    def find_root(self, mark: int) -> bytes | None:
        """Return the root of one file, None when it is not known or not to be relied on."""
        with self._use() as connection:
            query = "SELECT root, checksum FROM hashes WHERE mark = ? AND racy = 0"
            row = connection.execute(query, (signed(mark),)).fetchone()
        if row is None or not isinstance(row[0], bytes) or row[1] != _checksum(signed(mark), row[0] + b"\0"):
            return None
        root: bytes = row[0]
        return root

    def leaves(self, mark: int) -> bytes | None:
        """Return the leaves of a file of more than one chunk, None when they are not known."""
        with self._use() as connection:
            row = connection.execute("SELECT leaves, checksum FROM leaves WHERE mark = ?", (signed(mark),)).fetchone()
        if row is None or not isinstance(row[0], bytes) or row[1] != _checksum(signed(mark), row[0]):
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
            connection.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((signed(mark),) for mark in marks))
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
            mark = signed(row.mark)
            hashes.append((mark, row.root, row.racy, _checksum(mark, row.root + bytes((row.racy,)))))
            if row.leaves is not None:
                leaves.append((mark, row.leaves, _checksum(mark, row.leaves)))
        with self._write() as connection:
            connection.executemany("DELETE FROM staged WHERE name = ?", [(name,) for name in names])
            connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", hashes)
            connection.executemany("INSERT OR REPLACE INTO leaves VALUES (?, ?, ?)", leaves)


def _checksum(mark: int, value: bytes) -> bytes:
    return xxh3_64_digest(value, mark & ((1 << 64) - 1))
