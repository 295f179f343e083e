"""The optional `config.toml`: defaults a user sets once. Read strictly, never written."""

import os
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from leafsync.engine.core.address import DEFAULT_PORT, MAX_PORT
from leafsync.engine.core.options import DEFAULT_STREAMS, MAX_STREAMS
from leafsync.engine.core.ownfiles import file_problem
from leafsync.errors import ConfigMalformed, UsageError

MAX_CONFIG = 64 * 1024
"""Bytes of config.toml read at most: it has few keys, and a wrong link must not fill the memory."""

MAX_HOST_NAME = 64
"""Characters of the host name that become the device name: the most a device name may have."""

MAX_RATE_MBPS = 1_000_000.0
"""Highest rate that is not a mistyped one: a terabit per second."""


class Config(msgspec.Struct, frozen=True):
    """What a user set, or the defaults."""

    name: str
    """What this device calls itself."""
    port: int = DEFAULT_PORT
    """UDP port of `serve` when --port is not given; 0 for any free one."""
    streams: int = DEFAULT_STREAMS
    rate_mbps: float | None = None
    """Megabits per second in each direction, None for no limit."""
    theme: str = ""
    """Of the app; "" for the one that was chosen there last."""
    keymap: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Keys of the app by the id of what they do."""


def load_config(path: Path, host_name: str | None = None) -> Config:
    """Read `path`; a file that is not there means the defaults. `host_name` names the device unless the file does.

    Raises:
        ConfigMalformed: it cannot be read, is not TOML, has an unknown key or a bad value, or somebody else could have
            written it. The file is left alone.
    """
    document = _read(path)
    readers = {
        "name": _name,
        "port": _port,
        "streams": _streams,
        "rate_mbps": _rate,
        "theme": _theme,
        "keymap": _keymap,
    }
    unknown = sorted(document.keys() - readers.keys())
    if unknown:
        known = ", ".join(readers)
        raise ConfigMalformed(path=path, reason=f"it has the unknown key '{unknown[0]}' (known are {known})")
    values: dict[str, Any] = {"name": name_from_host(host_name if host_name is not None else os.uname().nodename)}
    for key, value in document.items():
        try:
            values[key] = readers[key](value)
        except (UsageError, ValueError) as error:
            reason = error.fields["reason"] if isinstance(error, UsageError) else error
            raise ConfigMalformed(path=path, reason=f"'{key}' is wrong: {reason}") from error
    return Config(**values)


def name_from_host(host_name: str) -> str:
    """Return a device name made of a host name: its first label, with nothing a device name may not have."""
    visible = "".join(character for character in host_name if unicodedata.category(character)[0] not in "CZ")
    return visible.partition(".")[0][:MAX_HOST_NAME] or "device"


def _read(path: Path) -> dict[str, Any]:
    try:
        # Non-blocking, so that a FIFO in its place cannot hold the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_file(path, os.fstat(descriptor))
            content = os.read(descriptor, MAX_CONFIG + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ConfigMalformed(path=path, reason="it is a symlink to a file that is not there") from error
        return {}
    except OSError as error:
        raise ConfigMalformed(path=path, reason=error.strerror or "it cannot be read") from error
    if len(content) > MAX_CONFIG:
        raise ConfigMalformed(path=path, reason=f"it is larger than {MAX_CONFIG} bytes")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigMalformed(path=path, reason=f"it is not UTF-8 (at line {line})") from error
    except (ValueError, RecursionError) as error:  # besides TOMLDecodeError: numbers and tables beyond all measure
        raise ConfigMalformed(path=path, reason=f"it is not TOML: {error}") from error


def _check_file(path: Path, status: os.stat_result) -> None:
    """Raise ConfigMalformed for what somebody else could have written: it can give any key another meaning."""
    reason = file_problem(path, status, os.geteuid(), group_may_write=True)
    if reason is not None:
        raise ConfigMalformed(path=path, reason=reason)


def _name(value: object) -> str:
    # The rule is the trust store's; importing it costs the cryptography package, which `leafsync paths` must not pay.
    from leafsync.engine.net.trust import check_device_name

    if not isinstance(value, str):
        raise ValueError("it must be a string")
    return check_device_name(value)


def _port(value: object) -> int:
    return _whole(value, 0, MAX_PORT)


def _streams(value: object) -> int:
    return _whole(value, 1, MAX_STREAMS)


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"it must be a whole number from {low} to {high}")
    return value


def _theme(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a string, like leafsync-dark or ansi-dark")
    return value


def _keymap(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("it must be a table, like [keymap]")
    # Here for the same reason: what has no keymap does not pay for it.
    from leafsync.actions import keymap_problem

    for action, keys in value.items():
        if not isinstance(keys, str):
            raise ValueError(f"'{action}' must be a string of keys, like \"f2,ctrl+s\"")
        if problem := keymap_problem(action, keys):
            raise ValueError(problem)
    return value


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not check_rate(value):
        raise ValueError("it must be a number of megabits per second above 0")
    return float(value)


def check_rate(megabits: float) -> bool:
    """Say whether a rate in megabits per second can be kept to."""
    return 0 < megabits <= MAX_RATE_MBPS
