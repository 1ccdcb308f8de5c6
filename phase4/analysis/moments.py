"""Two means compared at every look: an asymptotic confidence sequence for the logarithm of their ratio."""

from __future__ import annotations

import math
from typing import NamedTuple

MIN_COUNT = 500
"""Nothing is said with fewer values than this in an arm: the bound is asymptotic."""
TUNED_FOR = 20_000
"""Number of values of both arms at which the bound is tightest."""


class Moments(NamedTuple):
    """Sums of one arm."""

    n: int = 0
    s1: float = 0.0
    """Sum."""
    s2: float = 0.0
    """Sum of squares."""

    def plus(self, n: int, s1: float, s2: float) -> Moments:
        """Return the sums with more values."""
        return Moments(self.n + n, self.s1 + s1, self.s2 + s2)

    @property
    def mean(self) -> float:
        """The mean; NaN without values."""
        return self.s1 / self.n if self.n else math.nan

    @property
    def relative_variance(self) -> float:
        """Variance of the mean over its square: by the delta method the variance of its logarithm."""
        mean = self.mean
        return max(self.s2 / self.n - mean * mean, 0.0) / (self.n * mean * mean)


def log_ratio(treatment: Moments, control: Moments) -> tuple[float, float] | None:
    """Return (ln of the ratio of the means, variance of it); None where too little is there to say.

    The variance is that of the estimate, by the delta method.
    """
    if min(treatment.n, control.n) < MIN_COUNT or treatment.s1 <= 0.0 or control.s1 <= 0.0:
        return None
    return math.log(treatment.mean / control.mean), treatment.relative_variance + control.relative_variance


def spread(alpha: float, tuned_for: int = TUNED_FOR) -> float:
    """Return rho, the mixture's width that makes the bound tightest at so many values of both arms."""
    twice = -2.0 * math.log(2.0 * alpha)
    return math.sqrt((twice + math.log1p(twice)) / tuned_for)


def half_width(variance: float, count: int, alpha: float, *, tuned_for: int = TUNED_FOR) -> float:
    """Return how far the logarithm of the ratio may be from its estimate on one side, at every look at once.

    Args:
        variance: Variance of the estimate.
        count: Values of both arms.
        alpha: Probability, in (0, 0.5), that it is ever farther.
        tuned_for: Number of values of both arms at which the bound is tightest.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences" (2021, arXiv:2103.06476), the one-sided form.
    """
    rho = spread(alpha, tuned_for)
    scaled = count * rho * rho + 1.0
    root = 2.0 * scaled / (count * rho) ** 2 * math.log1p(math.sqrt(scaled) / (2.0 * alpha))
    return math.sqrt(variance * count) * math.sqrt(root)


def log_e(excess: float, variance: float, count: int, alpha: float) -> float:
    """Return ln(1/p) of the null "the logarithm of the ratio is at most the margin": the bound solved for alpha.

    It reaches ln(1/alpha) exactly where the bound of `half_width` excludes the margin.

    Args:
        excess: Estimate minus margin, on the side that speaks against the null if above 0.
        variance: Variance of the estimate.
        count: Values of both arms.
        alpha: For which the bound is tuned.
    """
    if excess <= 0.0:
        return 0.0
    rho = spread(alpha)
    scaled = count * rho * rho + 1.0
    if variance <= 0.0:
        return math.inf
    exponent = (excess * count * rho) ** 2 / (2.0 * scaled * variance * count)
    # p = sqrt(scaled) / (2 (exp(exponent) - 1)); expm1, as 1 - exp(-exponent) is 0 for an exponent of nearly nothing
    log_grown = exponent + math.log(-math.expm1(-exponent)) if exponent > 0.0 else -math.inf
    return max(math.log(2.0) + log_grown - 0.5 * math.log(scaled), 0.0)
