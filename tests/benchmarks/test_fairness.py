"""How two flows share: what is counted, and how it is shown."""

import asyncio
import itertools
import socket
import threading

from benchmarks.fairness import Shares, about, name_of, shares_table
from benchmarks.flows import Count, receive, send, tcp_receive, tcp_send


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_what_comes_between_warm_up_and_end_counts() -> None:
    clock = Clock()
    count = Count(2.0, 4.0, clock)
    for now, more in ((100.0, True), (101.9, True), (102.0, True), (105.9, True), (106.0, False)):
        clock.now = now
        assert count.add(1000) is more
    assert count.rate == 2000 / 4.0


def test_the_part_is_that_of_the_first() -> None:
    assert Shares(3.0, 1.0).part == 0.75
    assert Shares(0.0, 0.0).part == 0.0


def test_the_table_shows_the_median_run() -> None:
    measured = {
        ("leafsync", "leafsync"): [Shares(1e6, 1e6), Shares(3e6, 1e6), Shares(3e6, 2e6)],
        ("leafsync", "cubic"): [Shares(1e6, 3e6)],
    }
    assert shares_table(measured).splitlines()[2:] == [
        "| LeafSync and LeafSync | 3 | 24.0 | 16.0 | 60:40 |",
        "| LeafSync and TCP cubic | 1 | 8.0 | 24.0 | 25:75 |",
    ]


def test_a_shorter_run_says_so() -> None:
    assert "Counted for 10 s, after 5 s." in about(0.5)
    assert name_of(("bbr", "leafsync")) == "TCP bbr and LeafSync"


def count_of_ten() -> Count:
    """Return a count that is over after ten additions, however long they take."""
    ticks = itertools.count()
    return Count(0.0, 10.0, lambda: float(next(ticks)))


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_flow_of_leafsync_runs_until_its_count_is_over() -> None:
    port = free_port(socket.SOCK_DGRAM)
    count, up = count_of_ten(), asyncio.Event()
    async with asyncio.timeout(20):
        sender = asyncio.create_task(send("127.0.0.1", port, up.set))
        await up.wait()
        await receive("127.0.0.1", port, count)
        await sender
    assert count.rate > 0


def test_a_flow_of_tcp_runs_until_its_count_is_over() -> None:
    port = free_port(socket.SOCK_STREAM)
    count, up = count_of_ten(), threading.Event()
    sender = threading.Thread(target=tcp_send, args=("127.0.0.1", port, "reno", up.set))
    sender.start()
    assert up.wait(20)
    tcp_receive("127.0.0.1", port, count)
    sender.join(20)
    assert not sender.is_alive()
    assert count.rate > 0
