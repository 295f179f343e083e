"""Whether the next change of a file will show."""

import os

import pytest

from leafsync.engine.disk.racy import RACY_NS, is_racy, is_racy_write

NOW = 1_800_000_000_000_000_000


def stat(mtime_ns: int, ctime_ns: int) -> os.stat_result:
    times = {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    return os.stat_result((0o100644, 1, 1, 1, 0, 0, 3, 0, 0, 0), times)


class TestIsRacy:
    @pytest.mark.parametrize("age", [RACY_NS, 100 * RACY_NS])
    def test_an_old_file(self, age: int) -> None:
        assert not is_racy(stat(NOW - age, NOW - age), NOW)

    @pytest.mark.parametrize("age", [RACY_NS - 1, 0, -10 * RACY_NS])
    def test_one_of_its_times_is_new_or_ahead(self, age: int) -> None:
        assert is_racy(stat(NOW - age, NOW - 100 * RACY_NS), NOW)
        assert is_racy(stat(NOW - 100 * RACY_NS, NOW - age), NOW)


class TestIsRacyWrite:
    @pytest.mark.parametrize("age", [RACY_NS, 100 * RACY_NS])
    def test_an_old_time(self, age: int) -> None:
        assert not is_racy_write(stat(NOW - age, NOW), NOW - age)

    @pytest.mark.parametrize("age", [RACY_NS - 1, 0, -10 * RACY_NS])
    def test_a_time_that_a_change_may_have_too(self, age: int) -> None:
        assert is_racy_write(stat(NOW - age, NOW), NOW - age)

    @pytest.mark.parametrize("late", [1, RACY_NS, -1])
    def test_another_time_than_was_given(self, late: int) -> None:
        assert is_racy_write(stat(NOW - 100 * RACY_NS + late, NOW), NOW - 100 * RACY_NS)
