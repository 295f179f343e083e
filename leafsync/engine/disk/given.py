"""What files were given that their filesystem does not keep.

FAT rounds times to two seconds; FAT, exFAT and NTFS as they are usually mounted keep no permissions, and all files look
executable there, or none. Without this memory what comes there would look changed at once, and the other side would
get its files back with other times and all of them executable.
"""

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
from xxhash import xxh3_64_digest

from leafsync.engine.core.index import NANOSECONDS, Entry
from leafsync.engine.disk.database import Database

COARSEST = 2
"""Seconds that a filesystem may be off: FAT stores even ones. What is farther off is of somebody else."""

_ENCODER = msgspec.msgpack.Encoder()


class Given(msgspec.Struct, frozen=True, array_like=True):
    """What a file was given."""

    mtime_ns: int
    executable: bool
    stored_ns: int
    """The modification time that the filesystem made of it; the file has it until it is written to."""

    def of(self, entry: Entry, *, keeps_modes: bool) -> Entry:
        """Return the entry of the file as it was given, where the filesystem says `entry`."""
        return msgspec.structs.replace(
            entry,
            mtime_ns=self.mtime_ns if entry.mtime_ns == self.stored_ns else entry.mtime_ns,
            executable=entry.executable if keeps_modes else self.executable,
        )


NOTHING_GIVEN: Mapping[str, Given] = MappingProxyType({})


def given(entry: Entry, stat: os.stat_result) -> Given:
    """Return what to remember of a file that was to be as `entry` says, and is as `stat` says."""
    close = abs(stat.st_mtime_ns - entry.mtime_ns) <= COARSEST * NANOSECONDS
    return Given(entry.mtime_ns, entry.executable, stat.st_mtime_ns if close else entry.mtime_ns)


class GivenFiles(Database):
    """The part of the store that remembers it, by path: of files on such filesystems alone."""

    def load_given(self) -> dict[str, Given]:
        """Return path -> what the file there was given. Damaged rows are left out: a file is then what stat says."""
        with self._use() as connection:
            rows = connection.execute("SELECT path, mtime, executable, stored, checksum FROM given")
            found = [(path, Given(mtime, bool(mode), stored), checksum) for path, mtime, mode, stored, checksum in rows]
        return {path: one for path, one, checksum in found if checksum == _checksum(one)}

    def put_given(self, files: Mapping[str, Given]) -> None:
        """Remember these, path -> what the file was given."""
        rows = [(path, one.mtime_ns, one.executable, one.stored_ns, _checksum(one)) for path, one in files.items()]
        with self._write() as connection:
            connection.executemany("INSERT OR REPLACE INTO given VALUES (?, ?, ?, ?, ?)", rows)

    def move_given(self, moves: Iterable[tuple[str, str]]) -> None:
        """Follow renames, (from, to), of files and of directories with all that is in them."""
        with self._write() as connection:
            connection.executemany(
                "UPDATE OR REPLACE given SET path = :target || substr(path, length(:source) + 1)"
                " WHERE path = :source OR substr(path, 1, length(:source) + 1) = :source || '/'",
                [{"source": source, "target": target} for source, target in moves],
            )


def _checksum(one: Given) -> bytes:
    return xxh3_64_digest(_ENCODER.encode(one))
