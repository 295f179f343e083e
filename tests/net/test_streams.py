"""A stream with a stand-in for its connection: framing, credit, and what ends it."""

import asyncio

import pytest
from hypothesis import given, settings, strategies as st

from leafsync.engine.net.streams import WRITE_PIECE, Stream
from leafsync.errors import ConnectionLost, PeerStalled, ProtocolViolated, StreamReset, StreamStopped

STEP = 1000


class Owner:
    """Notes what a stream asks of its connection."""

    address = "there:4455"

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended = 0
        self.resets: list[int] = []
        self.stops: list[int] = []
        self.credited = 0
        self.open = asyncio.Event()
        self.open.set()

    def send_stream(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        self.sent.append(data)
        self.ended += end

    def reset_stream(self, stream_id: int, code: int) -> None:
        self.resets.append(code)

    def stop_stream(self, stream_id: int, code: int) -> None:
        self.stops.append(code)

    def credit(self, stream_id: int, count: int) -> None:
        self.credited += count

    async def writable(self, stream_id: int) -> None:
        await self.open.wait()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def stream(owner: Owner) -> Stream:
    return Stream(owner, 4, credit_step=STEP)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


# Reading


async def test_read_returns_what_there_is_up_to_the_limit(stream: Stream) -> None:
    stream.on_data(b"abcdef", end=False)
    assert await stream.read(4) == b"abcd"
    assert await stream.read(4) == b"ef"


async def test_read_waits_for_the_first_byte(stream: Stream) -> None:
    reading = asyncio.create_task(stream.read(10))
    await asyncio.sleep(1)
    assert not reading.done()
    stream.on_data(b"x", end=False)
    assert await reading == b"x"


async def test_the_end_is_empty_bytes_for_ever(stream: Stream) -> None:
    stream.on_data(b"x", end=True)
    assert await stream.read(10) == b"x"
    assert await stream.read(10) == b""
    assert await stream.read_frame(cap=10) is None


async def test_read_exactly_collects(stream: Stream) -> None:
    reading = asyncio.create_task(stream.read_exactly(6))
    for piece in (b"ab", b"cd", b"efgh"):
        await asyncio.sleep(0)
        stream.on_data(piece, end=False)
    assert await reading == b"abcdef"
    assert await stream.read(10) == b"gh"


async def test_read_exactly_of_a_stream_that_is_too_short(stream: Stream) -> None:
    stream.on_data(b"abc", end=True)
    with pytest.raises(ProtocolViolated):
        await stream.read_exactly(4)


async def test_read_exactly_of_nothing(stream: Stream) -> None:
    assert await stream.read_exactly(0) == b""


@pytest.mark.parametrize("call", ["read", "read_exactly", "read_frame"])
async def test_a_deadline_that_passes_is_a_stalled_peer(stream: Stream, call: str) -> None:
    calls = {
        "read": stream.read(1, deadline=3),
        "read_exactly": stream.read_exactly(9, deadline=3),
        "read_frame": stream.read_frame(cap=9, deadline=3),
    }
    chosen = calls.pop(call)
    for unused in calls.values():
        unused.close()
    with pytest.raises(PeerStalled) as raised:
        await chosen
    assert raised.value.fields["seconds"] == "3"
    assert asyncio.get_running_loop().time() == pytest.approx(1003)


async def test_what_is_here_is_had_at_once(stream: Stream, owner: Owner) -> None:
    data = frame(b"hello") + b"content" + frame(b"bye")
    for at in range(len(data)):
        assert stream.buffered(at + 1) is None
        stream.on_data(data[at : at + 1], end=False)
        if at < len(frame(b"hello")) - 1:
            assert stream.buffered_frame(cap=100) is None
    assert stream.buffered_frame(cap=100) == b"hello"
    assert stream.buffered(7) == b"content"
    assert stream.buffered_frame(cap=100) == b"bye"
    assert stream.buffered(1) is None
    assert stream.buffered_frame(cap=100) is None
    assert owner.credited == len(data)


async def test_a_buffered_frame_needs_no_deadline(stream: Stream) -> None:
    stream.on_data(frame(b"hello"), end=False)
    assert await stream.read_frame(cap=100, deadline=0) == b"hello"


@pytest.mark.parametrize("length", [0, 101])
async def test_a_buffered_frame_has_a_length_that_may_be(stream: Stream, length: int) -> None:
    stream.on_data(length.to_bytes(4, "big"), end=False)
    with pytest.raises(ProtocolViolated, match=f"{length} bytes"):
        stream.buffered_frame(cap=100)


async def test_nobody_takes_what_another_task_waits_for(stream: Stream) -> None:
    reading = asyncio.create_task(stream.read_frame(cap=100))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        stream.buffered(1)
    with pytest.raises(RuntimeError, match="two tasks"):
        stream.buffered_frame(cap=100)
    stream.on_data(frame(b"hello"), end=False)
    assert await reading == b"hello"


async def test_a_read_given_up_loses_nothing(stream: Stream) -> None:
    stream.on_data(frame(b"hello")[:6], end=False)
    with pytest.raises(PeerStalled):
        await stream.read_frame(cap=100, deadline=1)
    stream.on_data(frame(b"hello")[6:], end=False)
    assert await stream.read_frame(cap=100) == b"hello"


async def test_a_cancelled_read_loses_nothing(stream: Stream) -> None:
    reading = asyncio.create_task(stream.read_exactly(4))
    await asyncio.sleep(0)
    stream.on_data(b"abc", end=False)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    stream.on_data(b"d", end=False)
    assert await stream.read_exactly(4) == b"abcd"


async def test_two_readers_are_a_mistake(stream: Stream) -> None:
    reading = asyncio.create_task(stream.read(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await stream.read(1)
    stream.on_data(b"x", end=False)
    await reading


# Frames


@given(bodies=st.lists(st.binary(min_size=1, max_size=50), max_size=6), cuts=st.lists(st.integers(1, 20), min_size=1))
@settings(max_examples=60, deadline=None)
def test_frames_come_back_however_they_were_cut(bodies: list[bytes], cuts: list[int]) -> None:
    async def scenario() -> None:
        owner = Owner()
        stream = Stream(owner, 0, credit_step=7)
        wire = b"".join(frame(body) for body in bodies)

        async def feed() -> None:
            at, turn = 0, 0
            while at < len(wire):
                size = cuts[turn % len(cuts)]
                stream.on_data(wire[at : at + size], end=False)
                at, turn = at + size, turn + 1
                await asyncio.sleep(0)
            stream.on_data(b"", end=True)

        feeding = asyncio.create_task(feed())
        received = []
        while (body := await stream.read_frame(cap=50)) is not None:
            received.append(body)
        await feeding
        assert received == bodies
        assert owner.credited == len(wire)

    asyncio.run(scenario())


@pytest.mark.parametrize("length", [0, 101, 0x7FFFFFFF, 0xFFFFFFFF])
async def test_a_length_out_of_bounds_is_a_violation_before_anything_is_read(stream: Stream, length: int) -> None:
    stream.on_data(length.to_bytes(4, "big"), end=False)
    with pytest.raises(ProtocolViolated) as raised:
        await stream.read_frame(cap=100)
    assert str(length) in str(raised.value)


@pytest.mark.parametrize("cut", [1, 3, 4, 8])
async def test_an_end_inside_a_frame_is_a_violation(stream: Stream, cut: int) -> None:
    stream.on_data(frame(b"hello")[:cut], end=True)
    with pytest.raises(ProtocolViolated):
        await stream.read_frame(cap=100)


async def test_a_frame_of_exactly_the_cap(stream: Stream) -> None:
    stream.on_data(frame(b"x" * 100), end=False)
    assert await stream.read_frame(cap=100) == b"x" * 100


# Credit


async def test_nothing_is_credited_until_it_is_read(stream: Stream, owner: Owner) -> None:
    stream.on_data(bytes(5000), end=False)
    assert owner.credited == 0
    await stream.read(3000)
    assert owner.credited == 3000


async def test_bytes_a_reader_waits_for_are_credited_in_steps_and_only_once(stream: Stream, owner: Owner) -> None:
    reading = asyncio.create_task(stream.read_exactly(5000))
    await asyncio.sleep(0)
    stream.on_data(bytes(STEP - 1), end=False)
    assert owner.credited == 0
    stream.on_data(bytes(1), end=False)
    assert owner.credited == STEP
    stream.on_data(bytes(6000), end=False)
    await reading
    assert owner.credited == 5000
    await stream.read(9000)
    assert owner.credited == 7000


async def test_a_reset_credits_all_of_the_stream(stream: Stream, owner: Owner) -> None:
    stream.on_data(bytes(500), end=False)
    await stream.read(100)
    stream.on_reset(3, 2000)
    assert owner.credited == 2000


async def test_a_stop_credits_what_is_buffered_and_what_still_comes(stream: Stream, owner: Owner) -> None:
    stream.on_data(bytes(500), end=False)
    stream.stop(1)
    stream.on_data(bytes(300), end=False)
    assert owner.credited == 800
    assert owner.stops == [1]
    assert stream.stopped
    with pytest.raises(ConnectionLost):
        await stream.read(1)


async def test_stopping_a_stream_that_ended_asks_nothing_of_the_peer(stream: Stream, owner: Owner) -> None:
    stream.on_data(bytes(500), end=True)
    stream.stop(1)
    assert owner.stops == []
    assert owner.credited == 500


# Writing


async def test_a_long_write_goes_out_in_pieces_that_look_at_the_mark(stream: Stream, owner: Owner) -> None:
    data = bytes(range(256)) * 1024
    await stream.write(memoryview(data))
    assert b"".join(owner.sent) == data
    assert max(map(len, owner.sent)) == WRITE_PIECE


async def test_a_write_waits_while_the_connection_is_full(stream: Stream, owner: Owner) -> None:
    owner.open.clear()
    writing = asyncio.create_task(stream.write(b"x"))
    await asyncio.sleep(1)
    assert not writing.done()
    assert not owner.sent
    owner.open.set()
    await writing
    assert owner.sent == [b"x"]


async def test_two_writes_are_not_mixed(stream: Stream, owner: Owner) -> None:
    a, b = b"a" * (2 * WRITE_PIECE), b"b" * (2 * WRITE_PIECE)
    owner.open.clear()
    writing = [asyncio.create_task(stream.write(frame(a))), asyncio.create_task(stream.write(frame(b)))]
    await asyncio.sleep(1)
    owner.open.set()
    await asyncio.gather(*writing)
    assert b"".join(owner.sent) == frame(a) + frame(b)


async def test_write_takes_any_buffer(stream: Stream, owner: Owner) -> None:
    await stream.write(memoryview(bytearray(b"hello")))
    assert b"".join(owner.sent) == b"hello"


async def test_finish_ends_once_and_forbids_writes(stream: Stream, owner: Owner) -> None:
    stream.finish()
    stream.finish()
    assert owner.ended == 1
    with pytest.raises(RuntimeError):
        await stream.write(b"x")


async def test_reset_forbids_writes_and_happens_once(stream: Stream, owner: Owner) -> None:
    stream.reset(5)
    stream.reset(6)
    stream.finish()
    assert owner.resets == [5]
    assert owner.ended == 0
    with pytest.raises(ConnectionLost):
        await stream.write(b"x")


async def test_a_stop_by_the_peer_reaches_the_writer_between_two_pieces(stream: Stream, owner: Owner) -> None:
    owner.open.clear()
    writing = asyncio.create_task(stream.write(b"x"))
    await asyncio.sleep(1)
    stream.on_stopped(8)
    owner.open.set()
    with pytest.raises(StreamStopped):
        await writing
    assert not owner.sent


# Ends


async def test_a_reset_drops_what_was_not_read(stream: Stream) -> None:
    stream.on_data(b"abc", end=False)
    stream.on_reset(3, 10)
    with pytest.raises(StreamReset) as raised:
        await stream.read(10)
    assert raised.value.fields["code"] == 3


async def test_the_first_error_stays(stream: Stream) -> None:
    stream.on_reset(3, 0)
    stream.on_stopped(4)
    stream.on_connection_over(ConnectionLost(peer="there", reason="gone"))
    with pytest.raises(StreamReset):
        await stream.read(1)
    with pytest.raises(StreamStopped):
        await stream.write(b"x")


async def test_a_lost_connection_lets_the_reader_have_what_came(stream: Stream) -> None:
    stream.on_data(b"abc", end=False)
    stream.on_connection_over(ConnectionLost(peer="there", reason="gone"))
    assert await stream.read_exactly(3) == b"abc"
    with pytest.raises(ConnectionLost):
        await stream.read(1)


def test_its_name(stream: Stream) -> None:
    assert stream.id == 4
    assert "there:4455" in repr(stream)
