"""The command line: from the arguments to the exit code.

Start-up time is a feature: only `serve`, `connect` and the app load asyncio and the transport.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Sequence

from leafsync import __version__
from leafsync.commands.sync import app
from leafsync.diagnostics import BROKEN_PIPE, Diagnostics, can_redraw, logging_to, root_cause, sentence_of
from leafsync.errors import ExitCode
from leafsync.output import Output
from leafsync.parser import HelpAsked, build_parser
from leafsync.paths import find_paths
from leafsync.run import EngineFactory, Session, make_engine


def main(argv: Sequence[str] | None = None, *, make_engine: EngineFactory = make_engine) -> int:
    """Run `leafsync` with these arguments (the process's own by default) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _leave_no_core()
    diagnostics, output = Diagnostics(sys.stderr, os.environ), Output(sys.stdout)
    try:
        paths = find_paths(os.environ)
        code = _command(Session(arguments, paths, output, diagnostics, make_engine, _interactive()))
    except HelpAsked as asked:
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
    session.output.verbose = arguments.verbose > 0
    session.diagnostics.verbose = arguments.verbose
    session.diagnostics.narrating = not (arguments.quiet or arguments.json)
    if arguments.version:
        session.output.line(f"leafsync {__version__}")
        return ExitCode.DONE
    if arguments.run is None:
        if session.interactive:
            return app(arguments, session)
        session.diagnostics.say(parser.format_help().rstrip())
        return ExitCode.USAGE
    with logging_to(session.diagnostics):
        code: int = arguments.run(arguments, session)
    return code


def _leave_no_core() -> None:
    """Have no core dumped by this process, which may hold the private key.

    The soft limit alone: who has to debug a crash can raise it again from outside (prlimit), and debuggers and
    profilers attach as ever, which they could not if the process were not "dumpable".
    """
    with contextlib.suppress(OSError, ValueError):
        _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _interactive() -> bool:
    """Whether somebody sits at a terminal that the app can use."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams) and can_redraw(os.environ)


def _stdout_failed(error: OSError, diagnostics: Diagnostics) -> int:
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    diagnostics.error(f"stdout cannot be written: {sentence_of(error)}")
    return ExitCode.FAILED
