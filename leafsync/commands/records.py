"""The commands about what passes did to a folder: `history`, `restore` and `conflicts`.

They work beside a running `serve` or `connect` of the folder. They take `/` and the home directory without --force:
whoever synced those meant it, and nothing is touched that no pass has touched.
"""

import argparse
from typing import TYPE_CHECKING

from leafsync.errors import ExitCode, UsageError
from leafsync.run import Session
from leafsync.summary import command_line, operand
from leafsync.text import printable

if TYPE_CHECKING:
    from leafsync.engine.sync.records import Records, Undone


def history(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync history`. Like the other commands here it raises FolderMissing and its like, and StoreUnusable."""
    with _open(arguments, session) as records:
        passes = records.passes(arguments.limit)
    session.output.passes(passes)
    if not passes:
        session.diagnostics.say(f"no pass has changed anything in {printable(arguments.folder)} yet")
    return ExitCode.DONE


def restore(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync restore`. Raises PassUnknown, PassAmbiguous, PathUnrestorable, DiskFailed."""
    with _open(arguments, session) as records:
        if arguments.path is None:
            undone = records.undo(arguments.pass_id)
        else:
            undone = records.restore(arguments.pass_id, arguments.path)
    return _told(undone, session, arguments.folder)


def conflicts(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync conflicts`: show the conflict copies, or resolve one. Raises ConflictUnknown, DiskFailed."""
    if (arguments.resolve is None) != (arguments.keep is None):
        raise UsageError(reason="--resolve COPY and --keep this|other|both are given together or not at all")
    with _open(arguments, session) as records:
        if arguments.resolve is not None:
            from leafsync.engine.sync.records import Keep

            return _told(records.resolve(arguments.resolve, Keep(arguments.keep)), session, arguments.folder)
        copies = records.conflicts()
    session.output.conflicts(copies)
    if copies:
        resolve = command_line("conflicts", operand(arguments.folder), "--resolve", operand(copies[0].copy), "--keep")
        session.diagnostics.say(f"to resolve one: {resolve} this|other|both")
    else:
        session.diagnostics.say(f"no conflict copies in {printable(arguments.folder)}")
    return ExitCode.DONE


def _open(arguments: argparse.Namespace, session: Session) -> "Records":
    from leafsync.engine.sync.records import Records

    return Records.open(arguments.folder, session.paths.state, force=True)


def _told(undone: "Undone", session: Session, folder: str) -> int:
    session.output.undone(undone)
    for _path, error in undone.outcomes:
        if error:
            session.diagnostics.warn(error)
    if any(not error for _path, error in undone.outcomes):
        session.diagnostics.say(f"to take this back, run: {command_line('restore', operand(folder), undone.id)}")
    return ExitCode.PARTIAL if undone.partial else ExitCode.DONE
