"""Which entries take no part: gitignore rules out of `.leafsyncignore` files, found by the scan as it descends.

The rules come from this device's folder alone and only ever hide entries here; they never cause a delete. A line is
translated by pathspec and then matched as git does it: each directory on the way by itself, the rules of the deepest
directory first, in a file the last line first. So nothing below an ignored directory can come back.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from leafsync.engine.core.index import Problem
from leafsync.engine.core.names import IGNORE_FILE, join, parent, place_key

DEFAULT_LINES = (".git/", "*.part")
"""Ignored unless a file takes them back: `.git` is torn by syncing half a commit, `.part` files are half downloads."""

MAX_LINES = 512
"""Lines of one file: each costs time for every entry below it."""

MAX_LINE = 1024
"""Bytes of one line."""

MAX_DOUBLE_STARS = 4
"""`**` in one line: the time to match grows fourfold with each (pathspec issue 131)."""

MAX_FILE = 64 * 1024
"""Bytes of one file, so that a wrong one is never read whole."""

_STAR = "[^/]*"
_STARS = re.compile(r"(?:\[\^/\]\*){2,}")
_SETS = re.compile(r"\\.|\[(?!\^/\])\^?\]?[^\]\\]*(?:\\.[^\]\\]*)*\]", re.DOTALL)
_NO_SLASH = "(?!/)"
_LEADING = "^(?:.+/)?"
_INNER = "(?:/.+)?"
_ENDINGS = (("(?:(?P<ps_d>/)|$)", r"\Z"), ("/", r"/."), (".", ""))
"""How a translated line ends -> how it ends here: pathspec matches what is below a directory too, git (and we) look
at each directory by itself."""


class _Rules(NamedTuple):
    """The lines of one directory, as one expression for files and one for directories."""

    files: re.Pattern[str]
    directories: re.Pattern[str]
    excludes: tuple[bool, ...]
    """For each group of the expressions: whether its line ignores (else it takes back)."""


class IgnoreRules(msgspec.Struct):
    """All ignore rules of a folder."""

    _rules: dict[str, _Rules] = msgspec.field(default_factory=dict)
    _problems: dict[str, list[Problem]] = msgspec.field(default_factory=dict)
    private: frozenset[str] = frozenset()
    """Keys (`names.place_key`) of directories that take no part, whatever the rules say: `Folder.private`."""

    def __post_init__(self) -> None:
        self._rules.setdefault("", _DEFAULTS)

    @property
    def problems(self) -> list[Problem]:
        """Lines and files that do not hold, and why."""
        return [problem for problems in self._problems.values() for problem in problems]

    def problems_of(self, directory: str) -> list[Problem]:
        """Return what is wrong with the ignore file of `directory`."""
        return self._problems.get(directory, [])

    def rules_of(self, directory: str) -> object:
        """Return the rules of `directory` alone, only good for telling whether they changed."""
        return self._rules.get(directory)

    def copy(self) -> "IgnoreRules":
        """Return rules that can be changed by themselves."""
        return IgnoreRules(dict(self._rules), dict(self._problems), self.private)

    def forget(self, directory: str) -> None:
        """Let the ignore file of `directory` hold no longer."""
        self._rules.pop(directory, None)
        self._problems.pop(directory, None)
        if not directory:
            self._rules[""] = _DEFAULTS

    def load(self, directory: str, content: bytes) -> None:
        """Let the ignore file of `directory` hold from now on; what is wrong with it goes to `problems`."""
        path = join(directory, IGNORE_FILE)
        problems: list[Problem] = []
        if len(content) > MAX_FILE:
            self.refuse(directory, f"the file is longer than {MAX_FILE // 1024} KiB, so none of its rules holds")
            return
        lines = content.decode("utf-8-sig", "surrogateescape").split("\n")
        if len(lines) > MAX_LINES + (lines[-1] == ""):
            problems.append(Problem(path, f"line {MAX_LINES + 1}: only the first {MAX_LINES} lines hold"))
        parsed = [] if directory else list(_parsed(DEFAULT_LINES))
        for number, line in enumerate(lines[:MAX_LINES], 1):
            try:
                parsed.extend(_parsed([line.removesuffix("\r")]))
            except _BadLine as error:
                problems.append(Problem(path, f"line {number}: {error}"))
        if parsed:
            self._rules[directory] = _compile(parsed)
        if problems:
            self._problems[directory] = problems

    def refuse(self, directory: str, reason: str) -> None:
        """Note that the ignore file of `directory` cannot be used."""
        self._problems[directory] = [Problem(join(directory, IGNORE_FILE), reason)]

    def ignored(self, path: str, is_directory: bool) -> bool:
        """Say whether the entry at `path` is ignored, by itself or with a directory above it."""
        end = path.find("/")
        while end >= 0:
            if self.ignored_here(path[:end], True):
                return True
            end = path.find("/", end + 1)
        return self.ignored_here(path, is_directory)

    def ignored_here(self, path: str, is_directory: bool) -> bool:
        """Say whether the entry at `path` is ignored by itself; the directories above it are known not to be."""
        return self.deciding_in(path.rpartition("/")[0])(path, is_directory) if path else False

    def deciding_in(self, directory: str) -> Callable[[str, bool], bool]:
        """Return `ignored_here` for what is in `directory`, as the rules are now."""
        chain: list[tuple[int, _Rules]] = []
        above = directory
        while above:
            if (rules := self._rules.get(above)) is not None:
                chain.append((len(above) + 1, rules))
            above = above.rpartition("/")[0]
        chain.append((0, self._rules[""]))
        private = self.private and {key for key in self.private if parent(key) == place_key(directory)}

        def ignored(path: str, is_directory: bool) -> bool:
            if private and place_key(path) in private:
                return True
            for start, rules in chain:
                found = (rules.directories if is_directory else rules.files).match(path[start:])
                if found is not None:
                    return rules.excludes[(found.lastindex or 0) - 1]
            return False

        return ignored


class _BadLine(Exception):
    """Why a line does not hold."""


class _Line(NamedTuple):
    expression: str
    excludes: bool
    only_directories: bool


def _parsed(lines: list[str] | tuple[str, ...]) -> Iterator[_Line]:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # few folders have rules of their own

    for line in lines:
        if len(line.encode("utf-8", "surrogateescape")) > MAX_LINE:
            raise _BadLine(f"longer than {MAX_LINE} bytes")
        if line.count("**") > MAX_DOUBLE_STARS:
            raise _BadLine(f"more than {MAX_DOUBLE_STARS} '**'")
        pattern = _without_trailing_spaces(line)
        only_directories = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        if not pattern or pattern == "!" or pattern.endswith("/") or line.startswith("#"):
            continue
        try:
            expression, excludes = GitIgnoreSpecPattern.pattern_to_regex(pattern)
            if expression is not None and excludes is not None:
                expression = _exact(expression)
                if re.compile(expression).groups:
                    # The library strips tabs and the like, which git does not, and sees another pattern then.
                    raise _BadLine("there is white space at its end")
                yield _Line(expression, excludes, only_directories)
        except _BadLine:
            raise
        except Exception as error:  # whatever a library makes of a user's line: it costs that line alone
            raise _BadLine(f"not a pattern ({error})") from error


def _without_trailing_spaces(line: str) -> str:
    """Strip spaces from the end unless the first of them is escaped, as git does."""
    stripped = line.rstrip(" ")
    escapes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if escapes % 2 and stripped != line else stripped


def _exact(expression: str) -> str:
    """Return pathspec's expression for a path alone, with sets that match no slash, and without its backtracking.

    What stands between two stars, or two double stars, is taken at its first place: a later one can only match less.
    """
    for ending, exact in _ENDINGS:
        if expression.endswith(ending):
            expression = expression.removesuffix(ending) + exact
            break
    expression = _SETS.sub(lambda found: found[0] if found[0][0] == "\\" else _NO_SLASH + found[0], expression)
    head, *pieces = _STARS.sub(lambda _run: _STAR, expression).split(_STAR)
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1 or "/" in piece.replace("[^/]", "").replace(_NO_SLASH, "")
        head += f"{_STAR}{piece}" if last else f"(?>{_STAR}?{piece})"
    head, *pieces = head.split(_INNER)
    if pieces and head.startswith(_LEADING):
        head = f"^(?>(?:.+?/)??{head.removeprefix(_LEADING)}(?=/))"
    return head + "".join(
        f"(?:/.+?)??{piece}" if piece is pieces[-1] else f"(?>(?:/.+?)??{piece}(?=/))" for piece in pieces
    )


def _compile(lines: list[_Line]) -> _Rules:
    """Join the lines so that one match finds the last of them that applies."""
    lines = lines[::-1]
    expressions = [f"({line.expression})" for line in lines]
    nothing = "(?!)"
    files = [
        f"({nothing})" if line.only_directories else expression
        for line, expression in zip(lines, expressions, strict=True)
    ]
    return _Rules(
        re.compile("|".join(files) or nothing, re.DOTALL),
        re.compile("|".join(expressions) or nothing, re.DOTALL),
        tuple(line.excludes for line in lines),
    )


_DEFAULTS = _compile(
    [
        _Line(r"^(?:.+/)?\.git\Z", excludes=True, only_directories=True),
        _Line(r"^(?:.+/)?[^/]*\.part\Z", excludes=True, only_directories=False),
    ]
)
"""DEFAULT_LINES as `_parsed` gives them, for folders without any other."""
