"""What runs say of themselves, and how a dead one is told from a live one."""

import fcntl
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leafsync.instances import Instance, running

DEAD = 4_000_000
"""No process has this id: it is above what Linux gives out as far as anyone sets it."""


def test_a_run_is_seen_while_it_is_alive(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "run"
    assert running(directory) == []
    with Instance(directory) as instance:
        assert running(directory) == []
        instance.write({"pid": 1})
        instance.write({"pid": 2})
        assert running(directory) == [{"pid": 2}]
        assert [path.name for path in directory.iterdir()] == [f"{os.getpid()}.json"]
    assert running(directory) == []
    assert list(directory.iterdir()) == []


def test_its_file_is_for_this_user_alone(tmp_path: Path) -> None:
    with Instance(tmp_path / "run") as instance:
        instance.write({})
        (path,) = (tmp_path / "run").iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_file_of_a_dead_run_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{DEAD}.json").write_text('{"pid": 1}')
    assert running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_nothing_to_see(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from leafsync.instances import Instance; "
        "instance = Instance(pathlib.Path(sys.argv[1])); instance.write({'pid': 7}); print('ready', flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert running(tmp_path) == [{"pid": 7}]
        finally:
            process.kill()
            process.wait(timeout=10)
    assert len(list(tmp_path.iterdir())) == 1
    assert running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def locked(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_says_nothing_is_left_alone(tmp_path: Path, content: bytes) -> None:
    fd = locked(tmp_path / "1.json", content)
    try:
        assert running(tmp_path) == []
        assert (tmp_path / "1.json").exists()
    finally:
        os.close(fd)


def test_runs_come_by_process(tmp_path: Path) -> None:
    held = [locked(tmp_path / f"{pid}.json", json.dumps({"pid": pid}).encode()) for pid in (100, 9, 20)]
    try:
        assert [state["pid"] for state in running(tmp_path)] == [9, 20, 100]
    finally:
        for fd in held:
            os.close(fd)


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "1.json").symlink_to(tmp_path / "elsewhere")
    assert running(directory) == []
    assert (tmp_path / "elsewhere").exists()


def test_a_run_goes_on_where_it_cannot_be_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("a file")
    with caplog.at_level(logging.WARNING), Instance(tmp_path / "run") as instance:
        instance.write({})
        instance.write({})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "leafsync status" in caplog.text


def test_a_failed_write_leaves_what_was_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with Instance(tmp_path) as instance:
        instance.write({"pid": 1})
        with monkeypatch.context() as patched:
            patched.setattr("leafsync.instances.os.write", full)
            instance.write({"pid": 2})
        assert running(tmp_path) == [{"pid": 1}]
        assert len(list(tmp_path.iterdir())) == 1
        instance.write({"pid": 3})
        assert running(tmp_path) == [{"pid": 3}]


def test_a_file_that_was_replaced_while_it_was_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Instance(tmp_path) as instance:
        instance.write({"pid": 1})
        real = os.open
        replaced: list[Path] = []

        def late(path: Path, flags: int, mode: int = 0o777) -> int:
            fd = real(path, flags, mode)
            if not replaced and not flags & os.O_CREAT:
                replaced.append(path)
                instance.write({"pid": 2})
            return fd

        monkeypatch.setattr("leafsync.instances.os.open", late)
        assert running(tmp_path) == [{"pid": 2}]
    assert replaced
