"""Pictures of the app: what its terminal shows, as SVG that is the same on every machine and in every run.

Not textual's own export: that loads a font from the network, squeezes wide characters into one cell, and is several
times as long.
"""

import re
from collections.abc import Iterator
from html import escape, unescape
from itertools import groupby
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.color import Color, blend_rgb
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME, TerminalTheme
from textual._compositor import LayoutUpdate
from textual.app import App

CELL = 10
"""Width of a character cell in the picture's units."""

LINE = 20
"""Height of a character cell: lines of frames meet."""

FONT_SIZE = 16.6
"""Makes a character of the usual fonts for terminals one cell wide: they are 0.6 of their size."""

BASELINE = 15
"""From the top of a cell to the line that letters stand on."""

FONTS = "'Fira Code','DejaVu Sans Mono',Menlo,Consolas,monospace"
"""Whichever of these there is; nothing is loaded from anywhere."""

MARGIN = 12
"""Around the screen in a picture with a frame."""

BAR = 30
"""Height of the title bar of a frame."""

_OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" {}>'

_TEXT = re.compile(r'<text class="[^"]*" x="(\d+)" y="(\d+)"[^>]*>([^<]*)</text>')


class Run(NamedTuple):
    """Neighbouring cells of one line that look alike."""

    column: int
    row: int
    text: str
    ink: str
    ground: str
    font: str
    """More CSS: bold, italic and lines."""


def svg(app: App[Any], *, title: str = "") -> str:
    """Return a picture of what the app shows; with a title, in the frame of a window."""
    width, height = app.size
    runs = list(_runs(app, SVG_EXPORT_THEME))
    ground = _most_common(run.ground for run in runs)
    styles: dict[tuple[str, str], str] = {}
    shapes = [_ground(run.column, run.row, run.text, run.ground) for run in _merged(runs) if run.ground != ground]
    letters = [_letters(run, styles) for run in runs if run.text.strip() or run.font.count("text-decoration")]
    rules = [f".{name}{{fill:{ink}{font}}}" for (ink, font), name in styles.items()]
    picture = _frame(width * CELL, height * LINE, ground, title)
    return "\n".join(
        [
            picture[0],
            f"<style>text{{font:{FONT_SIZE}px {FONTS}}}{''.join(rules)}</style>",
            *picture[1:],
            *shapes,
            *letters,
            "</g>",
            "</svg>",
            "",
        ]
    )


def text_of(picture: str) -> list[str]:
    """Return the lines of text in a picture that `svg` made."""
    lines: dict[int, str] = {}
    for column, y, text in _TEXT.findall(picture):
        row = int(y) // LINE
        line = lines.get(row, "")
        lines[row] = line + " " * (int(column) // CELL - cell_len(line)) + unescape(text)
    return [lines.get(row, "") for row in range(max(lines, default=-1) + 1)]


def _runs(app: App[Any], theme: TerminalTheme) -> Iterator[Run]:
    """Yield what each line shows, from left to right."""
    # What textual's own export does: the screens below a modal are seen through it.
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    assert isinstance(update, LayoutUpdate)
    for row, strips in enumerate(update.strips):
        column = 0
        looks = [(segment.text, _look(segment.style or Style(), theme)) for strip in strips for segment in strip]
        for (ink, ground, font), parts in groupby(looks, key=lambda part: part[1]):
            text = "".join(part[0] for part in parts)
            yield Run(column, row, text, ink, ground, font)
            column += cell_len(text)


def _look(style: Style, theme: TerminalTheme) -> tuple[str, str, str]:
    """Return the colour of the ink and the ground, and what is special about the letters."""
    ink = _colour(style.color, theme, foreground=True)
    ground = _colour(style.bgcolor, theme, foreground=False)
    if style.reverse:
        ink, ground = ground, ink
    if style.dim:
        ink = blend_rgb(ink, ground, 0.4)
    font = ";font-weight:bold" if style.bold else ""
    font += ";font-style:italic" if style.italic else ""
    font += ";text-decoration:underline" if style.underline else ""
    font += ";text-decoration:line-through" if style.strike else ""
    return ink.hex, ground.hex, font


def _colour(colour: Color | None, theme: TerminalTheme, *, foreground: bool) -> Any:
    if colour is None or colour.is_default:
        return theme.foreground_color if foreground else theme.background_color
    return colour.get_truecolor(theme, foreground=foreground)


def _merged(runs: list[Run]) -> Iterator[Run]:
    """Yield the runs with those of one ground joined."""
    for (_row, _ground), group in groupby(runs, key=lambda run: (run.row, run.ground)):
        parts = list(group)
        yield parts[0]._replace(text="".join(run.text for run in parts))


def _most_common(grounds: Iterator[str]) -> str:
    counts: dict[str, int] = {}
    for ground in grounds:
        counts[ground] = counts.get(ground, 0) + 1
    return max(counts, key=lambda ground: counts[ground], default="#000000")


def _ground(column: int, row: int, text: str, colour: str) -> str:
    width = cell_len(text) * CELL
    return f'<rect x="{column * CELL}" y="{row * LINE}" width="{width}" height="{LINE}" fill="{colour}"/>'


def _letters(run: Run, styles: dict[tuple[str, str], str]) -> str:
    name = styles.setdefault((run.ink, run.font), f"s{len(styles)}")
    text = run.text if "text-decoration" in run.font else run.text.strip(" ")
    column = run.column + (0 if text is run.text else len(run.text) - len(run.text.lstrip(" ")))
    width = cell_len(text) * CELL
    y = run.row * LINE + BASELINE
    return f'<text class="{name}" x="{column * CELL}" y="{y}" textLength="{width}">{escape(text, quote=False)}</text>'


def _frame(width: int, height: int, ground: str, title: str) -> list[str]:
    """Return what comes before the style sheet and before the shapes, with a window around the screen or without."""
    if not title:
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        return [
            _OPEN.format(size),
            f'<rect width="100%" height="100%" fill="{ground}"/>',
            "<g>",
        ]
    full = (width + 2 * MARGIN, height + BAR + MARGIN)
    size = f'width="{full[0]}" height="{full[1]}" viewBox="0 0 {full[0]} {full[1]}"'
    dots = "".join(
        f'<circle cx="{20 + 20 * at}" cy="{BAR // 2}" r="6" fill="{colour}"/>'
        for at, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return [
        _OPEN.format(size),
        f'<rect x=".5" y=".5" width="{full[0] - 1}" height="{full[1] - 1}" rx="9" fill="{ground}" stroke="#6b757c"/>',
        f'{dots}<text x="{full[0] // 2}" y="{BAR // 2 + 5}" text-anchor="middle" fill="#8b959c">{escape(title)}</text>',
        f'<g transform="translate({MARGIN} {BAR})">',
    ]
