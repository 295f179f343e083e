"""Where files are, asked without making any."""

import pwd
from pathlib import Path

import pytest

from leafsync.errors import UsageError
from leafsync.paths import find_paths


def test_home_variable_moves_everything_below_it(tmp_path: Path) -> None:
    paths = find_paths({"LEAFSYNC_HOME": str(tmp_path / "device")})
    home = tmp_path / "device"
    assert paths.config == home / "config.toml"
    assert paths.identity == home / "identity.pem"
    assert paths.trust == home / "trust.toml"
    assert paths.state == home / "state"
    assert paths.logs == home / "state" / "log"


def test_asking_creates_nothing(tmp_path: Path) -> None:
    find_paths({"LEAFSYNC_HOME": str(tmp_path / "device")})
    assert list(tmp_path.iterdir()) == []


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_paths({"LEAFSYNC_HOME": "device"}).trust == tmp_path / "device" / "trust.toml"


def test_a_home_with_tilde_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_paths({"LEAFSYNC_HOME": "~/device"}).trust == tmp_path / "device" / "trust.toml"


def test_a_home_that_cannot_be_told_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="LEAFSYNC_HOME is ~nobody-is-called-so/x"):
        find_paths({"LEAFSYNC_HOME": "~nobody-is-called-so/x"})
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="whole path"):
        find_paths({"LEAFSYNC_HOME": "device"})


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers that run under any number: it is no user's."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="set HOME or LEAFSYNC_HOME"):
        find_paths({})


@pytest.mark.parametrize("environ", [{}, {"LEAFSYNC_HOME": ""}])
def test_without_it_the_platform_decides(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    paths = find_paths(environ)
    assert paths.config == tmp_path / "CONFIG" / "leafsync" / "config.toml"
    assert paths.identity == tmp_path / "DATA" / "leafsync" / "identity.pem"
    assert paths.trust == tmp_path / "DATA" / "leafsync" / "trust.toml"
    assert paths.state == tmp_path / "STATE" / "leafsync"
    assert list(tmp_path.iterdir()) == []
