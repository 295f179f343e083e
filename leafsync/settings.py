"""What an app run is configured with, and what it remembers for the next one."""

from collections.abc import Callable
from dataclasses import dataclass, field

from leafsync.config import Config
from leafsync.ui_state import UiState


def _keep_nothing(_state: UiState) -> None:
    """Remember nothing."""


@dataclass(slots=True)
class Settings:
    """The user's defaults and the app's memory."""

    config: Config
    state: UiState = field(default_factory=UiState)
    keep: Callable[[UiState], None] = _keep_nothing
    """Told to remember the state; must not block."""

    def save(self) -> None:
        """Have the state remembered."""
        self.keep(self.state)
