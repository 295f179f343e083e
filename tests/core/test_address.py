"""Addresses as people type them."""

import pytest
from hypothesis import given, strategies as st

from leafsync.engine.core.address import DEFAULT_PORT, MAX_HOST, Address, parse_address
from leafsync.errors import AddressMalformed


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host", "host", DEFAULT_PORT),
        ("host:1", "host", 1),
        ("host.example.org:65535", "host.example.org", 65_535),
        (" 192.0.2.1:4456\n", "192.0.2.1", 4456),
        ("[::1]", "::1", DEFAULT_PORT),
        ("[2001:DB8::1]:5000", "2001:DB8::1", 5000),
        ("[fe80::1%eth0]:5000", "fe80::1%eth0", 5000),
        ("[::ffff:192.0.2.1]", "::ffff:192.0.2.1", DEFAULT_PORT),
        ("bücher.example", "bücher.example", DEFAULT_PORT),
        ("a" * MAX_HOST, "a" * MAX_HOST, DEFAULT_PORT),
    ],
)
def test_an_address(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ":",
            ":4455",
            "host:",
            "host:port",
            "host:0",
            "host:65536",
            "host:123456",
            "host:-1",
            "a b",
            "user@host",
        ),
        *("[", "[]", "[::1", "::1]", "[::1]:", "[::1]x", "[host]:1", "quic://host", "host:1:2", "a" * (MAX_HOST + 1)),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressMalformed):
        parse_address(text)


@pytest.mark.parametrize("text", ["::1", "fe80::1%eth0", "2001:db8::1"])
def test_a_bare_ipv6_address_is_told_to_get_brackets(text: str) -> None:
    with pytest.raises(AddressMalformed, match="brackets"):
        parse_address(text)


def test_another_default_port() -> None:
    assert parse_address("host", 9).port == 9
    assert parse_address("host:8", 9).port == 8


@pytest.mark.parametrize("address", [Address("host", 1), Address("::1", 4455), Address("fe80::1%eth0", 65_535)])
def test_what_is_shown_can_be_typed(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_malformed(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressMalformed:
        return
    assert 1 <= address.port <= 65_535
    assert 1 <= len(address.host) <= MAX_HOST
    assert parse_address(str(address)) == address
