"""The segmented buffer against the bytearray it stands for."""

from hypothesis import given, strategies as st

from leafsync.engine.net.segmented import SMALL, SegmentedBuffer

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.one_of(st.integers(1, 50), st.integers(SMALL - 2, 3 * SMALL))),
        st.tuples(st.just("cut"), st.integers(0, 2 * SMALL)),
        st.tuples(st.just("read"), st.integers(0, 3 * SMALL)),
        st.tuples(st.just("take"), st.one_of(st.integers(0, 50), st.integers(0, 3 * SMALL))),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=40,
)


@given(steps, st.integers(0, 3 * SMALL))
def test_it_is_a_bytearray_to_its_user(script: list[tuple[str, int]], offset: int) -> None:
    model, buffer = bytearray(), SegmentedBuffer()
    for number, (what, size) in enumerate(script):
        if what == "write":
            data = bytes([number]) * size
            model += data
            buffer += data
        elif what == "cut":
            del model[:size], buffer[:size]
        elif what == "take":
            taken = buffer.take(size)
            assert type(taken) is bytes
            assert taken == model[:size]
            del model[:size]
        elif what == "clear":
            model.clear()
            buffer.clear()
        else:
            assert bytes(buffer[offset : offset + size]) == model[offset : offset + size]
        assert len(buffer) == len(model)
        assert bool(buffer) == bool(model)
    assert bytes(buffer) == model


def test_small_writes_share_pieces_and_what_is_cut_off_is_freed() -> None:
    buffer = SegmentedBuffer()
    for _ in range(10_000):
        buffer += b"ten bytes."
    assert len(buffer._segments) < 30
    del buffer[:99_995]
    assert len(buffer._segments) == 1
    assert bytes(buffer) == b"ytes."


def test_a_slice_within_a_piece_is_not_copied() -> None:
    buffer = SegmentedBuffer()
    buffer += bytes(100_000)
    assert isinstance(buffer[1000:50_000], memoryview)
