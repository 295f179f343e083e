"""QUIC packets that tests make up, given to the fast path and to upstream: both must end in the same state."""

import random

from aioquic import tls

from leafsync.engine.net.limits import Limits
from leafsync.engine.net.quic import PinnedQuic
from tests.support.quicpair import Pair, state_of, twin

SMALL = Limits(stream_window=120_000, connection_window=200_000, peer_streams=64)
"""Windows that close again and again."""


def content(seed: int, size: int) -> bytes:
    """Return bytes that tell where they belong."""
    return random.Random(seed).randbytes(size)


def compare(quic: PinnedQuic, batch: list[bytes], address: tuple[str, int], now: float) -> PinnedQuic:
    """Give a batch to the fast path and to upstream, each on a copy; return the one that took the fast path."""
    plain, fast = twin(quic, fast=False), twin(quic, fast=True)
    for datagram in batch:
        plain.receive_datagram(datagram, address, now)
    fast.receive_batch(batch, address, now)
    expected, found = state_of(plain), state_of(fast)
    for name, value in expected.items():
        assert found[name] == value, name
    return fast


def seal(peer: PinnedQuic, payload: bytes, number: int, *, width: int = 2, first: int = 0, phase: int = 0) -> bytes:
    """Return a packet of the peer with any payload, number and first byte that could be made."""
    keys = peer._cryptos[tls.Epoch.ONE_RTT].send
    head = bytes([0x40 | first | (keys.key_phase ^ phase) << 2 | width - 1])
    header = head + peer._peer_cid.cid + (number & (1 << 8 * width) - 1).to_bytes(width, "big")
    return keys.encrypt_packet(header, payload + bytes(max(0, 4 - len(payload))), number)


pairs: dict[str, Pair] = {}


def standing_pair() -> Pair:
    """Return a pair whose server has streams open in both directions; tests work on copies of it."""
    if not pairs:
        pair = Pair(limits=SMALL)
        for number in (0, 4):
            pair.client.quic.send_stream_data(number, b"")
        pair.client.quic.send_stream_data(8, b"open")
        pair.server.quic.send_stream_data(1, b"hello")
        pair.transmit()
        pair.run_idle()
        pair.server.quic.send_stream_data(1, content(1, 30_000))
        pair.server.quic.datagrams_to_send(pair.now)
        pairs["standing"] = pair
    return pairs["standing"]
