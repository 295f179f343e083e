"""Less than a chunk between two engines: what moves of a file that has changed, and what it takes to go wrong."""

import os
import random
import time
from collections.abc import Callable

import pytest

from leafsync.engine.core import messages, pieces
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.status import PassSummary
from leafsync.engine.disk.staging import Staging
from leafsync.engine.sync import connect, delta, serve
from leafsync.engine.sync.serving import ServeJob
from tests.support.devices import Device, Pair, until

OLD = time.time() - 3600
"""A modification time outside of the racy window."""

PIECE = 64 << 10
"""More bytes than one edit makes to be sent of a file of some MiB."""


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


DATA = noise(6 * CHUNK_SIZE + 12_345)
MIDDLE = 3 * CHUNK_SIZE + 777


def edited(*places: int) -> bytes:
    data = bytearray(DATA)
    for place in places:
        data[place : place + 100] = noise(100, place)
    return bytes(data)


HOLE = DATA[:CHUNK_SIZE] + bytes(2 * CHUNK_SIZE + 5000) + DATA[3 * CHUNK_SIZE + 5000 :]

CHANGES: dict[str, tuple[bytes, bytes, int]] = {
    "edits": (DATA, edited(10, 2 * CHUNK_SIZE - 50, MIDDLE, len(DATA) - 100), 5 * PIECE),
    "insertion at the front": (DATA, b"0123456789" + DATA, PIECE),
    "insertion in the middle": (DATA, DATA[:MIDDLE] + b"0123456789" + DATA[MIDDLE:], PIECE),
    "deletion at the front": (DATA, DATA[10:], PIECE),
    "deletion in the middle": (DATA, DATA[:MIDDLE] + DATA[MIDDLE + 100_000 :], PIECE),
    "truncation": (DATA, DATA[: 5 * CHUNK_SIZE + 600_000], PIECE),
    "append": (DATA[: 5 * CHUNK_SIZE + 700_000], DATA[: 5 * CHUNK_SIZE + 720_000], 20_000 + PIECE),
    "moved block": (DATA, DATA[MIDDLE:] + DATA[:MIDDLE], 2 * PIECE),
    "a copy in front": (DATA, DATA[:700_000] + DATA, PIECE),
    "a hole": (DATA, HOLE, PIECE),
    "a hole that is filled": (HOLE, HOLE[: 2 * CHUNK_SIZE] + b"x" * 1000 + HOLE[2 * CHUNK_SIZE + 1000 :], CHUNK_SIZE),
    "one chunk": (DATA[:700_000], DATA[:300_000] + b"more" + DATA[300_000:700_000], PIECE),
    "from one chunk to two": (DATA[:1_000_000], b"x" * 80_000 + DATA[:1_000_000], 80_000 + PIECE),
    "nothing in common": (DATA, noise(len(DATA), 1), len(DATA)),
}


async def changed(pair: Pair, old: bytes, new: bytes) -> ServeJob:
    """Let the old version be on both sides, and the new one on the serving side."""
    pair.server.write("big", old, mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    pair.server.write("big", new, mtime=OLD + 5)
    return server


@pytest.mark.parametrize("change", CHANGES)
async def test_what_a_change_costs(pair: Pair, change: str) -> None:
    old, new, most = CHANGES[change]
    summary = await pair.client.pull(await changed(pair, old, new))
    assert pair.client.tree() == pair.server.tree()
    assert pair.client.read("big") == new
    assert summary.totals.fetched <= most
    assert summary.totals.fetched + summary.totals.reused == summary.totals.bytes_done == len(new)
    assert pair.client.trash() == {"big"}


@pytest.mark.parametrize("change", ["edits", "insertion at the front"])
async def test_the_memory_of_an_old_version_is_given_back(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """But for what was not copied of it, and of no file that stays."""
    told: list[tuple[int, int, int]] = []

    def remember(fd: int, start: int, length: int, _advice: int) -> None:
        told.append((os.fstat(fd).st_ino, start, length))

    old, new, _most = CHANGES[change]
    server = await changed(pair, old, new)
    inode = (pair.client.folder / "big").stat().st_ino
    monkeypatch.setattr(os, "posix_fadvise", remember)
    await pair.client.pull(server)
    assert pair.client.read("big") == new
    assert {where for where, _start, _length in told} == {inode}
    assert len(told) == len({start for _inode, start, _length in told})
    assert sum(length for _inode, _start, length in told) >= len(old) - 5 * CHUNK_SIZE


@pytest.mark.parametrize("change", CHANGES)
async def test_what_a_change_costs_upwards(pair: Pair, change: str) -> None:
    old, new, most = CHANGES[change]
    pair.client.write("big", old, mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.client.write("big", new, mtime=OLD + 5)
    summary = await pair.client.sync(server)
    assert pair.server.read("big") == new
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.sent <= most


async def test_a_delta_is_not_much_more_than_what_changed(pair: Pair) -> None:
    """On the wire too: names of pieces, requests and all."""
    summary = await pair.client.pull(await changed(pair, DATA, b"0123456789" + DATA))
    assert summary.totals.wire_in + summary.totals.wire_out < 100_000


@pytest.mark.parametrize("side", [connect, serve], ids=["connecting", "serving"])
@pytest.mark.parametrize("features", [(), ("zstd",), ("pieces",)])
async def test_a_device_that_cannot(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, side: object, features: tuple[str, ...]
) -> None:
    """What only one side can is not used, in either direction."""
    monkeypatch.setattr(side, "FEATURES", features)
    new = edited(MIDDLE)
    server = await changed(pair, DATA, new)
    pair.client.write("text", b"the same again and again\n" * 20_000, mtime=OLD)
    down = await pair.client.sync(server)
    assert pair.client.read("big") == new
    assert (down.totals.fetched == CHUNK_SIZE) is ("pieces" not in features)
    assert (down.totals.wire_out > 500_000) is ("zstd" not in features)
    pair.client.write("big", DATA, mtime=OLD + 9)
    up = await pair.client.sync(server)
    assert pair.server.read("big") == DATA
    assert (up.totals.sent == CHUNK_SIZE) is ("pieces" not in features)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (DATA[:200_000], DATA[:100_000] + b"x" + DATA[100_000:200_000]),
        (DATA[:10], DATA),
        (DATA[: 2 * CHUNK_SIZE], DATA),
        (b"", DATA),
    ],
    ids=["small", "a trace of an old version", "append", "an empty old version"],
)
async def test_where_it_does_not_pay(pair: Pair, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("it asked for pieces")

    monkeypatch.setattr(delta, "PieceList", refuse)
    await pair.client.pull(await changed(pair, old, new))
    assert pair.client.tree() == pair.server.tree()


async def test_in_several_rounds(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one answer may have, and more parts than one request may name."""
    monkeypatch.setattr(pieces, "MAX_CUT_CHUNKS", 2)
    monkeypatch.setattr(pieces, "MAX_ITEMS", 8)
    new = DATA
    for place in range(100_000, len(DATA), 300_000):
        new = new[:place] + b"0123456789" + new[place + 3 :]
    summary = await pair.client.pull(await changed(pair, DATA, new))
    assert pair.client.read("big") == new
    assert summary.totals.fetched < len(DATA) // 4


async def test_an_old_version_with_more_pieces_than_are_remembered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces.PieceIndex, "full", property(lambda index: len(index._places) > 100))
    monkeypatch.setattr("leafsync.engine.disk.pieces.BLOCK", CHUNK_SIZE)
    summary = await pair.client.pull(await changed(pair, DATA, b"0123456789" + DATA))
    assert pair.client.tree() == pair.server.tree()
    assert 3 * CHUNK_SIZE < summary.totals.fetched < len(DATA) - CHUNK_SIZE // 2


async def test_names_that_collide(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece has the same name: what is put together is wrong, is noticed, and is fetched whole."""
    monkeypatch.setattr("leafsync.engine.disk.pieces.xxh3_64_intdigest", lambda _data: 7)
    find = pieces.PieceIndex.find
    monkeypatch.setattr(pieces.PieceIndex, "find", lambda index, identity, _length: 0 * find(index, identity, 0))
    summary = await pair.client.pull(await changed(pair, DATA, b"0123456789" + DATA))
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.fetched == len(DATA) + 10
    assert not summary.problems


Meddle = Callable[[Device], None]


def overwrite(device: Device) -> None:
    with (device.folder / "big").open("r+b") as file:
        file.write(b"x" * len(DATA))


def shorten(device: Device) -> None:
    with (device.folder / "big").open("r+b") as file:
        file.truncate(100_000)


@pytest.mark.parametrize("meddle", [overwrite, shorten])
@pytest.mark.parametrize("moment", ["cut", "plan"])
async def test_an_old_version_that_changes_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, meddle: Meddle, moment: str
) -> None:
    """It is used no more, nothing wrong comes of it, and as it was edited here it stays."""
    server = await changed(pair, DATA, b"0123456789" + DATA)
    owner: type = delta.OldVersion if moment == "cut" else pieces.PieceList
    original = getattr(owner, moment)

    def meddled(*arguments: object) -> object:
        meddle(pair.client)
        return original(*arguments)

    staged: list[bytes] = []
    commit = Staging.commit

    def committed(self: Staging, items: object, trash: object) -> object:
        staged.extend((pair.client.folder / ".leafsync_tmp" / item.staged.name).read_bytes() for item in items)  # type: ignore[attr-defined]
        return commit(self, items, trash)  # type: ignore[arg-type]

    monkeypatch.setattr(owner, moment, meddled)
    monkeypatch.setattr(Staging, "commit", committed)
    summary = await pair.client.pull(server)
    assert staged == [b"0123456789" + DATA]
    assert [path for path, _reason in summary.problems] == ["big"]
    assert summary.totals.fetched > 5 * CHUNK_SIZE
    assert pair.client.read("big")[:10] in (b"x" * 10, DATA[:10])


async def test_a_new_version_that_changes_while_it_is_cut(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await changed(pair, DATA, b"0123456789" + DATA)
    original = delta.Delta.next

    def changing(self: delta.Delta) -> object:
        pair.server.write("big", b"another one", mtime=OLD + 9)
        return original(self)

    monkeypatch.setattr(delta.Delta, "next", changing)
    summary = await pair.client.pull(server)
    assert [path for path, _reason in summary.problems] == ["big"]
    assert "changed" in summary.problems[0][1]
    assert pair.client.read("big") == DATA
    monkeypatch.undo()
    await pair.client.pull(server)
    assert pair.client.read("big") == b"another one"


async def stopped(pair: Pair, server: ServeJob) -> PassSummary:
    """Begin a slow pull, stop it in the middle, and pull again."""
    job = await pair.client.connect(server, rate_mbps=40)
    await until(lambda: job.status().totals.fetched >= CHUNK_SIZE)
    await job.stop()
    assert pair.client.read("big") == DATA
    return await pair.client.pull(server)


async def test_a_stopped_delta_goes_on_where_it_was(pair: Pair) -> None:
    """Half of the new version is not in the old one: while that comes, the rest is staged already."""
    new = b"".join(DATA[place : place + 50_000] + noise(50_000, place) for place in range(0, len(DATA), 50_000))
    summary = await stopped(pair, await changed(pair, DATA, new))
    assert pair.client.read("big") == new
    assert summary.totals.fetched < len(new) // 2
    assert summary.totals.fetched + summary.totals.reused == len(new)


async def test_many_files_at_once(pair: Pair) -> None:
    files = {f"{number:02}": noise(2 * CHUNK_SIZE + number, number) for number in range(12)}
    for path, data in files.items():
        pair.server.write(path, data, mtime=OLD)
    server = await pair.server.serve()
    await pair.client.pull(server)
    for path, data in files.items():
        pair.server.write(path, b"x" + data, mtime=OLD + 5)
    summary = await pair.client.pull(server, streams=3)
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.fetched < 12 * PIECE


# Compression


async def test_text_takes_less_on_the_wire(pair: Pair) -> None:
    for number in range(200):
        pair.server.write(f"small/{number}", b"a file like the others, number %d\n" % number * 20, mtime=OLD)
    lines = b"".join(b"%d GET /index.html 200 %d\n" % (n, n * 7919 % 5000) for n in range(150_000))
    pair.server.write("large.log", lines, mtime=OLD)
    pair.server.write("medium.log", lines[:700_000], mtime=OLD)
    summary = await pair.client.pull(await pair.server.serve())
    assert pair.client.tree() == pair.server.tree()
    totals = summary.totals
    assert totals.fetched == totals.bytes == totals.bytes_done
    assert totals.wire_in < totals.bytes // 3


async def test_small_files_are_packed_together(pair: Pair) -> None:
    """What hardly becomes smaller alone does so beside its likes."""
    text = noise(700).hex().encode()
    for number in range(100):
        pair.server.write(f"{number}", text + b"%d" % number, mtime=OLD)
    summary = await pair.client.pull(await pair.server.serve())
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.wire_in < summary.totals.bytes // 4


async def test_noise_is_sent_as_it_is(pair: Pair) -> None:
    pair.server.write("big", DATA, mtime=OLD)
    pair.server.write("small", DATA[:5000], mtime=OLD)
    summary = await pair.client.pull(await pair.server.serve())
    assert pair.client.tree() == pair.server.tree()
    assert summary.totals.wire_in > summary.totals.bytes


async def test_a_rate_limit_and_compression(pair: Pair) -> None:
    pair.server.write("big.log", b"over and over again\n" * 200_000, mtime=OLD)
    pair.server.write("small", b"and again\n" * 1000, mtime=OLD)
    await pair.client.pull(await pair.server.serve(rate_mbps=50), rate_mbps=50)
    assert pair.client.tree() == pair.server.tree()


def test_both_features_are_offered() -> None:
    assert messages.FEATURES == (messages.PIECES, messages.ZSTD)
