"""Turns of the loop: long, but short while somebody waits, and never short for ever."""

from leafsync.engine.net.turns import LONG, LONGEST_WAIT, SHORT, Turns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_turns_are_long() -> None:
    assert Turns(Clock()).datagrams == LONG


def test_turns_are_short_while_somebody_waits() -> None:
    turns = Turns(Clock())
    turns.give_way()
    assert turns.datagrams == SHORT
    turns.go_on()
    assert turns.datagrams == LONG


def test_nobody_waits_for_ever() -> None:
    clock = Clock()
    turns = Turns(clock)
    turns.give_way()
    clock.now += LONGEST_WAIT
    assert turns.datagrams == LONG


def test_another_key_goes_on_waiting() -> None:
    clock = Clock()
    turns = Turns(clock)
    turns.give_way()
    clock.now += LONGEST_WAIT / 2
    turns.give_way()
    clock.now += LONGEST_WAIT / 2
    assert turns.datagrams == SHORT
