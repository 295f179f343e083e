"""The results as text: tables of Markdown, and a page whose sections are written anew one by one."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Figures, medians, ratio
from benchmarks.rounds import Results
from benchmarks.running import Latency

REFERENCE = "rsync over ssh"

PAGE = Path(__file__).with_name("RESULTS.md")
TITLE = "# Results"
INTRODUCTION = (
    "Written by `make bench`, `make bench-wan`, `make bench-scale` and `make bench-clients`, each its own section; "
    "`benchmarks/` says how it is measured."
)

ENOUGH_RUNS = 3
"""A median of fewer says little."""

HEAD = (
    "work",
    "tool",
    "seconds",
    "ratio to {}",
    "MB on the wire",
    "CPU s, folder",
    "CPU s, copy",
    "memory MB, folder",
    "memory MB, copy",
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the text columns on the left are the first two."""
    rule = ["---" if number < 2 else "---:" for number in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def work_table(results: Results, skipped: Mapping[str, str], reference: str = REFERENCE) -> str:
    """Return medians, ratios of the seconds to those of `reference`, and notes where there is no figure."""
    measured = (*results.figures, *results.failures)
    labels = dict.fromkeys(label for label, _tool in measured)
    rows = []
    for label in labels:
        tools = dict.fromkeys(tool for known, tool in measured if known == label)
        compared = results.figures.get((label, reference))
        seconds = medians(compared).seconds if compared else None
        for number, tool in enumerate(tools):
            first = "" if number else label
            runs, failures = results.figures.get((label, tool), []), results.failures.get((label, tool), [])
            cells = _figures(medians(runs), seconds) if runs else _nothing(failures[0])
            rows.append([first, _tool(tool, len(runs), failures), *cells])
    lines = [table([title.format(reference) for title in HEAD], rows)]
    lines += [f"{tool}: skipped, {reason}." for tool, reason in skipped.items()]
    return "\n\n".join(lines)


def _tool(name: str, runs: int, failures: Sequence[str]) -> str:
    """Name it, and say so when some of its runs are missing in the medians."""
    if not (runs and failures):
        return name
    return f"{name} ({len(failures)} of {runs + len(failures)} runs {failures[0]})"


def _figures(figures: Figures, reference: float | None) -> list[str]:
    times = ratio(figures.seconds, reference)
    return [
        f"{figures.seconds:.2f}",
        "-" if times is None else f"{times:.2f}",
        megabytes(figures.wire),
        f"{figures.cpu_there:.2f}",
        f"{figures.cpu_here:.2f}",
        _memory(figures.memory_there),
        _memory(figures.memory_here),
    ]


def _memory(size: float) -> str:
    """Return it in megabytes; what ended before anybody looked has none."""
    return f"{size / 1e6:.0f}" if size else "-"


def _nothing(reason: str) -> list[str]:
    return [reason, *["-"] * (len(HEAD) - 3)]


def megabytes(size: float) -> str:
    """Return bytes as megabytes with three digits that say something, whatever the size."""
    return f"{size / 1e6:.0f}" if size >= 100e6 else f"{size / 1e6:.3g}"


def throughput_table(results: Results, labels: Sequence[str], size: int) -> str:
    """Return megabytes a second of each tool along `labels`, for a piece of work that moves `size` bytes."""
    tools = dict.fromkeys(tool for label, tool in (*results.figures, *results.failures) if label in labels)
    rows = []
    for label in labels:
        runs = [results.figures.get((label, tool)) for tool in tools]
        rows.append([label, *(f"{size / medians(one).seconds / 1e6:.2f}" if one else "-" for one in runs)])
    return table(("MB/s", *tools), rows) if tools else ""


def latency_table(latencies: Sequence[Latency]) -> str:
    """Return medians and 95th percentiles in milliseconds."""
    rows = [[one.what, str(len(one.seconds)), f"{1000 * one.median:.0f}", f"{1000 * one.p95:.0f}"] for one in latencies]
    return table(("LeafSync", "times", "median ms", "95 % ms"), rows)


def machine(versions: Mapping[str, str]) -> str:
    """Describe this machine by what matters for the figures, and by nothing that names it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GB of memory"
    system = f"{platform.system()} {_plain_version(platform.release())}, Python {platform.python_version()}"
    return f"{cores}, {system}; " + ", ".join(f"{name} {version}" for name, version in versions.items())


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpus.read_text(), re.MULTILINE) if cpus.exists() else None
    return found[1].strip() if found else platform.machine()


def _plain_version(release: str) -> str:
    """Leave out what a builder added to the kernel's version."""
    found = re.match(r"[\d.]+", release)
    return found[0] if found else release


def with_section(page: str, heading: str, body: str) -> str:
    """Return `page` with the section `heading` replaced, or added at the end."""
    before, *sections = re.split(r"^## ", page or f"{TITLE}\n\n{INTRODUCTION}\n", flags=re.MULTILINE)
    bodies = dict(section.split("\n", 1) for section in sections)
    bodies[heading] = f"\n{body.strip()}\n"
    return before.strip() + "\n" + "".join(f"\n## {name}\n\n{text.strip()}\n" for name, text in bodies.items())


def write_section(path: Path, heading: str, body: str) -> None:
    """Write a section of the page at `path`."""
    page = path.read_text() if path.exists() else ""
    path.write_text(with_section(page, heading, body))
