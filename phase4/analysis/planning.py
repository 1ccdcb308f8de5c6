"""How much data a guardrail needs before it can answer."""

from __future__ import annotations

import math


def clean_units(limit: float, beta: float) -> int:
    """Return how many units without a single event are needed before any rule can prove `rate < limit`.

    Args:
        limit: The limit p0, in (0, 1).
        beta: Probability, in (0, 1), of proving it wrongly.

    Raises:
        ValueError: an argument is outside its range.

    Source: the point alternative 0 in Wald's test, `ln(1/beta) / -ln(1-p0)`. The grid of `eprocess.PASS_RATIOS` needs
    about 1.41 times as many.

    >>> clean_units(0.005, 0.05), clean_units(0.01, 0.05), clean_units(0.02, 0.05)
    (598, 299, 149)
    """
    _check_open_unit("limit", limit)
    _check_open_unit("beta", beta)
    return math.ceil(math.log(1.0 / beta) / -math.log1p(-limit))


def kl_bernoulli(p: float, q: float) -> float:
    """Return the Kullback-Leibler divergence of two coins, in nats.

    Source: Kullback and Leibler (1951). `ln(1/alpha) / kl_bernoulli(p1, p0)` is Wald's lower guide to the units that
    prove a rate of p1 to be above p0.

    >>> round(math.log(20) / kl_bernoulli(0.015, 0.01), 2)
    2736.77
    """
    _check_open_unit("p", p)
    _check_open_unit("q", q)
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


def _check_open_unit(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} lies in (0, 1): {value}")
