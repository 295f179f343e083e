"""The model of BBR: how much may be in flight and how fast to send, from how fast the path delivers and how long it is.

This is version 3, as draft-ietf-ccwg-bbr-05 has it: STARTUP, DRAIN, PROBE_BW with its phases DOWN, CRUISE, REFILL and
UP, PROBE_RTT, the long-term and short-term bounds, and the restart from idle. It differs where losses are judged:

* The draft takes 2 % of loss for too much, and any loss in a round for a reason to lower the short-term bounds. Here
  that holds only while the round trip says that packets wait in a queue; a path that loses packets without one, as
  radio does, may lose `CLEAR_LOSS` before anything is lowered. By the draft's rule 5 % of random loss ends STARTUP
  after two rounds, and 1 % wears the short-term bounds down by 1 % a round trip.
* What ACKs bring at once widens the window only after STARTUP, in which everything runs ahead of the estimate.
* Two rounds of too much loss end STARTUP, not one: the first burst alone may overflow a short queue.
* A probe that lost too much leaves 85 % of what was in flight as the bound, not all of it: of two flows the larger one
  gives up more, and they come to share. The draft's own bound keeps them as they began.
* UP also ends when a quarter more is in flight than before it, as in version 2, so that its queue is bounded. What
  others have in the queue does not count, or a small flow could not grow beside a large one.
* There is neither packet conservation in the first round of recovery nor an undo of spurious losses, and no ECN.

Nothing here knows packets, sockets or a clock: time and randomness come in from outside.
"""

import math
import random
from collections import deque
from enum import Enum, auto
from typing import Final

from leafsync.engine.net.delivery import Sample, Stamp

INITIAL_PACKETS: Final = 32
"""Packets before the first ACK. RFC 9002 recommends 10; content networks and other stacks send 32, as here, where the
first ones are paced as soon as the handshake has measured a round trip. Two round trips less to begin with."""

MIN_PACKETS: Final = 4
"""Packets in flight that keep ACKs coming, whatever happens."""

PACING_MARGIN: Final = 0.99
"""Send this much of the estimate, so that a queue drains in the long run."""

LOSS: Final = 0.02
"""Loss beyond this, with a queue, means that too much is in flight."""

CLEAR_LOSS: Final = 0.1
"""The same where the round trip shows no queue: 5 % of random loss with 340 packets in flight is within it by four
deviations."""

LEAST_LOST: Final = 6
"""Packets: fewer lost without a queue are chance, and end no STARTUP."""

LOSSY_ROUNDS: Final = 2
"""Rounds of too much loss in a row that end STARTUP: one alone may be that of its first burst."""

QUEUE: Final = 1.4
"""Packets wait in a queue if every round trip of a round is longer than the least one by this factor. UP alone makes
a queue of 1.25."""

LEAST_QUEUE: Final = 0.001
"""Seconds that every round trip must be longer besides: between neighbours, timers of a millisecond and turns of the
event loops alone make several times the least one. More would crowd out others where a queue holds but 2 ms."""

BETA: Final = 0.7
"""What is left of a bound after a round of too much loss, as with cubic (RFC 9438)."""

HEADROOM: Final = 0.15
"""The part of what fits in flight that CRUISE leaves to others."""

GROWTH: Final = 1.25
FULL_ROUNDS: Final = 3
"""The path is full after so many rounds in which the rate grew by less than this factor."""

DRAIN_ROUNDS: Final = 3
"""DRAIN ends after so many rounds even if the queue is somebody else's."""

RATE_CYCLES: Final = 2
"""Cycles of PROBE_BW that the maximum of the rate is over."""

AGGREGATION_ROUNDS: Final = 10
"""Rounds that the maximum of what ACKs bring at once is over."""

MIN_RTT_SECONDS: Final = 10.0
PROBE_RTT_INTERVAL: Final = 5.0
PROBE_RTT_SECONDS: Final = 0.2
"""The least round trip is that of the last 10 s; it is looked for by PROBE_RTT, for 0.2 s, if 5 s brought none."""

PROBE_WAIT: Final = (2.0, 3.0)
"""Seconds between probes for more, at random so that flows do not probe together."""

RENO_ROUNDS: Final = 63
"""Rounds between probes at most, where round trips are short: by then a flow of Reno would have grown as much."""

QUANTUM_SECONDS: Final = 0.005
"""Seconds of sending that may leave at once: a turn of the event loop takes 5 ms at times, at either end."""

QUANTA: Final = 3
"""Bursts that have to be in flight on a short path: one here, one under way, one being acknowledged."""

LEAST_RTT: Final = 1e-4
"""Seconds: what is shorter is the resolution of clocks."""


class State(Enum):
    """Where in its cycle a flow is; DOWN, CRUISE, REFILL and UP are the phases of PROBE_BW."""

    STARTUP = auto()
    DRAIN = auto()
    DOWN = auto()
    CRUISE = auto()
    REFILL = auto()
    UP = auto()
    PROBE_RTT = auto()


GAINS: Final = {
    State.STARTUP: (2.77, 2.0),
    State.DRAIN: (0.5, 2.0),
    State.DOWN: (0.9, 2.0),
    State.CRUISE: (1.0, 2.0),
    State.REFILL: (1.0, 2.0),
    State.UP: (1.25, 2.25),
    State.PROBE_RTT: (1.0, 0.5),
}
"""Factors of the pacing rate and of the window, over the estimates."""

PROBE_BW: Final = frozenset({State.DOWN, State.CRUISE, State.REFILL, State.UP})
ACCELERATING: Final = frozenset({State.STARTUP, State.REFILL, State.UP})
"""States that look for more: their losses lower no short-term bound."""


class WindowedMax:
    """The maximum of the values of the last `length` ticks of a counter."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._values: deque[tuple[int, float]] = deque()

    @property
    def value(self) -> float:
        return self._values[0][1] if self._values else 0.0

    def update(self, value: float, tick: int) -> None:
        """Take a value; ticks never go back."""
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((tick, value))
        while values[0][0] <= tick - self._length:
            values.popleft()


class Bbr:
    """One flow. `window` is in bytes, `pacing_rate` in bytes per second, None before there is a round trip."""

    def __init__(self, datagram_size: int, dice: random.Random) -> None:
        """`dice` decide when to probe."""
        self._size = datagram_size
        self._dice = dice
        self.state = State.STARTUP
        self.window = INITIAL_PACKETS * datagram_size
        self.pacing_rate: float | None = None
        self.min_rtt = math.inf
        self.bandwidth = 0.0
        """The estimate that is sent by, after the bounds."""
        self.window_limited = False
        """Whether the window was used up since the round began."""
        self._was_limited = False
        """The same of the round before."""
        self.pipe_filled = False
        """Whether the path was ever full: STARTUP is over for good."""
        self.inflight_longterm = math.inf
        self.inflight_shortterm = math.inf
        self._bw_shortterm = math.inf
        self._rates = WindowedMax(RATE_CYCLES)
        self._cycle = 0
        # Rounds: of packets, and of packets since a loss
        self._delivered = 0
        """In all, as of the last ACK frame."""
        self._round = 0
        self._round_start = False
        self._next_round_delivered = 0
        self._loss_round_delivered = 0
        self._loss_round_start = False
        self._loss_round_began = 0
        self._round_lost = 0
        self._round_lost_packets = 0
        self._lossy_rounds = 0
        self._bw_latest = 0.0
        self._inflight_latest = 0
        # Whether the path is full
        self._full_rate = 0.0
        self._full_count = 0
        self._full_now = False
        self._drain_began = 0
        # PROBE_BW
        self._cycle_began = 0.0
        self._probe_wait = 0.0
        self._rounds_since_probe = 0
        self._probing = False
        """Whether losses are those of what a probe had sent."""
        self._probe_stopped = False
        """Whether ACKs are of what a probe sent at last: with the round the cycle of the filter ends."""
        self._up_rounds = 0
        self._up_acked = 0
        self._up_rtt = 0.0
        """The least round trip just before UP: with the queue that others make."""
        self._up_step = float(datagram_size)
        # Round trips
        self._min_rtt_at = -math.inf
        self._probe_rtt_min = math.inf
        self._probe_rtt_min_at = -math.inf
        self._probe_rtt_due = False
        self._probe_rtt_until: float | None = None
        self._probe_rtt_round_done = False
        self._prior_window = 0
        self._round_rtt = self._last_round_rtt = math.inf
        self._idle_restart = False
        # What ACKs bring at once
        self._aggregation = WindowedMax(AGGREGATION_ROUNDS)
        self._aggregation_began = 0.0
        self._aggregation_acked = 0

    # What happens

    def on_restart(self, now: float) -> None:
        """Sending begins again, after nothing was in flight because there was nothing to send."""
        self._idle_restart = True
        self._aggregation_began = now
        self._aggregation_acked = 0
        if self.state in PROBE_BW:
            self._set_pacing_rate(1.0)
        elif self.state is State.PROBE_RTT:
            self._check_probe_rtt_done(now)

    def on_lost(self, stamp: Stamp, size: int, total_lost: int, now: float) -> None:
        """A packet of `size` bytes is taken for lost, one of `total_lost` bytes in all."""
        self._round_lost += size
        self._round_lost_packets += 1
        if not self._probing:
            return
        lost = total_lost - stamp.lost
        if self._too_much(lost, stamp.in_flight, lost // max(size, 1)):
            # How much was in flight when the limit was passed, within this packet's burst.
            before = stamp.in_flight - size
            fits = before + max(0.0, LOSS * before - (lost - size)) / (1 - LOSS)
            self._on_too_much(fits, app_limited=stamp.app_limited, now=now)

    def on_persistent_congestion(self) -> None:
        """Nothing got through for a long time (RFC 9002 section 7.6): begin with little; the estimates stay."""
        self.window = MIN_PACKETS * self._size

    def on_ack(self, sample: Sample) -> bool:
        """Learn from an ACK frame. Return whether the flow limits itself now, which samples have to say."""
        self._delivered = sample.total_delivered
        self._update_round(sample)
        self._update_rtt(sample)
        self._update_latest(sample)
        self._update_congestion(sample)
        self._update_aggregation(sample)
        self._check_full(sample)
        self._check_startup_and_drain(sample)
        self._update_probe_bw(sample)
        self._check_probe_rtt(sample)
        if self._loss_round_start:
            self._bw_latest, self._inflight_latest = sample.rate, sample.delivered
        self.bandwidth = min(self._rates.value, self._bw_shortterm)
        self._set_pacing_rate(GAINS[self.state][0])
        self._set_window(sample)
        return self.state is State.PROBE_RTT

    # The path

    def _bdp(self, gain: float) -> float:
        """Return what is in flight at the estimated rate without a queue, times `gain`."""
        if math.isinf(self.min_rtt):
            return gain * INITIAL_PACKETS * self._size
        return gain * self._rates.value * self.min_rtt

    def _quantum(self) -> float:
        return max(2 * self._size, (self.pacing_rate or 0.0) * QUANTUM_SECONDS)

    def _inflight(self, gain: float, extra: float = 0.0) -> float:
        """Return what has to be in flight to use the path, `gain` times over, in bursts."""
        inflight = max(self._bdp(gain) + extra, QUANTA * self._quantum(), MIN_PACKETS * self._size)
        return inflight + (2 * self._size if self.state is State.UP else 0)

    def _target_inflight(self) -> float:
        return min(self._bdp(1.0), self.window)

    def _inflight_with_headroom(self) -> float:
        if math.isinf(self.inflight_longterm):
            return math.inf
        room = max(self._size, HEADROOM * self.inflight_longterm)
        return max(self.inflight_longterm - room, MIN_PACKETS * self._size)

    def _queue(self) -> bool:
        """Whether no packet of this round and of the last one passed without waiting."""
        least = min(self._round_rtt, self._last_round_rtt)
        return max(QUEUE * self.min_rtt, self.min_rtt + LEAST_QUEUE) < least < math.inf

    def _too_much(self, lost: float, of: float, packets: int) -> bool:
        """Whether losing `lost` of so many bytes means that too much was sent."""
        if self._queue():
            return lost > LOSS * of
        return lost > CLEAR_LOSS * of and packets >= LEAST_LOST

    # Rounds and signals

    def _start_round(self, delivered: int) -> None:
        self._next_round_delivered = delivered
        self._was_limited, self.window_limited = self.window_limited, False

    def _update_round(self, sample: Sample) -> None:
        self._round_start = sample.prior_delivered >= self._next_round_delivered
        if self._round_start:
            self._start_round(self._delivered)
            self._round += 1
            self._rounds_since_probe += 1
            self._last_round_rtt, self._round_rtt = self._round_rtt, math.inf

    def _update_rtt(self, sample: Sample) -> None:
        now, rtt = sample.now, sample.rtt
        self._probe_rtt_due = now > self._probe_rtt_min_at + PROBE_RTT_INTERVAL and not math.isinf(self.min_rtt)
        if rtt is None:
            return
        rtt = max(rtt, LEAST_RTT)
        self._round_rtt = min(self._round_rtt, rtt)
        if rtt < self._probe_rtt_min or now > self._probe_rtt_min_at + PROBE_RTT_INTERVAL:
            self._probe_rtt_min, self._probe_rtt_min_at = rtt, now
        if self._probe_rtt_min < self.min_rtt or now > self._min_rtt_at + MIN_RTT_SECONDS:
            self.min_rtt, self._min_rtt_at = self._probe_rtt_min, self._probe_rtt_min_at

    def _update_latest(self, sample: Sample) -> None:
        self._bw_latest = max(self._bw_latest, sample.rate)
        self._inflight_latest = max(self._inflight_latest, sample.delivered)
        self._loss_round_start = sample.prior_delivered >= self._loss_round_delivered

    def _update_congestion(self, sample: Sample) -> None:
        if sample.rate and (sample.rate >= self._rates.value or not sample.app_limited):
            self._rates.update(sample.rate, self._cycle)
        if not self._loss_round_start:
            return
        lost, packets = self._round_lost, self._round_lost_packets
        delivered = sample.total_delivered - self._loss_round_began
        too_much = bool(lost) and self._too_much(lost, lost + delivered, packets)
        self._lossy_rounds = self._lossy_rounds + 1 if too_much and packets >= LEAST_LOST else 0
        if self.state is State.STARTUP and self._lossy_rounds >= LOSSY_ROUNDS:
            self._on_startup_loss()
        elif lost and (too_much or self._queue()) and self.state not in ACCELERATING and not sample.app_limited:
            # A flow that limits itself, as PROBE_RTT does, delivers less than the path would.
            self._lower_bounds()
        self._loss_round_delivered = self._loss_round_began = sample.total_delivered
        self._round_lost = self._round_lost_packets = 0

    def _lower_bounds(self) -> None:
        """Lower the short-term bounds: this round lost too much of what the estimates let out."""
        if math.isinf(self._bw_shortterm):
            self._bw_shortterm = self._rates.value
        if math.isinf(self.inflight_shortterm):
            self.inflight_shortterm = self.window
        self._bw_shortterm = max(self._bw_latest, BETA * self._bw_shortterm)
        self.inflight_shortterm = max(self._inflight_latest, BETA * self.inflight_shortterm)

    def _forget_short_term(self) -> None:
        self._bw_shortterm = self.inflight_shortterm = math.inf

    def _update_aggregation(self, sample: Sample) -> None:
        """Measure how far ACKs run ahead of the rate: the window has to last while they wait.

        Not before the rate is known: in STARTUP everything runs ahead of it.
        """
        if not self.pipe_filled:
            return
        expected = self.bandwidth * (sample.now - self._aggregation_began)
        if self._aggregation_acked <= expected:
            self._aggregation_began, self._aggregation_acked, expected = sample.now, 0, 0.0
        self._aggregation_acked += sample.acked
        extra = min(self._aggregation_acked - expected, self.window)
        self._aggregation.update(max(0.0, extra), self._round)

    # STARTUP and DRAIN

    def _check_full(self, sample: Sample) -> None:
        if self._full_now or sample.app_limited or not sample.rate:
            return
        if sample.rate >= GROWTH * self._full_rate:
            self._full_rate, self._full_count = sample.rate, 0
            return
        if not self._round_start:
            return
        self._full_count += 1
        self._full_now = self._full_count >= FULL_ROUNDS
        self.pipe_filled = self.pipe_filled or self._full_now

    def _look_for_full(self, rate: float) -> None:
        self._full_rate, self._full_count, self._full_now = rate, 0, False

    def _on_startup_loss(self) -> None:
        self.pipe_filled = True
        self.inflight_longterm = max(self._bdp(1.0), self._inflight_latest)

    def _check_startup_and_drain(self, sample: Sample) -> None:
        if self.state is State.STARTUP and self.pipe_filled:
            self.state = State.DRAIN
            self._drain_began = self._round
        if self.state is State.DRAIN:
            late = self._round > self._drain_began + DRAIN_ROUNDS
            if late or sample.in_flight <= self._inflight(1.0):
                self._start_down(sample.now)

    # PROBE_BW

    def _start_down(self, now: float) -> None:
        self._pick_wait(now)
        self._bw_latest, self._inflight_latest = 0.0, 0
        self._round_lost = self._round_lost_packets = 0
        self._loss_round_began = self._loss_round_delivered = self._delivered
        self._probe_stopped = True
        self._start_round(self._delivered)
        self.state = State.DOWN

    def _pick_wait(self, now: float) -> None:
        self._rounds_since_probe = self._dice.randrange(2)
        self._probe_wait = self._dice.uniform(*PROBE_WAIT)
        self._cycle_began = now

    def _start_refill(self, sample: Sample) -> None:
        self._forget_short_term()
        self._up_rounds, self._up_acked = 0, 0
        self._probe_stopped = False
        self._start_round(self._delivered)
        self.state = State.REFILL

    def _start_up(self, sample: Sample) -> None:
        self._probing = True
        self._start_round(self._delivered)
        self._look_for_full(sample.rate)
        self._cycle_began = sample.now
        recent = min(self._round_rtt, self._last_round_rtt)
        self._up_rtt = self.min_rtt if math.isinf(recent) else recent
        self._raise_slope()
        self.state = State.UP

    def _update_probe_bw(self, sample: Sample) -> None:
        if not self.pipe_filled:
            return
        self._adapt_long_term(sample)
        match self.state:
            case State.DOWN | State.CRUISE if self._time_to_probe(sample.now):
                self._start_refill(sample)
            case State.DOWN if sample.in_flight <= min(self._inflight_with_headroom(), self._inflight(1.0)):
                self.state = State.CRUISE
            case State.REFILL if self._round_start:
                self._start_up(sample)
            case State.UP if self._time_to_go_down(sample):
                self._start_down(sample.now)

    def _time_to_probe(self, now: float) -> bool:
        rounds = min(self._target_inflight() / self._size, RENO_ROUNDS)
        return now > self._cycle_began + self._probe_wait or self._rounds_since_probe >= rounds

    def _time_to_go_down(self, sample: Sample) -> bool:
        if self._limited_by_bound():
            self._look_for_full(sample.rate)
            return False
        if self._full_now:
            return True
        elapsed = sample.now > self._cycle_began + self._up_rtt
        most = GAINS[State.UP][0] * self._rates.value * self._up_rtt
        return elapsed and sample.in_flight >= max(most, self._inflight(1.0))

    def _limited_by_bound(self) -> bool:
        return (self.window_limited or self._was_limited) and self.window + 1 > self.inflight_longterm

    def _adapt_long_term(self, sample: Sample) -> None:
        if self._probe_stopped and self._round_start:
            self._probe_stopped = self._probing = False
            if self.state in PROBE_BW and not sample.app_limited:
                self._cycle += 1
        if math.isinf(self.inflight_longterm):
            return
        if self._too_much(sample.lost, sample.sent_in_flight, sample.lost // self._size):
            return
        self.inflight_longterm = max(self.inflight_longterm, sample.sent_in_flight)
        if self.state is State.UP:
            self._raise_long_term(sample)

    def _raise_long_term(self, sample: Sample) -> None:
        """Let more in flight, by a packet in the first round of UP and twice as many in each further one."""
        if not self._limited_by_bound():
            return
        self._up_acked += sample.acked
        steps = int(self._up_acked / self._up_step)
        self._up_acked -= int(steps * self._up_step)
        self.inflight_longterm += steps * self._size
        if self._round_start:
            self._raise_slope()

    def _raise_slope(self) -> None:
        self._up_step = max(self.window / (1 << self._up_rounds), self._size)
        self._up_rounds = min(self._up_rounds + 1, 30)

    def _on_too_much(self, in_flight: float, *, app_limited: bool, now: float) -> None:
        """A probe lost too much: less than what was in flight then is what fits, and no less than the path alone."""
        self._probing = False
        if not app_limited:
            self.inflight_longterm = max((1 - HEADROOM) * in_flight, self._target_inflight())
        if self.state is State.UP:
            self._start_down(now)

    # PROBE_RTT

    def _check_probe_rtt(self, sample: Sample) -> None:
        if self.state is not State.PROBE_RTT and self._probe_rtt_due and not self._idle_restart:
            self._prior_window = self.window
            self._probe_rtt_until = None
            self._probe_stopped = True
            self._start_round(self._delivered)
            self.state = State.PROBE_RTT
        if self.state is State.PROBE_RTT:
            self._handle_probe_rtt(sample)
        if sample.delivered:
            self._idle_restart = False

    def _handle_probe_rtt(self, sample: Sample) -> None:
        if self._probe_rtt_until is None:
            if sample.in_flight <= self._probe_rtt_window():
                self._probe_rtt_until = sample.now + PROBE_RTT_SECONDS
                self._probe_rtt_round_done = False
                self._start_round(self._delivered)
            return
        self._probe_rtt_round_done = self._probe_rtt_round_done or self._round_start
        if self._probe_rtt_round_done:
            self._check_probe_rtt_done(sample.now)

    def _check_probe_rtt_done(self, now: float) -> None:
        if self._probe_rtt_until is None or now <= self._probe_rtt_until:
            return
        self._probe_rtt_min_at = now
        self.window = max(self.window, self._prior_window)
        self._forget_short_term()
        if not self.pipe_filled:
            self.state = State.STARTUP
            return
        self._pick_wait(now)
        self.state = State.CRUISE

    def _probe_rtt_window(self) -> float:
        return max(self._bdp(GAINS[State.PROBE_RTT][1]), self._quantum(), MIN_PACKETS * self._size)

    # What is let out

    def _set_pacing_rate(self, gain: float) -> None:
        if self.pacing_rate is None:
            if math.isinf(self.min_rtt):
                return
            # The first packets say nothing about the rate: they are few, and the handshake's.
            self.pacing_rate = GAINS[State.STARTUP][0] * self.window / self.min_rtt
        rate = PACING_MARGIN * gain * self.bandwidth
        if self.pipe_filled or rate > self.pacing_rate:
            self.pacing_rate = rate

    def _set_window(self, sample: Sample) -> None:
        most = self._inflight(GAINS[self.state][1], self._aggregation.value)
        window: float = self.window
        if self.pipe_filled:
            window = min(window + sample.acked, most)
        elif window < most or sample.total_delivered < INITIAL_PACKETS * self._size:
            window += sample.acked
        if self.state is State.PROBE_RTT:
            window = min(window, self._probe_rtt_window())
        window = min(window, self._bound())
        self.window = int(max(window, MIN_PACKETS * self._size))

    def _bound(self) -> float:
        """Return what the bounds of the model let be in flight."""
        if self.state in PROBE_BW and self.state is not State.CRUISE:
            bound = self.inflight_longterm
        elif self.state in (State.CRUISE, State.PROBE_RTT):
            bound = self._inflight_with_headroom()
        else:
            bound = math.inf
        return min(bound, self.inflight_shortterm)
