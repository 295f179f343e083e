"""What people type for numbers and paths, on the command line and in forms: one reading of it for both."""

from leafsync.config import check_rate

MAX_DIGITS = 9
"""Digits of a whole number: more than any of ours needs, and never a number that takes long to read."""


def whole(text: str, low: int, high: int) -> int | None:
    """Return the whole number that was typed, None if it is none from `low` to `high`."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        return None
    return int(text) if low <= int(text) <= high else None


def rate(text: str) -> float | None:
    """Return the rate in megabits per second that was typed, None if it cannot be kept to."""
    try:
        megabits = float(text)
    except ValueError:
        return None
    return megabits if check_rate(megabits) else None


def inner_path(text: str) -> str:
    """Return the path inside the folder that was typed, as the engine has it; "" for the folder itself."""
    return text.removeprefix("./").rstrip("/")
