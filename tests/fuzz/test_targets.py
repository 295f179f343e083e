"""The corpus, and some of what fuzzing tries, on every run."""

import random

import pytest
from hypothesis import given, settings, strategies as st

from tests.fuzz.run import mutated, seeds
from tests.fuzz.targets import TARGETS, BrokenPromiseError, names

ROUNDS = 100
"""Changed inputs of each target."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds(name: str) -> None:
    assert seeds(name)
    for data in seeds(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_like_those_of_the_corpus_hold(name: str) -> None:
    dice, known = random.Random(name), seeds(name)
    for _round in range(ROUNDS):
        TARGETS[name](mutated(dice, known))


@settings(deadline=None)
@given(st.sampled_from(sorted(set(TARGETS) - {"packets", "trust", "config"})), st.binary(max_size=300))
def test_any_bytes_hold(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.targets.name_problem", lambda _name: None)
    with pytest.raises(BrokenPromiseError):
        names(b"..")
