"""Made-up logs: the same for the same seed, of the size asked for, and as compressible as logs are."""

import itertools
import zlib
from pathlib import Path

import pytest

from benchmarks.logs import access_lines, application_lines, write_log

SIZE = 1_000_003


def written(path: Path, seed: int) -> bytes:
    write_log(path, SIZE, seed)
    return path.read_bytes()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, seed: int) -> None:
    log = written(tmp_path / "one", seed)
    assert log == written(tmp_path / "other", seed)
    assert len(log) == SIZE
    assert log != written(tmp_path / "third", seed + 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_they_compress_like_logs(tmp_path: Path, seed: int) -> None:
    """Neither like random bytes nor like one line again and again."""
    log = written(tmp_path / "log", seed)
    assert 2.5 < len(log) / len(zlib.compress(log, 1)) < 8


@pytest.mark.parametrize("lines", [access_lines(3), application_lines(4)])
def test_time_goes_forward(lines: "itertools.chain[str]") -> None:
    clocks = [line.partition("[")[2].partition("]")[0] for line in itertools.islice(lines, 5000)]
    assert clocks == sorted(clocks)
    assert clocks[0].startswith("2026-01-01T00:00:0")
    assert clocks[-1] > clocks[0]
