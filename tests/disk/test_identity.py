"""The identity marker: a folder is only taken for the one it was when it says so itself (fault case 72)."""

import errno
import shutil
import stat as modes
from pathlib import Path

import pytest

from leafsync.engine.core.names import STAGING
from leafsync.engine.disk.bases import Identity
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.identity import folder_identity
from leafsync.engine.disk.staging import Staging
from leafsync.engine.disk.store import Store
from leafsync.errors import DiskFailed, DiskFull, EntryRefused, FolderIdentityLost
from tests.disk.faults import FaultyFolder

OTHER = "0123456789abcdef" * 2


@pytest.fixture
def marker(root: Path) -> Path:
    return root / STAGING / "folder-id"


def put(marker: Path, content: bytes) -> None:
    marker.parent.mkdir(mode=0o700, exist_ok=True)
    marker.write_bytes(content)


class TestFirstUse:
    def test_both_are_made(self, folder: FaultyFolder, store: Store, marker: Path) -> None:
        one = folder_identity(folder, store)
        assert len(one) == 32
        assert marker.read_text() == one + "\n"
        assert modes.S_IMODE(marker.stat().st_mode) == 0o600
        assert [file.name for file in marker.parent.iterdir()] == ["folder-id"]
        known = store.identity()
        assert known is not None
        assert (known.id, known.marked) == (one, True)

    def test_the_marker_is_on_the_disk_before_the_record(self, folder: FaultyFolder, store: Store) -> None:
        folder.calls.clear()
        folder.at("sync_directory", lambda: pytest.fail("the record came first") if store.identity() else None)
        folder_identity(folder, store)
        steps = [step for step in folder.steps() if step in ("write_at", "sync_file", "rename", "sync_directory")]
        assert steps == ["write_at", "sync_file", "rename", "sync_directory", "sync_directory"]

    def test_no_two_are_the_same(self, tmp_path: Path) -> None:
        found = set()
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            with Folder.open(str(tmp_path / name)) as folder, Store.open(tmp_path / f"{name}.sqlite") as store:
                found.add(folder_identity(folder, store))
        assert len(found) == 2

    def test_a_marker_is_adopted(self, folder: FaultyFolder, store: Store, marker: Path) -> None:
        """The folder was moved, or its records were lost: to other devices it is the same."""
        put(marker, OTHER.encode() + b"\n")
        assert folder_identity(folder, store) == OTHER
        assert folder_identity(folder, store) == OTHER

    def test_killed_before_the_record(self, folder: FaultyFolder, store: Store, marker: Path) -> None:
        folder.fail("sync_directory", errno.EIO, times=1)
        with pytest.raises(DiskFailed):
            folder_identity(folder, store)
        assert store.identity() is None
        assert folder_identity(folder, store) + "\n" == marker.read_text()


class TestLaterUse:
    def test_it_stays(self, folder: FaultyFolder, store: Store) -> None:
        one = folder_identity(folder, store)
        folder.calls.clear()
        assert folder_identity(folder, store) == one
        assert "create_file" not in folder.steps()

    @pytest.mark.parametrize("kept", [STAGING, ""])
    def test_the_marker_is_gone(self, folder: FaultyFolder, store: Store, marker: Path, kept: str) -> None:
        folder_identity(folder, store)
        marker.unlink()
        if not kept:
            marker.parent.rmdir()
        with pytest.raises(FolderIdentityLost, match="Is its disk mounted"):
            folder_identity(folder, store)
        assert not marker.exists()

    def test_an_empty_mount_point(self, root: Path, store: Store, folder: FaultyFolder) -> None:
        folder_identity(folder, store)
        root.rename(root.with_name("unmounted"))
        root.mkdir()
        with Folder.open(str(root)) as empty, pytest.raises(FolderIdentityLost):
            folder_identity(empty, store)

    def test_an_empty_mount_point_that_was_locked(self, root: Path, store: Store, folder: FaultyFolder) -> None:
        folder_identity(folder, store)
        root.rename(root.with_name("unmounted"))
        root.mkdir()
        with Folder.open(str(root)) as empty:
            empty.lock()
            Staging(empty, store)
            with pytest.raises(FolderIdentityLost):
                folder_identity(empty, store)

    def test_another_marker(self, folder: FaultyFolder, store: Store, marker: Path) -> None:
        folder_identity(folder, store)
        put(marker, OTHER.encode())
        with pytest.raises(FolderIdentityLost):
            folder_identity(folder, store)

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize(
        "content", [b"", b"x" * 32, OTHER.upper().encode(), OTHER[:-1].encode(), OTHER.encode() + b"\n\n", b"a" * 9999]
    )
    def test_a_damaged_marker(
        self, folder: FaultyFolder, store: Store, marker: Path, content: bytes, known: bool
    ) -> None:
        if known:
            folder_identity(folder, store)
        put(marker, content)
        with pytest.raises(FolderIdentityLost):
            folder_identity(folder, store)
        assert marker.read_bytes() == content

    @pytest.mark.parametrize("kind", ["link", "directory"])
    def test_a_marker_that_is_no_file(
        self, folder: FaultyFolder, store: Store, marker: Path, tmp_path: Path, kind: str
    ) -> None:
        one = folder_identity(folder, store)
        marker.unlink()
        if kind == "link":
            (tmp_path / "copy").write_text(one)
            marker.symlink_to(tmp_path / "copy")
        else:
            marker.mkdir()
        with pytest.raises(FolderIdentityLost):
            folder_identity(folder, store)

    def test_cleaning_leaves_it(self, folder: FaultyFolder, store: Store) -> None:
        one = folder_identity(folder, store)
        Staging(folder, store).clean(1e12)
        assert folder_identity(folder, store) == one


class TestReset:
    def test_a_new_folder_without_bases(self, folder: FaultyFolder, store: Store, marker: Path) -> None:
        one = folder_identity(folder, store)
        store.put_base("peer", "remote", b"d" * 32, {"": ()})
        marker.write_bytes(b"damaged")
        other = folder_identity(folder, store, reset=True)
        assert other != one
        assert store.base("peer", "remote") is None
        assert folder_identity(folder, store) == other

    def test_what_is_fine_is_reset_as_well(self, folder: FaultyFolder, store: Store) -> None:
        one = folder_identity(folder, store)
        assert folder_identity(folder, store, reset=True) != one

    def test_killed_before_the_record(self, folder: FaultyFolder, store: Store) -> None:
        folder_identity(folder, store)
        folder.fail("sync_directory", errno.EIO, times=1)
        with pytest.raises(DiskFailed):
            folder_identity(folder, store, reset=True)
        with pytest.raises(FolderIdentityLost):
            folder_identity(folder, store)
        folder_identity(folder, store, reset=True)


class TestReadOnly:
    """A folder that cannot be written to is known by its record, and by its inode."""

    @pytest.fixture(params=[errno.EACCES, errno.EROFS, errno.EPERM])
    def sealed(self, folder: FaultyFolder, request: pytest.FixtureRequest) -> FaultyFolder:
        folder.fail("create_file", request.param)
        return folder

    def test_the_store_alone_has_the_id(self, sealed: FaultyFolder, store: Store, marker: Path) -> None:
        one = folder_identity(sealed, store)
        assert not marker.exists()
        assert store.identity() == Identity(one, False, sealed.stat_of_root.st_ino)
        assert folder_identity(sealed, store) == one

    def test_writable_later_it_is_marked(self, sealed: FaultyFolder, store: Store, marker: Path) -> None:
        one = folder_identity(sealed, store)
        store.put_base("peer", "remote", b"d" * 32, {"": ()})
        sealed.faults.clear()
        assert folder_identity(sealed, store) == one
        assert marker.read_text() == one + "\n"
        assert store.base("peer", "remote") is not None
        marker.unlink()
        with pytest.raises(FolderIdentityLost):
            folder_identity(sealed, store)

    def test_an_empty_mount_point(self, sealed: FaultyFolder, store: Store, root: Path) -> None:
        folder_identity(sealed, store)
        root.rename(root.with_name("unmounted"))
        root.mkdir()
        with Folder.open(str(root)) as empty, pytest.raises(FolderIdentityLost):
            folder_identity(empty, store)
        assert list(root.iterdir()) == []

    def test_sealed_after_it_was_marked(self, folder: FaultyFolder, store: Store, marker: Path) -> None:
        one = folder_identity(folder, store)
        folder.fail("create_file", errno.EROFS)
        assert folder_identity(folder, store) == one
        marker.unlink()
        with pytest.raises(FolderIdentityLost):
            folder_identity(folder, store)

    def test_a_reset_of_it(self, sealed: FaultyFolder, store: Store) -> None:
        one = folder_identity(sealed, store)
        assert folder_identity(sealed, store, reset=True) != one


def test_a_full_disk_is_no_read_only_one(folder: FaultyFolder, store: Store, marker: Path) -> None:
    folder.fail("write_at", errno.ENOSPC)
    with pytest.raises(DiskFull):
        folder_identity(folder, store)
    assert store.identity() is None
    assert not marker.exists()


def test_a_linked_staging_directory(folder: FaultyFolder, store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / STAGING).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EntryRefused):
        folder_identity(folder, store)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_marker_that_cannot_be_read_is_an_error(folder: FaultyFolder, store: Store) -> None:
    folder_identity(folder, store)
    folder.fail("open_file", errno.EIO)
    with pytest.raises(DiskFailed, match="Input/output"):
        folder_identity(folder, store)


def test_a_copy_has_the_same_id(folder: FaultyFolder, store: Store, root: Path, tmp_path: Path) -> None:
    """A folder copied with everything in it, or moved: its marker came along."""
    one = folder_identity(folder, store)
    shutil.copytree(root, tmp_path / "copy")
    with Folder.open(str(tmp_path / "copy")) as copy, Store.open(tmp_path / "copy.sqlite") as fresh:
        assert folder_identity(copy, fresh) == one
