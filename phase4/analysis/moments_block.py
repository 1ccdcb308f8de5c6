"""Two means compared at many ticks at once: the bound of `moments`, in numpy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from phase4.analysis import moments
from phase4.analysis.columns import Floats, Ints
from phase4.analysis.moments import Moments


def running(carried: Moments, n: Ints, s1: Floats, s2: Floats) -> tuple[Ints, Floats, Floats]:
    """Return the sums (n, s1, s2) after each tick, each (ticks,), bit for bit those of `Moments.plus` tick by tick.

    Args:
        carried: The sums before the first tick.
        n: Values of each tick, (ticks,).
        s1: Their sums, (ticks,).
        s2: Their sums of squares, (ticks,).
    """
    # numpy's cumsum adds one after the other, from the left: the scalar form's order, and so its rounding
    counts = carried.n + np.cumsum(n, dtype=np.int64)
    first, second = (
        np.cumsum(np.concatenate([[before], values]))[1:] for before, values in ((carried.s1, s1), (carried.s2, s2))
    )
    return counts, first, second


def log_e_of_both(
    ours: tuple[Ints, Floats, Floats],
    theirs: tuple[Ints, Floats, Floats],
    margin: float,
    alphas: tuple[float, float],
) -> tuple[Floats, Floats]:
    """Return (ln of the FAIL evidence, ln of the PASS evidence), each (ticks,): 0 where too little is there to say.

    Args:
        ours: Sums (n, s1, s2) of treatment, each (ticks,).
        theirs: Sums of control.
        margin: ln of the largest acceptable ratio of the means.
        alphas: For which the FAIL and the PASS side are tuned.
    """
    counts = ours[0] + theirs[0]
    known = (np.minimum(ours[0], theirs[0]) >= moments.MIN_COUNT) & (ours[1] > 0.0) & (theirs[1] > 0.0)
    fail, passing = np.zeros(len(counts)), np.zeros(len(counts))
    if known.any():
        one, other = _at(known, ours), _at(known, theirs)
        ratio = np.log((one[1] / one[0]) / (other[1] / other[0]))
        variance = _relative_variance(*one) + _relative_variance(*other)
        fail[known] = _log_e(ratio - margin, variance, counts[known], alphas[0])
        passing[known] = _log_e(margin - ratio, variance, counts[known], alphas[1])
    return fail, passing


def _at(known: npt.NDArray[np.bool_], sums: tuple[Ints, Floats, Floats]) -> tuple[Ints, Floats, Floats]:
    return sums[0][known], sums[1][known], sums[2][known]


def _relative_variance(n: Ints, s1: Floats, s2: Floats) -> Floats:
    """Return `Moments.relative_variance`, (ticks,)."""
    mean = s1 / n
    spread: Floats = np.maximum(s2 / n - mean * mean, 0.0) / (n * mean * mean)
    return spread


def _log_e(excess: Floats, variance: Floats, count: Ints, alpha: float) -> Floats:
    """Return `moments.log_e`, (ticks,)."""
    rho = moments.spread(alpha)
    scaled = count * rho * rho + 1.0
    speaks = excess > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = (excess * count * rho) ** 2 / (2.0 * scaled * variance * count)
        grown = exponent + np.log(-np.expm1(-exponent))
        found = np.maximum(math.log(2.0) + grown - 0.5 * np.log(scaled), 0.0)
    found = np.where(variance <= 0.0, np.inf, np.where(exponent > 0.0, found, 0.0))
    return np.where(speaks, found, 0.0)
