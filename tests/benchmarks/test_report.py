"""The tables and the page of results, from figures that a test makes up."""

import platform

import pytest

from benchmarks.measure import Figures
from benchmarks.report import latency_table, machine, megabytes, table, throughput_table, with_section, work_table
from benchmarks.rounds import Results
from benchmarks.running import Latency


def figures(seconds: float, wire: float = 1_234_567.0) -> Figures:
    return Figures(seconds, wire, cpu_there=0.5, cpu_here=0.25, memory_there=60e6, memory_here=50e6)


def results() -> Results:
    return Results(
        figures={
            ("one file", "rsync over ssh"): [figures(2.0), figures(4.0), figures(3.0)],
            ("one file", "LeafSync"): [figures(1.5)],
            ("many files", "rsync over ssh"): [figures(1.0)],
        },
        failures={
            ("one file", "LeafSync"): ["not done in time"],
            ("many files", "LeafSync"): ["not done in time"],
        },
    )


def test_rows_have_medians_ratios_and_notes() -> None:
    rows = work_table(results(), {"Unison": "not installed"}).splitlines()
    assert rows[2:] == [
        "| one file | rsync over ssh | 3.00 | 1.00 | 1.23 | 0.50 | 0.25 | 60 | 50 |",
        "|  | LeafSync (1 of 2 runs not done in time) | 1.50 | 0.50 | 1.23 | 0.50 | 0.25 | 60 | 50 |",
        "| many files | rsync over ssh | 1.00 | 1.00 | 1.23 | 0.50 | 0.25 | 60 | 50 |",
        "|  | LeafSync | not done in time | - | - | - | - | - | - |",
        "",
        "Unison: skipped, not installed.",
    ]


def test_without_the_reference_there_are_no_ratios() -> None:
    rows = work_table(results(), {}, reference="rsync over a pigeon").splitlines()
    assert "| ratio to rsync over a pigeon |" in rows[0]
    assert rows[2].startswith("| one file | rsync over ssh | 3.00 | - | 1.23 |")


def test_every_row_has_every_column() -> None:
    rows = work_table(results(), {}).splitlines()
    assert {row.count("|") for row in rows} == {10}


def test_the_throughput_of_each_tool_follows_from_its_medians() -> None:
    assert throughput_table(results(), ("one file", "many files"), 6_000_000).splitlines() == [
        "| MB/s | rsync over ssh | LeafSync |",
        "| --- | --- | ---: |",
        "| one file | 2.00 | 4.00 |",
        "| many files | 6.00 | - |",
    ]
    assert throughput_table(results(), ("nothing of that name",), 1) == ""


def test_a_table_is_markdown() -> None:
    assert table(("a", "b", "c"), [["1", "2", "3"]]) == "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |"


def test_megabytes_say_as_much_as_they_can() -> None:
    sizes = (0, 4321, 340_000, 5_500_000, 561_234_567)
    assert [megabytes(size) for size in sizes] == ["0", "0.00432", "0.34", "5.5", "561"]


def test_latencies_are_medians_and_the_95th_percentile() -> None:
    latency = Latency("a save", tuple(number / 1000 for number in range(1, 101)))
    assert (latency.median, latency.p95) == (0.0505, 0.095)
    assert latency_table([latency]).splitlines()[-1] == "| a save | 100 | 50 | 95 |"


def test_one_latency_is_its_own_percentile() -> None:
    assert Latency("a pass", (0.5,)).p95 == 0.5


def test_a_section_is_replaced_and_the_others_stay() -> None:
    page = with_section("", "One", "first")
    page = with_section(page, "Two", "second")
    changed = with_section(page, "One", "third\n\n### a part\n")
    assert changed.startswith("# Results\n")
    assert changed.index("## One") < changed.index("## Two")
    assert "first" not in changed
    assert changed.count("second") == changed.count("third") == changed.count("### a part") == 1
    assert with_section(changed, "Two", "second") == changed


def test_the_machine_is_described_and_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-21-of-somebody")
    said = machine({"rsync": "3.2.7", "LeafSync": "0.1.0"})
    assert "cores" in said
    assert "6.1.0" in said
    assert "somebody" not in said
    assert said.endswith("rsync 3.2.7, LeafSync 0.1.0")
