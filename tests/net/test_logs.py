"""Log lines that strangers cause."""

import logging

import pytest

from leafsync.engine.net.logs import RARE_PERIOD, RareLog, quiet_quic_log


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_line_a_period_and_a_count_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    rare = RareLog(logging.getLogger("leafsync.test"), clock=clock)
    for number in range(5):
        rare.warning("no entry for %s", number)
    clock.now = RARE_PERIOD
    rare.warning("no entry for %s", 5)
    rare.warning("no entry for %s", 6)
    assert [record.getMessage() for record in caplog.records] == [
        "no entry for 0",
        "no entry for 5 (and 4 more like it)",
    ]


def test_what_a_stranger_says_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    RareLog(logging.getLogger("leafsync.test")).warning("it said %s", "\x1b[2J 100%\nroot: ok")
    assert caplog.records[0].getMessage() == "it said \\x1b[2J 100%\\x0aroot: ok"


def test_aioquics_log_is_quiet_and_escaped(caplog: pytest.LogCaptureFixture) -> None:
    quiet_quic_log()
    quiet_quic_log()
    quic = logging.getLogger("quic")
    assert len(quic.filters) == 1
    quic.info("nobody reads this")
    quic.warning("close reason %s", "\x1b[31m\nfaked line")
    assert [record.getMessage() for record in caplog.records] == ["close reason \\x1b[31m\\x0afaked line"]


def test_whoever_set_the_level_of_aioquics_log_has_the_last_word(caplog: pytest.LogCaptureFixture) -> None:
    """A run without -v has set it to errors: the first handshake must not turn the warnings about strangers on."""
    caplog.set_level(logging.ERROR, logger="quic")
    quiet_quic_log()
    assert not logging.getLogger("quic").isEnabledFor(logging.WARNING)
