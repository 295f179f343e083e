"""The network: who devices are, who is trusted, and QUIC between them."""

import sys
from importlib import import_module
from types import ModuleType

UNUSED = "service_identity"
"""What aioquic compares certificates with host names by. Ours are pinned by their key and never get there, and it takes
longer to load than aioquic's TLS."""


class LoadedWhenUsed(ModuleType):
    """Stands for a package until something of it is used."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


sys.modules.setdefault(UNUSED, LoadedWhenUsed(UNUSED))
