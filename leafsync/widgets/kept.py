"""Widgets that are asked for their lines again and again, and draw them only when they look different."""

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class Kept(Widget):
    """Keeps the lines it has drawn until something about it changes, and gives them out meanwhile.

    For every frame textual asks each widget of a screen for all of its lines, whichever of them the frame is about, and
    looks at their styles again. That is a fifth of what a frame costs, and a frame costs a transfer its bytes.
    """

    _kept: tuple[Region, list[Strip]] | None = None
    """What was asked for last, and the answer."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return lines, drawn anew only if something has changed."""
        if self._kept is None or self._kept[0] != crop:
            self._kept = (crop, super().render_lines(crop))
        return self._kept[1]

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> "Kept":
        """Draw anew with the next frame."""
        self._kept = None
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def notify_style_update(self) -> None:
        """Draw anew in other colours."""
        self._kept = None
        super().notify_style_update()
