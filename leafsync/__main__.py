"""The process that `leafsync` and `python -m leafsync` are.

Python looks for garbage again and again while code is loaded, and once more in all there is when a process ends. There
is none to be found; for a short command both together take as long as a sixth of its work.
"""

import gc

INTERRUPTED = 130
"""As `ExitCode` has it, which may not be loaded yet."""


def main() -> int:
    """Run the command line without garbage collections until a job has begun (`run.collect_from_now_on`)."""
    gc.disable()
    try:
        from leafsync import cli

        return cli.main()
    except KeyboardInterrupt:  # nothing has begun that would have to end, and nobody wants to read where that was
        return INTERRUPTED
    finally:
        gc.freeze()


if __name__ == "__main__":
    raise SystemExit(main())
