"""Which names may travel: fault cases 1-18, each accepted or refused."""

import re
import unicodedata

import pytest
from hypothesis import assume, example, given, strategies as st

from leafsync.engine.core import names
from leafsync.engine.core.names import (
    MAX_DEPTH,
    MAX_NAME,
    MAX_PATH,
    collision_key,
    inside,
    join,
    name_problem,
    narrower,
    parent,
    path_problem,
    place_key,
    target_problem,
)

ACCEPTED = [
    "a",
    "~",  # 2
    "...",
    "..a",
    "C:x",  # 5: only Windows minds
    "CON",  # 9: only Windows minds
    "ends with a dot.",
    "ends with a space ",
    'a<b>:"|?*',
    "a" * 255,  # 10
    "é" * 127 + "a",
    "日" * 85,
    "é",  # 14, composed
    ".leafsyncignore",  # 17
    ".leaf",
    "leafsync_tmp",
    ".leafsync_tmpx",
    ".leafsync",
    "LEAFS~1",
    "-rf",  # 18
    "--",
    "a b 'c' \"d\" $(e) `f` ;&",
    "[red]x[@click=y]",  # 20
    "👩\u200d💻",  # 19
    "क\u094d\u200cष",
    "שלום",
    "\u200e",  # marks the direction of nothing but itself; escaped when shown
    "\u0301",
    "Ελλάς",
    "\u017f",
    "\u0131",
]

REFUSED = {
    "": "empty",  # 3
    ".": "empty",
    "..": "empty",  # 1
    "a/b": "slash",
    "/": "slash",
    "a\\..\\b": "slash",  # 4
    "C:\\x": "slash",  # 5
    "\\\\h\\s": "slash",
    "\\\\?\\": "slash",
    "a\0b": "control",  # 6
    "\x1b[31m": "control",  # 7
    "a\nb": "control",
    "a\n": "control",
    "a\r": "control",
    "\t": "control",
    "\x7f": "control",
    "\x80": "control",
    "\x9b": "control",
    "gpj.\u202eexe": "control",  # 8
    "\u202a": "control",
    "\u202d": "control",
    "\u2066": "control",
    "\u2069": "control",
    "a\u2028": "control",
    "a\u2029": "control",
    "a" * 256: "longer",  # 10
    "é" * 128: "longer",
    "日" * 86: "longer",
    "\u017f" * 255: "longer",
    "bad\udcff": "UTF-8",  # 12
    "\ud800": "UTF-8",  # 13
    "e\u0301": "normal form",  # 14
    "\u212a": "normal form",  # the Kelvin sign, which ignoring case takes for a k
    "\u212b": "normal form",
    ".leafsync_tmp": "reserved",  # 16
    ".leafsync_trash": "reserved",
    ".LeafSync_TMP": "reserved",
    ".leaf\u200csync_tmp": "reserved",
    "\ufeff.leafsync_trash": "reserved",
    ".leaf\u00adsync_tmp": "reserved",
    ".leafsync_tmp.": "reserved",
    ".leafsync_trash . .": "reserved",
    ".leafsync_tmp\u200d ": "reserved",
    ".leaf\u017fync_tmp": "reserved",
    "LEAFSY~1": "reserved",
    "leafsy~2": "reserved",
    ".leafsy~9": "reserved",
    "LEAFSY~1.TXT": "reserved",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_name_that_can_travel(name: str) -> None:
    assert name_problem(name) is None
    assert path_problem(f"dir/{name}") is None


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_a_name_that_cannot(name: str, reason: str) -> None:
    assert reason in (name_problem(name) or "")
    if "/" not in name:
        assert path_problem(f"dir/{name}/file") is not None


@pytest.mark.parametrize(
    "path",
    [
        "../x",  # 1
        "a/../../x",
        "a/..",
        "/etc/x",  # 2
        "//x",
        "/",
        "a//b",  # 3
        "a/",
        ".",
        "./a",
        "a/./b",
        "a\\b/c",
        ".leafsync_trash/20261122/a",  # 16
        "a/.leafsync_tmp/b",
        "/".join("a" * (MAX_DEPTH + 1)),  # 11
        "/".join(["a" * 255] * 17),
        "/".join(["a"] * 100_000),  # 43
        "a/\udcff",
    ],
)
def test_a_path_that_cannot_travel(path: str) -> None:
    assert path_problem(path) is not None


@pytest.mark.parametrize("path", ["", "a", "~/.ssh/x", "a/b/c", "/".join("a" * MAX_DEPTH)])
def test_a_path_that_can(path: str) -> None:
    assert path_problem(path) is None


def test_the_longest_path_is_the_last_that_can_travel() -> None:
    longest = "/".join(["é" * 127] * 16)
    longest += "/" + "a" * (MAX_PATH - len(longest.encode()) - 1)
    assert len(longest.encode()) == MAX_PATH
    assert path_problem(longest) is None
    assert "longer" in (path_problem(longest + "a") or "")


tricky = st.sampled_from(
    [*"aA.~ -_:/\\é€\u0301\u200c\u202e\u212a\u017f\u0131\u0130\x1b\0\udcff", ".leafsync_tmp", "LEAFSY~1", ".."]
)
any_name = st.text(st.characters(), max_size=30) | st.lists(tricky, max_size=8).map("".join)


@given(any_name)
@example("\u212a")
@example("\u017f" * 200)
def test_an_accepted_name_survives_every_step(name: str) -> None:
    assume(name_problem(name) is None)
    assert name.encode().decode() == name
    assert 1 <= len(name.encode()) <= MAX_NAME
    assert unicodedata.normalize("NFC", name) == name
    assert join("a/b", name).split("/") == ["a", "b", name]
    assert parent(join("a/b", name)) == "a/b"
    assert parent(join("", name)) == ""
    assert not set(name) & {"/", "\\", "\0", "\n", "\x1b"}
    assert name not in ("", ".", "..")
    assert not names.is_own(name)


@given(st.lists(any_name, min_size=1, max_size=4))
def test_a_path_travels_exactly_when_all_its_names_do(parts: list[str]) -> None:
    assume(not any("/" in part for part in parts) and parts != [""])
    assert (path_problem("/".join(parts)) is None) == all(name_problem(part) is None for part in parts)


@given(st.text(st.characters(max_codepoint=127), max_size=20) | st.from_regex(names._PLAIN, fullmatch=True) | any_name)
@example(".LeafSync_Trash . ")
@example("leafsy~1")
@example(" .leafsync_tmp")
def test_plain_names_are_those_that_break_no_rule(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "_PLAIN", re.compile(r"(?!)"))
        expected = name_problem(name)
    assert name_problem(name) == expected


def test_control_characters_are_those_of_unicode() -> None:
    turning = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    for character in map(chr, range(0x110000)):
        control = (
            unicodedata.category(character) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(character) in turning
        )
        assert bool(names._CONTROL.search(character)) == control


@given(any_name.map(lambda name: ".leafsync_tmp" + name))
def test_nothing_that_folds_to_an_own_directory_is_accepted(name: str) -> None:
    """What HFS+ and NTFS make of a name: without format characters, trailing dots and spaces, in one case."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    if visible.rstrip(" .").casefold() in (names.STAGING, names.TRASH):
        assert name_problem(name) is not None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", "file"),
        ("link", "."),
        ("link", "./a/./b"),
        ("link", "a//b/"),
        ("link", "~/x"),
        ("link", "..."),
        ("link", "..a/b"),
        ("a/link", ".."),
        ("a/link", "../b"),
        ("a/b/link", "../../c"),
        ("a/b/link", "./../.././c"),
        ("a/link", "missing/anywhere"),
        ("a/link", "link"),
        ("a/link", ".leafsyncignore"),
        ("a/link", "with space $(x)"),
    ],
)
def test_a_link_that_stays_inside(path: str, target: str) -> None:
    assert target_problem(path, target) is None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", ""),
        ("link", "/"),
        ("link", "/etc/passwd"),
        ("link", "//x"),
        ("link", ".."),
        ("link", "../x"),
        ("link", "./../x"),
        ("link", ".//../x"),
        ("a/link", "../.."),
        ("a/link", "../../a/x"),
        ("a/b/link", "../../../x"),
        ("link", "a/../../x"),
        ("link", "a/.."),
        ("a/b/link", "up/../x"),
        ("a/b/link", "../c/.."),
        ("link", "..\\x"),
        ("link", "C:\\x"),
        ("link", "a\0b"),
        ("link", "a\nb"),
        ("link", "\x1b[2J"),
        ("link", "\u202eexe"),
        ("link", "\u2028"),
        ("link", "bad\udcff"),
        ("link", "a" * (MAX_PATH + 1)),
        ("link", "é" * (MAX_PATH // 2 + 1)),
        ("link", ".leafsync_tmp"),
        ("a/link", "../.LEAFSYNC_TRASH/x"),
        ("link", "x/leafsy~1"),
    ],
)
def test_a_link_that_does_not(path: str, target: str) -> None:
    assert target_problem(path, target) is not None


steps = st.lists(st.sampled_from(["..", ".", "", "d", "e", "l", "m"]), min_size=1, max_size=5).map("/".join)


@given(steps, steps)
def test_two_accepted_links_never_lead_outside_together(first: str, second: str) -> None:
    """Resolve as the kernel does, through links, where d/e/l and d/e/m are links and all else directories."""
    links = {"d/e/l": first, "d/e/m": second}
    assume(all(target_problem(path, target) is None for path, target in links.items()))
    for target in links.values():
        at, todo, budget = ["d", "e"], target.split("/"), 40
        while todo and budget:
            step = todo.pop(0)
            if step == "..":
                assert at, f"{links} leads outside"
                at.pop()
            elif step not in ("", "."):
                through = links.get("/".join([*at, step]))
                budget -= through is not None
                todo[:0] = through.split("/") if through is not None else []
                at += [step] if through is None else []


@pytest.mark.parametrize(
    "name",
    [
        *("CON", "con", "Prn", "aux.txt", "nul.tar.gz", "COM1", "com9.log", "LPT\u00b9", "lpt0", "CONIN$", "conout$"),
        *("con .txt", "a ", "a.", "a:b", "C:x", *(f"a{character}b" for character in '<>:"|?*')),
    ],
)
def test_a_name_that_windows_cannot_store_is_an_ordinary_one(name: str) -> None:  # 9
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A.txt", "a.TXT"),  # 15
        ("é", "e\u0301"),  # 14
        ("É", "e\u0301"),
        ("STRASSE", "straße"),
        ("\u212a", "k"),
        ("Σ", "ς"),
        ("\uac00", "\u1100\u1161"),
        ("\u1fb4", "\u03b1\u0345\u0301"),
        ("\u015b", "\u017f\u0301"),
    ],
)
def test_names_that_fold_together(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("a", "á"), ("a", "a "), ("a.", "a"), ("\u0131", "i"), ("1", "¹")]
)
def test_names_that_do_not(one: str, other: str) -> None:
    assert collision_key(one) != collision_key(other)


@given(st.text(max_size=20))
def test_normal_forms_share_a_key(name: str) -> None:
    forms = {collision_key(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")}
    assert forms == {collision_key(unicodedata.normalize("NFC", name))}


def test_joining_and_parents() -> None:
    assert (join("", "a"), join("a", "b"), join("a/b", "c")) == ("a", "a/b", "a/b/c")
    assert (parent("a"), parent("a/b"), parent("a/b/c"), parent("")) == ("", "a", "a/b", "")


def test_what_is_inside_a_directory() -> None:
    assert inside("a", "a")
    assert inside("a/b/c", "a")
    assert not inside("ab", "a")
    assert not inside("a", "a/b")


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [("", "", ""), ("a", "", "a"), ("a/b", "a", "a/b"), ("a", "a", "a"), ("a", "ab", None), ("a/b", "a/c", None)],
)
def test_a_folder_restricted_to_two_paths(one: str, other: str, left: str | None) -> None:
    assert narrower(one, other) == narrower(other, one) == left


def test_two_spellings_of_one_place_share_a_key() -> None:
    spellings = ("etc/leafsync", "ETC/LeafSync", "etc./leafsync ", "e\u200btc/leafsync", "etc/leaf\u017fync")
    assert len({place_key(path) for path in spellings}) == 1
    assert place_key("etc/leafsync") != place_key("etc/leaf/sync") != place_key("etcleafsync")
    assert place_key("") == ""
