"""Questions and prompts, answered with the keyboard."""

from pathlib import Path

import pytest
from textual.widgets import Button, Input

from leafsync.screens.confirm import MAX_TYPED, ConfirmModal, PromptModal
from tests.support.ui import Desk, hosted, screen_text

HOSTILE = "[bold]x[/bold] [@click=app.quit]y[/] \\x1b[31m 写真 e\u0301"
"""What a title or sentence may have in it after escaping: markup, wide and combining characters."""

SIZES = [(40, 12), (60, 20), (80, 24), (120, 36), (200, 60)]


def confirm() -> ConfirmModal:
    return ConfirmModal("Remove laptop?", "It cannot connect any more.", yes="Remove")


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["y"], True),
        (["n"], False),
        (["escape"], False),
        (["enter"], False),
        (["right", "enter"], True),
        (["tab", "enter"], True),
        (["right", "left", "enter"], False),
        (["space", "x", "y"], True),
    ],
)
async def test_a_question_is_answered(keys: list[str], answer: bool, tmp_path: Path) -> None:
    async with hosted(tmp_path, confirm()) as desk:
        await desk.pilot.pause()
        await desk.pilot.press(*keys)
        await desk.pilot.pause()
        assert desk.app.results == [answer]


async def test_the_cursor_starts_on_no(tmp_path: Path) -> None:
    async with hosted(tmp_path, confirm()) as desk:
        await desk.pilot.pause()
        assert desk.app.focused is desk.app.screen.query_one("#no")


async def test_the_button_names_what_happens(tmp_path: Path) -> None:
    modal = ConfirmModal("Quit?", "Files are on their way.", yes="Quit", no="Stay")
    async with hosted(tmp_path, modal) as desk:
        await desk.pilot.pause()
        text = screen_text(desk.app)
        assert "? Quit?" in text
        assert "n  Stay" in text
        assert "y  Quit" in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_question_fits_every_screen(size: tuple[int, int], tmp_path: Path) -> None:
    modal = ConfirmModal("Take back?", "What came goes to the trash, what went comes back. " * 4, yes="Take back")
    async with hosted(tmp_path, modal, size=size) as desk:
        await desk.pilot.pause()
        text = screen_text(desk.app)
        assert "? Take back?" in text
        assert "n  Cancel" in text
        assert "y  Take back" in text


async def test_texts_are_never_markup(tmp_path: Path) -> None:
    modal = ConfirmModal(HOSTILE, HOSTILE, yes="[b]Do[/b] it", no="[i]No[/i]")
    async with hosted(tmp_path, modal) as desk:
        await desk.pilot.pause()
        text = screen_text(desk.app)
        assert text.count(HOSTILE) == 2
        assert "y  [b]Do[/b] it" in text
        assert "n  [i]No[/i]" in text


async def test_a_second_key_does_not_close_what_lies_below(tmp_path: Path) -> None:
    async with hosted(tmp_path, confirm()) as desk:
        await desk.pilot.pause()
        modal = desk.app.screen
        assert isinstance(modal, ConfirmModal)
        below = len(desk.app.screen_stack) - 1
        modal.action_yes()
        modal.action_yes()
        modal.action_close()
        await desk.pilot.pause()
        assert desk.app.results == [True]
        assert len(desk.app.screen_stack) == below


async def test_a_modal_below_another_one_is_not_closed(tmp_path: Path) -> None:
    async with hosted(tmp_path, confirm()) as desk:
        await desk.pilot.pause()
        modal = desk.app.screen
        assert isinstance(modal, ConfirmModal)
        await desk.app.push_screen(ConfirmModal("On top", "", yes="Yes"))
        modal.dismiss(True)
        assert modal in desk.app.screen_stack
        assert desk.app.results == []


# Prompts


def name_reason(text: str) -> str:
    return "" if text.isalpha() else "a name has letters alone"


def prompt() -> PromptModal:
    return PromptModal("Rename laptop", "Another name for it.", value="laptop", validate=name_reason, yes="Rename")


def reason(desk: Desk) -> str:
    return next((line for line in screen_text(desk.app).splitlines() if "×" in line), "")


async def test_a_line_is_given_back_without_its_blanks(tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt()) as desk:
        await desk.pilot.pause()
        await desk.pilot.press("ctrl+u", "space", "d", "e", "s", "k", "space", "enter")
        await desk.pilot.pause()
        assert desk.app.results == ["desk"]


async def test_the_line_begins_with_what_there_is_and_enter_keeps_it(tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt()) as desk:
        await desk.pilot.pause()
        assert "laptop" in screen_text(desk.app)
        await desk.pilot.press("2", "backspace", "s", "enter")
        await desk.pilot.pause()
        assert desk.app.results == ["laptops"]


async def test_the_reason_is_shown_while_typing_and_enter_waits(tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt()) as desk:
        await desk.pilot.pause()
        assert not reason(desk)
        await desk.pilot.press("2")
        await desk.pilot.pause()
        assert "× a name has letters alone" in reason(desk)
        assert desk.app.screen.query_one("#take", Button).disabled
        await desk.pilot.press("enter")
        await desk.pilot.pause()
        assert desk.app.results == []
        await desk.pilot.press("backspace")
        await desk.pilot.pause()
        assert not reason(desk)
        assert not desk.app.screen.query_one("#take", Button).disabled


async def test_a_line_nobody_has_changed_is_not_blamed_before_enter(tmp_path: Path) -> None:
    async with hosted(tmp_path, PromptModal("Name", validate=name_reason)) as desk:
        await desk.pilot.pause()
        assert not reason(desk)
        await desk.pilot.press("enter")
        await desk.pilot.pause()
        assert "letters" in reason(desk)
        assert desk.app.results == []


@pytest.mark.parametrize("keys", [["escape"], ["tab", "enter"], ["tab", "right", "left", "enter"]])
async def test_nothing_is_given_back_when_it_is_closed(keys: list[str], tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt()) as desk:
        await desk.pilot.pause()
        await desk.pilot.press(*keys)
        await desk.pilot.pause()
        assert desk.app.results == [None]


async def test_the_button_takes_the_line(tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt()) as desk:
        await desk.pilot.pause()
        await desk.pilot.press("tab", "right", "enter")
        await desk.pilot.pause()
        assert desk.app.results == ["laptop"]


async def test_letters_that_answer_questions_are_letters_here(tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt()) as desk:
        await desk.pilot.pause()
        await desk.pilot.press("ctrl+u", "n", "y", "q", "enter")
        await desk.pilot.pause()
        assert desk.app.results == ["nyq"]


async def test_a_paste_with_control_characters_stays_out(tmp_path: Path) -> None:
    async with hosted(tmp_path, PromptModal("Fingerprint")) as desk:
        await desk.pilot.pause()
        line = desk.app.screen.query_one(Input)
        for text in ("\x1b]0;owned\x07", "a\u202eb", "\x9b2J", "x" * (MAX_TYPED + 1)):
            line.insert_text_at_cursor(text)
        await desk.pilot.pause()
        assert line.value == ""
        line.insert_text_at_cursor("ab写真")
        assert line.value == "ab写真"


async def test_prompts_are_never_markup(tmp_path: Path) -> None:
    modal = PromptModal(HOSTILE, HOSTILE, value="[b]x", validate=lambda _text: "[red]no[/red]")
    async with hosted(tmp_path, modal) as desk:
        await desk.pilot.pause()
        await desk.pilot.press("1")
        await desk.pilot.pause()
        text = screen_text(desk.app)
        assert text.count(HOSTILE) == 2
        assert "[b]x1" in text
        assert "× [red]no[/red]" in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_prompt_fits_every_screen(size: tuple[int, int], tmp_path: Path) -> None:
    async with hosted(tmp_path, prompt(), size=size) as desk:
        await desk.pilot.pause()
        await desk.pilot.press("2")
        await desk.pilot.pause()
        text = screen_text(desk.app)
        for part in ("Rename laptop", "laptop2", "× a name", "esc  Cancel", "enter  Rename"):
            assert part in text
