"""The list of transfers that readers follow."""

from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.status import Direction, TransferState, TransferStatus
from leafsync.engine.core.transfers import TransferKey, TransferLog


def key(path: str, *, peer: str = "nas", direction: Direction = Direction.IN) -> TransferKey:
    return TransferKey(peer, direction, path)


def states(log: TransferLog) -> dict[str, TransferState]:
    return {row.path: row.state for row in log.since(0, -1).rows}


def test_a_transfer_from_its_plan_to_its_end() -> None:
    log = TransferLog(keep=10)
    log.expect("nas", Direction.IN, [("a", 100)])
    assert states(log) == {"a": TransferState.WAITING}
    log.start(key("a"), 100)
    log.add(key("a"), 70)
    assert log.done(key("a")) == 70
    log.settle(key("a"))
    assert list(log.since(0, 0).rows) == [TransferStatus("a", 100, 100, TransferState.DONE, "", Direction.IN, "nas")]


def test_a_reader_gets_only_what_has_changed() -> None:
    log = TransferLog(keep=10)
    log.expect("nas", Direction.IN, [("a", 1), ("b", 1), ("c", 1)])
    seen = log.since(0, 0)
    assert [row.path for row in seen.rows] == ["a", "b", "c"]
    log.start(key("b"), 1)
    changed = log.since(seen.version, seen.epoch)
    assert [row.path for row in changed.rows] == ["b"]
    assert not log.since(changed.version, changed.epoch).rows


def test_one_path_goes_to_two_devices_and_comes_from_one() -> None:
    log = TransferLog(keep=10)
    for peer, direction in (("nas", Direction.OUT), ("lap", Direction.OUT), ("lap", Direction.IN)):
        log.start(key("a", peer=peer, direction=direction), 5)
    log.settle(key("a", peer="lap", direction=Direction.OUT))
    assert len(log.moving(9)) == 2
    assert len(log.since(0, 0).rows) == 3


def test_files_that_move_come_before_those_that_wait_to_be_committed() -> None:
    log = TransferLog()
    for number in range(20):
        log.start(key(f"whole {number}"), 10)
        log.add(key(f"whole {number}"), 10)
    log.start(key("on its way"), 10)
    assert log.moving(2)[0].path == "on its way"
    assert len(log.moving(2)) == 2
    assert log.active_count == 21


def test_the_end_of_a_connection_settles_only_what_is_its_own() -> None:
    log = TransferLog(keep=10)
    log.expect("nas", Direction.IN, [("a", 1)])
    log.start(key("b"), 1)
    log.start(key("c", peer="lap"), 1)
    log.settle_all("nas", "the connection ended")
    assert states(log) == {"a": TransferState.FAILED, "b": TransferState.FAILED, "c": TransferState.ACTIVE}


def test_a_log_for_a_live_area_keeps_what_moves_and_nothing_else() -> None:
    log = TransferLog()
    log.expect("nas", Direction.IN, [("a", 1), ("b", 1)])
    log.start(key("a"), 1)
    assert states(log) == {"a": TransferState.ACTIVE}
    log.settle(key("a"))
    assert states(log) == {}


def test_room_for_new_transfers_is_made_by_dropping_the_oldest_settled_ones() -> None:
    log = TransferLog(keep=3)
    for path in "abc":
        log.start(key(path), 1)
        log.settle(key(path))
    before = log.since(0, 0)
    log.expect("nas", Direction.IN, [("d", 1), ("e", 1)])
    after = log.since(before.version, before.epoch)
    assert after.epoch != before.epoch
    assert [row.path for row in after.rows] == ["c", "d", "e"]


def test_a_settled_transfer_that_goes_on_is_not_dropped() -> None:
    log = TransferLog(keep=2)
    for path in "ab":
        log.start(key(path), 1)
        log.settle(key(path))
    log.start(key("a"), 1)
    log.expect("nas", Direction.IN, [("c", 1), ("d", 1)])
    assert states(log) == {"a": TransferState.ACTIVE, "c": TransferState.WAITING, "d": TransferState.WAITING}


@pytest.mark.parametrize("keep", [0, 10])
def test_settling_one_looks_at_no_other(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each looking at all that move, 10,000 small files would take a third longer."""

    class Rows(OrderedDict[TransferKey, Any]):
        def items(self) -> Any:
            pytest.fail("it looked at all rows")

    log = TransferLog(keep)
    monkeypatch.setattr(log, "_rows", Rows())
    for number in range(100):
        log.start(key(f"{number}"), 1)
    for number in range(100):
        log.settle(key(f"{number}"))
    assert log.active_count == 0


def test_a_plan_larger_than_the_list_shows_as_much_as_fits() -> None:
    log = TransferLog(keep=3)
    log.expect("nas", Direction.IN, [(str(number), 1) for number in range(10)])
    assert len(log.since(0, 0).rows) == 3


def test_a_count_for_what_does_not_move_is_left_out() -> None:
    log = TransferLog(keep=3)
    log.add(key("a"), 5)
    log.settle(key("a"))
    assert states(log) == {}
    assert log.done(key("a")) == 0


steps = st.tuples(st.sampled_from(["expect", "start", "add", "settle", "fail", "read"]), st.sampled_from("abcdef"))


@given(st.lists(steps, max_size=60), st.integers(0, 4))
def test_a_reader_who_follows_has_what_the_log_has(history: list[tuple[str, str]], keep: int) -> None:
    log, mine = TransferLog(keep), dict[str, TransferStatus]()
    version, epoch = 0, 0

    def read() -> None:
        nonlocal version, epoch, mine
        changes = log.since(version, epoch)
        mine = mine if changes.epoch == epoch else {}
        mine |= {row.path: row for row in changes.rows}
        version, epoch = changes.version, changes.epoch

    for step, path in history:
        match step:
            case "expect":
                log.expect("nas", Direction.IN, [(path, 9)])
            case "start":
                log.start(key(path), 9)
            case "add":
                log.add(key(path), 4)
            case "settle":
                log.settle(key(path))
            case "fail":
                log.settle(key(path), "no")
            case "read":
                read()
    read()
    assert mine == {row.path: row for row in log.since(0, -1).rows}
    assert sum(row.state is not TransferState.ACTIVE for row in mine.values()) <= keep
