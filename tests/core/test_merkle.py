"""Merkle trees have the shape of RFC 6962, keep their kinds of node apart, and never change their format."""

import pytest
from blake3 import blake3
from hypothesis import given, strategies as st

from leafsync.engine.core import merkle
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE, NO_HASH, chunk_sources, file_root, leaf_hash, tree_top


def derived(context: str, data: bytes) -> bytes:
    return blake3(data, derive_key_context=context).digest()


def reference_top(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is written: split at the largest power of two below the count."""
    if not leaves:
        return NO_HASH
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return derived("leafsync/1 node", reference_top(leaves[:split]) + reference_top(leaves[split:]))


def leaf(number: int) -> bytes:
    return leaf_hash(number.to_bytes(4, "big"))


def leaves_of(count: int) -> list[bytes]:
    return [leaf(number) for number in range(count)]


def root_of(leaves: list[bytes]) -> bytes:
    return file_root(len(leaves) * CHUNK_SIZE, b"".join(leaves))


@pytest.mark.parametrize("count", [*range(35), 63, 64, 65, 127, 128, 129, 1000])
def test_the_tree_is_the_one_of_rfc_6962(count: int) -> None:
    assert tree_top(b"".join(leaves_of(count))) == reference_top(leaves_of(count))


def test_each_kind_of_hash_has_its_own_domain() -> None:
    data = leaf(0) + leaf(1)
    same_input = {
        leaf_hash(data),
        tree_top(data),
        derived("leafsync/1 file", data),
        derived("leafsync/1 directory", data),
        blake3(data).digest(),
    }
    assert len(same_input) == 5


def test_a_leaf_cannot_pass_for_an_inner_node() -> None:
    inner = tree_top(leaf(0) + leaf(1))
    assert file_root(CHUNK_SIZE, inner) != root_of([leaf(0), leaf(1)])
    assert leaf_hash(leaf(0) + leaf(1)) != inner


def test_an_odd_leaf_is_not_duplicated() -> None:
    a, b, c = leaves_of(3)
    assert tree_top(a + b + c) != tree_top(a + b + c + c)
    assert root_of([a, b, c]) != root_of([a, b, c, c])


def test_the_root_binds_the_size() -> None:
    one = leaf(0)
    assert len({file_root(size, one) for size in (1, 2, CHUNK_SIZE - 1, CHUNK_SIZE)}) == 4


def test_the_root_binds_size_count_and_top() -> None:
    leaves = b"".join(leaves_of(3))
    size = 2 * CHUNK_SIZE + 7
    bound = size.to_bytes(8, "big") + (3).to_bytes(8, "big") + tree_top(leaves)
    assert file_root(size, leaves) == derived("leafsync/1 file", bound)


@given(st.lists(st.integers(0, 1 << 31), min_size=1, max_size=20), st.data())
def test_any_changed_leaf_changes_the_root(numbers: list[int], data: st.DataObject) -> None:
    leaves = [leaf(number) for number in numbers]
    index = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:index], leaf_hash(b"another"), *leaves[index + 1 :]]
    assert root_of(changed) != root_of(leaves)


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 1), (1, 0), (1, 2), (CHUNK_SIZE, 0), (CHUNK_SIZE, 2), (CHUNK_SIZE + 1, 1), (5 * CHUNK_SIZE, 6)],
)
def test_leaves_that_do_not_fit_the_size_are_refused(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="leaves"):
        file_root(size, b"".join(leaves_of(count)))


def test_torn_leaves_are_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        file_root(CHUNK_SIZE, leaf(0)[:-1])


def test_published_values() -> None:
    """These are in PROTOCOL.md: another value is another protocol."""
    letters = [leaf_hash(letter) for letter in (b"a", b"b", b"c")]
    golden = {
        "leaf of nothing": leaf_hash(b""),
        "leaf of abc": leaf_hash(b"abc"),
        "leaf of a chunk of zeros": merkle.zero_leaf(CHUNK_SIZE),
        "top of a, b": tree_top(b"".join(letters[:2])),
        "top of a, b, c": tree_top(b"".join(letters)),
        "root of the empty file": merkle.EMPTY_ROOT,
        "root of abc": file_root(3, leaf_hash(b"abc")),
        "root of three chunks": file_root(2 * CHUNK_SIZE + 1, b"".join(letters)),
    }
    assert {name: value.hex() for name, value in golden.items()} == GOLDEN


GOLDEN: dict[str, str] = {
    "leaf of nothing": "87a5d247cfb73e8f3da7e90870013add6c172c3ddb4187760381e65aff87b611",
    "leaf of abc": "965cee3bcd826c5ed83802ecbdfe6958ad1a03d1435c6645480b31f07e6c5a5c",
    "leaf of a chunk of zeros": "95736700753b948c3165490d66e161cf616548a276a40ed735899b1ce65c2b1c",
    "top of a, b": "3503f8c46c79b575ef2154d060710c705b75cfe7aacd176fd3af187d049f9a96",
    "top of a, b, c": "521f4646f6b6cb8637d2ce403d6b163f4292e3ab816048672c285eee4a4e1fe9",
    "root of the empty file": "f8568c8a9039b980a411e67bdd00798b2c6bb5a9d74155f1a44b31a3da2e4c59",
    "root of abc": "1ea6b85b8cf3405836594325ab2c51b9f69babee3aefa788b8e889bb6c9e5e52",
    "root of three chunks": "009198d9a23a5a5441413e11e578707203eb5e78a0cb99e1f6b37b2dfb14b168",
}


def test_published_constants() -> None:
    assert (merkle.CHUNK_SIZE, merkle.HASH_SIZE, merkle.MAX_FILE_SIZE) == (1 << 20, 32, 1 << 43)
    assert NO_HASH.hex() == "00" * 32


@pytest.mark.parametrize(
    ("size", "count", "last"),
    [
        (1, 1, 1),
        (CHUNK_SIZE - 1, 1, CHUNK_SIZE - 1),
        (CHUNK_SIZE, 1, CHUNK_SIZE),
        (CHUNK_SIZE + 1, 2, 1),
        (2 * CHUNK_SIZE, 2, CHUNK_SIZE),
        (merkle.MAX_FILE_SIZE, 1 << 23, CHUNK_SIZE),
    ],
)
def test_chunks_at_their_boundaries(size: int, count: int, last: int) -> None:
    assert merkle.chunk_count(size) == count
    assert merkle.chunk_length(size, count - 1) == last


def test_an_empty_file_has_no_chunk() -> None:
    assert merkle.chunk_count(0) == 0
    assert file_root(0, b"") == merkle.EMPTY_ROOT != file_root(1, leaf_hash(b"\0"))


@given(st.integers(1, 20 * CHUNK_SIZE))
def test_chunk_lengths_add_up_to_the_size(size: int) -> None:
    lengths = [merkle.chunk_length(size, index) for index in range(merkle.chunk_count(size))]
    assert sum(lengths) == size
    assert all(length == CHUNK_SIZE for length in lengths[:-1])
    assert 1 <= lengths[-1] <= CHUNK_SIZE


@pytest.mark.parametrize(("size", "index"), [(0, 0), (1, 1), (CHUNK_SIZE, 1), (CHUNK_SIZE, -1), (CHUNK_SIZE + 1, 2)])
def test_a_chunk_that_is_not_there_has_no_length(size: int, index: int) -> None:
    with pytest.raises(IndexError):
        merkle.chunk_length(size, index)


def test_leaves_are_kept_in_one_piece() -> None:
    leaves = leaves_of(5)
    joined = b"".join(leaves)
    assert list(merkle.split_leaves(joined)) == leaves
    assert [merkle.leaf_at(joined, index) for index in range(5)] == leaves
    assert merkle.leaf_at(joined, 5) == b""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_hashed(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    assert leaf_hash(kind(b"abc")) == derived("leafsync/1 leaf", b"abc")


@pytest.mark.parametrize("length", [1, 4096, CHUNK_SIZE])
def test_the_leaf_of_a_hole_is_that_of_its_zeros(length: int) -> None:
    assert merkle.zero_leaf(length) == leaf_hash(bytes(length))


leaf_lists = st.lists(st.integers(0, 6).map(leaf), max_size=12)


@given(leaf_lists, leaf_lists)
def test_chunk_sources_name_equal_chunks_and_all_of_them(old: list[bytes], new: list[bytes]) -> None:
    sources = chunk_sources(b"".join(old), b"".join(new))
    assert all(old[source] == new[index] for index, source in sources.items())
    assert set(sources) == {index for index, wanted in enumerate(new) if wanted in old}


@given(leaf_lists, leaf_lists)
def test_a_chunk_that_kept_its_place_stays_there(old: list[bytes], new: list[bytes]) -> None:
    sources = chunk_sources(b"".join(old), b"".join(new))
    kept = [index for index, (before, after) in enumerate(zip(old, new, strict=False)) if before == after]
    assert all(sources[index] == index for index in kept)


@given(leaf_lists)
def test_an_unchanged_file_maps_onto_itself(leaves: list[bytes]) -> None:
    joined = b"".join(leaves)
    assert chunk_sources(joined, joined) == {index: index for index in range(len(leaves))}
    assert len(joined) == len(leaves) * HASH_SIZE
