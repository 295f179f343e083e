"""What a pass did, as people read it."""

import pytest

from leafsync.engine.core.status import PassSummary, Totals
from leafsync.summary import MAX_LISTED, Hints, attention_lines, command_line, summary_lines

MB = 1_000_000
HINTS = Hints(allow_deletes="leafsync connect nas f --once --allow-deletes", conflicts="leafsync conflicts f")

FULL = PassSummary(
    Totals(
        files=5,
        files_done=5,
        bytes=12 * MB,
        bytes_done=10 * MB,
        fetched=6 * MB,
        sent=3 * MB,
        reused=MB,
        wire_in=6_100_000,
        wire_out=3_012_345,
    ),
    seconds=3.21,
    fetched=("a", "b", "c"),
    directories=1,
    links=2,
    touched=3,
    trashed=("old\x1b[2J",),
    moved=(("from", "to\x07"),),
    sent=("d", "e"),
    remote_trashed=("gone",),
    remote_moved=(("x", "y"), ("z", "w")),
    remote_changes=4,
    held=("keep", "keep too"),
    remote_held=("theirs",),
    conflicts=(("both", "both.conflict-20260102-030405-nas"),),
    notes=(("back", "edited here, deleted there: the edit came back"),),
    problems=(("bad\nname", "the name contains control characters"),),
    remote_problems=1,
)


def test_a_full_summary() -> None:
    assert summary_lines(FULL, hints=HINTS) == [
        "partly in sync: 3 files came, 2 went, 10.0 MB in 3.2 s",
        "  on the wire: 6.1 MB in, 3.0 MB out (6.0 MB of content came, 3.0 MB went, 1.0 MB were here already)",
        "  1 directory made here, 2 symlinks made here, 3 times or modes set here, 4 other changes on the other side",
        "  1 entry renamed here:",
        "    from -> to\\x07",
        "  2 entries renamed on the other side:",
        "    x -> y",
        "    z -> w",
        "  1 entry went to the trash here:",
        "    old\\x1b[2J",
        "  1 entry went to the trash of the other side:",
        "    gone",
        "  2 entries would go to the trash here, held back because it is so much at once:",
        "    keep",
        "    keep too",
        "  1 entry would go to the trash of the other side, held back because it is so much at once:",
        "    theirs",
        "  to allow it, run: leafsync connect nas f --once --allow-deletes",
        "  1 entry changed on both sides, and both versions were kept:",
        "    both: also as both.conflict-20260102-030405-nas",
        "  to see and decide, run: leafsync conflicts f",
        "  1 entry worth a look:",
        "    back: edited here, deleted there: the edit came back",
        "  1 entry could not be synced:",
        "    bad\\x0aname: the name contains control characters",
        "  1 entry could not be offered by the other device",
    ]


def test_what_moved_is_listed_when_asked_for() -> None:
    lines = summary_lines(FULL, verbose=True)
    start = lines.index("  3 entries brought here:")
    assert lines[start : start + 7] == [
        "  3 entries brought here:",
        "    a",
        "    b",
        "    c",
        "  2 entries sent:",
        "    d",
        "    e",
    ]


def test_a_plan_says_would_and_has_no_past() -> None:
    plan = PassSummary(
        Totals(),
        0.1,
        fetched=("a",),
        sent=("b", "c"),
        directories=1,
        trashed=("old",),
        remote_trashed=("gone",),
        moved=(("from", "to"),),
        remote_moved=(("x", "y"),),
        held=("keep",),
        conflicts=(("both", "copy"),),
        planned=True,
    )
    assert summary_lines(plan, hints=HINTS) == [
        "dry run, nothing was changed: 1 file would come, 2 would go",
        "  would be: 1 directory made here",
        "  1 entry would be brought here:",
        "    a",
        "  2 entries would be sent:",
        "    b",
        "    c",
        "  1 entry would be renamed here:",
        "    from -> to",
        "  1 entry would be renamed on the other side:",
        "    x -> y",
        "  1 entry would go to the trash here:",
        "    old",
        "  1 entry would go to the trash of the other side:",
        "    gone",
        "  1 entry would go to the trash here, held back because it is so much at once:",
        "    keep",
        "  to allow it, run: leafsync connect nas f --once --allow-deletes",
        "  1 entry would get a conflict copy:",
        "    both: also as copy",
    ]


def test_a_plan_of_nothing() -> None:
    assert summary_lines(PassSummary(Totals(), 0.1, planned=True)) == [
        "dry run, nothing was changed: no file would move"
    ]


def test_a_summary_of_nothing() -> None:
    summary = PassSummary(Totals(wire_in=1200, wire_out=400), 0.02)
    assert summary_lines(summary) == ["in sync: nothing to do, 0.0 s", "  on the wire: 1.2 kB in, 400 B out"]
    assert attention_lines(summary) == []


def test_a_pass_that_only_holds_changes_nothing() -> None:
    assert summary_lines(PassSummary(Totals(), 0.1, held=("a",)))[0] == "partly in sync: nothing was changed, 0.1 s"


def test_a_pass_of_renames_alone_moves_no_file() -> None:
    assert summary_lines(PassSummary(Totals(), 0.1, remote_moved=(("a", "b"),)))[0] == (
        "in sync: no content had to be moved, 0.1 s"
    )


def test_without_hints_no_command_is_shown() -> None:
    assert not [line for line in attention_lines(FULL) if "run: " in line]


@pytest.mark.parametrize("field", ["trashed", "remote_trashed", "held", "remote_held"])
def test_long_lists_are_cut_unless_verbose(field: str) -> None:
    paths = tuple(f"p{at}" for at in range(MAX_LISTED + 5))
    summary = PassSummary(Totals(), 1.0, **{field: paths})  # type: ignore[arg-type]
    assert summary_lines(summary)[-2:] == [f"    p{MAX_LISTED - 1}", "    and 5 more (-v lists all)"]
    assert summary_lines(summary, verbose=True)[-1] == f"    {paths[-1]}"


@pytest.mark.parametrize("field", ["moved", "remote_moved"])
def test_long_lists_of_renames_are_cut_too(field: str) -> None:
    moves = tuple((f"a{at}", f"b{at}") for at in range(MAX_LISTED + 5))
    summary = PassSummary(Totals(), 1.0, **{field: moves})  # type: ignore[arg-type]
    assert summary_lines(summary)[-1] == "    and 5 more (-v lists all)"
    assert summary_lines(summary, verbose=True)[-1] == "    a24 -> b24"


def test_commands_can_be_copied_and_never_escape() -> None:
    assert command_line("conflicts", "my folder") == "leafsync conflicts 'my folder'"
    assert "\x1b" not in command_line("conflicts", "\x1b[2J")
