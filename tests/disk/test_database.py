"""The database below the store: older files are brought up, and several processes can use one at once."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from leafsync.engine.core.history import ActionKind, ActionRecord, PassRecord
from leafsync.engine.disk import database
from leafsync.engine.disk.bases import Identity
from leafsync.engine.disk.database import SCHEMA_VERSION
from leafsync.engine.disk.store import HashRow, StagedRow, Store
from leafsync.errors import DiskFailed, StoreUnusable

ROOT = b"r" * 32
IDENTITY = Identity("a" * 32, True, 5)

SCHEMA_1 = """
CREATE TABLE hashes (mark INTEGER PRIMARY KEY, root BLOB NOT NULL, racy INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE INDEX racy_hashes ON hashes (mark) WHERE racy;
CREATE TABLE leaves (mark INTEGER PRIMARY KEY, leaves BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE staged (name TEXT PRIMARY KEY, path TEXT NOT NULL, root BLOB NOT NULL, size INTEGER NOT NULL,
                     bitmap BLOB NOT NULL, UNIQUE (path, root));
INSERT INTO hashes VALUES (7, CAST('rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr' AS BLOB), 0, x'692453f2f9546c3a');
INSERT INTO staged VALUES ('name', 'a/b', CAST('rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr' AS BLOB), 5, x'00');
PRAGMA application_id = 1281712486;
PRAGMA user_version = 1;
"""
"""A file as version 1 wrote it, word for word: this text never changes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return number


class TestSchema1:
    @pytest.fixture(autouse=True)
    def older(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(SCHEMA_1)
        connection.close()

    def test_is_brought_up_with_what_it_holds(self, path: Path) -> None:
        with Store.open(path) as store:
            assert store.load_roots() == {7: ROOT}
            assert store.staged_rows() == [StagedRow("a/b", ROOT, 5, b"\0", "name")]
            assert store.identity() is None
            assert store.base("peer", "remote") is None
            assert store.passes() == []
            store.put_base("peer", "remote", ROOT, {"": ()})
        assert version(path) == SCHEMA_VERSION
        with Store.open(path) as store:
            assert store.base("peer", "remote") == {"": ()}

    def test_killed_half_way_it_starts_again(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = (*database._MIGRATIONS[:1], (*database._MIGRATIONS[1], "SELECT no_such_function()"))
        monkeypatch.setattr(database, "_MIGRATIONS", broken)
        with pytest.raises(StoreUnusable):
            Store.open(path)
        assert version(path) == 1
        monkeypatch.undo()
        with Store.open(path) as store:
            assert store.load_roots() == {7: ROOT}
        assert version(path) == SCHEMA_VERSION

    def test_two_bring_it_up_at_once(self, path: Path) -> None:
        gate, failures = threading.Barrier(4), []

        def work() -> None:
            try:
                gate.wait(5)
                with Store.open(path) as store:
                    assert store.load_roots() == {7: ROOT}
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert failures == []
        assert version(path) == SCHEMA_VERSION

    def test_waits_for_another_that_is_at_work_on_it(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # SQLite itself waits for nobody then
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr(time, "sleep", sleep)
        with Store.open(path) as store:
            assert store.load_roots() == {7: ROOT}
        assert waits == [database.RETRY_SECONDS]
        other.close()

    def test_does_not_wait_for_ever(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(database, "BUSY_SECONDS", 0.0)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        with pytest.raises(StoreUnusable, match="locked"):
            Store.open(path)
        other.close()


LOOK = """
import sys
from pathlib import Path
from leafsync.engine.disk.store import Store
with Store.open(Path(sys.argv[1])) as store:
    print(*(record.id for record in store.passes()))
"""


def looked_at_by_another_process(path: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split()


def test_opened_twice_in_a_process_it_is_still_in_use_for_others(path: Path) -> None:
    with Store.open(path) as store:
        store.put_pass(PassRecord("first", "", "", ()))
        Store.open(path).close()
        assert looked_at_by_another_process(path) == ["first"]  # whose close is not the last one
        store.put_pass(PassRecord("second", "", "", ()))
        assert sorted(looked_at_by_another_process(path)) == ["first", "second"]


OTHER = """
import sys
from pathlib import Path
from leafsync.engine.core.history import PassRecord
from leafsync.engine.disk.store import Store
with Store.open(Path(sys.argv[1])) as store:
    for number in range(30):
        store.put_pass(PassRecord(f"other-{number}", "", "", ()))
        store.base("peer", "remote")
"""


class TestTheFile:
    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_others_may_write_it(self, path: Path, mode: int) -> None:
        Store.open(path).close()
        path.chmod(mode)
        with pytest.raises(StoreUnusable, match=f"chmod 600 {path}"):
            Store.open(path)
        path.chmod(0o600)
        Store.open(path).close()

    def test_this_user_cannot_write_it(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store.open(path).close()
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root can write everything
        with pytest.raises(StoreUnusable, match="chmod 600"):
            Store.open(path)

    def test_its_filesystem_is_read_only(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store.open(path).close()
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)
        monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_RDONLY))
        with pytest.raises(StoreUnusable, match="its filesystem is read-only"):
            Store.open(path)

    def test_it_is_somebody_elses(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Store.open(path).close()
        if os.geteuid():
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        else:
            os.chown(path, 12345, -1)
        with pytest.raises(StoreUnusable, match="belongs to another user"):
            Store.open(path)

    @pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
    def test_it_is_no_file(self, path: Path, tmp_path: Path, kind: str) -> None:
        if kind == "link":
            Store.open(tmp_path / "other").close()
            path.symlink_to(tmp_path / "other")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
        with pytest.raises(StoreUnusable):
            Store.open(path)

    def test_it_is_made_for_this_user_alone(self, path: Path) -> None:
        before = os.umask(0)
        try:
            Store.open(path).close()
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o600


class TestManyProcesses:
    def test_both_write(self, path: Path) -> None:
        with Store.open(path) as store:
            with subprocess.Popen([sys.executable, "-c", OTHER, str(path)]) as process:
                for number in range(30):
                    store.put_pass(PassRecord(f"mine-{number}", "", "", ()))
                    store.put_hashes([HashRow(number, ROOT, None, False)])
                    store.passes(5)
                assert process.wait(20) == 0
            assert len(store.passes()) == 60
            assert len(store.load_roots()) == 30

    def test_what_the_other_wrote_is_seen(self, path: Path) -> None:
        with Store.open(path) as one, Store.open(path) as other:
            one.put_identity(IDENTITY)
            assert other.identity() == IDENTITY
            record = PassRecord("p", "m", "peer", (ActionRecord(ActionKind.MADE, "d"),))
            other.put_pass(record)
            assert one.find_pass("p") == record

    def test_one_that_never_lets_go(self, path: Path) -> None:
        with Store.open(path) as store:
            store._connection.execute("PRAGMA busy_timeout = 1")
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DiskFailed, match="another program has held it"):
                store.put_identity(IDENTITY)
            assert store.passes() == []
            other.execute("ROLLBACK")
            other.close()
            store.put_identity(IDENTITY)

    def test_closing_does_not_wait_for_a_reader(self, path: Path) -> None:
        store = Store.open(path)
        store.put_identity(IDENTITY)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM bases").fetchall()
        store.close()
        other.close()
