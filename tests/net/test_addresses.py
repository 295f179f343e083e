"""Addresses as people read them."""

import ipaddress
import socket

import pytest

from leafsync.engine.net.addresses import SocketAddress, display, network_of, outward_hosts, plain


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.1", 4455), ("192.0.2.1", 4455)),
        (("::ffff:192.0.2.1", 4455, 0, 0), ("192.0.2.1", 4455)),
        (("2001:db8::1", 1, 0, 3), ("2001:db8::1", 1)),
    ],
)
def test_plain(address: SocketAddress, expected: tuple[str, int]) -> None:
    assert plain(address) == expected


def test_display() -> None:
    assert display("box.example", 4455) == "box.example:4455"
    assert display("192.0.2.1", 1) == "192.0.2.1:1"
    assert display("fe80::1%eth0", 1) == "[fe80::1%eth0]:1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.77", 1), "192.0.2.0/24"),
        (("::ffff:192.0.2.77", 1, 0, 0), "192.0.2.0/24"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
    ],
)
def test_network(address: SocketAddress, expected: str) -> None:
    assert network_of(address) == expected


def test_outward_hosts_are_addresses_that_are_not_loopback() -> None:
    for host in outward_hosts():
        assert not ipaddress.ip_address(host.partition("%")[0]).is_loopback


def test_a_machine_without_a_network_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(family: int, kind: int) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert outward_hosts() == []
