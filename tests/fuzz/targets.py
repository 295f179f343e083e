"""What reads bytes that somebody else made, each as a function of any bytes.

A target returns when the bytes were taken or refused as they should be, and raises otherwise: an exception of another
kind than the documented one, or a promise that does not hold for what was taken.
"""

import contextlib
import os
import struct
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from aioquic import tls

from leafsync.config import load_config
from leafsync.engine.core.address import parse_address
from leafsync.engine.core.index import directory_digest
from leafsync.engine.core.listing import ListingCheck, ListingMalformed
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import (
    MAX_SCALE,
    MIN_SCALE,
    Decoder,
    Listing,
    Message,
    MessageMalformed,
    control_replies,
    control_requests,
    data_replies,
    data_requests,
    encode,
)
from leafsync.engine.core.names import MAX_NAME, MAX_PATH, is_own, name_problem, path_problem, target_problem
from leafsync.engine.core.pieces import PieceIndex, PieceList, PiecesMalformed, missing, round_of
from leafsync.engine.disk.ignore import IgnoreRules
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync.packing import PackingMalformed, pack, unpack
from leafsync.errors import AddressMalformed, ConfigMalformed, TrustMalformed
from leafsync.text import printable
from tests.support.packets import compare, seal, standing_pair
from tests.support.quicpair import CLIENT, twin

Target = Callable[[bytes], None]

M = TypeVar("M", bound=Message)

UNPACKED = 1 << 16
"""Bytes that packed content is said to have: what a target allocates."""


def control(data: bytes) -> None:
    """Frames of a control stream, from either side."""
    _frame(control_requests, data)
    _frame(control_replies, data)


def content(data: bytes) -> None:
    """Frames of a data stream, from either side."""
    _frame(data_requests, data)
    _frame(data_replies, data)


def _frame(decoder: Decoder[M], data: bytes) -> None:
    try:
        message = decoder.decode(data)
    except MessageMalformed:
        return
    if message is not None:
        again = encode(message)
        _hold(decoder.decode(again) == message, "a message comes back as another one")
        _hold(len(again) <= 2 * len(data) + 64, "a message is larger than what it came in")


def listing(data: bytes) -> None:
    """A directory as another device lists it: what is taken may be written to a disk."""
    try:
        message = control_replies.decode(data)
    except MessageMalformed:
        return
    if not isinstance(message, Listing):
        return
    for entries in (message.entries, tuple(sorted(message.entries, key=lambda entry: entry.name))):
        check = ListingCheck()
        with contextlib.suppress(ListingMalformed):
            for entry in check.directory("some/where", entries, directory_digest(entries)):
                _hold(name_problem(entry.name) is None, "a name that must not travel was taken")


def names(data: bytes) -> None:
    """Names, paths and targets of links: with surrogates, as they come from a disk."""
    text = data.decode("utf-8", "surrogateescape")
    if name_problem(text) is None:
        _hold(0 < len(text.encode()) <= MAX_NAME, "a name of a wrong length")
        _hold(not set(text) & set("/\\\0") and text not in (".", ".."), "a name that leads elsewhere")
        _hold(not is_own(text) and unicodedata.is_normalized("NFC", text), "a name that is ours, or in another form")
        _hold(path_problem(text) is None, "a name that is no path")
    if text and path_problem(text) is None:
        _hold(len(text.encode()) <= MAX_PATH, "a path that is too long")
        _hold(all(name_problem(part) is None for part in text.split("/")), "a path with a bad name")
    if target_problem("a/b/link", text) is None:
        _hold(not text.startswith("/") and "\0" not in text, "a link that is absolute")
        outside = os.path.normpath(f"/folder/a/b/{text}").split("/")[:2] != ["", "folder"]
        _hold(not outside, "a link that leaves the folder")


def ignore(data: bytes) -> None:
    """An ignore file, and paths it is asked about."""
    rules = IgnoreRules()
    rules.load("", data)
    rules.load("sub", data)
    for path in ("a", "sub/a/b", "sub/.git", "x.part", data[:40].decode("utf-8", "surrogateescape").strip("/") or "x"):
        for is_directory in (True, False):
            rules.ignored(path, is_directory)
    rules.forget("sub")
    rules.forget("")
    _hold(not rules.problems and rules.ignored(".git", True), "rules that were forgotten still hold")


def trust(data: bytes) -> None:
    """A trust file: sound, or refused as a whole so that nobody is trusted."""
    with _file(data) as path:
        store = TrustStore(path)
        try:
            store.load()
        except TrustMalformed:
            _hold(not store.devices, "somebody is trusted by a file that is refused")
            return
        for device in store.devices:
            _hold(len(device.fingerprint) == 64 and store.get(device.fingerprint) == device, "a device is not found")


def config(data: bytes) -> None:
    """A configuration file."""
    with _file(data) as path, contextlib.suppress(ConfigMalformed):
        load_config(path, "host")


def pieces(data: bytes) -> None:
    """Pieces of a new version as another device names them: 11 bytes say of what, 12 each are a piece."""
    if len(data) < 11:
        return
    size, first, count, scale = struct.unpack(">IIHB", data[:11])
    scale = MIN_SCALE + scale % (MAX_SCALE - MIN_SCALE + 1)
    chunks = -(-size // CHUNK_SIZE)
    if not chunks:
        return
    first %= chunks
    wanted = round_of([(first, 1 + count % min(4, chunks - first))], scale)
    listed = PieceList(size, wanted, scale)
    body = data[11:]
    half = len(body) // 12 * 8
    old = PieceIndex()
    old.add(0, [(0, 4096), (1, 8192)])
    try:
        listed.add(body[:half], body[half:])
    except PiecesMalformed:
        return
    if listed.complete:
        for index, segments in listed.plan(old).items():
            whole = min(CHUNK_SIZE, size - index * CHUNK_SIZE)
            _hold(sum(segment.length for segment in segments) == whole, "pieces that are no chunk")
            _hold(0 <= missing(segments) <= whole, "more is missing than there is")


def packed(data: bytes) -> None:
    """Packed content: unpacks to exactly what was said, or is refused."""
    for length in (0, len(data), UNPACKED):
        with contextlib.suppress(PackingMalformed):
            _hold(len(unpack(data, length)) == length, "another length than was said")
    small = pack(data)
    if small is not None:
        _hold(unpack(small, len(data)) == data, "what was packed comes back as something else")


def address(data: bytes) -> None:
    """An address as it is typed, or stored by an older version."""
    with contextlib.suppress(AddressMalformed):
        found = parse_address(data.decode("utf-8", "surrogateescape"))
        _hold(parse_address(str(found)) == found, "an address comes back as another one")


def shown(data: bytes) -> None:
    """Text from outside, on its way to a terminal."""
    text = printable(data.decode("utf-8", "surrogateescape"))
    _hold(
        not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text), "it moves a cursor"
    )
    text.encode()


def packets(data: bytes) -> None:
    """QUIC packets with any payload: the fast path and upstream end in the same state.

    Each is two bytes (step of the packet number, form of the header), a length byte and so many bytes of payload.
    """
    pair = standing_pair()
    quic = twin(pair.server.quic, fast=True)
    number = quic._spaces[tls.Epoch.ONE_RTT].largest_received_packet
    batch, at = list[bytes](), 0
    while at + 3 <= len(data) and len(batch) < 16:
        step, form, length = data[at : at + 3]
        number = max(0, number + (1 if step < 200 else step - 230))
        payload = data[at + 3 : at + 3 + length] or b"\x01"
        batch.append(
            seal(pair.client.quic, payload, number, width=2 if form < 240 else 1 + form % 4, first=form & 0x20)
        )
        at += 3 + length
    if batch:
        compare(quic, batch, CLIENT, pair.now + 0.001)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (control, content, listing, names, ignore, trust, config, pieces, packed, address, shown, packets)
}
"""All of them, by name."""


class BrokenPromiseError(AssertionError):
    """A target found what must not be."""


def _hold(promise: bool, otherwise: str) -> None:
    if not promise:
        raise BrokenPromiseError(otherwise)


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[Path]:
    """Make a file that only this user can write."""
    with tempfile.NamedTemporaryFile(prefix="leafsync-fuzz-") as file:
        file.write(data)
        file.flush()
        yield Path(file.name)
