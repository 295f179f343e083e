"""Which files of its own LeafSync believes."""

import stat
from typing import NamedTuple

import pytest

from leafsync.engine.core.ownfiles import file_problem

USER = 1000


class Status(NamedTuple):
    st_mode: int
    st_uid: int = USER


def of(mode: int, user: int = USER) -> Status:
    return Status(stat.S_IFREG | mode, user)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o700, 0o000])
@pytest.mark.parametrize("user", [USER, 0])
def test_what_nobody_else_can_write_is_believed(mode: int, user: int) -> None:
    assert file_problem("f", of(mode, user), USER) is None
    assert file_problem("f", of(mode, user), USER, group_may_write=True) is None


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFIFO, stat.S_IFLNK, stat.S_IFSOCK, stat.S_IFCHR])
def test_what_is_no_file_is_not(kind: int) -> None:
    assert file_problem("f", Status(kind | 0o600), USER) == "it is not a regular file"


def test_what_is_somebody_elses_is_not() -> None:
    assert file_problem("f", of(0o600, 1001), USER) == "it belongs to another user (uid 1001)"
    assert file_problem("f", of(0o600, 1001), 0) == "it belongs to another user (uid 1001)"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_can_write_is_not(mode: int) -> None:
    assert file_problem("/a/f", of(mode), USER) == "other users can write it (run: chmod 600 /a/f)"


def test_a_group_may_be_let_in() -> None:
    assert file_problem("/a/f", of(0o660), USER, group_may_write=True) is None
    said = file_problem("/a/f", of(0o662), USER, group_may_write=True)
    assert said == "all users can write it (run: chmod o-w /a/f)"
