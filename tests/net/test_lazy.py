"""A package that is loaded on its first use."""

import sys
from pathlib import Path

import pytest

from leafsync.engine.net import UNUSED, LoadedWhenUsed

NAME = "used_later"


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedWhenUsed:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "__init__.py").write_text("answer = 42\n")
    (tmp_path / NAME / "inner.py").write_text("question = 'what?'\n")
    monkeypatch.syspath_prepend(tmp_path)
    later = LoadedWhenUsed(NAME)
    for name in (f"{NAME}.inner", NAME):
        monkeypatch.setitem(sys.modules, name, later)  # so that what the test loads is gone after it
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, NAME, later)
    return later


def test_it_is_loaded_on_its_first_use(later: LoadedWhenUsed) -> None:
    assert sys.modules[NAME] is later
    assert later.answer == 42
    assert sys.modules[NAME] is not later
    assert later.answer is vars(sys.modules[NAME])["answer"]


def test_its_parts_are_found(later: LoadedWhenUsed) -> None:
    inner = __import__(f"{NAME}.inner").inner
    assert inner.question == "what?"
    assert later.inner is inner


def test_what_it_lacks_is_missing(later: LoadedWhenUsed) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = later.nothing


def test_aioquic_finds_what_it_imports() -> None:
    from aioquic import tls

    assert vars(tls)[UNUSED].cryptography.verify_certificate_hostname
