"""What changes here between the plan and the act is kept, and told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leafsync.engine.core.index import Entry, Kind
from leafsync.engine.core.messages import FetchItem
from leafsync.engine.core.status import PassSummary
from leafsync.engine.sync import apply
from tests.support.devices import Device
from tests.support.engines import MakeHostile
from tests.support.hostile import TIME, HostileServer, Talk, file_entry, link_entry, pull_from

OLD = 1_600_000_000.0


async def pull_while(client: Device, server: HostileServer, edit: Callable[[], Any], **options: Any) -> PassSummary:
    """Pull, and `edit` after the plan was made: when the first content is asked for."""
    edits = [edit]

    async def edited(talk: Talk, item: FetchItem) -> None:
        if edits:
            edits.pop()()
        await server.honest_item(talk, item)

    server.item = edited
    summary = await pull_from(client, server, **options)
    assert not edits
    return summary


def add(server: HostileServer, *entries: Entry) -> None:
    """List more at the top of the folder."""
    listed = [*server.folder.listings[""], *entries]
    server.folder.listings[""] = sorted(listed, key=lambda entry: entry.name)


async def test_an_edited_file_does_not_go_to_the_trash(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x", "b": b"y"})
    for name in ("doomed", "edited", "other"):
        client.write(name, "only here", mtime=OLD)
    summary = await pull_while(
        client, server, lambda: client.write("edited", "just now"), mirror=True, allow_deletes=True
    )
    assert set(summary.trashed) == client.trash() == {"doomed", "other"}
    assert [path for path, _reason in summary.problems] == ["edited"]
    assert client.read("edited") == b"just now"


async def test_a_directory_with_something_new_in_it_stays(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    client.write("d/old", "only here", mtime=OLD)
    summary = await pull_while(client, server, lambda: client.write("d/new", "x"), mirror=True, allow_deletes=True)
    assert [path for path, _reason in summary.problems] == ["d"]
    assert client.read("d/new") == b"x"
    assert client.trash() == {"d/old"}


async def test_a_file_that_appeared_is_not_overwritten(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"theirs", "b": b"theirs"})
    summary = await pull_while(client, server, lambda: client.write("a", "mine"))
    assert [path for path, _reason in summary.problems] == ["a"]
    assert (client.read("a"), client.read("b")) == (b"mine", b"theirs")
    assert not client.trash()


async def test_an_edited_file_is_not_touched(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x", "b": b"same", "c": b"same"})
    client.write("b", "same", mtime=OLD)
    client.write("c", "same", mtime=OLD)
    summary = await pull_while(client, server, lambda: client.write("b", "edited", mtime=OLD + 1))
    assert summary.touched == 1
    assert [path for path, _reason in summary.problems] == ["b"]
    assert client.read("b") == b"edited"
    assert (client.folder / "c").stat().st_mtime_ns == TIME


async def test_an_edited_file_is_not_replaced_by_a_link(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"a": b"x"})
    add(server, link_entry("edited", "a"), link_entry("link", "a"), link_entry("new", "a"))
    client.write("edited", "mine", mtime=OLD)
    (client.folder / "link").symlink_to("elsewhere")
    summary = await pull_while(client, server, lambda: client.write("edited", "just now"), mirror=True)
    assert [path for path, _reason in summary.problems] == ["edited"]
    assert client.read("edited") == b"just now"
    assert [str((client.folder / name).readlink()) for name in ("link", "new")] == ["a", "a"]
    assert summary.links == 2
    assert client.trash() == {"link"}


async def test_a_parent_that_was_removed(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({"d/a": b"x", "e": b"y"})
    (client.folder / "d").mkdir()
    summary = await pull_while(client, server, (client.folder / "d").rmdir)
    assert [path for path, _reason in summary.problems] == ["d/a"]
    assert client.read("e") == b"y"
    await pull_from(client, server)
    assert client.read("d/a") == b"x"


async def test_more_actions_than_a_batch(client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "BATCH", 3)
    server = await hostile({f"{number}/{number}/a": b"x" for number in range(7)})
    for number in range(7):
        client.write(f"mine/{number}", "only here", mtime=OLD)
    summary = await pull_from(client, server, mirror=True, allow_deletes=True)
    assert summary.directories == 14
    assert len(summary.trashed) == 8
    assert len([path for path in client.tree() if path.endswith("a")]) == 7


async def test_the_trash_cannot_be_led_elsewhere(client: Device, hostile: MakeHostile, tmp_path: Path) -> None:
    outside = client.home / "outside"
    outside.mkdir()
    (client.folder / ".leafsync_trash").symlink_to(outside)
    server = await hostile({"a": b"new"})
    client.write("a", "mine", mtime=OLD)
    client.write("b", "mine", mtime=OLD)
    summary = await pull_from(client, server, mirror=True, allow_deletes=True)
    assert {path for path, _reason in summary.problems} == {"a", "b"}
    assert (client.read("a"), client.read("b")) == (b"mine", b"mine")
    assert not list(outside.iterdir())


@pytest.mark.parametrize("executable", [False, True])
async def test_permissions_come_from_here(client: Device, hostile: MakeHostile, executable: bool) -> None:
    """A private file stays private when it is replaced, and nothing but the executable bit is theirs."""
    server = await hostile({"a": b"new"})
    entry = file_entry("a", b"new")
    server.folder.listings[""] = [Entry("a", Kind.FILE, entry.size, entry.mtime_ns, executable, entry.hash)]
    client.write("a", "mine", mode=0o600, mtime=OLD)
    await pull_from(client, server, mirror=True)
    assert (client.folder / "a").stat().st_mode & 0o7777 == (0o700 if executable else 0o600)
