"""What a pass did, or would do, in lines of text: pure, every text from outside escaped here."""

import shlex
from collections.abc import Iterable, Sequence

import msgspec

from leafsync.engine.core.status import PassSummary
from leafsync.progress import format_bytes, format_count, format_duration
from leafsync.text import printable

MAX_LISTED = 20
"""Paths of one kind listed in a summary; `-v` lists all."""


class Hints(msgspec.Struct, frozen=True):
    """What the user would run next, in full; empty where it is not known."""

    allow_deletes: str = ""
    """Lets held deletes happen."""
    stop_first: bool = False
    """Whether the run that held them must be stopped before, because it goes on using the folder."""
    conflicts: str = ""
    """Shows the conflict copies of the folder."""


NO_HINTS = Hints()


def command_line(*arguments: str) -> str:
    """Return a command a user can copy into a shell, made safe to show."""
    command = shlex.join(["leafsync", *arguments])
    return command if command.isprintable() else printable(command)


def operand(path: str) -> str:
    """Return a path as a command has to be given it: one that begins with a dash would be taken for an option."""
    return f"./{path}" if path.startswith("-") else path


def summary_lines(summary: PassSummary, *, verbose: bool = False, hints: Hints = NO_HINTS) -> list[str]:
    """Return what a pass did, and what is left to do."""
    lines = [_headline(summary)]
    if not summary.planned:
        lines.append(_wire(summary))
    lines += _other_changes(summary)
    if summary.planned or verbose:
        lines += _paths(summary.fetched, _verb(summary, "brought here", "be brought here"), verbose)
        lines += _paths(summary.sent, _verb(summary, "sent", "be sent"), verbose)
    lines += _moves(summary.moved, _verb(summary, "renamed here", "be renamed here"), verbose)
    there = "renamed on the other side"
    lines += _moves(summary.remote_moved, _verb(summary, there, f"be {there}"), verbose)
    lines += _paths(summary.trashed, f"{_goes(summary)} to the trash here", verbose)
    lines += _paths(summary.remote_trashed, f"{_goes(summary)} to the trash of the other side", verbose)
    return lines + attention_lines(summary, verbose=verbose, hints=hints)


def attention_lines(summary: PassSummary, *, verbose: bool = False, hints: Hints = NO_HINTS) -> list[str]:
    """Return only what somebody should look at: what keeps the folders from being the same, and what is odd."""
    held = "would go to the trash {}, held back because it is so much at once"
    lines = _paths(summary.held, held.format("here"), verbose)
    lines += _paths(summary.remote_held, held.format("of the other side"), verbose)
    if hints.allow_deletes and (summary.held or summary.remote_held):
        first = "stop this one and " if hints.stop_first else ""
        lines.append(f"  to allow it, {first}run: {hints.allow_deletes}")
    lines += _conflicts(summary, verbose, hints)
    lines += _remarks(summary.notes, "worth a look", verbose)
    lines += _remarks(summary.problems, "could not be synced", verbose)
    if summary.remote_problems:
        entries = format_count(summary.remote_problems, "entry", "entries")
        lines.append(f"  {entries} could not be offered by the other device")
    return lines


def _headline(summary: PassSummary) -> str:
    came, went = len(summary.fetched), len(summary.sent)
    if summary.planned:
        moved = f"{format_count(came, 'file')} would come, {went:,} would go" if came or went else "no file would move"
        return f"dry run, nothing was changed: {moved}"
    state = "partly in sync" if summary.partial else "in sync"
    took = format_duration(summary.seconds)
    if not summary.changed:
        return f"{state}: {'nothing was changed' if summary.partial else 'nothing to do'}, {took}"
    if not (came or went):
        return f"{state}: no content had to be moved, {took}"
    size = format_bytes(summary.totals.bytes_done)
    return f"{state}: {format_count(came, 'file')} came, {went:,} went, {size} in {took}"


def _wire(summary: PassSummary) -> str:
    totals = summary.totals
    wire = f"  on the wire: {format_bytes(totals.wire_in)} in, {format_bytes(totals.wire_out)} out"
    parts = [
        (totals.fetched, "of content came"),
        (totals.sent, "went"),
        (totals.reused, "were here already"),
    ]
    content = ", ".join(f"{format_bytes(count)} {what}" for count, what in parts if count)
    return f"{wire} ({content})" if content else wire


def _other_changes(summary: PassSummary) -> list[str]:
    made = [
        (summary.directories, "directory made here", "directories made here"),
        (summary.links, "symlink made here", "symlinks made here"),
        (summary.touched, "time or mode set here", "times or modes set here"),
        (summary.remote_changes, "other change on the other side", "other changes on the other side"),
    ]
    counted = [format_count(count, one, many) for count, one, many in made if count]
    return ["  " + ("would be: " if summary.planned else "") + ", ".join(counted)] if counted else []


def _conflicts(summary: PassSummary, verbose: bool, hints: Hints) -> list[str]:
    title = "would get a conflict copy" if summary.planned else "changed on both sides, and both versions were kept"
    lines = _listed(
        [f"{printable(path)}: also as {printable(copy)}" for path, copy in summary.conflicts], title, verbose
    )
    if lines and hints.conflicts and not summary.planned:
        lines.append(f"  to see and decide, run: {hints.conflicts}")
    return lines


def _verb(summary: PassSummary, done: str, planned: str) -> str:
    return f"would {planned}" if summary.planned else done


def _goes(summary: PassSummary) -> str:
    return "would go" if summary.planned else "went"


def _paths(paths: Iterable[str], title: str, verbose: bool) -> list[str]:
    return _listed([printable(path) for path in paths], title, verbose)


def _moves(moves: Iterable[tuple[str, str]], title: str, verbose: bool) -> list[str]:
    return _listed([f"{printable(source)} -> {printable(target)}" for source, target in moves], title, verbose)


def _remarks(remarks: Iterable[tuple[str, str]], title: str, verbose: bool) -> list[str]:
    return _listed([f"{printable(path)}: {printable(remark)}" for path, remark in remarks], title, verbose)


def _listed(entries: Sequence[str], title: str, verbose: bool) -> list[str]:
    if not entries:
        return []
    shown = entries if verbose else entries[:MAX_LISTED]
    lines = [f"  {format_count(len(entries), 'entry', 'entries')} {title}:", *(f"    {entry}" for entry in shown)]
    if len(shown) < len(entries):
        lines.append(f"    and {len(entries) - len(shown):,} more (-v lists all)")
    return lines
