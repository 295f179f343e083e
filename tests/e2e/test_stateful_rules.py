"""As test_stateful, with what makes two folders differ on purpose: ignore rules, entries that cannot be synced, passes
in one direction or about one path, and undos.

Whatever is done, and in whatever order: no content is gone, what a rule of either side leaves out is left alone on
both, a pass changes no more than it says, what an undo brought back stays, and passes come to an end.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import rule

from leafsync.engine.core.names import IGNORE_FILE, inside, join
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.disk.ignore import IgnoreRules
from leafsync.errors import PassUnknown
from tests.e2e.test_stateful import EXAMPLES, Synchroniser, names, sides
from tests.support.devices import Device

where = st.sampled_from(["", "d"])
rules = st.sampled_from(["a\n", "/d/\n", "*.txt\n", "*.conflict-*\n", "e/*\n!e/a\n"])
hidden = st.sampled_from(["", f"{IGNORE_FILE}\n"])
"""Whether the rules hide themselves, so that the other side never sees them."""

Tree = dict[str, tuple[Any, ...]]


class Picky(Synchroniser):
    """What people do who do not want everything everywhere."""

    max_passes = 6
    """What a side turns out to ignore may take two more."""

    @rule(side=sides, directory=where, text=rules, itself=hidden)
    def ignore(self, side: int, directory: str, text: str, itself: str) -> None:
        def act(folder: Path) -> None:
            (folder / directory / IGNORE_FILE).write_text(text + itself)
            self.clock += 10
            os.utime(folder / directory / IGNORE_FILE, (self.clock, self.clock))

        self.edit(side, act)

    @rule(side=sides, directory=where)
    def ignore_no_more(self, side: int, directory: str) -> None:
        self.edit(side, lambda folder: (folder / directory / IGNORE_FILE).unlink())

    @rule(side=sides, name=names)
    def make_socket(self, side: int, name: str) -> None:
        def act(folder: Path) -> None:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(folder / name))

        self.edit(side, act)

    @rule(side=sides, name=names, to=names)
    def hard_link(self, side: int, name: str, to: str) -> None:
        self.edit(side, lambda folder: (folder / name).hardlink_to(folder / to))

    # What LeafSync does

    @rule()
    def passes(self) -> None:
        before, held = self.everything(), self.held()
        summaries = self.run(self._passes())
        assert before <= self.everything(), "content is gone"
        assert not summaries[-1].changed, summaries
        self.check_held(held)
        self.quiet = not any(self.apart(device) for device in self.devices)
        assert not self.quiet or not summaries[-1].problems, summaries

    @rule(mode=st.sampled_from([Mode.PULL, Mode.PUSH, Mode.MIRROR]), dry_run=st.booleans())
    def passes_in_one_direction(self, mode: Mode, dry_run: bool) -> None:
        before, held, trees = self.everything(), self.held(), self.trees()
        self.run(self._pass(mode=mode, dry_run=dry_run))
        assert before <= self.everything(), "content is gone"
        self.check_held(held)
        stays = 1 if mode is Mode.PUSH else 0
        assert self.trees()[stays] == trees[stays]
        assert not dry_run or self.trees() == trees
        self.quiet = False

    @rule(only=st.sampled_from(["a", "d", "d/e", "x.txt"]), offered=st.booleans())
    def passes_about_one_path(self, only: str, offered: bool) -> None:
        before, held, trees = self.everything(), self.held(), self.trees()
        self.run(self._pass(only if offered else "", file="" if offered else only))
        assert before <= self.everything(), "content is gone"
        self.check_held(held)
        for old, new in zip(trees, self.trees(), strict=True):
            changed = {path for path in old.keys() | new.keys() if contents(old, path) != contents(new, path)}
            beside = {path for path in changed if not (inside(path, only) or inside(only, path))}
            assert all(".conflict-" in path for path in beside), beside
        self.quiet = False

    @rule(side=sides)
    def undo(self, side: int) -> None:
        """Undo the last pass of a side, and sync: what came back is not taken away again."""
        device, everything = self.devices[side], self.everything()
        before = set(files(device))
        try:
            self.run(device.engine.with_records(str(device.folder), lambda records: records.undo("last")))
        except PassUnknown:
            return
        assert everything <= self.everything(), "content is gone"
        back = set(files(device)) - before
        self.run(self._passes())
        assert back <= {content for one in self.devices for content in files(one)}
        self.quiet = False

    async def _pass(self, offered: str = "", **options: Any) -> None:
        server = await self.devices[0].serve(file=offered)
        try:
            await self.devices[1].pull(server, **({"mode": Mode.BOTH} | options), allow_deletes=True)
        finally:
            await server.stop()

    # What is left out

    def held(self) -> tuple[list[Tree], list[Tree]]:
        """Return the ignore files of each folder, and the files there that rules of either side leave out."""
        trees = [device.tree() for device in self.devices]
        rules = [rules_of(device) for device in self.devices]
        ignored = [
            {
                path: entry
                for path, entry in tree.items()
                if entry[0] == "file" and any(each.ignored(path, is_directory=False) for each in rules)
            }
            for tree in trees
        ]
        return [_rule_files(tree) for tree in trees], ignored

    def check_held(self, before: tuple[list[Tree], list[Tree]]) -> None:
        """Check that it is as it was; once a pass has brought other rules, the next pass goes by those."""
        rules, held = before
        if rules == self.held()[0]:
            for device, kept in zip(self.devices, held, strict=True):
                tree = device.tree()
                assert kept == {path: tree.get(path) for path in kept}

    def apart(self, device: Device) -> bool:
        """Whether something in the folder takes no part, or may not."""
        return any(entry[0] == "special" or Path(path).name == IGNORE_FILE for path, entry in device.tree().items())


def rules_of(device: Device) -> IgnoreRules:
    """Return the ignore rules of a folder."""
    rules = IgnoreRules()
    for directory in _walked(device.folder, "", rules):
        file = device.folder / directory / IGNORE_FILE
        if file.is_file() and not file.is_symlink():
            rules.load(directory, file.read_bytes())
    return rules


def _walked(folder: Path, directory: str, rules: IgnoreRules) -> Iterator[str]:
    """Yield the directories that are not ignored, those above before those in them."""
    yield directory
    for path in sorted((folder / directory).iterdir()):
        below = join(directory, path.name)
        is_directory = path.is_dir() and not path.is_symlink() and not path.name.startswith(".leafsync_t")
        if is_directory and not rules.ignored(below, is_directory):
            yield from _walked(folder, below, rules)


def _rule_files(tree: Tree) -> Tree:
    return {path: entry for path, entry in tree.items() if Path(path).name == IGNORE_FILE}


def files(device: Device) -> list[bytes]:
    """Return the content of each file in the folder."""
    return [entry[1] for entry in device.tree().values() if entry[0] == "file"]


def contents(tree: Tree, path: str) -> tuple[Any, ...]:
    """Return what is at a path but for its time and mode: those of a file with several names show under all of them."""
    return tree.get(path, ())[:2]


Picky.TestCase.settings = settings(Synchroniser.TestCase.settings, max_examples=max(1, EXAMPLES // 5))


TestPicky = pytest.mark.timeout(0)(Picky.TestCase)
