"""Names that are one with others, with our own or with commands, from a server, from a client and from the disk."""

import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from leafsync.cli import main
from leafsync.engine.core.address import Address
from leafsync.engine.core.messages import (
    Change,
    ChangeKind,
    ChangeRequest,
    DigestRequest,
    Hello,
    Listing,
    Message,
    Welcome,
    frame,
)
from leafsync.engine.core.reconcile import Mode
from leafsync.engine.core.status import PassSummary, Totals
from leafsync.engine.disk.folder import Folder
from leafsync.engine.net.trust import TrustStore
from leafsync.engine.sync.policy import ConnectPolicy
from leafsync.errors import PeerChanged, ProtocolViolated
from tests.cli.fake_engine import Script, returning
from tests.faults.cases import Case
from tests.support.devices import Device, Pair
from tests.support.engines import MakeHostile
from tests.support.hostile import (
    FakeFolder,
    directory_entry,
    file_entry,
    link_entry,
    pull_from,
    sends,
)
from tests.support.names import GOOD, OLD, Attacked, both_ways, skipped, stays_here, told

TITLE = "How names are spelled"

pytestmark = pytest.mark.usefixtures("bystanders")

CASES = (
    Case(
        12,
        "a name on the disk that is not UTF-8",
        "it stays where it is, shown as a problem, with everything below it; the directory that holds it stays too",
        where="Linux, BSD",
    ),
    Case(13, "text from another device that is not UTF-8", "the message cannot be read, and the connection ends"),
    Case(
        14,
        "one name in two Unicode normal forms",
        "only form C travels; a name in another form is a problem, and so is a file beside it that is one with it",
    ),
    Case(
        15,
        "names that differ in case alone, for a filesystem that takes them for one",
        "the first one comes, the others are problems; nothing is written over",
    ),
    Case(16, "a name that is, or may become, one of LeafSync's own directories", "as in case 1, at any depth"),
    Case(
        17,
        "an ignore file from another device",
        "an ordinary file; once it is here its rules hide files here, and never delete any on either side",
    ),
    Case(
        18,
        "a name that a shell or an option parser would take for something else",
        "an ordinary name: no shell ever sees it, and commands that LeafSync suggests are quoted",
    ),
)


# 12 to 15: how names are written


NOT_UTF8 = [b"bad\xff", b"\xed\xb3\xbf", b"\xc0\xaf", b"gar\xe7on.txt"]


async def test_case_12_names_on_the_disk_that_are_not_utf8(pair: Pair) -> None:
    await stays_here(pair, *NOT_UTF8)


async def test_case_12_a_directory_that_is_not_utf8_stays_with_all_that_is_in_it(pair: Pair) -> None:
    name = os.fsdecode(b"d/caf\xe9")
    pair.client.write(f"{name}/inside", "mine", mtime=OLD)
    pair.client.write("d/x", GOOD, mtime=OLD)
    server = await pair.server.serve()
    told(await pair.client.sync(server), name)
    (pair.server.folder / "d/x").unlink()
    (pair.server.folder / "d").rmdir()
    summary = await pair.client.pull(server, mode=Mode.BOTH, allow_deletes=True)
    assert name in dict(summary.problems)
    assert pair.client.read(f"{name}/inside") == b"mine"
    assert pair.client.trash() == {"d/x"}


@pytest.mark.parametrize("only", ["folder", "file"])
async def test_case_12_a_folder_whose_own_name_is_not_utf8(pair: Pair, only: str) -> None:
    for device in (pair.server, pair.client):
        device.folder = device.folder / os.fsdecode(b"caf\xe9 \x1b[31m")
        device.folder.mkdir()
    pair.server.write("a", GOOD, mtime=OLD)
    server = await pair.server.serve()
    summary = await pair.client.sync(server, **({"file": "a"} if only == "file" else {}))
    assert not summary.partial
    assert pair.client.read("a") == GOOD


MALFORMED = [b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\xaf\x61", b"\xe0\x80\xaf", b"\xf5\x80\x80", b"abc"[:2] + b"\xff"]
"""Surrogates, overlong forms, beyond Unicode: three bytes each, in the place of `AAA`."""


def spoiled(message: Message, text: bytes) -> bytes:
    """Return the frame of a message with `text` where it says AAA."""
    framed = frame(message)
    assert b"AAA" in framed
    return framed.replace(b"AAA", text)


@pytest.mark.parametrize("text", MALFORMED)
async def test_case_13_text_of_a_server_that_is_not_utf8(client: Device, hostile: MakeHostile, text: bytes) -> None:
    server = await hostile({"a": GOOD})
    client.write("a", "mine", mtime=OLD)
    before = client.tree()
    for name, answer in (
        ("list", Listing([file_entry("AAA", GOOD)], True)),
        ("list", Listing([link_entry("link", "AAA")], True)),
        ("hello", Welcome(1, [], "AAA", "test", "0" * 32, True)),
    ):
        setattr(server, name, sends(spoiled(answer, text)))
        with pytest.raises(ProtocolViolated):
            await pull_from(client, server, mirror=True, allow_deletes=True)
        assert client.tree() == before


async def test_case_13_text_of_a_client_that_is_not_utf8(attacked: Attacked) -> None:
    put = Change(ChangeKind.PUT, "AAA", file_entry("x", GOOD))
    for text in MALFORMED:
        for message in (ChangeRequest([put], True), DigestRequest("AAA"), Hello([1], [], "AAA", "test")):
            await attacked.closed_on(spoiled(message, text))


DECOMPOSED = unicodedata.normalize("NFD", "é.txt")


async def test_case_14_other_normal_forms_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    await skipped(client, hostile, DECOMPOSED, "\u212b", "\u1112\u1161\u11ab")


async def test_case_14_other_normal_forms_in_a_change(attacked: Attacked) -> None:
    await attacked.refuses(DECOMPOSED, f"{DECOMPOSED}/a")


async def test_case_14_one_name_in_both_forms_in_a_listing(client: Device, hostile: MakeHostile) -> None:
    server = await hostile({DECOMPOSED: b"decomposed", "é.txt": b"composed"})
    summary = await pull_from(client, server)
    told(summary, DECOMPOSED)
    assert {name: entry[1] for name, entry in client.tree().items()} == {"é.txt": b"composed"}


def forms_are_two(folder: Path) -> bool:
    """Say whether this filesystem keeps the normal forms of a name apart."""
    (folder / "é").touch()
    two = not (folder / unicodedata.normalize("NFD", "é")).exists()
    (folder / "é").unlink()
    return two


async def test_case_14_one_name_in_both_forms_on_the_disk(pair: Pair) -> None:
    """Neither travels: nobody could say which of them the other side's is."""
    assert forms_are_two(pair.client.folder)
    pair.client.write(DECOMPOSED, "decomposed", mtime=OLD)
    pair.client.write("é.txt", "composed", mtime=OLD)
    pair.client.write("zz", GOOD, mtime=OLD)
    pair.server.write("é.txt", "of the server", mtime=OLD)
    server = await pair.server.serve()
    for mode in (Mode.BOTH, Mode.MIRROR):
        told(await pair.client.pull(server, mode=mode, allow_deletes=True), DECOMPOSED, "é.txt")
        assert (pair.client.read(DECOMPOSED), pair.client.read("é.txt")) == (b"decomposed", b"composed")
        assert (pair.server.read("é.txt"), pair.server.read("zz")) == (b"of the server", GOOD)


def fold(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    """Have the filesystem of a device take names that differ in case for one."""
    monkeypatch.setattr(Folder, "folds_names", property(lambda folder: folder.path == str(device.folder)))


async def test_case_15_names_that_fold_together_in_a_listing(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold(monkeypatch, client)
    contents = {"A.txt": b"1", "a.TXT": b"2", "a.txt": b"3", "Dir/x": b"4", "dir/y": b"5", "zz": GOOD}
    server = await hostile(contents)
    summary = await pull_from(client, server)
    told(summary, "a.TXT", "a.txt", "dir")
    assert set(client.tree()) == {"A.txt", "Dir", "Dir/x", "zz"}
    assert (client.read("A.txt"), client.read("Dir/x"), client.read("zz")) == (b"1", b"4", GOOD)


async def test_case_15_a_name_that_folds_to_one_that_is_here(
    client: Device, hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold(monkeypatch, client)
    client.write("a.txt", "mine", mtime=OLD)
    server = await hostile({"A.txt": b"theirs", "zz": GOOD})
    told(await pull_from(client, server), "A.txt")
    assert {name: entry[1] for name, entry in client.tree().items()} == {"a.txt": b"mine", "zz": GOOD}


async def test_case_15_names_that_fold_together_on_a_server(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fold(monkeypatch, pair.server)
    for name in ("A.txt", "a.txt"):
        pair.client.write(name, f"of {name}", mtime=OLD)
    pair.server.write("b.txt", "theirs", mtime=OLD)
    pair.client.write("B.TXT", "mine", mtime=OLD)
    server = await pair.server.serve()
    told(await pair.client.sync(server), "a.txt", "B.TXT")
    assert {name: entry[1] for name, entry in pair.server.tree().items()} == {"A.txt": b"of A.txt", "b.txt": b"theirs"}
    assert pair.client.read("a.txt") == b"of a.txt"
    assert pair.client.read("B.TXT") == b"mine"


# 16 and 17: our own names


OWN = [
    ".leafsync_tmp",
    ".leafsync_trash",
    ".LeafSync_Trash",
    ".leaf\u200csync_tmp",
    ".leafsync_tmp.",
    ".leafsync_trash ",
    "LEAFSY~1",
]


@pytest.mark.parametrize("names", [OWN[:3], OWN[3:5], OWN[5:]], ids=["plain", "folded", "short"])
async def test_case_16_own_directories_in_a_listing(client: Device, hostile: MakeHostile, names: list[str]) -> None:
    """As files, and as directories with something in them."""
    server = await skipped(client, hostile, *names)
    planted = [file_entry("planted", b"x")]
    directories = [directory_entry(name, planted) for name in sorted(names)]
    server.folder = FakeFolder({"": directories, **dict.fromkeys(names, planted)})
    told(await pull_from(client, server), *names)
    assert not any("planted" in path for path in client.tree().keys() | client.trash())


async def test_case_16_own_directories_in_a_change_or_a_request(attacked: Attacked) -> None:
    marker = attacked.pair.server.folder / ".leafsync_tmp/folder-id"
    before = marker.read_bytes()
    await attacked.refuses(".leafsync_tmp/folder-id", ".leafsync_trash/x/file", "dir/.LEAFSYNC_TMP", "a/LEAFSY~1/b")
    assert marker.read_bytes() == before


async def test_case_16_own_directories_are_no_entries_of_the_folder(pair: Pair) -> None:
    """Neither travels nor goes, whatever is put into them."""
    server = await pair.server.serve()
    pair.client.write("zz", GOOD, mtime=OLD)
    await pair.client.sync(server)
    for device in (pair.server, pair.client):
        device.write(".leafsync_tmp/notes", "mine", mtime=OLD)
        device.write(f".leafsync_trash/{device.name}/notes", "mine", mtime=OLD)
    summary = await pair.client.pull(server, mode=Mode.MIRROR, allow_deletes=True)
    assert not summary.partial
    for device in (pair.server, pair.client):
        assert set(device.tree()) == {"zz"}
        assert device.trash() == {"notes"}
        assert device.read(".leafsync_tmp/notes") == b"mine"


async def test_case_16_names_that_may_become_our_own_on_the_disk(pair: Pair) -> None:
    await stays_here(pair, *OWN[2:])


async def test_case_17_an_ignore_file_hides_files_and_deletes_none(pair: Pair) -> None:
    for name in ("a.log", "b.log", "zz"):
        pair.server.write(name, f"of {name}", mtime=OLD)
    server = await pair.server.serve()
    await pair.client.sync(server)
    pair.client.write("mine.log", "mine", mtime=OLD)
    await pair.client.sync(server)
    pair.server.write(".leafsyncignore", "*.log\n", mtime=OLD)
    await pair.client.sync(server)
    (pair.server.folder / "b.log").unlink()
    pair.server.write("zz", "new", mtime=OLD + 5)
    for _pass in range(3):
        summary = await pair.client.pull(server, mode=Mode.BOTH, allow_deletes=True)
        assert not summary.trashed
        assert not summary.remote_trashed
    assert {"a.log", "b.log", "mine.log", "zz", ".leafsyncignore"} == set(pair.client.tree())
    assert {"a.log", "mine.log", "zz", ".leafsyncignore"} == set(pair.server.tree())
    assert pair.client.read("zz") == b"new"
    summary = await pair.client.pull(server, mode=Mode.MIRROR, allow_deletes=True)
    assert not summary.trashed
    assert pair.client.read("mine.log") == b"mine"


async def test_case_17_an_ignore_file_that_hides_all(client: Device, hostile: MakeHostile) -> None:
    """What a server hides from this device, it cannot have deleted afterwards."""
    server = await hostile({"a": GOOD, "d/b": GOOD})
    await pull_from(client, server, mirror=True)
    server.folder = FakeFolder.of({"a": GOOD, "d/b": GOOD, ".leafsyncignore": b"*\n!.leafsyncignore\n"})
    await pull_from(client, server, mirror=True)
    server.folder = FakeFolder.of({".leafsyncignore": b"*\n!.leafsyncignore\n"})
    summary = await pull_from(client, server, mirror=True, allow_deletes=True)
    assert not summary.trashed
    assert (client.read("a"), client.read("d/b")) == (GOOD, GOOD)


async def test_case_17_an_ignore_file_that_a_client_puts(attacked: Attacked) -> None:
    rules = b"*\n!.leafsyncignore\n"
    async with attacked.attacker() as attacker:
        talk = await attacker.shown()
        change = Change(ChangeKind.PUT, ".leafsyncignore", file_entry(".leafsyncignore", rules))
        assert await attacker.change(talk, change, contents={".leafsyncignore": rules}) == []
    await attacked.pair.client.pull(attacked.job, mode=Mode.MIRROR, allow_deletes=True)
    assert attacked.pair.server.read("file") == b"content"
    assert set(attacked.pair.server.tree()) == {"file", ".leafsyncignore"}


# 18: names that mean something to other programs


SHELL = [
    "-rf",
    "--resolve=x",
    "--",
    " ",
    "a b",
    "$(touch pwned)",
    "`touch pwned`",
    ";touch pwned",
    "|touch pwned",
    "&& touch pwned",
    "it's",
    'quo"te',
    "*",
    "?[a]",
    "!!",
    "$HOME",
    "~",
    "#",
    "%s%n",
    "{}",
]


def nothing_was_run(directory: Path) -> bool:
    """Say whether no command in a name left its trace."""
    return not list(directory.rglob("pwned"))


async def test_case_18_names_that_a_shell_would_run(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path / "client")
    await both_ways(pair, SHELL)
    assert nothing_was_run(tmp_path)


def run_by_a_shell(command: str, directory: Path) -> list[str]:
    """Return what a shell passes to `leafsync` that is told to run a command."""
    script = f"leafsync() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    done = subprocess.run(["sh", "-c", script], cwd=directory, capture_output=True, check=True, timeout=10)
    assert not done.stderr
    return done.stdout.decode().split("\0")[:-1]


def suggested(said: str, after: str) -> str:
    """Return the command that is suggested in a line, behind some words."""
    return next(line.partition(after)[2].strip() for line in said.split("\n") if after in line)


def test_case_18_the_commands_about_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell and the command line take them for what they say, in a folder of such a name too."""
    monkeypatch.setenv("LEAFSYNC_HOME", str(tmp_path / "client-home"))
    (tmp_path / "client").mkdir()
    monkeypatch.chdir(tmp_path / "client")
    for name in SHELL:
        folder, copy = Path(tmp_path, "client", name), f"{name}.conflict-20260102-030405-nas"
        folder.mkdir()
        (folder / name).write_text("this")
        (folder / copy).write_text("other")
        assert main(["conflicts", "--", name]) == 0
        command = suggested(capsys.readouterr().err, "to resolve one: ").replace("this|other|both", "other")
        assert main(run_by_a_shell(command, tmp_path / "client")) == 0, command
        assert (folder / name).read_text() == "other"
        assert not (folder / copy).exists()
        command = suggested(capsys.readouterr().err, "to take this back, run: ")
        assert main(run_by_a_shell(command, tmp_path / "client")) == 0, command
        assert ((folder / name).read_text(), (folder / copy).read_text()) == ("this", "other")
    assert nothing_was_run(tmp_path)


def test_case_18_the_commands_after_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name the folder as it was given."""
    monkeypatch.setenv("LEAFSYNC_HOME", str(tmp_path / "client-home"))
    (tmp_path / "client").mkdir()
    summary = PassSummary(Totals(), 0.0, held=("a",), conflicts=(("b", "b.conflict"),))
    script = Script(work=returning(summary))
    for name in SHELL:
        assert main(["connect", "nas", "--no-tui", "--once", "--", name], make_engine=script.factory()) == 3
        said = capsys.readouterr().err
        again = run_by_a_shell(suggested(said, "to allow it, run: "), tmp_path / "client")
        assert again == ["connect", "nas", "--no-tui", "--once", "--allow-deletes", "--", name]
        [command, folder] = run_by_a_shell(suggested(said, "to see and decide, run: "), tmp_path / "client")
        assert command == "conflicts"
        assert not folder.startswith("-")
        assert os.path.normpath(folder) == name
    assert nothing_was_run(tmp_path)


@pytest.mark.parametrize("name", [*(name for name in SHELL if name != " "), "a\\b"])
def test_case_18_the_command_for_a_device_that_named_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its key changes, people copy the command out of the warning; it means that device and no other."""
    monkeypatch.setenv("LEAFSYNC_HOME", str(tmp_path / "client-home"))
    (tmp_path / "client-home").mkdir()
    store = TrustStore(tmp_path / "client-home/trust.toml")
    store.add("ab" * 32, address="nas:4455", confirmed="test")
    device = store.suggest_name("ab" * 32, name)
    assert device is not None
    assert device.name == name
    policy = ConnectPolicy(store, Address("nas", 4455), fingerprint=None, accept_first=True)
    with pytest.raises(PeerChanged) as raised:
        policy.authorize("cd" * 32)
    assert main(run_by_a_shell(suggested(str(raised.value), "run: "), tmp_path)) == 0
    store.load()
    assert [(one.name, one.fingerprint) for one in store.devices] == [(device.name, "cd" * 32)]
    assert nothing_was_run(tmp_path)
