"""The picker: choosing a folder, or something in a folder, in a tree or by typing its path."""

import os
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, OptionList, Static, Tree
from textual.widgets.option_list import Option

from leafsync.actions import bind
from leafsync.progress import truncate_middle
from leafsync.screens.base import Modal
from leafsync.screens.confirm import MAX_TYPED
from leafsync.text import printable
from leafsync.widgets.folder_tree import FolderTree, Spot
from leafsync.widgets.key_line import KeyLine
from leafsync.widgets.listing import Stopped, Wanted, folder_problem, in_thread, reason_of
from leafsync.widgets.places import Place, quick_places
from leafsync.widgets.typed_path import (
    ITSELF,
    TYPED,
    Completion,
    absolute,
    complete,
    entry_problem,
    is_typable,
)

PLACES_FROM: list[tuple[int, str]] | None = [(0, "-narrow"), (72, "-wide")]
"""Columns from which on the places have room beside the tree."""

AIR_FROM: list[tuple[int, str]] | None = [(0, "-low"), (24, "-high")]
"""Rows from which on there is room for air."""

MAX_CHOICES = 200
"""Characters of the names that a completion lists."""


class PathLine(Input):
    """Where a path is typed: tab completes it, and goes on when there is nothing to complete."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", "Complete", show=False)]

    class Complete(Message):
        """Somebody wants the path completed."""

    def action_complete(self) -> None:
        """Ask for a completion."""
        if self.value:
            self.post_message(self.Complete())
        else:
            self.screen.focus_next()


class PickerModal(Modal[str]):
    """Chooses an absolute path of a directory, or with `files` the path of something relative to the folder `root`."""

    HELP: ClassVar[str | None] = """## Choose
**Up** and **down** move, **right** and **enter** open a directory, **left** closes it, **backspace** goes to the one
above. **ctrl+s** takes what is marked, **ctrl+t** shows hidden entries too. **Tab** goes to the places and drives.

**/** types a path: `~` is your home, **tab** completes, **enter** goes there, **ctrl+s** takes it at once.
"""
    AUTO_FOCUS: ClassVar[str | None] = "FolderTree"
    HORIZONTAL_BREAKPOINTS = PLACES_FROM
    VERTICAL_BREAKPOINTS = AIR_FROM
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("picker.select", "select"),
        bind("picker.up", "up"),
        bind("picker.path", "type_path"),
        bind("picker.hidden", "hidden"),
    ]
    DEFAULT_CSS: ClassVar[str] = """
    PickerModal {
        & > .window {
            width: 90%;
            max-width: 110;
            height: 90%;
            max-height: 40;
            padding: 0 1;
            background: $surface;
            border: round $primary;
        }
        .heading { padding: 0 1; text-style: bold; color: $primary; }
        PathLine { background: $panel; margin: 1 1 0 1; }
        PathLine:focus { background: $boost; }
        .said { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        .said.bad { color: $error; }
        .between { height: 1fr; }
        KeyLine { padding: 0; }
        OptionList {
            width: 24;
            height: 1fr;
            margin-right: 1;
            padding: 0 0 0 1;
            background: transparent;
            border: none;
            border-right: solid $panel;
            scrollbar-size-vertical: 1;
        }
        FolderTree { width: 1fr; padding: 0 0 0 1; }
        .taken { height: 1; padding: 0 1; text-wrap: nowrap; background: $panel; }
        &.-narrow OptionList, OptionList.none { display: none; }
        &.-narrow > .window, &.-low > .window { width: 100%; height: 100%; }
        &.-low PathLine { margin: 0 1; }
    }
    """

    def __init__(self, start: str, *, files: bool, root: str = "") -> None:
        """Begin at `start`: a path, or with `files` a path in `root`; what does not exist is looked for above."""
        super().__init__()
        self._files = files
        self._root = absolute(root, str(Path.home())) if files else ""
        self._start = absolute(start, self._root or str(Path.home()))
        self._wanted = Wanted(files=files, follow=not files)
        self._places: tuple[Place, ...] = ()

    def compose(self) -> ComposeResult:
        """Lay out the path, the places and the tree."""
        title = "Choose a file or directory" if self._files else "Choose a folder"
        with Vertical(classes="window"):
            yield Static(title, classes="heading", markup=False)
            yield PathLine(
                placeholder="/  type a path, tab completes it",
                restrict=TYPED,
                max_length=MAX_TYPED,
                select_on_focus=False,
                compact=True,
            )
            yield Static(classes="said", markup=False)
            with Horizontal(classes="between"):
                yield OptionList(classes="none", markup=False)
                yield FolderTree(self._wanted)
            yield Static(classes="taken", markup=False)
            yield KeyLine()

    async def on_mount(self) -> None:
        """Begin to look at the disk."""
        if not self._files:
            self._find_places()
        self._begin()

    @work(exit_on_error=False, group="places")
    async def _find_places(self) -> None:
        try:
            self._places = await in_thread(lambda _stopped: quick_places(str(Path.home()), os.environ))
        except TimeoutError:
            return  # then there is still the tree
        options = self.query_one(OptionList)
        drive = False
        for at, place in enumerate(self._places):
            if place.drive and not drive:
                options.add_option(None)
            drive = place.drive
            options.add_option(Option(truncate_middle(printable(place.name), 20), id=str(at)))
        options.remove_class("none")

    @work(exclusive=True, exit_on_error=False, group="go")
    async def _begin(self) -> None:
        """Show the start, or the nearest directory above it that can be opened."""
        if self._files:
            self._show(self._root, self._start)
            return
        try:
            top, reason = await in_thread(partial(_nearest, self._start))
        except TimeoutError as error:
            top, reason = str(Path.home()), f"{printable(self._start)}: {reason_of(error)}"
        self._show(top)
        self._say(reason, bad=bool(reason))

    # What is shown

    @property
    def _folders(self) -> FolderTree:
        return self.query_one(FolderTree)

    def _show(self, top: str, aim: str = "") -> None:
        self._folders.show_path(top, aim)
        self._moved()

    def on_resize(self) -> None:
        """Show as much of the marked path as fits now."""
        self._moved()

    @on(Tree.NodeHighlighted)
    def _moved(self) -> None:
        """Say what would be taken."""
        shown = printable(self._result(self._marked.path) or "the folder itself")
        width = max(20, self.query_one(".taken").content_size.width - 2)
        self.query_one(".taken", Static).update(f"› {truncate_middle(shown, width)}")
        self.refresh_bindings()

    @property
    def _marked(self) -> Spot:
        return self._folders.marked

    def _result(self, path: str) -> str:
        """Return what this window gives back for an absolute path."""
        if not self._files:
            return path
        relative = os.path.relpath(path, self._root)
        return "" if relative == "." else relative

    def _say(self, text: str, *, bad: bool = False) -> None:
        said = self.query_one(".said", Static)
        said.set_class(bad, "bad")
        said.update(f"× {text}" if bad else text)

    # Going somewhere

    @on(OptionList.OptionSelected)
    def _go_to_place(self, event: OptionList.OptionSelected) -> None:
        place = self._places[int(event.option_id or 0)]
        self._show(place.path)
        self._say("")
        self._folders.focus()

    def action_up(self) -> None:
        """Show the directory above the one that is shown."""
        top = self._folders.top
        above = os.path.dirname(top)  # noqa: PTH120 - a path as text, which may have bytes that are no text
        if above != top:
            self._show(above, top)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey what leads nowhere."""
        if action == "up" and self.is_mounted:
            top = self._folders.top
            return None if top in ("/", self._root) else True
        return super().check_action(action, parameters)

    def action_hidden(self) -> None:
        """Show hidden entries, or hide them again."""
        tree = self._folders
        marked = tree.marked.path
        tree.wanted = self._wanted = Wanted(self._files, not self._wanted.hidden, follow=self._wanted.follow)
        self._show(tree.top, marked)
        self._say("Hidden entries are shown." if self._wanted.hidden else "Hidden entries are not shown.")

    # Typing a path

    def action_type_path(self) -> None:
        """Begin to type below what is marked."""
        spot = self._marked
        directory = spot.path if spot.kind == "directory" else os.path.dirname(spot.path)  # noqa: PTH120
        shown = self._result(directory)
        line = self.query_one(PathLine)
        line.value = f"{shown.rstrip('/')}/" if is_typable(shown) and (shown or not self._files) else ""
        line.cursor_position = len(line.value)
        line.focus()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._say("")

    @property
    def _base(self) -> str:
        """What a typed path is relative to."""
        return self._root or self._folders.top

    @on(PathLine.Complete)
    def _wants_completion(self) -> None:
        self._complete(self.query_one(PathLine).value)

    @work(exclusive=True, exit_on_error=False, group="complete")
    async def _complete(self, typed: str) -> None:
        try:
            found = await in_thread(partial(complete, typed, self._base, self._wanted))
        except TimeoutError as error:
            found = Completion(typed, reason=reason_of(error))
        line = self.query_one(PathLine)
        if line.value != typed or not line.has_focus:
            return
        with self.prevent(Input.Changed):
            line.value = found.text
            line.cursor_position = len(found.text)
        if found.reason:
            self._say(found.reason, bad=True)
        elif found.choices:
            more = f"  and {found.left_off:,} more" if found.left_off else ""
            names = "  ".join(printable(name) for name in found.choices)
            self._say(truncate_middle(names, MAX_CHOICES) + more)
        else:
            self._say("")

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._go(absolute(event.value.strip(), self._base))
        else:
            self._folders.focus()

    @work(exclusive=True, exit_on_error=False, group="go")
    async def _go(self, path: str) -> None:
        """Show a typed path, or say why it cannot be."""
        reason = await self._problem(path, itself=True)
        if reason:
            self._say(reason, bad=True)
            return
        if self._files:
            self._show(self._root, path)
        else:
            self._show(path)
        self._folders.focus()

    # Taking

    @on(Tree.NodeSelected)
    def _chosen(self, event: Tree.NodeSelected[Spot]) -> None:
        if event.node.data is not None and event.node.data.kind == "file":
            self._take(event.node.data.path)

    def action_select(self) -> None:
        """Take the typed path while it is being typed, and else what is marked."""
        line = self.query_one(PathLine)
        typed = line.value.strip()
        self._take(absolute(typed, self._base) if line.has_focus and typed else self._marked.path)

    @work(exclusive=True, exit_on_error=False, group="go")
    async def _take(self, path: str) -> None:
        reason = await self._problem(path)
        if reason:
            self._say(reason, bad=True)
        else:
            self.dismiss(self._result(path))

    async def _problem(self, path: str, *, itself: bool = False) -> str:
        """Return why a path cannot be taken, or ""; `itself`: the folder itself can."""
        relative = self._result(path)
        check = partial(entry_problem, self._root, relative) if self._files else partial(folder_problem, path)
        try:
            reason = await in_thread(check)
        except TimeoutError as error:
            reason = reason_of(error)
        return "" if itself and reason == ITSELF else reason


def _nearest(path: str, stopped: Stopped) -> tuple[str, str]:
    """Return the nearest directory at or above `path` that can be opened, and what is wrong with `path` or ""."""
    at, said = path, ""
    while (reason := folder_problem(at, stopped)) and at != "/":
        said = said or f"{printable(path)}: {reason}"
        at = os.path.dirname(at)  # noqa: PTH120
    return at, said
