"""The picker, used with the keyboard on a real directory."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import pytest
from textual.widgets import OptionList

from leafsync.screens import picker
from leafsync.screens.picker import PathLine, PickerModal
from leafsync.widgets import folder_tree, listing
from leafsync.widgets.folder_tree import FolderTree
from leafsync.widgets.listing import MAX_SHOWN, Listing, Stopped, Wanted
from leafsync.widgets.places import Place
from tests.support.ui import Desk, hosted, screen_text

SIZES = [(40, 12), (60, 20), (80, 24), (120, 36), (200, 60)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a few directories; places are those of this home and one drive."""
    home = tmp_path / "ada"
    for name in (
        "Documents/Letters",
        "Documents/Taxes/2025",
        "Music",
        "Pictures",
        ".cache/x",
        "Documents/.leafsync_trash",
    ):
        (home / name).mkdir(parents=True)
    for name in ("Documents/a.txt", "Documents/b.txt", "Documents/Letters/to [b]Bob[b].txt", "todo.txt"):
        (home / name).write_text("")
    monkeypatch.setenv("HOME", str(home))

    def places(_home: str, _environ: object) -> tuple[Place, ...]:
        drive = Place("Stick \x1b[31m", str(home / "Pictures"), drive=True)
        return Place("Home", str(home)), Place("Music", str(home / "Music")), drive

    monkeypatch.setattr(picker, "quick_places", places)
    return home


class Picker:
    """What a test does with the picker."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(10):
                while not condition():
                    await self.desk.pilot.pause(0.005)
        except TimeoutError:
            raise AssertionError(self.text) from None

    async def press(self, *keys: str) -> None:
        await self.desk.pilot.press(*keys)
        await self.quiet()

    async def type(self, text: str) -> None:
        names = {"/": "slash", ".": "full_stop", "~": "tilde", " ": "space", "-": "minus", "_": "underscore"}
        await self.press(*(names.get(letter, letter) for letter in text))

    async def quiet(self) -> None:
        """Wait until no thread of the picker reads and what it found is shown."""
        await self.until(lambda: not any(thread.name == "leafsync picker" for thread in threading.enumerate()))
        for _ in range(3):
            await self.desk.pilot.pause()
        await self.until(lambda: self.closed or not self.reading)

    @property
    def closed(self) -> bool:
        return not isinstance(self.desk.app.screen, PickerModal)

    @property
    def modal(self) -> PickerModal:
        assert isinstance(self.desk.app.screen, PickerModal)
        return self.desk.app.screen

    @property
    def reading(self) -> bool:
        tree = self.tree
        return any(node.data is not None and node.data.reading for node in tree._tree_nodes.values())

    @property
    def tree(self) -> FolderTree:
        return self.desk.app.screen.query_one(FolderTree)

    @property
    def line(self) -> PathLine:
        return self.desk.app.screen.query_one(PathLine)

    @property
    def text(self) -> str:
        return screen_text(self.desk.app)

    @property
    def said(self) -> str:
        return str(self.desk.app.screen.query_one(".said").render())

    @property
    def rows(self) -> list[str]:
        """The labels of the lines of the tree, in order."""
        return [str(line.node.label) for line in self.tree._tree_lines]

    @property
    def results(self) -> list[Any]:
        return self.desk.app.results


@contextlib.asynccontextmanager
async def picking(
    home: Path, start: str, *, files: bool = False, root: str = "", size: tuple[int, int] = (100, 30)
) -> AsyncIterator[Picker]:
    modal = PickerModal(start, files=files, root=root)
    async with hosted(home.parent / "engine", modal, size=size) as desk:
        used = Picker(desk)
        await used.until(lambda: used.tree.top != "/" or start == "/")
        await used.quiet()
        yield used


# Choosing a folder


async def test_the_start_is_marked_and_taken_at_once(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        assert used.rows == [str(home / "Documents"), "Letters", "Taxes", "2 files"]
        await used.press("ctrl+s")
        assert used.results == [str(home / "Documents")]


async def test_a_directory_below_is_opened_and_taken(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        await used.press("down", "down", "right")
        assert used.rows == [str(home / "Documents"), "Letters", "Taxes", "2025", "2 files"]
        await used.press("right", "ctrl+s")
        assert used.results == [str(home / "Documents/Taxes/2025")]


async def test_enter_opens_and_closes(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("down", "enter")
        assert "Letters" in used.rows
        await used.press("enter")
        assert "Letters" not in used.rows
        assert used.results == []


async def test_left_closes_and_then_goes_to_the_directory_above(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("down", "right", "down", "left")
        assert used.tree.marked.path == str(home / "Documents")
        await used.press("left")
        assert "Letters" not in used.rows
        await used.press("left")
        assert used.tree.marked.path == str(home)


async def test_backspace_shows_the_directory_above_with_the_cursor_where_one_came_from(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        await used.press("backspace")
        assert used.tree.top == str(home)
        assert used.tree.marked.path == str(home / "Documents")
        await used.press("ctrl+s")
        assert used.results == [str(home / "Documents")]


async def test_there_is_nothing_above_the_root(home: Path) -> None:
    async with picking(home, "/") as used:
        assert used.modal.check_action("up", ()) is None
        await used.press("backspace")
        assert used.tree.top == "/"


async def test_escape_chooses_nothing(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("down", "escape")
        assert used.results == [None]


async def test_a_start_that_is_gone_shows_the_nearest_and_says_so(home: Path) -> None:
    async with picking(home, str(home / "Music/gone/deep")) as used:
        assert used.tree.top == str(home / "Music")
        assert "gone/deep: it does not exist" in used.said


@pytest.mark.parametrize(("start", "shown"), [("", ""), ("~/Music", "Music"), ("Music", "Music")])
async def test_a_start_may_be_relative_to_the_home(start: str, shown: str, home: Path) -> None:
    async with picking(home, start) as used:
        assert used.tree.top == str(home / shown)


async def test_the_marked_path_is_always_said(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("down", "down")
        assert f"› {home / 'Music'}" in used.text


async def test_a_line_about_a_directory_stands_for_the_directory(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        await used.press("end", "enter", "ctrl+s")
        assert used.results == [str(home / "Documents")]


# What is not offered, and why


async def test_our_own_directories_are_never_offered(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        await used.press("ctrl+t")
        assert not [row for row in used.rows if "leafsync" in row]
        await used.press("slash")
        await used.type(".leafsync_trash")
        await used.press("ctrl+s")
        assert used.said == "× LeafSync keeps its own files there"
        assert used.results == []


async def test_hidden_entries_are_shown_on_demand_and_the_cursor_stays(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("down", "right", "down")
        assert ".cache" not in used.rows
        await used.press("ctrl+t")
        assert ".cache" in used.rows
        assert used.tree.marked.path == str(home / "Documents/Letters")
        await used.press("ctrl+t")
        assert ".cache" not in used.rows


async def test_a_directory_that_cannot_be_opened_says_why_and_may_be_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir
    refused = {str(home / "Music")}

    def scandir(path: str) -> Any:
        if path in refused:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    async with picking(home, str(home)) as used:
        await used.press("down", "down", "right")
        assert "! you may not read it" in used.text
        await used.press("ctrl+s")
        assert used.said == "× you may not read it"
        assert used.results == []
        refused.clear()
        await used.press("left", "right")
        assert "! you may not read it" not in used.text
        assert "no directories in it" in used.rows
        await used.press("ctrl+s")
        assert used.results == [str(home / "Music")]


async def test_a_disk_that_does_not_answer_is_told_and_the_rest_works(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = listing.list_directory
    music = str(home / "Music")

    def hang(path: str, wanted: Wanted, stopped: Stopped) -> Listing:
        while path == music and not stopped():
            time.sleep(0.001)
        return real(path, wanted, stopped)

    monkeypatch.setattr(folder_tree, "list_directory", hang)
    async with picking(home, str(home)) as used:
        await used.desk.pilot.press("down", "down", "right")
        await used.until(lambda: "reading..." in used.text)
        await used.desk.pilot.press("down", "right")
        await used.until(lambda: any("Pictures" in row for row in used.rows) and "no directories in it" in used.rows)
        assert "reading..." in used.text
        await used.desk.pilot.press("escape")
        await used.until(lambda: used.results == [None])


async def test_a_deadline_that_passes_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(_call: object) -> Listing:
        raise TimeoutError

    async with picking(home, str(home)) as used:
        monkeypatch.setattr(folder_tree, "in_thread", late)
        await used.press("down", "right")
        assert "! it did not answer within 15 s" in used.text
        monkeypatch.setattr(picker, "in_thread", late)
        await used.press("ctrl+s")
        assert used.said == "× it did not answer within 15 s"
        await used.press("slash", "x", "tab")
        assert used.said == "× it did not answer within 15 s"


class Entries:
    """A directory with very many entries, and no disk."""

    def __init__(self, count: int) -> None:
        self._names = iter([f"entry {at:06}" for at in range(count)])
        self.name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        pass

    def __iter__(self) -> "Entries":
        return self

    def __next__(self) -> "Entries":
        entry = Entries(0)
        entry.name = next(self._names)
        return entry

    def is_symlink(self) -> bool:
        return False

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return not follow_symlinks or bool(self.name)


async def test_a_huge_directory_shows_its_first_entries(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Entries(200_000) if path == str(home / "Music") else real(path))
    async with picking(home, str(home)) as used:
        await used.press("down", "down", "right")
        rows = used.rows
        assert sum(row.startswith("entry ") for row in rows) == MAX_SHOWN
        assert "entry 000000" in rows
        assert "and more, of over 100,000 entries: type a path for the others" in rows


async def test_what_is_left_off_is_counted_and_reached_by_typing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_SHOWN", 2)
    async with picking(home, str(home)) as used:
        assert used.rows[1:] == ["Documents", "Music", "and 1 more: type a path for the others", "1 file"]
        await used.press("slash")
        await used.type("Pic")
        await used.press("tab", "ctrl+s")
        assert used.results == [str(home / "Pictures")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[bold]b[/bold]".replace("/", ""), "[bold]b[bold]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("写真 e\u0301", "写真 e\u0301"),
        ("two\nlines", "two\\x0alines"),
        ("back\\slash", "back\\\\slash"),
        (os.fsdecode(b"\xff\xfe"), "\\udcff\\udcfe"),
    ],
)
async def test_hostile_names_are_escaped_and_taken_as_they_are(name: str, shown: str, home: Path) -> None:
    (home / "Music" / name / "inner").mkdir(parents=True)
    async with picking(home, str(home / "Music")) as used:
        assert shown in used.text
        await used.press("down", "right")
        assert "inner" in used.rows
        await used.press("ctrl+s")
        assert used.results == [str(home / "Music" / name)]


# Places


async def test_places_are_one_key_away(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        assert "Stick \\x1b[31m" in used.text
        await used.press("shift+tab", "down", "down", "enter")
        assert used.tree.top == str(home / "Music")
        assert isinstance(used.desk.app.focused, FolderTree)
        await used.press("shift+tab", "end", "enter", "ctrl+s")
        assert used.results == [str(home / "Pictures")]


async def test_a_place_that_is_gone_says_so(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        (home / "Music").rmdir()
        await used.press("shift+tab", "down", "down", "enter")
        assert "! it does not exist" in used.text


@pytest.mark.parametrize(("width", "beside"), [(60, False), (71, False), (72, True), (120, True)])
async def test_places_collapse_on_a_narrow_screen(width: int, beside: bool, home: Path) -> None:
    async with picking(home, str(home), size=(width, 24)) as used:
        assert used.desk.app.screen.query_one(OptionList).display is beside
        await used.press("shift+tab")
        assert isinstance(used.desk.app.focused, OptionList) is beside


async def test_places_that_cannot_be_found_in_time_are_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_home: str, _environ: object) -> tuple[Place, ...]:
        raise TimeoutError

    monkeypatch.setattr(picker, "quick_places", fail)
    async with picking(home, str(home)) as used:
        assert not used.desk.app.screen.query_one(OptionList).display
        await used.press("ctrl+s")
        assert used.results == [str(home)]


# Typing a path


async def test_slash_begins_below_what_is_marked(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("down", "slash")
        assert used.line.value == f"{home}/Documents/"
        await used.type("Let")
        await used.press("tab")
        assert used.line.value == f"{home}/Documents/Letters/"
        await used.press("enter")
        assert used.tree.top == str(home / "Documents/Letters")
        assert isinstance(used.desk.app.focused, FolderTree)


async def test_choices_are_listed_below(home: Path) -> None:
    (home / "Music 2").mkdir()
    async with picking(home, str(home)) as used:
        await used.press("slash", "M", "tab")
        assert used.line.value == f"{home}/Music"
        assert used.said.split("  ") == ["Music", "Music 2"]
        await used.press("x", "tab")
        assert used.said == "× nothing there begins like that"
        assert used.line.value == f"{home}/Musicx"


async def test_a_typed_path_that_cannot_be_shown_says_why(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("slash")
        await used.type("nothing")
        await used.press("enter")
        assert used.said == "× it does not exist"
        assert used.tree.top == str(home)
        await used.press("backspace")
        assert used.said == ""
        await used.press("ctrl+u")
        await used.type("todo.txt")
        await used.press("ctrl+s")
        assert used.said == "× it is not a directory"
        assert used.results == []


async def test_home_and_relative_paths_are_understood(home: Path) -> None:
    async with picking(home, str(home / "Documents")) as used:
        await used.press("slash", "ctrl+u")
        await used.type("~/Music")
        await used.press("enter")
        assert used.tree.top == str(home / "Music")
        await used.press("slash", "ctrl+u")
        await used.type("../Documents/Taxes")
        await used.press("ctrl+s")
        assert used.results == [str(home / "Documents/Taxes")]


async def test_an_empty_line_goes_back_to_the_tree(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.press("slash", "ctrl+u", "enter")
        assert isinstance(used.desk.app.focused, FolderTree)
        await used.press("slash", "ctrl+u", "tab")
        assert not used.line.has_focus
        assert used.results == []


async def test_a_path_that_would_have_to_be_escaped_is_not_put_into_the_line(home: Path) -> None:
    (home / "Music/\x1b[31m").mkdir()
    async with picking(home, str(home / "Music")) as used:
        await used.press("down", "slash")
        assert used.line.value == ""
        used.line.insert_text_at_cursor("\x1b[2J")
        assert used.line.value == ""


async def test_a_completion_that_comes_late_changes_nothing(home: Path) -> None:
    async with picking(home, str(home)) as used:
        await used.desk.pilot.press("slash", "M", "tab", "x")
        await used.quiet()
        assert used.line.value.endswith(("Mx", "Music/x"))


# Choosing something in a folder


async def test_a_file_is_chosen_relative_to_the_folder(home: Path) -> None:
    async with picking(home, "", files=True, root=str(home / "Documents")) as used:
        assert used.rows[1:] == ["Letters", "Taxes", "a.txt", "b.txt"]
        await used.press("down", "right", "down", "enter")
        assert used.results == ["Letters/to [b]Bob[b].txt"]


async def test_a_directory_is_chosen_relative_to_the_folder(home: Path) -> None:
    async with picking(home, "", files=True, root=str(home / "Documents")) as used:
        await used.press("down", "down", "right", "down", "ctrl+s")
        assert used.results == ["Taxes/2025"]


@pytest.mark.parametrize("absolute", [False, True])
async def test_the_start_is_shown_and_marked_deep_in_the_folder(absolute: bool, home: Path) -> None:
    start = "Documents/Taxes/2025"
    async with picking(home, str(home / start) if absolute else start, files=True, root=str(home)) as used:
        await used.until(lambda: used.tree.marked.path == str(home / start))
        assert used.tree.top == str(home)
        await used.press("ctrl+s")
        assert used.results == [start]


async def test_a_start_that_is_hidden_is_shown_all_the_same(home: Path) -> None:
    async with picking(home, ".cache/x", files=True, root=str(home)) as used:
        await used.until(lambda: used.tree.marked.path == str(home / ".cache/x"))


async def test_a_start_that_is_gone_leaves_the_cursor_as_deep_as_there_is_something(home: Path) -> None:
    async with picking(home, "Documents/Taxes/1999/x", files=True, root=str(home)) as used:
        await used.until(lambda: used.tree.marked.path == str(home / "Documents/Taxes"))
        await used.press("up", "left", "right")
        assert used.tree.marked.path != str(home / "Documents/Taxes/1999")


async def test_the_folder_itself_cannot_be_chosen_in_itself(home: Path) -> None:
    async with picking(home, "", files=True, root=str(home)) as used:
        assert "› the folder itself" in used.text
        await used.press("ctrl+s")
        assert used.said == "× that is the folder itself: mark something in it"
        assert used.results == []


async def test_one_cannot_leave_the_folder(home: Path) -> None:
    async with picking(home, "", files=True, root=str(home / "Documents")) as used:
        assert used.modal.check_action("up", ()) is None
        await used.press("backspace")
        assert used.tree.top == str(home / "Documents")
        await used.press("slash", "ctrl+u")
        await used.type("../Music")
        await used.press("enter")
        assert used.said == "× that is outside of the folder"
        await used.press("ctrl+s")
        assert used.results == []


async def test_a_link_is_shown_as_one_and_not_followed_in_a_folder(home: Path) -> None:
    (home / "Documents/away").symlink_to(home / "Music")
    async with picking(home, "", files=True, root=str(home / "Documents")) as used:
        row = next(row for row in used.rows if row.startswith("away"))
        assert row == "away  link"
        await used.press("slash")
        await used.type("away")
        await used.press("enter")
        assert used.tree.marked.path == str(home / "Documents/away")
        assert used.tree.cursor_node is not None
        assert not used.tree.cursor_node.allow_expand
        await used.press("ctrl+s")
        assert used.results == ["away"]


async def test_a_link_to_a_directory_may_be_the_folder(home: Path) -> None:
    (home / "Pictures/linked").symlink_to(home / "Documents")
    async with picking(home, str(home / "Pictures")) as used:
        await used.press("down", "right")
        assert "Letters" in used.rows
        await used.press("ctrl+s")
        assert used.results == [str(home / "Pictures/linked")]


async def test_an_entry_that_cannot_travel_says_why(home: Path) -> None:
    (home / "Music/\x1b[31m").mkdir()
    async with picking(home, "", files=True, root=str(home / "Music")) as used:
        await used.press("down", "ctrl+s")
        assert used.said == "× the name contains control characters"
        assert used.results == []


async def test_typing_goes_to_what_is_in_the_folder(home: Path) -> None:
    async with picking(home, "", files=True, root=str(home)) as used:
        await used.press("slash")
        await used.type("Documents/a.t")
        await used.press("tab")
        assert used.line.value == "Documents/a.txt"
        await used.press("enter")
        await used.until(lambda: used.tree.marked.path == str(home / "Documents/a.txt"))
        assert used.tree.top == str(home)
        await used.press("enter")
        assert used.results == ["Documents/a.txt"]


async def test_there_are_no_places_in_a_folder(home: Path) -> None:
    async with picking(home, "", files=True, root=str(home)) as used:
        assert not used.desk.app.screen.query_one(OptionList).display


# Looks


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_it_fits_every_screen(size: tuple[int, int], files: bool, home: Path) -> None:
    async with picking(home, "" if files else str(home), files=files, root=str(home), size=size) as used:
        await used.press("down", "right")
        text = used.text
        for part in ("Choose a f", "type a path", "Documents", "Letters", "›", "Select"):
            assert part in text
        assert all(len(line) <= size[0] for line in text.splitlines())
        await used.press("ctrl+s")
        assert used.results == ["Documents" if files else str(home / "Documents")]


async def test_a_long_path_is_shortened_in_the_middle(home: Path) -> None:
    deep = home / "Music" / ("deep" * 30) / "end of it"
    deep.mkdir(parents=True)
    async with picking(home, str(deep), size=(60, 20)) as used:
        marked = next(line for line in used.text.splitlines() if "›" in line)
        assert "…" in marked
        assert "end of it" in marked
        await used.desk.pilot.resize_terminal(200, 40)
        await used.quiet()
        assert f"› {str(deep)[:40]}" in used.text
