"""Do the arms have the shares they were assigned? A sequential test of the sample ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.001
BOUND = math.log(1.0 / ALPHA)
"""Alarm at or above this logarithm of the evidence."""
CONCENTRATION = 100.0
"""How strongly the Dirichlet prior holds to the expected shares."""


def log_e(counts: Sequence[int], shares: Sequence[float], *, concentration: float = CONCENTRATION) -> float:
    """Return the natural logarithm of the evidence against "units fall into the arms with these shares".

    Args:
        counts: Units seen first in each arm, each at least 0.
        shares: Expected shares, above 0, with sum 1, one for each arm.
        concentration: k of the prior Dirichlet(k * shares), above 0.

    Raises:
        ValueError: lengths differ or the shares do not sum to 1.

    Source: Lindon and Malek, "Anytime-valid inference for multinomial count data" (2022), the Dirichlet-multinomial
    closed form. Alarm at e >= 1/0.001; valid at every look.

    >>> round(math.exp(log_e([2000, 2200], [0.5, 0.5])), 5)
    15.97272
    """
    if len(counts) != len(shares):
        raise ValueError(f"one share for each count: {len(counts)} counts, {len(shares)} shares")
    if abs(math.fsum(shares) - 1.0) > 1e-9 or min(shares) <= 0.0:
        raise ValueError(f"shares are above 0 and sum to 1: {list(shares)}")
    prior = [concentration * share for share in shares]
    total = sum(counts)
    return (
        math.lgamma(concentration)
        - math.fsum(math.lgamma(a) for a in prior)
        + math.fsum(math.lgamma(a + c) for a, c in zip(prior, counts, strict=True))
        - math.lgamma(concentration + total)
        - math.fsum(c * math.log(share) for c, share in zip(counts, shares, strict=True))
    )
