"""Speed of many rollouts: 10,000 of 5,760 ticks, drawn and judged, against the draws alone.

Draws alone are the same `binomial` calls of the same generator in the same blocks. Both are timed in turns in one
process, since the machine's speed changes; the ratio of each turn counts. One thread, CPU time.

`python -m tests.benchmarks.many [rounds]` prints it; a round takes about 10 s.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from phase4.analysis import many
from phase4.analysis.columns import Ints
from tests.benchmarks.timing import ROUNDS, Figure

TICKS, ROLLOUTS = 5760, 10_000
LIMIT, ALPHA, RATE = 0.01, 0.05, 0.005
MOST, MOST_BYTES = 1.7, 1e9
SEED = 12


def draws(n: int, seed: int) -> many.Draw:
    """Return what draws the events of a healthy service."""
    generator = np.random.default_rng([SEED, n, seed])
    return lambda ticks, rollouts: generator.binomial(n, RATE, (ticks, rollouts))


def alone(draw: many.Draw) -> None:
    """Draw the events of all rollouts."""
    for begin in range(0, TICKS, many.BLOCK):
        draw(min(many.BLOCK, TICKS - begin), ROLLOUTS)


def judged(draw: many.Draw, n: int) -> Ints:
    """Draw the events of all rollouts and return their first alarms."""
    return many.first_alarms(
        draw, ticks=TICKS, rollouts=ROLLOUTS, trials=n, limit=LIMIT, alpha=ALPHA, horizon_ticks=TICKS
    )


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measured(n: int, rounds: int) -> tuple[list[float], list[float], float]:
    """Return (seconds of draws alone, seconds of draws and judge, share of false alarms) of each round."""
    drawn, both, alarms = [], [], 0
    for turn in range(rounds):
        drawn.append(seconds(lambda: alone(draws(n, turn))))  # noqa: B023  called at once
        begin = time.process_time()
        alarms += int((judged(draws(n, turn), n) >= 0).sum())
        both.append(time.process_time() - begin)
    return drawn, both, alarms / (rounds * ROLLOUTS)


def figures(rounds: int = ROUNDS) -> list[Figure]:
    """Return the figures of this page."""
    lines = []
    for n in (10, 100, 1000):
        drawn, both, share = measured(n, rounds)
        ratios = [b / d for d, b in zip(drawn, both, strict=True)]
        ratio = statistics.median(ratios)
        name = f"10,000 rollouts of 5,760 ticks, n = {n}"
        lines += [
            Figure(
                name=f"{name}: drawn and judged, against the draws alone",
                seen=f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                bound=f"<= {MOST}",
                is_met=ratio <= MOST,
            ),
            Figure(
                name=f"{name}: draws alone; drawn and judged",
                seen=f"{statistics.median(drawn):.2f} s; {statistics.median(both):.2f} s",
                bound="",
                is_met=None,
            ),
            Figure(name=f"{name}: alarms at 0.5 % against 1 %", seen=f"{share:.2%}", bound="", is_met=None),
        ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    lines.append(Figure(name="peak memory", seen=f"{peak / 1e6:,.0f} MB", bound="< 1,000 MB", is_met=peak < MOST_BYTES))
    return lines


def main(arguments: list[str]) -> int:
    """Print the figures; exit status 1 if a bound is missed."""
    lines = figures(int(arguments[0]) if arguments else ROUNDS)
    for line in lines:
        verdict = {True: "met", False: "MISSED", None: ""}[line.is_met]
        print(f"{line.name:<80} {line.seen:<26} {line.bound:<12} {verdict}")
    return 1 if any(line.is_met is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
