"""Fixtures of the disk tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafsync.engine.disk.hashing import Hasher
from leafsync.engine.disk.staging import Staging
from leafsync.engine.disk.store import Store
from leafsync.engine.disk.trash import Trash
from tests.disk.faults import FaultyFolder, WatchedStore


@pytest.fixture(autouse=True)
def _no_leaked_descriptors() -> Iterator[None]:
    """Every test closes what it opened: a leak of one a file ends a sync of many."""
    before = _descriptors()
    yield
    assert _descriptors() <= before


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))  # noqa: PTH110, PTH208


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the directory that is synced."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def folder(root: Path) -> Iterator[FaultyFolder]:
    with FaultyFolder.open(str(root)) as folder:
        yield folder


@pytest.fixture
def store(tmp_path: Path, folder: FaultyFolder) -> Iterator[Store]:
    with WatchedStore.open(tmp_path / "state" / "folder.db") as store:
        store.watched = folder
        yield store


@pytest.fixture(scope="session")
def hasher() -> Iterator[Hasher]:
    with Hasher(2) as hasher:
        yield hasher


@pytest.fixture
def staging(folder: FaultyFolder, store: Store) -> Staging:
    staging = Staging(folder, store, reserve=0)
    folder.calls.clear()
    return staging


@pytest.fixture
def trash(folder: FaultyFolder) -> Trash:
    return Trash(folder, "20261122-134501-ab12")
