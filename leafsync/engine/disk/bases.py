"""The records of agreement: who this folder is, the last state that it and another folder both had (the base), and the
deletes that wait since then.

A base is only good as a whole. If a row of it is damaged or missing, or what is said of waiting deletes, there is no
base: the next pass is like a first contact, which deletes nothing.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from blake3 import blake3

from leafsync.engine.core.base import without
from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.names import join
from leafsync.engine.core.steps import NOTHING_HELD, Held
from leafsync.engine.disk.database import Database, signed, unsigned

_log = logging.getLogger("leafsync.disk")

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[Entry, ...])
_HELD = msgspec.msgpack.Decoder(tuple[list[str], list[str]])


class Identity(msgspec.Struct, frozen=True):
    """What is remembered about the folder itself."""

    id: str
    marked: bool
    """Whether the folder has a marker with this id; one that cannot be written to has none."""
    inode: int
    """Of the folder's directory: what tells another one apart while there is no marker."""


class Bases(Database):
    """The part of the store that holds the folder's identity and its bases."""

    def identity(self) -> Identity | None:
        """Return what the folder at this path was when it was last used, None when it never was."""
        with self._use() as connection:
            row = connection.execute("SELECT id, marked, inode FROM identity").fetchone()
        return Identity(str(row[0]), bool(row[1]), unsigned(row[2])) if row else None

    def put_identity(self, identity: Identity) -> None:
        """Remember who the folder is. Under another id than before, all bases are forgotten: they are of another
        folder."""
        with self._write() as connection:
            known = connection.execute("SELECT id FROM identity").fetchone()
            if known is not None and known[0] != identity.id:
                _forget(connection)
            row = (identity.id, identity.marked, signed(identity.inode))
            connection.execute("INSERT OR REPLACE INTO identity VALUES (1, ?, ?, ?)", row)

    def base(self, peer: str, remote: str) -> dict[str, tuple[Entry, ...]] | None:
        """Return the listings of the base (directory -> entries), None when there is none that is whole.

        `peer` is the fingerprint of the other device, `remote` the id of its folder.
        """
        with self._read() as connection:
            found = _find(connection, peer, remote)
            if found is None:
                return None
            number, _digest, directories = found
            rows = connection.execute("SELECT path, checksum, entries FROM listings WHERE base = ?", (number,))
            listings = _decoded(rows, directories)
        if listings is None:
            _log.warning("the records of what was agreed with %s are damaged: it counts as a first contact", peer)
            with self._write() as connection:  # or `put_base` would take its damaged rows for unchanged ones
                _forget(connection, number)
        return listings

    def base_digest(self, peer: str, remote: str) -> bytes | None:
        """Return the digest of the base, None when there is none. Whether its listings are whole, only `base` says."""
        with self._use() as connection:
            found = _find(connection, peer, remote)
        return found[1] if found else None

    def put_base(
        self,
        peer: str,
        remote: str,
        digest: bytes,
        listings: Mapping[str, Sequence[Entry]],
        *,
        before: Index | None = None,
    ) -> None:
        """Remember the base, in one transaction. Directories that did not change are not written again.

        `before` is the base that the caller knows: if it still is the one here, what it shares with the new one is not
        even looked at.
        """
        with self._write() as connection:
            found = _find(connection, peer, remote)
            checksum = _base_checksum(peer, remote, digest, len(listings))
            (number,) = connection.execute(
                "INSERT INTO bases (peer, remote, digest, directories, checksum) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (peer, remote) DO UPDATE SET digest = excluded.digest,"
                " directories = excluded.directories, checksum = excluded.checksum RETURNING number",
                (peer, remote, digest, len(listings), checksum),
            ).fetchone()
            if before is not None and found is not None and found[1] == before.digest:
                old: Iterable[str] = before.directories
                rows = _rows(number, before.changed(listings), {})
            else:
                known = dict(connection.execute("SELECT path, checksum FROM listings WHERE base = ?", (number,)))
                old, rows = known, _rows(number, listings, known)
            gone = [(number, path) for path in old if path not in listings]
            connection.executemany("DELETE FROM listings WHERE base = ? AND path = ?", gone)
            connection.executemany("INSERT OR REPLACE INTO listings VALUES (?, ?, ?, ?)", rows)

    def disagree(self, entries: Mapping[str, Entry]) -> None:
        """Take `entries` (path -> entry) out of every base that has them, see `core.base.without`.

        For what somebody has brought back: if the base still had it, because the pass that took it away did not come
        to its end, it would count as removed by the other side and go again.
        """
        with self._use() as connection:
            known = connection.execute("SELECT peer, remote FROM bases").fetchall()
        for peer, remote in known:
            self._disagree(peer, remote, entries)

    def _disagree(self, peer: str, remote: str, entries: Mapping[str, Entry]) -> None:
        listings = self.base(peer, remote)
        if listings is None:
            return
        before = Index(listings)
        after = without(before, entries)
        if after.digest != before.digest:
            self.put_base(peer, remote, after.digest, after.directories, before=before)

    def heeded(self, peer: str, remote: str, offered: str) -> int:
        """Return the number of the last undo on the other side that is known here, 0 for none.

        `offered` is the path that it offers alone, "" for all of its folder: it tells of no more than that.
        """
        with self._use() as connection:
            query = "SELECT undo FROM heeded WHERE peer = ? AND remote = ? AND offered = ?"
            row = connection.execute(query, (peer, remote, offered)).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else 0

    def heed(self, peer: str, remote: str, offered: str, undo: int, entries: Mapping[str, Entry]) -> None:
        """Take what was brought back on the other side out of the base, up to the undo with this number."""
        self._disagree(peer, remote, entries)
        with self._write() as connection:
            connection.execute("INSERT OR REPLACE INTO heeded VALUES (?, ?, ?, ?)", (peer, remote, offered, undo))

    def held(self, peer: str, remote: str) -> Held:
        """Return the deletes that wait. If these are damaged, the base is forgotten: no delete can come of it then."""
        with self._use() as connection:
            query = "SELECT paths, checksum FROM held WHERE peer = ? AND remote = ?"
            row = connection.execute(query, (peer, remote)).fetchone()
        if row is None:
            return NOTHING_HELD
        held = _decoded_held(peer, remote, *row)
        if held is None:
            _log.warning("the records of deletes held with %s are damaged: it counts as a first contact", peer)
            with self._write() as connection:
                connection.execute("DELETE FROM held WHERE peer = ? AND remote = ?", (peer, remote))
                found = connection.execute("SELECT number FROM bases WHERE peer = ? AND remote = ?", (peer, remote))
                for (number,) in found.fetchall():
                    _forget(connection, number)
        return held or NOTHING_HELD

    def put_held(self, peer: str, remote: str, held: Held) -> None:
        """Remember the deletes that wait, in the place of those that did."""
        paths = _ENCODER.encode((sorted(held.local), sorted(held.remote)))
        with self._write() as connection:
            connection.execute("DELETE FROM held WHERE peer = ? AND remote = ?", (peer, remote))
            if held != NOTHING_HELD:
                row = (peer, remote, paths, _held_checksum(peer, remote, paths))
                connection.execute("INSERT INTO held VALUES (?, ?, ?, ?)", row)


def _rows(
    number: int, listings: Mapping[str, Sequence[Entry]], known: Mapping[str, bytes]
) -> Iterator[tuple[int, str, bytes, bytes]]:
    """Yield the rows of listings, one at a time because all together are large; not those that are `known`, path ->
    checksum."""
    for path, entries in listings.items():
        encoded = _ENCODER.encode(entries)
        checksum = _listing_checksum(path, encoded)
        if known.get(path) != checksum:
            yield number, path, checksum, encoded


def _find(connection: sqlite3.Connection, peer: str, remote: str) -> tuple[int, bytes, int] | None:
    """Return number, digest and count of directories of a base."""
    query = "SELECT number, digest, directories, checksum FROM bases WHERE peer = ? AND remote = ?"
    row = connection.execute(query, (peer, remote)).fetchone()
    if row is None:
        return None
    number, digest, directories, checksum = row
    with contextlib.suppress(TypeError, OverflowError):  # values of another type than were written
        if checksum == _base_checksum(peer, remote, digest, directories):
            return number, digest, directories
    _log.warning("the record of what was agreed with %s is damaged: it counts as a first contact", peer)
    return None


def _decoded(rows: sqlite3.Cursor, directories: int) -> dict[str, tuple[Entry, ...]] | None:
    listings: dict[str, tuple[Entry, ...]] = {}
    for path, checksum, entries in rows:
        if not isinstance(path, str) or not isinstance(entries, bytes) or checksum != _listing_checksum(path, entries):
            return None
        try:
            listings[path] = _DECODER.decode(entries)
        except msgspec.DecodeError:
            return None
    if len(listings) != directories or "" not in listings:
        return None
    inner = (join(path, entry.name) for path in listings for entry in listings[path] if entry.kind is Kind.DIRECTORY)
    return listings if all(path in listings for path in inner) else None


def _decoded_held(peer: str, remote: str, paths: object, checksum: object) -> Held | None:
    if not isinstance(paths, bytes) or checksum != _held_checksum(peer, remote, paths):
        return None
    try:
        local, there = _HELD.decode(paths)
    except msgspec.DecodeError:
        return None
    return Held(frozenset(local), frozenset(there))


def _forget(connection: sqlite3.Connection, number: int | None = None) -> None:
    """Forget one base, or all and what waits."""
    if number is None:
        connection.execute("DELETE FROM listings")
        connection.execute("DELETE FROM bases")
        connection.execute("DELETE FROM held")
        connection.execute("DELETE FROM heeded")
    else:
        connection.execute("DELETE FROM listings WHERE base = ?", (number,))
        connection.execute("DELETE FROM bases WHERE number = ?", (number,))


def _listing_checksum(path: str, entries: bytes) -> bytes:
    """Return what tells one listing from another. It decides what is written, so names that a peer chose to collide
    must not: BLAKE3."""
    return blake3(path.encode() + b"\0" + entries).digest(16)


def _base_checksum(peer: str, remote: str, digest: bytes, directories: int) -> bytes:
    return blake3(f"{peer}\0{remote}\0{directories}\0".encode() + digest).digest(16)


def _held_checksum(peer: str, remote: str, paths: bytes) -> bytes:
    return blake3(f"{peer}\0{remote}\0".encode() + paths).digest(16)
