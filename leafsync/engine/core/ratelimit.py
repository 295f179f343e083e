"""A token bucket with injected time (seconds), for `--rate-mbps`."""

from math import inf

BURST_SECONDS = 0.05
"""How much of the rate may be used at once: long enough to hide timer granularity, short enough to be true to it."""


def bytes_per_second(megabits: float) -> float:
    """Turn the unit of `--rate-mbps` (10^6 bits per second) into bytes per second."""
    return megabits * 1_000_000 / 8


class TokenBucket:
    """Says how long to wait so that the average stays at `rate` bytes per second.

    Spending may go into debt (a datagram cannot be halved); the debt is paid by a longer wait.
    """

    def __init__(self, rate: float, now: float) -> None:
        """Start full. `rate` is in bytes per second, `now` in seconds.

        Raises ValueError for a rate that is not positive and finite.
        """
        if not 0 < rate < inf:
            raise ValueError("the rate must be positive and finite")
        self.rate = rate
        self.capacity = rate * BURST_SECONDS
        self._tokens = self.capacity
        self._updated = now

    def spend(self, amount: int, now: float) -> float:
        """Take `amount` bytes and return the seconds to wait before the next spending."""
        elapsed = max(0.0, now - self._updated)
        self._updated += elapsed
        self._tokens = min(self.capacity, self._tokens + elapsed * self.rate) - amount
        return max(0.0, -self._tokens / self.rate)
