"""A network address translator before a server: its outward address can change, and the way can be cut."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Self

BUFFER = 4 << 20
"""Bytes that may wait in a socket: a window."""


class _Port(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[bytes, Any], None]) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._on_datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there now: a datagram that is lost."""


class Relay:
    """Carries the datagrams of one client to a server on this machine and back."""

    def __init__(self, server_port: int, *, source: str = "127.0.0.1") -> None:
        """Stand before the server; `source` is the host that it sees."""
        self.cut = False
        """Whether nothing gets through."""
        self.sources: list[int] = []
        """The ports that the server has seen."""
        self._server = ("127.0.0.1", server_port)
        self._source = source
        self._client: Any = None
        self._inward: asyncio.DatagramTransport
        self._outward: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        self._inward = await self._open("127.0.0.1", self._from_client)
        await self.rebind()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        for transport in (self._inward, self._outward):
            if transport is not None:
                transport.close()

    @property
    def port(self) -> int:
        """Where the client is to connect to."""
        return int(self._inward.get_extra_info("sockname")[1])

    async def rebind(self) -> None:
        """Speak to the server from another port from now on; what it sends to the old one is lost."""
        before = self._outward
        self._outward = await self._open(self._source, self._from_server)
        if before is not None:
            before.close()
        self.sources.append(int(self._outward.get_extra_info("sockname")[1]))

    async def _open(self, host: str, on_datagram: Callable[[bytes, Any], None]) -> asyncio.DatagramTransport:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        made.bind((host, 0))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Port(on_datagram), sock=made)
        return transport

    def _from_client(self, data: bytes, address: Any) -> None:
        self._client = address
        if not self.cut and self._outward is not None:
            self._outward.sendto(data, self._server)

    def _from_server(self, data: bytes, _address: Any) -> None:
        if not self.cut:
            self._inward.sendto(data, self._client)
