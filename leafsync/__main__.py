"""`python -m leafsync` is `leafsync`."""

from leafsync.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
