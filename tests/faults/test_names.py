"""Paths that lead elsewhere and names that no filesystem stores, from a server, from a client and from the disk."""

import os
from pathlib import Path

import pytest

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.messages import (
    Change,
    ChangeKind,
    ChangeRequest,
    Welcome,
)
from leafsync.engine.core.names import MAX_DEPTH, MAX_PATH
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.disk.folder import Folder
from leafsync.errors import ProtocolViolated
from tests.faults.cases import Case
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.hostile import (
    FakeFolder,
    directory_entry,
    file_entry,
    pull_from,
    says,
)
from tests.support.names import GOOD, HASH, OLD, Attacked, both_ways, skipped, stays_here, told

TITLE = "Names and paths"

pytestmark = pytest.mark.usefixtures("bystanders")

SKIPPED = "in a listing it is skipped and shown as a problem, and more than 10 such names end the connection"
CLOSES = "a change that names it ends the connection"

CASES = (
    Case(1, "a path with `..` in it", f"{SKIPPED}; {CLOSES}, and as a request it finds nothing"),
    Case(2, "an absolute path", "as in case 1; `~` is an ordinary name, the home of nobody"),
    Case(3, "an empty name or path, `.`, or a slash too many", "as in case 1"),
    Case(4, "a backslash in a name", "as in case 1; a file here with such a name stays here, shown as a problem"),
    Case(5, "a drive or a network share of Windows", "refused where it has a backslash; `C:x` is an ordinary name"),
    Case(6, "a NUL in a name", "as in case 1"),
    Case(
        9,
        "a name that Windows reserves or cannot store",
        "an ordinary name: LeafSync does not run on Windows",
        where="Linux, macOS, BSD",
    ),
    Case(
        10,
        "a name of more than 255 bytes",
        "refused before any file is opened; names of 255 bytes travel, and their conflict copies are cut to fit",
    ),
    Case(
        11,
        "a path of more than 4096 bytes or 64 names",
        "not taken from another device, and shown as a problem where it is on the disk; the longest ones travel",
    ),
)


# 1 to 6: what names other places, or none


async def test_case_01_dots_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "..", "../x", "a/../../x", "a/..")


async def test_case_01_dots_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("../x", "a/../../x", "a/..")


async def test_case_01_more_than_ten_bad_names_end_the_connection(client: Device, hostile: MakeHostile) -> None:
    """They are counted over a whole pass; ten may still be a mistake."""
    server = await hostile({})
    bad = [Entry(f"../{letter}", Kind.FILE, 3, hash=HASH) for letter in "abcdef"]
    server.folder = FakeFolder({"": [*bad[:5], directory_entry("d", bad[:5]), file_entry("zz", GOOD)], "d": bad[:5]})
    server.folder.contents["zz"] = GOOD
    summary = await pull_from(client, server)
    assert len(summary.problems) == 10
    assert client.read("zz") == GOOD
    server.folder.listings = {"": [*bad[:5], directory_entry("d", bad), file_entry("zz", b"other")], "d": bad}
    before = client.tree()
    with pytest.raises(ProtocolViolated):
        await pull_from(client, server)
    await until(lambda: bool(server.errors))
    assert client.tree() == before


async def test_case_01_a_device_name_with_dots_in_a_conflict(client: Device, hostile: MakeHostile) -> None:
    """The other device's name is part of a conflict copy's name."""
    server = await hostile({"a.txt": b"theirs"})
    server.hello = says(Welcome(1, [], "../../../x", "test", "0" * 32, True))
    client.engine.trust.remove(server.identity.fingerprint)
    client.engine.trust.add(server.identity.fingerprint, confirmed="test")
    client.write("a.txt", "mine", mtime=OLD + 10**9)
    summary = await pull_from(client, server, mode=Mode.BOTH)
    [(path, copy)] = summary.conflicts
    assert path == "a.txt"
    assert copy.startswith("a.conflict-")
    assert "/" not in copy
    assert {client.read("a.txt"), client.read(copy)} == {b"mine", b"theirs"}


async def test_case_02_absolute_names_in_a_listing(client: Device, hostile: MakeHostile, tmp_path: Path) -> None:
    await skipped(client, hostile, "/", "//x", f"{tmp_path}/x", "/etc/passwd")


async def test_case_02_absolute_paths_in_a_change_or_a_request(attacked: Attacked, tmp_path: Path) -> None:
    await attacked.refuses("/", "//x", f"{tmp_path}/x")


async def test_case_02_a_tilde_is_no_home(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    await both_ways(pair, ["~", "~root"])


async def test_case_03_empty_names_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "", ".", "a//b", "a/", "./a")


async def test_case_03_empty_names_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("", ".", "a//b", "a/", "./a")


async def test_case_04_backslashes_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "\\", "a\\..\\b", "..\\x")


async def test_case_04_backslashes_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("a\\..\\b", "..\\x")


async def test_case_04_backslashes_on_the_disk(pair: Pair) -> None:
    await stays_here(pair, "a\\b", "\\")


async def test_case_05_drives_and_shares_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "C:\\x", "\\\\host\\share", "\\\\?\\C:", "c:/x")


async def test_case_05_drives_and_shares_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("C:\\x", "\\\\host\\share\\x", "\\\\?\\C:\\x")


async def test_case_05_a_colon_is_an_ordinary_character(pair: Pair) -> None:
    await both_ways(pair, ["C:", "C:x"])


async def test_case_06_a_nul_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "\0", "zz\0.jpg")


async def test_case_06_a_nul_in_a_change_or_a_request(attacked: Attacked) -> None:
    await attacked.refuses("\0", "file\0", "a\0b/c")


# 9 to 11: what some filesystem cannot store


async def test_case_09_names_that_windows_reserves(pair: Pair) -> None:
    names = ["CON", "aux.txt", "COM1", "LPT\u00b9", "nul.tar.gz", "ends with a dot.", "ends with a space "]
    await both_ways(pair, [*names, *(f"a{character}b" for character in '<>:"|?*')])


async def test_case_10_names_that_are_too_long_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, "é" * 128, "\u65e5" * 86)


async def test_case_10_names_that_are_far_too_long(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More characters than a name may have bytes: the message cannot even be decoded."""
    server = await hostile({"a": GOOD})
    server.folder.listings[""] = [file_entry("a" * 256, GOOD)]
    client.write("mine", "mine")
    before = client.tree()
    with pytest.raises(ProtocolViolated):
        await pull_from(client, server, mirror=True, allow_deletes=True)
    assert client.tree() == before


async def test_case_10_names_that_are_too_long_in_a_change(attacked: Attacked) -> None:
    await attacked.refuses("é" * 128, f"a/{'a' * 256}/b")


async def test_case_10_the_longest_names(pair: Pair) -> None:
    await both_ways(pair, ["a" * 255, "é" * 127, "\U0001f389" * 63 + "abc"])


async def test_case_10_a_conflict_of_the_longest_names(pair: Pair) -> None:
    names = ["a" * 251 + ".txt", "é" * 127 + "a", "." + "\u65e5" * 84]
    for name in names:
        pair.server.write(name, f"theirs {name}", mtime=OLD)
        pair.client.write(name, f"mine {name}", mtime=OLD + 5)
    server = await pair.server.serve()
    summary = await pair.client.sync(server)
    assert not summary.problems
    assert len(summary.conflicts) == len(names)
    for name, copy in summary.conflicts:
        assert len(copy.encode()) <= 255
        assert ".conflict-" in copy
        for device in (pair.server, pair.client):
            assert device.read(name) == f"mine {name}".encode()
            assert device.read(copy) == f"theirs {name}".encode()


def deep(folder: Path, path: str, content: bytes) -> None:
    """Write a file at a path that may be longer than the system takes in one piece."""
    *directories, name = path.split("/")
    at = os.open(folder, os.O_RDONLY)
    try:
        for directory in directories:
            with_it = os.path.exists(f"/proc/self/fd/{at}/{directory}")  # noqa: PTH110
            if not with_it:
                os.mkdir(directory, dir_fd=at)
            below = os.open(directory, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        fd = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=at)
        os.write(fd, content)
        os.close(fd)
        os.utime(name, (OLD, OLD), dir_fd=at)
    finally:
        os.close(at)


LONGEST = "/".join(["é" * 127] * 16 + ["a" * (MAX_PATH - 16 * 255)])
DEEPEST = "/".join(["d"] * (MAX_DEPTH - 1) + ["file"])


def read_long(folder: Path, path: str) -> bytes:
    with Folder.open(str(folder)) as opened, os.fdopen(opened.open_file(path), "rb") as file:
        return file.read()


async def test_case_11_long_and_deep_paths_from_a_server(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({LONGEST: GOOD, LONGEST + "a": GOOD, DEEPEST: GOOD, f"{'d/' * 63}e/file": GOOD})
    summary = await pull_from(client, server, mirror=True)
    told(summary, LONGEST + "a", f"{'d/' * 63}e/file")
    assert sorted(server.paths()) == sorted([LONGEST, DEEPEST])
    assert read_long(client.folder, LONGEST) == read_long(client.folder, DEEPEST) == GOOD


async def test_case_11_long_and_deep_paths_from_a_client(attacked: Attacked) -> None:
    await attacked.refuses("/".join("d" * 65))
    too_long = Change(ChangeKind.PUT, LONGEST + "a", file_entry("a" * 17, GOOD))
    assert len(too_long.path) <= MAX_PATH, "in characters it is not too long"
    await attacked.closed_on(ChangeRequest([too_long], True))


@pytest.mark.parametrize("origin", ["server", "client"])
async def test_case_11_long_and_deep_paths_on_the_disk(pair: Pair, origin: str) -> None:
    """The longest and the deepest travel, are replaced, and are in the trash then."""
    here, there = (pair.server, pair.client) if origin == "server" else (pair.client, pair.server)
    for path in (LONGEST, LONGEST + "a", DEEPEST, f"{'d/' * 63}e/file"):
        deep(here.folder, path, GOOD)
    server = await pair.server.serve()
    summary = await pair.client.sync(server)
    told(summary, LONGEST + "a", f"{'d/' * 63}e/file")
    assert summary.remote_problems == (2 if origin == "server" else 0)
    for path in (LONGEST, DEEPEST):
        assert read_long(there.folder, path) == GOOD
        deep(here.folder, path, b"edited")
    await pair.client.sync(server)
    [trash] = (there.folder / ".leafsync_trash").iterdir()
    for path in (LONGEST, DEEPEST):
        assert read_long(there.folder, path) == b"edited"
        assert read_long(trash, path) == GOOD
