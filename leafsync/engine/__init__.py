"""The sync engine: no user interface below this line.

What others use of it is named here and loaded when it is first asked for (PEP 562), so that a command which needs
only a part of it does not pay for the transport.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leafsync.engine.service import Engine as Engine, EngineConfig as EngineConfig
    from leafsync.engine.sync.jobs import Job as Job

_HOMES = {
    "Engine": "leafsync.engine.service",
    "EngineConfig": "leafsync.engine.service",
    "Job": "leafsync.engine.sync.jobs",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
