"""The tree of the picker: directories that are read when they are opened, and say why when they cannot be."""

import asyncio
import os
from functools import partial
from pathlib import PurePosixPath
from typing import ClassVar

import msgspec
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from leafsync.progress import format_count, truncate_middle
from leafsync.text import printable
from leafsync.widgets.listing import MAX_READ, Found, Listing, Wanted, in_thread, list_directory, reason_of

ADDED_AT_ONCE = 250
"""Entries added to the tree in one turn of the loop: a few milliseconds of work."""

LEAST_NAME = 12
"""Cells of the path at the top that are shown however narrow it is."""

NAME_STYLES = ("folder-tree--file", "folder-tree--hidden", "folder-tree--note", "folder-tree--reason")


class Spot(msgspec.Struct):
    """What a line of the tree stands for."""

    path: str
    """Absolute. Of a note: the directory it is about."""
    kind: str = "directory"
    """`directory`, `file`, `note` or `reason`."""
    reading: bool = False
    read: bool = False


Node = TreeNode[Spot]


class FolderTree(Tree[Spot]):
    """Shows what is below one directory. Left and right close and open, space does both."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "open", "Open", show=False),
        Binding("left", "shut", "Close, or go to the directory it is in", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = set(NAME_STYLES)
    DEFAULT_CSS: ClassVar[str] = """
    FolderTree {
        background: transparent;
        scrollbar-size-vertical: 1;

        & > .folder-tree--hidden { text-style: dim; }
        & > .folder-tree--note { text-style: dim italic; }
        & > .folder-tree--reason { color: $error; }
        &:focus { background-tint: $foreground 0%; }
    }
    """

    def __init__(self, wanted: Wanted) -> None:
        """Show what is `wanted` of each directory."""
        super().__init__(Text(), Spot("/"))
        self.guide_depth = 3
        self.wanted = wanted
        self._aim = ""
        """The path that the cursor goes to when its directories have been read."""
        self._opened: set[str] = set()
        """Paths of directories that are open."""
        self._shown = 0
        """Rises when everything is read anew, so that what was asked for before is dropped."""

    def show_path(self, top: str, aim: str = "") -> None:
        """Show the directory at `top`, and put the cursor on what is at `aim` below it as soon as that is known."""
        self._shown += 1
        self._aim = aim
        self._opened |= {top, *_between(top, aim)}
        self.reset(Text(printable(top)), Spot(top))
        self.cursor_line = 0
        self.scroll_to(0, 0, animate=False)
        self.root.expand()

    @property
    def top(self) -> str:
        """The path of the directory that is shown."""
        return _spot(self.root).path

    @property
    def marked(self) -> Spot:
        """What the cursor is on; of a note, the directory it is about."""
        node = self.cursor_node or self.root
        spot = _spot(node)
        return _spot(node.parent) if spot.kind in ("note", "reason") and node.parent is not None else spot

    # Reading

    @on(Tree.NodeExpanded)
    def _begin_reading(self, event: Tree.NodeExpanded[Spot]) -> None:
        spot = _spot(event.node)
        self._opened.add(spot.path)
        if not spot.read and not spot.reading:
            self._read(event.node, self._shown)

    @on(Tree.NodeCollapsed)
    def _note_closed(self, event: Tree.NodeCollapsed[Spot]) -> None:
        self._opened.discard(_spot(event.node).path)

    @work(exit_on_error=False, group="read")
    async def _read(self, node: Node, shown: int) -> None:
        spot = _spot(node)
        spot.reading = True
        name = node.label
        node.set_label(Text.assemble(name, "  reading..."))
        steps = _between(spot.path, self._aim)
        wanted = msgspec.structs.replace(self.wanted, also=os.fspath(PurePosixPath(steps[0]).name) if steps else "")
        try:
            listing = await in_thread(partial(list_directory, spot.path, wanted))
        except TimeoutError as error:
            listing = Listing(reason=reason_of(error))
        spot.reading = False
        if shown != self._shown:
            return
        spot.read = not listing.reason
        node.set_label(name)
        node.remove_children()
        await self._add(node, listing, shown)

    async def _add(self, node: Node, listing: Listing, shown: int) -> None:
        """Add what was found, a few entries at a time; go on to where the cursor should be."""
        directory = _spot(node).path
        step = next(iter(_between(directory, self._aim)), "")
        for at, found in enumerate(listing.entries, 1):
            spot = Spot(os.path.join(directory, found.name), "directory" if found.directory else "file")  # noqa: PTH118
            child = node.add(_label(found), spot, allow_expand=found.directory)
            if spot.path == step:
                step = ""
                self._aim_at(child)
            if spot.path in self._opened and found.directory:
                child.expand()
            if at % ADDED_AT_ONCE == 0:
                await asyncio.sleep(0)
                if shown != self._shown:
                    return
        if step:
            self._aim = ""  # it is not there
        for text, kind in _notes(listing, self.wanted):
            node.add_leaf(Text(text), Spot(directory, kind))

    def _aim_at(self, node: Node) -> None:
        if self.last_line >= 0:  # asking for it lays out the lines, without which the node has none
            self.move_cursor(node)
        if _spot(node).path == self._aim:
            self._aim = ""

    # Keys

    def action_open(self) -> None:
        """Open the directory."""
        node = self.cursor_node
        if node is not None and node.allow_expand and not node.is_expanded:
            node.expand()
        else:
            self.action_cursor_down()

    def action_shut(self) -> None:
        """Close the directory, or go to the one this is in."""
        node = self.cursor_node
        if node is not None and node.allow_expand and node.is_expanded and not node.is_root:
            node.collapse()
        else:
            self.action_cursor_parent()

    # Looks

    def process_label(self, label: "str | Text") -> Text:
        """Take a label as it is: never as markup."""
        return label if isinstance(label, Text) else Text(label)

    def get_label_width(self, node: Node) -> int:
        """Return the cells of a label without rendering it: this is asked of every line at every change."""
        width = cell_len(str(node.label)) + 2
        return min(width, self._room) if node.is_root else width

    @property
    def _room(self) -> int:
        """Cells for the path at the top, which is shortened in the middle instead of being scrolled."""
        return max(self.size.width - 2, LEAST_NAME)

    def render_label(self, node: Node, base_style: Style, style: Style) -> Text:
        """Return the label of a node with the sign before it."""
        spot = _spot(node)
        name = Text.assemble(node.label)
        if node.is_root:
            name = Text(truncate_middle(name.plain, self._room - 2))
        kind = "hidden" if spot.kind == "directory" and name.plain.startswith(".") else spot.kind
        if kind != "directory":
            name.stylize(self.get_component_rich_style(f"folder-tree--{kind}", partial=True))
        name.stylize(style)
        sign = {"reason": "! ", "note": "  ", "file": "  "}.get(spot.kind)
        if sign is None:
            sign = self.ICON_NODE_EXPANDED if node.is_expanded else self.ICON_NODE
        return Text.assemble((sign, base_style + Style(meta={"toggle": node.allow_expand})), name)


def _spot(node: Node) -> Spot:
    assert node.data is not None  # noqa: S101 - every node is made with one
    return node.data


def _between(top: str, path: str) -> list[str]:
    """Return the paths that lead from `top` down to `path`, without `top`; none when it is not below it."""
    try:
        steps = PurePosixPath(path).relative_to(top).parts if path else ()
    except ValueError:
        return []
    found, at = [], top
    for step in steps:
        at = os.path.join(at, step)  # noqa: PTH118
        found.append(at)
    return found


def _label(found: Found) -> Text:
    return Text.assemble(printable(found.name), ("  link", "italic") if found.link else "")


def _notes(listing: Listing, wanted: Wanted) -> list[tuple[str, str]]:
    """Return what is said below the entries of a directory, and the kind of each line."""
    if listing.reason:
        return [(listing.reason, "reason")]
    notes = []
    if listing.cut:
        notes.append(f"and more, of over {MAX_READ:,} entries: type a path for the others")
    elif listing.left_off:
        notes.append(f"and {format_count(listing.left_off, 'more', 'more')}: type a path for the others")
    if listing.files:
        notes.append(format_count(listing.files, "file"))
    if not listing.entries and not notes:
        notes.append("nothing in it" if wanted.files else "no directories in it")
    return [(note, "note") for note in notes]
