"""What need not be fetched: chunks and whole files that are somewhere in this folder already (DESIGN section 9).

These are hints. The file may have changed since it was scanned, so what is copied is proven by its leaf like any other
chunk.
"""

from collections.abc import Callable, Collection

from leafsync.engine.core.index import Index, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE, HASH_SIZE
from leafsync.engine.core.names import join
from leafsync.engine.disk.store import Store


def find_chunks(
    store: Store, index: Index, wanted: Collection[bytes], *, within: Callable[[str], bool] | None = None
) -> dict[bytes, tuple[str, int]]:
    """Return where chunks with these leaves are: leaf -> path of a file and number of its chunk.

    Looks at files of more than one chunk whose leaves the store knows, one at a time, until all are found. `within`
    says which paths to look at. Raises what the store raises.
    """
    missing = set(wanted)
    found: dict[bytes, tuple[str, int]] = {}
    for directory, entries in index.directories.items():
        for entry in entries:
            if not missing:
                return found
            if entry.kind is not Kind.FILE or entry.size <= CHUNK_SIZE:
                continue
            path = join(directory, entry.name)
            mark = index.state(path)
            if mark is None or (within is not None and not within(path)):
                continue
            leaves = store.leaves(mark) or b""
            for number, start in enumerate(range(0, len(leaves), HASH_SIZE)):
                leaf = leaves[start : start + HASH_SIZE]
                if leaf in missing:
                    missing.remove(leaf)
                    found[leaf] = path, number
    return found


def find_files(index: Index, roots: Collection[bytes]) -> dict[bytes, str]:
    """Return where files with these roots are: root -> path."""
    missing = set(roots)
    found: dict[bytes, str] = {}
    for directory, entries in index.directories.items():
        if not missing:
            break
        for entry in entries:
            if entry.kind is Kind.FILE and entry.hash in missing:
                missing.remove(entry.hash)
                found[entry.hash] = join(directory, entry.name)
    return found
