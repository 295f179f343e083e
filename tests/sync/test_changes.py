"""Changes that another device asks for: what is taken, what is refused, and what ends the connection."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from leafsync.engine.core.events import PeerLeft
from leafsync.engine.core.index import Entry, Index, Kind, entry_digest
from leafsync.engine.core.merkle import HASH_SIZE
from leafsync.engine.core.messages import (
    MAX_FRAME,
    MAX_REASON,
    Change,
    ChangeKind,
    ChangeRequest,
    CloseCode,
    DigestRequest,
    Listing,
    ListRequest,
    RefusalKind,
    encode,
)
from leafsync.engine.core.steps import Fetch, Link, Move, Steps, Touch, Trash
from leafsync.engine.disk.folder import Folder
from leafsync.engine.net.identity import Identity
from leafsync.engine.net.trust import Permission
from leafsync.engine.sync import changes as changes_module, receiver, serve
from leafsync.engine.sync.changes import ChangeMalformed, Receipt, pages, refusal, to_changes
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import PeerClosed
from tests.support.devices import Device, Pair, until
from tests.support.hostile import HostileClient, Talk, directory_entry, file_entry, link_entry

OLD = 1_700_000_000.0

FILE = file_entry("file", b"content")
LINK = link_entry("link", "file")
DEEP_LINK = link_entry("up", "../../file")
WITHHELD = Entry("socket", Kind.WITHHELD, target="not a file")

INDEX = Index(
    {
        "": [FILE, LINK, WITHHELD, file_entry("other", b"other"), Entry("dir", Kind.DIRECTORY)],
        "dir": [file_entry("inside", b"x"), Entry("deep", Kind.DIRECTORY)],
        "dir/deep": [DEEP_LINK],
    }
)


def at(path: str) -> Entry:
    entry = INDEX.entry(path)
    assert entry is not None
    return entry


def seen(path: str) -> bytes:
    return entry_digest(at(path))


def put(path: str, data: bytes = b"new", expected: bytes = b"", source: str = "") -> Change:
    return Change(ChangeKind.PUT, path, file_entry(path.rpartition("/")[2], data), expected, source)


def move(source: str, target: str, expected: bytes | None = None, kind: ChangeKind = ChangeKind.MOVE) -> Change:
    return Change(kind, target, expected=seen(source) if expected is None else expected, source=source)


def link(path: str, target: str, expected: bytes = b"") -> Change:
    return Change(ChangeKind.LINK, path, link_entry(path.rpartition("/")[2], target), expected)


def delete(path: str, expected: bytes | None = None, kind: ChangeKind = ChangeKind.DELETE) -> Change:
    return Change(kind, path, expected=seen(path) if expected is None else expected)


def directory(path: str) -> Change:
    return Change(ChangeKind.MAKE_DIRECTORY, path)


def touch(path: str, entry: Entry, expected: bytes) -> Change:
    return Change(ChangeKind.TOUCH, path, entry, expected)


def no_logs(path: str, is_directory: bool) -> bool:
    return path.endswith(".log") or (is_directory and path.rpartition("/")[2] == "cache")


def received(*changes: Change) -> Receipt:
    receipt = Receipt(INDEX, no_logs)
    receipt.add(changes)
    return receipt


# There and back again


def all_steps() -> Steps:
    renamed = file_entry("renamed", b"content")
    return Steps(
        asides=[Move("link", "link.conflict", LINK)],
        clearings=[Trash("other", at("other"))],
        directories=["other"],
        moves=[Move("file", "renamed", FILE)],
        fetches=[Fetch("other/new", file_entry("new", b"1"), None, "elsewhere"), Fetch("dir/inside", at("dir/inside"))],
        links=[Link("link", LINK, None)],
        touches=[Touch("renamed", renamed, renamed)],
        deletes=[Trash("dir/deep/up", DEEP_LINK), Trash("dir/deep", at("dir/deep"))],
    )


def test_steps_arrive_as_they_were() -> None:
    steps = all_steps()
    steps.fetches[1] = Fetch("dir/inside", file_entry("inside", b"y"), at("dir/inside"))
    receipt = received(*to_changes(steps))
    assert receipt.refusals == []
    assert receipt.steps == steps


def test_a_rename_of_what_was_renamed() -> None:
    """Names that changed in case alone come first, and later changes use the new ones."""
    inside = at("dir/inside")
    receipt = received(
        move("dir", "DIR", kind=ChangeKind.ASIDE),
        move("DIR/inside", "out", entry_digest(inside)),
        touch("out", file_entry("out", b"x"), entry_digest(file_entry("out", b"x"))),
    )
    assert receipt.refusals == []
    assert receipt.steps.moves == [Move("DIR/inside", "out", inside)]


def test_what_was_moved_away_is_not_there_any_more() -> None:
    receipt = received(move("file", "a"), put("file"), move("dir", "d"), put("dir", expected=b""))
    assert receipt.refusals == []
    assert [fetch.local for fetch in receipt.steps.fetches] == [None, None]


def test_long_lists_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "MAX_ITEMS", 10)
    many = [put(f"{number}") for number in range(21)]
    assert [(len(page), last) for page, last in pages(many)] == [(10, False), (10, False), (1, True)]
    assert [change for page, _last in pages(many) for change in page] == many


def test_pages_fit_a_frame() -> None:
    path = "/".join(["é" * 100] * 20)
    long = [move(f"{path}/{number}", f"{path}/x{number}", bytes(HASH_SIZE)) for number in range(300)]
    assert all(len(encode(ChangeRequest(page, last))) < MAX_FRAME for page, last in pages(long))
    assert list(pages([])) == [([], True)]


def test_a_long_reason_is_cut() -> None:
    assert len(refusal("a", "x" * 1000).reason) == MAX_REASON


# What is refused


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (put("file"), RefusalKind.CHANGED),
        (put("file", expected=bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (put("nowhere", expected=bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (link("file", "other"), RefusalKind.CHANGED),
        (delete("file", bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (delete("file", b"short"), RefusalKind.CHANGED),
        (delete("nowhere", bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (delete("socket", entry_digest(WITHHELD)), RefusalKind.CHANGED),
        (delete("socket", b""), RefusalKind.CHANGED),
        (put("socket"), RefusalKind.CHANGED),
        (move("socket", "b", entry_digest(WITHHELD)), RefusalKind.CHANGED),
        (move("file", "b", bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (move("nowhere", "b", bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (touch("file", FILE, bytes(HASH_SIZE)), RefusalKind.CHANGED),
        (put("a.log"), RefusalKind.IGNORED),
        (put("cache/deep/a"), RefusalKind.IGNORED),
        (directory("cache"), RefusalKind.IGNORED),
        (link("a.log", "file"), RefusalKind.IGNORED),
        (move("file", "a.log"), RefusalKind.IGNORED),
        (move("dir", "cache"), RefusalKind.IGNORED),
        (move("file", "cache/file"), RefusalKind.IGNORED),
    ],
    ids=lambda value: f"{value.kind.name} {value.path}" if isinstance(value, Change) else value.name,
)
def test_refused_alone(change: Change, kind: RefusalKind) -> None:
    receipt = received(change, put("good"))
    assert [(refused.path, refused.kind) for refused in receipt.refusals] == [(change.path, kind)]
    assert receipt.steps == Steps(fetches=[Fetch("good", file_entry("good", b"new"))])


BAD_PATHS = ["..", "../a", "/etc/passwd", "a/../../b", "a//b", "./a", "a/", "a\x00b", "a\\b", "\x1b[2J"]
OWN_PATHS = [".leafsync_tmp/lock", ".leafsync_trash/a", ".leafsync_tmp", "/".join("d" * 80)]


@pytest.mark.parametrize("path", [*BAD_PATHS, *OWN_PATHS])
@pytest.mark.parametrize("change", [put, directory, lambda path: link(path, "file"), lambda path: move("file", path)])
def test_paths_that_cannot_be(path: str, change: Callable[[str], Change]) -> None:
    with pytest.raises(ChangeMalformed):
        received(change(path))


@pytest.mark.parametrize("path", [*BAD_PATHS, *OWN_PATHS])
def test_sources_that_cannot_be(path: str) -> None:
    with pytest.raises(ChangeMalformed):
        received(put("a", source=path))
    with pytest.raises(ChangeMalformed):
        received(move(path, "a", b""))


@pytest.mark.parametrize(
    "changes",
    [
        [put("a"), put("a")],
        [put("a"), link("a", "file")],
        [directory("a"), directory("a")],
        [delete("file"), delete("file")],
        [move("file", "a"), move("other", "a")],
        [delete("nowhere", b"")],
        [delete("nowhere", b"", ChangeKind.CLEAR)],
        [move("nowhere", "a", b"")],
        [touch("nowhere", FILE, b"")],
        [touch("dir", file_entry("dir", b""), seen("dir"))],
        [put("dir", expected=seen("dir"))],
        [link("dir", "file", seen("dir"))],
        [Change(ChangeKind.PUT, "a")],
        [Change(ChangeKind.PUT, "a", link_entry("a", "file"))],
        [Change(ChangeKind.PUT, "a", directory_entry("a", []))],
        [Change(ChangeKind.PUT, "a", Entry("a", Kind.WITHHELD))],
        [Change(ChangeKind.PUT, "a", file_entry("b", b""))],
        [Change(ChangeKind.PUT, "a", Entry("a", Kind.FILE, 3, hash=b"short"))],
        [Change(ChangeKind.LINK, "a")],
        [Change(ChangeKind.LINK, "a", file_entry("a", b""))],
        [Change(ChangeKind.LINK, "a", Entry("a", Kind.SYMLINK, hash=bytes(HASH_SIZE), target="b"))],
        [move("file", "a", b"", ChangeKind.MOVE), move("file", "a")],
    ],
    ids=range(22),
)
def test_lists_that_nobody_honest_sends(changes: list[Change]) -> None:
    with pytest.raises(ChangeMalformed):
        received(*changes)


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../outside", "a/../../b", "", ".leafsync_trash/a", "a\x00"])
def test_links_that_escape(target: str) -> None:
    with pytest.raises(ChangeMalformed):
        received(link("dir/new" if target == "../../b" else "new", target))


@pytest.mark.parametrize(
    "changes",
    [
        [move("dir/deep/up", "up")],
        [move("dir/deep/up", "dir/up")],
        [move("dir/deep", "deep")],
        [move("dir", "DIR", kind=ChangeKind.ASIDE), move("DIR/deep", "deep", seen("dir/deep"))],
    ],
    ids=["top", "one up", "with its directory", "renamed before"],
)
def test_links_that_would_escape_by_being_moved(changes: list[Change]) -> None:
    with pytest.raises(ChangeMalformed):
        received(*changes)


def test_a_link_may_move_where_it_stays_inside() -> None:
    assert received(move("dir/deep", "dir/low")).refusals == []


@pytest.mark.parametrize(("limit", "most"), [("MAX_CHANGES", 10), ("MAX_CHANGE_TEXT", 50)])
def test_lists_without_end(monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setattr(changes_module, limit, most)
    receipt = Receipt(INDEX, no_logs)
    for number in range(10):
        receipt.add([put(f"{number:05}")])
    with pytest.raises(ChangeMalformed):
        receipt.add([put("one too many")])


# A device that means no good


@dataclass
class Attacked:
    """A served folder, with a trusted device that may write and means no good."""

    device: Device
    job: ServeJob
    attacker: HostileClient
    identity: Identity

    async def shown(self) -> Talk:
        return await self.attacker.shown()

    async def digest_of(self, talk: Talk, path: str) -> bytes:
        """Return what the attacker saw at a path."""
        above, _, name = path.rpartition("/")
        listing = await self.attacker.ask(talk, ListRequest([above]))
        assert isinstance(listing, Listing)
        return entry_digest(next(entry for entry in listing.entries if entry.name == name))


@pytest.fixture
async def attacked(pair: Pair, request: pytest.FixtureRequest) -> AsyncIterator[Attacked]:
    """Serve a folder; the parameter, if there is one, is passed to `serve`."""
    device = pair.server
    device.write("file", b"content", mtime=OLD)
    device.write("dir/inside", b"x", mtime=OLD)
    device.write("secret.log", b"ignored", mtime=OLD)
    device.write(".leafsyncignore", "*.log\n", mtime=OLD)
    (device.folder / "link").symlink_to("dir")
    identity = Identity.generate()
    device.engine.trust.add(identity.fingerprint, name="attacker", confirmed="test")
    job = await device.serve(**getattr(request, "param", {}))
    async with HostileClient.connected(identity, job) as attacker:
        yield Attacked(device, job, attacker, identity)


async def put_out(attacked: Attacked, code: CloseCode = CloseCode.PROTOCOL) -> None:
    """Expect the attacker to be put out with this code."""
    error = await attacked.attacker.closed()
    assert isinstance(error, PeerClosed)
    assert error.fields["code"] == code
    await until(lambda: bool(attacked.device.seen(PeerLeft)))
    assert attacked.device.seen(PeerLeft)[0].reason


async def test_changes_of_a_device_that_may_write(attacked: Attacked) -> None:
    talk = await attacked.shown()
    expected = await attacked.digest_of(talk, "file")
    refusals = await attacked.attacker.change(
        talk, put("file", b"new", expected), put("new", b"!", source="where"), contents={"file": b"new", "where": b"!"}
    )
    assert refusals == []
    assert (attacked.device.read("file"), attacked.device.read("new")) == (b"new", b"!")
    assert attacked.device.trash() == {"file"}


@pytest.mark.parametrize(
    "changes",
    [
        [put("../outside")],
        [put(".leafsync_tmp/folder-id")],
        [link("new", "../outside")],
        [put("a"), put("a")],
        [delete("nowhere", b"")],
    ],
    ids=["escape", "our own", "link", "twice", "nothing"],
)
async def test_lists_that_end_the_connection(attacked: Attacked, changes: list[Change]) -> None:
    before = attacked.device.tree()
    talk = await attacked.shown()
    await talk.say(ChangeRequest([put("good"), *changes], True))
    await put_out(attacked)
    assert attacked.device.tree() == before


async def test_before_any_digest_nothing_is_there_to_change(attacked: Attacked) -> None:
    talk = await attacked.attacker.greeted()
    expected = entry_digest(file_entry("file", b"content"))
    refusals = await attacked.attacker.change(talk, delete("file", expected))
    assert [refused.kind for refused in refusals] == [RefusalKind.CHANGED]
    assert attacked.device.read("file") == b"content"


async def test_nothing_is_written_through_a_link(attacked: Attacked) -> None:
    talk = await attacked.shown()
    refusals = await attacked.attacker.change(
        talk, put("link/planted"), directory("link/made"), contents={"link/planted": b"new"}
    )
    assert {refused.path for refused in refusals} == {"link/planted", "link/made"}
    assert set(os.listdir(attacked.device.folder / "dir")) == {"inside"}  # noqa: PTH208


async def test_nothing_is_moved_or_put_onto_something(attacked: Attacked) -> None:
    """What came after the digest is not listed, and stays."""
    talk = await attacked.shown()
    expected = await attacked.digest_of(talk, "file")
    for name in ("a", "b", "c"):
        attacked.device.write(name, "just now", mtime=OLD)
    refusals = await attacked.attacker.change(
        talk, move("file", "a", expected), put("b"), link("c", "file"), directory("d"), contents={"b": b"new"}
    )
    assert {refused.path for refused in refusals} == {"a", "b", "c"}
    assert {attacked.device.read(name) for name in ("a", "b", "c")} == {b"just now"}
    assert attacked.device.read("file") == b"content"


async def test_what_changed_after_the_digest_stays(attacked: Attacked) -> None:
    talk = await attacked.shown()
    expected = await attacked.digest_of(talk, "file")
    attacked.device.write("file", "just now")
    refusals = await attacked.attacker.change(talk, delete("file", expected))
    assert [refused.path for refused in refusals] == ["file"]
    assert attacked.device.read("file") == b"just now"


async def test_what_is_ignored_is_neither_changed_nor_made(attacked: Attacked) -> None:
    talk = await attacked.shown()
    refusals = await attacked.attacker.change(
        talk,
        put("secret.log"),
        put("new.log"),
        put(".git/hooks/post-checkout"),
        delete("secret.log", entry_digest(file_entry("secret.log", b"ignored"))),
        contents=dict.fromkeys(("secret.log", "new.log", ".git/hooks/post-checkout"), b"new"),
    )
    assert len(refusals) == 4
    assert attacked.device.read("secret.log") == b"ignored"
    assert not (attacked.device.folder / "new.log").exists()
    assert not (attacked.device.folder / ".git").exists()


async def test_a_directory_is_not_removed_with_what_is_ignored_in_it(attacked: Attacked) -> None:
    attacked.device.write("dir/a.log", "x", mtime=OLD)
    talk = await attacked.shown()
    expected = await attacked.digest_of(talk, "dir")
    inside = await attacked.digest_of(talk, "dir/inside")
    refusals = await attacked.attacker.change(talk, delete("dir/inside", inside), delete("dir", expected))
    assert [refused.path for refused in refusals] == ["dir"]
    assert attacked.device.read("dir/a.log") == b"x"


@pytest.mark.parametrize("attacked", [{"file": "dir/inside"}], indirect=True)
async def test_only_what_is_offered_is_changed(attacked: Attacked) -> None:
    talk = await attacked.shown()
    dir_digest = await attacked.digest_of(talk, "dir")
    changes = [put("new"), put("dir/new"), put("dir/insider"), move("dir", "elsewhere", dir_digest), directory("made")]
    refusals = await attacked.attacker.change(talk, *changes)
    assert {refused.path for refused in refusals} == {change.path for change in changes}
    assert {refused.kind for refused in refusals} == {RefusalKind.IGNORED}
    expected = await attacked.digest_of(talk, "dir/inside")
    good = put("dir/inside", b"new", expected)
    assert not await attacked.attacker.change(talk, good, contents={"dir/inside": b"new"})
    assert attacked.device.read("dir/inside") == b"new"


@pytest.mark.parametrize("attacked", [{"read_only": True}], indirect=True)
async def test_a_read_only_server(attacked: Attacked) -> None:
    await nothing_may_change(attacked)


async def nothing_may_change(attacked: Attacked) -> None:
    before = attacked.device.tree()
    talk = await attacked.shown()
    expected = await attacked.digest_of(talk, "file")
    refusals = await attacked.attacker.change(talk, delete("file", expected), directory("new"))
    assert [(refused.path, refused.kind) for refused in refusals] == [("", RefusalKind.FAILED)]
    assert attacked.device.tree() == before


async def test_a_device_that_may_only_read(attacked: Attacked) -> None:
    trust = attacked.device.engine.trust
    trust.add(attacked.identity.fingerprint, permission=Permission.READ, confirmed="test")
    attacked.attacker.connection.close()
    async with HostileClient.connected(attacked.identity, attacked.job) as attacker:
        attacked.attacker = attacker
        await nothing_may_change(attacked)


async def test_pages_that_say_nothing(attacked: Attacked) -> None:
    talk = await attacked.shown()
    await talk.say(ChangeRequest([], False))
    await put_out(attacked)


async def test_pages_without_end(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "MAX_CHANGES", 50)
    talk = await attacked.shown()
    for number in range(6):
        await talk.say(ChangeRequest([put(f"{number}-{item}") for item in range(10)], False))
    await put_out(attacked)


async def test_a_list_that_is_not_finished(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "REPLY_DEADLINE", 0.1)
    talk = await attacked.shown()
    await talk.say(ChangeRequest([directory("new")], False))
    await put_out(attacked, CloseCode.STALLED)
    assert not (attacked.device.folder / "new").exists(), "it is carried out as one, or not at all"


async def test_something_else_in_the_middle_of_a_list(attacked: Attacked) -> None:
    talk = await attacked.shown()
    await talk.say(ChangeRequest([directory("new")], False), DigestRequest())
    await put_out(attacked)


@pytest.mark.parametrize("answers", [False, True], ids=["never answered", "half"])
async def test_content_that_never_comes(
    pair: Pair, attacked: Attacked, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """The server gives up and is free for others; a stream of its own that nobody answers holds nothing up."""
    monkeypatch.setattr(receiver, "REPLY_DEADLINE", 0.2)
    talk = await attacked.shown()
    await talk.say(ChangeRequest([put("new", b"not here")], True))
    stream = Talk(attacked.attacker.connection, await attacked.attacker.connection.accept_stream())
    if answers:
        await stream.raw(bytes(2))
    await put_out(attacked, CloseCode.STALLED)
    assert not (attacked.device.folder / "new").exists()
    pair.client.write("mine", "x", mtime=OLD)
    await pair.client.sync(attacked.job)
    assert attacked.device.read("mine") == b"x"


async def test_content_that_is_gone_is_refused(attacked: Attacked) -> None:
    talk = await attacked.shown()
    (refused,) = await attacked.attacker.change(talk, put("new"))
    assert (refused.path, refused.kind) == ("new", RefusalKind.FAILED)
    assert "gone" in refused.reason


async def test_wrong_content_is_not_written(attacked: Attacked) -> None:
    before = attacked.device.tree()
    talk = await attacked.shown()
    expected = await attacked.digest_of(talk, "file")
    with pytest.raises(PeerClosed):
        await attacked.attacker.change(talk, put("file", b"good", expected), contents={"file": b"evil"})
    await put_out(attacked, CloseCode.INTEGRITY)
    assert attacked.device.tree() == before


async def test_a_disk_that_is_full_refuses_and_goes_on(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_folder: Folder, *_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Folder, "write_at", full)
    talk = await attacked.shown()
    refusals = await attacked.attacker.change(talk, put("new"), contents={"new": b"new"})
    assert [(refused.path, refused.kind) for refused in refusals] == [("", RefusalKind.FAILED)]
    assert "no space" in refusals[0].reason
    monkeypatch.undo()
    assert not await attacked.attacker.change(talk, put("new"), contents={"new": b"new"})
    assert attacked.device.read("new") == b"new"
