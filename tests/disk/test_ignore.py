"""Ignore rules: the same answers as git, limits on what a file may cost, and a line that is wrong costs itself only."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from leafsync.engine.disk import ignore
from leafsync.engine.disk.ignore import MAX_DOUBLE_STARS, MAX_FILE, MAX_LINE, MAX_LINES, IgnoreRules


def rules(*files: tuple[str, str]) -> IgnoreRules:
    """Return the rules of ignore files, given as (directory, content)."""
    loaded = IgnoreRules()
    for directory, content in files:
        loaded.load(directory, content.encode("utf-8", "surrogateescape"))
    return loaded


class TestDefaults:
    def test_are_what_the_lines_say(self) -> None:
        assert ignore._compile(list(ignore._parsed(ignore.DEFAULT_LINES))) == ignore._DEFAULTS

    @pytest.mark.parametrize(
        ("path", "is_directory", "ignored"),
        [
            (".git", True, True),
            ("a/b/.git", True, True),
            ("a/.git/config", False, True),
            (".git", False, False),
            ("film.part", False, True),
            ("a/film.part", False, True),
            ("film.part/inner", False, True),
            (".gitignore", False, False),
            ("part", False, False),
            ("a.partial", False, False),
            (".leafsyncignore", False, False),
        ],
    )
    def test_hold(self, path: str, is_directory: bool, ignored: bool) -> None:
        assert rules().ignored(path, is_directory) is ignored
        assert rules(("", "*.o\n")).ignored(path, is_directory) is ignored
        assert rules(("a", "*.o\n")).ignored(path, is_directory) is ignored

    def test_can_be_taken_back(self) -> None:
        loaded = rules(("", "!*.part\n"), ("a", "!.git/\n"))
        assert not loaded.ignored("film.part", False)
        assert not loaded.ignored("a/film.part", False)
        assert not loaded.ignored("a/.git", True)
        assert loaded.ignored(".git", True)


CASES = [
    # lines, ignored, not ignored; a trailing slash marks a directory
    ("foo", ["foo", "a/foo", "foo/", "foo/x", "a/foo/b/x"], ["foobar", "a/xfoo"]),
    ("/foo", ["foo", "foo/x"], ["a/foo"]),
    ("foo/", ["foo/", "a/foo/", "foo/x"], ["foo", "a/foo"]),
    ("a/b", ["a/b", "a/b/c"], ["x/a/b", "b"]),
    ("*.o", ["x.o", "a/x.o", ".o"], ["x.oo", "o"]),
    ("*", ["a", "a/b"], []),
    ("**", ["a", "a/b"], []),
    ("/*\n!/keep", ["a", "a/b"], ["keep", "keep/x"]),
    ("a/*\n!a/keep/", ["a/x", "a/y/z", "a/keep"], ["a/keep/", "a/keep/x", "a/"]),
    ("a/\n!a/keep", ["a/", "a/keep"], ["b"]),
    ("a/**", ["a/x", "a/x/y"], ["a/", "a"]),
    ("a/**/", ["a/x/", "a/x/y"], ["a/", "a/x"]),
    ("**/b", ["b", "a/b", "x/y/b"], ["ab"]),
    ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["b", "x/a/b"]),
    ("a?c", ["abc", "x/a-c"], ["ac", "a/c"]),
    ("a[!b]c", ["adc"], ["abc", "a/c"]),
    ("a[.-0]c", ["a.c", "a0c"], ["a/c"]),
    ("[a-c]x", ["ax", "cx"], ["dx"]),
    ("a**b", ["ab", "axxb"], ["a/b"]),
    ("x*y*z", ["xyz", "x-y-z", "xyyz"], ["xy", "xzy", "x/yz"]),
    ("*a*b", ["ab", "xaxb", "aabb"], ["ba"]),
    (r"\#x", ["#x"], ["x"]),
    ("#x", [], ["#x", "x"]),
    (r"\!x", ["!x"], ["x"]),
    ("x  ", ["x"], ["x  "]),
    ("x\\ ", ["x "], ["x"]),
    ("x\r", ["x"], []),
    ("", [], ["a"]),
    ("/", [], ["a", "a/"]),
    ("!", [], ["a"]),
    ("é*", ["été"], ["e"]),
    ("foo//", [], ["foo", "foo/"]),
    ("[", [], ["["]),
]


@pytest.mark.parametrize(("lines", "ignored", "kept"), CASES)
def test_patterns(lines: str, ignored: list[str], kept: list[str]) -> None:
    loaded = rules(("", lines))
    for path in ignored:
        assert loaded.ignored(path.rstrip("/"), path.endswith("/")), path
    for path in kept:
        assert not loaded.ignored(path.removesuffix("/"), path.endswith("/")), path


class TestNested:
    def test_hold_below_their_directory(self) -> None:
        loaded = rules(("a", "/x\n*.o\n"))
        assert loaded.ignored("a/x", False)
        assert loaded.ignored("a/b/y.o", False)
        assert not loaded.ignored("x", False)
        assert not loaded.ignored("a/b/x", False)
        assert not loaded.ignored("ab/y.o", False)
        assert not loaded.ignored("a", True)

    def test_the_inner_file_decides(self) -> None:
        loaded = rules(("", "*.o\n!z\n"), ("a", "!y.o\nz\n"))
        assert not loaded.ignored("a/y.o", False)
        assert loaded.ignored("a/x.o", False)
        assert loaded.ignored("y.o", False)
        assert loaded.ignored("a/z", False)

    def test_nothing_comes_back_below_an_ignored_directory(self) -> None:
        loaded = rules(("", "a/\n"), ("a", "!x\n"))
        assert loaded.ignored("a/x", False)


class TestLimits:
    def problem(self, content: str | bytes) -> list[tuple[str, str]]:
        loaded = IgnoreRules()
        loaded.load("d", content if isinstance(content, bytes) else content.encode())
        assert loaded.ignored("d/held", False) or len(content) > MAX_FILE
        return [(problem.path, problem.reason) for problem in loaded.problems]

    def test_a_good_file_has_none(self) -> None:
        assert self.problem("held\n" + "**/" * MAX_DOUBLE_STARS + "a\n") == []
        assert self.problem("held\n" + "\n" * (MAX_LINES - 1)) == []

    def test_stars(self) -> None:
        bad = "**/" * (MAX_DOUBLE_STARS + 1) + "a"
        assert self.problem(f"held\n\n{bad}\n") == [("d/.leafsyncignore", "line 3: more than 4 '**'")]

    def test_long_lines(self) -> None:
        assert self.problem("x" * (MAX_LINE + 1) + "\nheld") == [
            ("d/.leafsyncignore", "line 1: longer than 1024 bytes")
        ]
        assert self.problem("x" * MAX_LINE + "\nheld") == []

    def test_many_lines(self) -> None:
        assert self.problem("held\n" + "x\n" * MAX_LINES) == [
            ("d/.leafsyncignore", f"line {MAX_LINES + 1}: only the first {MAX_LINES} lines hold")
        ]

    def test_a_long_file(self) -> None:
        ((path, reason),) = self.problem(b"held\n" + b"x" * MAX_FILE)
        assert path == "d/.leafsyncignore"
        assert "none of its rules" in reason

    @pytest.mark.parametrize("line", [r"a\\"[:2], r"[a-\]]", "[z-a]"])
    def test_a_line_that_is_no_pattern_costs_itself_only(self, line: str) -> None:
        loaded = rules(("", f"before\n{line}\nheld\n"))
        assert loaded.ignored("held", False)
        assert loaded.ignored("before", False)
        assert all(problem.reason.startswith("line 2: ") for problem in loaded.problems)

    def test_bytes_that_are_no_text(self) -> None:
        loaded = IgnoreRules()
        loaded.load("", b"\xef\xbb\xbffirst\n\xff\xfe*\n\0\n")
        assert loaded.ignored("first", False)
        assert loaded.ignored("\udcff\udcfex", False)

    @pytest.mark.parametrize(
        "line",
        ["*a" * 500 + "b", "a*" * 500 + "b", "**/a/**/a/**/a/**/b", "*" * 7 + "x*y", "[!b]*" * 100 + "c", "?*" * 200],
    )
    def test_no_line_takes_long(self, line: str) -> None:
        loaded = rules(("", line))
        began = time.process_time()
        loaded.ignored("a" * 255, False)
        loaded.ignored("/".join(["a"] * 64), False)
        assert time.process_time() - began < 0.5


NAMES = st.sampled_from(["a", "b", "ab", "a.o", ".git", "x.part", "c c", "abc"])
PIECES = st.sampled_from(["a", "b", "*", "**", "?", "a*", "*.o", "[ab]", "[!a]", "*b*", "c\\ c", "abc", "[a-c]?"])
LINES = st.builds(
    lambda negated, start, pieces, end: f"{negated}{start}{'/'.join(pieces)}{end}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PIECES, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " "]),
) | st.sampled_from(["", "#a", "\\!a", "/", "*/", "!*/", "!.git/", "!*.part"])
FILES = st.lists(LINES, max_size=5).map("\n".join)
PATHS = st.lists(
    st.tuples(st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.booleans()), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty git work tree, with our default rules as those of the user."""
    if shutil.which("git") is None:
        pytest.fail("git is not installed: it is the oracle for ignore rules, this test cannot do without it")
    path = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    (path / ".git/info/exclude").write_text(".git/\n*.part\n")
    return path


def git_ignores(repository: Path, paths: list[str]) -> set[str]:
    """Return the paths that git ignores; those of directories end in a slash."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=repository,
        env=environment,
        input="\0".join(paths).encode(),
        capture_output=True,
        timeout=20,
    )
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.decode().split("\0")) - {""}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, FILES, PATHS)
@example("a\n!a/b", "", [("a/b", False), ("a", True)])
@example("a/**/b\n!**/b/", "/b", [("a/b", True), ("a/a/b", False)])
@example("[!a]b\n*/", "!*", [("ab", False), ("a/b", True), ("b/b", False)])
def test_git_says_the_same(repository: Path, top: str, nested: str, paths: list[tuple[str, bool]]) -> None:
    work = repository / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "a").mkdir(parents=True)
    (repository / "work/.gitignore").write_text(top)
    (repository / "work/a/.gitignore").write_text(nested)
    # git has no directories of that name but the repository's own, so only other names can be asked about
    asked = {(path, directory) for path, directory in paths if ".git" not in path.split("/")}
    known = {path: True for path, _ in asked for path in _parents(path)} | dict(asked)
    for path in sorted(known):
        target = work / path
        if target.parent.is_dir() and not target.exists():
            target.mkdir() if known[path] else target.touch()
    present = [path for path in known if (work / path).exists()]
    loaded = rules(("", top))
    loaded.load("a", nested.encode())
    expected = git_ignores(repository, [f"work/{path}" for path in present])
    for path in present:
        assert loaded.ignored(path, (work / path).is_dir()) == (f"work/{path}" in expected), path


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@pytest.mark.parametrize("end", ["\t", "\x1c", "\t\t", "\x0b"])
def test_white_space_behind_a_slash_costs_that_line_alone(end: str) -> None:
    """git takes it for a name, the library for nothing: a line that neither means is said to be wrong."""
    rules = IgnoreRules()
    rules.load("", f"build/{end}\n*.o\n".encode())
    assert [problem.reason for problem in rules.problems] == ["line 1: there is white space at its end"]
    assert rules.ignored("a.o", is_directory=False)
    assert not rules.ignored("build", is_directory=True)
    assert not rules.ignored("build/x", is_directory=False)


def test_what_is_private_no_rule_takes_back() -> None:
    rules = IgnoreRules(private=frozenset({"etc/own", "top"}))
    rules.load("", b"!**\n!etc/own/\n")
    rules.load("etc", b"!own\n!*\n")
    for known in (rules, rules.copy()):
        assert known.ignored("etc/own", True)
        assert known.ignored("ETC/Own", True)
        assert known.ignored("etc/own/below", False)
        assert known.ignored("top", False)
        assert not any(known.ignored(path, True) for path in ("etc", "own", "etc/owner", "etc/top", "topmost"))
