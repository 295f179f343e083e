"""Nothing from outside reaches a terminal raw, and different texts stay different."""

import re
import unicodedata

import pytest
from hypothesis import given, strategies as st

from leafsync.text import MAX_SHOWN, printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
any_text = st.text(st.characters(), max_size=50) | st.text(
    st.sampled_from("\\xu0189ab\x1b\x9b\u202e\u200d…"), max_size=20
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain name (1).txt", "plain name (1).txt"),
        ("naïve 日本語 שלום", "naïve 日本語 שלום"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\r\nb\tc\0d\x7f", r"a\x0d\x0ab\x09c\x00d\x7f"),
        ("\x85\x9b31m", r"\x85\x9b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ufeffbom", r"\ufeffbom"),
        ("soft\u00adhyphen", r"soft\xadhyphen"),
        ("bad\udcff", r"bad\udcff"),
        ("\ue000", r"\ue000"),
        ("\uffff", r"\uffff"),
        ("\U000e0041", r"\U000e0041"),
        ("C:\\dir", r"C:\\dir"),
        (r"\x1b", r"\\x1b"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("क\u094d\u200cष", "क\u094d\u200cष"),
        ("e\u0301", "e\u0301"),
        ("[red]markup[/red]", "[red]markup[/red]"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("character", [*BIDI, *map(chr, range(32)), *map(chr, range(0x7F, 0xA0))])
def test_no_control_or_bidirectional_character_gets_through(character: str) -> None:
    assert character not in printable(f"a{character}b")


@given(any_text)
def test_what_is_shown_can_be_shown(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not set(shown) & set(BIDI)
    shown.encode()


def original(shown: str) -> str:
    """Undo the escapes: that it can be done for every text proves that no two look the same."""

    def character(match: re.Match[str]) -> str:
        return "\\" if match[0] == "\\\\" else chr(int(match[0][2:], 16))

    return re.sub(r"\\(?:\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", character, shown)


@given(any_text)
def test_different_texts_never_look_the_same(text: str) -> None:
    assert original(printable(text)) == text


def test_a_long_text_is_cut_and_the_cut_is_shown() -> None:
    assert printable("a" * MAX_SHOWN) == "a" * MAX_SHOWN
    assert printable("a" * (MAX_SHOWN + 1)) == "a" * MAX_SHOWN + "…"
    assert len(printable("\U000e0041" * 10**6)) == 10 * MAX_SHOWN + 1


@pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
def test_joiners_are_kept_where_they_join_alone(joiner: str) -> None:
    escape = f"\\u{ord(joiner):04x}"
    for kept in (
        "\U0001f468" + joiner + "\U0001f469",
        "\u0915\u094d" + joiner + "\u0937",
        "\u0645" + joiner + "\u06cc",
    ):
        assert printable(kept) == kept
    for before, after in (
        ("", "\u0937"),
        ("\u0937", ""),
        ("a", "\u0937"),
        ("\u0937", " "),
        ("\u0937", joiner),
        ("", ""),
    ):
        assert escape in printable(before + joiner + after)
