"""Intervals that are shown, never verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist


def confidence_sequence(events: int, trials: int, *, alpha: float) -> tuple[float, float]:
    """Return the interval of a rate that holds at every look at the data at once.

    Args:
        events: Events, 0 <= events <= trials.
        trials: Trials, at least 0. Without trials the interval is (0, 1).
        alpha: Probability, in (0, 1), that the true rate is ever outside.

    Source: the beta-binomial confidence sequence with a uniform prior, by inverting Ville's inequality (Robbins 1970):
    `{p : ln B(1+x, 1+n-x) - x ln p - (n-x) ln(1-p) < ln(1/alpha)}`, by bisection.

    >>> [round(limit, 6) for limit in confidence_sequence(10, 1000, alpha=0.05)]
    [0.002075, 0.027942]
    """
    _check(events, trials, alpha)
    if trials == 0:
        return 0.0, 1.0
    others = trials - events
    log_beta = math.lgamma(1 + events) + math.lgamma(1 + others) - math.lgamma(2 + trials)

    def excess(p: float) -> float:
        log_likelihood = (events * math.log(p) if events else 0.0) + (others * math.log1p(-p) if others else 0.0)
        return log_beta - log_likelihood - math.log(1.0 / alpha)

    estimate = events / trials
    lower = 0.0 if events == 0 else _root(excess, 0.0, estimate, falling=True)
    upper = 1.0 if others == 0 else _root(excess, estimate, 1.0, falling=False)
    return lower, upper


def wilson(events: int, trials: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Return the score interval of a proportion for one look at the data.

    Without trials the interval is (0, 1).

    Source: Wilson (1927), doi:10.1080/01621459.1927.10502953.

    >>> [round(limit, 4) for limit in wilson(3, 200)]
    [0.0051, 0.0432]
    """
    _check(events, trials, alpha)
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1.0 - alpha / 2.0)
    p = events / trials
    scale = 1.0 + z * z / trials
    centre = (p + z * z / (2.0 * trials)) / scale
    half = z * math.sqrt(p * (1.0 - p) / trials + z * z / (4.0 * trials * trials)) / scale
    # exact at the ends, where rounding would leave 1e-18
    return (0.0 if events == 0 else centre - half), (1.0 if events == trials else centre + half)


def mean_interval(values: Sequence[float], *, alpha: float = 0.05) -> tuple[float, float, float]:
    """Return (mean, lower, upper) of independent values by Student's t; NaN limits below two values.

    Source: Student (1908); the quantile by the expansion 26.7.5 of Abramowitz and Stegun, off by less than 0.002 from
    10 values on.
    """
    n = len(values)
    if n == 0:
        return math.nan, math.nan, math.nan
    mean = math.fsum(values) / n
    if n == 1:
        return mean, math.nan, math.nan
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = _student_quantile(1.0 - alpha / 2.0, n - 1) * spread / math.sqrt(n)
    return mean, mean - half, mean + half


def quantile_interval(values: Sequence[float], q: float, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """Return (quantile, lower, upper) of values that may be infinite ("not reached").

    The limits are order statistics whose ranks hold the quantile with probability at least 1 - alpha; a rank that the
    sample is too small for gives minus or plus infinity.

    Args:
        values: Independent values; infinity stands for "never".
        q: The quantile, in (0, 1).
        alpha: Probability, in (0, 1), that the quantile is outside.

    Source: David and Nagaraja, Order Statistics (2003), section 7.1.

    >>> quantile_interval([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.5)
    (5, 2, 9)
    >>> quantile_interval([1.0, 2.0, math.inf], 0.95)[0]
    inf
    """
    if not values:
        return math.nan, math.nan, math.nan
    ordered = sorted(values)
    n = len(ordered)
    estimate = ordered[max(math.ceil(n * q) - 1, 0)]
    cumulative = _binomial_cdf(n, q)
    below = [rank for rank in range(1, n + 1) if cumulative[rank - 1] <= alpha / 2.0]
    above = [rank for rank in range(1, n + 1) if 1.0 - cumulative[rank - 1] <= alpha / 2.0]
    lower = ordered[below[-1] - 1] if below else -math.inf
    upper = ordered[above[0] - 1] if above else math.inf
    return estimate, lower, upper


def _binomial_cdf(n: int, q: float) -> list[float]:
    """Return P(Binomial(n, q) <= k) for k = 0..n."""
    total, out = 0.0, []
    for k in range(n + 1):
        log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        total += math.exp(log_choose + k * math.log(q) + (n - k) * math.log1p(-q))
        out.append(min(total, 1.0))
    return out


def _student_quantile(probability: float, freedom: int) -> float:
    z = NormalDist().inv_cdf(probability)
    g1 = (z**3 + z) / 4.0
    g2 = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    g3 = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3


def _check(events: int, trials: int, alpha: float) -> None:
    if not 0 <= events <= trials:
        raise ValueError(f"events lie in 0..{trials}: {events}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha lies in (0, 1): {alpha}")


def _root(excess: object, low: float, high: float, *, falling: bool) -> float:
    """Return where `excess` changes its sign in (low, high), by 200 halvings at most."""
    assert callable(excess)
    for _ in range(200):
        middle = (low + high) / 2.0
        if middle in {low, high}:
            break
        if (excess(middle) > 0.0) == falling:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
