"""The command line: the parser, and the commands.

Start-up time is a feature: `--version`, `--help`, `paths` and `trust` load neither asyncio nor the transport, so what
only some commands need is imported where they begin.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from leafsync import __version__
from leafsync.config import MAX_RATE_MBPS, Config, check_rate, load_config
from leafsync.diagnostics import (
    BROKEN_PIPE,
    Diagnostics,
    logging_to,
    root_cause,
    sentence_of,
)
from leafsync.engine.core.address import DEFAULT_PORT, parse_address
from leafsync.engine.core.names import path_problem
from leafsync.engine.core.options import DEFAULT_STREAMS, MAX_STREAMS, ConnectOptions, ServeOptions
from leafsync.errors import ExitCode, PathRefused, UsageError
from leafsync.output import Output
from leafsync.paths import find_paths
from leafsync.run import EngineFactory, Session, make_engine, run_job
from leafsync.text import printable

if TYPE_CHECKING:
    from leafsync.engine.net.trust import TrustStore

# The parser


class _HelpAsked(Exception):
    """--help was given."""


class _Parser(argparse.ArgumentParser):
    """Leaves writing and exiting to `main`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(reason=f"{message} (see `{self.prog} --help`)")

    def print_help(self, file: object = None) -> NoReturn:
        raise _HelpAsked(self.format_help().rstrip())


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
        return int(text)

    return read


def _rate(text: str) -> float:
    try:
        megabits = float(text)
    except ValueError:
        megabits = 0.0
    if not check_rate(megabits):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of megabits per second above 0 and up to {MAX_RATE_MBPS:.0f}"
        )
    return megabits


def _text(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("it must not be empty")
    return text


def _path_in_folder(text: str) -> str:
    path = text.removeprefix("./").rstrip("/")
    problem = path_problem(path) if path else "it names no path inside the folder"
    if problem:
        raise PathRefused(path=text, reason=problem)
    return path


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="leafsync",
        allow_abbrev=False,
        description="Keep a folder the same on two devices, over one encrypted QUIC connection.",
        epilog="One device runs `leafsync serve FOLDER`, the other `leafsync connect HOST:PORT FOLDER`.",
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    parser.set_defaults(run=None, json=False, quiet=False, verbose=0)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    talk = _Parser(add_help=False)
    loudness = talk.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors on stderr")
    loudness.add_argument(
        "-v", "--verbose", action="count", default=0, help="the log on stderr; -vv with details; tracebacks of faults"
    )
    data = _Parser(add_help=False)
    data.add_argument("--json", action="store_true", help="JSON Lines on stdout, no narration on stderr")
    _add_serve(commands, [talk, data])
    _add_connect(commands, [talk, data])
    _add_trust(commands, talk, data)
    _add_command(commands, "id", _id, "show this device's name and fingerprint (made at first use)", [talk, data])
    _add_command(commands, "paths", _paths, "show where LeafSync keeps its own files", [talk, data])
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[_Parser]",
    name: str,
    run: "Callable[[argparse.Namespace, Session], int]",
    text: str,
    parents: list[_Parser],
) -> _Parser:
    parser = commands.add_parser(name, help=text, description=text, parents=parents, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_run_options(parser: _Parser, *, file: str, accept: str, fingerprint: str) -> None:
    parser.add_argument("--file", metavar="REL", type=_path_in_folder, help=file)
    parser.add_argument("--accept-first", action="store_true", help=accept)
    parser.add_argument("--fingerprint", metavar="HEX", help=fingerprint)
    parser.add_argument(
        "--rate-mbps",
        metavar="F",
        type=_rate,
        help="at most F megabits per second in each direction (default: no limit)",
    )
    parser.add_argument("--force", action="store_true", help="allow / and the home directory as FOLDER")
    parser.add_argument(
        "--no-tui", action="store_true", help="stay headless; this version always is, so it only keeps a script so"
    )


def _add_serve(commands: "argparse._SubParsersAction[_Parser]", parents: list[_Parser]) -> None:
    parser = _add_command(commands, "serve", _serve, "offer FOLDER to trusted devices until stopped", parents)
    parser.add_argument("folder", metavar="FOLDER", type=_text, help="the folder to offer; it is only read")
    parser.add_argument("--host", metavar="H", type=_text, help="listen on this address alone (default: all)")
    parser.add_argument(
        "--port", metavar="N", type=_whole(0, 65535), help=f"UDP port, 0 for any free one (default: {DEFAULT_PORT})"
    )
    _add_run_options(
        parser,
        file="offer this path of FOLDER alone",
        accept="trust the first unknown device that connects, then refuse the next ones",
        fingerprint="let the device with this fingerprint in, and remember it",
    )


def _add_connect(commands: "argparse._SubParsersAction[_Parser]", parents: list[_Parser]) -> None:
    text = "make FOLDER like the folder served at ADDR, and keep it so"
    parser = _add_command(commands, "connect", _connect, text, parents)
    parser.add_argument("address", metavar="ADDR", type=parse_address, help="host, host:port or [IPv6]:port")
    parser.add_argument("folder", metavar="FOLDER", type=_text, help="the folder to bring files to")
    parser.add_argument("--once", action="store_true", help="do one pass and exit")
    parser.add_argument(
        "--pull",
        action="store_true",
        help="bring changes here and send none; this version can do nothing else, so it is also the default",
    )
    parser.add_argument("--mirror", action="store_true", help="also move what only FOLDER has to its trash")
    parser.add_argument("--allow-deletes", action="store_true", help="do not hold back a large number of deletes")
    parser.add_argument(
        "--streams", metavar="N", type=_whole(1, MAX_STREAMS), help=f"data streams at once (default: {DEFAULT_STREAMS})"
    )
    _add_run_options(
        parser,
        file="bring this path alone",
        accept="trust the device at ADDR if none is known there yet",
        fingerprint="the device at ADDR must show this fingerprint; it is then remembered",
    )


def _add_trust(commands: "argparse._SubParsersAction[_Parser]", talk: _Parser, data: _Parser) -> None:
    text = "show and change which devices are trusted"
    parser = commands.add_parser("trust", help=text, description=text, allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    _add_command(actions, "list", _trust_list, "show the trusted devices", [talk, data])
    add = _add_command(actions, "add", _trust_add, "trust a device, or change what is known of it", [talk])
    add.add_argument("fingerprint", metavar="FINGERPRINT", help="what `leafsync id` shows on that device")
    add.add_argument("--name", metavar="N", help="what to call it here (default: device- and 8 digits)")
    add.add_argument("--address", metavar="A", type=parse_address, help="where it is: host, host:port or [IPv6]:port")
    add.add_argument(
        "--permission",
        choices=["read", "read-write"],
        default="read-write",
        help="what it may do (default: read-write)",
    )
    remove = _add_command(actions, "remove", _trust_remove, "stop trusting a device", [talk])
    remove.add_argument("device", metavar="NAME|FINGERPRINT", help="its name, or 8 or more digits of its fingerprint")
    replace = _add_command(actions, "replace", _trust_replace, "give a trusted device its new key", [talk])
    replace.add_argument("device", metavar="NAME", help="its name, or 8 or more digits of its old fingerprint")
    replace.add_argument("fingerprint", metavar="NEWFP", help="what `leafsync id` shows there now")


# Commands


def main(argv: Sequence[str] | None = None, *, make_engine: EngineFactory = make_engine) -> int:
    """Run `leafsync` with these arguments (the process's own by default) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    diagnostics, output = Diagnostics(sys.stderr, os.environ), Output(sys.stdout)
    session = Session(arguments, find_paths(os.environ), output, diagnostics, make_engine)
    try:
        code = _command(session)
    except _HelpAsked as asked:
        output.line(str(asked))
        code = ExitCode.DONE
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:
        code = diagnostics.report(error)
        if output.json:
            cause = root_cause(error)
            output.error(type(cause).__name__, sentence_of(cause), code)
    diagnostics.draw([])
    output.flush()
    if output.failure is not None:
        code = _stdout_failed(output.failure, diagnostics)
    diagnostics.flush()
    return int(code)


def _command(session: Session) -> int:
    parser = build_parser()
    arguments = parser.parse_args(session.arguments)
    session.output.json = arguments.json
    session.diagnostics.verbose = arguments.verbose
    session.diagnostics.narrating = not (arguments.quiet or arguments.json)
    if arguments.version:
        session.output.line(f"leafsync {__version__}")
        return ExitCode.DONE
    if arguments.run is None:
        session.diagnostics.say(parser.format_help().rstrip())
        return ExitCode.USAGE
    with logging_to(session.diagnostics):
        code: int = arguments.run(arguments, session)
    return code


def _stdout_failed(error: OSError, diagnostics: Diagnostics) -> int:
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    diagnostics.error(f"stdout cannot be written: {sentence_of(error)}")
    return ExitCode.FAILED


def _paths(_arguments: argparse.Namespace, session: Session) -> int:
    session.output.paths(session.paths)
    return ExitCode.DONE


def _id(_arguments: argparse.Namespace, session: Session) -> int:
    from leafsync.engine.net.identity import format_groups, load_or_create_identity

    config = load_config(session.paths.config)
    identity = load_or_create_identity(session.paths.identity)
    session.output.identity(config.name, identity.fingerprint, format_groups(identity.fingerprint))
    return ExitCode.DONE


def _trust_store(session: Session) -> "TrustStore":
    from leafsync.engine.net.trust import TrustStore

    store = TrustStore(session.paths.trust)
    store.load()
    return store


def _trust_list(_arguments: argparse.Namespace, session: Session) -> int:
    devices = _trust_store(session).devices
    session.output.devices(devices)
    if not devices:
        session.diagnostics.say("no device is trusted yet; run `leafsync id` on the other one, and here:")
        session.diagnostics.say("  leafsync trust add FINGERPRINT --name NAME")
    return ExitCode.DONE


def _trust_add(arguments: argparse.Namespace, session: Session) -> int:
    from leafsync.engine.net.trust import Permission

    device = _trust_store(session).add(
        arguments.fingerprint,
        name=arguments.name,
        address=arguments.address and str(arguments.address),
        permission=Permission(arguments.permission),
        confirmed="command line",
    )
    session.diagnostics.say(f"trusted: {printable(device.name)} ({device.permission}), {device.fingerprint}")
    return ExitCode.DONE


def _trust_remove(arguments: argparse.Namespace, session: Session) -> int:
    device = _trust_store(session).remove(arguments.device)
    session.diagnostics.say(f"not trusted any more: {printable(device.name)}, {device.fingerprint}")
    return ExitCode.DONE


def _trust_replace(arguments: argparse.Namespace, session: Session) -> int:
    device = _trust_store(session).replace(arguments.device, arguments.fingerprint)
    session.diagnostics.say(f"trusted: {printable(device.name)} with its new key, {device.fingerprint}")
    return ExitCode.DONE


def _serve(arguments: argparse.Namespace, session: Session) -> int:
    config = load_config(session.paths.config)
    options = ServeOptions(
        folder=arguments.folder,
        host=arguments.host,
        port=config.port if arguments.port is None else arguments.port,
        **_run_options(arguments, config),
    )
    return run_job(session, config, lambda engine: engine.serve(options))


def _connect(arguments: argparse.Namespace, session: Session) -> int:
    config = load_config(session.paths.config)
    options = ConnectOptions(
        address=arguments.address,
        folder=arguments.folder,
        once=arguments.once,
        mirror=arguments.mirror,
        allow_deletes=arguments.allow_deletes,
        streams=config.streams if arguments.streams is None else arguments.streams,
        **_run_options(arguments, config),
    )
    return run_job(session, config, lambda engine: engine.connect(options))


def _run_options(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    from leafsync.engine.net.identity import parse_fingerprint

    return {
        "file": arguments.file or "",
        "accept_first": arguments.accept_first,
        "fingerprint": None if arguments.fingerprint is None else parse_fingerprint(arguments.fingerprint),
        "rate_mbps": config.rate_mbps if arguments.rate_mbps is None else arguments.rate_mbps,
        "force": arguments.force,
    }
