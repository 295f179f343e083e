"""The process that `leafsync` and `python -m leafsync` are.

Python looks for garbage again and again while code is loaded, and once more in all there is when a process ends. There
is none to be found; for a short command both together take as long as a sixth of its work.
"""

import gc


def main() -> int:
    """Run the command line without garbage collections until a job has begun (`run.collect_from_now_on`)."""
    gc.disable()
    from leafsync import cli

    try:
        return cli.main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    raise SystemExit(main())
