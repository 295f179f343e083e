"""The engine: what it takes, what it gives back, and how it ends."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from leafsync.engine.core.address import Address
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.engine.service import Engine, EngineConfig
from leafsync.engine.sync.serving import ServeJob
from leafsync.errors import (
    AddressUnusable,
    FolderInUse,
    FolderMissing,
    FolderNotDirectory,
    FolderOwn,
    FolderRefused,
    FolderUnreadable,
    IdentityUnusable,
    LeafSyncError,
    PortInUse,
    TrustMalformed,
    UsageError,
)

NOBODY = Address("127.0.0.1", 9)


def config(home: Path) -> EngineConfig:
    return EngineConfig(home / "identity.pem", home / "trust.toml", home / "state", "device")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def serving(folder: Path, port: int = 0, **options: object) -> ServeOptions:
    return ServeOptions(str(folder), host="127.0.0.1", port=port, **options)  # type: ignore[arg-type]


def connecting(folder: Path) -> ConnectOptions:
    return ConnectOptions(NOBODY, str(folder))


def no_jobs(engine: Engine) -> bool:
    snapshot = engine.snapshot()
    return not snapshot.serving and not snapshot.connecting


async def is_free(folder: Path, elsewhere: Path) -> bool:
    """Say whether another process could take the folder: a second engine stands for it."""
    async with Engine(config(elsewhere)) as other:
        try:
            await other.serve(serving(folder))
        except FolderInUse:
            return False
    return True


async def test_the_identity_is_made_once(home: Path) -> None:
    async with Engine(config(home)) as engine:
        first = engine.identity.fingerprint
    async with Engine(config(home)) as engine:
        assert engine.identity.fingerprint == first
        assert engine.trust.devices == ()
        assert no_jobs(engine)


def damaged(file: Path) -> Path:
    file.parent.mkdir()
    file.write_text("damaged [")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(("name", "error"), [("identity.pem", IdentityUnusable), ("trust.toml", TrustMalformed)])
async def test_what_cannot_be_read_starts_nothing(home: Path, name: str, error: type[LeafSyncError]) -> None:
    file = damaged(home / name)
    with pytest.raises(error):
        async with Engine(config(home)):
            pytest.fail("it was entered")
    assert file.read_text() == "damaged ["


def below(directory: Path) -> set[Path]:
    """All that is in a directory."""
    return set(directory.rglob("*"))


@pytest.mark.parametrize("at", ["home", "home/state", "home/state/folders", "link"])
@pytest.mark.parametrize("force", [False, True])
async def test_a_folder_of_our_own_is_refused(home: Path, tmp_path: Path, at: str, force: bool) -> None:
    """The other device would get the key, and could change who is trusted."""
    (home / "state" / "folders").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    before = below(tmp_path)
    async with Engine(config(home)) as engine:
        with pytest.raises(FolderOwn):
            await engine.serve(serving(tmp_path / at, force=force))
        with pytest.raises(FolderOwn):
            await engine.connect(msgspec.structs.replace(connecting(tmp_path / at), force=force))
        assert no_jobs(engine)
    assert below(tmp_path) == before | {home / "identity.pem", home / "identity.fingerprint"}


async def test_a_folder_of_our_own_is_named_once(home: Path, tmp_path: Path) -> None:
    async with Engine(config(home)) as engine:
        with pytest.raises(FolderOwn, match=f"^{home} cannot be synced: it is LeafSync's own"):
            await engine.serve(serving(home))
        (home / "state" / "folders").mkdir(parents=True)
        inside, own = home / "state" / "folders", home / "state"
        with pytest.raises(FolderOwn, match=f"^{inside} cannot be synced: {own} is LeafSync's own"):
            await engine.serve(serving(inside))


async def test_one_file_beside_our_own_may_be_offered(home: Path, tmp_path: Path) -> None:
    async with Engine(config(home)) as engine:
        for file in ("home/identity.pem", "home/trust.toml", "home"):
            with pytest.raises(FolderOwn):
                await engine.serve(serving(tmp_path, file=file))
        await engine.serve(serving(tmp_path, file="notes"))


async def test_a_folder_beside_our_own_files_is_taken(home: Path, folder: Path) -> None:
    """Whatever else is in the same directory, and however its name begins."""
    near = home.with_name("home-2")
    near.mkdir()
    (home / "shared").mkdir(parents=True)
    async with Engine(config(home)) as engine:
        for place in (folder, near, home / "shared"):
            await engine.serve(serving(place))


async def test_what_is_on_its_way_in_a_folder_is_no_folder(home: Path, folder: Path) -> None:
    (folder / ".leafsync_trash" / "x").mkdir(parents=True)
    async with Engine(config(home)) as engine:
        with pytest.raises(FolderOwn):
            await engine.serve(serving(folder / ".leafsync_trash" / "x"))


async def test_leaving_ends_every_job(home: Path, folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    async with Engine(config(home)) as engine:
        server = await engine.serve(serving(folder))
        await engine.connect(connecting(second))
        assert isinstance(server, ServeJob)
        port = server.status().port
        assert not await is_free(folder, tmp_path / "elsewhere")
    assert await is_free(folder, tmp_path / "elsewhere")
    assert await is_free(second, tmp_path / "elsewhere")
    async with Engine(config(home)) as engine:
        await engine.serve(serving(folder, port))
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nowhere", FolderMissing),
        ("file", FolderNotDirectory),
        ("file/inside", (FolderMissing, FolderNotDirectory)),
        ("a\0b", FolderMissing),
        ("loop", (FolderMissing, FolderNotDirectory, FolderUnreadable)),
        ("x" * 300, (FolderMissing, FolderUnreadable)),
        ("/", FolderRefused),
    ],
    ids=["missing", "file", "below a file", "NUL", "loop", "too long", "root"],
)
async def test_folders_that_cannot_be_had(
    home: Path, tmp_path: Path, name: str, error: type[LeafSyncError] | tuple[type[LeafSyncError], ...]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    path = name if name == "/" else f"{tmp_path}/{name}"
    async with Engine(config(home)) as engine:
        with pytest.raises(error) as serve_error:
            await engine.serve(ServeOptions(path, host="127.0.0.1", port=0))
        with pytest.raises(error):
            await engine.connect(ConnectOptions(NOBODY, path))
        assert isinstance(serve_error.value, UsageError)
        assert no_jobs(engine)


async def test_a_job_that_cannot_listen_gives_its_folder_back(home: Path, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with Engine(config(home)) as engine:
        first = await engine.serve(serving(folder))
        assert isinstance(first, ServeJob)
        with pytest.raises(PortInUse):
            await engine.serve(serving(other, first.status().port))
        with pytest.raises(AddressUnusable):
            await engine.serve(ServeOptions(str(other), host="192.0.2.1", port=0))
        assert await is_free(other, tmp_path / "elsewhere")


async def test_jobs_share_a_folder_until_the_last_has_ended(home: Path, folder: Path, tmp_path: Path) -> None:
    """By whatever path: a symlink leads to the same folder."""
    (tmp_path / "link").symlink_to(folder)
    async with Engine(config(home)) as engine:
        jobs_of_it = [
            await engine.serve(serving(folder)),
            await engine.serve(serving(tmp_path / "link")),
            await engine.connect(connecting(folder)),
        ]
        assert {status.folder for status in engine.snapshot().serving} == {str(folder)}
        for job in jobs_of_it:
            assert not await is_free(folder, tmp_path / "elsewhere")
            await job.stop()
        assert await is_free(folder, tmp_path / "elsewhere")


async def test_a_job_that_ends_by_itself_gives_its_folder_back(home: Path, folder: Path, tmp_path: Path) -> None:
    async with Engine(config(home)) as engine:
        job = await engine.connect(ConnectOptions(NOBODY, str(folder), once=True))
        with pytest.raises(LeafSyncError):
            await job.wait()
        assert await is_free(folder, tmp_path / "elsewhere")


async def test_jobs_that_begin_at_once_open_the_folder_once(home: Path, folder: Path) -> None:
    async with Engine(config(home)) as engine:
        await asyncio.gather(*(engine.connect(connecting(folder)) for _number in range(5)))
        assert len(engine.snapshot().connecting) == 5


async def test_serving_that_is_cancelled_leaves_nothing(
    home: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def never(*_arguments: object, **_options: object) -> None:
        reached.set()
        await asyncio.sleep(60)

    monkeypatch.setattr("leafsync.engine.sync.serving.listen", never)
    async with Engine(config(home)) as engine:
        beginning = asyncio.create_task(engine.serve(serving(folder)))
        await reached.wait()
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        monkeypatch.undo()
        assert await is_free(folder, tmp_path / "elsewhere")


async def test_ids_are_not_used_again(home: Path, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(Engine(config(home)))
        first = await engine.connect(connecting(folder))
        await first.stop()
        second = await engine.connect(connecting(folder))
        assert first.id != second.id
