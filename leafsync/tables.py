"""What commands show of passes, conflicts and jobs, in lines of text: pure, every text from outside escaped here."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from leafsync.progress import cell_width, format_bytes, format_count, format_eta, format_rate, pad
from leafsync.text import printable

if TYPE_CHECKING:
    from leafsync.engine.core.history import ActionRecord, PassRecord
    from leafsync.engine.sync.records import ConflictCopy

NOBODY = "-"
"""Stands for the other device of a pass in which none took part: somebody here undid, restored or decided."""


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows of escaped cells as lines with aligned columns."""
    rows = list(rows)
    widths = [max(map(cell_width, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def local_time(moment: str) -> str:
    """Return an RFC 3339 moment as the local date and time, or as it is when it is none."""
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return printable(moment)


def passes_lines(passes: Sequence["PassRecord"], *, verbose: bool) -> list[str]:
    """Return a line for each pass; with `verbose` also one for each thing it did."""
    if not passes:
        return []
    rows = [
        (printable(one.id), local_time(one.moment), printable(one.peer) or NOBODY, _counts(one.actions))
        for one in passes
    ]
    lines = table([("PASS", "TIME", "DEVICE", "DID"), *rows])
    if not verbose:
        return lines
    head, *rest = lines
    return [
        head,
        *(part for line, one in zip(rest, passes, strict=True) for part in (line, *map(_action, one.actions))),
    ]


def _counts(actions: Iterable["ActionRecord"]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in Counter(str(action.kind) for action in actions).items())


def _action(action: "ActionRecord") -> str:
    source = f"{printable(action.source)} -> " if action.source else ""
    kept = f"  (kept as {printable(action.kept)})" if action.kept else ""
    return f"    {action.kind:<8} {source}{printable(action.path)}{kept}"


def conflicts_lines(copies: Sequence["ConflictCopy"]) -> list[str]:
    """Return a line for each conflict copy."""
    if not copies:
        return []
    rows = [
        (_modified(copy.mtime_ns), format_bytes(copy.size), printable(copy.copy), printable(copy.path))
        for copy in copies
    ]
    return table([("MODIFIED", "SIZE", "COPY", "OF"), *rows])


def _modified(mtime_ns: int) -> str:
    try:
        return f"{datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return "-"


def job_lines(job: Mapping[str, Any]) -> list[str]:
    """Return where one job of a run stands."""
    return _serve(job) if job["kind"] == "serve" else _connect(job)


def _serve(job: Mapping[str, Any]) -> list[str]:
    what = f"{printable(job['folder'])}{' read-only' if job['read_only'] else ''}"
    devices = format_count(len(job["peers"]), "device")
    lines = [f"process {job['pid']}: serving {what} on UDP port {job['port']}, {devices}"]
    for peer in job["peers"]:
        activity = f"{printable(peer['activity'])}, {format_rate(peer['rate'])}"
        lines.append(f"  {printable(peer['name'])} ({printable(peer['address'])}): {activity}")
    if job["problems"]:
        lines.append(f"  {format_count(job['problems'], 'entry', 'entries')} could not be synced")
    return lines


def _connect(job: Mapping[str, Any]) -> list[str]:
    with_whom = printable(job["address"])
    if job["peer"]:
        with_whom = f"{printable(job['peer'])} ({with_whom})"
    lines = [f"process {job['pid']}: {printable(job['folder'])} with {with_whom}: {_state(job)}"]
    if job["rate"] is not None:
        done = f"{format_bytes(job['bytes_done'])} of {format_bytes(job['bytes'])}"
        lines.append(f"  {done}, {format_rate(job['rate'])}, {format_eta(job['eta'])} left")
    for count, side in ((job["held_count"], "here"), (job["remote_held_count"], "on the other side")):
        if count:
            lines.append(f"  {format_count(count, 'delete')} held back {side}; --allow-deletes lets them happen")
    if job["problems"]:
        lines.append(f"  {format_count(job['problems'], 'entry', 'entries')} could not be synced")
    if job["conflicts"]:
        lines.append(f"  {format_count(len(job['conflicts']), 'conflict')} to resolve, see `leafsync conflicts`:")
        lines += [f"    {printable(one['path'])}: also as {printable(one['copy'])}" for one in job["conflicts"]]
    return lines


def _state(job: Mapping[str, Any]) -> str:
    state, since = printable(job["state"]), job["in_sync_since"]
    if job["reason"]:
        return f"{state}: {printable(job['reason'])}"
    if state == "in sync":
        return f"in sync since {local_time(since)}" if since else "partly in sync"
    return state
