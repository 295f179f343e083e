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


def differences(left: Path, right: Path) -> list[str]:
    """Return the paths that are not the same in both folders: content, kind, link target, time, executable bit."""
    return sorted(_differences(left, right, ""))


def _differences(left: Path, right: Path, at: str) -> list[str]:
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
            different += _differences(left, right, path)
        elif not (one.is_file() and other.is_file() and _same_file(one, other)):
            different.append(path)
    return different


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} - {".leafsync_tmp", ".leafsync_trash"}


def _same_file(one: Path, other: Path) -> bool:
    first, second = one.stat(), other.stat()
    same_metadata = first.st_mtime_ns == second.st_mtime_ns and (first.st_mode ^ second.st_mode) & 0o100 == 0
    return same_metadata and filecmp.cmp(one, other, shallow=False)
