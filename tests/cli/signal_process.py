"""A real `leafsync serve` on a fake engine, for the signal tests: run as a program.

Arguments: `stop` or `hang` (what the job's stop does), then the command line. Says `stopped` on stderr when the job
is told to stop.
"""

import sys

from leafsync import cli
from leafsync.engine.core.events import ServeStarted
from tests.cli.fake_engine import Script, for_ever


def say_stopped() -> None:
    sys.stderr.write("job stopping\n")
    sys.stderr.flush()


def run() -> int:
    behaviour, *arguments = sys.argv[1:]
    if behaviour == "hang-shortly":
        cli.STOP_DEADLINE = 0.2
    started = ServeStarted(1, "/folder", 4455, (), "ab" * 32)
    script = Script(work=for_ever, events=[started] * 3, stop_hangs=behaviour.startswith("hang"), on_stop=say_stopped)
    code = cli.main(arguments, make_engine=script.factory())
    sys.stderr.write(f"calls: {' '.join(script.calls)}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(run())
