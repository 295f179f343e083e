"""Tools that take turns: every run is counted, and a tool that fails stops neither the others nor later runs."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.measure import Meter
from benchmarks.namespaces import End
from benchmarks.peers import Pair
from benchmarks.rounds import Results, interleaved, present
from benchmarks.work import Step, Work


class FakeLink:
    """A link that nothing goes over."""

    there = here = End("127.0.0.1")
    description = "fake"

    def wire_bytes(self) -> int:
        return 0


class FakePeer:
    """Copies with the standard library, or fails as it is told to."""

    link = FakeLink()
    servers: tuple[Sequence[int], Sequence[int]] = ((), ())
    slack = 0

    def __init__(
        self, name: str, turns: list[str], failing: BaseException | None = None, *, lazy: bool = False
    ) -> None:
        self.name = name
        self.turns, self.failing, self.lazy = turns, failing, lazy
        self.stopped = 0

    def missing(self) -> str:
        return "not installed" if self.lazy else ""

    def version(self) -> str:
        return "1"

    def prepare(self, pair: Pair) -> None:
        self.pair = pair
        self.turns.append(self.name)

    def sync(self, meter: Meter) -> None:
        if self.failing:
            raise self.failing
        if not self.lazy:
            shutil.copytree(self.pair.source, self.pair.copy, dirs_exist_ok=True)

    def stop(self) -> None:
        self.stopped += 1


def write(text: str, folder: Path) -> None:
    (folder / "file").write_text(text)


WORK = Work("small", lambda folder: write("old", folder), (Step("first"), Step("again", lambda it: write("new", it))))


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "REST", 0.0)


def run(place: Path, *peers: FakePeer, runs: int = 2, unseen: bool = False) -> Results:
    results = Results()
    interleaved(results, WORK, peers, place, runs=runs, deadline=10, unseen=unseen)
    return results


@pytest.mark.parametrize("unseen", [False, True])
def test_tools_take_turns(tmp_path: Path, unseen: bool) -> None:
    turns: list[str] = []
    results = run(tmp_path, FakePeer("A", turns), FakePeer("B", turns), unseen=unseen)
    assert turns == ["A", "B", "A", "B"]
    assert {key: len(runs) for key, runs in results.figures.items()} == {
        (label, name): 2 for name in "AB" for label in ("first", "again")
    }
    assert not results.failures
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_fails_is_noted_and_stopped(tmp_path: Path) -> None:
    turns: list[str] = []
    broken, late = FakePeer("A", turns, RuntimeError("/a/path")), FakePeer("B", turns, TimeoutError("late"))
    results = run(tmp_path, broken, late, FakePeer("C", turns), runs=1)
    assert results.failures == {
        (label, name): [reason]
        for name, reason in (("A", "failed"), ("B", "not done in time"))
        for label in ("first", "again")
    }
    assert set(results.figures) == {("first", "C"), ("again", "C")}
    assert broken.stopped == late.stopped == 1


def test_a_copy_that_differs_is_no_result(tmp_path: Path) -> None:
    results = run(tmp_path, FakePeer("A", [], lazy=True), runs=1)
    assert not results.figures
    assert results.failures["first", "A"] == ["made a different copy"]


def test_an_interrupt_ends_the_run_and_puts_everything_away(tmp_path: Path) -> None:
    peer = FakePeer("A", [], KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, peer)
    assert peer.stopped == 1
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    here, absent = FakePeer("A", []), FakePeer("B", [], lazy=True)
    assert present([here, absent], said.append) == ([here], {"B": "not installed"})
    assert said == ["B: skipped, not installed"]


@pytest.mark.parametrize("numerous", [False, True])
def test_only_numerous_files_stay_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numerous: bool
) -> None:
    there: list[int] = []

    class Looking(FakePeer):
        def prepare(self, pair: Pair) -> None:
            super().prepare(pair)
            there.append(len(list(tmp_path.glob("run-*"))))

    monkeypatch.setattr("tests.benchmarks.test_rounds.WORK", replace(WORK, numerous=numerous))
    run(tmp_path, Looking("a", []))
    assert there == ([1, 2] if numerous else [1, 1])
    assert list(tmp_path.iterdir()) == []
