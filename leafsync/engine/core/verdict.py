"""Whose version of a leaf (a file or a link) the other side takes: the table of ARCHITECTURE.md."""

from leafsync.engine.core.index import Entry

LOCAL, REMOTE = 0, 1
"""The two sides; `1 - side` is the other one."""

CONFLICT = 2
"""Both sides changed the leaf, or nobody knows who did."""


def winner(base: Entry | None, local: Entry | None, remote: Entry | None, *, mirror: bool = False) -> int | None:
    """Return whose leaf the other side takes (an absent one is trashed there), `CONFLICT`, or None when both agree.

    Only an entry that is in the base and unchanged since may go because the other side does not have it. Content
    decides before metadata: a mere touch gives way to an edit. With `mirror` the remote side is right whatever the
    base says.
    """
    if local is None or remote is None:
        return _of_one(base, local, remote) if not mirror else None if local is remote else REMOTE
    if local.same(remote):
        return None
    if mirror or (base is not None and local.same(base)):
        return REMOTE
    if base is not None and remote.same(base):
        return LOCAL
    if base is not None and not local.same_content(remote):
        if local.same_content(base):
            return REMOTE
        if remote.same_content(base):
            return LOCAL
    return CONFLICT


def _of_one(base: Entry | None, local: Entry | None, remote: Entry | None) -> int | None:
    """Return who is right about an entry that one side alone has: who deleted it, or who made or changed it."""
    entry = local or remote
    if entry is None:
        return None
    owner = LOCAL if local is not None else REMOTE
    return 1 - owner if base is not None and entry.same(base) else owner


def newer(local: Entry, remote: Entry) -> int:
    """Return whose leaf is newer, then has the larger root; what follows makes the order total."""
    return LOCAL if _age(local) > _age(remote) else REMOTE


def _age(leaf: Entry) -> tuple[int, bytes, str, int, bool]:
    return leaf.mtime, leaf.hash, leaf.target, leaf.size, leaf.executable
