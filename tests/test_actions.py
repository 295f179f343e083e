"""The keys: one list, no two of them in each other's way."""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import example, given, strategies as st
from textual.binding import Binding
from textual.widgets import Input

from leafsync.actions import ACTIONS, Action, bind, keymap_problem, named

PLAIN = re.compile(
    r"[a-z0-9]|f([1-9]|1[0-2])|ctrl\+[a-z]|enter|escape|backspace|delete|tab|up|down|left|right|slash|question_mark"
)
"""Keys that every terminal sends: letters, digits, F-keys and control with a letter."""

MULTIPLEXERS = {"ctrl+a", "ctrl+b"}
"""Keys that screen and tmux take for themselves."""

NAMES = re.compile(r"[a-z]+\.[a-z]+")


def keys_of(action: Action) -> list[str]:
    return action.keys.split(",")


def group_of(action: Action) -> str:
    return action.id.partition(".")[0]


def keys_of_input() -> Iterator[str]:
    for binding in Input.BINDINGS:
        yield from (binding.key if isinstance(binding, Binding) else binding[0]).split(",")


def test_every_action_is_there_once() -> None:
    from leafsync import actions

    assert len(actions._ALL) == len(ACTIONS)
    assert all(NAMES.fullmatch(action_id) for action_id in ACTIONS)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.id)
def test_every_key_is_one_that_every_terminal_sends(action: Action) -> None:
    assert all(PLAIN.fullmatch(key) for key in keys_of(action))
    assert not MULTIPLEXERS.intersection(keys_of(action))
    assert not keymap_problem(action.id, action.keys)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.id)
def test_every_action_says_what_it_does(action: Action) -> None:
    assert 1 <= len(action.label) <= 12
    assert action.label[0].isupper()
    assert action.help.endswith(".")
    assert action.help.isascii()


def test_no_two_actions_that_are_there_together_share_a_key() -> None:
    groups = defaultdict(list)
    for action in ACTIONS.values():
        groups[group_of(action)].append(action)
    together = [groups[name] for name in ("picker", "trust", "transfers", "history", "conflicts", "held", "modal")]
    together = [group + groups["app"] for group in together]
    together.append([*groups["app"], *groups["form"]])
    together.append([*groups["app"], *groups["job"]])
    for group in together:
        for one, other in combinations(group, 2):
            assert not set(keys_of(one)) & set(keys_of(other)), (one.id, other.id)


def test_the_keys_of_forms_are_not_those_of_the_line_that_is_typed_into() -> None:
    taken = set(keys_of_input())
    assert "ctrl+e" in taken  # to the end of the line
    for action in ACTIONS.values():
        if group_of(action) in ("form", "modal") and action.id != "modal.yes":
            assert not taken.intersection(keys_of(action)), action.id
            assert all(len(key) > 1 for key in keys_of(action)), action.id


def test_a_binding_is_made_of_its_action() -> None:
    binding = bind("app.quit", "leave")
    action = ACTIONS["app.quit"]
    assert (binding.key, binding.action, binding.description) == (action.keys, "leave", action.label)
    assert (binding.id, binding.tooltip, binding.show, binding.priority) == (action.id, action.help, True, False)
    assert bind("app.serve", "x").show is False
    assert bind("app.serve", "x", shown=True).show is True
    assert bind("app.quit", "x", priority=True).priority is True
    assert bind("job.stop", "x", label="Put away").description == "Put away"


def test_one_key_leads_to_the_others_wherever_they_do_not_fit() -> None:
    assert [action.id for action in ACTIONS.values() if action.rank == 0] == ["app.help"]


def test_an_action_that_is_not_there_cannot_be_bound() -> None:
    with pytest.raises(KeyError):
        bind("app.fly", "fly")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("f2", ""),
        ("f2, ctrl+s", ""),
        ("?", ""),
        ("question_mark", ""),
        ("slash", ""),
        ("ctrl+shift+a", ""),
        ("pageup", ""),
        ("+", ""),
        (",", ""),
        (" , ", ""),
        ("f2,+", ""),
        ("f2,comma", ""),
        ("ctrl++", ""),
        ("ctrl+plus", ""),
        ("ctrl+?", ""),
        ("", "there is no key ''"),
        ("f2,", "there is no key ''"),
        ("crtl+s", "there is no key 'crtl+s'"),
        ("ctrl-s", "there is no key 'ctrl-s'"),
        ("f99", "there is no key 'f99'"),
        ("entre", "there is no key 'entre'"),
        ("ctrl+", "there is no key 'ctrl+'"),
        ("+a", "there is no key '+a'"),
        ("f2,,", "there is no key ''"),
        ("ctrl+p", "'ctrl+p' opens the command palette, wherever it is pressed"),
        ("f2, tab", "'tab' goes to the next field, wherever it is pressed"),
        ("shift+tab", "'shift+tab' goes to the field before, wherever it is pressed"),
        ("ctrl+h", "a terminal sends backspace for 'ctrl+h'"),
        ("f2,ctrl+i", "a terminal sends tab for 'ctrl+i'"),
        ("ctrl+m", "a terminal sends enter for 'ctrl+m'"),
        ("ctrl+[", "a terminal sends escape for 'ctrl+['"),
    ],
)
def test_what_a_keymap_may_say(keys: str, problem: str) -> None:
    assert keymap_problem("form.start", keys) == problem


@pytest.mark.parametrize(
    ("keys", "heard"),
    [
        ("+", "plus"),
        (",", "comma"),
        ("f2, +", "f2,plus"),
        ("ctrl++", "ctrl+plus"),
        ("ctrl+?", "ctrl+question_mark"),
        ("/,Z,1,ctrl+s,pageup", "slash,Z,1,ctrl+s,pageup"),
    ],
)
def test_keys_are_heard_of_by_their_names(keys: str, heard: str) -> None:
    assert named(keys) == heard


def test_a_keymap_names_what_there_is() -> None:
    assert keymap_problem("form.strat", "f2") == "nothing is called 'form.strat'"


@given(st.text())
@example(",")
def test_a_keymap_may_say_anything(keys: str) -> None:
    problem = keymap_problem("form.start", keys)
    each = [","] if keys.strip() == "," else keys.split(",")
    assert (problem == "") == all(keymap_problem("form.start", key) == "" for key in each)
