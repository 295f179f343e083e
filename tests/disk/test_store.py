"""The store: what it remembers, what it makes of damage, and that it never overwrites what it does not know."""

import contextlib
import sqlite3
import stat as modes
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from leafsync.engine.disk import database as database_module, store as store_module
from leafsync.engine.disk.database import APPLICATION_ID, SCHEMA_VERSION
from leafsync.engine.disk.store import HashRow, StagedRow, Store
from leafsync.errors import DiskFailed, DiskFull, StoreUnusable

ROOT, OTHER = b"r" * 32, b"o" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "deep" / "folder.db"


@pytest.fixture
def database(path: Path) -> Path:
    """Return the path of a store with something in it."""
    with Store.open(path) as store:
        store.put_hashes([HashRow(1, ROOT, b"l" * 64, False), HashRow(2, OTHER, None, False)])
    return path


def change(path: Path, statement: str, *values: object) -> None:
    """Do something to the file behind the store's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


class TestOpening:
    def test_for_this_user_alone(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_hashes([HashRow(1, ROOT, None, False)])
            files = list(path.parent.iterdir())
            assert {modes.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert modes.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_closing_leaves_one_file(self, database: Path) -> None:
        assert list(database.parent.iterdir()) == [database]

    def test_it_knows_itself(self, database: Path) -> None:
        connection = sqlite3.connect(database)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        connection.close()

    def test_again(self, database: Path) -> None:
        with Store.open(database) as store:
            assert store.load_roots() == {1: ROOT, 2: OTHER}

    def test_an_empty_file_is_a_new_one(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        path.touch()
        with Store.open(path) as store:
            assert store.load_roots() == {}

    def test_a_migration_that_was_killed_starts_again(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database_module, "_MIGRATIONS", (("CREATE TABLE half (a)", "SELECT no_such_function()"),))
        with pytest.raises(StoreUnusable, match="no_such_function"):
            Store.open(path)
        monkeypatch.undo()
        with Store.open(path) as store:
            assert store.load_roots() == {}

    def test_an_older_version_is_brought_up(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database_module, "_MIGRATIONS", (*database_module._MIGRATIONS, ("CREATE TABLE later (a)",)))
        with Store.open(database) as store:
            assert store.load_roots() == {1: ROOT, 2: OTHER}
        change(database, "INSERT INTO later VALUES (1)")
        monkeypatch.undo()
        with pytest.raises(StoreUnusable, match="newer LeafSync"):
            Store.open(database)

    def test_closed(self, path: Path) -> None:
        store = Store.open(path)
        store.close()
        for call in (store.load_roots, store.staged_rows, lambda: store.put_hashes([HashRow(1, ROOT, None, False)])):
            with pytest.raises(StoreUnusable, match="closed"):
                call()
        store.close()


class TestDamage:
    """Fault case 80: refuse, say why, and leave the file as it is."""

    def refused(self, path: Path, reason: str) -> None:
        before = path.read_bytes()
        with pytest.raises(StoreUnusable, match=reason):
            Store.open(path)
        assert path.read_bytes() == before

    def test_text(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        path.write_text("This is not a database, and long enough to be read as the header of one." * 20)
        self.refused(path, "not a database")

    def test_another_programs_database(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        change(path, "CREATE TABLE theirs (a)")
        self.refused(path, "another program")

    def test_another_application(self, database: Path) -> None:
        change(database, "PRAGMA application_id = 7")
        self.refused(database, "another program")

    def test_a_newer_version(self, database: Path) -> None:
        change(database, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        self.refused(database, "newer LeafSync")

    def test_a_directory(self, path: Path) -> None:
        path.mkdir(parents=True)
        with pytest.raises(StoreUnusable, match="directory"):
            Store.open(path)

    def test_a_file_where_the_directory_should_be(self, path: Path) -> None:
        path.parent.parent.mkdir(parents=True)
        path.parent.touch()
        with pytest.raises(StoreUnusable, match=r"File exists|Not a directory"):
            Store.open(path)

    @pytest.mark.parametrize("kept", [0.2, 0.4, 0.6])
    def test_cut_short(self, database: Path, kept: float) -> None:
        content = database.read_bytes()
        database.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(StoreUnusable), Store.open(database) as store:
            store.staged_rows()

    def test_pages_overwritten(self, database: Path) -> None:
        content = database.read_bytes()
        database.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        with pytest.raises(StoreUnusable), Store.open(database) as store:
            store.load_roots()

    def test_a_bad_row_is_a_miss(self, database: Path) -> None:
        change(database, "UPDATE hashes SET root = ? WHERE mark = 1", OTHER)
        change(database, "UPDATE leaves SET leaves = ? WHERE mark = 1", b"x" * 64)
        with Store.open(database) as store:
            assert store.load_roots() == {2: OTHER}
            assert store.leaves(1) is None

    @pytest.mark.parametrize("value", ["text", 7, 1.5])
    def test_a_row_of_another_type_is_a_miss(self, database: Path, value: object) -> None:
        change(database, "UPDATE hashes SET root = ?", value)
        change(database, "UPDATE leaves SET leaves = ?", value)
        with Store.open(database) as store:
            assert store.load_roots() == {}
            assert store.leaves(1) is None

    def test_a_racy_row_never_turns_into_a_good_one(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_hashes([HashRow(1, ROOT, None, True)])
        change(path, "UPDATE hashes SET racy = 0")
        with Store.open(path) as store:
            assert store.load_roots() == {}

    def test_a_row_under_another_mark_is_a_miss(self, database: Path) -> None:
        change(database, "UPDATE hashes SET mark = 3 WHERE mark = 1")
        with Store.open(database) as store:
            assert store.load_roots() == {2: OTHER}

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (sqlite3.SQLITE_FULL, DiskFull),
            (sqlite3.SQLITE_IOERR | 3 << 8, DiskFailed),
            (sqlite3.SQLITE_CORRUPT, StoreUnusable),
        ],
    )
    def test_what_goes_wrong_later(self, path: Path, code: int, kind: type[Exception]) -> None:
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorcode = code
        with Store.open(path) as store, pytest.raises(kind) as caught, store._use():
            raise error
        assert type(caught.value) is kind

    def test_a_full_disk_undoes_the_transaction(self, database: Path) -> None:
        with Store.open(database) as store:
            store._connection.execute("PRAGMA max_page_count = 1")
            with pytest.raises(DiskFull):
                store.put_hashes(HashRow(mark, ROOT, bytes(4096), False) for mark in range(100, 200))
            assert store.load_roots() == {1: ROOT, 2: OTHER}
            store._connection.execute("PRAGMA max_page_count = 100000")
            store.put_hashes([HashRow(3, ROOT, None, False)])


class TestHashes:
    @settings(max_examples=25)
    @given(
        st.dictionaries(
            st.integers(0, (1 << 64) - 1),
            st.tuples(
                st.binary(min_size=32, max_size=32), st.none() | st.binary(min_size=64, max_size=96), st.booleans()
            ),
            max_size=20,
        )
    )
    def test_come_back(self, rows: dict[int, tuple[bytes, bytes | None, bool]]) -> None:
        with Store(Path("memory"), sqlite3.connect(":memory:", isolation_level=None)) as store:
            database_module.prepare(store._connection)
            store.put_hashes(HashRow(mark, *row) for mark, row in rows.items())
            assert store.load_roots() == {mark: root for mark, (root, _leaves, racy) in rows.items() if not racy}
            assert store.load_racy() == {mark for mark, (_root, _leaves, racy) in rows.items() if racy}
            for mark, (_root, leaves, _racy) in rows.items():
                assert store.leaves(mark) == leaves

    def test_the_newest_row_holds(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_hashes([HashRow(1, ROOT, None, True)])
            store.put_hashes([HashRow(1, OTHER, None, False)])
            assert store.load_roots() == {1: OTHER}
            assert store.load_racy() == frozenset()

    def test_few_stale_rows_stay(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_hashes(HashRow(mark, ROOT, None, False) for mark in range(store_module.PRUNE_SLACK))
            store.forget_except(())
            assert len(store.load_roots()) == store_module.PRUNE_SLACK

    def test_many_go(self, path: Path) -> None:
        kept = {1, (1 << 64) - 1}
        with Store.open(path) as store:
            marks = {*range(store_module.PRUNE_SLACK + 2), *kept}
            store.put_hashes(HashRow(mark, ROOT, b"l" * 64, False) for mark in marks)
            store.forget_except(kept)
            assert set(store.load_roots()) == kept
            assert store.leaves(2) is None
            assert store.leaves(1) == b"l" * 64
            store.put_hashes(HashRow(mark, ROOT, None, False) for mark in range(2000))
            store.forget_except(kept)
            assert set(store.load_roots()) == kept


class TestStagedRows:
    ROW = StagedRow("a/b", ROOT, 5 << 20, b"\x03", "name")

    def test_come_back_after_reopening(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_staged(self.ROW)
            store.mark_chunks("name", b"\x07")
        with Store.open(path) as store:
            assert store.staged("a/b", ROOT) == StagedRow("a/b", ROOT, 5 << 20, b"\x07", "name")
            assert store.staged("a/b", OTHER) is None
            assert store.staged("a", ROOT) is None
            store.drop_staged("name")
            assert store.staged_rows() == []
            store.drop_staged("name")

    def test_one_for_a_path_and_root(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_staged(self.ROW)
            store.put_staged(StagedRow("a/b", ROOT, 5 << 20, b"", "later"))
            store.put_staged(StagedRow("a/b", OTHER, 1, b"", "another"))
            assert {row.name for row in store.staged_rows()} == {"later", "another"}

    def test_finishing_is_one_step(self, path: Path) -> None:
        with Store.open(path) as store:
            store.put_staged(self.ROW)
            store.finish_staged(["name", "unknown"], [HashRow(9, ROOT, b"l" * 64, True)])
            assert store.staged_rows() == []
            assert store.load_racy() == {9}
            assert store.leaves(9) == b"l" * 64

    def test_an_uncommitted_change_is_gone(self, path: Path) -> None:
        with Store.open(path) as store:
            with contextlib.suppress(ValueError), store._write() as connection:
                connection.execute("INSERT INTO staged VALUES ('n', 'p', x'', 0, x'')")
                raise ValueError("stop")
            assert store.staged_rows() == []


def test_many_threads(path: Path) -> None:
    failures: list[BaseException] = []

    def work(store: Store, number: int) -> None:
        try:
            for step in range(20):
                store.put_hashes([HashRow(number * 100 + step, ROOT, None, False)])
                store.load_roots()
                store.put_staged(StagedRow(f"{number}", bytes([step]), 0, b"", f"{number}.{step}"))
        except BaseException as error:
            failures.append(error)

    with Store.open(path) as store:
        threads = [threading.Thread(target=work, args=(store, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert failures == []
        assert len(store.load_roots()) == 80
        assert len(store.staged_rows()) == 80
