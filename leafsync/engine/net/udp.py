"""One UDP socket, read and written in batches.

The kernel does the splitting and joining where it can (UDP_SEGMENT, UDP_GRO: one system call for up to 64 datagrams,
which halves the cost of a datagram in Python); everywhere else it is one datagram a call, and nothing above notices.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from leafsync.engine.net.addresses import SocketAddress
from leafsync.engine.net.turns import TURNS
from leafsync.errors import AddressUnusable, PortInUse

logger = logging.getLogger("leafsync.net")

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes asked of the kernel for what arrives: 30 ms of a gigabit, while the loop is busy elsewhere."""

SEND_BUFFER = 384 * 1024
"""Bytes asked of the kernel for what waits to go out; Linux takes twice as many, 6 ms of a gigabit. More would not be
faster: the queue of this device's own link holds about 10 ms, and drops what is beyond without a word."""

MAX_SEGMENTS = 64
MAX_SEGMENTED = 65_000
"""Datagrams and bytes in one segmented send: the kernel's bounds (UDP_MAX_SEGMENTS, a 16-bit UDP length)."""

MAX_QUEUED = 2048
"""Datagrams kept while the kernel's buffer is full (3 MB); beyond it the newest are dropped, and QUIC repairs that."""

MAX_DATAGRAM = 65_535
"""Bytes one receive can return: with UDP_GRO, many datagrams joined."""

_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3
"""Linux's numbers; the socket module of Python 3.11 has no names for them."""

_SEGMENT_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
_RUN_REFUSED = _SEGMENT_REFUSED | {errno.EMSGSIZE}
_IPV6_OFF = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

Run: TypeAlias = tuple[list[bytes], SocketAddress]
"""Datagrams that arrived from one address, in order."""


class DatagramSocket(Protocol):
    """What is used of a socket."""

    def fileno(self) -> int: ...
    def recvmsg(self, bufsize: int, ancbufsize: int, /) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]: ...
    def sendmsg(
        self, buffers: list[bytes], ancdata: list[tuple[int, int, bytes]], flags: int, address: SocketAddress | None, /
    ) -> int: ...
    def close(self) -> None: ...


def open_socket(host: str | None, port: int) -> socket.socket:
    """Return a bound, non-blocking socket: on all addresses of both families if `host` is None.

    `host` must be a literal address: nothing here may wait for a resolver.

    Raises:
        PortInUse: another process has the port.
        AddressUnusable: the address is not this device's, or the port needs rights this user lacks.
    """
    if host is None:
        candidates = [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]  # noqa: S104
    else:
        candidates = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]
    for family, address in candidates:
        try:
            return _bound(family, address, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(port=port) from error
            if error.errno in _IPV6_OFF and (family, address) != candidates[-1]:
                continue
            shown = f"{address} port {port}"
            raise AddressUnusable(address=shown, reason=error.strerror or str(error)) from error
    raise AddressUnusable(address=host or "any address", reason="no address family works")


def connected_socket(family: int, address: SocketAddress) -> socket.socket:
    """Return a non-blocking socket connected to `address`: only its datagrams arrive, and a refusal is told.

    Raises:
        OSError: there is no route, or no such family.
    """
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        tune(made)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def _bound(family: int, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tune(made)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def tune(made: socket.socket) -> None:
    """Ask for buffers for a gigabit, joined receives and whole datagrams; a kernel that refuses is slower, not wrong.

    Datagrams are not fragmented (RFC 9000 section 14), and no ICMP message, which anybody can forge, is believed about
    the path: `pathmtu` finds out what it carries.
    """
    made.setblocking(False)
    for option, force, size in (
        (socket.SO_RCVBUF, _SO_RCVBUFFORCE, RECEIVE_BUFFER),
        (socket.SO_SNDBUF, _SO_SNDBUFFORCE, SEND_BUFFER),
    ):
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, option, size)
        if socket.SOL_SOCKET == 1:  # Linux; elsewhere these numbers mean something else
            with contextlib.suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, force, size)
    if socket.SOL_SOCKET == 1:
        with contextlib.suppress(OSError):
            made.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        # A socket of IPv6 sends IPv4 too.
        for level, option in ((socket.IPPROTO_IP, _IP_MTU_DISCOVER), (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)):
            with contextlib.suppress(OSError):
                made.setsockopt(level, option, _PMTUDISC_PROBE)


class UdpSocket:
    """A socket on the event loop. `remote` is set for a connected one: its datagrams count as that address's."""

    def __init__(
        self,
        made: DatagramSocket,
        *,
        on_runs: Callable[[list[Run]], None],
        on_refused: Callable[[], None] | None = None,
        on_too_large: Callable[[int, SocketAddress], None] | None = None,
        remote: SocketAddress | None = None,
    ) -> None:
        self._socket = made
        self._on_runs = on_runs
        self._on_refused = on_refused
        self._on_too_large = on_too_large
        self._too_large = 0
        self._remote = remote
        self._segmenting = socket.SOL_SOCKET == 1
        self._queue: deque[tuple[bytes, SocketAddress]] = deque()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(made.fileno(), self._readable)
        self.receives = 0
        self.datagrams = 0

    @property
    def segmenting(self) -> bool:
        """Whether the kernel splits what is sent (UDP_SEGMENT); off for good once it refused to."""
        return self._segmenting

    @property
    def pending(self) -> bool:
        """Whether datagrams wait for the kernel to take them."""
        return bool(self._queue)

    def send(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        """Send datagrams in order; what the kernel does not take now follows when it does."""
        if self._closed:
            return
        if self._queue:
            self._enqueue(datagrams)
            return
        at = 0
        while at < len(datagrams):
            stop = self._run_end(datagrams, at)
            if not self._send_run(datagrams[at:stop]):
                self._enqueue(datagrams[at:])
                return
            at = stop

    async def flush(self) -> None:
        """Return when the kernel took everything."""
        await self._flushed.wait()

    def close(self) -> None:
        """Stop reading and release the socket; what is still queued is dropped."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._queue.clear()
            self._flushed.set()
            self._socket.close()

    # Receiving

    def _readable(self) -> None:
        runs: list[Run] = []
        count, most = 0, TURNS.datagrams
        while count < most and not self._closed:
            try:
                data, ancillary, _, address = self._socket.recvmsg(MAX_DATAGRAM, 64)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                self._refused()
                continue
            except OSError as error:
                logger.debug("a receive failed: %s", error)
                break
            run = _split(data, ancillary)
            count += len(run)
            runs.append((run, address if self._remote is None else self._remote))
        self.receives += 1
        self.datagrams += count
        if runs:
            self._on_runs(runs)

    def _refused(self) -> None:
        if self._on_refused is not None:
            self._on_refused()

    # Sending

    def _run_end(self, datagrams: list[tuple[bytes, SocketAddress]], at: int) -> int:
        """Return where the run that begins at `at` ends: equal sizes and addresses, the last may be shorter."""
        if not self._segmenting:
            return at + 1
        size, address = len(datagrams[at][0]), datagrams[at][1]
        last = min(len(datagrams), at + max(1, min(MAX_SEGMENTS, MAX_SEGMENTED // max(size, 1))))
        stop = at + 1
        while stop < last and datagrams[stop][1] == address and len(datagrams[stop][0]) <= size:
            stop += 1
            if len(datagrams[stop - 1][0]) < size:
                break
        return stop

    def _send_run(self, run: list[tuple[bytes, SocketAddress]], *, again: bool = True) -> bool:
        """Send a run; return False if the kernel's buffer is full."""
        size, address = len(run[0][0]), run[0][1]
        ancillary = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size))] if len(run) > 1 else []
        try:
            self._socket.sendmsg([data for data, _ in run], ancillary, 0, address if self._remote is None else None)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionRefusedError:
            self._refused()
        except OSError as error:
            if len(run) > 1 and error.errno in _RUN_REFUSED:
                return self._send_singly(run, error)
            if error.errno == errno.EMSGSIZE and again:
                # It may be an answer to an earlier datagram, which the kernel tells with the next one.
                return self._send_run(run, again=False)
            logger.debug("a send failed: %s", error)
            if error.errno == errno.EMSGSIZE:
                self._too_large += 1
                if self._on_too_large is not None:
                    self._on_too_large(size, address)
        return True

    def _send_singly(self, run: list[tuple[bytes, SocketAddress]], refusal: OSError) -> bool:
        """Send a run that was refused one by one, and find out why it was: kernels say EINVAL for too large as well."""
        before = self._too_large
        for at, datagram in enumerate(run):
            if not self._send_run([datagram]):
                self._enqueue(run[at:])
                break
        if self._too_large == before and refusal.errno in _SEGMENT_REFUSED:
            logger.debug("the kernel does not segment: %s", refusal)
            self._segmenting = False
        return True

    def _enqueue(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        if not self._queue:
            self._flushed.clear()
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._queue.extend(datagrams[: MAX_QUEUED - len(self._queue)])

    def _writable(self) -> None:
        datagrams = list(self._queue)
        at = 0
        self._queue.clear()
        while at < len(datagrams):
            stop = self._run_end(datagrams, at)
            if not self._send_run(datagrams[at:stop]):
                self._queue.extend(datagrams[at:])
                return
            at = stop
        if not self._queue and not self._closed:
            self._loop.remove_writer(self._socket.fileno())
            self._flushed.set()


def _split(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> list[bytes]:
    """Return the datagrams a receive joined (UDP_GRO says their size; the last may be shorter)."""
    for level, kind, value in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            size = int(struct.unpack("=i", value[:4])[0])
            if 0 < size < len(data):
                return [data[at : at + size] for at in range(0, len(data), size)]
    return [data]
