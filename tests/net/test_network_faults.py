"""An endpoint and a device in memory, over networks that lose, repeat, delay and damage what they carry.

A handshake has a dozen datagrams, so everything that can befall one of them, or two, is tried: it always ends in one
connection that carries data, or in an error that says why before the deadline. LEAFSYNC_EXAMPLES tries more seeds and
every pair of two different faults.
"""

import asyncio
import itertools
import os
import random
from collections.abc import Callable
from functools import partial

import pytest

from leafsync.engine.net.connection import Connection
from leafsync.engine.net.dialing import CONNECT_DEADLINE
from leafsync.engine.net.endpoint import MAX_STRANGERS_PER_TURN
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.limits import HANDSHAKE_DEADLINE, IDLE_TIMEOUT, Limits
from leafsync.errors import ConnectionLost, LeafSyncError, Unreachable
from tests.support.memorynet import DELAY, SERVER, Network, Weather, damaged, network

EXAMPLES = int(os.environ.get("LEAFSYNC_EXAMPLES", "0"))
"""Above 0, all pairs of different faults, and this many seeds a weather up to `MOST_SEEDS`."""

MOST_SEEDS = 200
SEEDS = range(min(EXAMPLES, MOST_SEEDS) or 3)

LATE = 1.0
"""Seconds a delayed datagram takes: long enough for everything sent again to arrive before it."""

SPARE = 6
"""Datagrams after those of an undisturbed handshake: what is sent again has numbers too."""

Fault = Callable[[bytes], list[tuple[float, bytes]]]

FAULTS: dict[str, Fault] = {
    "lost": lambda _data: [],
    "twice": lambda data: [(DELAY, data), (DELAY * 1.5, data)],
    "late": lambda data: [(LATE, data)],
    "twice and late": lambda data: [(DELAY, data), (LATE, data)],
    "damaged first byte": lambda data: [(DELAY, damaged(data, 0))],
    "damaged version": lambda data: [(DELAY, damaged(data, 4))],
    "damaged connection ID": lambda data: [(DELAY, damaged(data, 8))],
    "damaged content": lambda data: [(DELAY, damaged(data, len(data) // 2))],
    "damaged end": lambda data: [(DELAY, damaged(data, -1))],
}
IN_PAIRS = ("lost", "twice and late", "late", "damaged content")

Identities = dict[str, Identity]


def befalls(faults: dict[int, Fault], number: int, data: bytes) -> list[tuple[float, bytes]]:
    """Carry datagrams, but for some numbers."""
    return faults[number](data) if number in faults else [(DELAY, data)]


async def echoes(client: Connection, server: Connection, data: bytes) -> None:
    """Send data there and back."""
    stream = await client.open_stream()

    async def echo() -> None:
        there = await server.accept_stream()
        await there.write(await there.read_exactly(len(data), deadline=IDLE_TIMEOUT))
        there.finish()

    async with asyncio.TaskGroup() as group:
        group.create_task(echo())
        group.create_task(stream.write(data))
        assert await stream.read_exactly(len(data), deadline=2 * IDLE_TIMEOUT) == data
    stream.finish()
    assert await stream.read(1) == b""


async def silent(there: Network) -> None:
    """Connect, say something and wait for the answer."""
    client = await there.dial()
    stream = await client.open_stream()
    await stream.write(b"is anybody there?")
    await stream.read(1)


async def outcome(there: Network) -> LeafSyncError | None:
    """Connect and use the connection; return the error if there is none. Nothing of it must stay."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    error: LeafSyncError | None = None
    try:
        client = await there.dial()
        assert len(there.arrived) == 1
        await echoes(client, there.arrived[0], b"both ways" * 300)
        client.close()
        await there.arrived[0].wait_closed()
    except LeafSyncError as told:
        error = told
    assert loop.time() - began < CONNECT_DEADLINE + IDLE_TIMEOUT
    # What came late must not have begun anything that lasts.
    await asyncio.sleep(LATE + HANDSHAKE_DEADLINE)
    assert len(there.arrived) <= 1
    assert there.endpoint.connections == ()
    assert there.endpoint._ids == {}
    assert there.endpoint._routes == {}
    assert there.endpoint._admission.half_open == 0
    return error


async def length_of_handshake(identities: Identities, patch: pytest.MonkeyPatch, *, retry: bool) -> int:
    """Return how many datagrams it takes, in both directions, until nobody has anything to say."""
    async with network(identities, patch, retry=retry) as there:
        await there.dial()
        await asyncio.sleep(1)
        return len(there.wire.carried)


@pytest.mark.parametrize("retry", [True, False], ids=["retry", "no retry"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_anything_may_happen_to_any_datagram_of_a_handshake(
    identities: Identities, monkeypatch: pytest.MonkeyPatch, fault: str, retry: bool
) -> None:
    for number in range(await length_of_handshake(identities, monkeypatch, retry=retry) + SPARE):
        async with network(identities, monkeypatch, retry=retry) as there:
            there.wire.carry = partial(befalls, {number: FAULTS[fault]})
            error = await outcome(there)
            assert error is None, f"datagram {number} {fault}: {error}"


PAIRS = tuple(itertools.product(IN_PAIRS, repeat=2) if EXAMPLES else zip(IN_PAIRS, IN_PAIRS, strict=True))


@pytest.mark.timeout(300 if EXAMPLES else 60)
@pytest.mark.parametrize("retry", [True, False], ids=["retry", "no retry"])
@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_anything_may_happen_to_any_two_datagrams_of_a_handshake(
    identities: Identities, monkeypatch: pytest.MonkeyPatch, one: str, other: str, retry: bool
) -> None:
    count = await length_of_handshake(identities, monkeypatch, retry=retry)
    for first, second in itertools.combinations(range(count), 2):
        async with network(identities, monkeypatch, retry=retry) as there:
            there.wire.carry = partial(befalls, {first: FAULTS[one], second: FAULTS[other]})
            error = await outcome(there)
            assert error is None, f"datagrams {first} {one} and {second} {other}: {error}"


@pytest.mark.parametrize("retry", [True, False], ids=["retry", "no retry"])
@pytest.mark.parametrize("source", ["client", "server"])
async def test_a_handshake_that_goes_dark_at_any_datagram_ends_with_a_reason(
    identities: Identities, monkeypatch: pytest.MonkeyPatch, source: str, retry: bool
) -> None:
    """One direction swallows everything from some datagram on."""
    for number in range(await length_of_handshake(identities, monkeypatch, retry=retry)):
        async with network(identities, monkeypatch, retry=retry) as there:

            def swallow(at: int, data: bytes, first: int = number, there: Network = there) -> list[tuple[float, bytes]]:
                from_server = there.wire.carried[at][0][0] == "192.0.2.2"
                return [] if at >= first and from_server == (source == "server") else [(DELAY, data)]

            there.wire.carry = swallow
            began = asyncio.get_running_loop().time()
            with pytest.raises(Unreachable):
                await silent(there)
            assert asyncio.get_running_loop().time() - began < CONNECT_DEADLINE + 2 * IDLE_TIMEOUT
            await asyncio.sleep(HANDSHAKE_DEADLINE + 2 * IDLE_TIMEOUT)
            assert len(there.arrived) <= 1
            assert there.endpoint._ids == {}


WEATHERS: dict[str, Callable[[int], Weather]] = {
    "loss": lambda seed: Weather(seed, loss=0.1),
    "reordering": lambda seed: Weather(seed, reorder=0.5),
    "repetition": lambda seed: Weather(seed, duplicate=0.5),
    "damage": lambda seed: Weather(seed, damage=0.1),
    "all of it": lambda seed: Weather(seed, loss=0.05, reorder=0.2, duplicate=0.1, damage=0.05),
    "a black hole": lambda seed: Weather(seed, dark=((0.05 + seed % 20 / 20, 5.0),)),
    "black holes": lambda seed: Weather(seed, loss=0.02, dark=tuple((at, at + 1.0) for at in range(1, 40, 2))),
}


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_was_sent_arrives_in_any_weather(
    identities: Identities, monkeypatch: pytest.MonkeyPatch, weather: str, seed: int
) -> None:
    data = random.Random(seed).randbytes(300_000)
    async with network(identities, monkeypatch) as there:
        there.wire.carry = WEATHERS[weather](seed).carry
        client = await there.dial()
        await echoes(client, there.arrived[0], data)
        assert len(there.arrived) == 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_network_that_is_gone_for_good_ends_both_sides(
    identities: Identities, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    limits = Limits(idle_timeout=5.0, keepalive=1.0, stall_deadline=5.0)
    async with network(identities, monkeypatch, limits=limits) as there:
        client = await there.dial(limits)
        there.wire.carry = Weather(seed, dark=((0.0, 1e9),)).carry
        stream = await client.open_stream()
        with pytest.raises(Unreachable):
            async with asyncio.timeout(4 * limits.idle_timeout):
                await stream.write(bytes(20 << 20))
        async with asyncio.timeout(4 * limits.idle_timeout):
            await there.arrived[0].wait_closed()
        assert isinstance(there.arrived[0].error, ConnectionLost)


async def test_strangers_have_a_share_of_a_turn_and_the_rest_is_for_devices(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with network(identities, monkeypatch) as there:
        client = await there.dial()
        first = next(data for source, data in there.wire.carried if source != SERVER)
        await asyncio.sleep(1)
        before = len(there.wire.carried)
        there.wire.carry = lambda _number, _data: []
        stream = await client.open_stream()
        await stream.write(b"among strangers")
        await asyncio.sleep(0)
        ((_, said),) = there.wire.carried[before:]
        stranger, device = ("198.51.100.1", 9), ("192.0.2.1", 50_000)
        there.endpoint._on_runs([([first] * 200, stranger), ([said], device), ([first], stranger)])
        answers = [data for source, data in there.wire.carried[before + 1 :] if source == SERVER]
        assert sum(data[0] & 0xF0 == 0xF0 for data in answers) == MAX_STRANGERS_PER_TURN, "Retry packets"
        assert await (await there.arrived[0].accept_stream()).read(100) == b"among strangers"
