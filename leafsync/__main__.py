"""The process that `leafsync` and `python -m leafsync` are.

Python looks for garbage again and again while code is loaded, and once more in all there is when a process ends. There
is none to be found; for a short command both together take as long as a sixth of its work.
"""

import gc
import os
import sys

INTERRUPTED = 130
"""As `ExitCode` has it, which may not be loaded yet."""


def main() -> int:
    """Run the command line without garbage collections until a job has begun (`run.collect_from_now_on`)."""
    gc.disable()
    try:
        _take_names_for_utf8()
        from leafsync import cli

        return cli.main()
    except KeyboardInterrupt:  # nothing has begun that would have to end, and nobody wants to read where that was
        return INTERRUPTED
    finally:
        gc.freeze()


def _take_names_for_utf8() -> None:
    """Begin anew where the locale has Python take names of files for text in another encoding than UTF-8: they would
    travel spelled otherwise, or could not be opened. What is written stays in the encoding of the terminal.
    """
    if sys.getfilesystemencoding() == "utf-8" or "utf8" in sys._xoptions or not sys.executable:
        return
    if sys.stderr is not None:
        os.environ.setdefault("PYTHONIOENCODING", sys.stderr.encoding)
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


if __name__ == "__main__":
    raise SystemExit(main())
