"""How the packets of bulk look: a short header with a packet number of 2 bytes, and one STREAM frame.

RFC 9000 sections 16 (integers of variable length), 17.3.1 (short headers) and 19.8 (STREAM frames), RFC 9001 section
5.4 (header protection).
"""

from struct import Struct
from typing import Final

TAG: Final = 16
"""Bytes that authenticate a packet, with every cipher of QUIC."""

SAMPLE: Final = 16
"""Bytes of ciphertext that header protection samples."""

NUMBER_SPACE: Final = 4
"""The sample begins this far behind where the packet number begins, however long that is (RFC 9001 section 5.4.2)."""

SHORT_HEADER: Final = 0x40
FORM_BITS: Final = 0xC0
"""Header form and fixed bit of the first byte: a 1-RTT packet has 01 (RFC 9000 section 17.3.1)."""

PROTECTED_BITS: Final = 0x1F
"""What header protection covers of the first byte: reserved bits, key phase, length of the packet number."""

TWO_BYTES: Final = 1
"""The length field of a packet number of two bytes: what both ends always send."""

SPIN_BIT: Final = 0x20
MASK: Final = Struct(">BH13x")
"""Of a header protection mask, what covers the first byte and a packet number of two bytes."""

STREAM_WITH_OFFSET: Final = b"\x0c"
"""How the STREAM frames of bulk begin: with an offset, without length and FIN."""

SHORT_OFFSET: Final = 1 << 30
"""Offsets below this take 4 bytes, others 8."""

FOUR_BYTES: Final = 0x8000_0000
EIGHT_BYTES: Final = 0xC000_0000_0000_0000
"""What marks the width of a variable-length integer."""

STREAM_KIND: Final = 0xF8
STREAM: Final = 0x08
FIN: Final = 0x01
LENGTH: Final = 0x02
OFFSET: Final = 0x04
"""STREAM frames are 0x08 to 0x0f: the low bits say which fields there are (RFC 9000 section 19.8)."""

VARIABLE: Final = ((1, 0x3F), (2, 0x3FFF), (4, 0x3FFF_FFFF), (8, 0x3FFF_FFFF_FFFF_FFFF))
"""Bytes of a variable-length integer and the mask of its value, by the two high bits of its first byte."""

LEAST_FRAME: Final = 20
"""A payload that is not longer than this is upstream's: all fields but the last one of a STREAM frame fit it, and with
the last one the data is measured."""


def only_stream_frame(plain: bytes) -> tuple[int, int, int] | None:
    """Return stream, offset and where the data begins of a payload that is one STREAM frame with data and no FIN.

    It is longer than LEAST_FRAME, so that its fields can be read before what is left is measured.
    """
    kind = plain[0]
    if kind & STREAM_KIND != STREAM or kind & FIN:
        return None
    stream_id, at = _variable(plain, 1)
    offset = 0
    if kind & OFFSET:
        offset, at = _variable(plain, at)
    if kind & LENGTH:
        length, at = _variable(plain, at)
        return (stream_id, offset, at) if 0 < length == len(plain) - at else None
    return stream_id, offset, at


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """Return the variable-length integer at `at`, and where it ends (RFC 9000 section 16)."""
    width, mask = VARIABLE[data[at] >> 6]
    return int.from_bytes(data[at : at + width], "big") & mask, at + width
