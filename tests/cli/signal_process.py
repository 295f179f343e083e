"""A real `leafsync serve` on a fake engine, for the signal tests: run as a program.

Arguments: `stop`, `hang` or `hang-shortly` (what the job's stop does; the last with a short deadline) or
`ignore-hangup`, then the command line. Says on stderr when the job is told to stop, and when SIGHUP is ignored.
"""

import signal
import sys

from leafsync import cli, run as job
from leafsync.engine.core.events import ServeStarted
from leafsync.engine.core.status import PassSummary
from tests.cli.fake_engine import Script, for_ever


def say_stopped() -> None:
    sys.stderr.write("job stopping\n")
    sys.stderr.flush()


async def work() -> PassSummary | None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        sys.stderr.write("hangup is ignored\n")
    return await for_ever()


def run() -> int:
    behaviour, *arguments = sys.argv[1:]
    # Whoever runs the tests may ignore them, as nohup and background jobs of a shell do.
    signal.signal(signal.SIGHUP, signal.SIG_IGN if behaviour == "ignore-hangup" else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if behaviour == "hang-shortly":
        job.STOP_DEADLINE = 0.2
    started = ServeStarted(1, "/folder", 4455, (), "ab" * 32)
    script = Script(work=work, events=[started] * 3, stop_hangs=behaviour.startswith("hang"), on_stop=say_stopped)
    code = cli.main(arguments, make_engine=script.factory())
    sys.stderr.write(f"calls: {' '.join(script.calls)}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(run())
