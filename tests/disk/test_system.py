"""The system's calls that Python lacks, where no other test makes them."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.disk import system
from leafsync.engine.disk.system import changed_here_alone


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
