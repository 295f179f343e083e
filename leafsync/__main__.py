"""The process that `leafsync` and `python -m leafsync` are.

Python looks for garbage again and again while code is loaded, and once more in all there is when a process ends. There
is none to be found; for a short command both together take as long as a sixth of its work.
"""

import gc
import os
import sys
import threading
from typing import NoReturn


def main() -> int:
    """Run the command line without garbage collections until a job has begun (`run.collect_from_now_on`)."""
    gc.disable()
    from leafsync import cli

    try:
        return cli.main()
    finally:
        gc.freeze()


def run() -> NoReturn:
    """Be the process. It ends without taking itself apart, which takes Python 8 ms and the kernel 3: all is written and
    closed by then, and no thread is left that would be waited for."""
    code = main()
    if threading.active_count() == 1:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
