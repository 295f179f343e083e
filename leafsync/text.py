"""Text from outside, made safe to show.

Names, device names, close reasons and error texts come from peers and from disks. `printable` is the one place
that turns them into something a terminal, a log line or a screen may show (reference cases 7, 8, 12 and 20 of the
fault list in SECURITY.md).
"""

import re
import unicodedata

MAX_SHOWN = 1000
"""Characters shown of one text: longer ones come only from a broken or hostile peer, and would hide the rest."""

_PLAIN = re.compile(r"[\x20-\x5b\x5d-\x7e]*")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width joiners shape letters of several scripts and emoji. Elsewhere they are escaped: what is beside them may be
drawn or measured as one with its neighbour, and then columns are not where they should be."""


def printable(text: str) -> str:
    r"""Return `text` with control, bidirectional and unassigned characters and lone surrogates as ``\x1b`` escapes.

    The backslash itself is doubled, so two different texts of at most `MAX_SHOWN` characters never come out the same.
    """
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        character if character in _JOINERS and _joins(text, at) else _printable_character(character)
        for at, character in enumerate(text)
    )


def _joins(text: str, at: int) -> bool:
    """Say whether the joiner at this place stands between two characters that it may shape."""
    beside = text[at - 1 : at] + text[at + 1 : at + 2]
    return len(beside) == 2 and all(one > "\x7f" and unicodedata.category(one)[0] in "LMS" for one in beside)


def _printable_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
