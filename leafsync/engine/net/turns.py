"""How long the network's turns of the event loop are.

Long turns are cheap: fewer system calls, ACKs and wake-ups for the same bytes. But the loop is shared with the screens,
where a key takes half a dozen turns from the terminal to its frame, and each of them waits for one of the network's. So
turns are short while somebody waits for an answer.
"""

import time
from collections.abc import Callable
from typing import Final

LONG: Final = 256
"""Datagrams read in one turn: about 2 ms of work (7 us each), 5 on the stock path. The loop calls again at once if
there are more."""

SHORT: Final = 32
"""Datagrams read in one turn while somebody waits: as many as the kernel joins, and a tenth of what a frame costs."""

LONGEST_WAIT: Final = 0.05
"""Seconds until turns are long again if nobody said so: not every key has a frame."""


class Turns:
    """The length of turns now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with long ones; `clock` tells seconds."""
        self._clock = clock
        self._short_until = 0.0

    @property
    def datagrams(self) -> int:
        """Datagrams to read in this turn."""
        return SHORT if self._short_until and self._clock() < self._short_until else LONG

    def give_way(self) -> None:
        """Have short turns until `go_on`, or for `LONGEST_WAIT`."""
        self._short_until = self._clock() + LONGEST_WAIT

    def go_on(self) -> None:
        """Have long turns again."""
        self._short_until = 0.0


TURNS: Final = Turns()
"""Of this process: all its connections and screens share one loop, and one interpreter."""
