"""What strangers get: a Retry, an answer without state, a refusal, or nothing."""

import os

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode
from hypothesis import given, strategies as st

from leafsync.engine.net.admission import Admission, Admitted, destination_of
from leafsync.engine.net.limits import Limits

HOME = ("198.51.100.7", 1000)
AWAY = ("203.0.113.9", 2000)


class Stranger:
    """A client's state machine without a socket."""

    def __init__(self) -> None:
        self.quic = QuicConnection(configuration=QuicConfiguration(server_name="leafsync"))
        self.quic.connect(("192.0.2.2", 4455), now=0.0)

    def datagram(self) -> bytes:
        return self.quic.datagrams_to_send(now=0.0)[0][0]

    def hears(self, datagram: bytes) -> None:
        self.quic.receive_datagram(datagram, ("192.0.2.2", 4455), now=0.0)

    def proven(self, admission: Admission, address: tuple[str, int] = HOME, now: float = 0.0) -> bytes:
        """Its second Initial, which carries the token of the Retry."""
        retry = admission.judge(self.datagram(), address, connections=0, now=now)
        assert isinstance(retry, bytes)
        self.hears(retry)
        return self.datagram()

    def end(self) -> int | None:
        self.quic.handle_timer(now=1000.0)
        while event := self.quic.next_event():
            if isinstance(event, ConnectionTerminated):
                return event.error_code
        return None


@pytest.fixture
def admission() -> Admission:
    return Admission(Limits(max_connections=10, max_handshakes=6, max_handshakes_per_network=2))


def test_the_first_initial_earns_a_retry_and_the_second_a_connection(admission: Admission) -> None:
    stranger = Stranger()
    original = stranger.quic.original_destination_connection_id
    verdict = admission.judge(stranger.proven(admission), HOME, connections=0, now=1.0)
    assert isinstance(verdict, Admitted)
    assert verdict.original_connection_id == original
    assert verdict.connection_id != original
    assert admission.half_open == 0, "nothing is remembered of who did not begin"


@pytest.mark.parametrize(("address", "now"), [(AWAY, 1.0), (HOME, 60.0)], ids=["another address", "too late"])
def test_a_token_is_good_for_its_address_and_for_a_while(
    admission: Admission, address: tuple[str, int], now: float
) -> None:
    stranger = Stranger()
    verdict = admission.judge(stranger.proven(admission), address, connections=0, now=now)
    assert isinstance(verdict, bytes)
    stranger.hears(verdict)
    assert stranger.end() == QuicErrorCode.INVALID_TOKEN


def test_a_token_of_another_endpoint_is_refused(admission: Admission) -> None:
    stranger = Stranger()
    second = stranger.proven(Admission(Limits()))
    assert isinstance(admission.judge(second, HOME, connections=0, now=1.0), bytes)


@pytest.mark.parametrize(
    ("connections", "networks"),
    [(10, []), (0, [HOME, HOME]), (0, [(f"10.0.{number}.1", 1) for number in range(6)])],
    ids=["connections", "one network", "handshakes"],
)
def test_a_full_house_refuses_with_a_word(
    admission: Admission, connections: int, networks: list[tuple[str, int]]
) -> None:
    for address in networks:
        admission.begin(address)
    stranger = Stranger()
    verdict = admission.judge(stranger.proven(admission), HOME, connections=connections, now=1.0)
    assert isinstance(verdict, bytes)
    stranger.hears(verdict)
    assert stranger.end() == QuicErrorCode.CONNECTION_REFUSED


def test_a_finished_handshake_makes_room(admission: Admission) -> None:
    admission.begin(HOME)
    admission.begin(("198.51.100.99", 1))
    second = Stranger().proven(admission)
    assert isinstance(admission.judge(second, HOME, connections=0, now=1.0), bytes)
    admission.done(HOME)
    assert isinstance(admission.judge(second, HOME, connections=0, now=1.0), Admitted)
    admission.done(HOME)
    assert admission.half_open == 0
    assert not admission._half_open


def test_one_full_network_does_not_shut_out_another(admission: Admission) -> None:
    admission.begin(HOME)
    admission.begin(HOME)
    second = Stranger().proven(admission, AWAY)
    assert isinstance(admission.judge(second, AWAY, connections=2, now=1.0), Admitted)


def test_an_unknown_version_is_answered_with_those_we_speak(admission: Admission) -> None:
    datagram = bytearray(Stranger().datagram())
    datagram[1:5] = b"\x1a\x2a\x3a\x4a"
    answer = admission.judge(bytes(datagram), HOME, connections=0, now=0.0)
    assert isinstance(answer, bytes)
    assert answer[1:5] == bytes(4)
    assert b"\x00\x00\x00\x01" in answer[5:]


def test_a_version_negotiation_is_never_answered(admission: Admission) -> None:
    datagram = bytearray(Stranger().datagram())
    datagram[1:5] = bytes(4)
    assert admission.judge(bytes(datagram), HOME, connections=0, now=0.0) is None


def test_a_short_initial_is_never_answered(admission: Admission) -> None:
    assert admission.judge(Stranger().datagram()[:1199], HOME, connections=0, now=0.0) is None


def test_an_answer_is_never_longer_than_the_question(admission: Admission) -> None:
    stranger = Stranger()
    first = stranger.datagram()
    retry = admission.judge(first, HOME, connections=0, now=0.0)
    assert isinstance(retry, bytes)
    assert len(retry) <= len(first)


@given(st.binary(max_size=64), st.integers(0, 1500))
def test_garbage_is_never_admitted(start: bytes, size: int) -> None:
    admission = Admission(Limits())
    datagram = start + os.urandom(max(0, size - len(start)))
    assert not isinstance(admission.judge(datagram, HOME, connections=0, now=0.0), Admitted)
    assert len(destination_of(datagram)) <= 255
    assert admission.half_open == 0


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"", b""),
        (b"\x40", b""),
        (b"\x40abcdefghXYZ", b"abcdefgh"),
        (b"\xc0\x00\x00\x00\x01", b""),
        (b"\xc0\x00\x00\x00\x01\x03abcdef", b"abc"),
        (b"\xc0\x00\x00\x00\x01\xffabc", b"abc"),
    ],
)
def test_the_destination_is_where_rfc_8999_says(datagram: bytes, expected: bytes) -> None:
    assert destination_of(datagram) == expected
