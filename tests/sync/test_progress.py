"""Counters of a running pass."""

from leafsync.engine.core.status import Direction, Totals, TransferState, TransferStatus
from leafsync.engine.core.transfers import TransferLog
from leafsync.engine.sync.progress import Progress


class Wire:
    """Bytes received and sent by a connection that was used before."""

    def __init__(self) -> None:
        self.at = (1000, 500)

    def __call__(self) -> tuple[int, int]:
        return self.at


def test_a_file_from_the_wire_and_from_here() -> None:
    wire, log = Wire(), TransferLog()
    progress = Progress(wire, log, "nas")
    progress.expect(Direction.IN, [("a", 200), ("b", 100)])
    progress.start("a", 200)
    progress.add("a", 150, fetched=True)
    progress.add("a", 30, fetched=False)
    wire.at = (1160, 510)
    assert list(log.moving(9)) == [TransferStatus("a", 200, 180, TransferState.ACTIVE, "", Direction.IN, "nas")]
    assert progress.totals == Totals(2, 0, 300, 180, fetched=150, reused=30, wire_in=160, wire_out=10)
    progress.add("a", 20, fetched=True)
    progress.finish("a")
    assert not log.moving(9)
    assert (progress.totals.files_done, progress.totals.bytes_done) == (1, 200)


def test_small_files_come_whole_and_again_if_they_were_wrong() -> None:
    log = TransferLog()
    progress = Progress(lambda: (0, 0), log)
    progress.expect(Direction.IN, [("a", 10), ("b", 5)])
    progress.whole("a", 10, fetched=True)
    progress.whole("b", 5, fetched=False)
    assert (progress.bytes_done, progress.fetched, progress.reused) == (15, 10, 5)
    assert [(row.path, row.done) for row in log.moving(9)] == [("a", 10), ("b", 5)]
    progress.take_back(10)
    assert (progress.bytes_done, progress.fetched) == (5, 0)
    progress.whole("a", 10, fetched=True)
    progress.finish("a")
    progress.finish("b")
    assert (progress.files_done, progress.bytes_done) == (2, 15)
    assert log.moving(9) == ()


def test_a_file_that_failed_is_not_done() -> None:
    log = TransferLog(keep=10)
    progress = Progress(Wire(), log)
    progress.expect(Direction.IN, [("a", 100)])
    progress.start("a", 100)
    progress.add("a", 60, fetched=True)
    progress.finish("a", "it is gone")
    assert (progress.totals.files_done, progress.totals.bytes_done, progress.totals.fetched) == (0, 0, 60)
    assert list(log.since(0, 0).rows) == [TransferStatus("a", 100, 60, TransferState.FAILED, "it is gone")]


def test_an_empty_file_is_never_started() -> None:
    log = TransferLog(keep=10)
    progress = Progress(Wire(), log)
    progress.expect(Direction.IN, [("empty", 0)])
    progress.finish("empty")
    assert progress.totals.files_done == 1
    assert [row.state for row in log.since(0, 0).rows] == [TransferState.DONE]


def test_a_file_sent_in_part_is_done_when_all_that_was_asked_for_went() -> None:
    log = TransferLog(keep=10)
    progress = Progress(Wire(), log)
    progress.expect(Direction.OUT, [("a", 100)])
    progress.send("a", 100, 40)
    assert [(row.done, row.state) for row in log.moving(9)] == [(40, TransferState.ACTIVE)]
    progress.finish_sending("a")
    progress.settle(1, 100)
    assert [(row.done, row.state) for row in log.since(0, 0).rows] == [(100, TransferState.DONE)]
    assert progress.totals == Totals(1, 1, 100, 100, sent=40)


def test_what_is_interrupted_has_failed() -> None:
    log = TransferLog(keep=10)
    progress = Progress(Wire(), log)
    progress.expect(Direction.IN, [("a", 100), ("b", 100)])
    progress.start("a", 100)
    progress.close("the pass was interrupted")
    assert {row.path: (row.state, row.error) for row in log.since(0, 0).rows} == {
        "a": (TransferState.FAILED, "the pass was interrupted"),
        "b": (TransferState.FAILED, "the pass was interrupted"),
    }
