"""What an app run is configured with, and what it remembers for the next one."""

from collections.abc import Callable

import msgspec

from leafsync.config import Config
from leafsync.ui_state import UiState


def _keep_nothing(_state: UiState) -> None:
    """Remember nothing."""


class Settings(msgspec.Struct):
    """The user's defaults and the app's memory."""

    config: Config
    state: UiState = msgspec.field(default_factory=UiState)
    keep: Callable[[UiState], None] = _keep_nothing
    """Told to remember the state; must not block."""

    def save(self) -> None:
        """Have the state remembered."""
        self.keep(self.state)
