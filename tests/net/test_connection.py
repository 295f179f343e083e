"""A connection over a link in memory: handshake, streams, back-pressure, ends."""

from collections.abc import Callable
from typing import Any

MakePair = Callable[..., Any]


async def test_both_sides_know_each_other_after_the_handshake(make_pair: MakePair) -> None:
    pair = make_pair()
    client, server = await pair.handshake()
    assert client.peer_fingerprint == pair.server_identity.fingerprint
    assert server.peer_fingerprint == pair.client_quic.own_fingerprint
    stream = await client.open_stream()
    await stream.write_frame(b"hello")
    there = await server.accept_stream()
    assert await there.read_frame(cap=10) == b"hello"
