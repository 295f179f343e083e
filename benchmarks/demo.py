"""`make demo`: a real sync between two LeafSync processes on this machine, and a check of the result.

Makes a folder of real files, serves it with one process and keeps a copy the same with another over loopback, edits
files on both sides, syncs again, and compares both folders byte by byte. Ends with exit code 0 only if they are equal.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.devices import Device, summary_of
from benchmarks.trees import MIB, copy_standard_library, differences, write_random

PLACE = Path("demo-run")
PACKAGES = (
    "asyncio",
    "collections",
    "concurrent",
    "email",
    "encodings",
    "html",
    "http",
    "importlib",
    "json",
    "logging",
)
BIG_SIZE = 64 * MIB


def say(text: str) -> None:
    """Print a line of the demo's own, before what the processes print next."""
    print(text, flush=True)


def main() -> int:
    """Run the demo."""
    shutil.rmtree(PLACE, ignore_errors=True)
    source, copy = PLACE / "laptop", PLACE / "desktop"
    source.mkdir(parents=True)
    copy.mkdir()
    say("1. A folder with real files, and two devices that trust each other")
    files = make_folder(source)
    laptop, desktop = Device(PLACE / "laptop-home"), Device(PLACE / "desktop-home")
    laptop.trust(desktop, "desktop")
    desktop.trust(laptop, "laptop")
    say(f"   {files} files of Python's standard library and one of {BIG_SIZE // MIB} MiB, in {source}")
    with laptop.serving(source) as serving:
        address = f"127.0.0.1:{serving['port']}"
        say(f"\n2. laptop:   leafsync serve {source}")
        say(f"   desktop:  leafsync connect {address} {copy} --once")
        connect = ("connect", address, copy, "--once", "--no-tui")
        subprocess.run(desktop.command(*connect), env=desktop.environment, check=True)
        say("\n3. On the laptop: three files edited, one renamed, one deleted, 100 bytes changed inside the 64 MiB")
        say("   On the desktop: a new file, and one edited")
        edit_folder(source)
        edit_copy(copy)
        summary = summary_of(desktop.run(*connect, "--json").stdout)
        moved = summary["wire_in"] + summary["wire_out"]
        say("   desktop:  the same command again")
        say(
            f"   {moved / 1e6:.2f} MB on the wire for a folder of {folder_size(source) / 1e6:.0f} MB,",
        )
        came, went = len(summary["fetched_paths"]), len(summary["sent_paths"])
        renamed, trashed = len(summary["moved"]), len(summary["trashed"])
        say(f"   {summary['seconds']:.2f} s: {came} files came, {went} went, {renamed} renamed, {trashed} to the trash")
    different = differences(source, copy)
    if different:
        say(f"\nFAILED: {len(different)} paths differ: {', '.join(different[:10])}")
        return 1
    say("\n4. Both folders are equal: every byte, time, executable bit, link and directory.")
    return 0


def make_folder(folder: Path) -> int:
    """Fill `folder`; return the number of small files."""
    files = copy_standard_library(folder, PACKAGES)
    write_random(folder / "big.bin", BIG_SIZE, seed=1)
    (folder / "empty directory").mkdir()
    (folder / "link to json").symlink_to("json/__init__.py")
    (folder / "json" / "tool.py").chmod(0o755)
    return files


def edit_folder(folder: Path) -> None:
    """Change what a person might change between two syncs."""
    for name in ("asyncio/tasks.py", "email/utils.py", "http/client.py"):
        with (folder / name).open("a") as file:
            file.write("\n# edited\n")
    (folder / "json/scanner.py").rename(folder / "json/renamed.py")
    (folder / "html/entities.py").unlink()
    with (folder / "big.bin").open("r+b") as big:
        big.seek(BIG_SIZE // 2)
        big.write(b"x" * 100)


def edit_copy(folder: Path) -> None:
    """Change what the other person changes meanwhile."""
    (folder / "notes.txt").write_text("written on the desktop\n")
    with (folder / "logging/handlers.py").open("a") as file:
        file.write("\n# edited on the desktop\n")


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
