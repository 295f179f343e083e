"""The line at the top: which screen this is, which there are, and what the engine does in a few words."""

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.reactive import reactive

from leafsync.bridge import PassState, Snapshot
from leafsync.progress import Meter, cell_width, format_rate
from leafsync.text import printable
from leafsync.widgets.kept import Kept

SCREENS = (("serve", "Serve"), ("connect", "Connect"), ("trust", "Trust"), ("transfers", "Transfers"))
"""Name and title of each screen, in the order of their keys."""

NARROW = 46
"""Cells from which on all titles fit."""

WIDE = 74
"""Cells from which on the name of the program fits too."""


SEPARATOR = " · "
"""Between the parts of the state."""


class TopBar(Kept):
    """Shows the screens and the state."""

    DEFAULT_CSS: ClassVar[str] = """
    TopBar {
        dock: top;
        height: 1;
        background: $panel;
        color: $foreground;
        link-style: none;
    }
    """
    state: reactive[str] = reactive("", layout=False)

    def __init__(self, here: str, device_name: str) -> None:
        """`here` is the name of the screen it is on."""
        super().__init__()
        self._here = here
        self._device_name = printable(device_name)

    def render(self) -> Text:
        """Lay the line out for the width there is."""
        width = self.size.width
        line = Text(no_wrap=True, end="")
        if width >= WIDE:
            line.append(" LeafSync ", "bold")
        line.append(" ")
        for number, (name, title) in enumerate(SCREENS, 1):
            here = name == self._here
            label = f" {number} {title} " if width >= NARROW or here else f" {number} "
            click = Style.from_meta({"@click": f"app.show_screen('{name}')"})
            line.append(label, Style.parse("bold reverse" if here else "not bold") + click)
        room = width - line.cell_len - 1
        right = _fitting([*(self.state or "idle").split(SEPARATOR), self._device_name], room)
        line.append(" " * max(0, room - cell_width(right)) + right)
        return line


def _fitting(parts: list[str], room: int) -> str:
    """Return as many of the parts as fit: the last one, which is the device's name, goes first, then the first ones.

    None is cut: half a figure is a wrong one.
    """
    if cell_width(SEPARATOR.join(parts)) > room:
        parts = parts[:-1]
    while parts and cell_width(SEPARATOR.join(parts)) > room:
        parts = parts[1:]
    return SEPARATOR.join(parts)


def state_text(snapshot: Snapshot, meter: Meter) -> str:
    """Say in a few words what the engine does; `meter` counts the bytes on the wire."""
    parts = []
    serving = sum(not job.paused for job in snapshot.serving)
    connected = sum(job.peer is not None for job in snapshot.connecting)
    guests = sum(len(job.peers) for job in snapshot.serving)
    paused = sum(job.paused for job in snapshot.serving)
    paused += sum(job.state is PassState.PAUSED for job in snapshot.connecting)
    waiting = len(snapshot.connecting) - connected - sum(job.state is PassState.PAUSED for job in snapshot.connecting)
    if serving:
        parts.append(f"serving {serving}")
    if connected + guests:
        parts.append(f"connected {connected + guests}")
    if waiting:
        parts.append(f"connecting {waiting}")
    if paused:
        parts.append(f"paused {paused}")
    if meter.rate and meter.rate >= 1000:
        parts.append(format_rate(meter.rate))
    return SEPARATOR.join(parts)


def wire_bytes(snapshot: Snapshot) -> int:
    """Return all bytes that went over the wire in connections that are open now."""
    peers = [peer for job in snapshot.serving for peer in job.peers]
    peers += [job.peer for job in snapshot.connecting if job.peer is not None]
    return sum(peer.wire_in + peer.wire_out for peer in peers)
