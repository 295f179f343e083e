"""Disks that fail: every operation on a device's folder, and every read and write below it, can be made to fail."""

import fcntl
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.disk.folder import Folder
from tests.support.devices import Device, Pair

OLD = 1_700_000_000.0
"""Seconds since 1970: long enough ago for a file not to be looked at twice."""

READS, WRITES = ("pread", "preadv"), ("pwrite",)
"""Calls of the system that the engine reads and writes the content of open files with."""

Act = Callable[[Callable[..., Any], tuple[Any, ...]], Any]
"""What happens instead of a call: is given the call and its arguments."""


@dataclass
class Fault:
    """What happens at a call."""

    call: str
    act: Act
    about: str
    skip: int
    times: int


class Faults:
    """Lets what a device does with its folder fail; other folders of the process are left alone.

    `fail` is about operations (methods of Folder), `fail_reading` and `fail_writing` about the content of files that
    are open, `short` lets calls do only part of what they were asked for. `about` is a part of what a call names: of
    its arguments, or of the path of the open file.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
        self.calls = 0
        """How many calls did not go as they should."""
        self.steps: list[tuple[str, str]] = []
        """Operations watched with `watch` so far, and what they were about."""
        self._monkeypatch = monkeypatch
        self._root = str(device.folder)
        self._faults: list[Fault] = []
        self._patched: set[str] = set()

    def fail(self, step: str, code: int, about: str = "", *, skip: int = 0, times: int = 1_000_000) -> None:
        """Let an operation raise OSError, after `skip` times that go well."""
        self.at(step, _raising(code), about, skip=skip, times=times)

    def at(self, step: str, act: Act, about: str = "", *, skip: int = 0, times: int = 1_000_000) -> None:
        """Have something else done instead of an operation."""
        self._faults.append(Fault(step, act, about, skip, times))
        self._patch(step)

    def watch(self, *steps: str) -> None:
        """Write these operations down in `steps`."""
        for step in steps:
            self._patch(step, watched=True)

    def fail_reading(
        self, code: int, about: str = "", *, skip: int = 0, times: int = 1_000_000, calls: tuple[str, ...] = READS
    ) -> None:
        """Let reading from open files raise OSError."""
        for call in calls:
            self._below(call, _raising(code), about, skip, times)

    def fail_writing(self, code: int, about: str = "", *, skip: int = 0, times: int = 1_000_000) -> None:
        """Let writing to open files raise OSError."""
        for call in WRITES:
            self._below(call, _raising(code), about, skip, times)

    def short(self, calls: tuple[str, ...], most: int, about: str = "") -> None:
        """Let calls read or write `most` bytes at a time."""
        for call in calls:
            self._below(call, _shortened(most), about, 0, 1_000_000)

    def mend(self) -> None:
        """Let everything go well from now on."""
        self._faults.clear()

    def _below(self, call: str, act: Act, about: str, skip: int, times: int) -> None:
        self._faults.append(Fault(call, act, about, skip, times))
        if call in self._patched:
            return
        self._patched.add(call)
        original = getattr(os, call)

        def faulty(descriptor: int, *arguments: Any) -> Any:
            path = path_of(descriptor)
            if not path.startswith(f"{self._root}/"):
                return original(descriptor, *arguments)
            return self._call(call, path, original, (descriptor, *arguments))

        self._monkeypatch.setattr(os, call, faulty)

    def _patch(self, step: str, *, watched: bool = False) -> None:
        if step in self._patched:
            return
        self._patched.add(step)
        original = getattr(Folder, step)

        def faulty(folder: Folder, *arguments: Any, **options: Any) -> Any:
            if folder.path != self._root:
                return original(folder, *arguments, **options)
            about = _about(arguments)
            if watched:
                self.steps.append((step, about))
            return self._call(step, about, lambda *given: original(*given, **options), (folder, *arguments))

        self._monkeypatch.setattr(Folder, step, faulty)

    def _call(self, call: str, about: str, original: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        for fault in self._faults:
            if fault.call == call and fault.about in about and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                self.calls += 1
                return fault.act(original, arguments)
        return original(*arguments)


def _raising(code: int) -> Act:
    def act(_original: Callable[..., Any], _arguments: tuple[Any, ...]) -> Any:
        raise OSError(code, os.strerror(code))

    return act


def _shortened(most: int) -> Act:
    def act(original: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        descriptor, what, *rest = arguments
        if isinstance(what, int):
            return original(descriptor, min(what, most), *rest)
        if isinstance(what, list):
            return original(descriptor, [memoryview(what[0])[:most]], *rest)
        return original(descriptor, memoryview(what)[:most], *rest)

    return act


def _about(arguments: tuple[Any, ...]) -> str:
    """Return what an operation is about, as text: the paths of open files, no content."""
    shown = []
    for argument in arguments:
        if isinstance(argument, int) and not isinstance(argument, bool) and 2 < argument < 1 << 16:
            shown.append(repr(path_of(argument) or argument))
        elif not isinstance(argument, bytes | bytearray | memoryview):
            shown.append(repr(argument))
    return ", ".join(shown)


def path_of(descriptor: int) -> str:
    """Return where an open file is, "" when that cannot be told."""
    try:
        if sys.platform == "darwin":
            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""


def staged(device: Device) -> list[str]:
    """Return what is in the staging directory, but for what always is."""
    return sorted({path.name for path in (device.folder / ".leafsync_tmp").iterdir()} - {"lock", "folder-id"})


async def in_use(device: Device) -> Device:
    """Have a folder used once, so that it has its marker already."""
    await (await device.serve()).stop()
    return device


async def agreed(pair: Pair) -> Pair:
    """Give both the same few files, and a base: what is missing on a side from now on was deleted there."""
    for name in ("a", "b", "d/c", "d/e/f", *(f"many/{number:02}" for number in range(12))):
        pair.server.write(name, f"content of {name}", mtime=OLD)
    job = await pair.server.serve()
    await pair.client.sync(job)
    await job.stop()
    return pair
