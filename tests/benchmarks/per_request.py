"""The comparison: the same service, simulated request by request with SimPy.

One process waits for the next arrival, picks the user, asks the production bucketing for the arm, decides the outcome
by a coin, and counts by tick. It has no controller and no judge, which favours it. `bare` leaves the user and the
bucketing out too: the least that any simulation of single requests can cost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator

import simpy

from phase4.flags import bucketing

SALT = "bench"
USERS = 1_000_000


def run(*, requests: int, rate: float, percentage: float, error_rate: float, tick_s: float, is_bare: bool) -> int:
    """Simulate `requests` requests at `rate` a second; return how many errors both arms counted."""
    draw = random.Random(1)
    env = simpy.Environment()
    counts: dict[tuple[int, int], list[int]] = {}
    cuts = bucketing.cuts(percentage)

    def hashed() -> int:
        return bucketing.hash_unit(SALT, f"user-{draw.randrange(USERS)}")

    def drawn() -> int:
        return draw.getrandbits(32)

    choose: Callable[[], int] = drawn if is_bare else hashed

    def arrivals() -> Generator[simpy.Event, None, None]:
        for _ in range(requests):
            yield env.timeout(draw.expovariate(rate))
            bucket = choose()
            if cuts.treatment_below <= bucket < cuts.control_from:
                continue
            arm = 2 if bucket < cuts.treatment_below else 1
            cell = counts.setdefault((int(env.now // tick_s), arm), [0, 0])
            cell[draw.random() < error_rate] += 1

    env.run(until=env.process(arrivals()))
    return sum(cell[1] for cell in counts.values())
