"""Compression that pays, and frames that lie about themselves."""

import random
import tracemalloc

import pytest
from hypothesis import given, strategies as st
from zstandard import ZstdCompressor

from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.sync import packing
from leafsync.engine.sync.packing import Packed, PackingMalformed, pack, unpack

NOISE = random.Random(1).randbytes(CHUNK_SIZE)
TEXT = b"".join(b"%d: the quick brown fox jumps over %d lazy dogs\n" % (n, n * n) for n in range(30_000))[:CHUNK_SIZE]


@given(st.binary(max_size=400), st.integers(1, 400))
def test_what_is_packed_comes_back(data: bytes, times: int) -> None:
    content = data * times
    packed = pack(content)
    if packed is not None:
        assert len(packed) < len(content)
        assert unpack(packed, len(content)) == content


def test_text_becomes_small() -> None:
    for kind in (bytes, bytearray, memoryview):
        packed = pack(kind(TEXT))
        assert packed is not None
        assert len(packed) < len(TEXT) // 3
        assert Packed(packed, len(TEXT)).unpack() == TEXT


@pytest.mark.parametrize("data", [NOISE, NOISE[:70_000], NOISE[:1000], b"", b"a" * 127], ids=len)
def test_what_does_not_become_smaller_is_left_alone(data: bytes) -> None:
    assert pack(data) is None


def test_noise_is_not_packed_to_find_that_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Noted:
        def compress(self, data: bytes) -> bytes:
            sizes.append(len(data))
            return data

    monkeypatch.setattr(packing, "_compressor", Noted)
    assert pack(NOISE) is None
    assert sizes == [3 * packing.SAMPLE]


def test_noise_with_promising_samples() -> None:
    """Samples may be wrong; what is sent then is as long as it was."""
    data = bytearray(NOISE)
    for place in (0, (len(data) - packing.SAMPLE) // 2, len(data) - packing.SAMPLE):
        data[place : place + packing.SAMPLE] = bytes(packing.SAMPLE)
    assert pack(data) is None


def frame_of(content: bytes) -> bytes:
    return ZstdCompressor().compress(content)


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"", 5),
        (b"nonsense", 5),
        (frame_of(TEXT)[:-1], len(TEXT)),
        (frame_of(TEXT)[:9], len(TEXT)),
        (frame_of(TEXT) + b"more", len(TEXT)),
        (frame_of(TEXT) + frame_of(b"more"), len(TEXT)),
        (frame_of(TEXT), len(TEXT) - 1),
        (frame_of(TEXT), len(TEXT) + 1),
        (b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip", 4),  # a skippable frame has no content
    ],
    ids=range(9),
)
def test_frames_that_lie(data: bytes, length: int) -> None:
    with pytest.raises(PackingMalformed):
        unpack(data, length)


def test_a_frame_that_does_not_say_how_long_it_is() -> None:
    data = ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(PackingMalformed, match="another length"):
        unpack(data, len(TEXT))


def test_a_bomb_takes_no_memory() -> None:
    """32 KiB that would be 256 MiB: what it claims is compared before anything is made of it (fault case 53)."""
    bomb = frame_of(bytes(256 << 20))
    tracemalloc.start()
    with pytest.raises(PackingMalformed):
        unpack(bomb, CHUNK_SIZE)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
