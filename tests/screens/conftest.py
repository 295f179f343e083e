"""What tests of screens work with."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory that can be shared."""
    made = tmp_path / "shared"
    made.mkdir()
    return made
