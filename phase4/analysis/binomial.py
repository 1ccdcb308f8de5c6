"""The binomial law in plain Python: scipy is no dependency of the live path."""

from __future__ import annotations

import math
from collections.abc import Callable

from phase4.analysis.searching import first


def cdf(most: int, trials: int, rate: float) -> float:
    """Return the probability of at most so many events; exact up to rounding, by summing the tail that is smaller.

    >>> round(cdf(2, 10, 0.1), 6), cdf(-1, 10, 0.1), cdf(10, 10, 0.1)
    (0.929809, 0.0, 1.0)
    """
    if most < 0:
        return 0.0
    if most >= trials or rate <= 0.0:
        return 1.0
    if rate >= 1.0:
        return 0.0
    odds = rate / (1.0 - rate)
    if most < trials * rate:
        return min(_tail(most, trials, rate, lambda x: x / ((trials - x + 1) * odds), -1), 1.0)
    return max(1.0 - _tail(most + 1, trials, rate, lambda x: (trials - x) * odds / (x + 1), 1), 0.0)


def quantile(probability: float, trials: int, rate: float) -> int:
    """Return the fewest events that are not exceeded with at least a probability."""
    return min(first(0, lambda events: cdf(events, trials, rate) >= probability), trials)


def likely(trials: int, rate: float) -> list[tuple[int, float]]:
    """Return (events, probability) where that is not negligible."""
    if trials == 0 or rate <= 0.0:
        return [(0, 1.0)]
    centre = min(int((trials + 1) * rate), trials)
    odds, peak = rate / (1.0 - rate), math.exp(_log_pmf(centre, trials, rate))
    found, term, x = [(centre, peak)], peak, centre
    while x > 0 and term > 1e-14:
        term *= x / ((trials - x + 1) * odds)
        x -= 1
        found.append((x, term))
    term, x = peak, centre
    while x < trials and term > 1e-14:
        term *= (trials - x) * odds / (x + 1)
        x += 1
        found.append((x, term))
    return found


def _log_pmf(events: int, trials: int, rate: float) -> float:
    log_choose = math.lgamma(trials + 1) - math.lgamma(events + 1) - math.lgamma(trials - events + 1)
    return log_choose + events * math.log(rate) + (trials - events) * math.log1p(-rate)


def _tail(events: int, trials: int, rate: float, factor: Callable[[int], float], step: int) -> float:
    term, total = math.exp(_log_pmf(events, trials, rate)), 0.0
    while 0 <= events <= trials and term > total * 1e-17:
        total += term
        term *= factor(events)
        events += step
    return total
