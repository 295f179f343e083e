"""Medians and ratios, and that a meter counts what a client and its children use and ends one that takes too long."""

import sys
import time

import pytest

from benchmarks.measure import Figures, Meter, medians, ratio
from benchmarks.namespaces import End
from benchmarks.processes import tree


class FakeLink:
    """A link of this process alone: as many bytes as the test says."""

    there = here = End("127.0.0.1")
    description = "fake"
    carried = 0

    def wire_bytes(self) -> int:
        return self.carried


def figures(seconds: float, wire: float = 0.0) -> Figures:
    return Figures(seconds, wire, cpu_there=2 * seconds, cpu_here=0.0, memory_there=0.0, memory_here=0.0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_each_figure_has_a_median_of_its_own() -> None:
    found = medians([figures(1, 30), figures(9, 10), figures(2, 20)])
    assert (found.seconds, found.wire, found.cpu_there) == (2, 20, 4)


def test_of_two_runs_it_is_the_middle() -> None:
    assert medians([figures(1), figures(2)]).seconds == 1.5


@pytest.mark.parametrize(
    ("figure", "reference", "expected"), [(3.0, 2.0, 1.5), (0.0, 2.0, 0.0), (3.0, None, None), (3.0, 0.0, None)]
)
def test_a_ratio_needs_something_to_compare_with(
    figure: float, reference: float | None, expected: float | None
) -> None:
    assert ratio(figure, reference) == expected


def test_a_client_counts_with_its_children() -> None:
    link = FakeLink()
    spin = "import time\nwhile time.process_time() < 0.2: pass"
    with Meter(link, [], [], deadline=30) as meter:
        said = meter.run(
            python(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {spin!r}])\nprint('done')")
        )
        link.carried = 1000
    found = meter.figures()
    assert said == "done\n"
    assert found.wire == 1000
    assert found.cpu_here >= 0.2
    assert found.cpu_there == 0
    assert found.memory_here > 1e6
    assert found.seconds >= 0.2


def test_a_client_that_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError), Meter(FakeLink(), [], [], deadline=0.3) as meter:
        meter.run(python("import time; time.sleep(60)"))
    assert time.monotonic() - started < 30


def test_a_client_that_fails_is_an_error_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="no such folder"), Meter(FakeLink(), [], [], deadline=30) as meter:
        meter.run(python("raise SystemExit('no such folder')"))


def test_a_process_that_has_ended_is_no_tree() -> None:
    assert tree([2**22 + 1]) == set()
