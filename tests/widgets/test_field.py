"""A labelled line that says what is wrong with what is typed into it."""

import pytest
from hypothesis import given, strategies as st
from rich.text import Text
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Label

from leafsync.text import printable
from leafsync.widgets.field import HIDDEN, LABEL_WIDTH, MAX_TEXT, Field, Harmless
from tests.support.ui import screen_text


def no_x(text: str) -> str:
    """Why a text cannot be used."""
    return "it has an x" if "x" in text else "" if text else "say something"


class Form(App[None]):
    """Two fields, and what they said."""

    def __init__(self, value: str = "") -> None:
        super().__init__()
        self.value = value
        self.changes: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        yield Field("Name", id="name", value=self.value, check=no_x, placeholder="anything", help_text="A **name**.")
        yield Field("Other", id="other")

    def on_field_changed(self, message: Field.Changed) -> None:
        assert message.control is message.field
        self.changes.append((message.field.value, message.field.reason))

    @property
    def field(self) -> Field:
        return self.query_one("#name", Field)


def lines(app: Form) -> list[str]:
    return screen_text(app).split("\n")


async def type_text(pilot: Pilot[None], text: str) -> None:
    await pilot.press(*text)
    await pilot.pause()


async def test_label_and_line_stand_side_by_side() -> None:
    app = Form("abc")
    async with app.run_test(size=(40, 6)):
        assert lines(app)[0] == "Name".ljust(LABEL_WIDTH) + "abc"
        assert lines(app)[1] == "Other"
        assert (app.field.value, app.field.label, app.field.usable) == ("abc", "Name", True)


async def test_the_label_of_the_line_with_the_cursor_stands_out() -> None:
    app = Form()
    async with app.run_test(size=(40, 6)) as pilot:
        for at, key in enumerate(("", "tab", "shift+tab", "tab")):
            await pilot.press(*([key] if key else []))
            await pilot.pause()
            bold = [label.styles.text_style.bold for label in app.query(Label)]
            assert bold == ([None, True] if at % 2 else [True, None])


async def test_what_is_wrong_is_said_while_it_is_typed() -> None:
    app = Form()
    async with app.run_test(size=(40, 6)) as pilot:
        app.field.focus_line()
        await type_text(pilot, "ax")
        assert lines(app)[1] == " " * LABEL_WIDTH + "! it has an x"
        assert not app.field.usable
        await pilot.press("backspace")
        await pilot.pause()
        assert "it has an x" not in screen_text(app)
        assert app.field.reason == ""
        assert app.changes[-3:] == [("a", ""), ("ax", "it has an x"), ("a", "")]


async def test_nothing_is_held_against_a_field_nobody_came_to() -> None:
    app = Form()
    async with app.run_test(size=(40, 6)) as pilot:
        assert app.field.reason == "say something"
        assert "say something" not in screen_text(app)
        app.field.focus_line()
        await pilot.pause()
        assert "say something" not in screen_text(app)
        await pilot.press("tab")
        await pilot.pause()
        assert "! say something" in screen_text(app)


async def test_a_long_reason_is_shown_whole_on_a_narrow_screen() -> None:
    app = Form("a")
    reason = "it cannot be used because of something that takes more than one line to say"
    async with app.run_test(size=(40, 8)) as pilot:
        app.field.refuse(reason)
        await pilot.pause()
        shown = [line[LABEL_WIDTH:].strip() for line in lines(app)[1:5]]
        assert " ".join(shown).strip().startswith(f"! {reason}")


async def test_what_a_longer_check_found_holds_until_the_value_changes() -> None:
    app = Form("a")
    async with app.run_test(size=(40, 6)) as pilot:
        app.field.refuse("taken")
        await pilot.pause()
        assert "! taken" in screen_text(app)
        assert not app.field.usable
        app.field.focus_line()
        await type_text(pilot, "b")
        assert "taken" not in screen_text(app)
        assert app.field.reason == ""


async def test_what_went_wrong_can_be_tried_again() -> None:
    app = Form("a")
    async with app.run_test(size=(40, 6)) as pilot:
        app.field.complain("that did not work")
        await pilot.pause()
        assert "! that did not work" in screen_text(app)
        assert app.field.usable
        app.field.focus_line()
        await type_text(pilot, "x")
        assert "that did not work" not in screen_text(app)
        assert "! it has an x" in screen_text(app)
        await pilot.press("backspace")
        await pilot.pause()
        assert "!" not in screen_text(app)


async def test_a_value_that_is_set_is_checked_too() -> None:
    app = Form()
    async with app.run_test(size=(40, 6)) as pilot:
        app.field.value = "six"
        await pilot.pause()
        assert app.field.reason == "it has an x"
        assert app.field.line.cursor_position == 3
        assert app.changes[-1] == ("six", "it has an x")


async def test_what_was_chosen_elsewhere_is_taken() -> None:
    app = Form("before")
    async with app.run_test(size=(40, 6)) as pilot:
        app.field.take(None)
        await pilot.pause()
        assert app.field.value == "before"
        assert app.focused is app.field.line
        app.field.take("after")
        await pilot.pause()
        assert app.field.value == "after"


async def test_reasons_are_no_markup() -> None:
    app = Form("a")
    async with app.run_test(size=(60, 6)) as pilot:
        app.field.refuse("[red]it has [/x]")
        await pilot.pause()
        assert "! [red]it has [/x]" in screen_text(app)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/a\x1b[31mb", f"/a{HIDDEN}[31mb"),
        ("/a\u202eb", f"/a{HIDDEN}b"),
        ("/a\udcffb", f"/a{HIDDEN}b"),
        ("/[b]a[/b]\\", "/[b]a[/b]\\"),
        ("/日本é", "/日本é"),
    ],
)
async def test_what_could_harm_the_terminal_is_not_shown(value: str, shown: str) -> None:
    app = Form(value)
    async with app.run_test(size=(40, 6)) as pilot:
        app.field.focus_line()
        await pilot.pause()
        assert lines(app)[0] == "Name".ljust(LABEL_WIDTH) + shown
        assert app.field.value == value


@given(st.text())
def test_every_character_stands_for_one(text: str) -> None:
    shown = Harmless()(Text(text))
    assert len(shown.plain) <= len(text)  # rich drops some control characters before we see them
    safe = shown.plain.replace("\\", "")
    assert printable(safe) == safe


async def test_no_paste_fills_the_memory() -> None:
    app = Form()
    async with app.run_test(size=(40, 6)):
        line = app.field.query_one(Input)
        line.insert_text_at_cursor("a" * (MAX_TEXT + 10))
        assert len(app.field.value) <= MAX_TEXT


async def test_help_is_about_the_field() -> None:
    app = Form()
    async with app.run_test(size=(40, 6)):
        assert app.field.HELP == "## Name\nA **name**."
        assert app.query_one("#other", Field).HELP is None


async def test_before_it_is_there_it_has_its_first_value() -> None:
    assert Field("Name", id="name", value="abc").value == "abc"
