"""The documents say what the code does: vectors, codes, modules, layers and limits that can be checked are."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from leafsync import app, tui
from leafsync.engine.core import merkle, messages
from leafsync.engine.core.messages import CloseCode
from leafsync.engine.core.pieces import encode_pieces
from leafsync.engine.net.limits import STALL_DEADLINE
from leafsync.engine.sync import channel, connect, connecting, jobs, serve
from leafsync.screens import fingerprint

ROOT = Path(__file__).parent.parent
PROTOCOL, ARCHITECTURE, CONTRIBUTING, SECURITY = (
    (ROOT / f"{name}.md").read_text() for name in ("PROTOCOL", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")
)
DOCUMENTS = sorted(ROOT.glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = [
    [layer.strip().removeprefix("leafsync.") for layer in line.split("|")]
    for line in PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
]
PACKAGES = {"sync": "engine.sync", "disk": "engine.disk", "net": "engine.net", "core": "engine.core"}
"""What documents call the packages of the engine."""


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ('leaf of ""', merkle.leaf_hash(b"")),
        ('leaf of "abc"', merkle.leaf_hash(b"abc")),
        ("leaf of 1 MiB of zeros", merkle.zero_leaf(merkle.CHUNK_SIZE)),
        ('top of the leaves of "a", "b"', merkle.tree_top(b"".join(map(merkle.leaf_hash, (b"a", b"b"))))),
        ('top of the leaves of "a", "b", "c"', merkle.tree_top(b"".join(map(merkle.leaf_hash, (b"a", b"b", b"c"))))),
        ("root of the empty file", merkle.EMPTY_ROOT),
        ('root of the file "abc"', merkle.file_root(3, merkle.leaf_hash(b"abc"))),
        ('DIGEST REQUEST, only ""', messages.encode(messages.DigestRequest())),
        ('DIGEST REQUEST, only "dir/a"', messages.encode(messages.DigestRequest("dir/a"))),
        (
            "DIGEST Z, 3 files, 5000 bytes, 1 problem, 4 entries, undo 0",
            messages.encode(messages.Digest(bytes(range(32)), 3, 5000, 1, 4)),
        ),
        ('LIST REQUEST of "" and "dir"', messages.encode(messages.ListRequest(["", "dir"]))),
        ("CHUNK 7, 1,048,576 bytes, raw", messages.encode(messages.Chunk(7, 1 << 20, messages.Encoding.RAW))),
        ("CHUNK 8, 1 byte, zero", messages.encode(messages.Chunk(8, 1, messages.Encoding.ZERO))),
        ("CHUNK 9, 1,048,576 bytes, zstd", messages.encode(messages.Chunk(9, 1 << 20, messages.Encoding.ZSTD))),
        (
            'CUT chunks 0 and 3-4 of "a", 5 MiB, root Z, scale 14',
            messages.encode(messages.Cut("a", 5 << 20, bytes(range(32)), [(0, 1), (3, 2)], 14)),
        ),
        (
            "PIECES 1 of 4096 bytes and 2^63 of 1",
            messages.encode(messages.Pieces(*encode_pieces([(1, 4096), (1 << 63, 1)]))),
        ),
        (
            'FETCH PARTS, 1000 bytes at 7, of "a", 5 MiB, root Z',
            messages.encode(messages.FetchParts("a", 5 << 20, bytes(range(32)), [(7, 1000)])),
        ),
        ("BUNDLE of 5000 bytes in 300", messages.encode(messages.Bundle(5000, 300))),
        ("END", messages.encode(messages.End())),
        ("ABORT, changed", messages.encode(messages.Abort(messages.AbortReason.CHANGED))),
        ("PENDING", messages.encode(messages.Pending())),
    ],
)
def test_the_vectors_of_the_protocol(label: str, value: bytes) -> None:
    assert f"| {label} | {value.hex()} |" in PROTOCOL


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_documented(code: CloseCode) -> None:
    assert f"| {code.value} | {code.name} |" in PROTOCOL


def test_reserved_close_codes_are_not_used() -> None:
    reserved = {int(code) for code in re.findall(r"^\| (\d+) \| \| reserved", PROTOCOL, re.MULTILINE)}
    assert reserved == set(range(10)) - {int(code) for code in CloseCode}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (messages.MAX_FRAME, "1,048,576"),
        (messages.MAX_ITEMS, "4096"),
        (messages.MAX_LEAVES_PAGE, "16,384"),
        (messages.MAX_PIECES_PAGE, "8192"),
        (messages.MAX_CUT_CHUNKS, "4096"),
        (messages.MAX_BUNDLE, "2,162,688"),
        (merkle.MAX_FILE_SIZE, "2^43"),
        (messages.FIRST_OPTIONAL_TAG, "A tag of 128 or more"),
    ],
)
def test_published_caps_are_documented(value: int, text: str) -> None:
    digits = text.replace(",", "").replace("2^43", str(1 << 43))
    assert str(value) in digits
    assert text in PROTOCOL


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("when for {:g} s it neither takes content", STALL_DEADLINE),
        ("when for {:g} s it neither takes content nor sends what it owes", channel.REPLY_DEADLINE),
        ("gives up after {:g} s in which nothing comes", connect.CHANGE_DEADLINE),
        ("says PENDING after {:g} s", serve.PENDING_FIRST),
        ("and then every {:g} s meanwhile", serve.PENDING_INTERVAL),
        ("when for {:g} h PENDING is all that comes", connect.PENDING_DEADLINE / 3600),
        ("more than {:,} PENDING", connect.MAX_PENDING),
    ],
)
def test_deadlines_of_the_protocol_are_documented(text: str, value: float) -> None:
    assert text.format(value) in " ".join(PROTOCOL.split())


# Where things are


def test_every_module_is_in_the_house() -> None:
    house = re.search(r"## The house\n\n```\n(.*?)```", ARCHITECTURE, re.DOTALL)
    assert house
    package = ROOT / "leafsync"
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    modules |= {path.name for path in package.glob("*.tcss")} | {"service.py"}
    packages = {f"{path.parent.name}/" for path in package.rglob("__init__.py")}
    names = set(re.findall(r"[a-z0-9_]+(?:\.py|\.tcss|/)", house[1]))
    assert names - {"tests/", "benchmarks/", "support/", "e2e/", "crash/", "faults/", "fuzz/"} == modules | packages


def references(*texts: str) -> list[str]:
    """The names in backticks that begin with a module or package of ours, as Python writes them."""
    found = set()
    for name in re.findall(r"`(\w+(?:[./]\w+)+)`", "\n".join(texts)):
        head, *tail = name.removesuffix(".py").replace("/", ".").split(".")
        place = ROOT / "leafsync" / PACKAGES.get(head, head).replace(".", "/")
        if tail and tail != ["toml"] and (place.is_dir() or place.with_suffix(".py").is_file()):
            found.add(".".join([PACKAGES.get(head, head), *tail]))
    return sorted(found)


@pytest.mark.parametrize("reference", references(ARCHITECTURE, CONTRIBUTING, SECURITY))
def test_what_is_named_is_there(reference: str) -> None:
    first, *rest = reference.split(".")
    found = import_module(f"leafsync.{first}")
    for name in rest:
        found = getattr(found, name, None) or import_module(f"{found.__name__}.{name}")


def test_the_names_are_found() -> None:
    named = references(ARCHITECTURE)
    assert {"bridge.Bridge", "engine.sync.connecting.ConnectJob", "engine.net.quic", "terminal.PatientDriver"} <= set(
        named
    )
    with pytest.raises(ModuleNotFoundError):
        test_what_is_named_is_there("engine.sync.jobs_of_old")


def test_the_layers_are_those_that_are_held() -> None:
    sentence = re.search(r"Arrows point down only: (.*?)\. *\n", ARCHITECTURE.replace("\n", " \n"), re.DOTALL)
    assert sentence
    named = re.findall(r"`([\w.]+)`", sentence[1])
    assert named == [name for layer in LAYERS for name in layer]
    block = re.search(r"## Layers\n.*?```\n(.*?)```", CONTRIBUTING, re.DOTALL)
    assert block
    assert [re.findall(r"[\w.]+", line.split("  ")[0].replace("|", " ")) for line in block[1].splitlines()] == LAYERS


def test_dependencies_have_their_reason() -> None:
    table = ARCHITECTURE.partition("## Runtime dependencies")[2]
    named = [name for row in re.findall(r"^\| ([a-z0-9, -]+) \|", table, re.MULTILINE) for name in row.split(", ")]
    named.remove("package")
    assert sorted(named) == sorted(re.split(r"[><=]", line)[0] for line in PROJECT["project"]["dependencies"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        assert (ROOT / path).is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings], target


# Limits


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no input in its first {:g} seconds", fingerprint.GUARD_SECONDS),
        ("the first {} digits typed", fingerprint.TYPED_DIGITS),
        ("at most {} of a job wait", jobs.MAX_QUESTIONS),
        ("After {:g} seconds the answer is no", jobs.ASK_DEADLINE),
        ("After {:g} seconds the answer is no", fingerprint.ANSWER_SECONDS),
    ],
)
def test_the_limits_of_questions(text: str, value: float) -> None:
    assert text.format(value) in " ".join(SECURITY.split())


def test_limits_in_words() -> None:
    security, architecture = (" ".join(text.split()) for text in (SECURITY, ARCHITECTURE))
    assert app.REFUSALS_TOLD == 60
    assert "Refused devices are told of at most once a minute" in security
    assert (connecting.ACCEPT_RETRY, connecting.ACCEPT_DEADLINE) == (2, 300)
    assert "tries again every two seconds for five minutes" in architecture
    assert f"{tui.KEEP_TRANSFERS:,} rows cost what moves" in architecture
