"""The parser of the command line: what can be asked for, and what the help says of it."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from leafsync import values
from leafsync.commands import devices, records, status, sync
from leafsync.commands.completion import FOLDER, SHELLS, completion
from leafsync.config import MAX_RATE_MBPS
from leafsync.engine.core.address import DEFAULT_PORT, MAX_PORT, Address, parse_address
from leafsync.engine.core.names import path_problem
from leafsync.engine.core.options import DEFAULT_STREAMS, MAX_STREAMS
from leafsync.engine.core.reconcile import MAX_DELETE_SHARE, MAX_DELETES, Mode
from leafsync.errors import PathRefused, UsageError
from leafsync.run import Session

MASS = f"more than {MAX_DELETES} entries and {MAX_DELETE_SHARE:.0%} of the folder, or all of it".replace("%", " %%")
"""What counts as a mass delete, for argparse, to which a percent sign is special."""


MAX_LIMIT = 1_000_000
"""Passes listed at most: more than any folder has."""


class HelpAsked(Exception):
    """--help was given; the text is the argument."""


class Parser(argparse.ArgumentParser):
    """Leaves writing and exiting to whoever calls it: raises UsageError and HelpAsked."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UsageError(reason=f"{message} (see `{self.prog} --help`)")

    def print_help(self, file: object = None) -> NoReturn:
        """Answer --help."""
        raise HelpAsked(self.format_help().rstrip())


PERMISSIONS = ("read", "read-write")
"""What a device may do, as `Permission` has it: loading that costs the cryptography package."""

DEVICE = "its name, or 8 or more digits of its fingerprint"
"""What names a trusted device."""


# Values


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = values.whole(text, low, high)
        if number is None:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
        return number

    return read


def _rate(text: str) -> float:
    megabits = values.rate(text)
    if megabits is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of megabits per second above 0 and up to {MAX_RATE_MBPS:.0f}"
        )
    return megabits


def _text(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("it must not be empty")
    return text


def _address(text: str) -> Address:
    return parse_address(_text(text))


def _path_in_folder(text: str) -> str:
    path = values.inner_path(_text(text))
    problem = path_problem(path) if path else "it names no path inside the folder"
    if problem:
        raise PathRefused(path=text, reason=problem)
    return path


# Commands


def build_parser() -> Parser:
    """Return the parser of the whole command line. `run` of what it parses is the command, None when none was given."""
    parser = Parser(
        prog="leafsync",
        allow_abbrev=False,
        description="Keep a folder the same on two devices, over one encrypted QUIC connection.",
        epilog="One device runs `leafsync serve FOLDER`, the other `leafsync connect HOST:PORT FOLDER`.",
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    parser.set_defaults(run=None, json=False, quiet=False, verbose=0)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    talk = Parser(add_help=False)
    loudness = talk.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors on stderr")
    loudness.add_argument(
        "-v", "--verbose", action="count", default=0, help="the log on stderr; -vv with details; long lists in full"
    )
    data = Parser(add_help=False)
    data.add_argument("--json", action="store_true", help="JSON Lines on stdout, no narration on stderr")
    _add_serve(commands, [talk, data])
    _add_connect(commands, [talk, data])
    _add_records(commands, [talk, data])
    _add_command(commands, "status", status.status, "show where the running serve and connect stand", [talk, data])
    _add_trust(commands, talk, data)
    identity = "show this device's name and fingerprint (made at first use)"
    _add_command(commands, "id", devices.show_identity, identity, [talk, data])
    _add_command(commands, "paths", devices.show_paths, "show where LeafSync keeps its own files", [talk, data])
    _add_completion(commands, talk, parser)
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    run: Callable[[argparse.Namespace, Session], int],
    text: str,
    parents: list[Parser],
) -> Parser:
    parser = commands.add_parser(name, help=text, description=text, parents=parents, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_run_options(parser: Parser, *, file: str, accept: str, fingerprint: str) -> None:
    parser.add_argument("--file", metavar="REL", type=_path_in_folder, help=file)
    parser.add_argument("--accept-first", action="store_true", help=accept)
    parser.add_argument("--fingerprint", metavar="HEX", help=fingerprint)
    parser.add_argument(
        "--rate-mbps",
        metavar="F",
        type=_rate,
        help="at most F megabits per second in each direction (default: no limit)",
    )
    parser.add_argument(
        "--reset",
        action="store_true",
        help="take FOLDER for a new one although another was here before; nothing is deleted, the next pass compares "
        "everything anew",
    )
    parser.add_argument("--force", action="store_true", help="allow / and the home directory as FOLDER")
    parser.add_argument(
        "--no-tui",
        action="store_true",
        help="stay headless; without it serve and connect open the app on a terminal, unless --once, --dry-run, "
        "--json, -q or -v is given",
    )


def _add_serve(commands: "argparse._SubParsersAction[Parser]", parents: list[Parser]) -> None:
    text = "offer FOLDER to trusted devices until stopped, and take their changes"
    parser = _add_command(commands, "serve", sync.serve, text, parents)
    parser.add_argument("folder", metavar=FOLDER, type=_text, help="the folder to offer")
    parser.add_argument("--host", metavar="H", type=_text, help="listen on this address alone (default: all)")
    parser.add_argument(
        "--port", metavar="N", type=_whole(0, MAX_PORT), help=f"UDP port, 0 for any free one (default: {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="take no changes from anyone; what they would change is listed there"
    )
    _add_run_options(
        parser,
        file="offer this path of FOLDER alone",
        accept="trust the first unknown device that connects, then refuse the next ones",
        fingerprint="let the device with this fingerprint in, and remember it",
    )


def _add_connect(commands: "argparse._SubParsersAction[Parser]", parents: list[Parser]) -> None:
    text = "keep FOLDER and the folder served at ADDR the same, in both directions"
    parser = _add_command(commands, "connect", sync.connect, text, parents)
    parser.add_argument("address", metavar="ADDR", type=_address, help="host, host:port or [IPv6]:port")
    parser.add_argument("folder", metavar=FOLDER, type=_text, help="the folder here")
    parser.add_argument("--once", action="store_true", help="do one pass and exit")
    _add_modes(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="show what one pass would do on either side, change nothing, and exit"
    )
    parser.add_argument(
        "--allow-deletes",
        action="store_true",
        help=f"let a pass delete {MASS}; without this it holds such deletes back, lists them and exits with 3",
    )
    parser.add_argument(
        "--streams", metavar="N", type=_whole(1, MAX_STREAMS), help=f"data streams at once (default: {DEFAULT_STREAMS})"
    )
    _add_run_options(
        parser,
        file="keep this path alone the same",
        accept="trust the device at ADDR if none is known there yet",
        fingerprint="the device at ADDR must show this fingerprint; it is then remembered",
    )


def _add_modes(parser: Parser) -> None:
    parser.set_defaults(mode=Mode.BOTH)
    modes = parser.add_mutually_exclusive_group()
    for mode, text in (
        (Mode.PULL, "bring changes and deletes here and send none; what was made or changed here alone stays"),
        (Mode.PUSH, "send changes and deletes there and bring none; what was made or changed there alone stays"),
        (
            Mode.MIRROR,
            "make FOLDER exactly like the other one: what differs here is replaced and what only FOLDER has "
            "goes, all of it to the trash here",
        ),
    ):
        modes.add_argument(f"--{mode.value}", dest="mode", action="store_const", const=mode, help=text)


def _add_records(commands: "argparse._SubParsersAction[Parser]", parents: list[Parser]) -> None:
    text = "show what passes did to FOLDER, newest first; -v with every path"
    history = _add_command(commands, "history", records.history, text, parents)
    text = "take back what a pass did to FOLDER; what is newer is left alone, and this can be taken back too"
    restore = _add_command(commands, "restore", records.restore, text, parents)
    text = "show the conflict copies in FOLDER, or resolve one"
    conflicts = _add_command(commands, "conflicts", records.conflicts, text, parents)
    for parser in (history, restore, conflicts):
        parser.add_argument("folder", metavar=FOLDER, type=_text, help="a folder that is or was synced")
    history.add_argument(
        "--limit", metavar="N", type=_whole(1, MAX_LIMIT), default=50, help="at most N passes (default: 50)"
    )
    what = "its id in `leafsync history`, or enough of it, or `last`"
    restore.add_argument("pass_id", metavar="PASS", type=_text, help=what)
    restore.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        type=_path_in_folder,
        help="bring back what the pass did away with at this path or below it, nothing else (default: all)",
    )
    conflicts.add_argument("--resolve", metavar="COPY", type=_path_in_folder, help="decide what becomes of this copy")
    conflicts.add_argument(
        "--keep",
        choices=["this", "other", "both"],
        help="this: the version that has the name stays, COPY goes to the trash; other: COPY takes the name, and that "
        "version goes to the trash; both: COPY gets an ordinary name",
    )


def _add_trust(commands: "argparse._SubParsersAction[Parser]", talk: Parser, data: Parser) -> None:
    text = "show and change which devices are trusted"
    parser = commands.add_parser("trust", help=text, description=text, allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    _add_command(actions, "list", devices.list_devices, "show the trusted devices", [talk, data])
    add = _add_command(actions, "add", devices.add_device, "trust a device, or change what is known of it", [talk])
    add.add_argument("fingerprint", metavar="FINGERPRINT", type=_text, help="what `leafsync id` shows on that device")
    add.add_argument("--name", metavar="N", type=_text, help="what to call it here (default: device- and 8 digits)")
    add.add_argument("--address", metavar="A", type=_address, help="where it is: host, host:port or [IPv6]:port")
    add.add_argument(
        "--permission",
        choices=PERMISSIONS,
        help="what it may do with the folders served here (default: read-write, or what it may already)",
    )
    rename = _add_command(actions, "rename", devices.rename_device, "give a trusted device another name", [talk])
    rename.add_argument("device", metavar="NAME", type=_text, help=DEVICE)
    rename.add_argument("name", metavar="NEWNAME", type=_text, help="what to call it from now on")
    text = "say what a trusted device may do with the folders served here"
    permit = _add_command(actions, "permit", devices.permit_device, text, [talk])
    permit.add_argument("device", metavar="NAME", type=_text, help=DEVICE)
    permit.add_argument(
        "permission",
        metavar="|".join(PERMISSIONS),
        choices=PERMISSIONS,
        help="bring them there only, or change them too",
    )
    remove = _add_command(actions, "remove", devices.remove_device, "stop trusting a device", [talk])
    remove.add_argument("device", metavar="NAME", type=_text, help=DEVICE)
    replace = _add_command(actions, "replace", devices.replace_device, "give a trusted device its new key", [talk])
    replace.add_argument(
        "device", metavar="NAME", type=_text, help="its name, or 8 or more digits of its old fingerprint"
    )
    replace.add_argument("fingerprint", metavar="NEWFP", type=_text, help="what `leafsync id` shows there now")


def _add_completion(commands: "argparse._SubParsersAction[Parser]", talk: Parser, whole: Parser) -> None:
    text = "print what a shell reads to complete the command lines of leafsync"
    parser = _add_command(commands, "completion", completion, text, [talk])
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(parser=whole)
