"""The pieces of work that tools are measured at: how a folder is filled, and what is done to it then."""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.logs import write_log
from benchmarks.trees import MIB, write_random

BIG_MIB = 512
FILES = 10_000
FILES_BYTES = 104_000_000
LOGS_BYTES = 273_000_000
LOG_FILES = 13
"""Two weeks of a log that is begun anew each day."""

FILES_A_DIRECTORY = 100

EDITS = 3
EDIT_BYTES = 100

INSERTED = b"0123456789"

LONG_AGO = 1_767_225_600
"""The time of all files in the beginning: an edit is then newer to every tool, however coarse its clock."""

READ_AT_ONCE = 1 << 20
"""Bytes of a file that are copied at a time."""


@dataclass(frozen=True)
class Step:
    """One sync that is measured, and what is changed in the folder just before it."""

    label: str
    change: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Work:
    """A folder, and the syncs that are measured with it, one after the other."""

    name: str
    fill: Callable[[Path], None]
    steps: tuple[Step, ...]
    compressible: bool = False
    numerous: bool = False
    """Whether the folder has so many files that removing it slows down whoever makes files after that."""


def works(scale: float) -> list[Work]:
    """Return all work; `scale` makes it smaller, 1 is the size that figures are published for."""
    mib, files = max(1, round(BIG_MIB * scale)), max(2 * FILES_A_DIRECTORY, round(FILES * scale))
    log_bytes = round(LOGS_BYTES * scale)
    return [
        Work(
            "large",
            lambda folder: write_random(folder / "large.bin", mib * MIB, seed=1),
            (
                Step(f"one random file of {mib} MiB"),
                Step(f"{EDITS} edits of {EDIT_BYTES} bytes in {mib} MiB", edit),
                Step(f"{len(INSERTED)} bytes inserted at the front of {mib} MiB", insert),
            ),
        ),
        Work(
            "many",
            lambda folder: fill_many(folder, files, round(FILES_BYTES * files / FILES)),
            (
                Step(f"{files:,} files, {FILES_BYTES * files / FILES / 1e6:.0f} MB"),
                Step(f"nothing changed, {files:,} files"),
                Step(f"{files // 2:,} files moved to another directory", move),
            ),
            numerous=True,
        ),
        Work(
            "logs",
            lambda folder: fill_logs(folder, log_bytes),
            (Step(f"text logs, {log_bytes / 1e6:.0f} MB"),),
            compressible=True,
        ),
    ]


def make(work: Work, folder: Path) -> None:
    """Fill a new `folder`, and give all in it one old time."""
    folder.mkdir(parents=True)
    work.fill(folder)
    for directory, _directories, names in os.walk(folder, topdown=False):
        for name in names:
            os.utime(Path(directory, name), (LONG_AGO, LONG_AGO))
        os.utime(directory, (LONG_AGO, LONG_AGO))


def fill_many(folder: Path, files: int, size: int) -> None:
    """Write `files` files of random sizes, about `size` bytes in all, in two directories of directories."""
    generator = random.Random(2)
    mean = size // files
    for number in range(files):
        half = "left" if number < files // 2 else "right"
        directory = folder / half / f"{number // FILES_A_DIRECTORY:03}"
        if number % FILES_A_DIRECTORY == 0 or number == files // 2:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number:05}.dat").write_bytes(generator.randbytes(generator.randrange(2 * mean + 1)))


def fill_logs(folder: Path, size: int) -> None:
    """Write logs of `size` bytes in all."""
    for number in range(LOG_FILES):
        part = size * (number + 1) // LOG_FILES - size * number // LOG_FILES
        write_log(folder / f"service-{number:02}.log", part, seed=number)


def edit(folder: Path) -> None:
    """Overwrite a few bytes at a few places, far from each other and across no boundary that tools like."""
    with (folder / "large.bin").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for number in range(EDITS):
            file.seek(size * (2 * number + 1) // (2 * EDITS) + 12_345)
            file.write(bytes([65 + number]) * EDIT_BYTES)


def insert(folder: Path) -> None:
    """Put a few bytes before all others, as an editor does: into a new file that takes the name."""
    old, new = folder / "large.bin", folder / "large.bin.new"
    with old.open("rb") as source, new.open("wb") as target:
        target.write(INSERTED)
        shutil.copyfileobj(source, target, READ_AT_ONCE)
    new.replace(old)


def move(folder: Path) -> None:
    """Move half of the files."""
    (folder / "left").rename(folder / "elsewhere")
