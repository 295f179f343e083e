"""Files as Merkle trees: chunks, leaves, roots, and what differs between two files.

Shapes follow RFC 6962 section 2.1 (split at the largest power of two, no odd leaf is ever duplicated); the hash is
BLAKE3 in key-derivation mode, one context for each kind of node, so a leaf can never pass for an inner node. The
leaves of a file are kept as one `bytes` of 32-byte hashes, in order.
"""

from collections.abc import Iterator
from functools import lru_cache

from blake3 import blake3

CHUNK_SIZE = 1 << 20
"""Bytes in every chunk but the last: large enough that hashes cost 0.003 % of the data, small enough to fetch again."""

HASH_SIZE = 32
"""Bytes of a leaf, node, root or digest (BLAKE3's default output)."""

MAX_FILE_SIZE = 1 << 43
"""Bytes (8 TiB): its leaves are 256 MiB, the most that one transfer may hold in memory."""

NO_HASH = bytes(HASH_SIZE)
"""The top of an empty tree."""

_LEAF = blake3(derive_key_context="leafsync/1 leaf")
_NODE = blake3(derive_key_context="leafsync/1 node")
_FILE = blake3(derive_key_context="leafsync/1 file")

Buffer = bytes | bytearray | memoryview


def leaf_hash(chunk: Buffer) -> bytes:
    """Hash one chunk (at most `CHUNK_SIZE` bytes). Releases the GIL for all but tiny chunks."""
    hasher = _LEAF.copy()
    hasher.update(chunk)
    return hasher.digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    hasher = _NODE.copy()
    hasher.update(left + right)
    return hasher.digest()


def chunk_count(size: int) -> int:
    """Return how many chunks a file of `size` bytes has; an empty file has none."""
    return -(-size // CHUNK_SIZE)


def chunk_length(size: int, index: int) -> int:
    """Return the bytes of chunk `index` of a file of `size` bytes; raises IndexError when it has no such chunk."""
    if not 0 <= index < chunk_count(size):
        raise IndexError(index)
    return min(CHUNK_SIZE, size - index * CHUNK_SIZE)


def leaf_at(leaves: bytes, index: int) -> bytes:
    """Return leaf `index` out of concatenated leaves."""
    return leaves[index * HASH_SIZE : (index + 1) * HASH_SIZE]


def split_leaves(leaves: bytes) -> Iterator[bytes]:
    """Yield the leaves one by one."""
    return (leaves[start : start + HASH_SIZE] for start in range(0, len(leaves), HASH_SIZE))


def tree_top(leaves: bytes) -> bytes:
    """Return the RFC 6962 tree head over `leaves`, `NO_HASH` for none.

    A stack of perfect subtrees, merged as equal heights meet, is the same tree as the recursive definition and needs
    no recursion: the remaining subtrees are folded from the right, which splits at the largest power of two.
    """
    if len(leaves) == HASH_SIZE:  # as nearly all trees are
        return leaves
    stack: list[tuple[int, bytes]] = []
    for leaf in split_leaves(leaves):
        height, node = 0, leaf
        while stack and stack[-1][0] == height:
            node = _node_hash(stack.pop()[1], node)
            height += 1
        stack.append((height, node))
    if not stack:
        return NO_HASH
    top = stack.pop()[1]
    while stack:
        top = _node_hash(stack.pop()[1], top)
    return top


def file_root(size: int, leaves: bytes) -> bytes:
    """Return the root of a file of `size` bytes with these leaves: it binds the length and the number of chunks.

    Raises ValueError when the number of leaves does not fit the size.
    """
    count = chunk_count(size)
    if len(leaves) != count * HASH_SIZE:
        raise ValueError(f"{len(leaves)} bytes of leaves for {count} chunks")
    hasher = _FILE.copy()
    hasher.update(size.to_bytes(8, "big") + count.to_bytes(8, "big") + tree_top(leaves))
    return hasher.digest()


EMPTY_ROOT = file_root(0, b"")
"""The root of every empty file."""


@lru_cache(maxsize=64)
def zero_leaf(length: int) -> bytes:
    """Return the leaf of `length` zero bytes: such a chunk is a hole and never travels."""
    return leaf_hash(bytes(length))


def chunk_sources(old: bytes, new: bytes) -> dict[int, int]:
    """Say where the chunks of `new` already are in `old`: new index -> old index.

    Both arguments are leaves. A chunk that kept its place is preferred over an equal one elsewhere, so an unchanged
    file maps onto itself.
    """
    places = {leaf: index for index, leaf in enumerate(split_leaves(old))}
    sources: dict[int, int] = {}
    for index, leaf in enumerate(split_leaves(new)):
        if leaf_at(old, index) == leaf:
            sources[index] = index
        elif leaf in places:
            sources[index] = places[leaf]
    return sources
