"""`leafsync completion`: what a shell reads to complete our command lines."""

import argparse
from collections.abc import Iterator

from leafsync.errors import ExitCode
from leafsync.run import Session

SHELLS = ("bash", "zsh", "fish", "tcsh")
"""Shells that can be asked for."""

FOLDER = "FOLDER"
"""What the help calls an argument that is a directory."""

JOINING = r"""
# bash parts words at colons, and addresses have some: they are put together again first
_leafsync() {
  local word last="${COMP_WORDS[COMP_CWORD]}" count=0
  local -a parts
  parts=()
  for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do
    if (( count )) && [[ "$word" == :* || "${parts[count-1]}" == *: ]]; then
      parts[count-1]+="$word"
    else
      parts[count++]="$word"
    fi
  done
  local -a COMP_WORDS
  COMP_WORDS=("${parts[@]}" "$last")
  local COMP_CWORD=$count
  _shtab_leafsync
}

complete -o bashdefault -F _leafsync leafsync"""
"""What shtab's script for bash lacks."""


def completion(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync completion`."""
    import shtab

    parser: argparse.ArgumentParser = arguments.parser
    for argument in _arguments_of(parser):
        if argument.metavar == FOLDER:
            argument.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # this is how shtab is told
    script = shtab.complete(parser, arguments.shell).rstrip()
    session.output.line(script + "\n" + JOINING if arguments.shell == "bash" else script)
    return ExitCode.DONE


def _arguments_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for argument in parser._actions:
        yield argument
        if isinstance(argument, argparse._SubParsersAction):
            for child in argument.choices.values():
                yield from _arguments_of(child)
