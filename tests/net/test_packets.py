"""What counts as a packet of bulk: exactly one STREAM frame with data and no FIN."""

import pytest
from aioquic.buffer import encode_uint_var
from hypothesis import given, strategies as st

from leafsync.engine.net.packets import LEAST_FRAME, only_stream_frame

numbers = st.one_of(st.integers(0, 70), st.integers(0, 1 << 30), st.integers(0, (1 << 62) - 1))
bodies = st.binary(min_size=LEAST_FRAME, max_size=60)


def stream_frame(stream_id: int, offset: int | None, length: int | None, data: bytes, *, fin: bool = False) -> bytes:
    """Return a frame with the fields that are not None (RFC 9000 section 19.8)."""
    kind = 0x08 | (offset is not None) << 2 | (length is not None) << 1 | fin
    fields = b"".join(encode_uint_var(number) for number in (stream_id, offset, length) if number is not None)
    return bytes([kind]) + fields + data


@given(numbers, st.none() | numbers, st.booleans(), bodies)
def test_a_stream_frame_that_fills_the_packet(stream_id: int, offset: int | None, bounded: bool, data: bytes) -> None:
    plain = stream_frame(stream_id, offset, len(data) if bounded else None, data)
    assert only_stream_frame(plain) == (stream_id, offset or 0, len(plain) - len(data))


@given(numbers, st.none() | numbers, st.booleans(), bodies)
def test_one_that_ends_its_stream_is_not_bulk(stream_id: int, offset: int | None, bounded: bool, data: bytes) -> None:
    assert only_stream_frame(stream_frame(stream_id, offset, len(data) if bounded else None, data, fin=True)) is None


@given(numbers, numbers, bodies, numbers)
def test_one_with_another_length_is_not_bulk(stream_id: int, offset: int, data: bytes, length: int) -> None:
    """Something follows it, or it claims more than came, or it has no data at all."""
    if length != len(data):
        assert only_stream_frame(stream_frame(stream_id, offset, length, data)) is None


@pytest.mark.parametrize("kind", [kind for kind in range(256) if kind & 0xF8 != 0x08])
def test_other_frames_are_not_bulk(kind: int) -> None:
    assert only_stream_frame(bytes([kind]) + bytes(LEAST_FRAME)) is None
