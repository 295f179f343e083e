"""Where LeafSync keeps its own files. Nothing is created by asking: whoever writes a file makes its directory."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from leafsync.errors import UsageError

HOME_VARIABLE = "LEAFSYNC_HOME"
"""Environment variable that moves everything below one directory: for tests, and for two devices on one machine."""


class Paths(msgspec.Struct, frozen=True):
    """LeafSync's own files, all absolute."""

    config: Path
    """config.toml, written by the user alone."""
    identity: Path
    """This device's private key."""
    trust: Path
    """trust.toml, the devices that are trusted."""
    state: Path
    """Directory of the folders' records."""
    runs: Path
    """Directory of what the running instances say of themselves."""
    logs: Path
    """Directory of log files."""


def find_paths(environ: Mapping[str, str]) -> Paths:
    """Return the paths for this user and environment: below `LEAFSYNC_HOME` if set, else where the platform says.

    Raises UsageError when that cannot be told.
    """
    home = environ.get(HOME_VARIABLE)
    try:
        return _below(Path(home).expanduser().absolute()) if home else _of_platform()
    except (RuntimeError, OSError) as error:  # no such user, or none at all; a working directory that is gone
        if home:
            reason = f"{HOME_VARIABLE} is {home}, and nobody can say where that is; set it to a whole path"
        else:
            reason = f"nobody can say where the home directory of this user is; set HOME or {HOME_VARIABLE}"
        raise UsageError(reason=reason) from error


def _of_platform() -> Paths:
    places = platformdirs.PlatformDirs("leafsync", appauthor=False)
    return Paths(
        config=places.user_config_path / "config.toml",
        identity=places.user_data_path / "identity.pem",
        trust=places.user_data_path / "trust.toml",
        state=places.user_state_path,
        runs=places.user_state_path / "run",
        logs=places.user_log_path,
    )


def _below(home: Path) -> Paths:
    state = home / "state"
    return Paths(home / "config.toml", home / "identity.pem", home / "trust.toml", state, state / "run", state / "log")
