"""What came of taking something back."""

from pathlib import Path

import pytest

from leafsync.bridge import Undone
from leafsync.errors import EntryNewer, EntryNotKept
from leafsync.screens.outcome import OutcomeModal, tell_outcome
from tests.support.looking import SIZES, says, shows, toasted, toasts, until
from tests.support.ui import hosted, screen_text

REFUSED = [
    ("a.txt", str(EntryNewer(path="a.txt"))),
    ("[b]d/\x1bb.txt", str(EntryNotKept(path="[b]d/\x1bb.txt"))),
]


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        ((), "Nothing was changed."),
        ((("a", ""),), "1 path is as before the pass."),
        ((("a", ""), ("b", "")), "2 paths are as before the pass."),
    ],
)
async def test_all_of_it_is_one_toast(tmp_path: Path, outcomes: tuple[tuple[str, str], ...], sentence: str) -> None:
    async with hosted(tmp_path / "home", OutcomeModal("", REFUSED)) as desk:
        tell_outcome(desk.app, Undone("id", outcomes))
        await toasted(desk, sentence)
        assert len(desk.app.screen_stack) == 2  # no other window


async def test_what_stays_is_listed_with_the_reason(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", OutcomeModal("", ())) as desk:
        tell_outcome(desk.app, Undone("id", (("c", ""), *REFUSED)))
        await shows(desk, "! 2 paths stay as they are")
        await says(desk, "1 path is as before the pass.")
        assert toasts(desk.app) == []
        await says(desk, "a.txt is newer than what would come back, so it was left as it is.")
        await shows(desk, r"[b]d/\x1bb.txt  is not in the trash any more, so it cannot come back.")
        assert "\x1b" not in screen_text(desk.app)
        await desk.pilot.press("down")
        await shows(desk, r"[b]d/\x1bb.txt is not in the trash any more")
        await desk.pilot.press("escape")
        await until(desk, lambda: len(desk.app.screen_stack) == 2)


async def test_nothing_came_back(tmp_path: Path) -> None:
    async with hosted(tmp_path / "home", OutcomeModal("", ())) as desk:
        tell_outcome(desk.app, Undone("id", (REFUSED[0],)))
        await shows(desk, "! 1 path stays as it is")
        await says(desk, "Nothing was changed.")


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with hosted(tmp_path / "home", OutcomeModal("1 path is as before.", REFUSED * 1000), size) as desk:
        await shows(desk, "! 2,000 paths stay")
        await shows(desk, "› a.txt")
        await desk.pilot.press("end")
        await shows(desk, "[b]")
