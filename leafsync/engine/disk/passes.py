"""The records of what was done: one row a pass (core/history.py)."""

import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator

import msgspec
from xxhash import xxh3_64_digest

from leafsync.engine.core.history import PassRecord
from leafsync.engine.disk.database import Database
from leafsync.errors import PassAmbiguous, PassUnknown

_log = logging.getLogger("leafsync.disk")

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(PassRecord)


class Passes(Database):
    """The part of the store that holds the history."""

    def put_pass(self, record: PassRecord) -> None:
        """Remember a pass, in the place of what was remembered under its id; that keeps its place in the order."""
        with self._write() as connection:
            _put(connection, record)

    def passes(self, limit: int | None = None) -> list[PassRecord]:
        """Return the last passes, newest first. Damaged ones are left out, and logged."""
        with self._use() as connection:
            query = "SELECT id, record, checksum FROM passes ORDER BY number DESC LIMIT ?"
            return list(_decoded(connection.execute(query, (-1 if limit is None else limit,))))

    def last_undo(self) -> int:
        """Return the number of the last pass in which the user undid or restored something, 0 when there is none."""
        with self._use() as connection:
            (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM passes WHERE undo").fetchone()
        return int(number)

    def undos(self, since: int) -> list[PassRecord]:
        """Return the passes after number `since` in which the user undid or restored something, oldest first."""
        with self._use() as connection:
            query = "SELECT id, record, checksum FROM passes WHERE undo AND number > ? ORDER BY number"
            return list(_decoded(connection.execute(query, (since,))))

    def find_pass(self, id: str) -> PassRecord:  # noqa: A002 - the record's own field is called that
        """Return the pass with this id, or the only one whose id begins so. Raises PassUnknown, PassAmbiguous."""
        with self._use() as connection:
            query = (
                "SELECT id, record, checksum FROM passes WHERE substr(id, 1, length(:id)) = :id ORDER BY number DESC"
            )
            found = list(_decoded(connection.execute(query, {"id": id}))) if id else []
        exact = [record for record in found if record.id == id] or found
        if not exact:
            raise PassUnknown(id=id)
        if len(exact) > 1:
            raise PassAmbiguous(id=id)
        return exact[0]

    def drop_kept(self, id: str, places: Collection[str] | None = None) -> None:  # noqa: A002
        """Note that these places in the trash, or all, hold nothing of the pass any more. It need not be known."""
        with self._write() as connection:
            query = "SELECT id, record, checksum FROM passes WHERE id = ?"
            for record in list(_decoded(connection.execute(query, (id,)))):
                actions = tuple(
                    msgspec.structs.replace(action, kept="") if places is None or action.kept in places else action
                    for action in record.actions
                )
                _put(connection, msgspec.structs.replace(record, actions=actions))

    def pass_ids(self) -> list[str]:
        """Return the ids of all passes, newest first."""
        with self._use() as connection:
            return [name for (name,) in connection.execute("SELECT id FROM passes ORDER BY number DESC")]

    def drop_passes(self, ids: Iterable[str]) -> None:
        """Forget these passes."""
        with self._write() as connection:
            connection.executemany("DELETE FROM passes WHERE id = ?", [(name,) for name in ids])


def _put(connection: sqlite3.Connection, record: PassRecord) -> None:
    encoded = _ENCODER.encode(record)
    connection.execute(
        "INSERT INTO passes (id, record, checksum, undo) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET record = excluded.record, checksum = excluded.checksum, undo = excluded.undo",
        (record.id, encoded, xxh3_64_digest(encoded), record.undo),
    )


def _decoded(rows: sqlite3.Cursor) -> Iterator[PassRecord]:
    for name, record, checksum in rows:
        if isinstance(record, bytes) and checksum == xxh3_64_digest(record):
            try:
                yield _DECODER.decode(record)
                continue
            except msgspec.DecodeError:
                pass
        _log.warning("the record of the pass %s is damaged, so it is not shown", name)
