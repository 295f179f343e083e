"""What travels in frames: byte by byte as published, capped, and never a crash."""

import copy
import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from leafsync.engine.core import messages
from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, MAX_FILE_SIZE
from leafsync.engine.core.messages import (
    MAX_BUNDLE,
    MAX_CHUNK_INDEX,
    MAX_CUT_CHUNKS,
    MAX_FRAME,
    MAX_ITEMS,
    MAX_LEAVES_PAGE,
    MAX_PIECES_PAGE,
    MAX_SCALE,
    MIN_SCALE,
    Abort,
    AbortReason,
    Bundle,
    Change,
    Changed,
    ChangeKind,
    ChangeRequest,
    Chunk,
    CloseCode,
    Cut,
    Decoder,
    Digest,
    DigestRequest,
    Encoding,
    End,
    Fetch,
    FetchItem,
    FetchParts,
    Hello,
    Hint,
    Leaves,
    LeftOut,
    LeftOutRequest,
    Listing,
    ListRequest,
    Message,
    MessageMalformed,
    Pending,
    Pieces,
    Refusal,
    RefusalKind,
    Undone,
    UndoneRequest,
    Unready,
    Welcome,
    control_replies,
    control_requests,
    data_replies,
    data_requests,
    encode,
    frame,
)
from leafsync.engine.core.names import MAX_NAME, MAX_PATH

HASH = bytes(range(32))
FILE = Entry("a.txt", Kind.FILE, 3, 1_700_000_000_000_000_000, True, HASH)
LINK = Entry("l", Kind.SYMLINK, target="a.txt")

FAMILIES: dict[type[Message], Decoder[Any]] = {
    Hello: control_requests,
    DigestRequest: control_requests,
    ListRequest: control_requests,
    Welcome: control_replies,
    Digest: control_replies,
    Listing: control_replies,
    Fetch: data_requests,
    Leaves: data_replies,
    Chunk: data_replies,
    End: data_replies,
    Abort: data_replies,
    ChangeRequest: control_requests,
    Changed: control_replies,
    Hint: control_replies,
    Unready: control_replies,
    Pending: control_replies,
    LeftOutRequest: control_requests,
    LeftOut: control_replies,
    UndoneRequest: control_requests,
    Undone: control_replies,
    Cut: data_requests,
    Pieces: data_replies,
    FetchParts: data_requests,
    Bundle: data_replies,
}

DECODERS: tuple[Decoder[Any], ...] = (control_requests, control_replies, data_requests, data_replies)

EXAMPLES: list[Message] = [
    Hello([1, 2], ["zstd"], "laptop", "leafsync 0.1"),
    Welcome(1, [], "server", "leafsync 0.1", "0f", True, True, "dir"),
    DigestRequest(),
    DigestRequest("dir/a"),
    Digest(HASH, 3, 1 << 40, 0, 5, 7),
    ListRequest(["", "dir"]),
    Listing([FILE, LINK], True),
    Fetch([FetchItem("dir/a", 5 << 20, HASH, [(0, 1), (3, 2)], True)]),
    Leaves(HASH * 2),
    Chunk(7, CHUNK_SIZE, Encoding.RAW),
    Chunk(8, 1, Encoding.ZERO),
    End(),
    Abort(AbortReason.CHANGED),
    ChangeRequest([Change(ChangeKind.PUT, "a.txt", FILE, HASH), Change(ChangeKind.MOVE, "b", None, HASH, "a")], True),
    Changed([Refusal("a.txt", RefusalKind.CHANGED, "no")], True),
    Hint(),
    Unready("gone"),
    Cut("dir/a", 5 << 20, HASH, [(0, 1), (3, 2)], 14),
    Pieces(HASH[:16], HASH[:8]),
    FetchParts("dir/a", 5 << 20, HASH, [(7, 1000), (1 << 20, CHUNK_SIZE)]),
    Bundle(5000, 300),
    LeftOutRequest([("dir/a", False), ("dir/b", True)]),
    LeftOut([0, 4]),
    UndoneRequest(7),
    Undone([("dir/a.txt", FILE)], True),
    Pending(),
]

GOLDEN = [
    "950192010291a47a737464a66c6170746f70ac6c65616673796e6320302e31",
    "99020190a6736572766572ac6c65616673796e6320302e31a23066c3c3a3646972",
    "9203a0",
    "9203a56469722f61",
    "9704c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f03cf0000010000000000000507",
    "920592a0a3646972",
    "93069297a5612e7478740103cf17979cfe362a0000c3c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa097a16c030000c2c400a5612e747874c3",
    "92079195a56469722f61ce00500000c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f92920001920302c3",
    "9208c440000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "940907ce0010000000",
    "9409080101",
    "910a",
    "920b02",
    "930c929505a5612e74787497a5612e7478740103cf17979cfe362a0000c3c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa0c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa09504a162c0c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa161c3",
    "930d9193a5612e74787401a26e6fc3",
    "910e",
    "920fa4676f6e65",
    "9610a56469722f61ce00500000c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f929200019203020e",
    "9311c410000102030405060708090a0b0c0d0e0fc4080001020304050607",
    "9512a56469722f61ce00500000c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f929207cd03e892ce00100000ce00100000",
    "9313cd1388cd012c",
    "92149292a56469722f61c292a56469722f62c3",
    "9215920004",
    "921607",
    "93179192a96469722f612e74787497a5612e7478740103cf17979cfe362a0000c3c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa0c3",
    "91cc81",
]


@pytest.mark.parametrize(("message", "golden"), list(zip(EXAMPLES, GOLDEN, strict=True)))
def test_every_message_has_its_published_bytes(message: Message, golden: str) -> None:
    """These are in PROTOCOL.md: other bytes are another protocol."""
    assert encode(message).hex() == golden
    assert FAMILIES[type(message)].decode(bytes.fromhex(golden)) == message


def test_a_welcome_of_an_older_device_says_nothing_of_names_that_fold_or_what_is_offered() -> None:
    older = bytes.fromhex("97020190a6736572766572ac6c65616673796e6320302e31a23066c3")
    assert control_replies.decode(older) == Welcome(1, [], "server", "leafsync 0.1", "0f", True, False, "")


def test_a_digest_of_an_older_device_tells_of_no_undo() -> None:
    older = bytes.fromhex(f"9604c420{HASH.hex()}03cf00000100000000000005")
    assert control_replies.decode(older) == Digest(HASH, 3, 1 << 40, 0, 5, 0)


def test_every_message_has_an_example_and_a_tag_of_its_own() -> None:
    tagged = [message for message in Message.__subclasses__() if message.__struct_config__.tag is not None]
    assert set(tagged) == set(FAMILIES) == {type(example) for example in EXAMPLES}
    assert {message.__struct_config__.tag for message in tagged} == {*range(1, 24), 129}


def test_a_frame_is_its_length_and_its_body() -> None:
    assert frame(End()) == b"\x00\x00\x00\x02" + encode(End())


def test_published_numbers() -> None:
    assert (messages.PROTOCOL_VERSION, messages.FIRST_OPTIONAL_TAG, messages.LENGTH_SIZE) == (1, 128, 4)
    assert (MAX_FRAME, MAX_ITEMS, MAX_LEAVES_PAGE, MAX_CHUNK_INDEX) == (1 << 20, 4096, 16_384, 1 << 23)
    assert (MAX_PIECES_PAGE, MAX_CUT_CHUNKS, MIN_SCALE, MAX_SCALE, MAX_BUNDLE) == (8192, 4096, 12, 18, 2_162_688)
    assert messages.FEATURES == ("pieces", "zstd")
    assert [int(code) for code in CloseCode] == [0, 1, 2, 3, 5, 6, 7, 9]
    assert [(int(code), code.name) for code in Encoding] == [(0, "RAW"), (1, "ZERO"), (2, "ZSTD")]
    assert [(int(code), code.name) for code in AbortReason] == [(1, "GONE"), (2, "CHANGED"), (3, "UNREADABLE")]
    assert [(int(code), code.name) for code in Kind] == [(1, "FILE"), (2, "DIRECTORY"), (3, "SYMLINK"), (4, "WITHHELD")]


texts = st.text(max_size=20)
hashes = st.binary(min_size=32, max_size=32)
counts = st.integers(0, (1 << 63) - 1)
sizes = st.integers(0, MAX_FILE_SIZE)
indexes = st.integers(0, MAX_CHUNK_INDEX - 1)
versions = st.integers(0, 65_535)
entries = st.builds(
    Entry,
    texts,
    st.sampled_from(Kind),
    sizes,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
    st.binary(max_size=32),
    texts,
)
items = st.builds(
    FetchItem,
    st.text(min_size=1, max_size=20),
    sizes,
    hashes,
    st.lists(st.tuples(indexes, st.integers(1, MAX_CHUNK_INDEX)), max_size=4),
    st.booleans(),
)
refusals = st.builds(Refusal, texts, st.sampled_from(RefusalKind), texts)
changes = st.builds(
    Change,
    st.sampled_from(ChangeKind),
    st.text(min_size=1, max_size=20),
    st.one_of(st.none(), entries),
    st.binary(max_size=32),
    texts,
)
any_message: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.lists(versions, min_size=1, max_size=16), st.lists(texts, max_size=4), texts, texts),
    st.builds(Welcome, versions, st.lists(texts, max_size=4), texts, texts, texts, st.booleans(), st.booleans()),
    st.builds(DigestRequest, texts),
    st.builds(Digest, hashes, counts, counts, counts, counts),
    st.builds(ListRequest, st.lists(texts, min_size=1, max_size=4)),
    st.builds(Listing, st.lists(entries, max_size=4), st.booleans()),
    st.builds(Fetch, st.lists(items, min_size=1, max_size=3)),
    st.builds(Leaves, st.binary(min_size=32, max_size=96)),
    st.builds(Chunk, indexes, st.integers(1, CHUNK_SIZE), st.sampled_from(Encoding)),
    st.builds(End),
    st.builds(Abort, st.sampled_from(AbortReason)),
    st.builds(ChangeRequest, st.lists(changes, max_size=3), st.booleans()),
    st.builds(
        Changed, st.lists(st.builds(Refusal, texts, st.sampled_from(RefusalKind), texts), max_size=3), st.booleans()
    ),
    st.builds(Hint),
    st.builds(Unready, texts),
    st.builds(
        Cut,
        st.text(min_size=1, max_size=20),
        sizes,
        hashes,
        st.lists(st.tuples(indexes, st.integers(1, MAX_CHUNK_INDEX)), min_size=1, max_size=4),
        st.integers(MIN_SCALE, MAX_SCALE),
    ),
    st.builds(Pieces, st.binary(min_size=8, max_size=64), st.binary(min_size=4, max_size=32)),
    st.builds(
        FetchParts,
        st.text(min_size=1, max_size=20),
        sizes,
        hashes,
        st.lists(st.tuples(st.integers(0, MAX_FILE_SIZE - 1), st.integers(1, CHUNK_SIZE)), min_size=1, max_size=4),
    ),
    st.builds(Bundle, st.integers(1, MAX_BUNDLE), st.integers(1, MAX_BUNDLE)),
    st.builds(Pending),
)


@given(any_message)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    body = encode(message)
    assert FAMILIES[type(message)].decode(body) == message
    assert frame(message) == len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_decoded(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    assert data_replies.decode(kind(encode(Leaves(HASH)))) == Leaves(HASH)


HELLO, WELCOME, DIGEST_REQUEST, DIGEST = EXAMPLES[0], EXAMPLES[1], EXAMPLES[3], EXAMPLES[4]
LIST, LISTING, FETCH, LEAVES, CHUNK, ABORT = (
    EXAMPLES[5],
    EXAMPLES[6],
    EXAMPLES[7],
    EXAMPLES[8],
    EXAMPLES[9],
    EXAMPLES[12],
)
CUT, PIECES, FETCH_PARTS, BUNDLE = EXAMPLES[17:21]
LONG_NAME, LONG_PATH = "a" * (MAX_NAME + 1), "a" * (MAX_PATH + 1)

VIOLATIONS: list[tuple[Message, tuple[int, ...], object]] = [
    (HELLO, (1,), []),
    (HELLO, (1,), [1] * 17),
    (HELLO, (1, 0), -1),
    (HELLO, (1, 0), 1 << 16),
    (HELLO, (2,), ["f"] * 65),
    (HELLO, (2, 0), LONG_NAME),
    (HELLO, (3,), LONG_NAME),
    (HELLO, (4,), LONG_NAME),
    (WELCOME, (1,), -1),
    (WELCOME, (1,), 1 << 16),
    (WELCOME, (2,), ["f"] * 65),
    (WELCOME, (3,), LONG_NAME),
    (WELCOME, (4,), LONG_NAME),
    (DIGEST_REQUEST, (1,), LONG_PATH),
    (DIGEST, (1,), HASH[:31]),
    (DIGEST, (1,), HASH + b"\0"),
    (DIGEST, (2,), -1),
    (DIGEST, (2,), 1 << 63),
    (DIGEST, (3,), -1),
    (DIGEST, (3,), (1 << 64) - 1),
    (DIGEST, (4,), -1),
    (DIGEST, (4,), 1 << 63),
    (LIST, (1,), []),
    (LIST, (1,), [""] * (MAX_ITEMS + 1)),
    (LIST, (1, 0), LONG_PATH),
    (LISTING, (1,), [["a", 2]] * (MAX_ITEMS + 1)),
    (LISTING, (1, 0, 0), LONG_NAME),
    (LISTING, (1, 0, 1), 0),
    (LISTING, (1, 0, 1), 5),
    (LISTING, (1, 0, 2), -1),
    (LISTING, (1, 0, 2), MAX_FILE_SIZE + 1),
    (LISTING, (1, 0, 3), 1 << 63),
    (LISTING, (1, 0, 4), 1),
    (LISTING, (1, 0, 5), HASH + b"\0"),
    (LISTING, (1, 0, 6), LONG_PATH),
    (LISTING, (2,), 1),
    (FETCH, (1,), []),
    (FETCH, (1,), [["p", 0, HASH, []]] * (MAX_ITEMS + 1)),
    (FETCH, (1, 0, 0), ""),
    (FETCH, (1, 0, 0), LONG_PATH),
    (FETCH, (1, 0, 1), -1),
    (FETCH, (1, 0, 1), MAX_FILE_SIZE + 1),
    (FETCH, (1, 0, 2), b""),
    (FETCH, (1, 0, 2), HASH + b"\0"),
    (FETCH, (1, 0, 3), [[0, 1]] * (MAX_ITEMS + 1)),
    (FETCH, (1, 0, 3, 0), [0]),
    (FETCH, (1, 0, 3, 0), [0, 1, 2]),
    (FETCH, (1, 0, 3, 0, 0), -1),
    (FETCH, (1, 0, 3, 0, 0), MAX_CHUNK_INDEX),
    (FETCH, (1, 0, 3, 0, 1), 0),
    (FETCH, (1, 0, 3, 0, 1), MAX_CHUNK_INDEX + 1),
    (LEAVES, (1,), HASH[:31]),
    (LEAVES, (1,), bytes(32 * MAX_LEAVES_PAGE + 1)),
    (CHUNK, (1,), -1),
    (CHUNK, (1,), MAX_CHUNK_INDEX),
    (CHUNK, (2,), 0),
    (CHUNK, (2,), CHUNK_SIZE + 1),
    (CHUNK, (3,), 3),
    (ABORT, (1,), 0),
    (ABORT, (1,), 4),
    (CUT, (1,), ""),
    (CUT, (1,), LONG_PATH),
    (CUT, (2,), MAX_FILE_SIZE + 1),
    (CUT, (3,), HASH[:31]),
    (CUT, (4,), []),
    (CUT, (4,), [[0, 1]] * (MAX_ITEMS + 1)),
    (CUT, (4, 0, 0), MAX_CHUNK_INDEX),
    (CUT, (4, 0, 1), 0),
    (CUT, (5,), MIN_SCALE - 1),
    (CUT, (5,), MAX_SCALE + 1),
    (PIECES, (1,), b""),
    (PIECES, (1,), bytes(8 * MAX_PIECES_PAGE + 1)),
    (PIECES, (2,), b""),
    (PIECES, (2,), bytes(4 * MAX_PIECES_PAGE + 1)),
    (FETCH_PARTS, (1,), ""),
    (FETCH_PARTS, (2,), -1),
    (FETCH_PARTS, (3,), HASH + b"\0"),
    (FETCH_PARTS, (4,), []),
    (FETCH_PARTS, (4,), [[0, 1]] * (MAX_ITEMS + 1)),
    (FETCH_PARTS, (4, 0, 0), -1),
    (FETCH_PARTS, (4, 0, 0), MAX_FILE_SIZE),
    (FETCH_PARTS, (4, 0, 1), 0),
    (FETCH_PARTS, (4, 0, 1), CHUNK_SIZE + 1),
    (BUNDLE, (1,), 0),
    (BUNDLE, (1,), MAX_BUNDLE + 1),
    (BUNDLE, (2,), 0),
    (BUNDLE, (2,), MAX_BUNDLE + 1),
]


@pytest.mark.parametrize(("message", "place", "value"), VIOLATIONS, ids=range(len(VIOLATIONS)))
def test_every_cap_is_checked_while_decoding(message: Message, place: tuple[int, ...], value: object) -> None:
    fields = msgspec.msgpack.decode(encode(message))
    at = fields
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    with pytest.raises(MessageMalformed):
        FAMILIES[type(message)].decode(msgspec.msgpack.encode(fields))


WRONG_TYPES: tuple[object, ...] = (None, {}, 1.5, {"a": []})


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_with_a_field_of_another_type_is_malformed(message: Message) -> None:
    fields = msgspec.msgpack.decode(encode(message))
    for place in range(1, len(fields)):
        for value in WRONG_TYPES:
            other = copy.copy(fields)
            other[place] = value
            with pytest.raises(MessageMalformed):
                FAMILIES[type(message)].decode(msgspec.msgpack.encode(other))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_torn_message_is_malformed(message: Message) -> None:
    body = encode(message)
    for end in range(len(body)):
        with pytest.raises(MessageMalformed):
            FAMILIES[type(message)].decode(body[:end])
    if isinstance(message, Pending):  # an optional one is skipped whatever it holds
        assert control_replies.decode(body + b"\0") is None
        return
    with pytest.raises(MessageMalformed):
        FAMILIES[type(message)].decode(body + b"\0")


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    assert data_replies.decode(msgspec.msgpack.encode([11, 2, "why", {"more": [1]}])) == Abort(AbortReason.CHANGED)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_of_another_family_is_malformed(message: Message) -> None:
    """An optional one is skipped instead."""
    for family in set(DECODERS) - {FAMILIES[type(message)]}:
        if isinstance(message, Pending):
            assert family.decode(encode(message)) is None
            continue
        with pytest.raises(MessageMalformed):
            family.decode(encode(message))


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("tag", [-1, 0, 12, 127, -129, True, None, 1.0, "128", b"128", [128], 200.0])
def test_an_unknown_tag_is_fatal(family: Decoder[Any], tag: object) -> None:
    with pytest.raises(MessageMalformed):
        family.decode(msgspec.msgpack.encode([tag, 1, 2]))


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("fields", [0, 1, 14, 15, 16, 70_000])
@pytest.mark.parametrize("tag", [128, 255, 256, 65_536, 1 << 32, (1 << 64) - 1])
def test_an_optional_message_is_skipped(family: Decoder[Any], tag: int, fields: int) -> None:
    assert family.decode(msgspec.msgpack.encode([tag, *([None] * fields)])) is None


def test_what_an_optional_message_holds_does_not_matter() -> None:
    assert control_requests.decode(msgspec.msgpack.encode([128, {"deep": [[[]]]}, b"\xff"])) is None
    assert control_requests.decode(b"\x92\xcc\x80" + b"\x91" * 100_000) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"\x91",
        b"\xc0",
        b"\x91\xcc",
        b"\x91\xcd\x80",
        b"\x91\xcf\xff\xff",
        b"\xdc",
        b"\xdc\x00",
        b"\xdc\x00\x01",
        b"\xdd\x00\x00\x00\x01\xcc",
        b"\x81\xcc\x80\x00",
        b"\xcc\x80",
        b"\x91\xcc\x7f",
        b"\x91\xcd\x00\x0c",
        b"\x91\xc1",
        b"\x91\x81\x80\x01",
        b"\x91\xd6\xff\xff\xff\xff\xff",
        b"\x92\x05\x91\xa3\xed\xa0\x80",  # a surrogate in UTF-8 (fault case 13)
        b"\x92\x05\x91\xa2\xc0\xaf",  # an overlong slash
        b"\x92\x03\xa2\xff\xfe",
    ],
)
def test_what_is_no_message_is_malformed(body: bytes) -> None:
    for family in DECODERS:
        with pytest.raises(MessageMalformed):
            family.decode(body)


def decodes_or_is_malformed(body: bytes) -> None:
    for family in DECODERS:
        try:
            message = family.decode(body)
        except MessageMalformed:
            continue
        assert message is None or FAMILIES[type(message)] is family


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(body: bytes) -> None:
    decodes_or_is_malformed(body)


@settings(max_examples=400, deadline=None)
@given(any_message.map(encode), st.data())
def test_mutated_messages_raise_nothing_else(body: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 4)))
    decodes_or_is_malformed(body[:start] + data.draw(st.binary(max_size=6)) + body[end:])


def test_thousands_of_broken_messages_raise_nothing_else() -> None:
    chance = random.Random(2026)
    for _round in range(4000):
        body = bytearray(encode(chance.choice(EXAMPLES)))
        for _fault in range(chance.randint(1, 3)):
            body[chance.randrange(len(body))] = chance.choice((0x90, 0x91, 0xC1, 0xDD, 0xFF, chance.randrange(256)))
        decodes_or_is_malformed(bytes(body))


plain: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | texts | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 130), st.lists(plain, max_size=5))
def test_well_formed_nonsense_raises_nothing_else(tag: int, fields: list[object]) -> None:
    decodes_or_is_malformed(msgspec.msgpack.encode([tag, *fields]))


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\xa1a", b"\x92\x05", b"\xdc\x00\x01"])
def test_deep_nesting_is_malformed(opener: bytes) -> None:
    """Fault case 47."""
    for family in DECODERS:
        with pytest.raises(MessageMalformed):
            family.decode((opener * MAX_FRAME)[:MAX_FRAME])


def test_deep_nesting_in_fields_of_a_later_version_is_malformed() -> None:
    with pytest.raises(MessageMalformed):
        data_replies.decode(b"\x92\x0a" + b"\x91" * (MAX_FRAME - 3) + b"\x90")


CLAIMS = {
    "list of 2^32-1": b"\xdd\xff\xff\xff\xff",
    "paths of 2^32-1": b"\x92\x05\xdd\xff\xff\xff\xff",
    "text of 2^32-1": b"\x92\x03\xdb\xff\xff\xff\xff",
    "bytes of 2^32-1": b"\x92\x08\xc6\xff\xff\xff\xff",
    "entries of 2^32-1": b"\x93\x06\xdd\xff\xff\xff\xff",
    "items of 2^32-1": b"\x92\x07\xdd\xff\xff\xff\xff",
    "map of 2^32-1": b"\x91\xdf\xff\xff\xff\xff",
    "extension of 2^32-1": b"\x91\xc9\xff\xff\xff\xff\x05",
    "optional of 2^32-1": b"\xdd\xff\xff\xff\xff\xcc\x80",
    "optional full of lists": b"\xdd\x00\x0f\xff\xf0\xcc\x80" + b"\x90" * (MAX_FRAME - 16),
    "unknown full of lists": b"\xdd\x00\x0f\xff\xf0\x7f" + b"\x90" * (MAX_FRAME - 16),
}


@pytest.mark.parametrize("body", CLAIMS.values(), ids=CLAIMS)
def test_a_claimed_length_allocates_nothing(body: bytes) -> None:
    """Fault case 45: what a frame claims to hold costs nothing, what it does hold at most a little more than itself."""
    tracemalloc.start()
    try:
        decodes_or_is_malformed(body)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
