"""The app, with a driver that tells the terminal when a frame shows a moved cursor and when a pass has ended.

For `benchmarks.app`, which runs it on a pseudo-terminal: `python -m benchmarks.timed_app connect ADDR FOLDER`.
"""

import sys

from leafsync import tui
from leafsync.bridge import Event, PassFinished
from leafsync.cli import main
from leafsync.terminal import PatientDriver
from leafsync.widgets.transfer_list import TransferList


class TellingDriver(PatientDriver):
    """Tells of frames in a way that a terminal ignores."""

    shown = 0
    told = 0

    def write(self, data: str) -> None:
        """Write, and tell when the cursor is elsewhere than in the frame before."""
        super().write(data)
        app = self._app
        lists = app.screen.query(TransferList) if app.screen_stack else None
        cursor = lists.first().model.cursor_index if lists else self.shown
        if cursor != self.shown:
            self.shown = cursor
            TellingDriver.told += 1
            super().write(f"\x1b]777;{TellingDriver.told}\x07")


class TellingRun(tui._AppRun):
    """Tells of passes."""

    def _event(self, event: Event) -> None:
        super()._event(event)
        if isinstance(event, PassFinished):
            print(f"\x1b]778;{event.summary.seconds:.3f}\x07", end="", flush=True, file=sys.__stderr__)


if __name__ == "__main__":
    vars(tui).update(PatientDriver=TellingDriver, _AppRun=TellingRun)
    sys.exit(main())
