"""What is said of bytes that are read for the last time."""

import errno
import os

import pytest

from leafsync.engine.disk.buffers import forget


def test_neighbours_are_forgotten_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, because a part of a page is never given back."""
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *what: told.append(what), raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    forget(7, [(300, 50), (0, 100), (100, 10), (105, 20), (350, 1)])
    assert told == [
        (7, 0, 125, os.POSIX_FADV_DONTNEED),
        (7, 300, 51, os.POSIX_FADV_DONTNEED),
    ]


def test_nothing_is_forgotten_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *what: told.append(what), raising=False)
    forget(7, [])
    assert not told


def test_where_the_advice_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_what: int) -> None:
        raise OSError(errno.ESPIPE, "Illegal seek")

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    forget(7, [(0, 100)])
