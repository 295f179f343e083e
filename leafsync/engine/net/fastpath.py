"""Whether and where the fast path runs: the connection that has both halves, and the check of what they rely on.

The halves, `fastreceive` and `fastsend`, read and write aioquic's own state, so they are used with versions they were
tested with, and only if every name is there. With any other aioquic all packets go its own way: slower, and right.
"""

import logging
import operator
from functools import cache
from typing import Final

import aioquic
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from leafsync.engine.net.fastreceive import FastReceive
from leafsync.engine.net.fastsend import BulkRecovery, FastSend
from leafsync.engine.net.limits import SERVER_NAME

logger = logging.getLogger("leafsync.net")

KNOWN_VERSIONS: Final = ("1.7.2",)
"""The versions of aioquic that the differential test was run with."""

FAST_OF_QUIC: Final = (
    "_ack_delay",
    "_ack_eliciting_sent_since_receipt",
    "_close_at",
    "_close_event",
    "_close_pending",
    "_cryptos",
    "_events",
    "_get_or_create_stream_for_send",
    "_handshake_confirmed",
    "_host_cids",
    "_idle_timeout",
    "_is_client",
    "_local_max_data.used",
    "_local_max_data.value",
    "_logger",
    "_loss._cc.bytes_in_flight",
    "_loss._cc.congestion_window",
    "_loss._pacer.bucket_time",
    "_loss._pacer.next_send_time",
    "_loss._pacer.packet_time",
    "_loss._pacer.update_bucket",
    "_loss._time_of_last_sent_ack_eliciting_packet",
    "_loss.on_ack_received",
    "_max_datagram_size",
    "_network_paths",
    "_pacing_at",
    "_packet_number",
    "_payload_received",
    "_peer_cid.cid",
    "_peer_cid.sequence_number",
    "_probe_pending",
    "_quic_logger",
    "_remote_max_data",
    "_remote_max_data_used",
    "_spaces",
    "_spin_bit",
    "_spin_highest_pn",
    "_state",
    "_streams",
    "_streams_queue",
    "host_cid",
)
"""Names of aioquic's connection that the fast path relies on."""

FAST_OF_PATH: Final = ("addr", "bytes_sent", "is_validated")
FAST_OF_SPACE: Final = (
    "ack_at",
    "ack_eliciting_in_flight",
    "ack_queue",
    "expected_packet_number",
    "largest_received_packet",
    "largest_received_time",
    "received_packets._lower",
    "received_packets._received",
    "received_packets._size",
    "sent_packets",
)
FAST_OF_CRYPTO: Final = (
    "_update_key_requested",
    "recv.aead._aead.decrypt",
    "recv.aead._iv",
    "recv.hp._encryptor.update",
    "recv.hp._is_chacha20",
    "recv.is_valid",
    "recv.key_phase",
    "send.aead._aead.encrypt",
    "send.aead._iv",
    "send.hp._encryptor.update",
    "send.hp._is_chacha20",
    "send.key_phase",
)
FAST_OF_STREAM: Final = (
    "is_blocked",
    "max_stream_data_local",
    "max_stream_data_remote",
    "receiver._buffer",
    "receiver._buffer_start",
    "receiver._final_size",
    "receiver.highest_offset",
    "receiver.is_finished",
    "receiver.stop_pending",
    "sender._buffer",
    "sender._buffer_start",
    "sender._buffer_stop",
    "sender._pending.subtract",
    "sender.buffer_is_empty",
    "sender.highest_offset",
    "sender.on_data_delivery",
    "sender.reset_pending",
)
"""The same of what a connection has: paths, packet number spaces, keys, streams."""


@cache
def specimen() -> QuicConnection:
    """Return a connection to look for names in; there is one for all who look, because its keys take a while."""
    quic = QuicConnection(configuration=QuicConfiguration(server_name=SERVER_NAME))
    quic.connect(("192.0.2.1", 9), now=0.0)
    return quic


def owners() -> list[tuple[object, tuple[str, ...]]]:
    """Return an object of each kind and the names that it must have."""
    quic = specimen()
    crypto = CryptoPair()
    crypto.setup_initial(cid=bytes(8), is_client=True, version=1)
    return [
        (quic, FAST_OF_QUIC),
        (quic._network_paths[0], FAST_OF_PATH),
        (quic._spaces[Epoch.ONE_RTT], FAST_OF_SPACE),
        (crypto, FAST_OF_CRYPTO),
        (QuicStream(stream_id=0), FAST_OF_STREAM),
    ]


@cache
def fast_path_works() -> bool:
    """Whether the installed aioquic is one the fast path knows; if not, that is logged once."""
    version = aioquic.__version__
    if version not in KNOWN_VERSIONS:
        logger.warning("aioquic %s is not known here (%s is): transfers will be slower", version, KNOWN_VERSIONS[-1])
        return False
    try:
        for owner, names in owners():
            for name in names:
                operator.attrgetter(name)(owner)
    except Exception as error:
        logger.warning("aioquic %s is not what it was (%s): transfers will be slower", version, error)
        return False
    return True


class FastQuic(FastReceive, FastSend):
    """aioquic's connection with the fast path both ways, where the installed aioquic allows it."""

    fast = False

    def use_fast_path(self) -> None:
        """Take the fast path from now on, if there is one."""
        self.fast = fast_path_works()
        if self.fast:
            self._loss.__class__ = BulkRecovery
