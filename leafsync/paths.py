"""Where LeafSync keeps its own files. Nothing is created by asking: whoever writes a file makes its directory."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

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
    """Return the paths for this user and environment: below `LEAFSYNC_HOME` if set, else where the platform says."""
    home = environ.get(HOME_VARIABLE)
    if home:
        return _below(Path(home).expanduser().absolute())
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
