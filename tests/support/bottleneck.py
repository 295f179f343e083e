"""Flows over one link in memory: a rate, a delay, a bounded queue, random loss, and a clock that is a number.

What is simulated is the path and a plain sender: loss is seen by packets that overtake (as RFC 9002 section 6.1.1 has
it), the other side acknowledges what came within a millisecond with one ACK frame, and timers are of a millisecond, as
on our event loop. What is tested is the congestion control: any of aioquic's.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from aioquic import tls
from aioquic.quic.congestion.base import QuicCongestionControl
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket

from leafsync.engine.net.congestion import BbrControl

SIZE = 1452
TICK = 0.001
OVERTAKEN = 3
PROBE_TIMEOUT = 0.5
"""Seconds without an ACK before all that is in flight is taken for lost."""


@dataclass
class Link:
    """Rate in bytes per second, seconds one way, seconds in the queue at most, and the part that is lost at random."""

    rate: float
    delay: float
    queue: float
    loss: float = 0.0
    free_at: float = 0.0
    waited: list[tuple[float, float]] = field(default_factory=list)
    """When packets came, and how long they waited."""
    dropped: int = 0

    def offer(self, size: int, now: float, dice: random.Random) -> float | None:
        """Return when a packet arrives, None if it never does."""
        starts = max(now, self.free_at)
        if starts - now > self.queue:
            self.dropped += 1
            return None
        self.free_at = starts + size / self.rate
        self.waited.append((now, starts - now))
        return None if dice.random() < self.loss else self.free_at + self.delay


class Flow:
    """A sender with as much to send as `supply` says (bytes up to a time; everything by default)."""

    def __init__(
        self, control: QuicCongestionControl, *, starts: float = 0.0, supply: Callable[[float], float] | None = None
    ) -> None:
        self.control = control
        self.starts = starts
        self.supply = supply
        self.sent = 0
        self.packets: dict[int, QuicSentPacket] = {}
        self.number = 0
        self.arrived: list[tuple[float, int]] = []
        self.unacked: list[int] = []
        self.ack_due: float | None = None
        self.largest = -1
        self.heard_at = starts
        self.budget = 0.0
        self.paced_at = starts
        self.states: list[tuple[float, str]] = []
        self.srtt = 0.0

    def allowed(self, now: float) -> int:
        """Return how many packets may leave now."""
        control = self.control
        packets = max(0, control.congestion_window - control.bytes_in_flight) // SIZE
        rate = control.pacing_rate if isinstance(control, BbrControl) else None
        if rate is not None:
            self.budget = min(self.budget + (now - self.paced_at) * rate, max(16 * SIZE, 0.004 * rate))
            packets = min(packets, max(0, int(self.budget // SIZE)))
        self.paced_at = now
        return packets

    def send(self, now: float) -> list[int]:
        """Return the numbers of the packets that leave now."""
        if now < self.starts:
            return []
        allowed = self.allowed(now)
        left = allowed if self.supply is None else int(max(0.0, self.supply(now) - self.sent) // SIZE)
        count = min(allowed, left)
        if count and not self.packets:
            self.heard_at = now
        for _ in range(count):
            packet = QuicSentPacket(
                tls.Epoch.ONE_RTT, True, True, False, self.number, QuicPacketType.ONE_RTT, now, SIZE
            )
            self.packets[self.number] = packet
            self.number += 1
            self.control.on_packet_sent(packet=packet)
        self.budget -= count * SIZE
        self.sent += count * SIZE
        if count < allowed and isinstance(self.control, BbrControl):
            self.control.on_app_limited()
        return list(range(self.number - count, self.number))

    def acknowledge(self, numbers: list[int], now: float) -> None:
        """Take an ACK frame."""
        self.heard_at = now
        control = self.control
        newest = None
        for number in sorted(numbers):
            packet = self.packets.pop(number, None)
            if packet is not None:
                control.on_packet_acked(now=now, packet=packet)
                newest = packet
        if newest is None:
            return
        self.largest = max(self.largest, newest.packet_number)
        control.on_rtt_measurement(now=now, rtt=now - (newest.sent_time or 0.0))
        lost = [packet for number, packet in self.packets.items() if number <= self.largest - OVERTAKEN]
        self.lose(lost, now)
        if isinstance(control, BbrControl):
            control.on_ack_frame(now)
            state = control.model.state.name
            if not self.states or self.states[-1][1] != state:
                self.states.append((now, state))

    def lose(self, lost: list[QuicSentPacket], now: float) -> None:
        for packet in lost:
            del self.packets[packet.packet_number]
            self.sent -= packet.sent_bytes
        if lost:
            self.control.on_packets_lost(now=now, packets=lost)

    def goodput(self, begin: float, end: float) -> float:
        """Return bytes per second that arrived in between."""
        return sum(size for at, size in self.arrived if begin <= at < end) / (end - begin)


class Network:
    """Flows that share a link."""

    def __init__(self, link: Link, flows: list[Flow], *, seed: int = 1) -> None:
        self.link, self.flows = link, flows
        self.dice = random.Random(seed)
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._count), what))

    def run(self, until: float) -> None:
        """Go on until a time."""
        if self.now == 0.0:
            for flow in self.flows:
                self._tick(flow)
        while self._due and self._due[0][0] <= until:
            self.now, _, what = heapq.heappop(self._due)
            what()
        self.now = until

    def _tick(self, flow: Flow) -> None:
        if flow.packets and self.now - flow.heard_at > PROBE_TIMEOUT:
            flow.heard_at = self.now
            flow.lose(list(flow.packets.values()), self.now)
        self._transmit(flow)
        self.at(self.now + TICK, lambda: self._tick(flow))

    def _transmit(self, flow: Flow) -> None:
        for number in flow.send(self.now):
            arrives = self.link.offer(SIZE, self.now, self.dice)
            if arrives is not None:
                self.at(arrives, lambda number=number: self._arrive(flow, number))  # type: ignore[misc]

    def _arrive(self, flow: Flow, number: int) -> None:
        flow.arrived.append((self.now, SIZE))
        flow.unacked.append(number)
        if flow.ack_due is None:
            flow.ack_due = self.now + TICK
            self.at(flow.ack_due, lambda: self._send_ack(flow))

    def _send_ack(self, flow: Flow) -> None:
        numbers, flow.unacked, flow.ack_due = flow.unacked, [], None
        self.at(self.now + self.link.delay, lambda: self._take_ack(flow, numbers))

    def _take_ack(self, flow: Flow, numbers: list[int]) -> None:
        flow.acknowledge(numbers, self.now)
        self._transmit(flow)
