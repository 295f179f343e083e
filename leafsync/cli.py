"""The command line: what `leafsync` understands, and one run from its start to its clean end.

Owns the parser, the commands and the signals. Start-up time is a feature: `--version`, `--help`, `paths` and `trust`
load neither asyncio nor the transport, so both are imported where a run begins.
"""

import argparse
import dataclasses
import os
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

from leafsync import __version__
from leafsync.config import MAX_RATE_MBPS, Config, check_rate, load_config
from leafsync.diagnostics import (
    BROKEN_PIPE,
    Diagnostics,
    Narrator,
    exit_code_of_signal,
    logging_to,
    root_cause,
    sentence_of,
)
from leafsync.engine.core.address import DEFAULT_PORT, parse_address
from leafsync.engine.core.events import Event, PassFinished
from leafsync.engine.core.names import path_problem
from leafsync.engine.core.options import DEFAULT_STREAMS, MAX_STREAMS, ConnectOptions, ServeOptions
from leafsync.engine.core.status import PassState, PassSummary, Snapshot
from leafsync.errors import ExitCode, PathRefused, UsageError
from leafsync.output import Output
from leafsync.paths import Paths, find_paths
from leafsync.progress import Progress
from leafsync.text import printable

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from leafsync.engine.net.trust import TrustStore

LIVE_PERIOD = 0.1
"""Seconds between two pictures of the live area: more often is more than anyone reads."""

LINE_PERIOD = 1.0
"""Seconds between two progress lines where there is no terminal, and between two JSON `progress` lines."""

STOP_DEADLINE = 10.0
"""Seconds a run may take to end cleanly after a signal; what is staged then is resumed by the next run anyway."""


# What the engine looks like from here


class Job(Protocol):
    """One `serve` or `connect`."""

    @property
    def id(self) -> int: ...

    async def wait(self) -> PassSummary | None: ...

    async def stop(self) -> None: ...


class Engine(Protocol):
    """The engine, as much of it as a run needs."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> bool | None: ...

    async def serve(self, options: ServeOptions) -> Job: ...

    async def connect(self, options: ConnectOptions) -> Job: ...

    def snapshot(self) -> Snapshot: ...


EngineFactory = Callable[[Paths, str, Callable[[Event], None]], Engine]
"""Makes the engine from our paths, this device's name and what to call with events."""


def make_engine(paths: Paths, name: str, on_event: Callable[[Event], None]) -> Engine:
    """Make the real engine."""
    from leafsync import engine

    config = engine.EngineConfig(paths.identity, paths.trust, paths.state, device_name=name)
    return engine.Engine(config, on_event=on_event)


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


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """What a command works with."""

    arguments: Sequence[str]
    """As given, to build commands the user can run."""
    paths: Paths
    output: Output
    diagnostics: Diagnostics
    make_engine: EngineFactory


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
    return _run(session, config, lambda engine: engine.serve(options))


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
    return _run(session, config, lambda engine: engine.connect(options))


def _run_options(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    from leafsync.engine.net.identity import parse_fingerprint

    return {
        "file": arguments.file or "",
        "accept_first": arguments.accept_first,
        "fingerprint": None if arguments.fingerprint is None else parse_fingerprint(arguments.fingerprint),
        "rate_mbps": config.rate_mbps if arguments.rate_mbps is None else arguments.rate_mbps,
        "force": arguments.force,
    }


# A run


class Front:
    """Shows a run: its events when they come, its progress at a pace. Never blocks, and knows no loop."""

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        self.output = session.output
        self.diagnostics = session.diagnostics
        self.summary: PassSummary | None = None
        """What the last finished pass did."""
        self._clock = clock
        self._narrator = Narrator(session.diagnostics, allow_command=_allow_command(session.arguments))
        self._progress = Progress()
        self._live = session.diagnostics.live and session.diagnostics.narrating
        self._next = clock()

    @property
    def period(self) -> float:
        """Seconds between two calls of `tick`."""
        return LIVE_PERIOD if self._live else LINE_PERIOD

    @property
    def pending(self) -> bool:
        """Whether `flush` has something to do."""
        return self.output.pending or self.diagnostics.pending

    def flush(self) -> None:
        """Write what was told. Blocks as long as the readers do."""
        self.diagnostics.flush()
        self.output.flush()

    def event(self, event: Event) -> None:
        """Tell an event."""
        if isinstance(event, PassFinished):
            self.finished(event.job, event.summary)
            return
        self._narrator.tell(event, self._clock())
        if self.output.json:
            self.output.event(event)

    def finished(self, job: int, summary: PassSummary) -> None:
        """Tell what a pass did."""
        self.summary = summary
        if self.output.json:
            self.output.summary(job, summary)
        else:
            self._narrator.finished(summary)

    def tick(self, snapshot: Snapshot) -> None:
        """Show where the run stands, if it is time to."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self.period
        self._progress.observe(snapshot, now)
        if self.output.json:
            for job in snapshot.connecting:
                if job.state is PassState.TRANSFERRING:
                    self.output.progress(job, self._progress.rate(job), self._progress.eta(job))
        elif self._live:
            self.diagnostics.draw(self._progress.area(self.diagnostics.screen()))
        else:
            self._narrator.progress(self._progress.lines())


def _allow_command(arguments: Sequence[str]) -> str:
    """The command that was given, with the permission to delete."""
    command = shlex.join(["leafsync", *arguments, "--allow-deletes"])
    return command if command.isprintable() else printable(command)


def _run(session: Session, config: Config, start: Callable[[Engine], Awaitable[Job]]) -> int:
    import asyncio

    front = Front(session, time.monotonic)
    return asyncio.run(_Run(session, front).main(config.name, start))


class _Run:
    """One job in an engine: started, shown, and ended by itself, by a signal or by a stdout that broke."""

    def __init__(self, session: Session, front: Front) -> None:
        self._session = session
        self._front = front
        self._ended = False
        self._wake: asyncio.Event
        self._interrupted: asyncio.Future[int]
        self._showing: asyncio.Task[None]

    async def main(self, name: str, start: Callable[[Engine], Awaitable[Job]]) -> int:
        import asyncio

        self._wake = asyncio.Event()
        self._interrupted = asyncio.get_running_loop().create_future()
        self._catch_signals(asyncio.get_running_loop())
        async with self._session.make_engine(self._session.paths, name, self._event) as engine:
            self._showing = asyncio.create_task(self._show(engine))
            try:
                return await self._work(engine, start)
            finally:
                self._ended = True
                self._wake.set()
                await self._showing

    async def _work(self, engine: Engine, start: Callable[[Engine], Awaitable[Job]]) -> int:
        import asyncio

        starting = asyncio.ensure_future(start(engine))
        if not await self._ends(starting):
            starting.cancel()
            await asyncio.wait([starting])
            return self._signal_code()
        job = starting.result()
        waiting = asyncio.create_task(job.wait())
        if not await self._ends(waiting):
            await job.stop()
            waiting.cancel()
            await asyncio.wait([waiting])
            return self._signal_code()
        summary = waiting.result()
        if summary is not None and summary != self._front.summary:
            self._front.finished(job.id, summary)
        return ExitCode.PARTIAL if summary is not None and summary.partial else ExitCode.DONE

    async def _ends(self, task: "asyncio.Future[Any]") -> bool:
        """Wait until `task` ends (True), or something else ends the run: a signal, or nobody to show it to."""
        import asyncio

        await asyncio.wait({task, self._interrupted, self._showing}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    def _signal_code(self) -> int:
        """The exit code of a run that was ended; without a signal it is stdout's failure, which `main` answers."""
        return exit_code_of_signal(self._interrupted.result()) if self._interrupted.done() else ExitCode.FAILED

    def _event(self, event: Event) -> None:
        self._front.event(event)
        self._wake.set()

    async def _show(self, engine: Engine) -> None:
        """Write what there is to tell, in a thread: a terminal or a pipe that stalls must not stall the connection."""
        import asyncio

        while True:
            ended = self._ended
            self._front.tick(engine.snapshot())
            if self._front.pending:
                await asyncio.to_thread(self._front.flush)
            if ended or self._front.output.failure is not None:
                return
            try:
                async with asyncio.timeout(self._front.period):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def _catch_signals(self, loop: "asyncio.AbstractEventLoop") -> None:
        """End cleanly on the first signal. One that was ignored when we started (nohup) stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, loop, number)

    def _on_signal(self, loop: "asyncio.AbstractEventLoop", number: signal.Signals) -> None:
        if self._interrupted.done():
            return
        self._interrupted.set_result(number)
        self._front.diagnostics.say("stopping; once more to stop at once" if number == signal.SIGINT else "stopping")
        self._wake.set()
        code = exit_code_of_signal(number)
        # From here on a signal must work even if the loop does not turn any more.
        for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(caught) is not signal.SIG_IGN:
                loop.remove_signal_handler(caught)
                signal.signal(caught, lambda _number, _frame: os._exit(code))
        loop.call_later(STOP_DEADLINE, os._exit, code)
