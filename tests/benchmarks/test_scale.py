"""Measuring many files and several devices: small folders, the tables, and what fairness is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.clients import HEAD, Run, fairness, row
from benchmarks.measure import Figures
from benchmarks.scale import Kept, kept_rows
from benchmarks.trees import TINY_A_DIRECTORY, write_tiny


def test_tiny_files_are_as_many_entries_as_asked_for_and_no_two_alike(tmp_path: Path) -> None:
    count = write_tiny(tmp_path, 2 * (TINY_A_DIRECTORY + 1))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert count == len(files) == 2 * TINY_A_DIRECTORY
    assert len({path.read_bytes() for path in files}) == len({path.stat().st_mtime for path in files}) == count
    assert max(len(list(path.iterdir())) for path in tmp_path.rglob("*") if path.is_dir()) == TINY_A_DIRECTORY


def test_a_scan_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    files = write_tiny(folder, 30)

    def scanned() -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.scanned", str(folder), str(tmp_path / "records.sqlite")]
        found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return found

    first, second = scanned(), scanned()
    assert first["hashed"] == files
    assert first["entries"] == second["entries"] == files + 3
    assert 0 < first["before"] <= first["after"] <= first["peak"]
    assert min(first["seconds"], first["cpu"], first["records"], first["rescan"]) > 0


def test_rows_of_what_is_kept_name_the_size_once() -> None:
    assert kept_rows(100_000, [Kept("scan", 399.6, 450.2), Kept("records", 64.0)]) == [
        ["100,000", "scan", "400", "450"],
        ["", "records", "64", "-"],
    ]


@pytest.mark.parametrize(
    ("shares", "index"),
    [([5.0], 1.0), ([3.0, 3.0, 3.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25), ([2.0, 1.0], 0.9), ([0.0, 0.0], 1.0)],
)
def test_fairness_is_jains_index(shares: list[float], index: float) -> None:
    assert fairness(shares) == pytest.approx(index)


def test_a_row_has_medians_of_the_runs_and_of_all_saves() -> None:
    cost = Figures(1.0, 0.0, cpu_there=2.5, cpu_here=0.0, memory_there=80e6, memory_here=0.0)
    runs = [Run(100e6, 0.9, cost, (0.1, 0.3)), Run(120e6, 1.0, cost, (0.2,)), Run(110e6, 0.95, cost, ())]
    line = row(4, 256 << 20, runs)
    assert len(line) == len(HEAD)
    assert line == ["4", "268", "110", "0.950", "2.5", "80", "200", "300"]
    assert row(1, 1 << 20, [Run(1e6, 1.0, cost, ())])[-2:] == ["-", "-"]
