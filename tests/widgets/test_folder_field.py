"""A folder that is looked at on the disk while it is typed."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from leafsync import forms
from leafsync.widgets.field import Field
from leafsync.widgets.folder_field import FolderField
from tests.support.ui import screen_text

DEADLINE = 10.0
"""Seconds until a test stops waiting."""


class Form(App[None]):
    """A field for a folder, and how often it said that something is another."""

    def __init__(self, value: str = "") -> None:
        super().__init__()
        self.value = value
        self.reasons: list[str] = []

    def compose(self) -> ComposeResult:
        yield FolderField(value=self.value, help_text="A folder.")

    def on_field_changed(self, message: Field.Changed) -> None:
        self.reasons.append(message.field.reason)

    @property
    def field(self) -> FolderField:
        return self.query_one(FolderField)


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.01)
    await pilot.pause()


async def known(pilot: Pilot[None], field: FolderField) -> None:
    """Wait until the disk was looked at."""
    await until(pilot, lambda: not field.unknown)


async def test_a_folder_that_is_there(tmp_path: Path) -> None:
    app = Form(str(tmp_path))
    async with app.run_test(size=(60, 6)) as pilot:
        await known(pilot, app.field)
        assert app.field.usable
        assert app.field.path == str(tmp_path)
        assert "!" not in screen_text(app)


async def test_a_folder_that_was_remembered_and_is_gone() -> None:
    app = Form("/none")
    async with app.run_test(size=(60, 6)) as pilot:
        await until(pilot, lambda: "! it does not exist" in screen_text(app))
        assert not app.field.usable
        assert app.reasons[-1] == "it does not exist"


async def test_no_folder_is_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "folder_reason", lambda _text: pytest.fail("it was looked at"))
    app = Form()
    async with app.run_test(size=(60, 6)) as pilot:
        await pilot.pause()
        assert not app.field.unknown
        assert app.field.reason == "name a folder"
        assert "!" not in screen_text(app)


async def test_what_is_typed_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    app = Form()
    async with app.run_test(size=(60, 6)) as pilot:
        app.field.focus_line()
        for name, reason in (("/a", ""), ("b", "it does not exist")):
            await pilot.press(*(str(tmp_path) + name if name == "/a" else name))
            await known(pilot, app.field)
            assert app.field.reason == reason
        await pilot.press("backspace")
        await known(pilot, app.field)
        assert app.field.reason == ""
        assert "!" not in screen_text(app)


async def test_the_same_folder_is_looked_at_again_after_none() -> None:
    app = Form("/none")
    async with app.run_test(size=(60, 6)) as pilot:
        await known(pilot, app.field)
        for value, reason in (("", "name a folder"), ("/none", "it does not exist")):
            app.field.value = value
            await pilot.pause()
            await known(pilot, app.field)
            assert f"! {reason}" in screen_text(app)


async def test_a_folder_that_comes_to_be_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    app = Form(str(folder))
    async with app.run_test(size=(60, 6)) as pilot:
        await until(pilot, lambda: app.field.reason == "it does not exist")
        app.field.look_again()
        await known(pilot, app.field)
        assert not app.field.usable
        folder.mkdir()
        app.field.look_again()
        await until(pilot, lambda: app.field.usable)
        assert "!" not in screen_text(app)
        assert app.reasons[-1] == ""


async def test_a_folder_that_can_be_used_is_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Form(str(tmp_path))
    async with app.run_test(size=(60, 6)) as pilot:
        await known(pilot, app.field)
        monkeypatch.setattr(forms, "folder_reason", lambda _text: pytest.fail("it was looked at"))
        app.field.look_again()
        await pilot.pause()
        assert app.field.usable


class SlowDisk:
    """Answers when it is told to, and counts who waits."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[str] = []
        self.waiting = self.most_waiting = 0

    def reason(self, text: str) -> str:
        self.asked.append(text)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        self.go_on.wait(DEADLINE)
        self.waiting -= 1
        return f"no {text}"


async def test_a_slow_disk_is_asked_by_one_thread_and_last_for_what_stands_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = SlowDisk()
    monkeypatch.setattr(forms, "folder_reason", disk.reason)
    app = Form()
    async with app.run_test(size=(60, 6)) as pilot:
        app.field.focus_line()
        await pilot.press(*"/abc")
        await until(pilot, lambda: disk.asked)
        assert app.field.unknown
        assert app.field.usable  # the engine has the last word
        disk.go_on.set()
        await known(pilot, app.field)
        assert app.field.reason == "no /abc"
        assert disk.most_waiting == 1
        assert disk.asked[-1] == "/abc"


async def test_what_is_said_stays_until_it_is_known_better(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk()
    app = Form("/none")
    async with app.run_test(size=(60, 6)) as pilot:
        await until(pilot, lambda: "! it does not exist" in screen_text(app))
        monkeypatch.setattr(forms, "folder_reason", disk.reason)
        app.field.focus_line()
        await pilot.press("x")
        await until(pilot, lambda: disk.asked)
        assert "! it does not exist" in screen_text(app)
        disk.go_on.set()
        await known(pilot, app.field)
        assert "! no /nonex" in screen_text(app)


async def test_the_home_directory_is_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = Form("~")
    async with app.run_test(size=(60, 6)) as pilot:
        await known(pilot, app.field)
        assert app.field.usable
        assert app.field.path == str(tmp_path)
        app.field.value = "~nobody-is-called-this"
        await known(pilot, app.field)
        assert app.field.path == "~nobody-is-called-this"
        assert app.field.reason == "it does not exist"


async def test_a_dead_disk_holds_neither_the_field_nor_the_end_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def dead(_text: str) -> str:
        threads.append(threading.current_thread())
        raise TimeoutError

    monkeypatch.setattr(forms, "folder_reason", dead)
    app = Form("/mnt/dead")
    async with app.run_test(size=(60, 6)) as pilot:
        await known(pilot, app.field)
        assert app.field.reason == "it did not answer within 15 s"
    assert all(thread.daemon for thread in threads)  # the interpreter waits for all others when it ends
