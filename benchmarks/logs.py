"""Text logs as servers write them: made up, the same bytes for the same seed, and they compress like real ones."""

import random
from collections.abc import Iterator
from pathlib import Path

HOSTS, USERS = 400, 3000
"""Clients and users come back: what makes real logs compress."""

PATHS = (
    "/api/v2/orders/{}",
    "/api/v2/orders/{}/items",
    "/api/v2/customers/{}",
    "/search?q=part+{}&page=1",
    "/static/app.{}.js",
    "/health",
    "/",
)
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5",
    "curl/8.5.0",
)
STATUS = (200, 200, 200, 200, 200, 200, 204, 304, 404, 500)
"""As often as each is here."""

WORKERS = ("http-1", "http-2", "http-3", "queue-1", "scheduler")
EVENTS = (
    ("INFO", "request finished, {} rows in {} ms"),
    ("INFO", "cache refreshed, {} entries, {} evicted"),
    ("DEBUG", "connection {} returned to the pool after {} ms"),
    ("WARNING", "slow query, {} rows, {} ms"),
    ("ERROR", "upstream answered 502 for order {}, retry {}"),
)
START = 1_767_225_600
"""Seconds since the epoch of the first line."""

DAY = 86_400

BLOCK_LINES = 2000
"""Lines written at once."""


def write_log(path: Path, size: int, seed: int) -> None:
    """Write a log of exactly `size` bytes; the last line may be cut, as in a file that is being written."""
    lines = access_lines(seed) if seed % 2 else application_lines(seed)
    left = size
    with path.open("wb") as file:
        while left:
            block = "".join(next(lines) for _ in range(BLOCK_LINES)).encode()[:left]
            file.write(block)
            left -= len(block)


def access_lines(seed: int) -> Iterator[str]:
    """Yield lines of a web server's access log, without end."""
    generator = random.Random(seed)
    pick, below = generator.choice, generator.randrange
    hosts = [f"203.0.{below(256)}.{below(256)}" for _ in range(HOSTS)]
    now = float(START)
    while True:
        now += generator.random() / 20
        path = pick(PATHS).format(below(100_000))
        yield (
            f'{pick(hosts)} - - [{_clock(now)}] "GET {path} HTTP/1.1" {pick(STATUS)} {below(40_000)} '
            f'"-" "{pick(AGENTS)}" rt=0.{below(1000):03} id={generator.getrandbits(64):016x}\n'
        )


def application_lines(seed: int) -> Iterator[str]:
    """Yield lines of an application's log, without end."""
    generator = random.Random(seed)
    pick, below = generator.choice, generator.randrange
    now = float(START)
    while True:
        now += generator.random() / 50
        level, text = pick(EVENTS)
        event = text.format(below(10_000), below(2000))
        yield (
            f"[{_clock(now)}.{int(now * 1e6) % 1_000_000:06}] {level:<7} [{pick(WORKERS)}] "
            f"user={below(USERS)} trace={generator.getrandbits(64):016x} {event}\n"
        )


def _clock(now: float) -> str:
    days, seconds = divmod(int(now) - START, DAY)
    return f"2026-01-{1 + days % 31:02}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
