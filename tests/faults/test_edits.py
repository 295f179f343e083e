"""Edits and permissions: what people do to files while LeafSync hashes, sends, replaces or removes them."""

import os
import random
import stat as modes
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.disk import folder as folder_module, hashing
from leafsync.engine.disk.buffers import read_chunk
from leafsync.engine.disk.system import read_umask
from leafsync.engine.sync import sender
from tests.faults.cases import Case
from tests.support.devices import Device
from tests.support.races import (
    BEGINNING,
    OLD,
    Scene,
    become_link,
    become_pipe,
    change_everything,
    paths,
    save,
    versions,
)

Act = Callable[[Path], object]

TITLE = "Edits, permissions"
CASES = (
    Case(
        30,
        "an edit in the instant before a file is changed",
        "the edit stays, nothing that was there is lost",
        "where two names can be exchanged in one step (Linux; macOS untested); elsewhere an instant remains",
    ),
    Case(31, "a file changes while it is hashed", "read again, then a problem until it comes to rest"),
    Case(32, "a file changes while it is sent", "given up: nothing mixed arrives, the next pass sends it anew"),
    Case(
        33,
        "an edit that leaves no trace in size and time",
        "files changed within 2 s of a scan are hashed again, and those whose content is not what was announced",
    ),
    Case(34, "set-id, sticky and public files", "these bits never travel; a replaced file keeps who may read it"),
    Case(35, "the executable bit", "the owner's travels, and who may read may execute"),
)

BIG = random.Random(22).randbytes(4 * CHUNK_SIZE)


# 30: edits


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


EDITS = {"in place": in_place, "by rename": save}


FIRST = {"d/old": "link", "d/new": "rename_new", "d/gone": "link", "d/touched": "touch"}
LAST = FIRST | {"d/old": "exchange", "d/moved": "rename_new", "d/gone": "rename_new", "d/link": "exchange"}
"""Path -> the first, and the last call that changes something on its account."""


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("acts", [FIRST, LAST], ids=["first", "last"])
async def test_case_30_an_edit_in_the_last_instant_stays(scene: Scene, acts: dict[str, str], edit: str) -> None:
    change_everything(scene.there)

    def late(path: str) -> None:
        file = scene.here.folder / path
        if file.is_symlink():
            file.unlink()
        EDITS[edit](file, f"just now in {path}".encode())

    for path, step in acts.items():
        scene.instants.at(scene.here, step, partial(late, path), path)
    summary = await scene.sync()
    scene.untouched()
    assert paths(summary) == {"d/renamed" if path == "d/moved" else path for path in acts}
    for path in acts:
        assert scene.here.read(path) == f"just now in {path}".encode()
    had = versions(scene.here, scene.there)
    await scene.both()
    assert had <= versions(scene.here, scene.there)
    assert {f"just now in {path}".encode() for path in acts} <= versions(scene.there)


@pytest.mark.parametrize("kind", ["saved again", "moved away"])
@pytest.mark.parametrize("path", ["d/old", "d/gone"])
async def test_case_30_of_two_edits_in_the_last_instant_both_stay(scene: Scene, path: str, kind: str) -> None:
    """One after the last look, the next one while the first is given its place back."""
    change_everything(scene.there)
    file = scene.here.folder / path
    step = "exchange" if path == "d/old" else "rename_new"

    def again() -> None:
        if kind == "saved again":
            save(file, b"and now")
        elif file.exists():
            file.rename(scene.here.folder / "d/backup")

    scene.instants.at(scene.here, step, lambda: save(file, b"just now"), path)
    scene.instants.at(scene.here, step, again, path, skip=1)
    summary = await scene.sync()
    scene.untouched()
    assert path in paths(summary)
    assert b"just now" in versions(scene.here)
    assert kind == "moved away" or b"and now" in versions(scene.here)


# 31, 32, 33: changes that are hard to see


async def test_case_31_a_file_that_never_rests_is_a_problem_until_it_does(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    restless = scene.there.write("d/restless", b"x", mtime=OLD)
    rests = False

    def reading(fd: int, length: int, offset: int) -> memoryview:
        chunk = read_chunk(fd, length, offset)
        if not rests and reads(restless, fd):
            append(restless)
        return chunk

    monkeypatch.setattr(hashing, "read_chunk", reading)
    summary = await scene.sync()
    scene.untouched()
    assert not (scene.here.folder / "d/restless").exists()
    assert summary.remote_problems == 1 or dict(summary.problems) == {"d/restless": "busy: it changes while it is read"}
    rests = True
    await scene.both()
    assert scene.here.read("d/restless") == restless.read_bytes()


def nothing() -> None:
    """Let the call be."""


def reads(file: Path, fd: int, *_rest: int) -> bool:
    return os.path.samestat(os.fstat(fd), file.stat())


async def test_case_31_a_file_that_changes_once_is_read_again(scene: Scene) -> None:
    contents = {"grows": b"y" * 200, "shrinks": b"y", "stays as long": b"y" * 100}
    for name, content in contents.items():
        file = scene.there.write(name, b"x" * 100, mtime=OLD)
        scene.instants.when(
            hashing, "read_chunk", nothing, partial(reads, file), then=partial(file.write_bytes, content)
        )
    await scene.both()
    scene.untouched()
    assert {name: scene.here.read(name) for name in contents} == contents


def shrink(path: Path) -> None:
    os.truncate(path, CHUNK_SIZE)


def overwrite(path: Path) -> None:
    """Change what is still to be sent, and give the file its old time back."""
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"edit")
    os.utime(path, (OLD, OLD))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


async def test_case_32_nothing_mixed_arrives(scene: Scene) -> None:
    changes = {"shrinks": shrink, "overwritten": overwrite, "grows": append}
    for name in changes:
        scene.here.write(name, f"the old one of {name}", mtime=OLD - 5)
    await scene.both()
    for number, (name, change) in enumerate(changes.items()):
        file = scene.there.write(name, random.Random(number).randbytes(3 * CHUNK_SIZE), mtime=OLD)
        scene.instants.when(
            sender.Source,
            "read",
            partial(change, file),
            lambda source, index, name=name: source._item.path == name and index == 2,
        )
    summary = await scene.sync()
    scene.untouched()
    assert dict(summary.problems) == dict.fromkeys(changes, "it was changed on the other side meanwhile")
    for name in changes:
        assert scene.here.read(name) == f"the old one of {name}".encode()
    await scene.both()


async def test_case_32_a_file_that_is_replaced_while_it_is_sent_arrives_as_one(scene: Scene) -> None:
    file = scene.there.write("big", BIG, mtime=OLD)
    scene.instants.when(sender.Source, "read", lambda: save(file, b"short"), lambda _source, index: index == 2)
    await scene.sync()
    scene.untouched()
    assert not (scene.here.folder / "big").exists() or scene.here.read("big") in (BIG, b"short")
    await scene.both()
    assert scene.here.read("big") == b"short"


async def test_case_32_a_file_that_vanishes_before_its_leaves_are_told(scene: Scene) -> None:
    """Leaves of a file of one chunk are in no record, so it is opened once more for them."""
    kinds: dict[str, Act] = {
        "gone": Path.unlink,
        "a link": partial(become_link, outside=scene.outside),
        "a pipe": become_pipe,
    }
    content = random.Random(32).randbytes(CHUNK_SIZE // 2)
    for name in kinds:
        scene.there.write(name, name.encode() + content, mtime=OLD)
    await scene.both()
    for name, vanish in kinds.items():
        file = scene.there.write(name, b"inserted" + name.encode() + content, mtime=OLD + 5)
        scene.instants.when(
            sender.Source,
            "leaves",
            partial(vanish, file),
            lambda source, _share, name=name: source._item.path == name,
        )
    summary = await scene.sync()
    scene.untouched()
    assert paths(summary) >= kinds.keys()
    for name in kinds:
        assert scene.here.read(name) == name.encode() + content


def no_times(stat: os.stat_result) -> int:
    """The state mark of a filesystem whose clock stands still: as if every edit fell into one tick of it."""
    return stat.st_ino ^ stat.st_size


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    original = folder_module.state_mark
    for name, module in list(sys.modules.items()):
        if name.startswith("leafsync.engine.") and getattr(module, "state_mark", None) is original:
            monkeypatch.setattr(module, "state_mark", no_times)


@pytest.mark.usefixtures("coarse")
async def test_case_33_an_edit_without_a_trace_travels(scene: Scene) -> None:
    scene.there.write("d/old", b"THE OLD VERSION", mtime=OLD)
    await scene.both()
    assert scene.here.read("d/old") == b"THE OLD VERSION"
    assert b"the old version" in versions(scene.here)


@pytest.mark.usefixtures("coarse")
async def test_case_33_an_edit_without_a_trace_between_hash_and_sending_is_no_attack(scene: Scene) -> None:
    """As stores through a mapping are (databases, images of virtual machines): the peer is told that the file changed,
    instead of being sent something else than was announced, twice."""
    contents = {"small": b"x" * 1000, "d/big": random.Random(33).randbytes(3 * CHUNK_SIZE)}
    for name, content in contents.items():
        file = scene.there.write(name, content, mtime=OLD)
        scene.when_sent(name, partial(file.write_bytes, content[:-4] + b"edit"))
    summary = await scene.sync()
    scene.untouched()
    assert dict(summary.problems) == dict.fromkeys(contents, "it was changed on the other side meanwhile")
    assert not {*contents} & scene.here.tree().keys()
    await scene.both()
    for name, content in contents.items():
        assert scene.here.read(name) == content[:-4] + b"edit"


@pytest.mark.usefixtures("coarse")
async def test_case_33_what_an_edit_without_a_trace_made_is_in_the_trash(scene: Scene) -> None:
    """Nobody can see it before the file is replaced, so it goes to the trash like the version that was seen."""
    change_everything(scene.there)
    file = scene.here.folder / "d/old"

    def edit() -> None:
        file.write_bytes(b"THE OLD VERSION")
        os.utime(file, (OLD, OLD))

    scene.instants.at(scene.here, "exchange", edit, "d/old")
    await scene.sync()
    scene.untouched()
    assert b"THE OLD VERSION" in versions(scene.here)


# 34, 35: permissions


MODES = (0o4755, 0o2755, 0o1777, 0o6777, 0o666)


async def test_case_34_no_other_bits_travel(scene: Scene) -> None:
    umask = read_umask()
    for mode in MODES:
        scene.there.write(f"old {mode:o}", b"old", mtime=OLD)
    await scene.both()
    for mode in MODES:
        (scene.here.folder / f"old {mode:o}").chmod(0o4640)
        scene.there.write(f"old {mode:o}", b"new", mtime=OLD + 5).chmod(mode)
        scene.there.write(f"new {mode:o}", b"new", mtime=OLD).chmod(mode)
    scene.there.write("d/touched", BEGINNING["d/touched"], mtime=OLD + 5).chmod(0o4777)
    (scene.here.folder / "d/touched").chmod(0o4640)
    await scene.sync()
    for mode in MODES:
        executable = bool(mode & 0o100)
        assert mode_of(scene.here, f"new {mode:o}") == (0o777 if executable else 0o666) & ~umask
        assert mode_of(scene.here, f"old {mode:o}") == 0o640 | (0o110 if executable else 0) & ~umask
    assert mode_of(scene.here, "d/touched") == 0o640 | 0o110 & ~umask


def mode_of(device: Device, path: str) -> int:
    return modes.S_IMODE((device.folder / path).stat().st_mode)


async def test_case_35_the_owners_executable_bit_travels_both_ways(scene: Scene) -> None:
    scene.there.write("d/script", b"#!/bin/sh\n", mtime=OLD, mode=0o755)
    scene.there.write("d/private", b"#!/bin/sh\n", mtime=OLD, mode=0o700)
    scene.there.write("d/others", b"#!/bin/sh\n", mtime=OLD, mode=0o611)
    await scene.both()
    assert mode_of(scene.here, "d/script") & 0o100
    assert mode_of(scene.here, "d/private") & 0o100
    assert not mode_of(scene.here, "d/others") & 0o111, "others may execute it there, its owner may not"
    (scene.there.folder / "d/script").chmod(0o644)
    await scene.both()
    assert not mode_of(scene.here, "d/script") & 0o111
