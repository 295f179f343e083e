"""The figures above the list of transfers."""

import pytest

from leafsync.bridge import (
    ConnectStatus,
    Direction,
    PassState,
    PassSummary,
    PeerStatus,
    ServeStatus,
    Snapshot,
    Totals,
    TransferChanges,
    TransferState,
    TransferStatus,
)
from leafsync.widgets.transfer_model import TransferModel
from leafsync.widgets.transfer_rows import JobStanding
from leafsync.widgets.transfer_totals import SAMPLES, Sums, Throughput, attention, figures, sums


def connect(number: int = 1, *, wire: tuple[int, int] = (0, 0), totals: Totals | None = None) -> ConnectStatus:
    peer = PeerStatus("ab", "nas", f"nas{number}:4455", "receiving", *wire)
    return ConnectStatus(number, "/a", "nas", PassState.TRANSFERRING, peer=peer, totals=totals or Totals())


def serve(number: int = 2, *, wire: tuple[int, int] = (0, 0), problems: int = 0) -> ServeStatus:
    peer = PeerStatus("cd", "lap", "lap:1234", "sending", *wire)
    return ServeStatus(number, "/b", 4455, (), read_only=False, peers=(peer,), problems=problems)


def test_sums_are_of_the_plans_here_and_of_what_others_asked_for() -> None:
    model = TransferModel()
    model.know([JobStanding(1, "/a"), JobStanding(2, "/b"), JobStanding(3, "/gone", ended=True)])
    for job in model.jobs:
        sent = TransferStatus("x", 70, 20, TransferState.ACTIVE, direction=Direction.OUT, peer="lap")
        done = TransferStatus("y", 30, 30, TransferState.DONE, direction=Direction.OUT, peer="lap")
        model.take(job, TransferChanges(0, 1, (sent, done)))
    while model.work(iter(range(99)).__next__, 50):
        pass
    totals = Totals(files=10, files_done=4, bytes=1000, bytes_done=400)
    snapshot = Snapshot(1, serving=(serve(),), connecting=(connect(totals=totals),))
    assert sums(snapshot, model.jobs) == Sums(12, 5, 1100, 450)


def test_rates_are_of_the_wire_each_way_over_all_jobs() -> None:
    throughput = Throughput()
    for now, count in ((0.0, 0), (1.0, 100), (2.0, 200)):
        snapshot = Snapshot(1, serving=(serve(wire=(count, 10 * count)),), connecting=(connect(wire=(2 * count, 0)),))
        throughput.observe(snapshot, Sums(), now)
    assert throughput.rate(Direction.IN) == pytest.approx(300)
    assert throughput.rate(Direction.OUT) == pytest.approx(1000)
    throughput.observe(Snapshot(2), Sums(), 3.0)
    assert throughput.rate(Direction.IN) == 0


def test_a_sample_is_what_moved_since_the_last_one() -> None:
    throughput = Throughput()
    for now, count in ((10.0, 5_000), (10.5, 5_100), (11.0, 5_400), (11.5, 0)):
        throughput.observe(Snapshot(1, connecting=(connect(wire=(count, 0)),)), Sums(), now)
    assert len(throughput.samples) == SAMPLES
    assert list(throughput.samples)[-4:] == [0.0, 200.0, 600.0, 0.0]  # what began before is not counted


def test_time_when_nobody_looked_is_in_the_samples_too() -> None:
    throughput = Throughput()
    for now, count in ((0.0, 0), (2.0, 400)):
        throughput.observe(Snapshot(1, connecting=(connect(wire=(count, 0)),)), Sums(), now)
    assert list(throughput.samples)[-5:] == [0.0, 200.0, 200.0, 200.0, 200.0]
    throughput.observe(Snapshot(1, connecting=(connect(wire=(400, 0)),)), Sums(), 1e6)
    assert list(throughput.samples) == [0.0] * SAMPLES


def test_the_time_left_is_that_of_all_jobs_together() -> None:
    throughput = Throughput()
    for now, done in ((0.0, 0), (1.0, 100)):
        throughput.observe(Snapshot(1), Sums(2, 0, 1000, done), now)
    assert throughput.eta == pytest.approx(9)


def test_figures_leave_out_the_least_important_ones_first() -> None:
    throughput = Throughput()
    for now, done in ((0.0, 0), (1.0, 100)):
        snapshot = Snapshot(1, connecting=(connect(wire=(done * 1000, done)),))
        throughput.observe(snapshot, Sums(2000, 0, 1000, done), now)
    total = Sums(2000, 3, 1000, 100)
    whole = "↓ 100.0 kB/s   ↑ 100 B/s   10 %   0:09 left   3 of 2,000 files   100 B of 1.0 kB"
    assert figures(total, throughput, 100) == whole
    assert figures(total, throughput, 70) == "↓ 100.0 kB/s   ↑ 100 B/s   10 %   0:09 left   3 of 2,000 files"
    assert figures(total, throughput, 45) == "↓ 100.0 kB/s   ↑ 100 B/s   10 %   0:09 left"
    assert figures(total, throughput, 5) == "↓ 100.0 kB/s"


def test_nothing_is_said_of_files_when_there_are_none_nor_of_time_when_all_is_done() -> None:
    assert figures(Sums(), Throughput(), 100) == "↓ 0 B/s   ↑ 0 B/s"
    done = figures(Sums(1, 1, 5, 5), Throughput(), 100)
    assert done == "↓ 0 B/s   ↑ 0 B/s   100 %   1 of 1 file   5 B of 5 B"
    assert figures(Sums(1, 0, 0, 0), Throughput(), 100) == "↓ 0 B/s   ↑ 0 B/s   0 of 1 file   0 B of 0 B"


def test_what_needs_attention_is_added_up() -> None:
    passed = PassSummary(
        Totals(),
        1.0,
        problems=(("a", "b"),),
        remote_problems=2,
        conflicts=(("a", "b"),),
        held=("x",),
        remote_held=("y",),
    )
    snapshot = Snapshot(1, serving=(serve(problems=4),), connecting=(connect(),))
    copies = {1: {"b", "c"}}
    assert attention(snapshot, {1: passed}, copies) == "7 problems · 2 conflicts · 2 held deletes"
    assert attention(snapshot, {7: passed}, {7: {"b"}}) == "4 problems"  # the job is not there any more
    assert attention(Snapshot(1, connecting=(connect(),)), {}, {}) == ""


def test_conflicts_wait_for_a_decision_not_for_the_next_pass() -> None:
    snapshot, nothing = Snapshot(1, connecting=(connect(),)), PassSummary(Totals(), 1.0)
    assert attention(snapshot, {1: nothing}, {1: {"a.conflict"}}) == "1 conflict"
    decided = PassSummary(Totals(), 1.0, conflicts=(("a", "a.conflict"),))
    assert attention(snapshot, {1: decided}, {1: set()}) == ""
