"""`leafsync completion`: what a shell reads to complete our command lines."""

import argparse
from collections.abc import Iterator

from leafsync.errors import ExitCode
from leafsync.run import Session

SHELLS = ("bash", "zsh", "fish", "tcsh")
"""Shells that can be asked for."""

FOLDER = "FOLDER"
"""What the help calls an argument that is a directory."""


def completion(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync completion`."""
    import shtab

    parser: argparse.ArgumentParser = arguments.parser
    for argument in _arguments_of(parser):
        if argument.metavar == FOLDER:
            argument.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # this is how shtab is told
    session.output.line(shtab.complete(parser, arguments.shell).rstrip())
    return ExitCode.DONE


def _arguments_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for argument in parser._actions:
        yield argument
        if isinstance(argument, argparse._SubParsersAction):
            for child in argument.choices.values():
                yield from _arguments_of(child)
