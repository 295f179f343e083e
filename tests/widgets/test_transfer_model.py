"""The rows of the Transfers screen."""

from collections.abc import Iterable

from hypothesis import given, settings, strategies as st

from leafsync.bridge import Direction, TransferChanges, TransferState, TransferStatus
from leafsync.engine.core.transfers import TransferKey, TransferLog
from leafsync.widgets.transfer_model import TransferModel
from leafsync.widgets.transfer_rows import FILTERS, JobRows, JobStanding, Row, RowState, Sort

WAITING, ACTIVE, DONE, FAILED = (
    TransferState.WAITING,
    TransferState.ACTIVE,
    TransferState.DONE,
    TransferState.FAILED,
)


def status(
    path: str,
    state: TransferState = WAITING,
    *,
    size: int = 100,
    done: int = 0,
    error: str = "",
    peer: str = "nas",
    direction: Direction = Direction.IN,
) -> TransferStatus:
    return TransferStatus(path, size, size if state is DONE else done, state, error, direction, peer)


class Ticks:
    """A clock that goes on by one with every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def finish(model: TransferModel) -> None:
    while model.work(Ticks(), 1000):
        pass


class Job:
    """A job and what its log says next."""

    def __init__(self, model: TransferModel, number: int = 1, *, paused: bool = False) -> None:
        self.model = model
        self.number = number
        self.version = 0
        self.epoch = 0
        self.stand(paused=paused)

    def stand(self, *, paused: bool = False, ended: bool = False) -> None:
        others = [job.standing for job in self.model.jobs if job.standing.id != self.number]
        self.model.know([*others, JobStanding(self.number, f"/folder/{self.number}", paused, ended)])

    @property
    def rows(self) -> JobRows:
        return next(job for job in self.model.jobs if job.standing.id == self.number)

    def say(self, *changed: TransferStatus, anew: bool = False) -> None:
        self.version += 1
        self.epoch += anew
        self.model.take(self.rows, TransferChanges(self.epoch, self.version, changed))
        finish(self.model)


def rows(model: TransferModel) -> list[Row]:
    return list(model.view.order.slice(0, len(model.view.order)))


def paths(model: TransferModel) -> list[str]:
    return [row.path for row in rows(model)]


def by_path(model: TransferModel, path: str) -> Row:
    return next(row for row in rows(model) if row.path == path)


# Order


def test_what_moves_is_on_top_then_failures_then_what_waits_then_what_is_done() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("done", DONE), status("waiting"), status("failed", FAILED, error="no"), status("active", ACTIVE))
    assert paths(model) == ["active", "failed", "waiting", "done"]


def test_within_a_state_the_first_to_come_into_it_is_first() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(*(status(path) for path in "cab"))
    job.say(status("b", DONE))
    job.say(status("c", DONE))
    job.say(status("a", DONE))
    assert paths(model) == ["b", "c", "a"]


def test_progress_moves_nothing() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE), status("b", ACTIVE))
    job.say(status("a", ACTIVE, done=50))
    assert paths(model) == ["a", "b"]
    assert by_path(model, "a").done == 50


def test_sorting_goes_from_state_to_path_to_size_to_rate_and_back() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("b", size=1), status("c", ACTIVE, size=3), status("a", DONE, size=2), status("d", ACTIVE, size=9))
    seen = [(model.sort, paths(model))]
    for now, done in ((0.0, 0), (1.0, 8)):
        job.say(status("d", ACTIVE, size=9, done=done))
        model.measure(now)
    for _sort in Sort:
        model.next_sort()
        finish(model)
        seen.append((model.sort, paths(model)))
    assert seen == [
        (Sort.STATE, ["c", "d", "b", "a"]),
        (Sort.PATH, ["a", "b", "c", "d"]),
        (Sort.SIZE, ["d", "c", "a", "b"]),
        (Sort.RATE, ["d", "c", "b", "a"]),
        (Sort.STATE, ["c", "d", "b", "a"]),
    ]


def test_rows_move_as_their_rates_do() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE, size=1000), status("b", ACTIVE, size=1000))
    for _to_rate in range(3):
        model.next_sort()
    finish(model)
    model.measure(0.0)
    job.say(status("b", ACTIVE, size=1000, done=500))
    model.measure(1.0)
    assert paths(model) == ["b", "a"]
    job.say(status("a", ACTIVE, size=1000, done=900))
    model.measure(2.0)
    assert paths(model) == ["a", "b"]


# Filter


def test_states_are_shown_one_after_the_other_and_then_all_again() -> None:
    model = TransferModel()
    Job(model).say(status("w"), status("a", ACTIVE), status("f", FAILED, error="x"), status("d", DONE))
    seen = []
    for _state in range(5):
        model.next_state()
        finish(model)
        seen.append((model.state, paths(model)))
    assert seen == [
        (RowState.ACTIVE, ["a"]),
        (RowState.FAILED, ["f"]),
        (RowState.WAITING, ["w"]),
        (RowState.DONE, ["d"]),
        (None, ["a", "f", "w", "d"]),
    ]


def test_a_row_comes_and_goes_with_its_state() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a"), status("b"))
    model.next_state()
    finish(model)
    assert paths(model) == []
    job.say(status("b", ACTIVE))
    assert paths(model) == ["b"]
    job.say(status("b", DONE))
    assert paths(model) == []


def test_a_text_is_looked_for_anywhere_in_the_path_whatever_the_case() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("Holiday/IMG.jpg"), status("work/notes"))
    model.search("iMg")
    finish(model)
    assert paths(model) == ["Holiday/IMG.jpg"]
    job.say(status("images/one"))
    assert paths(model) == ["Holiday/IMG.jpg"]
    model.search("")
    finish(model)
    assert len(paths(model)) == 3


def test_counts_are_of_all_rows_shown_or_not() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a"), status("b", ACTIVE), status("c", DONE))
    model.search("nothing")
    finish(model)
    job.say(status("a", ACTIVE))
    assert paths(model) == []
    assert model.counts == {
        RowState.ACTIVE: 2,
        RowState.FAILED: 0,
        RowState.PAUSED: 0,
        RowState.WAITING: 0,
        RowState.DONE: 1,
    }


# Work in slices


def test_the_rows_of_before_are_shown_until_all_are_in_their_new_places() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(*(status(f"{number:03}", size=number) for number in range(200)))
    before = paths(model)
    model.next_sort()
    model.next_sort()
    assert model.work(Ticks(), 4)
    assert model.sort is Sort.SIZE
    assert paths(model) == before
    finish(model)
    assert paths(model) == before[::-1]


def test_what_changes_while_rows_are_sorted_is_right_in_both_orders() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(*(status(f"{number:03}", size=number) for number in range(200)))
    model.next_sort()
    model.next_sort()
    assert model.work(Ticks(), 4)
    model.take(job.rows, TransferChanges(0, 2, (status("000", ACTIVE, size=5000), status("new", size=1))))
    finish(model)
    assert paths(model)[0] == "000"
    assert paths(model)[-2:] == ["001", "new"]
    assert len(paths(model)) == 201


def test_a_second_order_before_the_first_is_there_wins() -> None:
    model = TransferModel()
    Job(model).say(*(status(path, size=ord(path)) for path in "bca"))
    model.next_sort()
    model.next_sort()
    model.search("b")
    finish(model)
    assert (model.sort, paths(model)) == (Sort.SIZE, ["b"])


def test_a_job_is_behind_until_all_that_was_read_is_taken_in() -> None:
    model = TransferModel()
    job = Job(model)
    model.take(job.rows, TransferChanges(0, 1, tuple(status(str(number)) for number in range(100))))
    behind = [job.rows.behind]
    assert model.work(Ticks(), 3)
    assert 0 < len(paths(model)) < 100
    finish(model)
    behind.append(job.rows.behind)
    assert behind == [True, False]
    assert not model.work(Ticks(), 3)


# Jobs and their logs


def test_a_log_that_begins_anew_drops_the_rows_it_does_not_have_any_more() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a"), status("b"), status("c"))
    kept = by_path(model, "b")
    job.say(status("b", ACTIVE), status("d"), anew=True)
    assert paths(model) == ["b", "d"]
    assert by_path(model, "b") is kept
    assert sum(model.counts.values()) == 2


def test_the_rows_of_a_job_go_with_it_and_those_of_others_stay() -> None:
    model = TransferModel()
    one, two = Job(model, 1), Job(model, 2)
    one.say(status("a"), status("b", ACTIVE))
    two.say(status("a", DONE))
    model.know([two.rows.standing])
    finish(model)
    assert [(row.path, row.job.standing.id) for row in rows(model)] == [("a", 2)]
    assert sum(model.counts.values()) == 1
    model.measure(1.0)


def test_what_was_read_of_a_job_that_went_meanwhile_is_not_shown() -> None:
    model = TransferModel()
    job = Job(model)
    model.take(job.rows, TransferChanges(0, 1, (status("a"),)))
    model.know([])
    finish(model)
    assert paths(model) == []


def test_one_path_to_two_devices_and_from_one_is_three_rows() -> None:
    model = TransferModel()
    Job(model).say(
        status("a", direction=Direction.OUT),
        status("a", direction=Direction.OUT, peer="lap"),
        status("a", peer="lap"),
    )
    assert len(rows(model)) == 3


def test_sums_of_a_job_follow_its_rows() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", size=10), status("b", ACTIVE, size=100, done=30), status("c", DONE, size=5))
    job.say(status("b", DONE, size=100))
    assert (job.rows.done, job.rows.bytes, job.rows.bytes_done) == (2, 115, 105)
    job.say(status("a", size=10), anew=True)
    assert (job.rows.done, job.rows.bytes, job.rows.bytes_done) == (0, 10, 0)


# Pausing


def test_what_waits_or_moves_in_a_paused_job_is_shown_as_paused() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE), status("b"), status("c", DONE), status("d", FAILED, error="x"))
    job.stand(paused=True)
    assert [row.shown_state.name for row in rows(model)] == ["PAUSED", "FAILED", "PAUSED", "DONE"]
    job.stand()
    assert [row.shown_state.name for row in rows(model)] == ["ACTIVE", "FAILED", "WAITING", "DONE"]


def test_what_a_pause_interrupts_has_not_failed() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE), status("b", FAILED, error="disk full"))
    job.stand(paused=True)
    job.say(status("a", FAILED, error="the pass was interrupted"), status("b", FAILED, error="disk full"))
    assert [(row.path, row.state) for row in rows(model)] == [("b", RowState.FAILED), ("a", RowState.PAUSED)]
    job.stand()
    job.say(status("a", ACTIVE))
    assert by_path(model, "a").shown_state is RowState.ACTIVE


def test_a_paused_transfer_is_found_among_those_that_wait() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE))
    job.stand(paused=True)
    job.say(status("a", FAILED, error="the pass was interrupted"))
    for _to_waiting in range(3):
        model.next_state()
    finish(model)
    assert (model.state, paths(model)) == (RowState.WAITING, ["a"])


# Rates


def test_only_what_moves_has_a_rate() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE, size=1000), status("b", size=1000))
    model.measure(0.0)
    job.say(status("a", ACTIVE, size=1000, done=400))
    model.measure(2.0)
    a = by_path(model, "a")
    assert (a.rate, a.eta) == (200.0, 3.0)
    assert by_path(model, "b").rate is None
    job.say(status("a", DONE, size=1000))
    assert (a.rate, a.eta, a.meter) == (None, None, None)


def test_nothing_is_measured_in_a_job_that_is_paused() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE, size=1000))
    model.measure(0.0)
    job.say(status("a", ACTIVE, size=1000, done=400))
    model.measure(2.0)
    job.stand(paused=True)
    model.measure(2.5)
    assert by_path(model, "a").rate is None


def test_a_change_or_a_measure_gives_a_row_another_version() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a", ACTIVE), status("b"))
    a, b = by_path(model, "a"), by_path(model, "b")
    before = (a.version, b.version)
    job.say(status("a", ACTIVE, done=1))
    assert a.version > before[0]
    model.measure(0.0)
    assert a.version > before[0] + 1
    assert b.version == before[1]


# The cursor


def test_the_cursor_is_on_the_first_row_whichever_that_is_until_it_is_moved() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a"), status("b"))
    assert model.cursor is by_path(model, "a")
    job.say(status("b", ACTIVE))
    assert model.cursor is by_path(model, "b")
    assert model.following


def test_the_cursor_stays_on_its_row() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a"), status("b"), status("c"))
    model.point(1)
    b = model.cursor
    job.say(status("c", ACTIVE))
    assert (model.cursor, model.cursor_index) == (b, 2)
    job.say(status("a", DONE))
    assert (model.cursor, model.cursor_index) == (b, 1)
    model.follow()
    assert model.cursor_index == 0


def test_the_cursor_stays_where_it_was_when_its_row_is_gone() -> None:
    model = TransferModel()
    job = Job(model)
    job.say(status("a"), status("b"), status("c"))
    model.point(1)
    assert model.cursor_index == 1
    job.say(status("a"), status("c"), anew=True)
    assert model.cursor is by_path(model, "c")
    job.say(anew=True)
    assert model.cursor is None


def test_the_cursor_is_never_put_outside() -> None:
    model = TransferModel()
    job = Job(model)
    model.point(5)
    assert model.cursor is None
    job.say(status("a"), status("b"))
    model.point(99)
    assert model.cursor_index == 1
    model.point(-5)
    assert model.cursor_index == 0


# All together, with the log itself

PATHS = st.sampled_from("abcdef")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("expect"), st.lists(PATHS, max_size=3)),
        st.tuples(st.sampled_from(["start", "add", "settle", "fail"]), PATHS),
        st.tuples(st.sampled_from(["read", "sort", "state"]), st.just("")),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(EVENTS)
def test_a_reader_ends_up_with_what_the_log_has(events: Iterable[tuple[str, str | list[str]]]) -> None:
    log = TransferLog(20)
    model = TransferModel()
    model.know([JobStanding(1, "/f")])
    job = model.jobs[0]
    for event, what in events:
        key = TransferKey("nas", Direction.IN, str(what))
        if event == "expect":
            log.expect("nas", Direction.IN, [(path, 10) for path in what])
        elif event == "start":
            log.start(key, 10)
        elif event == "add":
            log.add(key, 3)
        elif event in ("settle", "fail"):
            log.settle(key, "broken" if event == "fail" else "")
        elif event == "read":
            model.take(job, log.since(job.version, job.epoch))
            finish(model)
        elif event == "sort":
            model.next_sort()
        else:
            model.next_state()
    while FILTERS.index(model.state):
        model.next_state()
    model.take(job, log.since(job.version, job.epoch))
    finish(model)
    there = {(one.path, one.done, one.state.value, one.error) for one in log.since(0, -1).rows}
    assert {(row.path, row.done, row.state.name.lower(), row.error) for row in rows(model)} == there
    assert sum(model.counts.values()) == len(there)
    assert job.bytes == 10 * len(there)
