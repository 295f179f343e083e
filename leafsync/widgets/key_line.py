"""The line at the bottom: keys that do something now, each one whole, as many as there is room for."""

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from rich.style import Style
from rich.text import Text
from textual import events
from textual.screen import Screen

from leafsync.actions import ACTIONS
from leafsync.progress import cell_width
from leafsync.widgets.kept import Kept

LAST = 9
"""Rank of a key that is not one of ours."""


class Key(msgspec.Struct, frozen=True):
    """A key and what it does."""

    key: str
    """In textual's words."""
    shown: str
    label: str
    help: str
    rank: int = LAST
    """Those with a higher one are left out first; 0 never is."""
    enabled: bool = True
    """Whether it does anything now; it is greyed while it does not."""
    listed: bool = True
    """Whether it is shown where there is room for all."""

    @property
    def width(self) -> int:
        """Cells it takes, with one free cell on each side."""
        return cell_width(f" {self.shown} {self.label} ")


def fitting(keys: Iterable[Key], width: int) -> list[Key]:
    """Return the keys that fit into `width` cells, in the order they came.

    Those that do nothing now are left out first, then those of a high rank; none is shown instead of one that is wanted
    more. What leads to the rest, rank 0, is there whenever something is left out.
    """
    everything = list(keys)
    listed = [key for key in everything if key.listed]
    if sum(key.width for key in listed) <= width:
        return listed
    wanted = sorted(filter(_wanted, everything), key=_order)
    chosen, room, left_out = set[Key](), width, _order(wanted[-1])
    for key in wanted:
        if key.width > room:
            left_out = min(left_out, _order(key))
        elif _order(key) <= left_out:
            chosen.add(key)
            room -= key.width
    return [key for key in everything if key in chosen]


def _wanted(key: Key) -> bool:
    return key.listed or key.rank == 0


def _order(key: Key) -> tuple[bool, bool, int]:
    """Return what puts the most wanted key first."""
    return key.rank > 0, not key.enabled, key.rank


class KeyLine(Kept):
    """Shows the keys of its screen. One widget that draws a line: keys change with every step of the focus."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--label"}
    DEFAULT_CSS: ClassVar[str] = """
    KeyLine {
        dock: bottom;
        height: 1;
        color: $footer-foreground;
        background: $footer-background;
        text-wrap: nowrap;
        .key-line--key { color: $footer-key-foreground; background: $footer-key-background; text-style: bold; }
        .key-line--label { color: $footer-description-foreground; background: $footer-description-background; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[Key, ...] = ()

    def on_mount(self) -> None:
        """Follow what the keys of the screen do."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen.app.app_focus and screen is self.screen:  # without the focus of the terminal no key does anything
            keys = tuple(_keys_of(screen))
            if keys != self._keys:
                self._keys = keys
                self.refresh()

    def render(self) -> Text:
        """Lay the keys out for the width there is."""
        name, label = map(self.get_component_rich_style, ("key-line--key", "key-line--label"))
        line = Text(no_wrap=True, end="")
        for key in fitting(self._keys, self.content_size.width):
            meta = Style.from_meta({"key": key.key, "help": key.help, "enabled": key.enabled})
            meta += Style(dim=not key.enabled)
            line.append(f" {key.shown} ", name + meta)
            line.append(f"{key.label} ", label + meta)
        return line

    def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        key = event.style.meta.get("key")
        if key is not None and event.style.meta["enabled"]:
            self.app.simulate_key(key)
        elif key is not None:
            self.app.bell()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Have a sentence about the key under the mouse for whoever waits on it."""
        sentence = event.style.meta.get("help")
        if sentence != self.tooltip:
            self.tooltip = sentence


def _keys_of(screen: Screen[object]) -> Iterable[Key]:
    """Yield what can be pressed on a screen, one key for each thing that it does."""
    done = set()
    for _node, binding, enabled, tooltip in screen.active_bindings.values():
        action = ACTIONS.get(binding.id or "")
        leads_on = action is not None and action.rank == 0
        if binding.action not in done and (binding.show or leads_on):
            done.add(binding.action)
            yield Key(
                binding.key,
                screen.app.get_key_display(binding),
                binding.description,
                tooltip or binding.description,
                LAST if action is None else action.rank,
                enabled,
                binding.show,
            )
