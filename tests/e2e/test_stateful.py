"""Two real engines, two folders, and everything people do to files, in any order (Hughes et al., ICST 2016).

After the passes both folders are the same, a further pass finds nothing, and no content that either side had when a
pass began is gone: it is in the folders, in a conflict copy or in the trash. LEAFSYNC_EXAMPLES sets how many histories
are tried.
"""

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassSummary
from leafsync.engine.service import Engine
from leafsync.errors import LeafSyncError
from tests.support.devices import Device, introduce

EXAMPLES = int(os.environ.get("LEAFSYNC_EXAMPLES", "300"))
"""Histories to try."""

sides = st.sampled_from([0, 1])
names = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "x.txt"])
contents = st.sampled_from(["empty", "one", "two", "a few lines", "a hole", "two chunks"])
CONTENTS = {
    "empty": b"",
    "one": b"one",
    "two": b"two",
    "a few lines": b"three " * 50,
    "a hole": bytes(4000),
    "two chunks": b"long" * 300_000,
}
"""By name, because Hypothesis keeps the text of every strategy that it has drawn from, for each example."""


class Synchroniser(RuleBasedStateMachine):
    """What people do on two machines, and passes in between."""

    max_passes = 4
    """Passes until nothing changes any more: a conflict copy or a type change may take a second one."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="leafsync-stateful-"))
        self.loop = asyncio.new_event_loop()
        self.devices = [Device(name, self.place / f"{name}-home", self.place / name) for name in ("one", "two")]
        self.clock = 1_600_000_000
        self.quiet = False

    @initialize()
    def start(self) -> None:
        for device in self.devices:
            device.folder.mkdir()
        self.run(self._enter())
        introduce(*self.devices)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    async def _enter(self) -> None:
        for device in self.devices:
            device.engine = Engine(device.config())
            await device.engine.__aenter__()

    async def _leave(self) -> None:
        for device in self.devices:
            await device.engine.__aexit__(None, None, None)

    # What people do

    def edit(self, side: int, act: Callable[[Path], object]) -> None:
        """Do something in one folder; what cannot be done there is not done."""
        try:
            act(self.devices[side].folder)
        except (FileNotFoundError, NotADirectoryError, FileExistsError, IsADirectoryError, OSError):
            return
        self.quiet = False

    @rule(side=sides, name=names, content=contents)
    def write(self, side: int, name: str, content: str) -> None:
        def act(folder: Path) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(CONTENTS[content])
            self.clock += 10
            os.utime(folder / name, (self.clock, self.clock))

        self.edit(side, act)

    @rule(side=sides, name=names)
    def append(self, side: int, name: str) -> None:
        def act(folder: Path) -> None:
            with (folder / name).open("r+b") as file:
                file.seek(0, 2)
                file.write(b"more")

        self.edit(side, act)

    @rule(side=sides, name=names)
    def truncate(self, side: int, name: str) -> None:
        self.edit(side, lambda folder: os.truncate(folder / name, 2))

    @rule(side=sides, source=names, to=names)
    def rename(self, side: int, source: str, to: str) -> None:
        self.edit(side, lambda folder: (folder / source).rename(folder / to))

    @rule(side=sides, name=names)
    def delete(self, side: int, name: str) -> None:
        def act(folder: Path) -> None:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

        self.edit(side, act)

    @rule(side=sides, name=names)
    def make_directory(self, side: int, name: str) -> None:
        self.edit(side, lambda folder: (folder / name).mkdir(parents=True))

    @rule(side=sides, name=names, to=names)
    def link(self, side: int, name: str, to: str) -> None:
        self.edit(side, lambda folder: (folder / name).symlink_to(to.rpartition("/")[2]))

    @rule(side=sides, name=names)
    def make_executable(self, side: int, name: str) -> None:
        self.edit(side, lambda folder: (folder / name).chmod(0o755))

    # What LeafSync does

    @rule(turns=st.integers(0, 200))
    def be_interrupted(self, turns: int) -> None:
        """Begin a pass, and stop everything somewhere in it."""
        before = self.everything()
        self.run(self._interrupted(turns))
        self.quiet = False
        assert before <= self.everything()

    async def _interrupted(self, turns: int) -> None:
        server = await self.devices[0].serve()
        job = await self.devices[1].connect(server, mode=Mode.BOTH, once=True, allow_deletes=True)
        for _turn in range(turns):
            await asyncio.sleep(0)
        await job.stop()
        await self._leave()
        await self._enter()

    @rule()
    def passes(self) -> None:
        """Sync until nothing changes."""
        before = self.everything()
        summaries = self.run(self._passes())
        assert before <= self.everything(), "content is gone"
        assert not summaries[-1].changed, summaries
        assert not summaries[-1].problems, summaries
        assert self.trees()[0] == self.trees()[1], summaries
        self.quiet = True

    async def _passes(self) -> list[PassSummary]:
        server = await self.devices[0].serve()
        summaries: list[PassSummary] = []
        try:
            while len(summaries) < self.max_passes:
                summaries.append(await self.devices[1].sync(server, allow_deletes=True))
                if not summaries[-1].changed:
                    break
        finally:
            await server.stop()
        return summaries

    def everything(self) -> set[bytes]:
        """The content of every file of both folders, trashes included."""
        return {
            path.read_bytes()
            for device in self.devices
            for path in device.folder.rglob("*")
            if path.is_file() and not path.is_symlink() and ".leafsync_tmp" not in path.parts
        }

    def trees(self) -> list[dict[str, tuple[Any, ...]]]:
        """Both folders, with times in seconds: two edits within one second are not told apart by them."""
        return [{path: _in_seconds(entry) for path, entry in device.tree().items()} for device in self.devices]

    @invariant()
    def nothing_partial_is_visible(self) -> None:
        if self.quiet:
            assert self.trees()[0] == self.trees()[1]

    def teardown(self) -> None:
        try:
            self.run(self._leave())
        except (AttributeError, LeafSyncError):
            pass
        finally:
            self.loop.close()
            shutil.rmtree(self.place, ignore_errors=True)
            self.devices.clear()
            gc.collect()  # thousands of engines in one process leave more cycles than the collector looks for by itself


def _in_seconds(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    if entry[0] != "file":
        return entry
    kind, content, mtime_ns, executable = entry
    return kind, content, mtime_ns // 1_000_000_000, executable


Synchroniser.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


TestSynchroniser = pytest.mark.timeout(0)(Synchroniser.TestCase)
