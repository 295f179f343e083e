"""What a pass makes of refusals, of edits in its middle, and of what it may not do."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core import deletes
from leafsync.engine.core.events import PeerConnected
from leafsync.engine.core.index import Entry, Index, Kind
from leafsync.engine.core.merkle import CHUNK_SIZE
from leafsync.engine.core.messages import (
    Changed,
    ChangeRequest,
    CloseCode,
    Digest,
    DigestRequest,
    Fetch,
    FetchItem,
    Hint,
    Listing,
    Message,
    Refusal,
    control_replies,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassState
from leafsync.engine.disk.folder import Folder
from leafsync.engine.disk.scan import scan
from leafsync.engine.disk.store import Store
from leafsync.engine.net.identity import Identity
from leafsync.engine.sync import connect, connecting, share as share_module
from leafsync.engine.sync.connect import Client
from leafsync.engine.sync.passes import Passes, Sides
from leafsync.engine.sync.serve import Session
from leafsync.engine.sync.serving import ServeJob
from leafsync.engine.sync.share import Share
from leafsync.errors import (
    ConnectionLost,
    LeafSyncError,
    PathNotOffered,
    PeerClosed,
    PeerStalled,
    ProtocolViolated,
    SentMismatch,
)
from tests.support.devices import Device, Pair, until
from tests.support.engines import MakeHostile
from tests.support.hostile import HostileClient, HostileServer, Talk, connect_to, file_entry, pull_from, says, silence

OLD = time.time() - 3600
"""A modification time outside of the racy window."""


@pytest.fixture
async def server(pair: Pair) -> ServeJob:
    """Serve a folder that both sides agreed on, with a few files."""
    for name in "abcdefgh":
        pair.server.write(name, f"content of {name}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    return server


def same(pair: Pair) -> bool:
    return pair.client.tree() == pair.server.tree()


def before_changes(monkeypatch: pytest.MonkeyPatch, edit: Callable[[], Any]) -> None:
    """Do `edit` once, in the middle of a pass: after its plan, before the other side is asked for changes."""
    change, edits = Client.change, [edit]

    async def edited(client: Client, *arguments: Any) -> Sequence[Refusal]:
        if edits:
            edits.pop()()
        return await change(client, *arguments)

    monkeypatch.setattr(Client, "change", edited)


def failing(monkeypatch: pytest.MonkeyPatch, device: Device, step: str, code: int, about: str = "") -> None:
    """Let calls of `step` that name `about` fail in the folder of a device."""
    original, root = getattr(Folder, step), str(device.folder)

    def fail(folder: Folder, *arguments: Any, **options: Any) -> Any:
        if folder.path == root and about in repr(arguments):
            raise OSError(code, os.strerror(code))
        return original(folder, *arguments, **options)

    monkeypatch.setattr(Folder, step, fail)


# Refusals


async def test_what_failed_there_is_a_problem_and_comes_again(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.client.write("new", "x", mtime=OLD)
    pair.client.write("other", "y", mtime=OLD)
    with monkeypatch.context() as broken:
        failing(broken, pair.server, "rename_new", errno.EIO, "'new'")
        summary = await pair.client.sync(server)
    assert [path for path, _reason in summary.problems] == ["new"]
    assert summary.sent == ("other",)
    assert summary.partial
    again = await pair.client.sync(server)
    assert (again.sent, again.partial) == (("new",), False)
    assert same(pair)


async def test_a_server_that_is_full_is_still_read(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.client.write("mine", "x", mtime=OLD)
    pair.server.write("theirs", "y", mtime=OLD)
    with monkeypatch.context() as full:
        failing(full, pair.server, "write_at", errno.ENOSPC)
        summary = await pair.client.sync(server)
    assert [path for path, _reason in summary.problems] == [""]
    assert "no space" in summary.problems[0][1]
    assert (summary.sent, summary.fetched) == ((), ("theirs",))
    assert not (await pair.client.sync(server)).partial
    assert same(pair)


async def test_a_refused_change_does_not_count_as_agreed(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both edited it: had the base taken over what was sent, the next pass would think that only the server did."""
    pair.client.write("a", "edited here", mtime=OLD + 50)
    before_changes(monkeypatch, lambda: pair.server.write("a", "edited there meanwhile", mtime=OLD + 5))
    summary = await pair.client.sync(server)
    assert [path for path, _reason in summary.problems] == ["a"]
    assert (pair.client.read("a"), pair.server.read("a")) == (b"edited here", b"edited there meanwhile")
    summary = await pair.client.sync(server)
    ((path, copy),) = summary.conflicts
    assert (path, pair.server.read("a"), pair.client.read(copy)) == ("a", b"edited here", b"edited there meanwhile")
    assert same(pair)


async def test_a_renamed_file_may_change_its_time_and_bit(pair: Pair, server: ServeJob) -> None:
    (pair.client.folder / "a").rename(pair.client.folder / "renamed")
    (pair.client.folder / "renamed").chmod(0o755)
    summary = await pair.client.sync(server)
    assert (summary.remote_moved, summary.problems, summary.totals.sent) == ((("a", "renamed"),), (), 0)
    assert same(pair)


# What the other side ignores


@pytest.fixture
async def picky(pair: Pair, server: ServeJob) -> ServeJob:
    """Let the server ignore some names, by rules that do not travel."""
    pair.server.write(".leafsyncignore", ".leafsyncignore\n*.log\nhidden/\n", mtime=OLD)
    await pair.client.sync(server)
    return server


def note(source: str) -> str:
    return f"renamed from {source}, but ignored on the other side: there it counts as deleted"


async def test_a_rename_to_a_name_that_is_ignored_there_deletes_the_old_one(pair: Pair, picky: ServeJob) -> None:
    (pair.client.folder / "a").rename(pair.client.folder / "a.log")
    (pair.client.folder / "a.log").chmod(0o755)
    summary = await pair.client.sync(picky)
    assert summary.notes == (("a.log", note("a")),)
    assert (summary.remote_trashed, summary.remote_moved, summary.problems) == (("a",), (), ())
    assert pair.server.trash() == {"a"}
    assert {"a.log"} == set(pair.client.tree()) - set(pair.server.tree())
    again = await pair.client.sync(picky)
    assert (again.changed, again.partial, again.notes) == (False, False, ())
    assert pair.client.read("a.log") == b"content of a"


async def test_a_renamed_directory_that_is_ignored_there(pair: Pair, picky: ServeJob) -> None:
    for name in ("dir/one", "dir/in/two", "dir/in/three"):
        pair.client.write(name, name, mtime=OLD)
    await pair.client.sync(picky)
    (pair.client.folder / "dir").rename(pair.client.folder / "hidden")
    summary = await pair.client.sync(picky)
    assert summary.notes == (("hidden", note("dir")),)
    assert (set(pair.server.tree()), summary.problems) == ({*"abcdefgh", ".leafsyncignore"}, ())
    again = await pair.client.sync(picky)
    assert (again.changed, again.partial, again.notes) == (False, False, ())


async def test_what_was_renamed_to_an_ignored_name_and_back_during_the_pass(
    pair: Pair, picky: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = pair.client.folder / "a.log"
    (pair.client.folder / "a").rename(renamed)
    change_there = Passes._change_there

    async def and_back(passes: Passes, *arguments: Any) -> list[Refusal]:
        refusals = await change_there(passes, *arguments)
        renamed.rename(pair.client.folder / "a")
        passes._share.changed({""})
        return refusals

    monkeypatch.setattr(Passes, "_change_there", and_back)
    summary = await pair.client.sync(picky)
    assert (summary.notes, summary.remote_trashed) == ((), ())
    assert pair.client.read("a") == pair.server.read("a")
    assert "a.log" not in pair.client.tree()


async def test_what_was_renamed_out_of_a_directory_that_is_gone(pair: Pair, picky: ServeJob) -> None:
    pair.client.write("dir/one", "x", mtime=OLD)
    await pair.client.sync(picky)
    (pair.client.folder / "dir/one").rename(pair.client.folder / "one.log")
    (pair.client.folder / "dir").rmdir()
    (pair.client.folder / "b").unlink()
    summary = await pair.client.sync(picky)
    assert (set(summary.remote_trashed), summary.problems) == ({"b", "dir/one", "dir"}, ())
    assert "dir" not in pair.server.tree()


async def test_many_such_renames_wait_for_a_confirmation(
    pair: Pair, picky: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletes, "MAX_DELETES", 2)
    for name in "abc":
        (pair.client.folder / name).rename(pair.client.folder / f"{name}.log")
    for _pass in range(2):
        summary = await pair.client.sync(picky)
        assert (summary.remote_held, summary.remote_trashed) == (("a", "b", "c"), ())
        assert [path for path, _sentence in summary.notes] == ["a.log", "b.log", "c.log"]
        assert {"a", "b", "c"} < set(pair.server.tree())
    summary = await pair.client.sync(picky, allow_deletes=True)
    assert (summary.remote_held, summary.remote_trashed) == ((), ("a", "b", "c"))


@pytest.mark.parametrize("newer", ["client", "server"])
async def test_conflict_copies_that_are_ignored_there(pair: Pair, picky: ServeJob, newer: str) -> None:
    """The copy is here alone; the version that lost on the other side is in its trash besides."""
    pair.server.write(".leafsyncignore", ".leafsyncignore\n*.conflict-*\n", mtime=OLD)
    pair.client.write("a", "the client's", mtime=OLD + (9 if newer == "client" else 5))
    pair.server.write("a", "the server's", mtime=OLD + (9 if newer == "server" else 5))
    summary = await pair.client.sync(picky)
    ((path, copy),) = summary.conflicts
    kept, lost = (b"the client's", b"the server's") if newer == "client" else (b"the server's", b"the client's")
    assert (path, summary.problems, summary.notes) == ("a", (), ())
    assert pair.client.read("a") == pair.server.read("a") == kept
    assert pair.client.read(copy) == lost
    assert copy not in pair.server.tree()
    assert pair.server.trash() == ({"a"} if newer == "client" else set())
    assert summary.sent == (("a",) if newer == "client" else ())
    assert summary.totals.files == summary.totals.files_done == (2 if newer == "client" else 1)
    again = await pair.client.sync(picky)
    assert (again.changed, again.partial, again.notes) == (False, False, ())


@pytest.mark.parametrize("only", ["", "a"])
@pytest.mark.parametrize("there", ["a file", "a directory"])
async def test_conflict_copies_that_are_ignored_there_in_a_pass_that_only_sends(
    pair: Pair, picky: ServeJob, there: str, only: str
) -> None:
    """The copy could be nowhere: both versions stay, and that is said in each pass."""
    pair.server.write(".leafsyncignore", ".leafsyncignore\n*.conflict-*\n", mtime=OLD)
    pair.client.write("a", "the client's", mtime=OLD + 5)
    if there == "a directory":
        (pair.server.folder / "a").unlink()
    pair.server.write("a" if there == "a file" else "a/in", "the server's", mtime=OLD + 9)
    before = pair.client.tree(), pair.server.tree()
    for _pass in range(2):
        summary = await pair.client.pull(picky, mode=Mode.PUSH, file=only)
        ((path, reason),) = summary.problems
        assert (path, summary.conflicts, summary.changed) == ("a", (), False)
        assert "would be ignored there" in reason
        assert (pair.client.tree(), pair.server.tree()) == before
    summary = await pair.client.sync(picky)
    assert (len(summary.conflicts), summary.problems) == (1, ())


@pytest.mark.parametrize("newer", ["client", "server"])
async def test_conflict_copies_that_are_ignored_here(pair: Pair, server: ServeJob, newer: str) -> None:
    """A copy that is made here stays here, as all that is ignored."""
    pair.client.write(".leafsyncignore", ".leafsyncignore\n*.conflict-*\n", mtime=OLD)
    pair.client.write("a", "the client's", mtime=OLD + (9 if newer == "client" else 5))
    pair.server.write("a", "the server's", mtime=OLD + (9 if newer == "server" else 5))
    summary = await pair.client.sync(server)
    ((path, copy),) = summary.conflicts
    kept, lost = (b"the client's", b"the server's") if newer == "client" else (b"the server's", b"the client's")
    assert (path, summary.problems, summary.notes) == ("a", (), ())
    assert pair.client.read("a") == pair.server.read("a") == kept
    assert pair.client.read(copy) == lost
    assert (copy in pair.server.tree()) == (newer == "client")
    again = await pair.client.sync(server)
    assert (again.changed, again.partial, again.notes, again.conflicts) == (False, False, (), ())


async def test_a_pass_that_was_interrupted_leaves_one_conflict_copy(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.client.write("a", "the client's", mtime=OLD + 9)
    pair.server.write("a", "the server's", mtime=OLD + 5)
    with monkeypatch.context() as broken:
        broken.setattr(Client, "change", stalled)
        with pytest.raises(PeerStalled):
            await pair.client.sync(server)
    (copy,) = set(pair.client.tree()) - {*"abcdefgh"}
    summary = await pair.client.sync(server)
    assert summary.conflicts == (("a", copy),)
    assert same(pair)
    assert (pair.server.read("a"), pair.server.read(copy)) == (b"the client's", b"the server's")
    assert set(pair.server.tree()) == {*"abcdefgh", copy}


async def test_while_connected_what_is_ignored_there_is_not_sent_again(
    pair: Pair, picky: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 60.0)
    asked: list[ChangeRequest] = []
    answer = Session._change

    async def noted(session: Session, control: Any, request: ChangeRequest) -> None:
        asked.append(request)
        await answer(session, control, request)

    monkeypatch.setattr(Session, "_change", noted)
    (pair.client.folder / "a").rename(pair.client.folder / "a.log")
    before = len(pair.client.passes())
    job = await pair.client.connect(picky, mode=Mode.BOTH)
    await until(lambda: len(pair.client.passes()) > before)
    pair.server.write("b", "edited there", mtime=OLD + 9)
    await until(lambda: pair.client.passes()[-1].fetched == ("b",))
    await job.stop()
    assert [[change.kind.name for change in request.changes] for request in asked] == [["MOVE"], ["DELETE"]]
    assert pair.client.passes()[-1].notes == ()


async def test_what_is_not_ignored_there_any_more_is_sent(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 60.0)
    pair.server.write(".leafsyncignore", "*.log\n", mtime=OLD)
    pair.client.write("new.log", "x", mtime=OLD)
    before = len(pair.client.passes())
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: len(pair.client.passes()) > before)
    assert "new.log" not in pair.server.tree()
    pair.server.write(".leafsyncignore", "", mtime=OLD + 5)
    await until(lambda: "new.log" in pair.server.tree())
    await job.stop()
    assert same(pair)


# Edits in the middle


async def test_edits_on_either_side_during_a_pass_are_found_by_the_next(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 60.0)

    def edit() -> None:
        pair.client.write("late here", "x", mtime=OLD)
        pair.server.write("late there", "y", mtime=OLD)

    before_changes(monkeypatch, edit)
    pair.client.write("new", "x", mtime=OLD)
    job = await pair.client.connect(server, mode=Mode.BOTH)
    await until(lambda: (pair.server.folder / "late here").exists() and same(pair))
    assert (pair.client.read("late there"), pair.server.read("new")) == (b"y", b"x")
    await job.stop()


async def test_a_delete_in_the_middle_is_not_undone(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_changes(monkeypatch, lambda: (pair.client.folder / "b").unlink())
    pair.client.write("a", "edited", mtime=OLD + 5)
    await pair.client.sync(server)
    summary = await pair.client.sync(server)
    assert summary.remote_trashed == ("b",)
    assert "b" not in pair.client.tree()
    assert same(pair)


async def test_content_that_is_edited_while_it_is_sent(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.client.write("a", b"1" * 3 * CHUNK_SIZE, mtime=OLD + 5)
    before_changes(monkeypatch, lambda: pair.client.write("a", b"2" * 3 * CHUNK_SIZE, mtime=OLD + 9))
    summary = await pair.client.sync(server)
    assert [path for path, _reason in summary.problems] == ["a"]
    assert pair.server.read("a") == b"content of a"
    await pair.client.sync(server)
    assert same(pair)


async def test_a_conflict_whose_winner_cannot_be_had_is_ended_by_the_next_pass(
    client: Device, hostile: MakeHostile
) -> None:
    """The version here has given up its name by then, and is kept as the copy."""
    server = await hostile({"a": b"theirs"})
    client.write("a", "mine", mtime=1_600_000_000)

    async def gone(talk: Talk, _item: FetchItem) -> None:
        talk.connection.close(CloseCode.STOPPING)

    server.item = gone
    with pytest.raises(PeerClosed):
        await pull_from(client, server)
    (copy,) = client.tree()
    assert client.read(copy) == b"mine"
    server.item = server.honest_item
    summary = await pull_from(client, server)
    assert (client.read("a"), client.read(copy)) == (b"theirs", b"mine")
    assert not summary.conflicts


# One file alone


async def test_one_file_in_both_directions(pair: Pair, server: ServeJob) -> None:
    """The base is kept of it alone, so that an edit is no conflict."""
    for number in range(2):
        pair.client.write("dir/one", f"from the client {number}", mtime=OLD + 2 * number)
        pair.client.write("dir/two", "not asked for", mtime=OLD)
        summary = await pair.client.sync(server, file="dir/one")
        assert (summary.sent, summary.partial) == (("dir/one",), False)
        assert "dir/two" not in pair.server.tree()
    pair.server.write("dir/one", "from the server", mtime=OLD + 9)
    pair.server.write("a", "not asked for", mtime=OLD + 9)
    summary = await pair.client.sync(server, file="dir/one")
    assert (summary.fetched, summary.partial) == (("dir/one",), False)
    assert pair.client.read("a") == b"content of a"
    (pair.client.folder / "b").unlink()
    summary = await pair.client.sync(server)
    assert (summary.remote_trashed, summary.fetched, summary.sent) == (("b",), ("a",), ("dir/two",))
    assert not summary.conflicts
    assert same(pair)


async def test_one_file_that_was_deleted(pair: Pair, server: ServeJob) -> None:
    (pair.client.folder / "a").unlink()
    summary = await pair.client.sync(server, file="a", allow_deletes=True)
    assert summary.remote_trashed == ("a",)
    assert pair.server.trash() == {"a"}
    pair.server.write("a", "anew", mtime=OLD)
    summary = await pair.client.sync(server, file="a")
    assert (summary.fetched, summary.partial) == (("a",), False)


@pytest.mark.parametrize("by", ["connect", "serve"])
@pytest.mark.parametrize("path", ["nowhere", "dir/nowhere", "dir/one/nowhere", "x.log"])
async def test_one_file_that_neither_side_has_is_worth_a_look(pair: Pair, path: str, by: str) -> None:
    """It may be mistyped: that both are the same is true of it, and not what was meant."""
    pair.server.write("dir/one/two", "x", mtime=OLD)
    pair.server.write("x.log", "x", mtime=OLD)
    pair.server.write(".leafsyncignore", "*.log", mtime=OLD)
    server = await pair.server.serve(file=path if by == "serve" else "")
    only = path if by == "connect" else ""
    for _ in range(2):
        summary = await pair.client.sync(server, file=only)
        assert summary.notes == ((path, "neither side has it, or rules leave it out"),)
        assert not summary.partial
    await server.stop()
    (pair.server.folder / ".leafsyncignore").unlink()
    pair.server.write(path, "x", mtime=OLD)
    server = await pair.server.serve()
    summary = await pair.client.sync(server, file=path)
    assert (summary.fetched, summary.notes) == ((path,), ())
    (pair.client.folder / path).unlink()
    summary = await pair.client.sync(server, file=path, allow_deletes=True)
    assert (summary.remote_trashed, summary.notes) == ((path,), ())


@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize("by", ["connect", "serve"])
async def test_the_directory_of_one_file_that_is_gone(pair: Pair, where: str, by: str) -> None:
    """What else is in it nobody has asked for, so it is nobody's to remove."""
    for path in ("dir/one", "dir/two"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    if by == "serve":
        await server.stop()
        server = await pair.server.serve(file="dir/one")
    one, other = (pair.client, pair.server) if where == "here" else (pair.server, pair.client)
    for path in ("dir/one", "dir/two"):
        (one.folder / path).unlink()
    (one.folder / "dir").rmdir()
    only = "dir/one" if by == "connect" else ""
    for _ in range(2):
        assert not (await pair.client.sync(server, file=only, allow_deletes=True)).problems
    assert set(other.tree()) == {"dir", "dir/two"}


@pytest.mark.parametrize("newer", ["here", "there"])
@pytest.mark.parametrize("by", ["connect", "serve"])
async def test_a_conflict_about_one_file_is_over_after_a_pass(pair: Pair, newer: str, by: str) -> None:
    """Its copy lies beside the path that passes are about, and is known there."""
    pair.client.write("x", "mine", mtime=OLD + (newer == "here"))
    pair.server.write("x", "theirs", mtime=OLD + (newer == "there"))
    server = await pair.server.serve(file="x" if by == "serve" else "")
    only = "x" if by == "connect" else ""
    assert len((await pair.client.sync(server, file=only)).conflicts) == 1
    for _ in range(2):
        summary = await pair.client.sync(server, file=only)
        assert (summary.changed, summary.conflicts, summary.problems) == (False, (), ())
    assert pair.client.read("x") == pair.server.read("x") == (b"mine" if newer == "here" else b"theirs")
    (copy,) = [path for path in pair.client.tree() if ".conflict-" in path]
    assert {pair.client.read("x"), pair.client.read(copy)} == {b"mine", b"theirs"}


async def test_a_server_of_one_file_takes_no_other(pair: Pair) -> None:
    pair.server.write("dir/one", "x", mtime=OLD)
    pair.server.write("hidden", "x", mtime=OLD)
    server = await pair.server.serve(file="dir/one")
    await pair.client.sync(server)
    pair.client.write("dir/one", "edited", mtime=OLD + 5)
    pair.client.write("dir/two", "x", mtime=OLD)
    pair.client.write("hidden", "mine", mtime=OLD)
    summary = await pair.client.sync(server)
    assert (summary.sent, summary.problems) == (("dir/one",), ())
    assert set(pair.server.tree()) == {"dir", "dir/one", "hidden"}
    assert pair.server.read("hidden") == b"x"


async def test_what_a_server_of_one_file_does_not_offer_is_not_deleted(pair: Pair) -> None:
    """Both folders were the same as a whole; then one path of them is served alone."""
    for path in ("a", "b", "dir/one", "dir/two"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    await server.stop()
    server = await pair.server.serve(file="dir")
    before = pair.client.tree()
    for mode in Mode:
        assert not (await pair.client.pull(server, mode=mode, allow_deletes=True)).changed
        assert pair.client.tree() == before
    (pair.server.folder / "dir/two").unlink()
    summary = await pair.client.sync(server, allow_deletes=True)
    assert summary.trashed == ("dir/two",)
    await server.stop()
    (pair.client.folder / "b").unlink()
    summary = await pair.client.sync(await pair.server.serve(), allow_deletes=True)
    assert (summary.remote_trashed, summary.fetched, summary.sent) == (("b",), (), ())
    assert same(pair)


async def test_of_what_a_server_offers_no_more_than_was_asked_for(pair: Pair) -> None:
    for path in ("a", "dir/one", "dir/two"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    server = await pair.server.serve(file="dir")
    assert (await pair.client.sync(server, file="dir/one")).fetched == ("dir/one",)
    assert set(pair.client.tree()) == {"dir", "dir/one"}


async def test_a_path_that_a_server_does_not_offer(pair: Pair) -> None:
    server = await pair.server.serve(file="dir")
    pair.client.write("dirt", "mine", mtime=OLD)
    with pytest.raises(PathNotOffered, match="offers dir alone, not dirt"):
        await pair.client.sync(server, file="dirt")
    assert set(pair.client.tree()) == {"dirt"}


async def test_an_edit_beside_what_a_server_offers_starts_no_pass(pair: Pair) -> None:
    """Nor is it what the next pass finds: both have what was agreed on."""
    for path in ("a", "dir/one"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    await pair.client.sync(server := await pair.server.serve())
    await server.stop()
    job = await pair.client.connect(await pair.server.serve(file="dir"), mode=Mode.BOTH)
    await until(lambda: job.status().state is PassState.IN_SYNC)
    assert job.status().file == "dir"
    assert pair.client.seen(PeerConnected)[-1].only == "dir"
    passes = len(pair.client.passes())
    pair.client.write("a", "edited", mtime=OLD + 5)
    pair.client.write("dir/one", "edited", mtime=OLD + 5)
    await until(lambda: pair.server.read("dir/one") == b"edited")
    await until(lambda: job.status().state is PassState.IN_SYNC)
    await job.stop()
    assert all(not summary.trashed and set(summary.sent) <= {"dir/one"} for summary in pair.client.passes()[passes:])
    assert pair.server.read("a") == b"content of a"


@pytest.mark.parametrize("newer", ["here", "there"])
async def test_one_conflict_copy_of_a_name_that_both_sides_ignore(pair: Pair, newer: str) -> None:
    for device in (pair.client, pair.server):
        device.write(".leafsyncignore", "*.conflict-*\n", mtime=OLD)
    pair.client.write("x", "mine", mtime=OLD + (newer == "here"))
    pair.server.write("x", "theirs", mtime=OLD + (newer == "there"))
    server = await pair.server.serve()
    assert len((await pair.client.sync(server)).conflicts) == 1
    for _ in range(2):
        summary = await pair.client.sync(server)
        assert (summary.changed, summary.problems, summary.conflicts) == (False, (), ())
    assert pair.client.read("x") == pair.server.read("x")
    (copy,) = [path for path in pair.client.tree() if ".conflict-" in path]
    assert {pair.client.read("x"), pair.client.read(copy)} == {b"mine", b"theirs"}


# What the other side leaves out


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.PULL, Mode.MIRROR])
@pytest.mark.parametrize("rules", ["*.log\nd/\n", "*.log\nd/\n.leafsyncignore\n"], ids=["shared", "its own"])
async def test_what_is_ignored_and_removed_there_stays_here(pair: Pair, mode: Mode, rules: str) -> None:
    """Whether or not a pass has come between the rule and the removal, and whether or not the rule comes here."""
    for path in ("a.log", "d/inside", "x/b.log", "x/other", "gone"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.server.write(".leafsyncignore", rules, mtime=OLD)
    for path in ("a.log", "d/inside", "x/b.log", "x/other", "gone"):
        (pair.server.folder / path).unlink()
    for path in ("d", "x"):
        (pair.server.folder / path).rmdir()
    for _ in range(3):
        await pair.client.pull(server, mode=mode, allow_deletes=True)
        assert set(pair.client.tree()) - {".leafsyncignore"} == {"a.log", "d", "d/inside", "x", "x/b.log"}
        assert set(pair.server.tree()) <= {".leafsyncignore", "x"}  # a directory that holds something here goes there
    assert pair.client.trash() == {"gone", "x/other"}


async def test_what_was_ignored_for_a_while_and_removed_there_comes_back(pair: Pair) -> None:
    """To hide an entry is not to remove it; once the rule is gone nobody knows that it was meant to go."""
    for path in ("a.log", "kept"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.server.write(".leafsyncignore", "*.log\n.leafsyncignore\n", mtime=OLD)
    await pair.client.sync(server)
    (pair.server.folder / "a.log").unlink()
    await pair.client.sync(server)
    (pair.server.folder / ".leafsyncignore").unlink()
    summary = await pair.client.sync(server, allow_deletes=True)
    assert (summary.sent, summary.trashed) == (("a.log",), ())
    assert same(pair)


@pytest.mark.parametrize("where", ["here", "there"])
async def test_what_was_ignored_and_removed_at_once_is_not_deleted_once_the_rule_is_gone(
    pair: Pair, server: ServeJob, where: str
) -> None:
    one, other = (pair.client, pair.server) if where == "here" else (pair.server, pair.client)
    one.write(".leafsyncignore", "a\n.leafsyncignore\n", mtime=OLD)
    (one.folder / "a").unlink()
    await pair.client.sync(server)
    (one.folder / ".leafsyncignore").unlink()
    await pair.client.sync(server)
    assert other.read("a") == b"content of a"
    assert same(pair)


async def test_a_pass_that_only_sends_learns_what_is_left_out_there(pair: Pair, server: ServeJob) -> None:
    """It removes nothing here, but what it leaves in the base, a later pass would."""
    pair.server.write(".leafsyncignore", "a\n.leafsyncignore\n", mtime=OLD)
    for path in ("a", "b"):
        (pair.server.folder / path).unlink()
    await pair.client.pull(server, mode=Mode.PUSH)
    assert {"a", "b"} <= set(pair.client.tree())
    (pair.server.folder / ".leafsyncignore").unlink()
    summary = await pair.client.sync(server)
    assert (summary.sent, summary.trashed) == (("a",), ("b",))
    assert same(pair)


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.MIRROR])
@pytest.mark.parametrize("rules", ["/a\n/d/\n/e/f\n", "/a\n/d/\n/e/f\n.leafsyncignore\n"], ids=["shared", "its own"])
async def test_what_is_ignored_and_renamed_there_stays_here(pair: Pair, mode: Mode, rules: str) -> None:
    for path in ("a", "d/in", "e/f", "plain"):
        pair.server.write(path, f"content of {path}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.server.write(".leafsyncignore", rules, mtime=OLD)
    for path in ("a", "d", "e", "plain"):
        (pair.server.folder / path).rename(pair.server.folder / f"new {path}")
    for _ in range(2):
        await pair.client.pull(server, mode=mode, allow_deletes=True)
        assert {"a", "d/in", "e/f", "new a", "new d/in", "new e/f", "new plain"} <= set(pair.client.tree())
        assert "plain" not in pair.client.tree()


async def test_an_edit_here_of_what_is_an_ignored_directory_there(pair: Pair, server: ServeJob) -> None:
    pair.server.write(".leafsyncignore", "a/\n.leafsyncignore\n", mtime=OLD)
    (pair.server.folder / "a").unlink()
    (pair.server.folder / "a").mkdir()
    pair.client.write("a", "mine", mtime=OLD + 9)
    for _ in range(2):
        await pair.client.sync(server)
    summary = await pair.client.sync(server)
    assert (summary.changed, summary.problems) == (False, ())
    assert pair.client.read("a") == b"mine"


async def test_a_mirror_keeps_what_the_other_side_withholds_however_often_it_runs(pair: Pair) -> None:
    """A socket there, a file here: it may not be deleted for the sake of a listing that nobody asked for again."""
    pair.server.write("d/file", "x", mtime=OLD)
    await pair.client.pull(server := await pair.server.serve(), mode=Mode.MIRROR)
    os.mkfifo(pair.server.folder / "d/pipe")
    pair.server.write(".leafsyncignore", "*.log\n.leafsyncignore\n", mtime=OLD)
    pair.client.write("d/pipe", "mine", mtime=OLD)
    pair.client.write("d/a.log", "mine", mtime=OLD)
    for _ in range(3):
        summary = await pair.client.pull(server, mode=Mode.MIRROR, allow_deletes=True)
        assert not summary.trashed
        assert {"d/pipe", "d/a.log"} <= set(pair.client.tree())


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.PUSH])
@pytest.mark.parametrize("path", ["new", "dir/new"], ids=["a file", "a directory"])
async def test_what_is_new_here_where_something_that_takes_no_part_is_there(
    pair: Pair, server: ServeJob, mode: Mode, path: str
) -> None:
    """The digest of what both had is the same with a FIFO beside it, so it does not say that there is none."""
    os.mkfifo(pair.server.folder / path.partition("/")[0])
    pair.client.write(path, "mine", mtime=OLD)
    for _ in range(2):
        summary = await pair.client.pull(server, mode=mode)
        assert (summary.changed, summary.problems, summary.remote_problems) == (False, (), 1)
    (pair.server.folder / path.partition("/")[0]).unlink()
    assert (await pair.client.pull(server, mode=mode)).sent == (path,)


@pytest.mark.parametrize("others", [(), ("d/file",)], ids=["ignored alone", "and a file"])
async def test_a_directory_removed_here_that_holds_something_ignored_there(pair: Pair, others: tuple[str, ...]) -> None:
    """It stays there; that is a problem once, and nothing to be tried again."""
    pair.server.write("kept", "x", mtime=OLD)
    pair.server.write("d/.git/HEAD", "ref", mtime=OLD)
    for path in others:
        pair.server.write(path, "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    for path in others:
        (pair.client.folder / path).unlink()
    (pair.client.folder / "d").rmdir()
    summary = await pair.client.sync(server)
    assert [path for path, _reason in summary.problems] == ["d"]
    for _ in range(2):
        summary = await pair.client.sync(server)
        assert (summary.problems, summary.changed) == ((), False)
    assert set(pair.server.tree()) == {"kept", "d", "d/.git", "d/.git/HEAD"}
    assert set(pair.client.tree()) == {"kept"}


# Held deletes


@pytest.mark.parametrize("emptied", ["client", "server"])
async def test_an_emptied_side_is_held_until_it_is_allowed(pair: Pair, server: ServeJob, emptied: str) -> None:
    folder = pair.client.folder if emptied == "client" else pair.server.folder
    for name in "abcdefgh":
        (folder / name).unlink()
    for _pass in range(2):
        summary = await pair.client.sync(server)
        held = summary.remote_held if emptied == "client" else summary.held
        assert held == tuple("abcdefgh")
        assert summary.partial
        assert not summary.changed
    (folder / "a").write_bytes(b"content of a")
    os.utime(folder / "a", (OLD, OLD))
    summary = await pair.client.sync(server, allow_deletes=True)
    assert summary.remote_trashed + summary.trashed == tuple("bcdefgh")
    assert same(pair)
    assert (pair.server if emptied == "client" else pair.client).trash() == set("bcdefgh")


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.PUSH])
async def test_what_is_gone_there_and_stays_here_is_asked_about_once(
    pair: Pair, server: ServeJob, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delete that is held, or one that a push does not do: each pass has it before it, however small the pass is."""
    asked: list[list[str]] = []
    original = Client.left_out

    async def left_out(client: Client, entries: list[tuple[str, bool]]) -> set[tuple[str, bool]]:
        asked.append([path for path, _directory in entries])
        return await original(client, entries)

    monkeypatch.setattr(Client, "left_out", left_out)
    monkeypatch.setattr(deletes, "MAX_DELETES", 2)
    for name in "abcdefgh":
        (pair.server.folder / name).unlink()
    job = await pair.client.connect(server, mode=mode)

    async def save(name: str) -> None:
        pair.client.write(name, "x", mtime=OLD)
        await until(lambda: name in pair.server.tree())
        await until(lambda: job.status().state is PassState.IN_SYNC)

    await save("x")
    await save("y")
    assert asked == [list("abcdefgh")]
    passes = len(pair.client.passes())
    pair.server.write("a", "content of a", mtime=OLD)  # what comes back there and goes again is another question
    await until(lambda: len(pair.client.passes()) > passes)
    await save("z")
    pair.server.write(".leafsyncignore", "a\n.leafsyncignore\n", mtime=OLD)
    (pair.server.folder / "a").unlink()
    job.sync_now()
    await until(lambda: asked[1:] == [["a"]])
    await save("last")
    await job.stop()
    (pair.server.folder / ".leafsyncignore").unlink()
    summary = await pair.client.sync(server, allow_deletes=True)
    assert (summary.trashed, summary.sent) == (tuple("bcdefgh"), ("a",))
    assert same(pair)


@pytest.fixture
async def waiting(pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch) -> ServeJob:
    """Let more deletes wait, on either side, than a pass does unasked; twice as many files come afterwards."""
    monkeypatch.setattr(deletes, "MAX_DELETES", 2)
    for name in "abc":
        (pair.client.folder / name).unlink()
    for name in "def":
        (pair.server.folder / name).unlink()
    return server


def grow(pair: Pair) -> None:
    """Make both folders so large that what waits is no mass any more."""
    for device in (pair.client, pair.server):
        for number in range(20):
            device.write(f"more {number}", "x", mtime=OLD)


async def test_a_hold_outlives_the_run(pair: Pair, waiting: ServeJob) -> None:
    first = await pair.client.sync(waiting)
    assert (first.held, first.remote_held) == (("d", "e", "f"), ("a", "b", "c"))
    grow(pair)
    summary = await pair.client.sync(waiting)
    assert (summary.held, summary.remote_held) == (first.held, first.remote_held)
    assert summary.partial
    summary = await pair.client.sync(waiting, allow_deletes=True)
    assert (summary.trashed, summary.remote_trashed) == (first.held, first.remote_held)
    for name in ("more 0", "more 1", "more 2"):
        (pair.client.folder / name).unlink()
    summary = await pair.client.sync(waiting)
    assert (len(summary.remote_trashed), summary.partial) == (3, False)
    assert same(pair)


async def test_a_hold_outlives_a_pass_that_failed(
    pair: Pair, waiting: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(pair)
    pair.client.write("mine", "x", mtime=OLD)
    monkeypatch.setattr(deletes, "MAX_DELETE_SHARE", 0.05)
    with monkeypatch.context() as broken:
        broken.setattr(Client, "change", stalled)
        with pytest.raises(PeerStalled):
            await pair.client.sync(waiting)
    monkeypatch.setattr(deletes, "MAX_DELETE_SHARE", 0.25)
    summary = await pair.client.sync(waiting)
    assert (summary.held, summary.remote_held) == (("d", "e", "f"), ("a", "b", "c"))


async def stalled(_client: Client, *_arguments: Any) -> Sequence[Refusal]:
    raise PeerStalled(peer="server", seconds="1")


async def test_a_hold_ends_when_the_files_are_back(pair: Pair, waiting: ServeJob) -> None:
    await pair.client.sync(waiting)
    for device, names in ((pair.client, "abc"), (pair.server, "def")):
        for name in names:
            device.write(name, f"content of {name}", mtime=OLD)
    assert not (await pair.client.sync(waiting)).partial
    grow(pair)
    await pair.client.sync(waiting)
    for name in "abc":
        (pair.client.folder / name).unlink()
    summary = await pair.client.sync(waiting)
    assert (summary.remote_trashed, summary.partial) == (("a", "b", "c"), False)


async def test_a_dry_run_neither_holds_nor_lets_go(pair: Pair, waiting: ServeJob) -> None:
    assert (await pair.client.sync(waiting, dry_run=True)).held
    grow(pair)
    summary = await pair.client.sync(waiting)
    assert (summary.trashed, summary.remote_trashed) == (("d", "e", "f"), ("a", "b", "c"))


async def test_a_pass_in_one_direction_leaves_the_other_ones_hold(pair: Pair, waiting: ServeJob) -> None:
    await pair.client.sync(waiting)
    await pair.client.pull(waiting, mode=Mode.PUSH)
    await pair.client.pull(waiting, mode=Mode.PULL)
    grow(pair)
    summary = await pair.client.sync(waiting)
    assert (summary.held, summary.remote_held) == (("d", "e", "f"), ("a", "b", "c"))
    await pair.client.pull(waiting, mode=Mode.PUSH, allow_deletes=True)
    summary = await pair.client.sync(waiting)
    assert (summary.held, summary.remote_held) == (("d", "e", "f"), ())


async def test_a_pass_about_one_file_leaves_the_hold_of_others(pair: Pair, waiting: ServeJob) -> None:
    await pair.client.sync(waiting)
    summary = await pair.client.sync(waiting, file="a", allow_deletes=True)
    assert summary.remote_trashed == ("a",)
    grow(pair)
    summary = await pair.client.sync(waiting)
    assert (summary.held, summary.remote_held) == (("d", "e", "f"), ("b", "c"))


# A server that means no good


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (says(Listing([], True)), ProtocolViolated),
        (says(Changed([], False)), ProtocolViolated),
        (silence, PeerStalled),
    ],
    ids=["another message", "an empty page", "silence"],
)
async def test_answers_to_changes(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, answer: Any, error: type[LeafSyncError]
) -> None:
    monkeypatch.setattr(connect, "CHANGE_DEADLINE", 0.1)
    server = await hostile({})
    server.change = answer
    client.write("mine", "x", mtime=OLD)
    with pytest.raises(error):
        await pull_from(client, server, mode=Mode.BOTH)


async def test_streams_that_the_server_leaves_open(client: Device, hostile: MakeHostile) -> None:
    """Its answer ends the pass, whatever streams are open."""
    server = await hostile({})
    opened: list[Talk] = []

    async def forget(talk: Talk, _request: ChangeRequest) -> None:
        stream = Talk(talk.connection, await talk.connection.open_stream())
        await stream.say(Fetch([FetchItem("mine", 1, file_entry("mine", b"x").hash, [(0, 1)])]))
        opened.append(stream)
        await talk.say(Changed([], True))

    server.change = forget
    client.write("mine", "x", mtime=OLD)
    async with asyncio.timeout(2):
        summary = await pull_from(client, server, mode=Mode.BOTH)
    assert opened
    assert summary.sent == ("mine",)


async def test_only_the_file_asked_for_is_on_offer(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"dir/new": b"theirs"})
    answers: list[Any] = []

    async def curious(talk: Talk, _request: ChangeRequest) -> None:
        stream = Talk(talk.connection, await talk.connection.open_stream())
        await stream.say(Fetch([FetchItem("secret", 1, file_entry("secret", b"x").hash, [(0, 1)])]))
        answers.append(await stream.stream.read(100, deadline=2))
        await talk.say(Changed([], True))

    server.change = curious
    client.write("secret", "x", mtime=OLD)
    client.write("dir/mine", "y", mtime=OLD)
    await pull_from(client, server, mode=Mode.BOTH, file="dir")
    assert client.read("dir/new") == b"theirs"
    assert [b"x" in answer for answer in answers] == [False]


async def test_a_server_that_found_what_was_sent_damaged(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({})

    async def damaged(talk: Talk, _request: Message) -> None:
        talk.connection.close(CloseCode.INTEGRITY, "content does not match its hash")

    server.change = damaged
    client.write("mine", "x", mtime=OLD)
    job = await connect_to(client, server, mode=Mode.BOTH)
    async with asyncio.timeout(2):
        with pytest.raises(SentMismatch):
            await job.wait()


# Hints


async def test_hints_are_what_starts_a_pass(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that came before the digest is in it, and starts none."""
    monkeypatch.setattr(connecting, "PASS_INTERVAL", 60.0)
    server: HostileServer = await hostile({"a": b"x"})
    control: list[Talk] = []
    hinted_after: list[bool] = []
    digest = Client.digest

    async def noted(asking: Client, only: str) -> Digest:
        reply = await digest(asking, only)
        hinted_after.append(asking.hinted)
        return reply

    monkeypatch.setattr(Client, "digest", noted)

    async def hinting(talk: Talk, request: DigestRequest) -> None:
        control[:] = [talk]
        await talk.say(Hint())
        await server.honest_digest(talk, request)

    server.digest = hinting
    job = await connect_to(client, server)
    await until(lambda: bool(client.passes()))
    asked = len(server.asked)
    await control[0].say(Hint())
    await until(lambda: len(client.passes()) == 2)
    assert len(server.asked) == asked + 1
    assert hinted_after == [False] * 3
    await job.stop()


@pytest.fixture
async def listened(pair: Pair) -> AsyncIterator[tuple[ServeJob, HostileClient]]:
    """Serve a folder to a device that speaks frame by frame."""
    identity = Identity.generate()
    pair.server.engine.trust.add(identity.fingerprint, name="listener", confirmed="test")
    server = await pair.server.serve()
    async with HostileClient.connected(identity, server) as listener:
        yield server, listener


async def hinted(talk: Talk) -> bool:
    """Wait for the next message, and say whether it is a hint."""
    message = await talk.hear(control_replies)
    return isinstance(message, Hint)


async def test_one_hint_for_a_digest(pair: Pair, listened: tuple[ServeJob, HostileClient]) -> None:
    server, listener = listened
    share = server._context.share
    talk = await listener.shown()
    pair.server.write("a", "x")
    assert await hinted(talk)
    scanned = share.latest
    pair.server.write("b", "x")
    await until(lambda: share.latest is not scanned)
    assert not isinstance(await listener.ask(talk, DigestRequest()), Hint)
    pair.server.write("c", "x")
    assert await hinted(talk)


async def test_an_edit_during_the_scan_for_a_digest_is_hinted(
    pair: Pair, listened: tuple[ServeJob, HostileClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, listener = listened
    share, heard = server._context.share, threading.Event()

    def late(*arguments: Any, **options: Any) -> Any:
        found = scan(*arguments, **options)
        if not heard.is_set():
            share.listeners.add(heard.set)
            pair.server.write("late", "x")
            assert heard.wait(5)
        return found

    monkeypatch.setattr(share_module, "scan", late)
    talk = await listener.shown()
    assert await hinted(talk)


async def test_a_pass_that_finds_nothing_does_not_read_what_was_agreed(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Store, "base", lambda *_arguments: pytest.fail("the base was read"))
        patch.setattr(Store, "put_base", lambda *_arguments, **_options: pytest.fail("the base was written"))
        assert not (await pair.client.sync(server)).changed
    (pair.client.folder / "a").unlink()
    assert (await pair.client.sync(server)).remote_trashed == ("a",)


# Edits that follow what a pass has just brought


def after_the_work(monkeypatch: pytest.MonkeyPatch, edit: Callable[[], Any]) -> None:
    """Do `edit` once, in a pass: after all was carried out, before both sides are looked at again."""
    carry_out, edits = Passes._carry_out, [edit]

    async def edited(passes: Passes, *arguments: Any) -> Any:
        done = await carry_out(passes, *arguments)
        if edits:
            edits.pop()()
        return done

    monkeypatch.setattr(Passes, "_carry_out", edited)


@pytest.mark.parametrize("editor", ["here", "there"])
async def test_a_second_edit_on_the_side_that_gave_the_first_is_no_conflict(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch, editor: str
) -> None:
    """Both sides had the first one, the giving side when the pass began and the other when it ended."""
    one, other = (pair.client, pair.server) if editor == "here" else (pair.server, pair.client)
    one.write("a", "the first edit", mtime=OLD + 5)
    one.write("new/b", "the first version", mtime=OLD + 5)

    def edit() -> None:
        one.write("a", "the second edit", mtime=OLD + 10)
        one.write("new/b", "the second version", mtime=OLD + 10)

    after_the_work(monkeypatch, edit)
    await pair.client.sync(server)
    assert (other.read("a"), other.read("new/b")) == (b"the first edit", b"the first version")
    summary = await pair.client.sync(server)
    assert summary.conflicts == ()
    assert (other.read("a"), other.read("new/b")) == (b"the second edit", b"the second version")
    assert same(pair)


@pytest.mark.parametrize("editor", ["here", "there"])
async def test_an_edit_and_a_delete_in_a_directory_that_was_just_renamed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, editor: str
) -> None:
    """What moved with the directory came as much as what was fetched."""
    scan = Share.scan
    for look in ("scan", "look_again"):  # the last look of the pass sees the edit, however fast the watcher is
        monkeypatch.setattr(Share, look, lambda share, **_options: scan(share))
    for name in ("edited", "gone", "stays"):
        pair.server.write(f"d/e/{name}", f"content of {name}", mtime=OLD)
    pair.server.write("f", "x", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    one, other = (pair.client, pair.server) if editor == "here" else (pair.server, pair.client)
    (one.folder / "d").rename(one.folder / "new")

    def edit() -> None:
        one.write("new/e/edited", "edited", mtime=OLD + 10)
        (one.folder / "new/e/gone").unlink()

    after_the_work(monkeypatch, edit)
    await pair.client.sync(server)
    assert (other.folder / "new/e/gone").exists()
    summary = await pair.client.sync(server)
    assert (summary.conflicts, summary.notes) == ((), ())
    assert same(pair)
    assert set(pair.client.tree()) == {"f", "new", "new/e", "new/e/edited", "new/e/stays"}


async def pulled_out(*_arguments: Any) -> Sides:
    raise ConnectionLost(peer="server", reason="pulled the cable")


async def test_an_undo_of_a_pass_that_was_cut_off_holds(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither side has agreed to what the pass did, and nobody has to agree to it again."""
    pair.server.write("dir/in", "x", mtime=OLD)
    (pair.server.folder / "empty").mkdir()
    await pair.client.sync(server)
    (pair.server.folder / "a").unlink()
    pair.server.write("b", "newer", mtime=OLD + 5)
    (pair.server.folder / "c").rename(pair.server.folder / "renamed")
    (pair.server.folder / "dir").rename(pair.server.folder / "moved")
    (pair.server.folder / "empty").rmdir()
    with monkeypatch.context() as cable:
        cable.setattr(Passes, "_look", pulled_out)
        with pytest.raises(ConnectionLost):
            await pair.client.sync(server)
    assert {"a", "c", "dir"}.isdisjoint(pair.client.tree())
    undone = await pair.client.engine.with_records(str(pair.client.folder), lambda records: records.undo("last"))
    assert not undone.partial
    summary = await pair.client.sync(server)
    assert not summary.trashed
    assert {"a", "c", "dir/in"} <= set(summary.sent)
    assert (pair.server.folder / "empty").exists()
    assert same(pair)
    assert b"content of b" in {path.read_bytes() for path in pair.client.folder.iterdir() if path.is_file()}


async def test_an_undo_on_the_other_side_of_a_pass_that_was_cut_off_holds(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device that connects has not agreed to what its pass did there, and is told what came back since."""
    pair.client.write("dir/in", "x", mtime=OLD)
    (pair.client.folder / "link").symlink_to("a")
    (pair.client.folder / "empty").mkdir()
    await pair.client.sync(server)
    for name in ("a", "link"):
        (pair.client.folder / name).unlink()
    pair.client.write("b", "newer", mtime=OLD + 5)
    (pair.client.folder / "c").rename(pair.client.folder / "renamed")
    (pair.client.folder / "dir").rename(pair.client.folder / "moved")
    (pair.client.folder / "empty").rmdir()
    with monkeypatch.context() as cable:
        cable.setattr(Passes, "_look", pulled_out)
        with pytest.raises(ConnectionLost):
            await pair.client.sync(server)
    assert {"a", "c", "dir", "empty", "link"}.isdisjoint(pair.server.tree())
    undone = await pair.server.engine.with_records(str(pair.server.folder), lambda records: records.undo("last"))
    assert not undone.partial
    summary = await pair.client.sync(server)
    assert not summary.remote_trashed
    assert {"a", "c", "dir/in"} <= set(summary.fetched)
    assert {"link", "empty"} <= set(pair.client.tree())
    assert same(pair)
    assert b"content of b" in {path.read_bytes() for path in pair.client.folder.iterdir() if path.is_file()}
    for name in ("a", "empty"):  # what has come back goes like anything else
        _removed(pair.client.folder / name)
    summary = await pair.client.sync(server)
    assert (set(summary.remote_trashed), summary.fetched) == ({"a", "empty"}, ())
    assert same(pair)


def _removed(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("giver", ["here", "there"])
async def test_an_edit_on_the_side_that_had_just_taken_one_is_a_conflict(
    pair: Pair, server: ServeJob, monkeypatch: pytest.MonkeyPatch, giver: str
) -> None:
    """Nobody has seen what came there, and who edited may not have either."""
    one, other = (pair.client, pair.server) if giver == "here" else (pair.server, pair.client)
    one.write("a", "the edit that came", mtime=OLD + 5)
    after_the_work(monkeypatch, lambda: other.write("a", "another edit", mtime=OLD + 10))
    await pair.client.sync(server)
    summary = await pair.client.sync(server)
    ((path, copy),) = summary.conflicts
    assert (path, one.read("a"), one.read(copy)) == ("a", b"another edit", b"the edit that came")
    assert same(pair)


async def test_what_was_withheld_travels_in_the_first_pass_in_which_it_is_not(pair: Pair) -> None:
    """Both sides were the same while one withheld it: the base must not say that the other one has it."""
    pair.server.write("d/a", "x", mtime=OLD)
    server = await pair.server.serve()
    pair.client.write("d/a", "x", mtime=OLD)
    os.mkfifo(pair.client.folder / "d/b")
    await pair.client.sync(server)
    (pair.client.folder / "d/b").unlink()
    pair.client.write("d/b", "a file now", mtime=OLD)
    summary = await pair.client.sync(server)
    assert summary.sent == ("d/b",)
    assert not summary.notes
    assert pair.server.read("d/b") == b"a file now"


# What both sides are known to have


def sides(local: Index, remote: Index, *, problems: int = 0) -> Sides:
    """Both sides, with the listings of what differs alone, as `Client.listings` gives them."""
    differing = {
        path: entries
        for path, entries in remote.directories.items()
        if local.listing(path, digest_in(remote, path)) is None
    }
    digest = Digest(remote.digest, remote.files, remote.bytes, problems, remote.entries)
    scan: Any = None
    return Sides(scan, local, digest, differing, ())


def digest_in(index: Index, path: str) -> bytes:
    entry = index.entry(path) if path else None
    return entry.hash if entry is not None else index.digest


def entries_of(**sizes: int) -> list[Entry]:
    return [Entry(name, Kind.FILE, size, hash=bytes([size]) * 32) for name, size in sizes.items()]


def tree(top: list[Entry], below: list[Entry]) -> Index:
    return Index({"": [*top, Entry("d", Kind.DIRECTORY)], "d": below})


WITHHELD = [Entry("w", Kind.WITHHELD, target="busy")]


@pytest.mark.parametrize(
    ("local", "remote", "problems", "same"),
    [
        # All is the same: what the other side withholds is not told by that.
        (tree([], entries_of(a=1)), tree([], entries_of(a=1)), 0, {"d/a", "d/w", "d", "x"}),
        (tree([], entries_of(a=1)), tree([], entries_of(a=1) + WITHHELD), 1, set()),
        (tree([], entries_of(a=1) + WITHHELD), tree([], entries_of(a=1)), 0, {"d/a", "d", "x"}),
        # A directory that is the same is not listed either, beside something that is not.
        (tree(entries_of(b=1), entries_of(a=1)), tree(entries_of(b=2), entries_of(a=1)), 0, {"d/a", "d/w", "d", "x"}),
        (tree(entries_of(b=1), entries_of(a=1)), tree(entries_of(b=2), entries_of(a=1) + WITHHELD), 1, {"d", "x"}),
        # What is listed is known.
        (tree([], entries_of(a=1)), tree([], entries_of(a=2) + WITHHELD), 1, {"x"}),
        (tree([], entries_of(a=1, c=1)), tree([], entries_of(a=1)), 0, {"d/a", "d/w", "x"}),
    ],
)
def test_what_both_sides_are_known_to_have(local: Index, remote: Index, problems: int, same: set[str]) -> None:
    both = sides(local, remote, problems=problems)
    assert {path for path in ("d/a", "d/w", "d", "x", "b", "") if both.same(path)} - {"b"} == same
