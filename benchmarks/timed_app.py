"""The app, with a driver that tells the terminal when a frame shows a moved cursor and when a pass has ended.

For `benchmarks.app`, which runs it on a pseudo-terminal: `python -m benchmarks.timed_app connect ADDR FOLDER`.
"""

import sys

from leafsync import tui
from leafsync.bridge import Event, PassFinished
from leafsync.cli import main
from leafsync.screens import transfers
from leafsync.terminal import PatientDriver
from leafsync.widgets.transfer_list import TransferList


class TellingList(TransferList):
    """Counts the keys that moved its cursor. Rows that come and go above move it too, and answer no key."""

    moved = 0

    def action_move(self, by: int) -> None:
        """Move the cursor, and count that."""
        before = self.model.cursor_index
        super().action_move(by)
        TellingList.moved += self.model.cursor_index != before


class TellingDriver(PatientDriver):
    """Tells of frames in a way that a terminal ignores."""

    told = 0

    def write(self, data: str) -> None:
        """Write, and tell with the first frame that is drawn after a key which key that was."""
        super().write(data)
        if self.told != TellingList.moved and not self._in_frame:
            self.told = TellingList.moved
            super().write(f"\x1b]777;{self.told}\x07")


class TellingRun(tui._AppRun):
    """Tells of passes."""

    def _event(self, event: Event) -> None:
        super()._event(event)
        if isinstance(event, PassFinished):
            print(f"\x1b]778;{event.summary.seconds:.3f}\x07", end="", flush=True, file=sys.__stderr__)


if __name__ == "__main__":
    vars(tui).update(PatientDriver=TellingDriver, _AppRun=TellingRun)
    vars(transfers).update(TransferList=TellingList)
    sys.exit(main())
