"""A window with a list: its title, what it is about, the rows, all about the row with the cursor, and the keys."""

from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from typing import ClassVar, Generic, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from leafsync.errors import LeafSyncError
from leafsync.screens.base import Modal, toast
from leafsync.widgets.key_line import KeyLine
from leafsync.widgets.line_list import LineList, Spans

R = TypeVar("R")
T = TypeVar("T")

WIDTHS: list[tuple[int, str]] | None = [(0, "-narrow"), (80, "-normal")]
"""Cells from which on the window leaves a margin."""

HEIGHTS: list[tuple[int, str]] | None = [(0, "-low"), (18, "-short"), (24, "-tall")]
"""Rows from which on there is room for details, and for air."""


class ListModal(Modal[R], Generic[R, T]):
    """A modal that reads rows, shows them, and says why when they cannot be read."""

    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS
    DEFAULT_CSS: ClassVar[str] = """
    ListModal {
        align: center middle;

        & > .window {
            width: 90%;
            max-width: 120;
            height: 90%;
            max-height: 36;
            padding: 0 1;
            background: $surface;
            border: round $primary;
        }
        &.-narrow > .window { width: 100%; height: 100%; }

        KeyLine { background: $surface; padding: 0 1; }
        LineList { scrollbar-background: $surface; }
        .title, .about { padding: 0 2; }
        .title { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        .about { height: auto; margin-bottom: 1; }
        .details { height: 4; padding: 0 2; border-top: solid $panel; color: $text-muted; }
        &.-narrow .details { height: 5; }
        &.-low .details, &.-low .about { display: none; }
        &.-tall .window { padding: 1; }
    }
    """
    READING: ClassVar[str] = "Reading..."
    """What is said until there are rows."""
    EMPTY: ClassVar[str]
    """What is said when there are none."""

    busy = False
    """Whether something is under way that another command would get in the way of."""

    def compose(self) -> ComposeResult:
        """Lay out the window."""
        with Vertical(classes="window"):
            yield Static(self.heading(), classes="title", markup=False)
            yield Static(self.about(), classes="about quiet", markup=False)
            yield LineList[T](self.draw)
            yield Static(classes="details", markup=False)
            yield from self.below()
            yield KeyLine()

    @abstractmethod
    def heading(self) -> str:
        """Return the title, escaped."""

    @abstractmethod
    def about(self) -> str:
        """Return what one sees here and can do, in a sentence or two."""

    @abstractmethod
    async def read(self) -> Sequence[T]:
        """Return the rows. Raises LeafSyncError."""

    @abstractmethod
    def draw(self, row: T, width: int) -> Spans:
        """Return the parts of a row's line, escaped."""

    @abstractmethod
    def details(self, row: T) -> str:
        """Return all there is to know of a row, escaped."""

    def below(self) -> ComposeResult:
        """Yield what goes below the list."""
        yield from ()

    def identity(self, row: T) -> object:
        """Return what makes a row the same after another reading."""
        return row

    # Rows

    @property
    def lines(self) -> LineList[T]:
        """The list."""
        return self.query_one(LineList)

    @property
    def selected(self) -> T | None:
        """The row with the cursor."""
        return self.lines.selected if self.is_mounted else None

    def on_mount(self) -> None:
        """Read for the first time."""
        self.lines.say(self.READING)
        self.reload()

    @work(exclusive=True, exit_on_error=False, group="read")
    async def reload(self) -> None:
        """Read the rows again; the cursor stays on the row it was on, or where that was."""
        before, at = self.lines.selected, self.lines.cursor
        try:
            rows = await self.read()
        except LeafSyncError as error:
            self.lines.say(str(error), "bad")
            return
        if not rows:
            self.lines.say(self.EMPTY)
            return
        if before is not None:
            wanted = self.identity(before)
            at = next((index for index, row in enumerate(rows) if self.identity(row) == wanted), at)
        self.lines.set_rows(rows, at)

    @on(LineList.Moved)
    def _moved(self) -> None:
        row = self.lines.selected
        self.query_one(".details", Static).update("" if row is None else self.details(row))
        self.refresh_bindings()

    # Commands

    def carry_out(self, work: Coroutine[None, None, None]) -> None:
        """Do something with a row; it goes on when this is closed, so that what came of it is always said."""

        async def carried_out() -> None:
            self.busy = True
            self.refresh_bindings()
            try:
                await work
            except LeafSyncError as error:
                toast(self.app, str(error), severity="error")
            finally:
                self.busy = False
                if self.is_attached:
                    self.refresh_bindings()
                    self.reload()

        self.app.run_worker(carried_out(), exit_on_error=False, group="records")
