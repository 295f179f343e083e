"""Staging: where files are written before they take their place, in `.leafsync_tmp/` of the folder itself."""

import contextlib
import os
import secrets
import stat as modes
from collections.abc import Sequence

import msgspec

from leafsync.engine.core.bitmap import Bitmap
from leafsync.engine.core.index import Entry
from leafsync.engine.core.merkle import CHUNK_SIZE, MAX_FILE_SIZE, chunk_count, file_root, leaf_hash, zero_leaf
from leafsync.engine.core.names import STAGING, join, parent, target_problem
from leafsync.engine.disk.commit import Commit, Committed, Staged, commit_group, replace
from leafsync.engine.disk.folder import LOCK, MARKER, Folder, disk_error, disk_errors
from leafsync.engine.disk.seen import change_error, check_path
from leafsync.engine.disk.staged import ChunkMismatch, StagedFile
from leafsync.engine.disk.store import StagedRow, Store
from leafsync.engine.disk.trash import Trash
from leafsync.errors import DiskFull, EntryRefused, LeafSyncError

RESERVE = 64 << 20
"""Bytes of free space that what is fetched leaves alone, so that it does not take the disk from everything else (case
69). DiskFull names it."""

MAX_ORPHAN_AGE = 24 * 3600.0
"""Seconds that a staging file without a row is kept: it is of a run that was killed, or of one that still goes on."""

MAX_STAGED_AGE = 7 * 24 * 3600.0
"""Seconds without a write after which a half fetched file is given up: nobody will ask for that version again."""

__all__ = ["ChunkMismatch", "Commit", "Committed", "SmallFile", "Staged", "StagedFile", "Staging"]


class SmallFile(msgspec.Struct, frozen=True):
    """A file of at most one chunk that arrived whole."""

    path: str
    entry: Entry
    data: bytes | bytearray | memoryview | None
    """Its content; None when it is all zeros."""


class Staging:
    """The staging directory of a folder. Thread-safe."""

    def __init__(self, folder: Folder, store: Store, *, reserve: int = RESERVE) -> None:
        """Make the directory. Raises EntryRefused when something else is there, DiskFull, DiskFailed."""
        self._folder = folder
        self._store = store
        self._reserve = reserve
        with disk_errors(STAGING):
            folder.prepare(STAGING)

    def open(self, path: str, size: int, root: bytes) -> StagedFile:
        """Go on with the file for `path`, or begin it. One caller at a time for the same path and root.

        Raises DiskFull before anything is made when it cannot fit (fault case 36), EntryRefused, DiskFailed.
        """
        check_path(path)
        if not 0 <= size <= MAX_FILE_SIZE:
            raise DiskFull(path=path)
        with disk_errors(path):
            return self._resume(path, size, root) or self._begin(path, size, root)

    def _resume(self, path: str, size: int, root: bytes) -> StagedFile | None:
        row = self._store.staged(path, root)
        if row is None:
            return None
        fd = self._open_own(row.name, size)
        if fd is not None and row.size == size:
            try:
                self._check_space(path, size - os.fstat(fd).st_blocks * 512)
                self._folder.resize(fd, size)
                return StagedFile(self._folder, self._store, row, fd, resumed=True)
            except ValueError:  # a bitmap that does not fit: the row is damaged
                os.close(fd)
            except BaseException:
                os.close(fd)
                raise
        elif fd is not None:
            os.close(fd)
        self._remove(row.name)
        self._store.drop_staged(row.name)
        return None

    def _open_own(self, name: str, size: int) -> int | None:
        try:
            fd = self._folder.open_staged(name)
        except (OSError, EntryRefused):
            return None
        stat = os.fstat(fd)
        if stat.st_uid == os.geteuid() and stat.st_size <= size and stat.st_nlink == 1:
            return fd
        os.close(fd)
        return None

    def _begin(self, path: str, size: int, root: bytes) -> StagedFile:
        self._check_space(path, size)
        nothing = Bitmap(chunk_count(size)).to_bytes()
        row = StagedRow(path, root, size, nothing, secrets.token_hex(16))
        fd = self._create(row.name)
        try:
            self._folder.resize(fd, size)
            self._store.put_staged(row)
            return StagedFile(self._folder, self._store, row, fd, resumed=False)
        except BaseException:
            os.close(fd)
            self._remove(row.name)
            raise

    def _check_space(self, path: str, needed: int) -> None:
        if needed > self._room():
            raise DiskFull(path=path)

    def _room(self) -> int:
        return max(0, self._folder.free_space() - self._reserve)

    def _may_be_tight(self, items: Sequence[SmallFile]) -> bool:
        """Whether each of these files has to be checked: one look at the disk for all of them is enough where there is
        room, and one that fails is said of each."""
        try:
            return sum(len(item.data or b"") for item in items) > self._room()
        except OSError:
            return True

    def _create(self, name: str) -> int:
        try:
            return self._folder.create_staged(name)
        except FileNotFoundError:  # somebody removed the directory while we run
            self._folder.prepare(STAGING)
            return self._folder.create_staged(name)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):  # `clean` finds it later
            self._folder.unlink(join(STAGING, name))

    def stage_small(self, items: Sequence[SmallFile]) -> list[Staged | LeafSyncError | ChunkMismatch]:
        """Write many files of at most one chunk; one result an item, in order: what to commit, or why not.

        ChunkMismatch says that the peer sent something else than it announced, DiskFull that a file does not fit.
        """
        prefix = secrets.token_hex(12)
        results: list[Staged | LeafSyncError | ChunkMismatch] = []
        with self._folder.handles():
            tight = self._may_be_tight(items)
            for number, item in enumerate(items):
                try:
                    if tight:
                        self._check_space(item.path, len(item.data or b""))
                    results.append(self._stage(item, f"{prefix}{number:08x}"))
                except (LeafSyncError, ChunkMismatch) as error:
                    results.append(error)
                except OSError as error:
                    results.append(disk_error(error, item.path))
        return results

    def _stage(self, item: SmallFile, name: str) -> Staged:
        entry, data = item.entry, item.data
        size = entry.size if data is None else len(data)
        if size != entry.size or not 0 <= size <= CHUNK_SIZE:
            raise ChunkMismatch("the content is not as long as announced")
        leaf = zero_leaf(size) if data is None else leaf_hash(data)
        if file_root(size, leaf if size else b"") != entry.hash:
            raise ChunkMismatch("the content does not match the root")
        mode = self._folder.file_mode(entry.executable)
        fd = self._create(name)
        try:
            if data is None:
                self._folder.resize(fd, size)
            elif size:
                self._folder.write_at(fd, data, 0)
            self._folder.dress(fd, mode, entry.mtime_ns)
        except BaseException:
            self._remove(name)
            raise
        finally:
            os.close(fd)
        return Staged(item.path, entry, name, mode)

    def commit(self, items: Sequence[Commit], trash: Trash) -> list[Committed]:
        """Put staged files in their place as one group (`commit.commit_group`); their directories must exist."""
        return commit_group(self._folder, self._store, items, trash)

    def discard(self, staged: Sequence[Staged]) -> None:
        """Remove small files that will not be committed."""
        with self._folder.handles():
            for file in staged:
                self._remove(file.name)

    def replace_link(
        self, path: str, target: str, local: Entry | None, trash: Trash, *, expected: int | None = None
    ) -> os.stat_result | None:
        """Make the symlink `path` in the place of `local` (None: of nothing) and return its stat.

        `expected` is the state mark of a local file. Raises EntryChanged, EntryRefused (also for a target that
        leaves the folder), DiskFull, DiskFailed.
        """
        check_path(path)
        if target_problem(path, target) is not None:
            raise EntryRefused(path=path)
        source = join(STAGING, secrets.token_hex(16))
        try:
            with self._folder.handles():
                self._folder.make_link(source, target)
                try:
                    replace(self._folder, source, path, local, expected, trash)
                except BaseException:
                    with contextlib.suppress(OSError):
                        self._folder.unlink(source)
                    raise
                trash.sync()
                self._folder.sync_directory(parent(path))
                return self._folder.stat(path)
        except OSError as error:
            raise change_error(error, path) from error

    def clean(self, now: float) -> None:
        """Remove what killed runs left (`now`: seconds since 1970). Call it at the start. Raises DiskFailed."""
        rows = {row.name: row for row in self._store.staged_rows()}
        with disk_errors(STAGING), self._folder.handles():
            found = dict(self._folder.list_directory(STAGING))
            for name, stat in found.items():
                age = now - stat.st_ctime  # the mtime is the peer's once a file is finished
                if name in (LOCK, MARKER) or modes.S_ISDIR(stat.st_mode):
                    continue
                if age > (MAX_STAGED_AGE if name in rows else MAX_ORPHAN_AGE):
                    self._folder.unlink(join(STAGING, name))
                else:
                    rows.pop(name, None)
        for name in rows:
            self._store.drop_staged(name)
