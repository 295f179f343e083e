"""How long to wait before the next attempt (randomness is a parameter)."""

from collections.abc import Callable, Iterator


def backoff(first: float, last: float, jitter: Callable[[], float]) -> Iterator[float]:
    """Yield waiting times in seconds: `first`, then doubling up to `last`, each shortened by up to half.

    `jitter` returns a number in [0, 1). Shortening by chance keeps devices that lost the same peer at the same time
    from coming back to it all at once.
    """
    delay = first
    while True:
        yield delay * (1 - jitter() / 2)
        delay = min(last, 2 * delay)
