"""What the app remembers, and that nothing it finds in its file can stop it."""

import os
import stat
import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies as st

from leafsync.config import Config
from leafsync.settings import Settings
from leafsync.ui_state import MAX_FILE, MAX_RECENT, Recent, UiState, load_state, save_state

NAS = Recent("nas:4455", "/home/anna/Music", "pull", "a.txt")

texts = st.text(max_size=20)
states = st.builds(
    UiState,
    version=st.just(1),
    serve_folder=texts,
    serve_port=st.none() | st.integers(0, 65535),
    sort=texts,
    theme=texts,
    recent=st.lists(st.builds(Recent, texts, texts, texts, texts), max_size=MAX_RECENT),
)


def write(directory: Path, content: bytes) -> Path:
    path = directory / "ui.json"
    path.write_bytes(content)
    return path


# What is remembered


def test_nothing_is_remembered_at_first() -> None:
    assert UiState() == UiState(1, "", None, "", "", [])
    one, other = UiState(), UiState()
    one.connected(NAS)
    assert other.recent == []


def test_the_last_connection_comes_first() -> None:
    state = UiState()
    state.connected(NAS)
    state.connected(Recent("desk", "/f"))
    assert [one.address for one in state.recent] == ["desk", "nas:4455"]


def test_a_connection_is_remembered_once_and_as_it_was_last() -> None:
    state = UiState()
    again = Recent(NAS.address, NAS.folder, "both")
    for recent in (NAS, Recent("desk", "/f"), Recent(NAS.address, "/other"), again):
        state.connected(recent)
    assert state.recent == [again, Recent(NAS.address, "/other"), Recent("desk", "/f")]


@given(st.lists(st.builds(Recent, st.sampled_from(string.ascii_letters), st.sampled_from("ab")), max_size=40))
def test_only_so_many_are_remembered(made: list[Recent]) -> None:
    state = UiState()
    for recent in made:
        state.connected(recent)
    assert len(state.recent) <= MAX_RECENT
    assert len(set(state.recent)) == len(state.recent)
    assert state.recent[:1] == made[-1:]
    assert set(state.recent) <= set(made)


def test_what_was_served_is_remembered() -> None:
    state = UiState()
    state.served("/home/anna", 4456)
    assert (state.serve_folder, state.serve_port) == ("/home/anna", 4456)


def test_a_name_that_is_no_text_is_not_remembered(tmp_path: Path) -> None:
    state = UiState(serve_folder="/before")
    state.served("/\udcff", 1)
    for recent in (Recent("a", "/\udcff"), Recent("\udcff", "/f"), Recent("a", "/f", file="\udcff")):
        state.connected(recent)
    assert (state.serve_folder, state.serve_port, state.recent) == ("/before", 1, [])
    save_state(tmp_path / "ui.json", state)
    assert load_state(tmp_path / "ui.json") == state


# The file


@given(states)
def test_what_was_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, state: UiState) -> None:
    path = tmp_path_factory.mktemp("state") / "ui.json"
    save_state(path, state)
    assert load_state(path) == state


def test_the_file_is_the_users_alone_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "ui.json"
    save_state(path, UiState(theme="a"))
    before = path.stat()
    save_state(path, UiState(theme="b"))
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert after.st_ino != before.st_ino
    assert list(path.parent.iterdir()) == [path]


def test_no_file_is_an_empty_one(tmp_path: Path) -> None:
    assert load_state(tmp_path / "none") == UiState()
    assert load_state(tmp_path) == UiState()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version": 2, "theme": "x"}',
        b'{"version": "1"}',
        b'{"recent": 7}',
        b'{"recent": [{"address": "a"}]}',
        b'{"recent": [{"address": 1, "folder": "/f"}]}',
        b'{"serve_port": "x"}',
        b'{"odd": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"theme": "' + b"x" * MAX_FILE + b'"}',
    ],
)
def test_a_file_that_cannot_be_read_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    assert load_state(write(tmp_path, content)) == UiState()


@given(st.binary(max_size=200))
def test_any_file_can_be_there(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    assert isinstance(load_state(write(tmp_path_factory.mktemp("state"), content)), UiState)


def test_keys_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    assert load_state(write(tmp_path, b'{"version": 1, "later": {}, "theme": "x"}')) == UiState(theme="x")


def test_a_longer_list_is_cut(tmp_path: Path) -> None:
    recent = [Recent(str(at), "/f") for at in range(MAX_RECENT + 5)]
    state = load_state(write(tmp_path, msgspec.json.encode(UiState(recent=recent))))
    assert state.recent == recent[:MAX_RECENT]


def test_a_fifo_in_its_place_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "ui.json"
    os.mkfifo(path)
    assert load_state(path) == UiState()


def test_where_it_cannot_be_saved_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save_state(tmp_path / "file" / "ui.json", UiState())
    (tmp_path / "ui.json").mkdir()
    save_state(tmp_path / "ui.json", UiState())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "ui.json"]


# Settings


def test_settings_are_kept_by_whoever_can() -> None:
    kept: list[str] = []
    settings = Settings(Config("desk"), UiState(theme="nord"), lambda state: kept.append(state.theme))
    settings.save()
    assert kept == ["nord"]


def test_settings_need_nobody_to_keep_them() -> None:
    settings = Settings(Config("desk"))
    settings.state.connected(NAS)
    settings.save()
    assert settings.state.recent == [NAS]
    assert Settings(Config("desk")).state == UiState()
