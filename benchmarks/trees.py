"""Folders to sync: made from real files and from random bytes, and compared by an independent tool."""

import filecmp
import os
import random
import shutil
import sysconfig
from pathlib import Path

MIB = 1 << 20


def write_random(path: Path, size: int, seed: int) -> None:
    """Write `size` bytes that do not compress; the same seed gives the same bytes."""
    generator = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(generator.randbytes(min(MIB, size - start)))


def copy_standard_library(target: Path, packages: tuple[str, ...] = ()) -> int:
    """Copy the running Python's standard library, or some packages of it, and return the number of files."""
    source = Path(sysconfig.get_paths()["stdlib"])
    unwanted = shutil.ignore_patterns("__pycache__", "site-packages", "config-*")
    for name in packages or (".",):
        shutil.copytree(source / name, target / name, symlinks=True, ignore=unwanted, dirs_exist_ok=True)
    return sum(len(files) for _directory, _directories, files in os.walk(target))


TINY_A_DIRECTORY = 100
"""Tiny files in one directory."""

TINY_TIME = 1_600_000_000
"""When the first of the tiny files was written, in seconds since 1970; each further one 0.37 s later."""


def write_tiny(folder: Path, entries: int) -> int:
    """Fill `folder` with files of a few bytes, no two alike, so that there are about as many entries as said.

    They are three directories deep, with names as long as those of documents. Returns the number of files.
    """
    files = entries * TINY_A_DIRECTORY // (TINY_A_DIRECTORY + 1)
    directory = ""
    for number in range(files):
        group, position = divmod(number, TINY_A_DIRECTORY)
        if not position:
            directory = f"{folder}/area {group // 1000:02}/project {group // 30:03}/part {group:05}"
            Path(directory).mkdir(parents=True)
        path = f"{directory}/document {number:07}.txt"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"%d\n" % number)
        os.close(fd)
        written = TINY_TIME * 1_000_000_000 + number * 370_000_001
        os.utime(path, ns=(written, written))
    return files


OWN_NAMES = {".leafsync_tmp", ".leafsync_trash", ".stfolder"}
"""What the tools keep in a folder for themselves."""


def differences(left: Path, right: Path, *, slack: int = 0) -> list[str]:
    """Return the paths that are not the same in both folders: content, kind, link target, time, executable bit.

    Times may differ by `slack` nanoseconds: there are tools that keep whole seconds.
    """
    filecmp.clear_cache()  # it takes another file with the same size and time at the same path for one it has seen
    return sorted(_differences(left, right, "", slack))


def _differences(left: Path, right: Path, at: str, slack: int) -> list[str]:
    names = _names(left / at) | _names(right / at)
    different = []
    for name in names:
        path = f"{at}/{name}" if at else name
        one, other = left / path, right / path
        if not (os.path.lexists(one) and os.path.lexists(other)):
            different.append(path)
        elif one.is_symlink() or other.is_symlink():
            if not (one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()):
                different.append(path)
        elif one.is_dir() and other.is_dir():
            different += _differences(left, right, path, slack)
        elif not (one.is_file() and other.is_file() and _same_file(one, other, slack)):
            different.append(path)
    return different


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} - OWN_NAMES


def _same_file(one: Path, other: Path, slack: int) -> bool:
    first, second = one.stat(), other.stat()
    same_time = abs(first.st_mtime_ns - second.st_mtime_ns) <= slack
    same_metadata = same_time and (first.st_mode ^ second.st_mode) & 0o100 == 0
    return same_metadata and filecmp.cmp(one, other, shallow=False)
