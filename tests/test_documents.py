"""The documents say what the code does: vectors, codes and commands that can be checked are."""

import re
from pathlib import Path

import pytest

from leafsync.engine.core import merkle, messages
from leafsync.engine.core.messages import CloseCode

PROTOCOL = (Path(__file__).parent.parent / "PROTOCOL.md").read_text()


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ('leaf of ""', merkle.leaf_hash(b"")),
        ('leaf of "abc"', merkle.leaf_hash(b"abc")),
        ("leaf of 1 MiB of zeros", merkle.zero_leaf(merkle.CHUNK_SIZE)),
        ('top of the leaves of "a", "b"', merkle.tree_top(b"".join(map(merkle.leaf_hash, (b"a", b"b"))))),
        ('top of the leaves of "a", "b", "c"', merkle.tree_top(b"".join(map(merkle.leaf_hash, (b"a", b"b", b"c"))))),
        ("root of the empty file", merkle.EMPTY_ROOT),
        ('root of the file "abc"', merkle.file_root(3, merkle.leaf_hash(b"abc"))),
        ('DIGEST REQUEST, only ""', messages.encode(messages.DigestRequest())),
        ('DIGEST REQUEST, only "dir/a"', messages.encode(messages.DigestRequest("dir/a"))),
        ('LIST REQUEST of "" and "dir"', messages.encode(messages.ListRequest(["", "dir"]))),
        ("CHUNK 7, 1,048,576 bytes, raw", messages.encode(messages.Chunk(7, 1 << 20, messages.Encoding.RAW))),
        ("CHUNK 8, 1 byte, zero", messages.encode(messages.Chunk(8, 1, messages.Encoding.ZERO))),
        ("END", messages.encode(messages.End())),
        ("ABORT, changed", messages.encode(messages.Abort(messages.AbortReason.CHANGED))),
    ],
)
def test_the_vectors_of_the_protocol(label: str, value: bytes) -> None:
    assert f"| {label} | {value.hex()} |" in PROTOCOL


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_documented(code: CloseCode) -> None:
    assert f"| {code.value} | {code.name} |" in PROTOCOL


def test_reserved_close_codes_are_not_used() -> None:
    reserved = {int(code) for code in re.findall(r"^\| (\d+) \| \| reserved", PROTOCOL, re.MULTILINE)}
    assert reserved == set(range(10)) - {int(code) for code in CloseCode}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (messages.MAX_FRAME, "1,048,576"),
        (messages.MAX_ITEMS, "4096"),
        (messages.MAX_LEAVES_PAGE, "16,384"),
        (merkle.MAX_FILE_SIZE, "2^43"),
        (messages.FIRST_OPTIONAL_TAG, "A tag of 128 or more"),
    ],
)
def test_published_caps_are_documented(value: int, text: str) -> None:
    digits = text.replace(",", "").replace("2^43", str(1 << 43))
    assert str(value) in digits
    assert text in PROTOCOL
