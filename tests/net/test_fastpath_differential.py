"""The fast path and upstream side by side: whatever arrives, both end in the same state and deliver the same bytes.

Receiving is compared exactly, batch by batch: a copy of the connection takes the same datagrams through upstream
alone. Sending cuts the bytes into packets in its own way, so there what both sides have in the end is compared, for
every pairing of the two.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from aioquic import tls
from aioquic.buffer import encode_uint_var
from hypothesis import HealthCheck, given, settings, strategies as st

from leafsync.engine.net.fastsend import BulkPacket
from tests.support.packets import SMALL, compare, content, seal, standing_pair
from tests.support.quicpair import CLIENT, Pair, Side, state_of, twin

PAIRINGS = [(True, True), (True, False), (False, True), (False, False)]
LOSSES = [0.0, 0.01, 0.05, 0.2]

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def compare_all(pair: Pair) -> Callable[[], int]:
    """Compare every batch from now on; return a function that says how many packets went the fast way."""
    count = 0

    def on_batch(side: Side, batch: list[bytes], address: tuple[str, int]) -> None:
        nonlocal count
        before = side.quic.received_fast
        count += compare(side.quic, batch, address, pair.now).received_fast - before

    pair.on_batch = on_batch
    return lambda: count


# Receiving, batch by batch


@pytest.mark.parametrize("sender_fast", [True, False], ids=["fast", "upstream"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_batch_leaves_the_state_that_upstream_would(loss: float, sender_fast: bool) -> None:
    pair = Pair(seed=7, client_fast=sender_fast, server_fast=True, limits=SMALL)
    taken = compare_all(pair)
    pair.loss, pair.reorder, pair.duplicate, pair.damage = loss, loss * 2, loss, loss
    written = {0: content(0, 150_000), 4: content(4, 90_000), 8: content(8, 20), 12: b""}
    for number, data in written.items():
        pair.client.quic.send_stream_data(number, data, end_stream=True)
    pair.server.quic.send_stream_data(1, content(1, 40_000), end_stream=True)
    pair.transmit()
    pair.run(lambda: len(pair.server.ended) == 4 and len(pair.client.ended) == 1)
    assert {number: bytes(data) for number, data in pair.server.data.items()} == written
    assert pair.client.data[1] == content(1, 40_000)
    if not loss:
        assert taken() > 150


# What arrives, packet by packet


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A payload: mostly STREAM frames as they come, at times anything else."""
    kind = draw(st.sampled_from(["stream", "stream", "stream", "stream", "ack", "other", "two", "noise"]))
    if kind == "stream":
        return draw(stream_frames())
    if kind == "ack":
        largest = draw(st.integers(0, 40))
        return b"\x02" + encode_uint_var(largest) + b"\x00\x00" + encode_uint_var(draw(st.integers(0, largest)))
    if kind == "two":
        return draw(stream_frames(bounded=True)) + draw(st.sampled_from([b"\x01", b"\x00" * 30, b"\x10\x7f\xff"]))
    if kind == "noise":
        return draw(st.binary(min_size=1, max_size=60))
    return draw(
        st.sampled_from(
            [
                b"\x01",  # PING
                b"\x00" * 30,  # PADDING
                b"\x1e",  # HANDSHAKE_DONE: a client may not send it
                b"\x1c\x00\x00\x00",  # CONNECTION_CLOSE
                b"\x04\x00\x07\x40\x50",  # RESET_STREAM
                b"\x05\x01\x07",  # STOP_SENDING
                b"\x10\x80\x10\x00\x00",  # MAX_DATA
                b"\x11\x01\x80\x10\x00\x00",  # MAX_STREAM_DATA
                b"\x1a" + bytes(8),  # PATH_CHALLENGE
                b"\x1b" + bytes(8),  # PATH_RESPONSE
                b"\x08",  # a frame that ends in the middle
            ]
        )
    )


@st.composite
def stream_frames(draw: st.DrawFn, *, bounded: bool = False) -> bytes:
    """A STREAM frame: on a grid of offsets, so that many are in order, repeated, overlapping or beyond a limit."""
    number = draw(st.sampled_from([0, 0, 0, 4, 4, 8, 1, 2, 3, 400]))
    unit = 40
    offset = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 2999, 5001])) * unit
    size = draw(st.sampled_from([0, 1, unit, unit, unit, unit, 2 * unit]))
    length = bounded or draw(st.booleans())
    kind = 0x08 | (0x04 if offset or draw(st.booleans()) else 0) | (0x02 if length else 0)
    kind |= draw(st.sampled_from([0, 0, 0, 0, 1]))
    data = content(number, 1 << 8)[offset % 256 :][:size]
    frame = bytes([kind]) + encode_uint_var(number)
    if kind & 0x04:
        frame += encode_uint_var(offset)
    if length:
        wrong = 0 if bounded else draw(st.sampled_from([0, 0, 0, 0, 0, 1, 70]))
        frame += encode_uint_var(len(data) + wrong)
    return frame + data


@dataclass(frozen=True)
class Arrival:
    """One datagram that a test makes up."""

    payload: bytes
    step: int
    """How far its number is from the last one's: 0 and less are duplicates and late packets, more are gaps."""
    width: int
    first: int
    phase: int
    harm: str
    at: int


arrivals = st.builds(
    Arrival,
    payload=frames(),
    step=st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 3, 0, -1, -3, 150]),
    width=st.sampled_from([2, 2, 2, 2, 2, 2, 2, 1, 3, 4]),
    first=st.sampled_from([0, 0, 0, 0, 0, 0, 0x20, 0x20, 0x08, 0x10]),
    phase=st.sampled_from([0] * 15 + [1]),
    harm=st.sampled_from(["", "", "", "", "", "", "", "flip", "cut", "grow", "noise", "other id", "long"]),
    at=st.integers(0, 60),
)


def harmed(arrival: Arrival, datagram: bytes) -> bytes:
    """Return a datagram as it may arrive."""
    at = arrival.at % len(datagram)
    match arrival.harm:
        case "flip":
            return datagram[:at] + bytes([datagram[at] ^ 0x55]) + datagram[at + 1 :]
        case "cut":
            return datagram[:at]
        case "grow":
            return datagram + b"\x00"
        case "noise":
            return content(at, at)
        case "other id":
            return datagram[:1] + bytes(8) + datagram[9:]
        case "long":
            return bytes([datagram[0] | 0x80]) + datagram[1:]
    return datagram


@settings(slow, max_examples=200)
@given(st.lists(st.lists(arrivals, min_size=1, max_size=12), min_size=1, max_size=3))
def test_any_packets_in_any_order_leave_the_state_that_upstream_would(batches: list[list[Arrival]]) -> None:
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    number, now = quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet, pair.now
    for batch in batches:
        datagrams = []
        for arrival in batch:
            number = max(0, number + arrival.step)
            made = seal(
                pair.client.quic,
                arrival.payload,
                number,
                width=arrival.width,
                first=arrival.first,
                phase=arrival.phase,
            )
            datagrams.append(harmed(arrival, made))
        now += 0.001
        quic = compare(quic, datagrams, CLIENT, now)


def ack_frame(numbers: Iterable[int]) -> bytes:
    """Return an ACK frame for these packet numbers (RFC 9000 section 19.3)."""
    ranges: list[list[int]] = []
    for number in sorted(numbers, reverse=True):
        if ranges and number == ranges[-1][0] - 1:
            ranges[-1][0] = number
        else:
            ranges.append([number, number])
    (first, last), *others = ranges
    fields = [last, 0, len(others), last - first]
    for start, stop in others:
        fields += [first - stop - 2, stop - start]
        first = start
    return b"\x02" + b"".join(map(encode_uint_var, fields))


@st.composite
def acknowledged(draw: st.DrawFn) -> list[set[int]]:
    """Packet numbers of ACK frames: runs with gaps, some twice, some of packets that were never sent."""
    frames = []
    for _ in range(draw(st.integers(1, 6))):
        numbers: set[int] = set()
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, 60))
            numbers.update(range(start, start + draw(st.integers(1, 30))))
        frames.append(numbers)
    return frames


@settings(slow, max_examples=200)
@given(acknowledged(), st.booleans(), st.booleans())
def test_any_acks_leave_the_state_that_upstream_would(frames: list[set[int]], watched: bool, together: bool) -> None:
    pair = standing_pair()
    quic, now = twin(pair.server.quic, fast=True), pair.now
    sent = cast("dict[int, object]", quic._spaces[tls.Epoch.ONE_RTT].sent_packets)
    bulk = [packet for packet in sent.values() if isinstance(packet, BulkPacket)]
    assert len(bulk) > 10
    if watched:
        # Somebody else wants to hear of a packet in the middle.
        bulk[5].delivery_handlers.append((quic._on_watched_delivery, (bulk[5].packet_number,)))
        quic._mtu.on_watched(bulk[5].packet_number)
    number = quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet
    sealed = [seal(pair.client.quic, ack_frame(numbers), number + at) for at, numbers in enumerate(frames, 1)]
    for batch in [sealed] if together else [[each] for each in sealed]:
        now += 0.02
        quic = compare(quic, batch, CLIENT, now)


@settings(slow, max_examples=20)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=20), st.integers(0, 2**32))
def test_what_is_not_authentic_changes_nothing(noise: list[bytes], seed: int) -> None:
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    before = state_of(quic)
    dice = random.Random(seed)
    genuine = seal(pair.client.quic, b"\x0c\x00\x00" + content(0, 100), 77)
    header = genuine[: 1 + len(quic.host_cid)]
    forged = [header[:1] + header[1:] + each for each in noise]
    for _ in range(20):
        at = dice.randrange(9, len(genuine))
        forged.append(genuine[:at] + bytes([genuine[at] ^ dice.randrange(1, 256)]) + genuine[at + 1 :])
        forged.append(genuine[: dice.randrange(len(genuine))])
    dice.shuffle(forged)
    quic.receive_batch(forged, CLIENT, pair.now)
    assert state_of(quic) == before
    assert quic.received_fast == pair.server.quic.received_fast
    quic.receive_batch([genuine], CLIENT, pair.now)
    assert quic.received_fast == pair.server.quic.received_fast + 1


def test_duplicates_are_known_across_runs_batches_and_the_window() -> None:
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    first = quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet + 1
    made = [
        seal(pair.client.quic, b"\x0c\x00" + encode_uint_var(100 * at) + content(at, 100), first + at)
        for at in range(300)
    ]
    quic = compare(quic, made[:10] + made[:10] + made[5:20], CLIENT, pair.now)
    assert quic._streams[0].receiver._buffer_start == 2000
    quic = compare(quic, made[19:] + made[:300:7], CLIENT, pair.now + 0.01)
    assert quic._streams[0].receiver._buffer_start == 30_000
    compare(quic, made, CLIENT, pair.now + 0.02)


def test_packet_numbers_that_wrap_around_two_bytes_are_whole_again() -> None:
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    space = quic._spaces[tls.Epoch.ONE_RTT]
    for number in (0x7FFE, 0xFFFD, 0xFFFF, 0x10000, 0x10001, 0xFFFE, 0x17FFF, 0x1FFFF, 0x20000):
        quic = compare(quic, [seal(pair.client.quic, b"\x01", number)], CLIENT, pair.now)
        space = quic._spaces[tls.Epoch.ONE_RTT]
        assert number in space.received_packets
    assert space.largest_received_packet == 0x20000


def test_more_ranges_than_are_kept_drop_the_oldest() -> None:
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    first = quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet + 2
    made = [
        seal(pair.client.quic, b"\x0c\x00" + encode_uint_var(50 * at) + content(at, 50), first + 2 * at)
        for at in range(100)
    ]
    quic = compare(quic, made, CLIENT, pair.now)
    assert len(quic._spaces[tls.Epoch.ONE_RTT].ack_queue) == 64
    assert quic._streams[0].receiver._buffer_start == 5000


@pytest.mark.parametrize("numbers", [(0,), (0, 4)], ids=["stream", "connection"])
def test_bytes_beyond_what_was_allowed_close_the_connection(numbers: tuple[int, ...]) -> None:
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    packet = quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet
    allowed = [SMALL.stream_window, SMALL.connection_window - SMALL.stream_window][: len(numbers)]
    made: list[bytes] = []
    for number, most in zip(numbers, allowed, strict=True):
        for at in range(0, most + 1000, 1000):
            packet += 1
            frame = b"\x0c" + encode_uint_var(number) + encode_uint_var(at) + content(at, 1000)
            made.append(seal(pair.client.quic, frame, packet))
            if len(numbers) == 2 and number == 0 and at + 1000 == most:
                break
    quic = compare(quic, made, CLIENT, pair.now)
    assert quic.ended is not None
    assert quic.ended.error_code == 3
    taken = quic.received_fast - pair.server.quic.received_fast
    assert taken in (len(made) - 1, len(made) - 2)


# Whole conversations, in every pairing


@dataclass(frozen=True)
class Deed:
    """Something one side does."""

    what: str
    client: bool
    stream: int
    size: int
    steps: int
    """Moments that pass before it."""


deeds = st.builds(
    Deed,
    what=st.sampled_from(
        ["write"] * 8 + ["small"] * 4 + ["end", "end", "reset", "stop", "keys", "ping", "move", "id", "hold", "read"]
    ),
    client=st.booleans(),
    stream=st.integers(0, 3),
    size=st.integers(1, 60_000),
    steps=st.integers(0, 12),
)


class Conversation:
    """Carries out deeds between two sides and remembers what was written."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.written: dict[tuple[bool, int], bytearray] = {}
        self.over: set[tuple[bool, int]] = set()
        self.broken: set[tuple[bool, int]] = set()
        self._moves = 0
        for number in range(0, 16, 4):
            # A stream that is opened opens all before it, so they are opened in order.
            pair.client.quic.send_stream_data(number, b"")
            pair.server.quic.send_stream_data(number + 1, b"")

    def do(self, deed: Deed) -> None:
        for _ in range(deed.steps):
            self.pair.step()
        side = self.pair.client if deed.client else self.pair.server
        # Either side writes to its own streams alone, so that a pairing does not decide who may write when.
        key = (deed.client, deed.stream * 4 + (0 if deed.client else 1))
        getattr(self, f"_{deed.what}")(side, key, deed.size)
        self.pair.transmit()

    def _write(self, side: Side, key: tuple[bool, int], size: int) -> None:
        if key not in self.over:
            data = content(len(self.written.setdefault(key, bytearray())) + key[1], size)
            self.written[key] += data
            side.quic.send_stream_data(key[1], data)

    def _small(self, side: Side, key: tuple[bool, int], size: int) -> None:
        self._write(side, key, size % 50)

    def _end(self, side: Side, key: tuple[bool, int], size: int) -> None:
        if key not in self.over:
            self._write(side, key, size if size % 2 else 0)
            side.quic.send_stream_data(key[1], b"", end_stream=True)
            self.over.add(key)

    def _reset(self, side: Side, key: tuple[bool, int], size: int) -> None:
        if key in self.written and key not in self.over:
            side.quic.reset_stream(key[1], 9)
            self.over.add(key)
            self.broken.add(key)

    def _stop(self, side: Side, key: tuple[bool, int], size: int) -> None:
        """Do not read any more what the other side writes."""
        theirs = (not key[0], key[1] ^ 1)
        if side.quic.has_stream(theirs[1]) and theirs not in self.over:
            side.quic.stop_stream(theirs[1], 8)
            self.over.add(theirs)
            self.broken.add(theirs)

    def _keys(self, side: Side, key: tuple[bool, int], size: int) -> None:
        # A second update before the first is known to the peer is not allowed (RFC 9001 section 6.1).
        self.pair.run_settled()
        side.quic.request_key_update()

    def _ping(self, side: Side, key: tuple[bool, int], size: int) -> None:
        side.quic.send_ping(0)

    def _move(self, side: Side, key: tuple[bool, int], size: int) -> None:
        """A NAT gives the client another port."""
        self._moves += 1
        self.pair.client.address = (CLIENT[0], CLIENT[1] + self._moves % 4)

    def _id(self, side: Side, key: tuple[bool, int], size: int) -> None:
        side.quic.change_connection_id()

    def _hold(self, side: Side, key: tuple[bool, int], size: int) -> None:
        side.reading = False

    def _read(self, side: Side, key: tuple[bool, int], size: int) -> None:
        side.reading = True
        side.take_events()

    def finish(self) -> None:
        """End everything and let it arrive."""
        for side in self.pair.sides:
            self._read(side, (True, 0), 0)
        for key in list(self.written):
            side = self.pair.client if key[0] else self.pair.server
            self._end(side, key, 0)
        self.pair.transmit()
        self.pair.run(self._all_there)
        self.pair.run_idle()

    def _all_there(self) -> bool:
        return all(
            number in (self.pair.server if client else self.pair.client).ended
            for client, number in self.written
            if (client, number) not in self.broken
        )

    def outcome(self) -> dict[str, Any]:
        """Return what must not depend on the path the packets took."""
        whole: dict[tuple[bool, int], bytes] = {}
        for key, data in self.written.items():
            side = self.pair.server if key[0] else self.pair.client
            got = bytes(side.data.get(key[1], b""))
            assert data.startswith(got), key
            if key not in self.broken:
                whole[key] = got
                assert got == data, key
        counts = {}
        for side, other in (self.pair.sides, self.pair.sides[::-1]):
            assert side.closed is None
            assert side.quic.ended is None
            # What one side counts as received, the other counts as sent.
            assert side.quic._local_max_data.used == other.quic._remote_max_data_used
            assert side.quic._spaces[tls.Epoch.ONE_RTT].ack_eliciting_in_flight == 0
            assert side.quic._loss.bytes_in_flight == 0
            senders = [stream.sender for stream in side.quic._streams.values()]
            assert all(s._buffer_start == s._buffer_stop or s._reset_error_code is not None for s in senders)
            counts[side.address[0]] = (sorted(side.ended - {number for _, number in self.broken}),)
        return {"whole": whole, "counts": counts}


@settings(slow, max_examples=20)
@given(st.lists(deeds, min_size=3, max_size=25), st.sampled_from(LOSSES), st.integers(0, 1000))
def test_any_conversation_says_the_same_in_every_pairing(script: list[Deed], loss: float, seed: int) -> None:
    outcomes = [converse(script, loss, seed, pairing) for pairing in PAIRINGS]
    assert all(outcome == outcomes[0] for outcome in outcomes)


def converse(
    script: list[Deed], loss: float, seed: int, pairing: tuple[bool, bool], *, compared: bool = False
) -> dict[str, Any]:
    """Run a script and return its outcome; if `compared`, every batch is given to upstream too."""
    pair = Pair(seed=seed, client_fast=pairing[0], server_fast=pairing[1], limits=SMALL)
    pair.loss, pair.reorder, pair.duplicate = loss, loss, loss
    taken = compare_all(pair) if compared else None
    conversation = Conversation(pair)
    for deed in script:
        conversation.do(deed)
    conversation.finish()
    # Of what arrives of a full window little is in order when so much is lost.
    assert taken is None or taken() > (100 if loss < 0.1 else 10)
    return conversation.outcome()


def one_of_everything() -> list[Deed]:
    """Return a script with bulk both ways, key updates of both sides, and many small streams beside it."""
    script = [
        Deed("write", True, 0, 400_000, 0),
        Deed("write", False, 0, 300_000, 0),
        Deed("write", True, 1, 90_000, 0),
    ]
    for at in range(12):
        script += [Deed("small", at % 2 == 0, 2, 17 + at, 3), Deed("write", at % 3 == 0, 1, 30_000, 2)]
        script += [Deed("keys", at % 2 == 1, 0, 0, 1)] if at % 4 == 1 else []
        script += [Deed("move", True, 0, 0, 2)] if at == 6 else []
        script += [Deed("id", True, 0, 0, 2)] if at == 8 else []
    return [*script, Deed("reset", True, 1, 0, 1), Deed("stop", True, 1, 0, 1), Deed("end", True, 0, 1, 0)]


@pytest.mark.parametrize(
    "pairing", PAIRINGS, ids=lambda pairing: "-".join("fast" if fast else "upstream" for fast in pairing)
)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_long_conversation(loss: float, pairing: tuple[bool, bool]) -> None:
    converse(one_of_everything(), loss, 3, pairing)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_batch_of_a_long_conversation_leaves_the_state_that_upstream_would(loss: float) -> None:
    converse(one_of_everything(), loss, 4, (True, True), compared=True)
