"""Typed paths: what they mean, why they cannot be taken, how they go on."""

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from leafsync.text import printable
from leafsync.widgets import listing
from leafsync.widgets.listing import Wanted
from leafsync.widgets.typed_path import (
    ITSELF,
    TYPED,
    absolute,
    complete,
    entry_problem,
    is_typable,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Documents/Letters", "Downloads", "Music", ".cache", ".leafsync_trash", "e\x1bvil"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "Document.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", "/base"),
        ("a", "/base/a"),
        ("a/../b/", "/base/b"),
        ("..", "/"),
        ("/x//y/.", "/x/y"),
        ("~", "/home/ada"),
        ("~/a b", "/home/ada/a b"),
        ("~no such user/x", "/base/~no such user/x"),
        ("a~", "/base/a~"),
    ],
)
def test_what_is_meant(typed: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert absolute(typed, "/base") == meant


@pytest.mark.parametrize("text", ["a b", "写真", "back\\slash", "[markup]", "e\u0301"])
def test_ordinary_text_is_typable(text: str) -> None:
    assert is_typable(text)
    assert re.fullmatch(TYPED, text)


@pytest.mark.parametrize("text", ["a\x1b[31m", "\u202ereversed", "line\nbreak", "\udcff", "\x07"])
def test_what_would_be_escaped_is_not_typable(text: str) -> None:
    assert not is_typable(text)


@pytest.mark.parametrize("text", ["a\x1b[31m", "\u202ereversed", "line\nbreak", "\x9b31m", "\u200e", "\x7f"])
def test_a_field_lets_no_control_character_in(text: str) -> None:
    assert not re.fullmatch(TYPED, text)


@given(st.text())
def test_typable_text_shows_as_it_is(text: str) -> None:
    if is_typable(text) and "\\" not in text and len(text) <= 1000:
        assert printable(text) == text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Documents/Letters", ""),
        ("Document.txt", ""),
        ("", ITSELF),
        (".", ITSELF),
        ("..", "that is outside of the folder"),
        ("../x", "that is outside of the folder"),
        ("nothing", "it does not exist"),
        (".leafsync_trash", "the name is reserved for LeafSync"),
        ("e\x1bvil", "the name contains control characters"),
        ("a\0b", "the name contains control characters"),
    ],
)
def test_an_entry_can_be_taken_or_says_why_not(path: str, reason: str, folder: Path) -> None:
    assert entry_problem(str(folder), path) == reason


def test_a_link_is_an_entry_wherever_it_leads(folder: Path) -> None:
    (folder / "dangling").symlink_to("nowhere")
    assert entry_problem(str(folder), "dangling") == ""


# Completion


def test_one_choice_is_completed_with_its_slash(folder: Path) -> None:
    assert complete("Mu", str(folder), Wanted()).text == "Music/"
    assert complete(f"{folder}/Mu", "/", Wanted()).text == f"{folder}/Music/"
    assert complete("Documents/", str(folder), Wanted()).text == "Documents/Letters/"


def test_several_choices_are_completed_as_far_as_they_agree(folder: Path) -> None:
    found = complete("D", str(folder), Wanted())
    assert (found.text, found.choices) == ("Do", ("Documents", "Downloads"))
    found = complete("Docum", str(folder), Wanted(files=True))
    assert (found.text, found.choices) == ("Document", ("Documents", "Document.txt"))


def test_a_file_gets_no_slash(folder: Path) -> None:
    assert complete("Document.", str(folder), Wanted(files=True)).text == "Document.txt"


def test_hidden_names_are_offered_to_who_typed_the_dot_and_ours_to_nobody(folder: Path) -> None:
    assert ".cache" not in complete("", str(folder), Wanted()).choices
    assert complete(".", str(folder), Wanted()).text == ".cache/"
    assert complete(".leaf", str(folder), Wanted(hidden=True)).reason == "nothing there begins like that"


def test_names_that_cannot_be_typed_are_left_out(folder: Path) -> None:
    assert complete("e", str(folder), Wanted()).reason == "nothing there begins like that"


def test_the_home_is_completed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert complete("~", "/", Wanted()).text == "~/"
    assert complete("~/Mu", "/", Wanted()).text == "~/Music/"


def test_there_is_a_reason_when_there_is_no_choice(folder: Path) -> None:
    assert complete("nothing/x", str(folder), Wanted()).reason == "it does not exist"
    assert complete("Music/", str(folder), Wanted()).reason == "nothing is in there"
    assert complete("nothing/x", str(folder), Wanted()).text == "nothing/x"


def test_choices_that_were_left_off_are_counted_and_nothing_is_guessed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_SHOWN", 1)
    found = complete("D", str(folder), Wanted())
    assert (found.text, found.choices, found.left_off) == ("D", ("Documents",), 1)


@given(start=st.text(st.sampled_from("DMcdo./~e"), max_size=6))
def test_a_completion_only_adds(tmp_path_factory: pytest.TempPathFactory, start: str) -> None:
    base = tmp_path_factory.mktemp("base")
    (base / "Do").mkdir()
    (base / "Mc").mkdir()
    assert complete(start, str(base), Wanted()).text.startswith(start)
