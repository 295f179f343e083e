"""Kill -9 at any instant leaves every path old or new.

A process is killed at every point where LeafSync changes a disk, on either side of a pass and in an undo; then what it
left is looked at, it is started again, and both sides must come to the end that they would have come to.
LEAFSYNC_CRASHES sets how many more trials are made at random points of each work, LEAFSYNC_SEED which.
"""

import os
import random
import re
from itertools import groupby
from pathlib import Path

import pytest

from leafsync.engine.disk import folder
from tests.crash.child import Work
from tests.crash.points import Fault, each_point, random_fault
from tests.crash.scenario import Place
from tests.crash.trial import Course, record, run_trial, template

RANDOM = int(os.environ.get("LEAFSYNC_CRASHES", "3"))
"""Trials at random points, for each work."""

SEED = int(os.environ.get("LEAFSYNC_SEED", "1"))

pytestmark = pytest.mark.timeout(0 if RANDOM > 100 else 900)

STEPS = {
    "stage": r"staging\..*: create",
    "write": r"staging\..*: pwrite",
    "write chunks": r"staged\..*: pwrite",
    "verify": r"staging\..*: verify",
    "verify chunks": r"staged\.StagedFile\.write_chunk: verify",
    "verify what was resumed": r"staged\.StagedFile\.recheck: verify",
    "remember chunks": r"store\.Store\.mark_chunks: UPDATE",
    "permissions and time": r"commit\..*: utime",
    "fsync": r"commit\._Group\.sync: (syncfs|fsync)",
    "rename": r"commit\.replace: (renameat2|rename)",
    "exchange": r"exchange\.put: (renameat2|rename)",
    "directory fsync": r"commit\._Group\.sync_directory: fsync",
    "store commit": r"store\.Store\.finish_staged: COMMIT",
    "keep in the trash": r"trash\.Trash\._link: link",
    "move to the trash": r"exchange\.take: (renameat2|rename)",
    "move": r"trash\.Trash\._rename: (renameat2|rename)",
    "link": r"staging\.Staging\.replace_link: symlink",
    "executable bit": r"apply\.Application\._touch: fchmod",
    "history": r"passes\.Passes\.put_pass: COMMIT",
    "retention": r"retention\..*: unlink",
}
"""The steps of a pass on the side that receives, and the points that belong to them."""

RESTORE = {
    "put back": r"exchange\.put: (renameat2|rename)",
    "bring back": r"restore\._Undo\.bring_back: (renameat2|rename)",
    "move back": r"trash\.Trash\._rename: (renameat2|rename)",
    "trash": r"exchange\.take: (renameat2|rename)",
    "directory fsync": r"trash\.Trash\.sync: fsync",
    "history": r"passes\.Passes\.put_pass: COMMIT",
}

EXPECTED = {
    Work.CLIENT: STEPS | {"base update": r"bases\.Bases\.put_base: COMMIT"},
    Work.SERVER: STEPS,
    Work.UNDO: RESTORE,
}


class Courses:
    """The place where all trials begin, and a run of each work without a fault."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._template: Place | None = None
        self._courses: dict[Work, Course] = {}

    async def template(self) -> Place:
        if self._template is None:
            self._template = await template(self._path / "template")
        return self._template

    async def of(self, work: Work) -> Course:
        if work not in self._courses:
            self._courses[work] = await record(work, await self.template(), self._path / "course")
        return self._courses[work]


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> Courses:
    return Courses(tmp_path_factory.mktemp("crashes"))


@pytest.fixture(autouse=True)
def _no_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel has outlives a process; to flush it all the time would take the most time of all."""
    for name in ("flush_file", "flush_filesystem"):
        monkeypatch.setattr(folder, name, lambda _fd: True)


@pytest.mark.parametrize("work", Work)
async def test_every_step_is_a_point(courses: Courses, work: Work) -> None:
    """The points come from a recorded run, so a new step is one by itself; none of the known ones may get lost."""
    points = {call.point for call in (await courses.of(work)).calls}
    missing = {step for step, pattern in EXPECTED[work].items() if not any(re.fullmatch(pattern, at) for at in points)}
    assert not missing, sorted(points)


@pytest.mark.parametrize("work", [Work.CLIENT, Work.SERVER])
async def test_the_order_of_a_commit(courses: Courses, work: Work) -> None:
    """Content to the disk, then names, then their directories, and the records last. One thread commits a group."""
    calls = sorted((await courses.of(work)).calls, key=lambda call: call.thread)  # stable: in order within a thread
    groups = 0
    for _thread, of_thread in groupby(calls, key=lambda call: call.thread):
        unflushed, unnamed, kept = False, 0, 0
        for point in (call.point for call in of_thread):
            match point:
                case (
                    "commit._Group.dress_one: utime"
                    | "staging.Staging._stage: pwrite"
                    | "staging.Staging._stage: utime"
                ):
                    unflushed = True
                case "commit._Group.sync: syncfs" | "commit._Group.sync: fsync":
                    unflushed = False
                case "trash.Trash._link: link" | "trash.Trash._keep_now: symlink":
                    kept += 1
                case "commit.replace: renameat2":
                    assert not unflushed, "a name before its content"
                    unnamed += 1
                case "exchange.put: renameat2":
                    assert not unflushed, "a name before its content"
                    assert kept, "a version was replaced that is not in the trash"
                    kept, unnamed = kept - 1, unnamed + 1
                case "commit._Group.sync_directory: fsync" | "staging.Staging.replace_link: fsync":
                    unnamed = 0
                case "store.Store.finish_staged: COMMIT":
                    assert not unnamed, "a record before the name"
                    groups += 1
    assert groups


@pytest.mark.parametrize("work", Work)
async def test_killed_at_every_point(courses: Courses, tmp_path: Path, work: Work) -> None:
    """Each point once. A call may come less often than in the recorded run, but the first of each always comes."""
    course = await courses.of(work)
    failures: list[str] = []
    for fault in each_point(course.calls):
        if not await _attempt(failures, work, courses, tmp_path, fault):
            first = Fault(fault.point, 1, fault.moment)
            assert await _attempt(failures, work, courses, tmp_path, first), f"it did not die {first}"
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("work", Work)
async def test_killed_at_random(courses: Courses, tmp_path: Path, work: Work) -> None:
    course = await courses.of(work)
    chance = random.Random(f"{SEED} {work}")
    failures: list[str] = []
    died = 0
    for trial in range(1, RANDOM + 1):
        fault = random_fault(chance, course.calls)
        died += await _attempt(failures, work, courses, tmp_path, fault)
        print(f"seed {SEED}, trial {trial}: {work} killed {fault}; {died} died, {len(failures)} failed")  # noqa: T201
    assert not failures, f"LEAFSYNC_SEED={SEED}\n" + "\n".join(failures)
    assert died > 0.8 * RANDOM - 1, "calls that came in the recorded run do not come"


async def _attempt(failures: list[str], work: Work, courses: Courses, path: Path, fault: Fault) -> bool:
    """Do a trial and return whether the child died; a promise that was broken is added to `failures`."""
    try:
        return await run_trial(work, await courses.template(), path / "trial", fault, await courses.of(work))
    except AssertionError as error:
        failures.append(f"{work} killed {fault}: {error}")
        return True
