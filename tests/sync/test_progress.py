"""Counters of a running pass."""

from leafsync.engine.core.status import Totals, TransferState, TransferStatus
from leafsync.engine.sync.progress import Progress


class Wire:
    """Bytes received and sent by a connection that was used before."""

    def __init__(self) -> None:
        self.at = (1000, 500)

    def __call__(self) -> tuple[int, int]:
        return self.at


def test_a_file_from_the_wire_and_from_here() -> None:
    wire = Wire()
    progress = Progress(wire)
    progress.expect(2, 300)
    progress.start("a", 200)
    progress.add("a", 150, fetched=True)
    progress.add("a", 30, fetched=False)
    wire.at = (1160, 510)
    assert list(progress.transfers) == [TransferStatus("a", 200, 180, TransferState.ACTIVE)]
    assert progress.totals == Totals(2, 0, 300, 180, fetched=150, reused=30, wire_in=160, wire_out=10)
    progress.add("a", 20, fetched=True)
    progress.finish("a", done=True)
    assert len(progress.transfers) == 0
    assert (progress.totals.files_done, progress.totals.bytes_done) == (1, 200)


def test_a_file_that_failed_is_not_done() -> None:
    progress = Progress(Wire())
    progress.expect(1, 100)
    progress.start("a", 100)
    progress.add("a", 60, fetched=True)
    progress.finish("a", done=False)
    assert (progress.totals.files_done, progress.totals.bytes_done, progress.totals.fetched) == (0, 0, 60)


def test_an_empty_file_is_never_started() -> None:
    progress = Progress(Wire())
    progress.expect(1, 0)
    progress.finish("empty", done=True)
    assert progress.totals.files_done == 1


def test_every_change_shows_in_the_version() -> None:
    progress = Progress(Wire())
    versions = [progress.version]
    progress.expect(1, 10)
    versions.append(progress.version)
    progress.start("a", 10)
    versions.append(progress.version)
    progress.add("a", 10, fetched=True)
    versions.append(progress.version)
    progress.finish("a", done=True)
    versions.append(progress.version)
    assert versions == sorted(set(versions))
