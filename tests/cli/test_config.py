"""config.toml: defaults, and everything a file can have wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leafsync.config import MAX_CONFIG, Config, load_config, name_from_host
from leafsync.errors import ConfigMalformed, ExitCode


def write(directory: Path, content: str | bytes) -> Path:
    path = directory / "config.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "config.toml", "anna") == Config(name="anna", port=4455, streams=4, rate_mbps=None)
    assert list(tmp_path.iterdir()) == []


def test_every_key_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "Anna\'s laptop"\nport = 5000\nstreams = 8\nrate_mbps = 20\n')
    assert load_config(path) == Config(name="Anna's laptop", port=5000, streams=8, rate_mbps=20.0)


def test_theme_and_keys_of_the_app_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, 'theme = "nord"\n[keymap]\n"form.start" = "f9, ctrl+s"\n"app.help" = "?"\n')
    config = load_config(path, "anna")
    assert config == Config(name="anna", theme="nord", keymap={"form.start": "f9, ctrl+s", "app.help": "?"})
    assert (load_config(tmp_path / "none").theme, load_config(tmp_path / "none").keymap) == ("", {})


def test_only_a_keymap_costs_the_list_of_actions(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from leafsync.config import load_config;"
        "load_config(Path(sys.argv[1])); print('leafsync.actions' in sys.modules, 'textual.app' in sys.modules)"
    )
    for content, loaded in (("theme = 'x'", "False False"), ("[keymap]\n'app.quit' = 'f10'", "True False")):
        command = [sys.executable, "-c", script, str(write(tmp_path, content))]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == loaded


def test_the_host_name_is_the_default_name(tmp_path: Path) -> None:
    assert load_config(tmp_path / "none").name == name_from_host(os.uname().nodename)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("anna", "anna"),
        ("anna.local", "anna"),
        ("", "device"),
        (".local", "device"),
        ("a\x1b[31mb\u202ec d", "a[31mbcd"),
        ("x" * 100, "x" * 64),
    ],
)
def test_a_host_name_is_cleaned(host: str, name: str) -> None:
    assert name_from_host(host) == name


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("prot = 5000", "unknown key 'prot'"),
        ("[server]\nport = 5000", "unknown key 'server'"),
        ("port = ", "at end of document"),
        ("port =\n", "line 1"),
        ("port = 5000\nname = anna", "line 2"),
        ("port = 1\nport = 2", "overwrite"),
        (b"# ok\nname = '\xff'", "line 2"),
        ("port = " + "9" * 5000, "4300 digits"),
        ("port = " + "[" * 5000, "recursion"),
        ("port = '5000'", "'port'"),
        ("port = true", "'port'"),
        ("port = 5000.0", "'port'"),
        ("port = -1", "'port'"),
        ("port = 65536", "'port'"),
        ("streams = 0", "'streams'"),
        ("streams = 9", "'streams'"),
        ("rate_mbps = 0", "'rate_mbps'"),
        ("rate_mbps = -5.0", "'rate_mbps'"),
        ("rate_mbps = nan", "'rate_mbps'"),
        ("rate_mbps = inf", "'rate_mbps'"),
        ("rate_mbps = true", "'rate_mbps'"),
        ("rate_mbps = '5'", "'rate_mbps'"),
        ("rate_mbps = 1" + "0" * 400, "'rate_mbps'"),
        ("theme = 7", "'theme'"),
        ("keymap = 'f2'", "'keymap' is wrong: it must be a table"),
        ("[keymap]\n'form.start' = 7", "'form.start' must be a string"),
        ("[keymap]\n'form.start' = ['f2']", "'form.start' must be a string"),
        ("[keymap]\n'form.start' = ''", "there is no key ''"),
        ("[keymap]\n'form.start' = 'crtl+s'", "there is no key 'crtl+s'"),
        ("[keymap]\n'form.strat' = 'f2'", "nothing is called 'form.strat'"),
        ("[keymap]\n\"a\\u001b[31m\" = 'f2'", "nothing is called 'a\\x1b[31m'"),
        ("name = 7", "'name'"),
        ("name = ''", "'name'"),
        ("name = ' x'", "'name'"),
        ('name = "a\\u001bb"', "'name'"),
        ("name = '" + "x" * 65 + "'", "'name'"),
        ("#" * (MAX_CONFIG + 1), "larger"),
    ],
)
def test_a_bad_file_is_named_with_its_fault_and_kept(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = write(tmp_path, content)
    before = path.read_bytes()
    with pytest.raises(ConfigMalformed) as caught:
        load_config(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE
    assert path.read_bytes() == before


def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigMalformed, match="regular file"):
        load_config(tmp_path)


def test_a_dangling_symlink_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigMalformed, match="symlink"):
        load_config(path)


def test_a_symlink_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text("port = 5000")
    path = tmp_path / "config.toml"
    path.symlink_to("dotfiles.toml")
    assert load_config(path).port == 5000


def test_a_fifo_in_its_place_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    os.mkfifo(path)
    with pytest.raises(ConfigMalformed, match="regular file"):
        load_config(path)


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o777])
def test_a_file_that_all_may_write_is_named_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "config.toml"
    path.write_text('name = "desk"')
    path.chmod(mode)
    with pytest.raises(ConfigMalformed, match=f"chmod o-w {path}"):
        load_config(path)
    path.chmod(mode & ~0o002)
    assert load_config(path).name == "desk"


def test_a_file_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    if os.geteuid():
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        os.chown(path, 12345, -1)
    with pytest.raises(ConfigMalformed, match="belongs to another user"):
        load_config(path)
