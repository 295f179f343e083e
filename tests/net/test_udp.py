"""The UDP socket: batches with and without the kernel's help, and what happens when it is full."""

import asyncio
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from leafsync.engine.net.turns import LONG
from leafsync.engine.net.udp import (
    MAX_QUEUED,
    MAX_SEGMENTED,
    MAX_SEGMENTS,
    SEND_BUFFER,
    Run,
    UdpSocket,
    connected_socket,
    open_socket,
)
from leafsync.errors import AddressUnusable, PortInUse

REAL_TIME = True
HERE = ("192.0.2.1", 1)
THERE = ("192.0.2.2", 2)
linux = pytest.mark.skipif(socket.SOL_SOCKET != 1, reason="Linux's socket options")


class FakeSocket:
    """A socket that plays a script; its descriptor is a pipe, so that the loop can watch it."""

    def __init__(self) -> None:
        self._pipe = os.pipe()
        self.incoming: deque[Any] = deque()
        self.sent: list[tuple[list[bytes], int, object]] = []
        self.refuse: Callable[[list[bytes]], OSError | None] = lambda buffers: None
        self.open = True

    def fileno(self) -> int:
        return self._pipe[0]

    def recvmsg(self, size: int, ancillary: int, /) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        if not self.incoming:
            raise BlockingIOError
        item = self.incoming.popleft()
        if isinstance(item, OSError):
            raise item
        data, segment, address = item
        return data, [(17, 104, struct.pack("=i", segment))] if segment else [], 0, address

    def sendmsg(
        self, buffers: list[bytes], ancillary: list[tuple[int, int, bytes]], flags: int, address: object, /
    ) -> int:
        error = self.refuse(buffers)
        if error is not None:
            raise error
        segment = struct.unpack("=H", ancillary[0][2])[0] if ancillary else 0
        self.sent.append((list(buffers), segment, address))
        return sum(map(len, buffers))

    def close(self) -> None:
        if self.open:
            self.open = False
            for descriptor in self._pipe:
                os.close(descriptor)


class Rig:
    """A UdpSocket over a FakeSocket, and what it handed up."""

    def __init__(self, remote: tuple[str, int] | None = None) -> None:
        self.fake = FakeSocket()
        self.runs: list[list[Run]] = []
        self.refusals = 0
        self.too_large: list[tuple[int, object]] = []
        self.udp = UdpSocket(
            self.fake,
            on_runs=self.runs.append,
            on_refused=self.note_refusal,
            on_too_large=lambda size, address: self.too_large.append((size, address)),
            remote=remote,
        )

    def note_refusal(self) -> None:
        self.refusals += 1

    def receive(self) -> None:
        self.udp._readable()

    def sizes(self) -> list[list[int]]:
        return [[len(data) for data in buffers] for buffers, _, _ in self.fake.sent]


@pytest.fixture
async def rig() -> Any:
    made = Rig()
    yield made
    made.udp.close()


def datagrams(*sizes: int, address: object = THERE) -> list[tuple[bytes, Any]]:
    return [(bytes([index % 256]) * size, address) for index, size in enumerate(sizes)]


# Receiving


async def test_joined_datagrams_are_split(rig: Rig) -> None:
    rig.fake.incoming.extend([(b"aaaabbbbcc", 4, HERE), (b"whole", 0, THERE), (b"dddd", 4, HERE), (b"e", 9, HERE)])
    rig.receive()
    assert rig.runs == [[([b"aaaa", b"bbbb", b"cc"], HERE), ([b"whole"], THERE), ([b"dddd"], HERE), ([b"e"], HERE)]]
    assert (rig.udp.receives, rig.udp.datagrams) == (1, 6)


async def test_one_turn_takes_a_bounded_number(rig: Rig) -> None:
    rig.fake.incoming.extend([(b"x" * 10 * 50, 10, HERE)] * 20)
    rig.receive()
    assert sum(len(run) for run, _ in rig.runs[0]) < LONG + 64
    assert len(rig.fake.incoming) > 10


async def test_nothing_to_read_is_no_batch(rig: Rig) -> None:
    rig.receive()
    assert rig.runs == []


async def test_an_empty_datagram_is_one(rig: Rig) -> None:
    rig.fake.incoming.append((b"", 0, HERE))
    rig.receive()
    assert rig.runs == [[([b""], HERE)]]


async def test_a_refusal_is_told_and_reading_goes_on(rig: Rig) -> None:
    rig.fake.incoming.extend([ConnectionRefusedError(), (b"x", 0, HERE)])
    rig.receive()
    assert rig.refusals == 1
    assert rig.runs == [[([b"x"], HERE)]]


async def test_other_receive_errors_end_the_turn_only(rig: Rig) -> None:
    rig.fake.incoming.extend([(b"x", 0, HERE), OSError(errno.EHOSTUNREACH, "no route"), (b"y", 0, HERE)])
    rig.receive()
    rig.receive()
    assert [run for runs in rig.runs for run, _ in runs] == [[b"x"], [b"y"]]


async def test_a_connected_socket_has_one_address() -> None:
    rig = Rig(remote=THERE)
    rig.fake.incoming.append((b"x", 0, ("::ffff:192.0.2.2", 2, 0, 0)))
    rig.receive()
    assert rig.runs == [[([b"x"], THERE)]]
    rig.udp.send(datagrams(5))
    assert rig.fake.sent[0][2] is None
    rig.udp.close()


# Sending


async def test_equal_sizes_go_out_together_with_a_shorter_last(rig: Rig) -> None:
    rig.udp.send(datagrams(100, 100, 100, 40, 100, 100, 200))
    assert rig.sizes() == [[100, 100, 100, 40], [100, 100], [200]]
    assert [segment for _, segment, _ in rig.fake.sent] == [100, 100, 0]


async def test_two_addresses_are_never_mixed(rig: Rig) -> None:
    rig.udp.send([*datagrams(100, 100), *datagrams(100, address=HERE), *datagrams(100)])
    assert [address for _, _, address in rig.fake.sent] == [THERE, HERE, THERE]


async def test_the_kernels_bounds_are_kept(rig: Rig) -> None:
    rig.udp.send(datagrams(*[100] * 200))
    rig.udp.send(datagrams(*[1452] * 100))
    assert max(len(run) for run in rig.sizes()) == MAX_SEGMENTS
    assert max(sum(run) for run in rig.sizes()) <= MAX_SEGMENTED
    assert sum(len(run) for run in rig.sizes()) == 300


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT])
async def test_a_kernel_that_does_not_segment_gets_single_datagrams_from_then_on(rig: Rig, code: int) -> None:
    rig.fake.refuse = lambda buffers: OSError(code, "no") if len(buffers) > 1 else None
    everything = datagrams(100, 100, 100, 40)
    rig.udp.send(everything)
    assert not rig.udp.segmenting
    assert [buffers[0] for buffers, _, _ in rig.fake.sent] == [data for data, _ in everything]
    rig.fake.refuse = lambda buffers: None
    rig.udp.send(datagrams(100, 100))
    assert rig.sizes()[4:] == [[100], [100]]


async def test_what_a_full_kernel_does_not_take_follows_in_order(rig: Rig) -> None:
    taken = 0

    def full_after_two(buffers: list[bytes]) -> OSError | None:
        nonlocal taken
        taken += 1
        return BlockingIOError() if taken > 2 else None

    rig.fake.refuse = full_after_two
    rig.udp.send(datagrams(10, 20, 30, 40))
    rig.udp.send(datagrams(50))
    assert rig.sizes() == [[10], [20]]
    flushing = asyncio.ensure_future(rig.udp.flush())
    await asyncio.sleep(0)
    assert not flushing.done()
    rig.fake.refuse = lambda buffers: None
    rig.udp._writable()
    assert rig.sizes() == [[10], [20], [30], [40], [50]]
    await flushing


async def test_the_queue_is_bounded(rig: Rig) -> None:
    rig.fake.refuse = lambda buffers: BlockingIOError()
    for _ in range(30):
        rig.udp.send(datagrams(*[10] * 100))
    assert len(rig.udp._queue) == MAX_QUEUED
    rig.udp._writable()
    assert len(rig.udp._queue) == MAX_QUEUED


async def test_single_sends_that_meet_a_full_kernel_are_queued_too(rig: Rig) -> None:
    def refuse(buffers: list[bytes]) -> OSError | None:
        if len(buffers) > 1:
            return OSError(errno.EIO, "no")
        return BlockingIOError() if len(rig.fake.sent) >= 2 else None

    rig.fake.refuse = refuse
    rig.udp.send(datagrams(10, 10, 10, 10, 10))
    rig.udp.send(datagrams(20))
    rig.fake.refuse = lambda buffers: None
    rig.udp._writable()
    assert rig.sizes() == [[10]] * 5 + [[20]]


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EMSGSIZE, errno.EPERM])
async def test_a_datagram_that_cannot_go_is_left_to_quic(rig: Rig, code: int) -> None:
    rig.fake.refuse = lambda buffers: OSError(code, "no")
    rig.udp.send(datagrams(10))
    rig.fake.refuse = lambda buffers: None
    rig.udp.send(datagrams(20))
    assert rig.sizes() == [[20]]


def takes(mtu: int, code: int) -> Callable[[list[bytes]], OSError | None]:
    """Return a kernel that takes datagrams of `mtu` bytes at most, and refuses larger ones in a run with `code`."""

    def refuse(buffers: list[bytes]) -> OSError | None:
        if len(buffers[0]) <= mtu:
            return None
        return OSError(code if len(buffers) > 1 else errno.EMSGSIZE, "too large")

    return refuse


async def test_a_datagram_that_is_too_large_is_told(rig: Rig) -> None:
    rig.fake.refuse = takes(1300, errno.EMSGSIZE)
    rig.udp.send(datagrams(1452, 1200))
    assert rig.too_large == [(1452, THERE)]
    assert rig.sizes() == [[1200]]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EMSGSIZE])
async def test_a_run_of_too_large_ones_is_told_and_does_not_turn_segmenting_off(rig: Rig, code: int) -> None:
    """Kernels before 6.13 say EINVAL for it, as those do that do not segment."""
    rig.fake.refuse = takes(1300, code)
    rig.udp.send(datagrams(1452, 1452, 700, 1200, 1200))
    assert rig.too_large == [(1452, THERE)] * 2
    assert rig.sizes() == [[700], [1200, 1200]]
    assert rig.udp.segmenting


async def test_the_answer_to_an_earlier_datagram_is_no_word_about_this_one(rig: Rig) -> None:
    """An ICMP message is told with whatever is sent next, and anybody can forge one."""
    pending = [OSError(errno.EMSGSIZE, "of another one")]
    rig.fake.refuse = lambda buffers: pending.pop() if pending else None
    rig.udp.send(datagrams(1200))
    assert rig.sizes() == [[1200]]
    assert rig.too_large == []


async def test_too_large_ones_that_waited_are_told_too(rig: Rig) -> None:
    rig.fake.refuse = lambda buffers: BlockingIOError()
    rig.udp.send(datagrams(1452))
    rig.fake.refuse = takes(1300, errno.EMSGSIZE)
    rig.udp._writable()
    assert rig.too_large == [(1452, THERE)]
    assert not rig.udp.pending


async def test_without_anybody_to_tell_too_large_ones_are_dropped() -> None:
    fake = FakeSocket()
    udp = UdpSocket(fake, on_runs=lambda runs: None)
    fake.refuse = takes(1300, errno.EMSGSIZE)
    udp.send(datagrams(1452))
    assert fake.sent == []
    udp.close()


async def test_a_refused_send_is_told(rig: Rig) -> None:
    rig.fake.refuse = lambda buffers: ConnectionRefusedError()
    rig.udp.send(datagrams(10))
    assert rig.refusals == 1


async def test_a_closed_socket_sends_nothing_and_closes_once(rig: Rig) -> None:
    rig.udp.close()
    rig.udp.send(datagrams(10))
    rig.udp.close()
    await rig.udp.flush()
    assert rig.fake.sent == []
    assert not rig.fake.open


# Real sockets


@pytest.fixture
def keep() -> Iterator[list[socket.socket]]:
    """Sockets to close at the end."""
    made: list[socket.socket] = []
    yield made
    for one in made:
        one.close()


def test_any_address_takes_both_families(keep: list[socket.socket]) -> None:
    keep.append(open_socket(None, 0))
    port = keep[0].getsockname()[1]
    assert port > 0
    if keep[0].family == socket.AF_INET6:
        assert keep[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    with pytest.raises(PortInUse) as raised:
        open_socket(None, port)
    assert str(port) in str(raised.value)


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_there_is_ipv4(keep: list[socket.socket], monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    class NoIpv6(socket.socket):
        def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
            if family == socket.AF_INET6:
                raise OSError(code, "IPv6 is off")
            super().__init__(family, kind, proto, fileno)

    monkeypatch.setattr(socket, "socket", NoIpv6)
    keep.append(open_socket(None, 0))
    assert keep[0].family == socket.AF_INET


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(AddressUnusable, match="cannot listen on 203"):
        open_socket("203.0.113.9", 0)


def test_a_chosen_host_is_the_only_one(keep: list[socket.socket]) -> None:
    keep.append(open_socket("127.0.0.1", 0))
    assert keep[0].getsockname()[0] == "127.0.0.1"


@linux
def test_less_waits_in_the_kernel_than_the_queue_of_the_own_link_holds(keep: list[socket.socket]) -> None:
    gigabit_queue = 1000 * 1500
    keep.append(open_socket("127.0.0.1", 0))
    keep.append(connected_socket(socket.AF_INET, keep[0].getsockname()))
    for made in keep:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER < gigabit_queue


@linux
@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_the_kernel_fragments_nothing_and_believes_no_icmp(keep: list[socket.socket], host: str | None) -> None:
    keep.append(open_socket(host, 0))
    keep.append(connected_socket(socket.AF_INET, keep[0].getsockname()[:2] if host else ("127.0.0.1", 9)))
    for made in keep:
        assert made.getsockopt(socket.IPPROTO_IP, 10) == 3
        if made.family == socket.AF_INET6:
            assert made.getsockopt(socket.IPPROTO_IPV6, 23) == 3


def test_a_kernel_that_has_none_of_the_options_is_no_hindrance(
    keep: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bare(socket.socket):
        def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
            if option != socket.IPV6_V6ONLY or level != socket.IPPROTO_IPV6:
                raise OSError(errno.ENOPROTOOPT, "no such option")
            super().setsockopt(level, option, value)

    monkeypatch.setattr(socket, "socket", Bare)
    keep.append(open_socket(None, 0))
    assert keep[0].getsockname()[1] > 0
    assert not keep[0].getblocking()


@linux
async def test_two_real_sockets_move_a_batch() -> None:
    arrived: asyncio.Queue[list[Run]] = asyncio.Queue()
    made = open_socket("127.0.0.1", 0)
    address = made.getsockname()
    receiver = UdpSocket(made, on_runs=arrived.put_nowait)
    sender = UdpSocket(open_socket("127.0.0.1", 0), on_runs=lambda runs: None)
    everything = [(bytes([index]) * 1452, address) for index in range(40)] + [(b"end", address)]
    sender.send(everything)
    got: list[bytes] = []
    async with asyncio.timeout(5):
        while len(got) < 41:
            got += [data for run, _ in await arrived.get() for data in run]
    assert got == [data for data, _ in everything]
    receiver.close()
    sender.close()
