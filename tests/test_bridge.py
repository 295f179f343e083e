"""The engine as the screens see it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pytest

from leafsync.bridge import (
    BY_HAND,
    NO_CHANGES,
    Bridge,
    ConflictCopy,
    ConnectOptions,
    ConnectStatus,
    Direction,
    EngineEvent,
    JobEnded,
    Keep,
    PassFinished,
    PassState,
    PassSummary,
    PeerConnected,
    Permission,
    Reconnecting,
    ServeOptions,
    Snapshot,
    Totals,
    TransferState,
    TrustAsked,
    TrustQuestion,
    Undone,
    parse_address,
)
from leafsync.engine.core.conflicts import conflict_name
from leafsync.engine.core.transfers import TransferKey
from leafsync.errors import (
    ConnectTimedOut,
    DeviceExists,
    DeviceUnknown,
    FingerprintMalformed,
    FolderInUse,
    FolderMissing,
    PassUnknown,
)
from tests.support.devices import until
from tests.support.ui import NOW, FakeEngine

if TYPE_CHECKING:
    from textual.message import Message

T = TypeVar("T")

CONNECT = ConnectOptions(parse_address("nas:4455"), "/f")
SERVE = ServeOptions("/s")
LOST = ConnectTimedOut(address="nas:4455", seconds=8, port=4455)
NOTHING = PassSummary(Totals(), 0.1)
CHANGED = msgspec.structs.replace(NOTHING, sent=("a",))
HELD = msgspec.structs.replace(NOTHING, held=("a", "b"), remote_held=("c",))
QUESTION = TrustQuestion(1, "ab" * 32, "10.0.0.9:5", "/s", Direction.IN)
TOLD = PeerConnected(1, "ab" * 32, "nas", "10.0.0.9:5")
KEY, OTHER_KEY = "ab" * 32, "cd" * 32


class Desk:
    """A bridge on a fake engine, and what it posted."""

    def __init__(self, home: Path) -> None:
        self.posted: list[Message] = []
        self.engines: list[FakeEngine] = []
        self.seconds = 0

        def make(tell: Callable[..., None], ask: Callable[..., object]) -> FakeEngine:
            self.engines.append(FakeEngine(home, tell, ask))  # type: ignore[arg-type]
            return self.engines[0]

        self.bridge = Bridge(make, device_name="desk", now=lambda: NOW.replace(second=self.seconds))
        self.bridge.post = self.posted.append

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]

    def of(self, kind: type[T]) -> list[T]:
        """The posted messages of a kind."""
        return [message for message in self.posted if isinstance(message, kind)]

    def finished(self, summary: PassSummary, job: int = 1) -> None:
        """Have a pass of a job end, a second after the one before."""
        self.seconds += 1
        self.engine.tell(PassFinished(job, summary))

    async def connected(self, folder: str = "/f") -> int:
        """Begin to connect, and show it in the snapshot."""
        job = await self.bridge.connect(msgspec.structs.replace(CONNECT, folder=folder))
        status = ConnectStatus(job, folder, "nas:4455", PassState.IN_SYNC)
        self.engine.shown = Snapshot(1, connecting=(*self.engine.shown.connecting, status))
        return job


async def settle() -> None:
    """Let what is due on the loop happen."""
    for _turn in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "home")
    async with desk.bridge:
        yield desk


# Jobs


async def test_the_engine_is_entered_and_left_with_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "home")
    async with desk.bridge as bridge:
        assert bridge is desk.bridge
        assert bridge.fingerprint == desk.engine.identity.fingerprint
        await bridge.serve(SERVE)
        assert desk.engine.calls == []
    assert desk.engine.calls == ["exit"]
    assert desk.posted == []


async def test_options_reach_the_engine(desk: Desk) -> None:
    serving, connecting = await desk.bridge.serve(SERVE), await desk.bridge.connect(CONNECT)
    assert desk.engine.jobs[serving].options is SERVE
    assert desk.engine.jobs[connecting].options is CONNECT


async def test_a_job_that_cannot_begin_is_none(desk: Desk) -> None:
    desk.engine.failure = FolderMissing(path="/f")
    with pytest.raises(FolderMissing):
        await desk.bridge.connect(CONNECT)
    with pytest.raises(FolderMissing):
        await desk.bridge.serve(SERVE)
    with pytest.raises(FolderMissing):
        await desk.bridge.preview(msgspec.structs.replace(CONNECT, dry_run=True))
    assert (desk.bridge.ended, desk.bridge.previewing, desk.posted) == ({}, set(), [])


async def test_the_snapshot_is_the_engines(desk: Desk) -> None:
    desk.engine.shown = Snapshot(7)
    assert desk.bridge.snapshot() is desk.engine.shown


async def test_keys_of_a_card_reach_the_job(desk: Desk) -> None:
    serving, connecting = await desk.bridge.serve(SERVE), await desk.bridge.connect(CONNECT)
    for job in (serving, connecting):
        desk.bridge.pause(job)
        desk.bridge.resume(job)
        desk.bridge.sync_now(job)
    assert desk.engine.calls == ["pause 1", "resume 1", "pause 2", "resume 2", "sync 2"]


async def test_a_job_that_is_not_there_is_none_the_worse(desk: Desk) -> None:
    for call in (desk.bridge.pause, desk.bridge.resume, desk.bridge.sync_now, desk.bridge.allow_deletes):
        call(7)
    assert desk.bridge.transfers(7, 0, 0) is NO_CHANGES
    await desk.bridge.stop(7)
    assert desk.engine.calls == ["stop 7"]


async def test_a_stopped_job_is_gone_without_a_word(desk: Desk) -> None:
    job = await desk.bridge.connect(CONNECT)
    desk.finished(CHANGED)
    desk.posted.clear()
    await desk.bridge.stop(job)
    await settle()
    assert desk.engine.calls == ["stop 1"]
    assert (desk.bridge.ended, desk.bridge.summaries, desk.bridge.in_sync_since) == ({}, {}, {})
    assert desk.bridge.conflict_copies == {}
    assert desk.posted == []
    desk.bridge.pause(job)
    assert desk.engine.calls == ["stop 1"]


async def test_a_job_can_be_stopped_twice_at_once(desk: Desk) -> None:
    job = await desk.bridge.connect(CONNECT)
    await asyncio.gather(desk.bridge.stop(job), desk.bridge.stop(job))
    await settle()
    assert (desk.bridge.ended, desk.posted) == ({}, [])


async def test_a_job_that_fails_is_shown_until_it_is_put_away(desk: Desk) -> None:
    job = await desk.bridge.connect(CONNECT)
    desk.engine.jobs[job].end.set_exception(LOST)
    await settle()
    (message,) = desk.of(JobEnded)
    ended = message.job
    assert (ended.id, ended.folder, ended.address, ended.error) == (job, "/f", "nas:4455", LOST)
    assert desk.bridge.ended == {job: ended}
    assert desk.engine.calls == ["stop 1"]
    await desk.bridge.stop(job)
    assert desk.bridge.ended == {}


async def test_a_job_that_is_done_has_no_error(desk: Desk) -> None:
    job = await desk.bridge.serve(SERVE)
    desk.engine.jobs[job].end.set_result(None)
    await settle()
    (message,) = desk.of(JobEnded)
    assert (message.job.folder, message.job.address, message.job.error) == ("/s", "", None)


async def test_a_bug_in_a_job_ends_that_job_alone(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    job, other = await desk.bridge.connect(CONNECT), await desk.bridge.serve(SERVE)
    desk.engine.jobs[job].end.set_exception(ZeroDivisionError("by\x1b zero"))
    await settle()
    assert str(desk.bridge.ended[job].error) == "LeafSync failed: ZeroDivisionError: by\\x1b zero."
    assert "ZeroDivisionError" in caplog.text
    desk.bridge.pause(other)
    assert desk.engine.calls == ["stop 1", "pause 2"]


async def test_transfers_are_the_jobs(desk: Desk) -> None:
    job = await desk.bridge.connect(CONNECT)
    log = desk.engine.jobs[job].transfers
    log.start(TransferKey("nas", Direction.IN, "a"), 10)
    changes = desk.bridge.transfers(job, 0, 0)
    assert [(row.path, row.state) for row in changes.rows] == [("a", TransferState.ACTIVE)]
    assert not desk.bridge.transfers(job, changes.version, changes.epoch).rows
    await desk.bridge.stop(job)
    assert desk.bridge.transfers(job, 0, 0) is NO_CHANGES


# A preview


async def test_a_preview_returns_the_plan_and_leaves_nothing(desk: Desk) -> None:
    desk.engine.ending = msgspec.structs.replace(CHANGED, planned=True)
    plan = await desk.bridge.preview(msgspec.structs.replace(CONNECT, dry_run=True))
    assert plan is desk.engine.ending
    assert desk.engine.calls == ["stop 1"]
    assert (desk.bridge.previewing, desk.bridge.ended, desk.posted) == (set(), {}, [])


async def test_a_preview_raises_what_the_job_raises(desk: Desk) -> None:
    desk.engine.ending = LOST
    with pytest.raises(ConnectTimedOut):
        await desk.bridge.preview(msgspec.structs.replace(CONNECT, dry_run=True))
    assert desk.engine.calls == ["stop 1"]
    assert desk.bridge.previewing == set()


async def test_a_preview_that_nobody_waits_for_any_more_is_stopped(desk: Desk) -> None:
    previewing = asyncio.ensure_future(desk.bridge.preview(CONNECT))  # one that goes on
    await settle()
    assert desk.bridge.previewing == {1}
    previewing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await previewing
    assert desk.engine.calls == ["stop 1"]
    assert desk.bridge.previewing == set()


async def test_a_plan_is_not_what_a_pass_did(desk: Desk) -> None:
    desk.finished(msgspec.structs.replace(CHANGED, planned=True))
    assert (desk.bridge.summaries, desk.bridge.in_sync_since) == ({}, {})
    assert len(desk.of(EngineEvent)) == 1


# What passes did


async def test_since_when_folders_are_the_same(desk: Desk) -> None:
    await desk.bridge.connect(CONNECT)
    for summary, since in ((NOTHING, 1), (NOTHING, 1), (CHANGED, 3), (NOTHING, 3), (HELD, None), (NOTHING, 6)):
        desk.finished(summary)
        assert desk.bridge.in_sync_since.get(1) == (None if since is None else NOW.replace(second=since))
        assert desk.bridge.summaries[1] is summary


async def test_who_is_not_connected_is_not_in_sync(desk: Desk) -> None:
    job = await desk.bridge.connect(CONNECT)
    ends: list[Callable[[], object]] = [
        lambda: desk.engine.tell(Reconnecting(job, 5.0, "gone")),
        lambda: desk.bridge.pause(job),
        lambda: desk.engine.jobs[job].end.set_exception(LOST),
    ]
    for end in ends:
        desk.finished(NOTHING)
        assert job in desk.bridge.in_sync_since
        end()
        await settle()
        assert job not in desk.bridge.in_sync_since


async def test_exactly_the_deletes_that_were_shown_are_allowed(desk: Desk) -> None:
    job = await desk.bridge.connect(CONNECT)
    desk.bridge.allow_deletes(job)
    assert desk.engine.calls == []
    desk.finished(HELD)
    desk.bridge.allow_deletes(job)
    assert desk.engine.jobs[job].allowed == {"a", "b", "c"}


async def test_conflicts_are_known_until_somebody_decided(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    copies = [conflict_name(name, "20260102-030405", "nas") for name in ("one.txt", "two.txt")]
    for name in ("one.txt", "two.txt", *copies):
        (folder / name).write_text(name)
    job, other = await desk.connected(str(folder)), await desk.connected("/elsewhere")
    desk.finished(msgspec.structs.replace(NOTHING, conflicts=(("one.txt", copies[0]),)), job)
    desk.finished(msgspec.structs.replace(NOTHING, conflicts=(("x", "x.conflict"),)), other)
    desk.finished(NOTHING, job)
    assert desk.bridge.conflict_copies == {job: {copies[0]}, other: {"x.conflict"}}

    found = await desk.bridge.conflicts(str(folder))
    assert [conflict.copy for conflict in found] == copies
    assert all(isinstance(conflict, ConflictCopy) for conflict in found)
    assert desk.bridge.conflict_copies == {job: set(copies), other: {"x.conflict"}}

    undone = await desk.bridge.resolve(str(folder), copies[0], Keep.THIS)
    assert isinstance(undone, Undone)
    assert not (folder / copies[0]).exists()
    assert desk.bridge.conflict_copies == {job: {copies[1]}, other: {"x.conflict"}}


async def test_conflicts_that_were_decided_elsewhere_are_none_any_more(desk: Desk, tmp_path: Path) -> None:
    """By a command, or on the other device, whose decision the pass has brought."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "two.copy").write_text("x")
    job = await desk.connected(str(folder))
    summary = msgspec.structs.replace(NOTHING, conflicts=(("one", "one.copy"), ("two", "two.copy")))
    desk.finished(summary, job)
    await until(lambda: desk.bridge.conflict_copies == {job: {"two.copy"}})
    (folder / "two.copy").unlink()
    desk.finished(NOTHING, job)
    await until(lambda: desk.bridge.conflict_copies == {job: set()})


async def test_conflicts_are_kept_where_the_folder_cannot_be_looked_at(desk: Desk) -> None:
    job = await desk.connected("/nowhere/at/all")
    desk.finished(msgspec.structs.replace(NOTHING, conflicts=(("one", "one.copy"),)), job)
    (looking,) = (task for task in asyncio.all_tasks() if "conflicts" in task.get_name())
    await looking
    assert desk.bridge.conflict_copies == {job: {"one.copy"}}


async def test_history_is_the_folders(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    assert await desk.bridge.history(str(folder)) == []
    with pytest.raises(PassUnknown):
        await desk.bridge.undo(str(folder), "20260101")
    with pytest.raises(PassUnknown):
        await desk.bridge.restore(str(folder), "20260101", "a")
    with pytest.raises(FolderMissing):
        await desk.bridge.history(str(tmp_path / "none"))


# Trust


async def test_devices_are_added_changed_and_removed(desk: Desk) -> None:
    added = await desk.bridge.add_device(KEY, name="nas", address="nas:4455")
    assert (added.name, added.permission, added.confirmed) == ("nas", Permission.READ_WRITE, BY_HAND)
    assert await desk.bridge.devices() == (added,)
    await desk.bridge.change_device(KEY, name="store", permission=Permission.READ)
    await desk.bridge.replace_key(KEY, OTHER_KEY)
    (device,) = await desk.bridge.devices()
    assert (device.fingerprint, device.name, device.permission) == (OTHER_KEY, "store", Permission.READ)
    await desk.bridge.remove_device(OTHER_KEY)
    assert await desk.bridge.devices() == ()


async def test_what_cannot_be_trusted_is_refused(desk: Desk) -> None:
    await desk.bridge.add_device(KEY, name="nas")
    with pytest.raises(DeviceExists):
        await desk.bridge.add_device(OTHER_KEY, name="nas")
    with pytest.raises(FingerprintMalformed):
        await desk.bridge.add_device("xy", name="desk")
    with pytest.raises(DeviceUnknown):
        await desk.bridge.remove_device(OTHER_KEY)


async def test_devices_are_those_of_the_file_as_it_is_now(desk: Desk, tmp_path: Path) -> None:
    await desk.bridge.add_device(KEY, name="nas")
    (tmp_path / "home" / "trust.toml").unlink()
    assert await desk.bridge.devices() == ()


# What the engine says and asks


async def test_events_are_posted(desk: Desk) -> None:
    desk.engine.tell(TOLD)
    (message,) = desk.of(EngineEvent)
    assert message.event is TOLD


async def test_events_before_there_is_an_app_are_lost_and_no_error(tmp_path: Path) -> None:
    tellers: list[FakeEngine] = []

    def make(tell: Callable[..., None], ask: Callable[..., object]) -> FakeEngine:
        tellers.append(FakeEngine(tmp_path / "home", tell, ask))  # type: ignore[arg-type]
        return tellers[0]

    async with Bridge(make, device_name="desk") as bridge:
        tellers[0].tell(TOLD)
        assert bridge.now().tzinfo is not None


@pytest.mark.parametrize("answer", [True, False])
async def test_a_question_is_answered(desk: Desk, answer: bool) -> None:
    asking = desk.engine.question(QUESTION)
    await settle()
    (asked,) = desk.of(TrustAsked)
    assert asked.question is QUESTION
    asked.answer.set_result(answer)
    assert await asking is answer


async def test_an_answer_that_is_given_up_is_a_no(desk: Desk) -> None:
    asking = desk.engine.question(QUESTION)
    await settle()
    desk.of(TrustAsked)[0].answer.cancel()
    assert await asking is False


async def test_whoever_does_not_ask_any_more_wants_no_answer(desk: Desk) -> None:
    asking = desk.engine.question(QUESTION)
    await settle()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert desk.of(TrustAsked)[0].answer.cancelled()


async def test_an_error_names_who_has_the_folder(desk: Desk) -> None:
    desk.engine.failure = FolderInUse(path="/f", holder=" (process 7)")
    with pytest.raises(FolderInUse, match="in use by another LeafSync \\(process 7\\)"):
        await desk.bridge.serve(SERVE)


def test_it_does_not_load_the_app() -> None:
    script = "import sys, leafsync.bridge; print('leafsync.app' in sys.modules, 'leafsync.screens' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
