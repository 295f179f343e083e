"""What is asked for, how far ahead, and over how many streams."""

import pytest

from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import FetchItem
from leafsync.engine.disk.staging import StagedFile
from leafsync.engine.sync import large, receiver
from leafsync.errors import PeerStalled
from tests.support.devices import Device, until
from tests.support.engines import MakeHostile
from tests.support.hostile import HostileServer, Talk, connect_to, pull_from, silence

CHUNKS = [bytes([number + 1]) * CHUNK_SIZE for number in range(7)]


@pytest.mark.parametrize(("limit", "value", "asked"), [("WINDOW", 1000, 10), ("MAX_ASKED", 7, 7), ("", 0, 50)])
async def test_how_far_requests_run_ahead(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, asked: int
) -> None:
    monkeypatch.setattr(receiver, "REPLY_DEADLINE", 0.2)
    monkeypatch.setattr(receiver, "ITEMS_PER_REQUEST", 1)
    if limit:
        monkeypatch.setattr(receiver, limit, value)
    server = await hostile({f"{number:02}": b"x" * 100 for number in range(50)})
    server.item = silence
    with pytest.raises(PeerStalled):
        await pull_from(client, server, streams=1)
    assert len(server.paths()) == asked


@pytest.mark.parametrize(("files", "streams", "used"), [(1, 8, 1), (3, 8, 3), (20, 1, 1), (20, 4, 4)])
async def test_no_more_streams_than_files(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, files: int, streams: int, used: int
) -> None:
    monkeypatch.setattr(receiver, "MAX_ASKED", 1)
    monkeypatch.setattr(receiver, "ITEMS_PER_REQUEST", 1)
    server = await hostile({f"{number:02}": b"%d" % number for number in range(files)})
    seen = note_streams(server)
    await pull_from(client, server, streams=streams)
    assert len(seen) == used
    assert len(client.tree()) == files


def note_streams(server: HostileServer) -> set[int]:
    """Return a set that will hold the number of every data stream."""
    seen: set[int] = set()

    async def noted(talk: Talk, item: FetchItem) -> None:
        seen.add(talk.stream.id)
        await server.honest_item(talk, item)

    server.item = noted
    return seen


async def test_what_is_missing_in_many_places_is_asked_for_in_parts(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More ranges than one request may name: every second chunk is here already."""
    monkeypatch.setattr(large, "MAX_ITEMS", 2)
    server = await hostile({"big": b"".join(CHUNKS)})
    other = bytes(range(256)) * (CHUNK_SIZE // 256)
    client.write("big", b"".join(chunk if number % 2 else other for number, chunk in enumerate(CHUNKS)))
    summary = await pull_from(client, server, mirror=True)
    assert client.read("big") == b"".join(CHUNKS)
    assert server.indexes() == [0, 2, 4, 6]
    ranges = [item.ranges for item in server.asked if isinstance(item, FetchItem)]
    assert [list(map(tuple, wanted)) for wanted in ranges] == [[], [(0, 1), (2, 1)], [(4, 1), (6, 1)]]
    assert (summary.totals.fetched, summary.totals.reused) == (4 * CHUNK_SIZE, 3 * CHUNK_SIZE)


async def test_staged_bytes_are_not_believed(client: Device, hostile: MakeHostile) -> None:
    """What an earlier run staged is hashed again: a damaged chunk is fetched anew (fault case 76)."""
    server = await hostile({"big": b"".join(CHUNKS[:3])})

    async def two_alone(talk: Talk, item: FetchItem) -> None:
        await talk.chunk(0, CHUNKS[0])
        await talk.chunk(1, CHUNKS[1])

    server.chunks(two_alone)
    job = await connect_to(client, server, once=True)
    await until(lambda: job.status().totals.fetched == 2 * CHUNK_SIZE)
    await job.stop()
    staged = next(
        path for path in (client.folder / ".leafsync_tmp").iterdir() if path.name not in ("lock", "folder-id")
    )
    with staged.open("r+b") as file:
        file.write(b"damaged")
    server.item = server.honest_item
    server.asked.clear()
    await pull_from(client, server)
    assert client.read("big") == b"".join(CHUNKS[:3])
    assert server.indexes() == [0, 2]


async def test_few_large_files_are_open_at_once(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves are small, so the window alone would let hundreds of staging files be opened before a chunk comes."""
    monkeypatch.setattr(receiver, "MAX_LARGE", 2)
    prepare, take = large.LargeFile.prepare, large.LargeFile.take
    under_way: set[large.LargeFile] = set()
    most = 0

    async def prepared(file: large.LargeFile, leaves: bytes) -> None:
        nonlocal most
        under_way.add(file)
        most = max(most, len(under_way))
        await prepare(file, leaves)

    def taken(file: large.LargeFile) -> StagedFile:
        under_way.discard(file)
        return take(file)

    monkeypatch.setattr(large.LargeFile, "prepare", prepared)
    monkeypatch.setattr(large.LargeFile, "take", taken)
    contents = {f"{number}": b"%d" % number + CHUNKS[0] for number in range(7)}
    await pull_from(client, await hostile(contents), streams=1)
    assert most == 2
    assert not under_way
    assert {name: client.read(name) for name in contents} == contents
