"""What people type into forms: every text is either used as it was meant, or refused with a reason."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from hypothesis import example, given, strategies as st

from leafsync import forms
from leafsync.bridge import MAX_STREAMS, parse_address, parse_fingerprint, path_problem
from leafsync.config import MAX_RATE_MBPS
from leafsync.errors import AddressMalformed, FingerprintMalformed
from leafsync.text import printable

HEX = "0123456789abcdef"
ALMOST = [*HEX, *HEX.upper(), " ", "\u00a0", ":", "-", "\n"]
CHECKS = (forms.file_reason, forms.port_reason, forms.address_reason, forms.rate_reason, forms.fingerprint_reason)


# Folders


def test_a_folder_that_can_be_used(tmp_path: Path) -> None:
    assert forms.folder_reason(str(tmp_path)) == ""
    assert forms.folder_reason(f"  {tmp_path}") == ""
    assert forms.folder_reason("~") == ""


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_no_folder(text: str) -> None:
    assert forms.folder_reason(text) == "name a folder"


def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert forms.folder_reason(str(tmp_path / "none")) == "it does not exist"
    assert forms.folder_reason(str(tmp_path / "file")) == "it is not a directory"
    assert forms.folder_reason(str(tmp_path / ("x" * 300))) != ""
    assert forms.folder_reason(str(tmp_path / "loop")) != ""
    assert forms.folder_reason("~nobody-is-called-this/x") == "it does not exist"
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert forms.folder_reason(str(tmp_path)) == "you may not read it"


def test_a_space_at_the_end_belongs_to_the_name(tmp_path: Path) -> None:
    assert forms.folder_reason(f"{tmp_path} ") == "it does not exist (mind the space at its end)"
    (tmp_path / "odd ").mkdir()
    assert forms.folder_reason(f"{tmp_path}/odd ") == ""
    assert forms.folder_path(f"{tmp_path}/odd ") == f"{tmp_path}/odd "


def test_the_home_directory_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert forms.folder_path("~/Music") == "/home/anna/Music"
    assert forms.folder_path(" ~") == "/home/anna"
    assert forms.folder_path("/a/~") == "/a/~"
    assert forms.folder_path("~nobody-is-called-this") == "~nobody-is-called-this"
    assert forms.folder_path("  ") == ""


@given(st.text(max_size=50))
@example("~\x00")
def test_any_text_gets_an_answer(text: str) -> None:
    assert isinstance(forms.folder_path(text), str)
    assert isinstance(forms.folder_reason(text), str)


# Paths in the folder


@pytest.mark.parametrize(
    ("text", "path"),
    [("", ""), (" ", ""), ("a", "a"), (" a/b ", "a/b"), ("./a", "a"), ("a/", "a"), ("./", ""), ("..", "..")],
)
def test_what_a_path_in_the_folder_means(text: str, path: str) -> None:
    assert forms.inner_path(text) == path


@pytest.mark.parametrize("text", ["..", "../x", "/etc", "a//b", "a\x1bb", "a\u202eb", ".leafsync_tmp/x", "\udcff"])
def test_a_path_that_cannot_be_in_the_folder(text: str) -> None:
    assert forms.file_reason(text) != ""


@given(st.text(max_size=30))
def test_a_path_is_taken_exactly_if_it_can_travel(text: str) -> None:
    path = forms.inner_path(text)
    assert (forms.file_reason(text) == "") == (path_problem(path) is None)


# Numbers


@given(st.integers(-10, 100_000), st.sampled_from(["{}", " {}", "{} ", "0{}"]))
def test_a_port_is_a_number_in_range(port: int, written: str) -> None:
    assert (forms.port_reason(written.format(port)) == "") == (0 <= port <= 65535)


@given(st.one_of(st.text(max_size=12), st.text(alphabet="0123 +-", max_size=12)))
def test_whole_numbers(text: str) -> None:
    value = forms.whole(text, 0, 10)
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        assert value == (int(digits) if int(digits) <= 10 else None)
    else:
        assert value is None


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "4 4", "1e3", "4455.0", "٤٤", "²", "1_000", "9" * 5000])
def test_what_is_no_port(text: str) -> None:
    assert forms.port_reason(text) == "give a number from 0 (any free one) to 65535"


@pytest.mark.parametrize(
    ("text", "usable"), [("0", False), ("1", True), (str(MAX_STREAMS), True), ("9", False), ("", False)]
)
def test_streams(text: str, usable: bool) -> None:
    assert (forms.streams_reason(text) == "") is usable


@pytest.mark.parametrize(
    ("text", "rate"),
    [("", None), ("  ", None), ("20", 20.0), (" 0.5 ", 0.5), ("1e3", 1000.0), ("1000000", MAX_RATE_MBPS)],
)
def test_a_rate_limit(text: str, rate: float | None) -> None:
    assert forms.rate_reason(text) == ""
    assert forms.rate_of(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "1000001", "1,5", "9" * 400])
def test_a_rate_that_cannot_be_kept_to(text: str) -> None:
    assert forms.rate_reason(text) == "give megabits per second, above 0 and up to 1000000, or nothing"
    with pytest.raises(ValueError):  # noqa: PT011  what float says
        forms.rate_of(text)


@given(st.floats())
def test_rates(rate: float) -> None:
    assert (forms.rate_reason(str(rate)) == "") == (0 < rate <= MAX_RATE_MBPS)


# Ports in use


@pytest.fixture(params=["127.0.0.1", "::"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A UDP port that something listens on."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        holder = socket.socket(family, socket.SOCK_DGRAM)
        holder.bind((request.param, 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with holder:
        yield holder.getsockname()[1]


def test_a_port_that_is_taken(taken: int) -> None:
    assert forms.port_in_use_reason(taken) == f"UDP port {taken} is in use; 0 picks a free one"


def test_a_port_that_is_free_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    assert forms.port_in_use_reason(port) == ""
    assert forms.port_in_use_reason(0) == ""


class Refusing:
    """A socket that cannot be bound."""

    code = 0

    def __init__(self, *_arguments: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None: ...

    def bind(self, _address: object) -> None:
        raise OSError(self.code, "no")


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EACCES, "this user may not use UDP port 80"), (errno.EAFNOSUPPORT, "")]
)
def test_a_port_that_may_not_be_used(monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    monkeypatch.setattr(Refusing, "code", code)
    monkeypatch.setattr(socket, "socket", Refusing)
    assert forms.port_in_use_reason(80) == reason


# Addresses and fingerprints


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name the other device"),
        (" ", "name the other device"),
        ("nas", ""),
        (" nas:4455 ", ""),
        ("[::1]:4455", ""),
        ("::1", "write the IPv6 address in brackets"),
        ("nas:0", "a port is a number from 1 to 65535"),
        ("nas:99999", "a port is a number from 1 to 65535"),
        ("nas:", "it cannot be read"),
        ("anna@nas", "it cannot be read"),
        ("http://nas", "it cannot be read"),
        ("x" * 300, "the host name is longer than 253 characters"),
    ],
)
def test_addresses(text: str, reason: str) -> None:
    assert forms.address_reason(text) == reason


@given(st.text(alphabet="ab1.:[]%-/ ", max_size=12))
def test_an_address_is_taken_exactly_if_it_can_be_read(text: str) -> None:
    try:
        parse_address(text)
    except AddressMalformed:
        assert forms.address_reason(text) != ""
    else:
        assert forms.address_reason(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has 64 digits, this has 0"),
        ("ab" * 31, "it has 64 digits, this has 62"),
        ("ab" * 33, "it has 64 digits, this has 66"),
        ("AB:" * 32, ""),
        ("abcd " * 16, ""),
        ("xy" * 32, "it has digits from 0 to 9 and letters from a to f, not x"),
        ("ab\x1b", "it has digits from 0 to 9 and letters from a to f, not \\x1b"),
        ("ab\u202e", "it has digits from 0 to 9 and letters from a to f, not \\u202e"),
    ],
)
def test_fingerprints(text: str, reason: str) -> None:
    assert forms.fingerprint_reason(text) == reason


@given(
    st.one_of(
        st.text(max_size=70),
        st.lists(st.sampled_from([*HEX, *HEX.upper(), " ", "\u00a0", ":", "-", "\n"]), min_size=60, max_size=80).map(
            "".join
        ),
        st.text(alphabet=HEX, min_size=64, max_size=64),
    )
)
def test_a_fingerprint_is_taken_exactly_if_it_can_be_read(text: str) -> None:
    try:
        parse_fingerprint(text)
    except FingerprintMalformed:
        assert forms.fingerprint_reason(text) != ""
    else:
        assert forms.fingerprint_reason(text) == ""


@given(st.text(max_size=70))
def test_no_reason_repeats_what_could_harm_a_terminal(text: str) -> None:
    for check in (
        forms.file_reason,
        forms.port_reason,
        forms.address_reason,
        forms.rate_reason,
        forms.fingerprint_reason,
    ):
        reason = check(text)
        assert reason.replace("\\", "") == printable(reason).replace("\\", "")
