"""The sample ratio's evidence at many ticks at once; `sample_ratio` is the exact form."""

from __future__ import annotations

import math

import numpy as np

from phase4.analysis import sample_ratio
from phase4.analysis.columns import Floats, Ints


def log_e(ours: Ints, theirs: Ints, shares: tuple[float, float]) -> Floats:
    """Return `sample_ratio.log_e` for users of (treatment, control) at many ticks, (ticks,) float64, within 1e-9."""
    total = sample_ratio.CONCENTRATION
    a, b = total * shares[0], total * shares[1]
    x, y = ours.astype(np.float64), theirs.astype(np.float64)
    constant = math.lgamma(total) - math.lgamma(a) - math.lgamma(b)
    grown = log_gamma(a + x) + log_gamma(b + y) - log_gamma(total + x + y)
    return np.asarray(constant + grown - x * math.log(shares[0]) - y * math.log(shares[1]), np.float64)


def log_gamma(x: Floats) -> Floats:
    """Return ln of the gamma function for x > 0, within 1e-10 of its value or 1e-15 of its size.

    Source: Stirling's series (Abramowitz and Stegun, 6.1.41), shifted up by 8.
    """
    high = x + 8.0
    series = (
        1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * high**2)) / high**2) / high**2) / high**2
    ) / high
    shifted: Floats = (high - 0.5) * np.log(high) - high + 0.5 * math.log(2.0 * math.pi) + series
    product = np.ones_like(high)
    for step in range(8):
        product = product * (x + step)
    return shifted - np.log(product)
