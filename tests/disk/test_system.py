"""The system's calls that Python lacks, where no other test makes them."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.disk import system
from leafsync.engine.disk.system import begin_flush, changed_here_alone


@pytest.mark.parametrize(("kind", "alone"), [(0xEF53, True), (0xF2F52010, True), (0x6969, False), (0x65735546, False)])
def test_what_changes_a_filesystem(monkeypatch: pytest.MonkeyPatch, kind: int, alone: bool) -> None:
    def statfs(path: bytes, found: Any) -> int:
        assert path == b"/somewhere"
        ctypes.memmove(found, ctypes.byref(ctypes.c_ulong(kind)), ctypes.sizeof(ctypes.c_ulong))
        return 0

    monkeypatch.setattr(system, "_statfs", statfs)
    assert changed_here_alone("/somewhere") == alone


@pytest.mark.skipif(sys.platform != "linux", reason="the types are those of Linux")
def test_the_real_call(tmp_path: Path) -> None:
    assert not changed_here_alone("/proc")
    assert not changed_here_alone(str(tmp_path / "missing"))
    assert changed_here_alone("/dev/shm")  # noqa: S108  # a tmpfs wherever it is


def test_a_system_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_statfs", None)
    assert not changed_here_alone("/")


def test_a_file_begins_to_go_to_the_disk(tmp_path: Path) -> None:
    """All of it, and its content is none of the call's business."""
    with (tmp_path / "file").open("wb+", buffering=0) as file:
        file.write(b"content")
        begin_flush(file.fileno())
        file.seek(0)
        assert file.read() == b"content"


def test_what_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int, int]] = []

    def sync_file_range(fd: int, start: ctypes.c_int64, length: ctypes.c_int64, flags: int) -> int:
        asked.append((fd, start.value, length.value, flags))
        return -1  # `flush_file` says why

    monkeypatch.setattr(system, "_sync_file_range", sync_file_range)
    begin_flush(7)
    assert asked == [(7, 0, 0, 2)]


def test_a_system_that_flushes_only_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_sync_file_range", None)
    begin_flush(7)
