"""At most 720 points for a curve, without losing what matters: sums stay sums, and a spike stays as high as it was.

Every function takes values by tick and pools `size` neighbouring ticks into one bucket; the last bucket may be shorter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_POINTS = 720
"""More points than that cost browser time for nothing visible (measured at 600 px)."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


def bucket_size(ticks: int, *, limit: int = MAX_POINTS) -> int:
    """Return the fewest ticks a bucket must hold so that there are at most `limit` of them.

    >>> bucket_size(720), bucket_size(721), bucket_size(0), bucket_size(336, limit=40)
    (1, 2, 1, 9)
    """
    return max(-(-ticks // limit), 1)


def by_tick(ticks: Ints, values: Floats, *, length: int) -> Floats:
    """Return values laid out by tick: (length,) float64, NaN where a tick has none."""
    laid = np.full(length, np.nan)
    laid[ticks] = values
    return laid


def sums(values: Floats, size: int) -> Floats:
    """Return the sum of each bucket, a tick without a value counting 0: (buckets,) float64."""
    return np.add.reduceat(np.nan_to_num(values), _starts(values, size)) if len(values) else values


def rates(events: Floats, trials: Floats, size: int) -> Floats:
    """Return events over trials of each bucket, NaN without trials: (buckets,) float64.

    Never a mean of rates: a quiet tick would weigh as much as a busy one.
    """
    above, below = sums(events, size), sums(trials, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def maxima(values: Floats, size: int) -> Floats:
    """Return the largest finite value of each bucket, NaN where there is none: (buckets,) float64.

    Minus infinity is evidence that has not begun: a gap, not a depth.
    """
    if not len(values):
        return values
    known = np.where(np.isfinite(values), values, -np.inf)
    found = np.maximum.reduceat(known, _starts(values, size))
    return np.where(np.isfinite(found), found, np.nan)


def worst(ranks: Ints, size: int) -> Ints:
    """Return the highest rank of each bucket: (buckets,) int64."""
    return np.maximum.reduceat(ranks, _starts(ranks, size)) if len(ranks) else ranks


def ends(length: int, size: int) -> Ints:
    """Return the number of ticks closed at the end of each bucket: (buckets,) int64.

    >>> ends(5, 2).tolist()
    [2, 4, 5]
    """
    return np.minimum(np.arange(size, length + size, size), length) if length else np.zeros(0, np.int64)


def _starts(values: np.ndarray[Any, Any], size: int) -> Ints:
    return np.arange(0, len(values), size)
