"""Types, links and races: what is not a plain file, and what becomes something else between a look and an act."""

import contextlib
import os
import random
import socket
import stat as modes
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.index import Entry, Kind, entry_digest
from leafsync.engine.core.messages import Change, ChangeKind
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.net.identity import Identity
from leafsync.errors import FolderMissing
from tests.faults.cases import Case
from tests.support.devices import Device, Pair
from tests.support.engines import MakeHostile
from tests.support.hostile import FakeFolder, HostileClient, file_entry, link_entry, pull_from
from tests.support.races import (
    BEGINNING,
    CANARY,
    OLD,
    Instants,
    Scene,
    become_link,
    become_pipe,
    change_everything,
    lead_away,
    paths,
    save,
    snapshot,
    versions,
)

TITLE = "Types, links, races"
CASES = (
    Case(21, "a symlink where a file is to be written", "never followed: it is replaced, if that is what was seen"),
    Case(22, "a directory becomes a symlink to another place", "no way leads through it; the actions below it fail"),
    Case(23, "symlinks to the outside in what is scanned or sent", "listed as problems, and nothing behind them read"),
    Case(24, "the folder itself is a symlink", "resolved once; where it points later does not matter"),
    Case(25, "a file with another name outside of the folder", "replaced by rename: what is outside keeps its content"),
    Case(26, "pipes, sockets and devices", "a problem; never opened in a way that waits, never replaced"),
    Case(27, "one name for a file and for a directory", "closed, or the second one is refused"),
    Case(
        28, "a file becomes a directory meanwhile, or a directory a file", "stays as it is; the next pass looks again"
    ),
    Case(29, "something is left in a directory that is to go", "it stays, as a problem unless the plan knew of it"),
)

# 21, 22: links in the place of what is written


async def test_case_21_a_link_that_comes_up_is_not_written_through(scene: Scene) -> None:
    change_everything(scene.there)

    def swap(path: str) -> None:
        (scene.here.folder / path).unlink(missing_ok=True)
        (scene.here.folder / path).symlink_to(scene.outside / "old")

    acts = {"d/old": "exchange", "d/gone": "link", "d/new": "rename_new", "d/touched": "touch"}
    for path, step in acts.items():
        scene.instants.at(scene.here, step, partial(swap, path), path)
    summary = await scene.sync()
    scene.untouched()
    assert acts.keys() <= paths(summary)
    for path in acts:
        assert (scene.here.folder / path).readlink() == scene.outside / "old"


async def test_case_21_a_link_gives_way_to_a_file_and_what_it_leads_to_stays(scene: Scene) -> None:
    (scene.there.folder / "d/link").unlink()
    scene.there.write("d/link", b"a file now", mtime=OLD)
    await scene.both()
    assert scene.here.read("d/link") == b"a file now"
    assert scene.here.read("d/old") == BEGINNING["d/old"]
    assert "d/link" in scene.here.trash()


CALLS = [
    ("list_directory", "'d'"),
    ("list_directory", "'d/more'"),
    ("make_directory", "d/made"),
    ("rename_new", "d/renamed"),
    ("rename_new", "d/new"),
    ("link", "d/old"),
    ("exchange", "d/old"),
    ("make_link", ""),
    ("touch", "d/touched"),
    ("link", "d/gone"),
    ("rename_new", "d/gone"),
    ("remove_directory", "d/empty"),
]
"""What is done in `d`, in the order in which it is done."""


async def test_case_22_a_parent_that_is_a_link_for_an_instant_is_not_gone_through(scene: Scene) -> None:
    change_everything(scene.there)
    had = versions(scene.here, scene.there) | {BEGINNING["d/old"]}
    parent = scene.here.folder / "d"

    def swap() -> None:
        lead_away(parent, scene.outside)

    def swap_back() -> None:
        parent.unlink()
        parent.with_name("d aside").rename(parent)

    for step, about in CALLS[2:]:
        scene.instants.at(scene.here, step, swap, about, then=swap_back)
    await scene.sync()
    scene.untouched()
    await scene.both()
    assert had <= versions(scene.here, scene.there)


@pytest.mark.parametrize(("step", "about"), [*CALLS[:4], ("sync_all", ""), CALLS[6], CALLS[10]])
async def test_case_22_a_parent_that_becomes_a_link_is_not_gone_through(scene: Scene, step: str, about: str) -> None:
    change_everything(scene.there)
    had = versions(scene.here, scene.there) | {BEGINNING["d/old"]}
    parent = scene.here.folder / "d"
    aside: list[Path] = []
    scene.instants.at(scene.here, step, lambda: aside.append(lead_away(parent, scene.outside)), about)
    await scene.sync()
    scene.untouched()
    assert had <= versions(scene.here, scene.there)
    parent.unlink()
    aside[0].rename(parent)
    await scene.both()
    assert had <= versions(scene.here, scene.there)


async def test_case_22_a_directory_that_leaves_during_the_flush_takes_nothing_along(
    scene: Scene, tmp_path: Path
) -> None:
    """The flush is the longest wait between a look and a rename; what is opened before it leads outside after it."""
    change_everything(scene.there)
    parent, elsewhere = scene.here.folder / "d", tmp_path / "elsewhere"
    left: list[dict[str, Any]] = []

    def leave() -> None:
        parent.rename(elsewhere)
        parent.symlink_to(scene.outside)
        left.append(snapshot(elsewhere))

    scene.instants.at(scene.here, "sync_all", leave)
    summary = await scene.sync()
    scene.untouched()
    assert snapshot(elsewhere) == left[0]
    assert {"d/old", "d/new"} <= paths(summary)
    assert (
        "it is not a regular file or directory inside the folder, so it was not touched."
        in dict(summary.problems).values()
    )
    parent.unlink()


async def test_case_22_the_trash_and_the_staging_directory_are_not_led_away(scene: Scene) -> None:
    change_everything(scene.there)
    had = versions(scene.here)
    trash, staging = scene.here.folder / ".leafsync_trash", scene.here.folder / ".leafsync_tmp"
    aside: list[Path] = []
    scene.instants.at(scene.here, "create_file", lambda: aside.append(lead_away(staging, scene.outside)))
    scene.instants.at(scene.here, "link", lambda: aside.append(lead_away(trash, scene.outside)))
    summary = await scene.sync()
    assert snapshot(scene.outside) == scene.before
    assert had <= versions(scene.here)
    assert summary.problems


SECONDS = 2.0
"""How long directories and files are swapped at random."""


class Swapper(threading.Thread):
    """Puts links to the outside in the place of directories and files, and these back, again and again."""

    def __init__(self, device: Device, outside: Path, seed: int) -> None:
        super().__init__()
        self.resting = threading.Lock()
        """Held by whoever wants nothing to be swapped."""
        self.ending = threading.Event()
        self.swaps = 0
        self._folder = device.folder
        self._outside = outside
        self._random = random.Random(seed)

    def run(self) -> None:
        while not self.ending.wait(self._random.random() / 500):
            with self.resting, contextlib.suppress(OSError):  # passes make and remove what it wants to swap
                self._swap(self._folder / self._random.choice(("d", "d/more", "e", "d/old", "e/file")))

    def _swap(self, path: Path) -> None:
        if not leads_through_directories(path, self._folder):
            return
        aside = path.with_name(f"{path.name} aside")
        if not os.path.lexists(aside):
            lead_away(path, self._outside if path.is_dir() else self._outside / "old")
            self.swaps += 1
        elif path.is_symlink():
            path.unlink()
            aside.rename(path)


def leads_through_directories(path: Path, folder: Path) -> bool:
    """Whether a test may write there: every parent is a directory, not a link that was put there."""
    above = (each for each in path.parents if each.is_relative_to(folder))
    return all(each.is_dir() and not each.is_symlink() for each in above)


def edit_at_random(device: Device, choices: random.Random, content: bytes, there: set[bytes]) -> None:
    """Write or remove a file as people do, and note in `there` which versions may not be lost."""
    path = device.folder / choices.choice(("d/old", "d/more/inside", "e/file", "d/gone", f"e/{content.decode()}"))
    if path.is_symlink() or path.is_dir() or not leads_through_directories(path, device.folder):
        return
    if path.exists():
        there.discard(path.read_bytes())
    if path.exists() and choices.random() < 0.2:
        path.unlink()
    else:
        save(path, content)
        there.add(content)


@pytest.mark.parametrize("scene", ["received"], indirect=True)
async def test_case_22_swaps_at_random_lose_nothing_and_reach_nothing(scene: Scene) -> None:
    """On both sides, while each of them edits, and pass follows pass."""
    scene.there.write("e/file", b"in the other directory", mtime=OLD)
    await scene.both()
    choices, there = random.Random(2026), versions(scene.here, scene.there)
    swappers = [Swapper(device, scene.outside, seed) for seed, device in enumerate((scene.here, scene.there))]
    end, passes = time.monotonic() + SECONDS, 0
    for swapper in swappers:
        swapper.start()
    try:
        while time.monotonic() < end or not passes:
            passes += 1
            with swappers[0].resting, swappers[1].resting:
                for device in (scene.here, scene.there):
                    edit_at_random(device, choices, f"{device.name} {passes}".encode(), there)
            await scene.sync()
            with swappers[0].resting, swappers[1].resting:
                assert there <= versions(scene.here, scene.there)
    finally:
        for swapper in swappers:
            swapper.ending.set()
            swapper.join()
    assert all(swapper.swaps for swapper in swappers)
    scene.untouched()


# 23, 24: links in what is read, and the root


@pytest.mark.parametrize("target", ["../../outside/old", "absolute"])
async def test_case_23_a_link_to_the_outside_is_a_problem_and_nothing_behind_it_travels(
    scene: Scene, target: str
) -> None:
    for name, leads_to in (("d/leaf", "old"), ("d/way", "")):
        outside = scene.outside / leads_to
        (scene.there.folder / name).symlink_to(outside if target == "absolute" else Path("../..", "outside", leads_to))
    summary = await scene.sync()
    scene.untouched()
    assert scene.here.tree().keys() == scene.there.tree().keys() - {"d/leaf", "d/way"}
    assert summary.remote_problems == 2 or paths(summary) == {"d/leaf", "d/way"}


async def test_case_23_a_file_that_becomes_a_link_is_not_read_through(scene: Scene) -> None:
    """While it is hashed, and while it is sent."""
    hashed, sent = (scene.there.write(name, b"once a file", mtime=OLD) for name in ("d/hashed", "d/sent"))
    scene.instants.at(scene.there, "open_file", partial(become_link, hashed, scene.outside), "d/hashed")
    scene.when_sent("d/sent", partial(become_link, sent, scene.outside))
    summary = await scene.sync()
    scene.untouched()
    assert not {"d/hashed", "d/sent"} & scene.here.tree().keys()
    scene.unread(summary, "d/hashed", "d/sent")


async def test_case_23_a_directory_that_becomes_a_link_is_not_sent_from(scene: Scene) -> None:
    scene.there.write("d/more/inside", CANARY[::-1], mtime=OLD + 5)
    parent = scene.there.folder / "d/more"
    scene.when_sent("d/more/inside", lambda: lead_away(parent, scene.outside / "more"))
    summary = await scene.sync()
    scene.untouched()
    assert ("d/more/inside", "the other side cannot read it") in summary.problems
    assert scene.here.read("d/more/inside") == BEGINNING["d/more/inside"]


@pytest.mark.parametrize("side", ["server", "client"])
async def test_case_24_where_the_link_to_the_folder_points_later_does_not_matter(
    pair: Pair, side: str, tmp_path: Path, instants: Instants
) -> None:
    device, other = (pair.server, pair.client) if side == "server" else (pair.client, pair.server)
    real, outside = tmp_path / "real", tmp_path / "outside"
    device.folder.rename(real)
    device.folder.symlink_to(real)
    outside.mkdir()
    (outside / "a").write_bytes(CANARY)
    before = snapshot(outside)

    def point_elsewhere() -> None:
        device.folder.unlink()
        device.folder.symlink_to(outside)

    other.write("a", b"theirs", mtime=OLD)
    instants.at(device, "rename_new", point_elsewhere, "'a'")
    await pair.client.sync(await pair.server.serve())
    assert not instants.waiting
    assert (real / "a").read_bytes() == b"theirs"
    assert snapshot(outside) == before


async def test_case_24_a_link_in_the_place_of_the_folder_itself_ends_the_pass(
    pair: Pair, tmp_path: Path, instants: Instants
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    before = snapshot(outside)
    pair.server.write("a", b"theirs", mtime=OLD)
    pair.client.write("b", b"mine", mtime=OLD)
    instants.at(pair.client, "list_directory", lambda: lead_away(pair.client.folder, outside))
    with pytest.raises(FolderMissing, match="does not exist"):
        await pair.client.sync(await pair.server.serve())
    assert snapshot(outside) == before
    assert pair.server.tree().keys() == {"a"}


# 25, 26: files with other names, and what is no file


async def test_case_25_the_other_name_of_a_file_keeps_its_content(scene: Scene) -> None:
    names = ("old", "gone", "moved", "touched")
    for name in names:
        os.link(scene.here.folder / "d" / name, scene.outside / f"{name} outside")
    change_everything(scene.there)
    await scene.both()
    for name in names:
        assert (scene.outside / f"{name} outside").read_bytes() == BEGINNING[f"d/{name}"]
    stat = (scene.outside / "old outside").stat()
    assert (stat.st_mtime, modes.S_IMODE(stat.st_mode)) == (OLD, 0o644)
    assert (scene.here.folder / "d/old").stat().st_ino != stat.st_ino


async def test_case_25_two_names_of_one_file_are_two_files(scene: Scene) -> None:
    """What a pass does to the one changes what stat says of the other, and that is no edit of it."""
    fates = ("edited", "gone", "moved", "touched")
    for fate in fates:
        for name in ("one", "other"):
            scene.there.write(f"linked/{fate}/{name}", f"content of {fate}", mtime=OLD)
    await scene.both()
    for fate in fates:
        at = scene.here.folder / "linked" / fate
        (at / "other").unlink()
        os.link(at / "one", at / "other")
    await scene.both()
    for name in ("one", "other"):
        at = scene.there.folder / "linked"
        save(at / "edited" / name, f"newer {name}".encode())
        (at / "gone" / name).unlink()
        (at / "moved" / name).rename(at / "moved" / f"{name} moved")
        os.utime(at / "touched" / name, (OLD + 9, OLD + 9))
    summary = await scene.sync()
    assert summary.problems == ()
    assert scene.here.tree() == scene.there.tree()
    kept = {f"linked/{fate}/{name}" for fate in ("edited", "gone") for name in ("one", "other")}
    assert kept <= scene.here.trash()


async def test_case_25_the_other_name_of_what_a_pass_replaced_can_be_sent(scene: Scene) -> None:
    """No watcher tells that its state has changed."""
    (scene.here.folder / "apart").mkdir()
    os.link(scene.here.folder / "d/old", scene.here.folder / "apart/other")
    save(scene.there.folder / "d/old", b"newer")
    await scene.pair.client.pull(scene.job, mode=Mode.PUSH if scene.here is scene.pair.server else Mode.PULL)
    assert scene.here.read("d/old") == b"newer"
    summary = await scene.sync()
    assert summary.problems == ()
    assert scene.there.read("apart/other") == BEGINNING["d/old"]


async def test_case_25_a_name_whose_file_was_changed_by_another_is_looked_at_again(scene: Scene) -> None:
    """Somebody else did that, and the first to notice is who sends it."""
    scene.here.write("apart/new", b"one content", mtime=OLD)
    os.link(scene.here.folder / "apart/new", scene.outside / "another")
    scene.when_sent("apart/new", lambda: (scene.outside / "another").chmod(0o600))
    summary = await scene.sync()
    assert paths(summary) == {"apart/new"}
    await scene.both()
    assert scene.there.read("apart/new") == b"one content"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    """Leave a socket behind. Its address is short, whatever the path is."""
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


SPECIAL = {"pipe": pipe, "socket": listening}


@pytest.mark.parametrize("kind", SPECIAL)
async def test_case_26_what_is_no_file_is_a_problem_and_is_not_replaced(scene: Scene, kind: str) -> None:
    for device, name in ((scene.there, "d/theirs"), (scene.here, "d/mine")):
        SPECIAL[kind](device.folder / name)
    scene.there.write("d/mine", b"a file there", mtime=OLD)
    summary = await scene.sync()
    scene.untouched()
    reason = "it is not a file, directory or symbolic link"
    mine, theirs = ("d/mine", "d/theirs") if scene.here is scene.pair.client else ("d/theirs", "d/mine")
    assert dict(summary.problems)[mine] == reason
    assert summary.remote_problems == 1
    assert theirs not in dict(summary.problems) or theirs == "d/mine"
    assert not modes.S_ISREG((scene.here.folder / "d/mine").lstat().st_mode)
    assert not (scene.here.folder / "d/theirs").exists()


async def test_case_26_a_file_that_becomes_a_pipe_is_not_waited_for(scene: Scene) -> None:
    """While it is hashed, while it is sent, and while it is replaced: then it stays."""
    change_everything(scene.there)
    hashed, sent = (scene.there.write(name, b"once a file", mtime=OLD) for name in ("d/hashed", "d/sent"))
    scene.instants.at(scene.there, "open_file", partial(become_pipe, hashed), "d/hashed")
    scene.when_sent("d/sent", partial(become_pipe, sent))
    file = scene.here.folder / "d/old"
    scene.instants.at(scene.here, "exchange", partial(become_pipe, file), "d/old")
    summary = await scene.sync()
    scene.untouched()
    assert not [name for name in ("hashed", "sent") if (scene.here.folder / "d" / name).exists()]
    assert "d/old" in paths(summary)
    scene.unread(summary, "d/hashed", "d/sent")
    assert modes.S_ISFIFO(file.stat().st_mode)


# 27, 28, 29: files and directories in each other's places


async def test_case_27_a_listing_with_two_kinds_of_one_name_ends_it(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})
    server.folder = FakeFolder({"": [file_entry("f", b"a file"), Entry("f", Kind.DIRECTORY, hash=bytes(32))]})
    with pytest.raises(Exception, match="broke the protocol"):
        await pull_from(client, server)
    assert client.tree() == {}


@pytest.mark.parametrize("link", [False, True], ids=["a file", "a link that is renamed to it"])
async def test_case_27_a_change_below_a_file_is_refused(client: Device, link: bool) -> None:
    """Of a client that asks for `f` and `f/x`, as no plan does; where `f` becomes a link, nothing goes through it."""
    client.write("d/inside", b"mine", mtime=OLD)
    (client.folder / "link").symlink_to("d")
    identity = Identity.generate()
    client.engine.trust.add(identity.fingerprint, name="hostile", confirmed="test")
    job = await client.serve()
    async with HostileClient.connected(identity, job) as attacker:
        talk = await attacker.shown()
        first = Change(ChangeKind.PUT, "f", file_entry("f", b"new"))
        if link:
            first = Change(ChangeKind.MOVE, "f", expected=entry_digest(link_entry("link", "d")), source="link")
        below = Change(ChangeKind.PUT, "f/inside", file_entry("inside", b"new"))
        good = Change(ChangeKind.PUT, "good", file_entry("good", b"new"))
        contents = dict.fromkeys(("f", "f/inside", "good"), b"new")
        refusals = await attacker.change(talk, first, below, good, contents=contents)
    assert [refused.path for refused in refusals] == ["f/inside"]
    assert (client.read("d/inside"), client.read("good")) == (b"mine", b"new")


def to_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "mine").write_bytes(f"in {path.name}".encode())


def to_file(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    path.write_bytes(f"{path.name} is a file".encode())


async def test_case_28_what_became_something_else_after_the_plan_stays(scene: Scene) -> None:
    change_everything(scene.there)
    folder = scene.here.folder / "d"
    changed = [folder / name for name in ("old", "gone", "touched", "moved", "link", "new", "renamed")]

    def swap() -> None:
        for path in changed:
            to_directory(path)
        to_file(folder / "empty")
        to_file(folder / "made")

    scene.instants.at(scene.here, "make_directory", swap, "d/made")
    summary = await scene.sync()
    scene.untouched()
    assert paths(summary) == {f"d/{name}" for name in ("old", "gone", "touched", "renamed", "link", "new", "empty")} | {
        "d/made"
    }
    for path in changed:
        assert (path / "mine").read_bytes() == f"in {path.name}".encode()
    for name in ("empty", "made"):
        assert (folder / name).read_bytes() == f"{name} is a file".encode()
    had = versions(scene.here, scene.there)
    await scene.both()
    assert had <= versions(scene.here, scene.there)


async def test_case_28_a_directory_in_the_last_instant_stays(scene: Scene) -> None:
    change_everything(scene.there)
    acts = {
        "d/old": "exchange",
        "d/gone": "rename_new",
        "d/new": "rename_new",
        "d/touched": "touch",
        "d/link": "exchange",
    }
    for path, step in acts.items():
        scene.instants.at(scene.here, step, partial(to_directory, scene.here.folder / path), path)
    summary = await scene.sync()
    scene.untouched()
    assert paths(summary) == acts.keys()
    for path in acts:
        assert scene.here.read(f"{path}/mine") == f"in {path[2:]}".encode()


async def test_case_29_a_directory_with_something_ignored_in_it_stays(scene: Scene) -> None:
    scene.here.write("d/.leafsyncignore", "*.log\n", mtime=OLD)
    await scene.both()
    scene.here.write("d/more/a.log", b"ignored", mtime=OLD)
    (scene.there.folder / "d/more/inside").unlink()
    (scene.there.folder / "d/more").rmdir()
    summary = await scene.sync()
    assert scene.here.read("d/more/a.log") == b"ignored"
    assert "d/more/inside" in scene.here.trash()
    if scene.here is scene.pair.server:  # the client knows of what it ignores itself, and plans no delete
        (reason,) = dict(summary.problems).values()
        assert reason.startswith("it was to be removed, but something is in it")
    again = await scene.sync()
    assert not again.trashed
    assert not again.remote_trashed
    assert not (scene.there.folder / "d/more").exists()


async def test_case_29_a_directory_with_something_new_in_it_stays(scene: Scene) -> None:
    (scene.there.folder / "d/more/inside").unlink()
    (scene.there.folder / "d/more").rmdir()
    late = scene.here.folder / "d/more/late"
    scene.instants.at(scene.here, "remove_directory", lambda: late.write_bytes(b"just now"), "d/more")
    summary = await scene.sync()
    scene.untouched()
    assert paths(summary) == {"d/more"}
    await scene.both()
    assert scene.there.read("d/more/late") == b"just now"
